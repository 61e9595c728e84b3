/** What happened, as lines to read: members and leaders one by one, moves of shards that come close together as one. Pure. */
import type { FeedEventJson } from './http-client.js'
import { movesOf } from './replay.js'
import { eventText, subjectOf } from './timeline.js'

export interface Happening {
  readonly seq: number
  readonly at: string
  /** Whom it is about; empty for shards. */
  readonly subject: string
  readonly text: string
}

const togetherMs = 3_000
const pairsMax = 4

/** Oldest first, as they come; at most `max`, the newest. */
export function happenings(history: readonly FeedEventJson[], max: number): readonly Happening[] {
  const lines: Happening[] = []
  let moved: FeedEventJson[] = []
  // From the newest back, so that only what is shown is put into words.
  for (let index = history.length - 1; index >= 0 && lines.length < max; index--) {
    const event = history[index] as FeedEventJson
    const subject = subjectOf(event)
    const isMove = event.event === 'shards.moved'
    const oldest = moved.at(-1)
    const isApart = oldest !== undefined && Date.parse(oldest.at) - Date.parse(event.at) > togetherMs
    if (moved.length > 0 && (subject !== null || isApart)) {
      lines.push(moveLine(moved))
      moved = []
    }
    if (isMove) moved.push(event)
    else if (subject !== null) lines.push({ seq: event.seq, at: event.at, subject, text: eventText(event) })
  }
  if (moved.length > 0) lines.push(moveLine(moved))
  return lines.slice(0, max).toReversed()
}

function moveLine(events: readonly FeedEventJson[]): Happening {
  const newest = events[0] as FeedEventJson
  const byPair = new Map<string, number>()
  let count = 0
  for (const { fields } of events)
    for (const { from, to, shards } of movesOf(fields.moves)) {
      const pair = `${from === '' ? 'nobody' : from} → ${to === '' ? 'nobody' : to}`
      byPair.set(pair, (byPair.get(pair) ?? 0) + shards.length)
      count += shards.length
    }
  const pairs = [...byPair].toSorted(([, a], [, b]) => b - a)
  const named = pairs.slice(0, pairsMax).map(([pair, shards]) => `${pair} ${shards}`)
  const rest = pairs.length > pairsMax ? ` and ${pairs.length - pairsMax} more ways` : ''
  const text = `${count} ${count === 1 ? 'shard' : 'shards'} moved: ${named.join(', ')}${rest}`
  return { seq: newest.seq, at: newest.at, subject: '', text }
}
