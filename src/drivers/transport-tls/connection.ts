/**
 * One TLS connection between two nodes: hello, then frames both ways. Writes of one turn go out together; a socket that does not drain is not
 * written to; requests beyond the other side's window wait. Knows exactly which requests were never sent.
 */
import type { TLSSocket } from 'node:tls'
import { type ErrorCode, isSkeinError, SkeinError } from '../../core/kernel/error.js'
import {
  type Frame,
  FrameDecoder,
  type FrameKind,
  frameHeaderBytes,
  frameKinds,
  writeFrameHeader,
} from '../../core/wire/framing.js'
import type { Hello } from '../../ports/transport.js'

export const controlTypes = { hello: 1, refuse: 2, goodbye: 3 } as const

/** Bytes of requests that may be unanswered at one time; over it they wait in our queue. Bounds what a slow receiver must hold. */
const unansweredBytesMax = 8 * 1024 * 1024
const emptyBody = new Uint8Array(0)

export interface PendingRequest {
  readonly type: number
  readonly body: Uint8Array
  readonly deadlineMs: number
  readonly resolve: (body: Uint8Array) => void
  readonly reject: (error: Error) => void
  isSent: boolean
}

export interface ConnectionHandlers {
  onControl(connection: Connection, type: number, body: Uint8Array): void
  onFrame(connection: Connection, frame: Frame): void
  onViolation(connection: Connection, detail: string): void
  onClose(connection: Connection, detail: string): void
}

interface Outgoing {
  readonly kind: FrameKind
  readonly type: number
  readonly id: number
  readonly body: Uint8Array
}

export class Connection {
  readonly socket: TLSSocket
  readonly isInbound: boolean
  readonly pending = new Map<number, PendingRequest>()
  hello: Hello | undefined
  /** Frames may flow: both hellos were accepted. */
  isReady = false
  saidGoodbye = false
  retiring = false
  lastUsedMs = 0
  queuedBytes = 0
  sentBytes = 0
  receivedBytes = 0
  sentFrames = 0
  receivedFrames = 0
  private readonly handlers: ConnectionHandlers
  private readonly decoder = new FrameDecoder()
  private queue: Outgoing[] = []
  private held: { id: number; request: PendingRequest }[] = []
  private unanswered = 0
  private nextId = 1
  private flushing = false
  private blocked = false
  private closeDetail = 'connection ended'
  isClosed = false

  constructor(socket: TLSSocket, isInbound: boolean, handlers: ConnectionHandlers) {
    this.socket = socket
    this.isInbound = isInbound
    this.handlers = handlers
    socket.setNoDelay(true)
    socket.on('data', (chunk: Buffer) => this.receive(chunk))
    socket.on('drain', () => {
      this.blocked = false
      this.flush()
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      this.closeDetail = error.code ?? error.message
    })
    socket.on('end', () => {
      this.closeDetail = 'end of stream'
      socket.destroy()
    })
    socket.on('close', () => this.closed())
  }

  control(type: number, value: unknown): void {
    this.push({
      kind: frameKinds.control,
      type,
      id: 0,
      body: value === undefined ? emptyBody : Buffer.from(JSON.stringify(value)),
    })
  }

  oneWay(type: number, body: Uint8Array): void {
    this.push({ kind: frameKinds.oneWay, type, id: 0, body })
  }

  request(request: PendingRequest): number {
    const id = this.nextId
    this.nextId = this.nextId === 0xffff_ffff ? 1 : this.nextId + 1
    this.pending.set(id, request)
    if (this.unanswered + request.body.length > unansweredBytesMax && this.unanswered > 0) {
      this.held.push({ id, request })
      this.queuedBytes += request.body.length
    } else this.sendRequest(id, request)
    return id
  }

  reply(id: number, body: Uint8Array | Error): void {
    if (body instanceof Error) this.push({ kind: frameKinds.error, type: 0, id, body: encodeError(body) })
    else this.push({ kind: frameKinds.reply, type: 0, id, body })
  }

  /** Gives a request up: a late reply is ignored. */
  forget(id: number): void {
    const request = this.pending.get(id)
    if (request === undefined) return
    this.pending.delete(id)
    this.settled(request)
  }

  /** Says goodbye, flushes, ends. */
  end(detail: string): void {
    if (this.isClosed) return
    this.saidGoodbye = true
    this.closeDetail = detail
    this.control(controlTypes.goodbye, { detail })
    this.blocked = false
    this.flush()
    this.socket.end()
  }

  destroy(detail: string): void {
    this.closeDetail = detail
    this.socket.destroy()
  }

  private sendRequest(id: number, request: PendingRequest): void {
    request.isSent = true
    this.unanswered += request.body.length
    this.push({ kind: frameKinds.request, type: request.type, id, body: request.body })
  }

  private settled(request: PendingRequest): void {
    if (request.isSent) this.unanswered -= request.body.length
    while (this.held.length > 0) {
      const next = this.held[0] as { id: number; request: PendingRequest }
      if (
        this.pending.get(next.id) === next.request &&
        this.unanswered > 0 &&
        this.unanswered + next.request.body.length > unansweredBytesMax
      )
        return
      this.held.shift()
      this.queuedBytes -= next.request.body.length
      if (this.pending.get(next.id) === next.request) this.sendRequest(next.id, next.request)
    }
  }

  private push(frame: Outgoing): void {
    this.queue.push(frame)
    this.queuedBytes += frame.body.length + frameHeaderBytes
    if (this.flushing) return
    this.flushing = true
    setImmediate(this.flush)
  }

  /** All frames of a turn in one write. */
  private readonly flush = (): void => {
    this.flushing = false
    if (this.blocked || this.queue.length === 0 || this.isClosed) return
    const frames = this.queue
    this.queue = []
    let size = 0
    for (const frame of frames) size += frame.body.length + frameHeaderBytes
    const bytes = Buffer.allocUnsafe(size)
    let at = 0
    for (const frame of frames) {
      at = writeFrameHeader(bytes, at, frame.kind, frame.type, frame.id, frame.body.length)
      bytes.set(frame.body, at)
      at += frame.body.length
    }
    this.queuedBytes -= size
    this.sentBytes += size
    this.sentFrames += frames.length
    this.blocked = !this.socket.write(bytes)
  }

  /** Bytes that wait in our queue and in the socket's. */
  get backlogBytes(): number {
    return this.queuedBytes + this.socket.writableLength
  }

  private receive(chunk: Buffer): void {
    this.receivedBytes += chunk.length
    const result = this.decoder.push(chunk, this.take)
    if (result !== 'ok') {
      this.handlers.onViolation(this, result.violation)
      this.destroy(`protocol violation: ${result.violation}`)
    }
  }

  private readonly take = (frame: Frame): void => {
    this.receivedFrames++
    switch (frame.kind) {
      case frameKinds.reply:
      case frameKinds.error: {
        const request = this.pending.get(frame.id)
        if (request === undefined) return
        this.pending.delete(frame.id)
        this.settled(request)
        if (frame.kind === frameKinds.reply) request.resolve(frame.body)
        else request.reject(decodeError(frame.body))
        return
      }
      case frameKinds.control:
        this.handlers.onControl(this, frame.type, frame.body)
        return
      default:
        if (this.isReady) this.handlers.onFrame(this, frame)
        else this.handlers.onViolation(this, 'a frame before the hello')
    }
  }

  private closed(): void {
    if (this.isClosed) return
    this.isClosed = true
    this.isReady = false
    const detail = this.closeDetail
    const requests = [...this.pending.values()]
    this.pending.clear()
    this.queue = []
    this.held = []
    this.queuedBytes = 0
    this.handlers.onClose(this, detail)
    for (const request of requests) {
      request.reject(
        request.isSent
          ? new SkeinError('outcome_unknown', `the connection was lost after the request was sent: ${detail}`)
          : new SkeinError(
              'peer_unreachable',
              `the connection was lost before the request was sent: ${detail}`,
              { retryable: true },
            ),
      )
    }
  }
}

function encodeError(error: Error): Uint8Array {
  const facts = isSkeinError(error)
    ? { code: error.code, message: error.message, retryable: error.retryable, details: error.details }
    : { code: 'internal', message: error.message, retryable: false, details: {} }
  return Buffer.from(JSON.stringify(facts))
}

function decodeError(body: Uint8Array): Error {
  try {
    const { code, message, retryable, details } = JSON.parse(Buffer.from(body).toString()) as {
      code: ErrorCode
      message: string
      retryable: boolean
      details: Record<string, unknown>
    }
    return new SkeinError(code, String(message), { retryable: retryable === true, details: details ?? {} })
  } catch (cause) {
    return new SkeinError('protocol_violation', 'the peer sent an error that cannot be read', { cause })
  }
}
