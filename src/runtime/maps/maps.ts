/**
 * Replicated maps of one node: its replica, fed by the program and by frames. Writes are sent to every peer at the end of the turn; now and then this node
 * pulls from a peer what it lacks. Decides nothing about values: that is `core/maps`.
 */
import type { NodeId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import { NoteLimiter } from '../../core/kernel/note-limiter.js'
import { nodeOf } from '../../core/maps/entry.js'
import { mapLimits } from '../../core/maps/limits.js'
import { type Ask, type Partial, Pull } from '../../core/maps/pull.js'
import { type Change, type Instant, type Refusal, Replica } from '../../core/maps/replica.js'
import {
  bucketsAnswerWire,
  type Delta,
  deltasMax,
  deltasWire,
  digestAnswerWire,
  readBucketsAsk,
  readChunkAsk,
  readDeltas,
  readDigest,
} from '../../core/maps/wire.js'
import type { Fabric } from '../fabric.js'
import { monotonicMs } from '../host-clock.js'
import { pack, unpack } from '../mesh-frames.js'
import type { MapChange, MapConflict, MapOptions, MapSummary, MapsApi, ReplicatedMap } from './api-types.js'
import { mapFrames } from './frames.js'
import { OpenMap, valueOfText } from './open-map.js'

const pullEveryMs = 1_000
const sweepEveryMs = 5_000
const askTimeoutMs = 5_000
/** Writes that go out together, as far as that makes frames of about this size. */
const frameBytes = 524_288

export interface MapsWorld {
  readonly fabric: Fabric
  /** Members, gone or not, that may come back with what they hold. */
  readonly members: () => readonly NodeId[]
}

type Listener<T> = (event: T) => void

export class Maps {
  private readonly fabric: Fabric
  private readonly members: () => readonly NodeId[]
  readonly replica: Replica
  private readonly partials = new Map<string, Partial>()
  private readonly open = new Map<string, OpenMap>()
  private readonly watchers = new Map<string, Set<Listener<MapChange>>>()
  private readonly conflictListeners = new Map<string, Set<Listener<MapConflict>>>()
  private readonly boots = new Map<NodeId, string>()
  private readonly pulling = new Set<NodeId>()
  private readonly notes = new NoteLimiter(monotonicMs)
  private readonly timers: NodeJS.Timeout[]
  private outgoing: Delta[] = []
  private outgoingBytes = 0
  private flushing: NodeJS.Immediate | undefined
  private closed = false
  private readonly counts = { refused: 0, conflicts: 0, pulls: 0, caughtUpAtMs: 0 }
  private onReady: () => void = () => {}
  private readonly isReady: Promise<void>

  constructor({ fabric, members }: MapsWorld) {
    this.fabric = fabric
    this.members = members
    this.replica = new Replica(fabric.nodeId, mapLimits)
    this.isReady = new Promise((resolve) => {
      this.onReady = resolve
    })
    fabric.handle(mapFrames.deltas, ({ from, body }) => this.receive(from.nodeId, unpack(body)))
    const answers = {
      [mapFrames.digest]: (from: NodeId, ask: unknown) => this.answerDigest(from, ask),
      [mapFrames.buckets]: (from: NodeId, ask: unknown) => this.answerBuckets(from, ask),
      [mapFrames.chunk]: (_: NodeId, ask: unknown) => this.answerChunk(ask),
    }
    for (const [type, answer] of Object.entries(answers))
      fabric.handle(Number(type), ({ from, body, reply }) => reply?.(pack(answer(from.nodeId, unpack(body)))))
    fabric.onPeers(() => this.peersChanged())
    this.timers = [
      setInterval(() => this.pullFromAny(), pullEveryMs),
      setInterval(() => this.replica.sweep(Date.now(), this.members()), sweepEveryMs),
    ]
    for (const timer of this.timers) timer.unref()
  }

  readonly api: MapsApi = {
    list: () => [...this.replica.slots.maps].sort().flatMap((name) => this.summary(name) ?? []),
    summary: (name) => this.summary(name),
    ready: () => this.isReady,
    stats: () => ({
      bytes: this.replica.slots.bytes,
      refusedCount: this.counts.refused,
      conflictCount: this.counts.conflicts,
      pullCount: this.counts.pulls,
      caughtUpAtMs: this.counts.caughtUpAtMs,
    }),
  }

  /** Over all maps. */
  size(): { readonly keys: number; readonly tombstones: number } {
    let keys = 0
    let tombstones = 0
    for (const name of this.replica.slots.maps) {
      const { live, gone } = this.replica.slots.sizeOf(name)
      keys += live
      tombstones += gone
    }
    return { keys, tombstones }
  }

  /** The same object for the same name; throws `conflict` where it was opened with another `merge`. */
  map<V>(name: string, options: MapOptions<V> = {}): ReplicatedMap<V> {
    let map = this.open.get(name)
    if (map === undefined) {
      map = new OpenMap(name, this)
      this.open.set(name, map)
    }
    map.mergeWith(options.merge as MapOptions<unknown>['merge'])
    return map as unknown as ReplicatedMap<V>
  }

  /** This node is a member now: without peers there is nobody to catch up with. */
  started(): void {
    if (this.fabric.peers.length === 0) this.onReady()
  }

  /** What was written is on its way before the mesh closes. */
  close(): void {
    this.flush()
    this.closed = true
    clearImmediate(this.flushing)
    for (const timer of this.timers) clearInterval(timer)
  }

  private summary(name: string): MapSummary | undefined {
    const { live, gone, bytes } = this.replica.slots.sizeOf(name)
    return live === 0 ? undefined : { name, keys: live, tombstones: gone, bytes }
  }

  // --- local writes ----------------------------------------------------------------------------------------------------------

  write(make: (at: Instant) => { delta: Delta; change: Change } | undefined): Change | undefined {
    if (this.closed) throw new SkeinError('closed', 'the node is stopping', { retryable: true })
    const written = make({ wallMs: Date.now(), stamp: () => this.fabric.clock.now() })
    if (written === undefined) return undefined
    this.outgoing.push(written.delta)
    const slot = this.replica.slots.get(written.delta.map, written.delta.key)
    this.outgoingBytes += written.delta.entry === null ? 0 : (slot?.bytes ?? 0)
    if (this.outgoingBytes >= frameBytes || this.outgoing.length >= deltasMax) this.flush()
    else this.flushing ??= setImmediate(() => this.flush())
    this.tell(written.change)
    return written.change
  }

  /** What a peer's queue has no room for, it gets when it pulls. */
  private flush(): void {
    clearImmediate(this.flushing)
    this.flushing = undefined
    const deltas = this.outgoing
    if (deltas.length === 0) return
    this.outgoing = []
    this.outgoingBytes = 0
    const { peers } = this.fabric
    if (peers.length === 0) return
    const body = pack(deltasWire(deltas))
    for (const { nodeId } of peers) this.fabric.send(nodeId, mapFrames.deltas, body)
  }

  // --- from others -----------------------------------------------------------------------------------------------------------

  private receive(from: NodeId, value: unknown): void {
    const deltas = readDeltas(value, mapLimits)
    if (deltas === undefined) throw malformed('deltas')
    const { changes, refusals, isMoreThere } = this.replica.receive(Date.now(), deltas)
    this.taken(from, changes, refusals)
    if (isMoreThere) void this.pull(from)
  }

  private taken(from: NodeId, changes: readonly Change[], refusals: readonly Refusal[]): void {
    let newest = ''
    for (const { entry } of changes) if (entry.stamp > newest) newest = entry.stamp
    // So that what is written here next is later than all that was read.
    if (newest !== '') this.fabric.clock.receive(newest)
    for (const change of changes) this.tell(change)
    this.counts.refused += refusals.length
    for (const { code, map, key, detail } of refusals)
      this.notes.note(`map.refused ${code}`, { from, code, map, key, detail }, (fields) =>
        this.fabric.log('warn', 'map.refused', fields),
      )
  }

  private answerDigest(from: NodeId, value: unknown): unknown {
    const digest = readDigest(value)
    if (digest === undefined) throw malformed('digest')
    this.replica.hear(from, digest)
    return digestAnswerWire(this.replica.seen, this.replica.differing(digest))
  }

  private answerBuckets(from: NodeId, value: unknown): unknown {
    const ask = readBucketsAsk(value)
    if (ask === undefined) throw malformed('question about buckets')
    return bucketsAnswerWire(this.replica.answerBuckets(from, ask))
  }

  private answerChunk(value: unknown): unknown {
    const ask = readChunkAsk(value)
    if (ask === undefined) throw malformed('question about a piece')
    const chunk = this.replica.answerChunk(ask)
    return chunk === null ? null : [chunk.sum, chunk.length, chunk.offset, chunk.bytes]
  }

  // --- catching up -----------------------------------------------------------------------------------------------------------

  /** A process that is new has seen nothing, and may have what we lack. */
  private peersChanged(): void {
    const { peers } = this.fabric
    const members = new Set(this.members())
    for (const id of this.boots.keys())
      if (!members.has(id)) {
        this.boots.delete(id)
        this.replica.forget(id)
      }
    for (const { nodeId, bootId } of peers) {
      if (this.boots.get(nodeId) === bootId) continue
      this.boots.set(nodeId, bootId)
      this.replica.forget(nodeId)
      void this.pull(nodeId)
    }
  }

  private pullFromAny(): void {
    const { peers } = this.fabric
    const fit = peers.filter((p) => !p.isUnfit)
    const from = fit.length > 0 ? fit : peers
    const peer = from[Math.floor(Math.random() * from.length)]
    if (peer !== undefined) void this.pull(peer.nodeId)
  }

  /** One at a time from the same node; the next one goes on where this one stopped. */
  private async pull(from: NodeId): Promise<void> {
    if (this.closed || this.pulling.has(from)) return
    this.pulling.add(from)
    const pull = new Pull(this.replica, from, mapLimits.valueBytesMax, this.partials)
    try {
      for (let ask = pull.next(); ask !== undefined && !this.closed; ask = pull.next())
        await this.step(from, pull, ask)
      if (!pull.isComplete) return
      this.counts.pulls++
      this.counts.caughtUpAtMs = Date.now()
      this.onReady()
    } catch (error) {
      // A peer that does not answer, or does not make sense: another one is asked soon.
      this.notes.note('map.pull_failed', { from, detail: String(error) }, (fields) =>
        this.fabric.log('debug', 'map.pull_failed', fields),
      )
    } finally {
      this.pulling.delete(from)
    }
  }

  private async step(from: NodeId, pull: Pull, { kind, body }: Ask): Promise<void> {
    const answer = await this.fabric.request(from, mapFrames[kind], pack(body), { timeoutMs: askTimeoutMs })
    const pulled = pull.receive(Date.now(), unpack(answer))
    if (pulled === undefined) throw malformed(`answer about ${kind}`)
    this.taken(from, pulled.changes, pulled.refusals)
  }

  // --- telling ---------------------------------------------------------------------------------------------------------------

  watch(map: string, listener: Listener<MapChange>): () => void {
    return listen(this.watchers, map, listener)
  }

  onConflict(map: string, listener: Listener<MapConflict>): () => void {
    return listen(this.conflictListeners, map, listener)
  }

  private tell(change: Change): void {
    const { map, key, entry, origin, lost } = change
    const open = this.open.get(map)
    const watchers = this.watchers.get(map)
    if (watchers !== undefined && open !== undefined) {
      const view = open.view(key, entry)
      const event = { map, key, kind: view?.kind ?? 'deleted', value: view?.value, origin } as const
      for (const listener of [...watchers]) this.guarded('map.watcher_failed', map, () => listener(event))
    }
    if (lost.length === 0 || open?.merges === true) return
    this.counts.conflicts += lost.length
    const listeners = this.conflictListeners.get(map)
    if (listeners === undefined) return
    for (const { text, actor, stamp } of lost) {
      const value = open?.view(key, entry)?.value
      const conflict = {
        map,
        key,
        lost: valueOfText(text),
        nodeId: nodeOf(actor),
        hlc: stamp,
        value,
      }
      for (const listener of [...listeners]) this.guarded('map.watcher_failed', map, () => listener(conflict))
    }
  }

  private guarded(event: string, map: string, call: () => void): void {
    try {
      call()
    } catch (error) {
      this.notes.note(event, { map, detail: String(error) }, (fields) =>
        this.fabric.log('error', event, fields),
      )
    }
  }
}

function listen<T>(all: Map<string, Set<Listener<T>>>, map: string, listener: Listener<T>): () => void {
  const listeners = all.get(map) ?? new Set()
  all.set(map, listeners)
  listeners.add(listener)
  return () => {
    listeners.delete(listener)
    if (listeners.size === 0 && all.get(map) === listeners) all.delete(map)
  }
}

function malformed(what: string): SkeinError {
  return new SkeinError('protocol_violation', `malformed ${what} of a map`)
}
