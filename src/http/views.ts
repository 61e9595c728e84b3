/** The facade's views as the contract's JSON: names in snake_case, times in RFC 3339, derived figures. Pure. */
import type {
  ClusterStatus,
  EventView,
  FeedEvent,
  LeaderView,
  NodeOperation,
  NodeView,
  PeerView,
  SamplesView,
  ShardView,
  SkeinNode,
  WhyView,
} from '../runtime/node-api.js'
import type {
  ClusterStatusJson,
  EventJson,
  FeedEventJson,
  NodeJson,
  OperationJson,
  SamplesJson,
  SnapshotJson,
  WhyJson,
} from './contract.js'

/** Null for the facade's 0, which stands for never. */
function timeText(ms: number): string | null {
  return ms > 0 && ms < 8.64e15 ? new Date(ms).toISOString() : null
}

function certainTime(ms: number): string {
  return timeText(ms) ?? new Date(0).toISOString()
}

/** `2h15m30s`: hours only when there are any, and so on down to `0s`. */
export function uptimeText(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1_000))
  const h = Math.floor(seconds / 3_600)
  const m = Math.floor((seconds % 3_600) / 60)
  return `${h > 0 ? `${h}h` : ''}${h > 0 || m > 0 ? `${m}m` : ''}${seconds % 60}s`
}

const unitMs = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 } as const

/** A number is in seconds; text carries its unit and was checked by the schema. */
export function durationMs(duration: number | string): number {
  if (typeof duration === 'number') return duration * 1_000
  const unit = duration.replace(/^\d+/, '') as keyof typeof unitMs
  return Number.parseInt(duration, 10) * unitMs[unit]
}

function rounded(value: number): number {
  return Number.isFinite(value) ? Math.round(value * 100) / 100 : 0
}

export function nodeJson(node: NodeView, nowMs: number): NodeJson {
  const { agents } = node
  const used = node.maxAgents === 0 ? 0 : (agents / node.maxAgents) * 100
  const isUp = node.observed === 'alive' || node.observed === 'suspect'
  const untilMs = isUp ? nowMs : node.lastSeenMs
  const lastSeen = timeText(node.isSelf ? nowMs : node.lastSeenMs)
  return {
    id: node.id,
    hostname: node.hostname,
    address: node.httpAddress,
    peer_address: node.peerAddress,
    role: node.isLeader ? 'leader' : node.role,
    status: node.status,
    healthy: node.healthy,
    is_leader: node.isLeader,
    lifecycle: node.lifecycle,
    active_agents: agents,
    agents,
    max_agents: node.maxAgents,
    capacity: node.maxAgents === 0 ? 0 : rounded((node.maxAgents - agents) / node.maxAgents),
    load: rounded(0.4 * node.cpuUsage + 0.3 * node.memoryUsage + 0.3 * used),
    cpu_usage: rounded(node.cpuUsage),
    memory_usage: rounded(node.memoryUsage),
    disk_usage: rounded(node.diskUsage),
    load_average: rounded(node.loadAverage),
    process_cpu: node.processCpu === null ? null : rounded(node.processCpu),
    process_memory_mib: node.processMemoryMib === null ? null : rounded(node.processMemoryMib),
    network_position:
      node.coordinate === null
        ? null
        : {
            place_ms: node.coordinate.place.map(rounded),
            height_ms: rounded(node.coordinate.height),
            adjustment_ms: rounded(node.coordinate.adjustment),
            error: rounded(node.coordinate.error),
          },
    services: [...node.services],
    labels: node.labels,
    zone: node.zone,
    region: node.region,
    uptime: uptimeText(node.startedAtMs > 0 ? untilMs - node.startedAtMs : 0),
    last_seen: lastSeen,
    last_heartbeat: lastSeen,
    started_at: timeText(node.startedAtMs),
    version: node.version,
    incarnation: node.incarnation,
    boot_id: node.bootId,
    stalled: node.stalled,
    kind: node.kind,
    shards_owned: node.shardsOwned,
    events_per_second: rounded(node.eventsPerSecond),
    cordoned: node.cordoned,
    observed: node.observed,
    evicted: node.evicted,
    is_self: node.isSelf,
    missed_heartbeats: node.missedProbes,
    rtt_ms: rounded(node.rttMs),
    skew_ms: rounded(node.skewMs),
    loop_delay_ms: rounded(node.loopDelayMs),
    unconfirmed_events: node.unconfirmedEvents,
  }
}

export function nodeList(node: SkeinNode): NodeJson[] {
  const nowMs = Date.now()
  return node.members.list().map((view) => nodeJson(view, nowMs))
}

export function leaderJson(leader: LeaderView): NonNullable<ClusterStatusJson['leader']> {
  return { node_id: leader.nodeId, address: leader.httpAddress, is_self: leader.isSelf }
}

export function statusJson(status: ClusterStatus): ClusterStatusJson {
  const nowMs = Date.now()
  return {
    cluster_name: status.clusterName,
    node: nodeJson(status.node, nowMs),
    leader: status.leader === null ? null : leaderJson(status.leader),
    leader_id: status.leader?.nodeId ?? null,
    term: status.term,
    is_leader: status.leader?.isSelf ?? false,
    is_quorum_available: status.isQuorumAvailable,
    is_degraded: status.isDegraded,
    is_cluster_mode: status.isClusterMode,
    total_peers: status.totalPeers,
    healthy_peers: status.healthyPeers,
    suspected_peers: status.suspectedPeers,
    down_peers: status.downPeers,
    nodes_by_status: status.nodesByStatus,
    shards_open: status.shardsOpen,
    shards_total: status.shardsTotal,
    store: { ...status.store },
    journal: { ...status.journal },
    lease_remaining_ms: rounded(status.leaseRemainingMs),
    events_per_second: rounded(status.eventsPerSecond),
    format_level: status.formatLevel,
    data_dir: status.dataDir,
    time: certainTime(nowMs),
  }
}

export function shardJson(shard: ShardView): SnapshotJson['shards'][number] {
  return {
    shard: shard.shard,
    epoch: shard.epoch,
    owner: shard.owner,
    target: shard.target,
    state: shard.state,
  }
}

export function snapshotJson(node: SkeinNode): SnapshotJson {
  return {
    status: statusJson(node.cluster.status()),
    nodes: nodeList(node),
    shards: node.cluster.shards().map(shardJson),
  }
}

export function peerJson(peer: PeerView) {
  return {
    server_id: peer.nodeId,
    address: peer.address,
    status: peer.status,
    last_seen: timeText(peer.lastSeenMs),
    missed_heartbeats: peer.missedProbes,
    bytes_received: peer.receivedBytes,
    bytes_sent: peer.sentBytes,
    rtt_ms: rounded(peer.rttMs),
    is_active: peer.isConnected,
    attempt_count: peer.attemptCount,
  }
}

export function whyJson(why: WhyView): WhyJson {
  return {
    node_id: why.node.id,
    summary: why.summary,
    observer: why.observer,
    observer_health: why.observerHealth,
    evidence: why.evidence.map((fact) => ({
      at: certainTime(fact.atMs),
      kind: fact.kind,
      observer: fact.observer,
      detail: fact.detail,
      observer_health: fact.observerHealth,
    })),
    count: why.evidence.length,
    node: nodeJson(why.node, Date.now()),
  }
}

export function operationJson(operation: NodeOperation): OperationJson {
  return {
    id: operation.id,
    kind: operation.kind,
    node_id: operation.nodeId,
    state: operation.state,
    started_at: certainTime(operation.startedAtMs),
    deadline: timeText(operation.deadlineMs),
    detail: operation.detail,
    left: { ...operation.left },
    total: { ...operation.total },
    blockers: operation.blockers.map((b) => ({ ...b })),
  }
}

export function feedJson(event: FeedEvent): FeedEventJson {
  return {
    seq: event.seq,
    at: certainTime(event.atMs),
    node_id: event.nodeId,
    event: event.event,
    fields: event.fields,
  }
}

export function samplesJson({ periodMs, atMs, nodes }: SamplesView): SamplesJson {
  const curve = (values: readonly (number | null)[]) => values.map((v) => (v === null ? null : rounded(v)))
  return {
    period_ms: periodMs,
    times: atMs.map(certainTime),
    nodes: nodes.map(({ nodeId, figures }) => ({
      node_id: nodeId,
      cpu_usage: curve(figures.cpuUsage),
      memory_usage: curve(figures.memoryUsage),
      agents: curve(figures.agents),
      shards_owned: curve(figures.shardsOwned),
      events_per_second: curve(figures.eventsPerSecond),
      rtt_ms: curve(figures.rttMs),
      skew_ms: curve(figures.skewMs),
      loop_delay_ms: curve(figures.loopDelayMs),
    })),
    count: nodes.length,
  }
}

export function eventJson(event: EventView): EventJson {
  return {
    id: event.id,
    stream: event.stream,
    key: event.key,
    type: event.type,
    payload: event.payload,
    shard: event.shard,
    epoch: event.epoch,
    offset: event.offset,
    hlc: event.hlc,
    at: certainTime(event.atMs),
  }
}

export function statsJson(node: SkeinNode) {
  const nodes = nodeList(node)
  const maxAgents = nodes.reduce((sum, each) => sum + each.max_agents, 0)
  const totalAgents = nodes.reduce((sum, each) => sum + each.agents, 0)
  return {
    local_node: node.self.id,
    is_leader: node.leader.get()?.isSelf ?? false,
    total_assignments: totalAgents,
    registry: {
      total_nodes: nodes.length,
      healthy_nodes: nodes.filter((each) => each.healthy).length,
      online_nodes: nodes.filter((each) => each.status === 'online').length,
      total_agents: totalAgents,
      max_agents: maxAgents,
      utilization_pct: maxAgents === 0 ? 0 : rounded((totalAgents / maxAgents) * 100),
      nodes_by_role: tally(nodes.map((each) => each.role)),
      nodes_by_status: tally(nodes.map((each) => each.status)),
    },
    balancer: { strategy: node.balancer.strategy, round_robin_index: node.balancer.roundRobinIndex },
  }
}

function tally(words: readonly string[]): Record<string, number> {
  const counts = new Map<string, number>()
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1)
  return Object.fromEntries(counts)
}
