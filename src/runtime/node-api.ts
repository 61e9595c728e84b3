/**
 * What a running node offers to the program that embeds it, and all that the HTTP surface is built on. Types only.
 * Times are ms since the epoch unless a name says otherwise; every promise that fails does so with a `SkeinError`.
 */

import type { Epoch, NodeId, ShardId } from '../core/kernel/brand.js'
import type { FeedEventName } from '../core/kernel/feed-events.js'
import type { AgentsApi, BalancerApi } from './agents/api-types.js'
import type { Channel, ChannelHandlers } from './channels.js'
import type { RoomsApi } from './rooms/api-types.js'
import type { NamesApi, ServicesApi } from './services/api-types.js'

export type * from './agents/api-types.js'
export type { Channel, ChannelHandlers } from './channels.js'
export type * from './cluster-config/api-types.js'
export type * from './maps/api-types.js'
export type * from './processing/api-types.js'
export type * from './rooms/api-types.js'
export type * from './services/api-types.js'

import type { ErrorCode } from '../core/kernel/error.js'
import type { HistogramFigures } from '../core/kernel/histogram.js'
import type { Coordinate } from '../core/membership/coordinates.js'
import type { Evidence, Lifecycle, MemberStatus, Role } from '../core/membership/member.js'
import type { ConfigApi } from './cluster-config/api-types.js'
import type { MapOptions, MapsApi, ReplicatedMap } from './maps/api-types.js'
import type { ProcessorsApi, SpawnApi } from './processing/api-types.js'

/** A node as the answering node sees it. */
export interface NodeView {
  readonly id: NodeId
  readonly kind: 'node' | 'external'
  readonly hostname: string
  /** host:port of its HTTP. */
  readonly httpAddress: string
  readonly peerAddress: string
  readonly role: Role
  readonly isLeader: boolean
  readonly isSelf: boolean
  readonly observed: MemberStatus
  readonly lifecycle: Lifecycle
  readonly stalled: boolean
  readonly cordoned: boolean
  /** DESIGN §4's table: online, offline, draining, unknown. */
  readonly status: 'online' | 'offline' | 'draining' | 'unknown'
  readonly healthy: boolean
  readonly maxAgents: number
  /** That have a place there. */
  readonly agents: number
  readonly shardsOwned: number
  readonly eventsPerSecond: number
  /** 0 … 100 of what it may use: its host, or the tightest limit that is set on it there. */
  readonly cpuUsage: number
  readonly memoryUsage: number
  readonly diskUsage: number
  /** Of its host, over one minute. */
  readonly loadAverage: number
  /** Of the process itself: percent of one CPU (more than 100 with several threads), MiB resident. Null where it did not say. */
  readonly processCpu: number | null
  readonly processMemoryMib: number | null
  /** Where it is in the network, as it says; null where it does not. */
  readonly coordinate: Coordinate | null
  readonly loopDelayMs: number
  /** Events of its shards that it has taken and that are not on the journal's disk yet. */
  readonly unconfirmedEvents: number
  readonly services: readonly string[]
  readonly labels: Readonly<Record<string, string>>
  readonly zone: string
  readonly region: string
  readonly version: string
  readonly incarnation: number
  readonly bootId: string
  readonly startedAtMs: number
  /** Last sign of life of its own; for this node: now. 0 for never. */
  readonly lastSeenMs: number
  /** An external node has to end what it has when this passes without another answer; null of nodes, which hold a lease. */
  readonly validForMs: number | null
  readonly missedProbes: number
  readonly rttMs: number
  readonly skewMs: number
  /** Evicted by the leader. */
  readonly evicted: boolean
}

export interface WhyView {
  readonly node: NodeView
  /** One sentence. */
  readonly summary: string
  readonly observer: NodeId
  readonly observerHealth: number
  readonly evidence: readonly Evidence[]
}

export interface LeaderView {
  readonly nodeId: NodeId
  readonly httpAddress: string
  readonly term: number
  readonly isSelf: boolean
}

export interface PeerView {
  readonly nodeId: NodeId
  readonly address: string
  readonly status: 'healthy' | 'suspected' | 'down'
  readonly lastSeenMs: number
  readonly missedProbes: number
  readonly receivedBytes: number
  readonly sentBytes: number
  readonly receivedFrames: number
  readonly sentFrames: number
  /** That wait to be sent. */
  readonly queuedBytes: number
  readonly rttMs: number
  readonly isConnected: boolean
  readonly attemptCount: number
}

export interface ShardView {
  readonly shard: ShardId
  readonly epoch: number
  readonly owner: NodeId | null
  /** Being moved to this node. */
  readonly target: NodeId | null
  readonly state: 'open' | 'moving' | 'unassigned'
}

export interface EngineHealth {
  readonly driver: string
  readonly identity: string
  readonly ok: boolean
  readonly detail: string
}

export interface ClusterStatus {
  readonly clusterName: string
  readonly node: NodeView
  readonly leader: LeaderView | null
  /** Of the last leader known, 0 if there never was one. */
  readonly term: number
  readonly isQuorumAvailable: boolean
  readonly isDegraded: boolean
  /** Others only, as DESIGN §4's table counts them. */
  readonly totalPeers: number
  readonly healthyPeers: number
  readonly suspectedPeers: number
  readonly downPeers: number
  readonly nodesByStatus: Readonly<Record<string, number>>
  readonly shardsOpen: number
  readonly shardsTotal: number
  readonly store: EngineHealth
  readonly journal: EngineHealth
  readonly leaseRemainingMs: number
  /** Peers were configured. */
  readonly isClusterMode: boolean
  readonly eventsPerSecond: number
  /** Streams that this node has stored events of, or found in the journal when it started. */
  readonly streamsSeen: number
  /** Format of what is kept in the store; rises when every node reads the next. */
  readonly formatLevel: number
  readonly dataDir: string
}

/** Something that happened, by the names of docs/EVENTS.md. */
export interface OwnershipView {
  /** The leader, which audits. */
  readonly auditor: NodeId
  /** Since it leads. */
  readonly alarms: readonly {
    readonly rule: 'two_owners' | 'not_assigned' | 'past_seal' | 'acted_after_successor'
    /** What it is about: one of the two. */
    readonly shard?: ShardId
    readonly agent?: string
    readonly epoch: number
    readonly detail: string
  }[]
  /** The last few of each shard, oldest first. `closedAtMs` 0: open, or its node is gone. `acknowledged`: its highest offset, 0 for none. */
  readonly tenures: readonly {
    readonly shard: ShardId
    readonly epoch: number
    readonly nodeId: NodeId
    readonly lease: string
    readonly openedAtMs: number
    readonly closedAtMs: number
    readonly acknowledged: number
  }[]
}

export type SampleFigure =
  | 'cpuUsage'
  | 'memoryUsage'
  | 'agents'
  | 'shardsOwned'
  | 'eventsPerSecond'
  | 'rttMs'
  | 'skewMs'
  | 'loopDelayMs'

/** How the nodes were doing over the last minutes, as this node saw them. */
export interface SamplesView {
  /** From one sample to the next. */
  readonly periodMs: number
  /** When they were taken, ascending. */
  readonly atMs: readonly number[]
  /** Each curve has a value per sample: null when the node was not up, or not known. */
  readonly nodes: readonly {
    readonly nodeId: NodeId
    readonly figures: Readonly<Record<SampleFigure, readonly (number | null)[]>>
  }[]
}

/** agents: what they do, as the leader tells it. cluster: all else. */
export type FeedTopic = 'agents' | 'cluster'

export interface FeedEvent {
  /** Rises by one per node and process; the resume position of `watch`. */
  readonly seq: number
  readonly atMs: number
  /** The node that observed it: this one. */
  readonly nodeId: NodeId
  readonly event: FeedEventName
  readonly fields: Readonly<Record<string, unknown>>
}

export interface PublishInput {
  readonly stream: string
  readonly key: string
  readonly type?: string
  /** Any JSON value. */
  readonly payload: unknown
  /** Given by the first node when absent. 1 to 256 characters. */
  readonly id?: string
}

export type PublishResult =
  | {
      readonly id: string
      readonly status: 'accepted' | 'duplicate'
      readonly shard: ShardId
      readonly offset: number
    }
  | {
      readonly id: string
      readonly status: 'rejected'
      readonly shard: ShardId
      readonly error: { readonly code: ErrorCode; readonly detail: string; readonly retryable: boolean }
    }

export interface EventView {
  readonly id: string
  readonly stream: string
  readonly key: string
  readonly type: string
  /** Parsed JSON. */
  readonly payload: unknown
  readonly shard: ShardId
  readonly epoch: Epoch | number
  readonly offset: number
  readonly hlc: string
  readonly atMs: number
}

export interface EventQuery {
  readonly stream: string
  readonly key?: string
  /** A cursor from an earlier page. */
  readonly after?: string
  /** 1 … 1000, default 100. */
  readonly limit?: number
}

export interface EventPage {
  readonly events: readonly EventView[]
  /** Absent at the end. */
  readonly nextCursor?: string
  /** Shards whose owner did not answer: what is sealed of them is included, their newest events are not. */
  readonly incomplete: readonly { readonly shard: ShardId; readonly error: string }[]
}

export interface ConsumeContext {
  readonly shard: ShardId
  readonly epoch: number
  /** Aborted as soon as this node may no longer act for the shard. */
  readonly signal: AbortSignal
}

export interface ConsumeOptions {
  /** Position is kept per group. Default: the stream's name. */
  readonly group?: string
  readonly batchMax?: number
}

/** An external node: one that runs no Skein and heartbeats over HTTP. */
export interface ExternalNodeInput {
  readonly id: string
  readonly hostname: string
  readonly ipAddress: string
  readonly port: number
  readonly maxAgents: number
  readonly services: readonly string[]
}

export interface Heartbeat {
  readonly cpuUsage: number
  readonly memoryUsage: number
  readonly diskUsage: number
  readonly loadAverage: number
}

export interface NodeOperation {
  readonly id: string
  readonly kind: 'drain' | 'cordon' | 'uncordon' | 'remove'
  readonly nodeId: NodeId
  readonly state: 'running' | 'done' | 'failed' | 'cancelled'
  readonly startedAtMs: number
  readonly deadlineMs: number
  readonly detail: string
  /** Of a drain: what is still to move. */
  readonly left: { readonly shards: number; readonly agents: number }
  /** Of a drain: what was there when it began. */
  readonly total: { readonly shards: number; readonly agents: number }
  /** Of a drain: agents that no other node could take, and why. */
  readonly blockers: readonly { readonly agent: string; readonly reason: string }[]
}

/** A call that changed something, or tried to. The names are those of the line in the audit log and of the HTTP answer. */
export interface AuditInput {
  /** Name of the token, `local` where none is needed, `anonymous` for a caller who showed none that is valid. */
  readonly who: string
  readonly role: string | null
  readonly via: string
  readonly address: string
  readonly method: string
  /** The pattern of the route, and what was asked for with it. */
  readonly route: string
  readonly target: string
  /** HTTP status of the answer, and the code of the refusal if it was one. */
  readonly status: number
  readonly code?: string
  readonly request: string
  /** So many calls of this kind since `since`; absent for one. */
  readonly count?: number
  readonly since?: string
}

export interface AuditEntry extends AuditInput {
  /** Sortable over all nodes; the cursor of `read`. */
  readonly hlc: string
  readonly at: string
  readonly node: NodeId
}

export interface AuditPage {
  /** Oldest first. */
  readonly entries: readonly AuditEntry[]
  /** Absent at the end. */
  readonly nextCursor?: string
  /** Nodes that did not answer: their entries are missing. */
  readonly incomplete: readonly { readonly nodeId: NodeId; readonly error: string }[]
}

/** One value of a metric, or one histogram: observations per bucket, not added up, and their sum. */
export type MetricSample =
  | { readonly labels?: Readonly<Record<string, string>>; readonly value: number }
  | ({ readonly labels?: Readonly<Record<string, string>> } & HistogramFigures)

export interface Metrics {
  /** Prometheus text of this process's instruments; `docs/METRICS.md` lists them. */
  text(): Promise<string>
  readonly contentType: string
  /** For who counts outside of the runtime, as HTTP does: `read` gives the values of a metric of the table. The last reader of a name counts. */
  collect(name: string, read: () => Iterable<MetricSample>): void
}

export interface SkeinNode extends AsyncDisposable, SpawnApi {
  readonly self: NodeView
  readonly members: {
    list(): readonly NodeView[]
    get(id: NodeId): NodeView | undefined
    why(id: NodeId): Promise<WhyView | undefined>
    /** Calls `onDown` once when that node fails or leaves; returns the way to stop. An unknown node is down at once. */
    monitor(id: NodeId, onDown: (node: NodeView | undefined, reason: string) => void): () => void
  }
  readonly clock: {
    /** Sortable text, greater than every one before. */
    now(): string
    readonly skewMsMax: number
    /** Remote timestamps refused so far. */
    readonly refusedCount: number
  }
  readonly events: {
    /** Resolves when durable; rejects with the event's error otherwise. */
    publish(
      stream: string,
      event: Omit<PublishInput, 'stream'>,
    ): Promise<PublishResult & { readonly status: 'accepted' | 'duplicate' }>
    /** One outcome per event, in order; never rejects for an event's sake. At most 10,000 events. */
    publishMany(
      events: readonly PublishInput[],
      options?: { readonly timeoutMs?: number },
    ): Promise<readonly PublishResult[]>
    read(query: EventQuery): Promise<EventPage>
    /** Events of the whole cluster as they are acknowledged, at most once; `onLagged` says how many were passed over. Returns the way to stop. */
    tail(
      filter: { readonly stream?: string; readonly key?: string },
      onEvent: (event: EventView) => void,
      onLagged?: (missed: number) => void,
    ): () => void
    /** Only on the shard's owner, in acknowledged order per key, at least once. */
    consume(
      stream: string,
      handler: (batch: readonly EventView[], context: ConsumeContext) => void | Promise<void>,
      options?: ConsumeOptions,
    ): { stop(): Promise<void> }
  }
  readonly agents: AgentsApi
  readonly processors: ProcessorsApi
  readonly balancer: BalancerApi
  readonly services: ServicesApi
  readonly names: NamesApi
  readonly rooms: RoomsApi
  /** Messages between the programs of nodes. Throws `conflict` for a name that is open here. */
  channel(name: string, handlers: ChannelHandlers): Channel
  /** A map that every node holds in full; needs no creation. `conflict` where it was opened with another `merge`. */
  map<V = unknown>(name: string, options?: MapOptions<V>): ReplicatedMap<V>
  readonly maps: MapsApi
  readonly config: ConfigApi
  readonly leader: {
    get(): LeaderView | null
    /** Makes this node the leader. */
    promote(): Promise<LeaderView>
    /** Gives the leadership up; `conflict` when this node does not lead. */
    stepDown(): Promise<void>
    /**
     * Runs `task` once in each term that this node leads. `signal` aborts before another can lead: when this node gives it up, leaves, or nears the end of
     * its lease unrenewed. Another that takes the lead from a living leader, promoted by an operator or because most call this one failed, does not wait
     * for that: what must not be done by two carries `term`, and lower ones are refused.
     */
    whileLeading(task: (term: number, signal: AbortSignal) => Promise<void> | void): () => void
  }
  readonly cluster: {
    status(): ClusterStatus
    peers(): readonly PeerView[]
    shards(): readonly ShardView[]
    route(key: string): {
      readonly key: string
      readonly shard: ShardId
      readonly epoch: number
      readonly owner: NodeId | null
      readonly address: string
    }
    history(limit: number, topic?: FeedTopic): readonly FeedEvent[]
    /** At most `pointsMax` samples of the last 15 minutes, evenly spread; of one node, or of all. */
    samples(pointsMax: number, nodeId?: string): SamplesView
    /** Who served which shard under which epoch, as every node reported it to the leader, and what the auditor there found wrong. */
    ownership(): Promise<OwnershipView>
    /** Who sees whom: one row per node, with the error where a node did not answer. */
    reachability(): Promise<
      readonly {
        readonly observer: NodeId
        readonly error?: string
        readonly ageMs: number
        readonly sees: readonly {
          readonly nodeId: NodeId
          readonly status: MemberStatus
          readonly rttMs: number
          readonly missedProbes: number
        }[]
      }[]
    >
    /** From `afterSeq` on if it is still kept, then live. `lost` in the first call when it is not. Returns the way to stop. */
    watch(
      afterSeq: number | undefined,
      onEvent: (event: FeedEvent) => void,
    ): { readonly lost: boolean; stop(): void }
    remove(id: NodeId): Promise<void>
    /** Shards (and later agents) leave the node; the intent survives restarts until uncordoned. */
    drain(id: NodeId, options: { readonly deadlineMs: number }): Promise<NodeOperation>
    cordon(id: NodeId): Promise<NodeOperation>
    uncordon(id: NodeId): Promise<NodeOperation>
    operations(): readonly NodeOperation[]
    cancelOperation(id: string): Promise<NodeOperation>
    registerExternal(node: ExternalNodeInput): Promise<NodeView>
    heartbeat(id: string, heartbeat: Heartbeat): Promise<void>
  }
  /** Who did what, over all nodes. HTTP writes it; a program that acts for its own users may as well. */
  readonly audit: {
    record(entry: AuditInput): void
    /** The first `limit` (at most 1000) after the cursor `after`, or the newest. */
    read(query: { readonly limit: number; readonly after?: string }): Promise<AuditPage>
  }
  readonly metrics: Metrics
  /** Drains, hands over, leaves, closes. Idempotent. */
  stop(options?: { readonly reason?: string; readonly deadlineMs?: number }): Promise<void>
  /** Resolves when the node has ended, by itself or by `stop`; `error` when it had to. */
  readonly ended: Promise<{ readonly reason: string; readonly error?: Error }>
}

/** All that a node can be told at start; `config/` makes it from flags, environment and file. */
/** One finding of `skein doctor`. */
export interface Check {
  readonly name: string
  readonly ok: boolean
  /** What was found. */
  readonly detail: string
  /** What to do about it; empty when it is well. */
  readonly fix: string
}

export interface NodeConfig {
  readonly nodeId?: string
  readonly clusterName: string
  readonly host: string
  readonly port: number
  readonly peerHost: string
  readonly peerPort: number
  /** Address that others use for `peerHost`; host or host:port. */
  readonly advertise?: string
  /** The same for all nodes. `ws`: WebSockets over HTTP, `wss`: over HTTPS that proxies end. */
  readonly transport: 'tcp' | 'ws' | 'wss'
  /** Where the control threads of nodes reach each other over TCP; 0 for a free port. */
  readonly controlPort: number
  /** Address that others use for it; host or host:port. */
  readonly advertiseControl?: string
  /** Let this node and others advertise link-local and metadata addresses. */
  readonly advertiseSpecial: boolean
  /** STREAM=URL: copy that stream to another cluster. The same on every node. */
  readonly mirror: readonly string[]
  readonly mirrorTokenFile?: string
  /** Where peers are found, again and again: dns:NAME:PORT, dns+srv:NAME, file:PATH. */
  readonly discover: readonly string[]
  readonly peers: readonly string[]
  /** Raw secret; absent: a generated 0600 file shared by the host's nodes. */
  readonly cookie?: string
  readonly cookieFile?: string
  /** Hashes of the HTTP surface's tokens, with a role and a name each. Absent: nobody needs one. */
  readonly tokenFile?: string
  /** In PEM, all three or none: connections between nodes by certificates instead of the cookie. */
  readonly tlsCa?: string
  readonly tlsCert?: string
  readonly tlsKey?: string
  /** In PEM, both or none: HTTPS instead of HTTP. Clients may show a certificate of `tlsCa` instead of a token. */
  readonly httpsCert?: string
  readonly httpsKey?: string
  readonly insecure: boolean
  /** Requests per second that one HTTP client may send, 0 for no limit, and how many at once. */
  readonly rateLimit: number
  readonly rateBurst: number
  /** Audit log of this node, all its files together. */
  readonly auditMib: number
  readonly dataDir: string
  readonly store: string
  readonly journal: string
  readonly shards: number
  readonly preset: 'local' | 'lan' | 'wan'
  readonly role: Role
  readonly services: readonly string[]
  readonly maxAgents: number
  /** Processors that it runs at a time. */
  readonly maxSpawned: number
  /** Run processes for whoever may create agents. */
  readonly allowExec: boolean
  /** Modules that define agents, or export `setup(node)`. */
  readonly load: readonly string[]
  /** Whether what runs well is moved for the sake of balance. */
  readonly rebalance: 'auto' | 'manual'
  readonly zone: string
  readonly region: string
  readonly labels: Readonly<Record<string, string>>
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error' | 'silent'
  readonly logFormat: 'json' | 'pretty'
  /** Browser origins beside the node's own that may write; Host names beside its own addresses. */
  readonly allowedOrigins: readonly string[]
  readonly allowedHosts: readonly string[]
  /** `worker`: control plane and journal in threads of their own. `inline`: all in the calling thread, for tests and many nodes in one process. */
  readonly threads: 'worker' | 'inline'
  /** Serve HTTP at all; off for many nodes in one process. */
  readonly http: boolean
  /** Rooms whose names begin so keep a history. The same on every node. */
  readonly roomHistory: readonly string[]
  /** WebSockets of `/ws` that are open at the same time. */
  readonly roomClients: number
  readonly drainDeadlineMs: number
  /** An external node without a heartbeat for so long is offline, ms. The same on every node. */
  readonly externalOfflineMs: number
  /** Events older than this may be deleted. */
  readonly retentionHours: number
  /** A stream that takes more in one journal file loses its oldest events there. */
  readonly retentionStreamMib: number
}
