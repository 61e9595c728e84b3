/**
 * The journal of one host: a directory that its nodes share, with one SQLite file per lease, never written under
 * another. The file is the fence, and nobody waits for another's lock.
 *
 * This is the side that the node sees: it keeps the order of calls, bounds what waits, gathers appends into commits.
 * The file work is in `engine.ts`, in a thread of its own unless asked otherwise.
 *
 * Must not live here: SQL, file names.
 */
import { resolve } from 'node:path'
import type { Epoch, LeaseId, ShardId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import { recordsToSave, recordToForget, requireAgent, requirePage } from '../../engines/journal/checkpoint.js'
import { CheckpointReads } from '../../engines/journal/checkpoint-reads.js'
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
import { CommitQueue } from './commit-queue.js'
import type { CallArguments, CallName, CallValue } from './protocol.js'
import { type EngineRunner, InlineRunner, WorkerRunner } from './run-engine.js'

export interface SqliteJournalOptions {
  /** Shared by the nodes of one host, on a local disk. Made if missing. */
  readonly directory: string
  /** `worker` (default): file work in a thread of its own. `inline`: in the caller's, for tests and many nodes in one process. */
  readonly thread?: 'worker' | 'inline'
  /** The thread's compiled module. Default: `worker.js` beside this one. */
  readonly workerUrl?: URL
  /** Called once if the thread ends by itself; every call fails from then on. */
  readonly onFailure?: (error: SkeinError) => void
  /** Events and checkpoints that may wait for the disk; over it appends and saves are `overloaded`. Default 20,000. */
  readonly queueEventsMax?: number
  /** The same in characters of payload, keys and ids, and bytes of states. Default 64 Mi. */
  readonly queueBytesMax?: number
  /** Appends are gathered into one commit up to this many events. Higher: more throughput, longer commits. Default 4,000. */
  readonly commitEventsMax?: number
  /** The same in characters. Default 8 Mi. */
  readonly commitBytesMax?: number
  /** Calls other than appends and saves that may wait; over it `overloaded`. Default 1,000. */
  readonly callsMax?: number
  /**
   * Files of other leases held open for reading, at least 1; three descriptors each. Whoever takes shards over or reads states of agents looks at
   * all files of late: with fewer than these, each is opened again for each. Default 64.
   */
  readonly readersMax?: number
}

export class SqliteJournal implements Journal {
  readonly #options: SqliteJournalOptions
  readonly #callsMax: number
  readonly #reads: CheckpointReads
  readonly #ended = new Set<LeaseId>()
  #identity = ''
  #running: { readonly runner: EngineRunner; readonly queue: CommitQueue } | undefined
  #opening: Promise<void> | undefined
  #closing: Promise<void> | undefined
  #failure: SkeinError | undefined
  /** Under which appends are taken right now. */
  #lease: LeaseId | undefined
  #calls = 0

  constructor(options: SqliteJournalOptions) {
    this.#options = options
    this.#callsMax = options.callsMax ?? 1000
    this.#reads = new CheckpointReads(async (agents) => {
      const found = await this.#call('readCheckpoints', [agents])
      return new Map(found.map((checkpoint, i) => [agents[i] as string, checkpoint]))
    })
  }

  /** The identity is empty until `open` resolved. */
  get info(): { readonly driver: string; readonly identity: string } {
    return { driver: 'sqlite', identity: this.#identity }
  }

  /** Errors: `data_dir_unusable`, `incompatible`, `disk_full`. */
  open(): Promise<void> {
    if (this.#closing !== undefined) return Promise.reject(journalClosed())
    this.#opening ??= this.#start()
    return this.#opening
  }

  async #start(): Promise<void> {
    const { directory, readersMax = 64, thread = 'worker' } = this.#options
    const {
      queueEventsMax = 20_000,
      queueBytesMax = 64 * 1024 * 1024,
      commitEventsMax = 4000,
      commitBytesMax = 8 * 1024 * 1024,
    } = this.#options
    // Absolute: the thread's working directory is the process's, which the program may change.
    const engineOptions = { directory: resolve(directory), readersMax }
    const url = this.#options.workerUrl ?? new URL('./worker.js', import.meta.url)
    const runner =
      thread === 'inline'
        ? new InlineRunner(engineOptions)
        : new WorkerRunner(engineOptions, url, (error) => {
            this.#failure = error
            this.#options.onFailure?.(error)
          })
    const limits = { queueEventsMax, queueBytesMax, commitEventsMax, commitBytesMax }
    this.#running = { runner, queue: new CommitQueue(limits, runner) }
    try {
      this.#identity = (await runner.call('open', [])).identity
    } catch (error) {
      this.#running = undefined
      this.#opening = undefined
      await runner.stop()
      throw error
    }
  }

  async openLease(lease: LeaseId, { copies = false } = {}): Promise<void> {
    requireLease(lease)
    if (this.#lease === lease) return
    if (this.#ended.has(lease)) throw fenced(lease)
    const { queue } = this.#open()
    this.#endLease()
    await queue.idle()
    await this.#call('openLease', [lease, copies])
    this.#lease = lease
  }

  async closeLease(): Promise<void> {
    const { queue } = this.#open()
    this.#endLease()
    await queue.idle()
    await this.#call('closeLease', [])
  }

  #endLease(): void {
    if (this.#lease !== undefined) this.#ended.add(this.#lease)
    this.#lease = undefined
  }

  async append(lease: LeaseId, groups: readonly AppendGroup[]): Promise<void> {
    const { queue } = this.#writing(lease)
    requireGroups(groups)
    if (groups.length > 0) await queue.add(lease, { groups })
  }

  seal(
    lease: LeaseId,
    wanted: readonly { shard: ShardId; epoch: Epoch }[],
  ): Promise<readonly { shard: ShardId; epoch: Epoch; first: number; last: number }[]> {
    return this.#call('seal', [lease, wanted])
  }

  lastOffsets(shards: readonly ShardId[]): Promise<ReadonlyMap<ShardId, number>> {
    return this.#call('lastOffsets', [shards])
  }

  highestEpochs(shards: readonly ShardId[]): Promise<ReadonlyMap<ShardId, number>> {
    return this.#call('highestEpochs', [shards])
  }

  async read(request: ReadRequest): Promise<ReadResult> {
    requireReadRequest(request)
    return await this.#call('read', [request])
  }

  async recentIds(
    shard: ShardId,
    segments: readonly Segment[],
    window: DedupeSpan,
  ): Promise<readonly IdRecord[]> {
    requireSegments(segments)
    const newestFirst: IdRecord[] = []
    let before: number | undefined = Number.MAX_SAFE_INTEGER
    while (before !== undefined) {
      const page: CallValue<'recentIds'> = await this.#call('recentIds', [
        shard,
        segments,
        window,
        before,
        newestFirst.length,
      ])
      for (const record of page.records) newestFirst.push(record)
      before = page.before
    }
    return newestFirst.reverse()
  }

  async commitPositions(lease: LeaseId, positions: readonly ConsumerPosition[]): Promise<void> {
    const { queue } = this.#writing(lease)
    if (positions.length > 0) await queue.add(lease, { positions })
  }

  readPositions(group: string, shards: readonly ShardId[]): Promise<ReadonlyMap<ShardId, number>> {
    return this.#call('readPositions', [group, shards])
  }

  async saveCheckpoints(lease: LeaseId, checkpoints: readonly Checkpoint[]): Promise<void> {
    const { queue } = this.#writing(lease)
    const records = recordsToSave(checkpoints)
    if (records.length > 0) await queue.add(lease, { records })
  }

  async readCheckpoint(agent: string): Promise<Checkpoint | undefined> {
    this.#open()
    requireAgent(agent)
    return await this.#reads.read(agent)
  }

  async forgetCheckpoint(lease: LeaseId, agent: string, throughEpoch: Epoch): Promise<void> {
    const { queue } = this.#writing(lease)
    await queue.add(lease, { records: [recordToForget(agent, throughEpoch, Date.now())] })
  }

  async listCheckpoints(after: string, limit: number): Promise<CheckpointPage> {
    requirePage(after, limit)
    return await this.#call('listCheckpoints', [after, limit])
  }

  async listPositions(after: string, limit: number): Promise<PositionPage> {
    requirePositionPage(limit)
    return await this.#call('listPositions', [after, limit])
  }

  async trim(policy: RetentionPolicy, nowMs: number, lease?: LeaseId): Promise<number> {
    let removedCount = 0
    let afterId: number | undefined = 0
    while (afterId !== undefined) {
      const step: CallValue<'trimStep'> = await this.#call('trimStep', [policy, nowMs, afterId, lease])
      removedCount += step.removed
      afterId = step.next
    }
    let agent: string | undefined = ''
    while (agent !== undefined) agent = await this.#call('tidyCheckpointsStep', [nowMs, agent, lease])
    return removedCount
  }

  leaseFiles(): Promise<readonly LeaseFile[]> {
    return this.#call('leaseFiles', [])
  }

  async dropLease(lease: LeaseId): Promise<void> {
    let agent: string | undefined = ''
    while (agent !== undefined) agent = await this.#call('takeOverStep', [lease, agent, Date.now()])
    await this.#call('dropLease', [lease])
  }

  async health(): Promise<JournalHealth> {
    const failure = this.#failure ?? (this.#closing === undefined ? undefined : journalClosed())
    if (failure !== undefined) return { ok: false, detail: failure.message, bytes: 0 }
    return await this.#call('health', [])
  }

  /** Idempotent. What was appended before is settled first. */
  close(): Promise<void> {
    this.#closing ??= this.#finish()
    return this.#closing
  }

  async #finish(): Promise<void> {
    // A failed start has cleaned up behind itself and told its caller.
    await this.#opening?.catch(() => undefined)
    const running = this.#running
    this.#running = undefined
    this.#endLease()
    if (running === undefined) return
    await running.queue.idle()
    try {
      if (this.#failure === undefined) await running.runner.call('close', [])
    } finally {
      await running.runner.stop()
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #open(): { readonly runner: EngineRunner; readonly queue: CommitQueue } {
    if (this.#closing !== undefined || this.#running === undefined) throw journalClosed()
    return this.#running
  }

  #writing(lease: LeaseId): { readonly queue: CommitQueue } {
    const running = this.#open()
    if (this.#lease !== lease) throw fenced(lease)
    return running
  }

  async #call<N extends CallName>(name: N, args: CallArguments<N>): Promise<CallValue<N>> {
    const { runner } = this.#open()
    if (this.#calls >= this.#callsMax) {
      throw new SkeinError('overloaded', `${this.#calls} calls wait for the journal`, { retryable: true })
    }
    this.#calls++
    try {
      return await runner.call(name, args)
    } finally {
      this.#calls--
    }
  }
}
