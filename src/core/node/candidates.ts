/** From what is known of a member to what the balancer needs. The same on the leader, which places, and on any node that asks or explains. */
import type { Candidate, Vantage } from '../balancing/candidate.js'
import type { NodeId, Revision } from '../kernel/brand.js'
import { type Coordinate, estimateMs } from '../membership/coordinates.js'
import { factsOf } from '../membership/facts.js'
import type { MemberRecord, MemberStatus, Telemetry } from '../membership/member.js'

/** What a node's program can run, kept in the store while its lease lives. May change while it runs. */
export interface Offer {
  readonly kinds: readonly string[]
  readonly exec: boolean
}

/** What operators want of a node: drained, cordoned. */
export const intentPrefix = 'intents/'

export const offerPrefix = 'offers/'
export const offerKey = (nodeId: NodeId): string => offerPrefix + nodeId

export function readOffer(value: unknown): Offer {
  const offer = value as Partial<Offer> | undefined
  return { kinds: offer?.kinds ?? [], exec: offer?.exec === true }
}

/** An external node as it is kept in the store, under `external/`. */
export interface ExternalRecord {
  readonly id: string
  readonly hostname: string
  readonly ip_address: string
  readonly port: number
  readonly max_agents: number
  readonly services: readonly string[]
  readonly registered_at_ms: number
  readonly heartbeat_at_ms: number
  readonly cpu_usage: number
  readonly memory_usage: number
  readonly disk_usage: number
  readonly load_average: number
}

export const externalPrefix = 'external/'

/** Of external nodes: how long without a heartbeat, ms. */
export interface ExternalRules {
  /** One that is late counts as missed. */
  readonly heartbeatMs: number
  /** It is given nothing new. */
  readonly unhealthyMs: number
  /** By itself, it has to have ended what it had. */
  readonly validMs: number
  /** What was assigned to it may be placed elsewhere. */
  readonly offlineMs: number
}

export const externalOfflineMsDefault = 180_000

/** One time says the others: 30, 90, 162 and 180 s. */
export function externalRules(offlineMs: number): ExternalRules {
  return { heartbeatMs: offlineMs / 6, unhealthyMs: offlineMs / 2, validMs: offlineMs * 0.9, offlineMs }
}

/**
 * When an external node was last heard of, by the clock of the node that says so: no two clocks are compared. Who was not there to see a heartbeat come has
 * only its date to go by, for what must not be too long: `datedMs` is how old it was by that when it was found; 0 where its coming was seen.
 */
export interface ExternalSeen {
  readonly record: ExternalRecord
  readonly rev: Revision
  /** When its last heartbeat came. */
  readonly seenAtMs: number
  readonly datedMs: number
}

/** A node in the network, as one other sees it. */
interface Point extends Vantage {
  /** Measured by who sees it; 0 where it was not. */
  readonly rttMs: number
  readonly coordinate: Coordinate | null
}

type Seen = Pick<MemberSeen, 'telemetry' | 'rttMs'>
type Sight = (nodeId: NodeId) => Seen | undefined

/**
 * Round trips between any two nodes, as one node knows them: what it measured where it is one of the two, else by where both say they are. A node
 * that was never heard of is nowhere.
 */
export class RoundTrips {
  private readonly selfId: NodeId
  private readonly seen: Sight

  constructor(selfId: NodeId, seen: Sight) {
    this.selfId = selfId
    this.seen = seen
  }

  private readonly vantageOf = (origin: NodeId | undefined): Point | undefined => {
    const nodeId = origin ?? this.selfId
    const seen = this.seen(nodeId)
    if (seen === undefined) return undefined
    return { nodeId, rttMs: seen.rttMs, coordinate: seen.telemetry.coordinate }
  }

  /** What a candidate says of them. */
  of(nodeId: NodeId, { telemetry, rttMs }: Seen): Pick<Candidate, 'vantageOf' | 'rttMsFrom'> {
    const point: Point = { nodeId, rttMs, coordinate: telemetry.coordinate }
    return { vantageOf: this.vantageOf, rttMsFrom: (from) => this.between(from as Point, point) }
  }

  private between(from: Point, to: Point): number | undefined {
    if (from.nodeId === to.nodeId) return 0
    if (from.nodeId === this.selfId && to.rttMs > 0) return to.rttMs
    if (to.nodeId === this.selfId && from.rttMs > 0) return from.rttMs
    return estimateMs(from.coordinate, to.coordinate)
  }
}

export interface MemberSeen {
  readonly record: MemberRecord
  readonly status: MemberStatus
  readonly telemetry: Telemetry
  readonly rttMs: number
  readonly evicted: boolean
  readonly trust: number
  readonly offer: Offer
}

/** `capacityLost`: some worker failed, or none is left; only then standbys are enlisted. */
export function memberCandidate(
  m: MemberSeen,
  agents: number,
  capacityLost: boolean,
  roundTrips: RoundTrips,
): Candidate {
  const { record, telemetry } = m
  const facts = factsOf(record)
  return {
    nodeId: record.nodeId,
    kind: 'node',
    refusal: refusalOf(m, capacityLost),
    role: record.role,
    zone: record.zone,
    region: record.region,
    labels: facts.labels ?? {},
    services: facts.services ?? [],
    kinds: m.offer.kinds,
    allowsExec: m.offer.exec,
    agents,
    maxAgents: facts.max_agents ?? 0,
    cpuPct: telemetry.cpuPct,
    memoryPct: telemetry.memoryPct,
    trust: m.trust,
    ...roundTrips.of(record.nodeId, m),
  }
}

/** `silentMs`: since its last heartbeat, as observed here. */
export function externalCandidate(
  e: ExternalRecord,
  silentMs: number,
  agents: number,
  { unhealthyMs, offlineMs }: ExternalRules,
): Candidate {
  return {
    nodeId: e.id,
    kind: 'external',
    refusal:
      silentMs > offlineMs
        ? `it is offline: no heartbeat for ${offlineMs / 1_000} s`
        : silentMs > unhealthyMs
          ? `it is unhealthy: no heartbeat for ${unhealthyMs / 1_000} s`
          : '',
    role: 'worker',
    zone: '',
    region: '',
    labels: {},
    services: e.services,
    kinds: [],
    allowsExec: false,
    agents,
    maxAgents: e.max_agents,
    cpuPct: e.cpu_usage,
    memoryPct: e.memory_usage,
    trust: 1,
    vantageOf: () => undefined,
    rttMsFrom: () => undefined,
  }
}

function refusalOf(m: MemberSeen, capacityLost: boolean): string {
  const { lifecycle, stalled, cordoned, role } = m.record
  if (m.status === 'failed' || m.status === 'left') return 'it is offline'
  if (m.status === 'suspect') return 'it is suspected to be down'
  if (lifecycle !== 'active') return `it is ${lifecycle}`
  if (m.evicted) return 'it was evicted'
  if (stalled) return 'its main thread stands still'
  if (cordoned) return 'it is cordoned'
  if (role === 'replica') return 'it is a replica: it runs no agents'
  if (role === 'standby' && !capacityLost)
    return 'it is a standby: it takes nothing while all workers are there'
  return ''
}
