/** The page "Cluster Nodes": header, what is wrong if anything, nodes, agents, placement, shards, rate, timeline, what programs use. Holds what is open over it. */
import { useEffect, useState } from 'preact/hooks'
import { AgentDrawer } from './agent-drawer.js'
import type { AgentsAnswer } from './agents-data.js'
import { AgentsPanel } from './agents-panel.js'
import { BalancerPanel } from './balancer-panel.js'
import { ConnectionBanner, WarningBanner } from './banners.js'
import type { ConfigDrafts } from './config-drafts.js'
import { DropStrip } from './drop-strip.js'
import { Header } from './header.js'
import type { LiveData, LiveState } from './live-data.js'
import { LoginPanel } from './login-panel.js'
import { NodesPanel } from './nodes-panel.js'
import { OutcomeList, type Outcomes } from './outcomes.js'
import { OwnerColors } from './owner-colors.js'
import { usePageView } from './page-view.js'
import { PanelLinks } from './panel-links.js'
import { type Plan, PlanInHand } from './plans.js'
import { ProgramDrawers, ProgramPanels } from './program-panels.js'
import { RateChart } from './rate-chart.js'
import { ShardsPanel } from './shards-panel.js'
import { TimelinePanel } from './timeline-panel.js'
import { Tooltip } from './tooltip.js'
import { useKnown } from './use-wanted.js'
import type { WantedData } from './wanted-data.js'
import { WhyPanel } from './why-panel.js'

interface Props {
  readonly live: LiveData
  readonly agents: WantedData<AgentsAnswer>
  readonly outcomes: Outcomes
  readonly drafts: ConfigDrafts
}

export function App(props: Props) {
  const { live, outcomes, drafts } = props
  const [state, setState] = useState(live.state)
  useEffect(() => live.subscribe(setState), [live])
  const { status } = state
  const onLogOut = (): void => {
    drafts.clear()
    live.startOver()
  }
  return (
    <>
      <Header state={state} onLogOut={onLogOut} />
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
        <Page {...props} state={state} status={status} />
      )}
      <OutcomeList outcomes={outcomes} />
      <Tooltip />
    </>
  )
}

interface PageProps extends Props {
  readonly state: LiveState
  readonly status: NonNullable<LiveState['status']>
}

function Page({ live, agents, outcomes, drafts, state, status }: PageProps) {
  const strategy = useKnown(agents).answer?.strategy ?? null
  const [asked, setAsked] = useState<string | null>(null)
  const [plan, setPlan] = useState<Plan | null>(null)
  const [dragged, setDragged] = useState<string | null>(null)
  const [view, change] = usePageView()
  const { nodes, shards, history, rates, operations } = state
  const nowMs = (state.freshAtMs || Date.now()) + state.clockOffsetMs
  const owners = shards.flatMap(({ owner }) => (owner === null ? [] : [owner]))
  const colors = new OwnerColors([...nodes.map(({ id }) => id), ...owners])
  const mayAct = state.identity === null || ['operator', 'admin'].includes(state.identity.role ?? '')
  const mayWrite = state.identity === null || state.identity.role === 'admin'
  const onChanged = (): void => live.noteDeed()
  const closePlan = (): void => {
    setPlan(null)
    keepFocus(homes[plan?.kind ?? ''] ?? '[role="grid"]')
  }
  const onDropAgent = (to: string): void => {
    if (dragged !== null) setPlan({ kind: 'migrate', name: dragged, to })
    setDragged(null)
  }
  const program = { live, drafts, outcomes, nowMs, view, change, mayAct, mayWrite, onPlan: setPlan }
  return (
    <>
      <main class="page">
        <h1 class="visually-hidden">Cluster Nodes</h1>
        <WarningBanner status={status} />
        <PanelLinks />
        <NodesPanel
          {...{ nodes, colors, nowMs, operations, outcomes, mayAct, onDropAgent, onChanged }}
          shardsTotal={status.shards_total}
          isDragging={dragged !== null}
          onWhy={setAsked}
          onDrain={(nodeId) => setPlan({ kind: 'drain', nodeId })}
        />
        <AgentsPanel
          {...{ nodes, view, change, mayAct }}
          data={agents}
          onMove={(name) => setPlan({ kind: 'migrate', name, to: null })}
          onDrag={setDragged}
        />
        <BalancerPanel
          {...{ strategy, nodes, mayAct, outcomes, onChanged }}
          onRebalance={() => setPlan({ kind: 'rebalance' })}
        />
        <ShardsPanel shards={shards} colors={colors} />
        <RateChart rates={rates} />
        <TimelinePanel history={history} nodes={nodes} nowMs={nowMs} />
        <ProgramPanels {...program} />
      </main>
      <ProgramDrawers {...program} />
      {asked === null ? null : <WhyPanel nodeId={asked} onClose={() => setAsked(null)} />}
      {view.agent === '' ? null : (
        <AgentDrawer
          key={view.agent}
          {...{ nowMs, mayAct, outcomes, onChanged }}
          name={view.agent}
          onMove={() => setPlan({ kind: 'migrate', name: view.agent, to: null })}
          onAct={(action) => setPlan({ kind: 'act', name: view.agent, action })}
          onClose={() => change({ agent: '' })}
        />
      )}
      {plan === null ? null : (
        <PlanInHand
          {...{ plan, nodes, drafts, outcomes, onChanged }}
          strategy={strategy ?? ''}
          onClose={closePlan}
        />
      )}
      {dragged === null ? null : (
        <DropStrip {...{ dragged, nodes }} onDrop={onDropAgent} onCancel={() => setDragged(null)} />
      )}
    </>
  )
}

/** Where to go on after a plan whose button is gone, or may not be pressed again; after others it is the agents. */
const homes: Readonly<Record<string, string>> = {
  kill: '#processors [tabindex="0"]',
  'config-save': '#config textarea',
  'config-rollback': '#config textarea',
}

/** A dialog gives the focus back to what had it; where that cannot have it, it goes to what is still open. */
function keepFocus(home: string): void {
  requestAnimationFrame(() => {
    if (document.activeElement !== document.body) return
    const open = [...document.querySelectorAll('dialog[open]')].at(-1)
    const next = open?.querySelector<HTMLElement>('button') ?? document.querySelector<HTMLElement>(home)
    next?.focus()
  })
}
