/** Frames of `/ws`, and shapes of rooms and sessions as they cross HTTP. No behaviour here. */
import { z } from 'zod'
import { jsonSchema, schemas } from './contract.js'

function named<S extends z.ZodType>(id: string, schema: S): S {
  schemas.add(schema, { id })
  return schema
}

const count = z.int().min(0)
const time = z.string().meta({ format: 'date-time' })
const position = z.int().min(0)
const room = z.string().min(1).max(256)
const session = z.string().min(1).max(64)
const requestId = z.union([z.string().max(128), z.number()]).optional()
const messageId = z.string().regex(/^[\x21-\x7e]{1,64}$/, '1 to 64 visible ASCII characters')
const except = z.array(session).max(1_000)

const joinFields = {
  room,
  /** Everything after it, then what comes. */
  after: position.optional(),
  presence: z.boolean().optional(),
}

export const helloFrame = z.strictObject({
  type: z.literal('hello'),
  request_id: requestId,
  user: z.string().min(1).max(128).optional(),
  resume: z.string().max(2_048).optional(),
  rooms: z.array(z.strictObject(joinFields)).max(100).default([]),
})

export const clientFrame = z.discriminatedUnion('type', [
  helloFrame,
  z.strictObject({ type: z.literal('join'), request_id: requestId, ...joinFields }),
  z.strictObject({ type: z.literal('leave'), request_id: requestId, room }),
  z.strictObject({
    type: z.literal('broadcast'),
    request_id: requestId,
    room,
    data: jsonSchema,
    id: messageId.optional(),
    except: except.optional(),
  }),
  z.strictObject({ type: z.literal('presence'), request_id: requestId, room }),
  z.strictObject({ type: z.literal('ping'), request_id: requestId }),
])
export type ClientFrame = z.infer<typeof clientFrame>

const senderSchema = z.object({
  session: z.string().optional(),
  user: z.string().optional(),
  node: z.string().optional(),
})

const roomSchema = named(
  'Room',
  z.object({
    room: z.string(),
    history: z.boolean(),
    clients: count,
    nodes: z.array(z.object({ node_id: z.string(), clients: count })),
  }),
)
export const roomListSchema = named('RoomList', z.object({ rooms: z.array(roomSchema), count }))
export const roomListQuery = z.object({
  prefix: z.string().max(256).optional(),
  limit: z.coerce.number().int().min(1).max(10_000).default(1_000),
})

export const roomPresenceSchema = named(
  'RoomPresence',
  z.object({
    room: z.string(),
    history: z.boolean(),
    clients: count,
    members: z.array(z.object({ session: z.string(), user: z.string(), node: z.string(), since: time })),
    count,
    incomplete: z.array(z.object({ node_id: z.string(), error: z.string() })).optional(),
  }),
)
export const roomPresenceQuery = z.object({
  limit: z.coerce.number().int().min(1).max(10_000).default(1_000),
})

export const roomBroadcastSchema = named(
  'RoomBroadcast',
  z.strictObject({
    data: jsonSchema,
    id: messageId.optional(),
    except: except.optional(),
    user: z.string().min(1).max(128).optional(),
  }),
)
export const broadcastedSchema = named(
  'Broadcasted',
  z.object({
    id: z.string(),
    status: z.enum(['sent', 'accepted', 'duplicate']),
    position: position.nullable(),
  }),
)
export type BroadcastedJson = z.infer<typeof broadcastedSchema>

export const roomMessageSchema = named(
  'RoomMessage',
  z.object({
    room: z.string(),
    id: z.string(),
    position: position.optional(),
    at: time,
    from: senderSchema,
    data: jsonSchema,
  }),
)
export type RoomMessageJson = z.infer<typeof roomMessageSchema>
export const roomHistorySchema = named(
  'RoomHistory',
  z.object({
    messages: z.array(roomMessageSchema),
    count,
    next_after: position.optional(),
    incomplete: z.string().optional(),
  }),
)
export const roomHistoryQuery = z.object({
  after: z.coerce.number().int().min(0).default(0),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
})

export const sessionSchema = named(
  'Session',
  z.object({
    id: z.string(),
    user: z.string(),
    node: z.string(),
    connected: z.boolean(),
    since: time,
    rooms: z.array(z.string()),
  }),
)
export type SessionJson = z.infer<typeof sessionSchema>
export const sessionListSchema = named(
  'SessionList',
  z.object({ sessions: z.array(sessionSchema), count, total: count, next_cursor: z.string().optional() }),
)
export const sessionListQuery = z.object({
  user: z.string().max(128).optional(),
  node: z.string().max(64).optional(),
  after: z.string().max(64).optional(),
  limit: z.coerce.number().int().min(1).max(1_000).default(100),
})
