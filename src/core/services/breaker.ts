/**
 * Circuit breaker of one instance of a service. Closed: calls go there. After `failuresMax` failures on end it opens: nothing goes there for a while,
 * which doubles with each probe that fails. Then half open: one call is let through, and decides.
 */
export const breakerDefaults = {
  failuresMax: 5,
  openMsMin: 1_000,
  openMsMax: 30_000,
} as const

export type BreakerState = 'closed' | 'open' | 'half_open'

export class Breaker {
  private failures = 0
  private openUntilMs = 0
  private openMs = 0
  /** Until then the one call that decides is under way; a call that is never settled must not close the way for ever. */
  private probeUntilMs = 0

  get isClosed(): boolean {
    return this.openMs === 0
  }

  stateAt(nowMs: number): BreakerState {
    if (this.openMs === 0) return 'closed'
    return nowMs < this.openUntilMs ? 'open' : 'half_open'
  }

  /** May a call go there now? */
  allows(nowMs: number): boolean {
    return this.openMs === 0 || (nowMs >= this.openUntilMs && nowMs >= this.probeUntilMs)
  }

  /** A call goes there. */
  begin(nowMs: number): void {
    if (this.openMs !== 0) this.probeUntilMs = nowMs + this.openMs
  }

  succeeded(): void {
    this.failures = 0
    this.openMs = 0
    this.probeUntilMs = 0
  }

  failed(nowMs: number): void {
    this.failures++
    if (this.openMs === 0 && this.failures < breakerDefaults.failuresMax) return
    // Of several that were under way when it opened only the first counts.
    if (this.openMs !== 0 && nowMs < this.openUntilMs) return
    this.openMs = Math.min(breakerDefaults.openMsMax, Math.max(breakerDefaults.openMsMin, this.openMs * 2))
    this.openUntilMs = nowMs + this.openMs
    this.probeUntilMs = 0
  }
}
