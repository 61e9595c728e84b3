/** What happened, as this node saw it: a bounded history with live watchers, numbered so that a watcher can resume. */
import { Ring } from '../core/kernel/ring.js'
import type { FeedEvent, FeedTopic } from './node-api.js'

const keptMax = 5_000

export class Feed {
  /** Apart, because agents are many: what they do must not push out what nodes did. */
  private readonly rings: Readonly<Record<FeedTopic, Ring<FeedEvent>>> = {
    agents: new Ring(keptMax),
    cluster: new Ring(keptMax),
  }
  /** The newest that is not kept any more. */
  private forgottenSeq = 0
  private readonly watchers = new Set<(event: FeedEvent) => void>()
  private seq = 0

  push(event: Omit<FeedEvent, 'seq'>): FeedEvent {
    const numbered = { ...event, seq: ++this.seq }
    const topic = event.event.startsWith('agent.') ? 'agents' : 'cluster'
    this.forgottenSeq = Math.max(this.forgottenSeq, this.rings[topic].push(numbered)?.seq ?? 0)
    for (const watcher of this.watchers) watcher(numbered)
    return numbered
  }

  /** Newest last. Without a topic, both. */
  history(limit: number, topic?: FeedTopic): FeedEvent[] {
    return (topic === undefined ? this.kept() : this.rings[topic].toArray()).slice(-limit)
  }

  watch(afterSeq: number | undefined, onEvent: (event: FeedEvent) => void): { lost: boolean; stop(): void } {
    const lost = afterSeq !== undefined && (afterSeq < this.forgottenSeq || afterSeq > this.seq)
    if (afterSeq !== undefined && !lost)
      for (const event of this.kept()) if (event.seq > afterSeq) onEvent(event)
    this.watchers.add(onEvent)
    return { lost, stop: () => void this.watchers.delete(onEvent) }
  }

  private kept(): FeedEvent[] {
    return [...this.rings.agents.toArray(), ...this.rings.cluster.toArray()].sort((a, b) => a.seq - b.seq)
  }
}
