/** Runs what a program wants done only by the leader, once in each term, and stops it when the term ends here. */

import { monotonicMs } from './host-clock.js'
import type { SharedState } from './shared-state.js'

type Task = (term: number, signal: AbortSignal) => Promise<void> | void

const checkMs = 50

export class Leadership {
  private readonly shared: SharedState
  private readonly onError: (error: unknown) => void
  private readonly tasks = new Map<Task, AbortController | null>()
  private term: number | null = null
  /** The node has stopped serving: in this term it leads no more, whatever is heard of it yet. */
  private isOver = false
  private timer: NodeJS.Timeout | undefined

  constructor(shared: SharedState, onError: (error: unknown) => void) {
    this.shared = shared
    this.onError = onError
  }

  whileLeading(task: Task): () => void {
    this.tasks.set(task, null)
    this.update(this.term)
    return () => {
      this.tasks.get(task)?.abort()
      this.tasks.delete(task)
    }
  }

  /** The term this node leads, or null. */
  update(term: number | null): void {
    if (term !== this.term) {
      this.end()
      this.isOver = false
    }
    this.term = term
    if (term === null || this.isOver || this.tasks.size === 0) return
    if (monotonicMs() >= this.shared.leaseDeadlineMs) return
    for (const [task, running] of this.tasks) if (running === null) this.start(task, term)
    // The lease may lapse while control is silent: its deadline is ours to watch.
    this.timer ??= setInterval(() => {
      if (monotonicMs() >= this.shared.leaseDeadlineMs) this.end()
    }, checkMs)
  }

  private start(task: Task, term: number): void {
    const abort = new AbortController()
    this.tasks.set(task, abort)
    void (async () => task(term, abort.signal))().catch(this.onError)
  }

  /** For the rest of the term. */
  stopServing(): void {
    this.isOver = true
    this.end()
  }

  private end(): void {
    clearInterval(this.timer)
    this.timer = undefined
    for (const [task, running] of this.tasks) {
      running?.abort()
      this.tasks.set(task, null)
    }
  }
}
