/**
 * Runs that somebody on this node wants to know the end of, wherever they run. Their nodes tell it; what they could not tell is asked for every two seconds;
 * and a node that is gone, or came back as another process, tells nothing any more. Whichever comes first is what the watcher hears, once.
 */
import type { NodeId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import { pack, unpack } from '../mesh-frames.js'
import type { SpawnRef } from './api-types.js'
import { processingFrames, watchedAtOnceMax } from './frames.js'
import { type End, outcomeOf } from './outcome.js'

const watchesMax = 100_000
const askEveryMs = 2_000
const askTimeoutMs = 2_000
/** A node that this one has not heard of yet, when it was told of a run there. */
const unknownNodeMs = 3_000

export interface WatchesWorld {
  readonly nodeId: NodeId
  readonly bootId: string
  /** Of a node that is there now. */
  bootOf(nodeId: NodeId): string | undefined
  /** Whether it left in good order, for a node that is not there. */
  hasLeft(nodeId: NodeId, bootId: string): boolean
  watchHere(id: string, onEnd: (end: End) => void): () => void
  request(
    nodeId: NodeId,
    type: number,
    body: Uint8Array,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Uint8Array>
  onTrouble(error: unknown): void
}

interface Watch {
  readonly ref: SpawnRef
  readonly wantsResult: boolean
  readonly sinceMs: number
  readonly onEnd: (end: End) => void
  /** Its node was there, as that process. */
  wasThere: boolean
  /** Its node has it: until then there is nothing to ask. */
  isStarted: boolean
}

export class Watches {
  private readonly world: WatchesWorld
  private readonly byRun = new Map<string, Set<Watch>>()
  private size = 0
  private readonly timer: NodeJS.Timeout
  private readonly closing = new AbortController()

  constructor(world: WatchesWorld) {
    this.world = world
    this.timer = setInterval(() => this.ask(), askEveryMs)
    this.timer.unref()
  }

  /**
   * Calls `onEnd` once, never before this returns. An empty id watches the node alone. `isStarted` false: the run is only being asked for;
   * {@link started} follows. Returns the way to stop. Throws `overloaded`.
   */
  watch(
    ref: SpawnRef,
    onEnd: (end: End) => void,
    { wantsResult = false, isStarted = true }: { wantsResult?: boolean; isStarted?: boolean } = {},
  ): () => void {
    if (this.size >= watchesMax)
      throw new SkeinError('overloaded', `${watchesMax} runs are watched from this node`, { retryable: true })
    const watch: Watch = {
      ref,
      wantsResult,
      sinceMs: performance.now(),
      onEnd,
      wasThere: false,
      isStarted,
    }
    const { nodeId, bootId } = this.world
    const isHere = ref.nodeId === nodeId
    const set = this.byRun.get(keyOf(ref)) ?? new Set()
    this.byRun.set(keyOf(ref), set)
    set.add(watch)
    this.size++
    if (!isHere) queueMicrotask(() => this.first(watch))
    else if (ref.bootId !== bootId)
      queueMicrotask(() => this.tell(watch, { kind: 'node', reason: 'node_restarted' }))
    else if (isStarted) this.followHere(watch)
    return () => this.drop(watch)
  }

  /** The node has the run now. */
  started(ref: SpawnRef): void {
    for (const watch of this.byRun.get(keyOf(ref)) ?? []) {
      if (watch.isStarted) continue
      watch.isStarted = true
      if (ref.nodeId === this.world.nodeId) this.followHere(watch)
    }
  }

  private followHere(watch: Watch): void {
    if (watch.ref.id !== '') this.world.watchHere(watch.ref.id, (end) => this.tell(watch, end))
  }

  /** That node says how a run ended. */
  ended(from: { readonly nodeId: NodeId; readonly bootId: string }, id: string, packed: unknown): void {
    const set = this.byRun.get(keyOf({ id, nodeId: from.nodeId, bootId: from.bootId }))
    if (set === undefined) return
    const outcome = outcomeOf(packed)
    for (const watch of [...set]) {
      // One more watcher of this node, who wants more than was told: it is asked for again.
      if (watch.wantsResult && outcome.kind === 'finished' && outcome.result === null) continue
      this.tell(watch, { kind: 'outcome', outcome })
    }
  }

  peersChanged(): void {
    for (const set of [...this.byRun.values()]) for (const watch of [...set]) this.check(watch)
  }

  close(): void {
    clearInterval(this.timer)
    this.closing.abort()
    this.byRun.clear()
  }

  private first(watch: Watch): void {
    if (!this.check(watch) || !watch.isStarted || watch.ref.id === '') return
    void this.askNode(watch.ref.nodeId, watch.ref.bootId, [watch])
  }

  /** True while its node is there, as that process. */
  private check(watch: Watch): boolean {
    const { nodeId, bootId } = watch.ref
    if (nodeId === this.world.nodeId) return true
    const now = this.world.bootOf(nodeId)
    if (now === bootId) {
      watch.wasThere = true
      return true
    }
    if (!watch.wasThere && performance.now() - watch.sinceMs < unknownNodeMs) return false
    const left = this.world.hasLeft(nodeId, bootId)
    this.tell(watch, {
      kind: 'node',
      reason: now !== undefined ? 'node_restarted' : left ? 'node_left' : 'node_failed',
    })
    return false
  }

  private ask(): void {
    const byNode = new Map<string, Watch[]>()
    for (const set of [...this.byRun.values()])
      for (const watch of [...set]) {
        const { nodeId, bootId, id } = watch.ref
        if (!this.check(watch) || !watch.isStarted || id === '' || nodeId === this.world.nodeId) continue
        const key = `${nodeId} ${bootId}`
        const list = byNode.get(key)
        if (list === undefined) byNode.set(key, [watch])
        else list.push(watch)
      }
    for (const list of byNode.values())
      for (let i = 0; i < list.length; i += watchedAtOnceMax) {
        const { nodeId, bootId } = (list[i] as Watch).ref
        void this.askNode(nodeId, bootId, list.slice(i, i + watchedAtOnceMax))
      }
  }

  private async askNode(nodeId: NodeId, bootId: string, list: readonly Watch[]): Promise<void> {
    try {
      const body = pack([bootId, list.map((w) => [w.ref.id, w.wantsResult])])
      const options = { timeoutMs: askTimeoutMs, signal: this.closing.signal }
      const known = unpack(await this.world.request(nodeId, processingFrames.watch, body, options))
      if (known === null) {
        // Another process answers there: its predecessor's runs went with it.
        for (const watch of list) this.tell(watch, { kind: 'node', reason: 'node_restarted' })
      } else if (Array.isArray(known) && known.length === list.length)
        list.forEach((watch, i) => {
          if (known[i] === false) this.tell(watch, { kind: 'forgotten' })
        })
    } catch {
      // Asked again soon; whether the node is there at all is for membership to say.
    }
  }

  private tell(watch: Watch, end: End): void {
    if (!this.drop(watch)) return
    try {
      watch.onEnd(end)
    } catch (error) {
      this.world.onTrouble(error)
    }
  }

  private drop(watch: Watch): boolean {
    const key = keyOf(watch.ref)
    const set = this.byRun.get(key)
    if (set?.delete(watch) !== true) return false
    this.size--
    if (set.size === 0) this.byRun.delete(key)
    return true
  }
}

function keyOf({ id, nodeId, bootId }: Pick<SpawnRef, 'id' | 'nodeId' | 'bootId'>): string {
  return `${id} ${nodeId} ${bootId}`
}
