/** `/api/agents`, `/api/cluster/assignments` and the balancer. */
import { z } from 'zod'
import { strategies } from '../core/kernel/strategies.js'
import type { SkeinNode } from '../runtime/node-api.js'
import * as shapes from './agent-contract.js'
import { agentJson, assignmentJson, explanationJson } from './agent-views.js'
import { successSchema } from './contract.js'
import { HttpProblem, invalid, notFound } from './problem.js'
import { type Route, route } from './route.js'

export function agentRoutes(node: SkeinNode): Route[] {
  return [
    ...listRoutes(node),
    ...singleRoutes(node),
    ...actionRoutes(node),
    ...assignmentRoutes(node),
    ...balancerRoutes(node),
  ]
}

function listRoutes(node: SkeinNode): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/agents',
      role: 'viewer',
      summary: 'Agents of the whole cluster, in order of name',
      query: shapes.agentListQuery,
      answers: { 200: { description: 'Agents', schema: shapes.agentListSchema } },
      errors: ['invalid_argument'],
      handle: async ({ query }) => {
        const all = await node.agents.list()
        const wanted = all.filter(
          (a) =>
            (query.node_id === undefined || a.nodeId === query.node_id) &&
            (query.status === undefined || a.state === query.status) &&
            (query.kind === undefined || a.kind === query.kind) &&
            (query.after === undefined || a.name > query.after),
        )
        const page = wanted.slice(0, query.limit)
        const last = page.at(-1)
        return {
          body: {
            agents: page.map(agentJson),
            count: page.length,
            total: all.length,
            ...(last !== undefined && wanted.length > page.length ? { next_cursor: last.name } : {}),
          },
        }
      },
    }),
    route({
      method: 'POST',
      path: '/api/agents',
      role: 'operator',
      summary: 'Create an agent: a process, or one that the nodes’ programs define',
      body: shapes.agentInputSchema,
      answers: {
        201: {
          description: 'Created, and placed if a node could take it at once',
          schema: shapes.agentSchema,
        },
      },
      errors: ['invalid_argument', 'conflict', 'forbidden', 'payload_too_large', 'unavailable'],
      handle: async ({ body }) => {
        const { name } = body
        let agent: Awaited<ReturnType<SkeinNode['agents']['create']>>
        try {
          agent = await node.agents.create({ ...inputOf(body), timeoutMs: 2_000 })
        } catch (error) {
          // It is wanted from now on, and waits for a node that can take it: its status says why.
          if ((error as { code?: string }).code !== 'timeout') throw error
          agent = await node.agents.show(name)
        }
        return {
          status: 201,
          headers: { location: `/api/agents/${encodeURIComponent(name)}` },
          body: agentJson(agent),
        }
      },
    }),
  ]
}

function inputOf(body: shapes.AgentInputJson): Parameters<SkeinNode['agents']['create']>[0] {
  const { restart, stop_grace_ms, save_hook, load_hook, constraints, ...rest } = body
  const policy = typeof restart === 'string' ? { mode: restart } : restart
  return defined({
    ...rest,
    constraints: constraints === undefined ? undefined : constraintsOf(constraints),
    stopGraceMs: stop_grace_ms,
    saveHook: save_hook,
    loadHook: load_hook,
    restart:
      policy === undefined
        ? undefined
        : defined({
            mode: policy.mode,
            backoffMinMs: 'backoff_min_ms' in policy ? policy.backoff_min_ms : undefined,
            backoffMaxMs: 'backoff_max_ms' in policy ? policy.backoff_max_ms : undefined,
            triesMax: 'tries_max' in policy ? policy.tries_max : undefined,
            windowMs: 'window_ms' in policy ? policy.window_ms : undefined,
          }),
  }) as Parameters<SkeinNode['agents']['create']>[0]
}

export function constraintsOf({ not_nodes, ...rest }: z.infer<typeof shapes.constraintsSchema>) {
  return defined({ ...rest, notNodes: not_nodes })
}

/** Without the fields that were not given. */
export function defined<T extends object>(value: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(value).filter(([, v]) => v !== undefined)) as never
}

function singleRoutes(node: SkeinNode): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/agents/{name}',
      role: 'viewer',
      summary: 'One agent',
      answers: { 200: { description: 'The agent', schema: shapes.agentSchema } },
      errors: ['not_found'],
      handle: async ({ params }) => ({ body: agentJson(await node.agents.show(params.name as string)) }),
    }),
    route({
      method: 'DELETE',
      path: '/api/agents/{name}',
      role: 'operator',
      summary: 'Stop an agent for good and forget its state',
      answers: { 200: { description: 'Gone', schema: successSchema } },
      errors: ['not_found', 'conflict', 'timeout', 'unavailable'],
      handle: async ({ params }) => {
        await node.agents.remove(params.name as string)
        return { body: { success: true } }
      },
    }),
    route({
      method: 'POST',
      path: '/api/agents/{name}/migrate',
      role: 'operator',
      summary:
        'Move an agent to a node, or where the balancer thinks; `dry_run` says where it could go and why',
      body: shapes.migrateSchema,
      isBodyOptional: true,
      answers: {
        200: {
          description: 'It is there; or, asked with dry_run, the candidates',
          schema: z.union([shapes.agentSchema, shapes.explanationSchema]),
        },
      },
      errors: ['invalid_argument', 'not_found', 'conflict', 'timeout'],
      handle: async ({ params, body }) => {
        const name = params.name as string
        if (body.dry_run) return { body: explanationJson(await node.agents.why(name)) }
        const to = body.node_id ?? body.to
        return { body: agentJson(await node.agents.migrate(name, to === undefined ? {} : { to })) }
      },
    }),
    route({
      method: 'GET',
      path: '/api/agents/{name}/why',
      role: 'viewer',
      summary: 'Why it is where it is: every node with its score or its reasons',
      answers: { 200: { description: 'Candidates, the preferred first', schema: shapes.explanationSchema } },
      errors: ['not_found'],
      handle: async ({ params }) => ({ body: explanationJson(await node.agents.why(params.name as string)) }),
    }),
    route({
      method: 'GET',
      path: '/api/agents/{name}/why-not',
      role: 'viewer',
      summary: 'Why it is not on a node',
      query: z.object({ node: z.string().min(1).max(64) }),
      answers: { 200: { description: 'The reasons', schema: shapes.whyNotSchema } },
      errors: ['invalid_argument', 'not_found'],
      handle: async ({ params, query }) => {
        const why = await node.agents.why(params.name as string)
        const candidate = why.candidates.find((c) => c.nodeId === query.node)
        if (candidate === undefined) throw notFound(`Node ${query.node}`)
        const { reasons } = candidate
        const rank = why.candidates.indexOf(candidate) + 1
        const detail =
          why.nodeId === query.node
            ? 'it is there'
            : reasons.length > 0
              ? reasons.join('; ')
              : `it could run there; ${why.strategy} prefers ${rank === 1 ? 'it now, but what runs is not moved without need' : `${rank - 1} others`}`
        return {
          body: {
            agent: why.agent,
            node_id: query.node,
            could_run: reasons.length === 0,
            reasons: [...reasons],
            detail,
          },
        }
      },
    }),
  ]
}

function actionRoutes(node: SkeinNode): Route[] {
  const actions = {
    pause: {
      summary: 'Let it stand still: a process is stopped by signal, a defined agent takes no calls',
      act: node.agents.pause,
    },
    resume: { summary: 'Let it go on', act: node.agents.resume },
    restart: {
      summary: 'Begin anew from its last state; revives one that has ended',
      act: node.agents.restart,
    },
  }
  return [
    ...Object.entries(actions).map(([kind, { summary, act }]) =>
      route({
        method: 'POST',
        path: `/api/agents/{name}/${kind}`,
        role: 'operator',
        summary,
        answers: { 200: { description: 'The agent', schema: shapes.agentSchema } },
        errors: ['not_found', 'conflict', 'unavailable'],
        handle: async ({ params }) => ({ body: agentJson(await act(params.name as string)) }),
      }),
    ),
    route({
      method: 'POST',
      path: '/api/agents/{name}/command',
      role: 'operator',
      summary: 'pause, resume, kill, send_input {text}, get_state, send_signal {signal}',
      body: shapes.commandSchema,
      answers: { 200: { description: 'What came of it', schema: shapes.resultSchema } },
      errors: ['invalid_argument', 'not_found', 'conflict', 'overloaded'],
      handle: async ({ params, body }) => ({
        body: { result: await node.agents.command(params.name as string, body.command, body.data) },
      }),
    }),
    route({
      method: 'POST',
      path: '/api/agents/{name}/call',
      role: 'operator',
      isFrequent: true,
      summary: 'Call a defined agent, wherever it is',
      body: shapes.callSchema,
      answers: { 200: { description: 'What it returned', schema: shapes.resultSchema } },
      errors: ['invalid_argument', 'not_found', 'conflict', 'overloaded', 'timeout', 'handler_failed'],
      handle: async ({ params, body }) => ({
        body: {
          result: await node.agents.call(params.name as string, body.method, body.args, {
            timeoutMs: body.timeout_ms,
          }),
        },
      }),
    }),
    route({
      method: 'GET',
      path: '/api/agents/{name}/logs',
      role: 'viewer',
      summary: 'Recent output of a process agent',
      query: shapes.logsQuery,
      answers: { 200: { description: 'Lines, oldest first', schema: shapes.logsSchema } },
      errors: ['invalid_argument', 'not_found', 'conflict'],
      handle: async ({ params, query }) => {
        const lines = await node.agents.output(params.name as string, {
          limit: query.limit,
          waitMs: query.wait_ms,
          ...(query.after === undefined ? {} : { afterSeq: query.after }),
        })
        return {
          body: {
            lines: lines.map(({ seq, stream, text, atMs, epoch }) => ({
              seq,
              stream,
              text,
              at: new Date(atMs).toISOString(),
              epoch,
            })),
            count: lines.length,
            next_after: lines.at(-1)?.seq ?? query.after ?? 0,
          },
        }
      },
    }),
  ]
}

function assignmentRoutes(node: SkeinNode): Route[] {
  return [
    route({
      method: 'GET',
      path: '/api/cluster/assignments',
      role: 'viewer',
      summary: 'Which agent runs where; an external node polls its own',
      query: z.object({ node_id: z.string().max(64).optional() }),
      answers: { 200: { description: 'Assignments', schema: shapes.assignmentListSchema } },
      errors: ['invalid_argument', 'not_found'],
      handle: async ({ query }) => {
        if (query.node_id !== undefined && node.members.get(query.node_id) === undefined)
          throw notFound(`Node ${query.node_id}`)
        const agents = await node.agents.list()
        const assignments = agents
          .filter((a) => a.nodeId !== null && (query.node_id === undefined || a.nodeId === query.node_id))
          .map((a) => assignmentJson(a, node.members.get(a.nodeId as string)))
        return { body: { assignments, count: assignments.length } }
      },
    }),
    route({
      method: 'POST',
      path: '/api/cluster/assignments/{agent}/report',
      role: 'operator',
      isFrequent: true,
      summary: 'An external node says how an agent of its own is doing, under which epoch',
      body: shapes.reportSchema,
      answers: { 200: { description: 'Noted', schema: successSchema } },
      errors: ['invalid_argument', 'not_found', 'conflict'],
      handle: async ({ params, body }) => {
        await node.agents.report(params.agent as string, body)
        return { body: { success: true } }
      },
    }),
  ]
}

function balancerRoutes(node: SkeinNode): Route[] {
  const allowed = strategies.join(', ')
  return [
    route({
      method: 'POST',
      path: '/api/cluster/balance',
      role: 'operator',
      summary: `Choose the strategy of placement for the whole cluster: ${allowed}. dry_run says who would move`,
      query: z.object({ strategy: z.string().optional(), dry_run: z.enum(['true', 'false']).optional() }),
      body: shapes.balanceSchema,
      isBodyOptional: true,
      answers: {
        200: {
          description: 'The strategy in force; with dry_run, the moves it would want',
          schema: shapes.balancedSchema,
        },
      },
      errors: ['invalid_argument', 'unavailable'],
      handle: async ({ query, body }) => {
        const given = query.strategy ?? body.strategy ?? 'least_loaded'
        const strategy = strategies.find((each) => each === given.replaceAll('-', '_'))
        if (strategy === undefined) throw invalid('strategy', given, allowed)
        if (body.dry_run === true || query.dry_run === 'true') {
          const moves = node.balancer.plan({ strategy }).map((m) => ({ ...m }))
          return { body: { success: true, strategy, dry_run: true, moves, count: moves.length } }
        }
        await node.balancer.setStrategy(strategy)
        return { body: { success: true, strategy } }
      },
    }),
    route({
      method: 'POST',
      path: '/api/cluster/rebalance',
      role: 'operator',
      summary: 'Move agents until the cluster looks as its strategy wants it, at most moves_max of them',
      body: shapes.rebalanceSchema,
      isBodyOptional: true,
      answers: {
        200: { description: 'The moves asked for, or that would be', schema: shapes.rebalancedSchema },
      },
      errors: ['invalid_argument', 'unavailable'],
      handle: async ({ body }) => {
        const { moves_max: movesMax, strategy } = body
        if (!body.dry_run && strategy !== undefined)
          throw new HttpProblem(
            'invalid_argument',
            'strategy: only with dry_run; choose it with /api/cluster/balance first',
          )
        const moves = body.dry_run
          ? node.balancer.plan({ movesMax, ...(strategy === undefined ? {} : { strategy }) })
          : await node.balancer.rebalance({ movesMax })
        return {
          body: {
            success: true,
            dry_run: body.dry_run,
            moves: moves.map((m) => ({ ...m })),
            count: moves.length,
          },
        }
      },
    }),
    route({
      method: 'GET',
      path: '/api/cluster/balancer/select',
      role: 'viewer',
      summary: 'A node for work of the caller’s own, by the strategy of the cluster or another',
      query: shapes.selectQuery,
      answers: { 200: { description: 'The node', schema: shapes.selectedSchema } },
      errors: ['invalid_argument', 'not_found'],
      handle: ({ query }) => {
        const { service, zone, region, kind, name, strategy } = query
        const constraints = defined({
          zone: zone === undefined ? undefined : [zone],
          region: region === undefined ? undefined : [region],
        })
        const id = node.balancer.select(defined({ service, kind, name, strategy, constraints }))
        if (id === null) throw notFound('A node that fits')
        return {
          body: {
            node_id: id,
            address: node.members.get(id)?.httpAddress ?? '',
            strategy: strategy ?? node.balancer.strategy,
          },
        }
      },
    }),
  ]
}
