/**
 * What a transaction means, written once for the drivers that run in this process: compares first, then the ops of
 * one branch in order, each seeing what the ones before it wrote, all writes under one revision.
 *
 * `Keyspace` is the little a driver provides. No I/O policy here: locking, committing and undoing are the driver's.
 */
import type { LeaseId, Revision } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { Compare, KeyValue, StoreOp, StoreOpResult, Transaction } from '../../core/kernel/store-types.js'

/** Synchronous access to the keys within one exclusive transaction. Writers also record the event for watchers. */
export interface Keyspace {
  get(key: string): KeyValue | null
  list(prefix: string, limit?: number): KeyValue[]
  put(kv: KeyValue): void
  /** Returns how many keys were deleted. */
  delete(key: string, rev: Revision): number
  deletePrefix(prefix: string, rev: Revision): number
  /** Is the lease granted and not expired? */
  hasLease(id: LeaseId): boolean
}

export interface Evaluation {
  readonly ok: boolean
  readonly wrote: boolean
  readonly results: readonly StoreOpResult[]
}

/**
 * Evaluates a checked transaction; its writes carry `rev`. Throws `lease_not_found` before the first write when a put
 * names a lease that does not live.
 */
export function evaluate(space: Keyspace, transaction: Transaction, rev: Revision): Evaluation {
  const ok = (transaction.if ?? []).every((compare) => holds(space.get(compare.key), compare))
  const ops = (ok ? transaction.then : transaction.else) ?? []
  for (const op of ops) {
    if (op.type === 'put' && op.lease !== undefined && !space.hasLease(op.lease)) {
      throw leaseNotFound(op.lease)
    }
  }
  let wrote = false
  const results = ops.map((op) => {
    const { result, changed } = carryOut(space, op, rev)
    wrote ||= changed
    return result
  })
  return { ok, wrote, results }
}

export function leaseNotFound(id: LeaseId): SkeinError {
  return new SkeinError('lease_not_found', 'the lease has expired or was revoked', { details: { lease: id } })
}

function carryOut(space: Keyspace, op: StoreOp, rev: Revision): { result: StoreOpResult; changed: boolean } {
  switch (op.type) {
    case 'get':
      return { result: { kv: space.get(op.key) }, changed: false }
    case 'list':
      return { result: { kvs: space.list(op.prefix, op.limit) }, changed: false }
    case 'put': {
      const before = space.get(op.key)
      const kv = {
        key: op.key,
        value: new Uint8Array(op.value),
        createRev: before?.createRev ?? rev,
        modRev: rev,
        version: (before?.version ?? 0) + 1,
        lease: op.lease ?? null,
      }
      space.put(kv)
      return { result: {}, changed: true }
    }
    case 'delete': {
      const deletedCount = space.delete(op.key, rev)
      return { result: { deletedCount }, changed: deletedCount > 0 }
    }
    case 'deletePrefix': {
      const deletedCount = space.deletePrefix(op.prefix, rev)
      return { result: { deletedCount }, changed: deletedCount > 0 }
    }
  }
}

function holds(kv: KeyValue | null, compare: Compare): boolean {
  switch (compare.target) {
    case 'createRev':
      return ordered(kv?.createRev ?? 0n, compare.op, compare.value)
    case 'modRev':
      return ordered(kv?.modRev ?? 0n, compare.op, compare.value)
    case 'version':
      return ordered(kv?.version ?? 0, compare.op, compare.value)
    case 'value': {
      const equal = Buffer.compare(kv?.value ?? new Uint8Array(), compare.value) === 0
      return equal === (compare.op === '=')
    }
    case 'lease':
      return ((kv?.lease ?? null) === compare.value) === (compare.op === '=')
  }
}

function ordered<T extends bigint | number>(actual: T, op: '=' | '!=' | '<' | '>', wanted: T): boolean {
  if (op === '=') return actual === wanted
  if (op === '!=') return actual !== wanted
  return op === '<' ? actual < wanted : actual > wanted
}
