/**
 * A request that waits for its reply, and the wheel that ends it in time. Thousands are under way at once, so a deadline
 * must cost a few assignments: requests hang in the wheel's slots as linked lists, one coarse timer turns it.
 *
 * How a request travels must not live here.
 */
import { performance } from 'node:perf_hooks'
import { SkeinError } from '../../core/kernel/error.js'

const tickMs = 20
const slotCount = 256
/** A tick this late means that the process stood still: replies may lie unread in the sockets. */
const stallMs = 100
const noBytes = new Uint8Array(0)

export const requestStates = { waiting: 0, sent: 1, settled: 2 } as const
export type RequestState = (typeof requestStates)[keyof typeof requestStates]

export class PendingRequest {
  readonly type: number
  /** Let go of when settled. */
  body: Uint8Array
  /** Size of the body, also after it was let go. */
  readonly bodyBytes: number
  readonly deadlineMs: number
  state: RequestState = requestStates.waiting
  /** What it waits for before it can be sent; words for an error. */
  waitsFor: 'a connection' | 'credit' = 'a connection'
  /** Name on the connection that carries it. */
  id = 0
  /** Where its frame begins in the connection's stream. */
  streamAt = 0
  previous: PendingRequest | undefined
  next: PendingRequest | undefined
  /** Given back to the queue that holds it, when it is settled before it was sent. */
  onUnqueued: ((request: PendingRequest) => void) | undefined
  private readonly wheel: DeadlineWheel
  private readonly resolve: (body: Uint8Array) => void
  private readonly reject: (error: Error) => void
  private signal: AbortSignal | undefined
  private onAbort: (() => void) | undefined

  constructor(
    wheel: DeadlineWheel,
    type: number,
    body: Uint8Array,
    timeoutMs: number,
    resolve: (body: Uint8Array) => void,
    reject: (error: Error) => void,
  ) {
    this.wheel = wheel
    this.type = type
    this.body = body
    this.bodyBytes = body.length
    this.deadlineMs = performance.now() + timeoutMs
    this.resolve = resolve
    this.reject = reject
    wheel.add(this)
  }

  get isSettled(): boolean {
    return this.state === requestStates.settled
  }

  watch(signal: AbortSignal): void {
    this.signal = signal
    this.onAbort = () => {
      const detail = this.state === requestStates.sent ? 'it may have been carried out' : 'it was not sent'
      this.fail(
        new SkeinError('aborted', `the caller gave the request up: ${detail}`, { cause: signal.reason }),
      )
    }
    signal.addEventListener('abort', this.onAbort, { once: true })
  }

  succeed(body: Uint8Array): void {
    if (this.state === requestStates.settled) return
    this.settle()
    this.resolve(body)
  }

  fail(error: Error): void {
    if (this.state === requestStates.settled) return
    this.settle()
    this.reject(error)
  }

  expire(): void {
    if (this.state === requestStates.sent) {
      this.fail(new SkeinError('timeout', 'no reply in time; the request may have been carried out'))
    } else if (this.waitsFor === 'credit') {
      this.fail(
        new SkeinError('overloaded', 'the peer took no more requests in time; this one was not sent', {
          retryable: true,
        }),
      )
    } else {
      this.fail(
        new SkeinError('peer_unreachable', 'no connection in time; the request was not sent', {
          retryable: true,
        }),
      )
    }
  }

  private settle(): void {
    const wasWaiting = this.state === requestStates.waiting
    this.state = requestStates.settled
    this.body = noBytes
    this.wheel.remove(this)
    if (this.signal !== undefined && this.onAbort !== undefined) {
      this.signal.removeEventListener('abort', this.onAbort)
      this.signal = undefined
      this.onAbort = undefined
    }
    if (wasWaiting) this.onUnqueued?.(this)
    this.onUnqueued = undefined
  }
}

/** Deadlines with a resolution of 20 ms; never early, and never for a reply that lay unread while the process stood still. */
export class DeadlineWheel {
  private readonly slots = new Array<PendingRequest | undefined>(slotCount).fill(undefined)
  private count = 0
  private tick = 0
  private timer: NodeJS.Timeout | undefined

  add(request: PendingRequest): void {
    if (this.timer === undefined) this.start()
    const slot = Math.ceil(request.deadlineMs / tickMs) % slotCount
    const head = this.slots[slot]
    request.next = head
    if (head !== undefined) head.previous = request
    this.slots[slot] = request
    this.count++
  }

  /** Only of a request that was added and not yet removed. */
  remove(request: PendingRequest): void {
    const { previous, next } = request
    if (previous !== undefined) previous.next = next
    else this.slots[Math.ceil(request.deadlineMs / tickMs) % slotCount] = next
    if (next !== undefined) next.previous = previous
    request.previous = undefined
    request.next = undefined
    this.count--
  }

  stop(): void {
    clearInterval(this.timer)
    this.timer = undefined
  }

  private start(): void {
    this.tick = Math.floor(performance.now() / tickMs)
    this.timer = setInterval(() => this.turn(), tickMs)
    this.timer.unref()
  }

  private turn(): void {
    if (this.count === 0) {
      this.stop()
      return
    }
    const nowMs = performance.now()
    if (nowMs - this.tick * tickMs > stallMs + tickMs) setImmediate(() => this.expireUntil(nowMs))
    else this.expireUntil(nowMs)
  }

  private expireUntil(nowMs: number): void {
    const last = Math.floor(nowMs / tickMs)
    const first = Math.max(this.tick + 1, last - slotCount + 1)
    if (last > this.tick) this.tick = last
    for (let tick = first; tick <= last; tick++) {
      let request = this.slots[tick % slotCount]
      while (request !== undefined) {
        const { next } = request
        if (request.deadlineMs <= nowMs) request.expire()
        request = next
      }
    }
  }
}
