/** The nodes: a table on a wide screen, cards on a narrow one (the same markup, told apart in the style sheet). */

import type { ComponentChildren } from 'preact'
import { useRef, useState } from 'preact/hooks'
import { cordonNode } from './agents-client.js'
import { DrainList } from './drain-list.js'
import { agoText, countText, percentText } from './format.js'
import type { NodeJson, OperationJson } from './http-client.js'
import { memo } from './memo.js'
import { type NodeColumn, nodeColumns, parseOrder, shownNodes } from './node-list.js'
import { nodeState, stateSigns } from './node-state.js'
import type { Outcomes } from './outcomes.js'
import type { OwnerColors } from './owner-colors.js'
import type { ChangeView, PageView } from './page-view.js'
import type { Samples } from './samples.js'
import { SearchInput } from './search-input.js'
import { Spark } from './spark.js'

/** So many at first, and more with each press: drawing hundreds every second would make the page slow for nobody's good. */
const shownStep = 20

interface Props {
  readonly nodes: readonly NodeJson[]
  readonly shardsTotal: number
  readonly colors: OwnerColors
  readonly samples: Samples
  readonly nowMs: number
  readonly view: PageView
  readonly change: ChangeView
  readonly operations: readonly OperationJson[]
  readonly outcomes: Outcomes
  /** Whoever looks may also change things, and what is looked at is not the past. */
  readonly mayAct: boolean
  /** What to say beside the title of how old all this is; null when it is fresh. */
  readonly staleTag: ComponentChildren
  readonly onDrain: (nodeId: string) => void
  readonly onChanged: () => void
}

const titles: Readonly<Record<NodeColumn, string>> = {
  node: 'Node',
  status: 'Status',
  shards: 'Shards',
  agents: 'Agents',
  events: 'Events/s',
  cpu: 'CPU',
  memory: 'Memory',
  seen: 'Last seen',
}

export const NodesPanel = memo(function NodesPanel({ nodes, operations, staleTag, ...rest }: Props) {
  const { nowMs, mayAct, outcomes, view, change, onChanged } = rest
  const [limit, setLimit] = useState(shownStep)
  const down = nodes.filter((node) => nodeState(node) === 'offline').length
  const [isHeld, setIsHeld] = useState(false)
  const found = useSteady(shownNodes(nodes, view.nodes, view.order), isHeld, view.order)
  return (
    <section class="panel wide" id="nodes" aria-labelledby="nodes-title">
      <div class="panel-head">
        <h2 id="nodes-title">Cluster Nodes</h2>
        <span class="aside" data-testid="nodes-count">
          {nodes.length - down} up{down > 0 ? `, ${down} offline` : ''}
          {staleTag}
        </span>
      </div>
      {nodes.length === 0 ? <p class="empty">No nodes are known yet.</p> : null}
      {nodes.length > filterFrom || view.nodes !== '' ? (
        <search class="bar" aria-label="Filter the nodes">
          <SearchInput
            label="Text in the nodes"
            placeholder="name, state, zone, label …"
            text={view.nodes}
            onText={(text) => change({ nodes: text })}
          />
          <span class="aside">
            {found.length === nodes.length ? '' : `${found.length} of ${nodes.length}`}
          </span>
        </search>
      ) : null}
      <table
        class="nodes"
        onPointerEnter={() => setIsHeld(true)}
        onPointerLeave={() => setIsHeld(false)}
        onFocusCapture={() => setIsHeld(true)}
        onBlurCapture={() => setIsHeld(false)}
      >
        <Head order={view.order} change={change} />
        <tbody>
          {found.slice(0, limit).map((node) => (
            <NodeRow key={node.id} node={node} {...rest} />
          ))}
        </tbody>
      </table>
      {found.length === 0 && nodes.length > 0 ? <p class="empty">No node is like that.</p> : null}
      {found.length > limit ? (
        <p class="bar">
          <button type="button" onClick={() => setLimit(limit + shownStep)}>
            Show {Math.min(shownStep, found.length - limit)} more
          </button>
          <span class="aside">{found.length - limit} are not shown</span>
        </p>
      ) : null}
      <DrainList {...{ operations, nodes, nowMs, mayAct, outcomes, onChanged }} />
    </section>
  )
})

const filterFrom = 8

/** Nothing moves away from under a pointer or a focus: its order stays, and who is new comes last. */
function useSteady(nodes: readonly NodeJson[], isHeld: boolean, order: string): readonly NodeJson[] {
  const places = useRef<ReadonlyMap<string, number>>(new Map())
  const lastOrder = useRef(order)
  const isSame = lastOrder.current === order
  lastOrder.current = order
  const before = places.current
  const placeOf = ({ id }: NodeJson): number => before.get(id) ?? Number.MAX_SAFE_INTEGER
  const steady = isHeld && isSame ? nodes.toSorted((a, b) => placeOf(a) - placeOf(b)) : nodes
  places.current = new Map(steady.map(({ id }, place) => [id, place]))
  return steady
}

function Head({ order, change }: { readonly order: string; readonly change: ChangeView }) {
  const { column, isDescending } = parseOrder(order)
  const orderBy = (each: NodeColumn): string => {
    if (each !== column) return ['node', 'status'].includes(each) ? each : `-${each}`
    return isDescending ? each : `-${each}`
  }
  return (
    <thead>
      <tr>
        {nodeColumns.map((each) => (
          <th
            key={each}
            scope="col"
            aria-sort={each !== column ? 'none' : isDescending ? 'descending' : 'ascending'}
          >
            <button type="button" class="sort" onClick={() => change({ order: orderBy(each) })}>
              {titles[each]} <span aria-hidden="true">{each !== column ? '' : isDescending ? '▾' : '▴'}</span>
            </button>
          </th>
        ))}
        <th scope="col">Address</th>
        <th scope="col">
          <span class="visually-hidden">Evidence and maintenance</span>
        </th>
      </tr>
    </thead>
  )
}

type RowProps = Omit<Props, 'nodes' | 'operations' | 'staleTag'> & { readonly node: NodeJson }

function NodeRow(props: RowProps) {
  const { node, shardsTotal, colors, samples, nowMs } = props
  const curves = samples.nodes.get(node.id)
  const state = nodeState(node)
  const share = shardsTotal === 0 ? 0 : (node.shards_owned / shardsTotal) * 100
  const placed = [node.region, node.zone].filter((each) => each !== '').join(' / ')
  const about = [
    node.hostname,
    placed,
    `version ${node.version}`,
    `up for ${node.uptime}`,
    `round trip ${node.rtt_ms} ms`,
  ]
  return (
    <tr class={`node ${state}`} data-node={node.id}>
      <th scope="row" data-tip={about.filter((each) => each !== '').join('\n')}>
        <span class="node-name">{node.id}</span>
        {node.is_leader ? (
          <span class="crown" role="img" aria-label="leader" data-tip="leader">
            ♛
          </span>
        ) : null}
        {node.is_self ? <span class="tag">this node</span> : null}
        {node.kind === 'external' ? <span class="tag">external</span> : null}
        {node.role === 'replica' || node.role === 'standby' ? <span class="tag">{node.role}</span> : null}
        {node.cordoned ? <span class="tag">cordoned</span> : null}
      </th>
      <td data-label="Status">
        <span class={`status ${state}`}>
          <span aria-hidden="true">{stateSigns[state]}</span> {state}
        </span>
        {node.missed_heartbeats > 0 && state !== 'online' ? (
          <span class="aside"> {node.missed_heartbeats} probes missed</span>
        ) : null}
      </td>
      <td data-label="Shards">
        <span class="meter" aria-hidden="true">
          <span style={{ width: `${share}%`, background: colors.of(node.id) }} />
        </span>
        <span class="figure">{node.shards_owned}</span>
      </td>
      <td data-label="Agents">
        <Capacity node={node} />
      </td>
      <td data-label="Events/s" class="figure">
        {countText(node.events_per_second)}
      </td>
      <td data-label="CPU" class={node.cpu_usage > 90 ? 'figure hot' : 'figure'}>
        <Spark curve={curves?.cpu_usage} top={100} /> {percentText(node.cpu_usage)}
      </td>
      <td data-label="Memory" class={node.memory_usage > 90 ? 'figure hot' : 'figure'}>
        <Spark curve={curves?.memory_usage} top={100} /> {percentText(node.memory_usage)}
      </td>
      <td data-label="Last seen" class="figure" data-tip={node.last_seen ?? 'never'}>
        {agoText(node.last_seen, nowMs)}
      </td>
      <td data-label="Address">
        <Address node={node} />
      </td>
      <td class="act">
        <Actions {...props} />
      </td>
    </tr>
  )
}

function Capacity({ node: { active_agents, max_agents } }: { readonly node: NodeJson }) {
  if (max_agents === 0 && active_agents === 0)
    return (
      <span class="figure" data-tip="max_agents is 0: it takes none">
        –
      </span>
    )
  const used = max_agents === 0 ? 100 : Math.min(100, (active_agents / max_agents) * 100)
  return (
    <>
      <span class={used >= 100 ? 'meter full' : 'meter'} aria-hidden="true">
        <span class="used" style={{ width: `${used}%` }} />
      </span>
      <span class="figure" data-testid="capacity">
        {active_agents}/{max_agents}
      </span>
    </>
  )
}

function Actions({ node, mayAct, outcomes, change, onDrain, onChanged }: RowProps) {
  const { id, kind, cordoned, lifecycle } = node
  const state = nodeState(node)
  const isClosed = cordoned || state === 'draining'
  const setCordon = (isCordoned: boolean): Promise<void> =>
    outcomes.tell(`${isCordoned ? 'Cordoning' : 'Uncordoning'} ${id}`, async () => {
      const { detail } = await cordonNode(id, isCordoned)
      onChanged()
      return `${id} ${detail}`
    })
  const isManaged = kind === 'node' && state !== 'offline' && lifecycle !== 'leaving'
  return (
    <span class="acts">
      <button type="button" onClick={() => change({ why: id })} aria-label={`Why is ${id} ${state}?`}>
        why?
      </button>
      {isManaged && mayAct ? (
        <>
          <button
            type="button"
            aria-label={`${isClosed ? 'Uncordon' : 'Cordon'} ${id}`}
            data-tip={isClosed ? 'let it take work again' : 'give it nothing new; what it has stays'}
            onClick={() => void setCordon(!isClosed)}
          >
            {isClosed ? 'uncordon' : 'cordon'}
          </button>
          {state === 'draining' ? null : (
            <button
              type="button"
              aria-label={`Drain ${id}`}
              data-tip="move all it has to other nodes; shows first what that is"
              onClick={() => onDrain(id)}
            >
              drain…
            </button>
          )}
        </>
      ) : null}
    </span>
  )
}

/** A link to that node's own dashboard: only what is surely host:port becomes one, and an external node serves none. */
function Address({ node: { address, id, kind, is_self } }: { node: NodeJson }) {
  const isLinked =
    kind === 'node' && !is_self && /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}$/.test(address)
  if (!isLinked) return <span class="mono">{address === '' ? '–' : address}</span>
  return (
    <a class="mono" href={`${location.protocol}//${address}/`} data-tip={`dashboard of ${id}`}>
      {address}
    </a>
  )
}
