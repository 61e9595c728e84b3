/**
 * One shard of a stream that is processed, on its owner: reads into the dealer as long as there is room, and saves the position as it moves. Ends with the
 * shard's tenure; the next owner goes on from the position that was saved last.
 */

import type { Epoch, ShardId } from '../../core/kernel/brand.js'
import { Dealer, type DealerOptions } from '../../core/processing/dealer.js'
import type { StoredEvent } from '../../ports/journal.js'
import type { ConsumerWorld } from '../consumers.js'

export type ShardWorld = Pick<ConsumerWorld, 'plane' | 'journal' | 'pause' | 'note'>

export interface DealtEvent {
  readonly offset: number
  readonly key: string
  readonly bytes: number
  readonly event: StoredEvent
}

const windowEventsMax = 1_000
const windowBytesMax = 4 * 1_048_576
const pageMax = 200
/** A position saved late costs nothing but work done twice after a crash. */
const commitEveryMs = 20
const retryMinMs = 100
const retryMaxMs = 10_000

export class ShardWork {
  readonly shard: ShardId
  readonly epoch: Epoch
  readonly abort = new AbortController()
  dealer: Dealer<DealtEvent> | undefined
  done: Promise<void> = Promise.resolve()
  private readonly world: ShardWorld
  private readonly stream: string
  private readonly group: string
  private readonly onWork: () => void
  private isDirty = false
  private committed = 0
  private wakeUp: () => void = () => {}
  private isAwake = false

  constructor(
    world: ShardWorld,
    of: { readonly stream: string; readonly group: string; readonly shard: ShardId; readonly epoch: Epoch },
    onWork: () => void,
  ) {
    this.world = world
    this.stream = of.stream
    this.group = of.group
    this.shard = of.shard
    this.epoch = of.epoch
    this.onWork = onWork
  }

  /** Whether this node may act for the shard, under this epoch, at this very moment. */
  get isOurs(): boolean {
    const { plane } = this.world
    return (
      !this.abort.signal.aborted &&
      plane.epochOf(this.shard) === this.epoch &&
      plane.segments(this.shard) !== undefined &&
      plane.currentLease() !== null
    )
  }

  /** There may be more to read, or room for it, or a position to save. */
  wake(isDirty = false): void {
    this.isDirty ||= isDirty
    this.isAwake = true
    this.wakeUp()
  }

  /** `position`: asked for together with those of other shards. */
  async run(options: DealerOptions, nextId: () => number, position: () => Promise<number>): Promise<void> {
    let failures = 0
    while (this.isOurs) {
      try {
        this.isAwake = false
        if (this.dealer === undefined) {
          this.committed = await position()
          this.dealer = new Dealer(options, this.committed, nextId)
        }
        const hasRead = await this.readMore(this.dealer)
        if (hasRead) this.onWork()
        const hasSaved = await this.commit(this.dealer)
        if (hasSaved && !hasRead) await this.world.pause(commitEveryMs, this.abort.signal)
        else if (!hasRead) await this.sleep()
        failures = 0
      } catch (error) {
        if (this.abort.signal.aborted) return
        failures++
        this.world.note('warn', 'processing.failed', {
          group: this.group,
          shard: this.shard,
          failures,
          detail: error instanceof Error ? error.message : String(error),
        })
        const ms = Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(failures, 10))
        await this.world.pause(ms, this.abort.signal)
      }
    }
  }

  /** False when there is nothing to read, or no room. */
  private async readMore(dealer: Dealer<DealtEvent>): Promise<boolean> {
    const segments = this.world.plane.segments(this.shard)
    const last = segments?.at(-1)?.last ?? 0
    const { events, bytes } = dealer.held
    if (segments === undefined || last <= dealer.readTo) return false
    // A whole page or nothing: reading one by one costs as much each time.
    if (events > windowEventsMax - pageMax || bytes >= windowBytesMax) return false
    const before = dealer.readTo
    const page = await this.world.journal.read({
      shard: this.shard,
      segments,
      after: dealer.readTo,
      limit: pageMax,
      stream: this.stream,
    })
    dealer.offer(
      page.events.map((event) => ({
        offset: event.offset,
        key: event.key,
        bytes: event.payload.length,
        event,
      })),
      page.scannedTo,
    )
    return dealer.readTo > before
  }

  /** Only what somebody did is worth a write: passing by events of other streams is not. */
  private async commit(dealer: Dealer<DealtEvent>): Promise<boolean> {
    const { position } = dealer
    const lease = this.world.plane.currentLease()
    if (!this.isDirty || position <= this.committed || lease === null || !this.isOurs) return false
    this.isDirty = false
    const { group, shard, epoch } = this
    try {
      await this.world.journal.commitPositions(lease, [{ group, shard, epoch, offset: position }])
    } catch (error) {
      this.isDirty = true
      throw error
    }
    this.committed = position
    return true
  }

  /** Nobody takes any more: what was done meanwhile is saved, and it ends. */
  async finish(): Promise<void> {
    // The loop may be saving an earlier position, and the higher one counts whichever comes first.
    if (this.dealer !== undefined) await this.commit(this.dealer).catch(() => false)
    this.abort.abort()
    await this.done
  }

  private async sleep(): Promise<void> {
    if (this.isAwake) return
    const { signal } = this.abort
    await new Promise<void>((resolve) => {
      const end = (): void => {
        signal.removeEventListener('abort', end)
        this.wakeUp = () => {}
        resolve()
      }
      this.wakeUp = end
      signal.addEventListener('abort', end, { once: true })
      if (signal.aborted) end()
    })
  }
}
