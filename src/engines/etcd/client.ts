/**
 * Calls to an etcd cluster over several endpoints, each with a deadline.
 *
 * What may be repeated is repeated at another endpoint within the deadline: reads, and writes whose repetition changes nothing. A
 * write that may not be repeated goes, once, to an endpoint that has answered a linearizable read within the last second: a server
 * that hangs, or has lost its quorum, is thus found while nothing is at stake. If its answer stays away the outcome is unknown.
 */
import { readFile } from 'node:fs/promises'
import * as grpc from '@grpc/grpc-js'
import { SkeinError } from '../../core/kernel/error.js'
import type { CallOptions } from '../../ports/store.js'
import { monotonicMs } from '../sqlite/clock.js'
import { calls, type EtcdCall, type Header, type RangeRequest, type RangeResponse } from './codec.js'
import { Continuity } from './continuity.js'
import { Endpoint } from './endpoint.js'
import { EtcdFailure } from './failure.js'
import type { EtcdTarget } from './url.js'

/** `once`: sent at most once. `repeatable`: sending it again is harmless. */
export type CallPolicy = 'read' | 'repeatable' | 'once'

/** One attempt: calls bound to an endpoint, a deadline and a token. */
export interface Attempt {
  readonly endpoint: Endpoint
  readonly token: string | undefined
  readonly deadlineMs: number
  /** A call without effect. */
  read<Q, R extends { readonly header: Header }>(call: EtcdCall<Q, R>, request: Q): Promise<R>
  send<Q, R extends { readonly header: Header }>(call: EtcdCall<Q, R>, request: Q): Promise<R>
  /** As `send`, for a call that is a stream. */
  exchange<Q, R extends { readonly header: Header }>(call: EtcdCall<Q, R>, request: Q): Promise<R>
}

export interface EtcdClientOptions {
  readonly target: EtcdTarget
  /** What is read, linearizably, to see whether an endpoint is well. */
  readonly probe: RangeRequest
  /** Judges an answer to the probe; may throw. */
  readonly onProbe?: (answer: RangeResponse) => void
}

const timeoutMsDefault = 3000
const attemptMsMin = 300
const attemptMsMax = 1000
/** An endpoint that answered this recently is given writes unasked. */
const freshMs = 1000
const probeMsMax = 1500

export class EtcdClient {
  readonly continuity = new Continuity()
  readonly #options: EtcdClientOptions
  readonly #credentials: grpc.ChannelCredentials
  #endpoints: Endpoint[]
  /** Asked one by one, beside those that calls go to. */
  readonly #single = new Map<string, Endpoint>()
  readonly #probes = new Map<Endpoint, Promise<void>>()
  readonly #closing = new AbortController()
  #current: Endpoint
  #token: string | undefined
  #authenticating: Promise<string | undefined> | undefined
  #isAuthenticationOff = false

  /** Reads the files of TLS. Throws `bad_config` when one cannot be read. Connects to nothing yet. */
  static async create(options: EtcdClientOptions): Promise<EtcdClient> {
    return new EtcdClient(options, await credentialsOf(options.target))
  }

  private constructor(options: EtcdClientOptions, credentials: grpc.ChannelCredentials) {
    this.#options = options
    this.#credentials = credentials
    this.#endpoints = options.target.endpoints.map((address) => this.#makeEndpoint(address))
    this.#current = this.#endpoints[Math.floor(Math.random() * this.#endpoints.length)]!
  }

  get addresses(): readonly string[] {
    return this.#endpoints.map(({ address }) => address)
  }

  /** From now on these, for the same cluster. Calls at an endpoint that is not among them end as if it had died. */
  useEndpoints(addresses: readonly string[]): void {
    if (this.closed.aborted || addresses.length === 0) return
    const kept = new Map(this.#endpoints.map((endpoint) => [endpoint.address, endpoint]))
    const next = addresses.map((address) => kept.get(address) ?? this.#makeEndpoint(address))
    for (const endpoint of this.#endpoints) if (!addresses.includes(endpoint.address)) endpoint.close()
    this.#endpoints = next
    if (!next.includes(this.#current)) this.#current = next[Math.floor(Math.random() * next.length)]!
  }

  get closed(): AbortSignal {
    return this.#closing.signal
  }

  /** Credentials were given and etcd does not ask for any. */
  get isAuthenticationOff(): boolean {
    return this.#isAuthenticationOff
  }

  /**
   * Carries out `work`, again at other endpoints as `policy` allows. Throws `SkeinError`: `timeout`, `unavailable` and `aborted` only
   * when there certainly was no effect, else `outcome_unknown`; everything that etcd refuses under its own code.
   */
  async run<T>(
    what: string,
    policy: CallPolicy,
    options: CallOptions | undefined,
    work: (attempt: Attempt) => Promise<T>,
  ): Promise<T> {
    const timeoutMs = options?.timeoutMs ?? timeoutMsDefault
    const course = new Course(what, monotonicMs() + timeoutMs, options?.signal)
    for (;;) {
      this.#assertOpen(course)
      const endpoint = this.#pick()
      await this.#restOf(endpoint, course)
      this.#assertOpen(course)
      const attemptMs = policy === 'once' ? timeoutMs : course.attemptMs(timeoutMs, this.#endpoints.length)
      const deadlineMs = Math.min(course.deadlineMs, monotonicMs() + attemptMs)
      let isSent = false
      try {
        if (policy === 'once' && !endpoint.isFresh(freshMs)) await this.#probeShared(endpoint, course)
        const token = await this.#tokenFor(endpoint, deadlineMs)
        this.#assertOpen(course)
        isSent = true
        const value = await work(this.#attempt(endpoint, deadlineMs, token, course.signal))
        this.#settle(endpoint)
        return value
      } catch (error) {
        if (!(error instanceof EtcdFailure)) throw error
        this.#judge(error, endpoint, isSent && policy !== 'read', policy, course)
      }
    }
  }

  /** Asks one endpoint whether it answers linearizable reads of the store that was opened. */
  async probe(endpoint: Endpoint, deadlineMs: number, signal?: AbortSignal): Promise<void> {
    const token = await this.#tokenFor(endpoint, deadlineMs)
    const attempt = this.#attempt(endpoint, deadlineMs, token, signal)
    this.#options.onProbe?.(await attempt.read(calls.range, this.#options.probe))
  }

  /** A certain server, whether or not calls go to it: to ask it about itself. */
  single(address: string): Endpoint {
    const endpoint = this.#single.get(address) ?? this.#makeEndpoint(address)
    this.#single.set(address, endpoint)
    return endpoint
  }

  /** Only these are asked one by one from now on. */
  keepSingle(addresses: readonly string[]): void {
    for (const [address, endpoint] of this.#single) {
      if (addresses.includes(address)) continue
      endpoint.close()
      this.#single.delete(address)
    }
  }

  /** The endpoint failed outside of `run`. */
  leave(endpoint: Endpoint): void {
    endpoint.rest()
    if (this.#current === endpoint) this.#current = this.#pick()
  }

  /** A token that a stream was refused with is not used again. */
  forgetToken(token: string | undefined): void {
    if (token !== undefined && this.#token === token) this.#token = undefined
  }

  close(): void {
    this.#closing.abort()
    for (const endpoint of [...this.#endpoints, ...this.#single.values()]) endpoint.close()
  }

  #makeEndpoint(address: string): Endpoint {
    return new Endpoint(address, this.#credentials, this.#options.target.tls?.serverName)
  }

  #attempt(
    endpoint: Endpoint,
    deadlineMs: number,
    token: string | undefined,
    signal: AbortSignal | undefined,
  ): Attempt {
    const options = { deadlineMs, token, signal }
    const floor = this.continuity.revision
    const checked = async <Q, R extends { readonly header: Header }>(
      call: EtcdCall<Q, R>,
      answer: Promise<R>,
    ): Promise<R> => {
      const value = await answer
      const isOrdered = call.path === calls.range.path || call.path === calls.txn.path
      // etcd 3.4 leaves it out of some answers that are not about keys.
      const header: Header | null = value.header
      if (header !== null) this.continuity.answered(header, endpoint.address, isOrdered ? floor : undefined)
      return value
    }
    return {
      endpoint,
      token,
      deadlineMs,
      send: (call, request) => checked(call, endpoint.unary(call, request, options)),
      exchange: (call, request) => checked(call, endpoint.exchange(call, request, options)),
      read: (call, request) =>
        checked(call, endpoint.unary(call, request, options)).catch((error: unknown) => {
          throw error instanceof EtcdFailure ? withoutEffect(error) : error
        }),
    }
  }

  /** Returns when another attempt is in order, else throws. */
  #judge(
    failure: EtcdFailure,
    endpoint: Endpoint,
    isSentWrite: boolean,
    policy: CallPolicy,
    course: Course,
  ): void {
    if (this.closed.aborted || course.signal?.aborted === true) {
      course.mayHaveApplied ||= isSentWrite && failure.mayHaveApplied
      return
    }
    course.failed(failure, endpoint)
    if (isSentWrite && failure.mayHaveApplied) {
      course.mayHaveApplied = true
      if (policy === 'once') {
        this.leave(endpoint)
        throw course.unknown()
      }
    }
    if (failure.next === 'authenticate' && course.renewToken()) {
      this.#token = undefined
      return
    }
    if (failure.next !== 'elsewhere') throw failure.toSkeinError({ call: course.what })
    this.leave(endpoint)
    if (failure.code === 'unauthenticated' && course.refused.size === this.#endpoints.length) {
      throw failure.toSkeinError({ call: course.what })
    }
  }

  #settle(endpoint: Endpoint): void {
    endpoint.recovered()
    if (this.#current.restUntilMs > 0) this.#current = endpoint
  }

  /** The one in use, else the one whose rest ends first. */
  #pick(): Endpoint {
    if (this.#current.restUntilMs === 0) return this.#current
    return this.#endpoints.reduce((best, one) => (one.restUntilMs < best.restUntilMs ? one : best))
  }

  async #restOf(endpoint: Endpoint, course: Course): Promise<void> {
    const delayMs = Math.min(endpoint.restUntilMs, course.deadlineMs) - monotonicMs()
    if (delayMs > 0) await pause(delayMs, [this.closed, ...(course.signal ? [course.signal] : [])])
  }

  /** Many writes that come after a pause wait for one probe. */
  #probeShared(endpoint: Endpoint, course: Course): Promise<void> {
    const running = this.#probes.get(endpoint)
    if (running !== undefined) return running
    const deadlineMs = Math.min(course.deadlineMs, monotonicMs() + probeMsMax)
    const probing = this.probe(endpoint, deadlineMs).finally(() => this.#probes.delete(endpoint))
    this.#probes.set(endpoint, probing)
    return probing
  }

  async #tokenFor(endpoint: Endpoint, deadlineMs: number): Promise<string | undefined> {
    if (this.#options.target.user === undefined || this.#isAuthenticationOff) return undefined
    if (this.#token !== undefined) return this.#token
    this.#authenticating ??= this.#authenticate(endpoint, deadlineMs).finally(() => {
      this.#authenticating = undefined
    })
    return this.#authenticating
  }

  async #authenticate(endpoint: Endpoint, deadlineMs: number): Promise<string | undefined> {
    const { user = '', password, passwordFile } = this.#options.target
    const secret = password ?? (await readSecret(passwordFile))
    const request = { name: user, password: secret }
    try {
      this.#token = (await endpoint.unary(calls.authenticate, request, { deadlineMs })).token
    } catch (error) {
      if (!(error instanceof EtcdFailure)) throw error
      if (!error.message.includes('authentication is not enabled')) throw withoutEffect(error)
      this.#isAuthenticationOff = true
    }
    return this.#token
  }

  #assertOpen(course: Course): void {
    if (this.closed.aborted) {
      throw course.mayHaveApplied ? course.unknown() : new SkeinError('closed', 'the store is closed')
    }
    this.continuity.check()
    course.assertOpen()
  }
}

/** How one call has fared over its attempts. */
class Course {
  readonly what: string
  readonly deadlineMs: number
  readonly signal: AbortSignal | undefined
  readonly refused = new Set<Endpoint>()
  mayHaveApplied = false
  #last: EtcdFailure | undefined
  #tokensRenewed = 0
  #attempts = 0

  constructor(what: string, deadlineMs: number, signal: AbortSignal | undefined) {
    this.what = what
    this.deadlineMs = deadlineMs
    this.signal = signal
  }

  /** Short at first, to find one that answers; longer in each round, for answers that take their time. */
  attemptMs(timeoutMs: number, endpoints: number): number {
    const shortestMs = Math.max(attemptMsMin, Math.min(attemptMsMax, timeoutMs / 3))
    const round = Math.floor(this.#attempts / endpoints)
    this.#attempts += 1
    return shortestMs * 2 ** Math.min(round, 10)
  }

  failed(failure: EtcdFailure, endpoint: Endpoint): void {
    // The reason of the others says more than that time ran out at the last one.
    if (this.#last === undefined || failure.code !== 'timeout') this.#last = failure
    if (failure.code === 'unauthenticated') this.refused.add(endpoint)
  }

  /** A token may have expired; two in a row have not. */
  renewToken(): boolean {
    this.#tokensRenewed += 1
    return this.#tokensRenewed <= 2
  }

  assertOpen(): void {
    if (this.signal?.aborted === true) {
      throw this.mayHaveApplied ? this.unknown() : new SkeinError('aborted', 'aborted by the caller')
    }
    if (monotonicMs() < this.deadlineMs) return
    if (this.mayHaveApplied) throw this.unknown()
    const reason = this.#last === undefined ? '' : `: ${this.#last.message}`
    const code = this.#last === undefined || this.#last.code === 'timeout' ? 'timeout' : 'unavailable'
    throw new SkeinError(code, `${this.what} did not get through in time${reason}`, { retryable: true })
  }

  unknown(): SkeinError {
    const reason = this.#last === undefined ? '' : `: ${this.#last.message}`
    return new SkeinError('outcome_unknown', `${this.what} may or may not have been applied${reason}`)
  }
}

function withoutEffect(failure: EtcdFailure): EtcdFailure {
  const { code, next, isAnswer } = failure
  return new EtcdFailure(failure.message, { code, next, isAnswer, mayHaveApplied: false })
}

/** Resolves after `delayMs`, or when one of the signals aborts. */
export function pause(delayMs: number, signals: readonly AbortSignal[]): Promise<void> {
  if (signals.some((signal) => signal.aborted)) return Promise.resolve()
  return new Promise((resolve) => {
    const end = () => {
      clearTimeout(timer)
      for (const signal of signals) signal.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, delayMs)
    for (const signal of signals) signal.addEventListener('abort', end, { once: true })
  })
}

async function credentialsOf({ tls }: EtcdTarget): Promise<grpc.ChannelCredentials> {
  if (tls === undefined) return grpc.credentials.createInsecure()
  const read = (file: string | undefined) => (file === undefined ? Promise.resolve(null) : readNamed(file))
  const [ca, key, cert] = await Promise.all([read(tls.caFile), read(tls.keyFile), read(tls.certFile)])
  try {
    return grpc.credentials.createSsl(ca, key, cert)
  } catch (cause) {
    throw unusable('ca, cert or key is no PEM file that fits the others', cause)
  }
}

async function readSecret(file: string | undefined): Promise<string> {
  const secret = file === undefined ? '' : (await readNamed(file)).toString('utf8').replace(/\r?\n$/, '')
  if (secret === '') throw unusable(`the password file ${file ?? ''} is empty`)
  return secret
}

async function readNamed(file: string): Promise<Buffer> {
  try {
    return await readFile(file)
  } catch (cause) {
    throw unusable(`the file ${file} cannot be read`, cause)
  }
}

function unusable(reason: string, cause?: unknown): SkeinError {
  return new SkeinError('bad_config', `the etcd URL of --store is refused: ${reason}`, {
    details: { field: 'store' },
    cause,
  })
}
