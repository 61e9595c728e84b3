/**
 * The member table: one entry per node id, merged claim by claim. The merge is commutative, associative and idempotent in
 * (boot, incarnation, status); everything else in an entry is this node's own observation and never travels.
 */
import type { Address, NodeId } from '../kernel/brand.js'
import { hash32, mix32 } from '../kernel/hash.js'
import { Ring } from '../kernel/ring.js'
import {
  type Claim,
  compareClaims,
  type Evidence,
  type MemberRecord,
  type MemberStatus,
  noTelemetry,
  type Telemetry,
} from './member.js'

export interface MemberEntry {
  record: MemberRecord
  status: MemberStatus
  /** Who said the present status. */
  from: NodeId
  verdictAtMs: number
  /** Monotonic time since which the status stands. */
  sinceMs: number
  /** Probes of ours without an answer, in a row; what the accuser said where we did not probe. */
  missedProbes: number
  /** Last sign of life that came from the member itself, monotonic; 0 for never. */
  heardAtMs: number
  rttMs: number
  /** Its wall clock minus ours, ms, corrected by half the round trip. */
  skewMs: number
  telemetry: Telemetry
  telemetryAtMs: number
  readonly evidence: Ring<Evidence>
  /** A connection to it broke without a goodbye at this time; with a refused dial after it, the member is failed. */
  lostAtMs: number
  /** While suspected: who confirmed, and when the suspicion began. */
  readonly confirmers: Set<NodeId>
  suspectedAtMs: number
}

export const bucketCount = 64

export type MergeResult =
  | { readonly kind: 'unchanged' }
  | { readonly kind: 'older' }
  | { readonly kind: 'new'; readonly entry: MemberEntry }
  | {
      readonly kind: 'changed'
      readonly entry: MemberEntry
      readonly before: { record: MemberRecord; status: MemberStatus }
    }

export class MemberTable {
  readonly entries = new Map<NodeId, MemberEntry>()
  private readonly byAddress = new Map<Address, NodeId>()
  /** Kept beside the entries so that no step walks the whole table for them. */
  readonly suspects = new Set<NodeId>()
  reachableCount = 0
  private readonly bucketDigests = new Array<number>(bucketCount).fill(0)

  get(nodeId: NodeId): MemberEntry | undefined {
    return this.entries.get(nodeId)
  }

  byAnyAddress(address: Address): MemberEntry | undefined {
    const id = this.byAddress.get(address)
    return id === undefined ? undefined : this.entries.get(id)
  }

  merge(claim: Claim, nowMs: number): MergeResult {
    const entry = this.entries.get(claim.record.nodeId)
    if (entry === undefined) {
      const fresh = newEntry(claim, nowMs)
      this.entries.set(claim.record.nodeId, fresh)
      this.account(fresh)
      return { kind: 'new', entry: fresh }
    }
    const order = compareClaims(claim, entry)
    if (order < 0) return { kind: 'older' }
    if (order === 0) return { kind: 'unchanged' }
    const before = { record: entry.record, status: entry.status }
    this.unaccount(entry)
    const rebooted = claim.record.boot !== entry.record.boot
    entry.record = claim.record
    entry.from = claim.from
    entry.verdictAtMs = claim.verdictAtMs
    if (rebooted || entry.status !== claim.status) entry.sinceMs = nowMs
    entry.status = claim.status
    if (claim.status === 'suspect') entry.suspectedAtMs = nowMs
    if (claim.status !== 'alive') entry.missedProbes = Math.max(entry.missedProbes, claim.missedProbes)
    else {
      entry.missedProbes = 0
      entry.lostAtMs = 0
    }
    if (claim.status !== 'suspect') entry.confirmers.clear()
    if (rebooted) {
      entry.telemetryAtMs = 0
      // Not every build says these.
      entry.telemetry = { ...entry.telemetry, process: null, coordinate: null }
    }
    this.account(entry)
    return { kind: 'changed', entry, before }
  }

  delete(nodeId: NodeId): MemberEntry | undefined {
    const entry = this.entries.get(nodeId)
    if (entry === undefined) return undefined
    this.unaccount(entry)
    this.entries.delete(nodeId)
    return entry
  }

  /** Equal tables have equal digests. */
  digest(): number {
    let all = 0
    for (let i = 0; i < bucketCount; i++) all = mix32(all ^ (this.bucketDigests[i] as number) ^ i)
    return all
  }

  buckets(): readonly number[] {
    return this.bucketDigests
  }

  claimsIn(buckets: ReadonlySet<number>): Claim[] {
    const claims: Claim[] = []
    for (const entry of this.entries.values()) {
      if (buckets.has(bucketOf(entry.record.nodeId))) claims.push(claimOf(entry))
    }
    return claims
  }

  claims(): Claim[] {
    return [...this.entries.values()].map(claimOf)
  }

  private account(entry: MemberEntry): void {
    const bucket = bucketOf(entry.record.nodeId)
    this.bucketDigests[bucket] = ((this.bucketDigests[bucket] as number) ^ entryDigest(entry)) >>> 0
    if (isReachable(entry.status)) this.reachableCount++
    if (entry.status === 'suspect') this.suspects.add(entry.record.nodeId)
    for (const address of addressesOf(entry.record)) this.byAddress.set(address, entry.record.nodeId)
  }

  private unaccount(entry: MemberEntry): void {
    const bucket = bucketOf(entry.record.nodeId)
    this.bucketDigests[bucket] = ((this.bucketDigests[bucket] as number) ^ entryDigest(entry)) >>> 0
    if (isReachable(entry.status)) this.reachableCount--
    this.suspects.delete(entry.record.nodeId)
    for (const address of addressesOf(entry.record)) {
      if (this.byAddress.get(address) === entry.record.nodeId) this.byAddress.delete(address)
    }
  }
}

export function claimOf(entry: MemberEntry): Claim {
  return {
    record: entry.record,
    status: entry.status,
    from: entry.from,
    missedProbes: entry.missedProbes,
    verdictAtMs: entry.verdictAtMs,
  }
}

export function isReachable(status: MemberStatus): boolean {
  return status === 'alive' || status === 'suspect'
}

function newEntry(claim: Claim, nowMs: number): MemberEntry {
  return {
    record: claim.record,
    status: claim.status,
    from: claim.from,
    verdictAtMs: claim.verdictAtMs,
    sinceMs: nowMs,
    missedProbes: claim.status === 'alive' ? 0 : claim.missedProbes,
    heardAtMs: 0,
    rttMs: 0,
    skewMs: 0,
    telemetry: noTelemetry,
    telemetryAtMs: 0,
    evidence: new Ring<Evidence>(24),
    lostAtMs: 0,
    confirmers: new Set(),
    suspectedAtMs: claim.status === 'suspect' ? nowMs : 0,
  }
}

function addressesOf(record: MemberRecord): Address[] {
  return [record.controlAddress, record.controlStreamAddress, record.peerAddress].filter((a) => a !== '')
}

function bucketOf(nodeId: NodeId): number {
  return hash32(nodeId, 7) % bucketCount
}

function entryDigest(entry: MemberEntry): number {
  const { record, status } = entry
  let h = hash32(record.nodeId)
  h = mix32(mix32(h ^ record.boot) ^ Math.floor(record.boot / 0x1_0000_0000))
  h = mix32(h ^ record.incarnation)
  return mix32(h ^ hash32(status))
}
