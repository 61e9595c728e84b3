/** One request through one route: content type, body, schemas, handler, answer. Fastify stays outside of all that. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { z } from 'zod'
import type { ErrorCode } from '../core/kernel/error.js'
import type { Principal } from './access.js'
import { limits } from './contract.js'
import { mediaType } from './event-routes.js'
import { parseJson, requireUtf8 } from './json-input.js'
import { HttpProblem, invalid, problemOf, problemType, zodProblem } from './problem.js'
import { type Answer, hijacked, type Log, type Route } from './route.js'

const noBytes = Buffer.alloc(0)

/** What the guard has found out about a request before it is dispatched. */
export interface GuardedRequest extends FastifyRequest {
  principal: Principal
  /** Code of the refusal, if it was one. */
  refusal: ErrorCode | undefined
  /** It answers as long as it stays open. */
  isStream: boolean
}

export async function dispatch(route: Route, request: GuardedRequest, reply: FastifyReply): Promise<unknown> {
  const bytes = Buffer.isBuffer(request.body) ? request.body : noBytes
  const outcome = await route.handle({
    params: request.params as Readonly<Record<string, string>>,
    query: queryOf(route, request),
    body: bodyOf(route, request, bytes),
    bytes,
    principal: request.principal,
    actAs: (principal) => {
      request.principal = principal
    },
    http: request,
    reply,
  })
  if (outcome !== hijacked) return sendAnswer(reply, outcome)
  request.isStream = true
  return reply
}

function queryOf(route: Route, request: FastifyRequest): unknown {
  if (route.query === undefined) return undefined
  const given = request.query as Readonly<Record<string, unknown>>
  for (const [name, value] of Object.entries(given)) {
    if (Array.isArray(value)) throw invalid(name, value, 'one value')
  }
  return checked(route.query, given, 'query')
}

function bodyOf(route: Route, request: FastifyRequest, bytes: Buffer): unknown {
  if (route.body === undefined) return undefined
  const allowed = route.bodyTypes ?? ['application/json']
  const type = mediaType(request.headers['content-type'])
  if (bytes.length === 0 && route.isBodyOptional === true) return checked(route.body, {}, 'body')
  if (!allowed.includes(type) && !(type.startsWith('application/') && type.endsWith('+json'))) {
    throw new HttpProblem(
      'unsupported_media_type',
      `Content-Type: got ${JSON.stringify(type)}, allowed is ${allowed.join(', ')}`,
      {
        details: { field: 'Content-Type', given: type, allowed: allowed.join(', ') },
      },
    )
  }
  if (bytes.length === 0) throw invalid('body', undefined, allowed.join(', '))
  if (route.bodyIsRaw === true) return undefined
  requireUtf8(bytes)
  return checked(route.body, parseJson(bytes), 'body')
}

function checked(schema: z.ZodType, value: unknown, where: string): unknown {
  const parsed = schema.safeParse(value)
  if (!parsed.success) throw zodProblem(parsed.error, value, where)
  return parsed.data
}

export function bodyBytesMaxOf(route: Route): number {
  return route.bodyBytesMax ?? limits.singleBytesMax
}

export function sendAnswer(reply: FastifyReply, answer: Answer): FastifyReply {
  reply.code(answer.status ?? 200)
  if (answer.headers !== undefined) reply.headers(answer.headers)
  if (answer.contentType === undefined) {
    reply.header('cache-control', 'no-store').type('application/json; charset=utf-8')
    return reply.send(JSON.stringify(answer.body))
  }
  return reply.type(answer.contentType).send(answer.body)
}

/** Errors of ours are answers; anything else is the node's own failure and goes to its log. */
export function sendError(reply: FastifyReply, error: unknown, log: Log): FastifyReply {
  const { problem, headers } = problemOf(error)
  ;(reply.request as GuardedRequest).refusal = problem.code
  if (problem.code === 'internal') {
    const { method, url } = reply.request
    log.error({ method, url, error: error instanceof Error ? error.stack : String(error) }, 'request failed')
  }
  return reply.code(problem.status).headers(headers).type(problemType).send(JSON.stringify(problem))
}
