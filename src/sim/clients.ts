/** What simulated clients do: publish to some node, wait, and on anything but an acknowledgement send the same events again elsewhere. */
import type { EventOutcome, NewEvent } from '../core/routing/events.js'
import type { SimCluster } from './cluster.js'

const replyTimeoutMs = 3_000

export class Clients {
  private readonly cluster: SimCluster
  /** Requests not yet acknowledged. */
  underWay = 0
  lastAckMs = 0
  /** Ids given to events that came without one. */
  ids = 0

  constructor(cluster: SimCluster) {
    this.cluster = cluster
  }

  /** `done` once every event is acknowledged, or with what it was refused for good. */
  publish(events: readonly NewEvent[], done: (refusal?: string) => void): void {
    this.underWay++
    for (const event of events) this.cluster.checkers.publishing(event)
    this.send(events, (refusal) => {
      this.underWay--
      done(refusal)
    })
  }

  private send(events: readonly NewEvent[], acknowledged: (refusal?: string) => void): void {
    const { scheduler, checkers } = this.cluster
    const node = scheduler.random.pick(this.cluster.nodes.filter((n) => n.isRunning))
    if (node === undefined) {
      scheduler.after(100, () => this.send(events, acknowledged))
      return
    }
    let done = false
    const finish = (outcomes: readonly EventOutcome[] | null): void => {
      if (done) return
      done = true
      let refusal: string | undefined
      const again = events.filter((event, i) => {
        const outcome = outcomes?.[i]
        if (outcome === undefined || outcome.status === 'retry') return true
        if (outcome.status === 'rejected') {
          if (!outcome.retryable) refusal = `${event.id}: ${outcome.code} ${outcome.detail}`
          return outcome.retryable
        }
        checkers.answered(event, outcome.offset)
        this.lastAckMs = scheduler.nowMs
        return false
      })
      if (again.length === 0 || refusal !== undefined) acknowledged(refusal)
      else scheduler.after(scheduler.random.between(10, 200), () => this.send(again, acknowledged))
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
