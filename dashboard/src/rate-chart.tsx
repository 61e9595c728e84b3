/** Events per second of the whole cluster over the last three minutes, as this page collected them. uPlot draws. */
import { useEffect, useRef, useState } from 'preact/hooks'
import uPlot from 'uplot'
import { clockText, countText } from './format.js'
import type { RatePoint } from './live-data.js'

const windowSecondsMin = 30
const heightPx = 190

export function RateChart({ rates }: { rates: readonly RatePoint[] }) {
  const frame = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | null>(null)
  const isLight = useIsLight()
  useEffect(() => {
    const element = frame.current
    if (element === null) return
    const made = new uPlot(options(element.clientWidth), [[], []], element)
    plot.current = made
    const observer = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: heightPx }))
    observer.observe(element)
    return () => {
      observer.disconnect()
      made.destroy()
    }
  }, [isLight])
  useEffect(() => {
    plot.current?.setData([rates.map(({ atMs }) => atMs / 1_000), rates.map(({ perSecond }) => perSecond)])
  }, [rates, isLight])
  const now = rates.at(-1)?.perSecond ?? 0
  const highest = rates.reduce((most, { perSecond }) => Math.max(most, perSecond), 0)
  return (
    <section class="panel" aria-labelledby="rate-title">
      <div class="panel-head">
        <h2 id="rate-title">Events per second</h2>
        <span class="aside">
          now <b>{countText(now)}</b>, highest <b>{countText(highest)}</b>
        </span>
      </div>
      <div
        ref={frame}
        role="img"
        aria-label={`Events per second in the last 3 minutes: now ${countText(now)}, highest ${countText(highest)}`}
      />
    </section>
  )
}

function useIsLight(): boolean {
  const [query] = useState(() => matchMedia('(prefers-color-scheme: light)'))
  const [isLight, setIsLight] = useState(query.matches)
  useEffect(() => {
    const onChange = () => setIsLight(query.matches)
    query.addEventListener('change', onChange)
    return () => query.removeEventListener('change', onChange)
  }, [query])
  return isLight
}

function options(width: number): uPlot.Options {
  const style = getComputedStyle(document.documentElement)
  const color = (name: string) => style.getPropertyValue(name).trim()
  const grid = { stroke: color('--grid'), width: 1 }
  const axisBase = { stroke: color('--muted'), grid, ticks: grid, font: '12px system-ui, sans-serif' }
  return {
    width,
    height: heightPx,
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false } },
    scales: {
      x: { range: (_plot, min, max) => timeRange(min, max) },
      y: { range: (_plot, _min, max) => [0, Math.max(10, max * 1.15)] },
    },
    axes: [
      { ...axisBase, space: 80, values: (_plot, ticks) => ticks.map((each) => clockText(each * 1_000)) },
      { ...axisBase, size: 64, values: (_plot, ticks) => ticks.map((each) => countText(each)) },
    ],
    series: [
      {},
      {
        label: 'events/s',
        stroke: color('--line'),
        width: 1.5,
        fill: color('--line-fill'),
        points: { show: false },
      },
    ],
  }
}

/** Grows with what was collected, so that a page just opened does not show an empty chart. */
function timeRange(min: number | null, max: number | null): [number, number] {
  const now = max ?? Date.now() / 1_000
  return [Math.min(min ?? now, now - windowSecondsMin), now]
}
