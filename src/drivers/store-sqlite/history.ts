/**
 * The log table as history: pages for watches, and forgetting what is old.
 *
 * A page is read in one read transaction together with the lowest kept revision, so a watch either gets everything
 * or learns that it cannot. Forgetting first raises that mark, then deletes rows in small batches: a long delete would
 * hold the write lock against everybody else.
 */
import { asLeaseId, type Revision } from '../../core/kernel/brand.js'
import type { WatchBatch, WatchEvent } from '../../core/kernel/store-types.js'
import type { Database, Statement } from '../../engines/sqlite/connection.js'
import { compacted, type LogPage } from '../../engines/store/watch.js'
import { rangeEnd, type SqliteKeyspace } from './keyspace.js'

export interface HistoryLimits {
  /** Revisions older than this may be forgotten, in ms. */
  readonly ageMsMax: number
  /** Log rows above this number may be forgotten, whatever their age. */
  readonly rowsMax: number
}

interface LogRow {
  readonly rev: number
  readonly key: string
  readonly value: Uint8Array | null
  readonly create_rev: number | null
  readonly version: number | null
  readonly lease: string | null
}

/** Rows of a page. A single revision with more rows is read whole: batches are never split. */
const pageRowsMax = 512
/** Rows deleted in one write transaction. */
const deleteRowsMax = 500

export class SqliteHistory {
  readonly #space: SqliteKeyspace
  readonly #page: Statement
  readonly #whole: Statement
  readonly #setCompactRev: Statement
  readonly #deleteSome: Statement
  readonly #oldestKept: Statement
  readonly #rowAbove: Statement
  readonly #hasGarbage: Statement

  constructor(database: Database, space: SqliteKeyspace) {
    this.#space = space
    const columns = 'rev, key, value, create_rev, version, lease'
    const inRange = 'key >= ? AND key < ?'
    this.#page = database.prepare(
      `SELECT ${columns} FROM log WHERE rev >= ? AND ${inRange} ORDER BY rev, id LIMIT ${pageRowsMax}`,
    )
    this.#whole = database.prepare(`SELECT ${columns} FROM log WHERE rev = ? AND ${inRange} ORDER BY rev, id`)
    this.#setCompactRev = database.prepare('UPDATE state SET compact_rev = ?')
    this.#deleteSome = database.prepare(
      `DELETE FROM log WHERE id IN (SELECT id FROM log WHERE rev < ? ORDER BY rev LIMIT ${deleteRowsMax})`,
    )
    this.#oldestKept = database.prepare('SELECT rev FROM log WHERE at_ms >= ? ORDER BY id LIMIT 1')
    this.#rowAbove = database.prepare(
      'SELECT rev FROM log WHERE id <= (SELECT max(id) FROM log) - ? ORDER BY id DESC LIMIT 1',
    )
    this.#hasGarbage = database.prepare('SELECT 1 FROM log WHERE rev < ? LIMIT 1')
  }

  /** Expects an open read transaction. Throws `compacted`. */
  readPage(prefix: string, next: Revision): LogPage {
    const { rev: head, compactRev } = this.#space.head()
    if (next < BigInt(compactRev)) throw compacted(next, BigInt(compactRev))
    const after = (rev: Revision) => (next > rev ? next : rev + 1n)
    if (next > BigInt(head)) return { batches: [], next: after(BigInt(head)) }
    const end = rangeEnd(prefix)
    const rows = this.#page.all(Number(next), prefix, end) as LogRow[]
    if (rows.length < pageRowsMax) return { batches: toBatches(rows), next: after(BigInt(head)) }
    const lastRev = rows.at(-1)!.rev
    const complete = rows.filter(({ rev }) => rev < lastRev)
    if (complete.length > 0) return { batches: toBatches(complete), next: BigInt(lastRev) }
    return {
      batches: toBatches(this.#whole.all(lastRev, prefix, end) as LogRow[]),
      next: BigInt(lastRev) + 1n,
    }
  }

  /** Is there anything that `forgetOld` would do? A read, so that an idle handle takes no lock. */
  hasOld(nowMs: number, limits: HistoryLimits): boolean {
    const { compactRev } = this.#space.head()
    return this.#cut(nowMs, limits) > compactRev || this.#hasGarbage.get(compactRev) !== undefined
  }

  /** Within a write transaction: raises the mark and deletes a batch. True when rows below the mark remain. */
  forgetOld(nowMs: number, limits: HistoryLimits): boolean {
    return this.forgetBelow(this.#cut(nowMs, limits))
  }

  /** Within a write transaction: forgets history below `rev`, a batch at a time. True when rows below it remain. */
  forgetBelow(rev: number): boolean {
    const { compactRev } = this.#space.head()
    const mark = Math.max(rev, compactRev)
    if (mark > compactRev) this.#setCompactRev.run(mark)
    return Number(this.#deleteSome.run(mark).changes) === deleteRowsMax
  }

  /** The lowest revision worth keeping. */
  #cut(nowMs: number, limits: HistoryLimits): number {
    const { rev: head } = this.#space.head()
    const young = this.#oldestKept.get(nowMs - limits.ageMsMax) as { rev: number } | undefined
    // The row that is one too many: its revision goes, those after it stay.
    const excess = this.#rowAbove.get(limits.rowsMax) as { rev: number } | undefined
    return Math.max(young?.rev ?? head + 1, excess === undefined ? 0 : excess.rev + 1)
  }
}

function toBatches(rows: readonly LogRow[]): WatchBatch[] {
  const batches: { rev: Revision; events: WatchEvent[] }[] = []
  for (const row of rows) {
    const rev = BigInt(row.rev)
    if (batches.at(-1)?.rev !== rev) batches.push({ rev, events: [] })
    batches.at(-1)!.events.push(toEvent(row, rev))
  }
  return batches
}

function toEvent(row: LogRow, modRev: Revision): WatchEvent {
  if (row.value === null || row.create_rev === null || row.version === null) {
    return { type: 'delete', key: row.key, modRev }
  }
  const lease = row.lease === null ? null : asLeaseId(row.lease)
  const { key, value, version } = row
  return { type: 'put', kv: { key, value, createRev: BigInt(row.create_rev), modRev, version, lease } }
}
