/**
 * One node's handle on a memory store: the port's asynchronous face over the shared `MemoryStoreState`.
 *
 * For tests and the simulator, nothing outlives the process. `disconnect` makes this one handle lose the store, as a
 * node on the wrong side of a cut would.
 */
import type { LeaseId, Revision } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { KeyValue, Transaction, TransactionResult, WatchBatch } from '../../core/kernel/store-types.js'
import { checkKey, checkLimit, checkPrefix, checkTransaction } from '../../engines/store/rules.js'
import { followLog, type LogPage, RevisionBell } from '../../engines/store/watch.js'
import type { CallOptions, Store, StoreHealth, StoreInfo } from '../../ports/store.js'
import type { MemoryStoreState } from './memory-state.js'

/** Calls `run` once after `delayMs` unless the returned function is called first. */
export type Schedule = (delayMs: number, run: () => void) => () => void

export interface MemoryStoreOptions {
  /** What wakes the handle at the next expiry. Default: an unreferenced timer. A simulator passes its own. */
  readonly schedule?: Schedule
}

const realTimer: Schedule = (delayMs, run) => {
  const timer = setTimeout(run, delayMs).unref()
  return () => clearTimeout(timer)
}

export class MemoryStore implements Store {
  readonly #state: MemoryStoreState
  readonly #schedule: Schedule
  readonly #bell = new RevisionBell()
  #phase: 'new' | 'open' | 'closed' = 'new'
  /** Rung with the number of the cut that has healed; watches wait on it. */
  readonly #line = new RevisionBell()
  #cuts = 0n
  #cancelTimer: (() => void) | undefined
  #armedForMs: number | undefined
  #unsubscribe: (() => void) | undefined

  constructor(state: MemoryStoreState, options: MemoryStoreOptions = {}) {
    this.#state = state
    this.#schedule = options.schedule ?? realTimer
  }

  get info(): StoreInfo {
    return { driver: 'memory', identity: this.#state.identity, ttlMsMin: this.#state.ttlMsMin }
  }

  /** From now on every call of this handle fails as `unavailable` and its watches stand still. */
  disconnect(): void {
    if (this.#connected) this.#cuts += 1n
  }

  reconnect(): void {
    this.#line.ring(this.#cuts)
    this.#onChange()
  }

  get #connected(): boolean {
    return this.#line.head === this.#cuts
  }

  async open(options: CallOptions = {}): Promise<void> {
    this.#checkCallable(options)
    if (this.#phase === 'open') return
    this.#phase = 'open'
    this.#unsubscribe = this.#state.onChange(() => this.#onChange())
    this.#onChange()
  }

  async get(key: string, options?: CallOptions): Promise<{ kv: KeyValue | null; rev: Revision }> {
    checkKey(key)
    this.#check(options)
    return { kv: this.#state.get(key), rev: this.#state.rev }
  }

  async list(
    prefix: string,
    options: CallOptions & { limit?: number; startAfter?: string } = {},
  ): Promise<{ kvs: KeyValue[]; rev: Revision; more: boolean }> {
    checkPrefix(prefix)
    checkLimit(options.limit)
    this.#check(options)
    const all = this.#state.list(prefix, options.startAfter)
    const kvs = all.slice(0, options.limit)
    return { kvs, rev: this.#state.rev, more: kvs.length < all.length }
  }

  async txn(transaction: Transaction, options?: CallOptions): Promise<TransactionResult> {
    checkTransaction(transaction)
    this.#check(options)
    return this.#state.txn(transaction)
  }

  async leaseGrant(ttlMs: number, options?: CallOptions): Promise<{ id: LeaseId; ttlMs: number }> {
    this.#check(options)
    return this.#state.grant(ttlMs)
  }

  async leaseKeepAlive(
    id: LeaseId,
    options?: CallOptions & { unlessKey?: string },
  ): Promise<{ ttlMs: number }> {
    this.#check(options)
    return this.#state.keepAlive(id, options?.unlessKey)
  }

  async leaseRevoke(id: LeaseId, options?: CallOptions): Promise<void> {
    this.#check(options)
    this.#state.revoke(id)
  }

  watch(
    prefix: string,
    options: { fromRev?: Revision; signal: AbortSignal },
  ): AsyncGenerator<WatchBatch, void, undefined> {
    checkPrefix(prefix)
    this.#check()
    const from = options.fromRev ?? this.#state.rev + 1n
    const readPage = async (next: Revision): Promise<LogPage> => {
      await this.#line.reached(this.#cuts, options.signal)
      return this.#connected ? this.#state.readPage(prefix, next) : { batches: [], next }
    }
    return followLog({ bell: this.#bell, from, signal: options.signal, readPage })
  }

  async compact(rev: Revision, options?: CallOptions): Promise<void> {
    this.#check(options)
    this.#state.compact(rev)
  }

  async health(options?: CallOptions): Promise<StoreHealth> {
    const ok = this.#phase === 'open' && this.#connected && options?.signal?.aborted !== true
    return { ok, quorum: ok, detail: ok ? 'in memory' : 'not connected' }
  }

  async close(): Promise<void> {
    if (this.#phase === 'closed') return
    this.#phase = 'closed'
    this.#unsubscribe?.()
    this.#cancelTimer?.()
    this.#bell.close()
    this.#line.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #onChange(): void {
    if (this.#phase !== 'open') return
    if (this.#connected) this.#bell.ring(this.#state.rev)
    const deadlineMs = this.#state.nextDeadlineMs()
    if (deadlineMs === this.#armedForMs) return
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    this.#armedForMs = deadlineMs
    if (deadlineMs === undefined) return
    this.#cancelTimer = this.#schedule(Math.max(0, Math.ceil(deadlineMs - this.#state.nowMs())), () => {
      this.#armedForMs = undefined
      this.#state.tick()
      this.#onChange()
    })
  }

  #check(options?: CallOptions): void {
    if (this.#phase === 'new') throw new SkeinError('closed', 'the store has not been opened')
    this.#checkCallable(options)
  }

  #checkCallable(options?: CallOptions): void {
    if (this.#phase === 'closed') throw new SkeinError('closed', 'the store is closed')
    if (options?.signal?.aborted === true) throw new SkeinError('aborted', 'aborted by the caller')
    if (!this.#connected) {
      throw new SkeinError('unavailable', 'the store cannot be reached', { retryable: true })
    }
  }
}
