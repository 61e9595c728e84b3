/**
 * One simulated process: the real node machine, the real writer and publisher, and a shell that carries out their effects against
 * the simulated world. Two threads, as in production: control goes on while main is blocked; a stopped process does neither.
 */

import { HybridClock, hlcToText } from '../core/hlc/hlc.js'
import {
  type Address,
  asBootId,
  asEpoch,
  type Epoch,
  type LeaseId,
  type NodeId,
  type ShardId,
} from '../core/kernel/brand.js'
import { hash32 } from '../core/kernel/hash.js'
import type { Instant } from '../core/kernel/machine.js'
import { Random } from '../core/kernel/random.js'
import type { StoreReply, StoreRequest, WatchBatch } from '../core/kernel/store-types.js'
import { decodeMembership, encodeMembership } from '../core/membership/codec.js'
import type { MembershipMessage } from '../core/membership/messages.js'
import { NodeMachine } from '../core/node/node-machine.js'
import type { NodeEffect, NodeInput, NodeOptions } from '../core/node/node-types.js'
import type { CommitGroup, CommitOutcome, EventOutcome, NewEvent, Route } from '../core/routing/events.js'
import { type ForwardResult, Publisher } from '../core/routing/publisher.js'
import { ShardWriter, writerDefaults } from '../core/routing/shard-writer.js'
import { type Seals, type ShardMap, shardOf } from '../core/sharding/shard-map.js'
import { SimAgents } from './agents.js'
import { AppProcess } from './app.js'
import type { SimCluster } from './cluster.js'

interface OpenShard {
  readonly epoch: Epoch
  readonly lease: LeaseId
  readonly sealed: Seals['segments']
  readonly firstOffset: number
}

const storeTimeoutMs = 1_000
const forwardTimeoutMs = 2_000

export class SimNode {
  readonly id: NodeId
  readonly cluster: SimCluster
  bootCount = 0
  isRunning = false
  pausedUntilMs = 0
  mainBlockedUntilMs = 0
  /** Simulated clock: rate of the monotonic clock, and how far the wall clock is off. */
  clockRate = 1
  wallOffsetMs = 0
  machine!: NodeMachine
  writer!: ShardWriter
  publisher!: Publisher
  hlc!: HybridClock
  kept: readonly Address[] = []
  lastFaultMs = 0
  private hlcCeilingMs = 0
  private controlLateMs = 0
  private leaseDeadlineMs = 0
  private epochs: Epoch[] = []
  private journalLease: LeaseId | null = null
  private commitsUnderWay = 0
  private relinquishLease = false
  private routes: ShardMap = []
  private timerAtMs = Number.POSITIVE_INFINITY
  private isSynced = false
  private readonly opened = new Map<ShardId, OpenShard>()
  private app: AppProcess | undefined
  agents: SimAgents | undefined

  constructor(cluster: SimCluster, id: NodeId) {
    this.cluster = cluster
    this.id = id
  }

  get bootId(): string {
    return `${this.id}#${this.bootCount}`
  }

  get address(): Address {
    return `${this.id}:1`
  }

  get instant(): Instant {
    const t = this.cluster.scheduler.nowMs
    return { nowMs: 1_000 + t * this.clockRate, wallMs: 1_700_000_000_000 + t + this.wallOffsetMs }
  }

  // --- life ----------------------------------------------------------------------------------------------------

  start(options: NodeOptions, keepDisk: boolean): void {
    const { scheduler, shards } = this.cluster
    this.bootCount++
    this.isRunning = true
    this.isSynced = false
    this.pausedUntilMs = 0
    this.mainBlockedUntilMs = 0
    this.leaseDeadlineMs = 0
    this.epochs = new Array(shards).fill(asEpoch(0))
    this.journalLease = null
    this.commitsUnderWay = 0
    this.relinquishLease = false
    this.routes = []
    this.kept = []
    this.opened.clear()
    this.timerAtMs = Number.POSITIVE_INFINITY
    if (!keepDisk) {
      this.hlcCeilingMs = 0
      this.cluster.checkers.diskLost(this.id)
    }
    this.hlc = new HybridClock({ tag: hash32(this.bootId), skewMsMax: 500, ceilingMs: this.hlcCeilingMs })
    this.reserveClock()
    const { address } = this
    this.machine = new NodeMachine(
      {
        ...options,
        nodeId: this.id,
        bootId: asBootId(this.bootId),
        lifeLock: this.bootId,
        addresses: {
          control: address,
          controlStream: `${this.id}:2`,
          peer: `${this.id}:3`,
          http: `${this.id}:4`,
        },
      },
      new Random(scheduler.random.uint32()),
    )
    this.writer = new ShardWriter(
      {
        nowMs: () => this.instant.nowMs,
        wallMs: () => this.instant.wallMs,
        allowedEpoch: (shard) => this.allowedEpoch(shard),
        stamp: () => this.stamp(),
        digest: (text) => text,
        commit: (lease, groups, done) => this.commit(lease, groups, done),
        reopen: () => {},
      },
      { ...writerDefaults, dedupe: { windowMs: 600_000, idsMin: 10_000, idsMax: 50_000 } },
    )
    this.publisher = new Publisher({
      nowMs: () => scheduler.nowMs,
      shardOf: (key) => shardOf(key, shards),
      route: (shard) => this.route(shard),
      acceptHere: (shard, events, settle) => this.acceptHere(shard, events, settle),
      forward: (to, events, timeoutMs, done) =>
        this.forward(to, events, Math.min(timeoutMs, forwardTimeoutMs), done),
      wakeAt: (atMs) =>
        scheduler.at(
          atMs,
          this.onMain(() => this.publisher.run()),
        ),
    })
    this.cluster.store.connect(this.storeClient)
    this.app = this.cluster.app === undefined ? undefined : new AppProcess(this, this.cluster.app)
    this.agents = new SimAgents(this, this.cluster)
    this.step({ type: 'start' })
    this.step({ type: 'offer', offer: { kinds: ['counter'], exec: true } })
    this.listStore()
  }

  /** kill -9. */
  crash(): void {
    if (!this.isRunning) return
    this.isRunning = false
    this.agents?.died()
    this.cluster.store.disconnect(this.storeClient)
    this.cluster.processDied(this)
  }

  pause(forMs: number): void {
    const { scheduler } = this.cluster
    this.pausedUntilMs = Math.max(this.pausedUntilMs, scheduler.nowMs + forMs)
    // Nobody promises which thread the kernel runs first.
    this.controlLateMs = scheduler.random.chance(0.5) ? scheduler.random.between(0, 60) : 0
  }

  blockMain(forMs: number): void {
    const { scheduler } = this.cluster
    this.mainBlockedUntilMs = scheduler.nowMs + forMs
    if (forMs <= 1_000) return
    scheduler.after(
      1_000,
      this.onControl(() => this.step({ type: 'main_stalled', stalled: true })),
    )
    scheduler.after(
      forMs + 50,
      this.onControl(() => this.step({ type: 'main_stalled', stalled: false })),
    )
  }

  /** Runs `fn` on the control thread of this very process: later if it is stopped, never if it is gone. */
  onControl(fn: () => void): () => void {
    return this.onThread(fn, () => this.pausedUntilMs + (this.pausedUntilMs > 0 ? this.controlLateMs : 0))
  }

  onMain(fn: () => void): () => void {
    return this.onThread(fn, () => Math.max(this.pausedUntilMs, this.mainBlockedUntilMs))
  }

  private onThread(fn: () => void, freeAtMs: () => number): () => void {
    const { bootCount } = this
    const { scheduler } = this.cluster
    const run = (): void => {
      if (!this.isRunning || this.bootCount !== bootCount) return
      if (freeAtMs() > scheduler.nowMs) scheduler.at(freeAtMs(), run)
      else fn()
    }
    return run
  }

  // --- control ---------------------------------------------------------------------------------------------------

  step(input: NodeInput): void {
    for (const effect of this.machine.step(this.instant, input)) this.carryOut(effect)
    this.armTimer()
  }

  private armTimer(): void {
    const { scheduler } = this.cluster
    const atMs = Math.max(scheduler.nowMs, (this.machine.nextDeadlineMs() - 1_000) / this.clockRate + 1e-6)
    if (atMs >= this.timerAtMs || atMs === Number.POSITIVE_INFINITY) return
    this.timerAtMs = atMs
    scheduler.at(
      atMs,
      this.onControl(() => {
        if (this.timerAtMs <= scheduler.nowMs) this.timerAtMs = Number.POSITIVE_INFINITY
        this.step({ type: 'deadline' })
      }),
    )
  }

  private readonly storeClient = {
    name: '',
    onBatch: (batch: WatchBatch) =>
      this.onControl(() => this.isSynced && this.step({ type: 'view_batch', batch }))(),
  }

  /** The watch may have missed something: list again. */
  listStore(): void {
    const { store, scheduler } = this.cluster
    this.storeClient.name = this.id
    scheduler.after(
      scheduler.random.between(0.5, 3),
      this.onControl(() => {
        if (!store.isReachable(this.id)) {
          scheduler.after(
            250,
            this.onControl(() => this.listStore()),
          )
          return
        }
        const { kvs, rev } = store.list()
        this.isSynced = true
        this.step({ type: 'view_reset', kvs, rev })
      }),
    )
  }

  private carryOut(effect: NodeEffect): void {
    const { cluster } = this
    const { scheduler } = cluster
    switch (effect.type) {
      case 'datagram':
      case 'stream':
        this.send(effect.type, effect.to, effect.message)
        break
      case 'keep':
        this.kept = effect.addresses
        break
      case 'store':
        this.askStore(effect.tag, effect.request)
        break
      case 'prove_death': {
        const { nodeId, lease, locator } = effect
        const reply = this.onControl(() =>
          this.step({
            type: 'death_proof',
            nodeId,
            lease,
            result: cluster.isBootRunning(locator) ? 'alive' : 'dead',
          }),
        )
        scheduler.after(scheduler.random.between(0.5, 4), reply)
        break
      }
      case 'journal_seal': {
        const { tag, wanted } = effect
        scheduler.after(
          scheduler.random.between(0.5, 4),
          // The journal hangs on the main thread, as in production.
          this.onMain(() => {
            const found = cluster.journal.seal(wanted)
            this.toControl(() => this.step({ type: 'sealed', tag, found, detail: '' }))
          }),
        )
        break
      }
      case 'journal_open':
        this.journalLease = effect.lease
        break
      case 'lease_deadline':
        this.leaseDeadlineMs = effect.deadlineMs
        this.agents?.renewed(effect.deadlineMs)
        break
      case 'agent_start':
        this.toMain(() => this.agents?.start(effect))
        break
      case 'agent_stop':
        this.toMain(() => this.agents?.stop(effect))
        break
      case 'prove_guard': {
        const { lease, locator } = effect
        const proof = this.onControl(() =>
          this.step({
            type: 'guard_proof',
            lease,
            result: cluster.liveGuards.has(locator) ? 'alive' : 'dead',
          }),
        )
        scheduler.after(scheduler.random.between(0.5, 4), proof)
        break
      }
      case 'set_epoch':
        this.epochs[effect.shard] = effect.epoch
        break
      case 'shard_open':
        this.openShard(effect)
        break
      case 'shard_close': {
        const { shard, epoch } = effect
        this.toMain(() =>
          this.writer.close(shard, epoch, () => {
            if (this.opened.get(shard)?.epoch === epoch) this.forget(shard)
            this.toControl(() => this.step({ type: 'shard_closed', shard, epoch }))
          }),
        )
        break
      }
      case 'stop_serving':
        this.epochs.fill(asEpoch(0))
        this.toMain(() => {
          for (const shard of [...this.opened.keys()]) this.forget(shard)
          this.writer.abandonAll(effect.reason)
          this.agents?.stopAll()
        })
        break
      case 'relinquish':
        this.relinquishLease = true
        this.finishRelinquishing()
        break
      case 'routing':
        this.toMain(() => {
          this.routes = effect.map
          this.publisher.routesChanged()
        })
        break
      case 'member_changed':
        cluster.checkers.memberChanged(this, effect)
        scheduler.trace(`${this.id} sees ${effect.nodeId} ${effect.after?.status ?? 'gone'}`)
        break
      case 'feed':
        cluster.history(this.id, effect.event, effect.fields)
        break
      case 'stopped':
      case 'fatal':
        scheduler.trace(`${this.id} ${effect.type}`)
        this.crash()
        break
      case 'die':
        // Whoever runs nodes starts one again that ended by itself.
        scheduler.trace(`${this.id} ${effect.type}`)
        this.crash()
        scheduler.after(300, () => {
          if (!this.isRunning) cluster.startNode(this)
        })
        break
      default:
        break
    }
  }

  private send(kind: 'datagram' | 'stream', to: Address, message: MembershipMessage): void {
    const { network } = this.cluster
    const bytes = encodeMembership(message)
    const target = this.cluster.byAddress(to)
    if (target === undefined) return
    const deliver = (): void => {
      target.onControl(() => {
        const decoded = decodeMembership(bytes)
        if (!decoded.ok) throw new Error(`the codec does not round-trip: ${decoded.detail}`)
        target.step({
          type: 'membership',
          input: {
            type: 'message',
            from: kind === 'stream' ? `${this.id}:2` : this.address,
            message: decoded.message,
            via: kind,
          },
        })
      })()
    }
    network[kind](this.id, target.id, bytes.length + 60, deliver)
  }

  private askStore(tag: string, request: StoreRequest): void {
    this.request(tag, request, (reply) => this.step({ type: 'store_done', tag, reply }))
  }

  /** Answered once, on control: by the store, or by the clock. */
  request(tag: string, request: StoreRequest, done: (reply: StoreReply) => void): void {
    const { scheduler, store } = this.cluster
    let answered = false
    const answer = (reply: StoreReply): void => {
      this.onControl(() => {
        if (answered) return
        answered = true
        done(reply)
      })()
    }
    store.request(this.id, tag, request, answer)
    scheduler.after(storeTimeoutMs, () =>
      answer({ ok: false, code: request.op === 'txn' ? 'outcome_unknown' : 'timeout', detail: 'no reply' }),
    )
  }

  toMain(fn: () => void): void {
    this.cluster.scheduler.after(0.05, this.onMain(fn))
  }

  toControl(fn: () => void): void {
    this.cluster.scheduler.after(0.05, this.onControl(fn))
  }

  finishRelinquishing(): void {
    if (!this.relinquishLease || this.commitsUnderWay > 0 || this.agents?.isQuiet === false) return
    this.relinquishLease = false
    this.journalLease = null
    this.toControl(() => this.step({ type: 'relinquished' }))
  }

  /** May something that rests on this lease act at this moment? */
  mayRun(lease: LeaseId): boolean {
    return this.journalLease === lease && this.instant.nowMs < this.leaseDeadlineMs
  }

  // --- main ------------------------------------------------------------------------------------------------------

  private allowedEpoch(shard: ShardId): Epoch {
    return this.instant.nowMs < this.leaseDeadlineMs ? (this.epochs[shard] as Epoch) : asEpoch(0)
  }

  private openShard(effect: Extract<NodeEffect, { type: 'shard_open' }>): void {
    const { shard, epoch, lease, seals } = effect
    this.cluster.checkers.shardOpened(this, shard, epoch)
    this.toMain(() => {
      const rows = this.cluster.journal.read(shard, seals.segments)
      const last = Math.max(seals.end, this.cluster.journal.lastOffset(lease, shard, epoch))
      this.writer.open(
        shard,
        epoch,
        lease,
        last,
        rows.map((r) => ({ event: r.event, offset: r.offset, atMs: r.event.atMs })),
      )
      const sealed = seals.segments
      this.opened.set(shard, { epoch, lease, sealed, firstOffset: seals.end + 1 })
      this.app?.opened(shard)
    })
  }

  private forget(shard: ShardId): void {
    this.opened.delete(shard)
    this.app?.gone(shard)
  }

  // What the consumers of this process see of its shards.

  openShards(): ShardId[] {
    return [...this.opened.keys()]
  }

  epochOf(shard: ShardId): Epoch | undefined {
    return this.opened.get(shard)?.epoch
  }

  currentLease(): LeaseId | null {
    return this.journalLease
  }

  segments(shard: ShardId): Seals['segments'] | undefined {
    const open = this.opened.get(shard)
    const confirmed = this.writer.confirmed(shard)
    if (open === undefined || confirmed === undefined || confirmed.epoch !== open.epoch) return undefined
    const { epoch, lease, sealed, firstOffset: first } = open
    return confirmed.offset < first ? sealed : [...sealed, { epoch, lease, first, last: confirmed.offset }]
  }

  private route(shard: ShardId): Route {
    const assignment = this.routes[shard]
    if (assignment === undefined || assignment.nodeId === null)
      return { kind: 'none', reason: 'the shard has no owner yet' }
    return assignment.nodeId === this.id ? { kind: 'self' } : { kind: 'node', nodeId: assignment.nodeId }
  }

  acceptHere(
    shard: ShardId,
    events: readonly NewEvent[],
    settle: (index: number, outcome: EventOutcome) => void,
  ): void {
    this.writer.accept(shard, events, (i, outcome) => {
      if (outcome.status === 'accepted')
        this.cluster.checkers.acknowledged(this, shard, this.journalLease, outcome.offset)
      settle(i, outcome)
    })
  }

  private forward(
    to: NodeId,
    events: readonly NewEvent[],
    timeoutMs: number,
    done: (result: ForwardResult) => void,
  ): void {
    const { scheduler, network } = this.cluster
    const target = this.cluster.node(to)
    let settled = false
    const finish = (result: ForwardResult): void => {
      if (settled) return
      settled = true
      this.onMain(() => done(result))()
    }
    scheduler.after(timeoutMs, () => finish({ ok: false, unknown: true, detail: 'no answer' }))
    if (target === undefined || !target.isRunning) {
      scheduler.after(1, () => finish({ ok: false, unknown: false, detail: 'refused' }))
      return
    }
    const receive = target.onMain(() => {
      const outcomes: EventOutcome[] = new Array(events.length)
      let left = events.length
      events.forEach((event, i) => {
        target.acceptHere(shardOf(event.key, this.cluster.shards), [event], (_, outcome) => {
          outcomes[i] = outcome
          if (--left === 0) network.stream(to, this.id, 100, () => finish({ ok: true, outcomes }))
        })
      })
    })
    network.stream(this.id, to, 200, receive)
  }

  private commit(
    lease: LeaseId,
    groups: readonly CommitGroup[],
    done: (outcome: CommitOutcome) => void,
  ): void {
    const { scheduler, journal } = this.cluster
    if (this.journalLease !== lease) {
      scheduler.after(
        0.1,
        this.onMain(() => done({ kind: 'refused', code: 'fenced', detail: 'the lease is not current' })),
      )
      return
    }
    this.commitsUnderWay++
    const tornWrite = this.cluster.tornWriteRate > 0 && scheduler.random.chance(this.cluster.tornWriteRate)
    scheduler.after(
      scheduler.random.between(0.2, 1.5),
      this.onControl(() => {
        if (!tornWrite) journal.write(lease, groups)
        scheduler.after(
          scheduler.random.between(0.2, 2),
          this.onControl(() => {
            if (!tornWrite) journal.sync(lease)
            this.commitsUnderWay--
            this.toMain(() =>
              done(
                tornWrite
                  ? { kind: 'refused', code: 'disk_full', detail: 'short write' }
                  : { kind: 'durable' },
              ),
            )
            this.toMain(() => {
              for (const { shard } of groups) this.app?.acknowledged(shard)
            })
            this.finishRelinquishing()
          }),
        )
      }),
    )
  }

  stamp(): string {
    this.reserveClock()
    const text = hlcToText(this.hlc.now(this.instant.wallMs))
    this.cluster.checkers.stamped(this, text)
    return text
  }

  private reserveClock(): void {
    const wanted = this.hlc.ceilingWanted(this.instant.wallMs)
    if (wanted === undefined) return
    this.hlcCeilingMs = wanted
    this.hlc.raiseCeiling(wanted)
  }

  /** Where an event with this key is accepted right now, for the checkers. */
  ownsOpen(shard: ShardId): boolean {
    return this.isRunning && this.writer.confirmed(shard) !== undefined
  }
}
