/** Simulated clients: each publishes to some node, waits, and on anything but an acknowledgement sends the same events again elsewhere. */
import type { EventOutcome, NewEvent } from '../core/routing/events.js'
import { shardOf } from '../core/sharding/shard-map.js'
import type { PublishedEvent } from './checkers.js'
import type { SimCluster } from './cluster.js'

const clients = 4
const keys = 24
const replyTimeoutMs = 3_000

export class Workload {
  private readonly cluster: SimCluster
  private running = false
  private sequence = 0
  underWay = 0
  lastAckMs = 0

  constructor(cluster: SimCluster) {
    this.cluster = cluster
  }

  start(): void {
    this.running = true
    for (let client = 0; client < clients; client++) this.next(client)
  }

  stop(): void {
    this.running = false
  }

  private next(client: number): void {
    if (!this.running) return
    const { scheduler } = this.cluster
    scheduler.after(scheduler.random.between(5, 60), () => {
      if (!this.running) return
      const events = Array.from({ length: 1 + scheduler.random.below(4) }, (): NewEvent => {
        const id = `e${++this.sequence}`
        return { stream: 's', key: `k${scheduler.random.below(keys)}`, id, type: 't', payload: `"${id}"` }
      })
      this.underWay++
      for (const event of events) {
        const shard = shardOf(event.key, this.cluster.shards)
        const fact: PublishedEvent = {
          id: event.id,
          key: event.key,
          sentMs: scheduler.nowMs,
          ackedMs: 0,
          offset: 0,
          shard,
        }
        this.cluster.checkers.published.set(event.id, fact)
      }
      this.send(client, events)
    })
  }

  private send(client: number, events: readonly NewEvent[]): void {
    const { scheduler, checkers } = this.cluster
    const up = this.cluster.nodes.filter((n) => n.isRunning)
    const node = scheduler.random.pick(up)
    if (node === undefined) {
      scheduler.after(100, () => this.send(client, events))
      return
    }
    let done = false
    const finish = (outcomes: readonly EventOutcome[] | null): void => {
      if (done) return
      done = true
      const again = events.filter((event, i) => {
        const outcome = outcomes?.[i]
        if (outcome === undefined || outcome.status === 'retry') return true
        if (outcome.status === 'rejected') {
          if (!outcome.retryable)
            checkers.fail('2', `${event.id} was rejected for good: ${outcome.code} ${outcome.detail}`)
          return outcome.retryable
        }
        const fact = checkers.published.get(event.id) as PublishedEvent
        fact.ackedMs = scheduler.nowMs
        fact.offset = outcome.offset
        this.lastAckMs = scheduler.nowMs
        return false
      })
      if (again.length > 0) scheduler.after(scheduler.random.between(10, 200), () => this.send(client, again))
      else {
        this.underWay--
        this.next(client)
      }
    }
    scheduler.after(replyTimeoutMs, () => finish(null))
    const publish = node.onMain(() => {
      node.publisher.publish(events, scheduler.nowMs + 2_500, (outcomes) =>
        scheduler.after(0.2, () => finish(outcomes)),
      )
    })
    scheduler.after(0.2, publish)
  }
}
