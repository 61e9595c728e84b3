/** The clocks of this host. `process.hrtime` has one origin for all threads and processes; `performance.now` does not. */
import type { Instant } from '../core/kernel/machine.js'

export function monotonicMs(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000
}

export function readInstant(): Instant {
  return { nowMs: monotonicMs(), wallMs: Date.now() }
}
