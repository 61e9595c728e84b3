/**
 * The file of one lease: blocks, the epochs they were written under, bytes per stream, positions of consumers;
 * checkpoints of agents are in `checkpoint-table.ts`.
 *
 * The idea: rows in the order of commits (a rowid table: appending touches few pages) with one index by place. A key
 * of (shard, epoch, offset) instead of a rowid was four times slower, for every commit then touches a page per shard.
 * Writer and readers are both here, so that the SQL has one home.
 *
 * Must not live here: threads, promises, more than one file.
 */
import { renameSync, rmSync } from 'node:fs'
import type { Epoch, LeaseId, ShardId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import { type Block, type BlockHead, checksum } from '../../engines/journal/block.js'
import type { AgentRecord } from '../../engines/journal/checkpoint.js'
import type { Extent, Tail } from '../../engines/journal/rules.js'
import { classifySqliteError, type Statement } from '../../engines/sqlite/connection.js'
import type { Attachments } from './attachments.js'
import { CheckpointTable, checkpointSchema, type RecordHead } from './checkpoint-table.js'
import { bytesOf, draftPathOf, pathOf, syncDirectory, syncLogs } from './directory.js'

const formatVersion = 1

/** Streams and groups are blobs: a NUL within TEXT would end it for some readers. `@` is where the file is attached. */
const schema = `
  CREATE TABLE @.block (
    id INTEGER PRIMARY KEY, shard INTEGER NOT NULL, epoch INTEGER NOT NULL, first INTEGER NOT NULL,
    last INTEGER NOT NULL, stream BLOB NOT NULL, at_ms REAL NOT NULL, crc INTEGER NOT NULL,
    hashes BLOB NOT NULL, body BLOB NOT NULL) STRICT;
  CREATE UNIQUE INDEX @.block_place ON block (shard, epoch, last);
  CREATE TABLE @.epoch (
    shard INTEGER NOT NULL, epoch INTEGER NOT NULL, first INTEGER NOT NULL,
    PRIMARY KEY (shard, epoch)) STRICT, WITHOUT ROWID;
  CREATE TABLE @.stream (stream BLOB PRIMARY KEY, bytes INTEGER NOT NULL) STRICT, WITHOUT ROWID;
  CREATE TABLE @.position (
    name BLOB NOT NULL, shard INTEGER NOT NULL, epoch INTEGER NOT NULL, offset INTEGER NOT NULL,
    PRIMARY KEY (name, shard)) STRICT, WITHOUT ROWID;
  ${checkpointSchema}
  PRAGMA @.user_version = ${formatVersion};`

const writerPragmas = ['journal_mode = WAL', 'synchronous = FULL', 'journal_size_limit = 67108864']
/** What retention frees can be given back to the file system. */
const creationPragmas = ['auto_vacuum = INCREMENTAL', ...writerPragmas]
const readerPragmas = ['cache_size = -2048']

export interface Position {
  readonly group: string
  readonly shard: ShardId
  readonly epoch: Epoch
  readonly offset: number
}

interface RawPosition {
  name: Uint8Array
  shard: ShardId
  epoch: Epoch
  offset: number
}

export interface ShardEpoch {
  readonly shard: ShardId
  readonly epoch: number
}

/** A row without its content. */
export interface Row extends BlockHead {
  readonly id: number
  readonly hashes: Uint8Array
  /** Of hashes and body together. */
  readonly bytes: number
}

interface RawRow {
  id: number
  first: number
  last: number
  stream: Uint8Array
  at_ms: number
  hashes: Uint8Array
  bytes: number
}

const rowColumns = 'id, first, last, stream, at_ms, hashes, length(hashes) + length(body) AS bytes'

/** Which rows of a shard and epoch; offsets, `after` excluded, `upTo` included. */
export interface Range {
  readonly shard: ShardId
  readonly epoch: Epoch
  readonly after: number
  readonly upTo: number
}

export class LeaseDatabase {
  readonly path: string
  readonly checkpoints: CheckpointTable
  readonly #attachments: Attachments
  readonly #alias: string

  private constructor(path: string, attachments: Attachments, alias: string) {
    this.path = path
    this.checkpoints = new CheckpointTable(path, attachments, alias)
    this.#attachments = attachments
    this.#alias = alias
  }

  /** For writing. Makes the file where there is none; it appears whole, under its name, or not at all. */
  static openWriter(
    attachments: Attachments,
    directory: string,
    lease: LeaseId,
    exists: boolean,
  ): LeaseDatabase {
    const path = pathOf(directory, lease)
    if (!exists) create(attachments, directory, lease, path)
    return LeaseDatabase.#attach(attachments, path, writerPragmas)
  }

  /**
   * For a file that may be anybody's, also one whose writer is stopped or dead. Never waits for its writer: at most
   * for another reader that recovers the same log, as a busy error.
   */
  static openReader(attachments: Attachments, directory: string, lease: LeaseId): LeaseDatabase {
    return LeaseDatabase.#attach(attachments, pathOf(directory, lease), readerPragmas)
  }

  static #attach(attachments: Attachments, path: string, pragmas: readonly string[]): LeaseDatabase {
    const alias = attachments.attach(path, pragmas)
    const file = new LeaseDatabase(path, attachments, alias)
    try {
      const { user_version: version } = file.#sql('PRAGMA @.user_version').get() as { user_version: number }
      if (version === formatVersion) return file
      throw new SkeinError(
        'incompatible',
        `${path} has format ${version}, this version reads ${formatVersion}`,
        {
          details: { file: path, version },
        },
      )
    } catch (error) {
      file.close()
      throw error
    }
  }

  /** Of a lease's database and its log, without opening them. */
  static bytesOf(directory: string, lease: LeaseId): number {
    return bytesOf(pathOf(directory, lease))
  }

  /** Of the database and its log. */
  get bytes(): number {
    return bytesOf(this.path)
  }

  close(): void {
    this.#attachments.detach(this.#alias)
  }

  /** All or nothing, on the disk when it returns. Throws what SQLite threw; `onCommit` is called right before COMMIT. */
  write(
    blocks: readonly Block[],
    newEpochs: readonly Extent[],
    positions: readonly Position[],
    records: readonly AgentRecord[],
    onCommit: () => void,
  ): void {
    this.#attachments.exec('BEGIN IMMEDIATE')
    try {
      for (const { shard, epoch, first } of newEpochs) {
        this.#sql('INSERT OR IGNORE INTO @.epoch VALUES (?, ?, ?)').run(shard, epoch, first)
      }
      this.#insert(blocks)
      for (const { group, shard, epoch, offset } of positions) {
        this.#sql(
          `INSERT INTO @.position VALUES (?, ?, ?, ?) ON CONFLICT (name, shard) DO UPDATE
           SET epoch = excluded.epoch, offset = excluded.offset
           WHERE (excluded.epoch, excluded.offset) > (epoch, offset)`,
        ).run(Buffer.from(group), shard, epoch, offset)
      }
      this.checkpoints.put(records)
      onCommit()
      this.#attachments.exec('COMMIT')
    } catch (error) {
      this.#attachments.rollback()
      throw error
    }
  }

  #insert(blocks: readonly Block[]): void {
    const insert = this.#sql(
      'INSERT INTO @.block (shard, epoch, first, last, stream, at_ms, crc, hashes, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)',
    )
    const perStream = new Map<string, { readonly name: Uint8Array; bytes: number }>()
    for (const block of blocks) {
      const { shard, epoch, first, last, stream, atMs, hashes, body } = block
      let total = perStream.get(stream)
      if (total === undefined) {
        total = { name: Buffer.from(stream), bytes: 0 }
        perStream.set(stream, total)
      }
      total.bytes += hashes.length + body.length
      insert.run(shard, epoch, first, last, total.name, atMs, checksum(block), hashes, body)
    }
    for (const { name, bytes } of perStream.values()) this.#addStreamBytes(name, bytes)
  }

  #addStreamBytes(name: Uint8Array, bytes: number): void {
    this.#sql(
      'INSERT INTO @.stream VALUES (?, ?) ON CONFLICT (stream) DO UPDATE SET bytes = bytes + excluded.bytes',
    ).run(name, bytes)
  }

  /** Where each shard's log ends: its highest epoch, and that one's last offset. */
  tails(): Map<ShardId, Tail> {
    const rows = this.#sql(
      `SELECT e.shard, e.epoch, (SELECT max(last) FROM @.block b WHERE b.shard = e.shard AND b.epoch = e.epoch) AS last
       FROM (SELECT shard, max(epoch) AS epoch FROM @.epoch GROUP BY shard) e`,
    ).all() as { shard: number; epoch: Epoch; last: number }[]
    return new Map(rows.map(({ shard, epoch, last }) => [shard, { epoch, last }]))
  }

  /**
   * First and last offset ever written, per (shard, epoch) asked for, on the disk when it returns. Read first, synced
   * then: whatever the snapshot showed is in the log by now. A commit is visible before it is synced when a dead
   * writer's log is recovered. The database file needs no sync: frames stay in the log until it had one.
   */
  seal(wanted: readonly { shard: ShardId; epoch: Epoch }[]): Extent[] {
    const found: Extent[] = []
    this.#attachments.exec('BEGIN')
    try {
      for (const { shard, epoch } of wanted) {
        const row = this.#sql(
          `SELECT first, (SELECT max(last) FROM @.block WHERE shard = ?1 AND epoch = ?2) AS last
           FROM @.epoch WHERE shard = ?1 AND epoch = ?2`,
        ).get(shard, epoch) as { first: number; last: number } | undefined
        if (row !== undefined) found.push({ shard, epoch, first: row.first, last: row.last })
      }
    } finally {
      this.#attachments.exec('COMMIT')
    }
    this.sync()
    return found
  }

  /** The log and its directory entry. Errors: `unavailable`. */
  sync(): void {
    syncLogs([this.path])
  }

  /** Rows in ascending order, at most `count`. */
  rows(range: Range, count: number): Row[] {
    const { shard, epoch, after, upTo } = range
    const raw = this.#sql(
      `SELECT ${rowColumns} FROM @.block WHERE shard = ? AND epoch = ? AND last > ? AND first <= ? ORDER BY last LIMIT ?`,
    ).all(shard, epoch, after, upTo, count) as RawRow[]
    return raw.map((row) => toRow(shard, epoch, row))
  }

  /** The same from the end backwards. */
  rowsBackwards(range: Range, count: number): Row[] {
    const { shard, epoch, after, upTo } = range
    // The row that holds `upTo` may reach beyond it.
    const raw = this.#sql(
      `SELECT ${rowColumns} FROM @.block WHERE shard = ?1 AND epoch = ?2 AND last > ?3 AND first <= ?4 AND last <=
       coalesce((SELECT min(last) FROM @.block WHERE shard = ?1 AND epoch = ?2 AND last >= ?4), ?4)
       ORDER BY last DESC LIMIT ?5`,
    ).all(shard, epoch, after, upTo, count) as RawRow[]
    return raw.map((row) => toRow(shard, epoch, row))
  }

  /** Undefined when retention took it meanwhile. */
  content(row: Row): { readonly block: Block; readonly crc: number } | undefined {
    const found = this.#sql('SELECT crc, hashes, body FROM @.block WHERE id = ?').get(row.id) as
      | { crc: number; hashes: Uint8Array; body: Uint8Array }
      | undefined
    if (found === undefined) return undefined
    const { crc, hashes, body } = found
    return { crc, block: { ...row, hashes, body } }
  }

  highestEpochs(): ShardEpoch[] {
    return this.#sql('SELECT shard, max(epoch) AS epoch FROM @.epoch GROUP BY shard').all() as ShardEpoch[]
  }

  positionsOf(group: string): { shard: ShardId; epoch: number; offset: number }[] {
    return this.#sql('SELECT shard, epoch, offset FROM @.position WHERE name = ?').all(
      Buffer.from(group),
    ) as { shard: ShardId; epoch: number; offset: number }[]
  }

  /** In the order of group (as bytes) and shard. */
  positionsAfter(
    { name, shard }: { readonly name: Uint8Array; readonly shard: number },
    count: number,
  ): Position[] {
    const rows = this.#sql(
      'SELECT name, shard, epoch, offset FROM @.position WHERE (name, shard) > (?, ?) ORDER BY name, shard LIMIT ?',
    ).all(name, shard, count) as RawPosition[]
    return rows.map(toPosition)
  }

  positions(): Position[] {
    const rows = this.#sql('SELECT name, shard, epoch, offset FROM @.position').all() as RawPosition[]
    return rows.map(toPosition)
  }

  newestAtMs(): number {
    const row = this.#sql(
      'SELECT max(at_ms) AS newest FROM (SELECT at_ms FROM @.block ORDER BY id DESC LIMIT 64)',
    ).get() as { newest: number | null }
    return row.newest ?? 0
  }

  streamBytes(): Map<string, number> {
    const rows = this.#sql('SELECT stream, bytes FROM @.stream').all() as {
      stream: Uint8Array
      bytes: number
    }[]
    return new Map(rows.map(({ stream, bytes }) => [Buffer.from(stream).toString(), bytes]))
  }

  /** The oldest rows above an id, with `newest` telling those that end their epoch and must stay. */
  oldest(afterId: number, count: number): { row: Row; endsEpoch: boolean }[] {
    const raw = this.#sql(
      `SELECT ${rowColumns}, shard, epoch,
       last = (SELECT max(last) FROM @.block b WHERE b.shard = o.shard AND b.epoch = o.epoch) AS ends
       FROM @.block o WHERE id > ? ORDER BY id LIMIT ?`,
    ).all(afterId, count) as (RawRow & { shard: number; epoch: Epoch; ends: number })[]
    return raw.map((row) => ({ row: toRow(row.shard, row.epoch, row), endsEpoch: row.ends === 1 }))
  }

  remove(rows: readonly Row[]): void {
    this.#removing(() => {
      for (const row of rows) {
        this.#sql('DELETE FROM @.block WHERE id = ?').run(row.id)
        this.#addStreamBytes(Buffer.from(row.stream), -row.bytes)
      }
    })
  }

  removeCheckpoints(heads: readonly RecordHead[]): void {
    this.#removing(() => this.checkpoints.remove(heads))
  }

  #removing(remove: () => void): void {
    this.#attachments.exec('BEGIN IMMEDIATE')
    try {
      remove()
      this.#attachments.exec('COMMIT')
      // Returns a bounded number of the pages that became free to the file system.
      this.#attachments.exec(`PRAGMA ${this.#alias}.incremental_vacuum(1000)`)
    } catch (error) {
      this.#attachments.rollback()
      throw error
    }
  }

  #sql(text: string): Statement {
    return this.#attachments.statement(text.replaceAll('@', this.#alias))
  }
}

function toPosition({ name, ...position }: RawPosition): Position {
  return { group: Buffer.from(name).toString(), ...position }
}

function toRow(shard: ShardId, epoch: Epoch, raw: RawRow): Row {
  const { id, first, last, at_ms: atMs, hashes, bytes } = raw
  return { id, shard, epoch, first, last, stream: Buffer.from(raw.stream).toString(), atMs, hashes, bytes }
}

function create(attachments: Attachments, directory: string, lease: LeaseId, path: string): void {
  const draft = draftPathOf(directory, lease)
  try {
    const alias = attachments.attach(draft, creationPragmas)
    try {
      attachments.exec(schema.replaceAll('@', alias))
    } finally {
      // The only connection: leaving, it writes the log into the database, syncs that and removes the log.
      attachments.detach(alias)
    }
    renameSync(draft, path)
    syncDirectory(directory)
  } catch (error) {
    for (const file of [draft, `${draft}-wal`, `${draft}-shm`]) rmSync(file, { force: true })
    throw classifySqliteError(error, `making ${path}`, path)
  }
}
