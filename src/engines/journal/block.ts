/**
 * The block: consecutive events of one shard, epoch and stream in one row. A row per event is bound by its indexes
 * (5 to 30 thousand a second), a row per block by the disk.
 *
 * The idea: the caller's thread encodes, once, all blocks of a commit into one buffer that moves to the journal's
 * thread without a copy; that thread never sees the events of an append as objects. A group that mixes streams
 * becomes one block per run of the same stream, so offsets stay as assigned and retention can work per stream.
 *
 * Format 1 of a body: MessagePack of one flat array, six items per event (key, id, type, payload, hlc, atMs). Beside
 * it lie 4 bytes per event, the hash of its key, by which a reader skips blocks unread.
 *
 * Must not live here: files, SQL.
 */
import { crc32 } from 'node:zlib'
import { Packr } from 'msgpackr'
import type { Epoch, ShardId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import { hash32 } from '../../core/kernel/hash.js'
import type { AppendGroup, JournalEvent, StoredEvent } from '../../ports/journal.js'

const fieldsPerEvent = 6
const packr = new Packr({ useRecords: false })
/** A single block gets no larger than this: a reader decodes whole blocks. */
const blockBytesMax = 256 * 1024
const blockEventsMax = 1000

/** A block without its content. `last` and `first` are offsets, both included. */
export interface BlockHead {
  readonly shard: ShardId
  readonly epoch: Epoch
  readonly first: number
  readonly last: number
  readonly stream: string
  /** The newest event's. */
  readonly atMs: number
}

export interface Block extends BlockHead {
  /** 4 bytes per event, little-endian. */
  readonly hashes: Uint8Array
  readonly body: Uint8Array
}

/** Blocks as they cross from thread to thread: numbers and bytes are transferred, not copied. */
export interface BlockBatch {
  readonly streams: readonly string[]
  /** {@link numbersPerBlock} per block. */
  readonly numbers: Float64Array<ArrayBuffer>
  readonly bytes: Uint8Array<ArrayBuffer>
}

const numbersPerBlock = 7

/** Encodes groups one after another; `take` hands over all of them as one batch. */
export class BlockEncoder {
  readonly #streams: string[] = []
  readonly #numbers: number[] = []
  readonly #chunks: Uint8Array[] = []
  #byteCount = 0

  /** Returns how many blocks the group became. */
  add(group: AppendGroup): number {
    const { shard, epoch, firstOffset, events } = group
    let from = 0
    let count = 0
    while (from < events.length) {
      const to = endOfRun(events, from)
      this.#addRun(shard, epoch, firstOffset + from, events, from, to)
      from = to
      count++
    }
    return count
  }

  take(): BlockBatch {
    const bytes = new Uint8Array(this.#byteCount)
    let at = 0
    for (const chunk of this.#chunks) {
      bytes.set(chunk, at)
      at += chunk.length
    }
    return { streams: this.#streams, numbers: Float64Array.from(this.#numbers), bytes }
  }

  #addRun(
    shard: ShardId,
    epoch: Epoch,
    first: number,
    events: readonly JournalEvent[],
    from: number,
    to: number,
  ): void {
    const flat: (string | number)[] = []
    const hashes = new Uint8Array((to - from) * 4)
    let newestMs = 0
    for (let i = from; i < to; i++) {
      const { key, id, type, payload, hlc, atMs } = events[i] as JournalEvent
      flat.push(key, id, type, payload, hlc, atMs)
      writeHash(hashes, i - from, hash32(key))
      if (atMs > newestMs) newestMs = atMs
    }
    const body = packr.pack(flat)
    this.#streams.push((events[from] as JournalEvent).stream)
    this.#numbers.push(shard, epoch, first, first + to - from - 1, newestMs, hashes.length, body.length)
    this.#chunks.push(hashes, body)
    this.#byteCount += hashes.length + body.length
  }
}

function endOfRun(events: readonly JournalEvent[], from: number): number {
  const stream = events[from]?.stream
  let chars = 0
  let to = from
  while (to < events.length && to - from < blockEventsMax) {
    const event = events[to] as JournalEvent
    if (event.stream !== stream) break
    chars += event.payload.length
    if (chars > blockBytesMax && to > from) break
    to++
  }
  return to
}

/** The blocks of a batch, as views into its bytes. */
export function* blocksOf(batch: BlockBatch): Generator<Block> {
  const { streams, numbers, bytes } = batch
  let at = 0
  for (const [i, stream] of streams.entries()) {
    const [shard, epoch, first, last, atMs, hashLength, bodyLength] = numbers.subarray(
      i * numbersPerBlock,
      (i + 1) * numbersPerBlock,
    ) as unknown as [number, Epoch, number, number, number, number, number]
    const hashes = bytes.subarray(at, at + hashLength)
    const body = bytes.subarray(at + hashLength, at + hashLength + bodyLength)
    at += hashLength + bodyLength
    yield { shard, epoch, first, last, stream, atMs, hashes, body }
  }
}

/** CRC-32 over the content and, by way of its start value, over the place it belongs to. */
export function checksum(block: Block): number {
  let seed = hash32(block.stream, 1)
  for (const n of [block.shard, block.epoch, block.first, block.last]) {
    seed = (Math.imul(seed, 31) + (n % 0x1_0000_0000)) >>> 0
  }
  return crc32(block.body, crc32(block.hashes, seed))
}

/** Errors: `corrupt`, when the bytes are not what was written. `file` goes into the message. */
export function decodeBlock(block: Block, crc: number, file: string): StoredEvent[] {
  const { shard, epoch, first, last, stream } = block
  const flat = checksum(block) === crc ? unpack(block.body) : undefined
  if (flat === undefined || flat.length !== (last - first + 1) * fieldsPerEvent) throw damaged(block, file)
  const events: StoredEvent[] = []
  for (let i = 0; i < flat.length; i += fieldsPerEvent) {
    const [key, id, type, payload, hlc] = flat.slice(i, i + 5) as [string, string, string, string, string]
    const atMs = flat[i + 5] as number
    const offset = first + i / fieldsPerEvent
    events.push({ stream, key, id, type, payload, hlc, atMs, shard, epoch, offset })
  }
  return events
}

function unpack(body: Uint8Array): unknown[] | undefined {
  try {
    const value: unknown = packr.unpack(body)
    return Array.isArray(value) ? value : undefined
  } catch {
    return undefined
  }
}

function damaged(block: BlockHead, file: string): SkeinError {
  const { shard, epoch, first, last } = block
  return new SkeinError(
    'corrupt',
    `${file}: the events ${first} to ${last} of shard ${shard} do not match their checksum; restore the file from a backup`,
    { details: { file, shard, epoch, first, last } },
  )
}

/** May the block hold an event of this key? Never false for one that does. */
export function mayHoldKey(hashes: Uint8Array, keyHash: number): boolean {
  for (let i = 0; i < hashes.length; i += 4) {
    const hash =
      ((hashes[i] ?? 0) | ((hashes[i + 1] ?? 0) << 8) | ((hashes[i + 2] ?? 0) << 16)) +
      (hashes[i + 3] ?? 0) * 0x100_0000
    if (hash === keyHash) return true
  }
  return false
}

function writeHash(into: Uint8Array, index: number, hash: number): void {
  into[index * 4] = hash
  into[index * 4 + 1] = hash >>> 8
  into[index * 4 + 2] = hash >>> 16
  into[index * 4 + 3] = hash >>> 24
}
