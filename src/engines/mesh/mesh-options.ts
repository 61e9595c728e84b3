/** What a mesh transport can be told. Nothing here does anything. */

import type { Certificate } from '../../ports/transport.js'
import type { Advertised } from './address.js'

/** Every limit has a default; time in ms, sizes in bytes. */
export interface MeshTransportOptions extends Advertised {
  /** Where to bind. Port 0 lets the system choose. */
  readonly host: string
  readonly port: number
  /** The first is shown when dialling, all are accepted: that is how a cookie is changed without a gap. */
  readonly cookies: readonly Uint8Array[]
  /** Instead of the cookies. */
  readonly certificate?: Certificate | undefined
  /** What may wait for one peer: over it `send` says full, `request` fails as overloaded. Default 32 MiB. */
  readonly queueBytesMax?: number
  /** Requests of one peer that may be unanswered at a time; more wait at its end. 1 to 65,535, default 1,024. */
  readonly requestsPerPeerMax?: number
  /** Their bytes. Default 8 MiB; a single larger request is let through alone. */
  readonly requestBytesPerPeerMax?: number
  /** Requests worked on at a time, over all peers. Default 4,096. */
  readonly handlersMax?: number
  /** A connection that we dialled, do not keep, and that carried nothing for so long is closed. Default 60,000. */
  readonly idleTimeoutMs?: number
  /** For the carrier’s connection and TLS, and again for the hello. Default 2,000. */
  readonly handshakeTimeoutMs?: number
  /** Default 4,096. */
  readonly connectionsMax?: number
  /** Default 1,024: many nodes may share a host. */
  readonly connectionsPerRemoteMax?: number
  /** Sustained; twice as many at once. Default 100. */
  readonly handshakesPerRemotePerSecondMax?: number
  /** What a person may want to know of: garbage on the port, limits reached. At most 5 a second of one kind. */
  readonly onNote?: (event: string, fields: Record<string, unknown>) => void
  /** For the jitter of redials: 0 up to 1. */
  readonly random?: () => number
}
