/**
 * Lookups of checkpoints, gathered: those that come while one pass is under way share the next one. When a pass fails its
 * agents are looked up one by one, so that one damaged state is nobody else's trouble.
 *
 * Must not live here: what a lookup does.
 */
import { SkeinError } from '../../core/kernel/error.js'
import type { Checkpoint } from '../../ports/journal.js'

/** Answers as many of the agents as one answer holds, at least one; undefined where there is no checkpoint. */
type Lookup = (agents: readonly string[]) => Promise<ReadonlyMap<string, Checkpoint | undefined>>

interface Waiting {
  readonly agent: string
  readonly resolve: (found: Checkpoint | undefined) => void
  readonly reject: (error: unknown) => void
}

const waitingMax = 20_000
/** On SQLite a pass takes a few microseconds per agent and file, and commits wait for it. */
const agentsPerPass = 256

export class CheckpointReads {
  readonly #lookup: Lookup
  #waiting: Waiting[] = []
  #isRunning = false

  constructor(lookup: Lookup) {
    this.#lookup = lookup
  }

  /** Errors: `overloaded`, and those of the lookup. */
  read(agent: string): Promise<Checkpoint | undefined> {
    if (this.#waiting.length >= waitingMax) {
      return Promise.reject(
        new SkeinError('overloaded', `${this.#waiting.length} lookups of checkpoints wait for the journal`, {
          retryable: true,
        }),
      )
    }
    return new Promise((resolve, reject) => {
      this.#waiting.push({ agent, resolve, reject })
      if (!this.#isRunning) void this.#run()
    })
  }

  /** Never rejects: every error is told to those whom it concerns. */
  async #run(): Promise<void> {
    this.#isRunning = true
    // Those that come in the same turn share the first pass.
    await Promise.resolve()
    let alone = 0
    while (this.#waiting.length > 0) {
      const asked = this.#next(alone > 0 ? 1 : agentsPerPass)
      alone = Math.max(0, alone - 1)
      try {
        const found = await this.#lookup([...asked.keys()])
        this.#settle(asked, ({ agent, resolve }) => {
          if (found.has(agent)) resolve(found.get(agent))
          return found.has(agent)
        })
      } catch (error) {
        if (asked.size > 1) {
          alone = asked.size
          continue
        }
        this.#settle(asked, ({ reject }) => {
          reject(error)
          return true
        })
      }
    }
    this.#isRunning = false
  }

  /** Of each agent one: a second asker gets a state of his own, of the next pass. */
  #next(count: number): ReadonlyMap<string, Waiting> {
    const asked = new Map<string, Waiting>()
    for (const waiting of this.#waiting) {
      if (asked.size === count) break
      if (!asked.has(waiting.agent)) asked.set(waiting.agent, waiting)
    }
    return asked
  }

  /** `settle` says whether this one waits no longer. */
  #settle(asked: ReadonlyMap<string, Waiting>, settle: (waiting: Waiting) => boolean): void {
    const settled = new Set([...asked.values()].filter(settle))
    this.#waiting = this.#waiting.filter((waiting) => !settled.has(waiting))
  }
}
