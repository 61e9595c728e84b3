/**
 * Ending a frozen holder of the write lock. A process that is stopped inside a write transaction stops every writer
 * of the host, so nobody can renew a lease: after the longest TTL no lease lives, and the one that is in the way may go.
 *
 * A holder is ended only when all of this holds: the lock was taken at every look for `afterMs`, by the same process,
 * with no commit by anybody in between; the process is known to this store by pid, pid namespace and start time (so a
 * reused pid, a backup tool or an operator's shell is never ended); none of its leases is valid; it is not waiting for
 * the disk. A stopped process that was never granted a lease owns nothing and is ended after half the time, before
 * the others' leases suffer. In every other case what is known goes into `report`.
 */
import { findLockHolder } from '../../engines/sqlite/lock-holder.js'
import {
  identityOf,
  ownIdentity,
  type ProcessIdentity,
  processState,
  sameProcess,
} from '../../engines/sqlite/process-identity.js'
import type { LockObserver } from './transactor.js'

export interface FrozenHolderOptions {
  readonly path: string
  readonly afterMs: number
  readonly nowMs: () => number
  readonly tryLock: () => boolean
  readonly dataVersion: () => number
  readonly knows: (process: ProcessIdentity) => boolean
  readonly leasesOf: (process: ProcessIdentity) => { count: number; live: number }
}

interface Streak {
  sinceMs: number
  lookedMs: number
  dataVersion: number
  process: ProcessIdentity | undefined
}

const lookEveryMs = 100
/** Not looked for longer: this process was stopped or starved itself and has not seen a thing. Begin anew. */
const blindMsMax = 1000
/** Contention is over long before this; until then nobody looks for a holder. */
const contentionMs = 400

export class FrozenHolder implements LockObserver {
  readonly #options: FrozenHolderOptions
  #streak: Streak | undefined
  #timer: NodeJS.Timeout | undefined
  #report: string | undefined
  #endedCount = 0

  constructor(options: FrozenHolderOptions) {
    this.#options = options
  }

  /** What is in the way of writing, in words for the operator; undefined when nothing is. */
  get report(): string | undefined {
    return this.#report
  }

  /** Processes this handle has ended. */
  get endedCount(): number {
    return this.#endedCount
  }

  /** Starts looking by itself, so that the next writer need not wait just as long again. */
  onBusy(): void {
    if (this.#timer !== undefined) return
    const nowMs = this.#options.nowMs()
    this.#streak = { sinceMs: nowMs, lookedMs: nowMs, dataVersion: -1, process: undefined }
    this.#timer = setInterval(() => this.#look(), lookEveryMs).unref()
  }

  onFree(): void {
    if (this.#timer === undefined) return
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#streak = undefined
    this.#report = undefined
  }

  stop(): void {
    this.onFree()
  }

  #look(): void {
    const streak = this.#streak
    if (streak === undefined) return
    try {
      if (this.#options.tryLock()) {
        this.onFree()
        return
      }
      this.#judge(streak)
    } catch (error) {
      this.#report = `the write lock of ${this.#options.path} is taken and its holder cannot be examined: ${error instanceof Error ? error.message : String(error)}`
    }
  }

  #judge(streak: Streak): void {
    const { nowMs, dataVersion, afterMs, path } = this.#options
    const version = dataVersion()
    const blindMs = nowMs() - streak.lookedMs
    streak.lookedMs = nowMs()
    if (version !== streak.dataVersion || blindMs > blindMsMax) {
      streak.dataVersion = version
      streak.sinceMs = nowMs()
      return
    }
    const heldMs = nowMs() - streak.sinceMs
    if (heldMs < contentionMs) return
    const holder = findLockHolder(path)
    if (holder === 'none') return
    const process = holder === 'hidden' ? undefined : identityOf(holder.pid)
    if (holder === 'hidden' || process === undefined) {
      this.#report = `the write lock of ${path} is held by a process that cannot be seen from here (another container or user); find and end it there`
      return
    }
    if (streak.process === undefined) streak.process = process
    if (!sameProcess(streak.process, process)) {
      streak.process = process
      streak.sinceMs = nowMs()
      return
    }
    this.#report = this.#verdict(holder.pid, process, heldMs, afterMs)
  }

  /** Ends the process if that is allowed; says in words what is or was in the way. */
  #verdict(pid: number, holder: ProcessIdentity, heldMs: number, afterMs: number): string {
    const { path, knows, leasesOf } = this.#options
    const who = `process ${pid} has held the write lock of ${path} for ${Math.round(heldMs)} ms`
    if (sameProcess(holder, ownIdentity()))
      return `${who}: it is this process, another thread of it is blocked`
    if (!knows(holder)) return `${who}: it is not a Skein process, so it is left alone; end it`
    const state = processState(pid)
    if (state === 'disk') return `${who}: it waits for the disk`
    const leases = leasesOf(holder)
    if (leases.live > 0) return `${who}: its lease still lives`
    const neededMs = leases.count === 0 && state === 'stopped' ? afterMs / 2 : afterMs
    if (heldMs < neededMs) return `${who}: it is ended if it goes on`
    const now = identityOf(pid)
    if (now === undefined || !sameProcess(now, holder)) return `${who}: it is gone`
    try {
      process.kill(pid, 'SIGKILL')
    } catch (error) {
      return `${who} and cannot be ended: ${error instanceof Error ? error.message : String(error)}`
    }
    this.#endedCount += 1
    return `${who} and was ended`
  }
}
