/**
 * The journal: a durable log per shard. An append is fenced by (lease, epoch): where the driver keeps one file per
 * lease, never written under another, the file is the fence; where all share an engine, the append checks the fence in the same statement.
 *
 * Offsets count 1, 2, 3 … per shard and go on across epochs. The caller assigns them; the journal refuses a gap.
 * Contract: `src/testing/journal-contract.ts`.
 */
import type { Epoch, LeaseId, ShardId } from '../core/kernel/brand.js'

/** One event as it is kept. `payload` is JSON text, kept byte for byte. */
export interface JournalEvent {
  readonly stream: string
  readonly key: string
  readonly id: string
  readonly type: string
  readonly payload: string
  /** Sortable text form of the hybrid logical clock. */
  readonly hlc: string
  /** Wall clock of the owner at acceptance, ms since the epoch. */
  readonly atMs: number
}

export interface StoredEvent extends JournalEvent {
  readonly shard: ShardId
  readonly epoch: Epoch
  readonly offset: number
}

/** Consecutive events of one shard: offsets firstOffset … firstOffset + events.length - 1. */
export interface AppendGroup {
  readonly shard: ShardId
  readonly epoch: Epoch
  readonly firstOffset: number
  readonly events: readonly JournalEvent[]
}

/** What one lease wrote of one shard under one epoch, as far as it counts. Offsets first … last, both included. */
export interface Segment {
  readonly epoch: Epoch
  readonly lease: LeaseId
  readonly first: number
  readonly last: number
}

export interface ReadRequest {
  readonly shard: ShardId
  /**
   * Ascending by epoch; where two overlap or leave a gap the caller is wrong and gets `invalid_argument`. The `last` of each is the
   * reader's horizon: the seal, or the confirmed mark of the open epoch. Nothing above it is returned.
   */
  readonly segments: readonly Segment[]
  /** Return events with a higher offset only. 0 reads from the beginning. */
  readonly after: number
  readonly limit: number
  readonly stream?: string
  readonly key?: string
}

export interface ReadResult {
  readonly events: readonly StoredEvent[]
  /** Everything up to this offset has been looked at: pass it as `after` next. A page may be short, even empty, before the end. */
  readonly scannedTo: number
  /** True when the last segment's end was reached. */
  readonly end: boolean
}

/** One id of the dedupe window. Digests are of the journal's making and compared as text. */
export interface IdRecord {
  readonly offset: number
  readonly atMs: number
  readonly stream: string
  readonly key: string
  readonly id: string
  readonly payload: string
  readonly type: string
}

/** The state of an agent as it was after some of its calls. */
export interface Checkpoint {
  /** 1 to 256 characters, any text. */
  readonly agent: string
  /** Of the assignment under which it was saved, 1 or higher. */
  readonly epoch: Epoch
  /** Rises with the saves of one epoch; 0 to 2^53 - 2. */
  readonly seq: number
  /** 0 bytes to 4 MiB. */
  readonly state: Uint8Array
}

export interface CheckpointPage {
  /** Ascending by the UTF-8 bytes of the agent's name, one of each agent. May be empty before the end. */
  readonly checkpoints: readonly Checkpoint[]
  /** Pass it as `after` for the next page; undefined at the end. */
  readonly next: string | undefined
}

/** How far a group of consumers has come in a shard, and under which epoch that was saved. */
export interface ConsumerPosition {
  readonly group: string
  readonly shard: ShardId
  readonly epoch: Epoch
  readonly offset: number
}

export interface PositionPage {
  readonly positions: readonly ConsumerPosition[]
  readonly next?: string
}

export interface JournalHealth {
  readonly ok: boolean
  readonly detail: string
  readonly bytes: number
}

export interface RetentionPolicy {
  readonly ageMsMax: number
  /** Of one stream in the file, as stored, newest kept. What several files hold together is the caller's to bound (`LeaseFile.streamBytes`). */
  readonly streamBytesMax: number
  /** For streams that get less. */
  readonly streamBytesMaxOf?: ReadonlyMap<string, number>
}

/** A lease's file (or the engine's rows of that lease), for retention. */
export interface LeaseFile {
  readonly lease: LeaseId
  readonly bytes: number
  /** 0 where nothing was written. */
  readonly newestAtMs: number
  /** Of events, per stream. */
  readonly streamBytes: ReadonlyMap<string, number>
}

/**
 * Errors: `disk_full`, `overloaded`, `fenced`, `unavailable`, `invalid_argument` (a gap in the offsets): certainly not
 * written. `outcome_unknown`: may be durable; before the next append call `lastOffsets` and go on from there. `corrupt`: details name the file and the
 * shard; the rest of the journal stays usable.
 */
export interface Journal extends AsyncDisposable {
  readonly info: { readonly driver: string; readonly identity: string }
  open(): Promise<void>
  /**
   * From now on this process writes under `lease`. Makes its file. Closes what was open under an earlier lease. `fenced` for a lease
   * that this handle has closed: leases do not come back.
   *
   * `copies`: what is written under it is a copy of another journal's log, in which retention has left gaps: the offsets of an epoch rise, but
   * need not go on without one. A repetition is refused as ever.
   */
  openLease(lease: LeaseId, options?: { readonly copies?: boolean }): Promise<void>
  /** Ends writing under the lease: in-flight appends settle first; afterwards every append is refused as `fenced`. Idempotent. */
  closeLease(): Promise<void>
  /** Durable when it resolves: one commit for all groups, all or nothing. */
  append(lease: LeaseId, groups: readonly AppendGroup[]): Promise<void>
  /**
   * For each (shard, epoch) written under `lease`: make what is there durable (fsync of a dead writer's log first) and return its first and last
   * offset, absent where nothing was written. Works while the writer is frozen.
   */
  seal(
    lease: LeaseId,
    wanted: readonly { shard: ShardId; epoch: Epoch }[],
  ): Promise<readonly { shard: ShardId; epoch: Epoch; first: number; last: number }[]>
  /** Last offset of each shard written under the current lease, from disk; for going on after `outcome_unknown`. */
  lastOffsets(shards: readonly ShardId[]): Promise<ReadonlyMap<ShardId, number>>
  /** The highest epoch the journal has seen of each shard, 0 where none. */
  highestEpochs(shards: readonly ShardId[]): Promise<ReadonlyMap<ShardId, number>>
  read(request: ReadRequest): Promise<ReadResult>
  /** Newest first up to `countMax` (all younger than `sinceMs` and at least `countMin`), returned in ascending offset order. */
  recentIds(
    shard: ShardId,
    segments: readonly Segment[],
    window: { sinceMs: number; countMin: number; countMax: number },
  ): Promise<readonly IdRecord[]>
  /** Positions of consumers, kept beside the events, durable when it resolves. */
  commitPositions(lease: LeaseId, positions: readonly ConsumerPosition[]): Promise<void>
  /**
   * Of each shard, 0 where none was saved. Whatever lease it was saved under: the highest epoch wins, then the highest offset. A file that
   * cannot be read is passed over.
   */
  readPositions(group: string, shards: readonly ShardId[]): Promise<ReadonlyMap<ShardId, number>>
  /**
   * Keeps the states of agents beside the events. Durable when it resolves: one commit for all, all or nothing; saves and appends that wait at the
   * same time may share it. What counts is the highest (epoch, seq) of each agent, whoever saved it and in which order: what it outranks is not
   * kept, and is no error. To repeat a save is harmless, so it may be repeated as it is after `outcome_unknown`. The states must not be changed before
   * it settles.
   *
   * Fenced by the lease as `append` is, not by the epoch: a process whose lease has ended without its knowledge may still save under its old epoch,
   * and where that was the highest one saved, readers find it. A new owner therefore first saves what it read under its own epoch, and goes on only
   * when that has resolved: from then on a late save of any earlier epoch is never returned.
   *
   * At most 4,096 checkpoints and 32 MiB of states in one call. Errors: those of `append`; `invalid_argument` for an agent, epoch or seq out of range,
   * `payload_too_large` for a state or a call over its size: certainly not written.
   */
  saveCheckpoints(lease: LeaseId, checkpoints: readonly Checkpoint[]): Promise<void>
  /**
   * The checkpoint with the highest (epoch, seq) saved under any lease; undefined where there is none, or it was forgotten. Durable when it
   * resolves: no power cut takes it back (a dead writer's log is synced first, as `seal` does). Works while the writer is frozen. Errors:
   * `corrupt` also where a file cannot be read that might hold a later state: an older one is never returned in its place.
   */
  readCheckpoint(agent: string): Promise<Checkpoint | undefined>
  /**
   * For an agent that was removed: its checkpoints up to and including this epoch count no longer, under whatever lease they were or will be
   * saved; later epochs are not touched. Durable when it resolves, harmless to repeat. Errors: those of `append`.
   *
   * What is forgotten is noted for a day, and for as long as something of it lies in the file of another lease; `trim` and `dropLease` remove both
   * the note and what it hides. A process that was frozen for longer than that may still leave its late save behind.
   */
  forgetCheckpoint(lease: LeaseId, agent: string, throughEpoch: Epoch): Promise<void>
  /**
   * What `readCheckpoint` would return for the agents after this name (in the order of their UTF-8 bytes), at most `limit` (1 to 1,000) and about
   * 8 MiB of states. The empty name begins. Not made durable: for copying, of which the copy has to be.
   */
  listCheckpoints(after: string, limit: number): Promise<CheckpointPage>
  /**
   * The positions of all groups, one for each group and shard, in an order of the driver's own that does not change: at most `limit` (1 to
   * 10,000) after `after`, which is a `next` of this journal; '' for the beginning. `next` is absent at the end. Unlike `readPositions` it
   * rejects with `corrupt` where something cannot be read: this is for copies.
   */
  listPositions(after: string, limit: number): Promise<PositionPage>
  /**
   * Deletes old events written under the current lease, or under one that has ended and is sealed; returns how many. What an epoch ended with
   * may stay. Where the log ends is not forgotten. Checkpoints that count stay, those that others outrank may go.
   */
  trim(policy: RetentionPolicy, nowMs: number, lease?: LeaseId): Promise<number>
  leaseFiles(): Promise<readonly LeaseFile[]>
  /**
   * Removes the events of a closed lease for good; positions and checkpoints saved under it stay. `invalid_argument` for the current lease, and
   * where no lease is open that could take them over; `corrupt` where its checkpoints cannot be read.
   */
  dropLease(lease: LeaseId): Promise<void>
  health(): Promise<JournalHealth>
  close(): Promise<void>
}
