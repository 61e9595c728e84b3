/** `/api/services` and `/api/names`: what is offered, and calls of it. */
import { isServiceError } from '../core/kernel/service-error.js'
import type { NameView, ServiceView, SkeinNode } from '../runtime/node-api.js'
import { HttpProblem, notFound } from './problem.js'
import { type Answer, type Route, route } from './route.js'
import * as shapes from './service-contract.js'

export function serviceRoutes(node: SkeinNode): Route[] {
  return [...services(node), ...names(node)]
}

function services(node: SkeinNode): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/services',
      role: 'viewer',
      summary: 'Services of the whole cluster, in order of name',
      answers: { 200: { description: 'Services', schema: shapes.serviceListSchema } },
      handle: () => {
        const all = node.services.list().map(serviceJson)
        return { body: { services: all, count: all.length } }
      },
    }),
    route({
      method: 'GET',
      path: '/api/services/{name}',
      role: 'viewer',
      summary: 'Who offers it',
      answers: { 200: { description: 'The service', schema: shapes.serviceAnswerSchema } },
      errors: ['not_found'],
      handle: ({ params: { name = '' } }) => {
        const found = node.services.find(name)
        if (found === undefined) throw notFound(`Service "${name}"`)
        return { body: serviceJson(found) }
      },
    }),
    route({
      method: 'POST',
      path: '/api/services/{name}/{method}',
      role: 'operator',
      isFrequent: true,
      summary: 'Call a method that gives one answer; bytes are answered as application/octet-stream',
      body: shapes.serviceCallSchema,
      isBodyOptional: true,
      answers: { 200: { description: 'What it gave back', schema: shapes.resultSchema } },
      errors: ['invalid_argument', 'not_found', 'handler_failed', 'overloaded', 'unavailable', 'timeout'],
      handle: async ({ params: { name = '', method = '' }, body, http }) => {
        const { traceparent, tracestate } = http.headers
        return answerOf(
          node.services.call(name, method, body.input, {
            timeoutMs: body.timeout_ms,
            ...given('version', body.version),
            ...given('nodeId', body.node_id),
            ...given('key', body.key),
            ...given('prefer', body.prefer),
            ...given('retries', body.retries),
            ...given('idempotent', body.idempotent),
            ...given('traceparent', oneOf(traceparent)),
            ...given('tracestate', oneOf(tracestate)),
          }),
        )
      },
    }),
  ]
}

function names(node: SkeinNode): Route[] {
  const find = (name: string, nodeId: string | undefined) => {
    const found = node.names.whereis(name, given('nodeId', nodeId))
    if (found !== undefined) return found
    if (nodeId !== undefined) throw notFound(`Name "${name}" on ${nodeId}`)
    const holders = node.names.list().filter((n) => n.kind === 'node' && n.name === `${name}@${n.nodeId}`)
    if (holders.length === 0) throw notFound(`Name "${name}"`)
    throw new HttpProblem(
      'not_found',
      `Name "${name}" is one of each node: node_id says which (${holders.map((n) => n.nodeId).join(', ')})`,
      { details: { field: 'node_id', allowed: holders.map((n) => n.nodeId) } },
    )
  }
  return [
    route({
      method: 'GET',
      path: '/api/names',
      role: 'viewer',
      summary: 'Names of the whole cluster and who holds them; those of one node as name@node',
      answers: { 200: { description: 'Names', schema: shapes.nameListSchema } },
      handle: () => {
        const all = node.names.list().map(nameJson)
        return { body: { names: all, count: all.length } }
      },
    }),
    route({
      method: 'GET',
      path: '/api/names/{name}',
      role: 'viewer',
      summary: 'Who holds it',
      query: shapes.nameQuery,
      answers: { 200: { description: 'The name', schema: shapes.nameAnswerSchema } },
      errors: ['not_found'],
      handle: ({ params: { name = '' }, query }) => ({ body: nameJson(find(name, query.node_id)) }),
    }),
    route({
      method: 'POST',
      path: '/api/names/{name}/call',
      role: 'operator',
      isFrequent: true,
      summary: 'Call a method of what is registered under it',
      query: shapes.nameQuery,
      body: shapes.nameCallSchema,
      answers: { 200: { description: 'What it gave back', schema: shapes.resultSchema } },
      errors: ['invalid_argument', 'not_found', 'handler_failed', 'overloaded', 'unavailable', 'timeout'],
      handle: async ({ params: { name = '' }, query, body }) =>
        answerOf(
          find(name, query.node_id).callWith({ timeoutMs: body.timeout_ms }, body.method, ...body.args),
        ),
    }),
  ]
}

async function answerOf(call: Promise<unknown>): Promise<Answer> {
  let result: unknown
  try {
    result = await call
  } catch (error) {
    if (!isServiceError(error)) throw error
    const { code, message, details, retryable } = error
    throw new HttpProblem('handler_failed', message, {
      status: 422,
      retryable,
      details: { error: code, ...details },
    })
  }
  if (result instanceof Uint8Array)
    return { contentType: 'application/octet-stream', body: Buffer.from(result) }
  return { body: { result: result ?? null } }
}

function given<K extends string, V>(key: K, value: V | undefined): { readonly [P in K]?: V } {
  return (value === undefined ? {} : { [key]: value }) as { readonly [P in K]?: V }
}

function oneOf(header: string | string[] | undefined): string | undefined {
  return Array.isArray(header) ? header[0] : header
}

function serviceJson({ name, instances }: ServiceView): shapes.ServiceJson {
  return {
    name,
    versions: [...new Set(instances.map((i) => i.version))],
    instances: instances.map((i) => ({
      node_id: i.nodeId,
      version: i.version,
      zone: i.zone,
      healthy: i.healthy,
      circuit: i.circuit,
      in_flight: i.inFlight,
      methods: i.methods.map((m) => ({ ...m })),
    })),
  }
}

function nameJson(n: NameView): shapes.NameJson {
  return {
    name: n.name,
    node_id: n.nodeId,
    kind: n.kind,
    registered_at: n.registeredAt,
    methods: [...n.methods],
    successors: [...n.successors],
  }
}
