/**
 * Retention: old events of one lease are deleted, and all that a lease left, when asked.
 *
 * The idea: small statements, so that an append never waits long for one. Each tenure is looked at from its beginning,
 * by the primary key; the sums per stream are kept by the appends. The last block of a tenure stays: it says where the
 * log ended. Where it began is noted before the beginning goes.
 */
import type { Epoch, LeaseId, ShardId } from '../../core/kernel/brand.js'
import { excessOf } from '../../engines/journal/rules.js'
import type { LeaseFile, RetentionPolicy } from '../../ports/journal.js'
import { byteaArray, int8Array } from './arrays.js'
import type { Connection } from './connector.js'
import type { Tables } from './schema.js'
import type { Row } from './session.js'

interface OldBlock {
  readonly shard: ShardId
  readonly epoch: Epoch
  readonly last_offset: number
  readonly stream: Buffer
  readonly bytes: number
  readonly at_ms: number
}

const blocksPerTenure = 32
const blocksPerStep = 1_024
const blocksPerDrop = 1_024

export class Retention {
  readonly #t: Tables

  constructor(tables: Tables) {
    this.#t = tables
  }

  /** One step; false when nothing was left to do. */
  async trimStep(
    connection: Connection,
    lease: LeaseId,
    policy: RetentionPolicy,
    nowMs: number,
  ): Promise<{ readonly removed: number; readonly goOn: boolean }> {
    const { session } = connection
    const { rows: uses } = await session.run(
      'read',
      { text: `SELECT stream, bytes FROM ${this.#t.streamUse} WHERE lease = $1` },
      [lease],
    )
    const excess = excessOf(policy, new Map(uses.map(streamBytes)))
    const over = [...excess].flatMap(([stream, bytes]) => (bytes > 0 ? [Buffer.from(stream)] : []))
    const oldestMs = nowMs - policy.ageMsMax
    const candidates = await this.#oldest(connection, lease, oldestMs, undefined)
    if (over.length > 0) candidates.push(...(await this.#oldest(connection, lease, oldestMs, over)))
    const doomed = new Map<string, OldBlock>()
    for (const block of candidates.sort((a, b) => a.at_ms - b.at_ms)) {
      const stream = block.stream.toString()
      const left = excess.get(stream) ?? 0
      const name = `${block.shard}/${block.epoch}/${block.last_offset}`
      if (doomed.has(name) || !(block.at_ms < oldestMs || left > 0)) continue
      doomed.set(name, block)
      excess.set(stream, left - block.bytes)
    }
    if (doomed.size === 0) return { removed: 0, goOn: false }
    return { removed: await this.#remove(connection, lease, [...doomed.values()]), goOn: true }
  }

  /** The first blocks of every tenure, of the given streams or, without, those that are too old. */
  async #oldest(
    { session }: Connection,
    lease: LeaseId,
    oldestMs: number,
    streams: readonly Buffer[] | undefined,
  ): Promise<OldBlock[]> {
    const { rows } = await session.run(
      'read',
      {
        text: `SELECT b.* FROM ${this.#t.tenure} t CROSS JOIN LATERAL (
            SELECT c.shard, c.epoch, c.last_offset, c.stream, c.bytes, c.at_ms FROM ${this.#t.block} c
            WHERE c.shard = t.shard AND c.epoch = t.epoch ${streams === undefined ? '' : 'AND c.stream = ANY($4::bytea[])'}
              AND c.last_offset < (SELECT d.last_offset FROM ${this.#t.block} d
                WHERE d.shard = t.shard AND d.epoch = t.epoch ORDER BY d.last_offset DESC LIMIT 1)
            ORDER BY c.last_offset LIMIT ${blocksPerTenure}) b
          WHERE t.lease = $1 AND t.opened AND (b.at_ms < $2::int8 OR $3::bool) ORDER BY b.at_ms LIMIT ${blocksPerStep}`,
      },
      [
        lease,
        Math.max(Number.MIN_SAFE_INTEGER, Math.ceil(oldestMs)),
        streams !== undefined,
        ...(streams === undefined ? [] : [byteaArray(streams)]),
      ],
    )
    return rows as unknown as OldBlock[]
  }

  async #remove({ session }: Connection, lease: LeaseId, doomed: readonly OldBlock[]): Promise<number> {
    const shards = int8Array(doomed.map((b) => b.shard))
    const epochs = int8Array(doomed.map((b) => b.epoch))
    await session.run(
      'write',
      {
        text: `UPDATE ${this.#t.tenure} AS t SET first_offset = (SELECT b.first_offset FROM ${this.#t.block} b
            WHERE b.shard = t.shard AND b.epoch = t.epoch ORDER BY b.last_offset LIMIT 1)
          WHERE t.lease = $1 AND t.first_offset IS NULL
            AND (t.shard, t.epoch) IN (SELECT * FROM unnest($2::int8[], $3::int8[]))`,
      },
      [lease, shards, epochs],
    )
    const { rows } = await session.run(
      'write',
      {
        text: `WITH gone AS (
            DELETE FROM ${this.#t.block} b USING unnest($2::int8[], $3::int8[], $4::int8[]) AS w(shard, epoch, last_offset)
            WHERE b.shard = w.shard AND b.epoch = w.epoch AND b.last_offset = w.last_offset
            RETURNING b.stream, b.bytes, b.last_offset - b.first_offset + 1 AS events),
          less AS (
            UPDATE ${this.#t.streamUse} AS u SET bytes = u.bytes - g.bytes
            FROM (SELECT stream, sum(bytes)::int8 AS bytes FROM gone GROUP BY stream) g
            WHERE u.lease = $1 AND u.stream = g.stream)
          SELECT coalesce(sum(events), 0)::int8 AS events FROM gone`,
      },
      [lease, shards, epochs, int8Array(doomed.map((b) => b.last_offset))],
    )
    return rows[0]?.events as number
  }

  async leaseFiles({ session }: Connection): Promise<readonly LeaseFile[]> {
    const { rows } = await session.run('read', {
      text: `SELECT l.lease, u.stream, u.bytes, u.newest_ms FROM ${this.#t.lease} l
        LEFT JOIN ${this.#t.streamUse} u ON u.lease = l.lease ORDER BY l.lease`,
    })
    const files = new Map<LeaseId, { bytes: number; newestAtMs: number; streamBytes: Map<string, number> }>()
    for (const row of rows) {
      const lease = row.lease as LeaseId
      const file = files.get(lease) ?? { bytes: 0, newestAtMs: 0, streamBytes: new Map() }
      files.set(lease, file)
      if (row.stream === null) continue
      const [stream, bytes] = streamBytes(row)
      file.bytes += bytes
      file.newestAtMs = Math.max(file.newestAtMs, row.newest_ms as number)
      file.streamBytes.set(stream, bytes)
    }
    return [...files].map(([lease, file]) => ({ lease, ...file }))
  }

  /**
   * Everything of a lease that has ended; its positions go to `heir`. First the lease's row changes, so that nobody can
   * append under it; it goes last, so that an interrupted call can be repeated.
   */
  async drop({ session }: Connection, lease: LeaseId, heir: LeaseId | undefined): Promise<void> {
    const { lease: leaseTable, tenure, block, streamUse, position } = this.#t
    await session.run(
      'write',
      { text: `UPDATE ${leaseTable} SET writer = '', version = version + 1 WHERE lease = $1` },
      [lease],
    )
    if (heir !== undefined) {
      await session.run('write', { text: `UPDATE ${position} SET lease = $2 WHERE lease = $1` }, [
        lease,
        heir,
      ])
    }
    for (;;) {
      const { count } = await session.run(
        'write',
        {
          text: `DELETE FROM ${block} b USING (
              SELECT c.shard, c.epoch, c.last_offset FROM ${tenure} t
              JOIN ${block} c ON c.shard = t.shard AND c.epoch = t.epoch
              WHERE t.lease = $1 AND t.opened LIMIT ${blocksPerDrop}) d
            WHERE b.shard = d.shard AND b.epoch = d.epoch AND b.last_offset = d.last_offset`,
        },
        [lease],
      )
      if (count < blocksPerDrop) break
    }
    for (const table of [tenure, streamUse, leaseTable]) {
      await session.run('write', { text: `DELETE FROM ${table} WHERE lease = $1` }, [lease])
    }
  }

  async holdsPositions({ session }: Connection, lease: LeaseId): Promise<boolean> {
    const { count } = await session.run(
      'read',
      { text: `SELECT 1 AS one FROM ${this.#t.position} WHERE lease = $1 LIMIT 1` },
      [lease],
    )
    return count > 0
  }
}

function streamBytes(row: Row): [stream: string, bytes: number] {
  return [(row.stream as Buffer).toString(), row.bytes as number]
}
