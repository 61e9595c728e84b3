/** What a history of a network proof consists of. Times: ms of one monotonic clock for all. */

/** One attempt to publish. */
export interface OpRecord {
  readonly k: 'op'
  readonly n: string
  readonly id: string
  readonly key: string
  readonly t0: number
  readonly t1: number
  readonly out: 'accepted' | 'duplicate' | 'refused' | 'unknown'
  readonly shard?: number
  readonly offset?: number
  readonly code?: string
}

export interface StatusRecord {
  readonly k: 'status'
  readonly n: string
  readonly t0: number
  readonly t1: number
  readonly isUp: boolean
  readonly term?: number
  readonly leader?: string | null
  readonly isLeader?: boolean
  readonly quorum?: boolean
  readonly leaseMs?: number
  /** Peers that it takes for healthy, itself not counted. */
  readonly healthy?: number
}

/** The shard map as one node knew it; the places in the arrays are the shards. */
export interface MapRecord {
  readonly k: 'map'
  readonly n: string
  readonly t0: number
  readonly t1: number
  readonly epochs: readonly number[]
  readonly owners: readonly (string | null)[]
  /** A letter each: open, moving, unassigned. */
  readonly states: string
}

export interface FaultRecord {
  readonly k: 'fault'
  readonly name: string
  /** When its making began; a flapping link takes its time. */
  readonly began: number
  /** It was complete from t0 until t1, and gone at t2. */
  readonly t0: number
  readonly t1: number
  readonly t2: number
  /** Nodes that reached neither a majority of the store nor any node that did. */
  readonly minority: readonly string[]
}

/** Everybody was killed at once between t0 and t1. */
export interface RestartRecord {
  readonly k: 'restart'
  readonly t0: number
  readonly t1: number
}

/** A page of all that one node reads back: id, key, shard, offset, epoch. Page 0 begins anew. */
export interface ReadRecord {
  readonly k: 'read'
  readonly n: string
  readonly page: number
  readonly events: readonly (readonly [string, string, number, number, number])[]
}

export type HistoryRecord =
  | OpRecord
  | StatusRecord
  | MapRecord
  | FaultRecord
  | ReadRecord
  | RestartRecord
  | {
      readonly k: 'meta'
      readonly nodes: readonly string[]
      readonly ttlMs: number
      readonly backMsMax: number
    }
  | { readonly k: 'elected'; readonly n: string; readonly term: number; readonly leader: string }
  /** A node's process ended though nobody ended it. */
  | { readonly k: 'exit'; readonly n: string; readonly t: number; readonly how: string }
  | { readonly k: 'done'; readonly n: string; readonly command: string; readonly error?: string }
