/** Where the nodes of the topology stand and which lines are drawn between them. Pure; drawing is in `topology.tsx`. */
import type { SightJson } from './cluster-client.js'
import type { NodeJson } from './http-client.js'
import { nodeState } from './node-state.js'

/** Narrower than this, nodes are smaller and the circle is a tall one. */
const narrowPx = 520
/** Of more nodes, only the lines from the leader and from the node that answers, and the broken ones. */
const meshMax = 12

export interface Placed {
  readonly node: NodeJson
  readonly x: number
  readonly y: number
  /** Of its outer ring. */
  readonly radius: number
  /** Towards the outside; length 1. */
  readonly outX: number
  readonly outY: number
}

export interface Link {
  readonly a: Placed
  readonly b: Placed
  /** Mean of both directions, ms; null when neither was measured. */
  readonly rttMs: number | null
  /** Observers that do not see the other end as alive. */
  readonly blind: readonly string[]
  /** The answering node is an end: its traffic is known. */
  readonly isOwn: boolean
}

export function heightFor(widthPx: number): number {
  return widthPx < narrowPx ? Math.max(320, widthPx) : Math.min(480, Math.max(380, widthPx * 0.66))
}

export function placedNodes(nodes: readonly NodeJson[], widthPx: number): readonly Placed[] {
  const count = nodes.length
  const heightPx = heightFor(widthPx)
  const isNarrow = widthPx < narrowPx
  const radius = count <= 8 ? (isNarrow ? 24 : 30) : count <= 16 ? 22 : 17
  const around = nodes.map((_, index) => {
    const angle = (index / count) * 2 * Math.PI - Math.PI / 2
    return { outX: Math.cos(angle), outY: Math.sin(angle) }
  })
  // Three nodes do not fill a circle: what they do fill is stretched to the room there is.
  const place = (
    values: readonly number[],
    roomPx: number,
    marginPx: number,
  ): ((value: number) => number) => {
    const [low, high] = [Math.min(...values), Math.max(...values)]
    if (high - low < 0.01) return () => roomPx / 2
    return (value) => marginPx + ((value - low) / (high - low)) * (roomPx - 2 * marginPx)
  }
  const xOf = place(
    around.map(({ outX }) => outX),
    widthPx,
    isNarrow ? 62 : 92,
  )
  const yOf = place(
    around.map(({ outY }) => outY),
    heightPx,
    radius + 46,
  )
  return nodes.map((node, index) => {
    const { outX, outY } = around[index] as (typeof around)[number]
    return { node, x: xOf(outX), y: yOf(outY), radius, outX, outY }
  })
}

export function linksOf(
  placed: readonly Placed[],
  sights: readonly SightJson[],
  selfId: string,
): readonly Link[] {
  const seen = new Map(
    sights.flatMap(({ observer, sees }) =>
      sees.map((each) => [`${observer}>${each.node_id}`, each] as const),
    ),
  )
  const links: Link[] = []
  placed.forEach((a, index) => {
    for (const b of placed.slice(index + 1)) {
      const link = linkOf(a, b, seen, selfId)
      if (link === null) continue
      const isMain = link.isOwn || a.node.is_leader || b.node.is_leader
      if (placed.length <= meshMax || isMain || link.blind.length > 0) links.push(link)
    }
  })
  return links
}

function linkOf(
  a: Placed,
  b: Placed,
  seen: ReadonlyMap<string, SightJson['sees'][number]>,
  selfId: string,
): Link | null {
  const [one, two] = [a.node, b.node]
  // A node that left has no lines, nor has one that runs no Skein.
  if ([one, two].some((each) => each.observed === 'left' || each.kind === 'external')) return null
  const isOwn = one.id === selfId || two.id === selfId
  const both = [
    { observer: one, sight: seen.get(`${one.id}>${two.id}`) },
    { observer: two, sight: seen.get(`${two.id}>${one.id}`) },
  ]
  const rtts = both.flatMap(({ sight }) => (sight !== undefined && sight.rtt_ms > 0 ? [sight.rtt_ms] : []))
  if (rtts.length === 0 && isOwn) {
    const { rtt_ms } = one.id === selfId ? two : one
    if (rtt_ms > 0) rtts.push(rtt_ms)
  }
  const blind = both.flatMap(({ observer, sight }) =>
    sight !== undefined && sight.status !== 'alive' ? [observer.id] : [],
  )
  if (blind.length === 0 && sights(both) === 0 && [one, two].some((each) => nodeState(each) === 'offline'))
    blind.push(isOwn ? selfId : '')
  const rttMs = rtts.length === 0 ? null : rtts.reduce((sum, each) => sum + each, 0) / rtts.length
  return { a, b, rttMs, blind, isOwn }
}

function sights(both: readonly { readonly sight: unknown }[]): number {
  return both.filter(({ sight }) => sight !== undefined).length
}

/** How far apart, in words that a colour can stand for. */
export function rttTone(rttMs: number | null): 'near' | 'middling' | 'far' | 'unknown' {
  if (rttMs === null) return 'unknown'
  return rttMs < 2 ? 'near' : rttMs < 20 ? 'middling' : 'far'
}

export function rttText(rttMs: number): string {
  return `${rttMs < 10 ? rttMs.toFixed(1) : rttMs.toFixed(0)} ms`
}
