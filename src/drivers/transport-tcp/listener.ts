/**
 * The listening side: accepts TLS 1.3, and keeps strangers cheap: a deadline for the handshake,
 * limits on connections and on handshakes per remote address. What is said after the handshake is not its business.
 */

import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from 'node:tls'
import { formatAddress } from '../../core/kernel/address.js'
import { bindError } from './address.js'
import type { PeerProof, Proof } from './proof.js'

export interface ListenerLimits {
  readonly handshakeTimeoutMs: number
  readonly connectionsMax: number
  readonly connectionsPerRemoteMax: number
  /** Sustained; twice as many at once. */
  readonly handshakesPerRemotePerSecondMax: number
}

export interface ListenerEvents {
  accepted(socket: TLSSocket, proof: PeerProof): void
  /** The handshake is done, and the other end proved nothing that counts: it may be told so. */
  unproved(socket: TLSSocket): void
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

export class Listener {
  /** Handshakes that came to nothing: garbage, wrong cookies, silence. */
  failed = 0
  /** Connections turned away by a limit. */
  turnedAway = 0
  private readonly limits: ListenerLimits
  private readonly events: ListenerEvents
  private readonly proof: Proof
  private readonly remotes = new Map<string, Remote>()
  private readonly raw = new Set<Socket>()
  /** Listens and counts; hands what the limits let through to `tls`, which never listens itself. */
  private readonly server: Server
  private readonly tls: TlsServer
  private isClosing = false

  constructor(proof: Proof, limits: ListenerLimits, events: ListenerEvents) {
    this.limits = limits
    this.events = events
    this.proof = proof
    this.tls = createTlsServer({ ...proof.server(), handshakeTimeout: limits.handshakeTimeoutMs })
    this.tls.on('secureConnection', (socket) => this.accept(socket))
    this.tls.on('tlsClientError', (error, socket) => this.fail(error, socket))
    this.server = createServer({ noDelay: true }, (socket) => this.limit(socket))
    this.server.maxConnections = limits.connectionsMax
    this.server.on('drop', () => this.turnAway('', 'connectionsMax'))
  }

  /** Throws `port_in_use`, `bad_address`. */
  async open(host: string, port: number): Promise<AddressInfo> {
    const { server } = this
    await new Promise<void>((resolve, reject) => {
      const onError = (error: Error): void => reject(bindError(error, 'TCP', host, port))
      server.once('error', onError)
      server.listen(port, host, () => {
        server.off('error', onError)
        resolve()
      })
    })
    server.on('error', (error) => this.events.note('transport.server_error', { detail: error.message }))
    return server.address() as AddressInfo
  }

  /** From the next handshake on. */
  rekeyed(): void {
    const context = this.proof.serverContext()
    if (context !== undefined) this.tls.setSecureContext(context)
  }

  /** Accepts no more; resolves when the last accepted connection is closed. */
  close(): Promise<void> {
    this.isClosing = true
    return new Promise((resolve) => this.server.close(() => resolve()))
  }

  /** Ends what is still open, in a handshake or not. */
  destroyAll(): void {
    for (const socket of this.raw) socket.destroy()
  }

  private limit(socket: Socket): void {
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
      return
    }
    remote.tokens--
    remote.connections++
    this.raw.add(socket)
    socket.once('close', () => {
      remote.connections--
      this.raw.delete(socket)
    })
    this.tls.emit('connection', socket)
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

  private accept(socket: TLSSocket): void {
    const proof = this.proof.read(socket, this.proof.keyIdOf(socket))
    if (proof === undefined) {
      this.failed++
      const detail = `it proved nothing that counts here (${socket.authorizationError?.toString() ?? 'not a node of this cluster'})`
      this.events.note('transport.handshake_failed', { remote: socket.remoteAddress ?? '', detail })
      this.events.unproved(socket)
      return
    }
    this.events.accepted(socket, proof)
  }

  private fail(error: NodeJS.ErrnoException, socket: TLSSocket): void {
    this.failed++
    const remote = formatAddress(socket.remoteAddress ?? 'unknown', socket.remotePort ?? 0)
    const claim = this.proof.claimOf(socket)
    const code = error.code ?? ''
    socket.destroy()
    if (claim !== undefined && code.startsWith('ERR_SSL_')) {
      this.events.badCookie(remote, claim)
      return
    }
    this.events.note('transport.handshake_failed', { remote, code, detail: error.message.slice(0, 200) })
  }
}
