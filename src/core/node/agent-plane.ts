/**
 * Everything about agents on one node: the table that follows the store, the host that runs what is assigned to our lease, and, on the
 * leader, the coordinator. Says who may be given agents; the node machine wires it to leases, membership and lifecycle.
 */
import { type AgentCandidate, AgentCoordinator, type AgentCoordinatorEffect } from '../agents/coordinator.js'
import { AgentHost, type AgentHostEffect, type AgentHostInput } from '../agents/host.js'
import { type AgentPlace, externalLease } from '../agents/records.js'
import { type AgentEntry, AgentTable } from '../agents/table.js'
import { Balancer, defaultStrategy, parseStrategy, type Strategy } from '../balancing/balancer.js'
import { Trust, type TrustOptions } from '../balancing/trust.js'
import type { LeaseId, NodeId, Term } from '../kernel/brand.js'
import { setting } from '../kernel/config-document.js'
import type { Instant } from '../kernel/machine.js'
import type { Random } from '../kernel/random.js'
import { evictionKey, registrationKey, registrations } from '../kernel/registration.js'
import type { Compare, KeyValue, StoreReply, WatchBatch } from '../kernel/store-types.js'
import type { StoreView } from '../kernel/store-view.js'
import type { MemberRecord, MemberStatus, Telemetry } from '../membership/member.js'
import {
  type ExternalRecord,
  externalCandidate,
  externalOfflineMs,
  externalPrefix,
  memberCandidate,
  offerKey,
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
  readonly trust: TrustOptions
}

export const agentPlaneDefaults: AgentPlaneOptions = {
  movingMax: 10,
  refusedPauseMs: 2_000,
  rebalance: true,
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

export class AgentPlane {
  readonly table = new AgentTable()
  readonly host: AgentHost
  readonly coordinator: AgentCoordinator
  readonly trust: Trust
  private readonly world: AgentPlaneWorld
  private readonly changed = new Set<string>()
  private isReset = false
  private live: ReadonlySet<LeaseId> = new Set()
  private readonly externals = new Map<
    NodeId,
    { readonly record: ExternalRecord; readonly rev: bigint; readonly seenMs: number }
  >()
  private readonly roundTrips: RoundTrips
  private nowMs = 0

  constructor(world: AgentPlaneWorld, options: AgentPlaneOptions, random: Random) {
    this.world = world
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
        candidates: () => this.candidates(),
        strategy: () => this.strategy,
        isLive: (lease) => this.isLive(lease),
      },
      {
        leaseTtlMs: world.leaseTtlMs,
        movingMax: options.movingMax,
        refusedPauseMs: options.refusedPauseMs,
        rebalance: options.rebalance,
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
    this.lookAround(at)
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
    this.lookAround(at)
  }

  /** Who holds leases, and which external nodes spoke. */
  private lookAround(at: Instant): void {
    const { view } = this.world
    this.live = new Set(registrations(view).map((r) => r.lease))
    const keys = view.under(externalPrefix)
    for (const key of keys) {
      const rev = view.modRev(key)
      const id = key.slice(externalPrefix.length)
      if (this.externals.get(id)?.rev === rev) continue
      const record = view.json(key) as ExternalRecord | undefined
      if (record !== undefined) this.externals.set(id, { record, rev, seenMs: at.nowMs })
    }
    if (keys.length < this.externals.size)
      for (const id of this.externals.keys())
        if (view.kv(externalPrefix + id) === undefined) this.externals.delete(id)
  }

  isLive(lease: LeaseId): boolean {
    if (this.live.has(lease)) return true
    for (const { record, seenMs } of this.externals.values())
      if (externalLease(record.id, record.registered_at_ms) === lease)
        return this.nowMs - seenMs <= externalOfflineMs
    return false
  }

  private nextExternalMs(): number {
    let next = Number.POSITIVE_INFINITY
    for (const { seenMs } of this.externals.values()) {
      const atMs = seenMs + externalOfflineMs + 1
      if (atMs > this.nowMs) next = Math.min(next, atMs)
    }
    return next
  }

  /** In order of node id. */
  candidates(): AgentCandidate[] {
    const { world } = this
    const lost = world.capacityLost()
    const found: AgentCandidate[] = []
    for (const { nodeId, lease } of registrations(world.view)) {
      const member = world.member(nodeId)
      if (member === undefined) continue
      const seen = {
        ...member,
        evicted: world.view.kv(evictionKey(lease)) !== undefined,
        trust: this.trust.of(nodeId, this.nowMs),
        offer: readOffer(world.view.json(offerKey(nodeId))),
      }
      const draining = world.isDraining(nodeId)
      const c = memberCandidate(seen, this.coordinator.agentsOf(lease), lost, this.roundTrips)
      found.push({
        ...c,
        lease,
        refusal: c.refusal === '' && draining ? 'it is draining' : c.refusal,
        moveOff: moveOffReason(member.record, draining, lost),
      })
    }
    for (const { record, seenMs } of this.externals.values()) {
      const lease = externalLease(record.id, record.registered_at_ms)
      const c = externalCandidate(record, this.nowMs - seenMs, this.coordinator.agentsOf(lease))
      const draining = world.isDraining(record.id)
      found.push({
        ...c,
        lease,
        refusal: c.refusal === '' && draining ? 'it is draining' : c.refusal,
        moveOff: draining ? 'drain' : '',
      })
    }
    return this.externals.size === 0 ? found : found.sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1))
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
    const entries = [...names].map((name) => ({ ...(this.table.get(name) ?? gone(name)) }))
    this.changed.clear()
    return [{ type: 'agents_changed', reset, entries }]
  }
}

function placeCompare({ nodeId, lease }: AgentPlace): Compare {
  return lease.startsWith('external:')
    ? { key: externalPrefix + nodeId, target: 'createRev', op: '>', value: 0n }
    : { key: registrationKey(nodeId), target: 'lease', op: '=', value: lease }
}

function moveOffReason(record: MemberRecord, draining: boolean, capacityLost: boolean): string {
  if (draining) return 'drain'
  if (record.lifecycle === 'draining' || record.lifecycle === 'leaving') return 'leaving'
  return record.role === 'standby' && !capacityLost ? 'standby' : ''
}

function gone(name: string): AgentEntry {
  return { name, spec: undefined, specRev: 0n, at: undefined, atRev: 0n, end: undefined, endRev: 0n }
}
