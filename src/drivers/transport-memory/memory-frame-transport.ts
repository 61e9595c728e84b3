/**
 * Frames over a {@link MemoryNetwork}, by the same contract as real connections: hello, pooled links, events, requests
 * with credit and deadlines. For tests: no bytes are encoded, and a dial takes one delay.
 */
import type { Address } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import { frameBodyBytesMax } from '../../core/wire/frame.js'
import { checkHello } from '../../core/wire/hello.js'
import type {
  ConnectionEvent,
  FrameHandler,
  FrameTransport,
  Hello,
  PeerStats,
} from '../../ports/transport.js'
import { MemoryPipe } from './memory-link.js'
import type { MemoryNetwork } from './memory-network.js'

export interface MemoryFrameTransportOptions {
  readonly network: MemoryNetwork
  /** Chosen by the network when absent. */
  readonly address?: Address
  /** Default 32 MiB. */
  readonly queueBytesMax?: number
  /** Unanswered requests to one peer; more wait. Default 1,024. */
  readonly requestsPerPeerMax?: number
}

const dialTimeoutMs = 2_000
const redialMs = 50

interface Call {
  readonly type: number
  readonly body: Uint8Array
  readonly end: (result: Uint8Array | SkeinError) => void
  isSent: boolean
}

interface Link {
  readonly hello: Hello
  readonly pipe: MemoryPipe
  /** The other end of it. */
  readonly other: MemoryFrameTransport
}

class MemoryPeer {
  link: Link | undefined
  isDialling = false
  isKept = false
  attempts = 0
  lastSeenMs = 0
  unanswered = 0
  waiting: ({ type: number; body: Uint8Array } | Call)[] = []
  readonly calls = new Set<Call>()
  readonly counts = { sentBytes: 0, receivedBytes: 0, sentFrames: 0, receivedFrames: 0 }
}

export class MemoryFrameTransport implements FrameTransport {
  private readonly network: MemoryNetwork
  private readonly options: MemoryFrameTransportOptions
  private readonly table = new Map<Address, MemoryPeer>()
  private hello: Hello | undefined
  private isClosed = false
  private frameHandler: FrameHandler = () => undefined
  private connectionHandler: (event: ConnectionEvent) => void = () => undefined

  constructor(options: MemoryFrameTransportOptions) {
    this.options = options
    this.network = options.network
  }

  async open(hello: Omit<Hello, 'address'>): Promise<Address> {
    const address = this.network.bind('frames', this, this.options.address)
    this.hello = { ...hello, address }
    return address
  }

  send(to: Address, type: number, body: Uint8Array): 'queued' | 'full' | 'closed' {
    if (this.hello === undefined || this.isClosed) return 'closed'
    if (body.length > frameBodyBytesMax) throw tooLarge(body)
    const peer = this.peer(to)
    if (this.queuedBytes(peer) + body.length > this.queueBytesMax) return 'full'
    const copy = body.slice()
    if (peer.link !== undefined) this.oneWay(peer, peer.link, type, copy)
    else {
      peer.waiting.push({ type, body: copy })
      this.dial(to, peer)
    }
    return 'queued'
  }

  request(
    to: Address,
    type: number,
    body: Uint8Array,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Uint8Array> {
    const { signal, timeoutMs } = options
    const { timers } = this.network
    return new Promise((resolve, reject) => {
      const refusal = this.whyNotSent(to, body, signal)
      if (refusal !== undefined) {
        reject(refusal)
        return
      }
      const peer = this.peer(to)
      const call: Call = {
        type,
        body: body.slice(),
        isSent: false,
        end: (result) => {
          if (!peer.calls.delete(call)) return
          timers.clearTimer(timer)
          signal?.removeEventListener('abort', onAbort)
          if (result instanceof SkeinError) reject(result)
          else resolve(result)
        },
      }
      const onAbort = (): void => call.end(new SkeinError('aborted', 'the caller gave the request up'))
      const timer = timers.setTimer(() => call.end(late(peer, call)), timeoutMs)
      signal?.addEventListener('abort', onAbort, { once: true })
      peer.calls.add(call)
      peer.waiting.push(call)
      if (peer.link !== undefined) this.pump(peer)
      else this.dial(to, peer)
    })
  }

  keep(to: Address): void {
    const peer = this.peer(to)
    peer.isKept = true
    this.dial(to, peer)
  }

  unkeep(to: Address): void {
    this.peer(to).isKept = false
  }

  redial(to: Address): void {
    this.dial(to, this.peer(to))
  }

  onFrame(handler: FrameHandler): void {
    this.frameHandler = handler
  }

  onConnection(handler: (event: ConnectionEvent) => void): void {
    this.connectionHandler = handler
  }

  peers(): readonly PeerStats[] {
    return [...this.table].map(([address, peer]) => ({
      ...peer.counts,
      address,
      connected: peer.link !== undefined,
      queuedBytes: this.queuedBytes(peer),
      attemptCount: peer.attempts,
      lastSeenMs: peer.lastSeenMs,
    }))
  }

  async close(): Promise<void> {
    if (this.isClosed) return
    this.isClosed = true
    const address = this.hello?.address
    if (address === undefined) return
    this.network.unbind('frames', address)
    for (const peer of this.table.values()) {
      const { link } = peer
      // What is on the way arrives, and the goodbye after it.
      link?.pipe.carry(0, () => link.other.ended(address, true))
      peer.link = undefined
      this.unlink(peer, 'this node is closing')
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  // For the network and for other transports.

  /** The process is gone: no goodbye. */
  crashed(): void {
    this.isClosed = true
    const address = (this.hello as Hello).address
    for (const peer of this.table.values()) {
      const { link } = peer
      this.unlink(peer, 'crashed')
      if (link !== undefined) this.network.later(() => link.other.ended(address, false))
    }
  }

  healed(address: Address): void {
    const peer = this.table.get(address)
    if (peer === undefined) return
    peer.link?.pipe.resume()
    if (peer.isKept) this.dial(address, peer)
  }

  /** The other end's link to us ended. */
  ended(address: Address, isByAgreement: boolean): void {
    const peer = this.table.get(address)
    if (peer?.link === undefined || this.isClosed) return
    const { nodeId, bootId } = peer.link.hello
    const detail = isByAgreement ? 'the node is closing' : 'connection reset'
    this.unlink(peer, detail)
    this.connectionHandler({ type: isByAgreement ? 'closed' : 'lost', address, nodeId, bootId, detail })
    if (!isByAgreement || peer.isKept || peer.waiting.length > 0) this.dial(address, peer)
  }

  /** Both ends are of one mind: from here on frames flow. */
  linked(other: MemoryFrameTransport, theirs: Hello, isInbound: boolean): void {
    const peer = this.peer(theirs.address)
    peer.isDialling = false
    peer.attempts = 0
    if (peer.link !== undefined) return
    const pipe = new MemoryPipe(this.network, this.hello as Hello, theirs.address)
    peer.link = { hello: theirs, pipe, other }
    this.connectionHandler({ type: 'up', address: theirs.address, hello: theirs, inbound: isInbound })
    this.pump(peer)
  }

  rejected(address: Address, code: string, detail: string, inbound: boolean): void {
    const peer = this.table.get(address)
    if (peer !== undefined) this.dialFailed(address, peer, detail)
    this.connectionHandler({ type: 'rejected', address, code, detail, inbound })
  }

  private take(from: Hello, bytes: number, frame: Parameters<FrameHandler>[0]): void {
    if (this.isClosed) return
    const { counts } = this.seen(from.address)
    counts.receivedFrames++
    counts.receivedBytes += bytes
    try {
      this.frameHandler(frame)
    } catch (error) {
      frame.reply?.(new SkeinError('internal', error instanceof Error ? error.message : String(error)))
    }
  }

  // Links.

  private dial(address: Address, peer: MemoryPeer): void {
    if (peer.link !== undefined || peer.isDialling || this.isClosed) return
    peer.isDialling = true
    peer.attempts++
    const ours = this.hello as Hello
    if (this.network.isCut(ours.address, address)) {
      this.network.timers.setTimer(() => {
        if (peer.link !== undefined) return
        const detail = `${address} did not answer within ${dialTimeoutMs} ms`
        this.dialFailed(address, peer, detail)
        this.connectionHandler({ type: 'unreachable', address, detail })
      }, dialTimeoutMs)
      return
    }
    this.network.later(() => this.arriveAt(address, peer, ours))
  }

  private arriveAt(address: Address, peer: MemoryPeer, ours: Hello): void {
    if (this.isClosed || peer.link !== undefined) return
    const other = this.network.listenerAt(address)
    if (other === undefined || other.hello === undefined) {
      const detail = `nobody listens at ${address}`
      this.dialFailed(address, peer, detail)
      this.connectionHandler({ type: 'refused', address, detail })
      return
    }
    const theirs = other.hello
    const verdict = checkHello(ours, theirs)
    const inverse = checkHello(theirs, ours)
    if (!verdict.ok || !inverse.ok) {
      if (!inverse.ok) other.rejected(ours.address, inverse.code, inverse.detail, true)
      if (!verdict.ok) this.rejected(address, verdict.code, verdict.detail, false)
      return
    }
    other.linked(this, ours, true)
    this.linked(other, theirs, false)
  }

  private dialFailed(address: Address, peer: MemoryPeer, detail: string): void {
    peer.isDialling = false
    for (const item of peer.waiting.splice(0)) {
      if ('end' in item)
        item.end(new SkeinError('peer_unreachable', `${detail}; not sent`, { retryable: true }))
    }
    if (peer.isKept && !this.isClosed) {
      this.network.timers.setTimer(() => {
        if (peer.isKept) this.dial(address, peer)
      }, redialMs)
    }
  }

  private unlink(peer: MemoryPeer, detail: string): void {
    peer.link?.pipe.close()
    peer.link = undefined
    peer.unanswered = 0
    for (const call of [...peer.calls]) {
      if (call.isSent) call.end(new SkeinError('outcome_unknown', `lost after it was sent: ${detail}`))
      else if (this.isClosed) call.end(new SkeinError('closed', 'this node is closing; not sent'))
    }
    peer.waiting = peer.waiting.filter((item) => !('end' in item) || peer.calls.has(item))
  }

  // Frames.

  /** Sends what waits, as far as credit goes. */
  private pump(peer: MemoryPeer): void {
    for (let item = peer.waiting[0]; item !== undefined && peer.link !== undefined; item = peer.waiting[0]) {
      if ('end' in item) {
        if (peer.calls.has(item)) {
          if (peer.unanswered >= (this.options.requestsPerPeerMax ?? 1_024)) return
          this.call(peer, peer.link, item)
        }
      } else this.oneWay(peer, peer.link, item.type, item.body)
      peer.waiting.shift()
    }
  }

  private oneWay(peer: MemoryPeer, link: Link, type: number, body: Uint8Array): void {
    const from = this.hello as Hello
    peer.counts.sentFrames++
    peer.counts.sentBytes += body.length
    link.pipe.carry(body.length, () => link.other.take(from, body.length, { from, type, body }))
  }

  private call(peer: MemoryPeer, link: Link, call: Call): void {
    const from = this.hello as Hello
    const { type, body } = call
    call.isSent = true
    peer.unanswered++
    peer.counts.sentFrames++
    peer.counts.sentBytes += body.length
    let isAnswered = false
    const reply = (answer: Uint8Array | Error): void => {
      if (isAnswered) return
      isAnswered = true
      link.other.answer(from.address, answer, (result) => {
        if (peer.link !== link) return
        peer.unanswered--
        const { counts } = this.seen(link.hello.address)
        counts.receivedFrames++
        counts.receivedBytes += result instanceof Uint8Array ? result.length : 0
        call.end(result)
        this.pump(peer)
      })
    }
    link.pipe.carry(body.length, () => link.other.take(from, body.length, { from, type, body, reply }))
  }

  /** Carries an answer back to the asker. */
  private answer(
    to: Address,
    answer: Uint8Array | Error,
    arrive: (r: Uint8Array | SkeinError) => void,
  ): void {
    const pipe = this.table.get(to)?.link?.pipe
    if (answer instanceof Error) {
      const { code, retryable, details } =
        answer instanceof SkeinError ? answer : new SkeinError('internal', answer.message)
      const error = new SkeinError(code, answer.message, { retryable, details })
      pipe?.carry(0, () => arrive(error))
    } else {
      const copy = answer.slice()
      pipe?.carry(copy.length, () => arrive(copy))
    }
  }

  private whyNotSent(to: Address, body: Uint8Array, signal: AbortSignal | undefined): SkeinError | undefined {
    if (this.hello === undefined || this.isClosed) return new SkeinError('closed', 'not open; not sent')
    if (signal?.aborted === true) return new SkeinError('aborted', 'given up before it was sent')
    if (body.length > frameBodyBytesMax) return tooLarge(body)
    if (this.queuedBytes(this.peer(to)) + body.length <= this.queueBytesMax) return undefined
    return new SkeinError('overloaded', `too much waits for ${to}; not sent`, { retryable: true })
  }

  private queuedBytes(peer: MemoryPeer): number {
    let bytes = peer.link?.pipe.queuedBytes ?? 0
    for (const item of peer.waiting) bytes += item.body.length
    return bytes
  }

  private seen(address: Address): MemoryPeer {
    const peer = this.peer(address)
    peer.lastSeenMs = this.network.timers.nowMs()
    return peer
  }

  private peer(address: Address): MemoryPeer {
    let peer = this.table.get(address)
    if (peer === undefined) {
      peer = new MemoryPeer()
      this.table.set(address, peer)
    }
    return peer
  }

  private get queueBytesMax(): number {
    return this.options.queueBytesMax ?? 32 * 1024 * 1024
  }
}

function late(peer: MemoryPeer, call: Call): SkeinError {
  if (call.isSent) return new SkeinError('timeout', 'no reply in time; it may have been carried out')
  const code = peer.link === undefined ? 'peer_unreachable' : 'overloaded'
  return new SkeinError(code, 'not sent in time', { retryable: true })
}

function tooLarge(body: Uint8Array): SkeinError {
  return new SkeinError('frame_too_large', `a body of ${body.length} bytes; ${frameBodyBytesMax} are allowed`)
}
