/** A node as the balancer sees it, what work asks of a node, and whether the two fit. */
import type { NodeId } from '../kernel/brand.js'

/** Where round trips are asked from. Made once for all candidates of a pick. */
export interface Vantage {
  readonly nodeId: NodeId
}

export interface Candidate {
  readonly nodeId: NodeId
  readonly kind: 'node' | 'external'
  /** Why it gets nothing at the moment (draining, suspected …); empty when it may be given work. */
  readonly refusal: string
  readonly role: string
  readonly zone: string
  readonly region: string
  readonly labels: Readonly<Record<string, string>>
  readonly services: readonly string[]
  /** Kinds of agents that its program defines. */
  readonly kinds: readonly string[]
  /** Runs processes for others (`--allow-exec`). */
  readonly allowsExec: boolean
  /** What it has, and what was promised to it. */
  readonly agents: number
  readonly maxAgents: number
  /** 0 … 100. */
  readonly cpuPct: number
  readonly memoryPct: number
  /** 0 … 1: the share of its places that a node which keeps failing is given; see `trust.ts`. */
  readonly trust: number
  /** That node, or the one that chooses where it is not known who asks, as seen by whoever made this candidate; undefined where it is not known. */
  readonly vantageOf: (origin: NodeId | undefined) => Vantage | undefined
  /** Round trip, ms; undefined where nobody can tell. The vantage is one of a candidate with the same maker. */
  readonly rttMsFrom: (from: Vantage) => number | undefined
}

/** All that is named must hold. Lists: one of them. */
export interface Constraints {
  readonly zone?: readonly string[]
  readonly region?: readonly string[]
  readonly role?: readonly string[]
  readonly labels?: Readonly<Record<string, string>>
  readonly nodes?: readonly NodeId[]
  readonly notNodes?: readonly NodeId[]
}

export interface Origin {
  /** Not told by builds that did not measure from there. */
  readonly nodeId?: NodeId
  readonly zone: string
  readonly region: string
}

export interface Work {
  /** For strategies that go by name. */
  readonly name: string
  /** All of them must be offered. */
  readonly services?: readonly string[]
  readonly constraints?: Constraints
  /** `process`: a node that allows exec; another: a node whose program defines that kind of agent. */
  readonly kind?: string
  /** Where it is asked for: for the strategies that prefer what is near. */
  readonly origin?: Origin
}

/** Places that it may still be given, with its trust taken into account. */
export function roomOf(c: Candidate): number {
  return Math.max(0, Math.floor(c.maxAgents * c.trust) - c.agents)
}

/** DESIGN §7: 0.4·cpu + 0.3·memory + 0.3·(agents/max·100). 0 … 100, more when overfull. */
export function loadOf(c: Candidate): number {
  const used = c.maxAgents === 0 ? 1 : c.agents / c.maxAgents
  return 0.4 * c.cpuPct + 0.3 * c.memoryPct + 30 * used
}

export function isFit(c: Candidate, work: Work): boolean {
  if (c.refusal !== '' || roomOf(c) === 0) return false
  const { kind, services, constraints } = work
  if (kind !== undefined && !offersKind(c, kind)) return false
  if (services !== undefined) for (const s of services) if (!c.services.includes(s)) return false
  return constraints === undefined || meets(c, constraints)
}

/** Every reason why it may not be given this work; empty when it may. For people. */
export function whyNot(c: Candidate, work: Work): string[] {
  const reasons: string[] = []
  if (c.refusal !== '') reasons.push(c.refusal)
  if (roomOf(c) === 0) reasons.push(fullness(c))
  if (work.kind !== undefined && !offersKind(c, work.kind))
    reasons.push(
      work.kind === 'process'
        ? 'it runs no processes for others: start it with --allow-exec'
        : `its program defines no agents of kind "${work.kind}": load the module with --agents`,
    )
  for (const service of work.services ?? [])
    if (!c.services.includes(service)) reasons.push(`it does not offer the service "${service}"`)
  if (work.constraints !== undefined) reasons.push(...mismatches(c, work.constraints))
  return reasons
}

function offersKind(c: Candidate, kind: string): boolean {
  // What an external node runs is its own affair.
  if (c.kind === 'external') return true
  return kind === 'process' ? c.allowsExec : c.kinds.includes(kind)
}

function fullness(c: Candidate): string {
  if (c.maxAgents === 0) return 'it takes no agents: max_agents is 0'
  return c.trust < 1
    ? `it has ${c.agents} agents, and only ${Math.round(c.trust * 100)} % of its ${c.maxAgents} places while it keeps failing`
    : `it is full: ${c.agents} of ${c.maxAgents} agents`
}

/** Whether {@link mismatches} would find nothing; asked for every node at every pick. */
function meets(c: Candidate, wanted: Constraints): boolean {
  const { zone, region, role, nodes, notNodes, labels } = wanted
  if (zone !== undefined && !zone.includes(c.zone)) return false
  if (region !== undefined && !region.includes(c.region)) return false
  if (role !== undefined && !role.includes(c.role)) return false
  if (nodes !== undefined && !nodes.includes(c.nodeId)) return false
  if (notNodes?.includes(c.nodeId)) return false
  if (labels !== undefined) for (const name in labels) if (c.labels[name] !== labels[name]) return false
  return true
}

function mismatches(c: Candidate, wanted: Constraints): string[] {
  const reasons: string[] = []
  const oneOf = (what: string, value: string, allowed: readonly string[] | undefined): void => {
    if (allowed !== undefined && !allowed.includes(value))
      reasons.push(`its ${what} is "${value}", wanted ${allowed.map((a) => `"${a}"`).join(' or ')}`)
  }
  oneOf('zone', c.zone, wanted.zone)
  oneOf('region', c.region, wanted.region)
  oneOf('role', c.role, wanted.role)
  oneOf('name', c.nodeId, wanted.nodes)
  if (wanted.notNodes?.includes(c.nodeId)) reasons.push(`"${c.nodeId}" is excluded`)
  for (const [name, value] of Object.entries(wanted.labels ?? {}))
    if (c.labels[name] !== value)
      reasons.push(
        `its label ${name} is ${c.labels[name] === undefined ? 'absent' : `"${c.labels[name]}"`}, wanted "${value}"`,
      )
  return reasons
}
