/**
 * The journal of many machines: tables in a PostgreSQL database that all nodes reach.
 *
 * This is the side that the node sees: it keeps the order of calls and bounds what waits. Appends go through one
 * connection (`lease-writer.ts`), everything else through a few others (`pool.ts`). All of it runs on the caller's thread:
 * an append costs it about a microsecond per event, which is less than handing it to another thread would.
 *
 * Here the engine itself checks the fence: after `seal`, no append of those tenures can take place any more. For the lease
 * that this handle has open, `seal` only looks: nobody closes a log behind his own back.
 *
 * Must not live here: SQL.
 */
import type { Epoch, LeaseId, ShardId } from '../../core/kernel/brand.js'
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import {
  recordsOf,
  recordsToSave,
  recordToForget,
  requireAgent,
  requirePage,
} from '../../engines/journal/checkpoint.js'
import { CheckpointReads } from '../../engines/journal/checkpoint-reads.js'
import { CommitQueue } from '../../engines/journal/commit-queue.js'
import {
  type DedupeSpan,
  fenced,
  journalClosed,
  requireGroups,
  requireLease,
  requirePositionPage,
  requireReadRequest,
  requireSegments,
} from '../../engines/journal/rules.js'
import type {
  AppendGroup,
  Checkpoint,
  CheckpointPage,
  ConsumerPosition,
  IdRecord,
  Journal,
  JournalHealth,
  LeaseFile,
  PositionPage,
  ReadRequest,
  ReadResult,
  RetentionPolicy,
  Segment,
} from '../../ports/journal.js'
import { Checkpoints } from './checkpoints.js'
import { type Connection, Connector } from './connector.js'
import { highestEpochs, storedBytes } from './figures.js'
import { LeaseWriter } from './lease-writer.js'
import { Pool } from './pool.js'
import { listPositions, readPositions, writePositions } from './positions.js'
import { Reading } from './reading.js'
import { Retention } from './retention.js'
import { openSchema, type Tables, tablesIn } from './schema.js'
import { Sealing } from './sealing.js'
import { recheckServer } from './server-check.js'
import { type PostgresTarget, parsePostgresUrl } from './target.js'

export interface PostgresJournalOptions {
  /** See `target.ts`. */
  readonly url: string
  /** Events that may wait for their commit, and as many checkpoints; over it appends and saves are `overloaded`. Default 20,000. */
  readonly queueEventsMax?: number
  /** The same in characters of payload, keys and ids, and in bytes of states. Default 64 Mi. */
  readonly queueBytesMax?: number
  /** Appends are gathered into one statement up to this many events. Higher: more throughput, longer commits. Default 4,000. */
  readonly commitEventsMax?: number
  /** The same in characters. Default 8 Mi. */
  readonly commitBytesMax?: number
  /** Calls other than appends that may wait for a connection; over it `overloaded`. Default 1,000. */
  readonly callsMax?: number
}

export class PostgresJournal implements Journal {
  readonly #target: PostgresTarget
  readonly #tables: Tables
  readonly #connector: Connector
  readonly #pool: Pool
  readonly #queue: CommitQueue
  /** Of checkpoints: a statement of its own, so that a large state keeps no append waiting. */
  readonly #saves: CommitQueue
  readonly #checkpoints: Checkpoints
  readonly #reads: CheckpointReads
  readonly #reading: Reading
  readonly #retention: Retention
  readonly #ended = new Set<LeaseId>()
  #identity = ''
  #sealing: Sealing | undefined
  #opening: Promise<void> | undefined
  #closing: Promise<void> | undefined
  #writer: LeaseWriter | undefined

  /** Errors: `bad_config` for the URL. Opens nothing yet. */
  constructor(options: PostgresJournalOptions) {
    const { queueEventsMax = 20_000, queueBytesMax = 64 * 1024 * 1024 } = options
    const { commitEventsMax = 4_000, commitBytesMax = 8 * 1024 * 1024, callsMax = 1_000 } = options
    this.#target = parsePostgresUrl(options.url)
    this.#tables = tablesIn(this.#target.schema)
    this.#connector = new Connector(this.#target)
    this.#pool = new Pool({ connector: this.#connector, applicationName: 'skein', callsMax })
    this.#reading = new Reading(this.#tables, this.#target.label)
    this.#retention = new Retention(this.#tables)
    const limits = { queueEventsMax, queueBytesMax, commitEventsMax, commitBytesMax }
    this.#queue = new CommitQueue(limits, (commit) => {
      const writer = this.#writer
      if (writer?.lease !== commit.lease) return Promise.reject(fenced(commit.lease))
      return writer.commit(commit)
    })
    this.#checkpoints = new Checkpoints(this.#tables, this.#target.label)
    this.#reads = new CheckpointReads((agents) =>
      this.#call((connection) => retriable(() => this.#checkpoints.read(connection, agents))),
    )
    this.#saves = new CommitQueue(limits, async ({ lease, blockCounts, records }) => {
      const writer = this.#writer
      if (writer?.lease !== lease) throw fenced(lease)
      await this.#call((connection) => this.#checkpoints.save(connection, writer, recordsOf(records)))
      return blockCounts.map(() => null)
    })
  }

  /** The identity is empty until `open` resolved. */
  get info(): { readonly driver: string; readonly identity: string } {
    return { driver: 'postgres', identity: this.#identity }
  }

  /** Errors: `bad_config`, `unauthenticated`, `incompatible`, `unavailable`. May be called again after an error. */
  open(): Promise<void> {
    if (this.#closing !== undefined) return Promise.reject(journalClosed())
    this.#opening ??= this.#start().catch((error: unknown) => {
      this.#opening = undefined
      throw error
    })
    return this.#opening
  }

  async #start(): Promise<void> {
    // Not by way of the pool: what is wrong at the start is said by its own code.
    const connection = await this.#connector.connect('skein')
    try {
      this.#identity = await openSchema(connection, this.#target.schema)
      this.#sealing = new Sealing(this.#tables, this.#identity)
    } finally {
      await connection.session.close()
    }
  }

  async openLease(lease: LeaseId, { copies = false } = {}): Promise<void> {
    requireLease(lease)
    if (lease.includes('\0'))
      throw new SkeinError('invalid_argument', 'a lease id with a NUL cannot be stored')
    const sealing = this.#requireOpen()
    if (this.#writer?.lease === lease) return
    if (this.#ended.has(lease)) throw fenced(lease)
    await this.#endLease()
    const writer = new LeaseWriter({
      lease,
      isCopy: copies,
      identity: this.#identity,
      connector: this.#connector,
      tables: this.#tables,
      sealing,
    })
    await writer.open()
    this.#writer = writer
  }

  async closeLease(): Promise<void> {
    this.#requireOpen()
    await this.#endLease()
  }

  /** What is under way is settled first. */
  async #endLease(): Promise<void> {
    const writer = this.#writer
    if (writer === undefined) return
    this.#ended.add(writer.lease)
    await Promise.all([this.#queue.idle(), this.#saves.idle()])
    this.#writer = undefined
    await writer.close()
  }

  async append(lease: LeaseId, groups: readonly AppendGroup[]): Promise<void> {
    this.#requireWriting(lease)
    requireGroups(groups)
    if (groups.length > 0) await this.#queue.add(lease, { groups })
  }

  async seal(
    lease: LeaseId,
    wanted: readonly { shard: ShardId; epoch: Epoch }[],
  ): Promise<readonly { shard: ShardId; epoch: Epoch; first: number; last: number }[]> {
    const sealing = this.#requireOpen()
    requireLease(lease)
    if (wanted.length === 0) return []
    const own = this.#writer?.lease === lease && !this.#ended.has(lease) ? this.#writer : undefined
    await own?.settled()
    return await this.#call(async (connection) => {
      if (own === undefined) await retriable(() => sealing.fence(connection, lease, wanted))
      return await sealing.extents(connection, lease, wanted)
    })
  }

  async lastOffsets(shards: readonly ShardId[]): Promise<ReadonlyMap<ShardId, number>> {
    this.#requireOpen()
    const all = (await this.#writer?.lastOffsets()) ?? new Map<ShardId, number>()
    return new Map(
      shards.flatMap((shard) => {
        const last = all.get(shard)
        return last === undefined ? [] : [[shard, last] as const]
      }),
    )
  }

  highestEpochs(shards: readonly ShardId[]): Promise<ReadonlyMap<ShardId, number>> {
    return this.#call((connection) => highestEpochs(connection, this.#tables, shards))
  }

  async read(request: ReadRequest): Promise<ReadResult> {
    this.#requireOpen()
    requireReadRequest(request)
    return await this.#call((connection) => this.#reading.read(connection, request))
  }

  async recentIds(
    shard: ShardId,
    segments: readonly Segment[],
    window: DedupeSpan,
  ): Promise<readonly IdRecord[]> {
    requireSegments(segments)
    return await this.#call((connection) => this.#reading.recentIds(connection, shard, segments, window))
  }

  async commitPositions(lease: LeaseId, positions: readonly ConsumerPosition[]): Promise<void> {
    this.#requireWriting(lease)
    if (positions.length === 0) return
    await this.#call((connection) => writePositions(connection, this.#tables, lease, positions))
  }

  readPositions(group: string, shards: readonly ShardId[]): Promise<ReadonlyMap<ShardId, number>> {
    return this.#call((connection) => readPositions(connection, this.#tables, group, shards))
  }

  async saveCheckpoints(lease: LeaseId, checkpoints: readonly Checkpoint[]): Promise<void> {
    this.#requireWriting(lease)
    const records = recordsToSave(checkpoints)
    if (records.length > 0) await this.#saves.add(lease, { records })
  }

  async readCheckpoint(agent: string): Promise<Checkpoint | undefined> {
    this.#requireOpen()
    requireAgent(agent)
    return await this.#reads.read(agent)
  }

  async forgetCheckpoint(lease: LeaseId, agent: string, throughEpoch: Epoch): Promise<void> {
    this.#requireWriting(lease)
    await this.#saves.add(lease, { records: [recordToForget(agent, throughEpoch, Date.now())] })
  }

  async listCheckpoints(after: string, limit: number): Promise<CheckpointPage> {
    this.#requireOpen()
    requirePage(after, limit)
    return await this.#call((connection) => this.#checkpoints.list(connection, after, limit))
  }

  async listPositions(after: string, limit: number): Promise<PositionPage> {
    this.#requireOpen()
    requirePositionPage(limit)
    return await this.#call((connection) => listPositions(connection, this.#tables, after, limit))
  }

  async trim(policy: RetentionPolicy, nowMs: number, lease?: LeaseId): Promise<number> {
    this.#requireOpen()
    await this.#call((connection) => this.#checkpoints.tidy(connection, nowMs))
    const whose = lease ?? this.#writer?.lease
    if (whose === undefined) return 0
    let removed = 0
    for (;;) {
      const step = await this.#call((c) => this.#retention.trimStep(c, whose, policy, nowMs))
      removed += step.removed
      if (!step.goOn) return removed
    }
  }

  leaseFiles(): Promise<readonly LeaseFile[]> {
    return this.#call((connection) => this.#retention.leaseFiles(connection))
  }

  async dropLease(lease: LeaseId): Promise<void> {
    this.#requireOpen()
    requireLease(lease)
    const heir = this.#writer?.lease
    if (heir === lease) {
      throw new SkeinError(
        'invalid_argument',
        `lease ${lease} is open for writing; its events are not dropped`,
      )
    }
    await this.#call(async (connection) => {
      if (heir === undefined && (await this.#retention.holdsPositions(connection, lease))) {
        throw new SkeinError(
          'invalid_argument',
          `lease ${lease} has positions of consumers and no lease is open to take them over`,
        )
      }
      await this.#retention.drop(connection, lease, heir)
    })
  }

  /** Looks at the settings again too. */
  async health(): Promise<JournalHealth> {
    if (this.#closing !== undefined) return { ok: false, detail: journalClosed().message, bytes: 0 }
    try {
      return await this.#call(async (connection) => {
        await recheckServer(connection.session, connection.facts, this.#target)
        const bytes = await storedBytes(connection, this.#tables)
        const { host, port } = connection.session.host
        return { ok: true, detail: `${this.#target.label}, primary ${host}:${port}`, bytes }
      })
    } catch (error) {
      if (!isSkeinError(error)) throw error
      return { ok: false, detail: `${this.#target.label}: ${error.message}`, bytes: 0 }
    }
  }

  /** Idempotent. What was appended before is settled first. */
  close(): Promise<void> {
    this.#closing ??= this.#finish()
    return this.#closing
  }

  async #finish(): Promise<void> {
    // A failed start has cleaned up behind itself and told its caller.
    await this.#opening?.catch(() => undefined)
    await this.#endLease()
    await this.#pool.close()
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #requireOpen(): Sealing {
    if (this.#closing !== undefined || this.#sealing === undefined) throw journalClosed()
    return this.#sealing
  }

  #requireWriting(lease: LeaseId): void {
    this.#requireOpen()
    if (this.#writer?.lease !== lease || this.#ended.has(lease)) throw fenced(lease)
  }

  async #call<T>(use: (connection: Connection) => Promise<T>): Promise<T> {
    this.#requireOpen()
    return await this.#pool.with(use)
  }
}

/** What may be repeated at will: an unknown outcome of it is an outage. */
async function retriable<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act()
  } catch (error) {
    if (!isSkeinError(error) || error.code !== 'outcome_unknown') throw error
    throw new SkeinError('unavailable', error.message, { retryable: true, cause: error })
  }
}
