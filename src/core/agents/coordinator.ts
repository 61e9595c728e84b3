/**
 * The leader's part: brings assignments in step with what is wanted and with who may run it. An agent is given to another lease only
 * when its owner's lease has ended (and, for processes, their guard is gone), or by the owner's own hand-over to whom we named.
 *
 * Reconciles name by name: what changed is looked at again, nothing else. All that it knows for sure lies in the store, every write is
 * conditional on the term and on the very assignment it was computed from; a new leader looks at every name once and goes on.
 */
import type { Balancer, Strategy } from '../balancing/balancer.js'
import type { Candidate } from '../balancing/candidate.js'
import { isFit, type Work } from '../balancing/candidate.js'
import { isPositional, type Placed, planMoves } from '../balancing/rebalance.js'
import { asEpoch, asLeaseId, type Epoch, type LeaseId, type NodeId, type Term } from '../kernel/brand.js'
import { isRebalancing } from '../kernel/config-document.js'
import { Deadlines } from '../kernel/deadlines.js'
import { type Instant, type Note, note } from '../kernel/machine.js'
import type { Compare, StoreEffect, StoreOp, StoreReply } from '../kernel/store-types.js'
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
  endKey,
  floorKey,
  guardKey,
  guardPrefix,
  specKey,
} from './records.js'
import { type AgentEntry, type AgentTable, endOf, isActive } from './table.js'

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
  /** In order of node id. `agents` is filled in here. */
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
}

export type AgentCoordinatorInput =
  | { readonly type: 'changed' | 'deadline' }
  | { readonly type: 'store_done'; readonly tag: string; readonly reply: StoreReply }
  | { readonly type: 'guard_proof'; readonly lease: LeaseId; readonly result: 'dead' | 'alive' | 'unknown' }

export type AgentCoordinatorEffect =
  | StoreEffect
  | { readonly type: 'prove_guard'; readonly lease: LeaseId; readonly locator: string }
  | { readonly type: 'feed'; readonly event: string; readonly fields: Readonly<Record<string, unknown>> }
  | Note

const namesPerStep = 2_000
const namesPerTransaction = 40
const transactionsMax = 4
const proofEveryMs = 50
const waitingRetryMs = 1_000
const refusedPauseMaxMs = 60_000
/** The candidates have stood still for so long before agents are moved for the sake of balance, ms; and then again this often. */
const balanceEveryMs = 5_000
const sweepEveryMs = 30_000
const sweptMax = 100

interface Change {
  readonly name: string
  readonly compares: readonly Compare[]
  readonly ops: readonly StoreOp[]
  readonly event: string
  readonly fields: Readonly<Record<string, unknown>>
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

type Mutable<T> = { -readonly [K in keyof T]: T[K] }

export class AgentCoordinator {
  private readonly world: AgentCoordinatorWorld
  private readonly options: AgentCoordinatorOptions
  private readonly places = new Places()
  private readonly deadlines = new Deadlines<'more' | 'waiting' | 'ended' | 'retry' | 'balance' | 'sweep'>()
  /** Names to look at. */
  private readonly dirty = new Set<string>()
  /** Names that nobody could take: again when the candidates change. */
  private readonly waiting = new Set<string>()
  private readonly inFlight = new Map<string, readonly Change[]>()
  /** Written by us; not to be decided upon again before the view has it. */
  private readonly written = new Map<string, bigint>()
  private readonly ended = new Map<LeaseId, Ended>()
  private readonly refused = new Map<string, Refusals>()
  private leads = false
  private readonly wantedMoves = new Map<string, NodeId>()
  private lastLive = ''
  private lastCandidates = ''
  private sequence = 0
  private candidates: Mutable<AgentCandidate>[] = []
  private byLease = new Map<LeaseId, Mutable<AgentCandidate>>()
  private out: AgentCoordinatorEffect[] = []

  constructor(world: AgentCoordinatorWorld, options: AgentCoordinatorOptions) {
    this.world = world
    this.options = options
    world.table.onChange((name) => {
      if (!this.isUnderWay(name)) this.places.follow(name, world.table.get(name))
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
      for (const name of this.world.table.entries.keys()) this.dirty.add(name)
      this.deadlines.set('sweep', at.nowMs + sweepEveryMs)
    }
    if (this.deadlines.get('retry') !== undefined) return
    this.takeCandidates(at)
    this.noticeLeases(at)
    this.noticeMoves()
    if (this.dirty.size === 0) return
    const changes: Change[] = []
    const room = (transactionsMax - this.inFlight.size) * namesPerTransaction
    let looked = 0
    for (const name of this.dirty) {
      if (changes.length >= room) break
      if (++looked > namesPerStep) {
        this.deadlines.set('more', at.nowMs)
        break
      }
      if (this.isUnderWay(name)) continue
      this.dirty.delete(name)
      this.waiting.delete(name)
      const entry = this.world.table.get(name)
      if (entry === undefined) continue
      const change = this.decide(at, entry)
      if (change !== null) changes.push(change)
    }
    for (let i = 0; i < changes.length; i += namesPerTransaction)
      this.write(guard.compare, changes.slice(i, i + namesPerTransaction))
  }

  private resign(): void {
    this.leads = false
    this.dirty.clear()
    this.waiting.clear()
    this.written.clear()
    this.inFlight.clear()
    this.ended.clear()
    this.refused.clear()
    this.lastLive = ''
    this.lastCandidates = ''
    for (const [name, entry] of this.world.table.entries) this.places.follow(name, entry)
  }

  private isUnderWay(name: string): boolean {
    const rev = this.written.get(name)
    if (rev === undefined) return false
    if (rev > 0n && this.world.view.rev >= rev) {
      this.written.delete(name)
      this.places.follow(name, this.world.table.get(name))
      return false
    }
    return true
  }

  private takeCandidates(at: Instant): void {
    this.candidates = this.world.candidates().map((c) => ({ ...c, agents: this.places.agentsOf(c.lease) }))
    this.byLease = new Map(this.candidates.map((c) => [c.lease, c]))
    const rebalances = isRebalancing(this.world.view, this.options.rebalance)
    const key = this.candidates
      .map(
        (c) =>
          `${c.lease}/${c.refusal === ''}/${c.agents < c.maxAgents}/${c.trust}/${c.kinds.join()}/${c.allowsExec}`,
      )
      .concat(rebalances ? 'balance' : '')
      .join(' ')
    if (key === this.lastCandidates) return
    this.lastCandidates = key
    this.lookAgain(this.waiting)
    // Whom they were to go to may be gone, or be able to take them no longer.
    for (const name of this.places.moving) this.dirty.add(name)
    if (rebalances) this.deadlines.set('balance', at.nowMs + balanceEveryMs)
    else this.deadlines.clear('balance')
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
    this.promise(entry.name, chosen, next.lease, null)
    return {
      ...this.put(entry, next),
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

  /** It runs; should it run elsewhere? */
  private move(at: Instant, entry: AgentEntry, spec: AgentSpec, assignment: Assignment): Change | null {
    const owner = this.byLease.get(assignment.lease)
    const { to } = assignment
    if (to !== null) {
      const target = this.byLease.get(to.lease)
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
    this.promise(entry.name, chosen, assignment.lease, to?.lease ?? null)
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
      { key: atKey(name), target: 'modRev', op: '=', value: entry.atRev },
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
    const except = exceptLease === null ? undefined : this.byLease.get(exceptLease)?.nodeId
    if (wanted !== null) {
      const c = this.candidates.find((one) => one.nodeId === wanted)
      if (c !== undefined && c.nodeId !== except && isFit(c, work)) return c
      if (exceptLease !== null) return undefined
    }
    const strategy = spec.strategy ?? this.world.strategy()
    const pool =
      avoided === undefined && except === undefined
        ? this.candidates
        : this.candidates.filter((c) => c.nodeId !== except && avoided?.has(c.nodeId) !== true)
    return this.world.balancer.pick(strategy, pool, work) as Mutable<AgentCandidate> | undefined
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

  /** Counts at once, for the next pick of this very round. */
  private promise(
    name: string,
    chosen: Mutable<AgentCandidate> | null,
    owner: LeaseId,
    to: LeaseId | null,
  ): void {
    this.places.count(name, owner, to)
    if (chosen !== null) chosen.agents = this.places.agentsOf(chosen.lease)
  }

  // --- writing --------------------------------------------------------------------------------------------------

  private put(entry: AgentEntry, next: Assignment): Pick<Change, 'name' | 'compares' | 'ops'> {
    const key = atKey(entry.name)
    return {
      name: entry.name,
      compares: [{ key, target: 'modRev', op: '=', value: entry.atRev }],
      ops: [{ type: 'put', key, value: jsonEncode(encodeAssignment(next)) }],
    }
  }

  private write(guard: Compare, changes: readonly Change[]): void {
    const tag = `agents.${++this.sequence}`
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
    this.inFlight.set(tag, changes)
    // 0: not answered yet, whatever the view shows.
    for (const { name } of changes) this.written.set(name, 0n)
    this.out.push({ type: 'store', tag, request: { op: 'txn', txn: { if: compares, then: ops } } })
  }

  private storeDone(at: Instant, tag: string, reply: StoreReply): void {
    const changes = this.inFlight.get(tag)
    if (changes === undefined) return
    this.inFlight.delete(tag)
    if (reply.ok && reply.op === 'txn' && reply.result.ok) {
      for (const { name, event, fields } of changes) {
        this.written.set(name, reply.result.rev)
        this.dirty.add(name)
        this.out.push({ type: 'feed', event, fields })
      }
      return
    }
    // Something moved on meanwhile, or nobody knows: by then the watch has told.
    for (const { name } of changes) {
      this.written.delete(name)
      this.places.follow(name, this.world.table.get(name))
      this.dirty.add(name)
    }
    if (!reply.ok)
      this.out.push(
        note('warn', 'agents.write_failed', {
          agents: changes.length,
          code: reply.code,
          detail: reply.detail,
        }),
      )
    this.deadlines.set('retry', at.nowMs + (reply.ok ? 20 : 100))
  }
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
