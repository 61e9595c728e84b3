/**
 * A node's own part: runs what is assigned to its lease, and hands on what it is asked to. It never decides where an agent belongs.
 *
 * Handing on: the agent is stopped where it runs (its last state is in the journal by then), *then* one transaction makes the named lease its
 * owner under the next epoch. Stopping for want of renewals begins at 0.6 of the time to live, so that all is quiet before it ends.
 */
import { asEpoch, type Epoch, type LeaseId, type NodeId } from '../kernel/brand.js'
import { Deadlines } from '../kernel/deadlines.js'
import type { Instant } from '../kernel/machine.js'
import { registrationKey } from '../kernel/registration.js'
import type { Compare, StoreEffect, StoreReply } from '../kernel/store-types.js'
import { jsonEncode } from '../kernel/text.js'
import {
  type AgentEnd,
  type AgentPlace,
  type AgentSpec,
  type Assignment,
  atKey,
  encodeAssignment,
  encodeEnd,
  endKey,
} from './records.js'
import { type AgentEntry, type AgentTable, assignmentHolds, endOf } from './table.js'

export interface AgentHostWorld {
  readonly table: AgentTable
  readonly nodeId: NodeId
  lease(nowMs: number): LeaseId | null
  viewRev(): bigint
  /** When, without another renewal, agents have to begin to stop, ms. */
  fadeAtMs(): number
  /** Holds as long as that place may be given something. */
  compare(place: AgentPlace): Compare
}

/** `removed`: for good. `moved`: it goes on elsewhere. `fading`: renewals fail. `lost`: it is not ours any more. `leaving`: this node ends. */
export type StopReason = 'removed' | 'moved' | 'fading' | 'lost' | 'leaving'

export type AgentHostInput =
  | { readonly type: 'changed' | 'deadline' }
  | { readonly type: 'store_done'; readonly tag: string; readonly reply: StoreReply }
  /** It runs; or its run is over, or could not begin. */
  | {
      readonly type: 'agent_report'
      readonly name: string
      readonly epoch: Epoch
      readonly outcome: 'running' | AgentEnd['outcome']
      readonly detail: string
      readonly floor: Epoch
    }
  /** Nothing of it runs here any more. */
  | {
      readonly type: 'agent_stopped'
      readonly name: string
      readonly epoch: Epoch
      /** Of the state that was sent to the next owner, if it was. */
      readonly state: string
    }
  | { readonly type: 'lease_lost' }
  /** This node is to end: stop it, wherever it may go on. */
  | { readonly type: 'leave'; readonly name: string }

export type AgentHostEffect =
  | StoreEffect
  | {
      readonly type: 'agent_start'
      readonly name: string
      readonly epoch: Epoch
      readonly lease: LeaseId
      readonly spec: AgentSpec
      /** Of the state that its former owner sent ahead; empty where the journal is to be read. */
      readonly state: string
    }
  /** What is wanted of it changed (pause, resume). */
  | { readonly type: 'agent_spec'; readonly name: string; readonly epoch: Epoch; readonly spec: AgentSpec }
  | {
      readonly type: 'agent_stop'
      readonly name: string
      readonly epoch: Epoch
      readonly why: StopReason
      readonly to: NodeId | null
    }
  /** It belongs to another node now: whoever waits for it goes there. */
  | { readonly type: 'agent_handed'; readonly name: string; readonly epoch: Epoch; readonly to: NodeId }

type Phase = 'starting' | 'running' | 'stopping' | 'stopped' | 'writing' | 'over'

interface Held {
  readonly name: string
  readonly epoch: Epoch
  readonly lease: LeaseId
  phase: Phase
  why: StopReason
  specRev: bigint
  generation: number
  /** To be written when it can be. */
  end: AgentEnd | null
  to: AgentPlace | null
  /** Not to be looked at before our view has this revision. */
  waitRev: bigint
  /** Sent ahead to whom it is moved to. */
  state: string
}

const retryMs = 50

export class AgentHost {
  private readonly world: AgentHostWorld
  private readonly held = new Map<string, Held>()
  private readonly dirty = new Set<string>()
  private readonly deadlines = new Deadlines<'fade' | 'retry'>()
  private readonly writing = new Map<string, Held>()
  private lastLease: LeaseId | null = null
  private sequence = 0
  private fading = false
  private out: AgentHostEffect[] = []

  constructor(world: AgentHostWorld) {
    this.world = world
    world.table.onChange((name) => this.dirty.add(name))
  }

  nextDeadlineMs(): number {
    return this.deadlines.nextMs()
  }

  /** Not known to be at rest, oldest first. */
  active(): string[] {
    return [...this.held.values()]
      .filter((h) => h.phase !== 'over' && h.phase !== 'stopped')
      .map((h) => h.name)
  }

  step(at: Instant, input: AgentHostInput): readonly AgentHostEffect[] {
    this.out = []
    switch (input.type) {
      case 'lease_lost':
        this.held.clear()
        this.writing.clear()
        this.lastLease = null
        this.fading = false
        this.deadlines.clear('fade')
        return this.out
      case 'agent_report':
        this.report(input)
        break
      case 'agent_stopped':
        this.stopped(at, input)
        break
      case 'leave': {
        const h = this.held.get(input.name)
        if (h !== undefined) this.stop(h, 'leaving', null)
        break
      }
      case 'store_done':
        this.storeDone(at, input.tag, input.reply)
        break
      default:
        break
    }
    for (const name of this.deadlines.due(at.nowMs))
      if (name === 'retry') for (const h of this.held.keys()) this.dirty.add(h)
    this.follow(at)
    return this.out
  }

  private follow(at: Instant): void {
    const lease = this.world.lease(at.nowMs)
    if (lease === null) return
    if (lease !== this.lastLease) {
      this.lastLease = lease
      for (const name of this.world.table.namesOf(lease)) this.dirty.add(name)
    }
    this.fade(at)
    for (const name of this.dirty) this.look(at, lease, name)
    this.dirty.clear()
    if (this.held.size > 0 && !this.fading) this.deadlines.set('fade', this.world.fadeAtMs())
  }

  private look(at: Instant, lease: LeaseId, name: string): void {
    const entry = this.world.table.get(name)
    const h = this.held.get(name)
    const mine = entry?.at?.lease === lease ? entry.at : undefined
    if (h !== undefined && mine?.epoch !== h.epoch) {
      this.notMine(h, entry)
      // A later epoch of ours begins when nothing of the former is left.
      if (this.held.has(name)) return
    }
    if (entry === undefined || mine === undefined) return
    const known = this.held.get(name)
    if (known === undefined) this.takeUp(entry, mine, lease)
    else this.keepUp(at, known, entry, mine)
  }

  private takeUp(entry: AgentEntry, mine: Assignment, lease: LeaseId): void {
    const { name, spec } = entry
    const end = endOf(entry)
    const h: Held = {
      name,
      epoch: mine.epoch,
      lease,
      phase: end !== undefined ? 'over' : this.fading ? 'stopped' : 'starting',
      why: 'fading',
      specRev: entry.specRev,
      generation: spec?.generation ?? 0,
      end: null,
      to: null,
      state: '',
      waitRev: 0n,
    }
    this.held.set(name, h)
    if (h.phase !== 'starting') return
    if (spec === undefined || spec.desired === 'removed') {
      h.end = {
        epoch: h.epoch,
        outcome: 'stopped',
        detail: 'removed before it started',
        generation: spec?.generation ?? 0,
        floor: asEpoch(0),
      }
      this.writeEnd(h, entry)
    } else this.out.push({ type: 'agent_start', name, epoch: h.epoch, lease, spec, state: mine.state })
  }

  private keepUp(at: Instant, h: Held, entry: AgentEntry, mine: Assignment): void {
    const { spec } = entry
    if (endOf(entry) !== undefined) {
      h.phase = 'over'
      return
    }
    if (h.phase === 'starting' || h.phase === 'running') {
      if (spec === undefined || spec.desired === 'removed') this.stop(h, 'removed', null)
      else if (h.end !== null) this.writeEnd(h, entry)
      else if (mine.to !== null) this.stop(h, 'moved', mine.to)
      else if (entry.specRev !== h.specRev) {
        h.specRev = entry.specRev
        // Asked to begin anew, where it is.
        if (spec.generation > h.generation) this.stop(h, 'moved', null)
        else this.out.push({ type: 'agent_spec', name: h.name, epoch: h.epoch, spec })
      }
    } else if (h.phase === 'stopped') {
      if (this.world.viewRev() >= h.waitRev) this.afterStop(at, h, entry, mine)
      // What the view still lacks may be about other names: nobody would say that this one can be looked at.
      else this.deadlines.set('retry', at.nowMs + retryMs)
    }
  }

  /** Taken from us, or handed on, or the whole assignment is gone. */
  private notMine(h: Held, entry: AgentEntry | undefined): void {
    if (h.phase === 'starting' || h.phase === 'running') this.stop(h, 'lost', null)
    else if (h.phase === 'stopping') h.why = 'lost'
    else {
      // A hand-over that we never heard the answer of.
      if (h.to !== null && entry?.at !== undefined)
        this.out.push({ type: 'agent_handed', name: h.name, epoch: h.epoch, to: entry.at.nodeId })
      this.held.delete(h.name)
    }
  }

  private stop(h: Held, why: StopReason, to: AgentPlace | null): void {
    if (h.phase !== 'starting' && h.phase !== 'running') return
    h.phase = 'stopping'
    h.why = why
    h.to = to
    this.out.push({ type: 'agent_stop', name: h.name, epoch: h.epoch, why, to: to?.nodeId ?? null })
  }

  private report(input: Extract<AgentHostInput, { type: 'agent_report' }>): void {
    const h = this.held.get(input.name)
    if (h === undefined || h.epoch !== input.epoch) return
    if (input.outcome === 'running') {
      if (h.phase === 'starting') h.phase = 'running'
      return
    }
    if (h.phase !== 'starting' && h.phase !== 'running') return
    const entry = this.world.table.get(h.name)
    h.end = {
      epoch: h.epoch,
      outcome: input.outcome,
      detail: input.detail,
      generation: entry?.spec?.generation ?? 0,
      floor: input.floor,
    }
    this.dirty.add(h.name)
  }

  private stopped(at: Instant, input: Extract<AgentHostInput, { type: 'agent_stopped' }>): void {
    const { name, epoch, state } = input
    const h = this.held.get(name)
    if (h === undefined || h.epoch !== epoch || h.phase !== 'stopping') return
    h.phase = 'stopped'
    h.state = state
    this.dirty.add(name)
    if (h.why === 'lost') this.held.delete(name)
    else if (this.world.lease(at.nowMs) === null) h.to = null
  }

  /** It is at rest; what was that for? */
  private afterStop(at: Instant, h: Held, entry: AgentEntry, mine: Assignment): void {
    if (h.end !== null) {
      this.writeEnd(h, entry)
      return
    }
    if (h.why === 'leaving' && mine.to === null) return
    const { spec } = entry
    if (spec === undefined || spec.desired === 'removed') {
      h.end = {
        epoch: h.epoch,
        outcome: 'stopped',
        detail: 'removed',
        generation: spec?.generation ?? 0,
        floor: asEpoch(0),
      }
      this.writeEnd(h, entry)
    } else if (mine.to !== null) {
      h.to = mine.to
      this.handOver(h, entry, mine, mine.to, at.wallMs)
    } else if (at.nowMs < this.world.fadeAtMs()) {
      // The move was called off, or the store is back: it goes on where it was.
      h.phase = 'starting'
      h.specRev = entry.specRev
      h.generation = spec.generation
      this.out.push({ type: 'agent_start', name: h.name, epoch: h.epoch, lease: h.lease, spec, state: '' })
    }
  }

  /** Renewals fail: begin to stop. They succeed again: go on under the same epoch. */
  private fade(at: Instant): void {
    const fadeAtMs = this.world.fadeAtMs()
    const isFading = at.nowMs >= fadeAtMs
    if (isFading !== this.fading) {
      this.fading = isFading
      for (const h of this.held.values()) {
        if (isFading) this.stop(h, 'fading', null)
        else if (h.phase === 'stopped' && h.why === 'fading') this.dirty.add(h.name)
      }
    }
    if (isFading) this.deadlines.clear('fade')
  }

  // --- writing ----------------------------------------------------------------------------------------------------

  private handOver(h: Held, entry: AgentEntry, mine: Assignment, to: AgentPlace, wallMs: number): void {
    const next: Assignment = {
      ...to,
      epoch: asEpoch(h.epoch + 1),
      assignedAtMs: wallMs,
      to: null,
      by: mine.by,
      moveId: mine.moveId,
      state: h.state,
    }
    this.write('hand', h, entry, [this.world.compare(to)], {
      key: atKey(h.name),
      value: encodeAssignment(next),
    })
  }

  private writeEnd(h: Held, entry: AgentEntry): void {
    if (h.end !== null) this.write('end', h, entry, [], { key: endKey(h.name), value: encodeEnd(h.end) })
  }

  private write(
    what: 'hand' | 'end',
    h: Held,
    entry: AgentEntry,
    compares: readonly Compare[],
    put: { readonly key: string; readonly value: unknown },
  ): void {
    h.phase = 'writing'
    const tag = `host.${what}#${++this.sequence}`
    this.writing.set(tag, h)
    this.out.push({
      type: 'store',
      tag,
      request: {
        op: 'txn',
        txn: {
          if: [
            { key: registrationKey(this.world.nodeId), target: 'lease', op: '=', value: h.lease },
            ...assignmentHolds(entry),
            ...compares,
          ],
          then: [{ type: 'put', key: put.key, value: jsonEncode(put.value) }],
        },
      },
    })
  }

  private storeDone(at: Instant, tag: string, reply: StoreReply): void {
    const h = this.writing.get(tag)
    this.writing.delete(tag)
    if (h === undefined || this.held.get(h.name) !== h || h.phase !== 'writing') return
    const done = reply.ok && reply.op === 'txn' && reply.result.ok
    if (done && tag.startsWith('host.hand')) {
      h.phase = 'over'
      this.out.push({ type: 'agent_handed', name: h.name, epoch: h.epoch, to: (h.to as AgentPlace).nodeId })
      h.to = null
    } else if (done) h.phase = 'over'
    else {
      h.phase = 'stopped'
      // Refused: the store knows better than our view, which must have caught up before anything follows from it. Nobody knows: what the
      // assignment asks for now, once more, which will be refused if the first one was carried out.
      if (reply.ok && reply.op === 'txn') h.waitRev = reply.result.rev
      this.deadlines.set('retry', at.nowMs + retryMs)
    }
  }
}
