/**
 * The owner's side of an event's way: dedupe, order, group commit, and the check between commit and acknowledgement.
 *
 * One commit is under way at a time; what arrives meanwhile goes into the next one, whole requests together. Offsets are given when a
 * commit starts, so a refused commit leaves no gap. An event is acknowledged only if, *after* its commit, the lease still holds and
 * the shard still has the epoch it was written under: otherwise a successor may already have sealed the log below it.
 */
import type { Epoch, LeaseId, ShardId } from '../kernel/brand.js'
import { type DedupeOptions, DedupeWindow } from './dedupe.js'
import type {
  CommitGroup,
  CommitOutcome,
  EventOutcome,
  NewEvent,
  StampedEvent,
  WriterWorld,
} from './events.js'

export interface WriterOptions {
  readonly dedupe: DedupeOptions
  /** Events that may wait for a commit, over all shards. Over it: rejected as overloaded. */
  readonly queueEventsMax: number
  readonly queueBytesMax: number
  readonly commitEventsMax: number
  readonly commitBytesMax: number
}

export const writerDefaults: Omit<WriterOptions, 'dedupe'> = {
  queueEventsMax: 100_000,
  queueBytesMax: 64 * 1024 * 1024,
  commitEventsMax: 4_000,
  commitBytesMax: 4 * 1024 * 1024,
}

/** An id as the journal remembers it, for filling the window at a take-over. */
export interface RememberedId {
  readonly event: NewEvent
  readonly offset: number
  readonly atMs: number
}

interface PendingEvent {
  readonly event: NewEvent
  readonly idDigest: string
  readonly payloadDigest: string
  readonly settle: ((outcome: EventOutcome) => void)[]
}

interface QueuedGroup {
  readonly log: ShardLog
  readonly events: PendingEvent[]
  readonly bytes: number
}

interface ShardLog {
  readonly shard: ShardId
  readonly epoch: Epoch
  readonly lease: LeaseId
  nextOffset: number
  confirmed: number
  readonly window: DedupeWindow
  readonly pending: Map<string, PendingEvent>
  closing: (() => void) | null
  closed: boolean
}

export class ShardWriter {
  private readonly world: WriterWorld
  private readonly options: WriterOptions
  private readonly logs = new Map<ShardId, ShardLog>()
  private queue: QueuedGroup[] = []
  private queuedEvents = 0
  private queuedBytes = 0
  private committing = false
  private committingEvents = 0

  constructor(world: WriterWorld, options: WriterOptions) {
    this.world = world
    this.options = options
  }

  /** From now on events of this shard are taken. `lastOffset` is the end of the sealed log; `recent` fills the dedupe window. */
  open(
    shard: ShardId,
    epoch: Epoch,
    lease: LeaseId,
    lastOffset: number,
    recent: readonly RememberedId[],
  ): void {
    const before = this.logs.get(shard)
    if (before !== undefined) this.abandon(before, 'the shard was opened again')
    const window = new DedupeWindow(this.options.dedupe)
    for (const { event, offset, atMs } of recent) {
      window.insert(this.idDigest(event), { offset, payloadDigest: this.payloadDigest(event), atMs })
    }
    this.logs.set(shard, {
      shard,
      epoch,
      lease,
      nextOffset: lastOffset + 1,
      confirmed: lastOffset,
      window,
      pending: new Map(),
      closing: null,
      closed: false,
    })
  }

  /** Takes no more; `done` once everything under way is answered. */
  close(shard: ShardId, epoch: Epoch, done: () => void): void {
    const log = this.logs.get(shard)
    if (log === undefined || log.epoch !== epoch) {
      done()
      return
    }
    log.closing = done
    this.finishClosing(log)
  }

  /** The lease is gone: everything waiting is answered as unknown or to be tried elsewhere, nothing is acknowledged any more. */
  abandonAll(detail: string): void {
    for (const log of [...this.logs.values()]) this.abandon(log, detail)
  }

  /** The end of what has been acknowledged, and under which epoch; undefined for shards not open here. */
  confirmed(
    shard: ShardId,
  ): { readonly epoch: Epoch; readonly lease: LeaseId; readonly offset: number } | undefined {
    const log = this.logs.get(shard)
    if (log === undefined || this.world.allowedEpoch(shard) !== log.epoch) return undefined
    return { epoch: log.epoch, lease: log.lease, offset: log.confirmed }
  }

  /** Events taken and not yet confirmed: in the queue or in the commit under way. */
  get unconfirmedEvents(): number {
    return this.queuedEvents + this.committingEvents
  }

  /** Events of one shard out of one request: they commit together. `settle` is called once per event, perhaps at once. */
  accept(
    shard: ShardId,
    events: readonly NewEvent[],
    settle: (index: number, outcome: EventOutcome) => void,
  ): void {
    const log = this.logs.get(shard)
    if (log === undefined || log.closing !== null || this.world.allowedEpoch(shard) !== log.epoch) {
      events.forEach((_, i) => {
        settle(i, { status: 'retry', shard, unknown: false, detail: 'this node does not own the shard now' })
      })
      return
    }
    const group: PendingEvent[] = []
    let bytes = 0
    events.forEach((event, i) => {
      const fresh = this.admit(log, event, (outcome) => settle(i, outcome))
      if (fresh === undefined) return
      group.push(fresh)
      bytes += 100 + event.payload.length + event.key.length + event.id.length
    })
    if (group.length === 0) return
    this.queue.push({ log, events: group, bytes })
    this.queuedEvents += group.length
    this.queuedBytes += bytes
    this.pump()
  }

  /** The event if it is new; otherwise it has been answered, or will be together with its twin. */
  private admit(
    log: ShardLog,
    event: NewEvent,
    settle: (outcome: EventOutcome) => void,
  ): PendingEvent | undefined {
    const { shard } = log
    const idDigest = this.idDigest(event)
    const payloadDigest = this.payloadDigest(event)
    const conflict: EventOutcome = {
      status: 'rejected',
      shard,
      code: 'event_conflict',
      detail: 'an event with this id, stream and key is stored with another type or payload',
      retryable: false,
    }
    const known = log.window.lookup(idDigest)
    if (known !== undefined) {
      settle(
        known.payloadDigest === payloadDigest
          ? { status: 'duplicate', shard, offset: known.offset }
          : conflict,
      )
      return undefined
    }
    const twin = log.pending.get(idDigest)
    if (twin !== undefined) {
      if (twin.payloadDigest !== payloadDigest) settle(conflict)
      else twin.settle.push((o) => settle(o.status === 'accepted' ? { ...o, status: 'duplicate' } : o))
      return undefined
    }
    if (this.queuedEvents >= this.options.queueEventsMax || this.queuedBytes >= this.options.queueBytesMax) {
      settle({
        status: 'rejected',
        shard,
        code: 'overloaded',
        detail: `${this.queuedEvents} events wait for the journal`,
        retryable: true,
      })
      return undefined
    }
    const pending: PendingEvent = { event, idDigest, payloadDigest, settle: [settle] }
    log.pending.set(idDigest, pending)
    return pending
  }

  private pump(): void {
    if (this.committing || this.queue.length === 0) return
    const taken = this.takeBatch()
    const byLog = new Map<ShardLog, PendingEvent[]>()
    for (const group of taken) {
      if (group.log.closed) continue
      const list = byLog.get(group.log)
      if (list === undefined) byLog.set(group.log, group.events)
      else list.push(...group.events)
    }
    if (byLog.size === 0) {
      this.pump()
      return
    }
    const atMs = this.world.wallMs()
    const groups: CommitGroup[] = []
    let lease: LeaseId | undefined
    for (const [log, events] of byLog) {
      lease = log.lease
      const stamped = events.map((p): StampedEvent => ({ ...p.event, hlc: this.world.stamp(), atMs }))
      groups.push({ shard: log.shard, epoch: log.epoch, firstOffset: log.nextOffset, events: stamped })
    }
    this.committing = true
    this.committingEvents = groups.reduce((sum, group) => sum + group.events.length, 0)
    this.world.commit(lease as LeaseId, groups, (outcome) => {
      this.committing = false
      this.committingEvents = 0
      for (const [log, events] of byLog) this.committed(log, events, outcome, atMs)
      this.pump()
    })
  }

  private takeBatch(): QueuedGroup[] {
    let events = 0
    let bytes = 0
    let count = 0
    for (const group of this.queue) {
      if (
        count > 0 &&
        (events + group.events.length > this.options.commitEventsMax ||
          bytes + group.bytes > this.options.commitBytesMax)
      )
        break
      events += group.events.length
      bytes += group.bytes
      count++
    }
    const taken = count === this.queue.length ? this.queue : this.queue.slice(0, count)
    this.queue = count === this.queue.length ? [] : this.queue.slice(count)
    this.queuedEvents -= events
    this.queuedBytes -= bytes
    return taken
  }

  private committed(
    log: ShardLog,
    events: readonly PendingEvent[],
    outcome: CommitOutcome,
    atMs: number,
  ): void {
    if (log.closed) return
    const { shard } = log
    if (outcome.kind === 'refused') {
      const { code, detail } = outcome
      for (const p of events)
        this.settle(log, p, { status: 'rejected', shard, code, detail, retryable: true })
    } else if (outcome.kind === 'unknown') {
      this.abandon(log, outcome.detail)
      this.world.reopen(shard, log.epoch)
      return
    } else if (this.world.allowedEpoch(shard) !== log.epoch) {
      this.abandon(log, 'the shard was given up while the commit was under way')
      return
    } else {
      for (const p of events) {
        const offset = log.nextOffset++
        log.confirmed = offset
        log.window.insert(p.idDigest, { offset, payloadDigest: p.payloadDigest, atMs })
        this.settle(log, p, { status: 'accepted', shard, offset })
      }
      log.window.evict(atMs)
    }
    this.finishClosing(log)
  }

  private settle(log: ShardLog, pending: PendingEvent, outcome: EventOutcome): void {
    log.pending.delete(pending.idDigest)
    for (const settle of pending.settle) settle(outcome)
  }

  private finishClosing(log: ShardLog): void {
    if (log.closing === null || log.pending.size > 0) return
    const done = log.closing
    log.closed = true
    if (this.logs.get(log.shard) === log) this.logs.delete(log.shard)
    done()
  }

  private abandon(log: ShardLog, detail: string): void {
    log.closed = true
    if (this.logs.get(log.shard) === log) this.logs.delete(log.shard)
    for (const pending of [...log.pending.values()])
      this.settle(log, pending, { status: 'retry', shard: log.shard, unknown: true, detail })
    log.closing?.()
  }

  private idDigest(event: NewEvent): string {
    return this.world.digest(`${event.stream}\n${event.key.length}\n${event.key}${event.id}`)
  }

  private payloadDigest(event: NewEvent): string {
    return this.world.digest(`${event.type.length}\n${event.type}${event.payload}`)
  }
}
