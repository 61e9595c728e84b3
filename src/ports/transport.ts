/**
 * How nodes reach each other. Two shapes: datagrams (probes, gossip: may be lost, duplicated, reordered) and frames
 * (pooled connections: ordered per connection, one-way or request/reply). Both authenticated and encrypted from the cookie.
 * Contract: `src/testing/transport-contract.ts`.
 */
import type { Address, NodeId } from '../core/kernel/brand.js'

/** In PEM. The certificate names cluster and node: `URI:skein://<cluster>/node/<id>`. */
export interface Certificate {
  /** Authorities whose certificates are accepted; several while one is being changed. */
  readonly ca: string
  readonly cert: string
  readonly key: string
}

/** What membership is proved with. */
export interface TransportKeys {
  /** The first is shown, all are accepted. */
  readonly cookies: readonly Uint8Array[]
  /** Instead of the cookies, for connections; datagrams are always sealed with cookies. */
  readonly certificate?: Certificate | undefined
}

/** A driver whose keys can be changed while it runs. What was set up with a key that is no longer among them ends, in good order. */
export interface Rekeyable {
  rekey(keys: TransportKeys): void
}

export interface DatagramTransport extends AsyncDisposable {
  /** Binds; returns the address that others can send to. Throws `port_in_use`, `bad_address`. */
  open(): Promise<Address>
  /** Largest datagram that `send` takes; larger ones are counted as dropped. */
  readonly datagramBytesMax: number
  /** Never throws for a peer's sake, never queues without a limit; what cannot be sent is counted and dropped. */
  send(to: Address, datagram: Uint8Array): void
  onDatagram(handler: (datagram: Uint8Array, from: Address) => void): void
  stats(): {
    sentBytes: number
    receivedBytes: number
    sent: number
    received: number
    refused: number
    dropped: number
  }
  close(): Promise<void>
}

/** Said by both ends right after the handshake; compared by `core/wire`'s `checkHello`. */
export interface Hello {
  readonly clusterName: string
  readonly nodeId: NodeId
  readonly bootId: string
  /** Where this end accepts connections of this kind. */
  readonly address: Address
  readonly protocolMin: number
  readonly protocolMax: number
  readonly storeIdentity: string
  readonly journalIdentity: string
}

export type ConnectionEvent =
  | { readonly type: 'up'; readonly address: Address; readonly hello: Hello; readonly inbound: boolean }
  /** The connection ended without a goodbye (reset, or end of stream). */
  | {
      readonly type: 'lost'
      readonly address: Address
      readonly nodeId: NodeId
      readonly bootId: string
      readonly detail: string
    }
  /** Closed by agreement: idle, or the other end is leaving. */
  | {
      readonly type: 'closed'
      readonly address: Address
      readonly nodeId: NodeId
      readonly bootId: string
      readonly detail: string
    }
  /** A dial was refused by the operating system: nobody listens there. */
  | { readonly type: 'refused'; readonly address: Address; readonly detail: string }
  /** A dial failed in another way (time, route). */
  | { readonly type: 'unreachable'; readonly address: Address; readonly detail: string }
  /**
   * One end would not have the other: wrong cookie, cluster, store or protocol. `detail` names the difference and the fix. `inbound`: the other
   * end dialled; anybody can, and it says nothing about who is right.
   */
  | {
      readonly type: 'rejected'
      readonly address: Address
      readonly code: string
      readonly detail: string
      readonly inbound: boolean
    }

export interface PeerStats {
  readonly address: Address
  readonly connected: boolean
  readonly sentBytes: number
  readonly receivedBytes: number
  readonly sentFrames: number
  readonly receivedFrames: number
  readonly queuedBytes: number
  /** Dials since the last success. */
  readonly attemptCount: number
  /** Where the driver has a breaker. `open`: the last dial failed and the next is not due, requests fail at once; `half_open`: one dial is tried. */
  readonly circuit?: 'closed' | 'open' | 'half_open'
  /** Until the backoff ends, 0 when it has. */
  readonly retryInMs?: number
  /** Wall clock, when bytes last came; 0 for never. */
  readonly lastSeenMs: number
}

/**
 * `reply` is present for requests and must be called once, with a body or an error; later or second calls are ignored. `body` may be a view of a larger
 * buffer: copy it to keep it for long.
 */
export type FrameHandler = (frame: {
  readonly from: Hello
  readonly type: number
  readonly body: Uint8Array
  readonly reply?: (body: Uint8Array | Error) => void
}) => void

/**
 * Errors of `request`: `peer_unreachable`, `overloaded` and `closed`: certainly not delivered, may be sent elsewhere. `outcome_unknown` (the connection was
 * lost after sending), `timeout` and `aborted`: may have been carried out. An error that the other side replied arrives with its own code.
 * `send` throws and `request` rejects with `frame_too_large` for a body over 16 MiB less the header. Bodies must not be changed after the call.
 * One-way frames arrive in order, and so do requests; a request that waits for the peer's credit may be overtaken by one-way frames.
 */
export interface FrameTransport extends AsyncDisposable {
  /** Binds and accepts; returns the address to advertise. */
  open(hello: Omit<Hello, 'address'>): Promise<Address>
  /**
   * One way, at most once. `full`: the peer's queue is at its limit; `closed`: this transport is not open, or there is no connection and the last dial
   * failed a moment ago. In both cases nothing was queued. Dials if needed.
   */
  send(to: Address, type: number, body: Uint8Array): 'queued' | 'full' | 'closed'
  request(
    to: Address,
    type: number,
    body: Uint8Array,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Uint8Array>
  /** Keeps a connection open while held, idle or not, redialling with backoff: its loss is evidence. */
  keep(to: Address): void
  unkeep(to: Address): void
  /** Asks for one dial now, whatever the backoff says; the outcome comes as a ConnectionEvent. */
  redial(to: Address): void
  onFrame(handler: FrameHandler): void
  onConnection(handler: (event: ConnectionEvent) => void): void
  peers(): readonly PeerStats[]
  /** Sends a goodbye on each connection, flushes within the deadline, closes. */
  close(options?: { deadlineMs?: number }): Promise<void>
}
