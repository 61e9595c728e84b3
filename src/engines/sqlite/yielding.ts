/**
 * Gives the event loop its turn. SQLite calls are synchronous, so `await store.txn()` in a loop runs on microtasks
 * alone: timers, sockets and everybody else on the thread would starve. Whoever carries such calls awaits `breathe`
 * after each of them; it costs nothing until a few milliseconds have gone by without a turn of the loop.
 */
import { monotonicMs } from './clock.js'

const turnMsMax = 4

export class TurnKeeper {
  #startedMs: number | undefined

  /** Resolves at once, or after a turn of the event loop if this one has lasted long enough. */
  breathe(): Promise<void> | undefined {
    if (this.#startedMs === undefined) {
      this.#startedMs = monotonicMs()
      setImmediate(() => {
        this.#startedMs = undefined
      })
      return undefined
    }
    if (monotonicMs() - this.#startedMs < turnMsMax) return undefined
    return new Promise((resolve) => setImmediate(resolve))
  }
}
