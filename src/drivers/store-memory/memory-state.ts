/**
 * The shared truth behind memory store handles: keys, leases and the log of one pretended store. Tests and the
 * simulator open as many handles on one state as they have nodes.
 *
 * Synchronous and driven by an injected clock. `tick` expires what is due; who calls it (a timer, or a simulator at
 * `nextDeadlineMs`) is the handles' or the simulator's affair. Must not live here: Promises, timers, real time.
 */
import type { LeaseId, Revision } from '../../core/kernel/brand.js'
import { asLeaseId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import type {
  KeyValue,
  Transaction,
  TransactionResult,
  WatchBatch,
  WatchEvent,
} from '../../core/kernel/store-types.js'
import { evaluate, type Keyspace, leaseNotFound } from '../../engines/store/evaluate.js'
import { compareKeys } from '../../engines/store/key-order.js'
import { grantedTtlMs } from '../../engines/store/rules.js'
import { compacted, type LogPage } from '../../engines/store/watch.js'

export interface MemoryStateOptions {
  /** The clock of the leases, in ms, never going back. */
  readonly nowMs: () => number
  readonly identity: string
  /** A shorter TTL is granted as this one, in ms. Default 100. */
  readonly ttlMsMin?: number
  /** Revisions kept for watchers. Default 100,000; the oldest are compacted away above it. */
  readonly historyMax?: number
}

interface Lease {
  readonly ttlMs: number
  expiresMs: number
  readonly keys: Set<string>
}

/** Batches of a page, so that a long catch-up does not copy the whole log at once. */
const pageBatchesMax = 256

export class MemoryStoreState {
  readonly identity: string
  readonly ttlMsMin: number
  readonly nowMs: () => number
  readonly #historyMax: number
  readonly #keys = new Map<string, KeyValue>()
  readonly #leases = new Map<LeaseId, Lease>()
  readonly #listeners = new Set<() => void>()
  /** Revisions ascending, one batch each; a failed transaction leaves no trace. */
  #log: WatchBatch[] = []
  #pending: WatchEvent[] = []
  #rev: Revision = 0n
  #compactRev: Revision = 0n
  #leaseCount = 0

  constructor(options: MemoryStateOptions) {
    this.nowMs = options.nowMs
    this.identity = options.identity
    this.ttlMsMin = options.ttlMsMin ?? 100
    this.#historyMax = options.historyMax ?? 100_000
  }

  get rev(): Revision {
    return this.#rev
  }

  /** Called after anything that a handle may be waiting for: a new revision, a new earliest expiry. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  get(key: string): KeyValue | null {
    const kv = this.#keys.get(key)
    return kv === undefined ? null : copy(kv)
  }

  list(prefix: string, startAfter?: string): KeyValue[] {
    return [...this.#keys.values()]
      .filter(({ key }) => key.startsWith(prefix))
      .filter(({ key }) => startAfter === undefined || compareKeys(key, startAfter) > 0)
      .sort((a, b) => compareKeys(a.key, b.key))
      .map(copy)
  }

  /** Expects a checked transaction. */
  txn(transaction: Transaction): TransactionResult {
    this.tick()
    const next = this.#rev + 1n
    const { ok, wrote, results } = evaluate(this.#keyspace, transaction, next)
    if (wrote) this.#commit(next)
    return { ok, rev: this.#rev, results }
  }

  grant(askedMs: number): { id: LeaseId; ttlMs: number } {
    const ttlMs = grantedTtlMs(askedMs, this.ttlMsMin)
    this.#leaseCount += 1
    const id = asLeaseId(`${this.identity}-${this.#leaseCount}`)
    this.#leases.set(id, { ttlMs, expiresMs: this.nowMs() + ttlMs, keys: new Set() })
    this.#notify()
    return { id, ttlMs }
  }

  keepAlive(id: LeaseId, unlessKey: string | undefined): { ttlMs: number } {
    const lease = this.#leases.get(id)
    if (lease === undefined || !this.#keyspace.hasLease(id)) throw leaseNotFound(id)
    if (unlessKey !== undefined && this.#keys.has(unlessKey)) {
      throw new SkeinError('fenced', `the lease is not renewed while ${unlessKey} exists`, {
        details: { lease: id, key: unlessKey },
      })
    }
    lease.expiresMs = this.nowMs() + lease.ttlMs
    return { ttlMs: lease.ttlMs }
  }

  revoke(id: LeaseId): void {
    this.tick()
    this.#endLease(id)
  }

  /** When the next lease falls due, undefined when there is none. */
  nextDeadlineMs(): number | undefined {
    let earliest: number | undefined
    for (const { expiresMs } of this.#leases.values()) earliest = Math.min(earliest ?? expiresMs, expiresMs)
    return earliest
  }

  /** Ends the leases that are due by now, each with a revision of its own. */
  tick(): void {
    const nowMs = this.nowMs()
    const due = [...this.#leases].filter(([, { expiresMs }]) => expiresMs <= nowMs)
    for (const [id] of due.sort(([, a], [, b]) => a.expiresMs - b.expiresMs)) this.#endLease(id)
  }

  compact(rev: Revision): void {
    if (rev > this.#rev) {
      throw new SkeinError('invalid_argument', 'a revision that does not exist yet cannot be compacted', {
        details: { rev, head: this.#rev },
      })
    }
    if (rev <= this.#compactRev) return
    this.#compactRev = rev
    const first = this.#log.findIndex((batch) => batch.rev >= rev)
    this.#log = first === -1 ? [] : this.#log.slice(first)
  }

  /** Throws `compacted` when `next` is no longer kept. */
  readPage(prefix: string, next: Revision): LogPage {
    if (next < this.#compactRev) throw compacted(next, this.#compactRev)
    const batches: WatchBatch[] = []
    for (let i = this.#indexOf(next); i < this.#log.length; i++) {
      const { rev, events } = this.#log[i]!
      const wanted = events.filter((event) => keyOf(event).startsWith(prefix))
      if (wanted.length === 0) continue
      batches.push({ rev, events: wanted.map(copyEvent) })
      if (batches.length === pageBatchesMax) return { batches, next: rev + 1n }
    }
    return { batches, next: next > this.#rev ? next : this.#rev + 1n }
  }

  /** Index of the first batch at or above a revision (binary search). */
  #indexOf(rev: Revision): number {
    let low = 0
    let high = this.#log.length
    while (low < high) {
      const middle = (low + high) >> 1
      if (this.#log[middle]!.rev < rev) low = middle + 1
      else high = middle
    }
    return low
  }

  #endLease(id: LeaseId): void {
    const lease = this.#leases.get(id)
    if (lease === undefined) return
    this.#leases.delete(id)
    const rev = this.#rev + 1n
    for (const key of [...lease.keys].sort(compareKeys)) this.#keyspace.delete(key, rev)
    if (this.#pending.length > 0) this.#commit(rev)
  }

  #commit(rev: Revision): void {
    this.#rev = rev
    this.#log.push({ rev, events: this.#pending })
    this.#pending = []
    const excess = this.#log.length - this.#historyMax
    if (excess > 0) this.compact(this.#log[excess]!.rev)
    this.#notify()
  }

  #notify(): void {
    for (const listener of [...this.#listeners]) listener()
  }

  readonly #keyspace: Keyspace = {
    get: (key) => this.get(key),
    list: (prefix, limit) => this.list(prefix).slice(0, limit),
    put: (kv) => {
      this.#detach(kv.key)
      if (kv.lease !== null) this.#leases.get(kv.lease)?.keys.add(kv.key)
      this.#keys.set(kv.key, kv)
      this.#pending.push({ type: 'put', kv })
    },
    delete: (key, rev) => {
      this.#detach(key)
      if (!this.#keys.delete(key)) return 0
      this.#pending.push({ type: 'delete', key, modRev: rev })
      return 1
    },
    deletePrefix: (prefix, rev) => {
      const keys = this.list(prefix).map(({ key }) => key)
      for (const key of keys) this.#keyspace.delete(key, rev)
      return keys.length
    },
    hasLease: (id) => (this.#leases.get(id)?.expiresMs ?? Number.NEGATIVE_INFINITY) > this.nowMs(),
  }

  #detach(key: string): void {
    const lease = this.#keys.get(key)?.lease ?? null
    if (lease !== null) this.#leases.get(lease)?.keys.delete(key)
  }
}

function keyOf(event: WatchEvent): string {
  return event.type === 'put' ? event.kv.key : event.key
}

/** Callers may write into what they got. */
function copy(kv: KeyValue): KeyValue {
  return { ...kv, value: new Uint8Array(kv.value) }
}

function copyEvent(event: WatchEvent): WatchEvent {
  return event.type === 'put' ? { type: 'put', kv: copy(event.kv) } : event
}
