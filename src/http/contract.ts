/**
 * Every shape that crosses HTTP, as zod schemas and the types they give. Requests are checked against these, responses are
 * typed by them, `/openapi.json` is generated from them; the CLI and the dashboard import them. No behaviour here.
 */
import { z } from 'zod'
import { utf8Length } from '../core/kernel/text.js'
import { accessRoles } from '../keys/roles.js'

/** Named schemas: the components of the OpenAPI document. */
export const schemas = z.registry<{ id: string; description?: string }>()

function named<S extends z.ZodType>(id: string, schema: S): S {
  schemas.add(schema, { id })
  return schema
}

const count = z.int().min(0)
const time = z.string().meta({ format: 'date-time' })
const nullableId = z.string().nullable()

export const limits = {
  streamPattern: /^[A-Za-z0-9._-]{1,128}$/,
  streamAllowed: '1 to 128 characters of A-Z a-z 0-9 . _ -',
  keyBytesMax: 1_024,
  idCharactersMax: 256,
  typeCharactersMax: 256,
  singleBytesMax: 1_048_576,
  batchBytesMax: 5 * 1_048_576,
} as const

const nodeIdSchema = z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, '1 to 64 characters of A-Z a-z 0-9 . _ -')
const streamSchema = z.string().regex(limits.streamPattern, limits.streamAllowed)
export const keySchema = z
  .string()
  .min(1)
  .max(limits.keyBytesMax)
  .refine((key) => utf8Length(key) <= limits.keyBytesMax, `1 to ${limits.keyBytesMax} bytes of UTF-8`)

export const nodeSchema = named(
  'Node',
  z.object({
    id: z.string(),
    hostname: z.string(),
    address: z.string(),
    peer_address: z.string(),
    role: z.enum(['leader', 'worker', 'replica', 'standby']),
    status: z.enum(['online', 'offline', 'draining', 'unknown']),
    healthy: z.boolean(),
    is_leader: z.boolean(),
    lifecycle: z.enum(['joining', 'active', 'draining', 'leaving', 'left']),
    active_agents: count,
    agents: count,
    max_agents: count,
    capacity: z.number(),
    load: z.number(),
    cpu_usage: z.number(),
    memory_usage: z.number(),
    disk_usage: z.number(),
    load_average: z.number(),
    process_cpu: z.number().nullable(),
    process_memory_mib: z.number().nullable(),
    /** Round trips between two nodes: the distance of their places, and both heights and adjustments. */
    network_position: z
      .object({
        place_ms: z.array(z.number()),
        height_ms: z.number(),
        adjustment_ms: z.number(),
        error: z.number(),
      })
      .nullable(),
    services: z.array(z.string()),
    labels: z.record(z.string(), z.string()),
    zone: z.string(),
    region: z.string(),
    uptime: z.string(),
    last_seen: time.nullable(),
    last_heartbeat: time.nullable(),
    started_at: time.nullable(),
    version: z.string(),
    incarnation: count,
    boot_id: z.string(),
    stalled: z.boolean(),
    kind: z.enum(['node', 'external']),
    shards_owned: count,
    events_per_second: z.number(),
    cordoned: z.boolean(),
    observed: z.enum(['alive', 'suspect', 'failed', 'left']),
    evicted: z.boolean(),
    is_self: z.boolean(),
    missed_heartbeats: count,
    rtt_ms: z.number(),
    skew_ms: z.number(),
    loop_delay_ms: z.number(),
    unconfirmed_events: z.number().int(),
  }),
)
export type NodeJson = z.infer<typeof nodeSchema>

export const nodeListSchema = named('NodeList', z.object({ nodes: z.array(nodeSchema), count, total: count }))
export const nodeRegistrationSchema = named(
  'NodeRegistration',
  z.object({
    id: nodeIdSchema,
    hostname: z.string().min(1).max(255),
    ip_address: z.union([z.ipv4(), z.ipv6()], { error: 'an IPv4 or IPv6 address' }),
    port: z.int().min(1).max(65_535),
    max_agents: z.int().min(0).max(1_000_000).default(0),
    services: z.array(z.string().min(1).max(128)).max(256).default([]),
  }),
)
export const nodeRegisteredSchema = named(
  'NodeRegistered',
  z.object({ success: z.literal(true), node: nodeSchema }),
)
const percentage = z.number().min(0).max(100)
export const heartbeatSchema = named(
  'Heartbeat',
  z.object({
    cpu_usage: percentage.default(0),
    memory_usage: percentage.default(0),
    disk_usage: percentage.default(0),
    load_average: z.number().min(0).default(0),
  }),
)
export const identitySchema = named(
  'Identity',
  z.object({
    required: z.boolean(),
    name: z.string().nullable(),
    role: z.enum(accessRoles).nullable(),
    via: z.enum(['local', 'token', 'session', 'certificate', 'none']),
    expires_at: time.nullable(),
  }),
)
export type IdentityJson = z.infer<typeof identitySchema>
export const loginSchema = named('Login', z.object({ token: z.string().min(1).max(512) }))
const auditEntrySchema = named(
  'AuditEntry',
  z.object({
    hlc: z.string(),
    at: time,
    node: z.string(),
    who: z.string(),
    role: z.string().nullable(),
    via: z.string(),
    address: z.string(),
    method: z.string(),
    route: z.string(),
    target: z.string(),
    status: z.int(),
    code: z.string().optional(),
    request: z.string(),
    count: z.int().min(1).optional(),
    since: time.optional(),
  }),
)
export const auditSchema = named(
  'Audit',
  z.object({
    entries: z.array(auditEntrySchema),
    count,
    next_cursor: z.string().optional(),
    incomplete: z.array(z.object({ node_id: z.string(), error: z.string() })).optional(),
  }),
)
export type AuditJson = z.infer<typeof auditSchema>
export const successSchema = named('Success', z.object({ success: z.literal(true) }))

const evidenceSchema = z.object({
  at: time,
  kind: z.string(),
  observer: z.string(),
  detail: z.string(),
  observer_health: z.number(),
})
export const whySchema = named(
  'Why',
  z.object({
    node_id: z.string(),
    summary: z.string(),
    observer: z.string(),
    observer_health: z.number(),
    evidence: z.array(evidenceSchema),
    count,
    node: nodeSchema,
  }),
)
export type WhyJson = z.infer<typeof whySchema>

const durationAllowed = 'seconds as a number, or text such as 500ms, 30s, 2m, 1h'
const durationSchema = z
  .union([z.number().min(0).max(86_400), z.string().regex(/^\d{1,9}(ms|s|m|h)$/, durationAllowed)], {
    error: durationAllowed,
  })
  .meta({ description: 'Seconds, or text such as 500ms, 30s, 2m, 1h' })
export const maintenanceSchema = named(
  'Maintenance',
  z.object({ deadline: durationSchema.optional(), dry_run: z.boolean().default(false) }),
)
export const operationSchema = named(
  'Operation',
  z.object({
    id: z.string(),
    kind: z.enum(['drain', 'cordon', 'uncordon', 'remove']),
    node_id: z.string(),
    state: z.enum(['running', 'done', 'failed', 'cancelled']),
    started_at: time,
    deadline: time.nullable(),
    detail: z.string(),
    left: z.object({ shards: count, agents: count }),
    total: z.object({ shards: count, agents: count }),
    blockers: z.array(z.object({ agent: z.string(), reason: z.string() })),
  }),
)
export type OperationJson = z.infer<typeof operationSchema>
export const operationListSchema = named(
  'OperationList',
  z.object({ operations: z.array(operationSchema), count }),
)
export const dryRunSchema = named(
  'DryRun',
  z.object({
    dry_run: z.literal(true),
    node_id: z.string(),
    kind: z.string(),
    shards: z.array(z.int()),
    agents: z.array(z.string()),
    blockers: z.array(z.object({ agent: z.string(), reason: z.string() })),
    count,
  }),
)

const leaderViewSchema = z.object({ node_id: z.string(), address: z.string(), is_self: z.boolean() })
export const leaderSchema = named(
  'Leader',
  z.object({ leader: leaderViewSchema, leader_id: z.string(), leader_address: z.string(), term: count }),
)
export const promotedSchema = named(
  'Promoted',
  z.object({ success: z.literal(true), is_leader: z.boolean(), leader_id: z.string(), term: count }),
)

const engineSchema = z.object({
  driver: z.string(),
  identity: z.string(),
  ok: z.boolean(),
  detail: z.string(),
})
export const clusterStatusSchema = named(
  'ClusterStatus',
  z.object({
    cluster_name: z.string(),
    node: nodeSchema,
    leader: leaderViewSchema.nullable(),
    leader_id: nullableId,
    term: count,
    is_leader: z.boolean(),
    is_quorum_available: z.boolean(),
    is_degraded: z.boolean(),
    is_cluster_mode: z.boolean(),
    total_peers: count,
    healthy_peers: count,
    suspected_peers: count,
    down_peers: count,
    nodes_by_status: z.record(z.string(), count),
    shards_open: count,
    shards_total: count,
    store: engineSchema,
    journal: engineSchema,
    lease_remaining_ms: z.number(),
    events_per_second: z.number(),
    format_level: count,
    data_dir: z.string(),
    time,
  }),
)
export type ClusterStatusJson = z.infer<typeof clusterStatusSchema>

const peerSchema = z.object({
  server_id: z.string(),
  address: z.string(),
  status: z.enum(['healthy', 'suspected', 'down']),
  last_seen: time.nullable(),
  missed_heartbeats: count,
  bytes_received: count,
  bytes_sent: count,
  rtt_ms: z.number(),
  is_active: z.boolean(),
  attempt_count: count,
})
export const peerListSchema = named('PeerList', z.object({ peers: z.array(peerSchema), count }))

export const statsSchema = named(
  'Stats',
  z.object({
    local_node: z.string(),
    is_leader: z.boolean(),
    total_assignments: count,
    registry: z.object({
      total_nodes: count,
      healthy_nodes: count,
      online_nodes: count,
      total_agents: count,
      max_agents: count,
      utilization_pct: z.number(),
      nodes_by_role: z.record(z.string(), count),
      nodes_by_status: z.record(z.string(), count),
    }),
    balancer: z.object({ strategy: z.string(), round_robin_index: count }),
  }),
)

const shardSchema = z.object({
  shard: count,
  epoch: count,
  owner: nullableId,
  target: nullableId,
  state: z.enum(['open', 'moving', 'unassigned']),
})
export const shardListSchema = named(
  'ShardList',
  z.object({
    shards: z.array(shardSchema),
    count,
    owners: z.array(z.object({ node_id: z.string(), shards: count })),
  }),
)
export const routeSchema = named(
  'Route',
  z.object({ key: z.string(), shard: count, epoch: count, owner: nullableId, address: z.string() }),
)

export const feedEventSchema = named(
  'FeedEvent',
  z.object({
    seq: count,
    at: time,
    node_id: z.string(),
    event: z.string(),
    fields: z.record(z.string(), z.unknown()),
  }),
)
export type FeedEventJson = z.infer<typeof feedEventSchema>
export const historySchema = named('History', z.object({ events: z.array(feedEventSchema), count }))
const curve = z.array(z.number().nullable())
export const samplesSchema = named(
  'Samples',
  z.object({
    period_ms: count,
    /** Ascending. */
    times: z.array(time),
    /** A value per time; null when the node was not up, or not known. */
    nodes: z.array(
      z.object({
        node_id: z.string(),
        cpu_usage: curve,
        memory_usage: curve,
        agents: curve,
        shards_owned: curve,
        events_per_second: curve,
        rtt_ms: curve,
        skew_ms: curve,
        loop_delay_ms: curve,
      }),
    ),
    count,
  }),
)
export type SamplesJson = z.infer<typeof samplesSchema>
const snapshotSchema = named(
  'Snapshot',
  z.object({ status: clusterStatusSchema, nodes: z.array(nodeSchema), shards: z.array(shardSchema) }),
)
export type SnapshotJson = z.infer<typeof snapshotSchema>

export const reachabilitySchema = named(
  'Reachability',
  z.object({
    reachability: z.array(
      z.object({
        observer: z.string(),
        error: z.string().optional(),
        age_ms: z.number(),
        sees: z.array(
          z.object({ node_id: z.string(), status: z.string(), rtt_ms: z.number(), missed_heartbeats: count }),
        ),
      }),
    ),
    count,
  }),
)
export const ownershipSchema = named(
  'Ownership',
  z.object({
    auditor: z.string(),
    alarms: z.array(
      z.object({
        rule: z.enum(['two_owners', 'not_assigned', 'past_seal', 'acted_after_successor']),
        shard: count.optional(),
        agent: z.string().optional(),
        epoch: count,
        detail: z.string(),
      }),
    ),
    tenures: z.array(
      z.object({
        shard: count,
        epoch: count,
        node_id: z.string(),
        lease: z.string(),
        opened_at: time,
        closed_at: time.nullable(),
        acknowledged: count,
      }),
    ),
    count,
  }),
)
export const clockSchema = named(
  'Clock',
  z.object({
    now: z.string(),
    time,
    skew_ms_max: z.number(),
    refused_count: count,
    nodes: z.array(z.object({ node_id: z.string(), skew_ms: z.number() })),
    count,
  }),
)

/** Any JSON value; absent is none. */
export const jsonSchema = z.custom<unknown>((value) => value !== undefined, 'any JSON value')
export const eventInputSchema = named(
  'EventInput',
  z.strictObject({
    stream: streamSchema,
    key: keySchema,
    type: z.string().max(limits.typeCharactersMax).optional(),
    payload: jsonSchema,
    id: z.string().min(1).max(limits.idCharactersMax).optional(),
  }),
)
export const publishBodySchema = named('PublishBody', z.union([eventInputSchema, z.array(eventInputSchema)]))
export const publishResultSchema = z.object({
  id: nullableId,
  status: z.enum(['accepted', 'duplicate', 'rejected']),
  shard: count.nullable(),
  offset: count.optional(),
  error: z
    .object({
      code: z.string(),
      status: z.int(),
      detail: z.string(),
      retryable: z.boolean(),
      field: z.string().optional(),
    })
    .optional(),
})
export type PublishResultJson = z.infer<typeof publishResultSchema>
export const publishedSchema = named(
  'Published',
  z.object({ accepted: count, duplicates: count, rejected: count, results: z.array(publishResultSchema) }),
)
export type PublishedJson = z.infer<typeof publishedSchema>

const eventSchema = named(
  'Event',
  z.object({
    id: z.string(),
    stream: z.string(),
    key: z.string(),
    type: z.string(),
    payload: z.unknown(),
    shard: count,
    epoch: count,
    offset: count,
    hlc: z.string(),
    at: time,
  }),
)
export type EventJson = z.infer<typeof eventSchema>
export const eventPageSchema = named(
  'EventPage',
  z.object({
    events: z.array(eventSchema),
    count,
    next_cursor: z.string().optional(),
    incomplete: z.array(z.object({ shard: count, error: z.string() })).optional(),
  }),
)
export const tailQuerySchema = z.object({ stream: streamSchema.optional(), key: keySchema.optional() })
export const eventQuerySchema = z.object({
  stream: streamSchema,
  key: keySchema.optional(),
  after: z.string().min(1).max(65_536).optional(),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
})

export const healthSchema = named(
  'Health',
  z.object({ status: z.string(), reasons: z.array(z.string()).optional() }),
)
export const problemSchema = named(
  'Problem',
  z.looseObject({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.string(),
    retryable: z.boolean(),
  }),
)
