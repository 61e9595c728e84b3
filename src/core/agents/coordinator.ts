/**
 * The leader's part: brings assignments in step with what is wanted and with who may run it. An agent is given to another lease only
 * when its owner's lease has ended (and, for processes, their guard is gone), or by the owner's own hand-over to whom we named.
 *
 * Reconciles name by name: what changed is looked at again, nothing else. All that it knows for sure lies in the store, every write is
 * conditional on the term and on the very assignment it was computed from; a new leader looks at every name once and goes on.
 *
 * Where many are placed at once they go into one pack (`records.ts`), conditional on the term alone: an agent without a live owner is assigned by the
 * leader only, so that nobody but itself could be in its way. Hence it packs only what it has seen all of: its view must be as young as its term, and
 * no earlier write of its own about that agent, or of that pack, may be of unknown outcome. A pack of unknown outcome is settled before its names are looked
 * at again, by writing an empty one in its place, which either can never be overwritten or is refused because the pack was there.
 */

import type { Balancer, Strategy } from '../balancing/balancer.js'
import type { Candidate } from '../balancing/candidate.js'
import { isFit, type Work } from '../balancing/candidate.js'
import type { Ranking } from '../balancing/ranking.js'
import { isPositional, type Placed, planMoves } from '../balancing/rebalance.js'
import {
  asEpoch,
  asLeaseId,
  type Epoch,
  type LeaseId,
  type NodeId,
  type Revision,
  type Term,
} from '../kernel/brand.js'
import { isRebalancing } from '../kernel/config-document.js'
import { Deadlines } from '../kernel/deadlines.js'
import type { FeedEventName } from '../kernel/feed-events.js'
import { type Instant, type Note, note } from '../kernel/machine.js'
import {
  type Compare,
  type StoreEffect,
  type StoreOp,
  type StoreReply,
  storeLimits,
  type Transaction,
} from '../kernel/store-types.js'
import type { StoreView } from '../kernel/store-view.js'
import { jsonEncode } from '../kernel/text.js'
import { Places } from './places.js'
import {
  type AgentSpec,
  type Assignment,
  atKey,
  earlyKey,
  earlyPrefix,
  encodeAssignment,
  encodePack,
  endKey,
  floorKey,
  guardKey,
  guardPrefix,
  isExternal,
  type Packed,
  packKey,
  specKey,
} from './records.js'
import { type AgentEntry, type AgentTable, assignmentHolds, endOf, isActive } from './table.js'

/** A lease holder that could run agents. */
export interface AgentCandidate extends Candidate {
  readonly lease: LeaseId
  /** Why everything is to leave it (`drain` …); empty to let it be. */
  readonly moveOff: string
}

export interface AgentCoordinatorWorld {
  readonly table: AgentTable
  readonly view: StoreView
  readonly balancer: Balancer
  guard(nowMs: number): { readonly term: Term; readonly compare: Compare } | null
  /** In order of node id; the same array, and the same objects in it, while nothing about them changes. `agents` is counted here. */
  candidates(): readonly AgentCandidate[]
  strategy(): Strategy
  /** Does the store still grant it? */
  isLive(lease: LeaseId): boolean
}

export interface AgentCoordinatorOptions {
  /** Time to live of a lease: after it, a guard that follows our rules has ended what it had, ms. */
  readonly leaseTtlMs: number
  /** Agents that one node is asked to hand over at one time. */
  readonly movingMax: number
  /** One that could not be run where it was put is not put there again for this, ms; doubled each time. */
  readonly refusedPauseMs: number
  /** Even out defined agents by itself. */
  readonly rebalance: boolean
  /** So many agents placed at once share one value of the store; fewer have one each. */
  readonly packedMin: number
}

export type AgentCoordinatorInput =
  | { readonly type: 'changed' | 'deadline' }
  | { readonly type: 'store_done'; readonly tag: string; readonly reply: StoreReply }
  | { readonly type: 'guard_proof'; readonly lease: LeaseId; readonly result: 'dead' | 'alive' | 'unknown' }

export type AgentCoordinatorEffect =
  | StoreEffect
  | { readonly type: 'prove_guard'; readonly lease: LeaseId; readonly locator: string }
  | {
      readonly type: 'feed'
      readonly event: FeedEventName
      readonly fields: Readonly<Record<string, unknown>>
    }
  | Note

const namesPerStep = 2_000
/** Decided upon in one step, so that the thread is free for other things after some milliseconds; and so the most that share one value. */
const changesPerStep = 512
/** Of a transaction, before the one about the term and the one about the floor of epochs. Of so many small values no transaction is too long. */
const opsMax = storeLimits.txnOpsMax - 2
const transactionsMax = 4
const proofEveryMs = 50
const waitingRetryMs = 1_000
const unknownPauseMs = 100
const refusedWritePauseMs = 20
const refusedPauseMaxMs = 60_000
/** The candidates have stood still for so long before agents are moved for the sake of balance, ms; and then again this often. */
const balanceEveryMs = 5_000
const sweepEveryMs = 30_000
const sweptMax = 100
const packsSweptMax = 20

interface Change {
  readonly name: string
  readonly compares: readonly Compare[]
  readonly ops: readonly StoreOp[]
  readonly event: FeedEventName
  readonly fields: Readonly<Record<string, unknown>>
  /** Of the key of its assignment, as it was then. */
  readonly atRev: Revision
  /** Set where it may go into a pack. */
  readonly packed?: Packed
}

/** Asked of the store and not answered yet. */
interface Flight {
  readonly changes: readonly Change[]
  /** All of them in this one. */
  readonly pack: string
}

interface Ended {
  readonly atMs: number
  guardGone: boolean
  provedAtMs: number
}

/** Of one agent: where it could not be run lately. */
interface Refusals {
  count: number
  lastMs: number
  /** Of the assignment that was refused last: each counts once. */
  epoch: Epoch
  /** Not there until then. */
  readonly nodes: Map<NodeId, number>
}

interface Taken {
  readonly from: AgentCandidate
  readonly candidate: Mutable<AgentCandidate>
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

export class AgentCoordinator {
  private readonly world: AgentCoordinatorWorld
  private readonly options: AgentCoordinatorOptions
  private readonly places = new Places((lease, agents) => this.counted(lease, agents))
  private readonly deadlines = new Deadlines<'more' | 'waiting' | 'ended' | 'retry' | 'balance' | 'sweep'>()
  /** Names to look at. */
  private readonly dirty = new Set<string>()
  /** Names that nobody could take: again when the candidates change. */
  private readonly waiting = new Set<string>()
  private readonly inFlight = new Map<string, Flight>()
  /** Written by us, or on its way: not to be decided upon before the view has what came of it. */
  private readonly written = new Set<string>()
  /** Until the view has that revision. */
  private awaited: { readonly rev: Revision; readonly names: readonly string[] }[] = []
  /** Packs of unknown outcome, and what is in them. */
  private readonly unsure = new Map<string, readonly string[]>()
  /** Empty packs on their way to take the place of those. */
  private readonly fencing = new Map<string, string>()
  /** Names with a write of unknown outcome that may still come if their key is at that revision. */
  private readonly doubtful = new Map<string, Revision>()
  private readonly rankings = new Map<string, Ranking>()
  private readonly ended = new Map<LeaseId, Ended>()
  private readonly refused = new Map<string, Refusals>()
  private leads = false
  private term: Term | null = null
  private readonly wantedMoves = new Map<string, NodeId>()
  private lastLive = ''
  private sequence = 0
  private source: readonly AgentCandidate[] = []
  /** Ours, with the present counts, in the order of `source`. */
  private candidates: Mutable<AgentCandidate>[] = []
  private byLease = new Map<LeaseId, Taken>()
  /** Who may take what, or whether a node is full, is not what it was. */
  private differ = false
  private rebalances = false
  private out: AgentCoordinatorEffect[] = []

  constructor(world: AgentCoordinatorWorld, options: AgentCoordinatorOptions) {
    this.world = world
    this.options = options
    world.table.onChange((name) => {
      if (this.written.has(name)) return
      this.places.follow(name, world.table.get(name))
      if (this.leads) this.dirty.add(name)
    })
  }

  nextDeadlineMs(): number {
    return this.deadlines.nextMs()
  }

  /** Agents that a lease has or was promised. */
  agentsOf(lease: LeaseId): number {
    return this.places.agentsOf(lease)
  }

  /** Wanted, and nobody can take them. Only the leader knows. */
  get waitingCount(): number {
    return this.waiting.size
  }

  step(at: Instant, input: AgentCoordinatorInput): readonly AgentCoordinatorEffect[] {
    this.out = []
    if (input.type === 'store_done') this.storeDone(at, input.tag, input.reply)
    else if (input.type === 'guard_proof') this.guardProof(at, input.lease, input.result)
    for (const name of this.deadlines.due(at.nowMs)) {
      if (name === 'waiting') this.lookAgain(this.waiting)
      else if (name === 'ended') this.endedAgain()
      else if (name === 'balance') this.planBalance(at)
      else if (name === 'sweep') this.sweepGuards(at)
    }
    this.reconcile(at)
    return this.out
  }

  // --- the round ------------------------------------------------------------------------------------------------

  private reconcile(at: Instant): void {
    const guard = this.world.guard(at.nowMs)
    if (guard === null) {
      if (this.leads) this.resign()
      return
    }
    if (!this.leads) {
      this.leads = true
      this.beginTerm(guard.term)
      for (const name of this.world.table.entries.keys()) this.dirty.add(name)
      this.deadlines.set('sweep', at.nowMs + sweepEveryMs)
    }
    this.release()
    if (this.deadlines.get('retry') !== undefined) return
    this.fence(guard.compare)
    this.takeCandidates(at)
    this.noticeLeases(at)
    this.noticeMoves()
    if (this.dirty.size === 0) return
    const room = transactionsMax - this.inFlight.size - this.unsure.size
    if (room <= 0) return
    const mayPack = guard.compare.target === 'modRev' && this.world.view.rev >= guard.compare.value
    const groups = new Groups()
    const packed: Change[] = []
    let looked = 0
    for (const name of this.dirty) {
      // When the answers come there is another step.
      if (groups.count + (packed.length > 0 ? 1 : 0) > room) break
      if (++looked > namesPerStep || groups.changes + packed.length >= changesPerStep) {
        this.deadlines.set('more', at.nowMs)
        break
      }
      this.dirty.delete(name)
      if (this.written.has(name)) continue
      this.waiting.delete(name)
      const entry = this.world.table.get(name)
      if (entry === undefined) continue
      const change = this.decide(at, entry)
      if (change === null) continue
      if (mayPack && change.packed !== undefined) packed.push(change)
      else groups.add(change)
    }
    if (packed.length < this.options.packedMin) for (const change of packed) groups.add(change)
    else this.writePack(guard, packed)
    for (const changes of groups.all) this.write(guard.compare, changes)
  }

  /** What an earlier leader wrote too late is refused; what we did ourselves, in the same term, is not. */
  private beginTerm(term: Term): void {
    if (term !== this.term) {
      this.unsure.clear()
      this.doubtful.clear()
      this.awaited = []
    }
    this.term = term
    const underWay = [...this.unsure.values(), ...this.awaited.map((a) => a.names)]
    for (const name of underWay.flat()) this.written.add(name)
  }

  /** What the view has by now may be looked at again. */
  private release(): void {
    if (this.awaited.length === 0) return
    const { rev } = this.world.view
    const over = this.awaited.filter((a) => a.rev <= rev)
    if (over.length === 0) return
    this.awaited = this.awaited.filter((a) => a.rev > rev)
    for (const { names } of over) for (const name of names) this.free(name)
  }

  private free(name: string): void {
    this.written.delete(name)
    this.places.follow(name, this.world.table.get(name))
    this.dirty.add(name)
  }

  private resign(): void {
    this.leads = false
    for (const flight of this.inFlight.values()) this.doubt(flight)
    this.dirty.clear()
    this.waiting.clear()
    this.written.clear()
    this.inFlight.clear()
    this.fencing.clear()
    this.ended.clear()
    this.refused.clear()
    this.lastLive = ''
    this.differ = true
    for (const [name, entry] of this.world.table.entries) this.places.follow(name, entry)
  }

  private takeCandidates(at: Instant): void {
    const source = this.world.candidates()
    if (source !== this.source) {
      const before = this.byLease
      this.source = source
      this.byLease = new Map(source.map((c) => [c.lease, this.taken(c, before.get(c.lease))]))
      this.candidates = [...this.byLease.values()].map((t) => t.candidate)
      if (source.length !== before.size) this.differ = true
      this.rankings.clear()
    }
    const rebalances = isRebalancing(this.world.view, this.options.rebalance)
    if (rebalances !== this.rebalances) this.differ = true
    this.rebalances = rebalances
    if (!this.differ) return
    this.differ = false
    this.lookAgain(this.waiting)
    // Whom they were to go to may be gone, or be able to take them no longer.
    for (const name of this.places.moving) this.dirty.add(name)
    if (rebalances) this.deadlines.set('balance', at.nowMs + balanceEveryMs)
    else this.deadlines.clear('balance')
  }

  private taken(from: AgentCandidate, before: Taken | undefined): Taken {
    if (before?.from === from) return before
    const candidate = { ...from, agents: this.places.agentsOf(from.lease) }
    if (before === undefined || !takesAlike(before.candidate, candidate)) this.differ = true
    return { from, candidate }
  }

  private counted(lease: LeaseId, agents: number): void {
    const candidate = this.byLease.get(lease)?.candidate
    if (candidate === undefined) return
    const wasFull = candidate.agents >= candidate.maxAgents
    if (agents < candidate.agents) this.rankings.clear()
    candidate.agents = agents
    if (agents >= candidate.maxAgents !== wasFull) this.differ = true
  }

  private lookAgain(names: Set<string>): void {
    for (const name of names) this.dirty.add(name)
    names.clear()
  }

  /** Whose lease ended? */
  private noticeLeases(at: Instant): void {
    const gone: LeaseId[] = []
    for (const lease of this.world.table.leases()) if (!this.world.isLive(lease)) gone.push(lease)
    for (const lease of this.ended.keys()) if (this.world.isLive(lease)) this.ended.delete(lease)
    const key = gone.join(' ')
    if (key === this.lastLive) return
    this.lastLive = key
    for (const lease of gone) {
      if (!this.ended.has(lease))
        this.ended.set(lease, { atMs: at.nowMs, guardGone: false, provedAtMs: Number.NEGATIVE_INFINITY })
      for (const name of this.world.table.namesOf(lease)) this.dirty.add(name)
    }
    for (const lease of this.ended.keys())
      if (this.world.table.namesOf(lease).size === 0) this.ended.delete(lease)
  }

  private endedAgain(): void {
    for (const lease of this.ended.keys())
      for (const name of this.world.table.namesOf(lease)) this.dirty.add(name)
  }

  /** What is to leave a node goes in batches. */
  private noticeMoves(): void {
    for (const c of this.candidates) {
      if (c.moveOff === '') continue
      let free = this.options.movingMax - this.places.leavingOf(c.lease)
      if (free <= 0) continue
      for (const name of this.world.table.namesOf(c.lease)) {
        if (this.waiting.has(name)) continue
        this.dirty.add(name)
        if (--free <= 0) break
      }
    }
  }

  /** Where guards of leases were that are over, and that nothing is assigned to any more. */
  private sweepGuards(at: Instant): void {
    const guard = this.world.guard(at.nowMs)
    if (guard === null) return
    this.deadlines.set('sweep', at.nowMs + sweepEveryMs)
    const isOver = (lease: LeaseId): boolean =>
      !this.world.isLive(lease) && this.world.table.namesOf(lease).size === 0
    this.sweepPacks(guard)
    const old = [guardPrefix, earlyPrefix].flatMap((prefix) =>
      this.world.view.under(prefix).filter((key) => isOver(asLeaseId(key.slice(prefix.length)))),
    )
    if (old.length === 0) return
    const then = old.slice(0, sweptMax).map((key): StoreOp => ({ type: 'delete', key }))
    this.out.push({
      type: 'store',
      tag: 'agents.sweep',
      request: { op: 'txn', txn: { if: [guard.compare], then } },
    })
  }

  /**
   * Strikes out what is overtaken, where that is half of a pack or more. An empty one of our own term stands where one of unknown outcome may still want to be.
   */
  private sweepPacks({ term, compare }: { readonly term: Term; readonly compare: Compare }): void {
    const { table } = this.world
    let swept = 0
    for (const [key, { rev, packed }] of table.packs) {
      if (packed.length === 0 && key.startsWith(packKey(term, ''))) continue
      const counting = packed.filter(({ name }) => table.get(name)?.pack === key)
      if (counting.length > 0 && counting.length * 2 > packed.length) continue
      const op: StoreOp =
        counting.length === 0
          ? { type: 'delete', key }
          : { type: 'put', key, value: jsonEncode(encodePack(counting)) }
      const txn = { if: [compare, { key, target: 'modRev', op: '=', value: rev } as const], then: [op] }
      this.out.push({ type: 'store', tag: 'agents.sweep', request: { op: 'txn', txn } })
      if (++swept >= packsSweptMax) return
    }
  }

  /**
   * A few at a time; those that still are in the way when they are looked at are asked to move. What a strategy put somewhere for a reason
   * of its own (`binpack`, `consistent` …) stays there.
   */
  private planBalance(at: Instant): void {
    this.wantedMoves.clear()
    if (!this.leads) return
    this.deadlines.set('balance', at.nowMs + balanceEveryMs)
    const calm = this.candidates.every((c) => c.moveOff === '' && this.places.leavingOf(c.lease) === 0)
    if (!calm || this.waiting.size > 0 || !isUneven(this.candidates)) return
    const placed: Placed[] = []
    for (const entry of this.world.table.entries.values()) {
      const { spec } = entry
      if (spec === undefined || spec.kind === 'process' || spec.desired !== 'running' || !isActive(entry))
        continue
      const strategy = spec.strategy ?? this.world.strategy()
      if (entry.at.to === null && !isPositional(strategy))
        placed.push({ work: workOf(spec), nodeId: entry.at.nodeId, strategy })
    }
    const moves = planMoves(
      placed,
      this.candidates,
      'least_agents',
      this.world.balancer,
      this.options.movingMax,
    )
    for (const { name, to } of moves) {
      this.wantedMoves.set(name, to)
      this.dirty.add(name)
    }
  }

  // --- one agent ------------------------------------------------------------------------------------------------

  private decide(at: Instant, entry: AgentEntry): Change | null {
    const { spec, at: assignment } = entry
    const end = endOf(entry)
    if (spec === undefined || spec.desired === 'removed') return this.remove(at, entry)
    if (assignment === undefined) return this.place(at, entry, spec)
    if (end !== undefined) {
      if (end.outcome === 'refused') {
        this.noteRefusal(at, entry.name, assignment)
        return this.place(at, entry, spec)
      }
      return spec.generation > end.generation ? this.place(at, entry, spec) : null
    }
    if (!this.world.isLive(assignment.lease))
      return this.isClear(at, entry, assignment) ? this.place(at, entry, spec) : null
    return this.move(at, entry, spec, assignment)
  }

  /** Its lease ended; may it run elsewhere yet? */
  private isClear(at: Instant, entry: AgentEntry, { lease }: Assignment): boolean {
    if (entry.spec?.kind !== 'process') return true
    const ended = this.ended.get(lease)
    // Where the lease ended in its own time, a guard has ended its processes before; where there was no guard, there were none.
    const locator = earlyGuard(this.world.view, lease)
    if (locator === undefined) return true
    if (ended === undefined) {
      this.ended.set(lease, { atMs: at.nowMs, guardGone: false, provedAtMs: Number.NEGATIVE_INFINITY })
      this.dirty.add(entry.name)
      return false
    }
    if (ended.guardGone || at.nowMs - ended.atMs >= this.options.leaseTtlMs) return true
    if (at.nowMs - ended.provedAtMs >= proofEveryMs) {
      ended.provedAtMs = at.nowMs
      this.out.push({ type: 'prove_guard', lease, locator })
    }
    this.deadlines.set('ended', at.nowMs + proofEveryMs)
    return false
  }

  private guardProof(at: Instant, lease: LeaseId, result: 'dead' | 'alive' | 'unknown'): void {
    const ended = this.ended.get(lease)
    if (ended === undefined || result !== 'dead') return
    ended.guardGone = true
    this.deadlines.set('ended', at.nowMs)
    this.endedAgain()
  }

  private place(at: Instant, entry: AgentEntry, spec: AgentSpec): Change | null {
    const { move } = spec
    const answersMove = move !== undefined && move.id !== entry.at?.moveId
    const chosen = this.choose(at, spec, answersMove ? move.to : null, null)
    if (chosen === undefined) {
      this.wait(at, entry.name)
      return null
    }
    const floor = Math.max(
      entry.at?.epoch ?? 0,
      entry.end?.epoch ?? 0,
      entry.end?.floor ?? 0,
      floorOf(this.world.view),
    )
    const next: Assignment = {
      nodeId: chosen.nodeId,
      lease: chosen.lease,
      epoch: asEpoch(floor + 1),
      assignedAtMs: at.wallMs,
      to: null,
      by: entry.at === undefined ? (spec.strategy ?? this.world.strategy()) : 'orphan',
      moveId: move?.id ?? '',
      state: '',
    }
    // Counts at once, for the next pick of this very round.
    this.places.count(entry.name, next.lease, null)
    return {
      ...this.put(entry, next),
      ...(this.isOursAlone(entry) ? { packed: { name: entry.name, madeRev: entry.madeRev, at: next } } : {}),
      event: entry.at === undefined ? 'agent.assigned' : 'agent.replaced',
      fields: {
        agent: entry.name,
        node: next.nodeId,
        epoch: next.epoch,
        from: entry.at?.nodeId ?? '',
        by: next.by,
      },
    }
  }

  /** Nobody else can write its assignment, and nothing that we wrote of it can still come. */
  private isOursAlone(entry: AgentEntry): boolean {
    const { name, at, atRev, madeRev } = entry
    if (this.doubtful.get(name) === atRev || madeRev === 0n) return false
    this.doubtful.delete(name)
    if (at === undefined) return atRev === 0n
    // A node writes under its lease; an external one has none that the store knows.
    return endOf(entry) === undefined && !isExternal(at.lease) && !this.world.isLive(at.lease)
  }

  /** It runs; should it run elsewhere? */
  private move(at: Instant, entry: AgentEntry, spec: AgentSpec, assignment: Assignment): Change | null {
    const owner = this.byLease.get(assignment.lease)?.candidate
    const { to } = assignment
    if (to !== null) {
      const target = this.byLease.get(to.lease)?.candidate
      if (target !== undefined && target.refusal === '') return null
      return this.ask(entry, assignment, null, assignment.by, assignment.moveId)
    }
    const move = spec.move !== undefined && spec.move.id !== assignment.moveId ? spec.move : undefined
    if (move !== undefined) {
      const chosen = this.choose(null, spec, move.to, assignment.lease)
      if (chosen !== undefined) return this.ask(entry, assignment, chosen, 'migrate', move.id)
      // Refused for good: whoever asked sees that nothing came of it.
      return {
        ...this.put(entry, { ...assignment, moveId: move.id }),
        event: 'agent.move_refused',
        fields: { agent: entry.name, node: move.to ?? '' },
      }
    }
    const wanted = this.wantedMoves.get(entry.name)
    if (wanted !== undefined) {
      this.wantedMoves.delete(entry.name)
      const chosen = this.choose(null, spec, wanted, assignment.lease)
      if (chosen !== undefined) return this.ask(entry, assignment, chosen, 'rebalance', assignment.moveId)
    }
    if (
      owner === undefined ||
      owner.moveOff === '' ||
      this.places.leavingOf(owner.lease) >= this.options.movingMax
    )
      return null
    const chosen = this.choose(null, spec, null, assignment.lease)
    if (chosen !== undefined) return this.ask(entry, assignment, chosen, owner.moveOff, assignment.moveId)
    this.wait(at, entry.name)
    return null
  }

  private ask(
    entry: AgentEntry,
    assignment: Assignment,
    chosen: Mutable<AgentCandidate> | null,
    by: string,
    moveId: string,
  ): Change {
    const to = chosen === null ? null : { nodeId: chosen.nodeId, lease: chosen.lease }
    this.places.count(entry.name, assignment.lease, to?.lease ?? null)
    return {
      ...this.put(entry, { ...assignment, to, by, moveId }),
      event: to === null ? 'agent.move_dropped' : 'agent.moving',
      fields: { agent: entry.name, from: assignment.nodeId, to: to?.nodeId ?? '', by },
    }
  }

  private remove(at: Instant, entry: AgentEntry): Change | null {
    const { name, at: assignment } = entry
    const runs = assignment !== undefined && endOf(entry) === undefined
    if (runs && (this.world.isLive(assignment.lease) || !this.isClear(at, entry, assignment))) return null
    const compares: Compare[] = [
      { key: specKey(name), target: 'modRev', op: '=', value: entry.specRev },
      ...assignmentHolds(entry),
    ]
    const ops: StoreOp[] = [
      { type: 'delete', key: specKey(name) },
      { type: 'delete', key: atKey(name) },
      { type: 'delete', key: endKey(name) },
    ]
    this.refused.delete(name)
    this.places.count(name, null, null)
    return {
      name,
      compares,
      ops,
      event: 'agent.removed',
      fields: { agent: name, epoch: this.highestEpoch(entry) },
      atRev: entry.atRev,
    }
  }

  private highestEpoch(entry: AgentEntry): Epoch {
    return asEpoch(Math.max(entry.at?.epoch ?? 0, entry.end?.epoch ?? 0, entry.end?.floor ?? 0))
  }

  private choose(
    at: Instant | null,
    spec: AgentSpec,
    wanted: NodeId | null,
    exceptLease: LeaseId | null,
  ): Mutable<AgentCandidate> | undefined {
    const work = workOf(spec)
    const avoided = at === null ? undefined : this.avoided(at, spec.name)
    const except = exceptLease === null ? undefined : this.byLease.get(exceptLease)?.candidate.nodeId
    if (wanted !== null) {
      const c = this.candidates.find((one) => one.nodeId === wanted)
      if (c !== undefined && c.nodeId !== except && isFit(c, work)) return c
      if (exceptLease !== null) return undefined
    }
    const strategy = spec.strategy ?? this.world.strategy()
    const { balancer } = this.world
    const chosen =
      avoided === undefined && except === undefined
        ? balancer.pickNext(strategy, this.candidates, work, this.rankings)
        : balancer.pick(
            strategy,
            this.candidates.filter((c) => c.nodeId !== except && avoided?.has(c.nodeId) !== true),
            work,
          )
    return chosen as Mutable<AgentCandidate> | undefined
  }

  private noteRefusal(at: Instant, name: string, { nodeId, epoch }: Assignment): void {
    const entry = this.refused.get(name) ?? {
      count: 0,
      lastMs: at.nowMs,
      epoch: asEpoch(0),
      nodes: new Map(),
    }
    if (entry.epoch === epoch) return
    if (at.nowMs - entry.lastMs > 2 * refusedPauseMaxMs) entry.count = 0
    const pauseMs = Math.min(refusedPauseMaxMs, this.options.refusedPauseMs * 2 ** Math.min(entry.count, 10))
    entry.count++
    entry.epoch = epoch
    entry.lastMs = at.nowMs
    entry.nodes.set(nodeId, at.nowMs + pauseMs)
    this.refused.set(name, entry)
  }

  private avoided(at: Instant, name: string): ReadonlySet<NodeId> | undefined {
    const entry = this.refused.get(name)
    if (entry === undefined) return undefined
    for (const [nodeId, untilMs] of entry.nodes) if (untilMs <= at.nowMs) entry.nodes.delete(nodeId)
    return entry.nodes.size === 0 ? undefined : new Set(entry.nodes.keys())
  }

  private wait(at: Instant, name: string): void {
    this.waiting.add(name)
    if (this.deadlines.get('waiting') === undefined) this.deadlines.set('waiting', at.nowMs + waitingRetryMs)
  }

  // --- writing --------------------------------------------------------------------------------------------------

  private put(entry: AgentEntry, next: Assignment): Pick<Change, 'name' | 'compares' | 'ops' | 'atRev'> {
    const { name, atRev } = entry
    return {
      name,
      atRev,
      compares: assignmentHolds(entry),
      ops: [{ type: 'put', key: atKey(name), value: jsonEncode(encodeAssignment(next)) }],
    }
  }

  private write(guard: Compare, changes: readonly Change[]): void {
    const compares = [guard, ...changes.flatMap((c) => c.compares)]
    const ops = changes.flatMap((c) => c.ops)
    const removed = Math.max(
      0,
      ...changes.filter((c) => c.event === 'agent.removed').map((c) => Number(c.fields.epoch)),
    )
    if (removed > floorOf(this.world.view)) {
      compares.push({ key: floorKey, target: 'modRev', op: '=', value: this.world.view.modRev(floorKey) })
      ops.push({ type: 'put', key: floorKey, value: jsonEncode({ v: 1, epoch: removed }) })
    }
    this.send({ changes, pack: '' }, { if: compares, then: ops })
  }

  private writePack(
    { term, compare }: { readonly term: Term; readonly compare: Compare },
    changes: readonly Change[],
  ): void {
    const key = packKey(term, this.sequence + 1)
    const value = jsonEncode(encodePack(changes.flatMap((c) => c.packed ?? [])))
    const isFree: Compare = { key, target: 'modRev', op: '=', value: 0n }
    this.send({ changes, pack: key }, { if: [compare, isFree], then: [{ type: 'put', key, value }] })
  }

  private send(flight: Flight, txn: Transaction): void {
    const tag = `agents.${++this.sequence}`
    this.inFlight.set(tag, flight)
    for (const { name } of flight.changes) this.written.add(name)
    this.out.push({ type: 'store', tag, request: { op: 'txn', txn } })
  }

  /** Puts an empty pack where one of unknown outcome may be: after the answer, whichever it is, none can come. */
  private fence(guard: Compare): void {
    const underWay = new Set(this.fencing.values())
    for (const key of this.unsure.keys()) {
      if (underWay.has(key)) continue
      const tag = `agents.fence.${++this.sequence}`
      this.fencing.set(tag, key)
      const isFree: Compare = { key, target: 'modRev', op: '=', value: 0n }
      const put: StoreOp = { type: 'put', key, value: jsonEncode(encodePack([])) }
      const txn = { if: [guard, isFree], then: [put] }
      this.out.push({ type: 'store', tag, request: { op: 'txn', txn } })
    }
  }

  private fenced(at: Instant, tag: string, key: string, reply: StoreReply): void {
    this.fencing.delete(tag)
    const names = this.unsure.get(key)
    if (names === undefined) return
    if (reply.ok && reply.op === 'txn') {
      this.unsure.delete(key)
      this.awaited.push({ rev: reply.result.rev, names })
    } else this.deadlines.set('retry', at.nowMs + unknownPauseMs)
  }

  /** Nobody knows what became of it. */
  private doubt({ changes, pack }: Flight): void {
    if (pack === '') for (const { name, atRev } of changes) this.doubtful.set(name, atRev)
    else
      this.unsure.set(
        pack,
        changes.map((c) => c.name),
      )
  }

  private storeDone(at: Instant, tag: string, reply: StoreReply): void {
    const fenced = this.fencing.get(tag)
    if (fenced !== undefined) this.fenced(at, tag, fenced, reply)
    const flight = this.inFlight.get(tag)
    if (flight === undefined) return
    this.inFlight.delete(tag)
    const { changes, pack } = flight
    if (reply.ok && reply.op === 'txn') {
      const { ok, rev } = reply.result
      // Refused: something moved on meanwhile, which the view shows when it has that revision.
      this.awaited.push({ rev, names: changes.map((c) => c.name) })
      if (ok) for (const { event, fields } of changes) this.out.push({ type: 'feed', event, fields })
      else this.deadlines.set('retry', at.nowMs + refusedWritePauseMs)
      return
    }
    this.doubt(flight)
    // Whoever is not in a pack is decided upon anew: of two writes that expect the same, one is refused.
    if (pack === '') for (const { name } of changes) this.free(name)
    if (!reply.ok)
      this.out.push(
        note('warn', 'agents.write_failed', {
          agents: changes.length,
          code: reply.code,
          detail: reply.detail,
        }),
      )
    this.deadlines.set('retry', at.nowMs + unknownPauseMs)
  }
}

/** Changes by transaction. */
class Groups {
  readonly all: Change[][] = []
  changes = 0
  private ops = opsMax
  private compares = opsMax

  /** Transactions that are begun. */
  get count(): number {
    return this.all.length
  }

  add(change: Change): void {
    this.changes++
    this.ops += change.ops.length
    this.compares += change.compares.length
    if (this.ops > opsMax || this.compares > opsMax) {
      this.all.push([])
      this.ops = change.ops.length
      this.compares = change.compares.length
    }
    this.all.at(-1)?.push(change)
  }
}

/** Whoever could not be given to the one cannot be given to the other, as far as shows here. */
function takesAlike(a: AgentCandidate, b: AgentCandidate): boolean {
  return (
    (a.refusal === '') === (b.refusal === '') &&
    a.agents < a.maxAgents === b.agents < b.maxAgents &&
    a.trust === b.trust &&
    a.allowsExec === b.allowsExec &&
    a.kinds.join() === b.kinds.join()
  )
}

/** Could moving one agent make the fullest and the emptiest node more alike? */
function isUneven(candidates: readonly Candidate[]): boolean {
  let least = Number.POSITIVE_INFINITY
  let most = 0
  for (const c of candidates) {
    if (c.maxAgents === 0) continue
    most = Math.max(most, (c.agents - 1) / c.maxAgents)
    if (c.refusal === '') least = Math.min(least, (c.agents + 1) / c.maxAgents)
  }
  return most >= least
}

export function workOf(spec: AgentSpec): Work {
  return {
    name: spec.name,
    kind: spec.kind,
    services: spec.services,
    constraints: spec.constraints,
    origin: spec.origin,
  }
}

function floorOf(view: StoreView): number {
  return Number((view.json(floorKey) as { epoch?: number } | undefined)?.epoch ?? 0)
}

/** Life lock of the guard of a lease that was ended before its time: it may not have ended its processes yet. */
function earlyGuard(view: StoreView, lease: LeaseId): string | undefined {
  if (view.kv(earlyKey(lease)) === undefined) return undefined
  return (view.json(guardKey(lease)) as { life_lock?: string } | undefined)?.life_lock
}
