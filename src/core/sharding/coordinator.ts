/**
 * The leader's part in sharding: keeps the map in step with who may own what. A shard is given to another node only when its owner's lease
 * has ended or the owner wrote a release for the present epoch; a live owner is only ever *asked* to release (`target`).
 *
 * Stateless but for timing: everything is derived from the view, every write is conditional on the term and on the map it was computed
 * from. A new leader goes on exactly where the old one stopped.
 */

import { asEpoch, type Epoch, type LeaseId, type NodeId, type Term } from '../kernel/brand.js'
import { isRebalancing } from '../kernel/config-document.js'
import { Deadlines } from '../kernel/deadlines.js'
import { formatLevel } from '../kernel/format.js'
import { type Instant, type Note, note } from '../kernel/machine.js'
import type { Compare, StoreEffect, StoreReply } from '../kernel/store-types.js'
import type { StoreView } from '../kernel/store-view.js'
import { jsonEncode } from '../kernel/text.js'
import { planShards } from './planner.js'
import {
  encodeShardMap,
  readRelease,
  readSeals,
  readShardMap,
  type ShardAssignment,
  type ShardMap,
  shardMapKey,
  unassigned,
} from './shard-map.js'

/** A lease holder, as the coordinator needs it. */
export interface ShardCandidate {
  readonly nodeId: NodeId
  readonly lease: LeaseId
  readonly zone: string
  /** May hold shards at all: a worker, active, not evicted, not standing still. */
  readonly mayOwn: boolean
  /** May be given more. */
  readonly canReceive: boolean
}

export interface CoordinatorWorld {
  readonly view: StoreView
  guard(nowMs: number): { readonly term: Term; readonly compare: Compare } | null
  candidates(): readonly ShardCandidate[]
}

export interface CoordinatorOptions {
  readonly shards: number
  /** A live owner is asked to give shards up only when the set of candidates has stood still for so long, ms. */
  readonly settleMs: number
  /** Most shards that are asked to move at one time. */
  readonly movingMax: number
  /** Whether a live owner that may own is asked at all, for the sake of balance. */
  readonly rebalance: boolean
}

export type CoordinatorEffect = StoreEffect | Note

export class ShardCoordinator {
  private readonly world: CoordinatorWorld
  private readonly options: CoordinatorOptions
  private readonly deadlines = new Deadlines<'settled' | 'retry'>()
  private asking = false
  /** Our last write; the view must have it before we look again. */
  private writtenRev = 0n
  private lastCandidates = ''
  private settledAtMs = 0
  private out: CoordinatorEffect[] = []

  constructor(world: CoordinatorWorld, options: CoordinatorOptions) {
    this.world = world
    this.options = options
  }

  nextDeadlineMs(): number {
    return this.deadlines.nextMs()
  }

  step(
    at: Instant,
    input:
      | { readonly type: 'changed' | 'deadline' }
      | { readonly type: 'store_done'; readonly reply: StoreReply },
  ): readonly CoordinatorEffect[] {
    this.out = []
    if (input.type === 'store_done') {
      this.asking = false
      // Unknown or failed: look again a little later, by then the watch has told.
      if (input.reply.ok && input.reply.op === 'txn' && input.reply.result.ok)
        this.writtenRev = input.reply.result.rev
      if (!input.reply.ok || (input.reply.op === 'txn' && !input.reply.result.ok))
        this.deadlines.set('retry', at.nowMs + 50)
    }
    this.deadlines.due(at.nowMs)
    this.reconcile(at)
    return this.out
  }

  private reconcile(at: Instant): void {
    const guard = this.world.guard(at.nowMs)
    if (
      guard === null ||
      this.asking ||
      this.deadlines.get('retry') !== undefined ||
      this.world.view.rev < this.writtenRev
    )
      return
    const candidates = this.world.candidates()
    this.noticeCandidates(at, candidates)
    const present = readShardMap(this.world.view)
    const map = present ?? new Array<ShardAssignment>(this.options.shards).fill(unassigned)
    const next = this.nextMap(at, map, candidates)
    if (next === null && present !== undefined) return
    const changed = next ?? map
    this.asking = true
    this.out.push(note('info', 'shards.assigned', { term: guard.term, ...summary(map, changed) }))
    this.out.push({
      type: 'store',
      tag: 'shards.assign',
      request: {
        op: 'txn',
        txn: {
          if: [
            guard.compare,
            { key: shardMapKey, target: 'modRev', op: '=', value: this.world.view.modRev(shardMapKey) },
          ],
          then: [
            {
              type: 'put',
              key: shardMapKey,
              value: jsonEncode(encodeShardMap(changed, formatLevel(this.world.view))),
            },
          ],
        },
      },
    })
  }

  private noticeCandidates(at: Instant, candidates: readonly ShardCandidate[]): void {
    const key = candidates.map((c) => `${c.nodeId}/${c.lease}/${c.mayOwn}/${c.canReceive}`).join(' ')
    if (key === this.lastCandidates) return
    this.lastCandidates = key
    this.settledAtMs = at.nowMs + this.options.settleMs
    this.deadlines.set('settled', this.settledAtMs)
  }

  /** The map as it should be now, or null if it is that already. */
  private nextMap(at: Instant, map: ShardMap, candidates: readonly ShardCandidate[]): ShardMap | null {
    const leases = new Map(candidates.map((c) => [c.lease, c]))
    const owners = candidates.filter((c) => c.mayOwn)
    const byNode = new Map(owners.map((c) => [c.nodeId, c]))
    const isHeld = (a: ShardAssignment, shard: number): boolean =>
      a.lease !== null && leases.has(a.lease) && readRelease(this.world.view, shard)?.epoch !== a.epoch
    const wanted = planShards(
      map.map((a, shard) => (isHeld(a, shard) ? a.nodeId : null)),
      owners,
    )
    let moving = map.filter((a, shard) => a.target !== null && isHeld(a, shard)).length
    let changed = false
    const next = map.map((a, shard): ShardAssignment => {
      const to = wanted[shard] ?? null
      if (!isHeld(a, shard)) {
        const owner = to === null ? undefined : byNode.get(to)
        if (owner === undefined) return a
        changed = true
        return this.assign(a, shard, owner)
      }
      // Held by a live lease: ask at most, and only when the picture is calm or the owner may not own at all.
      const holder = leases.get(a.lease as LeaseId) as ShardCandidate
      const target = to === a.nodeId ? null : to
      if (target === a.target) return a
      if (target !== null) {
        const isCalm =
          isRebalancing(this.world.view, this.options.rebalance) &&
          at.nowMs >= this.settledAtMs &&
          moving < this.options.movingMax
        if (holder.mayOwn && !isCalm) return a
        if (a.target === null) moving++
      }
      changed = true
      return { ...a, target }
    })
    return changed ? next : null
  }

  private assign(a: ShardAssignment, shard: number, owner: ShardCandidate): ShardAssignment {
    const seals = readSeals(this.world.view, shard)
    const floor = Math.max(a.epoch, readRelease(this.world.view, shard)?.floor ?? 0, seals.through)
    const tenures =
      a.lease === null || a.epoch === 0 ? a.unsealed : [...a.unsealed, { epoch: a.epoch, lease: a.lease }]
    const epoch: Epoch = asEpoch(floor + 1)
    return {
      epoch,
      nodeId: owner.nodeId,
      lease: owner.lease,
      target: null,
      unsealed: tenures.filter((t) => t.epoch > seals.through),
    }
  }
}

function summary(before: ShardMap, after: ShardMap): Record<string, unknown> {
  let assigned = 0
  let asked = 0
  after.forEach((a, i) => {
    if (a.epoch !== before[i]?.epoch) assigned++
    else if (a.target !== null && before[i]?.target === null) asked++
  })
  return { assigned, asked_to_move: asked }
}
