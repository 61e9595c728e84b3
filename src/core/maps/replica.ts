/**
 * One node's copy of all replicated maps. Pure: local writes and what other nodes send go in, deltas to send and what changed come out; `pull.ts` is the
 * other half of catching up.
 *
 * What this node has *seen* is a number per actor: all its writes up to that one are in here, or have been superseded by what is. It rises with deltas
 * that come without a gap, and by a complete pull from another node, which is then known to hold nothing that we lack. It is what makes forgetting
 * safe: a write that was seen and is not here was overwritten or deleted, however long ago, and is not taken in again, so a deleted key does not come
 * back from a node that was away when its delete was forgotten. That node in turn drops what the others have seen and do not have.
 *
 * A delete is kept as a tombstone until every member has seen it, at least for `settleMs`; or for `horizonMs`, where some member has not. All that is lost
 * with a tombstone is that a write of an older stamp which no one here had seen, coming later still, is taken as new.
 */
import { SkeinError } from '../kernel/error.js'
import { utf8Decode, utf8Encode } from '../kernel/text.js'
import {
  allDots,
  bytesOf,
  type Dot,
  type Entry,
  joined,
  type Kind,
  type Known,
  kindOf,
  knowsNothing,
  liveDots,
  nodeOf,
  noEntry,
  type Sibling,
  withAdded,
  withDelete,
  withElements,
  withValue,
} from './entry.js'
import { counterActorsMax, type MapLimits, mapNamePattern, setElementsMax } from './limits.js'
import { hash64, hashOf, isLive, type Slot, Slots } from './slots.js'
import {
  type BucketsAnswer,
  type BucketsAsk,
  bucketCount,
  type Chunk,
  type ChunkAsk,
  type Delta,
  type Digest,
  entryWire,
  isKey,
  isTooDeep,
  readEntry,
  type Seen,
} from './wire.js'

/** Of one answer. */
const pageEntries = 4_000
/** Actors whose writes are told apart; of more, the eldest that no longer count. */
const actorsKept = 1_024

export interface Instant {
  readonly wallMs: number
  /** Of the hybrid clock, later than every one before. Asked only when something is written. */
  stamp(): string
}

export interface Change {
  readonly map: string
  readonly key: string
  readonly entry: Entry
  readonly origin: 'local' | 'remote'
  /** Concurrent values that lost against another one, here and now. */
  readonly lost: readonly Sibling[]
}

export interface Refusal {
  readonly code: 'clock_skew' | 'overloaded' | 'protocol_violation'
  readonly map: string
  readonly key: string
  readonly detail: string
}

export interface Taken {
  readonly changes: readonly Change[]
  readonly refusals: readonly Refusal[]
  /** Large values that came as a hint: a pull will bring them. */
  readonly isMoreThere: boolean
}

type Write = (entry: Entry, dot: Dot, stamp: string) => Entry

export class Replica {
  readonly slots = new Slots()
  private readonly nodeId: string
  private readonly limits: MapLimits
  private actor: string | undefined
  private readonly actors = new Map<string, number>()
  private retired = ''
  /** What members said that they have seen. */
  private readonly heard = new Map<string, Seen>()
  private caughtUpAtMs = 0
  private encoded: { readonly entry: Entry; readonly sum: string; readonly bytes: Uint8Array } | undefined

  constructor(nodeId: string, limits: MapLimits) {
    this.nodeId = nodeId
    this.limits = limits
  }

  // --- reading ---------------------------------------------------------------------------------------------------------------

  get(map: string, key: string): Entry | undefined {
    const entry = this.slots.get(map, key)?.entry
    return entry === undefined || kindOf(entry) === undefined ? undefined : entry
  }

  *entries(map: string): Generator<readonly [string, Entry]> {
    for (const slot of this.slots.of(map)) if (isLive(slot)) yield [slot.key, slot.entry]
  }

  get seen(): Seen {
    return { actors: this.actors, retired: this.retired, own: this.actor ?? '' }
  }

  // --- local writes ----------------------------------------------------------------------------------------------------------

  /** Throws `invalid_argument`, `payload_too_large`, `overloaded`, `conflict` (the key holds something else), `clock_skew`. */
  set(at: Instant, map: string, key: string, text: string): { delta: Delta; change: Change } {
    this.checkText(text)
    return this.write(at, map, key, 'value', (entry, dot, stamp) => withValue(entry, dot, stamp, text))
  }

  /** Undefined when there was nothing to delete. */
  delete(at: Instant, map: string, key: string): { delta: Delta; change: Change } | undefined {
    this.checkPlace(map, key)
    if (this.get(map, key) === undefined) return undefined
    return this.write(at, map, key, undefined, withDelete)
  }

  add(at: Instant, map: string, key: string, by: number): { delta: Delta; change: Change } {
    if (!Number.isFinite(by)) throw new SkeinError('invalid_argument', `a finite number is added, not ${by}`)
    const cells = this.get(map, key)?.counter
    const isNew = this.actor === undefined || cells?.has(this.actor) === false
    if (isNew && (cells?.size ?? 0) >= counterActorsMax)
      throw new SkeinError(
        'overloaded',
        `${counterActorsMax} processes have added to "${key}": delete it to begin anew`,
        { details: { map, key } },
      )
    return this.write(at, map, key, 'counter', (entry, dot, stamp) => withAdded(entry, dot, stamp, by))
  }

  /** Elements as canonical JSON. Undefined when nothing changes. */
  change(
    at: Instant,
    map: string,
    key: string,
    add: readonly string[],
    remove: readonly string[],
  ): { delta: Delta; change: Change } | undefined {
    for (const text of add) this.checkText(text)
    this.checkPlace(map, key)
    const present = this.get(map, key)?.set
    const gone = remove.filter((element) => present?.has(element) === true && !add.includes(element))
    if (add.length === 0 && gone.length === 0) return undefined
    if ((present?.size ?? 0) - gone.length + add.length > setElementsMax)
      throw new SkeinError('payload_too_large', `a set holds ${setElementsMax} elements at most`, {
        details: { map, key, elements_max: setElementsMax },
      })
    return this.write(at, map, key, 'set', (entry, dot, stamp) => withElements(entry, dot, stamp, add, gone))
  }

  private write(
    at: Instant,
    map: string,
    key: string,
    kind: Kind | undefined,
    make: Write,
  ): { delta: Delta; change: Change } {
    this.checkPlace(map, key)
    const before = this.slots.get(map, key)?.entry ?? noEntry
    const held = kindOf(before)
    if (kind !== undefined && held !== undefined && held !== kind)
      throw new SkeinError('conflict', `"${key}" of map "${map}" holds a ${held}: delete it first`, {
        details: { map, key, kind: held },
      })
    const stamp = at.stamp()
    if (stamp <= before.stamp)
      throw new SkeinError('clock_skew', 'the clock of this node stands behind what it has taken in', {
        retryable: true,
      })
    const actor = this.actor ?? `${this.nodeId}~${stamp}`
    const dot = { actor, seq: (this.actors.get(actor) ?? 0) + 1 }
    const entry = make(before, dot, stamp)
    this.checkRoom(map, key, before, entry)
    this.actor = actor
    this.actors.set(actor, dot.seq)
    this.slots.put(map, key, entry)
    const isLarge = bytesOf(entry) > this.limits.largeBytes
    return {
      delta: { ...dot, map, key, entry: isLarge ? null : entry },
      change: { map, key, entry, origin: 'local', lost: [] },
    }
  }

  private checkPlace(map: string, key: string): void {
    if (!mapNamePattern.test(map))
      throw new SkeinError('invalid_argument', `map "${map}": 1 to 128 characters of A-Z a-z 0-9 . _ -`)
    if (!isKey(key)) throw new SkeinError('invalid_argument', 'a key has 1 to 1024 bytes of UTF-8')
  }

  private checkText(text: string): void {
    if (text.length > this.limits.valueBytesMax)
      throw new SkeinError('payload_too_large', `a value takes ${this.limits.valueBytesMax} bytes at most`, {
        details: { bytes_max: this.limits.valueBytesMax },
      })
    if (isTooDeep(text)) throw new SkeinError('too_deep', 'the value nests too deep')
  }

  private checkRoom(map: string, key: string, before: Entry, after: Entry): void {
    const { limits } = this
    const bytes = bytesOf(after)
    if (bytes > 2 * limits.valueBytesMax)
      throw new SkeinError(
        'payload_too_large',
        `"${key}" would take more than ${limits.valueBytesMax} bytes`,
        {
          details: { map, key, bytes_max: limits.valueBytesMax },
        },
      )
    if (kindOf(after) === undefined) return
    const trouble = this.fullOf(map, kindOf(before) === undefined, bytes - bytesOf(before), 1)
    if (trouble !== undefined) throw new SkeinError('overloaded', trouble, { details: { map, key } })
  }

  private fullOf(map: string, isNew: boolean, more: number, times: 1 | 2): string | undefined {
    const { limits, slots } = this
    const { live, gone, bytes } = slots.sizeOf(map)
    if (live + gone === 0 && slots.mapCount >= times * limits.mapsMax)
      return `there are ${limits.mapsMax} maps already`
    if (isNew && live >= times * limits.keysMax) return `map "${map}" holds ${limits.keysMax} keys already`
    if (more > 0 && bytes + more > times * limits.mapBytesMax)
      return `map "${map}" would take more than ${limits.mapBytesMax} bytes`
    if (more > 0 && slots.bytes + more > times * limits.totalBytesMax)
      return `all maps together would take more than ${limits.totalBytesMax} bytes`
    return undefined
  }

  // --- from others -----------------------------------------------------------------------------------------------------------

  /** Deltas as another node sent them, its own writes. */
  receive(wallMs: number, deltas: readonly Delta[]): Taken {
    const changes: Change[] = []
    const refusals: Refusal[] = []
    let isMoreThere = false
    for (const { actor, seq, map, key, entry } of deltas) {
      // Seen long ago: perhaps deleted since, and the delete forgotten.
      if (this.knows(actor, seq)) continue
      if (entry === null) {
        isMoreThere = true
        continue
      }
      const outcome =
        actor === this.actor || !hasSeen(entry, { actor, seq })
          ? { code: 'protocol_violation' as const, map, key, detail: 'a delta that is not what it says' }
          : this.take(wallMs, map, key, entry, knowsNothing)
      if (outcome !== undefined && 'code' in outcome) refusals.push(outcome)
      else {
        if (outcome !== undefined) changes.push(outcome)
        if (seq === (this.actors.get(actor) ?? 0) + 1) this.actors.set(actor, seq)
      }
    }
    this.boundActors()
    return { changes, refusals, isMoreThere }
  }

  /** What another node has of a key; `known`: what that node has seen. Undefined when it changes nothing. */
  take(wallMs: number, map: string, key: string, theirs: Entry, known: Known): Change | Refusal | undefined {
    const trouble = this.troubleOf(wallMs, theirs)
    if (trouble !== undefined) return { ...trouble, map, key }
    const before = this.slots.get(map, key)?.entry
    const ours = before ?? noEntry
    const entry = joined(ours, theirs, this.known, known)
    if (entry === ours) return undefined
    const isNew = kindOf(ours) === undefined && kindOf(entry) !== undefined
    const detail = this.fullOf(map, isNew, bytesOf(entry) - bytesOf(ours), 2)
    if (detail !== undefined && kindOf(entry) !== undefined) return { code: 'overloaded', map, key, detail }
    // A delete of what was never here: nothing to remember, it was seen already.
    if (before === undefined && kindOf(entry) === undefined && this.covers(this.seen, entry)) return undefined
    this.slots.put(map, key, entry)
    return { map, key, entry, origin: 'remote', lost: lostOf(ours, theirs, entry) }
  }

  /** What a node that has seen as much does not have is gone. Answers what changed. */
  absent(map: string, key: string, known: Known): Change | undefined {
    const slot = this.slots.get(map, key)
    if (slot === undefined || !isLive(slot)) return undefined
    const entry = joined(slot.entry, noEntry, this.known, known)
    if (entry === slot.entry) return undefined
    this.slots.put(map, key, entry)
    return { map, key, entry, origin: 'remote', lost: [] }
  }

  private troubleOf(wallMs: number, entry: Entry): Pick<Refusal, 'code' | 'detail'> | undefined {
    const aheadMs = Number.parseInt(entry.stamp.slice(0, 12), 16) - wallMs
    if (aheadMs > this.limits.skewMsMax)
      return {
        code: 'clock_skew',
        detail: `stamped ${Math.round(aheadMs)} ms ahead of this node's clock (limit ${this.limits.skewMsMax} ms)`,
      }
    const own = this.actor === undefined ? 0 : (this.actors.get(this.actor) ?? 0)
    for (const { actor, seq } of allDots(entry))
      if (actor === this.actor && seq > own)
        return { code: 'protocol_violation', detail: 'a write in the name of this node that it never made' }
    return undefined
  }

  // --- what was seen ---------------------------------------------------------------------------------------------------------

  readonly known: Known = (actor, seq) => this.knows(actor, seq)

  private knows(actor: string, seq: number): boolean {
    return knows(this.seen, actor, seq)
  }

  /** Everything that `seen` covers is in here now. */
  adopt(wallMs: number, { actors, retired }: Seen): void {
    this.caughtUpAtMs = wallMs
    if (retired > this.retired) this.retired = retired
    for (const [actor, seq] of actors)
      if (actor !== this.actor && (this.actors.get(actor) ?? 0) < seq) this.actors.set(actor, seq)
    this.boundActors()
  }

  /** A member has seen that much. */
  hear(nodeId: string, { actors, retired, own }: Seen): void {
    this.heard.set(nodeId, { actors: new Map(actors), retired, own })
  }

  /** That node began anew, or is no member any more. */
  forget(nodeId: string): void {
    this.heard.delete(nodeId)
  }

  /** The eldest whose writes count nowhere here are no longer told apart: they all count as seen. */
  private boundActors(): void {
    if (this.actors.size <= actorsKept * 2) return
    const needed = new Set<string>()
    for (const { entry } of this.slots.all()) for (const { actor } of liveDots(entry)) needed.add(actor)
    if (this.actor !== undefined) needed.add(this.actor)
    const byStart = [...this.actors.keys()].sort((a, b) => (startOf(a) < startOf(b) ? -1 : 1))
    for (const actor of byStart.slice(0, byStart.length - actorsKept)) {
      if (needed.has(actor)) continue
      this.actors.delete(actor)
      if (startOf(actor) > this.retired) this.retired = startOf(actor)
    }
  }

  // --- forgetting deletes ----------------------------------------------------------------------------------------------------

  /** Forgets the deletes that may be forgotten. `members`: everybody who may still hold what was deleted. */
  sweep(wallMs: number, members: readonly string[]): number {
    const seen = members.map((id) => (id === this.nodeId ? this.seen : this.heard.get(id)))
    const everybody = [this.seen, ...seen]
    const tooMany = new Set<string>()
    for (const map of this.slots.maps)
      if (this.slots.sizeOf(map).gone > this.limits.tombstonesMax) tooMany.add(map)
    let count = 0
    for (const slot of [...this.slots.all()]) {
      if (isLive(slot)) {
        this.shorten(slot, everybody)
        continue
      }
      const ageMs = wallMs - Number.parseInt(slot.entry.stamp.slice(0, 12), 16)
      if (ageMs >= this.limits.horizonMs && wallMs - this.caughtUpAtMs < this.limits.horizonMs / 2)
        this.closeGaps(slot.entry, members)
      if (!this.mayForget(slot.entry, ageMs, everybody, tooMany.has(slot.map))) continue
      this.slots.drop(slot)
      count++
    }
    return count
  }

  private mayForget(
    entry: Entry,
    ageMs: number,
    everybody: readonly (Seen | undefined)[],
    isFull: boolean,
  ): boolean {
    if (ageMs < this.limits.settleMs && !isFull) return false
    // What we have not seen in full ourselves we could not tell from news.
    if (!this.covers(this.seen, entry)) return false
    if (isFull || ageMs >= this.limits.horizonMs) return true
    return everybody.every((seen) => seen !== undefined && this.covers(seen, entry))
  }

  /** Writes that have not come in all this time, though we caught up with others, were lost with their process. */
  private closeGaps(entry: Entry, members: readonly string[]): void {
    for (const { actor, seq } of allDots(entry))
      if (!this.knows(actor, seq) && this.hasEnded(actor, members)) this.actors.set(actor, seq)
  }

  /** Its node is no member any more, or writes under another name now. */
  private hasEnded(actor: string, members: readonly string[]): boolean {
    const nodeId = nodeOf(actor)
    if (nodeId === this.nodeId) return actor !== this.actor
    if (!members.includes(nodeId)) return true
    const heard = this.heard.get(nodeId)
    return heard !== undefined && heard.own !== actor
  }

  private covers(seen: Seen, entry: Entry): boolean {
    for (const { actor, seq } of allDots(entry)) if (!knows(seen, actor, seq)) return false
    return true
  }

  /** Of a key that is there: what everybody has seen need not be said with it. */
  private shorten(slot: Slot, everybody: readonly (Seen | undefined)[]): void {
    const { entry } = slot
    if (entry.past.size === 0) return
    const past = new Map<string, number>()
    for (const [actor, seq] of entry.past)
      if (!everybody.every((seen) => seen !== undefined && knows(seen, actor, seq))) past.set(actor, seq)
    if (past.size < entry.past.size) this.slots.put(slot.map, slot.key, { ...entry, past })
  }

  // --- answering a pull ------------------------------------------------------------------------------------------------------

  digest(): Digest {
    return { ...this.seen, actors: new Map(this.actors), sums: this.slots.sums() }
  }

  /** Buckets in which the asking node has something else, or lacks a delete that it has not seen. */
  differing(theirs: Digest): number[] {
    const own = this.slots.sums()
    const differing = new Set<number>()
    for (let i = 0; i < bucketCount; i++)
      if (own[2 * i] !== theirs.sums[2 * i] || own[2 * i + 1] !== theirs.sums[2 * i + 1]) differing.add(i)
    for (const { bucket, entry } of this.slots.gone)
      if (!differing.has(bucket) && !this.covers(theirs, entry)) differing.add(bucket)
    return [...differing].sort((a, b) => a - b)
  }

  /**
   * One page of what the asking node lacks, has otherwise, or has though it is gone. Deletes that it has not seen are a part of it: knowing of them
   * without having them, it could not hold them against an older write that comes later.
   */
  answerBuckets(asker: string, { buckets, marks, after }: BucketsAsk): BucketsAnswer {
    const seen = this.heard.get(asker)
    const isWanted = (slot: Slot, mark: string | undefined): boolean =>
      isLive(slot)
        ? mark !== hashOf(slot)
        : mark !== undefined || seen === undefined || !this.covers(seen, slot.entry)
    const entries: [string, string, Entry][] = []
    const large: [string, string][] = []
    const absent: string[] = []
    let bytes = 0
    for (let index = after[0]; index < buckets.length; index++) {
      const bucket = buckets[index] as number
      const theirs = new Map(marks[index])
      const from = index === after[0] ? after[1] : ''
      if (from === '')
        for (const keyHash of theirs.keys())
          if (this.slots.byHash(keyHash) === undefined) absent.push(keyHash)
      for (const slot of this.slots.inBucket(bucket)) {
        if (slot.keyHash <= from || !isWanted(slot, theirs.get(slot.keyHash))) continue
        if (bytesOf(slot.entry) > this.limits.largeBytes) large.push([slot.map, slot.key])
        else {
          entries.push([slot.map, slot.key, slot.entry])
          bytes += slot.bytes
        }
        if (bytes >= this.limits.pageBytes || entries.length + large.length >= pageEntries)
          return { entries, large, absent, next: [index, slot.keyHash] }
      }
    }
    return { entries, large, absent, next: null }
  }

  answerChunk({ map, key, sum, offset }: ChunkAsk): Chunk | null {
    const entry = this.slots.get(map, key)?.entry
    if (entry === undefined) return null
    const whole = this.encode(entry)
    // Changed since the first piece: it begins anew.
    const from = sum === whole.sum && offset <= whole.bytes.length ? offset : 0
    return {
      sum: whole.sum,
      length: whole.bytes.length,
      offset: from,
      bytes: whole.bytes.subarray(from, from + this.limits.chunkBytes),
    }
  }

  private encode(entry: Entry): { readonly sum: string; readonly bytes: Uint8Array } {
    if (this.encoded?.entry === entry) return this.encoded
    const text = JSON.stringify(entryWire(entry))
    this.encoded = { entry, sum: hash64(text), bytes: utf8Encode(text) }
    return this.encoded
  }

  /** All pieces of an entry; undefined when they do not add up. */
  decode(bytes: Uint8Array, sum: string): Entry | undefined {
    const text = utf8Decode(bytes)
    if (hash64(text) !== sum || isTooDeep(text)) return undefined
    try {
      return readEntry(JSON.parse(text), this.limits)
    } catch {
      return undefined
    }
  }
}

export function knows({ actors, retired }: Seen, actor: string, seq: number): boolean {
  const upTo = actors.get(actor)
  return upTo === undefined ? startOf(actor) <= retired : upTo >= seq
}

function startOf(actor: string): string {
  return actor.slice(-24)
}

/** What was read on one side before and is not any more, though no one who wrote after it had seen it. */
function lostOf(ours: Entry, theirs: Entry, entry: Entry): Sibling[] {
  const top = entry.values[0]
  const lost: Sibling[] = []
  for (const [mine, other] of [
    [ours.values[0], theirs],
    [theirs.values[0], ours],
  ] as const) {
    if (mine === undefined || hasSeen(other, mine)) continue
    if (mine.actor !== top?.actor || mine.seq !== top.seq) lost.push(mine)
  }
  return lost
}

function hasSeen(entry: Entry, dot: Dot): boolean {
  for (const { actor, seq } of allDots(entry)) if (actor === dot.actor && seq >= dot.seq) return true
  return false
}
