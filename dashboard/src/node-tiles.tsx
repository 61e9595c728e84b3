/** The nodes as tiles, by zone: many in little room, and places to drop an agent on. */
import { dropProps } from './drop-strip.js'
import type { NodeJson } from './http-client.js'
import { memo } from './memo.js'
import { type NodeState, nodeState, stateSigns } from './node-state.js'
import type { OwnerColors } from './owner-colors.js'

interface Props {
  readonly nodes: readonly NodeJson[]
  readonly shardsTotal: number
  readonly colors: OwnerColors
  /** Set while an agent is dragged: each tile of a node that is there takes it. */
  readonly onDropAgent?: ((nodeId: string) => void) | undefined
  readonly onPick: (nodeId: string) => void
  /** The one that stands out; empty for none yet. Absent where none can. */
  readonly picked?: string
}

export function NodeTiles({ nodes, shardsTotal, colors, picked, onDropAgent, onPick }: Props) {
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
              <Tile
                key={node.id}
                id={node.id}
                state={nodeState(node)}
                isLeader={node.is_leader}
                agents={node.active_agents}
                agentsMax={node.max_agents}
                shards={node.shards_owned}
                shardsTotal={shardsTotal}
                color={colors.of(node.id)}
                isPicked={picked === undefined ? undefined : picked === node.id}
                {...{ onDropAgent, onPick }}
              />
            ))}
          </ul>
        </section>
      ))}
    </div>
  )
}

interface TileProps {
  readonly id: string
  readonly state: NodeState
  readonly isLeader: boolean
  readonly agents: number
  readonly agentsMax: number
  readonly shards: number
  readonly shardsTotal: number
  readonly color: string
  readonly isPicked: boolean | undefined
  readonly onDropAgent: Props['onDropAgent']
  readonly onPick: (nodeId: string) => void
}

/** Only of what it shows, so that it is drawn again when that changes, not with every figure of its node. */
const Tile = memo(function Tile(props: TileProps) {
  const {
    id,
    state,
    isLeader,
    agents,
    agentsMax,
    shards,
    shardsTotal,
    color,
    isPicked,
    onDropAgent,
    onPick,
  } = props
  const share = shardsTotal === 0 ? 0 : (shards / shardsTotal) * 100
  const used = agentsMax === 0 ? 0 : Math.min(100, (agents / agentsMax) * 100)
  return (
    <li>
      <button
        type="button"
        class={`tile ${state}`}
        aria-pressed={isPicked}
        data-tile={id}
        data-tip={`${id}\n${state}${isLeader ? ', leader' : ''}\n${agents} of ${agentsMax} agents\n${shards} shards`}
        onClick={() => onPick(id)}
        {...(onDropAgent !== undefined && state !== 'offline' ? dropProps(() => onDropAgent(id)) : {})}
      >
        <span class="tile-name">
          {isLeader ? <span class="crown">♛ </span> : null}
          {id}
        </span>
        <span class={`tile-state ${state}`}>
          {stateSigns[state]} {state === 'online' ? `${agents}/${agentsMax}` : state}
        </span>
        <span class="visually-hidden">
          {isLeader ? ', leader' : ''}, {shards} shards
        </span>
        <span class="tile-bar" aria-hidden="true">
          <span class="used" style={{ width: `${used}%` }} />
        </span>
        <span class="tile-bar" aria-hidden="true">
          <span style={{ width: `${share}%`, background: color }} />
        </span>
      </button>
    </li>
  )
})
