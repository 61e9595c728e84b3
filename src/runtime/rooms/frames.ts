/** Frames between nodes for rooms: types, and their bodies in MessagePack. What comes is checked before it is used. */
import { SkeinError } from '../../core/kernel/error.js'
import { pack, unpack } from '../mesh-frames.js'

export const roomFrames = {
  /** A message of a room without history. */
  message: 50,
  /** Messages of rooms with history, by the owner of their shard. */
  pushed: 51,
  /** Request: from now on push messages of this room; answered with where its log ends. */
  follow: 52,
  /** Where a node is in the rooms it follows. */
  check: 53,
  /** Rooms in which it is behind. */
  behind: 54,
  /** Request: who is in the room. */
  members: 55,
  /** Who came and went. */
  presence: 56,
  /** Request: the session has come here. */
  taken: 57,
} as const

export const roomsPerCheckMax = 1_000
export const membersPerAnswerMax = 10_000
const roomCharsMax = 256

/** A message as it crosses the mesh: the text of its WebSocket frame, made once. */
export interface PushedMessage {
  readonly room: string
  readonly after: number
  readonly position: number
  readonly except: readonly string[] | null
  readonly text: Uint8Array
}

export function packMessage(room: string, except: readonly string[] | null, text: Uint8Array): Uint8Array {
  return pack([room, except, text])
}

export function unpackMessage(body: Uint8Array): Omit<PushedMessage, 'after' | 'position'> {
  const value = unpack(body)
  if (!Array.isArray(value)) throw malformed('message')
  const [room, except, text] = value as unknown[]
  if (!isRoom(room) || !isExcept(except) || !(text instanceof Uint8Array)) throw malformed('message')
  return { room, except, text }
}

export function packPushed(messages: readonly PushedMessage[]): Uint8Array {
  return pack(messages.map((m) => [m.room, m.after, m.position, m.except, m.text]))
}

export function unpackPushed(body: Uint8Array): PushedMessage[] {
  return rows(body, 'pushed').map((row) => {
    const [room, after, position, except, text] = row
    if (!isRoom(room) || !isCount(after) || !isCount(position)) throw malformed('pushed')
    if (!isExcept(except) || !(text instanceof Uint8Array)) throw malformed('pushed')
    return { room, after, position, except, text }
  })
}

/** Rooms with a position each. */
export function packPlaces(places: readonly (readonly [room: string, position: number])[]): Uint8Array {
  return pack(places)
}

export function unpackPlaces(body: Uint8Array): (readonly [room: string, position: number])[] {
  const list = rows(body, 'places')
  if (list.length > roomsPerCheckMax) throw malformed('places')
  return list.map(([room, position]) => {
    if (!isRoom(room) || !isCount(position)) throw malformed('places')
    return [room, position]
  })
}

export interface MemberRow {
  readonly session: string
  readonly user: string
  readonly sinceMs: number
}

export function packMembers(clients: number, members: readonly MemberRow[]): Uint8Array {
  return pack([clients, members.map((m) => [m.session, m.user, m.sinceMs])])
}

export function unpackMembers(body: Uint8Array): { clients: number; members: MemberRow[] } {
  const value = unpack(body)
  if (!Array.isArray(value) || !isCount(value[0]) || !Array.isArray(value[1])) throw malformed('members')
  return { clients: value[0], members: membersOf(value[1]) }
}

export interface PresenceChange {
  readonly room: string
  readonly came: readonly MemberRow[]
  readonly went: readonly MemberRow[]
}

export function packPresence(changes: readonly PresenceChange[]): Uint8Array {
  const of = (list: readonly MemberRow[]) => list.map((m) => [m.session, m.user, m.sinceMs])
  return pack(changes.map(({ room, came, went }) => [room, of(came), of(went)]))
}

export function unpackPresence(body: Uint8Array): PresenceChange[] {
  return rows(body, 'presence').map(([room, came, went]) => {
    if (!isRoom(room) || !Array.isArray(came) || !Array.isArray(went)) throw malformed('presence')
    return { room, came: membersOf(came), went: membersOf(went) }
  })
}

function membersOf(list: readonly unknown[]): MemberRow[] {
  if (list.length > membersPerAnswerMax) throw malformed('members')
  return list.map((row) => {
    if (!Array.isArray(row)) throw malformed('members')
    const [session, user, sinceMs] = row as unknown[]
    if (typeof session !== 'string' || typeof user !== 'string' || !isCount(sinceMs))
      throw malformed('members')
    return { session, user, sinceMs }
  })
}

function rows(body: Uint8Array, what: string): unknown[][] {
  const value = unpack(body)
  if (!Array.isArray(value) || !value.every((row) => Array.isArray(row))) throw malformed(what)
  return value as unknown[][]
}

/** What a node says of a room in its row of the registry; a malformed one says nothing. */
export function roomRow(value: unknown): { readonly clients: number; readonly wantsPresence: boolean } {
  const [clients, wants] = Array.isArray(value) ? (value as unknown[]) : []
  return { clients: isCount(clients) ? clients : 0, wantsPresence: wants === 1 }
}

function isRoom(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && value.length <= roomCharsMax
}

function isExcept(value: unknown): value is readonly string[] | null {
  return value === null || (Array.isArray(value) && value.every((each) => typeof each === 'string'))
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

function malformed(what: string): SkeinError {
  return new SkeinError('protocol_violation', `a malformed frame of rooms: ${what}`)
}
