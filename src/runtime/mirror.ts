/**
 * A mirror of streams in another cluster, another region say: asynchronous, in the order of each key, every event at least once under its own id, which makes
 * it once there. It is a consumer of this cluster: it runs where the shards are, goes on where its saved position is, and holds nobody up.
 */
import type { MirroredEvent, MirrorTarget } from '../ports/mirror.js'
import type { ConsumeContext, EventView, SkeinNode } from './node-api.js'
import { pause } from './pause.js'

export interface MirrorWorld {
  readonly target: MirrorTarget
  readonly stream: string
  consume: SkeinNode['events']['consume']
  count(target: string, stream: string, outcome: 'stored' | 'duplicate' | 'refused', events: number): void
  note(level: 'info' | 'warn' | 'error', event: string, fields: Record<string, unknown>): void
}

/** Of one request; the other side takes 5 MiB. */
const batchEventsMax = 500
const batchBytesMax = 2 * 1_048_576
const retryMinMs = 200
const retryMaxMs = 10_000

export class Mirror {
  private readonly world: MirrorWorld
  private readonly consumer: { stop(): Promise<void> }
  /** When the oldest event of each batch under way was stored here, wall clock, ms. */
  private readonly underWay = new Map<number, number>()
  private trouble = ''

  constructor(world: MirrorWorld) {
    this.world = world
    this.consumer = world.consume(world.stream, (batch, context) => this.deliver(batch, context), {
      group: `mirror/${world.target.name}`,
      batchMax: batchEventsMax,
    })
  }

  get target(): string {
    return this.world.target.name
  }

  get stream(): string {
    return this.world.stream
  }

  /** Age of the oldest event that this node has to send and the other cluster has not confirmed; 0 when it has them all. */
  lagMs(nowMs: number): number {
    return Math.max(0, ...[...this.underWay.values()].map((atMs) => nowMs - atMs))
  }

  stop(): Promise<void> {
    return this.consumer.stop()
  }

  private async deliver(batch: readonly EventView[], { shard, signal }: ConsumeContext): Promise<void> {
    this.underWay.set(shard, batch[0]?.atMs ?? Date.now())
    try {
      for (const part of parts(batch)) await this.sendAll(part, signal)
    } finally {
      this.underWay.delete(shard)
    }
  }

  /** Until each event is there or refused for good; throws when the shard is no longer ours. */
  private async sendAll(events: readonly MirroredEvent[], signal: AbortSignal): Promise<void> {
    let left = events
    for (let failures = 0; left.length > 0; failures++) {
      if (failures > 0) await pause(Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(failures, 8)), signal)
      signal.throwIfAborted()
      left = await this.sendOnce(left, signal)
    }
  }

  private async sendOnce(
    events: readonly MirroredEvent[],
    signal: AbortSignal,
  ): Promise<readonly MirroredEvent[]> {
    const { target, stream } = this.world
    try {
      const outcomes = await target.send(events, signal)
      const counts = { stored: 0, duplicate: 0, refused: 0 }
      // Of one key nothing may overtake: from the first that has to wait on, all of its key wait.
      const waiting = new Set<string>()
      const left = events.filter((event, i) => {
        const outcome = outcomes[i]
        if (outcome === undefined || outcome.status === 'retry' || waiting.has(event.key)) {
          waiting.add(event.key)
          return true
        }
        counts[outcome.status]++
        if (outcome.status === 'refused')
          this.world.note('error', 'mirror.refused', {
            target: target.name,
            stream,
            id: event.id,
            detail: outcome.detail,
          })
        return false
      })
      for (const status of ['stored', 'duplicate', 'refused'] as const)
        if (counts[status] > 0) this.world.count(target.name, stream, status, counts[status])
      if (left.length < events.length) this.recovered()
      return left
    } catch (error) {
      if (!signal.aborted) this.failed(error instanceof Error ? error.message : String(error))
      return events
    }
  }

  private failed(detail: string): void {
    if (this.trouble === detail) return
    this.trouble = detail
    const { target, stream } = this.world
    this.world.note('warn', 'mirror.failed', { target: target.name, stream, detail })
  }

  private recovered(): void {
    if (this.trouble === '') return
    this.trouble = ''
    this.world.note('info', 'mirror.recovered', { target: this.world.target.name, stream: this.world.stream })
  }
}

function parts(batch: readonly EventView[]): MirroredEvent[][] {
  const all: MirroredEvent[][] = []
  let bytes = Number.POSITIVE_INFINITY
  for (const { stream, key, id, type, payload } of batch) {
    const size = 200 + JSON.stringify(payload).length
    if (bytes + size > batchBytesMax) {
      all.push([])
      bytes = 0
    }
    bytes += size
    all.at(-1)?.push({ stream, key, id, type, payload })
  }
  return all
}
