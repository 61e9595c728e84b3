/**
 * A journal in memory, for tests and for clusters within one process. Several handles share one state, as processes
 * share a directory: a list of rows per lease.
 *
 * The idea: the shortest thing that keeps the contract, so that a difference to another driver is that driver's fault.
 * Commits come at the next turn of the microtask queue, so that callers cannot lean on a synchronous journal.
 *
 * Must not live here: anything that outlives the process, threads, timers.
 */
import { asEpoch, type Epoch, type LeaseId, type ShardId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import {
  type AgentRecord,
  checkpointOf,
  mayLapse,
  outranks,
  recordsToSave,
  recordToForget,
  requireAgent,
  requirePage,
} from '../../engines/journal/checkpoint.js'
import {
  advance,
  type DedupeSpan,
  excessOf,
  extentOf,
  fenced,
  isNewerPosition,
  journalClosed,
  journalLimits,
  requireGroups,
  requireLease,
  requirePositionPage,
  requireReadRequest,
  requireSegments,
  type Tail,
  wantsId,
} from '../../engines/journal/rules.js'
import { compareKeys } from '../../engines/store/key-order.js'
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
  StoredEvent,
} from '../../ports/journal.js'

interface Position {
  readonly epoch: Epoch
  readonly offset: number
}

interface ShardLog {
  /** In order of appending; offsets ascend within an epoch. */
  rows: StoredEvent[]
  readonly spans: Map<Epoch, { first: number; last: number }>
  tail: Tail | undefined
}

interface File {
  readonly shards: Map<ShardId, ShardLog>
  readonly positions: Map<string, Position>
  readonly records: Map<string, AgentRecord>
}

/** What the handles of one cluster share. */
export class MemoryJournalState {
  readonly identity: string
  readonly files = new Map<LeaseId, File>()

  constructor(identity: string) {
    this.identity = identity
  }
}

export interface MemoryJournalOptions {
  readonly state: MemoryJournalState
  /** Events that may wait for the next commit; over it `overloaded`. Default 20,000. */
  readonly queueEventsMax?: number
}

export class MemoryJournal implements Journal {
  readonly info: { readonly driver: string; readonly identity: string }
  readonly #state: MemoryJournalState
  readonly #queueEventsMax: number
  readonly #ended = new Set<LeaseId>()
  #current: { readonly lease: LeaseId; readonly file: File; readonly isCopy: boolean } | undefined
  #queuedEvents = 0
  #closed = false

  constructor(options: MemoryJournalOptions) {
    this.#state = options.state
    this.#queueEventsMax = options.queueEventsMax ?? 20_000
    this.info = { driver: 'memory', identity: options.state.identity }
  }

  open(): Promise<void> {
    return Promise.resolve()
  }

  async openLease(lease: LeaseId, { copies = false } = {}): Promise<void> {
    this.#requireOpen()
    requireLease(lease)
    if (this.#current?.lease === lease) return
    if (this.#ended.has(lease)) throw fenced(lease)
    await this.closeLease()
    const file: File = this.#state.files.get(lease) ?? {
      shards: new Map(),
      positions: new Map(),
      records: new Map(),
    }
    this.#state.files.set(lease, file)
    this.#current = { lease, file, isCopy: copies }
  }

  closeLease(): Promise<void> {
    if (this.#current !== undefined) this.#ended.add(this.#current.lease)
    this.#current = undefined
    return Promise.resolve()
  }

  async append(lease: LeaseId, groups: readonly AppendGroup[]): Promise<void> {
    const file = this.#writable(lease)
    requireGroups(groups)
    const count = groups.reduce((sum, group) => sum + group.events.length, 0)
    this.#requireRoom(count)
    const tails = advance(
      (shard) => file.shards.get(shard)?.tail,
      groups.map(extentOf),
      this.#current?.isCopy,
    )
    for (const [shard, tail] of tails) shardLog(file, shard).tail = tail
    for (const group of groups) store(shardLog(file, group.shard), group)
    await this.#commit(count)
  }

  #requireRoom(count: number): void {
    if (this.#queuedEvents === 0 || this.#queuedEvents + count <= this.#queueEventsMax) return
    throw new SkeinError('overloaded', `${this.#queuedEvents} events and checkpoints wait for the journal`, {
      retryable: true,
    })
  }

  async #commit(count: number): Promise<void> {
    this.#queuedEvents += count
    await Promise.resolve()
    this.#queuedEvents -= count
  }

  async seal(
    lease: LeaseId,
    wanted: readonly { shard: ShardId; epoch: Epoch }[],
  ): Promise<readonly { shard: ShardId; epoch: Epoch; first: number; last: number }[]> {
    this.#requireOpen()
    const file = this.#state.files.get(lease)
    return wanted.flatMap(({ shard, epoch }) => {
      const span = file?.shards.get(shard)?.spans.get(epoch)
      return span === undefined ? [] : [{ shard, epoch, first: span.first, last: span.last }]
    })
  }

  async lastOffsets(shards: readonly ShardId[]): Promise<ReadonlyMap<ShardId, number>> {
    this.#requireOpen()
    const found = new Map<ShardId, number>()
    for (const shard of shards) {
      const tail = this.#current?.file.shards.get(shard)?.tail
      if (tail !== undefined) found.set(shard, tail.last)
    }
    return found
  }

  async highestEpochs(shards: readonly ShardId[]): Promise<ReadonlyMap<ShardId, number>> {
    this.#requireOpen()
    const files = [...this.#state.files.values()]
    return new Map(
      shards.map((shard) => [shard, Math.max(0, ...files.flatMap((f) => [...epochsOf(f, shard)]))]),
    )
  }

  async read(request: ReadRequest): Promise<ReadResult> {
    this.#requireOpen()
    requireReadRequest(request)
    const events: StoredEvent[] = []
    let bytes = 0
    for (const row of rowsOf(this.#state, request.shard, request.segments)) {
      if (row.offset <= request.after) continue
      if (request.stream !== undefined && row.stream !== request.stream) continue
      if (request.key !== undefined && row.key !== request.key) continue
      const full = events.length === request.limit || bytes > journalLimits.readBytesMax
      if (full) return { events, scannedTo: events.at(-1)?.offset ?? request.after, end: false }
      events.push(row)
      bytes += row.payload.length
    }
    return { events, scannedTo: Math.max(request.after, request.segments.at(-1)?.last ?? 0), end: true }
  }

  async recentIds(
    shard: ShardId,
    segments: readonly Segment[],
    window: DedupeSpan,
  ): Promise<readonly IdRecord[]> {
    this.#requireOpen()
    requireSegments(segments)
    const found: IdRecord[] = []
    for (const row of [...rowsOf(this.#state, shard, segments)].reverse()) {
      if (!wantsId(window, found.length, row.atMs)) break
      const { offset, atMs, stream, key, id, payload, type } = row
      found.push({ offset, atMs, stream, key, id, payload, type })
    }
    return found.reverse()
  }

  async commitPositions(lease: LeaseId, positions: readonly ConsumerPosition[]): Promise<void> {
    const file = this.#writable(lease)
    for (const { group, shard, epoch, offset } of positions) {
      const name = `${shard} ${group}`
      const before = file.positions.get(name)
      if (before === undefined || isNewerPosition({ epoch, offset }, before)) {
        file.positions.set(name, { epoch, offset })
      }
    }
  }

  async readPositions(group: string, shards: readonly ShardId[]): Promise<ReadonlyMap<ShardId, number>> {
    this.#requireOpen()
    return new Map(
      shards.map((shard) => {
        let best: Position = { epoch: asEpoch(0), offset: 0 }
        for (const { positions } of this.#state.files.values()) {
          const found = positions.get(`${shard} ${group}`)
          if (found !== undefined && isNewerPosition(found, best)) best = found
        }
        return [shard, best.offset]
      }),
    )
  }

  async saveCheckpoints(lease: LeaseId, checkpoints: readonly Checkpoint[]): Promise<void> {
    const file = this.#writable(lease)
    const records = recordsToSave(checkpoints)
    if (records.length === 0) return
    this.#requireRoom(records.length)
    for (const record of records) keep(file, { ...record, state: new Uint8Array(record.state) })
    await this.#commit(records.length)
  }

  async readCheckpoint(agent: string): Promise<Checkpoint | undefined> {
    this.#requireOpen()
    requireAgent(agent)
    return this.#read(agent)
  }

  async forgetCheckpoint(lease: LeaseId, agent: string, throughEpoch: Epoch): Promise<void> {
    const file = this.#writable(lease)
    const record = recordToForget(agent, throughEpoch, Date.now())
    this.#requireRoom(1)
    keep(file, record)
    await this.#commit(1)
  }

  async listCheckpoints(after: string, limit: number): Promise<CheckpointPage> {
    this.#requireOpen()
    requirePage(after, limit)
    const known = new Set([...this.#state.files.values()].flatMap(({ records }) => [...records.keys()]))
    const agents = [...known].filter((agent) => compareKeys(agent, after) > 0).sort(compareKeys)
    const checkpoints: Checkpoint[] = []
    let bytes = 0
    for (const [i, agent] of agents.entries()) {
      if (checkpoints.length === limit || bytes > journalLimits.readBytesMax) {
        return { checkpoints, next: agents[i - 1] }
      }
      const found = this.#read(agent)
      if (found === undefined) continue
      checkpoints.push(found)
      bytes += found.state.length
    }
    return { checkpoints, next: undefined }
  }

  #read(agent: string): Checkpoint | undefined {
    let best: AgentRecord | undefined
    for (const { records } of this.#state.files.values()) {
      const found = records.get(agent)
      if (found !== undefined && (best === undefined || outranks(found, best))) best = found
    }
    const found = checkpointOf(best)
    return found === undefined ? undefined : { ...found, state: new Uint8Array(found.state) }
  }

  /** Lets go of what another file outranks, and of old notes of forgotten agents that hide nothing. */
  #tidy(file: File, nowMs: number): void {
    const others = [...this.#state.files.values()].filter((other) => other !== file)
    for (const [agent, record] of file.records) {
      const found = others.flatMap(({ records }) => records.get(agent) ?? [])
      const lapsed = mayLapse(record, nowMs) && found.every(({ forgottenAtMs }) => forgottenAtMs > 0)
      if (lapsed || found.some((other) => outranks(other, record))) file.records.delete(agent)
    }
  }

  async listPositions(after: string, limit: number): Promise<PositionPage> {
    this.#requireOpen()
    requirePositionPage(limit)
    const best = new Map<string, Position>()
    for (const { positions } of this.#state.files.values()) {
      for (const [name, position] of positions) {
        const before = best.get(name)
        if (before === undefined || isNewerPosition(position, before)) best.set(name, position)
      }
    }
    const names = [...best.keys()].filter((name) => name > after).sort()
    const page = names.slice(0, limit)
    const positions = page.map((name): ConsumerPosition => {
      const space = name.indexOf(' ')
      const position = best.get(name) as Position
      return { group: name.slice(space + 1), shard: Number(name.slice(0, space)), ...position }
    })
    return names.length > limit ? { positions, next: page.at(-1) as string } : { positions }
  }

  async trim(policy: RetentionPolicy, nowMs: number, lease?: LeaseId): Promise<number> {
    this.#requireOpen()
    const file = lease === undefined ? this.#current?.file : this.#state.files.get(lease)
    if (file === undefined) return 0
    this.#tidy(file, nowMs)
    const excess = excessOf(policy, streamBytes(file))
    let count = 0
    for (const log of file.shards.values()) {
      log.rows = log.rows.filter((row) => {
        const over = excess.get(row.stream) ?? 0
        if (row.atMs >= nowMs - policy.ageMsMax && over <= 0) return true
        excess.set(row.stream, over - bytesOf(row))
        count++
        return false
      })
    }
    return count
  }

  async leaseFiles(): Promise<readonly LeaseFile[]> {
    this.#requireOpen()
    return [...this.#state.files].map(([lease, file]) => {
      const rows = [...file.shards.values()].flatMap((log) => log.rows)
      return {
        lease,
        bytes: rows.reduce((sum, row) => sum + bytesOf(row), 0),
        newestAtMs: rows.reduce((newest, row) => Math.max(newest, row.atMs), 0),
        streamBytes: streamBytes(file),
      }
    })
  }

  async dropLease(lease: LeaseId): Promise<void> {
    this.#requireOpen()
    if (this.#current?.lease === lease) {
      throw new SkeinError('invalid_argument', `lease ${lease} is open for writing; its file is not dropped`)
    }
    const dropped = this.#state.files.get(lease)
    if (dropped !== undefined) this.#tidy(dropped, Date.now())
    if (dropped !== undefined && dropped.positions.size + dropped.records.size > 0) {
      const heir = this.#current?.file
      if (heir === undefined) {
        throw new SkeinError(
          'invalid_argument',
          `lease ${lease} has positions or checkpoints and no lease is open to take them over`,
        )
      }
      for (const [name, position] of dropped.positions) {
        const before = heir.positions.get(name)
        if (before === undefined || isNewerPosition(position, before)) heir.positions.set(name, position)
      }
      for (const record of dropped.records.values()) keep(heir, record)
    }
    this.#state.files.delete(lease)
  }

  async health(): Promise<JournalHealth> {
    const bytes = [...this.#state.files.values()]
      .flatMap((file) => [...streamBytes(file).values()])
      .reduce((sum, n) => sum + n, 0)
    return { ok: !this.#closed, detail: this.#closed ? 'closed' : 'in memory', bytes }
  }

  async close(): Promise<void> {
    await this.closeLease()
    this.#closed = true
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #requireOpen(): void {
    if (this.#closed) throw journalClosed()
  }

  #writable(lease: LeaseId): File {
    this.#requireOpen()
    if (this.#current?.lease !== lease) throw fenced(lease)
    return this.#current.file
  }
}

function shardLog(file: File, shard: ShardId): ShardLog {
  const known = file.shards.get(shard)
  if (known !== undefined) return known
  const made: ShardLog = { rows: [], spans: new Map(), tail: undefined }
  file.shards.set(shard, made)
  return made
}

function keep({ records }: File, record: AgentRecord): void {
  const before = records.get(record.agent)
  if (before === undefined || outranks(record, before)) records.set(record.agent, record)
}

function store(log: ShardLog, group: AppendGroup): void {
  const { shard, epoch, firstOffset, events } = group
  for (const [i, event] of events.entries()) {
    const { stream, key, id, type, payload, hlc, atMs } = event
    log.rows.push({ stream, key, id, type, payload, hlc, atMs, shard, epoch, offset: firstOffset + i })
  }
  const last = firstOffset + events.length - 1
  const span = log.spans.get(epoch)
  if (span === undefined) log.spans.set(epoch, { first: firstOffset, last })
  else span.last = last
}

function epochsOf(file: File, shard: ShardId): Iterable<Epoch> {
  return file.shards.get(shard)?.spans.keys() ?? []
}

function* rowsOf(
  state: MemoryJournalState,
  shard: ShardId,
  segments: readonly Segment[],
): Generator<StoredEvent> {
  for (const { lease, epoch, first, last } of segments) {
    for (const row of state.files.get(lease)?.shards.get(shard)?.rows ?? []) {
      if (row.epoch === epoch && row.offset >= first && row.offset <= last) yield row
    }
  }
}

function bytesOf(row: StoredEvent): number {
  return row.payload.length + row.key.length + row.id.length
}

function streamBytes(file: File): Map<string, number> {
  const bytes = new Map<string, number>()
  for (const log of file.shards.values()) {
    for (const row of log.rows) bytes.set(row.stream, (bytes.get(row.stream) ?? 0) + bytesOf(row))
  }
  return bytes
}
