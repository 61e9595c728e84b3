/**
 * A stream that is processed, on one node: the shards that it owns, its own processors, and those of other nodes that help it. Watches the load and adds or
 * retires helpers. What is given to whom is for the dealers to say.
 */
import { randomBytes } from 'node:crypto'
import type { ShardId } from '../../core/kernel/brand.js'
import { asEpoch, type NodeId } from '../../core/kernel/brand.js'
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import type { Batch } from '../../core/processing/dealer.js'
import { LoadMonitor } from '../../core/processing/load-monitor.js'
import { viewOf } from '../event-view.js'
import { pause } from '../pause.js'
import type { AnyProcessor, ProcessOptions, SpawnRef, StreamLoad } from './api-types.js'
import { carryOutBatch } from './batch-work.js'
import { type BatchName, type HelpFrame, packBatch } from './frames.js'
import type { Handle } from './handle.js'
import { type End, isOverForCertain } from './outcome.js'
import { type DealtEvent, ShardWork, type ShardWorld } from './shard-work.js'

export interface OwnerWorld extends ShardWorld {
  readonly nodeId: NodeId
  readonly bootId: string
  /** Unique in this process. */
  nextBatchId(): number
  pickHelper(processor: string, isWanted: (nodeId: NodeId) => boolean): NodeId | undefined
  startHelper(nodeId: NodeId, processor: string, frame: HelpFrame): Promise<Handle>
  monitor(ref: SpawnRef, onEnd: (end: End) => void): () => void
  /** What owners of that group on other nodes have waiting. */
  waitingElsewhere(group: string, nodeId: NodeId): number
  tellLoad(group: string, waiting: number, processors: number): void
  forgetLoad(group: string): void
}

export interface StreamTask {
  readonly stream: string
  readonly group: string
  readonly definition: AnyProcessor
  readonly batchMax: number
  readonly concurrency: number
  readonly isOrdered: boolean
  readonly leaseMs: number
  readonly deadlineMs: number
  readonly lookEveryMs: number
  readonly threshold: number
  readonly processorsMax: number
}

const batchBytesMax = 1_048_576
const retryMinMs = 100
const retryMaxMs = 10_000
const parkedMax = 1_000
/** Another node's own backlog must be so much smaller than ours before it is asked. */
const lessLoadedShare = 0.5

interface Helper {
  readonly handle: Handle
  isRetiring: boolean
}

interface Parked {
  readonly run: string
  readonly eventsMax: number
  readonly sinceMs: number
  readonly timer: NodeJS.Timeout
  readonly answer: (body: Uint8Array | Error) => void
}

export class StreamOwner {
  readonly task: StreamTask
  private readonly world: OwnerWorld
  private readonly self: SpawnRef
  private readonly works = new Map<ShardId, ShardWork>()
  private readonly helpers = new Map<string, Helper>()
  private readonly parked = new Set<Parked>()
  private readonly stopping = new AbortController()
  private readonly slots: Promise<void>[] = []
  private readonly monitor: LoadMonitor
  private readonly looker: NodeJS.Timeout
  private timer: NodeJS.Timeout | undefined
  private timerAtMs = Number.POSITIVE_INFINITY
  private idle = new Set<() => void>()
  private cursor = 0
  private asking: Promise<ReadonlyMap<ShardId, number>> | undefined
  private lookedAtMs = performance.now()
  private isLooking = false
  private processed = 0
  private processedByHelpers = 0
  private refusedResults = 0

  constructor(world: OwnerWorld, task: StreamTask) {
    this.world = world
    this.task = task
    this.self = {
      id: `${randomBytes(8).toString('hex')}@${world.nodeId}`,
      name: task.definition.processor,
      nodeId: world.nodeId,
      bootId: world.bootId,
    }
    this.monitor = new LoadMonitor(task)
    for (const shard of world.plane.openShards()) this.opened(shard)
    for (let i = 0; i < task.concurrency; i++) this.slots.push(this.runSlot())
    this.looker = setInterval(() => void this.look(), task.lookEveryMs)
    this.looker.unref()
  }

  // --- shards -------------------------------------------------------------------------------------------------------

  opened(shard: ShardId): void {
    if (this.stopping.signal.aborted) return
    const { stream, group } = this.task
    const before = this.works.get(shard)
    before?.abort.abort()
    const epoch = this.world.plane.epochOf(shard)
    if (epoch === undefined) return
    const work = new ShardWork(this.world, { stream, group, shard, epoch }, () => this.feed())
    this.works.set(shard, work)
    const options = { ...this.task, batchBytesMax, retryMinMs, retryMaxMs }
    work.done = (before?.done ?? Promise.resolve()).then(() =>
      work.run(
        options,
        () => this.world.nextBatchId(),
        () => this.savedPosition(shard),
      ),
    )
  }

  gone(shard: ShardId): void {
    this.works.get(shard)?.abort.abort()
    this.works.delete(shard)
  }

  acknowledged(shard: ShardId): void {
    this.works.get(shard)?.wake()
  }

  /** Shards that come at the same time are asked for together. */
  private async savedPosition(shard: ShardId): Promise<number> {
    this.asking ??= Promise.resolve().then(() => {
      this.asking = undefined
      return this.world.journal.readPositions(this.task.group, [...this.works.keys()])
    })
    return (await this.asking).get(shard) ?? 0
  }

  // --- giving out ---------------------------------------------------------------------------------------------------

  /** From the shards in turn, so that none has to wait for another. */
  private next(
    processor: string,
    eventsMax: number,
  ): { work: ShardWork; batch: Batch<DealtEvent> } | undefined {
    const works = [...this.works.values()]
    const nowMs = performance.now()
    for (let i = 0; i < works.length; i++) {
      const work = works[(this.cursor + i) % works.length] as ShardWork
      if (work.dealer === undefined || work.dealer.waiting === 0 || !work.isOurs) continue
      // What this very process has, it has for as long as it is at it: it cannot stand still without its dealer.
      const leaseMs = processor === this.self.id ? Number.POSITIVE_INFINITY : this.task.leaseMs
      const batch = work.dealer.take(nowMs, processor, eventsMax, leaseMs)
      if (batch === undefined) continue
      this.cursor = (this.cursor + i + 1) % works.length
      this.armTimer()
      return { work, batch }
    }
    this.armTimer()
    return undefined
  }

  /** Something waits that did not before: those who want something are served, the node's own processors first. */
  private feed(): void {
    const idle = [...this.idle]
    this.idle.clear()
    for (const wake of idle) wake()
    for (const parked of [...this.parked]) {
      const found = this.next(parked.run, parked.eventsMax)
      if (found === undefined) break
      this.unpark(parked)
      parked.answer(this.lentBody(found, parked.sinceMs))
    }
  }

  private unpark(parked: Parked): void {
    clearTimeout(parked.timer)
    this.parked.delete(parked)
  }

  /** When something lent is over, or something may be tried again. */
  private armTimer(): void {
    let atMs = Number.POSITIVE_INFINITY
    for (const { dealer } of this.works.values()) atMs = Math.min(atMs, dealer?.nextDeadlineMs() ?? atMs)
    if (atMs === this.timerAtMs || this.stopping.signal.aborted) return
    clearTimeout(this.timer)
    this.timerAtMs = atMs
    if (atMs === Number.POSITIVE_INFINITY) return
    this.timer = setTimeout(
      () => {
        this.timerAtMs = Number.POSITIVE_INFINITY
        for (const work of this.works.values())
          for (const { id, processor } of work.dealer?.expire(performance.now()) ?? [])
            this.world.note('warn', 'processing.batch_expired', {
              group: this.task.group,
              shard: work.shard,
              batch: id,
              run: processor,
            })
        this.armTimer()
        this.feed()
      },
      Math.max(1, Math.ceil(atMs - performance.now())),
    )
  }

  // --- this node's own processors -----------------------------------------------------------------------------------

  private async runSlot(): Promise<void> {
    const { signal } = this.stopping
    while (!signal.aborted) {
      const found = this.next(this.self.id, this.task.batchMax)
      if (found !== undefined) await this.workHere(found.work, found.batch)
      else
        await new Promise<void>((resolve) => {
          this.idle.add(resolve)
          if (signal.aborted) resolve()
        })
    }
  }

  private async workHere(work: ShardWork, batch: Batch<DealtEvent>): Promise<void> {
    const { stream, group, definition, deadlineMs } = this.task
    const { shard, epoch } = work
    let isHeld = true
    const { error, unsettled } = await carryOutBatch(
      {
        definition,
        self: this.self,
        share: {
          ...{ stream, group, shard, epoch, batch: batch.id, failures: batch.failures },
          isHeld: () => isHeld && work.isOurs,
        },
        events: batch.events.map((e) => viewOf(e.event)),
        deadlineMs,
      },
      [work.abort.signal, this.stopping.signal],
    )
    isHeld = false
    if (work.isOurs) this.settle(work, this.self.id, batch.id, batch.events.length, error)
    // Its code may go on although it was told to stop: until then nothing else begins in its place.
    if (unsettled !== undefined) await Promise.race([unsettled, aborted(this.stopping.signal)])
  }

  /** False: refused. */
  private settle(
    work: ShardWork,
    processor: string,
    id: number,
    events: number,
    error: SkeinError | { readonly message: string } | undefined,
  ): boolean {
    const { dealer } = work
    const nowMs = performance.now()
    if (dealer === undefined) return false
    const isTaken =
      error === undefined ? dealer.acknowledge(nowMs, processor, id) : dealer.refuse(nowMs, processor, id)
    if (!isTaken) {
      this.refusedResults++
      return false
    }
    if (error === undefined) {
      this.processed += events
      if (processor !== this.self.id) this.processedByHelpers += events
      work.wake(true)
    } else
      this.world.note('warn', 'processing.batch_failed', {
        group: this.task.group,
        shard: work.shard,
        batch: id,
        run: processor,
        detail: error.message,
      })
    // A key is free again, and where it failed a pause has begun.
    this.armTimer()
    this.feed()
    return true
  }

  // --- processors elsewhere -----------------------------------------------------------------------------------------

  /** Throws `fenced` for a run that is no helper, or is to be one no longer. */
  private check(run: string, from: { readonly nodeId: NodeId; readonly bootId: string }): Helper {
    const helper = this.helpers.get(run)
    if (helper === undefined || helper.handle.nodeId !== from.nodeId || helper.handle.bootId !== from.bootId)
      throw new SkeinError('fenced', `${run} helps ${this.world.nodeId} with "${this.task.group}" no more`)
    return helper
  }

  take(
    ask: { readonly run: string; readonly eventsMax: number; readonly waitMs: number },
    from: { readonly nodeId: NodeId; readonly bootId: string },
    answer: (body: Uint8Array | Error) => void,
  ): void {
    if (this.check(ask.run, from).isRetiring)
      throw new SkeinError('fenced', `${ask.run} is not needed any more`)
    const sinceMs = performance.now()
    const found = this.next(ask.run, ask.eventsMax)
    if (found !== undefined) {
      answer(this.lentBody(found, sinceMs))
      return
    }
    if (this.parked.size >= parkedMax) {
      answer(packNothing)
      return
    }
    const parked: Parked = {
      run: ask.run,
      eventsMax: ask.eventsMax,
      sinceMs,
      answer,
      timer: setTimeout(() => {
        this.parked.delete(parked)
        answer(packNothing)
      }, ask.waitMs),
    }
    this.parked.add(parked)
  }

  private lentBody(found: { work: ShardWork; batch: Batch<DealtEvent> }, sinceMs: number): Uint8Array {
    const { work, batch } = found
    return packBatch({
      name: [work.shard, work.epoch, batch.id],
      leaseMs: this.task.leaseMs,
      keptMs: Math.max(0, performance.now() - sinceMs),
      failures: batch.failures,
      events: batch.events.map(({ event: e }) => [
        e.id,
        e.key,
        e.type,
        e.payload,
        e.offset,
        e.hlc,
        e.atMs,
        e.epoch,
      ]),
    })
  }

  settleFor(
    run: string,
    [shard, epoch, id]: BatchName,
    error: { readonly message: string } | undefined,
    from: { readonly nodeId: NodeId; readonly bootId: string },
  ): boolean {
    this.check(run, from)
    const work = this.works.get(shard)
    if (work === undefined || work.epoch !== asEpoch(epoch) || !work.isOurs) {
      this.refusedResults++
      return false
    }
    const events = work.dealer?.sizeOf(id) ?? 0
    return this.settle(work, run, id, events, error)
  }

  renewFor(
    run: string,
    batches: readonly BatchName[],
    from: { readonly nodeId: NodeId; readonly bootId: string },
  ): boolean[] {
    this.check(run, from)
    const nowMs = performance.now()
    return batches.map(([shard, epoch, id]) => {
      const work = this.works.get(shard)
      if (work === undefined || work.epoch !== asEpoch(epoch) || !work.isOurs) return false
      return work.dealer?.renew(nowMs, run, id) ?? false
    })
  }

  // --- load ---------------------------------------------------------------------------------------------------------

  load(): StreamLoad {
    const { stream, group, definition } = this.task
    let waiting = 0
    let lent = 0
    for (const { dealer } of this.works.values()) {
      waiting += dealer?.waiting ?? 0
      lent += dealer === undefined ? 0 : dealer.held.events - dealer.waiting
    }
    return {
      stream,
      group,
      processor: definition.processor,
      nodeId: this.world.nodeId,
      shards: this.works.size,
      waiting,
      lent,
      processors: 1 + this.helpers.size,
      helpers: [...this.helpers.values()].map((h) => h.handle.nodeId),
      processed: this.processed,
      processedByHelpers: this.processedByHelpers,
      refusedResults: this.refusedResults,
    }
  }

  private async look(): Promise<void> {
    const nowMs = performance.now()
    const passedMs = Math.max(1, nowMs - this.lookedAtMs)
    this.lookedAtMs = nowMs
    let busyMs = 0
    for (const { dealer } of this.works.values()) busyMs += dealer?.takeBusyMs(nowMs) ?? 0
    const { waiting } = this.load()
    const active = [...this.helpers.values()].filter((h) => !h.isRetiring)
    const processors = 1 + active.length
    const busyShare = Math.min(1, busyMs / (passedMs * processors * this.task.concurrency))
    this.world.tellLoad(this.task.group, waiting, processors)
    if (this.isLooking) return
    this.isLooking = true
    try {
      const wanted = this.monitor.look({ waiting, processors, busyShare })
      if (wanted > processors) await this.add(wanted - processors, waiting)
      else if (wanted < processors) {
        const last = active.at(-1)
        if (last !== undefined) this.retire(last, waiting)
      }
    } finally {
      this.isLooking = false
    }
  }

  private async add(count: number, waiting: number): Promise<void> {
    const { stream, group, definition, concurrency, batchMax, deadlineMs } = this.task
    const refused = new Set<NodeId>()
    for (let i = 0; i < count && !this.stopping.signal.aborted; ) {
      const waitingBelow = Math.ceil(waiting * lessLoadedShare)
      const helping = new Set([...this.helpers.values()].map((h) => h.handle.nodeId))
      const nodeId = this.world.pickHelper(
        definition.processor,
        (id) => !helping.has(id) && !refused.has(id) && this.world.waitingElsewhere(group, id) < waitingBelow,
      )
      if (nodeId === undefined) return
      try {
        const frame: HelpFrame = { stream, group, concurrency, batchMax, deadlineMs, waitingBelow }
        const handle = await this.world.startHelper(nodeId, definition.processor, frame)
        this.added(handle, waiting)
        i++
      } catch (error) {
        refused.add(nodeId)
        this.world.note('warn', 'processing.helper_refused', {
          group,
          node: nodeId,
          code: isSkeinError(error) ? error.code : 'internal',
          detail: error instanceof Error ? error.message : String(error),
        })
      }
    }
  }

  private added(handle: Handle, waiting: number): void {
    const { group } = this.task
    const { id, nodeId } = handle
    this.helpers.set(id, { handle, isRetiring: false })
    this.world.note('info', 'processing.helper_added', { group, node: nodeId, run: id, waiting })
    this.world.monitor(handle.ref, (end) => {
      this.helpers.delete(id)
      this.dismiss(id)
      // Only the word of its own node is proof that its code has come to rest; else its batches' time must run out.
      const isCertain = isOverForCertain(end)
      let events = 0
      for (const { dealer } of this.works.values())
        if (isCertain) events += dealer?.release(performance.now(), id) ?? 0
      this.world.note('info', 'processing.helper_gone', {
        group,
        node: nodeId,
        run: id,
        end: end.kind === 'outcome' ? end.outcome.kind : end.kind === 'node' ? end.reason : end.kind,
        given_back: events,
      })
      this.armTimer()
      this.feed()
    })
    if (this.stopping.signal.aborted) void handle.kill('the stream is processed no more').catch(() => {})
  }

  /** It gets nothing more; what it has it does, and ends. */
  private retire(helper: Helper, waiting: number): void {
    helper.isRetiring = true
    const { id, nodeId } = helper.handle
    this.world.note('info', 'processing.helper_retired', {
      group: this.task.group,
      node: nodeId,
      run: id,
      waiting,
    })
    this.dismiss(id)
  }

  private dismiss(id: string): void {
    for (const parked of [...this.parked])
      if (parked.run === id) {
        this.unpark(parked)
        parked.answer(new SkeinError('fenced', `${id} is not needed any more`))
      }
  }

  // --- end ----------------------------------------------------------------------------------------------------------

  /** Tells all to stop and waits until the code of this node has, at most 5 s. */
  async stop(): Promise<void> {
    if (this.stopping.signal.aborted) return
    clearInterval(this.looker)
    clearTimeout(this.timer)
    this.stopping.abort(new SkeinError('aborted', 'the stream is processed no more'))
    for (const wake of this.idle) wake()
    for (const parked of [...this.parked]) {
      this.unpark(parked)
      parked.answer(new SkeinError('fenced', `"${this.task.group}" is processed here no more`))
    }
    for (const { handle } of this.helpers.values())
      void handle.kill('the stream is processed no more').catch(() => {})
    await Promise.race([Promise.all(this.slots), pause(5_000)])
    await Promise.all([...this.works.values()].map((work) => work.finish()))
    this.works.clear()
    this.world.forgetLoad(this.task.group)
  }
}

const packNothing = new Uint8Array([0xc0])

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}

/** Throws `invalid_argument`. */
export function streamTaskOf(
  stream: string,
  definition: AnyProcessor,
  options: ProcessOptions,
  check: (what: string, value: unknown, min: number, max: number) => void,
): StreamTask {
  const { group = definition.processor, order = 'key', load = {} } = options
  if (typeof stream !== 'string' || stream === '')
    throw new SkeinError('invalid_argument', 'process: a stream expected', { details: { field: 'stream' } })
  if (order !== 'key' && order !== 'none')
    throw new SkeinError('invalid_argument', `order: "key" or "none" expected, got "${String(order)}"`)
  const { batchMax = 20, concurrency = 1, leaseMs = 5_000, deadlineMs = 60_000 } = options
  const { everyMs = 5_000, threshold = 100, processorsMax = 8 } = load
  check('batchMax', batchMax, 1, 1_000)
  check('concurrency', concurrency, 1, 100)
  check('leaseMs', leaseMs, 500, 60_000)
  check('deadlineMs', deadlineMs, 10, 86_400_000)
  check('load.everyMs', everyMs, 100, 600_000)
  check('load.threshold', threshold, 1, 1_000_000)
  check('load.processorsMax', processorsMax, 1, 1_000)
  return {
    stream,
    group: `${stream}/${group}`,
    definition,
    batchMax,
    concurrency,
    isOrdered: order === 'key',
    leaseMs,
    deadlineMs,
    lookEveryMs: everyMs,
    threshold,
    processorsMax,
  }
}
