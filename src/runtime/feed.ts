/** What happened, as this node saw it: a bounded history with live watchers, numbered so that a watcher can resume. */
import { Ring } from '../core/kernel/ring.js'
import type { FeedEvent } from './node-api.js'

const keptMax = 5_000

export class Feed {
  private readonly ring = new Ring<FeedEvent>(keptMax)
  private readonly watchers = new Set<(event: FeedEvent) => void>()
  private seq = 0

  push(event: Omit<FeedEvent, 'seq'>): FeedEvent {
    const numbered = { ...event, seq: ++this.seq }
    this.ring.push(numbered)
    for (const watcher of this.watchers) watcher(numbered)
    return numbered
  }

  /** Newest last. */
  history(limit: number): FeedEvent[] {
    return this.ring.toArray().slice(-limit)
  }

  watch(afterSeq: number | undefined, onEvent: (event: FeedEvent) => void): { lost: boolean; stop(): void } {
    const kept = this.ring.toArray()
    const first = kept[0]?.seq ?? this.seq + 1
    const lost = afterSeq !== undefined && (afterSeq + 1 < first || afterSeq > this.seq)
    if (afterSeq !== undefined && !lost) for (const event of kept) if (event.seq > afterSeq) onEvent(event)
    this.watchers.add(onEvent)
    return { lost, stop: () => void this.watchers.delete(onEvent) }
  }
}
