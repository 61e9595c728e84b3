/**
 * A node's own part in sharding: takes up what the map gives to its lease, gives up what it is asked to.
 *
 * Taking up: seal the tenures before (journal), write the seals (store), open the shard (data plane). Giving up: close the shard, clear its
 * epoch where the data plane looks, *then* write the release. Nothing here decides who owns what.
 */

import { asEpoch, type Epoch, type LeaseId, type NodeId, type ShardId } from '../kernel/brand.js'
import { Deadlines } from '../kernel/deadlines.js'
import { formatLevel } from '../kernel/format.js'
import { type Instant, type Note, note } from '../kernel/machine.js'
import { registrationKey } from '../kernel/registration.js'
import type { Compare, StoreEffect, StoreOp, StoreReply } from '../kernel/store-types.js'
import type { StoreView } from '../kernel/store-view.js'
import { jsonEncode } from '../kernel/text.js'
import {
  encodeSeals,
  noSeals,
  readSeals,
  readShardMap,
  releaseKey,
  type Seals,
  sealKey,
  type Tenure,
} from './shard-map.js'

export interface HolderWorld {
  readonly view: StoreView
  readonly nodeId: NodeId
  lease(nowMs: number): LeaseId | null
}

export interface SealWanted {
  readonly shard: ShardId
  readonly tenures: readonly Tenure[]
}

export interface SealFound {
  readonly shard: ShardId
  readonly segments: Seals['segments']
  /** Highest epoch that the journal holds of this shard, whoever wrote it. */
  readonly highestEpoch: Epoch
}

export type HolderInput =
  | { readonly type: 'changed' | 'deadline' }
  | { readonly type: 'store_done'; readonly tag: string; readonly reply: StoreReply }
  | {
      readonly type: 'sealed'
      readonly tag: string
      readonly found: readonly SealFound[] | null
      readonly detail: string
    }
  /** The data plane answered everything that was under way and takes no more. */
  | { readonly type: 'shard_closed'; readonly shard: ShardId; readonly epoch: Epoch }
  /** The lease ended: forget everything, the shell has been told. */
  | { readonly type: 'lease_lost' }
  | { readonly type: 'release_all' }

export type HolderEffect =
  | StoreEffect
  | { readonly type: 'journal_seal'; readonly tag: string; readonly wanted: readonly SealWanted[] }
  | {
      readonly type: 'shard_open'
      readonly shard: ShardId
      readonly epoch: Epoch
      readonly lease: LeaseId
      readonly seals: Seals
    }
  | { readonly type: 'shard_close'; readonly shard: ShardId; readonly epoch: Epoch }
  /** Shared memory: the epoch under which acknowledgements are allowed; 0 for none. */
  | { readonly type: 'set_epoch'; readonly shard: ShardId; readonly epoch: Epoch }
  | Note

type Phase = 'wanted' | 'sealing' | 'recording' | 'open' | 'closing' | 'releasing' | 'released'
const notOpenYet: ReadonlySet<Phase> = new Set(['wanted', 'sealing', 'recording'])

interface Held {
  readonly shard: ShardId
  readonly epoch: Epoch
  readonly lease: LeaseId
  readonly unsealed: readonly Tenure[]
  phase: Phase
  closeByMs: number
  floor: Epoch
  /** What its log consists of, as we recorded it: the view may not have it yet. */
  seals: Seals | null
}

const noEpoch = asEpoch(0)
/** Two operations a shard at most, well below the store's limit for one transaction. */
const shardsPerTransaction = 60
/** How long a shard that is given up may finish what is under way, ms. A blocked main thread is not waited for longer. */
const closeGraceMs = 250

export class ShardHolder {
  private readonly world: HolderWorld
  private readonly held = new Map<ShardId, Held>()
  private readonly deadlines = new Deadlines<'close' | 'retry'>()
  private readonly batches = new Map<string, Held[]>()
  private sequence = 0
  private givingUpAll = false
  private out: HolderEffect[] = []

  constructor(world: HolderWorld) {
    this.world = world
  }

  nextDeadlineMs(): number {
    return this.deadlines.nextMs()
  }

  /** Shards that are not given up yet, in whatever phase. */
  get heldCount(): number {
    let count = 0
    for (const h of this.held.values()) if (h.phase !== 'released') count++
    return count
  }

  get openCount(): number {
    let count = 0
    for (const h of this.held.values()) if (h.phase === 'open') count++
    return count
  }

  step(at: Instant, input: HolderInput): readonly HolderEffect[] {
    this.out = []
    switch (input.type) {
      case 'lease_lost':
        this.held.clear()
        this.batches.clear()
        return this.out
      case 'release_all':
        this.givingUpAll = true
        break
      case 'sealed':
        this.sealed(at, input.tag, input.found, input.detail)
        break
      case 'store_done':
        this.storeDone(at, input.tag, input.reply)
        break
      case 'shard_closed': {
        const h = this.held.get(input.shard)
        if (h !== undefined && h.epoch === input.epoch && h.phase === 'closing') h.closeByMs = at.nowMs
        break
      }
      default:
        break
    }
    this.deadlines.due(at.nowMs)
    this.follow(at)
    return this.out
  }

  private follow(at: Instant): void {
    const lease = this.world.lease(at.nowMs)
    const map = readShardMap(this.world.view)
    if (lease === null || map === undefined) return
    map.forEach((a, shard) => {
      const mine = a.lease === lease
      const h = this.held.get(shard)
      if (!mine) {
        // Given on: the leader saw our release, even if we never heard that it was written.
        if (h !== undefined && h.phase !== 'released') {
          this.out.push(
            { type: 'set_epoch', shard, epoch: noEpoch },
            { type: 'shard_close', shard, epoch: h.epoch },
          )
        }
        this.held.delete(shard)
        return
      }
      if (h === undefined || h.epoch !== a.epoch) {
        this.held.set(shard, {
          shard,
          epoch: a.epoch,
          lease,
          unsealed: a.unsealed,
          phase: 'wanted',
          closeByMs: 0,
          floor: noEpoch,
          seals: null,
        })
      } else if (
        h.phase === 'open' &&
        ((a.target !== null && a.target !== this.world.nodeId) || this.givingUpAll)
      )
        this.beginClose(at, h)
      else if (notOpenYet.has(h.phase) && (a.target !== null || this.givingUpAll)) {
        // The journal may be as slow as the main thread it hangs on: what is not served yet can be given up at once.
        h.phase = 'closing'
        h.closeByMs = at.nowMs
      }
    })
    this.startSealing()
    this.finishClosing(at)
  }

  // --- taking up --------------------------------------------------------------------------------------------

  private startSealing(): void {
    if (this.deadlines.get('retry') !== undefined) return
    const wanted = [...this.held.values()].filter((h) => h.phase === 'wanted')
    if (wanted.length === 0) return
    for (const h of wanted) h.phase = 'sealing'
    const tag = `seal#${++this.sequence}`
    this.batches.set(tag, wanted)
    const through = (h: Held): Epoch => readSeals(this.world.view, h.shard).through
    this.out.push({
      type: 'journal_seal',
      tag,
      wanted: wanted.map((h) => ({
        shard: h.shard,
        tenures: h.unsealed.filter((t) => t.epoch > through(h)),
      })),
    })
  }

  private sealed(at: Instant, tag: string, found: readonly SealFound[] | null, detail: string): void {
    const batch = this.take(tag).filter((h) => h.phase === 'sealing')
    if (found === null) {
      this.out.push(note('warn', 'shards.seal_failed', { detail, shards: batch.length }))
      this.again(at, batch)
      return
    }
    const byShard = new Map(found.map((f) => [f.shard, f]))
    const ready: Held[] = []
    const seals = new Map<ShardId, SealFound>()
    for (const h of batch) {
      const f = byShard.get(h.shard)
      if (f === undefined) this.again(at, [h])
      else if (f.highestEpoch >= h.epoch) {
        // The journal has seen this epoch: a store restored from an old copy. Ask for a higher one.
        h.floor = f.highestEpoch
        h.phase = 'closing'
        this.out.push(
          note('error', 'shards.epoch_behind_journal', {
            shard: h.shard,
            epoch: h.epoch,
            journal_epoch: f.highestEpoch,
          }),
        )
      } else {
        ready.push(h)
        seals.set(h.shard, f)
      }
    }
    for (let i = 0; i < ready.length; i += shardsPerTransaction)
      this.recordSeals(at, ready.slice(i, i + shardsPerTransaction), seals)
  }

  private recordSeals(at: Instant, batch: readonly Held[], found: ReadonlyMap<ShardId, SealFound>): void {
    const compares: Compare[] = [this.leaseCompare(batch[0] as Held)]
    const puts: StoreOp[] = []
    const recording: Held[] = []
    for (const h of batch) {
      const before = readSeals(this.world.view, h.shard)
      const fresh = (found.get(h.shard)?.segments ?? []).filter((s) => s.epoch > before.through)
      const through = h.unsealed.at(-1)?.epoch ?? noEpoch
      h.phase = 'recording'
      recording.push(h)
      h.seals = before
      if (through <= before.through) continue
      h.seals = {
        through,
        segments: [...before.segments, ...fresh],
        end: fresh.at(-1)?.last ?? before.end,
      }
      compares.push({
        key: sealKey(h.shard),
        target: 'modRev',
        op: '=',
        value: this.world.view.modRev(sealKey(h.shard)),
      })
      const value = jsonEncode(encodeSeals(h.seals, formatLevel(this.world.view)))
      puts.push({ type: 'put', key: sealKey(h.shard), value })
    }
    if (puts.length === 0) {
      for (const h of recording) this.open(at, h)
      return
    }
    const tag = `record#${++this.sequence}`
    this.batches.set(tag, recording)
    this.out.push({
      type: 'store',
      tag: `holder.${tag}`,
      request: { op: 'txn', txn: { if: compares, then: puts } },
    })
  }

  private storeDone(at: Instant, fullTag: string, reply: StoreReply): void {
    const tag = fullTag.slice('holder.'.length)
    const batch = this.take(tag)
    const done = reply.ok && reply.op === 'txn' && reply.result.ok
    for (const h of batch) {
      if (!tag.startsWith('release') && h.phase !== 'recording') continue
      if (tag.startsWith('release')) {
        if (done) h.phase = 'released'
        else h.closeByMs = at.nowMs + 100
        if (!done) h.phase = 'closing'
      } else if (done) this.open(at, h)
    }
    // Another sealed first, or nobody knows: the next round reads what is there now.
    if (!done) {
      if (!tag.startsWith('release'))
        this.again(
          at,
          batch.filter((h) => h.phase === 'recording'),
        )
      this.deadlines.set('close', at.nowMs + 100)
    }
  }

  private open(at: Instant, h: Held): void {
    if (this.world.lease(at.nowMs) !== h.lease || this.held.get(h.shard) !== h) return
    h.phase = 'open'
    this.out.push({ type: 'set_epoch', shard: h.shard, epoch: h.epoch })
    this.out.push({
      type: 'shard_open',
      shard: h.shard,
      epoch: h.epoch,
      lease: h.lease,
      seals: h.seals ?? noSeals,
    })
  }

  private again(at: Instant, batch: readonly Held[]): void {
    for (const h of batch) h.phase = 'wanted'
    this.deadlines.set('retry', at.nowMs + 50)
  }

  // --- giving up --------------------------------------------------------------------------------------------

  private beginClose(at: Instant, h: Held): void {
    h.phase = 'closing'
    h.closeByMs = at.nowMs + closeGraceMs
    this.out.push({ type: 'shard_close', shard: h.shard, epoch: h.epoch })
  }

  private finishClosing(at: Instant): void {
    const due = [...this.held.values()].filter((h) => h.phase === 'closing' && h.closeByMs <= at.nowMs)
    for (let i = 0; i < due.length; i += shardsPerTransaction)
      this.writeReleases(due.slice(i, i + shardsPerTransaction))
    let next = Number.POSITIVE_INFINITY
    for (const h of this.held.values()) if (h.phase === 'closing') next = Math.min(next, h.closeByMs)
    if (next !== Number.POSITIVE_INFINITY) this.deadlines.set('close', next)
  }

  private writeReleases(batch: Held[]): void {
    const tag = `release#${++this.sequence}`
    this.batches.set(tag, batch)
    for (const h of batch) {
      h.phase = 'releasing'
      this.out.push({ type: 'set_epoch', shard: h.shard, epoch: noEpoch })
    }
    const puts = batch.map(
      (h): StoreOp => ({
        type: 'put',
        key: releaseKey(h.shard),
        value: jsonEncode({ v: 1, epoch: h.epoch, lease: h.lease, floor: h.floor }),
      }),
    )
    this.out.push({
      type: 'store',
      tag: `holder.${tag}`,
      request: { op: 'txn', txn: { if: [this.leaseCompare(batch[0] as Held)], then: puts } },
    })
  }

  private leaseCompare(h: Held): Compare {
    return { key: registrationKey(this.world.nodeId), target: 'lease', op: '=', value: h.lease }
  }

  private take(tag: string): Held[] {
    const batch = this.batches.get(tag) ?? []
    this.batches.delete(tag)
    return batch.filter((h) => this.held.get(h.shard) === h)
  }
}
