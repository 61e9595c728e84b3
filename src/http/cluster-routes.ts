/** `/api/cluster/*` but for single nodes: status, peers, leader, shards, history, operations, watch. */
import { z } from 'zod'
import type { SkeinNode } from '../runtime/node-api.js'
import * as contract from './contract.js'
import { HttpProblem, notFound } from './problem.js'
import { hijacked, type Route, route } from './route.js'
import {
  feedJson,
  leaderJson,
  operationJson,
  peerJson,
  samplesJson,
  shardJson,
  statsJson,
  statusJson,
} from './views.js'
import type { WatchHub } from './watch.js'

export function clusterRoutes(node: SkeinNode, watch: WatchHub): Route[] {
  return [...viewRoutes(node, watch), ...leaderRoutes(node), ...operationRoutes(node)]
}

function viewRoutes(node: SkeinNode, watch: WatchHub): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/cluster/status',
      role: 'viewer',
      summary: 'The cluster as this node sees it: node, leader, quorum, counts, health of store and journal',
      answers: { 200: { description: 'Status', schema: contract.clusterStatusSchema } },
      handle: () => ({ body: statusJson(node.cluster.status()) }),
    }),
    route({
      method: 'GET',
      path: '/api/cluster/peers',
      role: 'viewer',
      summary: 'Connections to the other nodes',
      answers: { 200: { description: 'Peers', schema: contract.peerListSchema } },
      handle: () => {
        const peers = node.cluster.peers().map(peerJson)
        return { body: { peers, count: peers.length } }
      },
    }),
    route({
      method: 'GET',
      path: '/api/cluster/stats',
      role: 'viewer',
      summary: 'Figures over all nodes',
      answers: { 200: { description: 'Figures', schema: contract.statsSchema } },
      handle: () => ({ body: statsJson(node) }),
    }),
    route({
      method: 'GET',
      path: '/api/cluster/shards',
      role: 'viewer',
      summary: 'Who owns which slice of the keys',
      answers: { 200: { description: 'The shard map', schema: contract.shardListSchema } },
      handle: () => {
        const shards = node.cluster.shards().map(shardJson)
        const owners = new Map<string, number>()
        for (const { owner } of shards) if (owner !== null) owners.set(owner, (owners.get(owner) ?? 0) + 1)
        const list = [...owners].map(([node_id, owned]) => ({ node_id, shards: owned }))
        return { body: { shards, count: shards.length, owners: list } }
      },
    }),
    route({
      method: 'GET',
      path: '/api/cluster/route',
      role: 'viewer',
      summary: 'Who owns a key',
      query: z.object({ key: contract.keySchema }),
      answers: { 200: { description: 'Its shard, epoch and owner', schema: contract.routeSchema } },
      errors: ['invalid_argument'],
      handle: ({ query }) => {
        const { key, shard, epoch, owner, address } = node.cluster.route(query.key)
        return { body: { key, shard, epoch, owner, address } }
      },
    }),
    route({
      method: 'GET',
      path: '/api/cluster/history',
      role: 'viewer',
      summary: 'What happened: membership, leadership, shards, agents',
      query: z.object({
        limit: z.coerce.number().int().min(1).max(1_000).default(100),
        /** agents: what they do, as the leader tells it; cluster: all else. */
        topic: z.enum(['agents', 'cluster']).optional(),
      }),
      answers: { 200: { description: 'The newest events this node keeps', schema: contract.historySchema } },
      errors: ['invalid_argument'],
      handle: ({ query }) => {
        const events = node.cluster.history(query.limit, query.topic).map(feedJson)
        return { body: { events, count: events.length } }
      },
    }),
    route({
      method: 'GET',
      path: '/api/cluster/samples',
      role: 'viewer',
      summary: 'How the nodes were doing over the last 15 minutes, as this node saw them: a curve per figure',
      query: z.object({
        points: z.coerce.number().int().min(1).max(450).default(150),
        node_id: z.string().min(1).max(64).optional(),
      }),
      answers: { 200: { description: 'Curves, evenly spread', schema: contract.samplesSchema } },
      errors: ['invalid_argument'],
      handle: ({ query }) => ({ body: samplesJson(node.cluster.samples(query.points, query.node_id)) }),
    }),
    route({
      method: 'GET',
      path: '/api/cluster/reachability',
      role: 'viewer',
      summary: 'Who sees whom',
      answers: { 200: { description: 'One row per observer', schema: contract.reachabilitySchema } },
      handle: async () => {
        const rows = (await node.cluster.reachability()).map((row) => ({
          observer: row.observer,
          ...(row.error === undefined ? {} : { error: row.error }),
          age_ms: row.ageMs,
          sees: row.sees.map((seen) => ({
            node_id: seen.nodeId,
            status: seen.status,
            rtt_ms: seen.rttMs,
            missed_heartbeats: seen.missedProbes,
          })),
        }))
        return { body: { reachability: rows, count: rows.length } }
      },
    }),
    route({
      method: 'GET',
      path: '/api/cluster/ownership',
      role: 'viewer',
      summary: 'Who served which shard under which epoch, and what the auditor found wrong',
      answers: { 200: { description: 'Tenures and alarms', schema: contract.ownershipSchema } },
      handle: async () => {
        const { auditor, alarms, tenures } = await node.cluster.ownership()
        return {
          body: {
            auditor,
            alarms: alarms.map((a) => ({ ...a })),
            tenures: tenures.map((t) => ({
              shard: t.shard,
              epoch: t.epoch,
              node_id: t.nodeId,
              lease: t.lease,
              opened_at: new Date(t.openedAtMs).toISOString(),
              closed_at: t.closedAtMs === 0 ? null : new Date(t.closedAtMs).toISOString(),
              acknowledged: t.acknowledged,
            })),
            count: tenures.length,
          },
        }
      },
    }),
    route({
      method: 'GET',
      path: '/api/cluster/clock',
      role: 'viewer',
      summary: 'The hybrid clock and the skew of the others',
      answers: { 200: { description: 'Clock', schema: contract.clockSchema } },
      handle: () => {
        const nodes = node.members.list().map((each) => ({ node_id: each.id, skew_ms: each.skewMs }))
        const { skewMsMax, refusedCount } = node.clock
        const time = new Date().toISOString()
        const body = {
          now: node.clock.now(),
          time,
          skew_ms_max: skewMsMax,
          refused_count: refusedCount,
          nodes,
          count: nodes.length,
        }
        return { body }
      },
    }),
    route({
      method: 'GET',
      path: '/api/cluster/watch',
      role: 'viewer',
      summary: 'Server-sent events: a snapshot, then what changes; Last-Event-ID resumes',
      headers: [{ name: 'Last-Event-ID', description: 'Of the last event that was seen' }],
      answers: {
        200: {
          description: 'event: snapshot | feed | state; the data of a feed event is a FeedEvent',
          schema: contract.feedEventSchema,
          type: 'text/event-stream',
        },
      },
      errors: ['overloaded'],
      handle: ({ http, reply, principal }) => {
        if (http.method === 'HEAD') return { contentType: 'text/event-stream', body: '' }
        watch.open(http, reply, principal)
        return hijacked
      },
    }),
  ]
}

function leaderRoutes(node: SkeinNode): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/cluster/leader',
      role: 'viewer',
      summary: 'The leader, 404 when there is none',
      answers: { 200: { description: 'Leader and term', schema: contract.leaderSchema } },
      errors: ['not_found'],
      handle: () => {
        const leader = node.leader.get()
        if (leader === null)
          throw new HttpProblem('no_leader', 'No leader is known now', { status: 404, retryable: true })
        const { nodeId, httpAddress, term } = leader
        return { body: { leader: leaderJson(leader), leader_id: nodeId, leader_address: httpAddress, term } }
      },
    }),
    route({
      method: 'POST',
      path: '/api/cluster/leader',
      role: 'operator',
      summary: 'Make this node the leader',
      answers: { 200: { description: 'It leads', schema: contract.promotedSchema } },
      errors: ['conflict', 'quorum_lost', 'timeout'],
      handle: async () => {
        const leader = await node.leader.promote()
        return {
          body: { success: true, is_leader: leader.isSelf, leader_id: leader.nodeId, term: leader.term },
        }
      },
    }),
    route({
      method: 'DELETE',
      path: '/api/cluster/leader',
      role: 'operator',
      summary: 'Step down, when this node leads',
      answers: { 200: { description: 'It gave the leadership up', schema: contract.successSchema } },
      errors: ['conflict'],
      handle: async () => {
        await node.leader.stepDown()
        return { body: { success: true } }
      },
    }),
  ]
}

function operationRoutes(node: SkeinNode): Route[] {
  const find = (id: string | undefined) => {
    const operation = node.cluster.operations().find((each) => each.id === id)
    if (operation === undefined) throw notFound(`Operation ${id}`)
    return operation
  }
  return [
    route({
      method: 'GET',
      path: '/api/cluster/operations',
      role: 'viewer',
      summary: 'Long work: drains and the like',
      answers: { 200: { description: 'Operations', schema: contract.operationListSchema } },
      handle: () => {
        const operations = node.cluster.operations().map(operationJson)
        return { body: { operations, count: operations.length } }
      },
    }),
    route({
      method: 'GET',
      path: '/api/cluster/operations/{id}',
      role: 'viewer',
      summary: 'One operation',
      answers: { 200: { description: 'The operation', schema: contract.operationSchema } },
      errors: ['not_found'],
      handle: ({ params }) => ({ body: operationJson(find(params.id)) }),
    }),
    route({
      method: 'DELETE',
      path: '/api/cluster/operations/{id}',
      role: 'operator',
      summary: 'Cancel an operation',
      answers: { 200: { description: 'The operation, cancelled', schema: contract.operationSchema } },
      errors: ['not_found', 'conflict'],
      handle: async ({ params }) => ({
        body: operationJson(await node.cluster.cancelOperation(find(params.id).id)),
      }),
    }),
  ]
}
