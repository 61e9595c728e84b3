/**
 * What carries the bytes of a connection between two nodes: a TCP connection, or a WebSocket. Everything above is the same for all: the TLS
 * session that proves both ends, hello, frames, credit. A carrier reaches an address and accepts at one; who is there it does not know, and
 * what travels it cannot read.
 */
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ConnectionOptions, TLSSocket } from 'node:tls'
import type { HostPort } from '../../core/kernel/address.js'

export type DialFailure =
  | { readonly type: 'refused'; readonly detail: string }
  /** `wasReset`: somebody listened and went away before it said anything. */
  | { readonly type: 'unreachable'; readonly detail: string; readonly wasReset?: boolean }
  | { readonly type: 'rejected'; readonly code: string; readonly detail: string }

/** Where a dial goes. */
export interface DialTarget extends HostPort {
  /** As others name it, for messages. */
  readonly address: string
}

/** Exactly one of the two is called, once, unless the attempt is given up before. */
export interface ReachEvents {
  /** The TLS session has its socket and begins its handshake. */
  reached(socket: TLSSocket): void
  failed(failure: DialFailure): void
}

/** The listening end of a carrier, and what it hands to the listener. */
export interface DoorEvents {
  /** A connection came in. False: a limit turned it away, and it is destroyed already. */
  admit(socket: Socket): boolean
  /** A pipe on which the other end will begin a TLS session. */
  deliver(stream: Duplex, remote: HostPort): void
  /** A connection came to nothing before there was a pipe. */
  failed(remote: HostPort, code: string, detail: string): void
  /** The system had more connections than `connectionsMax`. */
  dropped(): void
  note(event: string, fields: Record<string, unknown>): void
}

export interface DoorLimits {
  readonly connectionsMax: number
  /** Until there is a pipe. */
  readonly handshakeTimeoutMs: number
}

export interface Door {
  /** Throws `port_in_use`, `bad_address`. */
  open(host: string, port: number): Promise<AddressInfo>
  /** Accepts no more; resolves when the last accepted connection is closed. */
  close(): Promise<void>
}

export interface Carrier {
  /** Begins to reach the target; `tls` is for the session on top. Returns how to give up, which is for before `reached` alone. */
  reach(target: DialTarget, tls: ConnectionOptions, events: ReachEvents): () => void
  makeDoor(limits: DoorLimits, events: DoorEvents): Door
  /** What the error of a dial means where this carrier knows better than anybody; undefined where it does not. */
  explain(address: string, error: NodeJS.ErrnoException): DialFailure | undefined
}
