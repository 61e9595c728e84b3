/** Shapes of replicated maps and of the cluster's configuration as they cross HTTP. No behaviour here. */
import { z } from 'zod'
import { jsonSchema, schemas } from './contract.js'

function named<S extends z.ZodType>(id: string, schema: S): S {
  schemas.add(schema, { id })
  return schema
}

const count = z.int().min(0)
const time = z.string().meta({ format: 'date-time' })

const mapSummarySchema = z.object({ name: z.string(), keys: count, tombstones: count, bytes: count })
export const mapListSchema = named(
  'MapList',
  z.object({
    maps: z.array(mapSummarySchema),
    count,
    refused: count,
    conflicts: count,
    caught_up_at: time.nullable(),
  }),
)
const conflictSchema = z.object({ value: z.unknown(), hlc: z.string(), node_id: z.string() })
export const mapEntrySchema = named(
  'MapEntry',
  z.object({
    key: z.string(),
    kind: z.enum(['value', 'counter', 'set']),
    value: z.unknown(),
    hlc: z.string(),
    node_id: z.string().nullable(),
    conflicts: z.array(conflictSchema),
  }),
)
export type MapEntryJson = z.infer<typeof mapEntrySchema>
export const mapSchema = named(
  'Map',
  z.object({
    ...mapSummarySchema.shape,
    entries: z.array(mapEntrySchema),
    count,
    next_cursor: z.string().optional(),
  }),
)
export const mapQuery = z.object({
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
  after: z.string().max(1_024).optional(),
})
const elements = z.array(jsonSchema).max(1_000)
/** One of the three. */
export const mapWriteSchema = named(
  'MapWrite',
  z.union(
    [
      z.strictObject({ value: jsonSchema }),
      z.strictObject({ increment: z.number() }),
      z.strictObject({ add: elements.min(1), remove: elements.default([]) }),
      z.strictObject({ add: elements.max(0).default([]), remove: elements.min(1) }),
    ],
    { error: 'one of {value}, {increment: a number}, {add, remove: 1 to 1,000 elements each}' },
  ),
)

export const configDocumentSchema = named(
  'ConfigDocument',
  z.object({
    key: z.string(),
    version: count,
    value: z.unknown(),
    at: time,
    by: z.string(),
    note: z.string(),
  }),
)
export type ConfigDocumentJson = z.infer<typeof configDocumentSchema>
export const configListSchema = named(
  'ConfigList',
  z.object({ documents: z.array(configDocumentSchema), count, settings: z.record(z.string(), z.unknown()) }),
)
export const configHistorySchema = named(
  'ConfigHistory',
  z.object({ key: z.string(), versions: z.array(configDocumentSchema), count }),
)
const note = z.string().max(512).optional()
export const configWriteSchema = named('ConfigWrite', z.strictObject({ value: jsonSchema, note }))
export const configRollbackSchema = named('ConfigRollback', z.strictObject({ version: z.int().min(1), note }))
