/**
 * What one node knows of another, and the order in which claims about a member beat each other.
 *
 * Three axes that are never mixed: `status` is what others observe, `lifecycle` what the node itself intends, `stalled` whether its
 * main thread turns. A claim belongs to (boot, incarnation); within one incarnation failed beats suspect beats alive (SWIM §4.2),
 * and only the member itself starts a new incarnation.
 */
import type { Address, BootId, BootNumber, Incarnation, NodeId } from '../kernel/brand.js'
import type { Coordinate } from './coordinates.js'

export type MemberStatus = 'alive' | 'suspect' | 'failed' | 'left'
export type Lifecycle = 'joining' | 'active' | 'draining' | 'leaving' | 'left'
export type Role = 'worker' | 'replica' | 'standby'

/** What a member says of itself; only it may change it, with a new incarnation. */
export interface MemberRecord {
  readonly nodeId: NodeId
  readonly bootId: BootId
  readonly boot: BootNumber
  readonly incarnation: Incarnation
  /** Datagrams and control frames. */
  readonly controlAddress: Address
  /** Control frames (TCP): fallback probes, state exchange. */
  readonly controlStreamAddress: Address
  /** Data frames. */
  readonly peerAddress: Address
  readonly httpAddress: Address
  readonly lifecycle: Lifecycle
  readonly stalled: boolean
  readonly cordoned: boolean
  readonly role: Role
  readonly zone: string
  readonly region: string
  readonly version: string
  readonly startedAtMs: number
  /** Free-form facts: hostname, labels, services. JSON object text, see `facts.ts`. */
  readonly facts: string
}

/** Small measured figures that ride on probes and acks; their age is that of the last exchange. */
export interface Telemetry {
  /** 0 … 100 of what the node may use: its host, or a limit that is set on it there. */
  readonly cpuPct: number
  readonly memoryPct: number
  readonly diskPct: number
  /** Load average over one minute, times 100. */
  readonly loadCenti: number
  readonly eventsPerSecond: number
  readonly shardsOwned: number
  readonly loopDelayMs: number
  /** Of its shards: taken, not yet on the journal's disk. */
  readonly unconfirmedEvents: number
  /** Of the process itself; null from builds that do not say. */
  readonly process: {
    /** Of one CPU; more than 100 with several threads. */
    readonly cpuPct: number
    readonly memoryMib: number
  } | null
  /** Where it is in the network; null from builds that do not say. */
  readonly coordinate: Coordinate | null
}

/** All that a node measures of itself. */
export type Figures = Omit<Telemetry, 'coordinate'>

export const noTelemetry: Telemetry = {
  cpuPct: 0,
  memoryPct: 0,
  diskPct: 0,
  loadCenti: 0,
  eventsPerSecond: 0,
  shardsOwned: 0,
  loopDelayMs: 0,
  unconfirmedEvents: 0,
  process: null,
  coordinate: null,
}

export type EvidenceKind =
  | 'probe_missed'
  | 'indirect_probe_failed'
  | 'connection_lost'
  | 'dial_refused'
  | 'suspected_by'
  | 'failed_by'
  | 'suspicion_expired'
  | 'death_proved'
  | 'refuted'
  | 'answered'
  | 'left'

/** One fact behind a status, kept in a ring per member and served by `why`. */
export interface Evidence {
  readonly atMs: number
  readonly kind: EvidenceKind
  readonly observer: NodeId
  readonly detail: string
  /** The observer's Lifeguard score at that moment: 0 is well. */
  readonly observerHealth: number
}

/** Claims about a member as they travel. `status` left comes only from the member itself. */
export interface Claim {
  readonly record: MemberRecord
  readonly status: MemberStatus
  /** Who accuses; the member itself for alive and left. */
  readonly from: NodeId
  readonly missedProbes: number
  /** Wall clock of the verdict, ms since the epoch; 0 for alive. Lets everybody forget the dead at about the same time. */
  readonly verdictAtMs: number
}

const rank: Record<MemberStatus, number> = { alive: 0, suspect: 1, failed: 2, left: 3 }

/**
 * Positive when claim a supersedes b: a later boot, then a later incarnation, then the graver status. A new incarnation never
 * wakes the dead of the same boot unless the member speaks for itself, which is what a new incarnation is.
 */
export function compareClaims(
  a: { readonly record: MemberRecord; readonly status: MemberStatus },
  b: { readonly record: MemberRecord; readonly status: MemberStatus },
): number {
  return (
    a.record.boot - b.record.boot ||
    a.record.incarnation - b.record.incarnation ||
    rank[a.status] - rank[b.status]
  )
}
