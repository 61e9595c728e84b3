/** The first page: the cluster as it is, or as it was at the moment that is looked at. */
import { ClusterCurves } from './cluster-curves.js'
import { GroundPanel } from './ground-panel.js'
import type { LiveData, LiveState } from './live-data.js'
import { MatrixPanel } from './matrix-panel.js'
import { NodesPanel } from './nodes-panel.js'
import type { Outcomes } from './outcomes.js'
import type { OwnerColors } from './owner-colors.js'
import type { ChangeView, PageView } from './page-view.js'
import { knownFromMs, momentAt } from './replay.js'
import { ReplayBanner } from './replay-banner.js'
import { ShardsPanel } from './shards-panel.js'
import { StaleTag } from './stale-tag.js'
import { TimelinePanel } from './timeline-panel.js'
import { TopologyPanel } from './topology-panel.js'
import { VerdictsPanel } from './verdicts-panel.js'

interface Props {
  readonly live: LiveData
  readonly state: LiveState
  readonly status: NonNullable<LiveState['status']>
  readonly colors: OwnerColors
  readonly nowMs: number
  readonly view: PageView
  readonly change: ChangeView
  readonly mayAct: boolean
  readonly outcomes: Outcomes
  readonly onDrain: (nodeId: string) => void
  readonly onChanged: () => void
}

export function ClusterPage(props: Props) {
  const { live, state, status, colors, nowMs, view, change, mayAct, outcomes, onDrain, onChanged } = props
  const wantedMs = Date.parse(view.at)
  const atMs = Number.isNaN(wantedMs) || wantedMs >= nowMs ? null : wantedMs
  const then = atMs === null ? null : momentAt(state, atMs, nowMs)
  const nodes = then?.nodes ?? state.nodes
  const shards = then?.shards ?? state.shards
  const isStale = state.failures > 0
  const fromMs = knownFromMs(state.history, status.node)
  const onAt = (ms: number | null): void => change({ at: ms === null ? '' : new Date(ms).toISOString() })
  const onWhy = (why: string): void => change({ why })
  const staleTag = isStale ? (
    <StaleTag testId="nodes-stale" freshAtMs={state.freshAtMs} error={state.error} />
  ) : null
  const selfId = status.node.id
  return (
    <>
      {then === null ? null : <ReplayBanner {...{ then, nowMs, onAt }} knownFromMs={fromMs} />}
      <div class="column">
        <TopologyPanel
          {...{ live, nodes, selfId, colors, isStale, onWhy }}
          shardsTotal={status.shards_total}
          isReplay={then !== null}
        />
        <ShardsPanel {...{ shards, colors }} picked={view.owner} onPick={(owner) => change({ owner })} />
      </div>
      <div class="column">
        <VerdictsPanel {...{ nodes, onWhy }} isReplay={then !== null} />
        <MatrixPanel live={live} isReplay={then !== null} />
        <GroundPanel status={status} nodes={state.nodes} isReplay={then !== null} />
      </div>
      <NodesPanel
        {...{ nodes, colors, nowMs, outcomes, view, change, staleTag, onDrain, onChanged }}
        samples={state.samples}
        operations={state.operations}
        mayAct={mayAct && then === null}
        shardsTotal={status.shards_total}
      />
      <TimelinePanel
        {...{ nowMs, atMs, onAt }}
        history={state.history}
        nodes={state.nodes}
        knownFromMs={fromMs}
      />
      <ClusterCurves {...{ live, selfId, colors }} samples={state.samples} cursorMs={atMs} />
    </>
  )
}
