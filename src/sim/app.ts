/**
 * A program in a simulated process: what `main` of a service would set up on its node, with the real consumer loop. It lives and dies with
 * the process: its promises stop where a `kill -9` would stop them, and wait while its main thread does.
 */
import type { LeaseId, ShardId } from '../core/kernel/brand.js'
import { SkeinError } from '../core/kernel/error.js'
import type { Random } from '../core/kernel/random.js'
import type { EventOutcome, NewEvent } from '../core/routing/events.js'
import { type ConsumeHandler, Consumer } from '../runtime/consumers.js'
import type { ConsumeOptions, PublishInput, SkeinNode } from '../runtime/node-api.js'
import { publishChecked, settled } from '../runtime/publishing.js'
import type { SimNode } from './node.js'

/** The part of a node that a simulation offers; a function that takes it also takes a `SkeinNode`. */
export interface AppNode {
  readonly self: { readonly id: string }
  readonly clock: Pick<SkeinNode['clock'], 'now'>
  readonly events: Pick<SkeinNode['events'], 'publish' | 'publishMany' | 'consume'>
}

/** Time and chance for a program that must not look at the real ones. */
export interface AppWorld {
  /** Virtual, since the start of the run. */
  nowMs(): number
  sleep(ms: number): Promise<void>
  readonly random: Random
  /** Reports that the program broke a promise of its own. */
  fail(detail: string): void
}

export type SimApp = (node: AppNode, world: AppWorld) => void

export class AppProcess {
  private readonly node: SimNode
  private readonly consumers = new Set<Consumer>()
  private ids = 0

  constructor(node: SimNode, app: SimApp) {
    this.node = node
    const { scheduler, checkers } = node.cluster
    const world: AppWorld = {
      nowMs: () => scheduler.nowMs,
      sleep: (ms) => this.pause(ms),
      random: scheduler.random,
      fail: (detail) => checkers.fail('app', `${node.id}: ${detail}`),
    }
    scheduler.hasSettled = true
    app(this.facade(), world)
  }

  opened(shard: ShardId): void {
    this.tell((consumer) => consumer.opened(shard))
  }

  gone(shard: ShardId): void {
    this.tell((consumer) => consumer.gone(shard))
  }

  acknowledged(shard: ShardId): void {
    this.tell((consumer) => consumer.acknowledged(shard))
  }

  private tell(what: (consumer: Consumer) => void): void {
    if (this.consumers.size === 0) return
    this.node.cluster.scheduler.hasSettled = true
    for (const consumer of this.consumers) what(consumer)
  }

  private facade(): AppNode {
    const { node } = this
    return {
      self: { id: node.id },
      clock: { now: () => node.stamp() },
      events: {
        publish: async (stream, event) => settled(await this.publish([{ ...event, stream }], 5_000)),
        publishMany: (events, options) => this.publish(events, options?.timeoutMs ?? 5_000),
        consume: (stream, handler, options = {}) => this.consume(stream, handler, options),
      },
    }
  }

  private publish(inputs: readonly PublishInput[], timeoutMs: number) {
    const { node } = this
    const { scheduler, checkers } = node.cluster
    const newId = () => `${node.bootId}.${++this.ids}`
    return publishChecked(inputs, newId, (events) => {
      for (const event of events) checkers.publishing(event)
      return this.settles<readonly EventOutcome[]>((resolve) => {
        node.publisher.publish(events, scheduler.nowMs + timeoutMs, (outcomes) => {
          outcomes.forEach((outcome, i) => {
            if (outcome.status === 'accepted' || outcome.status === 'duplicate')
              checkers.answered(events[i] as NewEvent, outcome.offset)
          })
          resolve(outcomes)
        })
      })
    })
  }

  private consume(stream: string, handler: ConsumeHandler, options: ConsumeOptions) {
    const { node } = this
    const { checkers } = node.cluster
    const group = `${stream}/${options.group ?? stream}`
    checkers.consumers.register(group, stream)
    const consumer = new Consumer(
      {
        plane: node,
        journal: this.journal(),
        pause: (ms, signal) => this.pause(ms, signal),
        note: () => {},
      },
      stream,
      async (batch, context) => {
        checkers.handlerStarted(node, group, batch, context)
        await handler(batch, context)
        checkers.consumers.finished(group, batch)
      },
      options,
    )
    this.consumers.add(consumer)
    return {
      stop: async () => {
        this.consumers.delete(consumer)
        await consumer.stop()
      },
    }
  }

  /** The journal as this process reaches it: everything takes its time, and a fenced lease writes nothing. */
  private journal(): ConstructorParameters<typeof Consumer>[0]['journal'] {
    const { node } = this
    const { journal } = node.cluster
    return {
      read: async (request) => {
        await this.ioDelay()
        const { shard, segments, after, limit, stream } = request
        const rows = journal
          .read(shard, segments, after)
          .filter((r) => stream === undefined || r.event.stream === stream)
        const events = rows.slice(0, limit).map(({ event, ...place }) => ({ ...event, ...place }))
        const end = rows.length <= limit
        const scannedTo = end
          ? Math.max(after, segments.at(-1)?.last ?? after)
          : (events.at(-1)?.offset ?? after)
        return { events, scannedTo, end }
      },
      readPositions: async (group, shards) => {
        await this.ioDelay()
        return new Map(shards.map((shard) => [shard, journal.position(group, shard)]))
      },
      commitPositions: async (lease, positions) => {
        await this.ioDelay()
        this.requireLease(lease)
        for (const { group, shard, ...position } of positions)
          journal.commitPosition(lease, group, shard, position)
        await this.ioDelay()
      },
    }
  }

  private requireLease(lease: LeaseId): void {
    if (this.node.currentLease() !== lease) throw new SkeinError('fenced', 'the lease is not current')
  }

  private ioDelay(): Promise<void> {
    const { random } = this.node.cluster.scheduler
    return this.pause(random.between(0.2, 2))
  }

  private pause(ms: number, signal?: AbortSignal): Promise<void> {
    const { scheduler } = this.node.cluster
    return this.settles((resolve) => {
      scheduler.after(ms, () => resolve())
      signal?.addEventListener('abort', () => resolve(), { once: true })
    })
  }

  /** A promise that goes on only on this process's main thread: later while that stands still, never once it is gone. */
  private settles<T>(start: (resolve: (value: T) => void) => void): Promise<T> {
    const { node } = this
    return new Promise((resolve) => {
      start((value) =>
        node.onMain(() => {
          node.cluster.scheduler.hasSettled = true
          resolve(value)
        })(),
      )
    })
  }
}
