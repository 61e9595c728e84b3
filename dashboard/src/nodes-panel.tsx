/** All nodes: a table on a wide screen, cards on a narrow one (the same markup, told apart in the style sheet). */
import { agoText, countText, percentText } from './format.js'
import type { NodeJson } from './http-client.js'
import { nodeState, stateSigns } from './node-state.js'
import type { OwnerColors } from './owner-colors.js'

interface Props {
  readonly nodes: readonly NodeJson[]
  readonly shardsTotal: number
  readonly colors: OwnerColors
  readonly nowMs: number
  readonly onWhy: (nodeId: string) => void
}

const columns = ['Node', 'Status', 'Shards', 'Events/s', 'CPU', 'Memory', 'Uptime', 'Last seen', 'Address']

export function NodesPanel({ nodes, shardsTotal, colors, nowMs, onWhy }: Props) {
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
              <span class="visually-hidden">Evidence</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {nodes.map((node) => (
            <NodeRow key={node.id} {...{ node, shardsTotal, colors, nowMs, onWhy }} />
          ))}
        </tbody>
      </table>
    </section>
  )
}

function NodeRow({
  node,
  shardsTotal,
  colors,
  nowMs,
  onWhy,
}: Omit<Props, 'nodes'> & { readonly node: NodeJson }) {
  const state = nodeState(node)
  const share = shardsTotal === 0 ? 0 : (node.shards_owned / shardsTotal) * 100
  const placed = [node.region, node.zone].filter((each) => each !== '').join(' / ')
  const about = [node.hostname, placed, `version ${node.version}`, `round trip ${node.rtt_ms} ms`]
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
      </td>
      <td data-label="Shards">
        <span class="meter" aria-hidden="true">
          <span style={{ width: `${share}%`, background: colors.of(node.id) }} />
        </span>
        <span class="figure">{node.shards_owned}</span>
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
        <button type="button" onClick={() => onWhy(node.id)} aria-label={`Why is ${node.id} ${state}?`}>
          why?
        </button>
      </td>
    </tr>
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
