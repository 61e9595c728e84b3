/**
 * etcd's calls as typed codecs. A message is encoded from a plain object with fields in camel case: a field that is absent is
 * not sent, 64-bit numbers are given as decimal text and come back as bigint through {@link toBig}. Enumerations are numbers:
 * a library that turns an unknown name into 0 compares the wrong thing without a word.
 */
import protobuf from 'protobufjs'
import { SkeinError } from '../../core/kernel/error.js'
import { etcdProto } from './schema.js'

/** A 64-bit number as it is decoded. */
export interface Int64 {
  readonly low: number
  readonly high: number
}

export interface Header {
  readonly clusterId: Int64
  readonly memberId: Int64
  readonly revision: Int64
}

/** A call of etcd: where it is served, and how its messages become bytes. */
export interface EtcdCall<Request, Response> {
  readonly path: string
  readonly encode: (request: Request) => Buffer
  readonly decode: (bytes: Buffer) => Response
}

export interface WireKeyValue {
  readonly key: Uint8Array
  readonly createRevision: Int64
  readonly modRevision: Int64
  readonly version: Int64
  readonly value: Uint8Array
  readonly lease: Int64
}

export interface RangeRequest {
  readonly key: Uint8Array
  readonly rangeEnd?: Uint8Array
  readonly limit?: number
  readonly countOnly?: boolean
}

export interface RangeResponse {
  readonly header: Header
  readonly kvs: readonly WireKeyValue[]
  readonly more: boolean
  readonly count: Int64
}

export interface WireCompare {
  /** 0 equal, 1 greater, 2 less, 3 not equal. */
  readonly result: 0 | 1 | 2 | 3
  /** 0 version, 1 create, 2 mod, 3 value, 4 lease. */
  readonly target: 0 | 1 | 2 | 3 | 4
  readonly key: Uint8Array
  readonly version?: string
  readonly createRevision?: string
  readonly modRevision?: string
  readonly value?: Uint8Array
  readonly lease?: string
}

export interface RequestOp {
  readonly requestRange?: RangeRequest
  readonly requestPut?: { readonly key: Uint8Array; readonly value: Uint8Array; readonly lease?: string }
  readonly requestDeleteRange?: { readonly key: Uint8Array; readonly rangeEnd?: Uint8Array }
  readonly requestTxn?: TxnRequest
}

export interface TxnRequest {
  readonly compare: readonly WireCompare[]
  readonly success: readonly RequestOp[]
  readonly failure: readonly RequestOp[]
}

export interface ResponseOp {
  readonly responseRange: RangeResponse | null
  readonly responseDeleteRange: { readonly deleted: Int64 } | null
  readonly responseTxn: TxnResponse | null
}

export interface TxnResponse {
  readonly header: Header
  readonly succeeded: boolean
  readonly responses: readonly ResponseOp[]
}

export interface WatchRequest {
  readonly createRequest: {
    readonly key: Uint8Array
    readonly rangeEnd: Uint8Array
    readonly startRevision: string
    readonly progressNotify: boolean
    readonly fragment: boolean
  }
}

export interface WatchResponse {
  readonly header: Header
  readonly created: boolean
  readonly canceled: boolean
  readonly compactRevision: Int64
  readonly cancelReason: string
  readonly fragment: boolean
  /** Type 0 is a put, 1 a delete. */
  readonly events: readonly { readonly type: number; readonly kv: WireKeyValue }[]
}

export interface Member {
  readonly id: Int64
  /** Empty until the member has started. */
  readonly name: string
  readonly peerUrls: readonly string[]
  readonly clientUrls: readonly string[]
  readonly isLearner: boolean
}

export interface StatusResponse {
  readonly header: Header
  readonly version: string
  readonly dbSize: Int64
  readonly dbSizeInUse: Int64
  readonly leader: Int64
  readonly raftAppliedIndex: Int64
  readonly errors: readonly string[]
  readonly isLearner: boolean
}

/** Alarm 1 is no space, 2 corrupt. */
export interface AlarmMember {
  readonly memberId: Int64
  readonly alarm: number
}

interface WithHeader {
  readonly header: Header
}

const { root } = protobuf.parse(etcdProto)

function call<Request extends object, Response>(
  path: string,
  request: string,
  response: string,
): EtcdCall<Request, Response> {
  const [sent, answered] = [root.lookupType(request), root.lookupType(response)]
  return {
    path: `/etcdserverpb.${path}`,
    encode: (message) => sent.encode(message as protobuf.Message).finish() as Buffer,
    decode: (bytes) => answered.decode(bytes) as unknown as Response,
  }
}

export const calls = {
  range: call<RangeRequest, RangeResponse>('KV/Range', 'RangeRequest', 'RangeResponse'),
  txn: call<TxnRequest, TxnResponse>('KV/Txn', 'TxnRequest', 'TxnResponse'),
  compact: call<{ revision: string }, WithHeader>('KV/Compact', 'CompactionRequest', 'CompactionResponse'),
  watch: call<WatchRequest, WatchResponse>('Watch/Watch', 'WatchRequest', 'WatchResponse'),
  leaseGrant: call<{ ttl: string; id: string }, WithHeader & { id: Int64; ttl: Int64; error: string }>(
    'Lease/LeaseGrant',
    'LeaseGrantRequest',
    'LeaseGrantResponse',
  ),
  leaseRevoke: call<{ id: string }, WithHeader>(
    'Lease/LeaseRevoke',
    'LeaseRevokeRequest',
    'LeaseRevokeResponse',
  ),
  leaseKeepAlive: call<{ id: string }, WithHeader & { ttl: Int64 }>(
    'Lease/LeaseKeepAlive',
    'LeaseKeepAliveRequest',
    'LeaseKeepAliveResponse',
  ),
  authenticate: call<{ name: string; password: string }, WithHeader & { token: string }>(
    'Auth/Authenticate',
    'AuthenticateRequest',
    'AuthenticateResponse',
  ),
  memberAdd: call<
    { peerUrls: readonly string[]; isLearner: boolean },
    WithHeader & { member: Member; members: readonly Member[] }
  >('Cluster/MemberAdd', 'MemberAddRequest', 'MemberAddResponse'),
  memberRemove: call<{ id: string }, WithHeader & { members: readonly Member[] }>(
    'Cluster/MemberRemove',
    'MemberRemoveRequest',
    'MembersResponse',
  ),
  memberUpdate: call<{ id: string; peerUrls: readonly string[] }, WithHeader>(
    'Cluster/MemberUpdate',
    'MemberUpdateRequest',
    'MembersResponse',
  ),
  memberPromote: call<{ id: string }, WithHeader & { members: readonly Member[] }>(
    'Cluster/MemberPromote',
    'MemberPromoteRequest',
    'MembersResponse',
  ),
  memberList: call<object, WithHeader & { members: readonly Member[] }>(
    'Cluster/MemberList',
    'MemberListRequest',
    'MembersResponse',
  ),
  status: call<object, StatusResponse>('Maintenance/Status', 'StatusRequest', 'StatusResponse'),
  /** Action 0 lists, 2 ends an alarm. */
  alarm: call<
    { action: number; memberId?: string; alarm?: number },
    WithHeader & { alarms: readonly AlarmMember[] }
  >('Maintenance/Alarm', 'AlarmRequest', 'AlarmResponse'),
  moveLeader: call<{ targetId: string }, WithHeader>(
    'Maintenance/MoveLeader',
    'MoveLeaderRequest',
    'MoveLeaderResponse',
  ),
  snapshot: call<object, { remainingBytes: Int64; blob: Uint8Array }>(
    'Maintenance/Snapshot',
    'SnapshotRequest',
    'SnapshotResponse',
  ),
} as const

if (protobuf.util.Long === undefined) {
  throw new SkeinError('internal', 'the package "long" is missing: 64-bit numbers of etcd would lose digits')
}

/** Signed, as revisions, leases and versions are. A field that did not come decodes as 0. */
export function toBig(value: Int64 | number): bigint {
  if (typeof value === 'number') return BigInt(value)
  return (BigInt(value.high) << 32n) | BigInt(value.low >>> 0)
}

/** Unsigned, as the ids of clusters and members are; in hex, as etcd's own tools print them. */
export function toHex(value: Int64 | number): string {
  return BigInt.asUintN(64, toBig(value)).toString(16)
}
