/** How the cluster was doing over the last minutes: events, round trips, and how far the clocks are apart against what is allowed. */
import { useMemo, useRef } from 'preact/hooks'
import { fetchClock } from './cluster-client.js'
import { CurveChart, type Series } from './curve-chart.js'
import { countText } from './format.js'
import type { LiveData } from './live-data.js'
import { memo } from './memo.js'
import type { OwnerColors } from './owner-colors.js'
import { type FigureName, type Samples, spreadOf, sumOf } from './samples.js'
import { rttText } from './topology-layout.js'
import { useKnown, useWanted } from './use-wanted.js'

/** More nodes than this are shown as lowest, middle and highest. */
const linesMax = 6

interface Props {
  readonly live: LiveData
  readonly samples: Samples
  /** Of the samples, which grow in place. */
  readonly revision: number
  readonly selfId: string
  readonly colors: OwnerColors
  /** The moment that is replayed; null for now. */
  readonly cursorMs: number | null
}

export const ClusterCurves = memo(function ClusterCurves({ live, samples, selfId, colors, cursorMs }: Props) {
  const frame = useRef<HTMLDivElement>(null)
  const { answer: clock } = useKnown(useWanted(live, frame, 'clock', { ask: fetchClock }))
  const { atMs } = samples
  const bound = clock?.skew_ms_max
  const refused = clock?.refused_count ?? 0
  const [total, trips, skews] = useMemo(() => {
    const all = {
      name: 'all nodes',
      color: '--line',
      curve: sumOf(samples, 'events_per_second'),
      isFilled: true,
    }
    return [[all], seriesOf(samples, 'rtt_ms', selfId, colors), seriesOf(samples, 'skew_ms', selfId, colors)]
  }, [samples, samples.revision, selfId, colors])
  return (
    <div class="curves wide" ref={frame}>
      <CurveChart
        id="rate"
        title="Events per second"
        span={10}
        format={countText}
        series={total}
        {...{ atMs, cursorMs }}
      />
      <CurveChart
        id="rtt"
        title={`Round trips from ${selfId}`}
        format={rttText}
        series={trips}
        {...{ atMs, cursorMs }}
      />
      <CurveChart
        id="skew"
        title="Clocks against this node’s, ms"
        span={5}
        bounds={bound === undefined ? [] : [bound, -bound]}
        format={(value) => value.toFixed(1)}
        series={skews}
        note={
          bound === undefined
            ? undefined
            : `allowed: ±${bound} ms${refused === 0 ? '' : `; ${countText(refused)} timestamps refused`}`
        }
        {...{ atMs, cursorMs }}
      />
    </div>
  )
})

function seriesOf(
  samples: Samples,
  name: FigureName,
  selfId: string,
  colors: OwnerColors,
): readonly Series[] {
  const measured = [...samples.nodes.keys()].filter((id) => id !== selfId)
  if (measured.length > linesMax) return spreadSeries(samples, name, selfId)
  return measured.map((id) => ({
    name: id,
    color: colors.of(id),
    curve: samples.nodes.get(id)?.[name] ?? [],
  }))
}

function spreadSeries(samples: Samples, name: FigureName, selfId: string): readonly Series[] {
  const { lowest, median, highest } = spreadOf(samples, name, selfId)
  return [
    { name: 'highest', color: '--warn', curve: highest },
    { name: 'middle', color: '--good', curve: median },
    { name: 'lowest', color: '--blue', curve: lowest },
  ]
}
