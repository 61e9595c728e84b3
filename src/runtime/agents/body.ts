/** Where the handlers of one agent run: in this thread, or in one of its own (`worker-body.ts`). */
import { SkeinError } from '../../core/kernel/error.js'
import type { AgentFence } from '../../core/routing/events.js'
import type { AgentContext, AgentDefinition, AgentProxy, StopCause } from './definition.js'
import { packData, unpackData } from './packing.js'

export interface AgentFacts {
  readonly name: string
  readonly kind: string
  readonly epoch: number
  readonly nodeId: string
  readonly config: unknown
}

/** What an agent reaches of the cluster. Each refuses with `fenced` once the agent may not act. */
export interface AgentReach {
  publish(
    stream: string,
    event: { readonly key: string; readonly type?: string; readonly payload: unknown; readonly id?: string },
  ): Promise<void>
  call(name: string, method: string, args: readonly unknown[]): Promise<unknown>
  /** Asks for a turn of the step with that number. */
  every(everyMs: number, step: number): void
  complete(detail: string): void
  log(
    level: 'debug' | 'info' | 'warn' | 'error',
    event: string,
    fields: Readonly<Record<string, unknown>>,
  ): void
}

export interface FencedReach extends Pick<AgentReach, 'log'> {
  publish(...args: [...Parameters<AgentReach['publish']>, fence: AgentFence]): Promise<void>
  call(...args: [...Parameters<AgentReach['call']>, fence: AgentFence]): Promise<unknown>
}

export interface AgentBody {
  /** `state`: packed, from a checkpoint; undefined at the very first start. */
  start(state: Uint8Array | undefined): Promise<void>
  /** The packed result. Rejects with what the handler threw. */
  call(method: string, args: Uint8Array): Promise<Uint8Array>
  step(step: number): Promise<void>
  /** Packed, as it is after the last call. */
  state(): Uint8Array
  stop(why: StopCause): Promise<void>
  abort(): void
  /** It ended without being asked (a thread of its own that died). */
  readonly broken: Promise<string>
  close(): Promise<void>
}

export class InlineBody implements AgentBody {
  readonly broken = new Promise<string>(() => {})
  private readonly definition: AgentDefinition
  private readonly context: AgentContext<unknown>
  private readonly ending = new AbortController()
  private readonly steps: ((context: AgentContext<unknown>) => void | Promise<void>)[] = []

  constructor(definition: AgentDefinition, facts: AgentFacts, reach: AgentReach) {
    this.definition = definition
    this.context = {
      ...facts,
      state: undefined,
      signal: this.ending.signal,
      publish: (stream, event) => reach.publish(stream, event),
      call: (_, name) => proxyOf((method, args) => reach.call(name, method, args)),
      every: (everyMs, step) => {
        if (!(everyMs >= 10)) throw new SkeinError('invalid_argument', `every(${everyMs}): at least 10 ms`)
        reach.every(everyMs, this.steps.push(step) - 1)
      },
      complete: (detail) => reach.complete(detail ?? ''),
      log: (level, event, fields) => reach.log(level, event, fields ?? {}),
    }
  }

  async start(state: Uint8Array | undefined): Promise<void> {
    const { definition, context } = this
    context.state =
      state !== undefined
        ? unpackData(state, 'the state')
        : typeof definition.state === 'function'
          ? (definition.state as (config: unknown) => unknown)(context.config)
          : structuredClone(definition.state)
    await definition.onStart?.(context)
  }

  async call(method: string, args: Uint8Array): Promise<Uint8Array> {
    const handler = Object.hasOwn(this.definition.on, method) ? this.definition.on[method] : undefined
    if (handler === undefined)
      throw new SkeinError('not_found', `agents of kind "${this.definition.kind}" have no "${method}"`, {
        details: { allowed: Object.keys(this.definition.on) },
      })
    const list = unpackData(args, 'the arguments')
    if (!Array.isArray(list)) throw new SkeinError('protocol_violation', 'the arguments are no list')
    return packData(await handler(this.context, ...list), `what "${method}" returned`)
  }

  async step(step: number): Promise<void> {
    await this.steps[step]?.(this.context)
  }

  state(): Uint8Array {
    return packData(this.context.state, 'the state')
  }

  async stop(why: StopCause): Promise<void> {
    await this.definition.onStop?.(this.context, why)
  }

  abort(): void {
    this.ending.abort()
  }

  async close(): Promise<void> {
    this.abort()
  }
}

/** Every name is a method, but `then`: a proxy must not look like a promise. */
export function proxyOf<H>(
  call: (method: string, args: readonly unknown[]) => Promise<unknown>,
): AgentProxy<H> {
  return new Proxy(Object.create(null) as AgentProxy<H>, {
    get: (_, method) =>
      typeof method !== 'string' || method === 'then'
        ? undefined
        : (...args: unknown[]) => call(method, args),
  })
}
