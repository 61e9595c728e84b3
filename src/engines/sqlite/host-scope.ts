/**
 * Where a monotonic clock means the same: one boot of one kernel, seen from one time namespace. Leases compare
 * readings of that clock between processes, so a store file is bound to one scope at a time.
 *
 * The boot is named by the kernel's boot_id (not namespaced: containers of one host agree); the time namespace by its
 * inode. In another time namespace of the same boot the clock is shifted while the boot_id is the same.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, readlinkSync } from 'node:fs'
import { SkeinError } from '../../core/kernel/error.js'

export interface HostScope {
  readonly bootId: string
  /** Like `time:[4026531834]`, or `none` where the kernel has no time namespaces. */
  readonly timeNamespace: string
}

let known: HostScope | undefined

/** The scope of this process. Throws `incompatible` where the boot cannot be named. */
export function hostScope(): HostScope {
  known ??= { bootId: readBootId(), timeNamespace: readNamespace('time') }
  return known
}

/** `other_boot`: every lease of the stored scope is void. `other_time_namespace`: the clocks cannot be compared. */
export function compareScopes(
  stored: HostScope,
  mine: HostScope,
): 'same' | 'other_boot' | 'other_time_namespace' {
  if (stored.bootId !== mine.bootId) return 'other_boot'
  return stored.timeNamespace === mine.timeNamespace ? 'same' : 'other_time_namespace'
}

/** Name of one of this process's namespaces, `none` where the kernel has no such kind. */
export function readNamespace(kind: 'time' | 'pid', process: number | 'self' = 'self'): string {
  try {
    return readlinkSync(`/proc/${process}/ns/${kind}`)
  } catch {
    return 'none'
  }
}

function readBootId(): string {
  try {
    if (process.platform === 'darwin') {
      return execFileSync('sysctl', ['-n', 'kern.bootsessionuuid'], { encoding: 'utf8' }).trim()
    }
    return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  } catch (cause) {
    throw new SkeinError(
      'incompatible',
      'this system does not name its boot (/proc/sys/kernel/random/boot_id), which leases on a shared file need; use an etcd store',
      { cause },
    )
  }
}
