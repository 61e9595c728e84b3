/** Whether and when an agent that ended is started again where it is. Pure: time and chance come in, a decision goes out. */
import type { RestartPolicy } from './records.js'

export const restartDefaults: RestartPolicy = {
  mode: 'on_failure',
  backoffMinMs: 500,
  backoffMaxMs: 30_000,
  triesMax: 10,
  windowMs: 600_000,
}

export type RestartDecision =
  | { readonly action: 'restart'; readonly delayMs: number }
  | { readonly action: 'give_up'; readonly detail: string }
  /** It ended as it should. */
  | { readonly action: 'done' }

/** After so long without a failure the delays begin anew, ms. */
const calmMs = 60_000
/** Share of a delay that is left to chance, so that what fell together does not rise together. */
const jitter = 0.2

export class Restarts {
  readonly policy: RestartPolicy
  count = 0
  private readonly random: () => number
  private readonly times: number[] = []
  private inRow = 0
  private startedMs: number | undefined

  /** `random`: in [0, 1), drawn once for each delay, which lasts between 0.8 times its full length and all of it. */
  constructor(policy: RestartPolicy = restartDefaults, random: () => number) {
    this.policy = policy
    this.random = random
  }

  started(nowMs: number): void {
    this.startedMs = nowMs
  }

  /** It ended; did it fail? */
  ended(nowMs: number, failed: boolean): RestartDecision {
    const { mode, backoffMinMs, backoffMaxMs, triesMax, windowMs } = this.policy
    // One that is not started before it fails again has not run meanwhile.
    const ranMs = this.startedMs === undefined ? 0 : nowMs - this.startedMs
    this.startedMs = undefined
    if (mode === 'never' || (mode === 'on_failure' && !failed))
      return failed ? { action: 'give_up', detail: 'it is not to be restarted' } : { action: 'done' }
    if (ranMs >= calmMs) this.inRow = 0
    while (this.times[0] !== undefined && nowMs - this.times[0] > windowMs) this.times.shift()
    if (this.times.length >= triesMax)
      return {
        action: 'give_up',
        detail: `restarted ${this.times.length} times within ${Math.round(windowMs / 1000)} s`,
      }
    this.times.push(nowMs)
    this.count++
    const fullMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(this.inRow++, 20))
    return { action: 'restart', delayMs: fullMs * (1 - jitter * this.random()) }
  }
}
