/**
 * The store of many hosts: etcd, version 3.4 or later, through a thin client of ours.
 *
 * Linearizability, leases and history are etcd's. This file says how the port's calls become etcd's, and holds what is particular:
 * an identity under a key of its own, lease ids, the check before a renewal. Keys, compares and answers are translated in
 * `translate.ts`; the watch is in `watch.ts`; endpoints, deadlines and what may be repeated are in `engines/etcd`.
 *
 * The gRPC library is loaded when a store opens: a node on SQLite does not pay for it.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import type { LeaseId, Revision } from '../../core/kernel/brand.js'
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import type { KeyValue, Transaction, TransactionResult, WatchBatch } from '../../core/kernel/store-types.js'
import type { Attempt, EtcdClient } from '../../engines/etcd/client.js'
import type { EtcdTarget } from '../../engines/etcd/url.js'
import { monotonicMs } from '../../engines/sqlite/clock.js'
import {
  checkKey,
  checkLimit,
  checkPrefix,
  checkTransaction,
  grantedTtlMs,
  isReadOnly,
} from '../../engines/store/rules.js'
import type { CallOptions, Store, StoreHealth, StoreInfo } from '../../ports/store.js'
import {
  Keyspace,
  leaseIdOf,
  leaseNotFound,
  leaseNumber,
  opResult,
  translateTxn,
  unfold,
} from './translate.js'

const openTimeoutMsDefault = 15_000
/** Longer ones are refused by etcd. */
const ttlSecondsMax = 9_000_000_000

type Codec = typeof import('../../engines/etcd/codec.js')
type FollowPrefix = typeof import('./watch.js').followPrefix

interface Opened {
  readonly client: EtcdClient
  readonly codec: Codec
  readonly followPrefix: FollowPrefix
  readonly identity: string
  readonly ttlMsMin: number
}

export class EtcdStore implements Store {
  readonly #target: EtcdTarget
  readonly #space: Keyspace
  #opening: Promise<void> | undefined
  #opened: Opened | undefined
  /** What this handle found under the identity key when it opened. */
  #identityValue: string | undefined
  #client: EtcdClient | undefined
  #closed = false

  constructor(target: EtcdTarget) {
    this.#target = target
    this.#space = new Keyspace(target.namespace)
  }

  get info(): StoreInfo {
    const { identity, ttlMsMin } = this.#need()
    return { driver: 'etcd', identity, ttlMsMin }
  }

  /**
   * Errors: `bad_config` (a file of the URL cannot be read), `incompatible` (an etcd that is too old or known to corrupt data),
   * `unauthenticated` (certificates, user or password), `timeout`, `unavailable`. Default deadline 15 s.
   */
  open(options: CallOptions = {}): Promise<void> {
    if (this.#closed) return Promise.reject(new SkeinError('closed', 'the store is closed'))
    this.#opening ??= this.#open(options).catch((error: unknown) => {
      this.#opening = undefined
      this.#client?.close()
      this.#client = undefined
      throw error
    })
    return this.#opening
  }

  /** The cluster's members have changed. */
  useEndpoints(addresses: readonly string[]): void {
    this.#client?.useEndpoints(addresses)
  }

  async get(key: string, options?: CallOptions): Promise<{ kv: KeyValue | null; rev: Revision }> {
    checkKey(key)
    const { client, codec } = this.#need()
    const answer = await client.run('reading a key', 'read', options, (attempt) =>
      attempt.read(codec.calls.range, { key: this.#space.encode(key) }),
    )
    const kv = answer.kvs[0]
    return {
      kv: kv === undefined ? null : this.#space.keyValue(kv),
      rev: codec.toBig(answer.header.revision),
    }
  }

  async list(
    prefix: string,
    options: CallOptions & { limit?: number; startAfter?: string } = {},
  ): Promise<{ kvs: KeyValue[]; rev: Revision; more: boolean }> {
    const { limit, startAfter } = options
    checkPrefix(prefix)
    checkLimit(limit)
    const { client, codec } = this.#need()
    const range = this.#space.range(prefix, limit, startAfter)
    const answer = await client.run('listing keys', 'read', options, (attempt) =>
      attempt.read(codec.calls.range, range),
    )
    const kvs = answer.kvs.map((kv) => this.#space.keyValue(kv))
    return { kvs, rev: codec.toBig(answer.header.revision), more: answer.more }
  }

  async txn(transaction: Transaction, options?: CallOptions): Promise<TransactionResult> {
    checkTransaction(transaction)
    const { client, codec } = this.#need()
    const { request, depth } = translateTxn(this.#space, transaction)
    const readOnly = isReadOnly(transaction)
    const answer = await client.run('a transaction', readOnly ? 'read' : 'once', options, (attempt) =>
      readOnly ? attempt.read(codec.calls.txn, request) : attempt.send(codec.calls.txn, request),
    )
    const { ok, responses } = unfold(answer, depth)
    const ops = (ok ? transaction.then : transaction.else) ?? []
    const results = ops.map((op, at) => opResult(this.#space, op, responses[at]))
    return { ok, rev: codec.toBig(answer.header.revision), results }
  }

  /**
   * The id is ours: 63 random bits, refused by etcd while such a lease lives. etcd's own ids come from a member's number and wall
   * clock, so that a clock set back could repeat one.
   */
  async leaseGrant(askedMs: number, options?: CallOptions): Promise<{ id: LeaseId; ttlMs: number }> {
    const { client, ttlMsMin } = this.#need()
    const ttlMs = grantedTtlMs(askedMs, ttlMsMin)
    const seconds = Math.ceil(ttlMs / 1000)
    if (seconds > ttlSecondsMax) {
      throw new SkeinError('invalid_argument', 'the ttl is longer than etcd grants', { details: { ttlMs } })
    }
    const granted = await this.#grant(client, seconds, options)
    return { id: granted.id, ttlMs: granted.ttlMs }
  }

  /**
   * etcd extends leases outside of transactions, so `unlessKey` is read before, linearizably and at the same endpoint, in every
   * attempt. Sent again when an answer stays away: a renewal that comes twice is a renewal.
   */
  async leaseKeepAlive(
    id: LeaseId,
    options: CallOptions & { unlessKey?: string } = {},
  ): Promise<{ ttlMs: number }> {
    const { unlessKey } = options
    if (unlessKey !== undefined) checkKey(unlessKey)
    const { client, codec } = this.#need()
    const number = leaseNumber(id)
    if (number === undefined) throw leaseNotFound(id)
    const answer = await client.run('renewing a lease', 'repeatable', options, async (attempt) => {
      if (unlessKey !== undefined) {
        const mark = await attempt.read(codec.calls.range, {
          key: this.#space.encode(unlessKey),
          countOnly: true,
        })
        if (codec.toBig(mark.count) > 0n) {
          throw new SkeinError('fenced', 'the lease must not be renewed: its mark is there', {
            details: { lease: id, key: unlessKey },
          })
        }
      }
      return attempt.exchange(codec.calls.leaseKeepAlive, { id: number })
    })
    const ttlSeconds = Number(codec.toBig(answer.ttl))
    if (ttlSeconds <= 0) throw leaseNotFound(id)
    return { ttlMs: ttlSeconds * 1000 }
  }

  async leaseRevoke(id: LeaseId, options?: CallOptions): Promise<void> {
    const { client, codec } = this.#need()
    const number = leaseNumber(id)
    if (number === undefined) return
    await this.#revoke(client, codec, number, options)
  }

  watch(
    prefix: string,
    options: { fromRev?: Revision; signal: AbortSignal },
  ): AsyncGenerator<WatchBatch, void, undefined> {
    checkPrefix(prefix)
    const { client, followPrefix } = this.#need()
    const signal = AbortSignal.any([options.signal, client.closed])
    const from = options.fromRev === undefined ? this.#headRevision(signal) : Promise.resolve(options.fromRev)
    from.catch(() => undefined)
    return followPrefix({
      client,
      space: this.#space,
      prefix,
      from,
      signal,
      verify: (attempt) => this.#verify(attempt),
    })
  }

  /** etcd keeps its own one history: what is forgotten here is forgotten for every namespace of that etcd. */
  async compact(rev: Revision, options?: CallOptions): Promise<void> {
    const { client, codec } = this.#need()
    // etcd forgets the named revision too (its deletes, at least); the port keeps it.
    const upTo = rev - 1n
    if (upTo < 1n) return
    try {
      await client.run('compacting', 'repeatable', options, (attempt) =>
        attempt.send(codec.calls.compact, { revision: upTo.toString() }),
      )
    } catch (error) {
      if (!isSkeinError(error) || error.code !== 'compacted') throw error
    }
  }

  async health(options?: CallOptions): Promise<StoreHealth> {
    try {
      const { client } = this.#need()
      const startedMs = monotonicMs()
      const address = await client.run('a health check', 'read', options, async (attempt) => {
        await this.#verify(attempt)
        return attempt.endpoint.address
      })
      const open = client.isAuthenticationOff ? '; it asks for no password although one was given' : ''
      const detail = `etcd at ${address} answers after ${Math.ceil(monotonicMs() - startedMs)} ms${open}`
      return { ok: true, quorum: true, detail }
    } catch (error) {
      return { ok: false, quorum: false, detail: error instanceof Error ? error.message : String(error) }
    }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#client?.close()
    await this.#opening?.catch(() => undefined)
    this.#client?.close()
    this.#opened = undefined
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #open(options: CallOptions): Promise<void> {
    const { EtcdClient } = await import('../../engines/etcd/client.js')
    const codec = await import('../../engines/etcd/codec.js')
    const { followPrefix } = await import('./watch.js')
    const client = await EtcdClient.create({
      target: this.#target,
      probe: { key: this.#space.identityKey },
      onProbe: (answer) => this.#sameIdentity(answer.kvs[0]?.value),
    })
    this.#client = client
    const deadlineMs = monotonicMs() + (options.timeoutMs ?? openTimeoutMsDefault)
    const left = (): CallOptions => ({
      ...(options.signal === undefined ? {} : { signal: options.signal }),
      timeoutMs: Math.max(1, deadlineMs - monotonicMs()),
    })
    const { version } = await client.run('opening the store', 'read', left(), (attempt) =>
      attempt.read(codec.calls.status, {}),
    )
    assertKnownVersion(version)
    const identityValue = await this.#settleIdentity(client, codec, left)
    this.#identityValue = identityValue
    // etcd tells the least TTL (from its election timeout) only by granting it.
    const shortest = await this.#grant(client, 1, left(), codec)
    await this.#revoke(client, codec, shortest.number, left())
    if (this.#closed) throw new SkeinError('closed', 'the store is closed')
    const identity = `${identityValue}.${client.continuity.clusterId}`
    this.#opened = { client, codec, followPrefix, identity, ttlMsMin: shortest.ttlMs }
  }

  /** Reads the identity, or writes one if there is none; of several that write it, the first one wins. */
  async #settleIdentity(client: EtcdClient, codec: Codec, left: () => CallOptions): Promise<string> {
    const key = this.#space.identityKey
    const proposal = Buffer.from(randomUUID())
    for (;;) {
      const { kvs } = await client.run('opening the store', 'read', left(), (attempt) =>
        attempt.read(codec.calls.range, { key }),
      )
      if (kvs[0] !== undefined) return Buffer.from(kvs[0].value).toString('utf8')
      try {
        await client.run('making the store', 'once', left(), (attempt) =>
          attempt.send(codec.calls.txn, {
            compare: [{ key, target: 1, result: 0, createRevision: '0' }],
            success: [{ requestPut: { key, value: proposal } }],
            failure: [],
          }),
        )
      } catch (error) {
        // The next read tells.
        if (!isSkeinError(error) || error.code !== 'outcome_unknown') throw error
      }
    }
  }

  async #grant(client: EtcdClient, seconds: number, options?: CallOptions, codec = this.#need().codec) {
    const id = randomBytes(8).readBigUInt64BE() & 0x7fff_ffff_ffff_ffffn
    const number = id.toString()
    const answer = await client.run('granting a lease', 'once', options, (attempt) =>
      attempt.send(codec.calls.leaseGrant, { ttl: String(seconds), id: number }),
    )
    return { id: leaseIdOf(id), number, ttlMs: Number(codec.toBig(answer.ttl)) * 1000 }
  }

  /** May be repeated: an id never comes again. */
  async #revoke(client: EtcdClient, codec: Codec, number: string, options?: CallOptions): Promise<void> {
    try {
      await client.run('revoking a lease', 'repeatable', options, (attempt) =>
        attempt.send(codec.calls.leaseRevoke, { id: number }),
      )
    } catch (error) {
      if (!isSkeinError(error) || error.code !== 'lease_not_found') throw error
    }
  }

  /** The revision after the newest one, as soon as it can be learned. */
  async #headRevision(signal: AbortSignal): Promise<Revision> {
    const { client, codec } = this.#need()
    for (;;) {
      try {
        const answer = await client.run('starting a watch', 'read', { signal }, (attempt) =>
          attempt.read(codec.calls.range, { key: this.#space.identityKey, countOnly: true }),
        )
        return codec.toBig(answer.header.revision) + 1n
      } catch (error) {
        if (!isSkeinError(error) || !['timeout', 'unavailable'].includes(error.code)) throw error
      }
    }
  }

  async #verify(attempt: Attempt): Promise<void> {
    const answer = await attempt.read(this.#need().codec.calls.range, { key: this.#space.identityKey })
    this.#sameIdentity(answer.kvs[0]?.value)
  }

  #sameIdentity(value: Uint8Array | undefined): void {
    if (this.#identityValue === undefined) return
    const found = value === undefined ? undefined : Buffer.from(value).toString('utf8')
    if (found === this.#identityValue) return
    const now = found === undefined ? 'has none now' : `is ${found} now`
    this.#client?.continuity.break(`its identity was ${this.#identityValue} and ${now}`)
  }

  #need(): Opened {
    if (this.#closed) throw new SkeinError('closed', 'the store is closed')
    if (this.#opened === undefined) throw new SkeinError('closed', 'the store has not been opened')
    return this.#opened
  }
}

/** 3.5.0 to 3.5.2 are withdrawn by their makers: a crash under load may corrupt a member. */
function assertKnownVersion(version: string): void {
  const [major = 0, minor = 0, patch = 0] = version.split(/[.-]/).map(Number)
  const isOld = major < 3 || (major === 3 && minor < 4)
  const isWithdrawn = major === 3 && minor === 5 && patch <= 2
  if (!isOld && !isWithdrawn) return
  const reason = isOld ? 'too old' : 'known to corrupt data'
  throw new SkeinError('incompatible', `etcd ${version} is ${reason}; use 3.4, or 3.5.3 or later`, {
    details: { version },
  })
}
