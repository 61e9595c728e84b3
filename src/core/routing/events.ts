/** The words of the data plane: events on their way in, and what became of each. */
import type { Epoch, LeaseId, NodeId, ShardId } from '../kernel/brand.js'
import type { ErrorCode } from '../kernel/error.js'

/** An event with everything that its first node added. `payload` is JSON text. */
export interface NewEvent {
  readonly stream: string
  readonly key: string
  readonly id: string
  readonly type: string
  readonly payload: string
  /** What an agent publishes is refused where a later epoch of it is known. Not stored. */
  readonly fence?: AgentFence
}

/** Which agent acts, and under which assignment. */
export interface AgentFence {
  readonly agent: string
  readonly epoch: number
}

/** An event as the owner of its shard hands it to the journal. */
export interface StampedEvent extends NewEvent {
  readonly hlc: string
  readonly atMs: number
}

export type EventOutcome =
  | { readonly status: 'accepted' | 'duplicate'; readonly shard: ShardId; readonly offset: number }
  | {
      readonly status: 'rejected'
      readonly shard: ShardId
      readonly code: ErrorCode
      readonly detail: string
      readonly retryable: boolean
    }
  /** Not decided here and now; the entry node tries again. `unknown`: it may already be stored. */
  | { readonly status: 'retry'; readonly shard: ShardId; readonly unknown: boolean; readonly detail: string }

/** Consecutive offsets of one shard, for the journal. */
export interface CommitGroup {
  readonly shard: ShardId
  readonly epoch: Epoch
  readonly firstOffset: number
  readonly events: readonly StampedEvent[]
}

export type CommitOutcome =
  | { readonly kind: 'durable' }
  /** Certainly not written. */
  | { readonly kind: 'refused'; readonly code: ErrorCode; readonly detail: string }
  /** Perhaps written: the shards must be read again before they go on. */
  | { readonly kind: 'unknown'; readonly detail: string }

export type Route =
  | { readonly kind: 'self' }
  | { readonly kind: 'node'; readonly nodeId: NodeId }
  | { readonly kind: 'none'; readonly reason: string }

/** What the writer of a node's own shards needs; the runtime and the simulator each provide it. */
export interface WriterWorld {
  wallMs(): number
  nowMs(): number
  /** The epoch under which this shard may be acknowledged at this very moment: 0 once the lease deadline passed or the shard was given up. */
  allowedEpoch(shard: ShardId): Epoch
  stamp(): string
  /** Collision-free digest of a text; 16 characters are enough. */
  digest(text: string): string
  commit(lease: LeaseId, groups: readonly CommitGroup[], done: (outcome: CommitOutcome) => void): void
  /** A commit's outcome is unknown: read the shard's end from disk and open it again. */
  reopen(shard: ShardId, epoch: Epoch): void
}
