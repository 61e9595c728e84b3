/** Processors on one node, for its program and for other nodes: joins runs, watches, spawner and streams into the public API. */
import type { Candidate } from '../../core/balancing/candidate.js'
import type { NodeId, ShardId } from '../../core/kernel/brand.js'
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import type { Strategy } from '../../core/kernel/strategies.js'
import type { Fabric } from '../fabric.js'
import { pack, unpack } from '../mesh-frames.js'
import type { RegistryLink } from '../registry-link.js'
import type {
  AnyProcessor,
  EndedRun,
  Link,
  ProcessOptions,
  ProcessorFn,
  ProcessorOptions,
  ProcessorsApi,
  ProcessorsView,
  RunView,
  SpawnApi,
  SpawnHandle,
  SpawnRef,
  StreamLoad,
} from './api-types.js'
import { defineProcessor } from './definition.js'
import * as frames from './frames.js'
import { Handle } from './handle.js'
import { Helper } from './helper.js'
import { outcomeOf, reasonOf } from './outcome.js'
import { endedRun, Runs } from './runs.js'
import type { ShardWorld } from './shard-work.js'
import { checkNumber, Spawner } from './spawner.js'
import { StreamOwner, streamTaskOf } from './stream-owner.js'
import { Watches } from './watches.js'

const { processingFrames } = frames
const askTimeoutMs = 2_000
const killTimeoutMs = 5_000
const showWaitMsMax = 60_000
const loadEveryMs = 200

/** Rows of the registry: processors that a node has, how many it runs, what waits in the streams that it owns a part of. */
const processorKind = 'processor'
const loadKind = 'processor_load'
const streamKind = 'stream_load'

export interface ProcessingWorld extends ShardWorld {
  readonly fabric: Fabric
  readonly rows: RegistryLink
  readonly runningMax: number
  candidates(): readonly Candidate[]
  strategy(): Strategy
  /** As membership last said. */
  hasLeft(nodeId: NodeId, bootId: string): boolean
  /** Under which a shard is assigned, as far as this node has heard. */
  epochOfShard(shard: ShardId): number
}

/** What is here now, and counts since the start. */
export interface ProcessingFigures {
  readonly running: number
  readonly runningMax: number
  readonly ends: Readonly<Record<'finished' | 'failed' | 'killed' | 'left', number>>
  readonly streams: readonly StreamLoad[]
  /** Events of the shards of this node. */
  readonly processed: number
  readonly processedByHelpers: number
}

type From = { readonly nodeId: NodeId; readonly bootId: string }

/** Hears of shards that this node opens and loses, and of events acknowledged there. */
export interface ShardListener {
  opened(shard: ShardId): void
  gone(shard: ShardId): void
  acknowledged(shard: ShardId): void
  stop(): Promise<void>
}

export class Processing implements ShardListener {
  readonly processors: ProcessorsApi
  private readonly world: ProcessingWorld
  private readonly runs: Runs
  private readonly watches: Watches
  private readonly spawner: Spawner
  private readonly owners = new Map<string, StreamOwner>()
  private readonly self: From
  private loadTimer: NodeJS.Timeout | undefined
  private loadTold = 0
  /** By streams that are processed here no more. */
  private processedBefore = 0
  private processedByHelpersBefore = 0
  private batchIds = 0

  constructor(world: ProcessingWorld) {
    this.world = world
    const { fabric } = world
    const { nodeId, bootId } = fabric
    this.self = { nodeId, bootId }
    const bootOf = (id: NodeId): string | undefined => fabric.peer(id)?.bootId
    const request: Fabric['request'] = (id, type, body, options) => fabric.request(id, type, body, options)
    this.watches = new Watches({
      nodeId,
      bootId,
      bootOf,
      hasLeft: world.hasLeft,
      watchHere: (id, onEnd) => this.runs.watchHere(id, onEnd),
      request,
      onTrouble: (error) => world.note('error', 'monitor.failed', { detail: String(error) }),
    })
    this.runs = new Runs({
      nodeId,
      bootId,
      runningMax: world.runningMax,
      bootOf,
      request,
      watch: (run, onEnd) => this.watches.watch(run, onEnd),
      help: (definition, frame, self, owner, signal) =>
        new Helper(
          { request, epochOf: world.epochOfShard },
          { definition, frame, self, owner, signal },
        ).run(),
      linkThere: (run, other) => this.linkAt(run, other),
      ownWaiting: (group) => this.owners.get(group)?.load().waiting ?? 0,
      loadChanged: () => this.loadChanged(),
      log: fabric.log,
    })
    this.spawner = new Spawner({
      nodeId,
      bootId,
      zone: fabric.zone,
      region: fabric.region,
      bootOf,
      offered: (name) =>
        world.rows.registry
          .rows(processorKind, name)
          .map((row) => ({ nodeId: row.nodeId, isIdempotent: row.value === true })),
      load: (id) => this.loadOf(id),
      candidates: world.candidates,
      strategy: world.strategy,
      request,
      startHere: (frame) => this.runs.start(frame, this.self),
      watch: (ref, onEnd, options) => this.watches.watch(ref, onEnd, options),
      started: (ref) => this.watches.started(ref),
      kill: (ref, reason) => this.killAt(ref, reason),
    })
    this.processors = {
      register: <A, R>(
        of: AnyProcessor | string,
        run?: ProcessorFn<A, R>,
        options?: ProcessorOptions,
      ): (() => void) =>
        this.register(
          typeof of === 'string' ? defineProcessor(of, run as ProcessorFn<A, R>, options ?? {}) : of,
        ),
      list: () => this.list(),
      where: (name) => world.rows.registry.rows(processorKind, name).map(({ nodeId }) => nodeId),
      show: (id, options) => this.show(id, options?.waitMs ?? 0),
      kill: (id, reason) => this.kill(id, reason ?? 'killed'),
      handle: <R>(ref: SpawnRef) => this.handle<R>(ref),
      process: (stream, processor, options) => this.process(stream, processor, options ?? {}),
    }
    this.handleFrames()
    fabric.onPeers(() => this.watches.peersChanged())
    this.loadChanged()
  }

  // --- API ----------------------------------------------------------------------------------------------------------

  readonly spawn: SpawnApi['spawn'] = async (
    of: AnyProcessor | string,
    args?: unknown,
    options: Parameters<SpawnApi['spawn']>[2] = {},
  ): Promise<SpawnHandle<never>> => {
    const name = typeof of === 'string' ? of : of.processor
    return (await this.spawner.spawn(name, args, options)) as unknown as SpawnHandle<never>
  }

  readonly monitor: SpawnApi['monitor'] = (run, onDown) => {
    const ref = refOf(run)
    return this.watches.watch(ref, (end) => {
      const reason = reasonOf(end)
      const outcome = end.kind === 'outcome' ? end.outcome : undefined
      const error = outcome?.kind === 'failed' ? outcome.error : undefined
      const detail = outcome?.kind === 'killed' ? outcome.reason : (error?.message ?? reason)
      onDown({ ref, reason, detail, ...(error === undefined ? {} : { error }) })
    })
  }

  readonly link: SpawnApi['link'] = async (run): Promise<Link> => {
    const ref = refOf(run)
    const gone = new AbortController()
    const unlink = this.watches.watch(ref, (end) => {
      const reason = reasonOf(end)
      if (reason !== 'finished')
        gone.abort(
          new SkeinError('aborted', `"${ref.name}" is down: ${reason}`, { details: { run: ref.id, reason } }),
        )
    })
    try {
      await this.linkAt(ref, { id: '', name: '', ...this.self })
    } catch (error) {
      // Its end is told by the watch, if it has one.
      if (!isSkeinError(error) || error.code === 'invalid_argument') {
        unlink()
        throw error
      }
    }
    return { signal: gone.signal, unlink }
  }

  private register(definition: AnyProcessor): () => void {
    const { processor: name } = definition
    const known = this.runs.definitions.get(name)
    if (known === definition) return () => this.unregister(definition)
    if (known !== undefined)
      throw new SkeinError('conflict', `processor "${name}" is registered on this node already`)
    // Checks what did not come through `defineProcessor`.
    defineProcessor(name, definition.run, definition)
    this.world.rows.put(processorKind, name, definition.isIdempotent === true)
    this.runs.definitions.set(name, definition)
    return () => this.unregister(definition)
  }

  private unregister(definition: AnyProcessor): void {
    const { processor: name } = definition
    if (this.runs.definitions.get(name) !== definition) return
    this.runs.definitions.delete(name)
    this.world.rows.delete(processorKind, name)
  }

  private handle<R>(ref: SpawnRef): SpawnHandle<R> {
    const handle = new Handle<R>(refOf(ref), (of, reason) => this.killAt(of, reason))
    this.watches.watch(handle.ref, (end) => handle.ended(end), { wantsResult: true })
    return handle
  }

  private async list(): Promise<readonly ProcessorsView[]> {
    const others = this.world.fabric.peers.map(async ({ nodeId }): Promise<ProcessorsView> => {
      try {
        const body = await this.world.fabric.request(nodeId, processingFrames.look, pack(['list']), {
          timeoutMs: askTimeoutMs,
        })
        return unpack(body) as ProcessorsView
      } catch (error) {
        const { runningMax } = this.loadOf(nodeId)
        const said = error instanceof Error ? error.message : String(error)
        return { nodeId, error: said, runningMax, registered: [], running: [], streams: [] }
      }
    })
    const all = await Promise.all([this.listHere(), ...others])
    return all.sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1))
  }

  private listHere(): ProcessorsView {
    return {
      nodeId: this.self.nodeId,
      runningMax: this.world.runningMax,
      registered: [...this.runs.definitions.values()].map((d) => ({
        name: d.processor,
        isIdempotent: d.isIdempotent === true,
      })),
      running: this.runs.list(),
      streams: [...this.owners.values()].map((o) => o.load()),
    }
  }

  private async show(id: string, waitMs: number): Promise<RunView | EndedRun> {
    checkNumber('waitMs', waitMs, 0, showWaitMsMax)
    const nodeId = nodeOf(id)
    if (nodeId === this.self.nodeId) {
      const found = await this.runs.show(id, waitMs)
      if (found === undefined) throw noRun(id)
      return found
    }
    if (!this.world.candidates().some((c) => c.nodeId === nodeId)) throw noRun(id)
    const body = await this.world.fabric.request(nodeId, processingFrames.look, pack(['run', id, waitMs]), {
      timeoutMs: askTimeoutMs + waitMs,
    })
    const [kind, ref, rest] = unpack(body) as [number, SpawnRef, unknown]
    return kind === 0 ? (rest as RunView) : endedRun(ref, outcomeOf(rest))
  }

  private async kill(id: string, reason: string): Promise<boolean> {
    const nodeId = nodeOf(id)
    const bootId = nodeId === this.self.nodeId ? this.self.bootId : this.world.fabric.peer(nodeId)?.bootId
    if (bootId === undefined) throw noRun(id)
    return this.killAt({ id, name: '', nodeId, bootId }, reason)
  }

  private async killAt(ref: SpawnRef, reason: string): Promise<boolean> {
    const text = reason.slice(0, 1_000)
    if (ref.nodeId === this.self.nodeId) {
      const done = ref.bootId === this.self.bootId ? this.runs.kill(ref.id, text) : undefined
      if (done === undefined) throw noRun(ref.id)
      return done
    }
    const body = pack([ref.bootId, ref.id, text])
    const options = { timeoutMs: killTimeoutMs }
    return unpack(await this.world.fabric.request(ref.nodeId, processingFrames.kill, body, options)) === true
  }

  private async linkAt(run: SpawnRef, other: SpawnRef): Promise<void> {
    if (run.nodeId === this.self.nodeId) {
      if (run.bootId === this.self.bootId) this.runs.link(run.id, refOf(other))
      return
    }
    const body = pack([run.bootId, run.id, frames.packRef(other)])
    await this.world.fabric.request(run.nodeId, processingFrames.link, body, { timeoutMs: killTimeoutMs })
  }

  // --- streams ------------------------------------------------------------------------------------------------------

  private process(
    stream: string,
    of: string | AnyProcessor,
    options: ProcessOptions,
  ): { stop(): Promise<void> } {
    const definition = typeof of === 'string' ? this.runs.definitions.get(of) : of
    if (definition === undefined)
      throw new SkeinError('not_found', `this node has no processor "${String(of)}": register it first`)
    const task = streamTaskOf(stream, definition, options, checkNumber)
    if (this.owners.has(task.group))
      throw new SkeinError('conflict', `group "${task.group}" is processed on this node already`)
    this.register(definition)
    const { world, spawner } = this
    const owner = new StreamOwner(
      {
        ...this.self,
        plane: world.plane,
        journal: world.journal,
        pause: world.pause,
        note: world.note,
        nextBatchId: () => ++this.batchIds,
        pickHelper: (name, isWanted) => spawner.pickHelper(name, isWanted),
        startHelper: (nodeId, name, frame) => spawner.help(nodeId, name, frame),
        monitor: (ref, onEnd) => this.watches.watch(ref, onEnd),
        waitingElsewhere: (group, nodeId) => this.waitingAt(group, nodeId),
        tellLoad: (group, waiting, processors) => this.tellStream(group, waiting, processors),
        forgetLoad: (group) => world.rows.delete(streamKind, group),
      },
      task,
    )
    this.owners.set(task.group, owner)
    return {
      stop: async () => {
        const isOurs = this.owners.get(task.group) === owner
        if (isOurs) this.owners.delete(task.group)
        await owner.stop()
        if (isOurs) this.retire(owner)
      },
    }
  }

  private waitingAt(group: string, nodeId: NodeId): number {
    const row = this.world.rows.registry.rows(streamKind, group).find((r) => r.nodeId === nodeId)
    const waiting = Array.isArray(row?.value) ? (row.value[0] as unknown) : 0
    return typeof waiting === 'number' ? waiting : 0
  }

  private tellStream(group: string, waiting: number, processors: number): void {
    const before = this.world.rows.registry.ownRow(streamKind, group)?.value as number[] | undefined
    if (before?.[0] !== waiting || before[1] !== processors)
      this.world.rows.put(streamKind, group, [waiting, processors])
  }

  opened(shard: ShardId): void {
    for (const owner of this.owners.values()) owner.opened(shard)
  }

  gone(shard: ShardId): void {
    for (const owner of this.owners.values()) owner.gone(shard)
  }

  acknowledged(shard: ShardId): void {
    for (const owner of this.owners.values()) owner.acknowledged(shard)
  }

  // --- load ---------------------------------------------------------------------------------------------------------

  private loadOf(nodeId: NodeId): { running: number; runningMax: number; version: unknown } {
    if (nodeId === this.self.nodeId) {
      const { running } = this.runs
      return { running, runningMax: this.world.runningMax, version: running }
    }
    const row = this.world.rows.registry.rows(loadKind, 'runs').find((r) => r.nodeId === nodeId)
    const [running, runningMax] = Array.isArray(row?.value) ? (row.value as number[]) : []
    return { running: running ?? 0, runningMax: runningMax ?? 0, version: row }
  }

  /** Others hear of it a moment later, and not of each one. */
  private loadChanged(): void {
    if (this.loadTimer !== undefined) return
    const inMs = Math.max(0, this.loadTold + loadEveryMs - performance.now())
    this.loadTimer = setTimeout(() => {
      this.loadTimer = undefined
      this.loadTold = performance.now()
      this.world.rows.put(loadKind, 'runs', [this.runs.running, this.world.runningMax])
    }, inMs)
    this.loadTimer.unref()
  }

  // --- frames -------------------------------------------------------------------------------------------------------

  private handleFrames(): void {
    const answering = (
      type: number,
      answer: (body: Uint8Array, from: From, reply: (body: Uint8Array | Error) => void) => void,
    ): void =>
      this.world.fabric.handle(type, ({ body, from, reply }) => {
        if (reply === undefined) return
        try {
          answer(body, from, reply)
        } catch (error) {
          // What is malformed is for whoever keeps an eye on peers; a refusal is an answer.
          if (isSkeinError(error) && error.code !== 'protocol_violation') reply(error)
          else throw error
        }
      })
    answering(processingFrames.start, (body, from, reply) => {
      this.runs.start(frames.unpackStart(body), from)
      reply(pack(null))
    })
    answering(processingFrames.watch, (body, from, reply) => {
      const frame = frames.unpackWatch(body)
      reply(pack(frame.bootId === this.self.bootId ? this.runs.watched(frame, from) : null))
    })
    answering(processingFrames.ended, (body, from, reply) => {
      const { id, outcome } = frames.unpackEnded(body)
      this.watches.ended(from, id, outcome)
      reply(pack(null))
    })
    answering(processingFrames.kill, (body, _, reply) => {
      const { bootId, id, reason } = frames.unpackKill(body)
      const done = bootId === this.self.bootId ? this.runs.kill(id, reason) : undefined
      reply(done === undefined ? noRun(id) : pack(done))
    })
    answering(processingFrames.link, (body, _, reply) => {
      const { bootId, id, other } = frames.unpackLink(body)
      if (bootId !== this.self.bootId) throw noRun(id)
      reply(pack(this.runs.link(id, other)))
    })
    answering(processingFrames.look, (body, _, reply) => this.looked(unpack(body), reply))
    answering(processingFrames.take, (body, from, reply) => {
      const { group, run, eventsMax, waitMs } = frames.unpackTake(body)
      this.owner(group).take({ run, eventsMax, waitMs }, from, reply)
    })
    answering(processingFrames.settle, (body, from, reply) => {
      const { group, run, batch, isDone, detail } = frames.unpackSettle(body)
      const error = isDone ? undefined : { message: detail }
      reply(pack(this.owner(group).settleFor(run, batch, error, from)))
    })
    answering(processingFrames.renew, (body, from, reply) => {
      const { group, run, batches } = frames.unpackRenew(body)
      reply(pack(this.owner(group).renewFor(run, batches, from)))
    })
  }

  private looked(ask: unknown, reply: (body: Uint8Array | Error) => void): void {
    const [what, id, waitMs] = (Array.isArray(ask) ? ask : []) as unknown[]
    if (what === 'list') {
      reply(pack(this.listHere()))
      return
    }
    if (what !== 'run' || !frames.isRunId(id) || typeof waitMs !== 'number' || !(waitMs <= showWaitMsMax))
      throw new SkeinError('protocol_violation', 'a malformed look at processors')
    void this.runs.showPacked(id, waitMs).then((row) => {
      reply(row === undefined ? noRun(id) : pack(row))
    }, reply)
  }

  private owner(group: string): StreamOwner {
    const owner = this.owners.get(group)
    if (owner === undefined)
      throw new SkeinError('fenced', `"${group}" is not processed on ${this.self.nodeId}`)
    return owner
  }

  // --- figures ------------------------------------------------------------------------------------------------------

  figures(): ProcessingFigures {
    const streams = [...this.owners.values()].map((o) => o.load())
    const sum = (of: (load: StreamLoad) => number): number => streams.reduce((all, l) => all + of(l), 0)
    return {
      running: this.runs.running,
      runningMax: this.world.runningMax,
      ends: this.runs.ends,
      streams,
      processed: this.processedBefore + sum((l) => l.processed),
      processedByHelpers: this.processedByHelpersBefore + sum((l) => l.processedByHelpers),
    }
  }

  /** What it did stays counted. */
  private retire(owner: StreamOwner): void {
    const { processed, processedByHelpers } = owner.load()
    this.processedBefore += processed
    this.processedByHelpersBefore += processedByHelpers
  }

  // --- end ----------------------------------------------------------------------------------------------------------

  /** The node is to leave: streams first, then whatever was spawned here. */
  async stop(): Promise<void> {
    const owners = [...this.owners.values()]
    this.owners.clear()
    await Promise.all([...owners.map((o) => o.stop()), this.runs.leave()])
  }

  close(): void {
    clearTimeout(this.loadTimer)
    this.runs.close()
    this.watches.close()
  }
}

function refOf(run: SpawnRef): SpawnRef {
  const { id, name, nodeId, bootId } = run
  if ((id !== '' && !frames.isRunId(id)) || [name, nodeId, bootId].some((t) => typeof t !== 'string'))
    throw new SkeinError('invalid_argument', 'a handle or reference of a run expected')
  return { id, name, nodeId, bootId }
}

/** Ids end in the node that they were given to. */
function nodeOf(id: string): NodeId {
  const isGood: boolean = frames.isRunId(id)
  if (!isGood)
    throw new SkeinError(
      'invalid_argument',
      `id: "${id.slice(0, 80)}" is no id of a run, such as 0123456789abcdef@node-1`,
      { details: { field: 'id' } },
    )
  return id.slice(id.indexOf('@') + 1)
}

function noRun(id: string): SkeinError {
  return new SkeinError('not_found', `no run ${id}: it ended long ago, or its node was started anew`, {
    details: { run: id },
  })
}
