/**
 * Consumers: a handler per stream and group that runs on the owner of each shard, in acknowledged order, at least once. The position is kept
 * in the journal beside the events, under the shard's epoch; a take-over goes on from the last one that was saved. Time comes from outside:
 * the simulator runs this very loop.
 */
import type { Epoch, LeaseId, ShardId } from '../core/kernel/brand.js'
import type { Journal, Segment } from '../ports/journal.js'
import { viewOf } from './event-view.js'
import type { ConsumeContext, ConsumeOptions, EventView } from './node-api.js'

export type ConsumeHandler = (batch: readonly EventView[], context: ConsumeContext) => void | Promise<void>

export interface ConsumerWorld {
  readonly plane: {
    openShards(): readonly ShardId[]
    epochOf(shard: ShardId): Epoch | undefined
    /** What may be read of a shard that this node may act for at this very moment. */
    segments(shard: ShardId): readonly Segment[] | undefined
    currentLease(): LeaseId | null
  }
  readonly journal: Pick<Journal, 'read' | 'readPositions' | 'commitPositions'>
  pause(ms: number, signal: AbortSignal): Promise<void>
  note(level: 'info' | 'warn' | 'error', event: string, fields: Record<string, unknown>): void
}

interface RunningShard {
  readonly abort: AbortController
  done: Promise<void>
  wake: () => void
  /** Everything up to here was handled; undefined until it is read. */
  position: number | undefined
}

const retryMinMs = 100
const retryMaxMs = 10_000

export class Consumer {
  private readonly world: ConsumerWorld
  private readonly stream: string
  /** `stream/group`. */
  readonly group: string
  /** Batches that failed, since the start. */
  failures = 0
  private readonly batchMax: number
  private readonly handler: ConsumeHandler
  private readonly running = new Map<ShardId, RunningShard>()
  private asking: Promise<ReadonlyMap<ShardId, number>> | undefined
  private stopped = false

  constructor(world: ConsumerWorld, stream: string, handler: ConsumeHandler, options: ConsumeOptions) {
    this.world = world
    this.stream = stream
    this.group = `${stream}/${options.group ?? stream}`
    this.batchMax = options.batchMax ?? 100
    this.handler = handler
    for (const shard of world.plane.openShards()) this.opened(shard)
  }

  opened(shard: ShardId): void {
    if (this.stopped) return
    const before = this.running.get(shard)
    before?.abort.abort()
    const abort = new AbortController()
    const entry: RunningShard = { abort, wake: () => {}, done: Promise.resolve(), position: undefined }
    entry.done = (before?.done ?? Promise.resolve()).then(() => this.run(shard, entry))
    this.running.set(shard, entry)
  }

  gone(shard: ShardId): void {
    this.running.get(shard)?.abort.abort()
  }

  /** There is more to read in this shard. */
  acknowledged(shard: ShardId): void {
    this.running.get(shard)?.wake()
  }

  /** Offsets of the shards of this node that it has not come to yet. */
  get lag(): number {
    let lag = 0
    for (const [shard, { position, abort }] of this.running) {
      if (position === undefined || abort.signal.aborted) continue
      const end = this.world.plane.segments(shard)?.at(-1)?.last ?? 0
      lag += Math.max(0, end - position)
    }
    return lag
  }

  async stop(): Promise<void> {
    this.stopped = true
    for (const { abort } of this.running.values()) abort.abort()
    await Promise.all([...this.running.values()].map((r) => r.done))
    this.running.clear()
  }

  /** Shards that come at the same time are asked for together. */
  private async savedPosition(shard: ShardId): Promise<number> {
    this.asking ??= Promise.resolve().then(() => {
      this.asking = undefined
      return this.world.journal.readPositions(this.group, [...this.running.keys()])
    })
    return (await this.asking).get(shard) ?? 0
  }

  private async run(shard: ShardId, entry: RunningShard): Promise<void> {
    const { plane, journal } = this.world
    const { signal } = entry.abort
    const setWake = (wake: () => void): void => {
      entry.wake = wake
    }
    const epoch = plane.epochOf(shard)
    if (epoch === undefined || signal.aborted) return
    let position: number | undefined
    let failures = 0
    while (!signal.aborted && plane.epochOf(shard) === epoch) {
      const segments = plane.segments(shard)
      if (segments === undefined) return
      try {
        position ??= await this.savedPosition(shard)
        const page =
          segments.length === 0
            ? { events: [], scannedTo: position, end: true }
            : await journal.read({
                shard,
                segments,
                after: position,
                limit: this.batchMax,
                stream: this.stream,
              })
        if (signal.aborted || plane.segments(shard) === undefined) return
        if (page.events.length > 0) await this.handler(page.events.map(viewOf), { shard, epoch, signal })
        const lease = plane.currentLease()
        // Past the handler the shard may be another's: its position is not ours to move then.
        if (plane.segments(shard) === undefined || lease === null) return
        if (page.scannedTo > position && page.events.length > 0)
          await journal.commitPositions(lease, [{ group: this.group, shard, epoch, offset: page.scannedTo }])
        position = Math.max(position, page.scannedTo)
        entry.position = position
        failures = 0
        const last = segments.at(-1)?.last ?? 0
        if (position >= last)
          await idle(signal, setWake, () => (plane.segments(shard)?.at(-1)?.last ?? 0) > (position as number))
      } catch (error) {
        if (signal.aborted) return
        failures++
        this.failures++
        this.world.note('warn', 'consumer.failed', {
          group: this.group,
          shard,
          failures,
          detail: error instanceof Error ? error.message : String(error),
        })
        await this.world.pause(Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(failures, 10)), signal)
      }
    }
  }
}

/** Until there is more or the signal aborts. */
async function idle(
  signal: AbortSignal,
  setWake: (wake: () => void) => void,
  isMore: () => boolean,
): Promise<void> {
  await new Promise<void>((resolve) => {
    const end = (): void => {
      signal.removeEventListener('abort', end)
      setWake(() => {})
      resolve()
    }
    setWake(end)
    signal.addEventListener('abort', end, { once: true })
    if (signal.aborted || isMore()) end()
  })
}
