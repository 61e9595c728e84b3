/**
 * The words in which the core speaks to the store: keys with revisions, guarded transactions, leases.
 * Pure data; the port (`ports/store.ts`) adds the calls, the drivers carry them out.
 */
import type { LeaseId, Revision } from './brand.js'
import type { ErrorCode } from './error.js'

export interface KeyValue {
  readonly key: string
  readonly value: Uint8Array
  /** Revision of the transaction that created the key (again, after a delete). */
  readonly createRev: Revision
  /** Revision of the transaction that last changed it. */
  readonly modRev: Revision
  /** 1 at creation, then +1 per change. */
  readonly version: number
  readonly lease: LeaseId | null
}

/** A key that does not exist compares as createRev 0, modRev 0, version 0, value empty, lease null. */
export type Compare =
  | {
      readonly key: string
      readonly target: 'createRev' | 'modRev'
      readonly op: '=' | '!=' | '<' | '>'
      readonly value: Revision
    }
  | {
      readonly key: string
      readonly target: 'version'
      readonly op: '=' | '!=' | '<' | '>'
      readonly value: number
    }
  | { readonly key: string; readonly target: 'value'; readonly op: '=' | '!='; readonly value: Uint8Array }
  | {
      readonly key: string
      readonly target: 'lease'
      readonly op: '=' | '!='
      readonly value: LeaseId | null
    }

export type StoreOp =
  /** Detaches the key from its former lease; attaches it to `lease` if one is named. */
  | { readonly type: 'put'; readonly key: string; readonly value: Uint8Array; readonly lease?: LeaseId }
  | { readonly type: 'delete'; readonly key: string }
  | { readonly type: 'deletePrefix'; readonly prefix: string }
  | { readonly type: 'get'; readonly key: string }
  | { readonly type: 'list'; readonly prefix: string; readonly limit?: number }

export interface StoreOpResult {
  readonly kv?: KeyValue | null
  readonly kvs?: readonly KeyValue[]
  readonly deletedCount?: number
}

/** All compares hold → `then`, otherwise `else`. All writes of one transaction share one revision. */
export interface Transaction {
  readonly if?: readonly Compare[]
  readonly then?: readonly StoreOp[]
  readonly else?: readonly StoreOp[]
}

export interface TransactionResult {
  readonly ok: boolean
  /** The store's revision after it; unchanged if nothing was written. */
  readonly rev: Revision
  readonly results: readonly StoreOpResult[]
}

export type WatchEvent =
  | { readonly type: 'put'; readonly kv: KeyValue }
  | { readonly type: 'delete'; readonly key: string; readonly modRev: Revision }

/** All events of one revision under the watched prefix, never split over two batches. */
export interface WatchBatch {
  readonly rev: Revision
  readonly events: readonly WatchEvent[]
}

/** Equal limits in every driver (they are etcd's). */
export const storeLimits = {
  keyBytesMax: 1024,
  valueBytesMax: 1_048_576,
  txnOpsMax: 128,
  txnBytesMax: 1_500_000,
} as const

/** What a machine asks of the store; the answer comes back as an input with the same tag. */
export type StoreRequest =
  | { readonly op: 'txn'; readonly txn: Transaction }
  | { readonly op: 'lease_grant'; readonly ttlMs: number }
  | { readonly op: 'lease_keep_alive'; readonly lease: LeaseId; readonly unlessKey: string }
  | { readonly op: 'lease_revoke'; readonly lease: LeaseId }

export type StoreReply =
  | { readonly ok: true; readonly op: 'txn'; readonly result: TransactionResult }
  | { readonly ok: true; readonly op: 'lease_grant'; readonly lease: LeaseId; readonly ttlMs: number }
  | { readonly ok: true; readonly op: 'lease_keep_alive'; readonly ttlMs: number }
  | { readonly ok: true; readonly op: 'lease_revoke' }
  | { readonly ok: false; readonly code: ErrorCode; readonly detail: string }

export interface StoreEffect {
  readonly type: 'store'
  readonly tag: string
  readonly request: StoreRequest
}
