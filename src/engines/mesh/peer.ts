/**
 * What is known of one peer address: the connection in use, what waits for one, and when to dial again. Two nodes that
 * dial each other at once end up with two connections; both keep the one dialled by the smaller node id, and the other
 * is retired: it carries what is under way to its end. Sockets are not handled here.
 */
import { performance } from 'node:perf_hooks'
import { SkeinError } from '../../core/kernel/error.js'
import type { ConnectionEvent, Hello, PeerStats } from '../../ports/transport.js'
import type { DialFailure } from './carrier.js'
import { type Connection, heldBytes } from './connection.js'
import { Fifo } from './fifo.js'
import { PendingRequest } from './pending-request.js'

const backoffMsMin = 50
const backoffMsMax = 5_000
/** A peer used so recently is redialled at once when its connection is lost. */
const recentlyUsedMs = 60_000
/** A refused node is not asked again soon: a person must change something first. */
const rejectedAttempts = 6

/**
 * The kernel closes a killed process's connections before its listener, so the redial may meet a listener that is about
 * to go, and be reset. So many more dials, so far apart, tell whether anybody is left.
 */
const afterLossDials = 4
const afterLossMs = 4

/**
 * TCP tries a path that was broken again only after about as long as it was broken. So a connection that answers nothing
 * is asked whether anybody is there, and then another one is dialled beside it; whichever works is used.
 */
const askAfterMs = 500
const silentMsMax = 2_000
/**
 * Of two connections to one boot the newer wins if the older has been open for so long: then they were not dialled at
 * once from both ends, and who dialled had a reason. Longer than both handshakes may take, so that both ends see it alike.
 */
const newerWinsAfterMs = 4_000
const besideAfterMs = 5_000

interface OneWay {
  readonly type: number
  readonly body: Uint8Array
}

export interface Pool {
  readonly nodeId: string
  readonly isClosing: boolean
  readonly random: () => number
  /** Begins a dial of the peer; ends in `adopt` or `dialFailed`. Returns what `dialling` is set to. */
  beginDial(peer: Peer): object
  emit(event: ConnectionEvent): void
}

interface Totals {
  sentBytes: number
  receivedBytes: number
  sentFrames: number
  receivedFrames: number
}

export class Peer {
  readonly address: string
  /** The addresses under which the runtime asked for this peer to be kept. */
  readonly keptBy = new Set<string>()
  connection: Connection | undefined
  /** The dial or the greeting under way. */
  dialling: object | undefined
  lastUsedMs = performance.now()
  lastSeenMs = 0
  /** Of connections that are closed. */
  readonly totals: Totals = { sentBytes: 0, receivedBytes: 0, sentFrames: 0, receivedFrames: 0 }
  waitingBytes = 0
  private readonly pool: Pool
  private readonly waiting = new Fifo<PendingRequest | OneWay>()
  /** What the last `up` said, until the end of it was told. */
  private announced: Hello | undefined
  private attempts = 0
  private redialAtMs = 0
  private redialTimer: NodeJS.Timeout | undefined
  private afterLossLeft = 0

  constructor(address: string, pool: Pool) {
    this.address = address
    this.pool = pool
  }

  get isIdle(): boolean {
    return (
      this.connection === undefined &&
      this.dialling === undefined &&
      this.keptBy.size === 0 &&
      this.waiting.length === 0
    )
  }

  get queuedBytes(): number {
    return this.waitingBytes + (this.connection?.backlogBytes ?? 0)
  }

  get attemptCount(): number {
    return this.attempts
  }

  get retryInMs(): number {
    return Math.max(0, this.redialAtMs - performance.now())
  }

  get circuit(): NonNullable<PeerStats['circuit']> {
    if (this.connection !== undefined || this.attempts === 0) return 'closed'
    return this.dialling === undefined && this.retryInMs > 0 ? 'open' : 'half_open'
  }

  // Waiting for a connection.

  waitOneWay(type: number, body: Uint8Array): void {
    this.waiting.push({ type, body })
    this.waitingBytes += body.length + heldBytes
  }

  waitRequest(request: PendingRequest): void {
    request.waitsFor = 'a connection'
    request.onUnqueued = this.unqueue
    this.waiting.push(request)
    this.waitingBytes += request.bodyBytes + heldBytes
  }

  private readonly unqueue = (request: PendingRequest): void => {
    this.waitingBytes -= request.bodyBytes + heldBytes
  }

  /** Everything that waits and still matters, taken out. */
  takeWaiting(): (PendingRequest | OneWay)[] {
    this.waitingBytes = 0
    const items = this.waiting.drain().filter((item) => !(item instanceof PendingRequest && item.isSettled))
    for (const item of items) if (item instanceof PendingRequest) item.onUnqueued = undefined
    return items
  }

  failWaiting(error: () => SkeinError): void {
    for (const item of this.takeWaiting()) if (item instanceof PendingRequest) item.fail(error())
  }

  // Dialling.

  /** False while the backoff after a failed dial lasts, unless `atOnce`. */
  dial(atOnce: boolean): boolean {
    if (this.connection !== undefined || this.dialling !== undefined) return true
    if (this.pool.isClosing || (!atOnce && this.retryInMs > 0)) return false
    clearTimeout(this.redialTimer)
    this.attempts++
    this.dialling = this.pool.beginDial(this)
    return true
  }

  dialFailed(failure: DialFailure | { readonly type: 'self'; readonly detail: string }): void {
    this.dialling = undefined
    if (this.pool.isClosing) return
    if (failure.type === 'unreachable' && failure.wasReset === true && this.afterLossLeft > 0) {
      this.dialAfterLoss()
      return
    }
    const isHopeless = failure.type === 'rejected' || failure.type === 'self'
    if (isHopeless) this.attempts = Math.max(this.attempts, rejectedAttempts)
    this.redialLater(Math.min(backoffMsMax, backoffMsMin * 2 ** Math.min(this.attempts - 1, 20)))
    if (this.connection !== undefined) return
    const { address } = this
    this.failWaiting(() => unreachable(address, failure.detail))
    if (failure.type === 'self') {
      this.pool.emit({ type: 'unreachable', address, detail: failure.detail })
    } else if (failure.type === 'rejected') this.pool.emit({ ...failure, address, inbound: false })
    else this.pool.emit({ type: failure.type, address, detail: failure.detail })
  }

  private dialAfterLoss(): void {
    this.afterLossLeft--
    const timer = setTimeout(() => {
      if (this.dialling !== timer) return
      this.dialling = undefined
      this.dial(true)
    }, afterLossMs)
    timer.unref()
    this.dialling = timer
  }

  private redialLater(backoffMs: number): void {
    const delayMs = backoffMs * (0.5 + this.pool.random() / 2)
    this.redialAtMs = performance.now() + delayMs
    clearTimeout(this.redialTimer)
    if (this.keptBy.size === 0) return
    this.redialTimer = setTimeout(() => {
      if (this.keptBy.size > 0) this.dial(true)
    }, delayMs)
    this.redialTimer.unref()
  }

  stop(): void {
    clearTimeout(this.redialTimer)
  }

  // Connections.

  /** Takes a connection whose hello was accepted into use. */
  adopt(connection: Connection): void {
    const hello = connection.hello as Hello
    const current = this.connection
    clearTimeout(this.redialTimer)
    this.attempts = 0
    this.redialAtMs = 0
    this.afterLossLeft = 0
    if (current === undefined) this.connection = connection
    else if (isSameBoot(current.hello as Hello, hello)) {
      this.connection = this.preferred(current, connection)
      const spare = this.connection === current ? connection : current
      for (const request of spare.takeHeld()) this.connection.request(request)
      spare.retire()
    } else {
      this.connection = connection
      this.announceEnd('lost', 'another boot took its place')
      current.destroy('another boot took its place')
    }
    for (const item of this.takeWaiting()) {
      if (item instanceof PendingRequest) this.connection.request(item)
      else this.connection.oneWay(item.type, item.body)
    }
    if (this.announced !== undefined && isSameBoot(this.announced, hello)) return
    this.announceEnd('lost', 'another boot took its place')
    this.announced = hello
    this.pool.emit({ type: 'up', address: this.address, hello, inbound: connection.isInbound })
  }

  /** Dials beside a connection that answers nothing, again and again until one of them does. */
  mendIfSilent(connection: Connection, nowMs: number): void {
    const silentMs = connection.silentMs(nowMs)
    if (silentMs < askAfterMs || this.pool.isClosing) return
    connection.ping()
    const isOldEnough = nowMs - connection.openedMs > besideAfterMs
    if (silentMs > silentMsMax && isOldEnough && this.dialling === undefined && this.retryInMs === 0)
      this.dialling = this.pool.beginDial(this)
  }

  private preferred(current: Connection, next: Connection): Connection {
    if (performance.now() - current.openedMs > newerWinsAfterMs) return next
    if (current.isInbound === next.isInbound) return next
    const weDialWins = this.pool.nodeId < (next.hello as Hello).nodeId
    return next.isInbound === weDialWins ? current : next
  }

  /** Stops using the connection, by our wish or the other end's, without losing what is under way on it. */
  retire(connection: Connection): void {
    if (this.connection === connection) {
      this.connection = undefined
      for (const request of connection.takeHeld()) this.waitRequest(request)
      if (this.waiting.length > 0 || this.keptBy.size > 0) this.dial(true)
    }
    connection.retire()
  }

  /** A connection that was adopted is closed. `unsent` may be sent again, on another one. */
  connectionClosed(connection: Connection, detail: string, unsent: readonly PendingRequest[]): void {
    this.totals.sentBytes += connection.sentBytes
    this.totals.receivedBytes += connection.receivedBytes
    this.totals.sentFrames += connection.sentFrames
    this.totals.receivedFrames += connection.receivedFrames
    this.lastSeenMs = Math.max(this.lastSeenMs, connection.lastSeenMs)
    if (this.connection === connection) this.connection = undefined
    if (this.pool.isClosing) {
      for (const request of unsent) request.fail(new SkeinError('closed', 'this node is closing; not sent'))
      return
    }
    if (this.connection !== undefined) {
      for (const request of unsent) this.connection.request(request)
      return
    }
    for (const request of unsent) this.waitRequest(request)
    const isByAgreement = connection.isParting
    this.afterLossLeft = afterLossDials
    this.announceEnd(isByAgreement ? 'closed' : 'lost', detail)
    const isWanted = this.keptBy.size > 0 || performance.now() - this.lastUsedMs < recentlyUsedMs
    if (this.waiting.length > 0 || (isWanted && !isByAgreement)) this.dial(true)
    else if (this.keptBy.size > 0) this.redialLater(backoffMsMin)
  }

  private announceEnd(type: 'lost' | 'closed', detail: string): void {
    if (this.announced === undefined) return
    const { nodeId, bootId } = this.announced
    this.announced = undefined
    this.pool.emit({ type, address: this.address, nodeId, bootId, detail })
  }
}

export function unreachable(address: string, detail: string, retryInMs = 0): SkeinError {
  return new SkeinError('peer_unreachable', `${address}: ${detail}; the request was not sent`, {
    retryable: true,
    details: { address, retry_in_ms: Math.ceil(retryInMs) },
  })
}

function isSameBoot(a: Hello, b: Hello): boolean {
  return a.nodeId === b.nodeId && a.bootId === b.bootId
}
