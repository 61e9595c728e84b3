// A counter agent, incremented by four clients while it is migrated and its node killed: the count equals the increments that were acknowledged
import { resolve } from 'node:path'
import { type AgentContext, createNode, defineAgent } from '../../dist/index.js'
import { ProcessCluster, type ProcessNode, sleep, until, Verdict } from './lib/cluster.js'

const migrations = Number(process.argv[2] ?? 50)
const kills = Number(process.argv[3] ?? 5)
const clients = 4

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
const module = resolve(import.meta.dirname, 'lib/agents-module.mjs')
const cluster = new ProcessCluster(['--load', module])
await cluster.start(3)
// The clients' own node: it calls, and runs nothing.
const node = await createNode({
  nodeId: 'clients',
  dataDir: `${cluster.dir}/clients`,
  peers: cluster.nodes.map((n) => n.facts?.peer ?? ''),
  peerPort: 0,
  http: false,
  role: 'replica',
  maxAgents: 0,
  logLevel: 'error',
})
await node.agents.place(Counter, 'count', { timeoutMs: 10_000 })
const counter = node.agents.get(Counter, 'count', { timeoutMs: 60_000 })

let acknowledged = 0
let failed = 0
let running = true
const acks: number[] = []
const load = Array.from({ length: clients }, async () => {
  while (running) {
    try {
      await counter.add(1)
      acknowledged++
      acks.push(performance.now())
    } catch (error) {
      failed++
      console.log(`     a call failed: ${String(error)}`)
    }
  }
})

const workers = (): ProcessNode[] => cluster.nodes.filter((n) => n.isRunning)
const gaps: number[] = []
const killGaps: number[] = []
const killEvery = Math.max(1, Math.floor(migrations / Math.max(1, kills)))
let killed = 0
for (let i = 1; i <= migrations; i++) {
  const from = (await node.agents.show('count')).nodeId
  const to =
    workers().find((n) => n.id !== from && (i % 2 === 0 || n.id !== cluster.nodes[0]?.id))?.id ??
    workers().find((n) => n.id !== from)?.id
  const fromMs = performance.now()
  await node.agents.migrate('count', { to: to as string })
  await sleep(60)
  gaps.push(longestGap(fromMs, performance.now()))
  if (process.env.DEBUG_GAPS)
    console.log(
      `     #${i} ${from} -> ${to} gap ${gaps.at(-1)?.toFixed(0)} in ${(performance.now() - fromMs).toFixed(0)} acks ${acks.length}`,
    )
  if (i % killEvery === 0 && killed < kills) {
    killed++
    const owner = (await node.agents.show('count')).nodeId
    const victim = cluster.nodes.find((n) => n.id === owner) as ProcessNode
    const killMs = performance.now()
    await victim.kill()
    await until(
      () => acks.some((t) => t > killMs + 20 && t > lastBefore(killMs) + 20),
      20_000,
      'an acknowledgement after the kill',
    )
    killGaps.push(longestGap(killMs - 50, performance.now()))
    await victim.start()
    await until(
      () => node.members.list().filter((m) => m.status === 'online').length === 4,
      20_000,
      'the killed node',
    )
  }
}
running = false
await Promise.all(load)
const total = await counter.get()

const sorted = gaps.toSorted((a, b) => a - b)
const at = (share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0
console.log(
  `     ${migrations} migrations, ${killed} kill -9 of its node, ${acknowledged} increments acknowledged, ${failed} failed`,
)
console.log(
  `     gap of a migration: median ${at(0.5).toFixed(0)} ms, p90 ${at(0.9).toFixed(0)}, longest ${at(1).toFixed(0)}`,
)
console.log(`     gap of a kill: ${killGaps.map((g) => g.toFixed(0)).join(', ')} ms`)
verdict.check(
  'the count equals what was acknowledged',
  total === acknowledged,
  `${String(total)} counted, ${acknowledged} acknowledged`,
)
verdict.check('no call failed', failed === 0, `${failed} failed`)
verdict.within('longest gap of a planned migration, median', at(0.5), 100)
await node.stop()
verdict.end()

function lastBefore(ms: number): number {
  return acks.findLast((t) => t <= ms) ?? 0
}

/** Between two acknowledgements, whoever's. */
function longestGap(fromMs: number, toMs: number): number {
  let last = lastBefore(fromMs) || fromMs
  let longest = 0
  for (const t of [...acks.filter((t) => t > fromMs && t <= toMs), toMs]) {
    longest = Math.max(longest, t - last)
    last = t
  }
  return longest
}
