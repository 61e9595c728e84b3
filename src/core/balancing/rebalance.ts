/**
 * Who would have to move for the cluster to look as a strategy wants it, with the fewest and most useful moves first. Pure; the same for a
 * preview and for the real thing.
 */
import type { NodeId } from '../kernel/brand.js'
import type { Balancer, Strategy } from './balancer.js'
import { type Candidate, loadOf, type Work } from './candidate.js'

export interface Placed {
  readonly work: Work
  readonly nodeId: NodeId
  /** Its own, where it has one. */
  readonly strategy: Strategy | undefined
}

export interface Move {
  readonly name: string
  readonly from: NodeId
  readonly to: NodeId
  readonly why: string
}

type Mutable = { -readonly [K in keyof Candidate]: Candidate[K] }

/** Strategies that say where each one belongs; the others only want the nodes to be alike. */
const positional: ReadonlySet<Strategy> = new Set(['consistent', 'binpack', 'lowest_latency', 'same_zone'])

/** At most `movesMax` moves. `candidates` in order of node id, as they are now. */
export function planMoves(
  placed: readonly Placed[],
  candidates: readonly Candidate[],
  strategy: Strategy,
  balancer: Balancer,
  movesMax: number,
): Move[] {
  const nodes: Mutable[] = candidates.map((c) => ({ ...c }))
  const byId = new Map(nodes.map((n) => [n.nodeId, n]))
  const moves: Move[] = []
  const order = [...placed].sort((a, b) => {
    const difference = share(byId.get(b.nodeId)) - share(byId.get(a.nodeId))
    return difference || (a.work.name < b.work.name ? -1 : 1)
  })
  for (const one of order) {
    if (moves.length >= movesMax) break
    const from = byId.get(one.nodeId)
    if (from === undefined) continue
    const wanted = one.strategy ?? strategy
    const move = positional.has(wanted)
      ? moveToPosition(one, from, nodes, wanted, balancer)
      : moveToEven(one, from, nodes, wanted, balancer)
    if (move === null) continue
    from.agents--
    ;(byId.get(move.to) as Mutable).agents++
    moves.push(move)
  }
  return moves
}

function moveToPosition(
  { work, nodeId }: Placed,
  from: Mutable,
  nodes: readonly Candidate[],
  strategy: Strategy,
  balancer: Balancer,
): Move | null {
  // As if it were not placed yet.
  from.agents--
  const best = balancer.pick(strategy, nodes, work)
  from.agents++
  if (best === undefined || best.nodeId === nodeId) return null
  return { name: work.name, from: nodeId, to: best.nodeId, why: `${strategy} puts it on ${best.nodeId}` }
}

/** Only from a node that has clearly more than the best other one, so that a plan's outcome needs no plan. */
function moveToEven(
  { work, nodeId }: Placed,
  from: Mutable,
  nodes: readonly Candidate[],
  strategy: Strategy,
  balancer: Balancer,
): Move | null {
  const others = nodes.filter((n) => n.nodeId !== nodeId)
  const best = balancer.pick(strategy === 'spread' ? 'spread' : 'least_agents', others, work)
  if (best === undefined) return null
  const isFuller =
    (from.agents - 1) / Math.max(1, from.maxAgents) >= (best.agents + 1) / Math.max(1, best.maxAgents)
  if (!isFuller || from.agents - best.agents < 2) return null
  return {
    name: work.name,
    from: nodeId,
    to: best.nodeId,
    why: `${nodeId} has ${from.agents} agents (load ${loadOf(from).toFixed(0)}), ${best.nodeId} has ${best.agents} (load ${loadOf(best).toFixed(0)})`,
  }
}

function share(c: Candidate | undefined): number {
  return c === undefined ? 0 : c.agents / Math.max(1, c.maxAgents)
}
