/**
 * One etcd server as we see it: one channel, when it last answered, and how long it rests after a failure. It makes single
 * attempts with a deadline; what to do with a failed one is decided in `client.ts`.
 *
 * Must not live here: retries (the channel's own are switched off: they repeat writes), tokens, the meaning of answers.
 */
import * as grpc from '@grpc/grpc-js'
import { monotonicMs } from '../sqlite/clock.js'
import type { EtcdCall } from './codec.js'
import { type EtcdFailure, explainFailure } from './failure.js'

export interface AttemptOptions {
  /** On the monotonic clock. */
  readonly deadlineMs: number
  readonly signal?: AbortSignal | undefined
  readonly token?: string | undefined
}

/** A stream as the driver uses it. */
export interface EtcdStream<Request, Response> {
  send(request: Request): void
  cancel(): void
  onMessage(handler: (message: Response) => void): void
  /** Called once: with the failure, or with undefined when the server ended it in order. */
  onEnd(handler: (failure: EtcdFailure | undefined) => void): void
}

/** A list of a whole prefix may be large; a message beyond this is refused by name instead of taken. */
const messageBytesMax = 256 * 1024 * 1024
/** A connection on which nothing has come back for so long while something was asked is replaced by a new one. */
const silenceMsMax = 10_000
const restMsMax = 1000

const channelOptions: grpc.ChannelOptions = {
  'grpc.enable_retries': 0,
  // etcd drops a client that pings more often than every 5 s; silence is noticed earlier by deadlines and probes.
  'grpc.keepalive_time_ms': 6000,
  'grpc.keepalive_timeout_ms': 3000,
  'grpc.keepalive_permit_without_calls': 0,
  'grpc.initial_reconnect_backoff_ms': 100,
  'grpc.min_reconnect_backoff_ms': 100,
  'grpc.max_reconnect_backoff_ms': 1000,
  'grpc.max_receive_message_length': messageBytesMax,
  'grpc.use_local_subchannel_pool': 1,
  'grpc.enable_http_proxy': 0,
  'grpc.service_config_disable_resolution': 1,
}

export class Endpoint {
  readonly address: string
  readonly #credentials: grpc.ChannelCredentials
  readonly #options: grpc.ChannelOptions
  readonly #active = new Set<{ cancel(): void }>()
  #client: grpc.Client | undefined
  #lastAnswerMs = Number.NEGATIVE_INFINITY
  #unansweredSinceMs: number | undefined
  #failures = 0
  #restUntilMs = 0

  /** `serverName`: what its certificate is made out to, instead of the address. */
  constructor(address: string, credentials: grpc.ChannelCredentials, serverName?: string) {
    this.address = address
    this.#credentials = credentials
    this.#options =
      serverName === undefined
        ? channelOptions
        : { ...channelOptions, 'grpc.ssl_target_name_override': serverName }
  }

  /** Not to be asked before this, unless all others rest as well. */
  get restUntilMs(): number {
    return this.#restUntilMs
  }

  get quietMs(): number {
    return monotonicMs() - this.#lastAnswerMs
  }

  /** Connected, has answered within `withinMs`, and nothing has failed since. */
  isFresh(withinMs: number): boolean {
    const state = this.#client?.getChannel().getConnectivityState(false)
    return state === grpc.connectivityState.READY && this.#failures === 0 && this.quietMs <= withinMs
  }

  /** Resolves to the answer; throws `EtcdFailure`. */
  unary<Q, R>(call: EtcdCall<Q, R>, request: Q, options: AttemptOptions): Promise<R> {
    return new Promise((resolve, reject) => {
      const active = this.#channel().makeUnaryRequest(
        call.path,
        call.encode,
        call.decode,
        request,
        metadata(options.token),
        { deadline: wallDeadline(options) },
        (error, answer) => {
          done()
          if (error !== null) reject(this.#failed(error))
          else {
            this.#answered()
            resolve(answer as R)
          }
        },
      )
      const done = this.#track(active, options.signal)
    })
  }

  /** One request and one answer over a call that is a stream in both directions. Throws `EtcdFailure`. */
  exchange<Q, R>(call: EtcdCall<Q, R>, request: Q, options: AttemptOptions): Promise<R> {
    return new Promise((resolve, reject) => {
      const stream = this.duplex(call, options)
      stream.onMessage((message) => {
        resolve(message)
        stream.cancel()
      })
      stream.onEnd((failure) => {
        const early = { code: grpc.status.UNAVAILABLE, details: 'the stream ended without an answer' }
        reject(failure ?? explainFailure(early, this.address))
      })
      stream.send(request)
    })
  }

  duplex<Q, R>(
    call: EtcdCall<Q, R>,
    options: Partial<AttemptOptions> & { token?: string | undefined },
  ): EtcdStream<Q, R> {
    const { deadlineMs } = options
    const stream = this.#channel().makeBidiStreamRequest(
      call.path,
      call.encode,
      call.decode,
      metadata(options.token),
      deadlineMs === undefined ? {} : { deadline: wallDeadline({ deadlineMs }) },
    )
    const done = this.#track(stream, options.signal)
    let onEnd: ((failure: EtcdFailure | undefined) => void) | undefined
    const end = (failure: EtcdFailure | undefined) => {
      done()
      onEnd?.(failure)
      onEnd = undefined
    }
    stream.on('data', () => this.#answered())
    stream.on('error', (error: grpc.ServiceError) => end(this.#failed(error)))
    stream.on('end', () => end(undefined))
    return {
      send: (request) => stream.write(request),
      cancel: () => stream.cancel(),
      onMessage: (handler) => stream.on('data', handler),
      onEnd: (handler) => {
        onEnd = handler
      },
    }
  }

  /** The answers of a call that streams from the server, which it waits for. Throws `EtcdFailure`. */
  async *download<Q, R>(call: EtcdCall<Q, R>, request: Q, options: AttemptOptions): AsyncGenerator<R> {
    const stream = this.#channel().makeServerStreamRequest(
      call.path,
      call.encode,
      call.decode,
      request,
      metadata(options.token, true),
      { deadline: wallDeadline(options) },
    )
    const done = this.#track(stream, options.signal)
    try {
      for await (const message of stream) {
        this.#answered()
        yield message as R
      }
    } catch (error) {
      throw this.#failed(error as grpc.ServiceError)
    } finally {
      done()
      stream.cancel()
    }
  }

  /** The last attempt here went wrong in a way that another endpoint, or a little patience, may mend. */
  rest(): void {
    // Calls that fail together are one failure.
    if (this.#restUntilMs > monotonicMs()) return
    this.#failures += 1
    this.#restUntilMs = monotonicMs() + Math.min(restMsMax, 25 * 2 ** Math.min(this.#failures, 10))
    const since = this.#unansweredSinceMs
    if (since !== undefined && monotonicMs() - since > silenceMsMax) this.#dropChannel()
  }

  recovered(): void {
    this.#failures = 0
    this.#restUntilMs = 0
  }

  close(): void {
    for (const active of [...this.#active]) active.cancel()
    this.#dropChannel()
  }

  #channel(): grpc.Client {
    this.#unansweredSinceMs ??= monotonicMs()
    this.#client ??= new grpc.Client(this.address, this.#credentials, this.#options)
    return this.#client
  }

  #dropChannel(): void {
    this.#client?.close()
    this.#client = undefined
    this.#unansweredSinceMs = undefined
  }

  #answered(): void {
    this.#lastAnswerMs = monotonicMs()
    this.#unansweredSinceMs = undefined
  }

  #failed(error: grpc.ServiceError): EtcdFailure {
    const failure = explainFailure(error, this.address)
    if (failure.isAnswer) this.#answered()
    return failure
  }

  #track(active: { cancel(): void }, signal: AbortSignal | undefined): () => void {
    const cancel = () => active.cancel()
    this.#active.add(active)
    if (signal?.aborted === true) queueMicrotask(cancel)
    else signal?.addEventListener('abort', cancel, { once: true })
    return () => {
      this.#active.delete(active)
      signal?.removeEventListener('abort', cancel)
    }
  }
}

/** `hasleader`: a member that is cut off from its leader refuses at once instead of waiting. */
function metadata(token: string | undefined, waitForReady = false): grpc.Metadata {
  const entries = new grpc.Metadata({ waitForReady })
  entries.set('hasleader', 'true')
  if (token !== undefined) entries.set('token', token)
  return entries
}

/** The library takes wall time and turns it into a duration at once, so that a step of the clock does no harm. */
function wallDeadline({ deadlineMs }: { deadlineMs: number }): number {
  return Date.now() + Math.max(1, deadlineMs - monotonicMs())
}
