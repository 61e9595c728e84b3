/**
 * The few words of memory that main and control share, so that main can ask "may I still acknowledge?" in nanoseconds, and control can see that
 * main turns. Control writes the deadline and the epochs; main writes its heartbeat and its counters.
 */
import { asEpoch, type Epoch, type ShardId } from '../core/kernel/brand.js'

const words = 8

export class SharedState {
  readonly buffer: SharedArrayBuffer
  private readonly deadline: BigInt64Array
  private readonly counters: Int32Array
  private readonly epochs: Int32Array

  /** Pass the buffer of the other thread, or the number of shards to make a new one. */
  constructor(from: SharedArrayBuffer | number) {
    this.buffer = typeof from === 'number' ? new SharedArrayBuffer(8 + words * 4 + from * 4) : from
    this.deadline = new BigInt64Array(this.buffer, 0, 1)
    this.counters = new Int32Array(this.buffer, 8, words)
    this.epochs = new Int32Array(this.buffer, 8 + words * 4)
  }

  get shards(): number {
    return this.epochs.length
  }

  /** Monotonic ms until which the lease holds for us; 0 for never. */
  get leaseDeadlineMs(): number {
    return Number(Atomics.load(this.deadline, 0)) / 1_000
  }

  set leaseDeadlineMs(ms: number) {
    Atomics.store(this.deadline, 0, BigInt(Math.floor(ms * 1_000)))
  }

  epoch(shard: ShardId): Epoch {
    return asEpoch(Atomics.load(this.epochs, shard))
  }

  setEpoch(shard: ShardId, epoch: Epoch): void {
    Atomics.store(this.epochs, shard, epoch)
  }

  clearEpochs(): void {
    for (let i = 0; i < this.epochs.length; i++) Atomics.store(this.epochs, i, 0)
  }

  get heartbeat(): number {
    return Atomics.load(this.counters, 0)
  }

  beat(): void {
    Atomics.add(this.counters, 0, 1)
  }

  /** Events acknowledged by this node since its start, modulo 2^32. */
  get acknowledged(): number {
    return Atomics.load(this.counters, 1) >>> 0
  }

  countAcknowledged(count: number): void {
    Atomics.add(this.counters, 1, count)
  }

  get loopDelayMs(): number {
    return Atomics.load(this.counters, 2)
  }

  set loopDelayMs(ms: number) {
    Atomics.store(this.counters, 2, Math.round(ms))
  }

  get unconfirmedEvents(): number {
    return Atomics.load(this.counters, 3)
  }

  set unconfirmedEvents(count: number) {
    Atomics.store(this.counters, 3, count)
  }
}
