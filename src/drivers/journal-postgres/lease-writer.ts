/**
 * Writing under one lease: appends in strict order over a connection of their own, each one statement.
 *
 * The idea: the writer knows the version of its lease's row and where each log ends. Where the version is another one,
 * somebody has sealed something: the writer reads what, refuses that, and repeats the rest. After a statement whose
 * outcome it does not know, it raises the version itself before anything else: then the old statement has either been
 * committed and is seen, or can never be.
 *
 * A shard's first append of an epoch registers the tenure: that refuses lower epochs of the shard from then on, and
 * fences the tenures that have them.
 *
 * Must not live here: gathering appends, reading events.
 */
import { randomUUID } from 'node:crypto'
import { asEpoch, type LeaseId, type ShardId } from '../../core/kernel/brand.js'
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import { type Block, blocksOf, checksum } from '../../engines/journal/block.js'
import type { Commit } from '../../engines/journal/commit-queue.js'
import { advance, fenced, isNewerPosition, type Tail } from '../../engines/journal/rules.js'
import { byteaArray, int8Array } from './arrays.js'
import type { Connection, Connector } from './connector.js'
import { isTransient, sqlStateOf } from './errors.js'
import { asOutage } from './pool.js'
import { keyOf, type Tables } from './schema.js'
import { type Sealing, type Tenure, writerName } from './sealing.js'
import type { Statement } from './session.js'

export interface LeaseWriterOptions {
  readonly lease: LeaseId
  /** What is written under it may leave gaps. */
  readonly isCopy: boolean
  readonly identity: string
  readonly connector: Connector
  readonly tables: Tables
  readonly sealing: Sealing
}

type Result = SkeinError | null

/** Every repetition answers a change by somebody else: a seal, a deadlock. So many in a row mean that something is wrong. */
const attemptsMax = 10
const uniqueViolation = '23505'

export class LeaseWriter {
  readonly #options: LeaseWriterOptions
  readonly #writerId = randomUUID()
  readonly #name: string
  readonly #append: Statement
  #connection: Connection | undefined
  /** Of the lease's row, as of our last statement. */
  #version = 0
  /** Something we sent may be committed later, or be committed already. */
  #isDoubtful = true
  #wasOpened = false
  readonly #tails = new Map<ShardId, Tail>()
  /** Whose lower epochs we have fenced. Not read back from the tables: there it shows before that is done. */
  readonly #registered = new Set<string>()
  readonly #sealed = new Set<string>()
  #turn: Promise<unknown> = Promise.resolve()

  constructor(options: LeaseWriterOptions) {
    this.#options = options
    this.#name = writerName(options.identity, options.lease)
    this.#append = appendStatement(options.tables)
  }

  get lease(): LeaseId {
    return this.#options.lease
  }

  /** What the lease's row says for as long as it is ours. */
  get writerId(): string {
    return this.#writerId
  }

  /** Makes the lease's row ours: another writer under the same lease ends here. */
  open(): Promise<void> {
    return this.#inTurn(() => this.#settle())
  }

  /** One result per append. Called again before it is done, it waits for its turn. */
  commit(commit: Commit): Promise<readonly Result[]> {
    const entries = entriesOf(commit)
    return this.#inTurn(() => this.#commit(entries))
  }

  /** Where the logs end, for certain: what was under way is over. */
  lastOffsets(): Promise<ReadonlyMap<ShardId, number>> {
    return this.#inTurn(async () => {
      this.#isDoubtful = true
      await this.#settle()
      return new Map([...this.#tails].map(([shard, { last }]) => [shard, last]))
    })
  }

  /** Resolves when no statement of ours can change anything any more; cheap where that is known. */
  settled(): Promise<void> {
    return this.#inTurn(() => this.#settle())
  }

  async close(): Promise<void> {
    await this.#inTurn(async () => {
      await this.#connection?.session.close()
      this.#connection = undefined
    })
  }

  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(act)
    this.#turn = result.catch(() => undefined)
    return result
  }

  async #commit(entries: readonly (readonly Block[])[]): Promise<readonly Result[]> {
    await this.#settle()
    for (let attempt = 1; attempt <= attemptsMax; attempt++) {
      const { results, blocks, tails } = this.#plan(entries)
      if (blocks.length === 0) return results
      const newTenures = blocks.filter((b) => !this.#registered.has(nameOf(b)))
      if (newTenures.length > 0 && !(await this.#register(newTenures))) continue
      if (await this.#insert(blocks)) {
        for (const [shard, tail] of tails) this.#tails.set(shard, tail)
        return results
      }
    }
    throw new SkeinError('unavailable', `the journal was changed ${attemptsMax} times during one append`, {
      retryable: true,
    })
  }

  /** Which appends may be written as things are, and why not, of the others. */
  #plan(entries: readonly (readonly Block[])[]) {
    const results: Result[] = []
    const blocks: Block[] = []
    const tails = new Map<ShardId, Tail>()
    for (const entry of entries) {
      try {
        for (const block of entry) if (this.#sealed.has(nameOf(block))) throw sealedError(this.lease, block)
        const tailOf = (shard: ShardId): Tail | undefined => tails.get(shard) ?? this.#tails.get(shard)
        const after = advance(tailOf, entry, this.#options.isCopy)
        for (const [shard, tail] of after) tails.set(shard, tail)
        for (const block of entry) blocks.push(block)
        results.push(null)
      } catch (error) {
        if (!isSkeinError(error)) throw error
        results.push(error as SkeinError)
      }
    }
    return { results, blocks, tails }
  }

  /** False: nothing was written, and what we know has been brought up to date. */
  async #insert(blocks: readonly Block[]): Promise<boolean> {
    const { session } = await this.#connected()
    const values = [this.lease, this.#version, ...useColumns(blocks), ...blockColumns(blocks)]
    try {
      const { count } = await session.run('write', this.#append, values)
      if (count === blocks.length) {
        this.#version++
        return true
      }
    } catch (error) {
      const state = sqlStateOf(error)
      if (isSkeinError(error) && error.code === 'outcome_unknown') {
        this.#isDoubtful = true
        session.destroy()
        throw error
      }
      if (state === uniqueViolation) this.#isDoubtful = true
      else if (!isTransient(error)) throw error
    }
    await (this.#isDoubtful ? this.#settle() : this.#refresh())
    return false
  }

  /** True when all are ours to write; otherwise those that are not are noted as sealed. */
  async #register(tenures: readonly Tenure[]): Promise<boolean> {
    const { tables: t, sealing } = this.#options
    const highest = new Map<ShardId, number>()
    for (const { shard, epoch } of tenures) highest.set(shard, Math.max(epoch, highest.get(shard) ?? 0))
    const wanted = [...highest].sort(([a], [b]) => a - b)
    const connection = await this.#connected()
    const shards = int8Array(wanted.map(([shard]) => shard))
    const epochs = int8Array(wanted.map(([, epoch]) => epoch))
    const granted = await this.#tried(connection, {
      text: `WITH raised AS (
          INSERT INTO ${t.shard} AS s (shard, epoch, lease)
          SELECT shard, epoch, $1::text FROM unnest($2::int8[], $3::int8[]) AS w(shard, epoch) ORDER BY 1
          ON CONFLICT (shard) DO UPDATE SET epoch = excluded.epoch, lease = excluded.lease
          WHERE s.epoch < excluded.epoch OR (s.epoch = excluded.epoch AND s.lease = excluded.lease)
          RETURNING s.shard, s.epoch)
        INSERT INTO ${t.tenure} AS t (shard, epoch, lease, opened, sealed)
        SELECT shard, epoch, $1::text, true, false FROM raised
        ON CONFLICT (shard, epoch, lease) DO UPDATE SET opened = true
        WHERE NOT t.sealed
        RETURNING t.shard, t.epoch`,
      values: [this.lease, shards, epochs],
    })
    if (granted === undefined) return false
    // From here on nobody can register a lower epoch of these shards: those that did are all to be seen.
    const { rows: older } = await connection.session.run(
      'read',
      {
        text: `SELECT t.shard, t.epoch, t.lease FROM ${t.tenure} t
          JOIN unnest($1::int8[], $2::int8[]) AS w(shard, epoch) ON t.shard = w.shard AND t.epoch < w.epoch
          WHERE t.opened AND NOT t.sealed`,
      },
      [shards, epochs],
    )
    const byLease = new Map<LeaseId, Tenure[]>()
    for (const row of older) {
      const { lease, shard, epoch } = row as unknown as Tenure & { lease: LeaseId }
      // What we wrote ourselves under a lower epoch we do not go on with: `advance` sees to that.
      if (lease === this.lease) continue
      byLease.set(lease, [...(byLease.get(lease) ?? []), { shard, epoch }])
    }
    for (const [lease, list] of byLease) await sealing.fence(connection, lease, list)
    const names = new Set(granted.map((row) => nameOf(row as unknown as Tenure)))
    for (const name of names) this.#registered.add(name)
    let all = true
    for (const tenure of tenures) {
      if (this.#registered.has(nameOf(tenure))) continue
      all = false
      this.#sealed.add(nameOf(tenure))
    }
    return all
  }

  /** Undefined where it should be tried again. */
  async #tried(connection: Connection, { text, values }: Statement & { values: readonly unknown[] }) {
    try {
      return (await connection.session.run('write', { text }, values)).rows
    } catch (error) {
      if (isTransient(error)) return undefined
      if (!isSkeinError(error) || error.code !== 'outcome_unknown') throw error
      // No event was written; to register twice does no harm.
      connection.session.destroy()
      throw new SkeinError('unavailable', error.message, { retryable: true, cause: error })
    }
  }

  /** Somebody raised the version. First the row, then the marks: a seal writes them in the other order. */
  async #refresh(): Promise<void> {
    const { session } = await this.#connected()
    const { lease: table, tenure } = this.#options.tables
    const { rows } = await session.run(
      'read',
      { text: `SELECT version, writer FROM ${table} WHERE lease = $1` },
      [this.lease],
    )
    const [row] = rows
    if (row === undefined || row.writer !== this.#writerId) throw fenced(this.lease)
    this.#version = row.version as number
    const { rows: sealed } = await session.run(
      'read',
      { text: `SELECT shard, epoch FROM ${tenure} WHERE lease = $1 AND sealed` },
      [this.lease],
    )
    for (const { shard, epoch } of sealed as unknown as Tenure[]) this.#sealed.add(nameOf({ shard, epoch }))
  }

  /** Ends every doubt: no statement of before can still be committed, and the tails are those of the tables. */
  async #settle(): Promise<void> {
    if (!this.#isDoubtful) return
    const connection = await this.#connected()
    const { lease: table, tenure, block } = this.#options.tables
    const statement = this.#wasOpened
      ? `UPDATE ${table} SET version = version + 1 WHERE lease = $1 AND writer = $2 RETURNING version`
      : `INSERT INTO ${table} AS l (lease, writer, version) VALUES ($1, $2, 1)
          ON CONFLICT (lease) DO UPDATE SET writer = excluded.writer, version = l.version + 1 RETURNING version`
    const { rows: versions } = await this.#surely(connection, () =>
      this.#options.sealing.bump(connection, this.lease, { text: statement }, [this.lease, this.#writerId]),
    )
    const [row] = versions
    if (row === undefined) throw fenced(this.lease)
    const { rows } = await connection.session.run(
      'read',
      {
        text: `SELECT t.shard, t.epoch, t.sealed, CASE WHEN t.opened THEN (
              SELECT b.last_offset FROM ${block} b
              WHERE b.shard = t.shard AND b.epoch = t.epoch ORDER BY b.last_offset DESC LIMIT 1) END AS last
          FROM ${tenure} t WHERE t.lease = $1`,
      },
      [this.lease],
    )
    this.#tails.clear()
    for (const found of rows) {
      const { shard, epoch, sealed, last } = found as unknown as Tenure & {
        sealed: boolean
        last: number | null
      }
      if (sealed) this.#sealed.add(nameOf({ shard, epoch }))
      if (last === null) continue
      const before = this.#tails.get(shard)
      const position = { epoch: asEpoch(epoch), offset: last }
      if (before !== undefined && !isNewerPosition(position, { epoch: before.epoch, offset: before.last }))
        continue
      this.#tails.set(shard, { epoch: asEpoch(epoch), last })
    }
    this.#version = row.version as number
    this.#wasOpened = true
    this.#isDoubtful = false
  }

  /** To raise the version a second time does no harm, so an unknown outcome of it is an outage. */
  async #surely<T>(connection: Connection, act: () => Promise<T>): Promise<T> {
    try {
      return await act()
    } catch (error) {
      if (!isSkeinError(error) || error.code !== 'outcome_unknown') throw error
      connection.session.destroy()
      throw new SkeinError('unavailable', error.message, { retryable: true, cause: error })
    }
  }

  async #connected(): Promise<Connection> {
    const { connector } = this.#options
    if (this.#connection !== undefined && connector.isCurrent(this.#connection)) return this.#connection
    this.#connection?.session.destroy()
    try {
      this.#connection = await connector.connect(this.#name)
      return this.#connection
    } catch (error) {
      throw asOutage(error)
    }
  }
}

function appendStatement(t: Tables): Statement {
  return {
    name: 'skein_append',
    text: `WITH fence AS (
        UPDATE ${t.lease} SET version = version + 1 WHERE lease = $1::text AND version = $2::int8 RETURNING lease),
      uses AS (
        INSERT INTO ${t.streamUse} AS u (lease, stream_key, stream, bytes, newest_ms)
        SELECT f.lease, n.stream_key, n.stream, n.bytes, n.newest_ms
        FROM fence f, unnest($3::bytea[], $4::bytea[], $5::int8[], $6::int8[]) AS n(stream_key, stream, bytes, newest_ms)
        ON CONFLICT (lease, stream_key) DO UPDATE
        SET bytes = u.bytes + excluded.bytes, newest_ms = greatest(u.newest_ms, excluded.newest_ms))
      INSERT INTO ${t.block} (shard, epoch, last_offset, first_offset, at_ms, crc, bytes, stream, hashes, body)
      SELECT n.* FROM fence f, unnest($7::int8[], $8::int8[], $9::int8[], $10::int8[], $11::int8[], $12::int8[],
        $13::int8[], $14::bytea[], $15::bytea[], $16::bytea[]) AS n`,
  }
}

function blockColumns(blocks: readonly Block[]): Buffer[] {
  return [
    int8Array(blocks.map((b) => b.shard)),
    int8Array(blocks.map((b) => b.epoch)),
    int8Array(blocks.map((b) => b.last)),
    int8Array(blocks.map((b) => b.first)),
    int8Array(blocks.map((b) => wholeMs(b.atMs))),
    int8Array(blocks.map(checksum)),
    int8Array(blocks.map(bytesOf)),
    byteaArray(blocks.map((b) => Buffer.from(b.stream))),
    byteaArray(blocks.map((b) => b.hashes)),
    byteaArray(blocks.map((b) => b.body)),
  ]
}

/** What the blocks add to each stream of the lease, in one order for all. */
function useColumns(blocks: readonly Block[]): Buffer[] {
  const uses = new Map<string, { bytes: number; newestMs: number }>()
  for (const block of blocks) {
    const use = uses.get(block.stream) ?? { bytes: 0, newestMs: 0 }
    use.bytes += bytesOf(block)
    use.newestMs = Math.max(use.newestMs, wholeMs(block.atMs))
    uses.set(block.stream, use)
  }
  const rows = [...uses]
    .map(([stream, use]) => ({ key: keyOf(stream), stream: Buffer.from(stream), ...use }))
    .sort((a, b) => a.key.compare(b.key))
  return [
    byteaArray(rows.map((r) => r.key)),
    byteaArray(rows.map((r) => r.stream)),
    int8Array(rows.map((r) => r.bytes)),
    int8Array(rows.map((r) => r.newestMs)),
  ]
}

function bytesOf(block: Block): number {
  return block.hashes.length + block.body.length
}

/** The column's copy, for retention; the event keeps its own to the digit. */
function wholeMs(atMs: number): number {
  return Math.min(Number.MAX_SAFE_INTEGER, Math.max(0, Math.floor(atMs)))
}

function entriesOf({ blockCounts, batch }: Commit): readonly (readonly Block[])[] {
  const all = blocksOf(batch)
  return blockCounts.map((count) => Array.from({ length: count }, () => all.next().value as Block))
}

function nameOf({ shard, epoch }: Tenure): string {
  return `${shard}/${epoch}`
}

function sealedError(lease: LeaseId, { shard, epoch }: Tenure): SkeinError {
  return new SkeinError('fenced', `shard ${shard} is closed for epoch ${epoch} of lease ${lease}`, {
    details: { lease, shard, epoch },
  })
}
