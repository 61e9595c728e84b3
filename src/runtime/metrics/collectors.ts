/** Where the values of each metric come from. The compiler sees to it that none of the table is forgotten. */
import type { HistogramFigures } from '../../core/kernel/histogram.js'
import type { AgentFigures } from '../agents/agents.js'
import type { ControlFigures } from '../control-messages.js'
import type { Instruments } from '../instruments.js'
import type { ClusterStatus, MapsApi, MetricSample, NodeView, PeerView, ShardView } from '../node-api.js'
import type { ProcessingFigures } from '../processing/processing.js'
import type { RoomFigures } from '../rooms/rooms.js'
import type { ServiceFigures } from '../services/services.js'
import type { ReadSamples } from './exposition.js'
import type { OperationFigures } from './operation-meter.js'
import { registryKinds } from './program-metrics.js'
import type { MetricName } from './table.js'

/** What the node tells when it is asked. */
export interface InstrumentSources {
  readonly version: string
  readonly leaseTtlMs: number
  readonly runningMax: number
  /** How much later than it should a sample of the loop's delay may say it was, ms: its own interval. */
  readonly loopResolutionMs: number
  status(): ClusterStatus
  members(): readonly NodeView[]
  peers(): readonly PeerView[]
  shards(): readonly ShardView[]
  membershipHealth(): number
  control(): ControlFigures | undefined
  journalBytes(): number
  eventsWaiting(): number
  eventsUnconfirmed(): number
  tails(): { readonly listenerCount: number; readonly missed: number }
  consumers(): readonly { readonly group: string; readonly lag: number; readonly failures: number }[]
  mirrors(): readonly { readonly target: string; readonly stream: string; lagMs(nowMs: number): number }[]
  dropped(): Readonly<Record<'full' | 'closed', number>>
  strangers(): { readonly failed: number; readonly turnedAway: number }
  clockRefused(): number
  config(): { readonly version: number; readonly documents: number }
  operationsRunning(): number
  agents(isLeader: boolean): AgentFigures
  services(): ServiceFigures
  /** Keys of a kind in the registry. */
  registrySize(kind: string): number
  namesHeld(): number
  processing(): ProcessingFigures
  rooms(): RoomFigures
  /** By level. */
  logLines(): Readonly<Record<string, number>>
  /** Of certificates, wall clock, ms. */
  expiries(): readonly { readonly certificate: string; readonly atMs: number }[]
  /** There is somebody to compare maps with. */
  hasPeers(): boolean
  maps(): ReturnType<MapsApi['stats']> & { readonly keys: number; readonly tombstones: number }
}

/** These are HTTP's to tell. */
type HttpMetric = Extract<MetricName, `skein_http_${string}` | 'skein_ws_connections'>

type Collectors = Readonly<Record<Exclude<MetricName, HttpMetric>, ReadSamples>>

export function collectorsOf(own: Instruments, sources: InstrumentSources): Collectors {
  return {
    ...clusterCollectors(own, sources),
    ...peerCollectors(sources),
    ...engineCollectors(own, sources),
    ...eventCollectors(own, sources),
    ...programCollectors(own, sources),
    ...roomCollectors(sources),
    ...processCollectors(own, sources),
  }
}

function clusterCollectors({ counts, takeover }: Instruments, sources: InstrumentSources) {
  const { status } = sources
  return {
    skein_build_info: () => [{ labels: { version: sources.version, node: process.version }, value: 1 }],
    skein_nodes: () => by('status', Object.entries(status().nodesByStatus)),
    skein_members_stalled: () =>
      one(sources.members().filter((m) => m.stalled && m.observed === 'alive').length),
    skein_degraded: () => flag(status().isDegraded),
    skein_leader: () => flag(isLeader(sources)),
    skein_leader_term: () => one(status().term),
    skein_leader_changes_total: () => one(counts.leaderChanges),
    skein_suspicions_total: () => counted('outcome', ['suspected', 'refuted', 'failed'], counts.suspicions),
    skein_membership_health: () => one(sources.membershipHealth()),
    skein_format_level: () => one(status().formatLevel),
    skein_config_version: () => one(sources.config().version),
    skein_config_documents: () => one(sources.config().documents),
    skein_operations_running: () => one(sources.operationsRunning()),
    skein_lease_remaining_seconds: () => one(status().leaseRemainingMs / 1_000),
    skein_lease_ttl_seconds: () => one(sources.leaseTtlMs / 1_000),
    skein_leases_lost_total: () => one(counts.leasesLost),
    skein_ownership_alarms_total: () => one(counts.ownershipAlarms),
    skein_evictions_total: () => one(counts.evictions),
    skein_shards: () => {
      const states = { open: 0, moving: 0, unassigned: 0 }
      for (const { state } of sources.shards()) states[state]++
      return by('state', Object.entries(states))
    },
    skein_shards_owned: () => one(status().node.shardsOwned),
    skein_shards_opened_total: () => one(counts.shardsOpened),
    skein_shards_closed_total: () => one(counts.shardsClosed),
    skein_shard_takeover_seconds: () => [takeover.figures()],
  }
}

function peerCollectors(sources: InstrumentSources) {
  const perPeer = (read: (peer: PeerView) => number) => (): MetricSample[] =>
    sources.peers().map((p) => ({ labels: { peer: p.nodeId }, value: read(p) }))
  const perDirection = (read: (peer: PeerView) => readonly [received: number, sent: number]) => () =>
    sources.peers().flatMap((p): MetricSample[] => {
      const [received, sent] = read(p)
      return [
        { labels: { peer: p.nodeId, direction: 'received' }, value: received },
        { labels: { peer: p.nodeId, direction: 'sent' }, value: sent },
      ]
    })
  const datagrams = () => sources.control()?.datagrams
  return {
    skein_peer_up: perPeer((p) => (p.status === 'healthy' ? 1 : 0)),
    skein_peer_rtt_seconds: perPeer((p) => p.rttMs / 1_000),
    skein_clock_skew_seconds: () =>
      sources
        .members()
        .flatMap((m) =>
          m.isSelf || m.kind !== 'node' ? [] : [{ labels: { peer: m.id }, value: m.skewMs / 1_000 }],
        ),
    skein_clock_refused_total: () => one(sources.clockRefused()),
    skein_peer_bytes_total: perDirection((p) => [p.receivedBytes, p.sentBytes]),
    skein_peer_frames_total: perDirection((p) => [p.receivedFrames, p.sentFrames]),
    skein_peer_queue_bytes: perPeer((p) => p.queuedBytes),
    skein_peer_dials: perPeer((p) => p.attemptCount),
    skein_mesh_dropped_total: () => by('reason', Object.entries(sources.dropped())),
    skein_datagrams_total: () => {
      const { sent = 0, received = 0, refused = 0, dropped = 0 } = datagrams() ?? {}
      return by('outcome', Object.entries({ sent, received, refused, dropped }))
    },
    skein_datagram_bytes_total: () => {
      const { receivedBytes = 0, sentBytes = 0 } = datagrams() ?? {}
      return by('direction', Object.entries({ received: receivedBytes, sent: sentBytes }))
    },
    skein_certificate_expires_timestamp_seconds: () =>
      sources
        .expiries()
        .map(({ certificate, atMs }) => ({ labels: { certificate }, value: Math.floor(atMs / 1_000) })),
    skein_strangers_total: () => {
      const { failed, turnedAway } = sources.strangers()
      return by('outcome', Object.entries({ failed, turned_away: turnedAway }))
    },
  }
}

function engineCollectors({ journal }: Instruments, sources: InstrumentSources) {
  const store = (): readonly OperationFigures[] => sources.control()?.store ?? []
  return {
    skein_store_up: () => flag(sources.status().store.ok),
    skein_journal_up: () => flag(sources.status().journal.ok),
    skein_store_seconds: () => durations(store()),
    skein_store_failures_total: () => failures(store()),
    skein_journal_bytes: () => one(sources.journalBytes()),
    skein_journal_seconds: () => durations(journal.figures()),
    skein_journal_failures_total: () => failures(journal.figures()),
  }
}

function eventCollectors({ counts, append, mirrored }: Instruments, sources: InstrumentSources) {
  return {
    skein_events_total: () => counted('outcome', ['accepted', 'duplicate', 'rejected'], counts.events),
    skein_events_rejected_total: () => by('code', counts.rejected),
    skein_event_append_seconds: () => [append.figures()],
    skein_events_unconfirmed: () => one(sources.eventsUnconfirmed()),
    skein_events_waiting: () => one(sources.eventsWaiting()),
    skein_forwards_total: () => counted('outcome', ['ok', 'unreachable', 'unknown'], counts.forwards),
    skein_tail_listeners: () => one(sources.tails().listenerCount),
    skein_tail_missed_total: () => one(sources.tails().missed),
    skein_consumer_lag_events: () =>
      sources.consumers().map((c) => ({ labels: { group: c.group }, value: c.lag })),
    skein_consumer_failures_total: () =>
      sources.consumers().map((c) => ({ labels: { group: c.group }, value: c.failures })),
    skein_mirror_lag_seconds: () => {
      const nowMs = Date.now()
      return sources
        .mirrors()
        .map((m) => ({ labels: { target: m.target, stream: m.stream }, value: m.lagMs(nowMs) / 1_000 }))
    },
    skein_mirror_events_total: () => [
      // Each outcome from the start on: a rate needs a first value.
      ...sources.mirrors().flatMap(({ target, stream }) =>
        ['stored', 'duplicate', 'refused'].map((outcome) => ({
          labels: { target, stream, outcome },
          value: 0,
        })),
      ),
      ...[...mirrored.values()].map(({ labels, events }) => ({ labels, value: events })),
    ],
  }
}

function programCollectors({ counts, adoption }: Instruments, sources: InstrumentSources) {
  const { services, processing } = sources
  const agents = (): AgentFigures => sources.agents(isLeader(sources))
  const perGroup = (read: (load: ProcessingFigures['streams'][number]) => number) => (): MetricSample[] =>
    processing().streams.map((load) => ({ labels: { group: load.group }, value: read(load) }))
  return {
    skein_agents: () => by('state', agents().states),
    skein_agent_calls_waiting: () => one(agents().waitingCalls),
    skein_agent_restarts: () => one(agents().restarts),
    skein_agent_placements_total: () => by('decision', counts.placements),
    skein_agent_adoption_seconds: () => [adoption.figures()],
    skein_service_calls_total: () =>
      services().calls.flatMap(([service, { outcomes }]) =>
        Object.entries(outcomes).map(([outcome, value]) => ({ labels: { service, outcome }, value })),
      ),
    skein_service_call_seconds: () =>
      services().calls.map(([service, meter]) => ({ labels: { service }, ...meter.figures() })),
    skein_service_calls_in_flight: () => {
      const { asked, served } = services()
      return by('side', Object.entries({ asked, served }))
    },
    skein_service_refused_total: () => one(services().refused),
    skein_service_breakers: () => by('state', Object.entries(services().breakers)),
    skein_registry_rows: () =>
      registryKinds.map((kind) => ({ labels: { kind }, value: sources.registrySize(kind) })),
    skein_names_held: () => one(sources.namesHeld()),
    skein_processor_runs: () => one(processing().running),
    skein_processor_runs_max: () => one(sources.runningMax),
    skein_processor_ends_total: () => by('outcome', Object.entries(processing().ends)),
    skein_processor_waiting_events: perGroup((l) => l.waiting),
    skein_processor_lent_events: perGroup((l) => l.lent),
    skein_processor_helpers: perGroup((l) => l.helpers.length),
    skein_processor_events_total: () => {
      const { processed, processedByHelpers } = processing()
      return by('by', Object.entries({ owner: processed - processedByHelpers, helper: processedByHelpers }))
    },
  }
}

function roomCollectors({ rooms, maps, hasPeers }: InstrumentSources) {
  return {
    skein_rooms: () => one(rooms().rooms),
    skein_room_occupants: () => {
      const { clientPlaces, programPlaces } = rooms()
      return by('kind', Object.entries({ client: clientPlaces, program: programPlaces }))
    },
    skein_room_clients: () => one(rooms().clients),
    skein_sessions: () => by('state', Object.entries(rooms().sessions)),
    skein_room_messages_total: () => {
      const { plain, kept } = rooms()
      return by('kind', Object.entries({ plain, kept }))
    },
    skein_room_deliveries_total: () => one(rooms().delivered),
    skein_room_missed_total: () => one(rooms().missed),
    skein_room_slow_clients_total: () => one(rooms().slow),
    skein_room_reads_total: () => one(rooms().reads),
    skein_map_keys: () => one(maps().keys),
    skein_map_tombstones: () => one(maps().tombstones),
    skein_map_bytes: () => one(maps().bytes),
    skein_map_conflicts_total: () => one(maps().conflictCount),
    skein_map_refused_total: () => one(maps().refusedCount),
    skein_map_pulls_total: () => one(maps().pullCount),
    skein_map_caught_up_seconds: () => {
      const { caughtUpAtMs } = maps()
      const isComparing = caughtUpAtMs > 0 && hasPeers()
      return one(isComparing ? Math.max(0, Date.now() - caughtUpAtMs) / 1_000 : 0)
    },
  }
}

function processCollectors(own: Instruments, sources: InstrumentSources) {
  const self = (): NodeView => sources.status().node
  // Once: a value that goes to and fro by a rounding would look like restarts.
  const startedAtSeconds = Math.round(Date.now() / 1_000 - process.uptime())
  return {
    skein_eventloop_delay_p99_seconds: () => {
      // The histogram counts its own interval with every delay.
      const delayMs = own.loopDelay.percentile(99) / 1e6 - sources.loopResolutionMs
      own.loopDelay.reset()
      return one(Number.isFinite(delayMs) ? Math.max(0, delayMs) / 1_000 : 0)
    },
    skein_log_lines_total: () => by('level', Object.entries(sources.logLines())),
    skein_host_cpu_ratio: () => one(self().cpuUsage / 100),
    skein_host_memory_ratio: () => one(self().memoryUsage / 100),
    skein_host_disk_ratio: () => one(self().diskUsage / 100),
    process_cpu_seconds_total: () => {
      const { user, system } = process.cpuUsage()
      return one((user + system) / 1e6)
    },
    process_start_time_seconds: () => one(startedAtSeconds),
    process_resident_memory_bytes: () => one(process.memoryUsage.rss()),
    process_open_fds: () => (own.descriptors === undefined ? [] : one(own.descriptors.open)),
    process_max_fds: () => (own.descriptors === undefined ? [] : one(own.descriptors.max)),
    nodejs_heap_size_used_bytes: () => one(process.memoryUsage().heapUsed),
    nodejs_heap_size_total_bytes: () => one(process.memoryUsage().heapTotal),
    nodejs_external_memory_bytes: () => one(process.memoryUsage().external),
    nodejs_gc_duration_seconds: () =>
      [...own.garbage.histograms()].map(([kind, h]) => ({ labels: { kind }, ...h.figures() })),
  }
}

function isLeader(sources: InstrumentSources): boolean {
  return sources.status().leader?.isSelf === true
}

function one(value: number): MetricSample[] {
  return [{ value }]
}

function flag(isSet: boolean): MetricSample[] {
  return one(isSet ? 1 : 0)
}

function by(label: string, counts: Iterable<readonly [string, number]>): MetricSample[] {
  return [...counts].map(([name, value]) => ({ labels: { [label]: name }, value }))
}

/** Each of these, also before it is counted for the first time: a rate needs a first value. */
function counted(
  label: string,
  names: readonly string[],
  counts: ReadonlyMap<string, number>,
): MetricSample[] {
  return by(
    label,
    names.map((name) => [name, counts.get(name) ?? 0] as const),
  )
}

function durations(operations: readonly OperationFigures[]): (MetricSample & HistogramFigures)[] {
  return operations.map(({ operation, seconds }) => ({ labels: { operation }, ...seconds }))
}

function failures(operations: readonly OperationFigures[]): MetricSample[] {
  return operations.map(({ operation, failures }) => ({ labels: { operation }, value: failures }))
}
