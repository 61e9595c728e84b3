/**
 * What one key of a replicated map holds, and how two copies of it become one. Pure.
 *
 * Every write has a dot, (actor, seq): an actor is one process that writes, seq counts its writes over all maps. An entry keeps the writes that still
 * count, and `past`, the writes that no longer do. Joining keeps a write that both copies have, or that the other has not seen; one that the other
 * has seen and does not have is gone there for a reason (Bieniusa et al. 2012, "An optimized conflict-free replicated set"). That makes `joined`
 * commutative, associative and idempotent whatever the values mean.
 *
 * `values` are the concurrent values of a plain key, the newest first: the first one is what is read, or all of them in a map that merges. `floor` is the
 * stamp of the last delete: no value from before it counts, seen or not. Counters (PN) and sets (observed-remove) live in a generation that the floor
 * names: a delete ends everything that was added without having seen it.
 */
import { dotBytes, siblingsMax } from './limits.js'

export interface Dot {
  readonly actor: string
  readonly seq: number
}

export interface Sibling extends Dot {
  /** Of the hybrid clock, as text. */
  readonly stamp: string
  /** JSON. */
  readonly text: string
}

export interface CounterCell {
  readonly seq: number
  readonly plus: number
  readonly minus: number
}

export interface Entry {
  /** Of its last write, whatever that was. */
  readonly stamp: string
  readonly past: ReadonlyMap<string, number>
  readonly values: readonly Sibling[]
  readonly floor: string
  readonly counter: ReadonlyMap<string, CounterCell>
  /** By the JSON of the element. */
  readonly set: ReadonlyMap<string, readonly Dot[]>
}

export type Kind = 'value' | 'counter' | 'set'
/** What is known to have been seen beside what the entry itself says. */
export type Known = (actor: string, seq: number) => boolean

const nothing: ReadonlyMap<string, never> = new Map<string, never>()
export const noEntry: Entry = {
  stamp: '',
  past: nothing,
  values: [],
  floor: '',
  counter: nothing,
  set: nothing,
}
export const knowsNothing: Known = () => false

function later(a: string, b: string): string {
  if (a < b) return b
  return a
}

/** The later of two writes comes first; at the same stamp the higher actor, whose name begins with its node's. */
function newestFirst(a: Sibling, b: Sibling): number {
  if (a.stamp !== b.stamp) return a.stamp < b.stamp ? 1 : -1
  return a.actor < b.actor ? 1 : a.actor > b.actor ? -1 : b.seq - a.seq
}

/** The node that an actor is a process of. */
export function nodeOf(actor: string): string {
  return actor.slice(0, actor.lastIndexOf('~'))
}

/** What is read of it; undefined for a key that is not there. A value goes before a set, a set before a counter, where writers disagree. */
export function kindOf(entry: Entry): Kind | undefined {
  if (entry.values.length > 0) return 'value'
  if (entry.set.size > 0) return 'set'
  return entry.counter.size > 0 ? 'counter' : undefined
}

export function counterValue(entry: Entry): number {
  let value = 0
  for (const { plus, minus } of entry.counter.values()) value += plus - minus
  return value
}

/** The writes that count. */
export function* liveDots(entry: Entry): Generator<Dot> {
  yield* entry.values
  for (const [actor, { seq }] of entry.counter) yield { actor, seq }
  for (const dots of entry.set.values()) yield* dots
}

/** All writes that it knows of, some of them more than once. */
export function* allDots(entry: Entry): Generator<Dot> {
  for (const [actor, seq] of entry.past) yield { actor, seq }
  yield* liveDots(entry)
}

/** The last write of each actor that it knows of. */
function seenOf(entry: Entry): ReadonlyMap<string, number> {
  const seen = new Map<string, number>()
  for (const { actor, seq } of allDots(entry)) if ((seen.get(actor) ?? 0) < seq) seen.set(actor, seq)
  return seen
}

/** The same writes count in both. */
export function identityOf(entry: Entry): string {
  const only = entry.values[0]
  if (entry.values.length === 1 && entry.counter.size === 0 && entry.set.size === 0 && only !== undefined)
    return `${only.actor} ${only.seq}`
  const dots = [...liveDots(entry)].map(({ actor, seq }) => `${actor} ${seq}`)
  return dots.sort().join('\n')
}

export function bytesOf(entry: Entry): number {
  let bytes = dotBytes * (1 + entry.values.length + entry.counter.size) + 64 * entry.past.size
  for (const { text } of entry.values) bytes += 2 * text.length
  for (const [element, dots] of entry.set) bytes += 2 * element.length + dotBytes * dots.length
  return bytes
}

/** Joins two copies. `knownA` and `knownB`: what the holder of that copy has seen besides. Answers `a` itself where nothing changes. */
export function joined(a: Entry, b: Entry, knownA: Known, knownB: Known): Entry {
  const [inA, inB] = [seenOf(a), seenOf(b)]
  const seenA: Known = (actor, seq) => (inA.get(actor) ?? 0) >= seq || knownA(actor, seq)
  const seenB: Known = (actor, seq) => (inB.get(actor) ?? 0) >= seq || knownB(actor, seq)
  const floor = later(a.floor, b.floor)
  const entry: Entry = {
    stamp: later(a.stamp, b.stamp),
    past: nothing,
    values: joinedValues(a, b, floor, seenA, seenB),
    floor,
    counter: joinedCounter(a, b, floor, seenA, seenB),
    set: joinedSet(a, b, floor, seenA, seenB),
  }
  const next = { ...entry, past: pastOf(entry, a, b) }
  return isSame(a, next) ? a : next
}

/** Of more than are kept, the newest: the others count as overwritten. */
function joinedValues(a: Entry, b: Entry, floor: string, seenA: Known, seenB: Known): readonly Sibling[] {
  const isIn = (values: readonly Sibling[], { actor, seq }: Dot): boolean =>
    values.some((v) => v.actor === actor && v.seq === seq)
  return [
    ...a.values.filter((v) => isIn(b.values, v) || !seenB(v.actor, v.seq)),
    ...b.values.filter((v) => !isIn(a.values, v) && !seenA(v.actor, v.seq)),
  ]
    .filter(({ stamp }) => stamp > floor)
    .sort(newestFirst)
    .slice(0, siblingsMax)
}

function joinedCounter(
  a: Entry,
  b: Entry,
  floor: string,
  seenA: Known,
  seenB: Known,
): ReadonlyMap<string, CounterCell> {
  const ours = a.floor === floor ? a.counter : nothing
  const theirs = b.floor === floor ? b.counter : nothing
  if (ours.size + theirs.size === 0) return nothing
  const counter = new Map<string, CounterCell>()
  for (const [actor, cell] of ours) {
    const other = theirs.get(actor)
    if (other !== undefined) counter.set(actor, other.seq > cell.seq ? other : cell)
    else if (!seenB(actor, cell.seq)) counter.set(actor, cell)
  }
  for (const [actor, cell] of theirs)
    if (!ours.has(actor) && !seenA(actor, cell.seq)) counter.set(actor, cell)
  return counter
}

function joinedSet(
  a: Entry,
  b: Entry,
  floor: string,
  seenA: Known,
  seenB: Known,
): ReadonlyMap<string, readonly Dot[]> {
  const ours = a.floor === floor ? a.set : nothing
  const theirs = b.floor === floor ? b.set : nothing
  if (ours.size + theirs.size === 0) return nothing
  const set = new Map<string, readonly Dot[]>()
  for (const element of new Set([...ours.keys(), ...theirs.keys()])) {
    const mine: readonly Dot[] = ours.get(element) ?? []
    const its: readonly Dot[] = theirs.get(element) ?? []
    const isIn = (dots: readonly Dot[], { actor, seq }: Dot): boolean =>
      dots.some((d) => d.actor === actor && d.seq === seq)
    const dots = [
      ...mine.filter((d) => isIn(its, d) || !seenB(d.actor, d.seq)),
      ...its.filter((d) => !isIn(mine, d) && !seenA(d.actor, d.seq)),
    ]
    if (dots.length > 0) set.set(element, dots)
  }
  return set
}

/** Everything that either knew of and that does not follow from the writes that still count. */
export function pastOf(entry: Entry, ...before: readonly Entry[]): ReadonlyMap<string, number> {
  const live = new Map<string, number>()
  for (const { actor, seq } of allDots({ ...entry, past: nothing }))
    if ((live.get(actor) ?? 0) < seq) live.set(actor, seq)
  let past: Map<string, number> | undefined
  for (const old of before)
    for (const { actor, seq } of allDots(old)) {
      if ((live.get(actor) ?? 0) >= seq || (past?.get(actor) ?? 0) >= seq) continue
      past ??= new Map()
      past.set(actor, seq)
    }
  return past ?? nothing
}

function isSame(a: Entry, b: Entry): boolean {
  if (a.stamp !== b.stamp || a.floor !== b.floor || a.past.size !== b.past.size) return false
  if (a.values.length !== b.values.length || a.values.some((v, i) => !isSameDot(v, b.values[i]))) return false
  for (const [actor, seq] of b.past) if (a.past.get(actor) !== seq) return false
  return identityOf(a) === identityOf(b)
}

function isSameDot(a: Dot, b: Dot | undefined): boolean {
  return b !== undefined && a.actor === b.actor && a.seq === b.seq
}

// --- local writes ----------------------------------------------------------------------------------------------------------

/** `values` in place of everything that was seen. */
export function withValue(entry: Entry, dot: Dot, stamp: string, text: string): Entry {
  const next: Entry = { ...entry, stamp, past: nothing, values: [{ ...dot, stamp, text }] }
  return { ...next, past: pastOf(next, entry) }
}

export function withDelete(entry: Entry, dot: Dot, stamp: string): Entry {
  const next: Entry = { ...noEntry, stamp, floor: stamp, past: new Map([[dot.actor, dot.seq]]) }
  return { ...next, past: pastOf({ ...next, past: nothing }, entry, next) }
}

/** `by` may be negative. */
export function withAdded(entry: Entry, dot: Dot, stamp: string, by: number): Entry {
  const own = entry.counter.get(dot.actor) ?? { seq: 0, plus: 0, minus: 0 }
  const cell = { seq: dot.seq, plus: own.plus + Math.max(0, by), minus: own.minus + Math.max(0, -by) }
  const next: Entry = { ...entry, stamp, past: nothing, counter: new Map(entry.counter).set(dot.actor, cell) }
  return { ...next, past: pastOf(next, entry) }
}

/** Takes `add` in and `remove` out; what is in both is in. */
export function withElements(
  entry: Entry,
  dot: Dot,
  stamp: string,
  add: readonly string[],
  remove: readonly string[],
): Entry {
  const set = new Map(entry.set)
  for (const element of remove) set.delete(element)
  for (const element of add) set.set(element, [dot])
  const next: Entry = { ...entry, stamp, past: new Map([[dot.actor, dot.seq]]), set }
  return { ...next, past: pastOf({ ...next, past: nothing }, entry, next) }
}
