/**
 * What every store driver refuses, equally: malformed keys, oversized values and transactions, writes of one
 * transaction that contradict each other. Pure checks; a driver calls them before it touches its engine.
 *
 * The limits are etcd's, so that a program that runs on one driver runs on all of them.
 */
import { SkeinError } from '../../core/kernel/error.js'
import { type StoreOp, storeLimits, type Transaction } from '../../core/kernel/store-types.js'

const loneSurrogate = /\p{Surrogate}/u

/** Throws `invalid_argument` or `payload_too_large`. A NUL or a lone surrogate has no faithful form in every engine. */
export function checkKey(key: string): void {
  if (key.length === 0) throw new SkeinError('invalid_argument', 'a key must not be empty')
  checkPrefix(key)
}

export function checkPrefix(prefix: string): void {
  if (prefix.includes('\0') || loneSurrogate.test(prefix)) {
    throw new SkeinError('invalid_argument', 'a key must be well-formed Unicode without NUL', {
      details: { key: prefix },
    })
  }
  const bytes = Buffer.byteLength(prefix)
  if (bytes > storeLimits.keyBytesMax) {
    throw tooLarge('key', bytes, storeLimits.keyBytesMax)
  }
}

export function checkLimit(limit: number | undefined): void {
  if (limit === undefined || (Number.isSafeInteger(limit) && limit >= 1)) return
  throw new SkeinError('invalid_argument', 'limit must be a whole number of at least 1', {
    details: { limit },
  })
}

/** Throws `invalid_argument` or `payload_too_large`; afterwards the transaction can be evaluated. */
export function checkTransaction(transaction: Transaction): void {
  const { if: compares = [], then = [], else: otherwise = [] } = transaction
  for (const list of [compares, then, otherwise]) {
    if (list.length > storeLimits.txnOpsMax) {
      throw tooLarge('operations of a transaction', list.length, storeLimits.txnOpsMax)
    }
  }
  let bytes = 0
  for (const compare of compares) {
    checkKey(compare.key)
    bytes += Buffer.byteLength(compare.key) + (compare.target === 'value' ? compare.value.byteLength : 0)
  }
  for (const op of [...then, ...otherwise]) bytes += checkOp(op)
  if (bytes > storeLimits.txnBytesMax) throw tooLarge('transaction', bytes, storeLimits.txnBytesMax)
  checkContradictions(then)
  checkContradictions(otherwise)
}

function checkOp(op: StoreOp): number {
  if (op.type === 'list' || op.type === 'deletePrefix') {
    checkPrefix(op.prefix)
    if (op.type === 'list') checkLimit(op.limit)
    return Buffer.byteLength(op.prefix)
  }
  checkKey(op.key)
  if (op.type !== 'put') return Buffer.byteLength(op.key)
  if (op.value.byteLength > storeLimits.valueBytesMax) {
    throw tooLarge('value', op.value.byteLength, storeLimits.valueBytesMax, op.key)
  }
  return Buffer.byteLength(op.key) + op.value.byteLength
}

/** A key written once has one modRev and one version per transaction: putting it twice, or putting and deleting it, is refused. */
function checkContradictions(ops: readonly StoreOp[]): void {
  const puts = new Set<string>()
  for (const op of ops) {
    if (op.type !== 'put') continue
    if (puts.has(op.key)) throw contradiction(op.key)
    puts.add(op.key)
  }
  for (const op of ops) {
    if (op.type === 'delete' && puts.has(op.key)) throw contradiction(op.key)
    if (op.type !== 'deletePrefix') continue
    for (const key of puts) if (key.startsWith(op.prefix)) throw contradiction(key)
  }
}

function contradiction(key: string): SkeinError {
  return new SkeinError('invalid_argument', 'a transaction writes the same key twice', { details: { key } })
}

function tooLarge(what: string, size: number, max: number, key?: string): SkeinError {
  return new SkeinError('payload_too_large', `${what}: ${size} exceeds the limit of ${max}`, {
    details: { size, max, ...(key === undefined ? {} : { key }) },
  })
}

/** Does the transaction write anything, whichever branch is taken? */
export function isReadOnly(transaction: Transaction): boolean {
  const writes = (op: StoreOp) => op.type !== 'get' && op.type !== 'list'
  return !(transaction.then?.some(writes) ?? false) && !(transaction.else?.some(writes) ?? false)
}

/** The TTL that is granted for the one asked, in whole ms. Throws `invalid_argument`. */
export function grantedTtlMs(askedMs: number, ttlMsMin: number): number {
  if (!(Number.isFinite(askedMs) && askedMs > 0)) {
    throw new SkeinError('invalid_argument', 'a lease needs a positive ttlMs', {
      details: { ttlMs: askedMs },
    })
  }
  return Math.max(Math.ceil(askedMs), ttlMsMin)
}
