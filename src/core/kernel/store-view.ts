/**
 * This node's copy of the cluster's keys, fed by one list and the watch after it, and by the results of our own
 * transactions. It may lag behind the store, never contradict it: whoever acts on it guards the transaction with the revision it saw.
 */
import type { Revision } from './brand.js'
import type { KeyValue, WatchBatch } from './store-types.js'
import { jsonDecode } from './text.js'

interface Cached {
  readonly kv: KeyValue
  parsed: unknown
  isParsed: boolean
}

export class StoreView {
  private readonly keys = new Map<string, Cached>()
  /** Keys by their first part, `nodes/` …: whoever asks for a few must not pay for a hundred thousand of another kind. */
  private readonly kinds = new Map<string, Set<string>>()
  private readonly changes = new Map<string, number>()
  /** Deletes seen, so that an older put that comes late does not bring a key back. Cleared by `reset`. */
  private readonly deletedAt = new Map<string, Revision>()
  rev: Revision = 0n
  /** False until the first list arrived. */
  synced = false

  reset(kvs: readonly KeyValue[], rev: Revision): void {
    if (this.synced && rev < this.rev) return
    for (const kind of this.kinds.keys()) this.count(kind)
    this.keys.clear()
    this.kinds.clear()
    this.deletedAt.clear()
    for (const kv of kvs) this.keep(kv)
    this.rev = rev
    this.synced = true
  }

  apply(batch: WatchBatch): void {
    for (const event of batch.events) {
      if (event.type === 'put') this.put(event.kv)
      else this.remove(event.key, event.modRev)
    }
    if (batch.rev > this.rev) this.rev = batch.rev
  }

  put(kv: KeyValue): void {
    const known = this.keys.get(kv.key)
    if (known !== undefined && known.kv.modRev >= kv.modRev) return
    const gone = this.deletedAt.get(kv.key)
    if (gone !== undefined && gone >= kv.modRev) return
    this.keep(kv)
  }

  private keep(kv: KeyValue): void {
    const { key } = kv
    const kind = kindOf(key)
    this.count(kind)
    if (!this.keys.has(key)) {
      const of = this.kinds.get(kind)
      if (of === undefined) this.kinds.set(kind, new Set([key]))
      else of.add(key)
    }
    this.keys.set(key, { kv, parsed: undefined, isParsed: false })
  }

  private remove(key: string, rev: Revision): void {
    const known = this.keys.get(key)
    if (known !== undefined && known.kv.modRev <= rev) {
      this.keys.delete(key)
      const kind = kindOf(key)
      this.count(kind)
      const of = this.kinds.get(kind)
      of?.delete(key)
      if (of?.size === 0) this.kinds.delete(kind)
    }
    if (this.deletedAt.size > 10_000) this.deletedAt.clear()
    this.deletedAt.set(key, rev)
  }

  private count(kind: string): void {
    this.changes.set(kind, this.changesOf(kind) + 1)
  }

  /** Rises whenever a key of that kind (`nodes/` …) changes: what was concluded from all of them holds while it stands. */
  changesOf(kind: string): number {
    return this.changes.get(kind) ?? 0
  }

  kv(key: string): KeyValue | undefined {
    return this.keys.get(key)?.kv
  }

  /** 0 for a key that does not exist: fits a Compare. */
  modRev(key: string): Revision {
    return this.keys.get(key)?.kv.modRev ?? 0n
  }

  /** The value as JSON, parsed once per change; undefined if the key is absent or not JSON. */
  json(key: string): unknown {
    const cached = this.keys.get(key)
    if (cached === undefined) return undefined
    if (!cached.isParsed) {
      cached.parsed = jsonDecode(cached.kv.value)
      cached.isParsed = true
    }
    return cached.parsed
  }

  /** Keys under a prefix, in no particular order. */
  under(prefix: string): string[] {
    const found: string[] = []
    const kind = kindOf(prefix)
    const keys = kind.endsWith('/') ? (this.kinds.get(kind) ?? none) : this.keys.keys()
    for (const key of keys) if (key.startsWith(prefix)) found.push(key)
    return found
  }
}

const none: ReadonlySet<string> = new Set()

function kindOf(key: string): string {
  return key.slice(0, key.indexOf('/') + 1) || key
}
