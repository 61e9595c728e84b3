/** Events: which stream and key, where that key lives, what is stored of it, what comes in now, and how much. */
import type { TargetedSubmitEvent } from 'preact'
import { useEffect, useState } from 'preact/hooks'
import { CurveChart } from './curve-chart.js'
import { EventTable } from './event-table.js'
import { countText } from './format.js'
import { KeyLookup } from './key-lookup.js'
import { emptyTail, LiveTail, type Tail } from './live-tail.js'
import type { OwnerColors } from './owner-colors.js'
import type { ChangeView, PageView } from './page-view.js'
import { type Samples, sumOf } from './samples.js'

const curvesMax = 8

interface Props {
  readonly samples: Samples
  readonly colors: OwnerColors
  readonly view: PageView
  readonly change: ChangeView
}

export function EventsPage({ samples, colors, view, change }: Props) {
  const { stream, key } = view
  return (
    <>
      <section class="panel wide" id="events" aria-labelledby="events-title">
        <div class="panel-head">
          <h2 id="events-title">Events</h2>
        </div>
        <FilterForm key={`${stream} ${key}`} {...{ stream, eventKey: key, change }} />
        <p class="aside">
          Empty means all. A stream and a key together lead to the shard and the node that have them, and to
          what is stored: <code>skein events tail</code>, <code>skein events get</code> and{' '}
          <code>skein shards</code> say the same.
        </p>
      </section>
      <Rates {...{ samples, colors }} />
      <TailPanel key={`tail ${stream} ${key}`} stream={stream} eventKey={key} change={change} />
      <KeyLookup key={`look ${stream} ${key}`} stream={stream} eventKey={key} />
    </>
  )
}

interface FilterProps {
  readonly stream: string
  readonly eventKey: string
  readonly change: ChangeView
}

function FilterForm({ stream, eventKey, change }: FilterProps) {
  const submit = (event: TargetedSubmitEvent<HTMLFormElement>): void => {
    event.preventDefault()
    const given = new FormData(event.currentTarget)
    change({ stream: String(given.get('stream') ?? '').trim(), key: String(given.get('key') ?? '') })
  }
  return (
    <form class="bar" onSubmit={submit}>
      <label class="bar-field">
        Stream
        <input name="stream" type="text" spellcheck={false} autocomplete="off" value={stream} />
      </label>
      <label class="bar-field">
        Key
        <input name="key" type="text" spellcheck={false} autocomplete="off" value={eventKey} />
      </label>
      <button type="submit" class="primary">
        Look
      </button>
      {stream === '' && eventKey === '' ? null : (
        <button type="button" onClick={() => change({ stream: '', key: '' })}>
          All events
        </button>
      )}
    </form>
  )
}

function Rates({ samples, colors }: Pick<Props, 'samples' | 'colors'>) {
  const busiest = [...samples.nodes]
    .map(([id, { events_per_second: curve }]) => ({
      id,
      curve,
      last: curve.findLast((each) => each !== null) ?? 0,
    }))
    .toSorted((a, b) => b.last - a.last || (a.id < b.id ? -1 : 1))
    .slice(0, curvesMax)
  const isPart = samples.nodes.size > curvesMax
  return (
    <div class="curves wide">
      <CurveChart
        id="event-rate"
        title="Stored per second, all nodes"
        span={10}
        format={countText}
        atMs={samples.atMs}
        series={[
          { name: 'all', color: '--line', curve: sumOf(samples, 'events_per_second'), isFilled: true },
        ]}
      />
      <CurveChart
        id="event-rate-nodes"
        title={isPart ? `Stored per second, the ${curvesMax} busiest nodes` : 'Stored per second, by node'}
        span={10}
        format={countText}
        atMs={samples.atMs}
        series={busiest.map(({ id, curve }) => ({ name: id, color: colors.of(id), curve }))}
      />
    </div>
  )
}

function TailPanel({ stream, eventKey, change }: FilterProps) {
  const [tail, setTail] = useState<Tail>(emptyTail)
  const [isHeld, setIsHeld] = useState(false)
  const [heldTail, setHeldTail] = useState<Tail>(emptyTail)
  useEffect(() => {
    const source = new LiveTail({ stream, key: eventKey }, setTail)
    return () => source.close()
  }, [])
  const shown = isHeld ? heldTail : tail
  const words = { opening: 'connecting …', open: 'live', closed: 'connection lost, trying again' } as const
  return (
    <section class="panel wide" id="tail" aria-labelledby="tail-title">
      <div class="panel-head">
        <h2 id="tail-title">As they come</h2>
        <span class="aside">
          <span class={tail.state === 'open' ? 'good' : 'warn'} data-testid="tail-state">
            {words[tail.state]}
          </span>
          , {countText(tail.count)} since this page looks
          {tail.missed === 0 ? null : (
            <span class="warn"> , {countText(tail.missed)} left out: more than this page could take</span>
          )}
        </span>
      </div>
      <div class="bar">
        <button
          type="button"
          aria-pressed={isHeld}
          onClick={() => {
            setHeldTail(tail)
            setIsHeld(!isHeld)
          }}
        >
          {isHeld ? 'Go on' : 'Hold'}
        </button>
        {isHeld ? <span class="aside">{countText(tail.count - heldTail.count)} came since</span> : null}
        <ul class="legend" aria-label="Events per second by stream, last 10 s">
          {tail.rates.slice(0, 12).map((each) => (
            <li key={each.stream}>
              <button type="button" class="key" onClick={() => change({ stream: each.stream })}>
                {each.stream} <b>{countText(each.perSecond)}/s</b>
              </button>
            </li>
          ))}
        </ul>
      </div>
      {shown.events.length === 0 ? (
        <p class="empty">
          Nothing came yet{stream === '' ? '' : ` in ${stream}`}: <code>skein events publish FILE</code>
        </p>
      ) : (
        <EventTable label="Events as they come" events={shown.events} change={change} />
      )}
    </section>
  )
}
