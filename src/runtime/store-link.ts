/**
 * The store as the control plane uses it: requests of the machines out, the view's list and watch in, under the cluster's own prefix. Says
 * whether the store answers; never throws.
 */
import { isSkeinError } from '../core/kernel/error.js'
import type {
  Compare,
  KeyValue,
  StoreOp,
  StoreOpResult,
  StoreReply,
  StoreRequest,
  Transaction,
  TransactionResult,
  WatchBatch,
} from '../core/kernel/store-types.js'
import type { Store } from '../ports/store.js'
import { monotonicMs } from './host-clock.js'
import { type StoreOperation, storeOperations } from './metrics/engine-metrics.js'
import { OperationMeter } from './metrics/operation-meter.js'
import { pause } from './pause.js'

/** Answers of the store that are older than this do not count as a sign of life, ms. */
const healthyForMs = 3_000
const callTimeoutMs = 1_500
const relistPauseMs = 200

export interface StoreLinkEvents {
  onReset(kvs: readonly KeyValue[], rev: bigint): void
  onBatch(batch: WatchBatch): void
  onTrouble(detail: string): void
}

export class StoreLink {
  readonly meter = new OperationMeter<StoreOperation>(storeOperations)
  private readonly store: Store
  private readonly prefix: string
  private readonly events: StoreLinkEvents
  private readonly closing = new AbortController()
  private lastAnswerMs = 0
  private lastTrouble = ''

  constructor(store: Store, clusterName: string, events: StoreLinkEvents) {
    this.store = store
    this.prefix = `skein/${clusterName}/`
    this.events = events
  }

  get health(): { ok: boolean; detail: string } {
    const silentMs = monotonicMs() - this.lastAnswerMs
    if (silentMs <= healthyForMs) return { ok: true, detail: '' }
    return {
      ok: false,
      detail: this.lastTrouble === '' ? `no answer for ${Math.round(silentMs)} ms` : this.lastTrouble,
    }
  }

  async request(request: StoreRequest): Promise<StoreReply> {
    const options = { timeoutMs: callTimeoutMs }
    try {
      const reply = await this.carryOut(request, options)
      this.lastAnswerMs = monotonicMs()
      return reply
    } catch (error) {
      const code = isSkeinError(error) ? error.code : 'internal'
      const detail = error instanceof Error ? error.message : String(error)
      // These are answers, not silence.
      if (code === 'lease_not_found' || code === 'fenced') this.lastAnswerMs = monotonicMs()
      else this.trouble(`${code}: ${detail}`)
      return { ok: false, code, detail }
    }
  }

  private async carryOut(request: StoreRequest, options: { timeoutMs: number }): Promise<StoreReply> {
    switch (request.op) {
      case 'lease_grant': {
        const granted = this.meter.timed(request.op, () => this.store.leaseGrant(request.ttlMs, options))
        const { id, ttlMs } = await granted
        return { ok: true, op: 'lease_grant', lease: id, ttlMs }
      }
      case 'lease_keep_alive': {
        const unlessKey = this.prefix + request.unlessKey
        const { ttlMs } = await this.meter.timed(request.op, () =>
          this.store.leaseKeepAlive(request.lease, { ...options, unlessKey }),
        )
        return { ok: true, op: 'lease_keep_alive', ttlMs }
      }
      case 'lease_revoke':
        await this.meter.timed(request.op, () => this.store.leaseRevoke(request.lease, options))
        return { ok: true, op: 'lease_revoke' }
      case 'txn':
        return { ok: true, op: 'txn', result: await this.transact(request.txn) }
    }
  }

  /** Throws what the store throws. */
  async transact(txn: Transaction): Promise<TransactionResult> {
    const ours: Transaction = {
      if: (txn.if ?? []).map((c) => this.outCompare(c)),
      then: (txn.then ?? []).map((o) => this.outOp(o)),
      else: (txn.else ?? []).map((o) => this.outOp(o)),
    }
    const result = await this.meter.timed('txn', () => this.store.txn(ours, { timeoutMs: callTimeoutMs }))
    return { ...result, results: result.results.map((r) => this.inResult(r)) }
  }

  async list(prefix: string): Promise<KeyValue[]> {
    return (await this.listAll(prefix)).kvs
  }

  /** Lists and watches until `close`, again and again. */
  async run(): Promise<void> {
    const { signal } = this.closing
    while (!signal.aborted) {
      try {
        const { kvs, rev } = await this.listAll('')
        this.lastAnswerMs = monotonicMs()
        this.events.onReset(kvs, rev)
        for await (const batch of this.store.watch(this.prefix, { fromRev: rev + 1n, signal })) {
          this.events.onBatch({
            rev: batch.rev,
            events: batch.events.map((e) =>
              e.type === 'put'
                ? { type: 'put', kv: this.inKv(e.kv) }
                : { ...e, key: e.key.slice(this.prefix.length) },
            ),
          })
        }
      } catch (error) {
        if (signal.aborted) return
        const compacted = isSkeinError(error) && error.code === 'compacted'
        if (!compacted) this.trouble(error instanceof Error ? error.message : String(error))
        await pause(relistPauseMs, signal)
      }
    }
  }

  close(): void {
    this.closing.abort()
  }

  /** More than a page may change while we list: pages are only joined when they come from one revision. */
  private async listAll(prefix: string): Promise<{ kvs: KeyValue[]; rev: bigint }> {
    const options = { limit: 100_000, timeoutMs: callTimeoutMs * 2 }
    const listed = this.meter.timed('list', () => this.store.list(this.prefix + prefix, options))
    const { kvs, rev, more } = await listed
    if (more) throw new Error(`more than 100000 keys under ${this.prefix}`)
    return { kvs: kvs.map((kv) => this.inKv(kv)), rev }
  }

  private trouble(detail: string): void {
    if (detail !== this.lastTrouble) this.events.onTrouble(detail)
    this.lastTrouble = detail
  }

  private outCompare(compare: Compare): Compare {
    return { ...compare, key: this.prefix + compare.key }
  }

  private outOp(op: StoreOp): StoreOp {
    return 'prefix' in op ? { ...op, prefix: this.prefix + op.prefix } : { ...op, key: this.prefix + op.key }
  }

  private inKv(kv: KeyValue): KeyValue {
    return { ...kv, key: kv.key.slice(this.prefix.length) }
  }

  private inResult(result: StoreOpResult): StoreOpResult {
    if (result.kv != null) return { ...result, kv: this.inKv(result.kv) }
    return result.kvs === undefined ? result : { ...result, kvs: result.kvs.map((kv) => this.inKv(kv)) }
  }
}
