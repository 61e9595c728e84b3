/**
 * Both ends of a stream of items between two nodes. Items travel in batches, each a request that is answered when the last of it was taken; so many
 * batches are under way at a time. A slow reader thus slows the writer, and a lost connection fails both.
 */
import { SkeinError } from '../../core/kernel/error.js'

const batchItemsMax = 64
const batchesMax = 4
/** One that is so large goes alone. */
const largeBytes = 64 * 1024

export type SendBatch = (first: number, items: readonly unknown[] | undefined) => Promise<void>

/** The writing end. */
export class Outgoing {
  private readonly send: SendBatch
  private queue: unknown[] = []
  private next = 0
  private underWay = 0
  private isScheduled = false
  private trouble: unknown
  private failed = false
  private waiters: (() => void)[] = []

  constructor(send: SendBatch) {
    this.send = send
  }

  /** Resolves when there is room for more; rejects once a batch was not taken. */
  async write(item: unknown): Promise<void> {
    if (this.failed) throw this.trouble
    this.queue.push(item)
    if (this.queue.length >= batchItemsMax || isLarge(item)) this.flush()
    else this.schedule()
    while (this.underWay >= batchesMax && !this.failed) await this.settled()
    if (this.failed) throw this.trouble
  }

  /** Resolves when everything was taken. `marked`: and the other end knows that this was all. */
  async end(marked: boolean): Promise<void> {
    this.flush()
    while (this.underWay > 0 && !this.failed) await this.settled()
    if (this.failed) throw this.trouble
    if (marked) await this.send(this.next, undefined)
  }

  private schedule(): void {
    if (this.isScheduled) return
    this.isScheduled = true
    setImmediate(() => {
      this.isScheduled = false
      this.flush()
    })
  }

  private flush(): void {
    if (this.queue.length === 0 || this.failed) return
    const items = this.queue
    this.queue = []
    const first = this.next
    this.next += items.length
    this.underWay++
    this.send(first, items).then(
      () => this.done(),
      (error: unknown) => {
        this.failed = true
        this.trouble = error
        this.done()
      },
    )
  }

  private done(): void {
    this.underWay--
    const { waiters } = this
    this.waiters = []
    for (const wake of waiters) wake()
  }

  private settled(): Promise<void> {
    return new Promise((resolve) => this.waiters.push(resolve))
  }
}

interface Batch {
  readonly items: readonly unknown[]
  at: number
  readonly taken: () => void
}

/** The reading end: an async iterable for one reader. */
export class Incoming implements AsyncIterableIterator<unknown> {
  private readonly batches: Batch[] = []
  private expected = 0
  private isEnded = false
  private trouble: unknown
  private failed = false
  private readonly waiters: {
    resolve: (result: IteratorResult<unknown>) => void
    reject: (error: unknown) => void
  }[] = []
  /** The reader left early. */
  onLeft: () => void = () => {}

  /** Throws `protocol_violation` for one out of turn or too many. `taken` is called when the last of it was. */
  push(first: number, items: readonly unknown[], taken: () => void): void {
    if (this.isEnded || this.failed) {
      taken()
      return
    }
    if (first !== this.expected)
      throw new SkeinError('protocol_violation', `item ${first} of a stream came instead of ${this.expected}`)
    if (this.batches.length >= batchesMax * 2)
      throw new SkeinError('protocol_violation', 'more of a stream than was asked for')
    this.expected += items.length
    if (items.length === 0) taken()
    else this.batches.push({ items, at: 0, taken })
    while (this.waiters.length > 0 && this.batches.length > 0) this.waiters.shift()?.resolve(this.shift())
  }

  /** No more come; what came is still given out. */
  end(): void {
    this.isEnded = true
    if (this.batches.length === 0)
      for (const { resolve } of this.waiters.splice(0)) resolve({ done: true, value: undefined })
  }

  /** What came is still given out, then the error. */
  fail(error: unknown): void {
    if (this.isEnded || this.failed) return
    this.failed = true
    this.trouble = error
    if (this.batches.length === 0) this.throwOnce()
  }

  next(): Promise<IteratorResult<unknown>> {
    if (this.batches.length > 0) return Promise.resolve(this.shift())
    if (this.failed && !this.isEnded) {
      this.isEnded = true
      return Promise.reject(this.trouble)
    }
    if (this.isEnded) return Promise.resolve({ done: true, value: undefined })
    return new Promise((resolve, reject) => this.waiters.push({ resolve, reject }))
  }

  return(): Promise<IteratorResult<unknown>> {
    const wasOpen = !this.isEnded && !this.failed
    this.isEnded = true
    for (const { taken } of this.batches.splice(0)) taken()
    for (const { resolve } of this.waiters.splice(0)) resolve({ done: true, value: undefined })
    if (wasOpen) this.onLeft()
    return Promise.resolve({ done: true, value: undefined })
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  private throwOnce(): void {
    const first = this.waiters.shift()
    if (first === undefined) return
    this.isEnded = true
    first.reject(this.trouble)
    for (const { resolve } of this.waiters.splice(0)) resolve({ done: true, value: undefined })
  }

  private shift(): IteratorResult<unknown> {
    const batch = this.batches[0] as Batch
    const value = batch.items[batch.at++]
    if (batch.at === batch.items.length) {
      this.batches.shift()
      batch.taken()
    }
    return { done: false, value }
  }
}

function isLarge(item: unknown): boolean {
  if (item instanceof Uint8Array || typeof item === 'string') return item.length >= largeBytes
  return false
}
