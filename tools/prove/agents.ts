// 200 agents on five nodes while nodes are killed and stopped: never two instances of one active at a moment, all running again in time
import { join, resolve } from 'node:path'
import { json, ProcessCluster, type ProcessNode, sleep, until, Verdict } from './lib/cluster.js'
import { longestSilence, overlaps, readTicks } from './lib/ticks.js'

const agents = Number(process.argv[2] ?? 200)
const kills = Number(process.argv[3] ?? 20)
const pauses = Number(process.argv[4] ?? 5)
const nodeCount = Number(process.argv[5] ?? 5)
const everyMs = 100
const ttlMs = 5_000
const pauseMs = 8_000

interface AgentJson {
  readonly name: string
  readonly status: string
  readonly node_id: string | null
}

const verdict = new Verdict()
const cluster = new ProcessCluster([
  '--load',
  resolve(import.meta.dirname, 'lib/agents-module.mjs'),
  '--allow-exec',
])
await cluster.start(nodeCount)
const file = join(cluster.dir, 'ticks')
const perl = resolve(import.meta.dirname, 'lib/ticker.pl')
const first = cluster.nodes[0] as ProcessNode

const names = new Set<string>()
const createMs = performance.now()
for (let i = 0; i < agents; i += 20)
  await Promise.all(
    Array.from({ length: Math.min(20, agents - i) }, (_, k) => {
      const name = `a${i + k}`
      names.add(name)
      const what =
        (i + k) % 2 === 0
          ? { command: 'perl', args: [perl, file, String(everyMs)], restart: 'always' }
          : { kind: 'ticker', config: { file, every_ms: everyMs } }
      return post(first, '/api/agents', { name, ...what })
    }),
  )
await until(() => allRunning(first), 60_000, 'all agents to run')
console.log(
  `     ${agents} agents on ${nodeCount} nodes, created and running after ${((performance.now() - createMs) / 1_000).toFixed(1)} s`,
)

const killSilences: number[] = []
const pauseSilences: number[] = []
for (let round = 0; round < kills + pauses; round++) {
  const isPause =
    round % Math.max(1, Math.floor((kills + pauses) / Math.max(1, pauses))) === 0 &&
    pauseSilences.length < pauses
  const victim = cluster.nodes[round % cluster.nodes.length] as ProcessNode
  const witness = cluster.nodes[(round + 1) % cluster.nodes.length] as ProcessNode
  const there = new Set((await list(witness)).filter((a) => a.node_id === victim.id).map((a) => a.name))
  const atMs = monotonicMs()
  if (isPause) {
    victim.signal('SIGSTOP')
    await sleep(pauseMs)
    await victim.resume()
    await until(() => allRunning(witness), 20_000, 'all agents to run after a pause')
    pauseSilences.push(silence(there, atMs, round, 'SIGSTOP'))
  } else {
    await victim.kill()
    await until(() => allRunning(witness), 20_000, 'all agents to run after a kill')
    await sleep(3 * everyMs)
    killSilences.push(silence(there, atMs, round, 'kill -9'))
    await victim.start()
  }
  await until(() => cluster.isWhole(), 30_000, 'the cluster to be whole')
}
const ticks = readTicks(file)
const wrong = overlaps(ticks)
for (const detail of wrong.slice(0, 10)) console.log(`       ${detail}`)
console.log(
  `     ${ticks.length} ticks, ${killSilences.length} kill -9, ${pauseSilences.length} SIGSTOP of ${pauseMs / 1_000} s`,
)
verdict.check(
  'never two instances of one agent active at a moment',
  wrong.length === 0,
  `${wrong.length} ticks of a former owner after one of its successor`,
)
if (killSilences.length > 0) {
  const sorted = killSilences.toSorted((a, b) => a - b)
  console.log(
    `     silence after a kill: median ${sorted[Math.floor(sorted.length / 2)]?.toFixed(0)} ms, longest ${sorted.at(-1)?.toFixed(0)}`,
  )
  verdict.within('all running again after a kill', Math.max(...killSilences), 1_000)
}
if (pauseSilences.length > 0)
  verdict.within('all running again after a pause past the lease', Math.max(...pauseSilences), ttlMs + 2_000)
verdict.end()

function silence(there: ReadonlySet<string>, fromMs: number, round: number, what: string): number {
  const { ms, agent } = longestSilence(readTicks(file), there, fromMs, monotonicMs() - everyMs)
  console.log(
    `     round ${round + 1}: ${what}, ${there.size} agents there, silent for ${ms.toFixed(0)} ms at most (${agent})`,
  )
  return ms
}

async function list(via: ProcessNode): Promise<readonly AgentJson[]> {
  return ((await json(via.http, '/api/agents?limit=10000', 5_000)) as { agents: AgentJson[] }).agents
}

async function allRunning(via: ProcessNode): Promise<boolean> {
  const all = await list(via).catch(() => [])
  return all.length === agents && all.every((a) => a.status === 'running')
}

async function post(via: ProcessNode, path: string, body: unknown): Promise<void> {
  const response = await fetch(`http://${via.http}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(20_000),
  })
  if (!response.ok) throw new Error(`${path}: HTTP ${response.status} ${await response.text()}`)
}

function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}
