/** What a program is told about rooms and sessions, and what it may ask for. Types only. */
import type { NodeId } from '../../core/kernel/brand.js'

/** A client has a session and a user, a program has its node. */
export type RoomSender =
  | { readonly session: string; readonly user: string }
  | { readonly node: NodeId; readonly user?: string }

export interface RoomMessage {
  readonly room: string
  /** Given by the sender, or made for it; of a room with history a repeat within the dedupe window is stored once. */
  readonly id: string
  /** Where it stands in the room's history; absent in rooms without. Rises, with gaps. */
  readonly position?: number
  readonly atMs: number
  readonly from: RoomSender
  /** Any JSON value. */
  readonly data: unknown
}

export interface BroadcastOptions {
  /** Sessions that do not get it. */
  readonly except?: readonly string[]
  /** 1 to 64 characters. */
  readonly id?: string
  /** Shown as the sender's, for programs that speak for somebody. */
  readonly user?: string
}

export interface Broadcasted {
  readonly id: string
  /** Null in rooms without history. */
  readonly position: number | null
  /** `duplicate`: it was stored before. `sent`: without history, there is nothing more to say. */
  readonly status: 'sent' | 'accepted' | 'duplicate'
}

export interface ListenOptions {
  /** Of a room with history: everything after this position, then what comes. */
  readonly after?: number
}

export interface RoomView {
  readonly room: string
  readonly hasHistory: boolean
  readonly clients: number
  /** Those that have occupants, clients or programs. */
  readonly nodes: readonly { readonly nodeId: NodeId; readonly clients: number }[]
}

export interface RoomMember {
  readonly session: string
  readonly user: string
  readonly nodeId: NodeId
  readonly sinceMs: number
}

export interface RoomPresence {
  readonly room: string
  readonly hasHistory: boolean
  /** As the nodes say; `members` may be fewer. */
  readonly clients: number
  readonly members: readonly RoomMember[]
  /** Nodes that did not answer: their clients are missing. */
  readonly incomplete: readonly { readonly nodeId: NodeId; readonly error: string }[]
}

export interface RoomHistoryPage {
  readonly messages: readonly RoomMessage[]
  /** Absent at the end. */
  readonly nextAfter?: number
  /** Why the newest may be missing; empty when they are not. */
  readonly incomplete: string
}

export interface SessionView {
  readonly id: string
  readonly user: string
  /** Where it is connected, or was. */
  readonly nodeId: NodeId
  readonly isConnected: boolean
  /** Of this connection, or when the last one ended. */
  readonly sinceMs: number
  readonly rooms: readonly string[]
}

/** One client's way out, as `http` has it. */
export interface RoomSink {
  readonly isOpen: boolean
  /** Written, and not yet taken by the kernel. */
  readonly bufferedBytes: number
  /** A whole WebSocket frame; many clients get the same bytes, which must not be changed. */
  write(frame: Uint8Array): void
  close(code: number, reason: string): void
}

export interface HelloInput {
  /** Null: whoever the resume token names. */
  readonly user: string | null
  /** Shown when no token names anybody. */
  readonly userByDefault: string
  readonly mayBroadcast: boolean
  readonly resume?: string
  /** What the client was in, and the last position it has seen in each. */
  readonly rooms: readonly JoinInput[]
}

export interface JoinInput {
  readonly room: string
  readonly after?: number
  /** Tell it who comes and goes. */
  readonly presence?: boolean
}

export interface Joined {
  readonly room: string
  /** Everything after it comes; null in rooms without history. */
  readonly position: number | null
}

/** A connected client. Frames to it go to its sink. */
export interface RoomClient {
  readonly session: string
  readonly user: string
  join(input: JoinInput): Promise<Joined>
  leave(room: string): void
  broadcast(room: string, data: unknown, options: BroadcastOptions): Promise<Broadcasted>
  /** All that was written is out. */
  drained(): void
  /** The connection has ended. */
  closed(): void
}

export interface RoomsApi {
  /** At most once to who is there now; in rooms with history resolves once it is durable, then nobody there misses it. */
  broadcast(room: string, data: unknown, options?: BroadcastOptions): Promise<Broadcasted>
  /** Messages of the room, from whichever node, in order per sender. Returns the way to stop. */
  listen(room: string, onMessage: (message: RoomMessage) => void, options?: ListenOptions): () => void
  /** Who is there, over all nodes; at most `limit` members (default 1,000). */
  presence(room: string, limit?: number): Promise<RoomPresence>
  /** Rooms with occupants, over all nodes, by name. */
  list(prefix?: string): readonly RoomView[]
  history(
    room: string,
    query?: { readonly after?: number; readonly limit?: number },
  ): Promise<RoomHistoryPage>
  hasHistory(room: string): boolean
  sessions: {
    list(): readonly SessionView[]
    get(id: string): SessionView | undefined
  }
  /** A client has come. Frames for it go into `sink`, beginning with `hello`. Throws `forbidden` for a token of somebody else. */
  connect(sink: RoomSink, hello: HelloInput): RoomClient
}
