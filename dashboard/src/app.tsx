/** The page "Cluster Nodes": header, what is wrong if anything, nodes, shards, rate, timeline. Holds which node is asked about. */
import { useEffect, useState } from 'preact/hooks'
import { ConnectionBanner, WarningBanner } from './banners.js'
import { Header } from './header.js'
import type { LiveData } from './live-data.js'
import { LoginPanel } from './login-panel.js'
import { NodesPanel } from './nodes-panel.js'
import { OwnerColors } from './owner-colors.js'
import { RateChart } from './rate-chart.js'
import { ShardsPanel } from './shards-panel.js'
import { TimelinePanel } from './timeline-panel.js'
import { Tooltip } from './tooltip.js'
import { WhyPanel } from './why-panel.js'

export function App({ live }: { live: LiveData }) {
  const [state, setState] = useState(live.state)
  const [asked, setAsked] = useState<string | null>(null)
  useEffect(() => live.subscribe(setState), [live])
  const { status, nodes, shards, history, rates } = state
  const nowMs = (state.freshAtMs || Date.now()) + state.clockOffsetMs
  const owners = shards.flatMap(({ owner }) => (owner === null ? [] : [owner]))
  const colors = new OwnerColors([...nodes.map(({ id }) => id), ...owners])
  return (
    <>
      <Header state={state} onLogOut={() => live.startOver()} />
      <ConnectionBanner state={state} onRetry={() => live.refresh()} />
      {state.isLoginNeeded ? (
        <LoginPanel onDone={() => live.startOver()} />
      ) : status === null ? (
        <main class="page" aria-busy={state.failures === 0}>
          <h1 class="visually-hidden">Cluster Nodes</h1>
          {state.failures === 0 ? (
            <p class="empty wide">Asking the node for its view of the cluster …</p>
          ) : null}
        </main>
      ) : (
        <main class="page">
          <h1 class="visually-hidden">Cluster Nodes</h1>
          <WarningBanner status={status} />
          <NodesPanel
            nodes={nodes}
            shardsTotal={status.shards_total}
            colors={colors}
            nowMs={nowMs}
            onWhy={(id) => setAsked(id)}
          />
          <ShardsPanel shards={shards} colors={colors} />
          <RateChart rates={rates} />
          <TimelinePanel history={history} nodes={nodes} nowMs={nowMs} />
        </main>
      )}
      {asked === null ? null : <WhyPanel nodeId={asked} onClose={() => setAsked(null)} />}
      <Tooltip />
    </>
  )
}
