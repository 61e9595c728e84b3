/**
 * The journal's directory: its identity, one database per lease, and what has to reach the disk besides the rows.
 *
 * Nothing here (or anywhere in this driver) opens a database or its -shm by hand while it may be in use: POSIX drops
 * *all* locks of a process on a file when any descriptor of it is closed, SQLite's too. The -wal carries no locks.
 *
 * Must not live here: SQL.
 */
import { randomBytes } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { asLeaseId, type LeaseId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'

const suffix = '.db'
const droppedSuffix = '.dropped'
const identityFile = 'identity'
/** Longer than any filesystem's clock tick. */
const settledMs = 3000

export function pathOf(directory: string, lease: LeaseId): string {
  return join(directory, `${encodeURIComponent(lease)}${suffix}`)
}

/** A name under which a file is made, before it gets its own. */
export function draftPathOf(directory: string, lease: LeaseId): string {
  return join(directory, `${encodeURIComponent(lease)}.draft-${randomBytes(6).toString('hex')}`)
}

/** Every lease that has a file here, in no order. */
export function leasesIn(directory: string): LeaseId[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith(suffix))
    .map((name) => asLeaseId(decodeURIComponent(name.slice(0, -suffix.length))))
}

export function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined
}

/** Of the database and its log, bytes. */
export function bytesOf(path: string): number {
  const size = (file: string) => statSync(file, { throwIfNoEntry: false })?.size ?? 0
  return size(path) + size(`${path}-wal`)
}

/**
 * Tells whether a database may have changed: equal stamps, equal content. Undefined while it changed so lately that
 * the clock of the filesystem might not show the next change.
 */
export function stampOf(path: string): string | undefined {
  const parts = [path, `${path}-wal`].map((file) => statSync(file, { throwIfNoEntry: false }))
  if (parts.some((part) => part !== undefined && Math.abs(Date.now() - part.mtimeMs) < settledMs))
    return undefined
  return parts.map((part) => (part === undefined ? '' : `${part.ino} ${part.size} ${part.mtimeMs}`)).join()
}

/**
 * For good. First it loses its name, all at once: a reader finds the database with its log or not at all. What a crash
 * leaves behind, `sweep` removes.
 */
export function removeDatabase(directory: string, path: string): void {
  if (exists(path)) {
    renameSync(path, `${path}${droppedSuffix}`)
    syncDirectory(directory)
  }
  removeDropped(path)
  syncDirectory(directory)
}

/** Ends removals that did not come to their end. */
export function sweep(directory: string): void {
  for (const name of readdirSync(directory)) {
    if (name.endsWith(`${suffix}${droppedSuffix}`)) {
      removeDropped(join(directory, name.slice(0, -droppedSuffix.length)))
    }
  }
}

function removeDropped(path: string): void {
  for (const file of [`${path}-wal`, `${path}-shm`, `${path}${droppedSuffix}`]) rmSync(file, { force: true })
}

/**
 * Makes durable what the logs of these databases hold, and that they are there. All lie in one directory. Errors:
 * `unavailable`.
 */
export function syncLogs(paths: readonly string[]): void {
  const [path] = paths
  if (path === undefined) return
  try {
    for (const each of paths) syncLog(each)
    syncDirectory(dirname(path))
  } catch (error) {
    throw new SkeinError('unavailable', `syncing the log of ${paths.join(', ')}: ${String(error)}`, {
      details: { path },
      cause: error,
    })
  }
}

/** Makes the frames of a log durable that somebody else wrote and perhaps never synced. No log: nothing to do. */
function syncLog(path: string): void {
  let fd: number
  try {
    fd = openSync(`${path}-wal`, 'r+')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return
    throw error
  }
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

export function syncDirectory(directory: string): void {
  const fd = openSync(directory, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** The journal's identity; the first process makes it, whole or not at all. Errors: `data_dir_unusable`, `disk_full`. */
export function loadIdentity(directory: string): string {
  const path = join(directory, identityFile)
  try {
    return readIdentity(path) ?? makeIdentity(directory, path)
  } catch (error) {
    if (error instanceof SkeinError) throw error
    const full = (error as NodeJS.ErrnoException).code === 'ENOSPC'
    throw new SkeinError(full ? 'disk_full' : 'data_dir_unusable', `${path}: ${String(error)}`, {
      retryable: full,
      details: { path },
      cause: error,
    })
  }
}

function readIdentity(path: string): string | undefined {
  try {
    const text = readFileSync(path, 'utf8').trim()
    if (/^[0-9a-f]{32}$/.test(text)) return text
    throw new SkeinError(
      'data_dir_unusable',
      `${path} does not hold an identity; restore it from a backup, or move the whole directory away`,
      { details: { path } },
    )
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** Written aside, synced, then linked: `link` fails where the name exists, so two makers end up with one identity. */
function makeIdentity(directory: string, path: string): string {
  const draft = `${path}.draft-${randomBytes(6).toString('hex')}`
  const fd = openSync(draft, 'wx', 0o600)
  try {
    const text = `${randomBytes(16).toString('hex')}\n`
    if (writeSync(fd, text) !== text.length) throw Object.assign(new Error('short write'), { code: 'ENOSPC' })
    fsyncSync(fd)
    linkSync(draft, path)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
  } finally {
    closeSync(fd)
    rmSync(draft, { force: true })
  }
  syncDirectory(directory)
  return readIdentity(path) ?? makeIdentity(directory, path)
}
