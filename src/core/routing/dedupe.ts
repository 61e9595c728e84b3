/**
 * The dedupe window of one shard: which ids were stored lately, where, and with what payload.
 *
 * The idea: a ring in order of insertion, in typed arrays (about 60 bytes an id with digests of 16 characters, a
 * third of what objects in a Map take), and a hash table of ring slots over it: linear probing, deletion by shifting
 * back. There is one window per owned shard, and at a take-over many are filled at once.
 *
 * Digests are the caller's, short texts; they are compared whole, so a hash that collides costs a
 * probe and never an answer. Must not live here: making digests, clocks.
 */
import { hash32 } from '../kernel/hash.js'

export interface DedupeOptions {
  /** An id is remembered at least this long, ms … */
  readonly windowMs: number
  /** … and as long as fewer than this many newer ids of the shard came, … */
  readonly idsMin: number
  /** … but never are more than this many remembered. Bounds the memory: about 60 bytes an id. */
  readonly idsMax: number
}

export const dedupeDefaults: DedupeOptions = { windowMs: 600_000, idsMin: 10_000, idsMax: 50_000 }

export interface DedupeEntry {
  readonly offset: number
  readonly payloadDigest: string
  readonly atMs: number
}

const firstCapacity = 64
const digestUnitsMax = 0xffff

export class DedupeWindow {
  private readonly options: DedupeOptions
  private offsets = new Float64Array(firstCapacity)
  private times = new Float64Array(firstCapacity)
  private hashes = new Uint32Array(firstCapacity)
  private ids = new DigestColumn(firstCapacity)
  private payloads = new DigestColumn(firstCapacity)
  /** Ring slot + 1, or 0 where free. Its length is a power of two, at least a fifth larger than the ring's. */
  private table = new Int32Array(tableLength(firstCapacity))
  /** Ring slot of the oldest. */
  private head = 0
  private count = 0

  constructor(options: DedupeOptions) {
    if (!(options.idsMax >= 1)) throw new RangeError('idsMax must be at least 1')
    this.options = options
  }

  get size(): number {
    return this.count
  }

  lookup(idDigest: string): DedupeEntry | undefined {
    const at = this.find(idDigest, hash32(idDigest))
    const slot = (this.table[at] as number) - 1
    if (slot < 0) return undefined
    return {
      offset: this.offsets[slot] as number,
      payloadDigest: this.payloads.read(slot),
      atMs: this.times[slot] as number,
    }
  }

  /** As the newest. An id that is still remembered gets the new entry and keeps its place. */
  insert(idDigest: string, entry: DedupeEntry): void {
    const hash = hash32(idDigest)
    const known = (this.table[this.find(idDigest, hash)] as number) - 1
    if (known >= 0) {
      this.write(known, entry)
      return
    }
    if (this.count >= this.options.idsMax) this.dropOldest()
    if (this.count === this.offsets.length) this.grow()
    const slot = (this.head + this.count) % this.offsets.length
    this.ids.write(slot, idDigest)
    this.hashes[slot] = hash
    this.write(slot, entry)
    this.table[this.find(idDigest, hash)] = slot + 1
    this.count++
  }

  /** Forgets what is both old and outnumbered. Cheap: looks at the oldest only. */
  evict(nowMs: number): void {
    while (this.count > this.options.idsMin) {
      if (nowMs - (this.times[this.head] as number) <= this.options.windowMs) return
      this.dropOldest()
    }
  }

  private write(slot: number, entry: DedupeEntry): void {
    this.payloads.write(slot, entry.payloadDigest)
    this.offsets[slot] = entry.offset
    this.times[slot] = entry.atMs
  }

  /** Where in the table the id is, or the free place where it would go. */
  private find(idDigest: string, hash: number): number {
    const mask = this.table.length - 1
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const slot = (this.table[at] as number) - 1
      if (slot < 0) return at
      if (this.hashes[slot] === hash && this.ids.equals(slot, idDigest)) return at
    }
  }

  private dropOldest(): void {
    const mask = this.table.length - 1
    let gap = (this.hashes[this.head] as number) & mask
    while (this.table[gap] !== this.head + 1) gap = (gap + 1) & mask
    // Whatever a later probe would no longer reach across the gap moves into it (Knuth 6.4, algorithm R).
    for (let at = (gap + 1) & mask; this.table[at] !== 0; at = (at + 1) & mask) {
      const home = (this.hashes[(this.table[at] as number) - 1] as number) & mask
      if (((at - home) & mask) < ((at - gap) & mask)) continue
      this.table[gap] = this.table[at] as number
      gap = at
    }
    this.table[gap] = 0
    this.head = (this.head + 1) % this.offsets.length
    this.count--
  }

  /** Only called when the ring is full; afterwards the oldest is in slot 0. */
  private grow(): void {
    const length = this.offsets.length
    const capacity = Math.max(length + 1, Math.min(Math.ceil(length * 1.5), this.options.idsMax))
    const order = <T extends Float64Array | Uint32Array>(from: T, to: T): T => {
      to.set(from.subarray(this.head))
      to.set(from.subarray(0, this.head), length - this.head)
      return to
    }
    this.offsets = order(this.offsets, new Float64Array(capacity))
    this.times = order(this.times, new Float64Array(capacity))
    this.hashes = order(this.hashes, new Uint32Array(capacity))
    this.ids = this.ids.rotated(this.head, length, capacity)
    this.payloads = this.payloads.rotated(this.head, length, capacity)
    this.head = 0
    this.table = new Int32Array(tableLength(capacity))
    const mask = this.table.length - 1
    for (let slot = 0; slot < length; slot++) {
      let at = (this.hashes[slot] as number) & mask
      while (this.table[at] !== 0) at = (at + 1) & mask
      this.table[at] = slot + 1
    }
  }
}

function tableLength(capacity: number): number {
  let length = 2
  while (length < capacity * 1.2) length *= 2
  return length
}

/**
 * One digest per slot: its length, then its UTF-16 units, in places as wide as the widest so far. One byte per unit as
 * long as all are Latin-1 and short, as digests are; two otherwise.
 */
class DigestColumn {
  private readonly capacity: number
  private width = 1
  private units: Uint8Array | Uint16Array

  constructor(capacity: number) {
    this.capacity = capacity
    this.units = new Uint8Array(capacity)
  }

  read(slot: number): string {
    const from = slot * this.width + 1
    const length = this.units[from - 1] as number
    let digest = ''
    for (let i = 0; i < length; i++) digest += String.fromCharCode(this.units[from + i] as number)
    return digest
  }

  write(slot: number, digest: string): void {
    this.makeRoom(digest)
    const from = slot * this.width + 1
    this.units[from - 1] = digest.length
    for (let i = 0; i < digest.length; i++) this.units[from + i] = digest.charCodeAt(i)
  }

  equals(slot: number, digest: string): boolean {
    const from = slot * this.width + 1
    if (this.units[from - 1] !== digest.length) return false
    for (let i = 0; i < digest.length; i++) {
      if (this.units[from + i] !== digest.charCodeAt(i)) return false
    }
    return true
  }

  /** A larger copy that begins with what is in slot `first`, of a ring of `length` slots. */
  rotated(first: number, length: number, capacity: number): DigestColumn {
    const copy = new DigestColumn(capacity)
    copy.width = this.width
    copy.units = allocate(this.units instanceof Uint16Array, capacity * this.width)
    copy.units.set(this.units.subarray(first * this.width, length * this.width))
    copy.units.set(this.units.subarray(0, first * this.width), (length - first) * this.width)
    return copy
  }

  private makeRoom(digest: string): void {
    if (digest.length > digestUnitsMax) {
      throw new RangeError(`a digest of ${digest.length} characters; ${digestUnitsMax} are the most`)
    }
    const twoBytes = this.units instanceof Uint16Array || digest.length > 0xff || !isLatin1(digest)
    const width = Math.max(this.width, digest.length + 1)
    if (width === this.width && twoBytes === this.units instanceof Uint16Array) return
    const roomy = allocate(twoBytes, this.capacity * width)
    for (let slot = 0; slot < this.capacity; slot++) {
      roomy.set(this.units.subarray(slot * this.width, (slot + 1) * this.width), slot * width)
    }
    this.units = roomy
    this.width = width
  }
}

function allocate(twoBytes: boolean, length: number): Uint8Array | Uint16Array {
  return twoBytes ? new Uint16Array(length) : new Uint8Array(length)
}

function isLatin1(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0xff) return false
  return true
}
