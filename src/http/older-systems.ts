/**
 * Shapes that users of the older systems already call, kept as they were. Nothing new is offered here, and nothing else
 * in this folder knows of them.
 */
import { statfs } from 'node:fs/promises'
import { availableParallelism, hostname, platform, release, totalmem } from 'node:os'
import { z } from 'zod'
import type { NodeView, SkeinNode } from '../runtime/node-api.js'
import { limits, publishedSchema, publishResultSchema } from './contract.js'
import { type CheckedEvent, checkEvent } from './event-input.js'
import { isPlainObject, member, parseJson, requireUtf8 } from './json-input.js'
import { invalid, notFound } from './problem.js'
import { type Publisher, refusalOfAll } from './publish.js'
import { type Route, route, type SocketRoute, socketRoute } from './route.js'

const statusPeriodMs = 1_000
const anyBody = z.unknown()

const figures = {
  cpu_usage: z.number(),
  memory_used: z.number().nullable(),
  disk_used: z.number().nullable(),
  document_count: z.number().nullable(),
  collections_count: z.number().nullable(),
}
const shapes = {
  nodes: z.array(
    z.object({
      node_id: z.string(),
      http_addr: z.string(),
      grpc_addr: z.string(),
      status: z.enum(['active', 'inactive', 'diverged']),
      last_seen: z.number().int(),
    }),
  ),
  status: z.object({
    node_id: z.string(),
    status: z.enum(['standalone', 'cluster-connecting', 'cluster-ready', 'cluster']),
    replication_port: z.number().int(),
    current_sequence: z.number(),
    log_entries: z.number(),
    data_dir: z.string(),
    peers: z.array(
      z.object({
        address: z.string(),
        is_connected: z.boolean(),
        last_seen_secs_ago: z.number().int().nullable(),
        replication_lag: z.number(),
        stats: z.object(figures),
      }),
    ),
    stats: z.object(figures),
  }),
  info: z.object({
    node_id: z.string(),
    is_cluster_mode: z.boolean(),
    cluster_config: z.object({
      node_id: z.string(),
      peers: z.array(z.string()),
      replication_port: z.number().int(),
    }),
    cpu_usage: z.number(),
    memory_usage: z.number(),
    memory_total: z.number(),
    uptime: z.number().int(),
    os_name: z.string(),
    os_version: z.string(),
    hostname: z.string(),
    num_cpus: z.number().int(),
  }),
  health: z.object({ status: z.literal('ok'), timestamp: z.string() }),
  removed: z.object({
    success: z.literal(true),
    status: z.literal('ok'),
    node_id: z.string(),
    node_address: z.string(),
  }),
  accepted: z.object({ status: z.literal('accepted') }),
  acceptedMany: z.object({
    status: z.literal('accepted'),
    rejected: z.number().int().optional(),
    results: z.array(publishResultSchema).optional(),
  }),
  traces: z.object({
    partialSuccess: z.object({
      rejectedSpans: z.number().int().optional(),
      errorMessage: z.string().optional(),
    }),
  }),
} as const

export function olderRoutes(node: SkeinNode, publisher: Publisher): Route[] {
  return [...clusterShapes(node), ...ingestShapes(publisher), otlpShape(publisher)]
}

export function olderSockets(node: SkeinNode): SocketRoute[] {
  return [
    socketRoute({
      path: '/_api/cluster/status/ws',
      role: 'viewer',
      summary: 'The body of /_api/cluster/status, every second',
      open: (socket) => {
        const send = async () => {
          const text = JSON.stringify(await oldStatus(node))
          if (socket.readyState === socket.OPEN && socket.bufferedAmount === 0) socket.send(text)
        }
        const timer = setInterval(() => void send().catch(() => socket.terminate()), statusPeriodMs)
        socket.on('close', () => clearInterval(timer))
        void send().catch(() => socket.terminate())
      },
    }),
  ]
}

function clusterShapes(node: SkeinNode): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/nodes',
      role: 'viewer',
      summary: 'Nodes as a bare array',
      answers: { 200: { description: 'last_seen in seconds', schema: shapes.nodes } },
      handle: () => ({
        body: node.members.list().map((each) => ({
          node_id: each.id,
          http_addr: each.httpAddress,
          grpc_addr: each.peerAddress,
          status: oldNodeStatus(each),
          last_seen: Math.floor((each.isSelf ? Date.now() : each.lastSeenMs) / 1_000),
        })),
      }),
    }),
    route({
      method: 'GET',
      path: '/_api/cluster/status',
      role: 'viewer',
      summary: 'State of the database node',
      answers: { 200: { description: 'With its peers', schema: shapes.status } },
      handle: async () => ({ body: await oldStatus(node) }),
    }),
    route({
      method: 'GET',
      path: '/_api/cluster/info',
      role: 'viewer',
      summary: 'The node and its machine',
      answers: { 200: { description: 'With figures of the machine', schema: shapes.info } },
      handle: () => ({ body: oldInfo(node) }),
    }),
    route({
      method: 'GET',
      path: '/_api/health',
      role: 'public',
      summary: 'The process answers',
      answers: { 200: { description: 'Alive', schema: shapes.health } },
      handle: () => ({ body: { status: 'ok', timestamp: new Date().toISOString() } }),
    }),
    route({
      method: 'POST',
      path: '/_api/cluster/remove-node',
      role: 'admin',
      summary: 'Remove the node at an address',
      body: z.object({ node_address: z.string().min(1).max(300) }),
      answers: { 200: { description: 'Removed', schema: shapes.removed } },
      errors: ['invalid_argument', 'not_found', 'conflict'],
      handle: async ({ body }) => {
        const wanted = body.node_address
        const found = node.members
          .list()
          .find((each) => [each.httpAddress, each.peerAddress, each.id].includes(wanted))
        if (found === undefined) throw notFound(`Node ${wanted}`)
        await node.cluster.remove(found.id)
        return { body: { success: true, status: 'ok', node_id: found.id, node_address: wanted } }
      },
    }),
  ]
}

function oldNodeStatus(node: NodeView): 'active' | 'inactive' | 'diverged' {
  if (node.observed === 'failed') return node.evicted ? 'diverged' : 'inactive'
  const isGone = node.observed === 'left' || (node.observed === 'alive' && node.status === 'offline')
  return isGone ? 'inactive' : 'active'
}

async function oldStatus(node: SkeinNode) {
  const status = node.cluster.status()
  const peers = node.cluster.peers()
  const byId = new Map(node.members.list().map((each) => [each.id, each]))
  const written = await eventsWritten(node)
  return {
    node_id: node.self.id,
    status: oldClusterStatus(status.isClusterMode, status.totalPeers, status.healthyPeers),
    replication_port: portOf(node.self.peerAddress),
    current_sequence: written,
    log_entries: written,
    data_dir: status.dataDir,
    peers: peers.map((peer) => ({
      address: peer.address,
      is_connected: peer.isConnected,
      last_seen_secs_ago:
        peer.lastSeenMs > 0 ? Math.max(0, Math.floor((Date.now() - peer.lastSeenMs) / 1_000)) : null,
      replication_lag: byId.get(peer.nodeId)?.unconfirmedEvents ?? 0,
      stats: {
        cpu_usage: byId.get(peer.nodeId)?.cpuUsage ?? 0,
        memory_used: null,
        disk_used: null,
        document_count: null,
        collections_count: null,
      },
    })),
    stats: {
      cpu_usage: node.self.cpuUsage,
      memory_used: process.memoryUsage.rss(),
      disk_used: await diskUsed(status.dataDir),
      document_count: written,
      collections_count: status.streamsSeen,
    },
  }
}

function oldClusterStatus(isClusterMode: boolean, total: number, healthy: number): string {
  if (total === 0) return isClusterMode ? 'cluster-connecting' : 'standalone'
  return healthy === 0 ? 'cluster-ready' : 'cluster'
}

/** Events this process took since it started, from its own counter. */
async function eventsWritten(node: SkeinNode): Promise<number> {
  const found = /^skein_events_total\{[^}]*outcome="accepted"[^}]*\} (\S+)/m.exec(await node.metrics.text())
  return found === null ? 0 : Number(found[1])
}

async function diskUsed(directory: string): Promise<number> {
  const found = await statfs(directory).catch(() => undefined)
  return found === undefined ? 0 : (found.blocks - found.bfree) * found.bsize
}

function portOf(address: string): number {
  return Number(address.slice(address.lastIndexOf(':') + 1))
}

function oldInfo(node: SkeinNode) {
  const port = portOf(node.self.peerAddress)
  return {
    node_id: node.self.id,
    is_cluster_mode: node.cluster.status().isClusterMode,
    cluster_config: {
      node_id: node.self.id,
      peers: node.cluster.peers().map((peer) => peer.address),
      replication_port: port,
    },
    cpu_usage: node.self.cpuUsage,
    memory_usage: process.memoryUsage.rss(),
    memory_total: totalmem(),
    uptime: Math.floor((Date.now() - node.self.startedAtMs) / 1_000),
    os_name: platform(),
    os_version: release(),
    hostname: hostname(),
    num_cpus: availableParallelism(),
  }
}

function ingestShapes(publisher: Publisher): Route[] {
  const take = async (bytes: Buffer, many: 'only' | 'also' | 'never', stream: string, keyField: string) => {
    requireUtf8(bytes)
    const value = parseJson(bytes)
    const isArray = Array.isArray(value)
    if (isArray ? many === 'never' : many === 'only')
      throw invalid('body', value, isArray ? 'an object' : 'an array')
    const events = (isArray ? value : [value]).map((each) => keyed(each, stream, keyField))
    const published = await publisher.publish(events, bytes.length)
    const refusal = refusalOfAll(published, events)
    if (refusal !== undefined) throw refusal
    return published
  }
  return [
    route({
      method: 'POST',
      path: '/api/ingest',
      role: 'operator',
      isFrequent: true,
      summary: 'Trace events, one or an array; the key is trace_id, the stream ingest',
      body: anyBody,
      bodyIsRaw: true,
      bodyBytesMax: limits.batchBytesMax,
      answers: { 200: { description: 'Durable', schema: publishedSchema } },
      errors: ['event_conflict', 'overloaded', 'no_owner'],
      handle: async ({ bytes }) => ({ body: await take(bytes, 'also', 'ingest', 'trace_id') }),
    }),
    route({
      method: 'POST',
      path: '/api/v1/events',
      role: 'operator',
      isFrequent: true,
      summary: 'One event; the key is project_id, the stream events',
      body: anyBody,
      bodyIsRaw: true,
      answers: { 202: { description: 'Durable', schema: shapes.accepted } },
      errors: ['event_conflict', 'overloaded', 'no_owner'],
      handle: async ({ bytes }) => {
        await take(bytes, 'never', 'events', 'project_id')
        return { status: 202, body: { status: 'accepted' } }
      },
    }),
    route({
      method: 'POST',
      path: '/api/v1/events/bulk',
      role: 'operator',
      isFrequent: true,
      summary: 'An array of events',
      body: anyBody,
      bodyIsRaw: true,
      bodyBytesMax: limits.batchBytesMax,
      answers: {
        202: { description: 'rejected and results when some were not taken', schema: shapes.acceptedMany },
      },
      errors: ['event_conflict', 'overloaded', 'no_owner'],
      handle: async ({ bytes }) => {
        const { rejected, results } = await take(bytes, 'only', 'events', 'project_id')
        return { status: 202, body: { status: 'accepted', ...(rejected === 0 ? {} : { rejected, results }) } }
      },
    }),
  ]
}

/** The whole object is the payload; a number is taken as a key by its digits. */
function keyed(value: unknown, stream: string, keyField: string): CheckedEvent {
  if (!isPlainObject(value))
    return { problem: invalid('event', value, `an object with ${keyField}`), id: null }
  const given = member(value, keyField)
  const key = typeof given === 'number' ? String(given) : given
  const id = member(value, 'event_id') ?? member(value, 'id')
  const type = member(value, 'type') ?? member(value, 'event_type')
  const checked = checkEvent({
    stream,
    key,
    payload: value,
    ...(typeof id === 'string' && id !== '' ? { id } : {}),
    ...(typeof type === 'string' ? { type } : {}),
  })
  if (checked.problem === undefined || checked.problem.details.field !== 'key') return checked
  const allowed = `text of 1 to ${limits.keyBytesMax} bytes of UTF-8`
  return { id: checked.id, problem: invalid(keyField, given, allowed) }
}

const otlpBody = z.looseObject({
  resourceSpans: z
    .array(
      z.looseObject({
        resource: z.unknown().optional(),
        scopeSpans: z
          .array(z.looseObject({ scope: z.unknown().optional(), spans: z.array(z.unknown()).default([]) }))
          .default([]),
      }),
    )
    .default([]),
})

/** OTLP/JSON traces: stream `traces`, key = traceId, id = span id. */
function otlpShape(publisher: Publisher): Route {
  return route({
    method: 'POST',
    path: '/v1/traces',
    role: 'operator',
    isFrequent: true,
    summary: 'OTLP/JSON traces',
    body: otlpBody,
    bodyBytesMax: limits.batchBytesMax,
    answers: {
      200: { description: 'partialSuccess is empty when every span was taken', schema: shapes.traces },
    },
    errors: ['overloaded', 'no_owner'],
    handle: async ({ body, bytes }) => {
      const events = body.resourceSpans.flatMap(({ resource, scopeSpans }) =>
        scopeSpans.flatMap(({ scope, spans }) => spans.map((span) => spanEvent(span, resource, scope))),
      )
      const { rejected, results } = await publisher.publish(events, bytes.length)
      const repeatable = results.findIndex((result) => result.error?.retryable === true)
      if (repeatable !== -1) {
        // Exporters never repeat a partial success. Span ids make it safe to repeat all, so they are asked to.
        const only = results[repeatable]
        const refusal = only && refusalOfAll({ accepted: 0, duplicates: 0, rejected: 1, results: [only] }, [])
        if (refusal !== undefined) throw refusal
      }
      const first = results.find((result) => result.error !== undefined)?.error
      return {
        body: {
          partialSuccess:
            rejected === 0 ? {} : { rejectedSpans: rejected, errorMessage: first?.detail ?? '' },
        },
      }
    },
  })
}

function spanEvent(span: unknown, resource: unknown, scope: unknown): CheckedEvent {
  if (!isPlainObject(span)) return { problem: invalid('span', span, 'an object'), id: null }
  return checkEvent({
    stream: 'traces',
    key: member(span, 'traceId'),
    id: member(span, 'spanId') ?? '',
    type: 'span',
    payload: { resource: resource ?? null, scope: scope ?? null, span },
  })
}
