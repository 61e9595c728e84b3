/** One replicated map as a program has it in hand: values instead of texts. */
import { SkeinError } from '../../core/kernel/error.js'
import { counterValue, type Entry, kindOf, nodeOf, type Sibling } from '../../core/maps/entry.js'
import type { MapChange, MapConflict, MapEntryView, MapOptions, ReplicatedMap } from './api-types.js'
import type { Maps } from './maps.js'

type Merge = NonNullable<MapOptions<unknown>['merge']>

export class OpenMap implements ReplicatedMap {
  readonly name: string
  private readonly maps: Maps
  private merge: Merge | undefined
  /** What `merge` made of the values of an entry. */
  private readonly merged = new WeakMap<Entry, unknown>()

  constructor(name: string, maps: Maps) {
    this.name = name
    this.maps = maps
  }

  get merges(): boolean {
    return this.merge !== undefined
  }

  mergeWith(merge: Merge | undefined): void {
    if (merge === undefined || merge === this.merge) return
    if (this.merge !== undefined)
      throw new SkeinError('conflict', `map "${this.name}" has another merge function already`)
    this.merge = merge
  }

  get size(): number {
    return this.maps.replica.slots.sizeOf(this.name).live
  }

  get(key: string): unknown {
    const entry = this.entry(key)
    return entry === undefined ? undefined : this.valueOf(entry)
  }

  has(key: string): boolean {
    return this.entry(key) !== undefined
  }

  set(key: string, value: unknown): void {
    const text = textOf(value)
    this.maps.write((at) => this.maps.replica.set(at, this.name, key, text))
  }

  delete(key: string): boolean {
    return this.maps.write((at) => this.maps.replica.delete(at, this.name, key)) !== undefined
  }

  *keys(): IterableIterator<string> {
    for (const [key] of this.maps.replica.entries(this.name)) yield key
  }

  *entries(): IterableIterator<[string, unknown]> {
    for (const [key, entry] of this.maps.replica.entries(this.name)) yield [key, this.valueOf(entry)]
  }

  show(key: string): MapEntryView | undefined {
    const entry = this.entry(key)
    return entry === undefined ? undefined : this.view(key, entry)
  }

  view(key: string, entry: Entry): MapEntryView | undefined {
    const kind = kindOf(entry)
    if (kind === undefined) return undefined
    const [top, ...others] = kind === 'value' ? entry.values : []
    return {
      key,
      kind,
      value: this.valueOf(entry),
      hlc: entry.stamp,
      nodeId: top === undefined ? null : nodeOf(top.actor),
      conflicts: others.map(({ text, stamp, actor }) => ({
        value: valueOfText(text),
        hlc: stamp,
        nodeId: nodeOf(actor),
      })),
    }
  }

  watch(listener: (change: MapChange) => void): () => void {
    return this.maps.watch(this.name, listener)
  }

  conflicts(): readonly MapEntryView[] {
    const found: MapEntryView[] = []
    for (const [key, entry] of this.maps.replica.entries(this.name)) {
      if (entry.values.length < 2) continue
      const view = this.view(key, entry)
      if (view !== undefined) found.push(view)
    }
    return found
  }

  onConflict(listener: (conflict: MapConflict) => void): () => void {
    return this.maps.onConflict(this.name, listener)
  }

  counter(key: string): ReturnType<ReplicatedMap['counter']> {
    const { maps, name } = this
    const read = (): number => {
      const entry = this.entry(key)
      return entry === undefined ? 0 : counterValue(entry)
    }
    return {
      get value() {
        return read()
      },
      add(by = 1) {
        maps.write((at) => maps.replica.add(at, name, key, by))
        return read()
      },
    }
  }

  elements(key: string): ReturnType<ReplicatedMap['elements']> {
    const { maps, name } = this
    const read = (): Entry['set'] => this.entry(key)?.set ?? new Map()
    return {
      get size() {
        return read().size
      },
      has: (element) => read().has(canonicalText(element)),
      values: () => elementsOf(read()),
      add(...elements) {
        maps.write((at) => maps.replica.change(at, name, key, elements.map(canonicalText), []))
      },
      remove(...elements) {
        maps.write((at) => maps.replica.change(at, name, key, [], elements.map(canonicalText)))
      },
    }
  }

  private entry(key: string): Entry | undefined {
    return this.maps.replica.get(this.name, key)
  }

  private valueOf(entry: Entry): unknown {
    const kind = kindOf(entry)
    if (kind === 'counter') return counterValue(entry)
    if (kind === 'set') return elementsOf(entry.set)
    const top = entry.values[0] as Sibling
    if (this.merge === undefined || entry.values.length < 2) return valueOfText(top.text)
    if (!this.merged.has(entry)) {
      const values = entry.values.map(({ text }) => valueOfText(text)).reverse()
      this.merged.set(entry, values.reduce(this.merge))
    }
    return this.merged.get(entry)
  }
}

/** Parsed anew for each reader: nobody can change what another one reads. */
export function valueOfText(text: string): unknown {
  return JSON.parse(text)
}

/** In an order that is the same on every node. */
function elementsOf(set: Entry['set']): unknown[] {
  return [...set.keys()].sort().map(valueOfText)
}

function textOf(value: unknown): string {
  if (typeof value === 'number' && !Number.isFinite(value))
    throw new SkeinError('invalid_argument', `${value} is no JSON value`)
  let text: string | undefined
  try {
    text = JSON.stringify(value)
  } catch (cause) {
    throw new SkeinError('invalid_argument', `the value is no JSON: ${String(cause)}`, { cause })
  }
  if (text === undefined)
    throw new SkeinError('invalid_argument', `a value of type ${typeof value} is no JSON`)
  return text
}

/** The same element has the same text, in whatever order its fields were given. */
function canonicalText(value: unknown): string {
  return textOf(sorted(valueOfText(textOf(value))))
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, each]) => [name, sorted(each)]),
  )
}
