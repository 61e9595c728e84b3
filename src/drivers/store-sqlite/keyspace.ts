/**
 * The statements: keys, log, leases and revision of a store file within the transaction that the caller has open.
 *
 * Inside a write transaction `begin` loads the revision, the writers below hand out the next ones and record log rows,
 * and `flush` stores the last one. Must not live here: BEGIN, COMMIT, waiting, waking watchers.
 */
import { randomBytes } from 'node:crypto'
import { asLeaseId, type LeaseId, type Revision } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { KeyValue, Transaction, TransactionResult } from '../../core/kernel/store-types.js'
import type { Database, SqlValue, Statement } from '../../engines/sqlite/connection.js'
import type { ProcessIdentity } from '../../engines/sqlite/process-identity.js'
import { evaluate, type Keyspace, leaseNotFound } from '../../engines/store/evaluate.js'
import { prefixEnd } from '../../engines/store/key-order.js'

interface KvRow {
  readonly key: string
  readonly value: Uint8Array
  readonly create_rev: number
  readonly mod_rev: number
  readonly version: number
  readonly lease: string | null
}

/** Any BLOB sorts after every TEXT: the upper bound of a range that has none. */
const beyondText = new Uint8Array([0xff])

export const rangeEnd = (prefix: string): SqlValue => prefixEnd(prefix) ?? beyondText

export class SqliteKeyspace implements Keyspace {
  readonly #sql: ReturnType<typeof prepareAll>
  #rev = 0
  #storedRev = 0
  #nowMs = 0

  constructor(database: Database) {
    this.#sql = prepareAll(database)
  }

  /** Call first in every transaction; `nowMs` is the time at which leases are judged in it. */
  begin(nowMs: number): void {
    this.#nowMs = nowMs
    this.#storedRev = this.head().rev
    this.#rev = this.#storedRev
  }

  /** Call last in a write transaction. True when it made a revision. */
  flush(): boolean {
    if (this.#rev === this.#storedRev) return false
    this.#sql.setRev.run(this.#rev)
    this.#storedRev = this.#rev
    return true
  }

  get rev(): Revision {
    return BigInt(this.#rev)
  }

  /** The committed revision, the lowest one kept, and when the next lease falls due. One consistent read. */
  head(): { rev: number; compactRev: number; dueMs: number | null } {
    const row = this.#sql.head.get() as { rev: number; compactRev: number; dueMs: number | null } | undefined
    return row ?? { rev: 0, compactRev: 0, dueMs: null }
  }

  get(key: string): KeyValue | null {
    const row = this.#sql.get.get(key) as KvRow | undefined
    return row === undefined ? null : toKeyValue(row)
  }

  list(prefix: string, limit?: number, startAfter?: string): KeyValue[] {
    const end = rangeEnd(prefix)
    const count = limit ?? -1
    const rows =
      startAfter === undefined
        ? this.#sql.listFrom.all(prefix, end, count)
        : this.#sql.listAfter.all(prefix, end, startAfter, count)
    return (rows as KvRow[]).map(toKeyValue)
  }

  put(kv: KeyValue): void {
    const { key, value, version, lease } = kv
    const created = Number(kv.createRev)
    const rev = Number(kv.modRev)
    this.#sql.put.run(key, value, created, rev, version, lease)
    this.#sql.logPut.run(rev, this.#nowMs, key, value, created, version, lease)
  }

  delete(key: string, rev: Revision): number {
    const deleted = Number(this.#sql.delete.run(key).changes)
    if (deleted > 0) this.#sql.logDelete.run(Number(rev), this.#nowMs, key)
    return deleted
  }

  deletePrefix(prefix: string, rev: Revision): number {
    const end = rangeEnd(prefix)
    this.#sql.logDeleteRange.run(Number(rev), this.#nowMs, prefix, end)
    return Number(this.#sql.deleteRange.run(prefix, end).changes)
  }

  hasLease(id: LeaseId): boolean {
    return this.#sql.liveLease.get(id, this.#nowMs) !== undefined
  }

  /** Evaluates a checked transaction. Throws `lease_not_found` before it wrote anything. */
  transact(transaction: Transaction): TransactionResult {
    const next = this.#rev + 1
    const { ok, wrote, results } = evaluate(this, transaction, BigInt(next))
    if (wrote) this.#rev = next
    return { ok, rev: this.rev, results }
  }

  grant(ttlMs: number, process: ProcessIdentity): LeaseId {
    this.#sql.countLease.run()
    const { n } = this.#sql.leaseCount.get() as { n: number }
    // The count keeps ids from repeating; the random part does so across a restored copy of the file.
    const id = asLeaseId(`${n.toString(36)}-${randomBytes(5).toString('hex')}`)
    const { pid, pidNamespace, startTicks } = process
    this.#sql.addLease.run(id, ttlMs, this.#nowMs + ttlMs, pid, pidNamespace, startTicks)
    return id
  }

  /** Throws `lease_not_found` or `fenced`. */
  keepAlive(id: LeaseId, unlessKey: string | undefined): number {
    const row = this.#sql.liveLease.get(id, this.#nowMs) as { ttlMs: number } | undefined
    if (row === undefined) throw leaseNotFound(id)
    if (unlessKey !== undefined && this.#sql.get.get(unlessKey) !== undefined) {
      throw new SkeinError('fenced', `the lease is not renewed while ${unlessKey} exists`, {
        details: { lease: id, key: unlessKey },
      })
    }
    this.#sql.extendLease.run(this.#nowMs + row.ttlMs, id)
    return row.ttlMs
  }

  /** Ends a lease: its keys go in one revision of their own. False when there is no such lease. */
  endLease(id: LeaseId): boolean {
    if (Number(this.#sql.dropLease.run(id).changes) === 0) return false
    const rev = this.#rev + 1
    if (Number(this.#sql.logDeleteLease.run(rev, this.#nowMs, id).changes) === 0) return true
    this.#sql.deleteLeaseKeys.run(id)
    this.#rev = rev
    return true
  }

  /** Ends the leases that are due, earliest first. True when there was one. */
  endDueLeases(): boolean {
    const due = this.#sql.dueLeases.all(this.#nowMs) as { id: LeaseId }[]
    for (const { id } of due) this.endLease(id)
    return due.length > 0
  }

  endAllLeases(): void {
    for (const { id } of this.#sql.allLeases.all() as { id: LeaseId }[]) this.endLease(id)
  }

  /** Skips revisions and forgets the history before: nobody may go on watching across the gap. */
  leap(revisions: number): void {
    this.#rev += revisions
    this.#sql.setCompactRev.run(this.#rev)
  }

  /** Is this process known to have the store open, or to have been granted a lease by it? */
  knows({ pid, pidNamespace, startTicks }: ProcessIdentity): boolean {
    return this.#sql.knowsProcess.get(pid, pidNamespace, startTicks) !== undefined
  }

  /** Leases granted to a process: how many, and how many of them are still valid at `nowMs`. */
  leasesOf(process: ProcessIdentity, nowMs: number): { count: number; live: number } {
    const { pid, pidNamespace, startTicks } = process
    return this.#sql.leasesOf.get(nowMs, pid, pidNamespace, startTicks) as { count: number; live: number }
  }
}

function toKeyValue(row: KvRow): KeyValue {
  return {
    key: row.key,
    value: row.value,
    createRev: BigInt(row.create_rev),
    modRev: BigInt(row.mod_rev),
    version: row.version,
    lease: row.lease === null ? null : asLeaseId(row.lease),
  }
}

function prepareAll(database: Database) {
  const sql = (text: string): Statement => database.prepare(text)
  const columns = 'key, value, create_rev, mod_rev, version, lease'
  const inRange = 'key >= ? AND key < ?'
  return {
    head: sql(
      `SELECT rev, compact_rev AS compactRev, (SELECT min(expires_ms) FROM lease) AS dueMs FROM state`,
    ),
    setRev: sql('UPDATE state SET rev = ?'),
    setCompactRev: sql('UPDATE state SET compact_rev = ?'),
    get: sql(`SELECT ${columns} FROM kv WHERE key = ?`),
    listFrom: sql(`SELECT ${columns} FROM kv WHERE ${inRange} ORDER BY key LIMIT ?`),
    listAfter: sql(`SELECT ${columns} FROM kv WHERE ${inRange} AND key > ? ORDER BY key LIMIT ?`),
    // An empty array may arrive as NULL, depending on the library.
    put: sql(`INSERT INTO kv (${columns}) VALUES (?, coalesce(?, x''), ?, ?, ?, ?)
      ON CONFLICT (key) DO UPDATE SET value = excluded.value, create_rev = excluded.create_rev,
        mod_rev = excluded.mod_rev, version = excluded.version, lease = excluded.lease`),
    delete: sql('DELETE FROM kv WHERE key = ?'),
    deleteRange: sql(`DELETE FROM kv WHERE ${inRange}`),
    logPut: sql(`INSERT INTO log (rev, at_ms, key, value, create_rev, version, lease)
      VALUES (?, ?, ?, coalesce(?, x''), ?, ?, ?)`),
    logDelete: sql('INSERT INTO log (rev, at_ms, key) VALUES (?, ?, ?)'),
    logDeleteRange: sql(
      `INSERT INTO log (rev, at_ms, key) SELECT ?, ?, key FROM kv WHERE ${inRange} ORDER BY key`,
    ),
    logDeleteLease: sql(
      'INSERT INTO log (rev, at_ms, key) SELECT ?, ?, key FROM kv WHERE lease = ? ORDER BY key',
    ),
    deleteLeaseKeys: sql('DELETE FROM kv WHERE lease = ?'),
    countLease: sql('UPDATE state SET lease_count = lease_count + 1'),
    leaseCount: sql('SELECT lease_count AS n FROM state'),
    addLease: sql('INSERT INTO lease VALUES (?, ?, ?, ?, ?, ?)'),
    liveLease: sql('SELECT ttl_ms AS ttlMs FROM lease WHERE id = ? AND expires_ms > ?'),
    extendLease: sql('UPDATE lease SET expires_ms = ? WHERE id = ?'),
    dropLease: sql('DELETE FROM lease WHERE id = ?'),
    dueLeases: sql('SELECT id FROM lease WHERE expires_ms <= ? ORDER BY expires_ms'),
    allLeases: sql('SELECT id FROM lease ORDER BY expires_ms'),
    knowsProcess: sql(`SELECT 1 FROM (SELECT pid, pid_namespace, start_ticks FROM handle
      UNION SELECT pid, pid_namespace, start_ticks FROM lease)
      WHERE pid = ? AND pid_namespace = ? AND start_ticks = ?`),
    leasesOf: sql(`SELECT count(*) AS count, count(CASE WHEN expires_ms > ? THEN 1 END) AS live FROM lease
      WHERE pid = ? AND pid_namespace = ? AND start_ticks = ?`),
  }
}
