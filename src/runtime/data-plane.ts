/**
 * The data plane of one node, on the main thread: the writer and publisher of the core, the journal, and the mesh between nodes. Follows what
 * control says; checks lease and epoch in shared memory by itself.
 */
import { createHash } from 'node:crypto'
import type { Epoch, LeaseId, NodeId, ShardId } from '../core/kernel/brand.js'
import { asEpoch } from '../core/kernel/brand.js'
import { isSkeinError } from '../core/kernel/error.js'
import { dedupeDefaults } from '../core/routing/dedupe.js'
import type {
  AgentFence,
  CommitGroup,
  CommitOutcome,
  EventOutcome,
  NewEvent,
  Route,
  StampedEvent,
} from '../core/routing/events.js'
import { type ForwardResult, Publisher } from '../core/routing/publisher.js'
import { ShardWriter, writerDefaults } from '../core/routing/shard-writer.js'
import type { SealFound, SealWanted } from '../core/sharding/holder.js'
import { type Seals, type ShardMap, shardOf } from '../core/sharding/shard-map.js'
import type { Journal, Segment } from '../ports/journal.js'
import type { FrameTransport } from '../ports/transport.js'
import type { HlcKeeper } from './hlc-keeper.js'
import { monotonicMs } from './host-clock.js'
import { meshFrames, packOutcomes, packPublish, unpackOutcomes, unpackPublish } from './mesh-frames.js'
import { pause } from './pause.js'
import type { SharedState } from './shared-state.js'

export interface DataPlaneWorld {
  readonly nodeId: NodeId
  readonly shared: SharedState
  readonly journal: Journal
  readonly mesh: FrameTransport
  readonly clock: HlcKeeper
  peerAddress(nodeId: NodeId): string | undefined
  /** Is a later epoch of that agent known here? */
  isFenced(fence: AgentFence): boolean
  shardClosed(shard: ShardId, epoch: Epoch): void
  /** Events acknowledged just now on this node, for tails and consumers. */
  acknowledged(events: readonly AcknowledgedEvent[]): void
  shardOpened(shard: ShardId): void
  shardGone(shard: ShardId, epoch: Epoch): void
  count(outcome: 'accepted' | 'duplicate' | 'rejected', events: number): void
  countRejected(code: string): void
  /** From hearing that a shard is ours to serving it. */
  observeTakeover(seconds: number): void
  countForward(outcome: 'ok' | 'unknown' | 'unreachable'): void
  observeAppend(seconds: number): void
  note(level: 'info' | 'warn' | 'error', event: string, fields: Record<string, unknown>): void
}

export interface AcknowledgedEvent extends StampedEvent {
  readonly shard: ShardId
  readonly epoch: Epoch
  readonly offset: number
}

interface OpenShard {
  readonly epoch: Epoch
  readonly lease: LeaseId
  readonly sealed: readonly Segment[]
  readonly firstOffset: number
}

const forwardTimeoutMsMax = 3_000
const appendTroubleEveryMs = 1_000
const journalRetryMs = 250
const journalMayReturn: ReadonlySet<string> = new Set(['unavailable', 'timeout', 'disk_full', 'overloaded'])

export class DataPlane {
  readonly writer: ShardWriter
  readonly publisher: Publisher
  private readonly world: DataPlaneWorld
  private readonly opened = new Map<ShardId, OpenShard>()
  private map: ShardMap = []
  /** Shards assigned to this node and not open yet: since when, and under which epoch. */
  private readonly awaited = new Map<ShardId, { readonly epoch: Epoch; readonly sinceMs: number }>()
  private lease: LeaseId | null = null
  private journalOpening: Promise<void> = Promise.resolve()
  private wakeTimer: NodeJS.Timeout | undefined
  private wakeAtMs = Number.POSITIVE_INFINITY
  private readonly forwards = new Set<{
    readonly to: NodeId
    readonly shards: ReadonlySet<ShardId>
    readonly abort: AbortController
  }>()
  private closed = false
  private appendTrouble = { code: '', atMs: 0, more: 0 }
  journalTrouble = ''

  constructor(world: DataPlaneWorld) {
    this.world = world
    this.writer = new ShardWriter(
      {
        wallMs: () => Date.now(),
        nowMs: monotonicMs,
        allowedEpoch: (shard) => this.allowedEpoch(shard),
        stamp: () => world.clock.now(),
        digest,
        commit: (lease, groups, done) => void this.commit(lease, groups, done),
        reopen: (shard, epoch) => void this.reopen(shard, epoch),
      },
      { ...writerDefaults, dedupe: dedupeDefaults },
    )
    this.publisher = new Publisher({
      nowMs: monotonicMs,
      shardOf: (key) => shardOf(key, world.shared.shards),
      route: (shard) => this.route(shard),
      acceptHere: (shard, events, settle) => this.accept(shard, events, settle),
      forward: (to, events, timeoutMs, done) => void this.forward(to, events, timeoutMs, done),
      wakeAt: (atMs) => this.wakeAt(atMs),
    })
  }

  get shards(): number {
    return this.world.shared.shards
  }

  get shardMap(): ShardMap {
    return this.map
  }

  // --- what control says ------------------------------------------------------------------------------------------

  routing(map: ShardMap): void {
    this.noteAssigned(map)
    this.map = map
    // What waits for an owner that no longer is one need not wait for its answer: ids make a second try safe.
    for (const { to, shards, abort } of this.forwards) {
      for (const shard of shards) if (map[shard]?.nodeId !== to) abort.abort()
    }
    this.publisher.routesChanged()
  }

  private noteAssigned(map: ShardMap): void {
    const nowMs = monotonicMs()
    map.forEach(({ nodeId, epoch }, shard) => {
      if (nodeId !== this.world.nodeId) this.awaited.delete(shard)
      else if (this.opened.get(shard)?.epoch !== epoch && this.awaited.get(shard)?.epoch !== epoch)
        this.awaited.set(shard, { epoch, sinceMs: nowMs })
    })
  }

  /** Shards wait for it. A journal that is away is asked again for as long as the lease is ours. */
  journalOpen(lease: LeaseId): Promise<void> {
    this.lease = lease
    this.journalOpening = this.openJournal(lease)
    return this.journalOpening
  }

  private async openJournal(lease: LeaseId): Promise<void> {
    for (;;) {
      try {
        await this.world.journal.openLease(lease)
        return
      } catch (error) {
        const mayPass = isSkeinError(error) && journalMayReturn.has(error.code)
        if (!mayPass || this.lease !== lease || this.closed) throw error
        this.journalTrouble = `${error.code}: ${error.message}`
        this.tellTrouble('journal.open_failed', error.code, error.message)
        await pause(journalRetryMs)
      }
    }
  }

  async seal(wanted: readonly SealWanted[]): Promise<readonly SealFound[]> {
    const { journal } = this.world
    const byLease = new Map<LeaseId, { shard: ShardId; epoch: Epoch }[]>()
    for (const { shard, tenures } of wanted) {
      for (const { lease, epoch } of tenures) {
        const list = byLease.get(lease) ?? []
        list.push({ shard, epoch })
        byLease.set(lease, list)
      }
    }
    const segments = new Map<ShardId, Segment[]>()
    for (const [lease, list] of byLease) {
      for (const found of await journal.seal(lease, list)) {
        const of = segments.get(found.shard) ?? []
        of.push({ epoch: found.epoch, lease, first: found.first, last: found.last })
        segments.set(found.shard, of)
      }
    }
    const highest = await journal.highestEpochs(wanted.map((w) => w.shard))
    return wanted.map(({ shard }) => ({
      shard,
      segments: (segments.get(shard) ?? []).sort((a, b) => a.epoch - b.epoch),
      highestEpoch: asEpoch(highest.get(shard) ?? 0),
    }))
  }

  async openShard(shard: ShardId, epoch: Epoch, lease: LeaseId, seals: Seals): Promise<void> {
    const sealed = seals.segments
    const sealedTo = seals.end
    const window = {
      sinceMs: Date.now() - dedupeDefaults.windowMs,
      countMin: dedupeDefaults.idsMin,
      countMax: dedupeDefaults.idsMax,
    }
    const ids = sealed.length === 0 ? [] : await this.world.journal.recentIds(shard, sealed, window)
    // A shard that is open takes events, and they must have somewhere to go.
    await this.journalOpening
    if (this.allowedEpoch(shard) !== epoch || this.closed) return
    this.opened.set(shard, { epoch, lease, sealed, firstOffset: sealedTo + 1 })
    this.writer.open(
      shard,
      epoch,
      lease,
      sealedTo,
      ids.map((r) => ({ event: r, offset: r.offset, atMs: r.atMs })),
    )
    const awaited = this.awaited.get(shard)
    this.awaited.delete(shard)
    if (awaited?.epoch === epoch) this.world.observeTakeover((monotonicMs() - awaited.sinceMs) / 1_000)
    this.world.shardOpened(shard)
    this.publisher.routesChanged()
  }

  closeShard(shard: ShardId, epoch: Epoch): void {
    this.writer.close(shard, epoch, () => {
      if (this.opened.get(shard)?.epoch === epoch) this.forget(shard)
      this.world.shardClosed(shard, epoch)
    })
  }

  stopServing(reason: string): void {
    this.lease = null
    for (const shard of [...this.opened.keys()]) this.forget(shard)
    this.writer.abandonAll(reason)
  }

  private forget(shard: ShardId): void {
    const open = this.opened.get(shard)
    this.opened.delete(shard)
    if (open !== undefined) this.world.shardGone(shard, open.epoch)
  }

  async relinquish(): Promise<void> {
    // `stopServing` came before: it tries no more. Why it failed was told then.
    await this.journalOpening.catch(() => undefined)
    await this.world.journal.closeLease()
  }

  close(): void {
    this.closed = true
    clearTimeout(this.wakeTimer)
    this.writer.abandonAll('the node is stopping')
  }

  // --- events in ----------------------------------------------------------------------------------------------------

  publish(events: readonly NewEvent[], timeoutMs: number): Promise<readonly EventOutcome[]> {
    return new Promise((resolve) => {
      this.publisher.publish(events, monotonicMs() + timeoutMs, (outcomes) => {
        this.tally(outcomes)
        resolve(outcomes)
      })
    })
  }

  /** Another node's part of a request: accepted here or told to try again, never passed on. */
  receive(body: Uint8Array, reply: (body: Uint8Array | Error) => void): void {
    const { hlc, events } = unpackPublish(body)
    this.world.clock.receive(hlc)
    const outcomes: EventOutcome[] = new Array(events.length)
    let left = events.length
    const settle = (index: number, outcome: EventOutcome): void => {
      outcomes[index] = outcome
      if (--left === 0) reply(packOutcomes(this.world.clock.now(), outcomes))
    }
    const parts = new Map<ShardId, number[]>()
    events.forEach((event, index) => {
      const shard = shardOf(event.key, this.shards)
      const list = parts.get(shard)
      if (list === undefined) parts.set(shard, [index])
      else list.push(index)
    })
    for (const [shard, indexes] of parts) {
      this.accept(
        shard,
        indexes.map((i) => events[i] as NewEvent),
        (i, outcome) => settle(indexes[i] as number, outcome),
      )
    }
  }

  /** What an agent publishes that runs elsewhere by now is refused; the rest is the writer's. */
  private accept(
    shard: ShardId,
    events: readonly NewEvent[],
    settle: (index: number, outcome: EventOutcome) => void,
  ): void {
    const isStale = ({ fence }: NewEvent): boolean => fence !== undefined && this.world.isFenced(fence)
    if (!events.some(isStale)) {
      this.writer.accept(shard, events, settle)
      return
    }
    const rest: number[] = []
    events.forEach((event, i) => {
      if (!isStale(event)) rest.push(i)
      else
        settle(i, {
          status: 'rejected',
          shard,
          code: 'fenced',
          detail: `agent "${event.fence?.agent}" has a later epoch than ${event.fence?.epoch}`,
          retryable: false,
        })
    })
    this.writer.accept(
      shard,
      rest.map((i) => events[i] as NewEvent),
      (i, outcome) => settle(rest[i] as number, outcome),
    )
  }

  private async forward(
    to: NodeId,
    events: readonly NewEvent[],
    timeoutMs: number,
    done: (result: ForwardResult) => void,
  ): Promise<void> {
    const { world } = this
    const address = world.peerAddress(to)
    if (address === undefined) {
      done({ ok: false, unknown: false, detail: `${to} has no known address` })
      return
    }
    const abort = new AbortController()
    const entry = { to, shards: new Set(events.map((e) => shardOf(e.key, this.shards))), abort }
    this.forwards.add(entry)
    try {
      const options = { timeoutMs: Math.min(timeoutMs, forwardTimeoutMsMax), signal: abort.signal }
      const body = await world.mesh.request(
        address,
        meshFrames.publish,
        packPublish(world.clock.now(), events),
        options,
      )
      const { hlc, outcomes } = unpackOutcomes(body)
      world.clock.receive(hlc)
      world.countForward('ok')
      done({ ok: true, outcomes })
    } catch (error) {
      const certain =
        isSkeinError(error) && (error.code === 'peer_unreachable' || error.code === 'overloaded')
      world.countForward(certain ? 'unreachable' : 'unknown')
      done({ ok: false, unknown: !certain, detail: error instanceof Error ? error.message : String(error) })
    } finally {
      this.forwards.delete(entry)
    }
  }

  private async commit(
    lease: LeaseId,
    groups: readonly CommitGroup[],
    done: (outcome: CommitOutcome) => void,
  ): Promise<void> {
    const startedMs = monotonicMs()
    try {
      await this.world.journal.append(lease, groups)
    } catch (error) {
      const code = isSkeinError(error) ? error.code : 'internal'
      const detail = error instanceof Error ? error.message : String(error)
      this.journalTrouble = `${code}: ${detail}`
      this.tellTrouble('journal.append_failed', code, detail)
      const certain =
        code === 'disk_full' ||
        code === 'overloaded' ||
        code === 'fenced' ||
        code === 'unavailable' ||
        code === 'invalid_argument'
      done(certain ? { kind: 'refused', code, detail } : { kind: 'unknown', detail })
      return
    }
    this.journalTrouble = ''
    this.world.observeAppend((monotonicMs() - startedMs) / 1_000)
    done({ kind: 'durable' })
    this.announce(groups)
  }

  /** While the journal is away everything fails: one line a second of one kind, with how many it stands for. */
  private tellTrouble(event: string, code: string, detail: string): void {
    const told = this.appendTrouble
    const nowMs = monotonicMs()
    if (told.code === code && nowMs - told.atMs < appendTroubleEveryMs) {
      told.more++
      return
    }
    const level = code === 'disk_full' || code === 'corrupt' ? 'error' : 'warn'
    this.world.note(level, event, { code, detail, since_last: told.more + 1 })
    this.appendTrouble = { code, atMs: nowMs, more: 0 }
  }

  /** The writer has just acknowledged what it still may; tell those who listen. */
  private announce(groups: readonly CommitGroup[]): void {
    const events: AcknowledgedEvent[] = []
    for (const group of groups) {
      const confirmed = this.writer.confirmed(group.shard)
      if (confirmed === undefined || confirmed.epoch !== group.epoch || confirmed.offset < group.firstOffset)
        continue
      group.events.forEach((event, i) => {
        events.push({ ...event, shard: group.shard, epoch: group.epoch, offset: group.firstOffset + i })
      })
    }
    if (events.length === 0) return
    this.world.shared.countAcknowledged(events.length)
    this.world.acknowledged(events)
  }

  /** After an unknown commit: nobody else writes our file, so what it holds now is the truth. */
  private async reopen(shard: ShardId, epoch: Epoch): Promise<void> {
    const open = this.opened.get(shard)
    if (open === undefined || open.epoch !== epoch || this.lease !== open.lease) return
    try {
      const [found] = await this.world.journal.seal(open.lease, [{ shard, epoch }])
      const last = found?.last ?? open.firstOffset - 1
      const own: Segment[] =
        found === undefined ? [] : [{ epoch, lease: open.lease, first: open.firstOffset, last }]
      const segments = [...open.sealed, ...own]
      const window = {
        sinceMs: Date.now() - dedupeDefaults.windowMs,
        countMin: dedupeDefaults.idsMin,
        countMax: dedupeDefaults.idsMax,
      }
      const ids = segments.length === 0 ? [] : await this.world.journal.recentIds(shard, segments, window)
      if (this.allowedEpoch(shard) !== epoch || this.opened.get(shard) !== open) return
      this.writer.open(
        shard,
        epoch,
        open.lease,
        last,
        ids.map((r) => ({ event: r, offset: r.offset, atMs: r.atMs })),
      )
      this.publisher.routesChanged()
    } catch (error) {
      this.world.note('error', 'journal.reopen_failed', {
        shard,
        detail: error instanceof Error ? error.message : String(error),
      })
      if (!this.closed) setTimeout(() => void this.reopen(shard, epoch), 500).unref()
    }
  }

  // --- what may be read -----------------------------------------------------------------------------------------------

  /** The log of a shard that is open here, up to the confirmed mark. */
  segments(shard: ShardId): readonly Segment[] | undefined {
    const open = this.opened.get(shard)
    const confirmed = this.writer.confirmed(shard)
    if (open === undefined || confirmed === undefined || confirmed.epoch !== open.epoch) return undefined
    if (confirmed.offset < open.firstOffset) return open.sealed
    return [
      ...open.sealed,
      { epoch: open.epoch, lease: open.lease, first: open.firstOffset, last: confirmed.offset },
    ]
  }

  /** Offset of the last acknowledged event of a shard that is open here. */
  confirmedEnd(shard: ShardId): number | undefined {
    const open = this.opened.get(shard)
    const confirmed = this.writer.confirmed(shard)
    return open === undefined || confirmed?.epoch !== open.epoch ? undefined : confirmed.offset
  }

  openShards(): ShardId[] {
    return [...this.opened.keys()]
  }

  epochOf(shard: ShardId): Epoch | undefined {
    return this.opened.get(shard)?.epoch
  }

  currentLease(): LeaseId | null {
    return this.lease
  }

  route(shard: ShardId): Route {
    const assignment = this.map[shard]
    if (assignment === undefined || assignment.nodeId === null)
      return { kind: 'none', reason: 'the shard has no owner yet' }
    return assignment.nodeId === this.world.nodeId
      ? { kind: 'self' }
      : { kind: 'node', nodeId: assignment.nodeId }
  }

  /** Undefined while nobody serves it. */
  ownerOf(shard: ShardId): { readonly nodeId: NodeId; readonly epoch: Epoch } | undefined {
    const { nodeId, epoch } = this.map[shard] ?? { nodeId: null, epoch: asEpoch(0) }
    return nodeId === null ? undefined : { nodeId, epoch }
  }

  private allowedEpoch(shard: ShardId): Epoch {
    const { shared } = this.world
    return monotonicMs() < shared.leaseDeadlineMs ? shared.epoch(shard) : asEpoch(0)
  }

  private tally(outcomes: readonly EventOutcome[]): void {
    const counts = { accepted: 0, duplicate: 0, rejected: 0 }
    for (const o of outcomes) {
      if (o.status !== 'retry') counts[o.status]++
      if (o.status === 'rejected') this.world.countRejected(o.code)
    }
    for (const status of ['accepted', 'duplicate', 'rejected'] as const)
      if (counts[status] > 0) this.world.count(status, counts[status])
  }

  private wakeAt(atMs: number): void {
    if (atMs >= this.wakeAtMs || this.closed) return
    this.wakeAtMs = atMs
    clearTimeout(this.wakeTimer)
    this.wakeTimer = setTimeout(
      () => {
        this.wakeAtMs = Number.POSITIVE_INFINITY
        this.publisher.run()
      },
      Math.max(1, Math.ceil(atMs - monotonicMs())),
    )
  }
}

/** 16 bytes of SHA-1: ids of one shard within one window do not collide by accident, and nobody gains by making them. */
function digest(text: string): string {
  return createHash('sha1').update(text).digest().toString('latin1', 0, 16)
}
