// Every node drained, stopped and started again, one after the other, under calls and events: no call fails, no event is lost
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type AgentContext, createNode, defineAgent, type SkeinNode } from '../../dist/index.js'
import { json, ProcessCluster, type ProcessNode, sleep, until, Verdict } from './lib/cluster.js'
import { LoadBalancer } from './lib/load-balancer.js'

const rounds = Number(process.argv[2] ?? 10)
const nodeCount = Number(process.argv[3] ?? 3)
const agents = 24
const callers = 4
const perRequest = 5
const keys = 40
const stream = 'rolling'
const callTimeoutMs = 10_000

const Counter = defineAgent('counter', {
  state: { n: 0 },
  on: {
    add: (ctx: AgentContext<{ n: number }>, by: number) => {
      ctx.state.n += by
      return ctx.state.n
    },
    get: (ctx: AgentContext<{ n: number }>) => ctx.state.n,
  },
})

const verdict = new Verdict()
const cluster = new ProcessCluster(['--load', resolve(import.meta.dirname, 'lib/rolling-module.mjs')])
const consumedFile = join(cluster.dir, 'consumed')
process.env.PROVE_CONSUMED = consumedFile
await cluster.start(nodeCount)
// A program with a node of its own, which runs nothing.
const program = await createNode({
  nodeId: 'program',
  dataDir: `${cluster.dir}/program`,
  peers: cluster.nodes.map((n) => n.facts?.peer ?? ''),
  peerPort: 0,
  http: false,
  role: 'replica',
  maxAgents: 0,
  logLevel: 'error',
})
const names = Array.from({ length: agents }, (_, i) => `count-${i}`)
await Promise.all(names.map((name) => program.agents.place(Counter, name, { timeoutMs: 10_000 })))
const balancer = new LoadBalancer(cluster.nodes)

// --- load --------------------------------------------------------------------------------------------------------------

const added = new Map(names.map((name) => [name, 0]))
const failures: string[] = []
let calls = 0
const tookMs: number[] = []
/** Acknowledged, of each key in the order in which it was. */
const acknowledged = new Map<string, string[]>()
let events = 0
let resent = 0
let isOver = false

async function work(what: string, step: (turn: number) => Promise<void>): Promise<void> {
  for (let turn = 0; !isOver; turn++) {
    const startMs = performance.now()
    try {
      await step(turn)
    } catch (error) {
      failures.push(`${what}: ${error instanceof Error ? error.message : String(error)}`)
    }
    tookMs.push(performance.now() - startMs)
    await sleep(5)
  }
}

function wasAdded(name: string): void {
  calls++
  added.set(name, (added.get(name) ?? 0) + 1)
}

const nameOf = (caller: number, turn: number): string => names[(caller * 7 + turn) % agents] as string

const callsOverHttp = Array.from({ length: callers }, (_, caller) =>
  work('call over HTTP', async (turn) => {
    const name = nameOf(caller, turn)
    const body = { method: 'add', args: [1] }
    const { status, text } = await balancer.post(`/api/agents/${name}/call`, body, callTimeoutMs)
    if (status !== 200) throw new Error(`HTTP ${status} ${text.slice(0, 300)}`)
    wasAdded(name)
  }),
)
const callsOfProgram = Array.from({ length: callers }, (_, caller) =>
  work('call of a program', async (turn) => {
    const name = nameOf(caller + callers, turn)
    await program.agents.get(Counter, name, { timeoutMs: callTimeoutMs }).add(1)
    wasAdded(name)
  }),
)

/** Each publisher has keys of its own. */
function batchOf(publisher: string, turn: number) {
  return Array.from({ length: perRequest }, (_, i) => ({
    stream,
    key: `${publisher}-${(turn * perRequest + i) % keys}`,
    id: `${publisher}-${turn}-${i}`,
    payload: { turn, text: 'x'.repeat(100) },
  }))
}

interface Result {
  readonly id: string
  readonly status: string
  readonly error?: { readonly retryable?: boolean }
}

/** What was refused for the moment is sent again unchanged, as the contract has it; anything else is a failure. */
async function publish(
  batch: ReturnType<typeof batchOf>,
  send: (events: ReturnType<typeof batchOf>) => Promise<readonly Result[]>,
): Promise<void> {
  const untilMs = performance.now() + callTimeoutMs
  let left = batch
  for (;;) {
    const results = await send(left)
    const refused = left.filter(
      (_, i) => results[i]?.status !== 'accepted' && results[i]?.status !== 'duplicate',
    )
    const final = results.find(({ error }) => error !== undefined && error.retryable !== true)
    if (final !== undefined || (refused.length > 0 && performance.now() > untilMs))
      throw new Error(JSON.stringify(final ?? results.find((r) => r.error !== undefined)))
    if (refused.length === 0) break
    resent += refused.length
    left = refused
    await sleep(20)
  }
  for (const { key, id } of batch) {
    const known = acknowledged.get(key)
    if (known === undefined) acknowledged.set(key, [id])
    else known.push(id)
    events++
  }
}

const publishing = [
  ...[0, 1].map((publisher) =>
    work('events over HTTP', (turn) =>
      publish(batchOf(`http-${publisher}`, turn), async (batch) => {
        const { status, text } = await balancer.post('/api/events', batch, callTimeoutMs)
        const { results } = JSON.parse(text) as { results?: Result[] }
        if (results === undefined) throw new Error(`HTTP ${status} ${text.slice(0, 300)}`)
        return results
      }),
    ),
  ),
  work('events of a program', (turn) =>
    publish(batchOf('program', turn), (batch) =>
      program.events.publishMany(batch, { timeoutMs: callTimeoutMs }),
    ),
  ),
]

// --- restarts ----------------------------------------------------------------------------------------------------------

const drains: number[] = []
const stops: number[] = []
for (let round = 1; round <= rounds; round++) {
  const startMs = performance.now()
  const before = failures.length
  for (const node of cluster.nodes) {
    // By turns as a careful operator does it, and by nothing but the signal that any supervisor sends.
    if (round % 2 === 1) await drain(node)
    const stopMs = performance.now()
    node.signal('SIGTERM')
    await until(() => !node.isRunning, 60_000, `${node.id} to end`)
    stops.push(performance.now() - stopMs)
    if (node.stderr.includes('"level":"error"')) console.log(node.stderr)
    await node.start()
    if (round % 2 === 1) await ask(node, `/api/cluster/nodes/${node.id}/uncordon`)
    await until(() => isWhole(program), 30_000, 'the cluster to be whole')
  }
  console.log(
    `     round ${round}: ${nodeCount} nodes in ${((performance.now() - startMs) / 1_000).toFixed(1)} s, ${failures.length - before} failed; ${calls} calls, ${events} events so far`,
  )
}
isOver = true
await Promise.all([...callsOverHttp, ...callsOfProgram, ...publishing])

async function ask(node: ProcessNode, path: string): Promise<unknown> {
  const response = await fetch(`http://${node.http}${path}`, { method: 'POST' })
  if (!response.ok) throw new Error(`${path}: HTTP ${response.status} ${await response.text()}`)
  return response.json()
}

/** Asked of another node, followed to its end. */
async function drain(node: ProcessNode): Promise<void> {
  const other = cluster.nodes.find((n) => n !== node) as ProcessNode
  const startMs = performance.now()
  const operation = (await ask(other, `/api/cluster/nodes/${node.id}/drain`)) as {
    id: string
    total: { agents: number; shards: number }
  }
  const path = `/api/cluster/operations/${operation.id}`
  await until(
    async () => {
      // On a machine with too much to do an answer may be late: asked again, as any client would.
      const found = (await json(other.http, path).catch(() => undefined)) as
        | { state: string; detail: string }
        | undefined
      if (found?.state === 'failed' || found?.state === 'cancelled')
        throw new Error(`drain of ${node.id}: ${found.detail}`)
      return found?.state === 'done'
    },
    60_000,
    `${node.id} to be drained`,
  )
  drains.push(performance.now() - startMs)
}

/** Every node is online, and each has its part of the shards, open. */
function isWhole(via: SkeinNode): boolean {
  const online = new Set(
    via.members
      .list()
      .filter((m) => m.status === 'online')
      .map((m) => m.id),
  )
  const shards = via.cluster.shards()
  return cluster.nodes.every(
    ({ id }) =>
      online.has(id) && shards.some((s) => s.owner === id) && shards.every((s) => s.state === 'open'),
  )
}

// --- verdict -----------------------------------------------------------------------------------------------------------

const at = (figures: readonly number[], share: number): string =>
  (
    figures.toSorted((a, b) => a - b)[Math.min(figures.length - 1, Math.floor(figures.length * share))] ?? 0
  ).toFixed(0)
console.log(
  `     ${rounds * nodeCount} restarts; at the median a drain takes ${at(drains, 0.5)} ms, from SIGTERM to the end ${at(stops, 0.5)} ms`,
)
console.log(
  `     a call or publish takes ${at(tookMs, 0.5)} ms at the median, p99 ${at(tookMs, 0.99)}, p99.9 ${at(tookMs, 0.999)}, the slowest ${at(tookMs, 1)}`,
)
for (const failure of failures.slice(0, 10)) console.log(`       ${failure}`)
verdict.check(
  'no call and no publish failed',
  failures.length === 0,
  `${failures.length} of ${calls} calls and ${events} events`,
)
let wrong = 0
for (const name of names) if ((await program.agents.get(Counter, name).get()) !== added.get(name)) wrong++
verdict.check('each counter is what was added to it', wrong === 0, `${wrong} of ${agents} are not`)

const stored = await readAll()
let lost = 0
let twice = 0
let outOfOrder = 0
for (const [key, ids] of acknowledged) {
  const found = stored.get(key) ?? []
  const places = new Map(found.map((id, i) => [id, i]))
  twice += found.length - places.size
  lost += ids.filter((id) => !places.has(id)).length
  for (let i = 1; i < ids.length; i++)
    if ((places.get(ids[i] as string) ?? 0) < (places.get(ids[i - 1] as string) ?? 0)) outOfOrder++
}
verdict.check('no acknowledged event is lost', lost === 0, `${lost} of ${events}`)
verdict.check(
  'none is stored twice or out of order',
  twice + outOfOrder === 0,
  `${twice} twice, ${outOfOrder} out of order`,
)
const expected = new Set([...acknowledged.values()].flat())
const consumedAll = (): boolean => {
  const consumed = consumedIds()
  return [...expected].every((id) => consumed.has(id))
}
// What is missing is told below.
await until(consumedAll, 20_000, 'every event to be consumed').catch(() => undefined)
const consumed = consumedIds()
const missed = [...expected].filter((id) => !consumed.has(id)).length
verdict.check('each was given to a consumer', missed === 0, `${missed} of ${events} were not`)
console.log(
  `     ${balancer.passedOn} requests found a closed door and went to the next node; ${resent} events were refused for the moment and sent again`,
)
await balancer.close()
await program.stop()
verdict.end()

/** Ids by key, in order. */
async function readAll(): Promise<Map<string, string[]>> {
  const found = new Map<string, string[]>()
  let after: string | undefined
  do {
    const page = await program.events.read({
      stream,
      limit: 1_000,
      ...(after === undefined ? {} : { after }),
    })
    for (const { key, id } of page.events) {
      const ids = found.get(key)
      if (ids === undefined) found.set(key, [id])
      else ids.push(id)
    }
    after = page.nextCursor
  } while (after !== undefined)
  return found
}

function consumedIds(): ReadonlySet<string> {
  if (!existsSync(consumedFile)) return new Set()
  return new Set(
    readFileSync(consumedFile, 'utf8')
      .split('\n')
      .map((line) => line.split(' ')[1] as string),
  )
}
