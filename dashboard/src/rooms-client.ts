/** Rooms and sessions: what the dashboard asks about them, and what an operator sends. Only paths and shapes of the HTTP contract. */
import type { z } from 'zod'
import type {
  BroadcastedJson,
  roomHistorySchema,
  roomListSchema,
  roomPresenceSchema,
  SessionJson,
  sessionListSchema,
} from '../../src/http/room-contract.js'
import { getJson, postJson } from './http-client.js'

export type { SessionJson }
export type RoomJson = z.infer<typeof roomListSchema>['rooms'][number]
export type PresenceJson = z.infer<typeof roomPresenceSchema>
export type SessionPage = z.infer<typeof sessionListSchema>

/** More than this is not shown, and said to be left out. */
export const roomsShownMax = 200
export const sessionsShownMax = 200
export const membersShownMax = 200
const messagesShownMax = 20

function roomPath(room: string, rest = ''): string {
  return `api/rooms/${encodeURIComponent(room)}${rest}`
}

/** One more than is shown tells that there are more. */
export async function fetchRooms(prefix: string): Promise<readonly RoomJson[]> {
  const query = new URLSearchParams({ prefix, limit: String(roomsShownMax + 1) })
  const { rooms } = await getJson<{ rooms: RoomJson[] }>(`api/rooms?${query}`)
  return rooms
}

export function fetchPresence(room: string): Promise<PresenceJson> {
  return getJson(roomPath(room, `?limit=${membersShownMax}`))
}

/** Of a room with history: some messages after a position, oldest first. */
export function fetchMessages(room: string, after: number): Promise<z.infer<typeof roomHistorySchema>> {
  return getJson(roomPath(room, `/history?after=${after}&limit=${messagesShownMax}`))
}

/** The same id sent twice is one message, where the room has a history. */
export function broadcast(room: string, data: unknown, id: string): Promise<BroadcastedJson> {
  return postJson(roomPath(room, '/broadcast'), { data, id })
}

export function fetchSessions(user: string): Promise<SessionPage> {
  const query = new URLSearchParams({
    limit: String(sessionsShownMax),
    ...(user === '' ? {} : { user }),
  })
  return getJson(`api/sessions?${query}`)
}
