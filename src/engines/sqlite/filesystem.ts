/**
 * Is a directory on a filesystem of this kernel alone? SQLite's locks and its shared memory work between the
 * processes of one kernel; on a network filesystem they fail silently, and two hosts would both own everything.
 */
import { accessSync, constants, mkdirSync, readFileSync, realpathSync, statfsSync } from 'node:fs'
import { SkeinError } from '../../core/kernel/error.js'

/** f_type of filesystems that several kernels may share (statfs(2), linux/magic.h). */
const networkFilesystems = new Map<number, string>([
  [0x6969, 'nfs'],
  [0x517b, 'smb'],
  [0xff534d42, 'cifs'],
  [0xfe534d42, 'smb2'],
  [0x5346414f, 'afs'],
  [0x6b414653, 'afs'],
  [0x73757245, 'coda'],
  [0x564c, 'ncp'],
  [0x01021997, '9p'],
  [0x00c36400, 'ceph'],
  [0x0bd00bd0, 'lustre'],
  [0x7461636f, 'ocfs2'],
  [0x01161970, 'gfs2'],
  [0x19830326, 'beegfs'],
  [0x47504653, 'gpfs'],
  [0x786f4256, 'vboxsf'],
  [0xbacbacbc, 'vmhgfs'],
])
const fuseMagic = 0x65735546
/** FUSE filesystems that are local; every other one may be shared (sshfs, s3fs, glusterfs, virtiofs …). */
const localFuse = new Set(['fuseblk', 'fuse.fuse-overlayfs', 'fuse.bindfs', 'fuse.gocryptfs', 'fuse.encfs'])

/** Makes the directory if it is missing. Throws `data_dir_unusable`, naming the directory and what to do. */
export function prepareLocalDirectory(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    accessSync(directory, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch (cause) {
    throw new SkeinError(
      'data_dir_unusable',
      `${directory} cannot be written: ${cause instanceof Error ? cause.message : String(cause)}; make it writable by this user or choose another --data-dir`,
      { details: { path: directory }, cause },
    )
  }
  const kind = sharedFilesystem(directory)
  if (kind === undefined) return
  throw new SkeinError(
    'data_dir_unusable',
    `${directory} lies on ${kind}, which other machines may share; SQLite needs a local disk: choose another --data-dir, or an etcd store for several machines`,
    { details: { path: directory, filesystem: kind } },
  )
}

/** Name of the shared filesystem that a path lies on, undefined when it is local. */
export function sharedFilesystem(path: string, type = statfsSync(path).type): string | undefined {
  if (process.platform !== 'linux') return undefined
  const magic = type >>> 0
  if (magic !== fuseMagic) return networkFilesystems.get(magic)
  const kind = mountKind(realpathSync(path)) ?? 'fuse'
  return localFuse.has(kind) ? undefined : kind
}

/** The filesystem type in mountinfo of the longest mount point above a path. */
function mountKind(path: string): string | undefined {
  let best = ''
  let kind: string | undefined
  for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
    const [before, after] = line.split(' - ')
    const point = before?.split(' ')[4]?.replaceAll('\\040', ' ')
    if (point === undefined || after === undefined || point.length < best.length) continue
    if (path !== point && !path.startsWith(point === '/' ? '/' : `${point}/`)) continue
    best = point
    kind = after.split(' ')[0]
  }
  return kind
}
