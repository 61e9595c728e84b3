/** Shapes of services and names as they cross HTTP. No behaviour here. */
import { z } from 'zod'
import { jsonSchema, schemas } from './contract.js'

function named<S extends z.ZodType>(id: string, schema: S): S {
  schemas.add(schema, { id })
  return schema
}

const timeoutMs = z.int().min(1).max(60_000).default(5_000)

const serviceSchema = named(
  'Service',
  z.object({
    name: z.string(),
    versions: z.array(z.string()),
    instances: z.array(
      z.object({
        node_id: z.string(),
        version: z.string(),
        zone: z.string(),
        healthy: z.boolean(),
        circuit: z
          .enum(['closed', 'open', 'half_open'])
          .meta({ description: 'As the answering node has it' }),
        in_flight: z.int().meta({ description: 'Calls of the answering node that are under way there' }),
        methods: z.array(z.object({ name: z.string(), idempotent: z.boolean(), stream: z.boolean() })),
      }),
    ),
  }),
)
export type ServiceJson = z.infer<typeof serviceSchema>
export const serviceAnswerSchema = serviceSchema
export const serviceListSchema = named(
  'ServiceList',
  z.object({ services: z.array(serviceSchema), count: z.int() }),
)

export const serviceCallSchema = named(
  'ServiceCall',
  z.strictObject({
    input: jsonSchema.optional(),
    timeout_ms: timeoutMs,
    version: z.string().max(64).optional(),
    node_id: z.string().max(64).optional(),
    key: z.string().max(512).optional(),
    prefer: z.enum(['local', 'zone', 'region', 'any']).optional(),
    retries: z.int().min(0).max(10).optional(),
    idempotent: z.boolean().optional(),
  }),
)
export const resultSchema = named('CallResult', z.object({ result: jsonSchema.nullable() }))

const nameSchema = named(
  'Name',
  z.object({
    name: z.string(),
    node_id: z.string(),
    kind: z.enum(['unique', 'well_known', 'store', 'node']),
    registered_at: z.string().meta({ description: 'Hybrid logical clock of the holder' }),
    methods: z.array(z.string()),
    successors: z.array(z.string()),
  }),
)
export type NameJson = z.infer<typeof nameSchema>
export const nameAnswerSchema = nameSchema
export const nameListSchema = named('NameList', z.object({ names: z.array(nameSchema), count: z.int() }))
export const nameQuery = z.object({ node_id: z.string().max(64).optional() })
export const nameCallSchema = named(
  'NameCall',
  z.strictObject({
    method: z.string().min(1).max(256),
    args: z.array(jsonSchema.nullable()).max(64).default([]),
    timeout_ms: timeoutMs,
  }),
)
