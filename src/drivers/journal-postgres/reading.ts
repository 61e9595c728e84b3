/**
 * Reading events out of the blocks: forwards for consumers and queries, backwards for the dedupe window.
 *
 * The idea: rows come in pages bounded in number and in bytes; the server leaves out the content of blocks that the
 * stream or the hash of the key rule out, and says how far the page reaches all the same. Only what the segments name is
 * ever looked at: their `last` is the reader's horizon.
 *
 * Must not live here: writing, retention.
 */
import type { ShardId } from '../../core/kernel/brand.js'
import { hash32 } from '../../core/kernel/hash.js'
import { type Block, decodeBlock } from '../../engines/journal/block.js'
import { type DedupeSpan, journalLimits, wantsId } from '../../engines/journal/rules.js'
import type { IdRecord, ReadRequest, ReadResult, Segment, StoredEvent } from '../../ports/journal.js'
import type { Connection } from './connector.js'
import type { Tables } from './schema.js'
import type { Row } from './session.js'

const rowsPerQuery = 256
const rowsPerCallMax = 4096
/** Backwards every block is wanted, and the window may be wide. */
const bytesPerIdPage = 2 * 1024 * 1024

export class Reading {
  readonly #t: Tables
  readonly #label: string

  constructor(tables: Tables, label: string) {
    this.#t = tables
    this.#label = label
  }

  async read({ session }: Connection, request: ReadRequest): Promise<ReadResult> {
    const { shard, segments, stream, key, limit } = request
    const events: StoredEvent[] = []
    let scannedTo = request.after
    let bytes = 0
    let rowCount = 0
    for (const segment of segments) {
      while (segment.last > scannedTo) {
        const { rows } = await session.run('read', { name: 'skein_read', text: this.#readSql() }, [
          shard,
          segment.epoch,
          Math.max(scannedTo, segment.first - 1),
          segment.last,
          segment.lease,
          stream === undefined ? null : Buffer.from(stream),
          key === undefined ? null : hashBytes(key),
          rowsPerQuery,
          journalLimits.readBytesMax,
        ])
        let isCut = false
        for (const row of rows) {
          const isFull =
            events.length >= limit || bytes > journalLimits.readBytesMax || rowCount >= rowsPerCallMax
          if (isFull) return { events, scannedTo, end: false }
          isCut = row.is_wanted === true && row.body === null
          if (isCut) break
          rowCount++
          if (row.is_wanted === true) {
            bytes += (row.body as Buffer).length
            for (const event of this.#decode(row, segment, shard)) {
              if (event.offset <= scannedTo) continue
              if (key !== undefined && event.key !== key) continue
              if (events.length >= limit) return { events, scannedTo, end: false }
              events.push(event)
              scannedTo = event.offset
            }
          }
          scannedTo = Math.min(row.last_offset as number, segment.last)
        }
        if (!isCut && rows.length < rowsPerQuery) scannedTo = segment.last
      }
    }
    return { events, scannedTo, end: true }
  }

  /** Newest first within, ascending as a whole. */
  async recentIds(
    { session }: Connection,
    shard: ShardId,
    segments: readonly Segment[],
    span: DedupeSpan,
  ): Promise<readonly IdRecord[]> {
    const newestFirst: IdRecord[] = []
    for (const segment of segments.toReversed()) {
      let upTo = segment.last
      while (upTo >= segment.first) {
        const { rows } = await session.run('read', { name: 'skein_recent', text: this.#recentSql() }, [
          shard,
          segment.epoch,
          segment.first,
          upTo,
          segment.lease,
          rowsPerQuery,
          bytesPerIdPage,
        ])
        for (const row of rows) {
          for (const event of this.#decode(row, segment, shard).toReversed()) {
            if (event.offset > upTo) continue
            if (!wantsId(span, newestFirst.length, event.atMs)) return newestFirst.reverse()
            const { offset, atMs, stream, key, id, payload, type } = event
            newestFirst.push({ offset, atMs, stream, key, id, payload, type })
          }
        }
        const lowest = rows.at(-1)?.first_offset as number | undefined
        upTo = lowest === undefined ? segment.first - 1 : lowest - 1
      }
    }
    return newestFirst.reverse()
  }

  /** What lies within the segment. Errors: `corrupt`. */
  #decode(row: Row, { epoch, first, last }: Segment, shard: ShardId): StoredEvent[] {
    const block: Block = {
      shard,
      epoch,
      first: row.first_offset as number,
      last: row.last_offset as number,
      stream: (row.stream as Buffer).toString(),
      atMs: row.at_ms as number,
      hashes: row.hashes as Buffer,
      body: row.body as Buffer,
    }
    return decodeBlock(block, row.crc as number, this.#label).filter(
      ({ offset }) => offset >= first && offset <= last,
    )
  }

  /** Content is there for wanted rows until the bytes are used up, at least for the first. */
  #readSql(): string {
    return `SELECT last_offset, first_offset, at_ms, crc, is_wanted,
        CASE WHEN is_sent THEN stream END AS stream,
        CASE WHEN is_sent THEN hashes END AS hashes,
        CASE WHEN is_sent THEN body END AS body
      FROM (SELECT p.*, is_wanted AND sum(CASE WHEN is_wanted THEN bytes ELSE 0 END)
          OVER (ORDER BY last_offset) - bytes < $9::int8 AS is_sent
        FROM (SELECT b.*, ($6::bytea IS NULL OR b.stream = $6::bytea)
            AND ($7::bytea IS NULL OR position($7::bytea in b.hashes) > 0) AS is_wanted
          FROM ${this.#t.block} b
          WHERE b.shard = $1::int8 AND b.epoch = $2::int8 AND b.last_offset > $3::int8 AND b.first_offset <= $4::int8
            AND ${this.#isOf('$5')}
          ORDER BY b.last_offset LIMIT $8::int8) p) q
      ORDER BY last_offset`
  }

  #recentSql(): string {
    return `SELECT last_offset, first_offset, at_ms, crc, stream, hashes, body
      FROM (SELECT p.*, sum(bytes) OVER (ORDER BY last_offset DESC) - bytes < $7::int8 AS is_sent
        FROM (SELECT * FROM ${this.#t.block} b
          WHERE b.shard = $1::int8 AND b.epoch = $2::int8 AND b.last_offset >= $3::int8 AND b.first_offset <= $4::int8
            AND ${this.#isOf('$5')}
          ORDER BY b.last_offset DESC LIMIT $6::int8) p) q
      WHERE is_sent ORDER BY last_offset DESC`
  }

  /** The tenure belongs to the lease that the segment names. */
  #isOf(lease: string): string {
    return `EXISTS (SELECT 1 FROM ${this.#t.tenure} t
      WHERE t.shard = $1::int8 AND t.epoch = $2::int8 AND t.lease = ${lease}::text AND t.opened)`
  }
}

/** As the blocks keep them: little-endian. May be found across two hashes: then a block is decoded in vain. */
function hashBytes(key: string): Buffer {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(hash32(key) >>> 0)
  return bytes
}
