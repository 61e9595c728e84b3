/** Why a node has its status: the verdict in a sentence, who gave it, and what it rests on, newest first. */
import { preciseClockText } from './format.js'
import type { WhyJson } from './http-client.js'
import { nodeState } from './node-state.js'

interface Props {
  readonly why: WhyJson
  /** Of the facts; the rest is counted. */
  readonly shownMax?: number
}

export function Evidence({ why, shownMax = Number.POSITIVE_INFINITY }: Props) {
  const newest = why.evidence.toReversed()
  const shown = newest.slice(0, shownMax)
  return (
    <div class={`evidence ${nodeState(why.node)}`}>
      <p class="summary">{why.summary}</p>
      <p class="aside">
        As seen by {why.observer}, whose own health score is {why.observer_health} (0 is well)
      </p>
      {shown.length === 0 ? <p class="empty">No evidence was needed: nothing was missed.</p> : null}
      <ol>
        {shown.map(({ at, kind, observer, detail }, index) => (
          <li key={`${at} ${newest.length - index}`}>
            <time dateTime={at}>{preciseClockText(Date.parse(at))}</time> <b>{observer}</b>{' '}
            <span class="tag">{kind}</span>
            <span class="detail">{detail}</span>
          </li>
        ))}
      </ol>
      {newest.length > shown.length ? <p class="aside">and {newest.length - shown.length} older</p> : null}
    </div>
  )
}
