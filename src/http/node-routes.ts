/** `/api/cluster/nodes` and what can be asked of and done to one node. */
import { z } from 'zod'
import type { NodeOperation, NodeView, SkeinNode } from '../runtime/node-api.js'
import * as contract from './contract.js'
import { notFound } from './problem.js'
import { type Route, route } from './route.js'
import { durationMs, nodeJson, nodeList, operationJson, whyJson } from './views.js'

const drainDeadlineMs = 30_000

export function nodeRoutes(node: SkeinNode): Route[] {
  const find = (id: string | undefined): NodeView => {
    const view = id === undefined ? undefined : node.members.get(id)
    if (view === undefined) throw notFound(`Node ${id}`)
    return view
  }
  return [...listRoutes(node), ...singleRoutes(node, find), ...maintenanceRoutes(node, find)]
}

function listRoutes(node: SkeinNode): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/cluster/nodes',
      role: 'viewer',
      summary: 'All nodes, the offline ones included until they are removed',
      query: z.object({ status: z.enum(['online', 'offline', 'draining', 'unknown']).optional() }),
      answers: { 200: { description: 'Nodes', schema: contract.nodeListSchema } },
      errors: ['invalid_argument'],
      handle: ({ query }) => {
        const all = nodeList(node)
        const nodes = query.status === undefined ? all : all.filter((each) => each.status === query.status)
        return { body: { nodes, count: nodes.length, total: all.length } }
      },
    }),
    route({
      method: 'POST',
      path: '/api/cluster/nodes',
      role: 'operator',
      summary: 'Register an external node: one that runs no Skein and heartbeats over HTTP',
      body: contract.nodeRegistrationSchema,
      answers: { 201: { description: 'Registered', schema: contract.nodeRegisteredSchema } },
      errors: ['invalid_argument', 'conflict'],
      handle: async ({ body }) => {
        const view = await node.cluster.registerExternal({
          id: body.id,
          hostname: body.hostname,
          ipAddress: body.ip_address,
          port: body.port,
          maxAgents: body.max_agents,
          services: body.services,
        })
        return {
          status: 201,
          headers: { location: `/api/cluster/nodes/${encodeURIComponent(view.id)}` },
          body: { success: true, node: nodeJson(view, Date.now()) },
        }
      },
    }),
  ]
}

function singleRoutes(node: SkeinNode, find: (id: string | undefined) => NodeView): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/cluster/nodes/{id}',
      role: 'viewer',
      summary: 'One node',
      answers: { 200: { description: 'The node', schema: contract.nodeSchema } },
      errors: ['not_found'],
      handle: ({ params }) => ({ body: nodeJson(find(params.id), Date.now()) }),
    }),
    route({
      method: 'POST',
      path: '/api/cluster/nodes/{id}',
      role: 'operator',
      isFrequent: true,
      summary: 'Heartbeat of an external node; revives an offline one',
      body: contract.heartbeatSchema,
      isBodyOptional: true,
      answers: { 200: { description: 'Noted', schema: contract.successSchema } },
      errors: ['invalid_argument', 'not_found', 'conflict'],
      handle: async ({ params, body }) => {
        await node.cluster.heartbeat(params.id as string, {
          cpuUsage: body.cpu_usage,
          memoryUsage: body.memory_usage,
          diskUsage: body.disk_usage,
          loadAverage: body.load_average,
        })
        return { body: { success: true } }
      },
    }),
    route({
      method: 'DELETE',
      path: '/api/cluster/nodes/{id}',
      role: 'admin',
      summary: 'Remove a node',
      answers: { 200: { description: 'Removed', schema: contract.successSchema } },
      errors: ['not_found', 'conflict', 'no_leader'],
      handle: async ({ params }) => {
        await node.cluster.remove(find(params.id).id)
        return { body: { success: true } }
      },
    }),
    route({
      method: 'GET',
      path: '/api/cluster/nodes/{id}/why',
      role: 'viewer',
      summary: 'The evidence behind its status',
      answers: { 200: { description: 'Evidence, oldest first', schema: contract.whySchema } },
      errors: ['not_found'],
      handle: async ({ params }) => {
        const why = await node.members.why(find(params.id).id)
        if (why === undefined) throw notFound(`Node ${params.id}`)
        return { body: whyJson(why) }
      },
    }),
  ]
}

function maintenanceRoutes(node: SkeinNode, find: (id: string | undefined) => NodeView): Route[] {
  const actions = {
    drain: {
      summary: 'Move its shards and agents away and keep it empty until uncordoned',
      act: (id: string, deadlineMs: number) => node.cluster.drain(id, { deadlineMs }),
    },
    cordon: { summary: 'Give it nothing new', act: (id: string) => node.cluster.cordon(id) },
    uncordon: { summary: 'Let it take work again', act: (id: string) => node.cluster.uncordon(id) },
  } satisfies Record<
    string,
    { summary: string; act: (id: string, deadlineMs: number) => Promise<NodeOperation> }
  >
  return Object.entries(actions).map(([kind, { summary, act }]) =>
    route({
      method: 'POST',
      path: `/api/cluster/nodes/{id}/${kind}`,
      role: 'operator',
      summary,
      body: contract.maintenanceSchema,
      isBodyOptional: true,
      answers: {
        202: { description: 'Under way', schema: contract.operationSchema },
        200: {
          description: 'Asked with dry_run: the shards and agents that would move',
          schema: contract.dryRunSchema,
        },
      },
      errors: ['invalid_argument', 'not_found', 'conflict', 'no_leader'],
      handle: async ({ params, body }) => {
        const { id } = find(params.id)
        if (body.dry_run) {
          const owned = kind === 'drain' ? node.cluster.shards().filter((shard) => shard.owner === id) : []
          const moving =
            kind === 'drain'
              ? (await node.agents.list()).filter((a) => a.nodeId === id).map((a) => a.name)
              : []
          return {
            body: {
              dry_run: true,
              node_id: id,
              kind,
              shards: owned.map((each) => each.shard),
              agents: moving,
              blockers: kind === 'drain' ? node.agents.blockers(id).map((b) => ({ ...b })) : [],
              count: owned.length + moving.length,
            },
          }
        }
        const operation = await act(
          id,
          body.deadline === undefined ? drainDeadlineMs : durationMs(body.deadline),
        )
        return {
          status: 202,
          headers: { location: `/api/cluster/operations/${encodeURIComponent(operation.id)}` },
          body: operationJson(operation),
        }
      },
    }),
  )
}
