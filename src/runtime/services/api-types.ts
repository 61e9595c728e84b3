/** Services and names as programs see them. Types only. */
import type { NodeId } from '../../core/kernel/brand.js'
import type { Strategy } from '../../core/kernel/strategies.js'
import type { Implementation, MethodContracts, ServiceClient, ServiceContract } from './contract.js'

export type { ServiceClient, ServiceContract } from './contract.js'
export type { StandardSchema } from './schema.js'

export interface CallOptions {
  /** For everything, tries included. 1 … 86,400,000 ms, default 5,000. */
  readonly timeoutMs?: number
  /** Gives the call up; the handler's signal is aborted. */
  readonly signal?: AbortSignal
  /** `2` is served by `2`, `2.0` and `2.1`. Default: the highest that is offered. */
  readonly version?: string
  /** How to choose among instances. Default: of two drawn, the one with fewer calls of this node under way. */
  readonly strategy?: Strategy
  /** For the strategy `consistent`: calls with one key go to one node as long as it is there. */
  readonly key?: string
  /** What is near comes first: this process, its zone, its region. Default `local`. */
  readonly prefer?: 'local' | 'zone' | 'region' | 'any'
  /** Only there. */
  readonly nodeId?: NodeId
  /** Tries after the first, 0 … 10, default 2. Only where it is certain that nothing was done, or harmless to do it twice. */
  readonly retries?: number
  /** It may be done twice, whatever the provider says. */
  readonly idempotent?: boolean
  /** No answer by then: ask a second instance as well, and take the first answer. Only for what may be done twice. */
  readonly hedgeMs?: number
  /** W3C trace context to carry. Default: that of the active OpenTelemetry span, if there is one. */
  readonly traceparent?: string
  readonly tracestate?: string
}

export interface StreamOptions<Upload = unknown> extends Omit<CallOptions, 'hedgeMs' | 'retries'> {
  /** Sent to the handler, which reads it from `context.incoming` as fast as it likes. */
  readonly upload?: AsyncIterable<Upload> | Iterable<Upload>
  /** Default: none. */
  readonly timeoutMs?: number
}

export interface HandlerContext {
  /** The node that asks. */
  readonly from: NodeId
  /** Aborted when the caller gives up, its time is over, or its node is gone. */
  readonly signal: AbortSignal
  /** Wall clock, ms since the epoch, when the caller stops waiting; undefined: never. */
  readonly deadlineMs: number | undefined
  /** W3C trace context of the call; empty without. */
  readonly traceparent: string
  /** What a call made on behalf of this one should be given: what is left of the time, the signal and the trace. */
  readonly onward: Pick<CallOptions, 'timeoutMs' | 'signal' | 'traceparent' | 'tracestate'>
}

export interface StreamContext<Upload = unknown> extends HandlerContext {
  /** What the caller sends. It is not sent faster than it is read. */
  readonly incoming: AsyncIterable<Upload>
}

export interface ProvideOptions {
  /** Calls at a time, 1 … 100,000, default 1,000; more are refused with `overloaded` and go elsewhere. */
  readonly concurrency?: number
}

/** Without a contract: anything goes in, anything comes out. A handler that returns an async iterable is a stream. */
export interface PlainMethod {
  readonly handler: (input: never, context: StreamContext<never>) => unknown
  readonly idempotent?: boolean
  readonly stream?: boolean
}

export interface ServiceInstanceView {
  readonly nodeId: NodeId
  readonly version: string
  readonly zone: string
  readonly methods: readonly {
    readonly name: string
    readonly idempotent: boolean
    readonly stream: boolean
  }[]
  /** Calls of the answering node that are under way there. */
  readonly inFlight: number
  readonly circuit: 'closed' | 'open' | 'half_open'
  /** Its node answers, is not on its way out, and its main thread turns. */
  readonly healthy: boolean
}

export interface ServiceView {
  readonly name: string
  readonly instances: readonly ServiceInstanceView[]
}

/** A service as this node provides it. */
export interface Provided {
  /** No new calls; resolves when those under way are answered. */
  stop(): Promise<void>
}

export interface ServicesApi {
  /** Offers the service from this node. Throws `conflict` when this node offers this version of it already, `invalid_argument`. */
  provide<M extends MethodContracts>(
    contract: ServiceContract<M>,
    implementation: Implementation<M>,
    options?: ProvideOptions,
  ): Provided
  provide(
    name: string,
    // biome-ignore lint/suspicious/noExplicitAny: a handler without a contract says itself what it takes
    methods: Readonly<Record<string, ((input: any, context: StreamContext<any>) => unknown) | PlainMethod>>,
    options?: ProvideOptions & { readonly version?: string },
  ): Provided
  /**
   * Calls one instance. Errors: `not_found` (nobody offers it, or not this method), `unavailable` (nobody who offers it can be asked now),
   * `timeout` and `outcome_unknown` (it may have been done), `aborted`, `overloaded`, `invalid_argument` (by the contract), `handler_failed`, and what
   * the handler threw: a `ServiceError` or a `SkeinError`.
   */
  call<T = unknown>(service: string, method: string, input?: unknown, options?: CallOptions): Promise<T>
  /** Items as the handler yields them, not faster than they are taken. Leaving the loop early ends it there. */
  stream<T = unknown>(
    service: string,
    method: string,
    input?: unknown,
    options?: StreamOptions,
  ): AsyncIterable<T>
  /** Typed calls. */
  get<M extends MethodContracts>(contract: ServiceContract<M>, options?: CallOptions): ServiceClient<M>
  /** Resolves once somebody offers it; rejects with `timeout`. */
  wait(
    service: string,
    options?: { readonly version?: string; readonly timeoutMs?: number; readonly signal?: AbortSignal },
  ): Promise<void>
  list(): readonly ServiceView[]
  find(service: string): ServiceView | undefined
}

/** Who holds a name. */
export interface NameView {
  readonly name: string
  readonly nodeId: NodeId
  readonly kind: NameKind
  /** HLC of the registration: the rule for two of them is that the earlier one holds. */
  readonly registeredAt: string
  /** Methods that can be called. */
  readonly methods: readonly string[]
  /** Others that registered the well-known name and succeed to it, the next one first. */
  readonly successors: readonly NodeId[]
}

/**
 * unique: one holder; a second registration is refused. well_known: any number, the earliest holds it and the next succeeds. store: one holder by a
 * transaction on the store, never two, not even across a partition. node: one per node, asked for with its node.
 */
export type NameKind = 'unique' | 'well_known' | 'store' | 'node'

export interface NameRef extends NameView {
  /** Calls a method of what was registered, from any node. Errors as for services. */
  call<T = unknown>(method: string, ...args: readonly unknown[]): Promise<T>
  callWith<T = unknown>(
    options: Pick<CallOptions, 'timeoutMs' | 'signal' | 'retries' | 'idempotent'>,
    method: string,
    ...args: readonly unknown[]
  ): Promise<T>
}

/** Its functions are what others can call. */
export type NameHandle = object

export interface RegisterOptions {
  readonly kind?: NameKind
  /** It is not held any more, though nobody here unregistered it. `winner`: who holds it now. */
  readonly onLost?: (reason: string, winner: NodeId | undefined) => void
  /** Well-known names: this registration holds it from now on. */
  readonly onHeld?: () => void
}

export interface NamesApi {
  /** Resolves once it holds (or, well-known, stands in line). Rejects with `conflict` when another holds it, `invalid_argument`, `overloaded`. */
  register(name: string, handle: NameHandle, options?: RegisterOptions): Promise<void>
  unregister(name: string): Promise<void>
  /** From this node's copy of the registry. Undefined: nobody this node knows of. */
  whereis(name: string, options?: { readonly nodeId?: NodeId }): NameRef | undefined
  list(): readonly NameView[]
  /** Told at once of who holds it, then at each change. Returns the way to stop. */
  watch(name: string, onChange: (holder: NameRef | undefined) => void): () => void
}
