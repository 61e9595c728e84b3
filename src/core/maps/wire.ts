/**
 * Replicated maps between nodes: arrays of plain values, for any codec. Whatever comes is checked here in full: what does not fit answers undefined,
 * and nothing past this file has to doubt its shapes.
 */
import { utf8Length } from '../kernel/text.js'
import { allDots, type CounterCell, type Dot, type Entry, type Sibling } from './entry.js'
import {
  actorPattern,
  counterActorsMax,
  jsonDepthMax,
  keyBytesMax,
  type MapLimits,
  mapNamePattern,
  setElementsMax,
  siblingsMax,
  stampPattern,
} from './limits.js'

export const bucketCount = 256
/** Of what one node knows of; far above what `Replica` keeps. */
const actorsMax = 8_192
const pastMax = 8_192
const slotsPerAskMax = 200_000
/** Deltas of one frame. */
export const deltasMax = 10_000

/** What a node has seen: every write of an actor up to a number, and every actor it does not list that began before `retired`. */
export interface Seen {
  readonly actors: ReadonlyMap<string, number>
  readonly retired: string
  /** Under which it writes itself; empty before its first write. */
  readonly own: string
}

/** One write with all that its key holds after it. An entry of null: too large to be sent around, to be fetched. */
export interface Delta extends Dot {
  readonly map: string
  readonly key: string
  readonly entry: Entry | null
}

export interface Digest extends Seen {
  /** Two numbers for each bucket. */
  readonly sums: readonly number[]
}

/** A slot is known by the hash of map and key; the second hash is of what it holds. */
export type SlotMark = readonly [keyHash: string, hash: string]

export interface BucketsAsk {
  readonly buckets: readonly number[]
  /** What the asking node has of each. */
  readonly marks: readonly (readonly SlotMark[])[]
  /** Go on behind this one. */
  readonly after: readonly [index: number, keyHash: string]
}

export interface BucketsAnswer {
  readonly entries: readonly (readonly [map: string, key: string, entry: Entry])[]
  readonly large: readonly (readonly [map: string, key: string])[]
  /** Asked about, and not there. */
  readonly absent: readonly string[]
  readonly next: readonly [index: number, keyHash: string] | null
}

/** A piece of a large entry, as UTF-8 of its JSON. `sum` and `length` (bytes) are of the whole. */
export interface Chunk {
  readonly sum: string
  readonly length: number
  readonly offset: number
  readonly bytes: Uint8Array
}

export interface ChunkAsk {
  readonly map: string
  readonly key: string
  readonly sum: string
  readonly offset: number
}

// --- out -------------------------------------------------------------------------------------------------------------------

export function entryWire(e: Entry): unknown[] {
  return [
    e.stamp,
    [...e.past],
    e.values.map(({ actor, seq, stamp, text }) => [actor, seq, stamp, text]),
    e.floor,
    [...e.counter].map(([actor, { seq, plus, minus }]) => [actor, seq, plus, minus]),
    [...e.set].map(([element, dots]) => [element, dots.map(({ actor, seq }) => [actor, seq])]),
  ]
}

export function deltasWire(deltas: readonly Delta[]): unknown[] {
  return deltas.map((d) => [d.actor, d.seq, d.map, d.key, d.entry === null ? null : entryWire(d.entry)])
}

export function digestWire({ actors, retired, own, sums }: Digest): unknown[] {
  return [[...actors], retired, own, [...sums]]
}

export function digestAnswerWire({ actors, retired, own }: Seen, differing: readonly number[]): unknown[] {
  return [[...actors], retired, own, [...differing]]
}

export function bucketsAskWire({ buckets, marks, after }: BucketsAsk): unknown[] {
  return [[...buckets], marks.map((of) => of.map((mark) => [...mark])), [...after]]
}

export function bucketsAnswerWire({ entries, large, absent, next }: BucketsAnswer): unknown[] {
  return [
    entries.map(([map, key, entry]) => [map, key, entryWire(entry)]),
    large.map((of) => [...of]),
    [...absent],
    next === null ? null : [...next],
  ]
}

// --- in --------------------------------------------------------------------------------------------------------------------

type Limits = Pick<MapLimits, 'valueBytesMax'>

export function readDeltas(value: unknown, limits: Limits): Delta[] | undefined {
  return listOf(value, deltasMax, (row) => {
    if (!isRow(row, 5) || !isActor(row[0]) || !isSeq(row[1])) return undefined
    const at = placeOf(row[2], row[3])
    const entry = row[4] === null ? null : readEntry(row[4], limits)
    return at === undefined || entry === undefined ? undefined : { actor: row[0], seq: row[1], ...at, entry }
  })
}

export function readDigest(value: unknown): Digest | undefined {
  if (!isRow(value, 4)) return undefined
  const seen = readSeen(value[0], value[1], value[2])
  const sums = listOf(value[3], 2 * bucketCount, (n) => (isCount(n, 0xffff_ffff) ? n : undefined))
  return seen === undefined || sums?.length !== 2 * bucketCount ? undefined : { ...seen, sums }
}

export function readDigestAnswer(value: unknown): (Seen & { readonly differing: number[] }) | undefined {
  if (!isRow(value, 4)) return undefined
  const seen = readSeen(value[0], value[1], value[2])
  const differing = listOf(value[3], bucketCount, bucketOf)
  return seen === undefined || differing === undefined ? undefined : { ...seen, differing }
}

export function readBucketsAsk(value: unknown): BucketsAsk | undefined {
  if (!isRow(value, 3)) return undefined
  const buckets = listOf(value[0], bucketCount, bucketOf)
  const marks = listOf(value[1], bucketCount, (of) =>
    listOf(of, slotsPerAskMax, (mark): SlotMark | undefined =>
      isRow(mark, 2) && isHash(mark[0]) && isHash(mark[1]) ? [mark[0], mark[1]] : undefined,
    ),
  )
  const after = cursorOf(value[2])
  if (buckets === undefined || marks?.length !== buckets.length || after === undefined) return undefined
  return { buckets, marks, after }
}

export function readBucketsAnswer(value: unknown, limits: Limits): BucketsAnswer | undefined {
  if (!isRow(value, 4)) return undefined
  const entries = listOf(value[0], slotsPerAskMax, (row): [string, string, Entry] | undefined => {
    if (!isRow(row, 3)) return undefined
    const at = placeOf(row[0], row[1])
    const entry = readEntry(row[2], limits)
    return at === undefined || entry === undefined ? undefined : [at.map, at.key, entry]
  })
  const large = listOf(value[1], slotsPerAskMax, (row): [string, string] | undefined => {
    const at = isRow(row, 2) ? placeOf(row[0], row[1]) : undefined
    return at === undefined ? undefined : [at.map, at.key]
  })
  const absent = listOf(value[2], slotsPerAskMax, (hash) => (isHash(hash) ? hash : undefined))
  const next = value[3] === null ? null : cursorOf(value[3])
  if (entries === undefined || large === undefined || absent === undefined || next === undefined)
    return undefined
  return { entries, large, absent, next }
}

export function readChunkAsk(value: unknown): ChunkAsk | undefined {
  if (!isRow(value, 4) || typeof value[2] !== 'string' || value[2].length > 16) return undefined
  const at = placeOf(value[0], value[1])
  return at === undefined || !isCount(value[3]) ? undefined : { ...at, sum: value[2], offset: value[3] }
}

/** Null: not there any more. */
export function readChunk(value: unknown, lengthMax: number): Chunk | null | undefined {
  if (value === null) return null
  if (!isRow(value, 4)) return undefined
  const [sum, length, offset, bytes] = value
  if (!isHash(sum) || !isCount(length, lengthMax) || !isCount(offset, length)) return undefined
  if (!(bytes instanceof Uint8Array) || offset + bytes.length > length) return undefined
  return { sum, length, offset, bytes }
}

export function readEntry(value: unknown, { valueBytesMax }: Limits): Entry | undefined {
  if (!isRow(value, 6)) return undefined
  const [stamp, pastRows, valueRows, floor, counterRows, setRows] = value
  if (!isStamp(stamp) || typeof floor !== 'string' || (floor !== '' && !isStamp(floor)) || floor > stamp)
    return undefined
  const past = mapOf(pastRows, pastMax, (row) => (isRow(row, 2) ? dotOf(row[0], row[1]) : undefined), seqOf)
  const values = listOf(valueRows, siblingsMax, (row) => siblingOf(row, floor, stamp, valueBytesMax))
  const counter = mapOf(counterRows, counterActorsMax, cellOf, ({ seq, plus, minus }) => ({
    seq,
    plus,
    minus,
  }))
  const set = readSet(setRows, valueBytesMax)
  if (past === undefined || values === undefined || counter === undefined || set === undefined)
    return undefined
  const entry = { stamp, past, values, floor, counter, set }
  for (const _ of allDots(entry)) return entry
  // An entry that nobody wrote.
  return undefined
}

function siblingOf(row: unknown, after: string, newest: string, bytesMax: number): Sibling | undefined {
  if (!isRow(row, 4)) return undefined
  const dot = dotOf(row[0], row[1])
  const [, , stamp, text] = row
  if (dot === undefined || !isStamp(stamp) || stamp > newest || stamp <= after) return undefined
  return isJson(text, bytesMax) ? { ...dot, stamp, text } : undefined
}

function cellOf(row: unknown): (Dot & CounterCell) | undefined {
  const dot = isRow(row, 4) ? dotOf(row[0], row[1]) : undefined
  if (dot === undefined || !isRow(row, 4) || !isAmount(row[2]) || !isAmount(row[3])) return undefined
  return { ...dot, plus: row[2], minus: row[3] }
}

function readSet(value: unknown, bytesMax: number): ReadonlyMap<string, readonly Dot[]> | undefined {
  let bytes = 0
  const rows = listOf(value, setElementsMax, (row): [string, Dot[]] | undefined => {
    if (!isRow(row, 2) || !isJson(row[0], bytesMax)) return undefined
    bytes += row[0].length
    const dots = listOf(row[1], pastMax, (dot) => (isRow(dot, 2) ? dotOf(dot[0], dot[1]) : undefined))
    return dots === undefined || dots.length === 0 ? undefined : [row[0], dots]
  })
  return rows === undefined || bytes > bytesMax ? undefined : new Map(rows)
}

function readSeen(rows: unknown, retired: unknown, own: unknown): Seen | undefined {
  if (own !== '' && !isActor(own)) return undefined
  if (typeof retired !== 'string' || (retired !== '' && !isStamp(retired))) return undefined
  const actors = mapOf(rows, actorsMax, (row) => (isRow(row, 2) ? dotOf(row[0], row[1]) : undefined), seqOf)
  return actors === undefined ? undefined : { actors, retired, own: own as string }
}

/** Undefined when an actor comes twice. */
function mapOf<T extends Dot, V>(
  rows: unknown,
  most: number,
  read: (row: unknown) => T | undefined,
  keep: (row: T) => V,
): ReadonlyMap<string, V> | undefined {
  const list = listOf(rows, most, read)
  if (list === undefined) return undefined
  const map = new Map(list.map((row) => [row.actor, keep(row)]))
  return map.size === list.length ? map : undefined
}

function listOf<T>(value: unknown, most: number, read: (item: unknown) => T | undefined): T[] | undefined {
  if (!Array.isArray(value) || value.length > most) return undefined
  const list: T[] = []
  for (const item of value) {
    const one = read(item)
    if (one === undefined) return undefined
    list.push(one)
  }
  return list
}

function placeOf(map: unknown, key: unknown): { map: string; key: string } | undefined {
  return typeof map === 'string' && mapNamePattern.test(map) && isKey(key) ? { map, key } : undefined
}

export function isKey(key: unknown): key is string {
  return typeof key === 'string' && key !== '' && key.length <= keyBytesMax && utf8Length(key) <= keyBytesMax
}

function cursorOf(value: unknown): [number, string] | undefined {
  if (!isRow(value, 2) || !isCount(value[0], bucketCount)) return undefined
  return value[1] === '' || isHash(value[1]) ? [value[0], value[1] as string] : undefined
}

function dotOf(actor: unknown, seq: unknown): Dot | undefined {
  return isActor(actor) && isSeq(seq) ? { actor, seq } : undefined
}

const seqOf = ({ seq }: Dot): number => seq
const bucketOf = (n: unknown): number | undefined => (isCount(n, bucketCount - 1) ? n : undefined)

function isRow(value: unknown, length: number): value is unknown[] {
  return Array.isArray(value) && value.length === length
}

function isActor(value: unknown): value is string {
  return typeof value === 'string' && actorPattern.test(value)
}

function isStamp(value: unknown): value is string {
  return typeof value === 'string' && stampPattern.test(value)
}

function isHash(value: unknown): value is string {
  return typeof value === 'string' && /^[0-9a-f]{16}$/.test(value)
}

function isSeq(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 1
}

function isCount(value: unknown, most = Number.MAX_SAFE_INTEGER): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most
}

function isAmount(value: unknown): value is number {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0
}

function isJson(text: unknown, bytesMax: number): text is string {
  if (typeof text !== 'string' || text.length > bytesMax || isTooDeep(text)) return false
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

/** Brackets nest deeper than is sure to be written out again. */
export function isTooDeep(text: string): boolean {
  let depth = 0
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit === 0x22) {
      for (i++; i < text.length && text.charCodeAt(i) !== 0x22; i++) if (text.charCodeAt(i) === 0x5c) i++
    } else if (unit === 0x5b || unit === 0x7b) {
      if (++depth > jsonDepthMax) return true
    } else if (unit === 0x5d || unit === 0x7d) depth--
  }
  return false
}
