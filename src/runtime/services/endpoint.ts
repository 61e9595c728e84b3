/** One thing that can be called, and how a call goes through it: what goes in is validated, the handler runs, what comes out is validated. */
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import type { StreamContext } from './api-types.js'
import type { RunningCall } from './running-call.js'
import { type StandardSchema, validate } from './schema.js'

export interface Endpoint {
  /** As people know it: `pricing.quote`. */
  readonly title: string
  readonly input?: StandardSchema | undefined
  readonly output?: StandardSchema | undefined
  readonly upload?: StandardSchema | undefined
  readonly isStream: boolean
  // biome-ignore lint/suspicious/noExplicitAny: what goes in was validated, or is the handler's own affair
  readonly handler: (input: any, context: StreamContext<any>) => unknown
  readonly gate: Gate
}

/** Calls at a time, shared by all methods of one thing. */
export class Gate {
  running = 0
  readonly max: number
  private readonly idle: (() => void)[] = []

  constructor(max: number) {
    this.max = max
  }

  leave(): void {
    if (--this.running === 0) for (const done of this.idle.splice(0)) done()
  }

  whenIdle(): Promise<void> {
    return this.running === 0 ? Promise.resolve() : new Promise((resolve) => this.idle.push(resolve))
  }
}

/** A result, or the promise of one; throws or rejects as the handler does. At once where nothing takes time. */
export function run(endpoint: Endpoint, input: unknown, call: RunningCall): unknown {
  const { handler, title } = endpoint
  const given = endpoint.input === undefined ? input : validate(endpoint.input, input, title)
  const result = asPromise(
    given instanceof Promise ? given.then((v) => handler(v, call)) : handler(given, call),
  )
  if (endpoint.output === undefined) return result
  return result instanceof Promise
    ? result.then((value) => comingOut(endpoint, value))
    : comingOut(endpoint, result)
}

/** What the handler of a stream yields. */
export async function* yielded(
  endpoint: Endpoint,
  input: unknown,
  call: RunningCall,
): AsyncGenerator<unknown> {
  const given = endpoint.input === undefined ? input : await validate(endpoint.input, input, endpoint.title)
  const items = await endpoint.handler(given, call)
  if (!isIterable(items))
    throw new SkeinError('handler_failed', `${endpoint.title}: a stream's handler returns an async iterable`)
  for await (const item of items) {
    if (call.signal.aborted) throw call.signal.reason
    yield endpoint.output === undefined ? item : await comingOut(endpoint, item)
  }
}

/** Items that the caller sends, as the handler gets them. */
export async function* uploaded(
  endpoint: Endpoint,
  items: AsyncIterable<unknown> | Iterable<unknown>,
): AsyncGenerator<unknown> {
  for await (const item of items)
    yield endpoint.upload === undefined
      ? item
      : await validate(endpoint.upload, item, `${endpoint.title}: an item`)
}

/** What is wrong with it is the handler's fault, not the caller's. */
function comingOut({ output, title }: Endpoint, value: unknown): unknown {
  if (output === undefined) return value
  const fault = (error: unknown): never => {
    if (isSkeinError(error) && error.code === 'invalid_argument')
      throw new SkeinError(
        'handler_failed',
        `${title} gave back what its contract does not allow: ${error.message}`,
        {
          details: error.details,
        },
      )
    throw error
  }
  try {
    const valid = validate(output, value, title)
    return valid instanceof Promise ? valid.catch(fault) : valid
  } catch (error) {
    return fault(error)
  }
}

/** Promises of other makes become ours. */
function asPromise(value: unknown): unknown {
  const isForeign =
    typeof value === 'object' && value !== null && 'then' in value && !(value instanceof Promise)
  return isForeign && typeof value.then === 'function' ? Promise.resolve(value) : value
}

function isIterable(value: unknown): value is AsyncIterable<unknown> | Iterable<unknown> {
  return (
    typeof value === 'object' && value !== null && (Symbol.asyncIterator in value || Symbol.iterator in value)
  )
}
