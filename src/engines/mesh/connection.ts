/**
 * One connection between two nodes, from the end of the TLS handshake on: hello, then frames both ways, then retire and
 * goodbye. It batches what goes out, holds requests back beyond the other end's credit, and knows exactly which requests
 * were never handed to the socket. Which connection a peer uses, when to dial and what others are told of it is the
 * pool's business (`peer.ts`, `frame-transport.ts`), never decided here.
 */
import { performance } from 'node:perf_hooks'
import type { TLSSocket } from 'node:tls'
import { SkeinError } from '../../core/kernel/error.js'
import { FrameDecoder, type FrameKind, frameBytesMax, frameKinds } from '../../core/wire/frame.js'
import type { FrameHandler, Hello } from '../../ports/transport.js'
import { CreditWindow } from './credit-window.js'
import { Fifo } from './fifo.js'
import {
  type Credit,
  controlBytesMax,
  controlTypes,
  decodeGoodbye,
  encodeGoodbye,
  encodeGreeting,
  encodeRefusal,
  type Refusal,
} from './greeting.js'
import type { HandlerGate, InboundRequest, Lane } from './handler-gate.js'
import { Outbox } from './outbox.js'
import { type PendingRequest, requestStates } from './pending-request.js'
import type { PeerProof } from './proof.js'
import { decodeReplyError, encodeReplyError } from './reply-error.js'

/** While so many bytes wait for the other end to read, no further request of its is begun. */
const replyBacklogBytesMax = 4 * 1024 * 1024
/** How long a goodbye or a refusal may take to get out. */
const partingMs = 500
/** What a held request costs beside its body. */
export const heldBytes = 256
const noBytes = new Uint8Array(0)

export interface ConnectionOwner {
  readonly gate: HandlerGate
  readonly credit: Credit
  readonly queueBytesMax: number
  readonly frameHandler: FrameHandler
  takeHello(connection: Connection, body: Uint8Array): void
  takeRefusal(connection: Connection, body: Uint8Array): void
  /** The other end wants to stop using this connection. */
  takeRetire(connection: Connection): void
  /** Closed. `unsent` were certainly never sent; what may have been was already failed. */
  closed(connection: Connection, detail: string, unsent: PendingRequest[]): void
  note(event: string, fields: Record<string, unknown>): void
}

export class Connection implements Lane {
  readonly isInbound: boolean
  readonly remote: string
  /** Address that was dialled; empty for an inbound one. */
  readonly dialled: string
  readonly proof: PeerProof
  readonly waiting = new Fifo<InboundRequest>()
  isInTurn = false
  /** What the other end said of itself, once it was accepted: from then on frames flow. */
  hello: Hello | undefined
  isClosed = false
  /** The end is agreed on: a goodbye or a refusal went one way or the other. */
  isParting = false
  retireSentAtMs = 0
  retireReceived = false
  /** Wall clock. */
  lastSeenMs = Date.now()
  /** Monotonic. */
  lastReceivedMs = performance.now()
  openedMs = performance.now()
  /** Since when some request has been unanswered without a pause; monotonic. */
  private askedSinceMs = 0
  /** Since when something one-way has been written and nothing came; 0 where something did. */
  private unheardSinceMs = 0
  receivedBytes = 0
  receivedFrames = 0
  private readonly socket: TLSSocket
  private readonly owner: ConnectionOwner
  private readonly outbox: Outbox
  private readonly decoder = new FrameDecoder(this, controlBytesMax)
  private readonly held = new Fifo<PendingRequest>()
  private heldBytes = 0
  private window: CreditWindow | undefined
  /** Requests of the other end that are not answered: begun, and waiting on the lane. */
  private begun = 0
  private owed = 0
  private owedBytes = 0
  private closeDetail = 'the connection ended'
  closeError: NodeJS.ErrnoException | undefined

  constructor(socket: TLSSocket, dialled: string, remote: string, proof: PeerProof, owner: ConnectionOwner) {
    this.socket = socket
    this.owner = owner
    this.dialled = dialled
    this.proof = proof
    this.isInbound = dialled === ''
    this.remote = remote
    this.outbox = new Outbox(socket)
    socket.setNoDelay(true)
    socket.setKeepAlive(true, 30_000)
    socket.on('data', (chunk: Buffer) => this.receive(chunk))
    socket.on('drain', () => this.drained())
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.closeError = error
      this.closeDetail = error.code ?? error.message
    })
    socket.on('end', () => {
      if (!this.isParting) this.closeDetail = 'end of stream'
      socket.destroy()
    })
    socket.on('close', () => this.close())
  }

  // Counters.

  get sentBytes(): number {
    return this.outbox.writtenBytes
  }

  get sentFrames(): number {
    return this.outbox.frames
  }

  get backlogBytes(): number {
    return this.outbox.backlogBytes + this.heldBytes
  }

  /** Neither end owes the other anything. */
  get isQuiet(): boolean {
    return this.owed === 0 && this.held.length === 0 && (this.window?.unanswered ?? 0) === 0
  }

  get isStuck(): boolean {
    return this.window?.isStuck() ?? false
  }

  /** For so long requests have waited for answers, or one-way frames were written, while nothing at all came. */
  silentMs(nowMs: number): number {
    if ((this.window?.unanswered ?? 0) === 0)
      return this.unheardSinceMs === 0 ? 0 : nowMs - this.unheardSinceMs
    return nowMs - Math.max(this.lastReceivedMs, this.askedSinceMs)
  }

  // Coming and going.

  greet(hello: Hello): void {
    this.outbox.put(frameKinds.control, controlTypes.hello, 0, encodeGreeting(hello, this.owner.credit))
  }

  /** Both hellos are in order: from here on anything may be sent. */
  open(hello: Hello, credit: Credit): void {
    this.hello = hello
    this.openedMs = performance.now()
    this.window = new CreditWindow(credit)
    this.decoder.frameBytesMax = frameBytesMax
  }

  /** Tells the other end why, then ends. */
  refuse(refusal: Refusal): void {
    this.part(controlTypes.refuse, encodeRefusal(refusal), `refused: ${refusal.detail}`)
  }

  goodbye(detail: string): void {
    this.part(controlTypes.goodbye, encodeGoodbye(detail), detail)
  }

  /** Announces that nothing of ours follows; the connection ends when both ends said so and owe nothing. */
  retire(): void {
    if (this.retireSentAtMs > 0 || this.isClosed || this.isParting) return
    this.retireSentAtMs = performance.now()
    this.outbox.put(frameKinds.control, controlTypes.retire, 0, noBytes)
    this.finishIfDone()
  }

  /** Whoever is there answers it, also one that works on our requests for long. */
  ping(): void {
    this.outbox.put(frameKinds.control, controlTypes.ping, 0, noBytes)
  }

  destroy(detail: string): void {
    if (!this.isParting) this.closeDetail = detail
    this.socket.destroy()
  }

  /** Requests that wait for credit, taken back unsent. */
  takeHeld(): PendingRequest[] {
    this.heldBytes = 0
    return this.held.drain().filter((request) => !request.isSettled)
  }

  trim(): void {
    this.outbox.trim()
  }

  // Frames out.

  oneWay(type: number, body: Uint8Array): void {
    if (this.unheardSinceMs === 0) this.unheardSinceMs = performance.now()
    this.outbox.put(frameKinds.oneWay, type, 0, body)
  }

  request(request: PendingRequest): void {
    if (this.held.length === 0 && this.maySend(request)) this.dispatch(request)
    else {
      request.waitsFor = 'credit'
      request.onUnqueued = this.unhold
      this.held.push(request)
      this.heldBytes += request.bodyBytes + heldBytes
    }
  }

  private maySend(request: PendingRequest): boolean {
    return !this.outbox.isBlocked && (this.window as CreditWindow).allows(request.bodyBytes)
  }

  private dispatch(request: PendingRequest): void {
    const window = this.window as CreditWindow
    if (window.unanswered === 0) this.askedSinceMs = performance.now()
    window.enter(request)
    request.state = requestStates.sent
    request.streamAt = this.outbox.encodedBytes
    this.outbox.put(frameKinds.request, request.type, request.id, request.body)
  }

  private readonly unhold = (request: PendingRequest): void => {
    this.heldBytes -= request.bodyBytes + heldBytes
  }

  private sendHeld(): void {
    for (let request = this.held.peek(); request !== undefined; request = this.held.peek()) {
      if (request.isSettled) {
        this.held.shift()
        continue
      }
      if (!this.maySend(request)) return
      this.held.shift()
      this.heldBytes -= request.bodyBytes + heldBytes
      request.onUnqueued = undefined
      this.dispatch(request)
    }
  }

  private drained(): void {
    this.outbox.unblock()
    if (this.held.length > 0) this.sendHeld()
    if (this.waiting.length > 0) this.owner.gate.resume(this)
  }

  private part(type: number, body: Uint8Array, detail: string): void {
    if (this.isClosed || this.isParting) return
    this.isParting = true
    this.closeDetail = detail
    this.outbox.put(frameKinds.control, type, 0, body)
    this.outbox.flushAll()
    this.leave()
  }

  private leave(): void {
    this.outbox.end()
    this.socket.end()
    const timer = setTimeout(() => this.socket.destroy(), partingMs)
    this.socket.once('close', () => clearTimeout(timer))
  }

  /** The dialling end says the goodbye that both have agreed on. */
  private finishIfDone(): void {
    if (this.isInbound || this.retireSentAtMs === 0 || !this.retireReceived || !this.isQuiet) return
    this.goodbye('no longer used')
  }

  // Frames in.

  private receive(chunk: Buffer): void {
    this.receivedBytes += chunk.length
    this.lastSeenMs = Date.now()
    this.lastReceivedMs = performance.now()
    this.unheardSinceMs = 0
    const violation = this.decoder.push(chunk)
    if (violation !== undefined) this.violate(violation)
  }

  private violate(detail: string): void {
    if (this.isClosed) return
    this.owner.note('transport.violation', {
      remote: this.remote,
      peer: this.hello?.nodeId ?? '',
      detail,
    })
    this.destroy(`protocol violation: ${detail}`)
  }

  takeFrame(kind: FrameKind, type: number, id: number, body: Uint8Array): void {
    if (this.isClosed || this.isParting || this.socket.destroyed) return
    this.receivedFrames++
    if (kind === frameKinds.control) this.control(type, body)
    else if (this.hello === undefined) this.violate('a frame before the hello')
    else if (kind === frameKinds.request) this.takeRequest(type, id, body)
    else if (kind === frameKinds.oneWay) this.handle({ from: this.hello, type, body })
    else this.takeReply(kind, id, body)
  }

  private control(type: number, body: Uint8Array): void {
    switch (type) {
      case controlTypes.hello:
        if (this.hello === undefined) this.owner.takeHello(this, body)
        else this.violate('a second hello')
        return
      case controlTypes.refuse:
        this.isParting = true
        this.closeDetail = 'refused by the peer'
        this.owner.takeRefusal(this, body)
        this.leave()
        return
      case controlTypes.goodbye:
        this.isParting = true
        this.closeDetail = decodeGoodbye(body)
        this.leave()
        return
      case controlTypes.retire:
        this.retireReceived = true
        this.owner.takeRetire(this)
        this.finishIfDone()
        return
      case controlTypes.ping:
        if (this.hello !== undefined) this.outbox.put(frameKinds.control, controlTypes.pong, 0, noBytes)
    }
  }

  private takeReply(kind: FrameKind, id: number, body: Uint8Array): void {
    const request = this.window?.leave(id)
    if (request === undefined) {
      this.violate('a reply that nobody waits for')
      return
    }
    if (kind === frameKinds.reply) request.succeed(body)
    else request.fail(decodeReplyError(body))
    if (this.held.length > 0) this.sendHeld()
    if (this.retireSentAtMs > 0) this.finishIfDone()
  }

  private takeRequest(type: number, id: number, body: Uint8Array): void {
    const { requestsMax, requestBytesMax } = this.owner.credit
    if (this.owed >= requestsMax || (this.owed > 0 && this.owedBytes + body.length > requestBytesMax)) {
      this.violate('more requests at a time than it was given credit for')
      return
    }
    this.owed++
    this.owedBytes += body.length
    this.owner.gate.admit(this, type, id, body)
  }

  canStart(): boolean {
    return !this.isClosed && this.outbox.backlogBytes < replyBacklogBytesMax
  }

  begin(type: number, id: number, body: Uint8Array): void {
    this.begun++
    const bodyBytes = body.length
    let isAnswered = false
    const reply = (answer: Uint8Array | Error): void => {
      if (isAnswered) return
      isAnswered = true
      if (this.isClosed) return
      this.begun--
      this.owed--
      this.owedBytes -= bodyBytes
      this.reply(id, answer)
      this.owner.gate.release(1)
      if (this.retireSentAtMs > 0) this.finishIfDone()
    }
    this.handle({ from: this.hello as Hello, type, body, reply })
  }

  private reply(id: number, answer: Uint8Array | Error): void {
    if (answer instanceof Error) {
      this.outbox.put(frameKinds.error, 0, id, encodeReplyError(answer))
      return
    }
    if (
      answer.length < frameBytesMax &&
      this.outbox.backlogBytes + answer.length <= this.owner.queueBytesMax
    ) {
      this.outbox.put(frameKinds.reply, 0, id, answer)
      return
    }
    const detail = `it was carried out, but its reply of ${answer.length} bytes could not be sent`
    this.outbox.put(frameKinds.error, 0, id, encodeReplyError(new SkeinError('outcome_unknown', detail)))
  }

  /** A handler that throws has a fault of its own; the connection and the other requests on it go on. */
  private handle(frame: Parameters<FrameHandler>[0]): void {
    try {
      this.owner.frameHandler(frame)
    } catch (error) {
      const detail = error instanceof Error ? error.message : String(error)
      this.owner.note('transport.handler_failed', { type: frame.type, peer: frame.from.nodeId, detail })
      frame.reply?.(new SkeinError('internal', detail))
    }
  }

  // The end.

  private close(): void {
    if (this.isClosed) return
    this.isClosed = true
    const { writtenBytes } = this.outbox
    this.outbox.end()
    while (this.waiting.shift() !== undefined);
    this.owner.gate.release(this.begun)
    const unsent: PendingRequest[] = []
    for (const request of this.window?.drain() ?? []) {
      if (request.isSettled) continue
      if (request.streamAt >= writtenBytes) {
        request.state = requestStates.waiting
        unsent.push(request)
      } else {
        const detail = `the connection ended after the request was sent: ${this.closeDetail}`
        request.fail(new SkeinError('outcome_unknown', detail))
      }
    }
    unsent.push(...this.takeHeld())
    for (const request of unsent) request.onUnqueued = undefined
    this.owner.closed(this, this.closeDetail, unsent)
  }
}
