/** The page: header, what is wrong if anything, and the page that the address names. Holds what is open over it. */
import type { ComponentChildren } from 'preact'
import { useCallback, useEffect, useMemo, useState } from 'preact/hooks'
import { AgentDrawer } from './agent-drawer.js'
import type { AgentsAnswer } from './agents-data.js'
import { AgentsPage } from './agents-page.js'
import { AuditPanel } from './audit-panel.js'
import { ConnectionBanner, WarningBanner } from './banners.js'
import { ClusterPage } from './cluster-page.js'
import type { ConfigDrafts } from './config-drafts.js'
import { ConfigPanel } from './config-panel.js'
import { DropStrip } from './drop-strip.js'
import { EventsPage } from './events-page.js'
import { Header } from './header.js'
import { largeFrom } from './later.js'
import type { LiveData, LiveState } from './live-data.js'
import { LoginPanel } from './login-panel.js'
import { NodeDrawer } from './node-drawer.js'
import { OutcomeList, type Outcomes } from './outcomes.js'
import { OwnerColors } from './owner-colors.js'
import { usePageView } from './page-view.js'
import { type Place, pageTitles, usePlace } from './pages.js'
import { type Plan, PlanInHand } from './plans.js'
import { ProgramDrawers, ProgramPanels } from './program-panels.js'
import { Tooltip } from './tooltip.js'
import { useKnown } from './use-wanted.js'
import type { WantedData } from './wanted-data.js'

const drawDelayMs = 250

interface Props {
  readonly live: LiveData
  readonly agents: WantedData<AgentsAnswer>
  readonly outcomes: Outcomes
  readonly drafts: ConfigDrafts
}

export function App(props: Props) {
  const { live, outcomes, drafts } = props
  const [state, setState] = useState(live.state)
  useDrawn(live, setState)
  const { status } = state
  const place = usePlace(status !== null)
  useFailover(state, drafts)
  useTitle(state)
  const onLogOut = (): void => {
    drafts.clear()
    live.startOver()
  }
  const onLogIn = (): void => {
    // A page that is loaded by somebody known may ask other nodes whether they are there. What is being written is worth more.
    if (drafts.size === 0) location.reload()
    else live.startOver()
  }
  return (
    <>
      <Header {...{ state, place, onLogOut }} />
      <ConnectionBanner state={state} onRetry={() => live.refresh()} />
      {state.isLoginNeeded ? (
        <LoginPanel onDone={onLogIn} />
      ) : status === null ? (
        <main class="page" aria-busy={state.failures === 0}>
          <h1 class="visually-hidden">Cluster Nodes</h1>
          {state.failures === 0 ? (
            <p class="empty wide">Asking the node for its view of the cluster …</p>
          ) : null}
        </main>
      ) : (
        <Page {...props} state={state} status={status} place={place} />
      )}
      <OutcomeList outcomes={outcomes} />
      <Tooltip />
    </>
  )
}

/** Of many nodes there is news all the time: what comes close together is drawn once. */
function useDrawn(live: LiveData, setState: (state: LiveState) => void): void {
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined
    const draw = (): void => {
      timer = undefined
      setState(live.state)
    }
    const end = live.subscribe(({ nodes }) => {
      if (nodes.length <= largeFrom) draw()
      else timer ??= setTimeout(draw, drawDelayMs)
    })
    return () => {
      clearTimeout(timer)
      end()
    }
  }, [live])
}

/** Goes to a node that answers, unless somebody is in the middle of something: then the banner has the way there. */
function useFailover({ other }: LiveState, drafts: ConfigDrafts): void {
  const url = other?.url ?? ''
  useEffect(() => {
    if (url === '' || drafts.size > 0 || document.querySelector('dialog[open].plan') !== null) return
    location.replace(url)
  }, [url])
}

function useTitle({ status, failures }: LiveState): void {
  const sign = failures > 0 ? '✕ ' : status?.is_degraded === true ? '▲ ' : ''
  const title = `${sign}${status?.cluster_name ?? 'Skein'}${status === null ? '' : ` · ${status.node.id}`}`
  useEffect(() => {
    document.title = title
  }, [title])
}

interface PageProps extends Props {
  readonly state: LiveState
  readonly status: NonNullable<LiveState['status']>
  readonly place: Place
}

function Page({ live, agents, outcomes, drafts, state, status, place }: PageProps) {
  const strategy = useKnown(agents).answer?.strategy ?? null
  const [plan, setPlan] = useState<Plan | null>(null)
  const [dragged, setDragged] = useState<string | null>(null)
  const [view, change] = usePageView()
  const { nodes, shards, samples } = state
  const nowMs = (state.freshAtMs || Date.now()) + state.clockOffsetMs
  const colors = useColors(state)
  const mayAct = state.identity === null || ['operator', 'admin'].includes(state.identity.role ?? '')
  const mayWrite = state.identity === null || state.identity.role === 'admin'
  const onChanged = useCallback((): void => live.noteDeed(), [live])
  const onDrain = useCallback((nodeId: string): void => setPlan({ kind: 'drain', nodeId }), [])
  const closePlan = (): void => {
    setPlan(null)
    keepFocus(homes[plan?.kind ?? ''] ?? 'main [tabindex="0"]')
  }
  const onDropAgent = (to: string): void => {
    if (dragged !== null) setPlan({ kind: 'migrate', name: dragged, to })
    setDragged(null)
  }
  const program = { live, outcomes, nowMs, view, change, mayAct, onPlan: setPlan }
  const shown = { state, colors, nowMs, view, change, mayAct, outcomes, onChanged }
  const pages: Readonly<Record<Place['page'], () => ComponentChildren>> = {
    cluster: () => <ClusterPage {...shown} {...{ live, status, onDrain }} />,
    agents: () => (
      <AgentsPage
        {...shown}
        {...{ strategy, onDropAgent }}
        data={agents}
        shardsTotal={status.shards_total}
        isDragging={dragged !== null}
        onMove={(name) => setPlan({ kind: 'migrate', name, to: null })}
        onDrag={setDragged}
        onRebalance={() => setPlan({ kind: 'rebalance' })}
      />
    ),
    events: () => <EventsPage {...{ samples, colors, view, change }} />,
    programs: () => <ProgramPanels {...program} />,
    config: () => <ConfigPanel {...{ live, drafts, nowMs, view, change, mayWrite }} onPlan={setPlan} />,
    audit: () => <AuditPanel {...{ live, nowMs, view, change }} mayRead={mayWrite} />,
  }
  return (
    <>
      <main
        class={`page${state.failures > 0 ? ' out-of-date' : ''}${nodes.length > largeFrom ? ' large' : ''}`}
        tabIndex={-1}
      >
        <h1 class="visually-hidden">{pageTitles[place.page]}</h1>
        <WarningBanner status={status} />
        {pages[place.page]()}
      </main>
      <ProgramDrawers {...program} />
      {view.why === '' ? null : (
        <NodeDrawer
          key={`why ${view.why}`}
          nodeId={view.why}
          node={nodes.find(({ id }) => id === view.why) ?? null}
          {...{ shards, samples, mayAct }}
          mayRemove={mayWrite}
          onDeed={(deed) => setPlan({ kind: 'node', nodeId: view.why, deed })}
          onClose={() => change({ why: '' })}
        />
      )}
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

function useColors({ nodes, shards }: LiveState): OwnerColors {
  const ids = [...new Set([...nodes.map(({ id }) => id), ...shards.flatMap(({ owner }) => owner ?? [])])]
  return useMemo(() => new OwnerColors(ids), [ids.join(' ')])
}

/** Where to go on after a plan whose button is gone, or may not be pressed again; after others it is the first thing that is walked by keys. */
const homes: Readonly<Record<string, string>> = {
  migrate: '[role="grid"]',
  act: '[role="grid"]',
  rebalance: '[role="grid"]',
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
