/** The timeline of membership and leadership in SVG, and the newest happenings as a list for those who do not see pictures. */
import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import { clockText, preciseClockText } from './format.js'
import type { FeedEventJson, NodeJson } from './http-client.js'
import { eventText, type Marker, subjectOf, type TimelineRow, timelineRows } from './timeline.js'

const windowMs = 10 * 60_000
const rowPx = 34
const axisPx = 24
const glyphPx = 6.1
const newestMax = 6

interface Props {
  readonly history: readonly FeedEventJson[]
  readonly nodes: readonly NodeJson[]
  readonly nowMs: number
}

export function TimelinePanel({ history, nodes, nowMs }: Props) {
  const frame = useRef<HTMLDivElement>(null)
  const width = useWidth(frame)
  const rows = timelineRows(history, nodes, nowMs - windowMs, nowMs)
  const newest = history.filter((event) => subjectOf(event) !== null).slice(-newestMax)
  return (
    <section class="panel wide" aria-labelledby="timeline-title">
      <div class="panel-head">
        <h2 id="timeline-title">Membership and leadership, last 10 minutes</h2>
        <ul class="legend" aria-hidden="true">
          {(['alive', 'draining', 'stalled', 'suspect', 'failed'] as const).map((state) => (
            <li key={state}>
              <span class={`swatch span-${state}`} /> {state}
            </li>
          ))}
          <li>♛ leader</li>
        </ul>
      </div>
      <div class="timeline" ref={frame}>
        {rows.length === 0 ? <p class="empty">Nothing has happened yet.</p> : null}
        {rows.length > 0 && width > 0 ? <Drawing rows={rows} nowMs={nowMs} width={width} /> : null}
      </div>
      {newest.length > 0 ? (
        <ol class="newest" aria-label="Newest events, newest first" reversed>
          {newest.toReversed().map((event) => (
            <li key={event.seq}>
              <time dateTime={event.at}>{preciseClockText(Date.parse(event.at))}</time>{' '}
              <b>{subjectOf(event)}</b> {eventText(event)}
            </li>
          ))}
        </ol>
      ) : null}
    </section>
  )
}

function Drawing({ rows, nowMs, width }: { rows: readonly TimelineRow[]; nowMs: number; width: number }) {
  const labelPx = width < 600 ? 74 : 110
  const fromMs = nowMs - windowMs
  const endX = width - 10
  const x = (ms: number) => labelPx + (Math.max(0, ms - fromMs) / windowMs) * (endX - labelPx)
  const height = rows.length * rowPx + axisPx
  const minutes = (width < 600 ? [8, 4] : [8, 6, 4, 2]).map((ago) => nowMs - ago * 60_000)
  const summary = rows.map(({ nodeId, spans }) => `${nodeId} ${spans.at(-1)?.state ?? 'gone'}`).join(', ')
  return (
    <svg
      width={width}
      height={height}
      viewBox={`0 0 ${width} ${height}`}
      role="img"
      aria-label={`Now: ${summary}`}
    >
      {minutes.map((ms) => (
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

function useWidth(frame: { readonly current: HTMLElement | null }): number {
  const [width, setWidth] = useState(0)
  useLayoutEffect(() => {
    const element = frame.current
    if (element === null) return
    const observer = new ResizeObserver(() => setWidth(element.clientWidth))
    observer.observe(element)
    return () => observer.disconnect()
  }, [frame])
  return width
}
