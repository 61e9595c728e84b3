/**
 * Who holds the lock of a WAL database? The kernel lists file locks in /proc/locks with pid, inode and byte range.
 *
 * SQLite's write lock is byte 120 of the -shm file (WAL_WRITE_LOCK; 121 checkpoint, 122 recovery; see the file-locking
 * part of walformat.html); a connection that closes last locks the database file itself. What /proc/locks calls the
 * device is not always what stat does (btrfs, overlayfs), so a match is confirmed by the holder's open descriptors.
 */
import { type BigIntStats, readdirSync, readFileSync, statSync } from 'node:fs'

const writeLockByte = 120
const recoveryLockByte = 122

/**
 * `pid`: as seen from this pid namespace. `hidden`: somebody holds a lock that cannot be attributed from here.
 * `none`: nobody holds it at this moment.
 */
export type LockHolder = { readonly pid: number } | 'hidden' | 'none'

export function findLockHolder(databasePath: string): LockHolder {
  try {
    const shm = statSync(`${databasePath}-shm`, { bigint: true })
    const database = statSync(databasePath, { bigint: true })
    let hidden = false
    for (const line of readFileSync('/proc/locks', 'utf8').split('\n')) {
      const lock = parse(line)
      if (lock === undefined) continue
      const onShm =
        lock.inode === shm.ino && covers(lock, writeLockByte, recoveryLockByte) && lock.first !== 121
      const file = onShm ? shm : lock.inode === database.ino ? database : undefined
      if (file === undefined) continue
      if (lock.pid > 0 && hasOpen(lock.pid, file)) return { pid: lock.pid }
      hidden ||= onShm
    }
    return hidden ? 'hidden' : 'none'
  } catch {
    return 'hidden'
  }
}

interface FileLock {
  readonly pid: number
  readonly inode: bigint
  readonly first: number
  readonly last: number
}

/** Exclusive POSIX locks only. Lines look like `3: POSIX  ADVISORY  WRITE 4711 fe:00:1234 120 120`. */
function parse(line: string): FileLock | undefined {
  const match = /^\d+: POSIX\s+\S+\s+WRITE\s+(-?\d+)\s+\w+:\w+:(\d+)\s+(\d+)\s+(\d+|EOF)$/.exec(line.trim())
  if (match === null) return undefined
  const [, pid, inode, first, last] = match
  return {
    pid: Number(pid),
    inode: BigInt(inode ?? 0),
    first: Number(first),
    last: last === 'EOF' ? Number.POSITIVE_INFINITY : Number(last),
  }
}

function covers(lock: FileLock, from: number, to: number): boolean {
  return lock.first <= to && lock.last >= from
}

function hasOpen(pid: number, file: BigIntStats): boolean {
  try {
    return readdirSync(`/proc/${pid}/fd`).some((fd) => {
      const stat = statSync(`/proc/${pid}/fd/${fd}`, { bigint: true, throwIfNoEntry: false })
      return stat?.ino === file.ino && stat.dev === file.dev
    })
  } catch {
    return false
  }
}
