/** Where the entries of all maps are: by map and key, and by hash in buckets whose sums two nodes compare. Counts what they take. */
import { hash32 } from '../kernel/hash.js'
import { bytesOf, type Entry, identityOf, kindOf } from './entry.js'
import { bucketCount, type SlotMark } from './wire.js'

export interface Slot {
  readonly map: string
  readonly key: string
  readonly keyHash: string
  readonly bucket: number
  entry: Entry
  /** Of what counts in it; both 0 when nothing does. */
  low: number
  high: number
  bytes: number
}

interface Table {
  readonly slots: Map<string, Slot>
  live: number
  bytes: number
}

interface Bucket {
  readonly slots: Map<string, Slot>
  low: number
  high: number
}

const emptyTable: Table = { slots: new Map(), live: 0, bytes: 0 }
const separator = '\n'

/** 64 bits of a text, for comparing, not for secrecy. */
export function hash64(text: string): string {
  return hexOf(hash32(text, 0x5bd1e995), hash32(text, 0x9747b28c))
}

function hexOf(low: number, high: number): string {
  return high.toString(16).padStart(8, '0') + low.toString(16).padStart(8, '0')
}

function bucketOf(keyHash: string): number {
  return Number.parseInt(keyHash.slice(-8), 16) % bucketCount
}

export class Slots {
  private readonly tables = new Map<string, Table>()
  private readonly buckets: readonly Bucket[] = Array.from({ length: bucketCount }, () => ({
    slots: new Map(),
    low: 0,
    high: 0,
  }))
  /** Of deleted keys. */
  readonly gone = new Set<Slot>()
  bytes = 0

  get maps(): IterableIterator<string> {
    return this.tables.keys()
  }

  get mapCount(): number {
    return this.tables.size
  }

  /** Of one map: keys that are there, keys that are remembered as deleted, bytes of both. */
  sizeOf(map: string): { readonly live: number; readonly gone: number; readonly bytes: number } {
    const { slots, live, bytes } = this.tables.get(map) ?? emptyTable
    return { live, gone: slots.size - live, bytes }
  }

  get(map: string, key: string): Slot | undefined {
    return this.tables.get(map)?.slots.get(key)
  }

  of(map: string): IterableIterator<Slot> {
    return (this.tables.get(map) ?? emptyTable).slots.values()
  }

  *all(): Generator<Slot> {
    for (const { slots } of this.tables.values()) yield* slots.values()
  }

  put(map: string, key: string, entry: Entry): void {
    let table = this.tables.get(map)
    if (table === undefined) {
      table = { slots: new Map(), live: 0, bytes: 0 }
      this.tables.set(map, table)
    }
    let slot = table.slots.get(key)
    if (slot === undefined) {
      const keyHash = hash64(map + separator + key)
      const bucket = bucketOf(keyHash)
      slot = { map, key, keyHash, bucket, entry, low: 0, high: 0, bytes: 0 }
      table.slots.set(key, slot)
      this.bucket(bucket).slots.set(keyHash, slot)
    } else this.discount(table, slot)
    slot.entry = entry
    this.count(table, slot)
  }

  drop(slot: Slot): void {
    const table = this.tables.get(slot.map)
    if (table?.slots.get(slot.key) !== slot) return
    this.discount(table, slot)
    table.slots.delete(slot.key)
    this.bucket(slot.bucket).slots.delete(slot.keyHash)
    if (table.slots.size === 0) this.tables.delete(slot.map)
  }

  byHash(keyHash: string): Slot | undefined {
    return this.bucket(bucketOf(keyHash)).slots.get(keyHash)
  }

  /** In order of their hash. */
  inBucket(bucket: number): Slot[] {
    return [...this.bucket(bucket).slots.values()].sort((a, b) => (a.keyHash < b.keyHash ? -1 : 1))
  }

  marksOf(bucket: number): SlotMark[] {
    const marks: SlotMark[] = []
    for (const slot of this.bucket(bucket).slots.values())
      if (isLive(slot)) marks.push([slot.keyHash, hashOf(slot)])
    return marks
  }

  sums(): number[] {
    return this.buckets.flatMap(({ low, high }) => [low, high])
  }

  private bucket(index: number): Bucket {
    return this.buckets[index] as Bucket
  }

  private count(table: Table, slot: Slot): void {
    const { entry } = slot
    slot.bytes = 2 * slot.key.length + bytesOf(entry)
    const identity = kindOf(entry) === undefined ? '' : identityOf(entry)
    const text = slot.keyHash + separator + identity
    slot.low = identity === '' ? 0 : hash32(text, 1)
    slot.high = identity === '' ? 0 : hash32(text, 2)
    this.add(table, slot, 1)
  }

  private discount(table: Table, slot: Slot): void {
    this.add(table, slot, -1)
  }

  private add(table: Table, slot: Slot, sign: 1 | -1): void {
    const bucket = this.bucket(slot.bucket)
    bucket.low = (bucket.low + sign * slot.low) >>> 0
    bucket.high = (bucket.high + sign * slot.high) >>> 0
    table.bytes += sign * slot.bytes
    this.bytes += sign * slot.bytes
    if (isLive(slot)) table.live += sign
    else if (sign === 1) this.gone.add(slot)
    else this.gone.delete(slot)
  }
}

export function isLive({ entry }: Slot): boolean {
  return kindOf(entry) !== undefined
}

export function hashOf({ low, high }: Slot): string {
  return hexOf(low, high)
}
