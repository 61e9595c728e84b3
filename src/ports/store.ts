/**
 * The store: linearizable keys with revisions. It holds what must be true for the whole cluster (leases, the
 * leader, the shard map, releases, seals). Small values, few writes; events never go here.
 *
 * Drivers implement this and nothing more; election, ownership and caching are written once, in the core.
 * Contract: `src/testing/store-contract.ts`.
 */
import type { LeaseId, Revision } from '../core/kernel/brand.js'
import type { KeyValue, Transaction, TransactionResult, WatchBatch } from '../core/kernel/store-types.js'

export interface StoreInfo {
  readonly driver: string
  /** Random, made when the store was created, new after a restore: two stores never share one. */
  readonly identity: string
  /** A shorter TTL asked for is granted as this one. */
  readonly ttlMsMin: number
}

export interface CallOptions {
  readonly signal?: AbortSignal
  /** A deadline always applies. Default 3000. Over it: `timeout` for reads and writes that certainly were not
   * applied, `outcome_unknown` for a write that may have been. */
  readonly timeoutMs?: number
}

export interface StoreHealth {
  readonly ok: boolean
  /** The store answers linearizable reads. */
  readonly quorum: boolean
  readonly detail: string
}

/**
 * Errors are `SkeinError`s. `timeout`, `unavailable`, `aborted`, `disk_full`: certainly not applied. `outcome_unknown`: a write that
 * may or may not have been applied; a driver never retries it. Others: `lease_not_found`, `compacted` (details.compactRev),
 * `fenced`, `closed`, `corrupt`, `payload_too_large`, `invalid_argument`, `incompatible`, `unauthenticated`, and `store_mismatch`: the
 * store behind this handle is no longer the one that was opened; only a new process goes on.
 */
export interface Store extends AsyncDisposable {
  /** Valid after `open`. */
  readonly info: StoreInfo
  open(options?: CallOptions): Promise<void>
  /** Linearizable. */
  get(key: string, options?: CallOptions): Promise<{ kv: KeyValue | null; rev: Revision }>
  /** Linearizable, in UTF-8 byte order of the keys; kvs and rev come from one snapshot. */
  list(
    prefix: string,
    options?: CallOptions & { limit?: number; startAfter?: string },
  ): Promise<{ kvs: KeyValue[]; rev: Revision; more: boolean }>
  /** The only way to write. */
  txn(transaction: Transaction, options?: CallOptions): Promise<TransactionResult>
  /** Ids are never reused. `ttlMs` granted is at least what was asked; use the returned one. */
  leaseGrant(ttlMs: number, options?: CallOptions): Promise<{ id: LeaseId; ttlMs: number }>
  /**
   * Extends a lease that has not expired. Makes no revision and wakes no watcher. `lease_not_found` once expired or revoked: a lease
   * never revives.
   *
   * `unlessKey`: refuse with `fenced` while that key exists (an eviction mark). A key that is there when the call begins always refuses
   * it; one that is put while the call runs may lose against it (on etcd, which cannot extend a lease in a transaction; on SQLite the
   * check is part of it) and refuses the next. So a lease whose key stays ends at the latest one call and one TTL after the key was
   * put, and nobody may take its end for granted before.
   */
  leaseKeepAlive(id: LeaseId, options?: CallOptions & { unlessKey?: string }): Promise<{ ttlMs: number }>
  /** Deletes the lease's keys (watchers see the deletes). Idempotent. */
  leaseRevoke(id: LeaseId, options?: CallOptions): Promise<void>
  /**
   * Events under a prefix from revision `fromRev` on, gapless and in order; reconnects by itself. Default: from now, which is when
   * the store hears of it: nothing from before the call, but perhaps not a write that follows at once; name a revision where that
   * matters. Ends when `signal` aborts or the store closes; throws `compacted` when a revision still wanted is no longer kept.
   */
  watch(prefix: string, options: { fromRev?: Revision; signal: AbortSignal }): AsyncIterable<WatchBatch>
  /** Forget history below `rev`. */
  compact(rev: Revision, options?: CallOptions): Promise<void>
  health(options?: CallOptions): Promise<StoreHealth>
  /** Idempotent. Ends the watches. Does not revoke leases. */
  close(): Promise<void>
}
