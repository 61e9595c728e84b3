/**
 * The other side of a stream's owner: takes batches of its shards, carries them out with this node's processor, and says so. Keeps count of its own time, and
 * stops at once when a batch is not its own any more; its result would be refused.
 */
import type { NodeId } from '../../core/kernel/brand.js'
import { asEpoch } from '../../core/kernel/brand.js'
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import { Hold } from '../../core/processing/hold.js'
import { pack, unpack } from '../mesh-frames.js'
import type { EventView } from '../node-api.js'
import { pause } from '../pause.js'
import type { AnyProcessor, SpawnRef } from './api-types.js'
import { carryOutBatch } from './batch-work.js'
import { type HelpFrame, type LentBatch, processingFrames, unpackBatch } from './frames.js'

const waitMs = 1_000
const askTimeoutMs = 5_000
const settleTimeoutMs = 2_000
const againMs = 100
/** Wall time ahead of monotonic time by so much; a clock that is set costs a batch that is done again. */
const suspendedMs = 500

export interface HelperWorld {
  request(
    nodeId: NodeId,
    type: number,
    body: Uint8Array,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Uint8Array>
  /** Of the shard, as far as this node has heard; 0 for unknown. */
  epochOf(shard: number): number
}

export class Helper {
  private readonly world: HelperWorld
  private readonly definition: AnyProcessor
  private readonly frame: HelpFrame
  private readonly self: SpawnRef
  private readonly owner: NodeId
  private readonly signal: AbortSignal
  private isOver = false

  constructor(
    world: HelperWorld,
    of: { definition: AnyProcessor; frame: HelpFrame; self: SpawnRef; owner: NodeId; signal: AbortSignal },
  ) {
    this.world = world
    this.definition = of.definition
    this.frame = of.frame
    this.self = of.self
    this.owner = of.owner
    this.signal = of.signal
  }

  /** Until the owner needs no help, or the signal aborts. */
  async run(): Promise<void> {
    const slots = Array.from({ length: Math.max(1, this.frame.concurrency) }, () => this.slot())
    await Promise.all(slots)
    if (this.signal.aborted) throw this.signal.reason
  }

  private async slot(): Promise<void> {
    const { group, batchMax } = this.frame
    while (!this.isOver && !this.signal.aborted) {
      const askedAtMs = performance.now()
      let batch: LentBatch | null
      try {
        const body = pack([group, this.self.id, batchMax, waitMs])
        batch = unpackBatch(await this.ask(processingFrames.take, body, askTimeoutMs + waitMs))
      } catch (error) {
        // Whoever it helped has another now, or none; else it may come back, or our link to its node says that it will not.
        if (isSkeinError(error) && error.code === 'fenced') this.isOver = true
        else await pause(againMs, this.signal)
        continue
      }
      if (batch !== null) await this.work(batch, new Hold(askedAtMs, batch.keptMs, batch.leaseMs))
    }
  }

  private ask(type: number, body: Uint8Array, timeoutMs: number): Promise<Uint8Array> {
    return this.world.request(this.owner, type, body, { timeoutMs, signal: this.signal })
  }

  private async work(batch: LentBatch, hold: Hold): Promise<void> {
    const { stream, group, deadlineMs } = this.frame
    const [shard, epoch, id] = batch.name
    if (!hold.isLive(performance.now())) return
    const lost = new AbortController()
    const [wallMs, monotonicMs] = [Date.now(), performance.now()]
    const isHeld = (): boolean => {
      // The host was suspended: the monotonic clock did not count it, the owner's did.
      if (Date.now() - wallMs - (performance.now() - monotonicMs) > suspendedMs) hold.end()
      // Another owner gives the same events out anew.
      if (this.world.epochOf(shard) > epoch) hold.end()
      return hold.isLive(performance.now()) && !this.signal.aborted
    }
    const check = (): void => {
      if (!isHeld())
        lost.abort(
          new SkeinError('fenced', `batch ${id} of shard ${shard} is not this processor’s any more`, {
            details: { shard, epoch, batch: id },
          }),
        )
    }
    const renewEveryMs = batch.leaseMs / 4
    let renewedAtMs = performance.now()
    const timer = setInterval(
      () => {
        check()
        if (lost.signal.aborted || performance.now() - renewedAtMs < renewEveryMs) return
        renewedAtMs = performance.now()
        void this.renew(batch, hold, renewedAtMs).then(check)
      },
      Math.max(20, batch.leaseMs / 20),
    )
    const { error, unsettled } = await carryOutBatch(
      {
        definition: this.definition,
        self: this.self,
        share: { stream, group, shard, epoch, batch: id, failures: batch.failures, isHeld },
        events: batch.events.map((row) => viewOfRow(stream, shard, row)),
        deadlineMs,
      },
      [lost.signal, this.signal],
    )
    clearInterval(timer)
    if (isHeld()) await this.settle(batch, hold, error)
    if (unsettled !== undefined) await unsettled
  }

  private async renew(batch: LentBatch, hold: Hold, askedAtMs: number): Promise<void> {
    try {
      const body = pack([this.frame.group, this.self.id, [batch.name]])
      const answer = unpack(await this.ask(processingFrames.renew, body, batch.leaseMs / 2))
      if (Array.isArray(answer) && answer[0] === true) hold.renewed(performance.now(), askedAtMs)
      else hold.end()
    } catch (error) {
      if (isSkeinError(error) && error.code === 'fenced') hold.end()
      // Else not known: the time goes on to run.
    }
  }

  /** Again and again while the batch is ours: the second time it is refused as done, which comes to the same. */
  private async settle(batch: LentBatch, hold: Hold, error: SkeinError | undefined): Promise<void> {
    const body = pack([
      this.frame.group,
      this.self.id,
      batch.name,
      error === undefined,
      (error?.message ?? '').slice(0, 1_000),
    ])
    while (hold.isLive(performance.now()) && !this.signal.aborted) {
      try {
        await this.ask(processingFrames.settle, body, settleTimeoutMs)
        return
      } catch (trouble) {
        if (isSkeinError(trouble) && trouble.code === 'fenced') {
          this.isOver = true
          return
        }
        await pause(againMs, this.signal)
      }
    }
  }
}

function viewOfRow(stream: string, shard: number, row: LentBatch['events'][number]): EventView {
  const [id, key, type, payload, offset, hlc, atMs, epoch] = row
  return {
    id,
    stream,
    key,
    type,
    payload: JSON.parse(payload),
    shard,
    epoch: asEpoch(epoch),
    offset,
    hlc,
    atMs,
  }
}
