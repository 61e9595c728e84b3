/** Services of this node and of all others: what is offered goes into the registry, what is called is found there. */
import { strategies } from '../../core/balancing/balancer.js'
import type { Candidate } from '../../core/balancing/candidate.js'
import { SkeinError } from '../../core/kernel/error.js'
import { satisfies } from '../../core/services/version.js'
import type { Fabric } from '../fabric.js'
import type { RegistryLink } from '../registry-link.js'
import type {
  CallOptions,
  PlainMethod,
  Provided,
  ProvideOptions,
  ServicesApi,
  StreamOptions,
} from './api-types.js'
import type { CallMeter } from './call-meter.js'
import { Caller } from './caller.js'
import { defineService, type MethodContract, type ServiceContract } from './contract.js'
import { type Endpoint, Gate } from './endpoint.js'
import { type Choice, type Instance, Instances, type ServiceRow, serviceKind } from './instances.js'
import { Provider } from './provider.js'
import type { Tracing } from './tracing.js'

const concurrencyDefault = 1_000
const concurrencyMax = 100_000
const waitMsDefault = 10_000
const preferences: readonly NonNullable<CallOptions['prefer']>[] = ['local', 'zone', 'region', 'any']

interface Offer {
  readonly version: string
  readonly slots: ReadonlyMap<string, number>
  readonly contract: ServiceContract
  readonly gate: Gate
}

type AnyHandler = Endpoint['handler']

export interface ServicesWorld {
  readonly fabric: Fabric
  readonly rows: RegistryLink
  readonly candidates: () => readonly Candidate[]
  readonly tracing: Tracing
}

/** What is under way now, and counts since the start. */
export interface ServiceFigures {
  readonly calls: readonly (readonly [service: string, meter: CallMeter])[]
  readonly asked: number
  readonly served: number
  readonly refused: number
  readonly breakers: { readonly open: number; readonly half_open: number }
}

export class Services {
  readonly provider: Provider
  readonly caller: Caller
  readonly instances: Instances
  private readonly rows: RegistryLink
  private readonly offers = new Map<string, Offer[]>()

  constructor({ fabric, rows, candidates, tracing }: ServicesWorld) {
    this.rows = rows
    this.provider = new Provider(fabric, tracing)
    this.caller = new Caller(fabric, this.provider, tracing)
    this.instances = new Instances(fabric, rows.registry, candidates)
  }

  readonly api: ServicesApi = {
    provide: (
      service: ServiceContract | string,
      methods: Readonly<Record<string, AnyHandler | PlainMethod>>,
      options: ProvideOptions & { readonly version?: string } = {},
    ) => this.provide(service, methods, options),
    call: <T>(service: string, method: string, input?: unknown, options?: CallOptions) =>
      this.call(service, method, input, options ?? {}) as Promise<T>,
    stream: <T>(service: string, method: string, input?: unknown, options?: StreamOptions) =>
      this.stream(service, method, input, options ?? {}) as AsyncIterable<T>,
    get: (contract, options) => this.clientOf(contract, options ?? {}) as never,
    wait: (service, options) => this.wait(service, options ?? {}),
    list: () => this.instances.list(),
    find: (service) => this.instances.view(service),
  }

  /** Nothing is offered any more; resolves when what is under way is done, or after that time. */
  async drain(deadlineMs: number): Promise<void> {
    const gates = [...this.offers.values()].flat().map((o) => o.gate)
    for (const service of this.offers.keys()) this.rows.delete(serviceKind, service)
    this.offers.clear()
    const idle = Promise.all(gates.map((g) => g.whenIdle()))
    let timer: NodeJS.Timeout | undefined
    await Promise.race([
      idle,
      new Promise((resolve) => {
        timer = setTimeout(resolve, deadlineMs)
      }),
    ])
    clearTimeout(timer)
  }

  figures(): ServiceFigures {
    let served = 0
    for (const offers of this.offers.values()) for (const { gate } of offers) served += gate.running
    const calls = [...this.caller.meters.all()]
    return {
      calls,
      asked: calls.reduce((sum, [, { inFlight }]) => sum + inFlight, 0),
      served,
      refused: this.provider.refused,
      breakers: this.instances.breakers(),
    }
  }

  private provide(
    service: ServiceContract | string,
    methods: Readonly<Record<string, AnyHandler | PlainMethod>>,
    options: ProvideOptions & { readonly version?: string },
  ): Provided {
    const contract = typeof service === 'string' ? contractOf(service, methods, options.version) : service
    const { name, version } = contract
    const { concurrency = concurrencyDefault } = options
    if (!Number.isSafeInteger(concurrency) || concurrency < 1 || concurrency > concurrencyMax)
      throw invalid(`concurrency ${concurrency}`, `1 to ${concurrencyMax}`)
    const others = this.offers.get(name) ?? []
    if (others.some((o) => o.version === version))
      throw new SkeinError('conflict', `this node offers service "${name}" ${version} already`, {
        details: { service: name, version },
      })
    const gate = new Gate(concurrency)
    const slots = new Map<string, number>()
    for (const [method, spec] of Object.entries(contract.methods)) {
      const given = methods[method]
      const handler = typeof given === 'function' ? given : given?.handler
      if (typeof handler !== 'function') {
        for (const slot of slots.values()) this.provider.remove(slot)
        throw invalid(
          `service "${name}": no handler for "${method}"`,
          'a function for each method of the contract',
        )
      }
      const { input, output, upload, stream } = spec
      slots.set(
        method,
        this.provider.add({
          title: `${name}.${method}`,
          input,
          output,
          upload,
          isStream: stream === true,
          handler: handler.bind(methods) as AnyHandler,
          gate,
        }),
      )
    }
    const offer: Offer = { version, slots, contract, gate }
    try {
      this.publish(name, [...others, offer])
    } catch (error) {
      for (const slot of slots.values()) this.provider.remove(slot)
      throw error
    }
    let stopped: Promise<void> | undefined
    return {
      stop: () => {
        stopped ??= this.withdraw(name, offer)
        return stopped
      },
    }
  }

  private publish(name: string, offers: Offer[]): void {
    if (offers.length === 0) {
      this.offers.delete(name)
      this.rows.delete(serviceKind, name)
      return
    }
    this.rows.put(serviceKind, name, rowOf(offers))
    this.offers.set(name, offers)
  }

  private async withdraw(name: string, offer: Offer): Promise<void> {
    this.publish(
      name,
      (this.offers.get(name) ?? []).filter((o) => o !== offer),
    )
    await offer.gate.whenIdle()
    for (const slot of offer.slots.values()) this.provider.remove(slot)
  }

  private async call(
    service: string,
    method: string,
    input: unknown,
    options: CallOptions,
  ): Promise<unknown> {
    return this.caller.call(
      service,
      `${service}.${method}`,
      this.chooser(service, method, options, false),
      input,
      options,
    )
  }

  private stream(
    service: string,
    method: string,
    input: unknown,
    options: StreamOptions,
  ): AsyncIterable<unknown> {
    return this.caller.stream(
      `${service}.${method}`,
      this.chooser(service, method, options, true),
      input,
      options,
    )
  }

  private chooser(service: string, method: string, options: CallOptions | StreamOptions, isStream: boolean) {
    const { prefer, strategy } = options
    if (prefer !== undefined && !preferences.includes(prefer))
      throw invalid(`prefer "${prefer}"`, preferences.join(', '))
    if (strategy !== undefined && !strategies.includes(strategy))
      throw invalid(`strategy "${strategy}"`, strategies.join(', '))
    return (tried: readonly Instance[]): Choice => {
      const choice = this.instances.choose(service, method, options, tried)
      if (choice.method.isStream !== isStream)
        throw invalid(
          `${service}.${method}`,
          isStream
            ? 'call, not stream: it gives one answer'
            : 'stream, in a program: it gives many items, which neither call nor HTTP can take',
        )
      return choice
    }
  }

  private clientOf(contract: ServiceContract, defaults: CallOptions): Record<string, unknown> {
    const client: Record<string, unknown> = {}
    for (const [method, { stream }] of Object.entries(contract.methods)) {
      const base = { version: contract.version, ...defaults }
      client[method] =
        stream === true
          ? (input?: unknown, options?: StreamOptions) =>
              this.stream(contract.name, method, input, { ...base, ...options })
          : (input?: unknown, options?: CallOptions) =>
              this.call(contract.name, method, input, options === undefined ? base : { ...base, ...options })
    }
    return client
  }

  private wait(
    service: string,
    options: { readonly version?: string; readonly timeoutMs?: number; readonly signal?: AbortSignal },
  ): Promise<void> {
    const { timeoutMs = waitMsDefault, signal, version } = options
    const isThere = (): boolean =>
      this.instances.of(service).some((i) => version === undefined || satisfies(i.version, version))
    if (isThere()) return Promise.resolve()
    return new Promise((resolve, reject) => {
      const end = (error?: unknown): void => {
        clearTimeout(timer)
        stop()
        signal?.removeEventListener('abort', abort)
        if (error === undefined) resolve()
        else reject(error)
      }
      const abort = (): void => end(new SkeinError('aborted', `gave up waiting for service "${service}"`))
      const timer = setTimeout(
        () => end(new SkeinError('timeout', `nobody offered service "${service}" in ${timeoutMs} ms`)),
        timeoutMs,
      )
      const stop = this.instances.onChange(service, () => {
        if (isThere()) end()
      })
      signal?.addEventListener('abort', abort, { once: true })
    })
  }
}

function contractOf(
  name: string,
  methods: Readonly<Record<string, AnyHandler | PlainMethod>>,
  version: string | undefined,
): ServiceContract {
  const specs: Record<string, MethodContract> = {}
  for (const [method, given] of Object.entries(methods)) {
    const isStream =
      typeof given === 'function'
        ? given.constructor.name === 'AsyncGeneratorFunction'
        : given.stream === true
    specs[method] = {
      stream: isStream,
      ...(typeof given !== 'function' && given.idempotent === true ? { idempotent: true } : {}),
    }
  }
  return defineService(name, { methods: specs, ...(version === undefined ? {} : { version }) })
}

function rowOf(offers: readonly Offer[]): ServiceRow {
  return offers.map(({ version, slots, contract }) => [
    version,
    Object.fromEntries(
      [...slots].map(([method, slot]) => {
        const spec = contract.methods[method]
        return [method, [slot, spec?.idempotent === true, spec?.stream === true]] as const
      }),
    ),
  ])
}

function invalid(what: string, allowed: string): SkeinError {
  return new SkeinError('invalid_argument', `${what}: allowed is ${allowed}`, { details: { allowed } })
}
