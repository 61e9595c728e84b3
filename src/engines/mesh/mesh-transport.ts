/**
 * Pooled connections between nodes: TLS 1.3 with a key from the cookie or with certificates (mutual authentication and
 * forward secrecy from OpenSSL), one connection per pair of nodes, dialled when needed, kept where asked, redialled with jittered backoff. A
 * lost connection is redialled at once: "lost", then "refused", is the fastest evidence that a process is gone.
 *
 * This file is the port's face and the switchboard between listener, dials, peers and connections. How bytes travel is
 * `connection.ts`, when to dial is `peer.ts`; what frames mean to the cluster must not live here.
 */
import { performance } from 'node:perf_hooks'
import type { TLSSocket } from 'node:tls'
import { parseAddress } from '../../core/kernel/address.js'
import type { Address } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import { NoteLimiter } from '../../core/kernel/note-limiter.js'
import { frameBodyBytesMax } from '../../core/wire/frame.js'
import type {
  ConnectionEvent,
  FrameHandler,
  FrameTransport,
  Hello,
  PeerStats,
  Rekeyable,
  TransportKeys,
} from '../../ports/transport.js'
import { boundAddress } from './address.js'
import type { Carrier } from './carrier.js'
import { Connection, type ConnectionOwner } from './connection.js'
import { dial, explain } from './dial.js'
import { type Credit, decodeGreeting, decodeRefusal } from './greeting.js'
import { HandlerGate } from './handler-gate.js'
import { judgeHello } from './judge-hello.js'
import { Listener } from './listener.js'
import type { MeshTransportOptions } from './mesh-options.js'
import { type Peer, type Pool, unreachable } from './peer.js'
import { PeerTable } from './peer-table.js'
import { DeadlineWheel, PendingRequest } from './pending-request.js'
import { makeProof, type PeerProof, type Proof } from './proof.js'

const sweepMs = 1_000
/** A peer that nobody used for so long is forgotten, with its counters. */
const forgetMs = 600_000
/** For the other end to agree to a retirement, and for a peer that answers nothing any more. */
const stuckMs = 10_000
const defaultCloseMs = 1_000
const nothingProved: PeerProof = { keyId: '' }

export class MeshTransport implements FrameTransport, Rekeyable, ConnectionOwner, Pool {
  readonly gate: HandlerGate
  readonly credit: Credit
  readonly queueBytesMax: number
  readonly random: () => number
  frameHandler: FrameHandler = () => undefined
  isClosing = false
  private readonly options: MeshTransportOptions
  private readonly carrier: Carrier
  private readonly proof: Proof
  private readonly table: PeerTable
  private readonly connections = new Set<Connection>()
  private readonly dials = new Set<() => void>()
  private readonly wheel = new DeadlineWheel()
  private readonly notes = new NoteLimiter(() => performance.now())
  private readonly listener: Listener
  private hello: Hello | undefined
  private sweeper: NodeJS.Timeout | undefined
  private connectionHandler: (event: ConnectionEvent) => void = () => undefined

  /** Throws `bad_cookie` without a cookie. */
  constructor(options: MeshTransportOptions, carrier: Carrier) {
    this.options = options
    this.carrier = carrier
    this.proof = makeProof(() => this.hello?.clusterName ?? '', options)
    this.table = new PeerTable(this)
    this.gate = new HandlerGate(options.handlersMax ?? 4_096)
    this.credit = {
      requestsMax: options.requestsPerPeerMax ?? 1_024,
      requestBytesMax: options.requestBytesPerPeerMax ?? 8 * 1024 * 1024,
    }
    this.queueBytesMax = options.queueBytesMax ?? 32 * 1024 * 1024
    this.random = options.random ?? Math.random
    this.listener = new Listener(
      carrier,
      this.proof,
      {
        handshakeTimeoutMs: this.handshakeTimeoutMs,
        connectionsMax: options.connectionsMax ?? 4_096,
        connectionsPerRemoteMax: options.connectionsPerRemoteMax ?? 1_024,
        handshakesPerRemotePerSecondMax: options.handshakesPerRemotePerSecondMax ?? 100,
      },
      {
        accepted: (socket, remote, proof) => this.accept(socket, remote, proof),
        unproved: (socket, remote) => this.refuseStranger(socket, remote),
        badCookie: (remote, nodeId) => this.badCookie(remote, nodeId),
        note: (event, fields) => this.note(event, fields),
      },
    )
  }

  async open(hello: Omit<Hello, 'address'>): Promise<Address> {
    const { host, port } = this.options
    const address = boundAddress(await this.listener.open(host, port), this.options)
    this.hello = { ...hello, address }
    this.sweeper = setInterval(() => this.sweep(), sweepMs)
    this.sweeper.unref()
    return address
  }

  rekey(keys: TransportKeys): void {
    this.proof.rekey(keys)
    this.listener.rekeyed()
    this.retireUnproved()
  }

  /** Those whose cookie was dropped, whose certificate is over, or whose authority is not trusted any more. */
  private retireUnproved(): void {
    for (const connection of this.connections) {
      if (this.proof.isStillGood(connection.proof)) continue
      const { hello } = connection
      if (hello === undefined) connection.destroy('what it proved itself with does not count any more')
      else this.table.get(hello.address)?.retire(connection)
    }
  }

  send(to: Address, type: number, body: Uint8Array): 'queued' | 'full' | 'closed' {
    if (this.hello === undefined || this.isClosing) return 'closed'
    checkSize(body)
    const peer = this.table.find(to)
    if (peer === undefined) return 'full'
    peer.lastUsedMs = performance.now()
    if (peer.queuedBytes + body.length > this.queueBytesMax) return 'full'
    if (peer.connection !== undefined) peer.connection.oneWay(type, body)
    else if (peer.dial(false)) peer.waitOneWay(type, body)
    else return 'closed'
    return 'queued'
  }

  request(
    to: Address,
    type: number,
    body: Uint8Array,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const peer = this.table.find(to)
      const refusal = this.whyNotSent(to, peer, body, options.signal)
      if (peer === undefined || refusal !== undefined) {
        reject(refusal)
        return
      }
      const request = new PendingRequest(this.wheel, type, body, options.timeoutMs, resolve, reject)
      if (options.signal !== undefined) request.watch(options.signal)
      peer.lastUsedMs = performance.now()
      if (peer.connection !== undefined) peer.connection.request(request)
      else if (peer.dial(false)) peer.waitRequest(request)
      else request.fail(unreachable(to, 'the last dial failed a moment ago', peer.retryInMs))
    })
  }

  private whyNotSent(
    to: Address,
    peer: Peer | undefined,
    body: Uint8Array,
    signal: AbortSignal | undefined,
  ): SkeinError | undefined {
    if (this.hello === undefined || this.isClosing) {
      return new SkeinError('closed', 'this transport is not open; the request was not sent')
    }
    if (signal?.aborted === true) {
      return new SkeinError('aborted', 'the caller gave the request up before it was sent', {
        cause: signal.reason,
      })
    }
    if (body.length > frameBodyBytesMax) return tooLarge(body)
    const queuedBytes = peer?.queuedBytes ?? Number.POSITIVE_INFINITY
    if (queuedBytes + body.length <= this.queueBytesMax) return undefined
    const detail = peer === undefined ? 'too many peers are known' : `${queuedBytes} bytes wait for ${to}`
    return new SkeinError('overloaded', `${detail}; the request was not sent`, {
      retryable: true,
      details: { address: to, queued_bytes: peer === undefined ? 0 : queuedBytes },
    })
  }

  keep(to: Address): void {
    const peer = this.table.find(to)
    if (peer === undefined || this.hello === undefined) return
    peer.keptBy.add(to)
    if (!this.isClosing) peer.dial(true)
  }

  unkeep(to: Address): void {
    for (const peer of this.table.all()) {
      if (peer.keptBy.delete(to)) peer.lastUsedMs = performance.now()
    }
  }

  redial(to: Address): void {
    if (this.hello !== undefined && !this.isClosing) this.table.find(to)?.dial(true)
  }

  onFrame(handler: FrameHandler): void {
    this.frameHandler = handler
  }

  onConnection(handler: (event: ConnectionEvent) => void): void {
    this.connectionHandler = handler
  }

  /** Undefined until it is open. */
  get ownAddress(): Address | undefined {
    return this.hello?.address
  }

  /** What waits for that peer, 0 for one that is not known. */
  queuedBytes(to: Address): number {
    return this.table.known(to)?.queuedBytes ?? 0
  }

  peers(): readonly PeerStats[] {
    return this.table.stats(this.connections)
  }

  /** What strangers did: handshakes that failed, connections turned away by a limit. */
  strangers(): { readonly failed: number; readonly turnedAway: number } {
    const { failures, turnedAway } = this.listener
    return { failed: failures, turnedAway }
  }

  async close(options: { deadlineMs?: number } = {}): Promise<void> {
    if (this.isClosing) return
    this.isClosing = true
    const deadlineMs = options.deadlineMs ?? defaultCloseMs
    clearInterval(this.sweeper)
    for (const giveUp of this.dials) giveUp()
    for (const peer of this.table.all()) {
      peer.stop()
      peer.failWaiting(() => new SkeinError('closed', 'this node is closing; the request was not sent'))
    }
    const isClosed = this.hello === undefined ? Promise.resolve() : this.listener.close()
    await this.handlersDone(performance.now() + deadlineMs / 2)
    for (const connection of this.connections) connection.goodbye('the node is closing')
    const timer = setTimeout(() => this.destroyAll(), deadlineMs / 2)
    for (const connection of this.connections)
      if (connection.hello === undefined) connection.destroy('closing')
    await isClosed
    clearTimeout(timer)
    this.destroyAll()
    this.wheel.stop()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** Those at work get a chance to answer. */
  private async handlersDone(untilMs: number): Promise<void> {
    while (this.gate.running > 0 && performance.now() < untilMs) {
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }

  private destroyAll(): void {
    this.listener.destroyAll()
    for (const connection of this.connections) connection.destroy('the node is closing')
  }

  // Pool: what peers ask for.

  get nodeId(): string {
    return this.hello?.nodeId ?? ''
  }

  beginDial(peer: Peer): object {
    const giveUp = dial(
      {
        address: peer.address,
        carrier: this.carrier,
        proof: this.proof,
        nodeId: this.nodeId,
        timeoutMs: this.handshakeTimeoutMs,
      },
      (result) => {
        this.dials.delete(giveUp)
        if ('type' in result) peer.dialFailed(result)
        else peer.dialling = this.adoptSocket(result.socket, peer.address, peer.address, result.proof)
      },
    )
    this.dials.add(giveUp)
    return giveUp
  }

  emit(event: ConnectionEvent): void {
    if (!this.isClosing) this.connectionHandler(event)
  }

  // Handshakes.

  private accept(socket: TLSSocket, remote: string, proof: PeerProof): void {
    if (this.isClosing) socket.destroy()
    else this.adoptSocket(socket, '', remote, proof)
  }

  /** Node closes such a connection without a word, and whoever dialled would guess for long. */
  private refuseStranger(socket: TLSSocket, remote: string): void {
    const { code, advice } = this.proof.rejection
    const connection = new Connection(socket, '', remote, nothingProved, this)
    this.connections.add(connection)
    connection.refuse({
      code,
      detail: `${this.nodeId} does not accept what this node proves itself with; ${advice}`,
    })
  }

  private adoptSocket(socket: TLSSocket, dialled: Address, remote: string, proof: PeerProof): Connection {
    const connection = new Connection(socket, dialled, remote, proof, this)
    this.connections.add(connection)
    if (dialled !== '') connection.greet(this.hello as Hello)
    const timer = setTimeout(() => {
      if (connection.hello === undefined) connection.destroy('no hello in time')
    }, this.handshakeTimeoutMs)
    socket.once('close', () => clearTimeout(timer))
    return connection
  }

  takeHello(connection: Connection, body: Uint8Array): void {
    const greeting = decodeGreeting(body)
    if (greeting === undefined || parseAddress(greeting.hello.address) === undefined) {
      this.note('transport.violation', { remote: connection.remote, detail: 'a hello that cannot be read' })
      connection.destroy('a hello that cannot be read')
      return
    }
    const ours = this.hello as Hello
    const theirs = greeting.hello
    const refusal = judgeHello(ours, theirs, connection.proof)
    if (refusal !== undefined) {
      const { forThem, forUs } = refusal
      connection.refuse(forThem)
      if (forUs !== 'self') this.rejected(connection, theirs.address, forUs.code, forUs.detail)
      return
    }
    if (connection.isInbound) connection.greet(ours)
    connection.open(theirs, greeting.credit)
    this.settle(connection, theirs)
  }

  takeRefusal(connection: Connection, body: Uint8Array): void {
    const { code, detail } = decodeRefusal(body)
    if (code === 'self') this.diallerOf(connection)?.dialFailed({ type: 'self', detail })
    else this.rejected(connection, connection.hello?.address ?? connection.remote, code, detail)
  }

  private rejected(connection: Connection, address: Address, code: string, detail: string): void {
    const dialler = this.diallerOf(connection)
    if (dialler !== undefined) dialler.dialFailed({ type: 'rejected', code, detail })
    else this.emit({ type: 'rejected', address, code, detail, inbound: connection.isInbound })
  }

  private badCookie(remote: string, nodeId: string): void {
    const who = nodeId === '' ? 'a node' : `a node that calls itself "${nodeId}"`
    const detail = `${who} at ${remote} has another cookie; ${this.proof.rejection.advice}`
    this.emit({ type: 'rejected', address: remote, code: 'bad_cookie', detail, inbound: true })
  }

  /** The peer whose dial this connection is, as long as it is undecided. */
  private diallerOf(connection: Connection): Peer | undefined {
    const peer = this.table.get(connection.dialled)
    return peer?.dialling === connection ? peer : undefined
  }

  private settle(connection: Connection, hello: Hello): void {
    const dialler = this.diallerOf(connection)
    const peer = this.table.ensure(hello.address)
    if (peer === undefined) {
      const detail = 'too many peers are known'
      dialler?.dialFailed({ type: 'unreachable', detail })
      connection.destroy(detail)
      return
    }
    if (dialler !== undefined) {
      dialler.dialling = undefined
      if (dialler !== peer) this.table.merge(dialler, peer)
    }
    peer.adopt(connection)
  }

  takeRetire(connection: Connection): void {
    if (connection.hello !== undefined) this.table.get(connection.hello.address)?.retire(connection)
  }

  closed(connection: Connection, detail: string, unsent: PendingRequest[]): void {
    this.connections.delete(connection)
    const { hello } = connection
    if (hello === undefined) {
      const { dialled, closeError } = connection
      this.diallerOf(connection)?.dialFailed(
        closeError === undefined
          ? { type: 'unreachable', detail: `${dialled}: ${detail}` }
          : explain(dialled, closeError, this.carrier, this.proof),
      )
      return
    }
    const peer = this.table.get(hello.address)
    if (peer === undefined) {
      for (const request of unsent) request.fail(unreachable(hello.address, detail))
      return
    }
    peer.connectionClosed(connection, detail, unsent)
    if (peer.connection === undefined) this.table.forgetAliases(peer)
  }

  note(event: string, fields: Record<string, unknown>): void {
    this.notes.note(event, fields, (shown) => this.options.onNote?.(event, shown))
  }

  // Upkeep.

  private sweep(): void {
    const nowMs = performance.now()
    this.retireUnproved()
    for (const connection of this.connections) {
      connection.trim()
      const isUnanswered = connection.retireSentAtMs > 0 && !connection.retireReceived
      if (isUnanswered && nowMs - connection.retireSentAtMs > stuckMs)
        connection.destroy('no answer to retire')
      else if (connection.isStuck && nowMs - connection.lastReceivedMs > stuckMs) {
        connection.destroy('it answers nothing')
      }
    }
    for (const peer of this.table.all()) {
      const { connection } = peer
      if (connection !== undefined) {
        peer.mendIfSilent(connection, nowMs)
        this.closeIfIdle(peer, connection, nowMs)
      } else if (peer.isIdle && nowMs - peer.lastUsedMs > forgetMs) this.table.forget(peer)
    }
  }

  private closeIfIdle(peer: Peer, connection: Connection, nowMs: number): void {
    const idleMs = Math.min(nowMs - peer.lastUsedMs, nowMs - connection.lastReceivedMs)
    const isOurs = !connection.isInbound && peer.keptBy.size === 0
    if (isOurs && connection.isQuiet && idleMs > (this.options.idleTimeoutMs ?? 60_000))
      peer.retire(connection)
  }

  private get handshakeTimeoutMs(): number {
    return this.options.handshakeTimeoutMs ?? 2_000
  }
}

function checkSize(body: Uint8Array): void {
  if (body.length > frameBodyBytesMax) throw tooLarge(body)
}

function tooLarge(body: Uint8Array): SkeinError {
  return new SkeinError('frame_too_large', `a body of ${body.length} bytes; ${frameBodyBytesMax} are allowed`)
}
