/** Inputs, effects and options of the node machine: the whole interface between a node's core and its shell. */

import type { AgentHostInput } from '../agents/host.js'
import type { ElectionOptions, LeaderFact } from '../election/leader-election.js'
import type { LeaseOptions } from '../election/lease-keeper.js'
import type { Address, BootId, LeaseId, NodeId } from '../kernel/brand.js'
import type { ErrorCode } from '../kernel/error.js'
import type { FeedEventName } from '../kernel/feed-events.js'
import type { Note } from '../kernel/machine.js'
import type { KeyValue, StoreEffect, StoreReply, WatchBatch } from '../kernel/store-types.js'
import type { Lifecycle, Role } from '../membership/member.js'
import type { MembershipEffect, MembershipInput } from '../membership/membership.js'
import type { MembershipOptions } from '../membership/options.js'
import type { CoordinatorOptions } from '../sharding/coordinator.js'
import type { HolderEffect, HolderInput } from '../sharding/holder.js'
import type { ShardMap } from '../sharding/shard-map.js'
import type { AgentPlaneEffect, AgentPlaneOptions } from './agent-plane.js'
import type { Offer } from './candidates.js'

export interface NodeOptions {
  readonly nodeId: NodeId
  readonly bootId: BootId
  readonly clusterName: string
  readonly storeIdentity: string
  readonly addresses: {
    readonly control: Address
    readonly controlStream: Address
    readonly peer: Address
    readonly http: Address
  }
  readonly seeds: readonly Address[]
  readonly role: Role
  readonly zone: string
  readonly region: string
  readonly version: string
  /** JSON object text: hostname, labels, services. */
  readonly facts: string
  /** Where others of this host find our life lock; empty where there is none. */
  readonly lifeLock: string
  readonly membership: MembershipOptions
  readonly lease: LeaseOptions
  readonly election: ElectionOptions
  readonly coordinator: CoordinatorOptions
  readonly agents: AgentPlaneOptions
  /** A failed member whose lease lives is evicted after this, ms. */
  readonly evictAfterMs: number
  /** A registered node that gossip does not know is suspected to be dead after this, ms. */
  readonly proveUnknownAfterMs: number
  /** Seeds that do not answer are not waited for longer than this when the store knows of no other node, ms. */
  readonly aloneAfterMs: number
  /** Shards leave a node whose main thread stood still for this long, ms. */
  readonly moveOffStalledMs: number
  /** Standbys give back what they took when no worker has been missing for this long, ms. Shorter: a worker that flaps moves everything each time. */
  readonly standbyReliefMs: number
  readonly drainDeadlineMs: number
}

export type Command =
  | { readonly type: 'leave'; readonly reason: string; readonly deadlineMs: number }
  | { readonly type: 'promote' }
  | { readonly type: 'step_down' }
  | { readonly type: 'remove'; readonly nodeId: NodeId }
  /** Drain and cordon survive restarts and reach every node: they are a key in the store. */
  | { readonly type: 'intent'; readonly nodeId: NodeId; readonly drain: boolean; readonly cordon: boolean }
  /** Only the leader: cut from the logs what these leases wrote at their beginnings; their files are about to go. */
  | { readonly type: 'prune'; readonly leases: readonly LeaseId[] }

export type NodeInput =
  | { readonly type: 'start' }
  | { readonly type: 'deadline' }
  /** A fresh list of all keys, at first and after every gap in the watch. */
  | { readonly type: 'view_reset'; readonly kvs: readonly KeyValue[]; readonly rev: bigint }
  | { readonly type: 'view_batch'; readonly batch: WatchBatch }
  | { readonly type: 'store_done'; readonly tag: string; readonly reply: StoreReply }
  | {
      readonly type: 'death_proof'
      readonly nodeId: NodeId
      readonly lease: LeaseId
      readonly result: 'dead' | 'alive' | 'unknown'
    }
  /** The data plane stopped and the journal file of the lost lease is closed. */
  | { readonly type: 'relinquished' }
  /** No agent of the lost lease runs in this process any more; what else goes with it may still be on its way. */
  | { readonly type: 'agents_quiet' }
  | { readonly type: 'main_stalled'; readonly stalled: boolean }
  | { readonly type: 'membership'; readonly input: MembershipInput }
  | { readonly type: 'command'; readonly id: string; readonly command: Command }
  | Extract<HolderInput, { type: 'sealed' | 'shard_closed' }>
  | Extract<AgentHostInput, { type: 'agent_report' | 'agent_stopped' }>
  | { readonly type: 'guard_proof'; readonly lease: LeaseId; readonly result: 'dead' | 'alive' | 'unknown' }
  /** What the program of this node can run has changed. */
  | { readonly type: 'offer'; readonly offer: Offer }

export type NodeEffect =
  | StoreEffect
  | HolderEffect
  | AgentPlaneEffect
  | Exclude<MembershipEffect, { type: 'superseded' | 'refused' }>
  | { readonly type: 'refused'; readonly by: NodeId; readonly detail: string }
  | {
      readonly type: 'prove_death'
      readonly nodeId: NodeId
      readonly lease: LeaseId
      readonly locator: string
    }
  /** Shared memory: until when acknowledgements may rest on this lease; 0 for no longer. */
  | { readonly type: 'lease_deadline'; readonly lease: LeaseId; readonly deadlineMs: number }
  /** From now on the journal writes under this lease. */
  | { readonly type: 'journal_open'; readonly lease: LeaseId }
  /** The data plane clears all epochs and answers what is under way as unknown. */
  | { readonly type: 'stop_serving'; readonly lease: LeaseId; readonly reason: string }
  /** Close the journal file of that lease, then answer with `relinquished`. */
  | { readonly type: 'relinquish'; readonly lease: LeaseId }
  | {
      readonly type: 'routing'
      readonly map: ShardMap
      readonly leader: LeaderFact | null
      readonly leads: boolean
      readonly lease: LeaseId | null
      readonly lifecycle: Lifecycle
      /** See `kernel/format.ts`. */
      readonly formatLevel: number
    }
  /** For the history, the log and the watchers: what happened, in the words of DESIGN §6. */
  | {
      readonly type: 'feed'
      readonly event: FeedEventName
      readonly fields: Readonly<Record<string, unknown>>
    }
  | { readonly type: 'command_done'; readonly id: string; readonly ok: boolean; readonly detail: string }
  /** The node has left; the shell may end. */
  | { readonly type: 'stopped'; readonly reason: string }
  /** This process must be gone now: it cannot stop what it has no right to run any more. */
  | { readonly type: 'die'; readonly detail: string }
  /** This process must end at once. */
  | { readonly type: 'fatal'; readonly code: ErrorCode; readonly detail: string }
  | Note
