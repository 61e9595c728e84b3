/**
 * The cluster as a picture: each node with its agents and shards as rings, lines with round trips, dots that run as traffic does. Every node is a link to
 * its evidence. More nodes than a circle can show stand as tiles.
 */
import type { SightJson } from './cluster-client.js'
import { bytesText, countText } from './format.js'
import type { NodeJson } from './http-client.js'
import { nodeState } from './node-state.js'
import type { OwnerColors } from './owner-colors.js'
import {
  heightFor,
  type Link,
  linksOf,
  type Placed,
  placedNodes,
  rttText,
  rttTone,
} from './topology-layout.js'

const labelledLinksMax = 15
const rate = { slowest: 1_024, fastest: 64 * 1_048_576 }

/** Bytes per second between the answering node and another one. */
export interface Traffic {
  readonly sent: number
  readonly received: number
}

interface Props {
  readonly widthPx: number
  readonly nodes: readonly NodeJson[]
  readonly shardsTotal: number
  readonly selfId: string
  readonly sights: readonly SightJson[]
  readonly traffic: ReadonlyMap<string, Traffic>
  readonly colors: OwnerColors
  readonly isStill: boolean
  readonly onWhy: (nodeId: string) => void
}

export function Topology({ nodes, sights, selfId, traffic, isStill, widthPx, ...rest }: Props) {
  const placed = placedNodes(nodes, widthPx)
  const links = linksOf(placed, sights, selfId)
  const isLabelled = links.length <= labelledLinksMax
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset holds no drawing
    <svg
      class="topology"
      width={widthPx}
      height={heightFor(widthPx)}
      viewBox={`0 0 ${widthPx} ${heightFor(widthPx)}`}
      role="group"
      aria-label="Nodes and what is between them"
    >
      {links.map((link) => (
        <Line key={`${link.a.node.id} ${link.b.node.id}`} link={link} isLabelled={isLabelled} />
      ))}
      {isStill
        ? null
        : links.map((link) => (
            <Dots key={`${link.a.node.id} ${link.b.node.id}`} {...{ link, selfId, traffic }} />
          ))}
      {placed.map((each) => (
        <Station key={each.node.id} placed={each} isStill={isStill} {...rest} />
      ))}
    </svg>
  )
}

function Line({
  link: { a, b, rttMs, blind },
  isLabelled,
}: {
  readonly link: Link
  readonly isLabelled: boolean
}) {
  const isBroken = blind.length > 0
  const seen = rttMs === null ? 'round trip not measured' : `round trip ${rttText(rttMs)}`
  const trouble = blind.filter((each) => each !== '').map((each) => `${each} does not see the other as alive`)
  // Off the middle, so that lines that cross there keep their words apart.
  const [x, y] = [a.x + (b.x - a.x) * 0.4, a.y + (b.y - a.y) * 0.4]
  return (
    <g>
      <line
        class={isBroken ? 'link broken' : `link ${rttTone(rttMs)}`}
        x1={a.x}
        y1={a.y}
        x2={b.x}
        y2={b.y}
        data-link={`${a.node.id} ${b.node.id}`}
        data-tip={[`${a.node.id} – ${b.node.id}`, isBroken ? '' : seen, ...trouble]
          .filter((t) => t !== '')
          .join('\n')}
      />
      {isLabelled && !isBroken && rttMs !== null ? (
        <text class="link-text" x={x} y={y - 4} text-anchor="middle">
          {rttText(rttMs)}
        </text>
      ) : null}
    </g>
  )
}

interface DotsProps {
  readonly link: Link
  readonly selfId: string
  readonly traffic: ReadonlyMap<string, Traffic>
}

/** Faster with more bytes a second. In steps, so that a dot does not begin anew with every answer. */
function Dots({ link: { a, b, isOwn, blind }, selfId, traffic }: DotsProps) {
  if (!isOwn || blind.length > 0) return null
  const [self, other] = a.node.id === selfId ? [a, b] : [b, a]
  const known = traffic.get(other.node.id)
  if (known === undefined) return null
  const path = (from: Placed, to: Placed): string => `${from.x},${from.y};${to.x},${to.y}`
  return (
    <>
      <Dot path={path(self, other)} bytesPerSecond={known.sent} />
      <Dot path={path(other, self)} bytesPerSecond={known.received} />
    </>
  )
}

function Dot({ path, bytesPerSecond }: { readonly path: string; readonly bytesPerSecond: number }) {
  if (bytesPerSecond < rate.slowest / 16) return null
  const share = Math.log2(Math.max(1, bytesPerSecond / rate.slowest)) / Math.log2(rate.fastest / rate.slowest)
  const seconds = Math.max(0.6, 5 - Math.round(Math.min(1, share) * 8) * 0.5)
  return (
    <circle class="traffic" r={2.6}>
      <animateMotion key={`${path} ${seconds}`} dur={`${seconds}s`} repeatCount="indefinite" values={path} />
    </circle>
  )
}

type StationProps = Pick<Props, 'shardsTotal' | 'colors' | 'isStill' | 'onWhy'> & {
  readonly placed: Placed
}

function Station({ placed, shardsTotal, colors, isStill, onWhy }: StationProps) {
  const { node, x, y, radius, outX, outY } = placed
  const { id, active_agents, max_agents, shards_owned, events_per_second, is_leader } = node
  const state = nodeState(node)
  const used = max_agents === 0 ? 0 : Math.min(1, active_agents / max_agents)
  const share = shardsTotal === 0 ? 0 : shards_owned / shardsTotal
  const isAbove = outY < -0.2
  const labelY = isAbove ? y - radius - 26 : y + radius + 18
  return (
    <a
      class={`station ${state}`}
      href={`?why=${encodeURIComponent(id)}`}
      aria-label={nodeText(node)}
      data-station={id}
      data-tip={nodeText(node).replaceAll(', ', '\n')}
      onClick={(event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return
        event.preventDefault()
        onWhy(id)
      }}
    >
      <circle class="body" cx={x} cy={y} r={radius + 4} />
      <Ring {...{ x, y }} radius={radius} width={6} share={used} tone="agents" />
      <Ring {...{ x, y }} radius={radius - 7} width={4} share={share} tone="owned" color={colors.of(id)} />
      <text class="station-name" x={x} y={labelY} text-anchor="middle">
        {is_leader ? '♛ ' : ''}
        {id.length > 20 ? `${id.slice(0, 19)}…` : id}{' '}
      </text>
      <text class="station-about" x={x} y={labelY + 14} text-anchor="middle">
        {node.zone === '' ? '' : `${node.zone} · `}
        {state} · {shards_owned} shards{' '}
      </text>
      <text class="station-figure" x={x} y={y + 4} text-anchor="middle">
        {state === 'offline' ? '✕' : countText(active_agents)}
      </text>
      {isStill || events_per_second <= 0 || state === 'offline' ? null : (
        <circle class="inflow" r={2.2}>
          <animateMotion
            key={`${x} ${y} ${flowSeconds(events_per_second)}`}
            dur={`${flowSeconds(events_per_second)}s`}
            repeatCount="indefinite"
            values={`${x + outX * (radius + 40)},${y + outY * (radius + 40)};${x + outX * radius},${y + outY * radius}`}
          />
        </circle>
      )}
    </a>
  )
}

function flowSeconds(eventsPerSecond: number): number {
  return Math.max(0.4, 2.4 - Math.round(Math.log10(1 + eventsPerSecond)) * 0.4)
}

interface RingProps {
  readonly x: number
  readonly y: number
  readonly radius: number
  readonly width: number
  /** 0 to 1. */
  readonly share: number
  readonly tone: string
  readonly color?: string
}

function Ring({ x, y, radius, width, share, tone, color }: RingProps) {
  const around = 2 * Math.PI * radius
  return (
    <>
      <circle class="ring" cx={x} cy={y} r={radius} stroke-width={width} />
      {share <= 0 ? null : (
        <circle
          class={`ring ${tone}`}
          cx={x}
          cy={y}
          r={radius}
          stroke-width={width}
          stroke-dasharray={`${Math.max(1.5, share * around)} ${around}`}
          transform={`rotate(-90 ${x} ${y})`}
          {...(color === undefined ? {} : { style: { stroke: color } })}
        />
      )}
    </>
  )
}

/** All that the picture says of a node. */
export function nodeText(node: NodeJson): string {
  const { id, zone, is_leader, is_self, active_agents, max_agents, shards_owned, events_per_second } = node
  // Begins with what the picture shows, in that order: a name that is heard is to be the one that is seen.
  const parts = [
    id,
    zone,
    nodeState(node),
    `${shards_owned} shards`,
    `${active_agents} of ${max_agents} agents`,
    is_leader ? 'leader' : '',
    is_self ? 'this node' : '',
    `${countText(events_per_second)} events/s`,
    is_self || node.rtt_ms === 0 ? '' : `round trip ${rttText(node.rtt_ms)}`,
  ]
  return parts.filter((each) => each !== '').join(', ')
}

export function trafficText(nodeId: string, { sent, received }: Traffic): string {
  return `${nodeId} ${bytesText(Math.round(sent))}/s out, ${bytesText(Math.round(received))}/s in`
}
