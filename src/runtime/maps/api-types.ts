/** What a program is told about replicated maps, and what it may ask of them. Types only. */
import type { NodeId } from '../../core/kernel/brand.js'

export type MapKind = 'value' | 'counter' | 'set'

export interface MapChange<V = unknown> {
  readonly map: string
  readonly key: string
  /** `deleted`: the key is not there any more. */
  readonly kind: MapKind | 'deleted'
  /** As `get` answers it. */
  readonly value: V | undefined
  readonly origin: 'local' | 'remote'
}

/** Two nodes wrote a key without having seen each other's value, and one of the two is not read any more. */
export interface MapConflict<V = unknown> {
  readonly map: string
  readonly key: string
  readonly lost: V
  /** Who wrote it, and when, by the hybrid clock. */
  readonly nodeId: NodeId
  readonly hlc: string
  /** What is read now; undefined where a delete won. */
  readonly value: V | undefined
}

export interface MapEntryView<V = unknown> {
  readonly key: string
  readonly kind: MapKind
  /** A number for a counter, an array for a set. */
  readonly value: V
  /** Of its last write. */
  readonly hlc: string
  /** Who wrote the value; null for counters and sets, which many write. */
  readonly nodeId: NodeId | null
  /** Concurrent values beside the one that is read, the newest first; they stay until the key is written again. */
  readonly conflicts: readonly { readonly value: V; readonly hlc: string; readonly nodeId: NodeId }[]
}

export interface MapSummary {
  readonly name: string
  readonly keys: number
  /** Deletes that are still remembered. */
  readonly tombstones: number
  readonly bytes: number
}

export interface MapOptions<V> {
  /**
   * What is read of concurrent values, folded from the oldest to the newest; the same function on every node that reads the map. Without it
   * the newest one is read.
   */
  readonly merge?: (older: V, newer: V) => V
}

/**
 * A map of JSON values that every node holds in full. Reads and writes are local and immediate; writes reach the others in a moment and survive as long
 * as one node that has them does. Errors of writes: `invalid_argument`, `too_deep`, `payload_too_large`, `overloaded` (too many keys or bytes), `conflict`
 * (the key holds a counter or a set), `clock_skew`, `closed`.
 */
export interface ReplicatedMap<V = unknown> {
  readonly name: string
  readonly size: number
  get(key: string): V | undefined
  has(key: string): boolean
  set(key: string, value: V): void
  /** False when the key was not there. */
  delete(key: string): boolean
  keys(): IterableIterator<string>
  entries(): IterableIterator<[string, V]>
  /** With who wrote it, when, and what it won against. */
  show(key: string): MapEntryView<V> | undefined
  /** After each change, wherever it was made. Returns the way to stop. */
  watch(listener: (change: MapChange<V>) => void): () => void
  /** Keys whose value won against concurrent ones that are still kept. */
  conflicts(): readonly MapEntryView<V>[]
  /** Told once per lost value, on each node that saw it lose. Not for maps with `merge`. Returns the way to stop. */
  onConflict(listener: (conflict: MapConflict<V>) => void): () => void
  /** A number that adds up what all nodes added. A delete ends all additions that were made without having seen it. */
  counter(key: string): {
    readonly value: number
    /** `by` may be negative. Returns the new value, as this node knows it. */
    add(by?: number): number
  }
  /** A set of JSON values; of adding and removing the same element at the same time, adding wins. */
  elements(key: string): {
    readonly size: number
    has(element: unknown): boolean
    values(): readonly unknown[]
    add(...elements: readonly unknown[]): void
    remove(...elements: readonly unknown[]): void
  }
}

export interface MapsApi {
  /** Maps that hold anything, in order of name. */
  list(): readonly MapSummary[]
  /** One that holds nothing is not there; it needs no creation. */
  summary(name: string): MapSummary | undefined
  /** Once this node has caught up with another one, or there is none. */
  ready(): Promise<void>
  stats(): {
    readonly bytes: number
    /** Since this node started: writes of others that were refused, and pulls that ran through. */
    readonly refusedCount: number
    readonly conflictCount: number
    readonly pullCount: number
    /** Wall time of the last pull that ran through; 0 for never. */
    readonly caughtUpAtMs: number
  }
}
