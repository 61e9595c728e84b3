/**
 * Everything about agents on one node: the table that follows the store, the host that runs what is assigned to our lease, and, on the
 * leader, the coordinator. Says who may be given agents; the node machine wires it to leases, membership and lifecycle.
 */
import { type AgentCandidate, AgentCoordinator, type AgentCoordinatorEffect } from '../agents/coordinator.js'
import { AgentHost, type AgentHostEffect, type AgentHostInput } from '../agents/host.js'
import { type AgentPlace, externalLease, isExternal } from '../agents/records.js'
import { type AgentEntry, AgentTable, emptyEntry } from '../agents/table.js'
import { Balancer, defaultStrategy, parseStrategy, type Strategy } from '../balancing/balancer.js'
import { Trust, type TrustOptions } from '../balancing/trust.js'
import type { LeaseId, NodeId, Term } from '../kernel/brand.js'
import { setting } from '../kernel/config-document.js'
import type { Instant } from '../kernel/machine.js'
import type { Random } from '../kernel/random.js'
import {
  evictionKey,
  evictionPrefix,
  type Registration,
  registrationKey,
  registrationPrefix,
  registrations,
} from '../kernel/registration.js'
import type { Compare, KeyValue, StoreReply, WatchBatch } from '../kernel/store-types.js'
import type { StoreView } from '../kernel/store-view.js'
import type { MemberRecord, MemberStatus, Telemetry } from '../membership/member.js'
import {
  type ExternalRecord,
  type ExternalRules,
  type ExternalSeen,
  externalCandidate,
  externalOfflineMsDefault,
  externalPrefix,
  externalRules,
  intentPrefix,
  memberCandidate,
  type Offer,
  offerKey,
  offerPrefix,
  RoundTrips,
  readOffer,
} from './candidates.js'

/** Cluster-wide settings of the balancer. */
/** Where the strategy was before the cluster had settings; read where they name none. */
const balancerKey = 'settings/balancer'

export interface AgentPlaneOptions {
  readonly movingMax: number
  readonly refusedPauseMs: number
  /** Whether defined agents are moved for the sake of balance. */
  readonly rebalance: boolean
  /** So many agents placed at once share one value of the store; fewer have one each. */
  readonly packedMin: number
  /** An external node without a heartbeat for so long has lost what it had, ms; the other times follow (`externalRules`). */
  readonly externalOfflineMs: number
  readonly trust: TrustOptions
}

export const agentPlaneDefaults: AgentPlaneOptions = {
  movingMax: 10,
  refusedPauseMs: 2_000,
  rebalance: true,
  packedMin: 16,
  externalOfflineMs: externalOfflineMsDefault,
  trust: { lossesMax: 3, windowMs: 600_000 },
}

export interface AgentPlaneWorld {
  readonly view: StoreView
  readonly nodeId: NodeId
  readonly leaseTtlMs: number
  lease(nowMs: number): LeaseId | null
  fadeAtMs(): number
  guard(nowMs: number): { readonly term: Term; readonly compare: Compare } | null
  member(nodeId: NodeId):
    | {
        readonly record: MemberRecord
        readonly status: MemberStatus
        readonly telemetry: Telemetry
        readonly rttMs: number
      }
    | undefined
  isDraining(nodeId: NodeId): boolean
  capacityLost(): boolean
}

export type AgentPlaneEffect =
  | AgentHostEffect
  | AgentCoordinatorEffect
  /** For the directory of the main thread: these names as they are now; all there are, when `reset`. */
  | { readonly type: 'agents_changed'; readonly reset: boolean; readonly entries: readonly AgentEntry[] }

/** An external node, and when we last saw that it spoke, by our own clock. */
interface External {
  readonly record: ExternalRecord
  readonly rev: bigint
  readonly lease: LeaseId
  readonly seenMs: number
  readonly datedMs: number
}

/** A candidate and all that it was made of. */
interface MadeCandidate {
  readonly from: readonly unknown[]
  readonly candidate: AgentCandidate
}

/** What the store says of a node beside its registration. */
interface Told {
  readonly evicted: boolean
  readonly draining: boolean
  readonly offer: unknown
}

/** Kinds of keys that say it. */
const toldIn = [registrationPrefix, evictionPrefix, offerPrefix, intentPrefix]

export class AgentPlane {
  readonly table = new AgentTable()
  readonly host: AgentHost
  readonly coordinator: AgentCoordinator
  readonly trust: Trust
  private readonly world: AgentPlaneWorld
  private readonly changed = new Set<string>()
  private isReset = false
  private live: ReadonlySet<LeaseId> = new Set()
  private liveOf: readonly Registration[] = []
  private readonly externalRules: ExternalRules
  private externals = new Map<NodeId, External>()
  private externalLeases: ReadonlyMap<LeaseId, External> = new Map()
  private externalChanges = -1
  private readonly made = new Map<LeaseId, MadeCandidate>()
  private standing: AgentCandidate[] = []
  private readonly told = new Map<LeaseId, Told>()
  private toldChanges = ''
  private readonly roundTrips: RoundTrips
  private nowMs = 0

  constructor(world: AgentPlaneWorld, options: AgentPlaneOptions, random: Random) {
    this.world = world
    this.externalRules = externalRules(options.externalOfflineMs)
    this.roundTrips = new RoundTrips(world.nodeId, (nodeId) => world.member(nodeId))
    this.trust = new Trust(options.trust)
    this.table.onChange((name) => this.changed.add(name))
    this.host = new AgentHost({
      table: this.table,
      nodeId: world.nodeId,
      lease: world.lease,
      viewRev: () => world.view.rev,
      fadeAtMs: world.fadeAtMs,
      compare: placeCompare,
    })
    this.coordinator = new AgentCoordinator(
      {
        table: this.table,
        view: world.view,
        balancer: new Balancer(random),
        guard: world.guard,
        candidates: () => this.freshCandidates(),
        strategy: () => this.strategy,
        isLive: (lease) => this.isLive(lease),
      },
      {
        leaseTtlMs: world.leaseTtlMs,
        movingMax: options.movingMax,
        refusedPauseMs: options.refusedPauseMs,
        rebalance: options.rebalance,
        packedMin: options.packedMin,
      },
    )
  }

  get strategy(): Strategy {
    const { view } = this.world
    const older = view.json(balancerKey) as { strategy?: string } | undefined
    return (
      parseStrategy(String(setting(view, 'strategy') ?? '')) ??
      parseStrategy(older?.strategy ?? '') ??
      defaultStrategy
    )
  }

  nextDeadlineMs(): number {
    return Math.min(this.host.nextDeadlineMs(), this.coordinator.nextDeadlineMs(), this.nextExternalMs())
  }

  reset(at: Instant, kvs: readonly KeyValue[]): void {
    this.table.reset(kvs)
    this.isReset = true
    this.lookAround(at, true)
  }

  apply(at: Instant, batch: WatchBatch): void {
    for (const event of batch.events) {
      const key = event.type === 'put' ? event.kv.key : event.key
      if (event.type !== 'delete' || !key.startsWith('nodes/')) continue
      const nodeId = key.slice('nodes/'.length)
      const lifecycle = this.world.member(nodeId)?.record.lifecycle
      if (lifecycle !== 'leaving' && lifecycle !== 'left') this.trust.lost(nodeId, at.nowMs)
    }
    this.table.apply(batch)
    this.lookAround(at, false)
  }

  /** Who holds leases, and which external nodes spoke. */
  private lookAround(at: Instant, isFound: boolean): void {
    const { view } = this.world
    const holders = registrations(view)
    if (holders !== this.liveOf) {
      this.liveOf = holders
      this.live = new Set(holders.map((r) => r.lease))
    }
    if (this.externalChanges === view.changesOf(externalPrefix)) return
    this.externalChanges = view.changesOf(externalPrefix)
    const before = this.externals
    this.externals = new Map()
    for (const key of view.under(externalPrefix).sort()) {
      const rev = view.modRev(key)
      const id = key.slice(externalPrefix.length)
      const known = before.get(id)
      const record = view.json(key) as ExternalRecord | undefined
      if (known?.rev === rev) this.externals.set(id, known)
      else if (record !== undefined) {
        const lease = externalLease(record.id, record.registered_at_ms)
        const datedMs = isFound ? Math.max(0, at.wallMs - record.heartbeat_at_ms) : 0
        this.externals.set(id, { record, rev, lease, seenMs: at.nowMs, datedMs })
      }
    }
    this.externalLeases = new Map([...this.externals.values()].map((e) => [e.lease, e]))
  }

  isLive(lease: LeaseId): boolean {
    if (this.live.has(lease)) return true
    const external = this.externalLeases.get(lease)
    return external !== undefined && this.nowMs - external.seenMs <= this.externalRules.offlineMs
  }

  private nextExternalMs(): number {
    let next = Number.POSITIVE_INFINITY
    for (const { seenMs } of this.externals.values()) {
      const atMs = seenMs + this.externalRules.offlineMs + 1
      if (atMs > this.nowMs) next = Math.min(next, atMs)
    }
    return next
  }

  /** In order of node id, with what each has at present. */
  candidates(): AgentCandidate[] {
    return this.freshCandidates().map((c) => ({ ...c, agents: this.coordinator.agentsOf(c.lease) }))
  }

  /** The same array while nobody changes, and the same object of each who does not; made for a thousand nodes at every step of the leader. */
  private freshCandidates(): readonly AgentCandidate[] {
    const { world } = this
    const lost = world.capacityLost()
    const holders = registrations(world.view)
    const changes = toldIn.map((kind) => world.view.changesOf(kind)).join()
    if (changes !== this.toldChanges) this.told.clear()
    this.toldChanges = changes
    const found: AgentCandidate[] = []
    for (const { nodeId, lease } of holders) {
      const c = this.ofMember(nodeId, lease, lost)
      if (c !== undefined) found.push(c)
    }
    for (const external of this.externals.values()) found.push(this.ofExternal(external))
    if (this.externals.size > 0) found.sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1))
    if (found.length === this.standing.length && found.every((c, i) => c === this.standing[i]))
      return this.standing
    if (this.made.size > found.length) {
      const leases = new Set(found.map((c) => c.lease))
      for (const lease of this.made.keys()) if (!leases.has(lease)) this.made.delete(lease)
    }
    this.standing = found
    return found
  }

  private ofMember(nodeId: NodeId, lease: LeaseId, capacityLost: boolean): AgentCandidate | undefined {
    const { world } = this
    const member = world.member(nodeId)
    if (member === undefined) return undefined
    const { record, status, telemetry, rttMs } = member
    let told = this.told.get(lease)
    if (told === undefined) {
      told = {
        evicted: world.view.kv(evictionKey(lease)) !== undefined,
        draining: world.isDraining(nodeId),
        offer: world.view.json(offerKey(nodeId)),
      }
      this.told.set(lease, told)
    }
    const { evicted, draining, offer: offered } = told
    const trust = this.trust.of(nodeId, this.nowMs)
    const from = [record, status, telemetry, rttMs, evicted, draining, trust, offered, capacityLost]
    return this.make(lease, from, () => {
      const offer: Offer = readOffer(offered)
      const seen = { record, status, telemetry, rttMs, evicted, trust, offer }
      const c = memberCandidate(seen, 0, capacityLost, this.roundTrips)
      const moveOff = moveOffReason(record, draining, capacityLost)
      return { ...c, lease, refusal: c.refusal === '' && draining ? 'it is draining' : c.refusal, moveOff }
    })
  }

  private ofExternal({ record, lease, seenMs }: External): AgentCandidate {
    const draining = this.world.isDraining(record.id)
    const c = externalCandidate(record, this.nowMs - seenMs, 0, this.externalRules)
    return this.make(lease, [record, c.refusal, draining], () => ({
      ...c,
      lease,
      refusal: c.refusal === '' && draining ? 'it is draining' : c.refusal,
      moveOff: draining ? 'drain' : '',
    }))
  }

  private make(lease: LeaseId, from: readonly unknown[], make: () => AgentCandidate): AgentCandidate {
    const before = this.made.get(lease)
    if (before !== undefined && from.every((value, i) => value === before.from[i])) return before.candidate
    const candidate = make()
    this.made.set(lease, { from, candidate })
    return candidate
  }

  externalsSeen(): ExternalSeen[] {
    return [...this.externals.values()].map(({ record, rev, seenMs, datedMs }) => ({
      record,
      rev,
      seenAtMs: seenMs,
      datedMs,
    }))
  }

  settle(at: Instant): AgentPlaneEffect[] {
    this.nowMs = at.nowMs
    return [
      ...this.coordinator.step(at, { type: 'changed' }),
      ...this.host.step(at, { type: 'changed' }),
      ...this.changes(),
    ]
  }

  runHost(at: Instant, input: AgentHostInput): readonly AgentPlaneEffect[] {
    this.nowMs = at.nowMs
    return this.host.step(at, input)
  }

  storeDone(at: Instant, tag: string, reply: StoreReply): readonly AgentPlaneEffect[] {
    this.nowMs = at.nowMs
    return tag.startsWith('agents.')
      ? this.coordinator.step(at, { type: 'store_done', tag, reply })
      : this.host.step(at, { type: 'store_done', tag, reply })
  }

  private changes(): AgentPlaneEffect[] {
    if (this.changed.size === 0 && !this.isReset) return []
    const reset = this.isReset
    this.isReset = false
    const names = reset ? this.table.entries.keys() : this.changed
    const entries = [...names].map((name) => ({ ...(this.table.get(name) ?? emptyEntry(name)) }))
    this.changed.clear()
    return [{ type: 'agents_changed', reset, entries }]
  }
}

function placeCompare({ nodeId, lease }: AgentPlace): Compare {
  return isExternal(lease)
    ? { key: externalPrefix + nodeId, target: 'createRev', op: '>', value: 0n }
    : { key: registrationKey(nodeId), target: 'lease', op: '=', value: lease }
}

function moveOffReason(record: MemberRecord, draining: boolean, capacityLost: boolean): string {
  if (draining) return 'drain'
  if (record.lifecycle === 'draining' || record.lifecycle === 'leaving') return 'leaving'
  return record.role === 'standby' && !capacityLost ? 'standby' : ''
}
