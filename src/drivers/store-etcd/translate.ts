/**
 * The port's words in etcd's: keys below a namespace, transactions, and what comes back.
 *
 * Two compares have no direct form, because etcd lets every compare of a value fail on a key that is not there, and to us such a
 * key has an empty value: "value is not X", and "value is empty". Each becomes the else branch of its opposite, in a transaction
 * nested in the first.
 */
import { asLeaseId, type LeaseId, type Revision } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { Compare, KeyValue, StoreOp, StoreOpResult, Transaction } from '../../core/kernel/store-types.js'
import {
  type RangeRequest,
  type RequestOp,
  type ResponseOp,
  type TxnRequest,
  type TxnResponse,
  toBig,
  type WireCompare,
  type WireKeyValue,
} from '../../engines/etcd/codec.js'

/**
 * Keys of one cluster. The colon cannot occur in a namespace, so that no namespace reaches into another one's keys, whatever
 * they are called.
 */
export class Keyspace {
  readonly identityKey: Uint8Array
  readonly #prefix: Buffer

  constructor(namespace: string) {
    this.identityKey = Buffer.from(`${namespace}/:identity`)
    this.#prefix = Buffer.from(`${namespace}/:kv/`)
  }

  encode(key: string): Buffer {
    return Buffer.concat([this.#prefix, Buffer.from(key)])
  }

  decode(key: Uint8Array): string {
    return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('utf8', this.#prefix.byteLength)
  }

  /** All keys with a prefix, in byte order, from the first one after `startAfter` on. */
  range(prefix: string, limit?: number, startAfter?: string): RangeRequest & { rangeEnd: Uint8Array } {
    const first = this.encode(prefix)
    const after = startAfter === undefined ? first : Buffer.concat([this.encode(startAfter), Buffer.of(0)])
    const key = Buffer.compare(after, first) > 0 ? after : first
    return { key, rangeEnd: endOf(first), ...(limit === undefined ? {} : { limit }) }
  }

  keyValue(kv: WireKeyValue): KeyValue {
    const lease = toBig(kv.lease)
    return {
      key: this.decode(kv.key),
      // A copy: what was decoded is a view into the whole message.
      value: new Uint8Array(kv.value),
      createRev: toBig(kv.createRevision),
      modRev: toBig(kv.modRevision),
      version: Number(toBig(kv.version)),
      lease: lease === 0n ? null : leaseIdOf(lease),
    }
  }
}

/** UTF-8 has no byte 255, so the last byte can always be raised. */
function endOf(prefix: Buffer): Buffer {
  const end = Buffer.from(prefix)
  end[end.length - 1] = end[end.length - 1]! + 1
  return end
}

export function leaseIdOf(id: bigint): LeaseId {
  return asLeaseId(id.toString(16).padStart(16, '0'))
}

/** As etcd takes it; undefined for what was never a lease of etcd. */
export function leaseNumber(id: LeaseId): string | undefined {
  return /^[0-7][0-9a-f]{15}$/.test(id) ? BigInt(`0x${id}`).toString() : undefined
}

export interface TranslatedTxn {
  readonly request: TxnRequest
  /** How many transactions are nested in one another. */
  readonly depth: number
}

export function translateTxn(space: Keyspace, transaction: Transaction): TranslatedTxn {
  const success = (transaction.then ?? []).map((op) => requestOp(space, op))
  const failure = (transaction.else ?? []).map((op) => requestOp(space, op))
  const all = transaction.if ?? []
  const inverted = all.filter(needsInversion)
  let request: TxnRequest | undefined
  for (const compare of inverted) {
    request = {
      compare: [wireCompare(space, { ...compare, op: compare.op === '=' ? '!=' : '=' })],
      success: failure,
      failure: request === undefined ? success : [{ requestTxn: request }],
    }
  }
  const direct = all.filter((compare) => !needsInversion(compare)).map((one) => wireCompare(space, one))
  const nested = request === undefined ? success : [{ requestTxn: request }]
  return { request: { compare: direct, success: nested, failure }, depth: inverted.length }
}

type ValueCompare = Extract<Compare, { target: 'value' }>

/** Does the compare hold for a key that is not there? */
function needsInversion(compare: Compare): compare is ValueCompare {
  return compare.target === 'value' && (compare.op === '=') === (compare.value.byteLength === 0)
}

/** The branch that was taken, and its answers. */
export function unfold(
  answer: TxnResponse,
  depth: number,
): { ok: boolean; responses: readonly ResponseOp[] } {
  if (depth === 0) return { ok: answer.succeeded, responses: answer.responses }
  if (!answer.succeeded) return { ok: false, responses: answer.responses }
  let inner = answer.responses[0]?.responseTxn
  for (let level = 1; inner !== null && inner !== undefined; level++) {
    if (inner.succeeded) return { ok: false, responses: inner.responses }
    if (level === depth) return { ok: true, responses: inner.responses }
    inner = inner.responses[0]?.responseTxn
  }
  throw new SkeinError('incompatible', 'etcd answered a nested transaction in a form that is not known')
}

export function opResult(space: Keyspace, op: StoreOp, response: ResponseOp | undefined): StoreOpResult {
  switch (op.type) {
    case 'put':
      return {}
    case 'get': {
      const kv = response?.responseRange?.kvs[0]
      return { kv: kv === undefined ? null : space.keyValue(kv) }
    }
    case 'list':
      return { kvs: (response?.responseRange?.kvs ?? []).map((kv) => space.keyValue(kv)) }
    case 'delete':
    case 'deletePrefix':
      return { deletedCount: Number(toBig(response?.responseDeleteRange?.deleted ?? 0)) }
  }
}

function requestOp(space: Keyspace, op: StoreOp): RequestOp {
  switch (op.type) {
    case 'put': {
      const put = { key: space.encode(op.key), value: op.value }
      if (op.lease === undefined) return { requestPut: put }
      const lease = leaseNumber(op.lease)
      if (lease === undefined) throw leaseNotFound(op.lease)
      return { requestPut: { ...put, lease } }
    }
    case 'delete':
      return { requestDeleteRange: { key: space.encode(op.key) } }
    case 'deletePrefix': {
      const { key, rangeEnd } = space.range(op.prefix)
      return { requestDeleteRange: { key, rangeEnd } }
    }
    case 'get':
      return { requestRange: { key: space.encode(op.key) } }
    case 'list':
      return { requestRange: space.range(op.prefix, op.limit) }
  }
}

const results = { '=': 0, '>': 1, '<': 2, '!=': 3 } as const

function wireCompare(space: Keyspace, compare: Compare): WireCompare {
  const common = { key: space.encode(compare.key), result: results[compare.op] }
  switch (compare.target) {
    case 'version':
      return { ...common, target: 0, version: wholeNumber(compare.value) }
    case 'createRev':
      return { ...common, target: 1, createRevision: revisionText(compare.value) }
    case 'modRev':
      return { ...common, target: 2, modRevision: revisionText(compare.value) }
    case 'value':
      return { ...common, target: 3, value: compare.value }
    case 'lease':
      return { ...common, target: 4, lease: compare.value === null ? '0' : foreignLease(compare.value) }
  }
}

/** An id that etcd never gave out equals no lease: -1 is none of its either. */
function foreignLease(id: LeaseId): string {
  return leaseNumber(id) ?? '-1'
}

function wholeNumber(value: number): string {
  if (Number.isSafeInteger(value)) return String(value)
  throw new SkeinError('invalid_argument', 'a version is a whole number', { details: { version: value } })
}

export function revisionText(revision: Revision): string {
  return BigInt.asIntN(64, revision).toString()
}

export function leaseNotFound(id: LeaseId): SkeinError {
  return new SkeinError('lease_not_found', 'the lease has expired or was revoked', { details: { lease: id } })
}
