/**
 * A service as its two sides agree on it: name, version, methods with the schemas of what goes in and comes out. Both sides import it; the types of
 * handlers and of calls follow from it.
 */
import { SkeinError } from '../../core/kernel/error.js'
import { isVersion } from '../../core/services/version.js'
import type { CallOptions, HandlerContext, StreamContext, StreamOptions } from './api-types.js'
import type { InputOf, OutputOf, StandardSchema } from './schema.js'

export interface MethodContract {
  /** Of the argument; anything that MessagePack holds when absent. */
  readonly input?: StandardSchema
  /** Of the result, or of each item of a stream. */
  readonly output?: StandardSchema
  /** Of each item that the caller of a stream sends. */
  readonly upload?: StandardSchema
  /** May be carried out twice: then it is tried again where it is not known whether it was. */
  readonly idempotent?: boolean
  /** The handler gives an async iterable, and the caller gets one. */
  readonly stream?: boolean
}

export type MethodContracts = Readonly<Record<string, MethodContract>>

export interface ServiceContract<M extends MethodContracts = MethodContracts> {
  readonly name: string
  readonly version: string
  readonly methods: M
}

type Schema<M, K extends keyof MethodContract> = M extends { readonly [P in K]: infer S } ? S : undefined

export type Handler<M extends MethodContract> = M extends { readonly stream: true }
  ? (
      input: OutputOf<Schema<M, 'input'>>,
      context: StreamContext<OutputOf<Schema<M, 'upload'>>>,
    ) => AsyncIterable<InputOf<Schema<M, 'output'>>>
  : (
      input: OutputOf<Schema<M, 'input'>>,
      context: HandlerContext,
    ) => InputOf<Schema<M, 'output'>> | Promise<InputOf<Schema<M, 'output'>>>

export type Implementation<M extends MethodContracts> = { readonly [K in keyof M]: Handler<M[K]> }

type Arguments<M extends MethodContract, Options> =
  Schema<M, 'input'> extends StandardSchema
    ? [input: InputOf<Schema<M, 'input'>>, options?: Options]
    : [input?: unknown, options?: Options]

export type Call<M extends MethodContract> = M extends { readonly stream: true }
  ? (
      ...args: Arguments<M, StreamOptions<InputOf<Schema<M, 'upload'>>>>
    ) => AsyncIterable<OutputOf<Schema<M, 'output'>>>
  : (...args: Arguments<M, CallOptions>) => Promise<OutputOf<Schema<M, 'output'>>>

export type ServiceClient<M extends MethodContracts> = { readonly [K in keyof M]: Call<M[K]> }

const nameRule = /^[A-Za-z][A-Za-z0-9._-]{0,127}$/
const methodsMax = 256

/**
 * Throws `invalid_argument`: names are 1 to 128 characters of `A-Za-z0-9._-` that begin with a letter, a version is `2` or `2.1`, a service has 1 to
 * 256 methods.
 */
export function defineService<const M extends MethodContracts>(
  name: string,
  contract: { readonly version?: string; readonly methods: M },
): ServiceContract<M> {
  const { version = '1', methods } = contract
  checkName('service', name)
  if (!isVersion(version))
    throw invalid(`version "${version}" of service "${name}"`, 'numbers with dots, as in 2 or 2.1')
  const names = Object.keys(methods)
  if (names.length === 0 || names.length > methodsMax)
    throw invalid(`service "${name}" with ${names.length} methods`, `1 to ${methodsMax}`)
  for (const method of names) checkName('method', method)
  return { name, version, methods }
}

function checkName(what: 'service' | 'method', name: string): void {
  if (!nameRule.test(name))
    throw invalid(
      `${what} "${name.slice(0, 200)}"`,
      '1 to 128 characters of A-Za-z0-9._- that begin with a letter',
    )
}

function invalid(what: string, allowed: string): SkeinError {
  return new SkeinError('invalid_argument', `${what}: allowed is ${allowed}`, { details: { allowed } })
}
