/** The route table as an OpenAPI 3.1 document. Whatever is written here comes from the table; nothing is said twice. */
import { z } from 'zod'
import type { ErrorCode } from '../core/kernel/error.js'
import type { RouteRole } from './access.js'
import { problemSchema, schemas } from './contract.js'
import { statusOf } from './problem.js'
import type { Route, SocketRoute } from './route.js'
import { sessionCookie } from './sessions.js'

type Json = Readonly<Record<string, unknown>>

export function openapiDocument(
  routes: readonly Route[],
  sockets: readonly SocketRoute[],
  version: string,
): string {
  const paths = new Map<string, Map<string, Json>>()
  const add = (path: string, method: string, operation: Json) => {
    const operations = paths.get(path) ?? new Map<string, Json>()
    paths.set(path, operations.set(method, operation))
  }
  for (const route of routes) add(route.path, route.method.toLowerCase(), operationOf(route))
  for (const socket of sockets) {
    add(socket.path, 'get', {
      tags: [tagOf(socket.path)],
      summary: socket.summary,
      operationId: nameOf('GET', socket.path),
      ...securityOf(socket.role),
      parameters: [...pathParameters(socket.path), ...queryParameters(socket.query)],
      responses: {
        101: { description: 'The connection is a WebSocket now' },
        426: problemAnswer('It did not ask for a WebSocket'),
        ...problems(['forbidden_origin', 'invalid_argument', ...refusalsOf(socket.role)]),
      },
    })
  }
  return JSON.stringify({
    openapi: '3.1.0',
    info: { title: 'Skein', version, description: 'HTTP surface of a Skein node' },
    paths: Object.fromEntries([...paths].map(([path, operations]) => [path, Object.fromEntries(operations)])),
    components: { schemas: components(), securitySchemes },
  })
}

function operationOf(route: Route): Json {
  return {
    tags: [tagOf(route.path)],
    summary: route.summary,
    operationId: nameOf(route.method, route.path),
    ...securityOf(route.role),
    parameters: [
      ...pathParameters(route.path),
      ...queryParameters(route.query),
      ...(route.headers ?? []).map((header) => ({ ...header, in: 'header', schema: { type: 'string' } })),
    ],
    ...(route.body === undefined ? {} : { requestBody: requestBody(route) }),
    responses: { ...problems(errorsOf(route)), ...refusals(route), ...answers(route) },
  }
}

function pathParameters(path: string): Json[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }))
}

/** What any route with a body, or any that writes, may refuse. */
function errorsOf(route: Route): ErrorCode[] {
  const own = route.errors ?? []
  const written: ErrorCode[] = route.method === 'GET' ? [] : ['forbidden_origin']
  const read: ErrorCode[] =
    route.body === undefined ? [] : ['invalid_argument', 'payload_too_large', 'unsupported_media_type']
  return [...new Set([...own, ...written, ...read, ...refusalsOf(route.role)])]
}

const securitySchemes: Json = {
  token: {
    type: 'http',
    scheme: 'bearer',
    description: 'Needed once the node has a token; see x-skein-role',
  },
  session: { type: 'apiKey', in: 'cookie', name: sessionCookie, description: 'From /api/auth/login' },
}

/** The role is the least that does. */
function securityOf(role: RouteRole): Json {
  return {
    'x-skein-role': role,
    security: role === 'public' ? [] : [{ token: [] }, { session: [] }],
  }
}

function refusalsOf(role: RouteRole): ErrorCode[] {
  return role === 'public' ? ['overloaded'] : ['overloaded', 'unauthenticated', 'forbidden']
}

function requestBody(route: Route): Json {
  const schema = schemaOf(route.body as z.ZodType, 'input')
  const types = route.bodyTypes ?? ['application/json']
  return {
    required: route.isBodyOptional !== true,
    content: Object.fromEntries(types.map((type) => [type, { schema }])),
  }
}

function answers(route: Route): Json {
  return Object.fromEntries(
    Object.entries(route.answers).map(([status, { description, schema, type }]) => {
      const isJson = type === undefined || type === 'application/json'
      const ofText = isJson ? {} : { type: 'string' }
      const content = schema === undefined ? ofText : schemaOf(schema, 'output')
      return [status, { description, content: { [type ?? 'application/json']: { schema: content } } }]
    }),
  )
}

function problems(codes: readonly ErrorCode[]): Json {
  const byStatus = new Map<number, ErrorCode[]>()
  for (const code of codes) byStatus.set(statusOf(code), [...(byStatus.get(statusOf(code)) ?? []), code])
  return Object.fromEntries(
    [...byStatus].map(([status, list]) => [status, problemAnswer(`code: ${list.join(', ')}`)]),
  )
}

function refusals({ refusals = {} }: Route): Json {
  return Object.fromEntries(
    Object.entries(refusals).map(([status, description]) => [status, problemAnswer(description)]),
  )
}

function problemAnswer(description: string): Json {
  return {
    description,
    content: { 'application/problem+json': { schema: schemaOf(problemSchema, 'output') } },
  }
}

function queryParameters(query: z.ZodType | undefined): Json[] {
  if (query === undefined) return []
  const schema = z.toJSONSchema(query, { io: 'input', unrepresentable: 'any' })
  const required = new Set(schema.required ?? [])
  return Object.entries(schema.properties ?? {}).map(([name, property]) => ({
    name,
    in: 'query',
    required: required.has(name),
    schema: property,
  }))
}

function schemaOf(schema: z.ZodType, io: 'input' | 'output'): unknown {
  const id = schemas.get(schema)?.id
  if (id !== undefined) return { $ref: `#/components/schemas/${id}` }
  return z.toJSONSchema(schema, { io, unrepresentable: 'any' })
}

function components(): Json {
  const uri = (id: string) => `#/components/schemas/${id}`
  const { schemas: all } = z.toJSONSchema(schemas, { uri, io: 'input', unrepresentable: 'any' })
  return Object.fromEntries(
    Object.entries(all).map(([id, { $schema: _, $id: __, ...schema }]) => [id, schema]),
  )
}

/** What it is about, for those who read. */
function tagOf(path: string): string {
  const [first = '', second = ''] = path.split('/').slice(1)
  if (first === 'ws' || path.endsWith('/ws')) return 'sockets'
  if (first === '_api' || first === 'v1' || ['nodes', 'ingest', 'v1'].includes(second)) return 'older systems'
  return first === 'api' ? second : 'system'
}

/** Unique: `/_api/…` of an older system stands beside `/api/…`. */
function nameOf(method: string, path: string): string {
  const words = path
    .replace(/^\/_api\//, '/older/')
    .split(/[^A-Za-z0-9]+/)
    .filter((word) => word !== '')
  return [method.toLowerCase(), ...words].join('_')
}
