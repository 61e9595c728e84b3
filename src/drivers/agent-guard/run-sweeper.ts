/**
 * Ends what a run has left outside of its group: processes that moved to another session, found by the mark in their environment. Runs that end at about the same time share one look at /proc.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { monotonicMs } from '../../engines/sqlite/clock.js'
import { ownIdentity } from '../../engines/sqlite/process-identity.js'
import { findMarked, killMarked } from './marked-processes.js'

/** A run is over after that, whatever is left. */
const sweepMsMax = 2_000
const pauseMs = 5

interface Sweep {
  readonly deadlineMs: number
  readonly done: () => void
}

export class RunSweeper {
  readonly #guardMark: string
  readonly #sinceTicks = ownIdentity().startTicks
  readonly #onLeft: (mark: string) => void
  readonly #waiting = new Map<string, Sweep>()
  #isSweeping = false

  /** `onLeft`: told the mark of a run that could not be ended in two seconds, or not looked at. */
  constructor(guardMark: string, onLeft: (mark: string) => void) {
    this.#guardMark = guardMark
    this.#onLeft = onLeft
  }

  /** Resolves when nothing carries this mark, or after two seconds. */
  endRun(mark: string): Promise<void> {
    return new Promise((done) => {
      this.#waiting.set(mark, { deadlineMs: monotonicMs() + sweepMsMax, done })
      if (!this.#isSweeping) void this.#sweep()
    })
  }

  async #sweep(): Promise<void> {
    this.#isSweeping = true
    while (this.#waiting.size > 0) {
      // A run that comes during the look waits for the next one.
      const looked = [...this.#waiting]
      const found = await Promise.race([
        findMarked(`${this.#guardMark}/`, this.#sinceTicks),
        sleep(sweepMsMax),
      ])
      const alive = new Set(found?.map(({ mark }) => mark))
      for (const one of found ?? []) if (this.#waiting.has(one.mark)) killMarked(one)
      const nowMs = monotonicMs()
      for (const [mark, { deadlineMs, done }] of looked) {
        const isOver = found !== undefined && !alive.has(mark)
        if (!isOver && nowMs < deadlineMs) continue
        if (!isOver) this.#onLeft(mark)
        this.#waiting.delete(mark)
        done()
      }
      if (this.#waiting.size > 0) await sleep(pauseMs)
    }
    this.#isSweeping = false
  }
}
