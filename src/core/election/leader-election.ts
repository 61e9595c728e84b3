/**
 * Who leads. The truth is one key, `leader`: holder, lease and term; whoever changes it does so by compare-and-set and raises the term.
 * Taking over is allowed as soon as the holder looks gone (even without revoking its lease), because all that a leader can do is a
 * transaction conditional on its term: an old leader's next write fails.
 */
import { asLeaseId, asTerm, type LeaseId, type NodeId, type Revision, type Term } from '../kernel/brand.js'
import { Deadlines } from '../kernel/deadlines.js'
import { type Instant, type Note, note } from '../kernel/machine.js'
import { registrationKey, registrations } from '../kernel/registration.js'
import type { Compare, StoreEffect, StoreReply } from '../kernel/store-types.js'
import type { StoreView } from '../kernel/store-view.js'
import { jsonEncode } from '../kernel/text.js'

export const leaderKey = 'leader'

export interface LeaderFact {
  readonly term: Term
  /** Null after a resignation: nobody leads. */
  readonly nodeId: NodeId | null
  readonly lease: LeaseId | null
  readonly modRev: Revision
}

export function readLeader(view: StoreView): LeaderFact | undefined {
  const kv = view.kv(leaderKey)
  const value = view.json(leaderKey) as Record<string, unknown> | undefined
  if (kv === undefined || value === undefined || value === null) return undefined
  return {
    term: asTerm(Number(value.term)),
    nodeId: typeof value.node_id === 'string' ? value.node_id : null,
    lease: typeof value.lease === 'string' ? asLeaseId(value.lease) : null,
    modRev: kv.modRev,
  }
}

/** Who left the seat empty; builds that do not say so leave it undefined. */
function resignedFrom(view: StoreView): NodeId | undefined {
  const value = view.json(leaderKey) as { resigned?: unknown } | undefined
  return typeof value?.resigned === 'string' ? value.resigned : undefined
}

/** How this node sees a lease holder; the wiring answers from the member table. */
export type Standing = 'well' | 'doubtful' | 'gone' | 'unfit'

export interface ElectionWorld {
  readonly view: StoreView
  readonly nodeId: NodeId
  /** Our lease while it is valid at that moment. */
  lease(nowMs: number): LeaseId | null
  standing(nodeId: NodeId): Standing
  /** Monotonic time at which this node began to see that one as gone. */
  goneSinceMs(nodeId: NodeId): number | undefined
  /** We should lead no longer, and somebody else could. */
  isRelieved(): boolean
}

export interface ElectionOptions {
  /** Pause between the attempts of the first, second … candidate, ms. */
  readonly rankDelayMs: number
  /** How long a leader that reaches less than half of the lease holders goes on, ms. */
  readonly isolationMs: number
  /** How long one that stepped down leaves the others first choice, ms. */
  readonly holdOffMs: number
}

export const electionDefaults: ElectionOptions = { rankDelayMs: 60, isolationMs: 2_000, holdOffMs: 3_000 }

/** After an attempt that failed or was refused for another reason than a faster node, ms. */
const retryMs = 50

export type ElectionInput =
  | { readonly type: 'changed' }
  | { readonly type: 'deadline' }
  | { readonly type: 'store_done'; readonly tag: string; readonly reply: StoreReply }
  /** Take the leadership now, whoever holds it. */
  | { readonly type: 'promote' }
  | { readonly type: 'step_down'; readonly reason: string }

export type ElectionEffect =
  | StoreEffect
  | { readonly type: 'promoted'; readonly ok: boolean; readonly detail: string }
  | Note

export class LeaderElection {
  private readonly world: ElectionWorld
  private readonly options: ElectionOptions
  private readonly deadlines = new Deadlines<'campaign' | 'isolated' | 'hold_off' | 'retry'>()
  private asking = false
  /** Our last successful write; the view must have it before we look again. */
  private writtenRev = 0n
  /** When we first saw the present holder of the seat. */
  private seen = { modRev: 0n, atMs: 0 }
  /** The tenure that we gave up and that the view still shows. */
  private yielded = 0n
  /** The tenure that we asked the store to end. */
  private resigned = 0n
  private promoting = false
  private heldOff = false
  private out: ElectionEffect[] = []

  constructor(world: ElectionWorld, options: ElectionOptions = electionDefaults) {
    this.world = world
    this.options = options
  }

  nextDeadlineMs(): number {
    return this.deadlines.nextMs()
  }

  /** The guard for every write in the leader's name, or null when this node does not lead at this moment. */
  guard(nowMs: number): { readonly term: Term; readonly compare: Compare } | null {
    const lease = this.world.lease(nowMs)
    const leader = readLeader(this.world.view)
    if (lease === null || leader === undefined || leader.lease !== lease) return null
    return { term: leader.term, compare: { key: leaderKey, target: 'modRev', op: '=', value: leader.modRev } }
  }

  /** Leads, and has not begun to give it up: what is done only by the leader ends before anybody else can be it. */
  leads(nowMs: number): boolean {
    return this.guard(nowMs) !== null && this.world.view.modRev(leaderKey) !== this.resigned
  }

  step(at: Instant, input: ElectionInput): readonly ElectionEffect[] {
    this.out = []
    switch (input.type) {
      case 'store_done':
        this.storeDone(at, input.reply)
        break
      case 'promote':
        this.promoting = true
        this.heldOff = false
        this.take(at, 'promoted by an operator')
        break
      case 'step_down':
        this.resign(at, input.reason)
        break
      default:
        break
    }
    for (const name of this.deadlines.due(at.nowMs)) {
      if (name === 'campaign') this.campaign(at)
      else if (name === 'isolated') this.resign(at, 'reaches less than half of the lease holders')
      else if (name === 'hold_off') this.heldOff = false
    }
    this.evaluate(at)
    return this.out
  }

  private evaluate(at: Instant): void {
    const modRev = this.world.view.modRev(leaderKey)
    if (modRev !== this.seen.modRev) this.seen = { modRev, atMs: at.nowMs }
    if (this.guard(at.nowMs) !== null) {
      this.deadlines.clear('campaign')
      this.watchIsolation(at)
      if (this.yielded !== modRev && this.deadlines.get('retry') === undefined && this.world.isRelieved()) {
        this.yielded = modRev
        this.resign(at, 'a standby is relieved')
      }
      return
    }
    this.deadlines.clear('isolated')
    if (this.world.view.rev < this.writtenRev || this.vacancy() === null || !this.isCandidate(at)) {
      this.deadlines.clear('campaign')
      return
    }
    if (this.deadlines.get('campaign') !== undefined || this.deadlines.get('retry') !== undefined) return
    if (this.asking) return
    const rank = this.rank()
    if (rank === 0) this.campaign(at)
    else this.deadlines.set('campaign', at.nowMs + rank * this.options.rankDelayMs)
  }

  /** Why the seat is free, or null. */
  private vacancy(): string | null {
    const leader = readLeader(this.world.view)
    if (leader === undefined) return 'there never was a leader'
    if (leader.nodeId === null || leader.lease === null) return 'the last one resigned'
    if (this.world.view.kv(registrationKey(leader.nodeId))?.lease !== leader.lease)
      return `the lease of ${leader.nodeId} ended`
    // What we knew before it took the lead does not count: its write to the store was a later sign of life.
    const goneSinceMs = this.world.goneSinceMs(leader.nodeId)
    if (goneSinceMs !== undefined && leader.modRev === this.seen.modRev && goneSinceMs > this.seen.atMs)
      return `${leader.nodeId} failed`
    return null
  }

  private isCandidate(at: Instant): boolean {
    if (!this.world.view.synced || this.world.lease(at.nowMs) === null || this.heldOff) return false
    return this.world.standing(this.world.nodeId) === 'well' && this.reachesHalf()
  }

  private reachesHalf(): boolean {
    const holders = registrations(this.world.view)
    const reached = holders.filter((h) => this.world.standing(h.nodeId) !== 'gone').length
    return reached * 2 >= holders.length
  }

  /** Workers before standbys, then the oldest boot first: everybody counts the same order, so that one tries and the others wait a moment. Nobody waits for who resigned. */
  private rank(): number {
    const { world } = this
    const { view, nodeId } = world
    const resigned = resignedFrom(view)
    const fit = registrations(view).filter(
      (h) => world.standing(h.nodeId) === 'well' && (h.nodeId !== resigned || h.nodeId === nodeId),
    )
    fit.sort((a, b) => Number(a.role === 'standby') - Number(b.role === 'standby') || a.boot - b.boot)
    return Math.max(
      0,
      fit.findIndex((h) => h.nodeId === nodeId),
    )
  }

  private campaign(at: Instant): void {
    const reason = this.vacancy()
    if (reason !== null && this.isCandidate(at)) this.take(at, reason)
  }

  private take(at: Instant, reason: string): void {
    const lease = this.world.lease(at.nowMs)
    if (this.asking || lease === null) {
      this.settlePromotion(
        false,
        lease === null ? 'this node holds no lease' : 'another attempt is under way',
      )
      return
    }
    const { view, nodeId } = this.world
    const leader = readLeader(view)
    if (leader?.lease === lease) {
      this.settlePromotion(true, 'it leads already')
      return
    }
    const term = asTerm((leader?.term ?? 0) + 1)
    this.asking = true
    this.deadlines.clear('campaign')
    this.out.push(note('info', 'leader.campaign', { term, reason }))
    this.out.push({
      type: 'store',
      tag: 'leader.take',
      request: {
        op: 'txn',
        txn: {
          if: [
            { key: leaderKey, target: 'modRev', op: '=', value: view.modRev(leaderKey) },
            { key: registrationKey(nodeId), target: 'lease', op: '=', value: lease },
          ],
          then: [
            {
              type: 'put',
              key: leaderKey,
              value: jsonEncode({ v: 1, term, node_id: nodeId, lease, reason }),
            },
          ],
          else: [{ type: 'get', key: leaderKey }],
        },
      },
    })
  }

  private storeDone(at: Instant, reply: StoreReply): void {
    this.asking = false
    if (!reply.ok) {
      this.yielded = 0n
      this.resigned = 0n
    }
    if (reply.ok && reply.op === 'txn') {
      // Not again before the watch has told of what this reply knows: our own write, or that of whoever was faster.
      const rev = reply.result.ok ? reply.result.rev : (reply.result.results[0]?.kv?.modRev ?? 0n)
      if (rev > this.writtenRev) this.writtenRev = rev
      if (!reply.result.ok && rev <= this.world.view.rev) this.deadlines.set('retry', at.nowMs + retryMs)
    } else this.deadlines.set('retry', at.nowMs + retryMs)
    if (reply.ok && reply.op === 'txn')
      this.settlePromotion(reply.result.ok, reply.result.ok ? '' : 'another node was faster')
    else if (!reply.ok) this.settlePromotion(false, reply.detail)
  }

  private settlePromotion(ok: boolean, detail: string): void {
    if (!this.promoting) return
    this.promoting = false
    this.out.push({ type: 'promoted', ok, detail })
  }

  private watchIsolation(at: Instant): void {
    if (this.reachesHalf()) this.deadlines.clear('isolated')
    else if (this.deadlines.get('isolated') === undefined)
      this.deadlines.set('isolated', at.nowMs + this.options.isolationMs)
  }

  private resign(at: Instant, reason: string): void {
    const guard = this.guard(at.nowMs)
    this.heldOff = true
    this.deadlines.set('hold_off', at.nowMs + this.options.holdOffMs)
    if (guard === null) return
    this.resigned = this.world.view.modRev(leaderKey)
    this.out.push(note('info', 'leader.resigning', { term: guard.term, reason }))
    this.out.push({
      type: 'store',
      tag: 'leader.resign',
      request: {
        op: 'txn',
        txn: {
          if: [guard.compare],
          then: [
            {
              type: 'put',
              key: leaderKey,
              value: jsonEncode({
                v: 1,
                term: guard.term,
                node_id: null,
                lease: null,
                resigned: this.world.nodeId,
                reason,
              }),
            },
          ],
        },
      },
    })
  }
}
