/**
 * Who would have to move for the cluster to look as a strategy wants it. Pure; the same for a preview and for the real thing.
 *
 * Goes over the agents again until nothing changes, so that a plan's outcome needs no plan, and names each agent once, with the place where
 * it comes to rest. Where nothing is to move, it costs a pass over the nodes, not over nodes times agents.
 */
import type { NodeId } from '../kernel/brand.js'
import { type Balancer, isWorthMoving, type Strategy, type ZoneUse, zoneUse } from './balancer.js'
import { type Candidate, isFit, loadOf, type Work } from './candidate.js'

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

interface Agent extends Placed {
  now: Mutable
  /** What fits one fits another with the same; made when it is first asked for. */
  likeness: string | undefined
}

const positional: ReadonlySet<Strategy> = new Set(['consistent', 'binpack', 'lowest_latency', 'same_zone'])

/** Whether it says where each one belongs; the others only want the nodes, or the zones, to be alike. */
export function isPositional(strategy: Strategy): boolean {
  return positional.has(strategy)
}

const passesMax = 16

/** At most `movesMax` moves. `candidates` in order of node id, as they are now. */
export function planMoves(
  placed: readonly Placed[],
  candidates: readonly Candidate[],
  strategy: Strategy,
  balancer: Balancer,
  movesMax: number,
): Move[] {
  return new Planning(placed, candidates, strategy, balancer, movesMax).run()
}

class Planning {
  private readonly nodes: Mutable[]
  private readonly zones: Map<string, ZoneUse>
  private readonly agentsOf = new Map<Mutable, Set<Agent>>()
  private readonly moves = new Map<Agent, string>()
  /** Agents with that likeness found no better place than this node since the last move. */
  private readonly settled = new Map<Mutable, Set<string>>()
  private readonly strategy: Strategy
  private readonly balancer: Balancer
  private readonly movesMax: number

  constructor(
    placed: readonly Placed[],
    candidates: readonly Candidate[],
    strategy: Strategy,
    balancer: Balancer,
    movesMax: number,
  ) {
    this.strategy = strategy
    this.balancer = balancer
    this.movesMax = movesMax
    this.nodes = candidates.map((c) => ({ ...c }))
    this.zones = zoneUse(this.nodes)
    const byId = new Map(this.nodes.map((n) => [n.nodeId, n]))
    for (const node of this.nodes) this.agentsOf.set(node, new Set())
    for (const one of placed) {
      const now = byId.get(one.nodeId)
      if (now !== undefined) this.agentsOf.get(now)?.add({ ...one, now, likeness: undefined })
    }
  }

  run(): Move[] {
    for (let pass = 0; pass < passesMax && this.pass(); pass++);
    return [...this.moves].flatMap(([{ work, nodeId, now }, why]) =>
      now.nodeId === nodeId ? [] : [{ name: work.name, from: nodeId, to: now.nodeId, why }],
    )
  }

  /** The fullest nodes first. Whether anything moved. */
  private pass(): boolean {
    let hasMoved = false
    const order = [...this.nodes].sort((a, b) => share(b) - share(a) || (a.nodeId < b.nodeId ? -1 : 1))
    for (const node of order) {
      const agents = this.agentsOf.get(node) as Set<Agent>
      if (agents.size === 0 || !this.mayImprove(node, agents)) continue
      const byName = [...agents].sort((a, b) => (a.work.name < b.work.name ? -1 : 1))
      for (const agent of byName) {
        if (this.moves.size >= this.movesMax && !this.moves.has(agent)) continue
        const better = this.better(agent, node)
        if (better === undefined) continue
        this.move(agent, node, better.to, better.why)
        hasMoved = true
      }
    }
    return hasMoved
  }

  /** Not when its agents are placed for evenness only, and it is no fuller than others whatever fits there. */
  private mayImprove(node: Mutable, agents: ReadonlySet<Agent>): boolean {
    if (this.nodes.some((to) => this.isWorthwhile(node, to, false) || this.isWorthwhile(node, to, true)))
      return true
    for (const agent of agents) if (isPositional(this.wanted(agent))) return true
    return false
  }

  private wanted(agent: Agent): Strategy {
    return agent.strategy ?? this.strategy
  }

  private better(agent: Agent, from: Mutable): { readonly to: Mutable; readonly why: string } | undefined {
    const wanted = this.wanted(agent)
    if (isPositional(wanted)) {
      // As if it were not placed yet.
      from.agents--
      const best = this.balancer.pick(wanted, this.nodes, agent.work) as Mutable | undefined
      const isWorthIt = best !== undefined && best !== from && isWorthMoving(wanted, from, best, agent.work)
      from.agents++
      if (!isWorthIt) return undefined
      return { to: best, why: `${wanted} puts it on ${best.nodeId}` }
    }
    const settled = this.settled.get(from) ?? new Set<string>()
    agent.likeness ??= likenessOf(agent)
    if (settled.has(agent.likeness)) return undefined
    const to = this.evener(agent, from, wanted === 'spread')
    if (to === undefined) {
      this.settled.set(from, settled.add(agent.likeness))
      return undefined
    }
    return {
      to,
      why: `${from.nodeId} has ${from.agents} agents (load ${loadOf(from).toFixed(0)}), ${to.nodeId} has ${to.agents} (load ${loadOf(to).toFixed(0)})`,
    }
  }

  /** The emptiest node, for its size, that makes things more even; for `spread` in the emptiest zone. */
  private evener({ work }: Agent, from: Mutable, isSpread: boolean): Mutable | undefined {
    let best: Mutable | undefined
    let bestScore = 0
    for (const to of this.nodes) {
      if (!this.isWorthwhile(from, to, isSpread)) continue
      const zone = isSpread ? (this.zones.get(to.zone)?.share ?? 0) : 0
      const score = zone * 1e6 + (to.agents + 1) / Math.max(1, to.maxAgents)
      if ((best === undefined || score < bestScore) && isFit(to, work)) {
        best = to
        bestScore = score
      }
    }
    return best
  }

  /** Clearly fuller, before and after: each such move brings the whole nearer to rest, so that there is an end. */
  private isWorthwhile(from: Mutable, to: Mutable, isSpread: boolean): boolean {
    if (to === from || to.refusal !== '') return false
    if (isSpread && from.zone !== to.zone && from.refusal === '') {
      const a = this.zones.get(from.zone)
      const b = this.zones.get(to.zone)
      return a !== undefined && b !== undefined && isFuller(a.agents, a.places, b.agents, b.places)
    }
    return from.agents - to.agents >= 2 && isFuller(from.agents, from.maxAgents, to.agents, to.maxAgents)
  }

  private move(agent: Agent, from: Mutable, to: Mutable, why: string): void {
    this.agentsOf.get(from)?.delete(agent)
    this.agentsOf.get(to)?.add(agent)
    this.count(from, -1)
    this.count(to, 1)
    agent.now = to
    this.moves.set(agent, why)
    this.settled.clear()
  }

  private count(node: Mutable, by: number): void {
    node.agents += by
    const zone = node.refusal === '' ? this.zones.get(node.zone) : undefined
    if (zone === undefined) return
    zone.agents += by
    zone.share = zone.agents / Math.max(1, zone.places)
  }
}

/** With one agent less here and one more there it is still no emptier. */
function isFuller(agents: number, places: number, otherAgents: number, otherPlaces: number): boolean {
  return (agents - 1) / Math.max(1, places) >= (otherAgents + 1) / Math.max(1, otherPlaces)
}

function likenessOf({ work, strategy }: Placed): string {
  const { kind, services, constraints } = work
  return JSON.stringify([strategy, kind, services, constraints])
}

function share(c: Candidate): number {
  return c.agents / Math.max(1, c.maxAgents)
}
