/** Says that what is shown is not the present. */
import { clockText, countText, durationText } from './format.js'
import type { Moment } from './replay.js'

interface Props {
  readonly then: Moment
  readonly nowMs: number
  readonly knownFromMs: number
  readonly onAt: (atMs: number | null) => void
}

export function ReplayBanner({ then, nowMs, knownFromMs, onAt }: Props) {
  const { atMs, leaderId, term, nodes, eventsPerSecond } = then
  const facts = [
    leaderId === null ? 'no leader is known' : `${leaderId} led${term === null ? '' : `, term ${term}`}`,
    `${nodes.filter(({ observed }) => observed === 'alive').length} of ${nodes.length} nodes were alive`,
    eventsPerSecond === null ? '' : `${countText(eventsPerSecond)} events/s`,
  ]
  return (
    <div class="banner replay wide" role="status" data-testid="replay">
      <p>
        <b>
          Replay: {clockText(atMs)}, {durationText(nowMs - atMs)} ago
        </b>
      </p>
      <p>{facts.filter((each) => each !== '').join(', ')}</p>
      {atMs < knownFromMs ? (
        <p class="warn">
          This node remembers nothing from before {clockText(knownFromMs)}: taken to be as it was then.
        </p>
      ) : null}
      <button type="button" onClick={() => onAt(null)}>
        Back to live
      </button>
    </div>
  )
}
