/**
 * Pooled connections between nodes: TLS 1.3 with a pre-shared key from the cookie (mutual authentication and forward secrecy from OpenSSL), one connection per
 * pair of nodes, dialled when needed, kept where asked, redialled with jittered backoff. A lost connection is redialled at once: "lost", then
 * "refused", is the fastest evidence that a process is gone.
 */
import type { Socket } from 'node:net'
import { connect, createServer, type Server, type TLSSocket } from 'node:tls'
import type { Address } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { Frame } from '../../core/wire/framing.js'
import { frameKinds } from '../../core/wire/framing.js'
import { checkHello } from '../../core/wire/hello.js'
import type {
  ConnectionEvent,
  FrameHandler,
  FrameTransport,
  Hello,
  PeerStats,
} from '../../ports/transport.js'
import { bindError, boundAddress, parseAddress } from './address.js'
import { Connection, controlTypes, type PendingRequest } from './connection.js'
import { type CookieKey, cookieKeys } from './keys.js'

export interface TcpOptions {
  readonly host: string
  readonly port: number
  readonly advertiseHost?: string
  readonly cookies: readonly Uint8Array[]
  /** Bytes that may wait for one peer. Over it `send` says full and `request` fails as overloaded. */
  readonly queueBytesMax?: number
  readonly idleMs?: number
  readonly handshakeMs?: number
  /** Garbage on the port and the like. */
  readonly onNote?: (event: string, fields: Record<string, unknown>) => void
  readonly random?: () => number
}

const ciphers = 'TLS_AES_128_GCM_SHA256'
const connectionsPerAddressMax = 1_024
const backoffMinMs = 50
const backoffMaxMs = 5_000
const sweepMs = 50
const recentlyUsedMs = 60_000

interface Peer {
  readonly address: Address
  connection: Connection | undefined
  dialling: Connection | undefined
  /** Waiting for the dial. */
  queue: (PendingRequest | { readonly type: number; readonly body: Uint8Array })[]
  queueBytes: number
  isKept: boolean
  attempts: number
  redialAtMs: number
  lastUsedMs: number
  lastSeenMs: number
  totals: { sentBytes: number; receivedBytes: number; sentFrames: number; receivedFrames: number }
}

export class TcpFrameTransport implements FrameTransport {
  private readonly options: TcpOptions
  private readonly keys: readonly CookieKey[]
  private readonly peerTable = new Map<Address, Peer>()
  private readonly connections = new Set<Connection>()
  private readonly perRemote = new Map<string, number>()
  private server: Server | undefined
  private hello: Hello | undefined
  private sweepTimer: NodeJS.Timeout | undefined
  private frameHandler: FrameHandler = () => {}
  private connectionHandler: (event: ConnectionEvent) => void = () => {}
  private closing = false

  constructor(options: TcpOptions) {
    this.options = options
    this.keys = cookieKeys(options.cookies)
  }

  async open(hello: Omit<Hello, 'address'>): Promise<Address> {
    const { host, port, advertiseHost } = this.options
    const server = createServer(
      {
        ciphers,
        minVersion: 'TLSv1.3',
        handshakeTimeout: this.options.handshakeMs ?? 2_000,
        pskCallback: (_socket, identity) =>
          this.keys.find((k) => k.id === identity.slice(0, k.id.length))?.psk ?? null,
      },
      (socket) => this.accept(socket),
    )
    server.on('connection', (socket) => this.limit(socket))
    server.on('tlsClientError', (error, socket) => this.handshakeFailed(error, socket))
    await new Promise<void>((resolve, reject) => {
      server.once('error', (error) => reject(bindError(error, 'TCP', host, port)))
      server.listen(port, host, () => resolve())
    })
    server.on('error', (error) => this.note('transport.server_error', { detail: error.message }))
    this.server = server
    const address = boundAddress(
      server.address() as { address: string; port: number; family: string },
      advertiseHost,
    )
    this.hello = { ...hello, address }
    this.sweepTimer = setInterval(() => this.sweep(), sweepMs)
    return address
  }

  send(to: Address, type: number, body: Uint8Array): 'queued' | 'full' | 'closed' {
    const peer = this.peer(to)
    if (this.closing) return 'closed'
    const { connection } = peer
    peer.lastUsedMs = now()
    if (connection !== undefined) {
      if (connection.backlogBytes + body.length > this.queueBytesMax) return 'full'
      connection.oneWay(type, body)
      return 'queued'
    }
    if (peer.queueBytes + body.length > this.queueBytesMax) return 'full'
    if (!this.dial(peer, false)) return 'closed'
    peer.queue.push({ type, body })
    peer.queueBytes += body.length
    return 'queued'
  }

  request(
    to: Address,
    type: number,
    body: Uint8Array,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      const peer = this.peer(to)
      if (this.closing || options.signal?.aborted === true) {
        reject(new SkeinError(this.closing ? 'closed' : 'aborted', 'not sent'))
        return
      }
      const nowMs = now()
      peer.lastUsedMs = nowMs
      const pending: PendingRequest = {
        type,
        body,
        deadlineMs: nowMs + options.timeoutMs,
        resolve,
        reject,
        isSent: false,
      }
      const { connection } = peer
      const queued = connection === undefined ? peer.queueBytes : connection.backlogBytes
      if (queued + body.length > this.queueBytesMax) {
        reject(
          new SkeinError('overloaded', `${queued} bytes wait for ${to}`, {
            retryable: true,
            details: { address: to, queued_bytes: queued },
          }),
        )
      } else if (connection !== undefined) {
        const id = connection.request(pending)
        if (options.signal !== undefined) this.abortable(connection, id, pending, options.signal)
      } else if (this.dial(peer, false)) {
        peer.queue.push(pending)
        peer.queueBytes += body.length
      } else reject(unreachable(to, 'the last dial failed a moment ago'))
    })
  }

  keep(to: Address): void {
    const peer = this.peer(to)
    peer.isKept = true
    if (peer.connection === undefined) this.dial(peer, true)
  }

  unkeep(to: Address): void {
    const peer = this.peerTable.get(to)
    if (peer !== undefined) peer.isKept = false
  }

  redial(to: Address): void {
    const peer = this.peer(to)
    if (peer.connection === undefined) this.dial(peer, true)
  }

  onFrame(handler: FrameHandler): void {
    this.frameHandler = handler
  }

  onConnection(handler: (event: ConnectionEvent) => void): void {
    this.connectionHandler = handler
  }

  peers(): readonly PeerStats[] {
    return [...this.peerTable.values()].map((peer) => {
      const c = peer.connection
      return {
        address: peer.address,
        connected: c !== undefined,
        sentBytes: peer.totals.sentBytes + (c?.sentBytes ?? 0),
        receivedBytes: peer.totals.receivedBytes + (c?.receivedBytes ?? 0),
        sentFrames: peer.totals.sentFrames + (c?.sentFrames ?? 0),
        receivedFrames: peer.totals.receivedFrames + (c?.receivedFrames ?? 0),
        queuedBytes: peer.queueBytes + (c?.backlogBytes ?? 0),
        attemptCount: peer.attempts,
        lastSeenMs: c === undefined ? peer.lastSeenMs : Date.now(),
      }
    })
  }

  async close(options: { deadlineMs?: number } = {}): Promise<void> {
    if (this.closing) return
    this.closing = true
    clearInterval(this.sweepTimer)
    for (const peer of this.peerTable.values()) this.failQueue(peer, 'this node is closing')
    const { server } = this
    const done =
      server === undefined ? Promise.resolve() : new Promise<void>((resolve) => server.close(() => resolve()))
    for (const c of this.connections) c.end('the node is closing')
    const timer = setTimeout(() => {
      for (const c of this.connections) c.destroy('the node is closing')
    }, options.deadlineMs ?? 1_000)
    await done
    clearTimeout(timer)
    for (const c of this.connections) c.destroy('the node is closing')
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // --- coming and going -----------------------------------------------------------------------------------------

  private limit(socket: Socket): void {
    const remote = socket.remoteAddress ?? ''
    const count = (this.perRemote.get(remote) ?? 0) + 1
    if (count > connectionsPerAddressMax || this.closing) {
      socket.destroy()
      return
    }
    this.perRemote.set(remote, count)
    socket.on('close', () => {
      const left = (this.perRemote.get(remote) ?? 1) - 1
      if (left === 0) this.perRemote.delete(remote)
      else this.perRemote.set(remote, left)
    })
  }

  private handshakeFailed(error: Error & { code?: string }, socket: TLSSocket): void {
    this.note('transport.handshake_failed', {
      remote: socket.remoteAddress ?? '',
      code: error.code ?? '',
      detail: explainTls(error),
    })
    socket.destroy()
  }

  private accept(socket: TLSSocket): void {
    const connection = this.adopt(socket, true)
    const timer = setTimeout(() => {
      if (!connection.isReady) connection.destroy('no hello in time')
    }, this.options.handshakeMs ?? 2_000)
    socket.on('close', () => clearTimeout(timer))
  }

  private adopt(socket: TLSSocket, isInbound: boolean): Connection {
    const connection = new Connection(socket, isInbound, {
      onControl: (c, type, body) => this.control(c, type, body),
      onFrame: (c, frame) => this.frame(c, frame),
      onViolation: (c, detail) =>
        this.note('transport.violation', { remote: c.socket.remoteAddress ?? '', detail }),
      onClose: (c, detail) => this.gone(c, detail),
    })
    connection.lastUsedMs = now()
    this.connections.add(connection)
    connection.control(controlTypes.hello, this.hello)
    return connection
  }

  /** False while the backoff after a failed dial lasts, unless `atOnce`. */
  private dial(peer: Peer, atOnce: boolean): boolean {
    if (peer.dialling !== undefined) return true
    if (this.closing || (!atOnce && now() < peer.redialAtMs)) return false
    const { host, port } = parseAddress(peer.address)
    const key = this.keys[0] as CookieKey
    const socket = connect({
      host,
      port,
      ciphers,
      minVersion: 'TLSv1.3',
      checkServerIdentity: () => undefined,
      pskCallback: () => ({ psk: key.psk, identity: `${key.id}:${this.hello?.nodeId ?? ''}` }),
    })
    peer.attempts++
    const timer = setTimeout(
      () => socket.destroy(Object.assign(new Error('no connection in time'), { code: 'ETIMEDOUT' })),
      this.options.handshakeMs ?? 2_000,
    )
    let failure: (Error & { code?: string }) | undefined
    const failed = (): void => {
      clearTimeout(timer)
      peer.dialling = undefined
      this.dialFailed(peer, failure)
    }
    socket.once('error', (error: Error & { code?: string }) => {
      failure = error
    })
    socket.once('close', failed)
    const placeholder = { isPlaceholder: true } as unknown as Connection
    peer.dialling = placeholder
    socket.once('secureConnect', () => {
      socket.off('close', failed)
      const connection = this.adopt(socket, false)
      peer.dialling = connection
      const hello = setTimeout(() => {
        if (!connection.isReady) connection.destroy('no hello in time')
      }, this.options.handshakeMs ?? 2_000)
      socket.on('close', () => {
        clearTimeout(hello)
        if (peer.dialling === connection) {
          peer.dialling = undefined
          // Inside TLS but never ready: with a wrong key the alert comes after our side finished.
          if (connection.hello === undefined)
            this.dialFailed(peer, failure ?? new Error('closed before the hello'))
        }
      })
      clearTimeout(timer)
    })
    return true
  }

  private dialFailed(peer: Peer, error: (Error & { code?: string }) | undefined): void {
    if (this.closing) return
    const backoffMs = Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(peer.attempts, 8))
    peer.redialAtMs = now() + backoffMs * (0.5 + (this.options.random ?? Math.random)())
    const detail = error === undefined ? 'closed during the handshake' : explainTls(error)
    this.failQueue(peer, detail)
    const { address } = peer
    if (error?.code === 'ECONNREFUSED')
      this.connectionHandler({ type: 'refused', address, detail: 'connection refused' })
    else if (isWrongKey(error))
      this.connectionHandler({
        type: 'rejected',
        address,
        code: 'bad_cookie',
        detail: `${address} refuses this node's cookie: give all nodes of a cluster the same --cookie or --cookie-file`,
      })
    else this.connectionHandler({ type: 'unreachable', address, detail })
  }

  private failQueue(peer: Peer, detail: string): void {
    const queue = peer.queue
    peer.queue = []
    peer.queueBytes = 0
    for (const item of queue) if ('reject' in item) item.reject(unreachable(peer.address, detail))
  }

  private control(connection: Connection, type: number, body: Uint8Array): void {
    if (type === controlTypes.goodbye) connection.saidGoodbye = true
    else if (type === controlTypes.refuse) {
      if (connection.saidGoodbye) return
      const { code, detail } = parseJson(body) as { code?: string; detail?: string }
      connection.saidGoodbye = true
      const address = connection.hello?.address ?? this.dialledAddress(connection)
      this.connectionHandler({ type: 'rejected', address, code: String(code), detail: String(detail) })
      connection.destroy('refused')
    } else if (type === controlTypes.hello) this.greeted(connection, body)
  }

  private greeted(connection: Connection, body: Uint8Array): void {
    const theirs = parseHello(body)
    const ours = this.hello as Hello
    if (theirs === undefined) {
      this.note('transport.violation', {
        remote: connection.socket.remoteAddress ?? '',
        detail: 'a hello that cannot be read',
      })
      connection.destroy('a hello that cannot be read')
      return
    }
    const dialled = this.dialledAddress(connection)
    connection.hello = theirs
    if (theirs.nodeId === ours.nodeId && theirs.bootId === ours.bootId) {
      connection.saidGoodbye = true
      connection.destroy('this is myself')
      return
    }
    const verdict = checkHello(ours, theirs)
    if (!verdict.ok) {
      const seen = checkHello(theirs, ours)
      connection.control(controlTypes.refuse, {
        code: verdict.code,
        detail: seen.ok ? verdict.detail : seen.detail,
      })
      connection.saidGoodbye = true
      this.connectionHandler({
        type: 'rejected',
        address: dialled === '' ? theirs.address : dialled,
        code: verdict.code,
        detail: verdict.detail,
      })
      setTimeout(() => connection.destroy('refused'), 50)
      return
    }
    connection.isReady = true
    this.ready(connection, theirs, dialled)
  }

  private ready(connection: Connection, hello: Hello, dialled: Address): void {
    const peer = this.peer(hello.address)
    if (dialled !== '' && dialled !== hello.address) this.mergeAlias(this.peer(dialled), peer)
    if (peer.dialling === connection) peer.dialling = undefined
    const other = peer.connection
    peer.connection = other === undefined ? connection : this.preferred(other, connection)
    peer.attempts = 0
    peer.redialAtMs = 0
    peer.lastSeenMs = Date.now()
    if (other !== undefined) {
      const spare = peer.connection === other ? connection : other
      spare.retiring = true
    }
    this.flushQueue(peer)
    this.connectionHandler({ type: 'up', address: hello.address, hello, inbound: connection.isInbound })
  }

  /** Both ends choose the one dialled by the smaller address; the other is closed when its requests are answered. */
  private preferred(a: Connection, b: Connection): Connection {
    if (a.isInbound === b.isInbound) return b
    const ours = (this.hello as Hello).address
    const weDial = ours < (a.hello as Hello).address
    return a.isInbound === weDial ? b : a
  }

  private mergeAlias(alias: Peer, peer: Peer): void {
    alias.dialling = undefined
    alias.attempts = 0
    peer.queue.push(...alias.queue)
    peer.queueBytes += alias.queueBytes
    alias.queue = []
    alias.queueBytes = 0
    if (alias.isKept) peer.isKept = true
    this.peerTable.delete(alias.address)
  }

  private flushQueue(peer: Peer): void {
    const queue = peer.queue
    peer.queue = []
    peer.queueBytes = 0
    for (const item of queue) {
      if ('reject' in item) peer.connection?.request(item)
      else peer.connection?.oneWay(item.type, item.body)
    }
  }

  private gone(connection: Connection, detail: string): void {
    this.connections.delete(connection)
    const { hello } = connection
    if (hello === undefined) return
    const peer = this.peerTable.get(hello.address)
    if (peer === undefined) return
    for (const key of ['sentBytes', 'receivedBytes', 'sentFrames', 'receivedFrames'] as const)
      peer.totals[key] += connection[key]
    if (peer.connection !== connection) return
    peer.connection = undefined
    peer.lastSeenMs = Date.now()
    if (this.closing) return
    const { nodeId, bootId, address } = hello
    if (connection.saidGoodbye) {
      this.connectionHandler({ type: 'closed', address, nodeId, bootId, detail })
      return
    }
    this.connectionHandler({ type: 'lost', address, nodeId, bootId, detail })
    if (peer.isKept || now() - peer.lastUsedMs < recentlyUsedMs) this.dial(peer, true)
  }

  // --- frames ---------------------------------------------------------------------------------------------------

  private frame(connection: Connection, frame: Frame): void {
    const from = connection.hello as Hello
    connection.lastUsedMs = now()
    if (frame.kind !== frameKinds.request) {
      this.frameHandler({ from, type: frame.type, body: frame.body })
      return
    }
    let replied = false
    this.frameHandler({
      from,
      type: frame.type,
      body: frame.body,
      reply: (body) => {
        if (replied || connection.isClosed) return
        replied = true
        connection.reply(frame.id, body)
      },
    })
  }

  private abortable(connection: Connection, id: number, pending: PendingRequest, signal: AbortSignal): void {
    signal.addEventListener(
      'abort',
      () => {
        if (connection.pending.get(id) !== pending) return
        connection.forget(id)
        pending.reject(new SkeinError('aborted', 'given up by the caller; it may have been carried out'))
      },
      { once: true },
    )
  }

  /** Deadlines of requests, idle connections, redials of kept ones: one timer for all. */
  private sweep(): void {
    const nowMs = now()
    for (const connection of this.connections) {
      for (const [id, request] of connection.pending) {
        if (request.deadlineMs > nowMs) continue
        connection.forget(id)
        request.reject(new SkeinError('timeout', 'no reply in time; it may have been carried out'))
      }
      if (connection.retiring && connection.pending.size === 0 && nowMs - connection.lastUsedMs > 1_000)
        connection.end('another connection is used')
    }
    for (const peer of this.peerTable.values()) this.sweepPeer(peer, nowMs)
  }

  private sweepPeer(peer: Peer, nowMs: number): void {
    const expired = peer.queue.filter(
      (item) => 'reject' in item && item.deadlineMs <= nowMs,
    ) as PendingRequest[]
    if (expired.length > 0) {
      peer.queue = peer.queue.filter((item) => !expired.includes(item as PendingRequest))
      for (const request of expired) {
        peer.queueBytes -= request.body.length
        request.reject(unreachable(peer.address, 'not connected in time'))
      }
    }
    const { connection } = peer
    const idleMs = this.options.idleMs ?? 60_000
    if (connection === undefined) {
      if (peer.isKept && peer.dialling === undefined && nowMs >= peer.redialAtMs) this.dial(peer, false)
      else if (!peer.isKept && peer.dialling === undefined && nowMs - peer.lastUsedMs > 3_600_000)
        this.peerTable.delete(peer.address)
    } else if (
      !peer.isKept &&
      !connection.isInbound &&
      connection.pending.size === 0 &&
      nowMs - Math.max(peer.lastUsedMs, connection.lastUsedMs) > idleMs
    )
      connection.end('idle')
  }

  private peer(address: Address): Peer {
    let peer = this.peerTable.get(address)
    if (peer === undefined) {
      peer = {
        address,
        connection: undefined,
        dialling: undefined,
        queue: [],
        queueBytes: 0,
        isKept: false,
        attempts: 0,
        redialAtMs: 0,
        lastUsedMs: now(),
        lastSeenMs: 0,
        totals: { sentBytes: 0, receivedBytes: 0, sentFrames: 0, receivedFrames: 0 },
      }
      this.peerTable.set(address, peer)
    }
    return peer
  }

  private dialledAddress(connection: Connection): Address {
    for (const peer of this.peerTable.values()) if (peer.dialling === connection) return peer.address
    return ''
  }

  private get queueBytesMax(): number {
    return this.options.queueBytesMax ?? 32 * 1024 * 1024
  }

  private note(event: string, fields: Record<string, unknown>): void {
    this.options.onNote?.(event, fields)
  }
}

function now(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000
}

function unreachable(address: Address, detail: string): SkeinError {
  return new SkeinError('peer_unreachable', `${address}: ${detail}`, {
    retryable: true,
    details: { address },
  })
}

function parseJson(body: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(body).toString())
  } catch {
    return {}
  }
}

function parseHello(body: Uint8Array): Hello | undefined {
  if (body.length > 8_192) return undefined
  const h = parseJson(body) as Record<string, unknown>
  const texts = ['clusterName', 'nodeId', 'bootId', 'address', 'storeIdentity', 'journalIdentity'] as const
  if (
    !texts.every((k) => typeof h[k] === 'string') ||
    typeof h.protocolMin !== 'number' ||
    typeof h.protocolMax !== 'number'
  )
    return undefined
  return h as unknown as Hello
}

function isWrongKey(error: (Error & { code?: string }) | undefined): boolean {
  const code = error?.code ?? ''
  return code.startsWith('ERR_SSL_') && !code.includes('WRONG_VERSION_NUMBER')
}

function explainTls(error: Error & { code?: string }): string {
  const code = error.code ?? ''
  if (
    code === 'ERR_SSL_WRONG_VERSION_NUMBER' ||
    code.includes('HTTP_REQUEST') ||
    code.includes('UNEXPECTED_MESSAGE')
  )
    return `not the peer protocol (${code})`
  if (
    code.includes('PSK') ||
    code.includes('BINDER') ||
    code.includes('NO_SHARED') ||
    code.includes('NO_SUITABLE')
  )
    return `another cookie (${code})`
  return code === '' ? error.message : code
}
