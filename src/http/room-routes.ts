/** `/api/rooms` and `/api/sessions`. */
import type { Broadcasted, RoomMember, RoomMessage, SessionView, SkeinNode } from '../runtime/node-api.js'
import { notFound } from './problem.js'
import * as shapes from './room-contract.js'
import { type Route, route } from './route.js'

export function roomRoutes(node: SkeinNode): Route[] {
  return [...readRoutes(node), broadcastRoute(node), ...sessionRoutes(node)]
}

function readRoutes(node: SkeinNode): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/rooms',
      role: 'viewer',
      summary: 'Rooms with occupants, over all nodes, by name',
      query: shapes.roomListQuery,
      answers: { 200: { description: 'Rooms', schema: shapes.roomListSchema } },
      errors: ['invalid_argument'],
      handle: ({ query }) => {
        const rooms = node.rooms.list(query.prefix).slice(0, query.limit)
        return {
          body: {
            rooms: rooms.map((r) => ({
              room: r.room,
              history: r.hasHistory,
              clients: r.clients,
              nodes: r.nodes.map(({ nodeId, clients }) => ({ node_id: nodeId, clients })),
            })),
            count: rooms.length,
          },
        }
      },
    }),
    route({
      method: 'GET',
      path: '/api/rooms/{room}',
      role: 'viewer',
      summary: 'Who is in the room, over all nodes, oldest first',
      query: shapes.roomPresenceQuery,
      answers: { 200: { description: 'Presence', schema: shapes.roomPresenceSchema } },
      errors: ['invalid_argument'],
      handle: async ({ params, query }) => {
        const { room, hasHistory, clients, members, incomplete } = await node.rooms.presence(
          params.room as string,
          query.limit,
        )
        return {
          body: {
            room,
            history: hasHistory,
            clients,
            members: members.map(memberJson),
            count: members.length,
            ...(incomplete.length === 0
              ? {}
              : { incomplete: incomplete.map(({ nodeId, error }) => ({ node_id: nodeId, error })) }),
          },
        }
      },
    }),
    route({
      method: 'GET',
      path: '/api/rooms/{room}/history',
      role: 'viewer',
      summary: 'Messages of a room with history, oldest first, from any node',
      query: shapes.roomHistoryQuery,
      answers: {
        200: { description: 'A page; without next_after it is the last', schema: shapes.roomHistorySchema },
      },
      errors: ['invalid_argument', 'not_found'],
      handle: async ({ params, query }) => {
        const page = await node.rooms.history(params.room as string, query)
        return {
          body: {
            messages: page.messages.map(messageJson),
            count: page.messages.length,
            ...(page.nextAfter === undefined ? {} : { next_after: page.nextAfter }),
            ...(page.incomplete === '' ? {} : { incomplete: page.incomplete }),
          },
        }
      },
    }),
  ]
}

function broadcastRoute(node: SkeinNode): Route {
  return route({
    method: 'POST',
    path: '/api/rooms/{room}/broadcast',
    role: 'operator',
    isFrequent: true,
    summary: 'Send to all in the room; with history, answers once it is durable',
    body: shapes.roomBroadcastSchema,
    answers: { 202: { description: 'On its way', schema: shapes.broadcastedSchema } },
    errors: ['invalid_argument', 'payload_too_large', 'event_conflict', 'overloaded', 'no_owner'],
    handle: async ({ params, body }) => {
      const { data, id, except, user } = body
      const sent = await node.rooms.broadcast(params.room as string, data, {
        ...(id === undefined ? {} : { id }),
        ...(except === undefined ? {} : { except }),
        ...(user === undefined ? {} : { user }),
      })
      return { status: 202, body: broadcastedJson(sent) }
    },
  })
}

function sessionRoutes(node: SkeinNode): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/sessions',
      role: 'viewer',
      summary:
        'Sessions of clients in rooms, over all nodes; those that lost their connection for two minutes',
      query: shapes.sessionListQuery,
      answers: { 200: { description: 'Sessions, by id', schema: shapes.sessionListSchema } },
      errors: ['invalid_argument'],
      handle: ({ query }) => {
        const all = node.rooms.sessions
          .list()
          .filter((s) => query.user === undefined || s.user === query.user)
          .filter((s) => query.node === undefined || s.nodeId === query.node)
        const rest = all.filter(({ id }) => query.after === undefined || id > query.after)
        const page = rest.slice(0, query.limit)
        const last = page.at(-1)
        return {
          body: {
            sessions: page.map(sessionJson),
            count: page.length,
            total: all.length,
            ...(last !== undefined && rest.length > page.length ? { next_cursor: last.id } : {}),
          },
        }
      },
    }),
    route({
      method: 'GET',
      path: '/api/sessions/{id}',
      role: 'viewer',
      summary: 'One session',
      answers: { 200: { description: 'The session', schema: shapes.sessionSchema } },
      errors: ['not_found'],
      handle: ({ params }) => {
        const id = params.id as string
        const session = node.rooms.sessions.get(id)
        if (session === undefined) throw notFound(`Session ${JSON.stringify(id.slice(0, 64))}`)
        return { body: sessionJson(session) }
      },
    }),
  ]
}

export function broadcastedJson({ id, status, position }: Broadcasted): shapes.BroadcastedJson {
  return { id, status, position }
}

export function memberJson({ session, user, nodeId, sinceMs }: RoomMember) {
  return { session, user, node: nodeId, since: new Date(sinceMs).toISOString() }
}

function messageJson({ room, id, position, atMs, from, data }: RoomMessage): shapes.RoomMessageJson {
  const at = new Date(atMs).toISOString()
  return {
    room,
    id,
    ...(position === undefined ? {} : { position }),
    at,
    from,
    data: data as shapes.RoomMessageJson['data'],
  }
}

function sessionJson({ id, user, nodeId, isConnected, sinceMs, rooms }: SessionView): shapes.SessionJson {
  return {
    id,
    user,
    node: nodeId,
    connected: isConnected,
    since: new Date(sinceMs).toISOString(),
    rooms: [...rooms],
  }
}
