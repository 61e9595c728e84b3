/** A call on its way through a handler. Most handlers never look at the signal: it costs something only when they do. */
import type { NodeId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import { monotonicMs } from '../host-clock.js'
import type { HandlerContext, StreamContext } from './api-types.js'
import type { Incoming } from './flow.js'
import type { CallHead } from './wire.js'

const nothing: AsyncIterable<never> = {
  [Symbol.asyncIterator]: () => ({ next: async () => ({ done: true, value: undefined }) }),
}

export class RunningCall implements StreamContext<never> {
  readonly from: NodeId
  readonly traceparent: string
  private readonly tracestate: string | undefined
  /** Monotonic; 0 for none. */
  private readonly endMs: number
  private readonly outer: AbortSignal | undefined
  private controller: AbortController | undefined
  private timer: NodeJS.Timeout | undefined
  /** The timer rang, which it may do a little before its time. */
  private isLate = false
  private readonly outerAborted = (): void => this.abort(this.outer?.reason)
  /** What the handler reads of the caller's items. */
  incoming: AsyncIterable<never> = nothing
  /** Where they are put in; undefined for a call that is no stream. */
  uploads: Incoming | undefined

  constructor(from: NodeId, head: Pick<CallHead, 'timeoutMs' | 'trace'>, outer?: AbortSignal) {
    this.from = from
    this.endMs = head.timeoutMs === 0 ? 0 : monotonicMs() + head.timeoutMs
    const line = head.trace.indexOf('\n')
    this.traceparent = line < 0 ? head.trace : head.trace.slice(0, line)
    this.tracestate = line < 0 ? undefined : head.trace.slice(line + 1)
    this.outer = outer
  }

  get signal(): AbortSignal {
    if (this.controller !== undefined) return this.controller.signal
    this.controller = new AbortController()
    if (this.outer?.aborted === true) this.controller.abort(this.outer.reason)
    else {
      this.outer?.addEventListener('abort', this.outerAborted, { once: true })
      if (this.endMs > 0) {
        this.timer = setTimeout(
          () => {
            this.isLate = true
            this.abort(new SkeinError('timeout', "the caller's time is over"))
          },
          Math.max(0, this.endMs - monotonicMs()),
        )
        this.timer.unref()
      }
    }
    return this.controller.signal
  }

  /** The caller's time is over: what the handler made of the abort is no answer to the call. */
  requireTime(title: string): void {
    if (this.isLate || (this.endMs > 0 && monotonicMs() >= this.endMs))
      throw new SkeinError('timeout', `${title}: its time was over before it was done`, {
        details: { outcome: 'unknown' },
      })
  }

  get deadlineMs(): number | undefined {
    return this.endMs === 0 ? undefined : Date.now() + this.endMs - monotonicMs()
  }

  get onward(): HandlerContext['onward'] {
    const { signal, traceparent, tracestate } = this
    return {
      signal,
      ...(this.endMs === 0 ? {} : { timeoutMs: Math.max(1, Math.ceil(this.endMs - monotonicMs())) }),
      ...(traceparent === '' ? {} : { traceparent }),
      ...(tracestate === undefined ? {} : { tracestate }),
    }
  }

  abort(reason: unknown): void {
    this.uploads?.fail(reason)
    if (this.controller === undefined) this.controller = new AbortController()
    this.controller.abort(reason)
  }

  over(): void {
    clearTimeout(this.timer)
    this.outer?.removeEventListener('abort', this.outerAborted)
    void this.uploads?.return()
  }
}
