/** The first line: which cluster, who leads, is it well, how busy, and how fresh all this is. */
import { countText } from './format.js'
import { logOut } from './http-client.js'
import type { LiveState } from './live-data.js'
import { PageLinks, type Place } from './pages.js'
import { ThemeButton } from './theme.js'

interface Props {
  readonly state: LiveState
  readonly place: Place
  readonly onLogOut: () => void
}

export function Header({ state, place, onLogOut }: Props) {
  const { status } = state
  return (
    <header class="top">
      <a class="skip" href={`#${place.hash}`} onClick={toMain}>
        Skip to the content
      </a>
      <span class="brand">
        <span class="gem" aria-hidden="true">
          ◆
        </span>{' '}
        {status?.cluster_name ?? 'Skein'}
      </span>
      {status === null ? null : <Pills state={state} />}
      <Whoever state={state} onLogOut={onLogOut} />
      <ThemeButton />
      {state.isLoginNeeded ? null : <Freshness state={state} />}
      {status === null ? null : <PageLinks place={place} />}
    </header>
  )
}

/** By hand: the hash of the address says which page is shown. */
function toMain(event: MouseEvent): void {
  event.preventDefault()
  document.querySelector<HTMLElement>('main')?.focus()
}

function Pills({ state: { status, nodes } }: { state: LiveState }) {
  if (status === null) return null
  const alive = status.total_peers + 1 - status.down_peers
  const quorum = `${alive}/${status.total_peers + 1}`
  return (
    <ul class="pills" aria-label="Cluster at a glance">
      <li class={status.leader_id === null ? 'pill bad' : 'pill'} data-testid="leader">
        {status.leader_id === null ? (
          'no leader'
        ) : (
          <>
            leader <b>{status.leader_id}</b>
          </>
        )}{' '}
        · term {status.term}
      </li>
      {status.is_quorum_available ? (
        <li class="pill good" data-tip={`${alive} of ${nodes.length} nodes are up`}>
          quorum {quorum}
        </li>
      ) : (
        <li class="pill bad">no quorum {quorum}</li>
      )}
      {status.suspected_peers > 0 ? <li class="pill warn">{status.suspected_peers} suspect</li> : null}
      {status.down_peers > 0 ? <li class="pill bad">{status.down_peers} down</li> : null}
      {status.is_degraded ? <li class="pill warn">degraded</li> : null}
      {status.is_cluster_mode || status.total_peers > 0 ? null : <li class="pill">standalone</li>}
      <li class="pill">
        <b>{countText(status.events_per_second)}</b> events/s
      </li>
    </ul>
  )
}

/** Nothing while no token is set: then everybody is the same. */
function Whoever({ state: { identity }, onLogOut }: { state: LiveState; onLogOut: () => void }) {
  if (identity === null || identity.role === null || !identity.required) return null
  // A log-out that the node did not hear of leaves the cookie: the page then shows so by itself.
  const leave = () => void logOut().then(onLogOut, onLogOut)
  return (
    <span class="who" data-testid="who">
      {identity.name} ({identity.role}){' '}
      <button type="button" onClick={leave}>
        Log out
      </button>
    </span>
  )
}

function Freshness({ state }: { state: LiveState }) {
  const [tone, word, tip] = freshness(state)
  return (
    <span class={`pill live ${tone}`} data-tip={tip} data-testid="live">
      <span class="dot" aria-hidden="true">
        ●
      </span>{' '}
      {word}
    </span>
  )
}

function freshness(state: LiveState): readonly [tone: string, word: string, tip: string] {
  if (state.isPaused) return ['', 'paused', 'A hidden tab asks nothing']
  if (state.failures > 0) return ['bad', 'lost', 'The node does not answer']
  if (state.freshAtMs === 0) return ['', 'loading', 'The first answer is under way']
  if (!state.isStreaming) return ['warn', 'polling', 'The watch stream is closed; figures come once a second']
  const from = state.status === null ? '' : ` of ${state.status.node.id}`
  return ['good', 'live', `The view${from}, each change at once`]
}
