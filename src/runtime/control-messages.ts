/** What main and control say to each other. Structured-cloneable data only: between them lies a thread boundary, or nothing at all. */

import type { Strategy } from '../core/balancing/balancer.js'
import type { LeaderFact } from '../core/election/leader-election.js'
import type { BootId, Epoch, LeaseId, NodeId, ShardId } from '../core/kernel/brand.js'
import type { ErrorCode } from '../core/kernel/error.js'
import type { FeedEventName } from '../core/kernel/feed-events.js'
import type { Note } from '../core/kernel/machine.js'
import type { KeyValue, Transaction, TransactionResult } from '../core/kernel/store-types.js'
import type { Evidence, Lifecycle, MemberRecord, MemberStatus, Telemetry } from '../core/membership/member.js'
import type { ExternalSeen, Offer } from '../core/node/candidates.js'
import type { Command, NodeEffect, NodeInput, NodeOptions } from '../core/node/node-types.js'
import type { SealFound, SealWanted } from '../core/sharding/holder.js'
import type { Seals, ShardMap } from '../core/sharding/shard-map.js'
import type { TransportKeys } from '../ports/transport.js'
import type { OperationFigures } from './metrics/operation-meter.js'

export interface MemberSnapshot {
  readonly record: MemberRecord
  readonly status: MemberStatus
  readonly missedProbes: number
  readonly lastSeenMs: number
  readonly rttMs: number
  readonly skewMs: number
  readonly telemetry: Telemetry
  readonly evicted: boolean
  /** Told to drain, as the store has it. */
  readonly draining: boolean
  /** See `core/balancing/trust.ts`. */
  readonly trust: number
  readonly offer: Offer
}

export interface StoreHealthView {
  readonly driver: string
  readonly identity: string
  readonly ok: boolean
  readonly detail: string
}

/** What the control plane counts, since its start. */
export interface ControlFigures {
  readonly store: readonly OperationFigures[]
  readonly datagrams: {
    readonly sent: number
    readonly received: number
    readonly refused: number
    readonly dropped: number
    readonly sentBytes: number
    readonly receivedBytes: number
  }
}

export type ControlToMain =
  | {
      readonly type: 'opened'
      readonly controlAddress: string
      readonly storeIdentity: string
      readonly storeDriver: string
    }
  | {
      readonly type: 'members'
      readonly members: readonly MemberSnapshot[]
      readonly externals: readonly ExternalSeen[]
      /** Standbys are enlisted. */
      readonly capacityLost: boolean
      readonly strategy: Strategy
      readonly store: StoreHealthView
      readonly health: number
      readonly figures: ControlFigures
    }
  | {
      readonly type: 'routing'
      readonly map: ShardMap
      readonly leader: LeaderFact | null
      readonly leads: boolean
      readonly lease: LeaseId | null
      readonly lifecycle: Lifecycle
      readonly formatLevel: number
    }
  /** Documents that changed, or all of them. */
  | { readonly type: 'config'; readonly documents: readonly KeyValue[] }
  | {
      readonly type: 'feed'
      readonly atMs: number
      readonly event: FeedEventName
      readonly fields: Readonly<Record<string, unknown>>
    }
  | { readonly type: 'journal_open'; readonly lease: LeaseId }
  | { readonly type: 'journal_seal'; readonly tag: string; readonly wanted: readonly SealWanted[] }
  | {
      readonly type: 'shard_open'
      readonly shard: ShardId
      readonly epoch: Epoch
      readonly lease: LeaseId
      readonly seals: Seals
    }
  | { readonly type: 'shard_close'; readonly shard: ShardId; readonly epoch: Epoch }
  | { readonly type: 'stop_serving'; readonly lease: LeaseId; readonly reason: string }
  | { readonly type: 'relinquish'; readonly lease: LeaseId }
  | Extract<
      NodeEffect,
      { type: 'agent_start' | 'agent_spec' | 'agent_stop' | 'agent_handed' | 'agents_changed' }
    >
  | { readonly type: 'answer'; readonly id: number; readonly value: unknown }
  | { readonly type: 'failure'; readonly id: number; readonly code: ErrorCode; readonly detail: string }
  | { readonly type: 'refused'; readonly by: NodeId; readonly detail: string }
  | { readonly type: 'stopped'; readonly reason: string }
  | { readonly type: 'fatal'; readonly code: ErrorCode; readonly detail: string }
  | Note

/** Questions to control, and what it answers. */
export interface ControlCalls {
  command: { readonly ask: Command; readonly answer: { readonly ok: boolean; readonly detail: string } }
  why: {
    readonly ask: NodeId
    readonly answer: { readonly evidence: readonly Evidence[]; readonly health: number }
  }
  seals: { readonly ask: readonly ShardId[]; readonly answer: readonly (readonly [ShardId, Seals])[] }
  list: { readonly ask: string; readonly answer: readonly KeyValue[] }
  transact: { readonly ask: Transaction; readonly answer: TransactionResult }
  control_traffic: {
    readonly ask: null
    readonly answer: { readonly sentBytes: number; readonly receivedBytes: number; readonly refused: number }
  }
}

export type MainToControl =
  | { readonly type: 'call'; readonly id: number; readonly method: keyof ControlCalls; readonly ask: unknown }
  | {
      readonly type: 'sealed'
      readonly tag: string
      readonly found: readonly SealFound[] | null
      readonly detail: string
    }
  | { readonly type: 'shard_closed'; readonly shard: ShardId; readonly epoch: Epoch }
  | { readonly type: 'relinquished' }
  | { readonly type: 'agents_quiet' }
  | Extract<NodeInput, { type: 'agent_report' | 'agent_stopped' }>
  | { readonly type: 'offer'; readonly offer: Offer }
  /** Where the guard of our processes is told of renewals; null when there is none any more. */
  | { readonly type: 'guard'; readonly address: string | null }
  | {
      readonly type: 'connection_lost'
      readonly nodeId: NodeId
      readonly bootId: string
      readonly address: string
      readonly detail: string
    }
  | { readonly type: 'dial_refused'; readonly address: string; readonly detail: string }
  | { readonly type: 'rekey'; readonly keys: TransportKeys }
  | { readonly type: 'close' }

/** How a control plane is started: everything is data, so that a worker can be told. */
export interface ControlSetup {
  readonly shared: SharedArrayBuffer
  readonly options: Omit<NodeOptions, 'addresses' | 'storeIdentity'> & { readonly bootId: BootId }
  readonly peerAddress: string
  readonly httpAddress: string
  readonly store: string
  readonly bind: { readonly host: string; readonly port: number }
  /** Host that others reach us at. */
  readonly advertiseHost: string
  /** Where it differs from the bound one, of the peer port. */
  readonly advertisePort: number | undefined
  readonly transport: 'tcp' | 'ws' | 'wss'
  /** The second port, for streams. */
  readonly control: {
    readonly port: number
    readonly advertiseHost: string
    readonly advertisePort: number | undefined
  }
  /** Sources of peers, as the user wrote them. */
  readonly discover: readonly string[]
  readonly keys: TransportKeys
  readonly journalIdentity: string
  readonly journalDriver: string
  readonly diskPath: string
  readonly seed: number
}
