/** Shapes of agents, assignments and the balancer as they cross HTTP. No behaviour here. */
import { z } from 'zod'
import { strategies } from '../core/kernel/strategies.js'
import { jsonSchema, schemas } from './contract.js'

function named<S extends z.ZodType>(id: string, schema: S): S {
  schemas.add(schema, { id })
  return schema
}

const count = z.int().min(0)
const time = z.string().meta({ format: 'date-time' })
const name = z
  .string()
  .regex(
    /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/,
    '1 to 128 characters of A-Z a-z 0-9 . _ -, the first a letter or digit',
  )
const nodeId = z.string().min(1).max(64)
const text = z.string().max(65_536)

/** Hyphens are accepted. */
const strategy = z
  .string()
  .transform((given) => given.replaceAll('-', '_'))
  .pipe(z.enum(strategies))
const oneOrMany = z
  .union([z.string().max(128), z.array(z.string().max(128)).max(256)])
  .transform((v) => (Array.isArray(v) ? v : [v]))

export const constraintsSchema = named(
  'Constraints',
  z.strictObject({
    zone: oneOrMany.optional(),
    region: oneOrMany.optional(),
    role: oneOrMany.optional(),
    labels: z.record(z.string().max(128), z.string().max(256)).optional(),
    nodes: oneOrMany.optional(),
    not_nodes: oneOrMany.optional(),
  }),
)
const restartSchema = z.strictObject({
  mode: z.enum(['always', 'on_failure', 'never']).optional(),
  backoff_min_ms: z.int().min(10).max(600_000).optional(),
  backoff_max_ms: z.int().min(10).max(3_600_000).optional(),
  tries_max: z.int().min(0).max(1_000).optional(),
  window_ms: z.int().min(1_000).max(86_400_000).optional(),
})
const hookSchema = z.strictObject({
  command: z.string().min(1).max(4_096),
  args: z.array(text).max(1_024).default([]),
})

export const agentInputSchema = named(
  'AgentInput',
  z.strictObject({
    name,
    kind: name.default('process'),
    command: z.string().min(1).max(4_096).optional(),
    args: z.array(text).max(1_024).optional(),
    env: z.record(z.string().max(256), text).optional(),
    cwd: z.string().min(1).max(4_096).optional(),
    config: jsonSchema.optional(),
    strategy: strategy.optional(),
    services: z.array(z.string().min(1).max(128)).max(256).optional(),
    constraints: constraintsSchema.optional(),
    restart: z.union([z.enum(['always', 'on_failure', 'never']), restartSchema]).optional(),
    stop_grace_ms: z.int().min(0).max(600_000).optional(),
    save_hook: hookSchema.optional(),
    load_hook: hookSchema.optional(),
  }),
)
export type AgentInputJson = z.infer<typeof agentInputSchema>

export const agentStates = [
  'pending',
  'starting',
  'running',
  'migrating',
  'paused',
  'stopping',
  'stopped',
  'failed',
  'orphaned',
] as const

export const agentSchema = named(
  'Agent',
  z.object({
    name: z.string(),
    kind: z.string(),
    status: z.enum(agentStates),
    detail: z.string(),
    node_id: z.string().nullable(),
    target: z.string().nullable(),
    epoch: count,
    assigned_at: time.nullable(),
    created_at: time.nullable(),
    started_at: time.nullable(),
    placed_by: z.string(),
    strategy: z.string().nullable(),
    services: z.array(z.string()),
    constraints: z.record(z.string(), z.unknown()),
    restart: z.object({
      mode: z.string(),
      backoff_min_ms: z.number(),
      backoff_max_ms: z.number(),
      tries_max: z.number(),
      window_ms: z.number(),
    }),
    command: z.string().nullable(),
    args: z.array(z.string()),
    /** Names only: values may be secret. */
    env: z.array(z.string()),
    cwd: z.string().nullable(),
    config: z.unknown(),
    restarts: count,
    pid: count,
    calls: count,
    waiting_calls: count,
    turn_ms: z.number(),
  }),
)
export type AgentJson = z.infer<typeof agentSchema>
export const agentListSchema = named(
  'AgentList',
  z.object({ agents: z.array(agentSchema), count, total: count, next_cursor: z.string().optional() }),
)
export const agentListQuery = z.object({
  node_id: z.string().optional(),
  status: z.enum(agentStates).optional(),
  kind: z.string().optional(),
  limit: z.coerce.number().int().min(1).max(10_000).default(1_000),
  after: z.string().optional(),
})

export const migrateSchema = named(
  'Migrate',
  z.strictObject({ node_id: nodeId.optional(), to: nodeId.optional(), dry_run: z.boolean().default(false) }),
)
const scoredSchema = z.object({
  node_id: z.string(),
  score: z.number().nullable(),
  reasons: z.array(z.string()),
  agents: count,
  max_agents: count,
  load: z.number(),
})
export const explanationSchema = named(
  'AgentWhy',
  z.object({
    agent: z.string(),
    strategy: z.string(),
    node_id: z.string().nullable(),
    placed_by: z.string(),
    candidates: z.array(scoredSchema),
    count,
  }),
)
export const whyNotSchema = named(
  'AgentWhyNot',
  z.object({
    agent: z.string(),
    node_id: z.string(),
    could_run: z.boolean(),
    reasons: z.array(z.string()),
    detail: z.string(),
  }),
)
export const commandSchema = named(
  'AgentCommand',
  z.strictObject({
    command: z.enum(['pause', 'resume', 'kill', 'send_input', 'get_state', 'send_signal']),
    data: jsonSchema.optional(),
  }),
)
export const callSchema = named(
  'AgentCall',
  z.strictObject({
    method: z.string().min(1).max(128),
    args: z.array(jsonSchema).max(64).default([]),
    timeout_ms: z.int().min(1).max(60_000).default(10_000),
  }),
)
export const resultSchema = named('AgentResult', z.object({ result: z.unknown() }))
const lineSchema = z.object({
  seq: count,
  stream: z.enum(['stdout', 'stderr']),
  text: z.string(),
  at: time,
  epoch: count,
})
export const logsSchema = named(
  'AgentLogs',
  z.object({ lines: z.array(lineSchema), count, next_after: count }),
)
export const logsQuery = z.object({
  after: z.coerce.number().int().min(0).optional(),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
  /** For the first line to come, where there is none yet. */
  wait_ms: z.coerce.number().int().min(0).max(10_000).default(0),
  /** For the first line to come, where there is none yet. */
})

export const assignmentSchema = named(
  'Assignment',
  z.object({
    agent_name: z.string(),
    node_id: z.string(),
    assigned_at: time.nullable(),
    status: z.enum(agentStates),
    epoch: count,
    /** External nodes: stop it when this passes without another answer. Null for nodes, which hold a lease. */
    valid_for_ms: count.nullable(),
    kind: z.string(),
    /** Asked to hand it to this node. */
    target: z.string().nullable(),
    command: z.string().nullable(),
    args: z.array(z.string()),
    config: z.unknown(),
  }),
)
export const assignmentListSchema = named(
  'AssignmentList',
  z.object({ assignments: z.array(assignmentSchema), count }),
)
export const reportSchema = named(
  'AssignmentReport',
  z.strictObject({
    epoch: z.int().min(1),
    status: z.enum(['running', 'stopped', 'completed', 'failed']),
    detail: z.string().max(1_024).default(''),
  }),
)

export const balanceSchema = named(
  'Balance',
  z.strictObject({ strategy: z.string().optional(), dry_run: z.boolean().optional() }),
)
const moveSchema = z.object({ agent: z.string(), from: z.string(), to: z.string(), why: z.string() })
export const balancedSchema = named(
  'Balanced',
  z.object({
    success: z.literal(true),
    strategy: z.string(),
    dry_run: z.boolean().optional(),
    moves: z.array(moveSchema).optional(),
    count: count.optional(),
  }),
)
export const rebalanceSchema = named(
  'Rebalance',
  z.strictObject({
    dry_run: z.boolean().default(false),
    moves_max: z.int().min(1).max(10_000).default(100),
    strategy: strategy.optional(),
  }),
)
export const rebalancedSchema = named(
  'Rebalanced',
  z.object({ success: z.literal(true), dry_run: z.boolean(), moves: z.array(moveSchema), count }),
)
export const selectedSchema = named(
  'Selected',
  z.object({ node_id: z.string(), address: z.string(), strategy: z.string() }),
)
export const selectQuery = z.object({
  service: z.string().max(128).optional(),
  zone: z.string().max(128).optional(),
  region: z.string().max(128).optional(),
  kind: z.string().max(128).optional(),
  name: z.string().max(128).optional(),
  strategy: strategy.optional(),
})
