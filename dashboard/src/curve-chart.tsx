/** Curves over time. uPlot draws; the legend is ours, with what each curve says now. */
import { useEffect, useRef } from 'preact/hooks'
import uPlot from 'uplot'
import { clockText } from './format.js'
import type { Curve } from './samples.js'
import { paintOf, useColorsSign } from './theme.js'

const windowSecondsMin = 30

export interface Series {
  readonly name: string
  /** A variable of the style sheet, or a colour. */
  readonly color: string
  readonly curve: Curve
  readonly isFilled?: boolean
}

interface Props {
  readonly title: string
  readonly id: string
  /** Clock of the node, ms. */
  readonly atMs: readonly number[]
  readonly series: readonly Series[]
  readonly format: (value: number) => string
  /** Dashed lines, which stay in sight. */
  readonly bounds?: readonly number[]
  /** At least this much is in sight from zero. */
  readonly span?: number
  /** The moment that is replayed; null for now. */
  readonly cursorMs?: number | null
  readonly heightPx?: number
  readonly note?: string | undefined
}

export function CurveChart(props: Props) {
  const {
    title,
    id,
    atMs,
    series,
    format,
    bounds = [],
    span = 1,
    cursorMs = null,
    heightPx = 150,
    note,
  } = props
  const frame = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  const cursor = useRef(cursorMs)
  cursor.current = cursorMs
  const shape = series.map(({ name, color, isFilled }) => `${name} ${color} ${isFilled === true}`).join('|')
  const colors = useColorsSign()
  useEffect(() => {
    const element = frame.current
    if (element === null) return
    const setup = optionsOf({ series, format, bounds, span, widthPx: element.clientWidth, heightPx, cursor })
    const made = new uPlot(setup, [[], ...series.map(() => [])], element)
    plot.current = made
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: heightPx }))
    observer.observe(element)
    return () => {
      observer.disconnect()
      made.destroy()
      plot.current = null
    }
  }, [shape, colors, bounds.join(), span, heightPx])
  useEffect(() => {
    plot.current?.setData([atMs.map((each) => each / 1_000), ...series.map(({ curve }) => curve)])
  }, [atMs, atMs.at(-1), series, cursorMs, shape, colors])
  const now = series.map(({ name, color, curve }) => ({
    name,
    color,
    value: curve.findLast((v) => v !== null),
  }))
  const said = now.map(
    ({ name, value }) => `${name} ${typeof value === 'number' ? format(value) : 'unknown'}`,
  )
  return (
    <section class="panel curve" aria-labelledby={`${id}-title`}>
      <div class="panel-head">
        <h2 id={`${id}-title`}>{title}</h2>
        {note === undefined ? null : <span class="aside">{note}</span>}
      </div>
      <div ref={frame} role="img" aria-label={`${title}. Now: ${said.join(', ')}`} />
      <ul class="legend">
        {now.map(({ name, color, value }) => (
          <li key={name}>
            <span class="swatch" style={{ background: color.startsWith('--') ? `var(${color})` : color }} />{' '}
            {name} <b class="figure">{typeof value === 'number' ? format(value) : '–'}</b>
          </li>
        ))}
      </ul>
    </section>
  )
}

interface Setup {
  readonly series: readonly Series[]
  readonly format: (value: number) => string
  readonly bounds: readonly number[]
  readonly span: number
  readonly widthPx: number
  readonly heightPx: number
  readonly cursor: { readonly current: number | null }
}

function optionsOf({ series, format, bounds, span, widthPx, heightPx, cursor }: Setup): uPlot.Options {
  const grid = { stroke: paintOf('--grid'), width: 1 }
  const axisBase = { stroke: paintOf('--muted'), grid, ticks: grid, font: '12px system-ui, sans-serif' }
  const color = (given: string): string => (given.startsWith('--') ? paintOf(given) : given)
  return {
    width: widthPx,
    height: heightPx,
    legend: { show: false },
    cursor: { show: false },
    scales: {
      x: { range: (_plot, min, max) => timeRange(min, max) },
      y: { range: (_plot, min, max) => valueRange(min, max, bounds, span) },
    },
    axes: [
      { ...axisBase, space: 80, values: (_plot, ticks) => ticks.map((each) => clockText(each * 1_000)) },
      { ...axisBase, size: 60, values: (_plot, ticks) => ticks.map((each) => format(each)) },
    ],
    series: [
      {},
      ...series.map((each) => ({
        label: each.name,
        stroke: color(each.color),
        width: 1.5,
        points: { show: false },
        ...(each.isFilled === true ? { fill: paintOf('--line-fill') } : {}),
      })),
    ],
    hooks: { draw: [lineDrawer(bounds, cursor)] },
  }
}

/** Draws the bounds, and the moment that is replayed, over the curves. */
function lineDrawer(bounds: readonly number[], cursor: Setup['cursor']): (plot: uPlot) => void {
  const boundColor = paintOf('--bad')
  const cursorColor = paintOf('--blue')
  return (plot) => drawLines(plot, bounds, boundColor, cursor.current, cursorColor)
}

function drawLines(
  plot: uPlot,
  bounds: readonly number[],
  boundColor: string,
  cursorMs: number | null,
  cursorColor: string,
): void {
  const { ctx, bbox } = plot
  const line = (x1: number, y1: number, x2: number, y2: number): void => {
    ctx.beginPath()
    ctx.moveTo(x1, y1)
    ctx.lineTo(x2, y2)
    ctx.stroke()
  }
  ctx.save()
  ctx.lineWidth = devicePixelRatio
  if (bounds.length > 0) {
    ctx.strokeStyle = boundColor
    ctx.setLineDash([6, 4])
    for (const bound of bounds) {
      const y = plot.valToPos(bound, 'y', true)
      line(bbox.left, y, bbox.left + bbox.width, y)
    }
  }
  if (cursorMs !== null) {
    ctx.strokeStyle = cursorColor
    ctx.setLineDash([])
    const x = plot.valToPos(cursorMs / 1_000, 'x', true)
    if (x >= bbox.left && x <= bbox.left + bbox.width) line(x, bbox.top, x, bbox.top + bbox.height)
  }
  ctx.restore()
}

/** Grows with what was collected, so that a page just opened does not show an empty chart. */
function timeRange(min: number | null, max: number | null): [number, number] {
  const now = max ?? Date.now() / 1_000
  return [Math.min(min ?? now, now - windowSecondsMin), now]
}

function valueRange(
  min: number | null,
  max: number | null,
  bounds: readonly number[],
  span: number,
): [number, number] {
  const low = Math.min(0, min ?? 0, ...bounds)
  const high = Math.max(0, max ?? 0, ...bounds)
  return [low < 0 ? low * 1.12 : 0, Math.max(span, high * 1.12)]
}
