/**
 * The default store: one SQLite file shared by all processes of one host.
 *
 * Every write is one BEGIN IMMEDIATE transaction that first ends the leases that are due and then does its work, so
 * the order of lock holders is the order of revisions. Leases run on the host's monotonic clock. Reads are snapshots
 * and never wait for writers. A lock that is taken is waited for outside SQLite; the event loop is never blocked on it.
 *
 * Needs a local filesystem and processes of one kernel and one time namespace; `open` refuses anything else.
 * Must not live here: SQL (`keyspace`, `history`, `schema`), waking (`pulse`), lock holders (`frozen-holder`).
 */
import { dirname } from 'node:path'
import type { LeaseId, Revision } from '../../core/kernel/brand.js'
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import type { KeyValue, Transaction, TransactionResult, WatchBatch } from '../../core/kernel/store-types.js'
import { monotonicMs } from '../../engines/sqlite/clock.js'
import { isBusy, openDatabase, retryBusy } from '../../engines/sqlite/connection.js'
import { prepareLocalDirectory } from '../../engines/sqlite/filesystem.js'
import { type HostScope, hostScope } from '../../engines/sqlite/host-scope.js'
import { ownIdentity } from '../../engines/sqlite/process-identity.js'
import { TurnKeeper } from '../../engines/sqlite/yielding.js'
import {
  checkKey,
  checkLimit,
  checkPrefix,
  checkTransaction,
  grantedTtlMs,
  isReadOnly,
} from '../../engines/store/rules.js'
import { followLog, type LogPage, RevisionBell } from '../../engines/store/watch.js'
import type { CallOptions, Store, StoreHealth, StoreInfo } from '../../ports/store.js'
import { Chores } from './chores.js'
import { FrozenHolder } from './frozen-holder.js'
import { type HistoryLimits, SqliteHistory } from './history.js'
import { SqliteKeyspace } from './keyspace.js'
import { Pulse } from './pulse.js'
import { ensureSchema, newHandleId, settleState } from './schema.js'
import { Transactor } from './transactor.js'

export interface SqliteStoreOptions {
  /** The file, made if missing. Its directory also gets the files `-wal`, `-shm` and `-signal`. */
  readonly path: string
  /** A shorter TTL is granted as this one, in ms. Default 100. Below it, scheduling noise would end healthy leases. */
  readonly ttlMsMin?: number
  /**
   * How long the write lock must be held without a break before its frozen holder may be ended, in ms. Default 5000,
   * the usual lease TTL. Lower: a process that the system merely starves may be ended. Higher: writing stands still longer.
   */
  readonly frozenHolderAfterMs?: number
  /** History kept for watchers, in ms. Default 600,000. A watcher that stood still for longer must list again. */
  readonly historyAgeMsMax?: number
  /** History kept for watchers, in changed keys. Default 100,000. */
  readonly historyRowsMax?: number
  /** How often history is cut, in ms. Default 10,000. */
  readonly compactEveryMs?: number
  /** Boot and time namespace to act under. Default: the real ones. For tests of reboots. */
  readonly scope?: HostScope
}

const timeoutMsDefault = 3000
/** Longer than a frozen holder is suffered: a node that starts meanwhile outlasts it. */
const openTimeoutMsDefault = 15_000
const ttlMsMinDefault = 100

/** What exists between open and close. */
interface Opened {
  readonly identity: string
  readonly handleId: string
  readonly transactor: Transactor
  readonly space: SqliteKeyspace
  readonly history: SqliteHistory
  readonly pulse: Pulse
}

export class SqliteStore implements Store {
  readonly #options: SqliteStoreOptions
  readonly #limits: HistoryLimits
  readonly #bell = new RevisionBell()
  readonly #chores: Chores
  readonly #turns = new TurnKeeper()
  #opening: Promise<void> | undefined
  #opened: Opened | undefined
  #frozen: FrozenHolder | undefined
  #closed = false
  #trouble: string | undefined

  constructor(options: SqliteStoreOptions) {
    this.#options = options
    this.#limits = {
      ageMsMax: options.historyAgeMsMax ?? 600_000,
      rowsMax: options.historyRowsMax ?? 100_000,
    }
    this.#chores = new Chores({
      nowMs: monotonicMs,
      compactEveryMs: options.compactEveryMs ?? 10_000,
      expire: () => this.#expire(),
      forgetOld: () => this.#forgetOld(),
      onTrouble: (error) => this.#onTrouble(error),
    })
  }

  get info(): StoreInfo {
    return { driver: 'sqlite', identity: this.#need().identity, ttlMsMin: this.#ttlMsMin }
  }

  get #ttlMsMin(): number {
    return this.#options.ttlMsMin ?? ttlMsMinDefault
  }

  /**
   * Errors: `data_dir_unusable` (not writable, or not a local disk), `corrupt`, `incompatible` (not a store, another
   * version, another time namespace), `timeout` (default deadline 15 s).
   */
  open(options: CallOptions = {}): Promise<void> {
    if (this.#closed) return Promise.reject(new SkeinError('closed', 'the store is closed'))
    this.#opening ??= this.#open(options).catch((error: unknown) => {
      this.#opening = undefined
      throw error
    })
    return this.#opening
  }

  async get(key: string, options?: CallOptions): Promise<{ kv: KeyValue | null; rev: Revision }> {
    checkKey(key)
    return this.#read('reading a key', options, ({ space }) => ({ kv: space.get(key), rev: space.rev }))
  }

  async list(
    prefix: string,
    options: CallOptions & { limit?: number; startAfter?: string } = {},
  ): Promise<{ kvs: KeyValue[]; rev: Revision; more: boolean }> {
    const { limit, startAfter } = options
    checkPrefix(prefix)
    checkLimit(limit)
    return this.#read('listing keys', options, ({ space }) => {
      const found = space.list(prefix, limit === undefined ? undefined : limit + 1, startAfter)
      const kvs = found.slice(0, limit)
      return { kvs, rev: space.rev, more: kvs.length < found.length }
    })
  }

  async txn(transaction: Transaction, options?: CallOptions): Promise<TransactionResult> {
    checkTransaction(transaction)
    if (isReadOnly(transaction)) {
      return this.#read('a transaction', options, ({ space }) => space.transact(transaction))
    }
    return this.#write('a transaction', options, ({ space }) => {
      space.endDueLeases()
      return space.transact(transaction)
    })
  }

  async leaseGrant(askedMs: number, options?: CallOptions): Promise<{ id: LeaseId; ttlMs: number }> {
    const ttlMs = grantedTtlMs(askedMs, this.#ttlMsMin)
    const id = await this.#write('granting a lease', options, ({ space }) => {
      space.endDueLeases()
      return space.grant(ttlMs, ownIdentity())
    })
    // Others must learn of a due time that may be earlier than any they know.
    this.#opened?.pulse.signal()
    return { id, ttlMs }
  }

  async leaseKeepAlive(
    id: LeaseId,
    options: CallOptions & { unlessKey?: string } = {},
  ): Promise<{ ttlMs: number }> {
    if (options.unlessKey !== undefined) checkKey(options.unlessKey)
    const renew = ({ space }: Opened) => ({ ttlMs: space.keepAlive(id, options.unlessKey) })
    return this.#write('renewing a lease', options, renew, false)
  }

  async leaseRevoke(id: LeaseId, options?: CallOptions): Promise<void> {
    await this.#write('revoking a lease', options, ({ space }) => {
      space.endDueLeases()
      space.endLease(id)
    })
  }

  watch(
    prefix: string,
    options: { fromRev?: Revision; signal: AbortSignal },
  ): AsyncGenerator<WatchBatch, void, undefined> {
    checkPrefix(prefix)
    const opened = this.#need()
    const from = options.fromRev ?? this.#latestRevision(opened) + 1n
    return this.#follow(prefix, from, options.signal, opened)
  }

  async compact(rev: Revision, options?: CallOptions): Promise<void> {
    let more = true
    while (more) {
      more = await this.#write('compacting', options, ({ space, history }) => {
        if (rev > space.rev) {
          throw new SkeinError('invalid_argument', 'a revision that does not exist yet cannot be compacted', {
            details: { rev, head: space.rev },
          })
        }
        return history.forgetBelow(Number(rev))
      })
    }
  }

  async health(options?: CallOptions): Promise<StoreHealth> {
    try {
      await this.#read('a health check', options, () => undefined)
      this.#need().transactor.checkFile()
    } catch (error) {
      return { ok: false, quorum: false, detail: error instanceof Error ? error.message : String(error) }
    }
    const detail = this.#frozen?.report ?? this.#trouble
    return { ok: detail === undefined, quorum: true, detail: detail ?? `${this.#options.path} answers` }
  }

  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    await this.#opening?.catch(() => undefined)
    const opened = this.#opened
    this.#opened = undefined
    this.#chores.stop()
    this.#frozen?.stop()
    this.#bell.close()
    if (opened === undefined) return
    opened.pulse.stop()
    try {
      const forget = opened.transactor.database.prepare('DELETE FROM handle WHERE id = ?')
      opened.transactor.write('closing', () => forget.run(opened.handleId), false)
    } catch {
      // The next handle that opens finds that this process is gone.
    }
    opened.transactor.database.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #open(options: CallOptions): Promise<void> {
    const { path } = this.#options
    const wait = {
      signal: options.signal,
      deadlineMs: monotonicMs() + (options.timeoutMs ?? openTimeoutMsDefault),
      what: `opening ${path}`,
    }
    prepareLocalDirectory(dirname(path))
    const database = await retryBusy(() => openDatabase(path, { openTimeoutMs: 0 }), wait)
    try {
      const transactor = new Transactor(database, {
        onBusy: () => this.#frozen?.onBusy(),
        onFree: () => this.#frozen?.onFree(),
      })
      this.#frozen = this.#watchHolder(transactor)
      const handleId = newHandleId()
      const attempt = () => transactor.write(wait.what, () => this.#settle(transactor, handleId))
      const { identity, space, history } = await retryBusy(attempt, wait)
      const pulse = new Pulse(`${path}-signal`, () => this.#onBeat())
      this.#opened = { identity, handleId, transactor, space, history, pulse }
      pulse.start()
      pulse.signal()
      this.#onBeat()
      this.#chores.start()
    } catch (error) {
      this.#frozen?.stop()
      this.#opened?.pulse.stop()
      this.#opened = undefined
      database.close()
      throw this.#explain(error)
    }
  }

  #settle(transactor: Transactor, id: string) {
    const { database, inode } = transactor
    ensureSchema(database)
    const space = new SqliteKeyspace(database)
    space.begin(monotonicMs())
    const scope = this.#options.scope ?? hostScope()
    const identity = settleState(database, space, { id, scope, process: ownIdentity(), inode })
    space.flush()
    return { identity, space, history: new SqliteHistory(database, space) }
  }

  /** Before the tables are there (another process may be frozen while making them) nobody is known. */
  #watchHolder(transactor: Transactor): FrozenHolder {
    const space = () => this.#opened?.space ?? new SqliteKeyspace(transactor.database)
    return new FrozenHolder({
      path: this.#options.path,
      afterMs: this.#options.frozenHolderAfterMs ?? 5000,
      nowMs: monotonicMs,
      tryLock: () => transactor.tryLock(),
      dataVersion: () => transactor.dataVersion(),
      knows: (process) => space().knows(process),
      leasesOf: (process) => space().leasesOf(process, monotonicMs()),
    })
  }

  #need(): Opened {
    if (this.#closed) throw new SkeinError('closed', 'the store is closed')
    if (this.#opened === undefined) throw new SkeinError('closed', 'the store has not been opened')
    return this.#opened
  }

  #read<T>(what: string, options: CallOptions | undefined, body: (opened: Opened) => T): Promise<T> {
    return this.#patiently(what, options, () => {
      const opened = this.#need()
      return opened.transactor.read(what, () => {
        opened.space.begin(monotonicMs())
        return body(opened)
      })
    })
  }

  async #write<T>(
    what: string,
    options: CallOptions | undefined,
    body: (opened: Opened) => T,
    durable = true,
  ): Promise<T> {
    return this.#patiently(what, options, () => this.#writeOnce(what, body, durable))
  }

  /** One attempt. Throws a busy error when the lock is taken. */
  #writeOnce<T>(what: string, body: (opened: Opened) => T, durable = true): T {
    const opened = this.#need()
    const { transactor, space, pulse } = opened
    let moved = false
    const work = () => {
      space.begin(monotonicMs())
      try {
        const value = body(opened)
        moved = space.flush()
        return value
      } catch (error) {
        // A refusal commits the leases it found due; after any other error nothing may be written.
        if (isSkeinError(error)) moved = space.flush()
        throw error
      }
    }
    try {
      const value = transactor.write(what, work, durable)
      if (moved) pulse.signal()
      return value
    } catch (error) {
      if (moved && isSkeinError(error)) pulse.signal()
      throw error
    }
  }

  async #patiently<T>(what: string, options: CallOptions | undefined, attempt: () => T): Promise<T> {
    const deadlineMs = monotonicMs() + (options?.timeoutMs ?? timeoutMsDefault)
    try {
      const value = await retryBusy(attempt, { signal: options?.signal, deadlineMs, what })
      await this.#turns.breathe()
      return value
    } catch (error) {
      throw this.#explain(error)
    }
  }

  /** A timeout says who is in the way, if that is known. */
  #explain(error: unknown): unknown {
    const report = this.#frozen?.report
    if (!isSkeinError(error) || error.code !== 'timeout' || report === undefined) return error
    return new SkeinError('timeout', `${error.message}: ${report}`, {
      retryable: true,
      details: { path: this.#options.path },
      cause: error,
    })
  }

  #latestRevision(opened: Opened): Revision {
    try {
      return BigInt(opened.transactor.read('starting a watch', () => opened.space.head().rev))
    } catch (error) {
      if (!isBusy(error)) throw error
      return this.#bell.head
    }
  }

  async *#follow(
    prefix: string,
    from: Revision,
    signal: AbortSignal,
    opened: Opened,
  ): AsyncGenerator<WatchBatch, void, undefined> {
    const release = opened.pulse.hold()
    const readPage = (next: Revision): Promise<LogPage> =>
      this.#read('watching', { signal }, ({ history }) => history.readPage(prefix, next))
    try {
      yield* followLog({ bell: this.#bell, from, signal, readPage })
    } finally {
      release()
    }
  }

  /** Something may have changed: wake the watches, see when the next lease is due. Never throws. */
  #onBeat(): void {
    const opened = this.#opened
    if (opened === undefined) return
    try {
      opened.transactor.checkFile()
      const { rev, dueMs } = opened.transactor.read('looking for changes', () => opened.space.head())
      this.#bell.ring(BigInt(rev))
      this.#trouble = undefined
      this.#chores.leaseDueAt(dueMs)
    } catch (error) {
      if (!isBusy(error)) this.#onTrouble(error)
    }
  }

  #expire(): void {
    const opened = this.#opened
    if (opened === undefined) return
    const { dueMs } = opened.transactor.read('looking for due leases', () => opened.space.head())
    if (dueMs !== null && dueMs <= monotonicMs()) {
      this.#writeOnce('ending due leases', ({ space }) => space.endDueLeases())
    }
    this.#onBeat()
  }

  #forgetOld(): boolean {
    const opened = this.#opened
    if (opened === undefined) return false
    const nowMs = monotonicMs()
    const hasOld = opened.transactor.read('looking for old history', () =>
      opened.history.hasOld(nowMs, this.#limits),
    )
    return hasOld && this.#writeOnce('compacting', ({ history }) => history.forgetOld(nowMs, this.#limits))
  }

  #onTrouble(error: unknown): void {
    this.#trouble = error instanceof Error ? error.message : String(error)
  }
}
