/**
 * The entry side of an event's way: cut a request by shard, hand each part to the one owner, here or on another node, and try again until
 * the owner decided or the deadline came. Only the entry node forwards, once; a node that is not the owner says so and never passes on,
 * so nothing can circle. Trying again is safe because every event has its id before it leaves this node.
 */
import type { NodeId, ShardId } from '../kernel/brand.js'
import type { EventOutcome, NewEvent, Route } from './events.js'

export type ForwardResult =
  | { readonly ok: true; readonly outcomes: readonly EventOutcome[] }
  /** `unknown`: the other node may have stored them. */
  | { readonly ok: false; readonly unknown: boolean; readonly detail: string }

export interface PublisherWorld {
  nowMs(): number
  shardOf(key: string): ShardId
  route(shard: ShardId): Route
  acceptHere(
    shard: ShardId,
    events: readonly NewEvent[],
    settle: (index: number, outcome: EventOutcome) => void,
  ): void
  /** Outcomes in the order of the events. */
  forward(
    to: NodeId,
    events: readonly NewEvent[],
    timeoutMs: number,
    done: (result: ForwardResult) => void,
  ): void
  /** Calls `run` at that time or a little later. */
  wakeAt(atMs: number): void
}

export interface PublisherOptions {
  /** Events that may wait for an owner. Over it: rejected as overloaded. */
  readonly waitingEventsMax: number
  readonly retryMinMs: number
  readonly retryMaxMs: number
}

export const publisherDefaults: PublisherOptions = {
  waitingEventsMax: 50_000,
  retryMinMs: 5,
  retryMaxMs: 200,
}

interface Request {
  readonly outcomes: (EventOutcome | undefined)[]
  left: number
  readonly deadlineMs: number
  readonly done: (outcomes: readonly EventOutcome[]) => void
}

/** The events of one request that belong to one shard. */
interface Part {
  readonly request: Request
  readonly shard: ShardId
  events: NewEvent[]
  indexes: number[]
  tries: number
  unknown: boolean
  retryAtMs: number
}

export class Publisher {
  private readonly world: PublisherWorld
  private readonly options: PublisherOptions
  private waiting: Part[] = []
  private waitingEvents = 0

  constructor(world: PublisherWorld, options: PublisherOptions = publisherDefaults) {
    this.world = world
    this.options = options
  }

  /** `done` is called once, with one outcome per event, none of them `retry`. */
  publish(
    events: readonly NewEvent[],
    deadlineMs: number,
    done: (outcomes: readonly EventOutcome[]) => void,
  ): void {
    const request: Request = { outcomes: new Array(events.length), left: events.length, deadlineMs, done }
    if (events.length === 0) {
      done([])
      return
    }
    const parts = new Map<ShardId, Part>()
    events.forEach((event, index) => {
      const shard = this.world.shardOf(event.key)
      let part = parts.get(shard)
      if (part === undefined) {
        part = { request, shard, events: [], indexes: [], tries: 0, unknown: false, retryAtMs: 0 }
        parts.set(shard, part)
      }
      part.events.push(event)
      part.indexes.push(index)
    })
    this.dispatch([...parts.values()])
  }

  /** The routing table changed: what waits for an owner may go at once. */
  routesChanged(): void {
    for (const part of this.waiting) part.retryAtMs = 0
    this.run()
  }

  /** Sends again what is due, gives up what is past its deadline. */
  run(): void {
    if (this.waiting.length === 0) return
    const nowMs = this.world.nowMs()
    const due = this.waiting.filter((p) => p.retryAtMs <= nowMs || p.request.deadlineMs <= nowMs)
    if (due.length > 0) {
      this.waiting = this.waiting.filter((p) => !due.includes(p))
      for (const part of due) this.waitingEvents -= part.events.length
      this.dispatch(due)
    }
    let next = Number.POSITIVE_INFINITY
    for (const part of this.waiting) next = Math.min(next, part.retryAtMs, part.request.deadlineMs)
    if (next !== Number.POSITIVE_INFINITY) this.world.wakeAt(next)
  }

  get waitingCount(): number {
    return this.waitingEvents
  }

  private dispatch(parts: readonly Part[]): void {
    const nowMs = this.world.nowMs()
    const remote = new Map<NodeId, Part[]>()
    for (const part of parts) {
      if (part.request.deadlineMs <= nowMs) {
        this.giveUp(part)
        continue
      }
      const route = this.world.route(part.shard)
      if (route.kind === 'self') this.dispatchHere(part)
      else if (route.kind === 'none') this.wait(part, route.reason)
      else {
        const list = remote.get(route.nodeId)
        if (list === undefined) remote.set(route.nodeId, [part])
        else list.push(part)
      }
    }
    for (const [nodeId, list] of remote) this.forward(nodeId, list, nowMs)
  }

  private dispatchHere(part: Part): void {
    const outcomes: EventOutcome[] = new Array(part.events.length)
    let left = part.events.length
    this.world.acceptHere(part.shard, part.events, (i, outcome) => {
      outcomes[i] = outcome
      if (--left === 0) this.take(part, outcomes)
    })
  }

  private forward(nodeId: NodeId, parts: readonly Part[], nowMs: number): void {
    const events = parts.length === 1 ? (parts[0] as Part).events : parts.flatMap((p) => p.events)
    const deadlineMs = Math.min(...parts.map((p) => p.request.deadlineMs))
    this.world.forward(nodeId, events, Math.max(1, deadlineMs - nowMs), (result) => {
      let from = 0
      for (const part of parts) {
        const to = from + part.events.length
        if (result.ok) this.take(part, result.outcomes.slice(from, to))
        else {
          part.unknown ||= result.unknown
          this.wait(part, result.detail)
        }
        from = to
      }
    })
  }

  /** Keeps what was decided; what is to be tried again stays together and in order. */
  private take(part: Part, outcomes: readonly EventOutcome[]): void {
    const events: NewEvent[] = []
    const indexes: number[] = []
    let detail = ''
    outcomes.forEach((outcome, i) => {
      const index = part.indexes[i] as number
      if (outcome.status === 'retry') {
        events.push(part.events[i] as NewEvent)
        indexes.push(index)
        part.unknown ||= outcome.unknown
        detail = outcome.detail
      } else this.settle(part.request, index, outcome)
    })
    if (events.length === 0) return
    part.events = events
    part.indexes = indexes
    this.wait(part, detail)
  }

  private wait(part: Part, detail: string): void {
    const nowMs = this.world.nowMs()
    if (part.request.deadlineMs <= nowMs) {
      this.giveUp(part)
      return
    }
    if (this.waitingEvents + part.events.length > this.options.waitingEventsMax) {
      this.reject(part, 'overloaded', `${this.waitingEvents} events wait for an owner: ${detail}`)
      return
    }
    const delayMs = Math.min(this.options.retryMaxMs, this.options.retryMinMs * 2 ** Math.min(part.tries, 8))
    part.tries++
    part.retryAtMs = nowMs + delayMs
    this.waiting.push(part)
    this.waitingEvents += part.events.length
    this.world.wakeAt(Math.min(part.retryAtMs, part.request.deadlineMs))
  }

  private giveUp(part: Part): void {
    if (part.unknown)
      this.reject(
        part,
        'outcome_unknown',
        'the owner changed while it was being stored; send it again with the same id',
      )
    else this.reject(part, 'no_owner', `no node could take shard ${part.shard} in time`)
  }

  private reject(part: Part, code: 'outcome_unknown' | 'no_owner' | 'overloaded', detail: string): void {
    for (const index of part.indexes) {
      this.settle(part.request, index, {
        status: 'rejected',
        shard: part.shard,
        code: part.unknown ? 'outcome_unknown' : code,
        detail,
        retryable: true,
      })
    }
  }

  private settle(request: Request, index: number, outcome: EventOutcome): void {
    request.outcomes[index] = outcome
    if (--request.left === 0) request.done(request.outcomes as EventOutcome[])
  }
}
