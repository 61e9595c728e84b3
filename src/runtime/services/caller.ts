/** The asking side: one call, over as many instances and tries as it may take, and both ends of a stream. */
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import type { Fabric } from '../fabric.js'
import { monotonicMs } from '../host-clock.js'
import type { CallOutcome } from '../metrics/program-metrics.js'
import type { CallOptions, StreamOptions } from './api-types.js'
import { CallMeters, outcomeOf } from './call-meter.js'
import { Incoming, Outgoing } from './flow.js'
import type { Choice, Instance } from './instances.js'
import { type Provider, timeoutMsMax } from './provider.js'
import type { Tracing } from './tracing.js'
import {
  type ItemsFrame,
  packCall,
  packCancel,
  packItems,
  serviceFrames,
  traceBytesMax,
  unpackItems,
  unpackResult,
} from './wire.js'

/** `tried`: whom it was tried with, in vain. Throws when there is nobody to ask. */
export type Chooser = (tried: readonly Instance[]) => Choice

export const callDefaults = { timeoutMs: 5_000, retries: 2 } as const
const retriesMax = 10
const pauseMsMin = 10
const pauseMsMax = 500
const nothing = new Uint8Array(0)

interface ClientStream {
  readonly nodeId: string
  readonly items: Incoming
}

/** What does not change from try to try. */
interface Terms {
  readonly title: string
  readonly input: unknown
  readonly endMs: number
  readonly trace: string
  readonly isIdempotent: boolean | undefined
}

export class Caller {
  private readonly fabric: Fabric
  private readonly provider: Provider
  private readonly tracing: Tracing
  readonly meters = new CallMeters()
  private readonly streams = new Map<number, ClientStream>()
  private lastId = 0

  constructor(fabric: Fabric, provider: Provider, tracing: Tracing) {
    this.fabric = fabric
    this.provider = provider
    this.tracing = tracing
    fabric.handle(serviceFrames.items, ({ from, body, reply }) => {
      if (reply === undefined) return
      const frame = unpackItems(body)
      if (frame.toProvider) provider.receiveItems(from, frame, reply)
      else this.receiveItems(from.nodeId, frame, reply)
    })
  }

  /** Counted under `service`. */
  async call(
    service: string,
    title: string,
    choose: Chooser,
    input: unknown,
    options: CallOptions,
  ): Promise<unknown> {
    const timeoutMs = checkedTimeout(options.timeoutMs ?? callDefaults.timeoutMs, 1)
    checkTries(options)
    const startMs = monotonicMs()
    const meter = this.meters.of(service)
    meter.inFlight++
    let outcome: CallOutcome = 'ok'
    try {
      return await this.tried(title, choose, input, options, startMs + timeoutMs)
    } catch (error) {
      outcome = outcomeOf(error)
      throw error
    } finally {
      meter.inFlight--
      meter.ended(outcome, monotonicMs() - startMs)
    }
  }

  private async tried(
    title: string,
    choose: Chooser,
    input: unknown,
    options: CallOptions,
    endMs: number,
  ): Promise<unknown> {
    const terms: Terms = {
      title,
      input,
      endMs,
      trace: this.traceOf(options),
      isIdempotent: options.idempotent,
    }
    const choice = choose([])
    try {
      if (options.hedgeMs !== undefined) return await this.hedged(terms, choice, choose, options)
      return await this.once(terms, choice, options.signal)
    } catch (error) {
      return this.again(terms, [choice.instance], choose, options, error)
    }
  }

  stream(
    title: string,
    choose: Chooser,
    input: unknown,
    options: StreamOptions,
  ): AsyncIterableIterator<unknown> {
    const { instance, method } = choose([])
    const timeoutMs = options.timeoutMs === undefined ? 0 : checkedTimeout(options.timeoutMs, 1)
    const trace = this.traceOf(options)
    const upload = options.upload ?? []
    if (instance.nodeId === this.fabric.nodeId)
      return this.provider.streamHere(method.slot, input, upload, { timeoutMs, trace }, options.signal)
    return this.streamFrom(title, { instance, method }, input, { ...options, upload }, timeoutMs, trace)
  }

  /** After a try that failed, as long as it is safe, allowed and in time. */
  private async again(
    terms: Terms,
    tried: Instance[],
    choose: Chooser,
    options: CallOptions,
    first: unknown,
  ): Promise<unknown> {
    const { retries = callDefaults.retries } = options
    let error = first
    for (let attempt = 0; attempt < retries; attempt++) {
      if (!mayBeTriedAgain(error) || options.signal?.aborted === true) break
      // The second instance is asked at once; after that it helps to wait.
      const pauseMs = attempt === 0 ? 0 : Math.random() * Math.min(pauseMsMax, pauseMsMin * 2 ** attempt)
      if (terms.endMs - monotonicMs() <= pauseMs) break
      if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs))
      let choice: Choice
      try {
        choice = choose(tried)
      } catch {
        // Nobody else to ask: what went wrong with those who were says more.
        continue
      }
      tried.push(choice.instance)
      try {
        return await this.once(terms, choice, options.signal)
      } catch (next) {
        error = next
      }
    }
    throw error
  }

  private async hedged(terms: Terms, first: Choice, choose: Chooser, options: CallOptions): Promise<unknown> {
    const isIdempotent = terms.isIdempotent ?? first.method.isIdempotent
    if (!isIdempotent)
      throw new SkeinError(
        'invalid_argument',
        `${terms.title}: hedgeMs is only for what is declared idempotent`,
        {
          details: { field: 'hedgeMs' },
        },
      )
    const loser = new AbortController()
    const signal =
      options.signal === undefined ? loser.signal : AbortSignal.any([loser.signal, options.signal])
    const answers = [this.once(terms, first, signal)]
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), options.hedgeMs)
    })
    try {
      const winner = await Promise.race([answers[0], late])
      if (winner !== 'late') return winner
      try {
        const second = choose([first.instance])
        if (second.instance !== first.instance) answers.push(this.once(terms, second, signal))
      } catch {
        // There is no second one: the first has all the time that is left.
      }
      return await Promise.any(answers).catch((errors: AggregateError) => {
        throw errors.errors[0]
      })
    } finally {
      clearTimeout(timer)
      loser.abort(new SkeinError('aborted', 'another instance was faster'))
    }
  }

  /** One try with one instance. */
  private async once(
    terms: Terms,
    { instance, method }: Choice,
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    const timeoutMs = Math.max(1, Math.ceil(terms.endMs - monotonicMs()))
    const { nodeId, breaker } = instance
    const { title, trace } = terms
    instance.inFlight++
    if (!breaker.isClosed) breaker.begin(monotonicMs())
    try {
      if (nodeId === this.fabric.nodeId)
        return await within(
          this.provider.callHere(method.slot, terms.input, { timeoutMs, trace }, signal),
          terms,
          timeoutMs,
          nodeId,
          signal,
        )
      const callId = this.nextId()
      const head = { slot: method.slot, callId, timeoutMs, trace, isStream: false }
      const body = packCall(head, terms.input)
      const options = signal === undefined ? { timeoutMs } : { timeoutMs, signal }
      const cancel = signal === undefined ? undefined : () => this.cancel(nodeId, callId)
      if (cancel !== undefined) signal?.addEventListener('abort', cancel, { once: true })
      let reply: Uint8Array
      try {
        reply = await this.fabric.request(nodeId, serviceFrames.call, body, options)
      } catch (error) {
        if (isTrouble(error)) breaker.failed(monotonicMs())
        throw explained(error, title, nodeId, timeoutMs)
      } finally {
        if (cancel !== undefined) signal?.removeEventListener('abort', cancel)
      }
      breaker.succeeded()
      return unpackResult(reply)
    } catch (error) {
      if (
        isSkeinError(error) &&
        error.code === 'outcome_unknown' &&
        (terms.isIdempotent ?? method.isIdempotent)
      )
        throw new SkeinError(error.code, error.message, { details: error.details, retryable: true })
      throw error
    } finally {
      instance.inFlight--
    }
  }

  private async *streamFrom(
    title: string,
    { instance, method }: Choice,
    input: unknown,
    options: StreamOptions & { readonly upload: AsyncIterable<unknown> | Iterable<unknown> },
    timeoutMs: number,
    trace: string,
  ): AsyncGenerator<unknown> {
    const { nodeId } = instance
    const callId = this.nextId()
    const items = new Incoming()
    const left = new AbortController()
    const signal = options.signal === undefined ? left.signal : AbortSignal.any([left.signal, options.signal])
    const request = { timeoutMs: timeoutMs === 0 ? timeoutMsMax : timeoutMs, signal }
    const body = packCall({ slot: method.slot, callId, timeoutMs, trace, isStream: true }, input)
    this.streams.set(callId, { nodeId, items })
    instance.inFlight++
    let isOver = false
    const opened = this.fabric
      .request(nodeId, serviceFrames.call, body, request)
      .then(unpackResult)
      .then(
        () => {
          isOver = true
          items.end()
        },
        (error: unknown) => {
          isOver = true
          items.fail(explained(error, title, nodeId, timeoutMs))
        },
      )
    const uploading = this.upload(nodeId, callId, options.upload, request, () => isOver).catch(
      (error: unknown) => {
        if (!isOver) items.fail(error)
      },
    )
    try {
      yield* items
    } finally {
      this.streams.delete(callId)
      instance.inFlight--
      if (!isOver) this.cancel(nodeId, callId)
      left.abort(new SkeinError('aborted', 'the reader left the stream'))
      await opened
      void uploading
    }
  }

  private async upload(
    nodeId: string,
    callId: number,
    upload: AsyncIterable<unknown> | Iterable<unknown>,
    request: { timeoutMs: number; signal: AbortSignal },
    isOver: () => boolean,
  ): Promise<void> {
    if (Array.isArray(upload) && upload.length === 0 && isOver()) return
    const outgoing = new Outgoing(async (first, items) => {
      const frame = packItems({ callId, toProvider: true, first, items })
      await this.fabric.request(nodeId, serviceFrames.items, frame, request)
    })
    for await (const item of upload) {
      if (isOver()) return
      await outgoing.write(item)
    }
    if (!isOver()) await outgoing.end(true)
  }

  private receiveItems(
    from: string,
    { callId, first, items }: ItemsFrame,
    reply: (body: Uint8Array | Error) => void,
  ): void {
    const stream = this.streams.get(callId)
    if (stream === undefined || stream.nodeId !== from || items === undefined)
      reply(new SkeinError('not_found', 'nobody reads this stream any more'))
    else stream.items.push(first, items, () => reply(nothing))
  }

  private cancel(nodeId: string, callId: number): void {
    this.fabric.send(nodeId, serviceFrames.cancel, packCancel(callId))
  }

  private nextId(): number {
    this.lastId = (this.lastId + 1) >>> 0
    return this.lastId
  }

  private traceOf({ traceparent, tracestate }: Pick<CallOptions, 'traceparent' | 'tracestate'>): string {
    if (traceparent === undefined) return this.tracing.active()
    if (!/^[\da-f]{2}-[\da-f]{32}-[\da-f]{16}-[\da-f]{2}$/.test(traceparent))
      throw new SkeinError(
        'invalid_argument',
        `traceparent "${traceparent.slice(0, 100)}": not as W3C Trace Context writes it`,
        {
          details: { field: 'traceparent' },
        },
      )
    // The specification lets whoever has no room for the state leave it out.
    const hasRoom = tracestate !== undefined && traceparent.length + tracestate.length < traceBytesMax
    return hasRoom ? `${traceparent}\n${tracestate}` : traceparent
  }
}

/** Throws `invalid_argument`. */
export function checkedTimeout(timeoutMs: number, min: number): number {
  if (Number.isFinite(timeoutMs) && timeoutMs >= min && timeoutMs <= timeoutMsMax) return Math.ceil(timeoutMs)
  throw new SkeinError('invalid_argument', `timeoutMs ${timeoutMs}: allowed is ${min} to ${timeoutMsMax}`, {
    details: { field: 'timeoutMs', given: timeoutMs },
  })
}

/** Throws `invalid_argument`. */
function checkTries({ retries, hedgeMs }: CallOptions): void {
  const refuse = (field: string, given: unknown, allowed: string): never => {
    throw new SkeinError('invalid_argument', `${field} ${String(given)}: allowed is ${allowed}`, {
      details: { field, given, allowed },
    })
  }
  if (retries !== undefined && !(Number.isSafeInteger(retries) && retries >= 0 && retries <= retriesMax))
    refuse('retries', retries, `a whole number from 0 to ${retriesMax}`)
  if (hedgeMs !== undefined && !(Number.isFinite(hedgeMs) && hedgeMs >= 0 && hedgeMs <= timeoutMsMax))
    refuse('hedgeMs', hedgeMs, `0 to ${timeoutMsMax}`)
}

/** It is certain that nothing was done, or it may be done twice. */
function mayBeTriedAgain(error: unknown): boolean {
  return error instanceof Error && 'retryable' in error && error.retryable === true
}

/** What counts against an instance: it could not be reached, or said nothing. */
function isTrouble(error: unknown): boolean {
  return (
    isSkeinError(error) &&
    (error.code === 'peer_unreachable' || error.code === 'timeout' || error.code === 'outcome_unknown')
  )
}

/** In words of the call. */
function explained(error: unknown, title: string, nodeId: string, timeoutMs: number): unknown {
  if (!isSkeinError(error)) return error
  const details = { ...error.details, call: title, node_id: nodeId }
  if (error.code === 'timeout')
    return new SkeinError(
      'timeout',
      `${title} on ${nodeId} did not answer in ${timeoutMs} ms; it may have been done`,
      {
        details: { ...details, outcome: 'unknown' },
      },
    )
  if (error.code === 'outcome_unknown')
    return new SkeinError(
      'outcome_unknown',
      `${title}: the connection to ${nodeId} was lost; it may have been done`,
      {
        details: { ...details, outcome: 'unknown' },
      },
    )
  return error
}

/** A call in this process ends for its caller as one elsewhere would. */
function within(
  result: Promise<unknown>,
  { title }: Terms,
  timeoutMs: number,
  nodeId: string,
  signal: AbortSignal | undefined,
): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(explained(new SkeinError('timeout', ''), title, nodeId, timeoutMs)),
      timeoutMs,
    )
    const abort = (): void =>
      reject(
        new SkeinError('aborted', `${title}: the caller gave the call up: it may have been carried out`, {
          cause: signal?.reason,
        }),
      )
    if (signal?.aborted === true) abort()
    else signal?.addEventListener('abort', abort, { once: true })
    result.then(resolve, reject).finally(() => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', abort)
    })
  })
}
