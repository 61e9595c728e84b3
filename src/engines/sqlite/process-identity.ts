/**
 * Which process is that, for sure? A pid alone is reused; pid, pid namespace and start time together are not (within
 * a boot). Linux only: elsewhere nothing can be seen, and the callers then do without.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { readNamespace } from './host-scope.js'

export interface ProcessIdentity {
  /** As the process itself sees it, that is in its own pid namespace. */
  readonly pid: number
  readonly pidNamespace: string
  /** Clock ticks from boot to its start; 0 where unknown. */
  readonly startTicks: number
}

let own: ProcessIdentity | undefined

export function ownIdentity(): ProcessIdentity {
  own ??= identityOf('self') ?? { pid: process.pid, pidNamespace: 'none', startTicks: 0 }
  return own
}

/** Identity of a pid of this namespace; undefined when it is gone or may not be looked at. */
export function identityOf(pid: number | 'self'): ProcessIdentity | undefined {
  try {
    const pidNamespace = readNamespace('pid', pid)
    if (pidNamespace === 'none') return undefined
    const innermost = /^NSpid:.*?(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    const startTicks = Number(statFields(`/proc/${pid}/stat`)[19])
    if (innermost === undefined || !Number.isFinite(startTicks)) return undefined
    return { pid: Number(innermost), pidNamespace, startTicks }
  } catch {
    return undefined
  }
}

export function sameProcess(a: ProcessIdentity, b: ProcessIdentity): boolean {
  return a.pid === b.pid && a.startTicks === b.startTicks && a.pidNamespace === b.pidNamespace
}

/** Certainly gone: true only for a process of this pid namespace that no longer exists under that identity. */
export function isGone(identity: ProcessIdentity): boolean {
  const mine = ownIdentity()
  if (mine.pidNamespace === 'none' || identity.pidNamespace !== mine.pidNamespace) return false
  try {
    process.kill(identity.pid, 0)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
  const now = identityOf(identity.pid)
  return now !== undefined && !sameProcess(now, identity)
}

/** `stopped`: by a signal or a tracer. `disk`: some thread sits in an uninterruptible wait, usually for a disk. */
export function processState(pid: number): 'stopped' | 'disk' | 'other' | 'gone' {
  try {
    if (/[Tt]/.test(statFields(`/proc/${pid}/stat`)[0] ?? '')) return 'stopped'
    for (const task of readdirSync(`/proc/${pid}/task`)) {
      if (statFields(`/proc/${pid}/task/${task}/stat`)[0] === 'D') return 'disk'
    }
    return 'other'
  } catch {
    return 'gone'
  }
}

/** The fields of a stat file from `state` on (proc(5) numbers it 3). The name before them may hold anything. */
function statFields(path: string): string[] {
  const text = readFileSync(path, 'utf8')
  return text.slice(text.lastIndexOf(')') + 2).split(' ')
}
