/**
 * What every open handle does unasked: end leases soon after they fall due, so that watchers see it without anybody
 * writing, and cut old history. All handles of the host do so; whoever comes first has done it for the others.
 *
 * Only the schedule lives here. Expiry is armed for the earliest known due time, never polled. Each act is one attempt
 * for the lock; taken means: try again in a moment.
 */
import { randomInt } from 'node:crypto'
import { isBusy } from '../../engines/sqlite/connection.js'

export interface ChoresOptions {
  readonly nowMs: () => number
  readonly compactEveryMs: number
  /** Ends what is due. Throws a busy error when the lock is taken. */
  readonly expire: () => void
  /** Forgets a batch of old history; true when there is more. Throws a busy error when the lock is taken. */
  readonly forgetOld: () => boolean
  readonly onTrouble: (error: unknown) => void
}

const timerMsMax = 0x7fffffff

export class Chores {
  readonly #options: ChoresOptions
  #expiry: NodeJS.Timeout | undefined
  #dueMs: number | undefined
  #compaction: NodeJS.Timeout | undefined

  constructor(options: ChoresOptions) {
    this.#options = options
  }

  start(): void {
    this.#armCompaction(this.#options.compactEveryMs * (0.75 + randomInt(0, 500) / 1000))
  }

  stop(): void {
    clearTimeout(this.#expiry)
    clearTimeout(this.#compaction)
  }

  /** The next lease falls due then, as far as this handle knows; null: there is none. */
  leaseDueAt(dueMs: number | null): void {
    if (this.#dueMs === (dueMs ?? undefined)) return
    clearTimeout(this.#expiry)
    this.#dueMs = dueMs ?? undefined
    // A few ms of chance, so that not all handles of the host reach for the lock at once.
    if (dueMs !== null) this.#armExpiry(Math.max(0, dueMs - this.#options.nowMs()) + randomInt(1, 10))
  }

  #armExpiry(delayMs: number): void {
    clearTimeout(this.#expiry)
    this.#expiry = setTimeout(() => this.#expire(), Math.min(delayMs, timerMsMax)).unref()
  }

  #expire(): void {
    this.#dueMs = undefined
    try {
      this.#options.expire()
    } catch (error) {
      if (isBusy(error)) this.#armExpiry(randomInt(5, 25))
      else this.#options.onTrouble(error)
    }
  }

  #armCompaction(delayMs: number): void {
    this.#compaction = setTimeout(() => this.#compact(), Math.min(delayMs, timerMsMax)).unref()
  }

  /** One batch, then the next soon: others write in between. */
  #compact(): void {
    let more = false
    try {
      more = this.#options.forgetOld()
    } catch (error) {
      more = isBusy(error)
      if (!more) this.#options.onTrouble(error)
    }
    if (more) this.#armCompaction(randomInt(5, 25))
    else this.start()
  }
}
