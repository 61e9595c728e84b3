/** What a client of `/ws` is told, and what it may ask for. Types only. */

export interface ClientOptions {
  /** Nodes to try, `host:port` or URLs; in a browser the page's own host when absent. */
  readonly addresses?: readonly string[]
  /** Learn of other nodes from the one that answers. Default true; false behind a load balancer. */
  readonly discover?: boolean
  readonly token?: string
  /** Who this is, where the token may speak for others. */
  readonly user?: string
  /** Of an earlier client, from its `resumeToken`. It is in that session's rooms again, from where the cluster had noted it. */
  readonly resume?: string
  /** To be in from the beginning; of rooms with history from the last position that was seen. */
  readonly rooms?: readonly ({ readonly room: string } & JoinOptions)[]
  /** Between two tries: grows from the least to the most. Default 100 and 5,000. */
  readonly backoffMinMs?: number
  readonly backoffMaxMs?: number
  /** For an answer, however often the connection is lost meanwhile. Default 30,000. */
  readonly requestTimeoutMs?: number
  /** Without any sign of life after which the connection is given up. Default 10,000. */
  readonly silenceMs?: number
  /** Instead of the global one, or of `ws` in Node.js before 22. */
  readonly WebSocket?: WebSocketConstructor
}

export interface Sender {
  readonly session?: string
  readonly user?: string
  /** A program on that node, or whoever called that node. */
  readonly node?: string
}

export interface Message<T = unknown> {
  readonly room: string
  readonly id: string
  /** In rooms with history: pass the last one as `after` to go on from there. */
  readonly position?: number
  /** RFC 3339. */
  readonly at: string
  readonly from: Sender
  readonly data: T
}

export interface Member {
  readonly session: string
  readonly user: string
  readonly node: string
  readonly since: string
}

export interface PresenceChange {
  readonly room: string
  readonly count: number
  /** All that are there, once; then who comes and goes. At most 1,000 of each. */
  readonly members?: readonly Member[]
  readonly joined?: readonly Member[]
  readonly left?: readonly Member[]
}

export interface Connected {
  readonly session: string
  readonly user: string
  readonly node: string
  readonly address: string
  /** The session went on. */
  readonly resumed: boolean
}

export interface Problem {
  readonly code: string
  readonly detail: string
  readonly retryable?: boolean
}

export interface ClientEvents {
  connected: Connected
  /** It will come back by itself, unless `final`. */
  disconnected: { readonly address: string; readonly reason: string; readonly final: boolean }
  message: Message
  presence: PresenceChange
  /** Read too slowly: messages of rooms without history were passed over. */
  lagged: { readonly missed: number }
  /** The node is going; the client goes on at `target`. */
  migrate: { readonly reason: string; readonly target: string }
  error: Problem & { readonly room?: string }
}

export interface Broadcasted {
  readonly id: string
  readonly status: 'sent' | 'accepted' | 'duplicate'
  readonly position: number | null
}

export interface JoinOptions {
  /** In a room with history: everything after this position. */
  readonly after?: number
  readonly presence?: boolean
}

/** The part of a WebSocket that is used; the browser's and that of `ws` have it. */
export interface WebSocketLike {
  readonly readyState: number
  send(text: string): void
  close(code?: number, reason?: string): void
  onopen: ((event: never) => void) | null
  onmessage: ((event: never) => void) | null
  onclose: ((event: never) => void) | null
  onerror: ((event: never) => void) | null
}

export type WebSocketConstructor = new (url: string, protocols?: string[]) => WebSocketLike
