/** All nodes: a table on a wide screen, cards on a narrow one (the same markup, told apart in the style sheet). */
import { cordonNode } from './agents-client.js'
import { DrainList } from './drain-list.js'
import { dropProps } from './drop-strip.js'
import { agoText, countText, percentText } from './format.js'
import type { NodeJson, OperationJson } from './http-client.js'
import { nodeState, stateSigns } from './node-state.js'
import type { Outcomes } from './outcomes.js'
import type { OwnerColors } from './owner-colors.js'

interface Props {
  readonly nodes: readonly NodeJson[]
  readonly shardsTotal: number
  readonly colors: OwnerColors
  readonly nowMs: number
  readonly operations: readonly OperationJson[]
  readonly outcomes: Outcomes
  /** Whoever looks may also change things. */
  readonly mayAct: boolean
  /** An agent is being dragged: each node is a place to drop it. */
  readonly isDragging: boolean
  readonly onDropAgent: (nodeId: string) => void
  readonly onWhy: (nodeId: string) => void
  readonly onDrain: (nodeId: string) => void
  readonly onChanged: () => void
}

const columns = [
  'Node',
  'Status',
  'Shards',
  'Agents',
  'Events/s',
  'CPU',
  'Memory',
  'Uptime',
  'Last seen',
  'Address',
]

export function NodesPanel({ nodes, operations, ...rest }: Props) {
  const { nowMs, mayAct, outcomes, onChanged } = rest
  const down = nodes.filter((node) => nodeState(node) === 'offline').length
  return (
    <section class="panel wide" aria-labelledby="nodes-title">
      <div class="panel-head">
        <h2 id="nodes-title">Cluster Nodes</h2>
        <span class="aside">
          {nodes.length - down} up{down > 0 ? `, ${down} offline` : ''}
        </span>
      </div>
      {nodes.length === 0 ? <p class="empty">No nodes are known yet.</p> : null}
      <table class="nodes">
        <thead>
          <tr>
            {columns.map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
            <th scope="col">
              <span class="visually-hidden">Evidence and maintenance</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {nodes.map((node) => (
            <NodeRow key={node.id} node={node} {...rest} />
          ))}
        </tbody>
      </table>
      <DrainList {...{ operations, nodes, nowMs, mayAct, outcomes, onChanged }} />
    </section>
  )
}

type RowProps = Omit<Props, 'nodes' | 'operations'> & { readonly node: NodeJson }

function NodeRow(props: RowProps) {
  const { node, shardsTotal, colors, nowMs, isDragging, onDropAgent } = props
  const state = nodeState(node)
  const share = shardsTotal === 0 ? 0 : (node.shards_owned / shardsTotal) * 100
  const placed = [node.region, node.zone].filter((each) => each !== '').join(' / ')
  const about = [node.hostname, placed, `version ${node.version}`, `round trip ${node.rtt_ms} ms`]
  return (
    <tr
      class={`node ${state}`}
      data-node={node.id}
      {...(isDragging && state !== 'offline' ? dropProps(() => onDropAgent(node.id)) : {})}
    >
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
        {percentText(node.cpu_usage)}
      </td>
      <td data-label="Memory" class={node.memory_usage > 90 ? 'figure hot' : 'figure'}>
        {percentText(node.memory_usage)}
      </td>
      <td data-label="Uptime" class="figure">
        {node.uptime}
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

function Actions({ node, mayAct, outcomes, onWhy, onDrain, onChanged }: RowProps) {
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
      <button type="button" onClick={() => onWhy(id)} aria-label={`Why is ${id} ${state}?`}>
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
