/** Shapes of processors and their runs as they cross HTTP. No behaviour here. */
import { z } from 'zod'
import { constraintsSchema } from './agent-contract.js'
import { jsonSchema, schemas } from './contract.js'

function named<S extends z.ZodType>(id: string, schema: S): S {
  schemas.add(schema, { id })
  return schema
}

const count = z.int().min(0)
const time = z.string().meta({ format: 'date-time' })
const waitMs = z.coerce.number().int().min(0).max(60_000).default(0)

export const spawnSchema = named(
  'Spawn',
  z.strictObject({
    name: z.string().min(1).max(128),
    args: jsonSchema.optional(),
    /** A strategy, or the id of a node. */
    on: z.string().min(1).max(128).optional(),
    zone: z.string().max(128).optional(),
    region: z.string().max(128).optional(),
    constraints: constraintsSchema.optional(),
    timeout_ms: z.int().min(1).max(86_400_000).optional(),
    retries: z.int().min(0).max(100).optional(),
    /** How long to wait for the end; 0 answers as soon as it runs. */
    wait_ms: z.int().min(0).max(60_000).default(0),
  }),
)

export const runStatuses = ['running', 'finished', 'failed', 'killed', 'node_down', 'unknown'] as const
const runErrorSchema = z.object({
  code: z.string(),
  detail: z.string(),
  retryable: z.boolean(),
  details: z.record(z.string(), z.unknown()),
})
export const runSchema = named(
  'ProcessorRun',
  z.object({
    id: z.string(),
    name: z.string(),
    node_id: z.string(),
    boot_id: z.string(),
    status: z.enum(runStatuses),
    detail: z.string(),
    started_by: z.string().optional(),
    started_at: time.optional(),
    is_stopping: z.boolean().optional(),
    /** Of one that helps with a stream. */
    helps: z.object({ stream: z.string(), group: z.string(), owner: z.string() }).nullable().optional(),
    /** What was no JSON is told as text or lists. */
    result: z.unknown().optional(),
    error: runErrorSchema.optional(),
  }),
)
export type RunJson = z.infer<typeof runSchema>

const streamLoadSchema = z.object({
  stream: z.string(),
  group: z.string(),
  processor: z.string(),
  node_id: z.string(),
  shards: count,
  waiting: count,
  lent: count,
  processors: count,
  helpers: z.array(z.string()),
  processed: count,
  processed_by_helpers: count,
  refused_results: count,
})
export const processorListSchema = named(
  'ProcessorList',
  z.object({
    /** By name, with the nodes that have it registered. */
    processors: z.array(
      z.object({ name: z.string(), nodes: z.array(z.string()), is_idempotent: z.boolean() }),
    ),
    count,
    running: z.array(runSchema),
    streams: z.array(streamLoadSchema),
    /** Per node; with the error where it did not answer. */
    nodes: z.array(
      z.object({
        node_id: z.string(),
        running: count,
        running_max: count,
        error: z.string().optional(),
      }),
    ),
  }),
)
export type ProcessorListJson = z.infer<typeof processorListSchema>

export const runQuery = z.object({ wait_ms: waitMs })
export const killQuery = z.object({ reason: z.string().max(1_000).default('killed') })
export const killedSchema = named(
  'ProcessorKilled',
  z.object({
    success: z.literal(true),
    /** False: it had ended before. */
    killed: z.boolean(),
  }),
)
