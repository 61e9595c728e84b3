/**
 * The listening side: accepts TLS 1.3 on whatever the carrier brings in, and keeps strangers cheap: a deadline for the handshake,
 * limits on connections and on handshakes per remote address. What is said after the handshake is not its business.
 */

import { type AddressInfo, Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import type { Duplex } from 'node:stream'
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls'
import { formatAddress, type HostPort } from '../../core/kernel/address.js'
import type { Carrier, Door, DoorEvents } from './carrier.js'
import type { PeerProof, Proof } from './proof.js'

export interface ListenerLimits {
  readonly handshakeTimeoutMs: number
  readonly connectionsMax: number
  readonly connectionsPerRemoteMax: number
  /** Sustained; twice as many at once. */
  readonly handshakesPerRemotePerSecondMax: number
}

export interface ListenerEvents {
  accepted(socket: TLSSocket, remote: string, proof: PeerProof): void
  /** The handshake is done, and the other end proved nothing that counts: it may be told so. */
  unproved(socket: TLSSocket, remote: string): void
  /** A node with a cookie that is not ours. `nodeId` is what it claims. */
  badCookie(remote: string, nodeId: string): void
  note(event: string, fields: Record<string, unknown>): void
}

interface Remote {
  connections: number
  tokens: number
  atMs: number
}

const remotesMax = 16_384

export class Listener implements DoorEvents {
  /** Handshakes that came to nothing: garbage, wrong cookies, silence. */
  failures = 0
  /** Connections turned away by a limit. */
  turnedAway = 0
  private readonly limits: ListenerLimits
  private readonly events: ListenerEvents
  private readonly proof: Proof
  private readonly remotes = new Map<string, Remote>()
  private readonly raw = new Set<Socket>()
  /** Listens; hands on what the limits let through. */
  private readonly door: Door
  /** Never listens itself: it is given sockets. */
  private readonly tls: TlsServer
  private isClosing = false

  constructor(carrier: Carrier, proof: Proof, limits: ListenerLimits, events: ListenerEvents) {
    this.limits = limits
    this.events = events
    this.proof = proof
    this.tls = this.makeTls((socket) => ({
      host: socket.remoteAddress ?? 'unknown',
      port: socket.remotePort ?? 0,
    }))
    this.door = carrier.makeDoor(limits, this)
  }

  /** Throws `port_in_use`, `bad_address`. */
  open(host: string, port: number): Promise<AddressInfo> {
    return this.door.open(host, port)
  }

  /** From the next handshake on. */
  rekeyed(): void {
    const context = this.proof.serverContext()
    if (context !== undefined) this.tls.setSecureContext(context)
  }

  /** Accepts no more; resolves when the last accepted connection is closed. */
  close(): Promise<void> {
    this.isClosing = true
    return this.door.close()
  }

  /** Ends what is still open, in a handshake or not. */
  destroyAll(): void {
    for (const socket of this.raw) socket.destroy()
  }

  // What the door brings.

  admit(socket: Socket): boolean {
    const name = socket.remoteAddress ?? ''
    const remote = this.remote(name)
    const nowMs = performance.now()
    const rate = this.limits.handshakesPerRemotePerSecondMax
    remote.tokens = Math.min(rate * 2, remote.tokens + ((nowMs - remote.atMs) / 1_000) * rate)
    remote.atMs = nowMs
    const isFull = remote.connections >= this.limits.connectionsPerRemoteMax
    if (isFull || remote.tokens < 1 || this.isClosing) {
      if (!this.isClosing) {
        this.turnAway(name, isFull ? 'connectionsPerRemoteMax' : 'handshakesPerRemotePerSecondMax')
      }
      socket.destroy()
      return false
    }
    remote.tokens--
    remote.connections++
    this.raw.add(socket)
    socket.once('close', () => {
      remote.connections--
      this.raw.delete(socket)
    })
    return true
  }

  deliver(stream: Duplex, remote: HostPort): void {
    // On a stream that is no socket the session cannot say who its other end is: a server of its own knows.
    const tls = stream instanceof Socket ? this.tls : this.makeTls(() => remote)
    tls.emit('connection', stream)
  }

  failed(remote: HostPort, code: string, detail: string): void {
    this.failures++
    this.events.note('transport.handshake_failed', {
      remote: formatAddress(remote.host, remote.port),
      code,
      detail,
    })
  }

  dropped(): void {
    this.turnAway('', 'connectionsMax')
  }

  note(event: string, fields: Record<string, unknown>): void {
    this.events.note(event, fields)
  }

  private turnAway(remote: string, limit: string): void {
    this.turnedAway++
    this.events.note('transport.turned_away', { remote, limit })
  }

  private remote(name: string): Remote {
    let remote = this.remotes.get(name)
    if (remote === undefined) {
      if (this.remotes.size >= remotesMax) this.forgetQuiet()
      const tokens = this.limits.handshakesPerRemotePerSecondMax * 2
      remote = { connections: 0, tokens, atMs: performance.now() }
      this.remotes.set(name, remote)
    }
    return remote
  }

  private forgetQuiet(): void {
    for (const [name, remote] of this.remotes) if (remote.connections === 0) this.remotes.delete(name)
  }

  // Handshakes.

  private makeTls(remoteOf: (socket: TLSSocket) => HostPort): TlsServer {
    const tls = createTlsServer({
      ...this.proof.server(),
      handshakeTimeout: this.limits.handshakeTimeoutMs,
    })
    tls.on('secureConnection', (socket) => this.accept(socket, remoteOf(socket).host))
    tls.on('tlsClientError', (error, socket) => this.fail(error, socket, remoteOf(socket)))
    return tls
  }

  private accept(socket: TLSSocket, remote: string): void {
    const proof = this.proof.read(socket, this.proof.keyIdOf(socket))
    if (proof === undefined) {
      this.failures++
      const detail = `it proved nothing that counts here (${socket.authorizationError?.toString() ?? 'not a node of this cluster'})`
      this.events.note('transport.handshake_failed', { remote, detail })
      this.events.unproved(socket, remote)
      return
    }
    this.events.accepted(socket, remote, proof)
  }

  private fail(error: NodeJS.ErrnoException, socket: TLSSocket, remote: HostPort): void {
    const claim = this.proof.claimOf(socket)
    const code = error.code ?? ''
    socket.destroy()
    if (claim !== undefined && code.startsWith('ERR_SSL_')) {
      this.failures++
      this.events.badCookie(formatAddress(remote.host, remote.port), claim)
      return
    }
    const detail =
      code === 'ERR_SSL_HTTP_REQUEST'
        ? 'HTTP where TLS was expected: all nodes need the same --transport'
        : error.message.slice(0, 200)
    this.failed(remote, code, detail)
  }
}
