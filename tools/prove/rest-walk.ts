// The REST walk of an agent wrapper's user: an external node on a cluster of three, over HTTP alone, step by step, wrong inputs included
import { execFileSync } from 'node:child_process'
import { resolve } from 'node:path'
import { externalRules } from '../../src/core/node/candidates.js'
import { ProcessCluster, sleep, Verdict } from './lib/cluster.js'

/** The times of the rules are 30, 90 and 180 s; here they are a thirtieth of that. */
const offlineMs = 6_000
const rules = externalRules(offlineMs)
const bin = resolve(import.meta.dirname, '../../bin/skein.js')

const verdict = new Verdict()
const cluster = new ProcessCluster(['--allow-exec', '--external-offline-ms', String(offlineMs)])
await cluster.start(3)

type Json = Record<string, unknown>
interface Answer {
  readonly status: number
  readonly body: Json
  readonly allow: string
  readonly type: string
}

async function ask(node: number, method: string, path: string, body?: unknown): Promise<Answer> {
  const response = await fetch(`http://${cluster.nodes[node]?.http}${path}`, {
    method,
    ...(body === undefined
      ? {}
      : {
          headers: { 'content-type': 'application/json' },
          body: typeof body === 'string' ? body : JSON.stringify(body),
        }),
    signal: AbortSignal.timeout(15_000),
  })
  const text = await response.text()
  let value: Json = {}
  try {
    value = JSON.parse(text) as Json
  } catch {
    // Not JSON: told by its status and what is missing in it.
  }
  const { headers } = response
  return {
    status: response.status,
    body: value,
    allow: headers.get('allow') ?? '',
    type: headers.get('content-type') ?? '',
  }
}

function expectAnswer(what: string, answer: Answer, status: number, isRight: (body: Json) => boolean): void {
  const ok = answer.status === status && isRight(answer.body)
  verdict.check(
    what,
    ok,
    ok ? String(status) : `${answer.status} ${JSON.stringify(answer.body).slice(0, 300)}`,
  )
}

function refuses(what: string, answer: Answer, status: number): void {
  const { body, type } = answer
  const isProblem = type.startsWith('application/problem+json') && typeof body.code === 'string'
  const figure = `${answer.status} ${String(body.code)}: ${String(body.detail ?? '').slice(0, 100)}`
  verdict.check(what, answer.status === status && isProblem && body.status === status, figure)
}

const hasExactly = (value: unknown, keys: string): boolean =>
  typeof value === 'object' &&
  value !== null &&
  Object.keys(value).sort().join(' ') === keys.split(' ').sort().join(' ')
const hasAll = (value: unknown, keys: string): boolean =>
  typeof value === 'object' && value !== null && keys.split(' ').every((key) => key in value)

/** DESIGN section 7. */
const nodeKeys =
  'id hostname address peer_address role status healthy is_leader lifecycle active_agents agents max_agents capacity load cpu_usage memory_usage disk_usage load_average services labels zone region uptime last_seen last_heartbeat started_at version incarnation boot_id stalled kind'
const assignmentKeys = 'agent_name node_id assigned_at status epoch valid_for_ms'
const statsKeys = 'local_node is_leader total_assignments registry balancer'
const registryKeys =
  'total_nodes healthy_nodes online_nodes total_agents max_agents utilization_pct nodes_by_role nodes_by_status'
const strategiesOfUsers = ['round_robin', 'least_loaded', 'least_agents', 'random', 'weighted']

/** Polls as a user would; throws what it waited for. */
async function eventually<T>(what: string, limitMs: number, look: () => Promise<T | undefined>): Promise<T> {
  const endMs = performance.now() + limitMs
  for (;;) {
    const found = await look()
    if (found !== undefined) return found
    if (performance.now() > endMs) throw new Error(`waited ${limitMs} ms for ${what}`)
    await sleep(50)
  }
}

interface Assignment {
  readonly agent_name: string
  readonly node_id: string
  readonly epoch: number
  readonly valid_for_ms: number | null
}
const assignmentsOf = async (node: number, id: string): Promise<Assignment[]> =>
  ((await ask(node, 'GET', `/api/cluster/assignments?node_id=${id}`)).body.assignments ?? []) as Assignment[]
const assignmentOf = (agent: string, id: string) => async () =>
  (await assignmentsOf(1, id)).find((a) => a.agent_name === agent)
const beat = (node: number, figures: Json = {}) => ask(node, 'POST', '/api/cluster/nodes/wrapper-1', figures)
const showIt = (node: number) => ask(node, 'GET', '/api/cluster/nodes/wrapper-1')

const given = {
  id: 'wrapper-1',
  hostname: 'workstation',
  ip_address: '10.1.2.3',
  port: 9_000,
  max_agents: 10,
  services: ['gpu'],
}

// --- register, heartbeat, list, show -------------------------------------------------------------------------------------

expectAnswer(
  'an external node is registered',
  await ask(0, 'POST', '/api/cluster/nodes', given),
  201,
  (body) => {
    const node = body.node as Json
    return (
      hasExactly(body, 'success node') &&
      body.success === true &&
      hasAll(node, nodeKeys) &&
      node.id === given.id &&
      node.hostname === given.hostname &&
      node.address === '10.1.2.3:9000' &&
      node.kind === 'external' &&
      node.status === 'online' &&
      node.capacity === 1
    )
  },
)
refuses('registered once more, at another node', await ask(1, 'POST', '/api/cluster/nodes', given), 409)
const figures = { cpu_usage: 50, memory_usage: 20, disk_usage: 30, load_average: 1.5 }
expectAnswer(
  'its heartbeat is noted by a node that it was not registered at',
  await beat(2, figures),
  200,
  (body) => hasExactly(body, 'success'),
)
for (const node of [0, 1, 2]) {
  const shown = await eventually('its figures', 5_000, async () => {
    const answer = await showIt(node)
    return answer.body.cpu_usage === 50 ? answer : undefined
  })
  expectAnswer(`node-${node + 1} shows it, bare, with its figures and its load`, shown, 200, (body) => {
    const isTimed = typeof body.last_heartbeat === 'string' && !Number.isNaN(Date.parse(body.last_heartbeat))
    return (
      hasAll(body, nodeKeys) &&
      isTimed &&
      Math.abs(Number(body.load) - 26) < 0.01 &&
      body.load_average === 1.5
    )
  })
}
expectAnswer('the list holds all four', await ask(1, 'GET', '/api/cluster/nodes'), 200, (body) => {
  const nodes = body.nodes as Json[]
  return (
    hasExactly(body, 'nodes count total') &&
    body.count === 4 &&
    body.total === 4 &&
    nodes.every((node) => hasAll(node, nodeKeys)) &&
    nodes.filter((node) => node.is_leader === true).length === 1
  )
})

// --- assignments, report -------------------------------------------------------------------------------------------------

let beating = true
const heart = (async () => {
  for (let i = 0; ; i++) {
    if (beating) await beat(i % 3, figures).catch(() => undefined)
    await sleep(rules.heartbeatMs)
  }
})()
heart.catch(() => undefined)

const agent = (name: string, nodes: string[]) => ({
  name,
  command: 'sleep',
  args: ['1000'],
  constraints: { nodes },
})
await ask(0, 'POST', '/api/cluster/nodes/node-2/cordon')
await eventually('node-2 to be cordoned', 5_000, async () => {
  const { body } = await ask(0, 'GET', '/api/cluster/nodes/node-2')
  return body.cordoned === true ? true : undefined
})
expectAnswer(
  'an agent for it is created',
  await ask(0, 'POST', '/api/agents', agent('pinned', ['wrapper-1'])),
  201,
  (b) => hasAll(b, 'name kind status'),
)
await ask(1, 'POST', '/api/agents', agent('roaming', ['wrapper-1', 'node-2']))
const pinned = await eventually('its assignment', 5_000, assignmentOf('pinned', 'wrapper-1'))
const roaming = await eventually('its assignment', 5_000, assignmentOf('roaming', 'wrapper-1'))
await ask(0, 'POST', '/api/cluster/nodes/node-2/uncordon')
expectAnswer(
  'it polls what is assigned to it',
  await ask(2, 'GET', '/api/cluster/assignments?node_id=wrapper-1'),
  200,
  (body) => {
    const list = body.assignments as Json[]
    return (
      hasExactly(body, 'assignments count') &&
      body.count === 2 &&
      list.every((a) => hasAll(a, assignmentKeys) && a.node_id === 'wrapper-1' && a.command === 'sleep') &&
      list.every((a) => Number(a.valid_for_ms) > 0 && Number(a.valid_for_ms) <= rules.validMs)
    )
  },
)
const report = (name: string, body: unknown) =>
  ask(2, 'POST', `/api/cluster/assignments/${name}/report`, body)
expectAnswer(
  'its report under the right epoch is noted',
  await report('pinned', { epoch: pinned.epoch, status: 'running' }),
  200,
  (body) => hasExactly(body, 'success'),
)
refuses(
  'a report under another epoch',
  await report('pinned', { epoch: pinned.epoch + 1, status: 'running' }),
  409,
)
refuses('a report without an epoch', await report('pinned', { status: 'running' }), 400)
refuses('a report of a status that there is not', await report('pinned', { epoch: 1, status: 'asleep' }), 400)
refuses(
  'a report of an agent that there is not',
  await report('nobody', { epoch: 1, status: 'running' }),
  404,
)
refuses(
  'assignments of a node that there is not',
  await ask(0, 'GET', '/api/cluster/assignments?node_id=nobody'),
  404,
)

// --- stats, leader, promote ----------------------------------------------------------------------------------------------

expectAnswer('stats add it up', await ask(0, 'GET', '/api/cluster/stats'), 200, (body) => {
  const balancer = body.balancer as Json
  return (
    hasAll(body, statsKeys) &&
    hasAll(body.registry, registryKeys) &&
    hasAll(balancer, 'strategy round_robin_index') &&
    body.total_assignments === 2 &&
    (body.registry as Json).total_nodes === 4 &&
    balancer.strategy === 'least_loaded'
  )
})
const leader = await ask(0, 'GET', '/api/cluster/leader')
expectAnswer('the leader is told', leader, 200, (body) =>
  hasAll(body, 'leader leader_id leader_address term'),
)
const follower = [0, 1, 2].find((i) => cluster.nodes[i]?.id !== leader.body.leader_id) as number
expectAnswer('another node is promoted', await ask(follower, 'POST', '/api/cluster/leader'), 200, (body) => {
  return hasAll(body, 'success is_leader') && body.success === true && body.is_leader === true
})
expectAnswer(
  'and leads under a higher term',
  await ask(follower, 'GET', '/api/cluster/leader'),
  200,
  (body) => {
    return body.leader_id === cluster.nodes[follower]?.id && Number(body.term) > Number(leader.body.term)
  },
)
refuses('PUT of the leader', await ask(0, 'PUT', '/api/cluster/leader', {}), 405)

// --- balance, rebalance --------------------------------------------------------------------------------------------------

for (const strategy of strategiesOfUsers)
  for (const way of ['query', 'body'] as const) {
    const hyphens = strategy.replaceAll('_', '-')
    const answer =
      way === 'query'
        ? await ask(1, 'POST', `/api/cluster/balance?strategy=${hyphens}`)
        : await ask(1, 'POST', '/api/cluster/balance', { strategy: hyphens })
    expectAnswer(
      `${hyphens} is chosen by ${way}`,
      answer,
      200,
      (body) => body.success === true && body.strategy === strategy,
    )
    await eventually(`${strategy} to be in force`, 5_000, async () => {
      const { balancer } = (await ask(2, 'GET', '/api/cluster/stats')).body as { balancer: Json }
      return balancer.strategy === strategy ? true : undefined
    })
  }
expectAnswer(
  'a preview says who would move',
  await ask(0, 'POST', '/api/cluster/balance?strategy=binpack&dry_run=true'),
  200,
  (b) => {
    return (
      b.dry_run === true && b.strategy === 'binpack' && Array.isArray(b.moves) && b.count === b.moves.length
    )
  },
)
expectAnswer('and changes nothing', await ask(2, 'GET', '/api/cluster/stats'), 200, (body) => {
  return (body.balancer as Json).strategy === 'weighted'
})
expectAnswer('no strategy means the default', await ask(0, 'POST', '/api/cluster/balance'), 200, (body) => {
  return body.strategy === 'least_loaded'
})
refuses(
  'a strategy that there is not, by query',
  await ask(0, 'POST', '/api/cluster/balance?strategy=best'),
  400,
)
refuses(
  'a strategy that there is not, by body',
  await ask(0, 'POST', '/api/cluster/balance', { strategy: 'best' }),
  400,
)
refuses('GET of balance', await ask(0, 'GET', '/api/cluster/balance'), 405)
for (const dryRun of [true, false])
  expectAnswer(
    `rebalance with dry_run ${dryRun}`,
    await ask(1, 'POST', '/api/cluster/rebalance', { dry_run: dryRun, moves_max: 5 }),
    200,
    (body) => hasAll(body, 'success dry_run moves count') && body.dry_run === dryRun,
  )
refuses('a rebalance of no moves', await ask(1, 'POST', '/api/cluster/rebalance', { moves_max: 0 }), 400)

// --- wrong input ---------------------------------------------------------------------------------------------------------

const wrong: readonly (readonly [string, unknown])[] = [
  ['without an id', { ...given, id: undefined }],
  ['with an empty id', { ...given, id: '' }],
  ['with an address that is none', { ...given, id: 'w2', ip_address: 'here' }],
  ['with port 0', { ...given, id: 'w2', port: 0 }],
  ['with max_agents below 0', { ...given, id: 'w2', max_agents: -1 }],
  ['with services that are no list', { ...given, id: 'w2', services: 'gpu' }],
  ['that is not JSON', '{"id":'],
  ['that is a list', '[]'],
]
for (const [what, body] of wrong)
  refuses(`a registration ${what}`, await ask(0, 'POST', '/api/cluster/nodes', body), 400)
refuses(
  'a registration under the id of a node',
  await ask(0, 'POST', '/api/cluster/nodes', { ...given, id: 'node-1' }),
  409,
)
refuses('a heartbeat with 101 % of a processor', await beat(0, { cpu_usage: 101 }), 400)
refuses('a heartbeat of nobody', await ask(0, 'POST', '/api/cluster/nodes/nobody', figures), 404)
refuses('a node that there is not', await ask(0, 'GET', '/api/cluster/nodes/nobody'), 404)
refuses('removing a node that there is not', await ask(0, 'DELETE', '/api/cluster/nodes/nobody'), 404)
const notAllowed = await ask(0, 'PUT', '/api/cluster/nodes', {})
refuses('PUT of the list of nodes', notAllowed, 405)
verdict.check(
  'which says what is allowed',
  /GET/.test(notAllowed.allow) && /POST/.test(notAllowed.allow),
  notAllowed.allow,
)
refuses('PATCH of a node', await ask(0, 'PATCH', '/api/cluster/nodes/wrapper-1', {}), 405)

// --- silence: a half, nine tenths, the whole -------------------------------------------------------------------------------

beating = false
await sleep(rules.heartbeatMs)
await beat(0, figures)
const lastBeatMs = performance.now()
const silentMs = (): number => performance.now() - lastBeatMs
/** Until when it may run what it has, by its own clock: each answer counts from when it was asked for. */
let mayRunUntilMs = 0
let unhealthyAtMs = 0
let offlineAtMs = 0
const movedAtMs = await eventually('its agent to be placed elsewhere', 4 * offlineMs, async () => {
  const askedMs = performance.now()
  const mine = (await assignmentsOf(1, 'wrapper-1')).find((a) => a.agent_name === 'roaming')
  if (mine !== undefined && Number(mine.valid_for_ms) > 0)
    mayRunUntilMs = Math.max(mayRunUntilMs, askedMs + Number(mine.valid_for_ms))
  const { body } = await showIt(1)
  if (body.healthy === false && unhealthyAtMs === 0) unhealthyAtMs = silentMs()
  if (body.status === 'offline' && offlineAtMs === 0) offlineAtMs = silentMs()
  const there = (await assignmentsOf(1, 'node-2')).find((a) => a.agent_name === 'roaming')
  return there !== undefined && there.epoch > roaming.epoch ? performance.now() : undefined
})
const beats = (ms: number): string => `${(ms / 1_000).toFixed(1)} s after its last heartbeat`
verdict.check(
  'it is unhealthy after half the time, not before',
  unhealthyAtMs >= rules.unhealthyMs,
  beats(unhealthyAtMs),
)
verdict.check(
  'what it had goes elsewhere after the whole, not before',
  movedAtMs - lastBeatMs >= offlineMs,
  beats(movedAtMs - lastBeatMs),
)
verdict.check(
  'when it had to have ended it by its own clock',
  movedAtMs >= mayRunUntilMs,
  `${Math.round(movedAtMs - mayRunUntilMs)} ms before`,
)
const offline = await eventually('it to be offline', 5_000, async () => {
  const answer = await showIt(1)
  return answer.body.status === 'offline' ? answer : undefined
})
expectAnswer('it is in the lists as offline', offline, 200, (body) => body.healthy === false)
refuses(
  'its report under the old epoch',
  await report('roaming', { epoch: roaming.epoch, status: 'running' }),
  409,
)
expectAnswer(
  'why an agent is not there',
  await ask(1, 'GET', '/api/agents/roaming/why-not?node=wrapper-1'),
  200,
  (body) => JSON.stringify(body.reasons).includes('offline'),
)

const isOnline = (max: number) => async (): Promise<true | undefined> => {
  const { body } = await showIt(2)
  return body.status === 'online' && body.healthy === true && body.max_agents === max ? true : undefined
}
expectAnswer('a heartbeat revives it', await beat(0, figures), 200, () => true)
await eventually('it to be online', 5_000, isOnline(10))
refuses('registering while it is online', await ask(1, 'POST', '/api/cluster/nodes', given), 409)
await eventually('it to be offline again', 3 * offlineMs, async () =>
  (await showIt(0)).body.status === 'offline' ? true : undefined,
)
const again = await ask(0, 'POST', '/api/cluster/nodes', { ...given, max_agents: 3 })
expectAnswer(
  'registering again is allowed when it is offline',
  again,
  201,
  (body) => (body.node as Json).max_agents === 3,
)
await eventually('it to be online', 5_000, isOnline(3))
const anew = await eventually('what only it can run', 5_000, async () => {
  const found = await assignmentOf('pinned', 'wrapper-1')()
  return found !== undefined && found.epoch > pinned.epoch ? found : undefined
})
beating = true

// --- the end -------------------------------------------------------------------------------------------------------------

const removing = ask(0, 'DELETE', '/api/agents/pinned')
await eventually('to be told to stop it', 5_000, async () => {
  const { status } = await report('pinned', { epoch: anew.epoch, status: 'stopped' })
  const { body } = await ask(0, 'GET', '/api/agents/pinned')
  return status === 404 || body.status === undefined || body.code === 'not_found' ? true : undefined
})
expectAnswer('an agent of its own is removed when it says that it stopped', await removing, 200, (body) =>
  hasExactly(body, 'success'),
)
expectAnswer('an agent elsewhere too', await ask(2, 'DELETE', '/api/agents/roaming'), 200, (body) =>
  hasExactly(body, 'success'),
)
beating = false
await sleep(rules.heartbeatMs)
expectAnswer('the node is removed', await ask(0, 'DELETE', '/api/cluster/nodes/wrapper-1'), 200, (body) =>
  hasExactly(body, 'success'),
)
await eventually('it to be gone everywhere', 5_000, async () => {
  const statuses = await Promise.all([0, 1, 2].map(async (node) => (await showIt(node)).status))
  return statuses.every((status) => status === 404) ? true : undefined
})
refuses('a heartbeat after that', await beat(1, figures), 404)

const printed = execFileSync(process.execPath, [bin, 'start', '--print-config'], { encoding: 'utf8' })
const { heartbeatMs, unhealthyMs, validMs, offlineMs: whole } = externalRules(180_000)
verdict.check(
  'where nobody says otherwise the times are 30, 90 and 180 s',
  /external[_-]?offline[_-]?ms\D+180000/i.test(printed) &&
    heartbeatMs === 30_000 &&
    unhealthyMs === 90_000 &&
    whole === 180_000,
  `${heartbeatMs}, ${unhealthyMs}, ${validMs} (its own limit), ${whole} ms`,
)

cluster.end()
verdict.end()
