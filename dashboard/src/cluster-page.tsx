/** The first page: the cluster as it is, or as it was at the moment that is looked at. */
import { useCallback, useMemo } from 'preact/hooks'
import { ClusterCurves } from './cluster-curves.js'
import { GroundPanel } from './ground-panel.js'
import { Later, largeFrom } from './later.js'
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
  const { nodes: present, shards: map, history, samples } = state
  const then = useMemo(
    () => (atMs === null ? null : momentAt({ nodes: present, shards: map, history, samples }, atMs, nowMs)),
    [atMs, present, map, history, nowMs],
  )
  const nodes = then?.nodes ?? present
  const shards = then?.shards ?? map
  const isStale = state.failures > 0
  const fromMs = knownFromMs(state.history, status.node)
  const onAt = useCallback(
    (ms: number | null): void => change({ at: ms === null ? '' : new Date(ms).toISOString() }),
    [change],
  )
  const onWhy = useCallback((why: string): void => change({ why }), [change])
  const onOwner = useCallback((owner: string): void => change({ owner }), [change])
  // Made anew with every draw, as it tells an age: only while something is stale.
  const staleTag = isStale ? (
    <StaleTag testId="nodes-stale" freshAtMs={state.freshAtMs} error={state.error} />
  ) : null
  const selfId = status.node.id
  const isLarge = present.length > largeFrom
  return (
    <>
      {then === null ? null : <ReplayBanner {...{ then, nowMs, onAt }} knownFromMs={fromMs} />}
      <div class="column">
        <TopologyPanel
          {...{ live, nodes, selfId, colors, isStale, onWhy }}
          shardsTotal={status.shards_total}
          isReplay={then !== null}
        />
        <ShardsPanel {...{ shards, colors }} picked={view.owner} onPick={onOwner} />
      </div>
      <div class="column">
        <VerdictsPanel {...{ nodes, onWhy }} isReplay={then !== null} />
        <Later isLarge={isLarge}>
          <MatrixPanel live={live} isReplay={then !== null} />
          <GroundPanel status={status} nodes={state.nodes} isReplay={then !== null} />
        </Later>
      </div>
      <Later isLarge={isLarge}>
        <NodesPanel
          {...{ nodes, colors, nowMs, outcomes, view, change, staleTag, onDrain, onChanged }}
          samples={samples}
          operations={state.operations}
          mayAct={mayAct && then === null}
          shardsTotal={status.shards_total}
        />
        <Later isLarge={isLarge}>
          <TimelinePanel
            {...{ nowMs, atMs, onAt }}
            history={state.history}
            nodes={state.nodes}
            knownFromMs={fromMs}
          />
          <ClusterCurves
            {...{ live, selfId, colors }}
            samples={samples}
            revision={samples.revision}
            cursorMs={atMs}
          />
        </Later>
      </Later>
    </>
  )
}
