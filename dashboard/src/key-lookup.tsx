/** Where a key lives and what is stored of it, from the beginning, page by page. */
import { useState } from 'preact/hooks'
import { fetchRoute } from './cluster-client.js'
import { EventTable } from './event-table.js'
import { fetchEvents, pageMax } from './events-client.js'
import { useAnswer } from './use-answer.js'

const routeEveryMs = 2_000

interface Props {
  readonly stream: string
  readonly eventKey: string
}

export function KeyLookup({ stream, eventKey }: Props) {
  return (
    <section class="panel wide" id="lookup" aria-labelledby="lookup-title">
      <div class="panel-head">
        <h2 id="lookup-title">What is stored{stream === '' ? '' : ` in ${stream}`}</h2>
        {eventKey === '' ? null : <Whereabouts eventKey={eventKey} />}
      </div>
      {stream === '' ? (
        <p class="empty">Name a stream above to read it back, and a key to read only that one.</p>
      ) : (
        <Stored {...{ stream, eventKey }} />
      )}
    </section>
  )
}

function Whereabouts({ eventKey }: { readonly eventKey: string }) {
  const { answer, error } = useAnswer(`route ${eventKey}`, () => fetchRoute(eventKey), routeEveryMs)
  if (answer === null) return <span class="aside">{error === null ? 'Asking where it lives …' : error}</span>
  const { shard, epoch, owner } = answer
  return (
    <span data-testid="route">
      {eventKey} lives in shard <b>{shard}</b>,{' '}
      {owner === null ? (
        <span class="bad">which nobody owns now</span>
      ) : (
        <>
          on <b>{owner}</b>
        </>
      )}
      , epoch {epoch}
    </span>
  )
}

function Stored({ stream, eventKey }: Props) {
  /** Where each page begins; the last one is shown. */
  const [starts, setStarts] = useState<readonly string[]>([''])
  const [tries, setTries] = useState(0)
  const after = starts.at(-1) ?? ''
  const { answer, error } = useAnswer(`events ${stream} ${eventKey} ${after} ${tries}`, () =>
    fetchEvents(stream, eventKey, after),
  )
  const next = answer?.next_cursor
  return (
    <>
      {error === null ? null : <p role="alert">This could not be read: {error}</p>}
      {answer?.incomplete?.map((each) => (
        <p key={each.shard} class="warn">
          <span aria-hidden="true">▲</span> shard {each.shard} could not be read: {each.error}
        </p>
      ))}
      {answer === null ? (
        error === null ? (
          <p class="empty">Asking …</p>
        ) : null
      ) : answer.events.length === 0 ? (
        <p class="empty">Nothing is stored {starts.length === 1 ? 'there' : 'beyond this'}.</p>
      ) : (
        <EventTable label="Stored events" events={answer.events} />
      )}
      <p class="bar">
        <button type="button" disabled={starts.length === 1} onClick={() => setStarts(starts.slice(0, -1))}>
          Page before
        </button>
        <button
          type="button"
          disabled={next === undefined}
          onClick={() => next !== undefined && setStarts([...starts, next])}
        >
          Next {pageMax}
        </button>
        <button type="button" onClick={() => setTries(tries + 1)}>
          Read again
        </button>
        <span class="aside">page {starts.length}</span>
      </p>
    </>
  )
}
