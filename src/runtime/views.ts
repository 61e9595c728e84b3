/** From what control reports to what the API shows: the status table of DESIGN §4 in one place. */
import type { NodeId } from '../core/kernel/brand.js'
import { factsOf } from '../core/membership/facts.js'
import type { ExternalRules, ExternalSeen } from '../core/node/candidates.js'
import type { MemberSnapshot } from './control-messages.js'
import type { NodeView, PeerView } from './node-api.js'

export function memberView(
  m: MemberSnapshot,
  selfId: NodeId,
  leaderId: NodeId | null,
  agents: number,
): NodeView {
  const { record, telemetry } = m
  const facts = factsOf(record)
  const isSelf = record.nodeId === selfId
  const { status, healthy } = statusOf(m)
  return {
    id: record.nodeId,
    kind: 'node',
    hostname: facts.hostname ?? '',
    httpAddress: record.httpAddress,
    peerAddress: record.peerAddress,
    role: record.role,
    isLeader: leaderId === record.nodeId,
    isSelf,
    observed: m.status,
    lifecycle: record.lifecycle,
    stalled: record.stalled,
    cordoned: record.cordoned,
    status,
    healthy,
    maxAgents: facts.max_agents ?? 0,
    agents,
    shardsOwned: telemetry.shardsOwned,
    eventsPerSecond: telemetry.eventsPerSecond,
    cpuUsage: telemetry.cpuPct,
    memoryUsage: telemetry.memoryPct,
    diskUsage: telemetry.diskPct,
    loadAverage: telemetry.loadCenti / 100,
    processCpu: telemetry.process?.cpuPct ?? null,
    processMemoryMib: telemetry.process?.memoryMib ?? null,
    coordinate: telemetry.coordinate,
    loopDelayMs: telemetry.loopDelayMs,
    unconfirmedEvents: telemetry.unconfirmedEvents,
    services: facts.services ?? [],
    labels: facts.labels ?? {},
    zone: record.zone,
    region: record.region,
    version: record.version,
    incarnation: record.incarnation,
    bootId: record.bootId,
    startedAtMs: record.startedAtMs,
    lastSeenMs: m.lastSeenMs,
    validForMs: null,
    missedProbes: m.missedProbes,
    rttMs: m.rttMs,
    skewMs: m.skewMs,
    evicted: m.evicted,
  }
}

/** DESIGN §4, first three columns. */
function statusOf(m: MemberSnapshot): { status: NodeView['status']; healthy: boolean } {
  const { lifecycle, stalled } = m.record
  if (m.status === 'failed' || m.status === 'left' || lifecycle === 'leaving' || lifecycle === 'left')
    return { status: 'offline', healthy: false }
  if (m.status === 'suspect') return { status: 'online', healthy: false }
  if (lifecycle === 'joining') return { status: 'unknown', healthy: false }
  if (lifecycle === 'draining') return { status: 'draining', healthy: true }
  return { status: 'online', healthy: !stalled }
}

export function peerStatus(view: NodeView): PeerView['status'] {
  if (view.status === 'offline') return 'down'
  return view.observed === 'suspect' ? 'suspected' : 'healthy'
}

/** `silentMs`: since its last heartbeat came, by our own clock. */
export function externalView(
  { record: e, datedMs }: ExternalSeen,
  silentMs: number,
  nowMs: number,
  agents: number,
  rules: ExternalRules,
): NodeView {
  const offline = silentMs > rules.offlineMs
  return {
    id: e.id,
    kind: 'external',
    hostname: e.hostname,
    httpAddress: `${e.ip_address}:${e.port}`,
    peerAddress: '',
    role: 'worker',
    isLeader: false,
    isSelf: false,
    observed: offline ? 'failed' : 'alive',
    lifecycle: 'active',
    stalled: false,
    cordoned: false,
    status: offline ? 'offline' : 'online',
    healthy: silentMs <= rules.unhealthyMs,
    maxAgents: e.max_agents,
    agents,
    shardsOwned: 0,
    eventsPerSecond: 0,
    cpuUsage: e.cpu_usage,
    memoryUsage: e.memory_usage,
    diskUsage: e.disk_usage,
    loadAverage: e.load_average,
    processCpu: null,
    processMemoryMib: null,
    coordinate: null,
    loopDelayMs: 0,
    unconfirmedEvents: 0,
    services: e.services,
    labels: {},
    zone: '',
    region: '',
    version: '',
    incarnation: 0,
    bootId: '',
    startedAtMs: e.registered_at_ms,
    lastSeenMs: nowMs - silentMs,
    validForMs: Math.max(0, rules.validMs - silentMs - datedMs),
    missedProbes: Math.floor(silentMs / rules.heartbeatMs),
    rttMs: 0,
    skewMs: 0,
    evicted: false,
  }
}
