/** The timeline of membership and leadership in SVG, with the moment that is looked at; what happened around it as a list for those who do not see pictures. */

import { useRef } from 'preact/hooks'
import { clockText, durationText, preciseClockText } from './format.js'
import { happenings } from './happenings.js'
import type { FeedEventJson, NodeJson } from './http-client.js'
import { memo } from './memo.js'
import { Scrubber } from './scrubber.js'
import { type Marker, subjectOf, type TimelineRow, timelineRows } from './timeline.js'
import { useWidth } from './use-width.js'

const windowMsMin = 60_000
const windowMsMax = 10 * 60_000
const rowPx = 34
const axisPx = 24
const glyphPx = 6.1
const newestMax = 6
/** More rows than this: only those on which something happened, the latest first. */
const rowsMax = 40
const endPx = 10

interface Props {
  readonly history: readonly FeedEventJson[]
  readonly nodes: readonly NodeJson[]
  readonly nowMs: number
  /** The moment that is looked at; null for now. */
  readonly atMs: number | null
  /** Before it, the node that answers knows nothing. */
  readonly knownFromMs: number
  readonly onAt: (atMs: number | null) => void
}

export const TimelinePanel = memo(function TimelinePanel({
  history,
  nodes,
  nowMs,
  atMs,
  knownFromMs,
  onAt,
}: Props) {
  const frame = useRef<HTMLDivElement>(null)
  const width = useWidth(frame)
  // No wider than what is known.
  const windowMs = Math.min(windowMsMax, Math.max(windowMsMin, nowMs - knownFromMs))
  const fromMs = nowMs - windowMs
  const all = timelineRows(history, nodes, fromMs, nowMs)
  const rows = all.length <= rowsMax ? all : eventful(all)
  const newest = happenings(
    atMs === null ? history : history.filter(({ at }) => Date.parse(at) <= atMs),
    newestMax,
  )
  const momentsMs = history.flatMap((event) => {
    const eventMs = Date.parse(event.at)
    return subjectOf(event) !== null && eventMs >= fromMs ? [eventMs] : []
  })
  return (
    <section class="panel wide" id="timeline" aria-labelledby="timeline-title">
      <div class="panel-head">
        <h2 id="timeline-title">Membership and leadership, last {durationText(windowMs)}</h2>
        <ul class="legend" aria-hidden="true">
          {(['alive', 'draining', 'stalled', 'suspect', 'failed'] as const).map((state) => (
            <li key={state}>
              <span class={`swatch span-${state}`} /> {state}
            </li>
          ))}
          <li>♛ leader</li>
        </ul>
      </div>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable without a pointer */}
      <section class="timeline" aria-label="Timeline" ref={frame} tabIndex={0}>
        {rows.length === 0 ? <p class="empty">Nothing has happened yet.</p> : null}
        {rows.length > 0 && width > 0 ? <Drawing {...{ rows, fromMs, nowMs, atMs, width }} /> : null}
      </section>
      {rows.length < all.length ? (
        <p class="aside">
          {all.length - rows.length} of {all.length} nodes are not drawn: nothing happened to them lately.
        </p>
      ) : null}
      <Scrubber {...{ fromMs, nowMs, atMs, momentsMs, onAt }} leftPx={labelPxOf(width)} rightPx={endPx} />
      {newest.length > 0 ? (
        <ol
          class="newest"
          aria-label={atMs === null ? 'Newest events, newest first' : 'Events up to then, newest first'}
          reversed
        >
          {newest.toReversed().map((event) => (
            <li key={event.seq}>
              <time dateTime={event.at}>{preciseClockText(Date.parse(event.at))}</time>{' '}
              {event.subject === '' ? null : <b>{event.subject} </b>}
              {event.text}
            </li>
          ))}
        </ol>
      ) : null}
    </section>
  )
})

function eventful(rows: readonly TimelineRow[]): readonly TimelineRow[] {
  const latest = ({ spans, markers }: TimelineRow): number =>
    spans.at(-1)?.state === 'alive' || spans.length === 0 ? (markers.at(-1)?.atMs ?? 0) : Number.MAX_VALUE
  return rows
    .map((row) => ({ row, atMs: latest(row) }))
    .filter(({ atMs }) => atMs > 0)
    .toSorted((a, b) => b.atMs - a.atMs)
    .slice(0, rowsMax)
    .map(({ row }) => row)
}

function labelPxOf(width: number): number {
  return width < 600 ? 74 : 110
}

interface DrawingProps {
  readonly rows: readonly TimelineRow[]
  readonly fromMs: number
  readonly nowMs: number
  readonly atMs: number | null
  readonly width: number
}

function Drawing({ rows, fromMs, nowMs, atMs, width }: DrawingProps) {
  const labelPx = labelPxOf(width)
  const windowMs = nowMs - fromMs
  const endX = width - endPx
  const x = (ms: number) => labelPx + (Math.max(0, ms - fromMs) / windowMs) * (endX - labelPx)
  const height = rows.length * rowPx + axisPx
  const ticks = (width < 600 ? [0.8, 0.4] : [0.8, 0.6, 0.4, 0.2]).map((share) => nowMs - share * windowMs)
  const summary = rows.map(({ nodeId, spans }) => `${nodeId} ${spans.at(-1)?.state ?? 'gone'}`).join(', ')
  return (
    <svg
      width={width}
      height={height}
      viewBox={`0 0 ${width} ${height}`}
      role="img"
      aria-label={`Now: ${summary}`}
    >
      {ticks.map((ms) => (
        <g key={nowMs - ms} class="tick">
          <line x1={x(ms)} x2={x(ms)} y1={0} y2={height - axisPx} />
          <text x={x(ms)} y={height - 8} text-anchor="middle">
            {clockText(ms)}
          </text>
        </g>
      ))}
      {rows.map(({ nodeId, spans, markers }, index) => (
        <g key={nodeId} transform={`translate(0 ${index * rowPx})`}>
          <text class="row-name" x={2} y={26} data-tip={nodeId}>
            {clipped(nodeId, labelPx - 8, 7)}
          </text>
          {spans.map(({ state, fromMs: startMs, toMs }) => (
            <rect
              key={startMs}
              class={`span-${state}`}
              x={x(startMs)}
              y={19}
              width={Math.max(1.5, x(toMs) - x(startMs))}
              height={6}
              data-tip={`${nodeId} ${state}\n${clockText(startMs)} to ${toMs >= nowMs ? 'now' : clockText(toMs)}`}
            />
          ))}
          {width < 600 ? null : <Notes markers={markers} x={x} endX={endX} startX={labelPx} />}
          {markers.map((marker) => (
            <text
              key={marker.seq}
              class={`marker tone-${marker.tone}`}
              x={x(marker.atMs)}
              y={27}
              text-anchor="middle"
              data-tip={`${nodeId} ${marker.text}\n${preciseClockText(marker.atMs)}`}
            >
              {marker.sign}
            </text>
          ))}
        </g>
      ))}
      <line class="now" x1={endX} x2={endX} y1={0} y2={height - axisPx} />
      {atMs === null || atMs < fromMs ? null : (
        <line class="then" x1={x(atMs)} x2={x(atMs)} y1={0} y2={height - axisPx} />
      )}
      <text class="now-text" x={endX} y={height - 8} text-anchor="end">
        {clockText(nowMs)}
      </text>
    </svg>
  )
}

interface NotesProps {
  readonly markers: readonly Marker[]
  readonly x: (ms: number) => number
  readonly startX: number
  readonly endX: number
}

/** Words above a row, newest first, where they do not run into each other; the rest is in the tooltips. */
function Notes({ markers, x, startX, endX }: NotesProps) {
  const notes: { readonly key: number; readonly left: number; readonly text: string }[] = []
  let freeUntil = endX
  for (const marker of markers.toReversed()) {
    const at = x(marker.atMs)
    const room = freeUntil - (at + 10)
    const text = clipped(marker.text, 560, glyphPx)
    const widthPx = text.length * glyphPx
    const isLast = notes.length === 0
    if (widthPx <= room) notes.push({ key: marker.seq, left: at + 10, text })
    else if (isLast && at - widthPx > startX) notes.push({ key: marker.seq, left: at - widthPx, text })
    else if (room > 90)
      notes.push({ key: marker.seq, left: at + 10, text: clipped(marker.text, room, glyphPx) })
    freeUntil = Math.min(freeUntil, notes.at(-1)?.left ?? at, at) - 12
  }
  return (
    <>
      {notes.map(({ key, left, text }) => (
        <text key={key} class="note" x={left} y={12}>
          {text}
        </text>
      ))}
    </>
  )
}

function clipped(text: string, widthPx: number, perGlyphPx: number): string {
  const max = Math.max(3, Math.floor(widthPx / perGlyphPx))
  return text.length <= max ? text : `${text.slice(0, max - 1)}…`
}
