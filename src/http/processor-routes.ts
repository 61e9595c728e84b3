/** `/api/spawn` and `/api/processors`. */
import type { SkeinNode, SpawnOptions } from '../runtime/node-api.js'
import { constraintsOf, defined } from './agent-routes.js'
import * as shapes from './processor-contract.js'
import { processorsJson, runJson } from './processor-views.js'
import { type Route, route } from './route.js'

export function processorRoutes(node: SkeinNode): Route[] {
  return [
    route({
      method: 'POST',
      path: '/api/spawn',
      role: 'operator',
      summary: 'Run a registered processor on the node that fits, or on a certain one',
      body: shapes.spawnSchema,
      answers: {
        200: { description: 'It ended within wait_ms: how, and with what', schema: shapes.runSchema },
        202: { description: 'It runs; where is in Location', schema: shapes.runSchema },
      },
      errors: ['invalid_argument', 'not_found', 'overloaded', 'node_down', 'outcome_unknown', 'closed'],
      handle: async ({ body }) => {
        const { name, args, wait_ms, timeout_ms, constraints, ...rest } = body
        const options = defined({
          ...rest,
          timeoutMs: timeout_ms,
          constraints: constraints === undefined ? undefined : constraintsOf(constraints),
        }) as SpawnOptions
        const handle = await node.spawn(name, args, options)
        const run = runJson(await node.processors.show(handle.id, { waitMs: wait_ms }))
        return {
          status: run.status === 'running' ? 202 : 200,
          headers: { location: `/api/processors/${encodeURIComponent(run.id)}` },
          body: run,
        }
      },
    }),
    route({
      method: 'GET',
      path: '/api/processors',
      role: 'viewer',
      summary: 'Processors: who has which, what runs where, and the load of the streams that are processed',
      answers: { 200: { description: 'All of them', schema: shapes.processorListSchema } },
      handle: async () => ({ body: processorsJson(await node.processors.list()) }),
    }),
    route({
      method: 'GET',
      path: '/api/processors/{id}',
      role: 'viewer',
      summary: 'One run; an end is known for ten minutes. Waits up to wait_ms for it',
      query: shapes.runQuery,
      answers: { 200: { description: 'The run', schema: shapes.runSchema } },
      errors: ['invalid_argument', 'not_found', 'peer_unreachable', 'timeout', 'outcome_unknown'],
      handle: async ({ params, query }) => ({
        body: runJson(await node.processors.show(params.id as string, { waitMs: query.wait_ms })),
      }),
    }),
    route({
      method: 'DELETE',
      path: '/api/processors/{id}',
      role: 'operator',
      summary: 'Tell a run to stop',
      query: shapes.killQuery,
      answers: {
        200: { description: 'Told, or it had ended before', schema: shapes.killedSchema },
      },
      errors: ['invalid_argument', 'not_found', 'peer_unreachable', 'timeout', 'outcome_unknown'],
      handle: async ({ params, query }) => ({
        body: { success: true, killed: await node.processors.kill(params.id as string, query.reason) },
      }),
    }),
  ]
}
