/**
 * The journal's file work, all of it synchronous, behind calls that can cross threads: plain data in, plain data out.
 *
 * The idea: exactly one thread runs an engine, so that nothing here is concurrent with itself. It holds one
 * connection for writing (the current lease's file) and a bounded number for reading anybody's.
 *
 * A call that meets a lock throws SQLite's busy error having done nothing; `run-engine.ts` repeats it.
 * Must not live here: queues, promises, encoding of events.
 */
import type { Epoch, LeaseId, ShardId } from '../../core/kernel/brand.js'
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import { type Block, type BlockBatch, blocksOf } from '../../engines/journal/block.js'
import { type AgentRecord, type RecordBatch, recordsOf } from '../../engines/journal/checkpoint.js'
import {
  advance,
  type DedupeSpan,
  type Extent,
  excessOf,
  fenced,
  isNewerPosition,
  requireLease,
  type Tail,
} from '../../engines/journal/rules.js'
import { classifySqliteError, isBusy, sqliteErrorCode } from '../../engines/sqlite/connection.js'
import { prepareLocalDirectory } from '../../engines/sqlite/filesystem.js'
import type {
  Checkpoint,
  CheckpointPage,
  JournalHealth,
  LeaseFile,
  PositionPage,
  ReadRequest,
  ReadResult,
  RetentionPolicy,
  Segment,
} from '../../ports/journal.js'
import { Attachments } from './attachments.js'
import { Checkpoints } from './checkpoints.js'
import { exists, leasesIn, loadIdentity, pathOf, removeDatabase, stampOf, sweep } from './directory.js'
import { LeaseDatabase, type Position, type Row, type ShardEpoch } from './lease-database.js'
import { type ErrorData, toErrorData } from './protocol.js'
import { type IdPage, readEvents, recentIdsPage } from './scan.js'

export interface EngineOptions {
  readonly directory: string
  /** Other leases' files held open for reading, at least 1. */
  readonly readersMax: number
}

/** Several appends in one commit: each is its next `blockCounts` blocks of the batch. */
export interface CommitRequest {
  readonly lease: LeaseId
  readonly blockCounts: readonly number[]
  readonly batch: BlockBatch
  readonly positions: readonly Position[]
  readonly records: RecordBatch
}

interface Writer {
  readonly file: LeaseDatabase
  readonly tails: Map<ShardId, Tail>
}

const rowsPerTrimMax = 512

export class JournalEngine {
  readonly #options: EngineOptions
  #writing = new Attachments(false)
  /** As many connections as the readers need. */
  readonly #reading: Attachments[] = []
  /** In order of use, the latest last. */
  readonly #readers = new Map<LeaseId, LeaseDatabase>()
  /** What was found broken, by file, for `health`. */
  readonly #broken = new Map<string, string>()
  /** Of files at rest, by their stamp at the time. One small list per file in the directory. */
  readonly #settledEpochs = new Map<
    LeaseId,
    { readonly stamp: string; readonly epochs: readonly ShardEpoch[] }
  >()
  readonly #checkpoints: Checkpoints
  #lease: LeaseId | undefined
  /** What is written under the lease may leave gaps. */
  #isCopy = false
  /** Undefined while no lease is open, and after an I/O error until it is opened again. */
  #writer: Writer | undefined

  constructor(options: EngineOptions) {
    this.#options = options
    this.#checkpoints = new Checkpoints(options.directory, (lease, use) => this.#use(lease, use))
  }

  open(): { readonly identity: string } {
    prepareLocalDirectory(this.#options.directory)
    const identity = loadIdentity(this.#options.directory)
    sweep(this.#options.directory)
    return { identity }
  }

  openLease(lease: LeaseId, isCopy = false): void {
    requireLease(lease)
    if (this.#lease === lease) return
    this.closeLease()
    this.#closeReader(lease)
    this.#writer = this.#openWriter(lease)
    this.#lease = lease
    this.#isCopy = isCopy
  }

  closeLease(): void {
    this.#lease = undefined
    const file = this.#writer?.file
    this.#writer = undefined
    file?.close()
  }

  close(): void {
    this.closeLease()
    for (const lease of [...this.#readers.keys()]) this.#closeReader(lease)
    this.#writing.close()
    for (const connection of this.#reading.splice(0)) connection.close()
  }

  /** One result per append, null where it is durable. Throws only a busy error: then nothing was done. */
  commit(request: CommitRequest): (ErrorData | null)[] {
    const { lease, blockCounts, batch, positions } = request
    const records = recordsOf(request.records)
    const writer = this.#writerOf(lease)
    if (isSkeinError(writer)) return blockCounts.map(() => toErrorData(writer))
    const results: (ErrorData | null)[] = []
    const accepted: Block[] = []
    const after = new Map<ShardId, Tail>()
    const all = blocksOf(batch)
    for (const count of blockCounts) {
      const blocks: Block[] = []
      for (let i = 0; i < count; i++) blocks.push(all.next().value as Block)
      try {
        const tails = advance((shard) => after.get(shard) ?? writer.tails.get(shard), blocks, this.#isCopy)
        for (const [shard, tail] of tails) after.set(shard, tail)
        for (const block of blocks) accepted.push(block)
        results.push(null)
      } catch (error) {
        results.push(toErrorData(error))
      }
    }
    if (accepted.length === 0 && positions.length === 0 && records.length === 0) return results
    const failure = this.#write(writer, accepted, positions, records)
    if (failure !== undefined) return results.map((result) => result ?? toErrorData(failure))
    for (const [shard, tail] of after) writer.tails.set(shard, tail)
    return results
  }

  #write(
    writer: Writer,
    blocks: readonly Block[],
    positions: readonly Position[],
    records: readonly AgentRecord[],
  ): SkeinError | undefined {
    let committing = false
    try {
      writer.file.write(blocks, newEpochs(writer.tails, blocks), positions, records, () => {
        committing = true
      })
      return undefined
    } catch (error) {
      if (!committing && isBusy(error)) throw error
      const what = `writing ${writer.file.path}`
      const classified = classifySqliteError(error, what, writer.file.path)
      if (classified.code === 'disk_full') return classified
      // Whatever happened, this connection's idea of the file is not to be trusted any more.
      this.#abandonWriter()
      if (!committing) return classified
      const code = sqliteErrorCode(error)
      return new SkeinError('outcome_unknown', `${what}: the commit failed (${classified.message})`, {
        details: { path: writer.file.path, sqliteCode: code },
        cause: error,
      })
    }
  }

  #abandonWriter(): void {
    const file = this.#writer?.file
    this.#writer = undefined
    try {
      file?.close()
    } catch {
      // It cannot be let go of: leave it, and begin with a new connection.
      this.#writing = new Attachments(false)
    }
  }

  seal(lease: LeaseId, wanted: readonly { shard: ShardId; epoch: Epoch }[]): Extent[] {
    return this.#use(lease, (file) => file.seal(wanted)) ?? []
  }

  lastOffsets(shards: readonly ShardId[]): Map<ShardId, number> {
    if (this.#lease === undefined) return new Map()
    // Afresh from the disk: what a failed commit left behind counts if, and only if, it is there after a sync.
    const writer = this.#writerOf(this.#lease)
    if (isSkeinError(writer)) throw writer
    const tails = this.#guard(writer.file, () => {
      const found = writer.file.tails()
      writer.file.sync()
      return found
    })
    writer.tails.clear()
    for (const [shard, tail] of tails) writer.tails.set(shard, tail)
    const last = new Map<ShardId, number>()
    for (const shard of shards) {
      const tail = tails.get(shard)
      if (tail !== undefined) last.set(shard, tail.last)
    }
    return last
  }

  /** A file that cannot be read is passed over and shows in `health`: one bad page must not stop every assignment. */
  highestEpochs(shards: readonly ShardId[]): Map<ShardId, number> {
    const highest = new Map<ShardId, number>(shards.map((shard) => [shard, 0]))
    const leases = leasesIn(this.#options.directory)
    for (const lease of leases) {
      for (const { shard, epoch } of this.#epochsOf(lease)) {
        const known = highest.get(shard)
        if (known !== undefined && epoch > known) highest.set(shard, epoch)
      }
    }
    const present = new Set(leases)
    for (const lease of this.#settledEpochs.keys()) if (!present.has(lease)) this.#settledEpochs.delete(lease)
    return highest
  }

  /** Most files are of leases long gone; those are read once. */
  #epochsOf(lease: LeaseId): readonly ShardEpoch[] {
    const stamp = stampOf(pathOf(this.#options.directory, lease))
    const known = this.#settledEpochs.get(lease)
    if (known !== undefined && known.stamp === stamp) return known.epochs
    const epochs = this.#surviving(lease, (file) => file.highestEpochs()) ?? []
    if (stamp !== undefined) this.#settledEpochs.set(lease, { stamp, epochs })
    return epochs
  }

  read(request: ReadRequest): ReadResult {
    return this.#scanning(() => readEvents((lease) => this.#fileOf(lease), request))
  }

  recentIds(
    shard: ShardId,
    segments: readonly Segment[],
    span: DedupeSpan,
    before: number,
    count: number,
  ): IdPage {
    return this.#scanning(() =>
      recentIdsPage((lease) => this.#fileOf(lease), shard, segments, span, before, count),
    )
  }

  readPositions(group: string, shards: readonly ShardId[]): Map<ShardId, number> {
    const best = new Map(shards.map((shard) => [shard, { epoch: 0, offset: 0 }]))
    for (const lease of leasesIn(this.#options.directory)) {
      for (const found of this.#surviving(lease, (file) => file.positionsOf(group)) ?? []) {
        const before = best.get(found.shard)
        if (before !== undefined && isNewerPosition(found, before)) best.set(found.shard, found)
      }
    }
    return new Map([...best].map(([shard, { offset }]) => [shard, offset]))
  }

  /** Of the first of these agents, as many as one answer holds, in order; at least one. */
  readCheckpoints(agents: readonly string[]): (Checkpoint | undefined)[] {
    return this.#checkpoints.read(agents)
  }

  listCheckpoints(after: string, limit: number): CheckpointPage {
    return this.#checkpoints.list(after, limit)
  }

  /**
   * One step of retention in a file: checkpoints that another file outranks go, and what is noted of forgotten agents once nothing speaks for it.
   * Looks at some agents after the one given; undefined when done.
   */
  tidyCheckpointsStep(nowMs: number, after: string, lease: LeaseId | undefined): string | undefined {
    const step = this.#trimming(lease, (file, name) => {
      const { found, next } = this.#checkpoints.idle(name, nowMs, after)
      if (found.length > 0) this.#guard(file, () => file.removeCheckpoints(found))
      return { next }
    })
    return step?.next
  }

  /** In the order of group (as bytes) and shard. A page looks at every file. */
  listPositions(after: string, limit: number): PositionPage {
    const cursor = readCursor(after)
    const best = new Map<string, Position>()
    const ordered: { readonly name: Buffer; readonly position: Position }[] = []
    for (const lease of leasesIn(this.#options.directory)) {
      // One more than asked: whoever is beyond a file's page cannot be below the end of ours.
      for (const found of this.#use(lease, (file) => file.positionsAfter(cursor, limit + 1)) ?? []) {
        const key = `${found.shard} ${found.group}`
        const before = best.get(key)
        if (before !== undefined && !isNewerPosition(found, before)) continue
        best.set(key, found)
      }
    }
    for (const position of best.values()) ordered.push({ name: Buffer.from(position.group), position })
    ordered.sort((a, b) => a.name.compare(b.name) || a.position.shard - b.position.shard)
    const page = ordered.slice(0, limit).map(({ position }) => position)
    const last = page.at(-1)
    return ordered.length > limit && last !== undefined
      ? { positions: page, next: writeCursor(last) }
      : { positions: page }
  }

  /**
   * One step of retention: looks at the oldest rows above `afterId`. Undefined `next` when done. The last row of each
   * epoch stays: it is what tells where the log ended.
   */
  trimStep(
    policy: RetentionPolicy,
    nowMs: number,
    afterId: number,
    lease: LeaseId | undefined,
  ): { removed: number; next?: number } {
    return (
      this.#trimming(lease, (file) => this.#trimFile(file, policy, nowMs, afterId)) ?? {
        removed: 0,
      }
    )
  }

  /** With the file of the current lease, or of one that has ended; undefined where there is none. */
  #trimming<T>(lease: LeaseId | undefined, use: (file: LeaseDatabase, lease: LeaseId) => T): T | undefined {
    if (lease === undefined || lease === this.#lease) {
      const own = this.#lease
      return own === undefined || this.#writer === undefined ? undefined : use(this.#writer.file, own)
    }
    requireLease(lease)
    if (!exists(pathOf(this.#options.directory, lease))) return undefined
    const file = LeaseDatabase.openWriter(this.#writing, this.#options.directory, lease, true)
    try {
      return use(file, lease)
    } finally {
      file.close()
    }
  }

  #trimFile(
    file: LeaseDatabase,
    policy: RetentionPolicy,
    nowMs: number,
    afterId: number,
  ): { removed: number; next?: number } {
    return this.#guard(file, () => {
      const excess = excessOf(policy, file.streamBytes())
      const oldest = file.oldest(afterId, rowsPerTrimMax)
      const doomed: Row[] = []
      let goOn = oldest.length === rowsPerTrimMax
      for (const { row, endsEpoch } of oldest) {
        const over = excess.get(row.stream) ?? 0
        const tooOld = row.atMs < nowMs - policy.ageMsMax
        if (!tooOld && ![...excess.values()].some((bytes) => bytes > 0)) {
          goOn = false
          break
        }
        if (endsEpoch || !(tooOld || over > 0)) continue
        doomed.push(row)
        excess.set(row.stream, over - row.bytes)
      }
      if (doomed.length > 0) file.remove(doomed)
      const removed = doomed.reduce((sum, row) => sum + row.last - row.first + 1, 0)
      const lastId = oldest.at(-1)?.row.id
      return goOn && lastId !== undefined ? { removed, next: lastId } : { removed }
    })
  }

  leaseFiles(): LeaseFile[] {
    return leasesIn(this.#options.directory).flatMap((lease): LeaseFile[] => {
      const found = this.#surviving(lease, (file) => ({
        lease,
        bytes: file.bytes,
        newestAtMs: file.newestAtMs(),
        streamBytes: file.streamBytes(),
      }))
      return found === undefined ? [] : [found]
    })
  }

  /**
   * One step before a file goes: what it says of some agents after the one given moves to the current one. Undefined when all has, so that no call
   * holds more than a commit.
   */
  takeOverStep(lease: LeaseId, after: string, nowMs: number): string | undefined {
    this.#requireDroppable(lease)
    const { found, next } = this.#checkpoints.legacy(lease, nowMs, after)
    if (found.length > 0) this.#takeOver(lease, 'checkpoints of agents', [], found)
    return next
  }

  /** After `takeOverStep`. */
  dropLease(lease: LeaseId): void {
    this.#requireDroppable(lease)
    this.#takeOverPositions(lease)
    this.#closeReader(lease)
    const path = pathOf(this.#options.directory, lease)
    removeDatabase(this.#options.directory, path)
    this.#broken.delete(path)
  }

  /** What a file that is about to go still says about consumers moves to the current one. */
  #takeOverPositions(lease: LeaseId): void {
    const positions = this.#surviving(lease, (file) => file.positions()) ?? []
    if (positions.length > 0) this.#takeOver(lease, 'positions of consumers', positions, [])
  }

  #takeOver(
    lease: LeaseId,
    what: string,
    positions: readonly Position[],
    records: readonly AgentRecord[],
  ): void {
    if (this.#lease === undefined) {
      throw new SkeinError(
        'invalid_argument',
        `lease ${lease} has ${what} and no lease is open to take them over`,
      )
    }
    const writer = this.#writerOf(this.#lease)
    const failure = isSkeinError(writer) ? writer : this.#write(writer, [], positions, records)
    if (failure !== undefined) throw failure
  }

  #requireDroppable(lease: LeaseId): void {
    requireLease(lease)
    if (lease !== this.#lease) return
    throw new SkeinError('invalid_argument', `lease ${lease} is open for writing; its file is not dropped`)
  }

  health(): JournalHealth {
    const { directory } = this.#options
    let bytes = 0
    for (const lease of leasesIn(directory)) bytes += LeaseDatabase.bytesOf(directory, lease)
    const broken = [...this.#broken].map(([path, why]) => `${path}: ${why}`)
    if (this.#lease !== undefined && this.#writer === undefined) {
      broken.push(`${pathOf(directory, this.#lease)}: closed after an error, opened again with the next call`)
    }
    return { ok: broken.length === 0, detail: broken.length === 0 ? directory : broken.join('; '), bytes }
  }

  /** The writer of the current lease, opened again if an error closed it; why not, otherwise. */
  #writerOf(lease: LeaseId): Writer | SkeinError {
    if (this.#lease !== lease) return fenced(lease)
    if (this.#writer !== undefined) return this.#writer
    try {
      this.#writer = this.#openWriter(lease)
      return this.#writer
    } catch (error) {
      if (isBusy(error)) throw error
      return classifySqliteError(error, `opening the file of lease ${lease}`)
    }
  }

  #openWriter(lease: LeaseId): Writer {
    const { directory } = this.#options
    const isThere = exists(pathOf(directory, lease))
    const file = LeaseDatabase.openWriter(this.#writing, directory, lease, isThere)
    try {
      // What a failed commit left visible: a save that finds its row already there is as durable as one that wrote it.
      if (isThere) file.sync()
      return { file, tails: file.tails() }
    } catch (error) {
      file.close()
      throw error
    }
  }

  #fileOf(lease: LeaseId): LeaseDatabase | undefined {
    if (lease === this.#lease && this.#writer !== undefined) return this.#writer.file
    const known = this.#readers.get(lease)
    this.#readers.delete(lease)
    if (known === undefined && !exists(pathOf(this.#options.directory, lease))) return undefined
    if (known === undefined) this.#makeRoom()
    const file = known ?? LeaseDatabase.openReader(this.#readingWithRoom(), this.#options.directory, lease)
    this.#readers.set(lease, file)
    return file
  }

  #readingWithRoom(): Attachments {
    const found = this.#reading.find((connection) => connection.hasRoom)
    if (found !== undefined) return found
    const added = new Attachments(true)
    this.#reading.push(added)
    return added
  }

  #makeRoom(): void {
    for (const oldest of this.#readers.keys()) {
      if (this.#readers.size < this.#options.readersMax) return
      this.#closeReader(oldest)
    }
  }

  #closeReader(lease: LeaseId): void {
    this.#readers.get(lease)?.close()
    this.#readers.delete(lease)
  }

  /** Undefined where the lease has no file. */
  #use<T>(lease: LeaseId, use: (file: LeaseDatabase) => T): T | undefined {
    requireLease(lease)
    try {
      const file = this.#fileOf(lease)
      return file === undefined ? undefined : use(file)
    } catch (error) {
      const path = pathOf(this.#options.directory, lease)
      if (lease === this.#lease || exists(path)) throw this.#noted(error, path)
      // Dropped in this very moment, by another process.
      this.#closeReader(lease)
      return undefined
    }
  }

  #surviving<T>(lease: LeaseId, use: (file: LeaseDatabase) => T): T | undefined {
    try {
      return this.#use(lease, use)
    } catch (error) {
      if (isSkeinError(error) && error.code === 'corrupt') return undefined
      throw error
    }
  }

  #guard<T>(file: LeaseDatabase, use: () => T): T {
    try {
      return use()
    } catch (error) {
      throw this.#noted(error, file.path)
    }
  }

  #scanning<T>(use: () => T): T {
    try {
      return use()
    } catch (error) {
      throw this.#noted(error, undefined)
    }
  }

  /** Busy errors stay as they are, to be repeated; what is corrupt is remembered. */
  #noted(error: unknown, path: string | undefined): unknown {
    if (isBusy(error)) return error
    const classified = classifySqliteError(error, 'reading the journal', path)
    // Whoever repairs the file may put another in its place: no handle on this one is kept.
    for (const lease of [...this.#readers.keys()]) this.#closeReader(lease)
    if (classified.code === 'corrupt') {
      const { file } = classified.details
      this.#broken.set(
        typeof file === 'string' ? file : (path ?? this.#options.directory),
        classified.message,
      )
    }
    return classified
  }
}

/** `<shard> <group in base64url>`. Errors: `invalid_argument`. */
function readCursor(cursor: string): { readonly name: Uint8Array; readonly shard: number } {
  if (cursor === '') return { name: new Uint8Array(0), shard: -1 }
  const [, shard, name] = /^(\d{1,9}) ([\w-]*)$/.exec(cursor) ?? []
  if (shard === undefined || name === undefined)
    throw new SkeinError('invalid_argument', `"${cursor}" is no place in the list of positions`)
  return { name: Buffer.from(name, 'base64url'), shard: Number(shard) }
}

function writeCursor({ group, shard }: Position): string {
  return `${shard} ${Buffer.from(group).toString('base64url')}`
}

/** The first block of every epoch that the file does not know yet. */
function newEpochs(tails: ReadonlyMap<ShardId, Tail>, blocks: readonly Block[]): Extent[] {
  const seen = new Map<ShardId, Epoch>()
  const found: Extent[] = []
  for (const block of blocks) {
    const known = seen.get(block.shard) ?? tails.get(block.shard)?.epoch
    seen.set(block.shard, block.epoch)
    if (known !== block.epoch) found.push(block)
  }
  return found
}
