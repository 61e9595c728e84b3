/**
 * Until when may anything of this guard run? The control thread says so with every renewal of the lease, as a reading of the host's monotonic clock.
 *
 * That clock stands still while a host is suspended, the rest of the cluster does not: when wall time has outrun it by more than half a second since the last
 * renewal was made, the deadline counts as passed. The same rule as the lease's own (`core/election/lease-keeper.ts`).
 *
 * A deadline that was passed stays so. Pure; both clocks are handed in.
 */
import type { Instant } from '../../core/kernel/machine.js'
import type { Renewal } from './protocol.js'

const suspendedMsMin = 500

export class LeaseDeadline {
  #deadlineMs: number | undefined
  /** Wall clock minus monotonic clock at the last renewal. */
  #offsetMs = 0
  #passed: string | undefined

  /** A renewal that comes too late is not taken; `passed` says so. */
  renew(renewal: Renewal, at: Instant): void {
    if (this.passed(at) !== undefined) return
    this.#deadlineMs = renewal.deadlineMs
    this.#offsetMs = renewal.wallMs - renewal.nowMs
  }

  /** Why nothing may run any more; undefined as long as it may, and before the first renewal. */
  passed({ nowMs, wallMs }: Instant): string | undefined {
    if (this.#passed !== undefined || this.#deadlineMs === undefined) return this.#passed
    const outrunMs = wallMs - nowMs - this.#offsetMs
    if (outrunMs > suspendedMsMin)
      this.#passed = `wall time outran the monotonic clock by ${Math.round(outrunMs)} ms: the host was suspended`
    else if (nowMs >= this.#deadlineMs)
      this.#passed = `the lease's deadline passed ${Math.round(nowMs - this.#deadlineMs)} ms ago without a renewal`
    return this.#passed
  }

  /** Undefined when things may be started now; otherwise why not. */
  whyNot(at: Instant): string | undefined {
    return this.passed(at) ?? (this.#deadlineMs === undefined ? 'no renewal of the lease yet' : undefined)
  }

  /** Infinity before the first renewal. */
  remainingMs(nowMs: number): number {
    return (this.#deadlineMs ?? Number.POSITIVE_INFINITY) - nowMs
  }
}
