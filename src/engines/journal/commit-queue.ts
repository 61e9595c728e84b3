/**
 * Group commit: what arrives while a commit runs goes into the next one; every append learns of the commit that holds
 * it. Of the checkpoints of one agent that wait together only the newest is written.
 *
 * The idea: two commits are under way at most, one being written and one waiting at the engine's door, so that the
 * disk never waits for a message and everything beyond gathers here. The events are encoded when their commit leaves,
 * on the caller's thread: for an engine in another thread that costs as much as a structured clone would, and spares
 * the other side the work. Keeping the order of the two is the engine's.
 *
 * Must not live here: files, connections, leases' life.
 */
import type { Epoch, LeaseId, ShardId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { AppendGroup } from '../../ports/journal.js'
import { type BlockBatch, BlockEncoder } from './block.js'
import { type AgentRecord, newestPerAgent, packRecords, type RecordBatch } from './checkpoint.js'

export interface CommitQueueOptions {
  /** Events, positions and checkpoints that may wait, on their way to the disk included. Over it: `overloaded`. */
  readonly queueEventsMax: number
  /** The same in characters of payload, keys and ids, and bytes of states. */
  readonly queueBytesMax: number
  /** A commit takes no further append once it holds this many events … */
  readonly commitEventsMax: number
  /** … or this many characters. */
  readonly commitBytesMax: number
}

/** How far a group of consumers has come in a shard. */
export interface Position {
  readonly group: string
  readonly shard: ShardId
  readonly epoch: Epoch
  readonly offset: number
}

/** Several appends in one commit: each is its next `blockCounts` blocks of the batch. */
export interface Commit {
  readonly lease: LeaseId
  readonly blockCounts: readonly number[]
  readonly batch: BlockBatch
  readonly positions: readonly Position[]
  /** Of each agent the newest. */
  readonly records: RecordBatch
}

/** What one call adds to a commit. */
export interface Content {
  readonly groups?: readonly AppendGroup[]
  readonly positions?: readonly Position[]
  readonly records?: readonly AgentRecord[]
}

/** Writes one commit. One result per append: its error, null where it is durable. A rejection is the result of all. */
export type CommitWriter = (commit: Commit) => Promise<readonly (SkeinError | null)[]>

interface Entry {
  readonly lease: LeaseId
  readonly groups: readonly AppendGroup[]
  readonly positions: readonly Position[]
  readonly records: readonly AgentRecord[]
  /** Positions and records count as events. */
  readonly events: number
  readonly bytes: number
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

const commitsUnderWayMax = 2

export class CommitQueue {
  readonly #options: CommitQueueOptions
  readonly #write: CommitWriter
  #waiting: Entry[] = []
  #events = 0
  #bytes = 0
  #underWay = 0
  #scheduled = false
  #whenIdle: (() => void)[] = []

  constructor(options: CommitQueueOptions, write: CommitWriter) {
    this.#options = options
    this.#write = write
  }

  /** One call is always taken when nothing waits, however large. Errors: `overloaded`, and what the commit says. */
  add(lease: LeaseId, content: Content): Promise<void> {
    const { queueEventsMax, queueBytesMax } = this.#options
    const { groups = [], positions = [], records = [] } = content
    const { events, bytes } = sizeOf(groups, positions, records)
    const tooMany = this.#events + events > queueEventsMax || this.#bytes + bytes > queueBytesMax
    if (this.#events > 0 && tooMany) {
      return Promise.reject(
        new SkeinError('overloaded', `${this.#events} events and checkpoints wait for the journal`, {
          retryable: true,
          details: { events: this.#events, bytes: this.#bytes },
        }),
      )
    }
    this.#events += events
    this.#bytes += bytes
    return new Promise((resolve, reject) => {
      this.#waiting.push({ lease, groups, positions, records, events, bytes, resolve, reject })
      this.#schedule()
    })
  }

  /** Resolves once everything added so far is settled. */
  idle(): Promise<void> {
    if (this.#underWay === 0 && this.#waiting.length === 0) return Promise.resolve()
    return new Promise((resolve) => {
      this.#whenIdle.push(resolve)
    })
  }

  /** At the end of the current turn, so that appends of one turn share a commit. */
  #schedule(): void {
    if (this.#scheduled || this.#underWay >= commitsUnderWayMax || this.#waiting.length === 0) return
    this.#scheduled = true
    queueMicrotask(() => {
      this.#scheduled = false
      this.#start()
    })
  }

  #start(): void {
    const entries = this.#take()
    this.#underWay++
    this.#commit(entries).then(
      (results) => {
        this.#settle(entries, (entry, i) => {
          const error = results[i]
          if (error === null || error === undefined) entry.resolve()
          else entry.reject(error)
        })
      },
      (error: unknown) => this.#settle(entries, (entry) => entry.reject(error)),
    )
    this.#schedule()
  }

  #take(): Entry[] {
    const { commitEventsMax, commitBytesMax } = this.#options
    const lease = this.#waiting[0]?.lease
    let events = 0
    let bytes = 0
    let count = 0
    for (const entry of this.#waiting) {
      if (entry.lease !== lease) break
      if (count > 0 && (events + entry.events > commitEventsMax || bytes + entry.bytes > commitBytesMax))
        break
      events += entry.events
      bytes += entry.bytes
      count++
    }
    return this.#waiting.splice(0, count)
  }

  async #commit(entries: readonly Entry[]): Promise<readonly (SkeinError | null)[]> {
    const encoder = new BlockEncoder()
    const blockCounts = entries.map(({ groups }) => groups.reduce((n, group) => n + encoder.add(group), 0))
    const positions = entries.flatMap((entry) => entry.positions)
    const records = packRecords(newestPerAgent(entries.flatMap((entry) => entry.records)))
    const lease = entries[0]?.lease as LeaseId
    return await this.#write({ lease, blockCounts, batch: encoder.take(), positions, records })
  }

  #settle(entries: readonly Entry[], settle: (entry: Entry, index: number) => void): void {
    this.#underWay--
    for (const [i, entry] of entries.entries()) {
      this.#events -= entry.events
      this.#bytes -= entry.bytes
      settle(entry, i)
    }
    this.#schedule()
    if (this.#underWay > 0 || this.#waiting.length > 0) return
    const waiting = this.#whenIdle
    this.#whenIdle = []
    for (const wake of waiting) wake()
  }
}

function sizeOf(
  groups: readonly AppendGroup[],
  positions: readonly Position[],
  records: readonly AgentRecord[],
): { readonly events: number; readonly bytes: number } {
  let events = positions.length + records.length
  let bytes = 0
  for (const { agent, state } of records) bytes += agent.length + state.length
  for (const group of groups) {
    events += group.events.length
    for (const { payload, key, id } of group.events) bytes += payload.length + key.length + id.length
  }
  return { events, bytes }
}
