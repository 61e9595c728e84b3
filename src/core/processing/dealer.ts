/**
 * Deals the events of one shard out to processors, and knows how far everything before is done. One dealer per shard, group and tenure, on the shard's
 * owner; what it says is only worth anything while the epoch is the owner's.
 *
 * An event is with one processor at a time: a batch is lent for a limited time, which only its processor can extend, and is given out again when the
 * time is over, when the processor gave it back, or when its processor is known to have ended. A result that comes later than that is refused, so that a
 * processor that was frozen changes nothing here; how the other side counts its time is in `hold.ts`. Kept in order, a key is with one processor
 * at a time, too, and its events go out as they were acknowledged.
 *
 * The position is the offset up to which all is done: never beyond an event that is waiting or lent. Reading and saving must not live here.
 */

export interface Dealt {
  readonly offset: number
  readonly key: string
  /** Of its payload, for the limits of a batch. */
  readonly bytes: number
}

export interface DealerOptions {
  /** Events of a batch, and their bytes together: one event is given out whatever its size. */
  readonly batchMax: number
  readonly batchBytesMax: number
  /** How long a batch is lent at a time. */
  readonly leaseMs: number
  /** Events of one key in their order, one processor at a time. */
  readonly isOrdered: boolean
  /** After a failed try; doubles with each. */
  readonly retryMinMs: number
  readonly retryMaxMs: number
}

export interface Batch<E extends Dealt> {
  readonly id: number
  readonly events: readonly E[]
  /** Tries that failed before this one. */
  readonly failures: number
}

interface Item<E> {
  readonly event: E
  batch: number
  failures: number
  notBeforeMs: number
}

interface Lent<E extends Dealt> extends Batch<E> {
  readonly processor: string
  /** Since then its time at work was not counted yet. */
  sinceMs: number
  deadlineMs: number
}

/** No batch: it waits. */
const waiting = 0

export class Dealer<E extends Dealt> {
  private readonly options: DealerOptions
  private readonly nextId: () => number
  /** Not done yet, in order of offset. */
  private readonly items = new Map<number, Item<E>>()
  private readonly lent = new Map<number, Lent<E>>()
  /** Failed, and waiting. */
  private readonly delayed = new Set<Item<E>>()
  private scannedTo: number
  private lentEvents = 0
  private heldBytes = 0
  private busyMs = 0

  /** `position`: what is done already. `nextId` gives numbers from 1 on that no other dealer of this process gives. */
  constructor(options: DealerOptions, position: number, nextId: () => number) {
    this.options = options
    this.scannedTo = position
    this.nextId = nextId
  }

  /** All up to this offset is done. */
  get position(): number {
    for (const offset of this.items.keys()) return offset - 1
    return this.scannedTo
  }

  /** What was read so far. */
  get readTo(): number {
    return this.scannedTo
  }

  /** Events that are with nobody. */
  get waiting(): number {
    return this.items.size - this.lentEvents
  }

  /** Of a batch that is lent now; 0 for another. */
  sizeOf(id: number): number {
    return this.lent.get(id)?.events.length ?? 0
  }

  /** Not done yet, waiting or lent. */
  get held(): { readonly events: number; readonly bytes: number } {
    return { events: this.items.size, bytes: this.heldBytes }
  }

  /** Events in order of offset, all beyond {@link readTo}; up to `scannedTo` there are no others. */
  offer(events: readonly E[], scannedTo: number): void {
    for (const event of events) {
      if (event.offset <= this.scannedTo) continue
      this.items.set(event.offset, { event, batch: waiting, failures: 0, notBeforeMs: 0 })
      this.heldBytes += event.bytes
    }
    this.scannedTo = Math.max(this.scannedTo, scannedTo)
  }

  /**
   * The next batch for that processor, lent from now on; undefined when there is nothing that it may have. `leaseMs` infinite: to a processor in the very
   * process of the dealer, which stands still when that does.
   */
  take(
    nowMs: number,
    processor: string,
    eventsMax: number,
    leaseMs = this.options.leaseMs,
  ): Batch<E> | undefined {
    this.expire(nowMs)
    const picked = this.pick(nowMs, Math.min(eventsMax, this.options.batchMax))
    if (picked.length === 0) return undefined
    const id = this.nextId()
    for (const item of picked) {
      item.batch = id
      this.delayed.delete(item)
    }
    const batch: Lent<E> = {
      id,
      events: picked.map((item) => item.event),
      failures: picked[0]?.failures ?? 0,
      processor,
      sinceMs: nowMs,
      deadlineMs: nowMs + leaseMs,
    }
    this.lent.set(id, batch)
    this.lentEvents += picked.length
    return batch
  }

  /** One that failed goes out alone, so that it keeps nothing but its own key from going on. */
  private pick(nowMs: number, eventsMax: number): Item<E>[] {
    const { isOrdered, batchBytesMax } = this.options
    const picked: Item<E>[] = []
    const passedOver = new Set<string>()
    let bytes = 0
    for (const item of this.items.values()) {
      const { key } = item.event
      if (picked.length >= eventsMax) break
      if (isOrdered && passedOver.has(key)) continue
      const isAlone = item.failures > 0
      const mayGo =
        item.batch === waiting &&
        item.notBeforeMs <= nowMs &&
        (picked.length === 0 || (!isAlone && bytes + item.event.bytes <= batchBytesMax))
      if (!mayGo) {
        passedOver.add(key)
        continue
      }
      picked.push(item)
      bytes += item.event.bytes
      if (isAlone) break
    }
    return picked
  }

  /** Its processor is still at it. False: it is not lent to that processor any more, which must stop. */
  renew(nowMs: number, processor: string, id: number): boolean {
    const batch = this.lentTo(nowMs, processor, id)
    if (batch === undefined) return false
    batch.deadlineMs = nowMs + this.options.leaseMs
    return true
  }

  /** Done. False: refused, it is not lent to that processor any more. */
  acknowledge(nowMs: number, processor: string, id: number): boolean {
    const batch = this.lentTo(nowMs, processor, id)
    if (batch === undefined) return false
    this.end(batch, nowMs)
    for (const { offset, bytes } of batch.events) {
      this.items.delete(offset)
      this.heldBytes -= bytes
    }
    return true
  }

  /** Its processor could not do it. It is given out again after a while. False: as {@link acknowledge}. */
  refuse(nowMs: number, processor: string, id: number): boolean {
    const batch = this.lentTo(nowMs, processor, id)
    if (batch === undefined) return false
    this.end(batch, nowMs)
    const { retryMinMs, retryMaxMs } = this.options
    for (const { offset } of batch.events) {
      const item = this.items.get(offset) as Item<E>
      item.batch = waiting
      item.notBeforeMs = nowMs + Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(item.failures, 20))
      item.failures++
      this.delayed.add(item)
    }
    return true
  }

  /** That processor has certainly ended, or gives all back: what it had waits again. */
  release(nowMs: number, processor: string): number {
    let events = 0
    for (const batch of [...this.lent.values()])
      if (batch.processor === processor) {
        this.takeBack(batch, nowMs)
        events += batch.events.length
      }
    return events
  }

  /** What was lent for too long waits again; returns those batches. */
  expire(nowMs: number): readonly { readonly id: number; readonly processor: string }[] {
    const over: Lent<E>[] = []
    for (const batch of this.lent.values()) if (batch.deadlineMs <= nowMs) over.push(batch)
    for (const batch of over) this.takeBack(batch, nowMs)
    return over
  }

  /** When something that waits may go out, or something lent is over; infinity for never. */
  nextDeadlineMs(): number {
    let next = Number.POSITIVE_INFINITY
    for (const batch of this.lent.values()) next = Math.min(next, batch.deadlineMs)
    for (const { notBeforeMs } of this.delayed) next = Math.min(next, notBeforeMs)
    return next
  }

  /** Processor-milliseconds that batches were out since this was last asked. */
  takeBusyMs(nowMs: number): number {
    let sum = this.busyMs
    this.busyMs = 0
    for (const batch of this.lent.values()) {
      sum += nowMs - batch.sinceMs
      batch.sinceMs = nowMs
    }
    return sum
  }

  private lentTo(nowMs: number, processor: string, id: number): Lent<E> | undefined {
    this.expire(nowMs)
    const batch = this.lent.get(id)
    return batch?.processor === processor ? batch : undefined
  }

  private takeBack(batch: Lent<E>, nowMs: number): void {
    this.end(batch, nowMs)
    for (const { offset } of batch.events) (this.items.get(offset) as Item<E>).batch = waiting
  }

  private end(batch: Lent<E>, nowMs: number): void {
    this.lent.delete(batch.id)
    this.lentEvents -= batch.events.length
    this.busyMs += nowMs - batch.sinceMs
  }
}
