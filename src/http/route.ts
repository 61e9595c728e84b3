/**
 * A route as data: what it is called, what it takes, what it answers, what it does. The same table registers the routes and
 * writes `/openapi.json`, so that the two cannot disagree.
 */
import type { IncomingMessage } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { WebSocket } from 'ws'
import type { z } from 'zod'
import type { ErrorCode } from '../core/kernel/error.js'
import type { Principal, RouteRole } from './access.js'

export type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'

interface RouteRequest<Q, B> {
  /** Decoded path parameters. */
  readonly params: Readonly<Record<string, string>>
  readonly query: Q
  readonly body: B
  /** The body as it came; empty when there was none. */
  readonly bytes: Buffer
  readonly principal: Principal
  /** Who turned out to be calling, for the audit log. */
  actAs(principal: Principal): void
  readonly http: FastifyRequest
  readonly reply: FastifyReply
}

export interface Answer {
  readonly status?: number
  readonly headers?: Readonly<Record<string, string>>
  readonly contentType?: string
  /** Sent as JSON, or as it is when it is text or bytes with a `contentType`. */
  readonly body: unknown
}

/** The handler took the connection over. */
export const hijacked = Symbol('hijacked')
type Outcome = Answer | typeof hijacked

export interface RequestHeader {
  readonly name: string
  readonly description: string
}

export interface RouteSpec<Q extends z.ZodType, B extends z.ZodType> {
  readonly method: Method
  /** `/api/cluster/nodes/{id}` */
  readonly path: string
  /** The least that a caller must be once a token is set. */
  readonly role: RouteRole
  /** Called so often that the audit log counts it instead of listing each call. */
  readonly isFrequent?: boolean
  readonly summary: string
  readonly query?: Q
  /** Checked before `handle`, unless `bodyIsRaw`: then it documents what `handle` itself parses. */
  readonly body?: B
  readonly bodyIsRaw?: boolean
  /** An absent body counts as `{}`. */
  readonly isBodyOptional?: boolean
  readonly bodyBytesMax?: number
  readonly bodyTypes?: readonly string[]
  readonly answers: Readonly<
    Record<number, { readonly description: string; readonly schema?: z.ZodType; readonly type?: string }>
  >
  readonly errors?: readonly ErrorCode[]
  /** Refusals with another status than their code has elsewhere. */
  readonly refusals?: Readonly<Record<number, string>>
  /** That `handle` looks at itself. */
  readonly headers?: readonly RequestHeader[]
  handle(request: RouteRequest<z.output<Q>, z.output<B>>): Outcome | Promise<Outcome>
}

export type Route = RouteSpec<z.ZodType, z.ZodType>

/** Keeps the types of query and body inside one route while the table forgets them. */
export function route<Q extends z.ZodType = z.ZodUndefined, B extends z.ZodType = z.ZodUndefined>(
  spec: RouteSpec<Q, B>,
): Route {
  return spec as unknown as Route
}

export interface SocketSpec<Q extends z.ZodType> {
  readonly path: string
  readonly role: RouteRole
  readonly summary: string
  readonly query?: Q
  /** Open at the same time, instead of what all others share; then one caller may have all of them. */
  readonly socketsMax?: number
  /** Of one message, when it is less than what others may send. */
  readonly messageBytesMax?: number
  open(socket: WebSocket, query: z.output<Q>, request: IncomingMessage, principal: Principal): void
}

export type SocketRoute = SocketSpec<z.ZodType>

export function socketRoute<Q extends z.ZodType = z.ZodUndefined>(spec: SocketSpec<Q>): SocketRoute {
  return spec as unknown as SocketRoute
}

export interface Log {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}
