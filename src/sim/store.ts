/**
 * The simulated store: the real transaction semantics over a map, with latency, replies that get lost, nodes that cannot reach it, and leases on
 * its own clock. Watch batches travel separately from replies and may come later.
 */
import { asLeaseId, type LeaseId } from '../core/kernel/brand.js'
import { isSkeinError } from '../core/kernel/error.js'
import type {
  KeyValue,
  StoreReply,
  StoreRequest,
  Transaction,
  TransactionResult,
  WatchBatch,
  WatchEvent,
} from '../core/kernel/store-types.js'
import { evaluate, type Keyspace } from '../engines/store/evaluate.js'
import type { Scheduler } from './scheduler.js'

export interface StoreClient {
  readonly name: string
  /** Delivered in order; the client's process may be stopped, then later. */
  onBatch(batch: WatchBatch): void
}

export interface StoreFaults {
  delayMsMin: number
  delayMsMax: number
  /** Requests that are carried out but whose reply never comes. */
  lostReplyRate: number
}

export class SimStore {
  private readonly scheduler: Scheduler
  private readonly keys = new Map<string, KeyValue>()
  private readonly leases = new Map<LeaseId, { ttlMs: number; expiresMs: number }>()
  private readonly clients = new Set<StoreClient>()
  private readonly watchAtMs = new WeakMap<StoreClient, number>()
  private rev = 0n
  private nextLease = 1
  readonly unreachable = new Set<string>()
  faults: StoreFaults = { delayMsMin: 0.3, delayMsMax: 2, lostReplyRate: 0 }
  /** Sees every committed transaction, for the checkers. */
  onCommit: (client: string, tag: string, txn: Transaction, result: TransactionResult) => void = () => {}

  constructor(scheduler: Scheduler) {
    this.scheduler = scheduler
  }

  connect(client: StoreClient): void {
    this.clients.add(client)
  }

  disconnect(client: StoreClient): void {
    this.clients.delete(client)
  }

  isReachable(client: string): boolean {
    return !this.unreachable.has(client)
  }

  isLeaseAlive(lease: LeaseId): boolean {
    const l = this.leases.get(lease)
    return l !== undefined && l.expiresMs > this.scheduler.nowMs
  }

  get(key: string): KeyValue | undefined {
    return this.keys.get(key)
  }

  list(): { kvs: KeyValue[]; rev: bigint } {
    this.expire()
    return { kvs: [...this.keys.values()], rev: this.rev }
  }

  /** `reply` comes once, or never if the reply is lost: the client's own time-out speaks then. */
  request(client: string, tag: string, request: StoreRequest, reply: (r: StoreReply) => void): void {
    const { random } = this.scheduler
    const { faults } = this
    const toMs = random.between(faults.delayMsMin, faults.delayMsMax) / 2
    const fromMs = random.between(faults.delayMsMin, faults.delayMsMax) / 2
    if (!this.isReachable(client)) return
    this.scheduler.after(toMs, () => {
      if (!this.isReachable(client)) return
      const answer = this.carryOut(client, tag, request)
      if (random.chance(faults.lostReplyRate)) return
      this.scheduler.after(fromMs, () => {
        if (this.isReachable(client)) reply(answer)
      })
    })
  }

  private carryOut(client: string, tag: string, request: StoreRequest): StoreReply {
    this.expire()
    const now = this.scheduler.nowMs
    switch (request.op) {
      case 'lease_grant': {
        const lease = asLeaseId(`L${this.nextLease++}`)
        this.leases.set(lease, { ttlMs: request.ttlMs, expiresMs: now + request.ttlMs })
        this.scheduler.after(request.ttlMs + 1, () => this.expire())
        return { ok: true, op: 'lease_grant', lease, ttlMs: request.ttlMs }
      }
      case 'lease_keep_alive': {
        const lease = this.leases.get(request.lease)
        if (lease === undefined) return { ok: false, code: 'lease_not_found', detail: 'expired' }
        if (this.keys.has(request.unlessKey)) return { ok: false, code: 'fenced', detail: 'evicted' }
        lease.expiresMs = now + lease.ttlMs
        this.scheduler.after(lease.ttlMs + 1, () => this.expire())
        return { ok: true, op: 'lease_keep_alive', ttlMs: lease.ttlMs }
      }
      case 'lease_revoke':
        this.endLease(request.lease)
        return { ok: true, op: 'lease_revoke' }
      case 'txn':
        return this.transact(client, tag, request.txn)
    }
  }

  private transact(client: string, tag: string, txn: Transaction): StoreReply {
    const events: WatchEvent[] = []
    const rev = this.rev + 1n
    try {
      const done = evaluate(this.keyspace(events), txn, rev)
      if (done.wrote) this.rev = rev
      const result: TransactionResult = { ok: done.ok, rev: this.rev, results: done.results }
      this.onCommit(client, tag, txn, result)
      if (events.length > 0) this.publish({ rev, events })
      return { ok: true, op: 'txn', result }
    } catch (error) {
      if (isSkeinError(error)) return { ok: false, code: error.code, detail: error.message }
      throw error
    }
  }

  private keyspace(events: WatchEvent[]): Keyspace {
    const drop = (key: string, rev: bigint): number => {
      if (!this.keys.delete(key)) return 0
      events.push({ type: 'delete', key, modRev: rev })
      return 1
    }
    return {
      get: (key) => this.keys.get(key) ?? null,
      list: (prefix, limit) =>
        [...this.keys.values()].filter((kv) => kv.key.startsWith(prefix)).slice(0, limit),
      put: (kv) => {
        this.keys.set(kv.key, kv)
        events.push({ type: 'put', kv })
      },
      delete: drop,
      deletePrefix: (prefix, rev) =>
        [...this.keys.keys()].filter((k) => k.startsWith(prefix)).reduce((n, k) => n + drop(k, rev), 0),
      hasLease: (id) => this.isLeaseAlive(id),
    }
  }

  private expire(): void {
    for (const [id, lease] of this.leases) if (lease.expiresMs <= this.scheduler.nowMs) this.endLease(id)
  }

  private endLease(id: LeaseId): void {
    this.leases.delete(id)
    const gone = [...this.keys.values()].filter((kv) => kv.lease === id)
    if (gone.length === 0) return
    this.rev++
    const events = gone.map((kv): WatchEvent => {
      this.keys.delete(kv.key)
      return { type: 'delete', key: kv.key, modRev: this.rev }
    })
    this.scheduler.trace(`lease ${id} ended`)
    this.publish({ rev: this.rev, events })
  }

  private publish(batch: WatchBatch): void {
    for (const client of this.clients) {
      // Late when the store is slow, but never out of order.
      const lateMs = this.scheduler.random.between(0.2, this.faults.delayMsMax)
      const atMs = Math.max(this.scheduler.nowMs + lateMs, this.watchAtMs.get(client) ?? 0)
      this.watchAtMs.set(client, atMs)
      this.scheduler.at(atMs, () => {
        if (this.clients.has(client) && this.isReachable(client.name)) client.onBatch(batch)
      })
    }
  }
}
