/**
 * One node's control plane: the machines and the visible wiring between them. Every cross-effect in Skein ("member failed → may a death be
 * proved?", "lease lost → stop everything that rests on it") is a line of this file.
 *
 * The shell feeds inputs and carries out effects in order. Order matters: `set_epoch`, `lease_deadline` and `stop_serving` come before the
 * store requests that others act upon.
 */

import { workOf } from '../agents/coordinator.js'
import { earlyKey, guardKey } from '../agents/records.js'
import { whyNot } from '../balancing/candidate.js'
import { LeaderElection, readLeader, type Standing } from '../election/leader-election.js'
import { LeaseKeeper } from '../election/lease-keeper.js'
import type { BootNumber, LeaseId, NodeId } from '../kernel/brand.js'
import { asBootNumber, asIncarnation, asLeaseId } from '../kernel/brand.js'
import { Deadlines } from '../kernel/deadlines.js'
import type { FeedEventName } from '../kernel/feed-events.js'
import { formatKey, formatLevel, formatLevelForAll, formatTrouble } from '../kernel/format.js'
import { type Instant, note } from '../kernel/machine.js'
import type { Random } from '../kernel/random.js'
import {
  bootKey,
  evictionKey,
  evictionPrefix,
  readRegistration,
  registrationKey,
  registrationPrefix,
  registrations,
} from '../kernel/registration.js'
import type { KeyValue, StoreEffect, StoreReply, WatchBatch } from '../kernel/store-types.js'
import { StoreView } from '../kernel/store-view.js'
import { jsonEncode } from '../kernel/text.js'
import type { Lifecycle, MemberRecord, MemberStatus } from '../membership/member.js'
import { Membership } from '../membership/membership.js'
import { type ShardCandidate, ShardCoordinator } from '../sharding/coordinator.js'
import { ShardHolder } from '../sharding/holder.js'
import { pruneTransaction } from '../sharding/prune.js'
import { readShardMap } from '../sharding/shard-map.js'
import { AgentPlane } from './agent-plane.js'
import { intentPrefix, type Offer, offerKey } from './candidates.js'
import type { Command, NodeEffect, NodeInput, NodeOptions } from './node-types.js'
import { StandbyCall } from './standby-call.js'

/** Removed by an operator: that boot and all before it are forgotten. */
export const removedPrefix = 'removed/'
/** Intent set by an operator on any node: drained or cordoned. */

type DeadlineName = 'evict' | 'prove' | 'leave' | 'stalled' | 'alone' | 'die'

/** Whoever wakes up past its deadline has so long to stop its agents, ms. */
const dieGraceMs = 500
/** Before the deadline of a leave, what is still here is stopped where it is, ms. */
const stopBeforeEndMs = 2_000

export class NodeMachine {
  readonly view = new StoreView()
  readonly membership: Membership
  readonly lease: LeaseKeeper
  readonly election: LeaderElection
  readonly coordinator: ShardCoordinator
  readonly holder: ShardHolder
  readonly agents: AgentPlane
  private readonly standbys: StandbyCall
  readonly options: NodeOptions
  private readonly deadlines = new Deadlines<DeadlineName>()
  private out: NodeEffect[] = []
  private lastNowMs = 0
  /** Something changed that the parts below look at; most datagrams change nothing. */
  private dirty = true
  private lifecycle: Lifecycle = 'joining'
  private gossiping = false
  private aloneAtMs = 0
  private leaving: { readonly reason: string; readonly deadlineMs: number } | null = null
  private relinquishing = false
  private offer: Offer = { kinds: [], exec: false }
  private offered = ''
  /** Since when agents were told to stop for want of renewals. */
  private fadingSinceMs = Number.POSITIVE_INFINITY
  private lastLeaderRev = 0n
  /** The format level being asked for; 0 while none is. */
  private raisingTo = 0
  private lastRouting = ''
  private announcedLeaving = false
  private readonly proving = new Set<LeaseId>()
  private readonly failedSinceMs = new Map<NodeId, number>()
  private readonly promotions: string[] = []

  constructor(options: NodeOptions, random: Random) {
    this.options = options
    this.membership = new Membership(options.membership, options, random, {
      isRegistered: (record) => this.isRegistered(record),
    })
    this.lease = new LeaseKeeper(
      {
        nodeId: options.nodeId,
        bootId: options.bootId,
        lifeLock: options.lifeLock,
        controlAddress: options.addresses.control,
        role: options.role,
        zone: options.zone,
      },
      options.lease,
    )
    const world = {
      view: this.view,
      nodeId: options.nodeId,
      lease: (nowMs: number) => (this.lease.isValid(nowMs) ? this.lease.lease : null),
      standing: (nodeId: NodeId) => this.standing(nodeId),
      goneSinceMs: (nodeId: NodeId) => this.goneSinceMs(nodeId),
      isRelieved: () => this.isRelieved(),
      guard: (nowMs: number) => this.election.guard(nowMs),
      candidates: () => this.shardCandidates(),
    }
    this.standbys = new StandbyCall(
      {
        view: this.view,
        members: () => this.membership.table.entries.values(),
        standsStill: (record) => this.standsStill(record),
      },
      options.standbyReliefMs,
    )
    this.election = new LeaderElection(world, options.election)
    this.coordinator = new ShardCoordinator(world, options.coordinator)
    this.holder = new ShardHolder(world)
    this.agents = new AgentPlane(
      {
        view: this.view,
        nodeId: options.nodeId,
        leaseTtlMs: options.lease.ttlMs,
        lease: world.lease,
        guard: world.guard,
        fadeAtMs: () => this.lease.fadeAtMs,
        member: (nodeId) => this.membership.seen(nodeId),
        isDraining: (nodeId) => this.isDraining(nodeId),
        capacityLost: () => this.capacityLost,
      },
      options.agents,
      random,
    )
  }

  nextDeadlineMs(): number {
    return Math.min(
      this.membership.nextDeadlineMs(),
      this.lease.nextDeadlineMs(),
      this.election.nextDeadlineMs(),
      this.coordinator.nextDeadlineMs(),
      this.holder.nextDeadlineMs(),
      this.agents.nextDeadlineMs(),
      this.standbys.nextDeadlineMs(),
      this.deadlines.nextMs(),
    )
  }

  step(at: Instant, input: NodeInput): readonly NodeEffect[] {
    this.out = []
    this.lastNowMs = at.nowMs
    // First of all: do we still hold what we think we hold? (A lapse is noticed before anything else is believed.)
    this.runLease(at, { type: 'deadline' })
    if (input.type !== 'membership' && input.type !== 'deadline') this.dirty = true
    this.take(at, input)
    this.runMembership(at, { type: 'deadline' })
    this.runDeadlines(at)
    this.settle(at)
    return this.out
  }

  // --- inputs ---------------------------------------------------------------------------------------------------

  private take(at: Instant, input: NodeInput): void {
    switch (input.type) {
      case 'start':
        this.runLease(at, { type: 'open' })
        break
      case 'view_reset':
        this.viewReset(at, input.kvs, input.rev)
        break
      case 'view_batch':
        this.viewBatch(at, input.batch)
        break
      case 'store_done':
        this.storeDone(at, input.tag, input.reply)
        break
      case 'death_proof':
        this.deathProof(at, input.nodeId, input.lease, input.result)
        break
      case 'relinquished':
        this.relinquished(at)
        break
      case 'agents_quiet':
        this.deadlines.clear('die')
        break
      case 'agent_report':
      case 'agent_stopped':
        this.emit(this.agents.runHost(at, input))
        break
      case 'guard_proof':
        this.emit(this.agents.coordinator.step(at, input))
        break
      case 'offer':
        this.offer = input.offer
        this.makeOffer(at)
        break
      case 'sealed':
        this.runHolder(at, input)
        break
      case 'shard_closed':
        this.runHolder(at, input)
        break
      case 'main_stalled':
        this.mainStalled(at, input.stalled)
        break
      case 'command':
        this.command(at, input.id, input.command)
        break
      case 'membership':
        this.runMembership(at, input.input)
        break
      case 'deadline':
        break
    }
  }

  private viewReset(at: Instant, kvs: readonly KeyValue[], rev: bigint): void {
    this.view.reset(kvs, rev)
    this.agents.reset(at, kvs)
    this.viewChanged(at, true)
  }

  private viewBatch(at: Instant, batch: WatchBatch): void {
    this.view.apply(batch)
    this.agents.apply(at, batch)
    const registrationsChanged = batch.events.some((e) => keyOf(e).startsWith(registrationPrefix))
    this.viewChanged(at, registrationsChanged || batch.events.some((e) => keyOf(e).startsWith(removedPrefix)))
    for (const event of batch.events) {
      if (event.type === 'delete' && event.key === registrationKey(this.options.nodeId))
        this.runLease(at, { type: 'registration_gone' })
    }
  }

  private viewChanged(at: Instant, membersMayDiffer: boolean): void {
    this.considerFormat(at)
    if (!membersMayDiffer) return
    const holders = registrations(this.view)
    this.runMembership(at, {
      type: 'hints',
      hints: holders.map((h) => ({ nodeId: h.nodeId, address: h.controlAddress })),
    })
    // A registered node that gossip does not know may be a corpse from before our time.
    this.deadlines.set('prove', at.nowMs + this.options.proveUnknownAfterMs)
    for (const key of this.view.under(removedPrefix)) {
      const nodeId = key.slice(removedPrefix.length)
      const boot = asBootNumber(Number((this.view.json(key) as { boot?: number } | undefined)?.boot ?? 0))
      if (nodeId !== this.options.nodeId) this.runMembership(at, { type: 'forget', nodeId, boot })
      else if (boot >= this.lease.boot && this.lease.boot > 0)
        this.leave(at, 'removed by an operator', this.options.drainDeadlineMs)
    }
  }

  private storeDone(at: Instant, tag: string, reply: StoreReply): void {
    if (tag === 'format.raise') this.formatRaised(reply)
    else if (tag.startsWith('lease.')) this.runLease(at, { type: 'store_done', tag, reply })
    else if (tag.startsWith('leader.'))
      this.emitElection(this.election.step(at, { type: 'store_done', tag, reply }))
    else if (tag.startsWith('shards.')) this.emit(this.coordinator.step(at, { type: 'store_done', reply }))
    else if (tag.startsWith('holder.')) this.runHolder(at, { type: 'store_done', tag, reply })
    else if (tag.startsWith('agents.') || tag.startsWith('host.'))
      this.emit(this.agents.storeDone(at, tag, reply))
    else if (tag.startsWith('proof.early.') && reply.ok)
      this.revokeNow(asLeaseId(tag.slice('proof.early.'.length)))
    else if (tag === 'proof.revoke' && reply.ok) this.runLease(at, { type: 'registration_gone' })
    else if (tag.startsWith('command.')) this.commandDone(tag.slice('command.'.length), reply)
    else if (!reply.ok)
      this.out.push(note('warn', 'store.request_failed', { tag, code: reply.code, detail: reply.detail }))
  }

  private mainStalled(at: Instant, stalled: boolean): void {
    this.runMembership(at, { type: 'set_self', change: { stalled } })
  }

  // --- lease ----------------------------------------------------------------------------------------------------

  private runLease(at: Instant, input: Parameters<LeaseKeeper['step']>[1]): void {
    for (const effect of this.lease.step(at, input)) {
      if (effect.type !== 'store' && effect.type !== 'lease_deadline') this.dirty = true
      switch (effect.type) {
        case 'lease_granted':
          this.out.push(
            { type: 'journal_open', lease: effect.lease },
            { type: 'feed', event: 'lease.granted', fields: { lease: effect.lease } },
          )
          this.joinGossip(at, effect.boot)
          this.offered = ''
          this.makeOffer(at)
          break
        case 'lease_lost':
          this.leaseLost(at, effect.lease, effect.reason)
          break
        case 'prove_death':
          this.prove(effect.nodeId, effect.lease, effect.locator)
          break
        case 'revoke_dead':
          this.revokeDead(effect.lease)
          break
        case 'lease_closed':
          this.out.push({ type: 'stopped', reason: this.leaving?.reason ?? 'stopped' })
          break
        case 'id_taken':
          this.out.push({ type: 'fatal', code: 'node_id_in_use', detail: effect.detail })
          break
        default:
          this.out.push(effect)
      }
    }
  }

  /** The order of DESIGN §3 "Waking up": nothing may rest on the old lease when it is revoked. */
  private leaseLost(at: Instant, lease: LeaseId, reason: string): void {
    this.out.push({ type: 'lease_deadline', lease, deadlineMs: 0 })
    this.out.push({ type: 'stop_serving', lease, reason })
    this.out.push(note('warn', 'lease.lost', { lease, reason }), {
      type: 'feed',
      event: 'lease.lost',
      fields: { lease, reason },
    })
    this.runHolder(at, { type: 'lease_lost' })
    this.dieUnlessQuiet(at)
    this.emit(this.agents.runHost(at, { type: 'lease_lost' }))
    this.relinquishing = true
    this.out.push({ type: 'relinquish', lease })
    if (this.gossiping) this.runMembership(at, { type: 'woke' })
  }

  /** Agents that were told in time and have not stopped must not see the lease end. */
  private dieUnlessQuiet(at: Instant): void {
    const running = this.agents.host.active().length
    if (running === 0) return
    const toldMs = at.nowMs - this.fadingSinceMs
    if (toldMs < this.options.lease.ttlMs * 0.2) this.deadlines.set('die', at.nowMs + dieGraceMs)
    else this.die(`${running} agents did not stop in ${Math.round(toldMs)} ms`)
  }

  private die(detail: string): void {
    this.out.push({ type: 'die', detail: `the lease is over and ${detail}` })
  }

  /** Nothing rests on the old lease any more. */
  private relinquished(at: Instant): void {
    if (!this.relinquishing) return
    this.relinquishing = false
    this.deadlines.clear('die')
    this.runLease(at, { type: this.announcedLeaving ? 'close' : 'relinquished' })
  }

  /** What our program can run, for the coordinator to see; it ends with our lease. */
  private makeOffer(at: Instant): void {
    const { lease } = this.lease
    const text = JSON.stringify(this.offer)
    if (lease === null || !this.lease.isValid(at.nowMs) || text === this.offered) return
    this.offered = text
    const { nodeId } = this.options
    this.ask(
      'offer',
      [{ key: registrationKey(nodeId), target: 'lease', op: '=', value: lease }],
      [{ type: 'put', key: offerKey(nodeId), value: jsonEncode({ v: 1, ...this.offer }), lease }],
    )
  }

  private joinGossip(at: Instant, boot: BootNumber): void {
    if (this.gossiping) return
    this.gossiping = true
    this.aloneAtMs = at.nowMs + this.options.aloneAfterMs
    this.deadlines.set('alone', this.aloneAtMs)
    const { options } = this
    const self: MemberRecord = {
      nodeId: options.nodeId,
      bootId: options.bootId,
      boot,
      incarnation: asIncarnation(0),
      controlAddress: options.addresses.control,
      controlStreamAddress: options.addresses.controlStream,
      peerAddress: options.addresses.peer,
      httpAddress: options.addresses.http,
      lifecycle: 'joining',
      stalled: false,
      cordoned: false,
      role: options.role,
      zone: options.zone,
      region: options.region,
      version: options.version,
      startedAtMs: at.wallMs,
      facts: options.facts,
    }
    this.runMembership(at, { type: 'start', self, seeds: options.seeds })
    const hints = registrations(this.view).map((h) => ({ nodeId: h.nodeId, address: h.controlAddress }))
    this.runMembership(at, { type: 'hints', hints })
  }

  // --- membership -------------------------------------------------------------------------------------------------

  private runMembership(at: Instant, input: Parameters<Membership['step']>[1]): void {
    const { settled } = this.membership
    const effects = this.membership.step(at, input)
    if (settled !== this.membership.settled) this.dirty = true
    for (const effect of effects) {
      switch (effect.type) {
        case 'member_changed':
          this.memberChanged(at, effect)
          break
        case 'superseded':
          this.out.push({
            type: 'fatal',
            code: 'node_id_in_use',
            detail: `a later boot of "${this.options.nodeId}" is in the cluster at ${effect.by.peerAddress}`,
          })
          break
        case 'refused':
          this.out.push(note('error', 'member.join_refused', { by: effect.by, detail: effect.detail }), {
            type: 'refused',
            by: effect.by,
            detail: effect.detail,
          })
          break
        default:
          this.out.push(effect)
      }
    }
  }

  /** The last boot of a node id outlives its lease in the store. */
  private isRegistered({ nodeId, boot, bootId }: MemberRecord): boolean {
    if (!this.view.synced) return true
    const last = this.view.kv(bootKey(nodeId))
    if (last === undefined || BigInt(boot) > last.modRev) return false
    if (BigInt(boot) < last.modRev) return true
    return (this.view.json(bootKey(nodeId)) as { boot_id?: string } | undefined)?.boot_id === bootId
  }

  private memberChanged(at: Instant, change: Extract<NodeEffect, { type: 'member_changed' }>): void {
    this.dirty = true
    this.out.push(change)
    const { nodeId, before, after, evidence } = change
    if (nodeId === this.options.nodeId) return
    for (const event of describeChange(before, after)) {
      this.out.push({
        type: 'feed',
        event,
        fields: { member: nodeId, detail: evidence?.detail ?? '', observer: evidence?.observer ?? '' },
      })
    }
    if (after?.status === 'failed') {
      if (before?.status !== 'failed') this.failedSinceMs.set(nodeId, at.nowMs)
      this.deadlines.set('evict', at.nowMs + this.options.evictAfterMs)
      this.proveMember(nodeId)
    } else this.failedSinceMs.delete(nodeId)
  }

  private standing(nodeId: NodeId): Standing {
    if (nodeId === this.options.nodeId) {
      const fit =
        this.gossiping &&
        this.lifecycle === 'active' &&
        !this.membership.self.stalled &&
        this.isEnlisted(this.options.role)
      return fit ? 'well' : 'unfit'
    }
    const entry = this.membership.table.get(nodeId)
    if (entry === undefined) return 'doubtful'
    if (entry.status === 'failed' || entry.status === 'left') return 'gone'
    if (entry.status === 'suspect') return 'doubtful'
    const { lifecycle, stalled, role } = entry.record
    return lifecycle === 'active' && !stalled && this.isEnlisted(role) ? 'well' : 'unfit'
  }

  /** Workers own and lead; standbys do while capacity is lost; replicas never. */
  private isEnlisted(role: string): boolean {
    return role === 'worker' || (role === 'standby' && this.capacityLost)
  }

  get capacityLost(): boolean {
    return this.standbys.isOn
  }

  /** Leads in the stead of workers, and one of them could again. */
  private isRelieved(): boolean {
    const { role, nodeId } = this.options
    return (
      !this.isEnlisted(role) &&
      registrations(this.view).some((r) => r.nodeId !== nodeId && this.standing(r.nodeId) === 'well')
    )
  }

  private goneSinceMs(nodeId: NodeId): number | undefined {
    const entry = this.membership.table.get(nodeId)
    return entry !== undefined && (entry.status === 'failed' || entry.status === 'left')
      ? entry.sinceMs
      : undefined
  }

  // --- proof of death, eviction -----------------------------------------------------------------------------------

  private proveMember(nodeId: NodeId): void {
    const registration = readRegistration(this.view, nodeId)
    if (registration !== undefined && registration.lifeLock !== '')
      this.prove(nodeId, registration.lease, registration.lifeLock)
  }

  private prove(nodeId: NodeId, lease: LeaseId, locator: string): void {
    if (this.proving.has(lease)) return
    this.proving.add(lease)
    this.out.push({ type: 'prove_death', nodeId, lease, locator })
  }

  private deathProof(
    at: Instant,
    nodeId: NodeId,
    lease: LeaseId,
    result: 'dead' | 'alive' | 'unknown',
  ): void {
    this.proving.delete(lease)
    if (nodeId === this.options.nodeId) {
      this.runLease(at, { type: 'death_proof', lease, result })
      return
    }
    if (result !== 'dead') return
    const registration = readRegistration(this.view, nodeId)
    if (registration === undefined || registration.lease !== lease) return
    this.revokeDead(lease)
    this.out.push({ type: 'feed', event: 'member.death_proved', fields: { member: nodeId, lease } })
    this.runMembership(at, {
      type: 'death_proved',
      nodeId,
      boot: registration.boot,
      detail: 'its life lock was obtained: the process is dead',
    })
  }

  /**
   * Ends the lease before its time. Its guard may not have ended the processes yet: that is written down first, so that nobody takes
   * the end of the lease for the end of the processes.
   */
  private revokeDead(lease: LeaseId): void {
    if (this.view.synced && this.view.kv(guardKey(lease)) === undefined) this.revokeNow(lease)
    else {
      const hasGuard = { key: guardKey(lease), target: 'createRev', op: '>', value: 0n } as const
      const value = jsonEncode({ v: 1, by: this.options.nodeId })
      this.ask(`proof.early.${lease}`, [hasGuard], [{ type: 'put', key: earlyKey(lease), value }])
    }
  }

  private revokeNow(lease: LeaseId): void {
    this.out.push({ type: 'store', tag: 'proof.revoke', request: { op: 'lease_revoke', lease } })
  }

  /** The leader frees the work of nodes that gossip calls failed but whose lease lives on. */
  private evictFailed(at: Instant): void {
    const guard = this.election.guard(at.nowMs)
    if (guard === null) return
    const holders = registrations(this.view)
    const owning = new Set((readShardMap(this.view) ?? []).map((a) => a.lease))
    for (const holder of holders) {
      const since = this.failedSinceMs.get(holder.nodeId)
      if (since === undefined) continue
      if (at.nowMs - since < this.options.evictAfterMs) {
        this.deadlines.set('evict', since + this.options.evictAfterMs)
        continue
      }
      this.proveMember(holder.nodeId)
      this.deadlines.set('evict', at.nowMs + this.options.evictAfterMs)
      // A node that only holds a lease is in nobody's way.
      const isOwner = owning.has(holder.lease) || this.agents.table.namesOf(holder.lease).size > 0
      if (isOwner && this.view.kv(evictionKey(holder.lease)) === undefined)
        this.evict(guard.compare, holder.nodeId, holder.lease)
    }
    const alive = new Set(holders.map((h) => evictionKey(h.lease)))
    const stale = this.view
      .under(evictionPrefix)
      .filter((key) => !alive.has(key))
      .slice(0, 100)
    if (stale.length > 0) {
      this.ask(
        'evict.clean',
        [guard.compare],
        stale.map((key) => ({ type: 'delete', key })),
      )
    }
  }

  private evict(compare: Parameters<NodeMachine['ask']>[1][number], nodeId: NodeId, lease: LeaseId): void {
    this.out.push({ type: 'feed', event: 'member.evicted', fields: { member: nodeId, lease } })
    this.ask(
      'evict',
      [compare],
      [{ type: 'put', key: evictionKey(lease), value: jsonEncode({ v: 1, node_id: nodeId }) }],
    )
  }

  // --- sharding -----------------------------------------------------------------------------------------------------

  private shardCandidates(): ShardCandidate[] {
    return registrations(this.view).map((r): ShardCandidate => {
      const isSelf = r.nodeId === this.options.nodeId
      const entry = this.membership.table.get(r.nodeId)
      const evicted = this.view.kv(evictionKey(r.lease)) !== undefined
      const lifecycle = isSelf ? this.lifecycle : entry?.record.lifecycle
      const stalled = entry !== undefined && this.standsStill(entry.record)
      const mayOwn =
        !evicted &&
        lifecycle === 'active' &&
        this.isEnlisted(r.role) &&
        !stalled &&
        entry !== undefined &&
        !this.isDraining(r.nodeId)
      const canReceive =
        mayOwn && entry?.status === 'alive' && !entry.record.stalled && !entry.record.cordoned
      return { nodeId: r.nodeId, lease: r.lease, zone: r.zone, mayOwn, canReceive }
    })
  }

  private readonly stalledAt = new Map<NodeId, number>()

  private standsStill({ nodeId, stalled }: MemberRecord): boolean {
    return stalled && this.lastNowMs - this.stalledSince(nodeId) >= this.options.moveOffStalledMs
  }

  private stalledSince(nodeId: NodeId): number {
    return this.stalledAt.get(nodeId) ?? this.lastNowMs
  }

  private noteStalls(at: Instant): void {
    for (const entry of this.membership.table.entries.values()) {
      const { nodeId, stalled } = entry.record
      if (!stalled) this.stalledAt.delete(nodeId)
      else if (!this.stalledAt.has(nodeId)) {
        this.stalledAt.set(nodeId, at.nowMs)
        this.deadlines.set('stalled', at.nowMs + this.options.moveOffStalledMs)
      }
    }
  }

  isDraining(nodeId: NodeId): boolean {
    return (this.view.json(`${intentPrefix}${nodeId}`) as { drain?: boolean } | undefined)?.drain === true
  }

  private runHolder(at: Instant, input: Parameters<ShardHolder['step']>[1]): void {
    this.emit(this.holder.step(at, input))
  }

  // --- commands -----------------------------------------------------------------------------------------------------

  private command(at: Instant, id: string, command: Command): void {
    switch (command.type) {
      case 'leave':
        this.leave(at, command.reason, command.deadlineMs)
        this.finish(id, true, '')
        break
      case 'promote':
        if (this.options.role === 'replica') this.finish(id, false, 'a replica never leads')
        else if (!this.isEnlisted(this.options.role))
          this.finish(id, false, 'a standby leads only while a worker is missing')
        else {
          this.promotions.push(id)
          this.emitElection(this.election.step(at, { type: 'promote' }))
        }
        break
      case 'step_down': {
        const leads = this.election.guard(at.nowMs) !== null
        this.emitElection(this.election.step(at, { type: 'step_down', reason: 'asked by an operator' }))
        this.finish(id, leads, leads ? '' : 'this node does not lead')
        break
      }
      case 'remove':
        this.remove(id, command.nodeId)
        break
      case 'prune':
        this.prune(at, id, new Set(command.leases))
        break
      case 'intent':
        this.ask(
          `command.${id}`,
          [],
          [
            {
              type: 'put',
              key: `${intentPrefix}${command.nodeId}`,
              value: jsonEncode({ v: 1, drain: command.drain, cordon: command.cordon }),
            },
          ],
        )
        break
    }
  }

  private prune(at: Instant, id: string, leases: ReadonlySet<LeaseId>): void {
    const guard = this.election.guard(at.nowMs)
    if (guard === null) {
      this.finish(id, false, 'this node does not lead')
      return
    }
    const { shards } = this.options.coordinator
    const txn = pruneTransaction(this.view, shards, leases, guard.compare)
    if (txn === null) this.finish(id, true, '')
    else this.ask(`command.${id}`, txn.if ?? [], txn.then ?? [])
  }

  private remove(id: string, nodeId: NodeId): void {
    const entry = this.membership.table.get(nodeId)
    const registration = readRegistration(this.view, nodeId)
    const boot = Math.max(entry?.record.boot ?? 0, registration?.boot ?? 0)
    if (boot === 0) {
      this.finish(id, false, `no node "${nodeId}"`)
      return
    }
    const unreachable = entry === undefined || entry.status === 'failed' || entry.status === 'left'
    this.ask(
      `command.${id}`,
      [],
      [
        { type: 'put', key: `${removedPrefix}${nodeId}`, value: jsonEncode({ v: 1, boot }) },
        { type: 'delete', key: `${intentPrefix}${nodeId}` },
        ...(registration !== undefined && unreachable
          ? [
              {
                type: 'put' as const,
                key: evictionKey(registration.lease),
                value: jsonEncode({ v: 1, node_id: nodeId }),
              },
            ]
          : []),
      ],
    )
  }

  private commandDone(id: string, reply: StoreReply): void {
    const ok = reply.ok && reply.op === 'txn' && reply.result.ok
    this.finish(id, ok, ok ? '' : reply.ok ? 'the transaction was refused' : `${reply.code}: ${reply.detail}`)
  }

  private emitElection(effects: ReturnType<LeaderElection['step']>): void {
    for (const effect of effects) {
      if (effect.type !== 'promoted') this.out.push(effect)
      else for (const id of this.promotions.splice(0)) this.finish(id, effect.ok, effect.detail)
    }
  }

  private finish(id: string, ok: boolean, detail: string): void {
    this.out.push({ type: 'command_done', id, ok, detail })
  }

  // --- lifecycle ------------------------------------------------------------------------------------------------------

  private leave(at: Instant, reason: string, deadlineMs: number): void {
    if (this.leaving !== null) return
    this.leaving = { reason, deadlineMs: at.nowMs + deadlineMs }
    this.deadlines.set('leave', this.leaving.deadlineMs)
    this.setLifecycle(at, 'draining')
  }

  private setLifecycle(at: Instant, lifecycle: Lifecycle): void {
    if (this.lifecycle === lifecycle) return
    this.lifecycle = lifecycle
    this.runMembership(at, { type: 'set_self', change: { lifecycle } })
    this.out.push({ type: 'feed', event: `self.${lifecycle}`, fields: {} })
  }

  /** Somebody told us the state of the cluster; or the store knows of nobody else, and whom we were told to ask does not answer. */
  private hasJoined(at: Instant): boolean {
    if (this.membership.settled) return true
    if (at.nowMs < this.aloneAtMs) return false
    return registrations(this.view).every((r) => r.nodeId === this.options.nodeId)
  }

  private runLifecycle(at: Instant): void {
    if (this.leaving === null) {
      if (
        this.lifecycle === 'joining' &&
        this.gossiping &&
        this.hasJoined(at) &&
        this.view.synced &&
        this.lease.isValid(at.nowMs)
      ) {
        this.setLifecycle(at, 'active')
      }
      const intent = this.view.json(`${intentPrefix}${this.options.nodeId}`) as
        | { drain?: boolean; cordon?: boolean }
        | undefined
      if (this.lifecycle === 'active' && intent?.drain === true) this.setLifecycle(at, 'draining')
      else if (this.lifecycle === 'draining' && intent?.drain !== true) this.setLifecycle(at, 'active')
      if (this.gossiping)
        this.runMembership(at, { type: 'set_self', change: { cordoned: intent?.cordon === true } })
      return
    }
    if (this.announcedLeaving) return
    const noHelp = !this.shardCandidates().some((c) => c.canReceive && c.nodeId !== this.options.nodeId)
    if (noHelp) this.runHolder(at, { type: 'release_all' })
    const stopAtMs = this.leaving.deadlineMs - stopBeforeEndMs
    this.stopHopeless(at, at.nowMs >= stopAtMs)
    const isQuiet = this.holder.heldCount === 0 && this.agents.host.active().length === 0
    if (!isQuiet && this.lease.isValid(at.nowMs) && at.nowMs < this.leaving.deadlineMs) {
      this.deadlines.set('leave', at.nowMs < stopAtMs ? stopAtMs : this.leaving.deadlineMs)
      return
    }
    this.announcedLeaving = true
    this.setLifecycle(at, 'leaving')
    if (this.lease.lease !== null) {
      this.out.push(
        { type: 'lease_deadline', lease: this.lease.lease, deadlineMs: 0 },
        { type: 'stop_serving', lease: this.lease.lease, reason: 'leaving' },
      )
    }
    this.emitElection(this.election.step(at, { type: 'step_down', reason: 'leaving' }))
    this.setLifecycle(at, 'left')
    if (this.lease.lease === null || this.relinquishing) {
      if (!this.relinquishing) this.runLease(at, { type: 'close' })
      return
    }
    // The lease may end only when nothing that rests on it is left.
    this.relinquishing = true
    this.out.push({ type: 'relinquish', lease: this.lease.lease })
  }

  /** Agents that nobody else could run, or all of them near the deadline, end with this node and come back when they can. */
  private stopHopeless(at: Instant, all: boolean): void {
    const names = this.agents.host.active()
    if (names.length === 0) return
    const others = all ? [] : this.agents.candidates().filter((c) => c.nodeId !== this.options.nodeId)
    for (const name of names) {
      const spec = this.agents.table.get(name)?.spec
      const work = spec === undefined ? undefined : workOf(spec)
      if (work === undefined || !others.some((c) => whyNot(c, work).length === 0))
        this.emit(this.agents.runHost(at, { type: 'leave', name }))
    }
  }

  // --- the rest -------------------------------------------------------------------------------------------------------

  private runDeadlines(at: Instant): void {
    for (const name of this.deadlines.due(at.nowMs)) {
      this.dirty = true
      if (name === 'evict') this.evictFailed(at)
      else if (name === 'die') this.die('its agents have not stopped')
      else if (name === 'prove') this.proveUnknown()
    }
  }

  private proveUnknown(): void {
    for (const holder of registrations(this.view)) {
      if (holder.nodeId === this.options.nodeId || holder.lifeLock === '') continue
      const entry = this.membership.table.get(holder.nodeId)
      if (entry === undefined || entry.status === 'failed' || entry.record.boot !== holder.boot)
        this.prove(holder.nodeId, holder.lease, holder.lifeLock)
    }
  }

  /** After every input: let the parts that depend on the whole picture look at it once more. */
  private settle(at: Instant): void {
    const due = Math.min(
      this.election.nextDeadlineMs(),
      this.coordinator.nextDeadlineMs(),
      this.holder.nextDeadlineMs(),
      this.agents.nextDeadlineMs(),
      this.standbys.nextDeadlineMs(),
    )
    if (!this.dirty && due > at.nowMs) return
    this.dirty = false
    this.noteStalls(at)
    this.standbys.look(at.nowMs)
    this.runLifecycle(at)
    this.emitElection(this.election.step(at, { type: 'changed' }))
    this.emit(this.coordinator.step(at, { type: 'changed' }))
    this.runHolder(at, { type: 'changed' })
    this.fadingSinceMs =
      at.nowMs < this.lease.fadeAtMs ? Number.POSITIVE_INFINITY : Math.min(this.fadingSinceMs, at.nowMs)
    this.emit(this.agents.settle(at))
    this.noticeLeader()
    this.publishRouting(at)
  }

  private noticeLeader(): void {
    const leader = readLeader(this.view)
    if (leader === undefined || leader.modRev === this.lastLeaderRev) return
    this.lastLeaderRev = leader.modRev
    const fields = {
      term: leader.term,
      leader: leader.nodeId ?? '',
      reason: String((this.view.json('leader') as { reason?: string }).reason ?? ''),
    }
    this.out.push({
      type: 'feed',
      event: leader.nodeId === null ? 'leader.resigned' : 'leader.elected',
      fields,
    })
  }

  private publishRouting(at: Instant): void {
    const map = readShardMap(this.view)
    const leader = readLeader(this.view)
    const leads = this.election.leads(at.nowMs)
    const key = `${this.view.modRev('shards/map')}/${leader?.modRev ?? 0}/${leads}/${this.lease.lease}/${this.lease.state}/${this.lifecycle}/${this.view.modRev(formatKey)}`
    if (key === this.lastRouting) return
    this.lastRouting = key
    this.out.push({
      type: 'routing',
      map: map ?? [],
      leader: leader ?? null,
      leads,
      lease: this.lease.state === 'held' ? this.lease.lease : null,
      lifecycle: this.lifecycle,
      formatLevel: formatLevel(this.view),
    })
    this.considerFormat(at)
  }

  /** The leader raises the format level once every registered node reads the next one; whoever cannot read it any more ends. */
  private considerFormat(at: Instant): void {
    const level = formatLevel(this.view)
    const trouble = formatTrouble(level)
    if (trouble !== undefined) {
      this.out.push({ type: 'fatal', code: 'incompatible', detail: trouble })
      return
    }
    const wanted = formatLevelForAll(this.view)
    const guard = this.election.guard(at.nowMs)
    if (guard === null || wanted <= level || this.raisingTo === wanted) return
    this.raisingTo = wanted
    const compare = { key: formatKey, target: 'modRev', op: '=', value: this.view.modRev(formatKey) } as const
    this.ask(
      'format.raise',
      [guard.compare, compare],
      [{ type: 'put', key: formatKey, value: jsonEncode({ v: 1, level: wanted }) }],
    )
  }

  private formatRaised(reply: StoreReply): void {
    if (reply.ok && reply.op === 'txn' && reply.result.ok)
      this.out.push({ type: 'feed', event: 'format.raised', fields: { level: this.raisingTo } })
    this.raisingTo = 0
  }

  private ask(
    tag: string,
    compares: NonNullable<Extract<StoreEffect['request'], { op: 'txn' }>['txn']['if']>,
    ops: NonNullable<Extract<StoreEffect['request'], { op: 'txn' }>['txn']['then']>,
  ): void {
    this.out.push({ type: 'store', tag, request: { op: 'txn', txn: { if: compares, then: ops } } })
  }

  private emit(effects: readonly NodeEffect[]): void {
    this.out.push(...effects)
  }
}

function keyOf(event: WatchBatch['events'][number]): string {
  return event.type === 'put' ? event.kv.key : event.key
}

function describeChange(
  before: { readonly record: MemberRecord; readonly status: string } | null,
  after: { readonly record: MemberRecord; readonly status: MemberStatus } | null,
): FeedEventName[] {
  if (after === null) return ['member.removed']
  if (before === null) return [after.status === 'alive' ? 'member.joined' : statusEvent(after.status)]
  const events: FeedEventName[] = []
  if (before.record.boot !== after.record.boot) events.push('member.restarted')
  if (before.status !== after.status)
    events.push(after.status === 'alive' ? 'member.recovered' : statusEvent(after.status))
  if (before.record.lifecycle !== after.record.lifecycle && after.status === 'alive')
    events.push(`member.${after.record.lifecycle}`)
  if (before.record.stalled !== after.record.stalled)
    events.push(after.record.stalled ? 'member.stalled' : 'member.unstalled')
  return events
}

function statusEvent(status: Exclude<MemberStatus, 'alive'>): FeedEventName {
  return status === 'suspect' ? 'member.suspected' : `member.${status}`
}
