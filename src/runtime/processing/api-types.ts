/** What a program is told about processors, and what it may ask for. Types only. */
import type { Strategy } from '../../core/balancing/balancer.js'
import type { Constraints } from '../../core/balancing/candidate.js'
import type { NodeId } from '../../core/kernel/brand.js'
import type { SkeinError } from '../../core/kernel/error.js'

/** Names one run for good, on any node: plain data, to be sent and stored. The boot tells a run from one after a restart of its node. */
export interface SpawnRef {
  readonly id: string
  readonly name: string
  readonly nodeId: NodeId
  readonly bootId: string
}

export interface StreamShare {
  readonly stream: string
  readonly group: string
  readonly shard: number
  /** Of the shard's owner. What you write elsewhere should carry it, and the other side refuse lower ones. */
  readonly epoch: number
  /** Of the batch: rises within an epoch with each time that events are given out. */
  readonly batch: number
  /** Tries of these events that failed before. */
  readonly failures: number
  /** Whether the batch is this processor's at this very moment, by the clock: false after a freeze even before `signal` had its turn. */
  isHeld(): boolean
}

export interface ProcessorContext {
  readonly self: SpawnRef
  readonly nodeId: NodeId
  /** Aborted when it is killed, its time is over, its node leaves, or its batch is given to another. Its `reason` is a `SkeinError`. */
  readonly signal: AbortSignal
  /** Where it was given events of a stream; its argument is the batch then, an array of `EventView`. */
  readonly share?: StreamShare
  /** This run ends, killed, when that one ends otherwise than by finishing, and the other way round. */
  link(other: SpawnRef): Promise<void>
}

export type ProcessorFn<Args = unknown, Result = unknown> = (
  args: Args,
  context: ProcessorContext,
) => Result | Promise<Result>

export interface ProcessorOptions {
  /** A run whose outcome is unknown may be run again, elsewhere: `retries` of `spawn` needs it. */
  readonly isIdempotent?: boolean
  /** At a time on one node, beside the node's own limit. */
  readonly runningMax?: number
}

export interface ProcessorDefinition<Args = unknown, Result = unknown> extends ProcessorOptions {
  readonly processor: string
  readonly run: ProcessorFn<Args, Result>
}

/** Of whatever arguments. */
export type AnyProcessor = ProcessorDefinition<never, unknown>

export interface SpawnOptions {
  /** A strategy, or the id of a node; a node that is named like a strategy: `{ node: id }`. Default: the cluster's strategy. */
  readonly on?: Strategy | NodeId | { readonly node: NodeId }
  /** Preferred, as long as a node there can take it. */
  readonly zone?: string
  readonly region?: string
  /** Must hold. */
  readonly constraints?: Constraints
  /** Of the whole run, ms; then it is told to stop, and `result` rejects with `timeout`. Default: none. */
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
  /** How often it is run anew when its node went away with the outcome unknown. Needs an idempotent processor. Default 0. */
  readonly retries?: number
}

export type RunStatus = 'running' | 'finished' | 'failed' | 'killed' | 'node_down' | 'unknown'

/** Why it is down. `unknown`: its node is there and knows nothing of it any more. */
export type DownReason =
  | 'finished'
  | 'failed'
  | 'killed'
  | 'node_failed'
  | 'node_left'
  | 'node_restarted'
  | 'unknown'

export interface DownNotice {
  readonly ref: SpawnRef
  readonly reason: DownReason
  /** For people. */
  readonly detail: string
  /** What it failed with. */
  readonly error?: SkeinError
}

export interface SpawnHandle<Result = unknown> extends SpawnRef {
  readonly ref: SpawnRef
  /** As far as this node knows. */
  readonly status: RunStatus
  /**
   * Rejects with the run's own error, or `aborted` (killed), `timeout`, `node_down` (`details.outcome: unknown`), `outcome_unknown`. Never an
   * unhandled rejection.
   */
  readonly result: Promise<Result>
  /**
   * Tells it to stop, by its signal. It is down as soon as it has settled, or 5 s later: code cannot be taken away from under itself. False when it had
   * ended before. Errors: `node_down`, `timeout`.
   */
  kill(reason?: string): Promise<boolean>
  toJSON(): SpawnRef
}

export interface RunView {
  readonly id: string
  readonly name: string
  readonly nodeId: NodeId
  readonly bootId: string
  readonly startedBy: NodeId
  readonly startedAtMs: number
  /** Told to stop. */
  readonly isStopping: boolean
  /** The stream and the node that it helps; null for one that was spawned. */
  readonly helps: { readonly stream: string; readonly group: string; readonly owner: NodeId } | null
}

export interface StreamLoad {
  readonly stream: string
  readonly group: string
  readonly processor: string
  readonly nodeId: NodeId
  readonly shards: number
  /** Events of this owner's shards that are read and with nobody yet; at most the size of its window. */
  readonly waiting: number
  readonly lent: number
  /** The owner's own included. */
  readonly processors: number
  readonly helpers: readonly NodeId[]
  /** Since it began. */
  readonly processed: number
  readonly processedByHelpers: number
  readonly refusedResults: number
}

export interface ProcessorsView {
  readonly nodeId: NodeId
  /** Why the rest is empty: it did not answer. */
  readonly error?: string
  readonly runningMax: number
  readonly registered: readonly { readonly name: string; readonly isIdempotent: boolean }[]
  readonly running: readonly RunView[]
  readonly streams: readonly StreamLoad[]
}

export interface EndedRun {
  readonly ref: SpawnRef
  readonly status: RunStatus
  readonly detail: string
  readonly result?: unknown
  readonly error?: SkeinError
}

export interface ProcessOptions {
  /** Positions are kept per group. Default: the processor's name. */
  readonly group?: string
  /** Events of a batch. Default 20. */
  readonly batchMax?: number
  /** Batches that a node has at a time. Default 1. */
  readonly concurrency?: number
  /** `key`: events of one key in order, with one processor at a time. Default `key`. */
  readonly order?: 'key' | 'none'
  /** How long a processor elsewhere keeps a batch without a sign of life, ms: 500 … 60,000, default 5,000. */
  readonly leaseMs?: number
  /** How long one batch may take, ms; then it counts as failed. Default 60,000. */
  readonly deadlineMs?: number
  readonly load?: {
    /** How often it is looked at, ms: 100 … 600,000, default 5,000. */
    readonly everyMs?: number
    /** Waiting events that one processor is good for. Default 100. */
    readonly threshold?: number
    /** Of one owner, its own included: 1 keeps it there alone. Default 8. */
    readonly processorsMax?: number
  }
}

/**
 * Errors: `not_found` (nobody has that processor), `overloaded`, `invalid_argument`, `payload_too_large`, `node_down`, `conflict` (registered twice).
 */
export interface ProcessorsApi {
  /** Lets this node run it; returns the way to take it back. What runs goes on. */
  register(definition: AnyProcessor): () => void
  register<Args, Result>(name: string, run: ProcessorFn<Args, Result>, options?: ProcessorOptions): () => void
  /** All nodes: what they have registered, what runs there, the streams that they own and share. */
  list(): Promise<readonly ProcessorsView[]>
  /** The nodes that have it registered, in order of their ids, as far as this node has heard: a moment after they did. */
  where(name: string): readonly string[]
  /** One run, wherever it is; what has ended is known for 10 minutes. Waits for its end up to `waitMs`. `not_found`. */
  show(id: string, options?: { readonly waitMs?: number }): Promise<RunView | EndedRun>
  kill(id: string, reason?: string): Promise<boolean>
  /** To follow a run that another node started. */
  handle<Result = unknown>(ref: SpawnRef): SpawnHandle<Result>
  /**
   * Events of a stream, on the owner of each shard, and on less loaded nodes when too much waits. At least once; an event is with one live processor at
   * a time within an epoch. To be called on every node that may own shards, like `events.consume`.
   */
  process(
    stream: string,
    processor: string | AnyProcessor,
    options?: ProcessOptions,
  ): { stop(): Promise<void> }
}

export interface Link {
  /** Aborted when the other one ended otherwise than by finishing. */
  readonly signal: AbortSignal
  unlink(): void
}

export interface SpawnApi {
  spawn<Args, Result>(
    processor: ProcessorDefinition<Args, Result>,
    args: Args,
    options?: SpawnOptions,
  ): Promise<SpawnHandle<Result>>
  spawn<Result = unknown>(name: string, args?: unknown, options?: SpawnOptions): Promise<SpawnHandle<Result>>
  /** `onDown` is called once, whatever happens; from any node, for a run that any node started. Returns the way to stop. */
  monitor(run: SpawnRef, onDown: (notice: DownNotice) => void): () => void
  /** The run ends, killed, when this node goes; what is returned tells when the run ended otherwise than by finishing. */
  link(run: SpawnRef): Promise<Link>
}
