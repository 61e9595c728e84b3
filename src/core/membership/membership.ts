/**
 * SWIM membership with Lifeguard, as a machine: who is in the cluster, who is well, and why we think so.
 *
 * Sources: SWIM (Das, Gupta, Motivala 2002) §3 probing, §4.1 gossip, §4.2 suspicion; Lifeguard (Dadgar et al. 2018) §4.1 local health,
 * §4.2 dynamic suspicion, §4.3 buddy system. Deviations: members that missed a probe, and a fixed number of ring successors, are
 * probed at every interval, so that detection time does not depend on the size of the cluster; lost tables settle by digest on every exchange
 * instead of by a periodic full sync; a reset connection whose redial is refused fails a member at once.
 *
 * Verdicts here are for status and routing. What a verdict *permits* is decided elsewhere (leases); nothing here touches the store.
 */
import type { Address, BootNumber, NodeId } from '../kernel/brand.js'
import { asIncarnation } from '../kernel/brand.js'
import { Deadlines } from '../kernel/deadlines.js'
import { hash32 } from '../kernel/hash.js'
import { type Instant, type Note, note } from '../kernel/machine.js'
import type { Random } from '../kernel/random.js'
import { addressTrouble } from './addresses.js'
import { NetworkPosition } from './coordinates.js'
import { takesSections } from './facts.js'
import {
  type Claim,
  compareClaims,
  type Evidence,
  type EvidenceKind,
  type Figures,
  type MemberRecord,
  type MemberStatus,
  noTelemetry,
  type Telemetry,
} from './member.js'
import type { MembershipMessage } from './messages.js'
import type { MembershipOptions } from './options.js'
import { Rumours } from './rumours.js'
import { suspicionTimeoutMs } from './suspicion.js'
import { claimOf, isReachable, type MemberEntry, MemberTable } from './table.js'

export type MembershipInput =
  | { readonly type: 'start'; readonly self: MemberRecord; readonly seeds: readonly Address[] }
  | {
      readonly type: 'message'
      readonly from: Address
      readonly message: MembershipMessage
      readonly via: 'datagram' | 'stream'
    }
  | { readonly type: 'deadline' }
  /** Addresses to join through, found anew. One that is no longer among them says nothing about the member behind it. */
  | { readonly type: 'seeds'; readonly seeds: readonly Address[] }
  /** A connection to that boot broke without a goodbye. */
  | {
      readonly type: 'connection_lost'
      readonly nodeId: NodeId
      readonly bootId: string
      readonly address: Address
      readonly detail: string
    }
  /** The operating system refused a dial: nobody listens at that address. */
  | { readonly type: 'dial_refused'; readonly address: Address; readonly detail: string }
  /** Registered in the store: somebody to talk to if we do not know it yet. */
  | {
      readonly type: 'hints'
      readonly hints: readonly { readonly nodeId: NodeId; readonly address: Address }[]
    }
  /** Its life lock was obtained: the process is dead. */
  | {
      readonly type: 'death_proved'
      readonly nodeId: NodeId
      readonly boot: BootNumber
      readonly detail: string
    }
  | {
      readonly type: 'set_self'
      readonly change: Partial<Pick<MemberRecord, 'lifecycle' | 'stalled' | 'cordoned' | 'facts'>>
    }
  | { readonly type: 'telemetry'; readonly telemetry: Figures }
  /** We stood still (SIGSTOP, suspend): withhold verdicts and speak up with a new incarnation. */
  | { readonly type: 'woke' }
  /** Removed by an operator: forget that boot and all before it. */
  | { readonly type: 'forget'; readonly nodeId: NodeId; readonly boot: BootNumber }

export type MembershipEffect =
  | { readonly type: 'datagram'; readonly to: Address; readonly message: MembershipMessage }
  | { readonly type: 'stream'; readonly to: Address; readonly message: MembershipMessage }
  /** Keep connections to these control stream addresses, and to no others. */
  | { readonly type: 'keep'; readonly addresses: readonly Address[] }
  | {
      readonly type: 'member_changed'
      readonly nodeId: NodeId
      readonly before: { readonly record: MemberRecord; readonly status: MemberStatus } | null
      readonly after: { readonly record: MemberRecord; readonly status: MemberStatus } | null
      readonly evidence: Evidence | undefined
    }
  /** Another boot of our node id is in the cluster. */
  | { readonly type: 'superseded'; readonly by: MemberRecord }
  | { readonly type: 'refused'; readonly by: NodeId; readonly detail: string }
  | Note

/** Nodes that differ in one of these never become members of each other. */
export interface ClusterIdentity {
  readonly clusterName: string
  readonly storeIdentity: string
}

/** What the store has on record. Gossip says how members are; who is one, it does not. */
export interface BootRecords {
  /** Was that boot ever registered? Also true as long as this node has no record to look at. */
  isRegistered(record: MemberRecord): boolean
}

const noRecords: BootRecords = { isRegistered: () => true }

interface Probe {
  readonly seq: number
  readonly nodeId: NodeId
  readonly sentAtMs: number
  readonly indirectAtMs: number
  readonly missAtMs: number
  indirectSent: boolean
  /** Set when this probe was made for another member that asked. */
  readonly forwardTo: { readonly address: Address; readonly seq: number } | undefined
  nacksWanted: number
  nacks: number
}

/** A state of more claims than this is learned without being passed on as gossip. */
const bulkClaims = 32
/** Nobody lives to see it. A claim above it could never be refuted. */
const incarnationMax = 2 ** 40
/** Names in DNS may have many addresses; a few that answer are enough. */
const seedsMax = 1_000

type DeadlineName = 'probe' | 'gossip' | 'join' | 'redial' | 'probes_due' | 'suspicions' | 'forget'

export class Membership {
  readonly table = new MemberTable()
  private readonly deadlines = new Deadlines<DeadlineName>()
  private readonly rumours = new Rumours()
  private readonly probes = new Map<number, Probe>()
  private readonly forgotten = new Map<NodeId, BootNumber>()
  private readonly options: MembershipOptions
  private readonly random: Random
  private readonly cluster: ClusterIdentity
  private readonly records: BootRecords
  private seeds: readonly Address[] = []
  private hints: readonly { readonly nodeId: NodeId; readonly address: Address }[] = []
  private order: NodeId[] = []
  private kept = ''
  private ringChanged = false
  private isBulk = false
  private successorIds: readonly NodeId[] = []
  private seq = 0
  private started = false
  private joinTries = 0
  private withheldUntilMs = 0
  private lastSyncAtMs = Number.NEGATIVE_INFINITY
  private figures: Figures = noTelemetry
  private position = new NetworkPosition('')
  private out: MembershipEffect[] = []
  /** Lifeguard's local health score: 0 is well. */
  health = 0
  /** A state arrived from somebody, or there is nobody to ask. */
  settled = false
  selfId: NodeId = ''

  constructor(
    options: MembershipOptions,
    cluster: ClusterIdentity,
    random: Random,
    records: BootRecords = noRecords,
  ) {
    this.options = options
    this.cluster = cluster
    this.random = random
    this.records = records
  }

  get self(): MemberRecord {
    return (this.table.get(this.selfId) as MemberEntry).record
  }

  nextDeadlineMs(): number {
    return this.deadlines.nextMs()
  }

  /** A member with the figures that go with it; for this node, its own. */
  seen(nodeId: NodeId): Pick<MemberEntry, 'record' | 'status' | 'telemetry' | 'rttMs'> | undefined {
    const entry = this.table.get(nodeId)
    return entry === undefined || nodeId !== this.selfId ? entry : { ...entry, telemetry: this.telemetry() }
  }

  /** True while verdicts about others are withheld because we stood still ourselves. */
  isWithholding(nowMs: number): boolean {
    return nowMs < this.withheldUntilMs
  }

  step(at: Instant, input: MembershipInput): readonly MembershipEffect[] {
    this.out = []
    if (this.started && input.type !== 'start') this.noticeOwnStall(at)
    switch (input.type) {
      case 'start':
        this.start(at, input.self, input.seeds)
        break
      case 'message':
        if (this.started) this.receive(at, input.from, input.message, input.via)
        break
      case 'deadline':
        break
      case 'connection_lost':
        this.connectionLost(at, input.nodeId, input.bootId, input.detail)
        break
      case 'dial_refused':
        this.dialRefused(at, input.address, input.detail)
        break
      case 'hints':
        this.takeHints(at, input.hints)
        break
      case 'seeds':
        this.takeSeeds(at, input.seeds)
        break
      case 'death_proved':
        this.deathProved(at, input.nodeId, input.boot, input.detail)
        break
      case 'set_self':
        this.setSelf(at, input.change)
        break
      case 'telemetry':
        this.figures = input.telemetry
        break
      case 'woke':
        this.withhold(at)
        this.newIncarnation(at, {})
        break
      case 'forget':
        this.forget(input.nodeId, input.boot)
        break
    }
    if (this.started) this.runDeadlines(at)
    if (this.ringChanged) this.chooseSentinels()
    return this.out
  }

  // --- self -------------------------------------------------------------------------------------------------

  private start(at: Instant, self: MemberRecord, seeds: readonly Address[]): void {
    this.selfId = self.nodeId
    this.position = new NetworkPosition(self.nodeId)
    this.started = true
    this.seeds = seeds.filter((a) => a !== self.controlAddress)
    this.apply(
      at,
      { record: self, status: 'alive', from: self.nodeId, missedProbes: 0, verdictAtMs: 0 },
      undefined,
    )
    this.deadlines.set('probe', at.nowMs + this.random.between(0, this.options.probeIntervalMs))
    this.deadlines.set('redial', at.nowMs + this.options.redialIntervalMs)
    this.deadlines.set('forget', at.nowMs + 60_000)
    this.settled = this.seeds.length === 0 && this.hints.length === 0
    this.join(at)
  }

  private setSelf(
    at: Instant,
    change: Partial<Pick<MemberRecord, 'lifecycle' | 'stalled' | 'cordoned' | 'facts'>>,
  ): void {
    if (!this.started) return
    const keys = Object.keys(change) as (keyof typeof change)[]
    if (keys.every((key) => this.self[key] === change[key])) return
    this.newIncarnation(at, change)
    if (change.lifecycle === 'leaving' || change.lifecycle === 'left') this.tellManyNow(at)
  }

  /** A leaver has no time for gossip rounds: it tells up to 32 members itself. */
  private tellManyNow(at: Instant): void {
    const claim = claimOf(this.table.get(this.selfId) as MemberEntry)
    for (const entry of this.random.sample(this.others('reachable'), 32)) {
      this.datagram(entry.record.controlAddress, {
        type: 'gossip',
        from: this.selfId,
        digest: this.table.digest(),
        claims: [claim],
      })
    }
    this.deadlines.set('gossip', at.nowMs)
  }

  private newIncarnation(at: Instant, change: Partial<MemberRecord>, atLeast = 0): void {
    const me = this.self
    const record = { ...me, ...change, incarnation: asIncarnation(Math.max(me.incarnation, atLeast) + 1) }
    const status: MemberStatus = record.lifecycle === 'left' ? 'left' : 'alive'
    this.apply(
      at,
      { record, status, from: me.nodeId, missedProbes: 0, verdictAtMs: status === 'left' ? at.wallMs : 0 },
      undefined,
    )
  }

  private noticeOwnStall(at: Instant): void {
    const lateMs = at.nowMs - this.deadlines.nextMs()
    if (lateMs <= this.options.ownStallMs) return
    this.out.push(note('warn', 'member.own_stall', { late_ms: Math.round(lateMs) }))
    this.withhold(at)
  }

  /** Nobody is judged on what we failed to hear while we stood still. */
  private withhold(at: Instant): void {
    this.withheldUntilMs = at.nowMs + this.options.ownStallRounds * this.options.probeIntervalMs
    this.probes.clear()
    this.deadlines.clear('probes_due')
    this.worse(1)
    for (const entry of this.table.entries.values()) {
      if (entry.status === 'suspect') entry.suspectedAtMs = at.nowMs
      entry.missedProbes = Math.min(entry.missedProbes, this.options.suspectAtMisses)
    }
    this.armSuspicions()
  }

  // --- join and anti-entropy ----------------------------------------------------------------------------------

  private join(at: Instant): void {
    const alone = this.table.reachableCount < 2
    if (this.settled && !alone) return
    const targets = new Set<Address>(this.random.sample(this.seeds, 3))
    const unknown = this.hints.filter((h) => h.nodeId !== this.selfId)
    for (const hint of this.random.sample(unknown, 3)) targets.add(hint.address)
    if (alone && this.joinTries > 2)
      for (const e of this.random.sample(this.others('failed'), 2)) targets.add(e.record.controlAddress)
    if (targets.size === 0) {
      this.settled = true
      return
    }
    const claims = [claimOf(this.table.get(this.selfId) as MemberEntry)]
    for (const to of targets) this.datagram(to, { type: 'join', ...this.cluster, claims })
    this.joinTries++
    this.deadlines.set(
      'join',
      at.nowMs + Math.min(5_000, 150 * 2 ** Math.min(this.joinTries, 6)) * this.random.between(0.8, 1.2),
    )
  }

  private takeSeeds(at: Instant, seeds: readonly Address[]): void {
    const before = new Set(this.seeds)
    this.seeds = seeds.slice(0, seedsMax)
    if (!this.started) return
    this.seeds = this.seeds.filter((a) => a !== this.self.controlAddress)
    const fresh = this.seeds.filter((a) => !before.has(a) && this.table.byAnyAddress(a) === undefined)
    if (fresh.length === 0) return
    if (this.table.reachableCount < 2) {
      this.joinTries = 0
      this.join(at)
      return
    }
    const claims = [claimOf(this.table.get(this.selfId) as MemberEntry)]
    for (const seed of this.random.sample(fresh, 3))
      this.datagram(seed, { type: 'join', ...this.cluster, claims })
  }

  private takeHints(
    at: Instant,
    hints: readonly { readonly nodeId: NodeId; readonly address: Address }[],
  ): void {
    this.hints = hints.slice(0, this.options.membersMax)
    if (!this.started) return
    if (this.table.reachableCount < 2 && this.hints.some((h) => h.nodeId !== this.selfId)) {
      this.joinTries = 0
      this.join(at)
      return
    }
    // Registered, but gossip has not told us of it: say hello, as to a seed.
    const claims = [claimOf(this.table.get(this.selfId) as MemberEntry)]
    const unknown = hints.filter((h) => h.nodeId !== this.selfId && this.table.get(h.nodeId) === undefined)
    for (const hint of this.random.sample(unknown, 3))
      this.datagram(hint.address, { type: 'join', ...this.cluster, claims })
  }

  private considerSync(at: Instant, digest: number, from: MemberEntry | undefined): void {
    if (digest === this.table.digest() || from === undefined || from.record.nodeId === this.selfId) return
    if (at.nowMs - this.lastSyncAtMs < this.options.syncIntervalMs) return
    this.lastSyncAtMs = at.nowMs
    this.datagram(from.record.controlAddress, {
      type: 'digest',
      from: this.selfId,
      buckets: this.table.buckets(),
      reply: true,
    })
  }

  private receive(at: Instant, from: Address, message: MembershipMessage, via: 'datagram' | 'stream'): void {
    const detail = message.type === 'join' ? this.objection(message) : undefined
    if (detail !== undefined) {
      this.datagram(from, { type: 'refuse', from: this.selfId, detail })
      this.out.push(note('warn', 'member.refused', { from, detail }))
      return
    }
    if ('claims' in message) {
      // A whole state is no news to others: digests tell who else lacks it.
      this.isBulk = message.type === 'state' && message.claims.length > bulkClaims
      for (const claim of message.claims) this.consider(at, claim)
      this.isBulk = false
    }
    switch (message.type) {
      case 'ping':
        this.answerPing(at, from, message, via)
        break
      case 'ack':
        this.takeAck(at, message)
        break
      case 'ping_req':
        this.probe(at, message.target, message.address, { address: from, seq: message.seq })
        break
      case 'nack': {
        const probe = this.probes.get(message.seq)
        if (probe !== undefined) probe.nacks++
        break
      }
      case 'gossip':
        this.considerSync(at, message.digest, this.table.get(message.from))
        break
      case 'digest':
        this.answerDigest(message.from, message.buckets)
        break
      case 'state':
        this.takeState(message)
        break
      case 'join': {
        const joiner = message.claims[0]?.record
        if (joiner !== undefined) {
          this.stream(joiner.controlStreamAddress, {
            type: 'state',
            from: this.selfId,
            claims: this.table.claims(),
            wanted: [],
          })
        }
        break
      }
      case 'refuse':
        this.out.push({ type: 'refused', by: message.from, detail: message.detail })
        break
    }
  }

  /** Why a joiner cannot be one of us: the difference and the fix, in words for its operator. */
  private objection(theirs: ClusterIdentity): string | undefined {
    const { clusterName, storeIdentity } = this.cluster
    if (theirs.clusterName !== clusterName) {
      return `this is cluster "${clusterName}", the joining node belongs to "${theirs.clusterName}": start it with --cluster-name ${clusterName} or give it other peers`
    }
    if (theirs.storeIdentity !== storeIdentity) {
      return `the nodes of cluster "${clusterName}" use store ${storeIdentity}, the joining node uses ${theirs.storeIdentity}: give it the same --store`
    }
    return undefined
  }

  private answerDigest(from: NodeId, buckets: readonly number[]): void {
    const entry = this.table.get(from)
    if (entry === undefined) return
    const mine = this.table.buckets()
    const differing = new Set(mine.flatMap((digest, i) => (digest === buckets[i] ? [] : [i])))
    if (differing.size === 0) return
    this.stream(entry.record.controlStreamAddress, {
      type: 'state',
      from: this.selfId,
      claims: this.table.claimsIn(differing),
      wanted: [...differing],
    })
  }

  private takeState(message: Extract<MembershipMessage, { type: 'state' }>): void {
    this.settled = true
    this.joinTries = 0
    this.deadlines.clear('join')
    const entry = this.table.get(message.from)
    if (message.wanted.length === 0 || entry === undefined) return
    const claims = this.table.claimsIn(new Set(message.wanted))
    this.stream(entry.record.controlStreamAddress, { type: 'state', from: this.selfId, claims, wanted: [] })
  }

  // --- claims -------------------------------------------------------------------------------------------------

  private consider(at: Instant, claim: Claim): void {
    const { record } = claim
    if (record.nodeId === this.selfId) {
      this.considerOwn(at, claim)
      return
    }
    const removed = this.forgotten.get(record.nodeId)
    if (removed !== undefined && record.boot <= removed) return
    const known = this.table.get(record.nodeId)
    if (!this.isCredible(claim, known?.record)) return
    if (known === undefined) {
      if (!isReachable(claim.status) && at.wallMs - claim.verdictAtMs > this.options.forgetAfterMs) return
      if (this.table.entries.size >= this.options.membersMax) {
        this.out.push(
          note('error', 'member.table_full', {
            node_id: record.nodeId,
            members_max: this.options.membersMax,
          }),
        )
        return
      }
    } else if (
      claim.status === 'suspect' &&
      known.status === 'suspect' &&
      known.record.incarnation === record.incarnation
    ) {
      this.confirm(at, known, claim.from)
    }
    this.apply(at, claim, evidenceOf(claim))
  }

  /** Notes why not. */
  private isCredible({ record, from }: Claim, known: MemberRecord | undefined): boolean {
    const { nodeId, boot, bootId, incarnation } = record
    if (incarnation > incarnationMax) return false
    if (known?.boot === boot && known.bootId !== bootId) return false
    // It may be that the store's news is on its way: then gossip will say it again, and the registration leads to that node.
    if ((known === undefined || boot > known.boot) && !this.records.isRegistered(record)) {
      this.out.push(note('debug', 'member.unregistered', { node_id: nodeId, by: from, boot }))
      return false
    }
    const trouble = addressTrouble(record, known, this.options.allowSpecialAddresses)
    if (trouble === undefined) return true
    this.out.push(note('warn', 'member.address_refused', { node_id: nodeId, by: from, detail: trouble }))
    return false
  }

  /** What others are told of us must not go beyond what we say: the claim with the higher incarnation counts, whoever made it. */
  private considerOwn(at: Instant, claim: Claim): void {
    const me = this.table.get(this.selfId) as MemberEntry
    const { boot, incarnation } = claim.record
    if (boot > me.record.boot) {
      if (this.records.isRegistered(claim.record)) this.out.push({ type: 'superseded', by: claim.record })
      return
    }
    if (boot < me.record.boot || incarnation > incarnationMax || compareClaims(claim, me) <= 0) return
    const { status, from } = claim
    if (status !== 'alive') this.worse(1)
    this.out.push(note('info', 'member.refuting', { status, from, incarnation }))
    this.newIncarnation(at, {}, incarnation)
    this.deadlines.set('gossip', at.nowMs)
  }

  private apply(
    at: Instant,
    claim: Claim,
    evidence: Omit<Evidence, 'atMs' | 'observerHealth'> | undefined,
  ): void {
    const result = this.table.merge(claim, at.nowMs)
    if (result.kind === 'older' || result.kind === 'unchanged') return
    const { entry } = result
    const { nodeId } = entry.record
    const before = result.kind === 'changed' ? result.before : null
    let kept: Evidence | undefined
    if (
      evidence !== undefined &&
      (before === null ? claim.status !== 'alive' : before.status !== claim.status)
    ) {
      kept = this.keepEvidence(at, entry, evidence.kind, evidence.observer, evidence.detail)
    } else kept = entry.evidence.last()
    if (entry.status === 'suspect') entry.confirmers.add(claim.from)
    if (!this.isBulk) this.rumours.add(claimOf(entry))
    if (before === null || before.status !== entry.status || nodeId === this.selfId)
      this.deadlines.set('gossip', at.nowMs)
    else this.armGossip(at)
    this.armSuspicions()
    this.out.push({
      type: 'member_changed',
      nodeId,
      before,
      after: { record: entry.record, status: entry.status },
      evidence: kept,
    })
    if (
      before === null ||
      isReachable(before.status) !== isReachable(entry.status) ||
      before.record.boot !== entry.record.boot
    )
      this.ringChanged = true
  }

  /** Evidence is also kept for claims that change nothing, such as a missed probe. */
  private keepEvidence(
    at: Instant,
    entry: MemberEntry,
    kind: EvidenceKind,
    observer: NodeId,
    detail: string,
  ): Evidence {
    const evidence: Evidence = {
      atMs: at.wallMs,
      kind,
      observer,
      detail,
      observerHealth: observer === this.selfId ? this.health : 0,
    }
    entry.evidence.push(evidence)
    return evidence
  }

  private accuse(
    at: Instant,
    entry: MemberEntry,
    status: 'suspect' | 'failed',
    kind: EvidenceKind,
    detail: string,
  ): void {
    const claim: Claim = {
      record: entry.record,
      status,
      from: this.selfId,
      missedProbes: entry.missedProbes,
      verdictAtMs: at.wallMs,
    }
    this.apply(at, claim, { kind, observer: this.selfId, detail })
  }

  private confirm(at: Instant, entry: MemberEntry, by: NodeId): void {
    if (entry.confirmers.has(by) || entry.confirmers.size > 8) return
    entry.confirmers.add(by)
    this.keepEvidence(at, entry, 'suspected_by', by, `${by} suspects it too`)
    this.rumours.add({ ...claimOf(entry), from: by })
    this.armSuspicions()
  }

  private forget(nodeId: NodeId, boot: BootNumber): void {
    if (nodeId === this.selfId) return
    if (this.forgotten.size >= 10_000) this.forgotten.delete(this.forgotten.keys().next().value as NodeId)
    this.forgotten.set(nodeId, boot)
    const entry = this.table.get(nodeId)
    if (entry === undefined || entry.record.boot > boot) return
    this.drop(entry)
    this.armSuspicions()
  }

  private drop(entry: MemberEntry): void {
    this.table.delete(entry.record.nodeId)
    this.rumours.drop(entry.record.nodeId)
    this.position.forget(entry.record.nodeId)
    this.out.push({
      type: 'member_changed',
      nodeId: entry.record.nodeId,
      before: { record: entry.record, status: entry.status },
      after: null,
      evidence: undefined,
    })
    this.ringChanged = true
  }

  // --- fast evidence --------------------------------------------------------------------------------------------

  private connectionLost(at: Instant, nodeId: NodeId, bootId: string, detail: string): void {
    const entry = this.table.get(nodeId)
    if (
      entry === undefined ||
      !isReachable(entry.status) ||
      entry.record.bootId !== bootId ||
      nodeId === this.selfId
    )
      return
    entry.lostAtMs = at.nowMs
    this.keepEvidence(at, entry, 'connection_lost', this.selfId, detail)
  }

  private dialRefused(at: Instant, address: Address, detail: string): void {
    const entry = this.table.byAnyAddress(address)
    if (entry === undefined || !isReachable(entry.status) || entry.record.nodeId === this.selfId) return
    if (entry.lostAtMs === 0 || at.nowMs - entry.lostAtMs > 5_000 || this.isWithholding(at.nowMs)) return
    this.accuse(at, entry, 'failed', 'dial_refused', `connection lost and redial refused: ${detail}`)
  }

  private deathProved(at: Instant, nodeId: NodeId, boot: BootNumber, detail: string): void {
    const entry = this.table.get(nodeId)
    if (
      entry === undefined ||
      entry.record.boot !== boot ||
      entry.status === 'left' ||
      entry.status === 'failed'
    )
      return
    this.accuse(at, entry, 'failed', 'death_proved', detail)
  }

  // --- probing --------------------------------------------------------------------------------------------------

  private probeRound(at: Instant): void {
    const { options } = this
    this.deadlines.set('probe', at.nowMs + options.probeIntervalMs * (1 + this.health * 0.25))
    const targets = new Map<NodeId, MemberEntry>()
    const next = this.nextInOrder()
    if (next !== undefined) targets.set(next.record.nodeId, next)
    for (const id of this.successorIds) {
      const entry = this.table.get(id)
      if (entry !== undefined) targets.set(id, entry)
    }
    let doubtful = 0
    for (const entry of this.table.entries.values()) {
      if (doubtful >= 8) break
      if (entry.missedProbes > 0 && isReachable(entry.status) && entry.record.nodeId !== this.selfId) {
        targets.set(entry.record.nodeId, entry)
        doubtful++
      }
    }
    for (const entry of targets.values())
      this.probe(at, entry.record.nodeId, entry.record.controlAddress, undefined)
  }

  private probe(at: Instant, nodeId: NodeId, address: Address, forwardTo: Probe['forwardTo']): void {
    if (this.probes.size > 4_096) return
    const seq = ++this.seq
    // Who asked us waits no longer than 0.6 of its own time-out: the nack must be there before.
    const stretch = forwardTo === undefined ? 1 + this.health : 0.25
    const timeoutMs = Math.min(this.options.probeTimeoutMs * stretch, this.options.probeIntervalMs * 3)
    this.probes.set(seq, {
      seq,
      nodeId,
      sentAtMs: at.nowMs,
      indirectAtMs: at.nowMs + timeoutMs,
      missAtMs: at.nowMs + timeoutMs * 1.6,
      indirectSent: forwardTo !== undefined,
      forwardTo,
      nacksWanted: 0,
      nacks: 0,
    })
    this.sendPing(at, seq, nodeId, address, false)
    this.armProbes()
  }

  private sendPing(at: Instant, seq: number, nodeId: NodeId, address: Address, stream: boolean): void {
    const claims = this.rumoursFor(nodeId)
    const accused = this.table.get(nodeId)
    // Lifeguard's buddy system: tell the accused first.
    if (accused !== undefined && accused.status !== 'alive') claims.unshift(claimOf(accused))
    // A stranger answers only if it knows whom.
    if (accused === undefined || accused.heardAtMs === 0 || accused.status === 'failed')
      claims.unshift(claimOf(this.table.get(this.selfId) as MemberEntry))
    const message: MembershipMessage = {
      type: 'ping',
      seq,
      target: nodeId,
      health: this.health,
      wallMs: at.wallMs,
      telemetry: this.telemetryFor(accused),
      digest: this.table.digest(),
      claims,
    }
    if (stream) this.stream(address, message)
    else this.datagram(address, message)
  }

  private answerPing(
    at: Instant,
    from: Address,
    ping: Extract<MembershipMessage, { type: 'ping' }>,
    via: 'datagram' | 'stream',
  ): void {
    const prober = this.table.byAnyAddress(from)
    if (prober !== undefined && prober.record.nodeId !== this.selfId) {
      prober.heardAtMs = at.nowMs
      this.learn(at, prober, ping.telemetry)
      this.considerSync(at, ping.digest, prober)
    }
    if (ping.target !== this.selfId) return
    const claims = this.rumoursFor(prober?.record.nodeId)
    const me = this.table.get(this.selfId) as MemberEntry
    if (!claims.some((c) => c.record.nodeId === this.selfId)) claims.unshift(claimOf(me))
    // On the way it came: a member that datagrams do not reach may still be reached by stream.
    this.out.push({
      type: via,
      to: from,
      message: {
        type: 'ack',
        seq: ping.seq,
        from: this.selfId,
        wallMs: at.wallMs,
        telemetry: this.telemetryFor(prober),
        digest: this.table.digest(),
        claims,
      },
    })
  }

  private telemetry(): Telemetry {
    return { ...this.figures, coordinate: this.position.coordinate }
  }

  /** Without what the reader does not know how to read. */
  private telemetryFor(reader: MemberEntry | undefined, telemetry = this.telemetry()): Telemetry {
    // A failed one may come back as another build.
    const takes = reader !== undefined && isReachable(reader.status) && takesSections(reader.record)
    return takes ? telemetry : { ...telemetry, process: null, coordinate: null }
  }

  private takeAck(at: Instant, ack: Extract<MembershipMessage, { type: 'ack' }>): void {
    const probe = this.probes.get(ack.seq)
    if (probe === undefined || probe.nodeId !== ack.from) return
    this.probes.delete(ack.seq)
    if (probe.forwardTo !== undefined) {
      const { address, seq } = probe.forwardTo
      const telemetry = this.telemetryFor(this.table.byAnyAddress(address), ack.telemetry)
      this.datagram(address, { ...ack, seq, telemetry, claims: [] })
      return
    }
    this.better()
    const entry = this.table.get(ack.from)
    if (entry === undefined) return
    const rttMs = at.nowMs - probe.sentAtMs
    if (entry.missedProbes > 0)
      this.keepEvidence(
        at,
        entry,
        'answered',
        this.selfId,
        `answered after ${entry.missedProbes} missed probes`,
      )
    entry.missedProbes = 0
    entry.lostAtMs = 0
    entry.heardAtMs = at.nowMs
    if (!probe.indirectSent) {
      entry.rttMs = entry.rttMs === 0 ? rttMs : entry.rttMs * 0.8 + rttMs * 0.2
      entry.skewMs = ack.wallMs + rttMs / 2 - at.wallMs
      if (ack.telemetry.coordinate !== null) this.position.observe(ack.from, ack.telemetry.coordinate, rttMs)
    }
    this.learn(at, entry, ack.telemetry)
    this.considerSync(at, ack.digest, entry)
  }

  private learn(at: Instant, entry: MemberEntry, heard: Telemetry): void {
    // What came through a node that cannot pass it on is still as it was.
    const { process, coordinate } = entry.telemetry
    entry.telemetry = {
      ...heard,
      process: heard.process ?? process,
      coordinate: heard.coordinate ?? coordinate,
    }
    entry.telemetryAtMs = at.nowMs
  }

  private probesDue(at: Instant): void {
    for (const probe of [...this.probes.values()]) {
      if (!probe.indirectSent && probe.indirectAtMs <= at.nowMs) this.askOthers(at, probe)
      if (probe.missAtMs <= at.nowMs) {
        this.probes.delete(probe.seq)
        this.missed(at, probe)
      }
    }
    this.armProbes()
  }

  private askOthers(at: Instant, probe: Probe): void {
    probe.indirectSent = true
    const entry = this.table.get(probe.nodeId)
    if (entry === undefined) return
    const helpers = this.others('alive').filter(
      (e) => e.record.nodeId !== probe.nodeId && e.missedProbes === 0,
    )
    for (const helper of this.random.sample(helpers, this.options.indirectProbes)) {
      probe.nacksWanted++
      this.datagram(helper.record.controlAddress, {
        type: 'ping_req',
        seq: probe.seq,
        target: probe.nodeId,
        address: entry.record.controlAddress,
        claims: this.rumoursFor(helper.record.nodeId),
      })
    }
    this.sendPing(at, probe.seq, probe.nodeId, entry.record.controlStreamAddress, true)
  }

  private missed(at: Instant, probe: Probe): void {
    if (probe.forwardTo !== undefined) {
      this.datagram(probe.forwardTo.address, {
        type: 'nack',
        seq: probe.forwardTo.seq,
        from: this.selfId,
        claims: [],
      })
      return
    }
    const entry = this.table.get(probe.nodeId)
    if (entry === undefined || !isReachable(entry.status) || this.isWithholding(at.nowMs)) return
    // Helpers that could not even say "no answer" hint that it is us who cannot be heard (Lifeguard §4.1).
    if (probe.nacksWanted > 0 && probe.nacks < probe.nacksWanted / 2) this.worse(1)
    entry.missedProbes++
    const detail = `probe ${entry.missedProbes} unanswered for ${Math.round(at.nowMs - probe.sentAtMs)} ms, directly, by stream and through ${probe.nacksWanted} others (${probe.nacks} tried in vain)`
    this.keepEvidence(
      at,
      entry,
      probe.nacksWanted > 0 ? 'indirect_probe_failed' : 'probe_missed',
      this.selfId,
      detail,
    )
    const { suspectAtMisses, failAtMisses } = this.options
    if (entry.status === 'alive' && entry.missedProbes >= suspectAtMisses + Math.floor(this.health / 2))
      this.accuse(at, entry, 'suspect', 'probe_missed', detail)
    else if (entry.status === 'suspect') {
      this.confirm(at, entry, this.selfId)
      if (entry.missedProbes >= failAtMisses + this.health)
        this.accuse(at, entry, 'failed', 'suspicion_expired', `${detail}; not refuted`)
    }
  }

  // --- suspicion ------------------------------------------------------------------------------------------------

  private suspicionEndMs(entry: MemberEntry): number {
    const { options } = this
    const minMs = (options.failAtMisses - options.suspectAtMisses) * options.probeIntervalMs
    const confirmationsWanted = Math.min(2, this.table.reachableCount - 3)
    const timeoutMs = suspicionTimeoutMs({
      confirmations: Math.max(0, entry.confirmers.size - 1),
      confirmationsWanted,
      minMs,
      maxMs: minMs * 2,
    })
    return entry.suspectedAtMs + timeoutMs * (1 + this.health * 0.5)
  }

  private armSuspicions(): void {
    let next = Number.POSITIVE_INFINITY
    for (const id of this.table.suspects)
      next = Math.min(next, this.suspicionEndMs(this.table.get(id) as MemberEntry))
    if (next === Number.POSITIVE_INFINITY) this.deadlines.clear('suspicions')
    else this.deadlines.set('suspicions', Math.max(next, this.withheldUntilMs))
  }

  private suspicionsDue(at: Instant): void {
    for (const id of [...this.table.suspects]) {
      const entry = this.table.get(id) as MemberEntry
      if (this.suspicionEndMs(entry) > at.nowMs) continue
      const forMs = Math.round(at.nowMs - entry.suspectedAtMs)
      this.accuse(
        at,
        entry,
        'failed',
        'suspicion_expired',
        `suspected for ${forMs} ms by ${[...entry.confirmers].join(', ')} and not refuted`,
      )
    }
    this.armSuspicions()
  }

  // --- deadlines ------------------------------------------------------------------------------------------------

  private runDeadlines(at: Instant): void {
    for (const name of this.deadlines.due(at.nowMs)) {
      switch (name) {
        case 'probe':
          this.probeRound(at)
          break
        case 'probes_due':
          this.probesDue(at)
          break
        case 'suspicions':
          this.suspicionsDue(at)
          break
        case 'gossip':
          this.gossipRound(at)
          break
        case 'join':
          this.join(at)
          break
        case 'redial':
          this.redialRound(at)
          break
        case 'forget':
          this.forgetRound(at)
          break
      }
    }
  }

  private gossipRound(at: Instant): void {
    for (const entry of this.random.sample(this.others('reachable'), this.options.gossipFanout)) {
      const claims = this.rumoursFor(entry.record.nodeId)
      if (claims.length === 0) break
      this.datagram(entry.record.controlAddress, {
        type: 'gossip',
        from: this.selfId,
        digest: this.table.digest(),
        claims,
      })
    }
    this.armGossip(at)
  }

  private armGossip(at: Instant): void {
    if (this.rumours.size === 0 || this.table.reachableCount < 2) return
    const wanted = at.nowMs + this.options.gossipIntervalMs * this.random.between(0.8, 1.2)
    const armed = this.deadlines.get('gossip')
    if (armed === undefined || armed > wanted) this.deadlines.set('gossip', wanted)
  }

  /** Partitions heal because somebody keeps dialling the other side. */
  private redialRound(at: Instant): void {
    this.deadlines.set('redial', at.nowMs + this.options.redialIntervalMs * this.random.between(0.8, 1.2))
    const failed = this.others('failed')
    for (const entry of this.random.sample(failed, 2))
      this.sendPing(at, ++this.seq, entry.record.nodeId, entry.record.controlAddress, false)
    if (this.table.reachableCount < 2 && this.deadlines.get('join') === undefined) this.join(at)
    else if (this.seeds.length > 0 && failed.length === 0 && this.random.chance(0.1)) {
      const seed = this.random.pick(this.seeds) as Address
      if (this.table.byAnyAddress(seed) === undefined) {
        this.datagram(seed, {
          type: 'join',
          ...this.cluster,
          claims: [claimOf(this.table.get(this.selfId) as MemberEntry)],
        })
      }
    }
  }

  private forgetRound(at: Instant): void {
    this.deadlines.set('forget', at.nowMs + 60_000)
    for (const entry of [...this.table.entries.values()]) {
      if (isReachable(entry.status) || entry.record.nodeId === this.selfId) continue
      if (at.wallMs - entry.verdictAtMs > this.options.forgetAfterMs) this.drop(entry)
    }
  }

  private armProbes(): void {
    let next = Number.POSITIVE_INFINITY
    for (const probe of this.probes.values())
      next = Math.min(next, probe.indirectSent ? probe.missAtMs : probe.indirectAtMs)
    if (next === Number.POSITIVE_INFINITY) this.deadlines.clear('probes_due')
    else this.deadlines.set('probes_due', next)
  }

  // --- choices --------------------------------------------------------------------------------------------------

  /** Round robin over a shuffled list: everybody is probed within n rounds (SWIM §4.3). */
  private nextInOrder(): MemberEntry | undefined {
    for (let tries = 0; tries < 2; tries++) {
      while (this.order.length > 0) {
        const entry = this.table.get(this.order.pop() as NodeId)
        if (entry !== undefined && isReachable(entry.status) && entry.record.nodeId !== this.selfId)
          return entry
      }
      this.order = this.random.shuffle(this.others('reachable').map((e) => e.record.nodeId))
    }
    return undefined
  }

  /** The next members on a ring ordered by hash: each node is watched by as many others as it watches. */
  private successors(): NodeId[] {
    const ring = this.others('reachable').map((e) => ({
      id: e.record.nodeId,
      at: hash32(e.record.nodeId, 3),
    }))
    const me = hash32(this.selfId, 3)
    ring.sort((a, b) => a.at - b.at || (a.id < b.id ? -1 : 1))
    const after = ring.filter((e) => e.at > me)
    return [...after, ...ring.filter((e) => e.at <= me)].slice(0, this.options.sentinels).map((e) => e.id)
  }

  private chooseSentinels(): void {
    this.ringChanged = false
    this.successorIds = this.successors()
    const addresses = this.successorIds.flatMap((id) => this.table.get(id)?.record.controlStreamAddress ?? [])
    const key = addresses.join(' ')
    if (key === this.kept) return
    this.kept = key
    this.out.push({ type: 'keep', addresses })
  }

  private others(which: 'alive' | 'reachable' | 'failed'): MemberEntry[] {
    const list: MemberEntry[] = []
    for (const entry of this.table.entries.values()) {
      if (entry.record.nodeId === this.selfId) continue
      if (which === 'reachable' ? isReachable(entry.status) : entry.status === which) list.push(entry)
    }
    return list
  }

  private rumoursFor(nodeId: NodeId | undefined): Claim[] {
    const tellMax = Math.ceil(this.options.retransmitFactor * Math.log10(this.table.entries.size + 1))
    return this.rumours.take(this.options.datagramBytesMax - 450, Math.max(2, tellMax), nodeId)
  }

  private worse(by: number): void {
    this.health = Math.min(this.options.healthMax, this.health + by)
  }

  private better(): void {
    if (this.health > 0) this.health--
  }

  private datagram(to: Address, message: MembershipMessage): void {
    if (to !== '') this.out.push({ type: 'datagram', to, message })
  }

  private stream(to: Address, message: MembershipMessage): void {
    if (to !== '') this.out.push({ type: 'stream', to, message })
  }
}

function evidenceOf(claim: Claim): Omit<Evidence, 'atMs' | 'observerHealth'> {
  const { status, from, record, missedProbes } = claim
  switch (status) {
    case 'suspect':
      return {
        kind: 'suspected_by',
        observer: from,
        detail: `${from} suspects it after ${missedProbes} missed probes`,
      }
    case 'failed':
      return { kind: 'failed_by', observer: from, detail: `${from} declared it failed` }
    case 'left':
      return { kind: 'left', observer: record.nodeId, detail: 'left by itself' }
    case 'alive':
      return {
        kind: 'refuted',
        observer: record.nodeId,
        detail: `alive with incarnation ${record.incarnation}`,
      }
  }
}
