/**
 * Reading events out of lease files: forwards for consumers and queries, backwards for the dedupe window.
 *
 * The idea: a call does a bounded piece of work (events, bytes, rows looked at) and says how far it came, so that a
 * long scan never holds up the commits that share its thread. Rows whose stream or key hashes do not match are
 * skipped by their heads.
 *
 * Must not live here: SQL, writing.
 */
import type { LeaseId, ShardId } from '../../core/kernel/brand.js'
import { hash32 } from '../../core/kernel/hash.js'
import { decodeBlock, mayHoldKey } from '../../engines/journal/block.js'
import { type DedupeSpan, journalLimits, wantsId } from '../../engines/journal/rules.js'
import type { IdRecord, ReadRequest, ReadResult, Segment, StoredEvent } from '../../ports/journal.js'
import type { LeaseDatabase, Row } from './lease-database.js'

/** Undefined where the lease has no file (any more): retention took it, so it counts as read. */
export type FileOf = (lease: LeaseId) => LeaseDatabase | undefined

const rowsPerQuery = 256
const rowsPerCallMax = 4096
const idsPerCallMax = 4096

export function readEvents(fileOf: FileOf, request: ReadRequest): ReadResult {
  const page = new Page(request)
  for (const segment of request.segments) {
    if (segment.last <= page.scannedTo) continue
    const file = fileOf(segment.lease)
    if (file !== undefined && !page.scan(file, segment)) {
      return { events: page.events, scannedTo: page.scannedTo, end: false }
    }
    page.scannedTo = segment.last
  }
  return { events: page.events, scannedTo: page.scannedTo, end: true }
}

class Page {
  readonly events: StoredEvent[] = []
  scannedTo: number
  readonly #request: ReadRequest
  readonly #keyHash: number | undefined
  #bytes = 0
  #rows = 0

  constructor(request: ReadRequest) {
    this.#request = request
    this.#keyHash = request.key === undefined ? undefined : hash32(request.key)
    this.scannedTo = request.after
  }

  /** False when the page was full before the segment's end. */
  scan(file: LeaseDatabase, { epoch, first, last }: Segment): boolean {
    const { shard } = this.#request
    for (;;) {
      const after = Math.max(this.scannedTo, first - 1)
      const rows = file.rows({ shard, epoch, after, upTo: last }, rowsPerQuery)
      for (const row of rows) {
        if (this.#full || !this.#take(file, row, first, last)) return false
        this.scannedTo = Math.min(row.last, last)
      }
      if (rows.length < rowsPerQuery) return true
    }
  }

  get #full(): boolean {
    const { limit } = this.#request
    return (
      this.events.length >= limit || this.#bytes > journalLimits.readBytesMax || this.#rows >= rowsPerCallMax
    )
  }

  /** False when the limit came in the middle of the row; `scannedTo` is then the last event taken. */
  #take(file: LeaseDatabase, row: Row, first: number, last: number): boolean {
    this.#rows++
    const { stream, key, limit } = this.#request
    if (stream !== undefined && row.stream !== stream) return true
    if (this.#keyHash !== undefined && !mayHoldKey(row.hashes, this.#keyHash)) return true
    const content = file.content(row)
    if (content === undefined) return true
    this.#bytes += row.bytes
    for (const event of decodeBlock(content.block, content.crc, file.path)) {
      if (event.offset <= this.scannedTo || event.offset < first || event.offset > last) continue
      if (key !== undefined && event.key !== key) continue
      if (this.events.length >= limit) return false
      this.events.push(event)
      this.scannedTo = event.offset
    }
    return true
  }
}

/** `before`: go on with the ids below this offset; absent when the window is full or the log ends. */
export interface IdPage {
  /** Newest first. */
  readonly records: readonly IdRecord[]
  readonly before?: number
}

/** `count`: how many newer ids have been returned already. */
export function recentIdsPage(
  fileOf: FileOf,
  shard: ShardId,
  segments: readonly Segment[],
  span: DedupeSpan,
  before: number,
  count: number,
): IdPage {
  const records: IdRecord[] = []
  let bytes = 0
  let below = before
  for (const { lease, epoch, first, last } of segments.toReversed()) {
    const file = first < below ? fileOf(lease) : undefined
    for (;;) {
      const upTo = Math.min(last, below - 1)
      const rows = file?.rowsBackwards({ shard, epoch, after: first - 1, upTo }, 64) ?? []
      for (const row of rows) {
        if (records.length >= idsPerCallMax || bytes > journalLimits.readBytesMax) {
          return { records, before: below }
        }
        const content = file?.content(row)
        const events = content === undefined ? [] : decodeBlock(content.block, content.crc, file?.path ?? '')
        for (const event of events.toReversed()) {
          if (event.offset < first || event.offset > upTo) continue
          if (!wantsId(span, count + records.length, event.atMs)) return { records }
          records.push(idRecord(event))
        }
        bytes += row.bytes
        below = Math.max(row.first, first)
      }
      if (rows.length < 64) break
    }
  }
  return { records }
}

function idRecord({ offset, atMs, stream, key, id, payload, type }: StoredEvent): IdRecord {
  return { offset, atMs, stream, key, id, payload, type }
}
