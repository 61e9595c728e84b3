/** The nodes as tiles, by zone: many in little room, and places to drop an agent on. */
import { dropProps } from './drop-strip.js'
import type { NodeJson } from './http-client.js'
import { nodeState, stateSigns } from './node-state.js'
import type { OwnerColors } from './owner-colors.js'
import { nodeText } from './topology.js'

interface Props {
  readonly nodes: readonly NodeJson[]
  readonly shardsTotal: number
  readonly colors: OwnerColors
  /** Set while an agent is dragged: each tile of a node that is there takes it. */
  readonly onDropAgent?: ((nodeId: string) => void) | undefined
  readonly onPick: (nodeId: string) => void
  /** The ones that stand out; empty for none. */
  readonly picked?: string
}

export function NodeTiles({ nodes, ...rest }: Props) {
  const zones = new Map<string, NodeJson[]>()
  for (const node of nodes) {
    const known = zones.get(node.zone)
    if (known === undefined) zones.set(node.zone, [node])
    else known.push(node)
  }
  return (
    <div class="zones">
      {[...zones].map(([zone, list]) => (
        <section key={zone} aria-label={zone === '' ? 'Nodes' : `Zone ${zone}`}>
          {zones.size === 1 && zone === '' ? null : (
            <h3>
              {zone === '' ? 'no zone' : zone} <span class="aside">{list.length}</span>
            </h3>
          )}
          <ul class="tiles">
            {list.map((node) => (
              <Tile key={node.id} node={node} {...rest} />
            ))}
          </ul>
        </section>
      ))}
    </div>
  )
}

function Tile({
  node,
  shardsTotal,
  colors,
  onDropAgent,
  onPick,
  picked = '',
}: Omit<Props, 'nodes'> & { readonly node: NodeJson }) {
  const state = nodeState(node)
  const { id, is_leader, active_agents, max_agents, shards_owned } = node
  const share = shardsTotal === 0 ? 0 : (shards_owned / shardsTotal) * 100
  const used = max_agents === 0 ? 0 : Math.min(100, (active_agents / max_agents) * 100)
  return (
    <li>
      <button
        type="button"
        class={`tile ${state}`}
        aria-pressed={picked === '' ? undefined : picked === id}
        data-tile={id}
        data-tip={nodeText(node).replaceAll(', ', '\n')}
        onClick={() => onPick(id)}
        {...(onDropAgent !== undefined && state !== 'offline' ? dropProps(() => onDropAgent(id)) : {})}
      >
        <span class="tile-name">
          {is_leader ? <span class="crown">♛ </span> : null}
          {id}
        </span>
        <span class={`tile-state ${state}`}>
          {stateSigns[state]} {state === 'online' ? `${active_agents}/${max_agents}` : state}
        </span>
        <span class="visually-hidden">
          {is_leader ? ', leader' : ''}, {shards_owned} shards
        </span>
        <span class="tile-bar" aria-hidden="true">
          <span class="used" style={{ width: `${used}%` }} />
        </span>
        <span class="tile-bar" aria-hidden="true">
          <span style={{ width: `${share}%`, background: colors.of(id) }} />
        </span>
      </button>
    </li>
  )
}
