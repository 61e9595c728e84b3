// 200 agents on five machines with etcd and PostgreSQL while the network is cut: never two instances of one active, all running again in time
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { sleep, until, Verdict } from './lib/cluster.js'
import { missingEngine, NetCluster, nowMs } from './lib/net-cluster.js'
import { isWithoutNetLab } from './lib/netlab.js'
import { longestSilence, overlaps, readTicks } from './lib/ticks.js'

const agents = Number(process.argv[2] ?? 200)
const rounds = Number(process.argv[3] ?? 5)
const everyMs = 100
const ttlMs = 5_000
const cutMs = 12_000

const engine = missingEngine()
if (engine !== undefined) console.warn(`SKIPPED: agents-cut: ${engine}`)
if (engine !== undefined || isWithoutNetLab('agents-cut')) process.exit(0)

const cluster = new NetCluster({
  nodes: 5,
  etcdAt: [1, 2, 3],
  history: join(tmpdir(), `skein-agents-cut-${process.pid}.jsonl`),
  extra: ['--load', resolve(import.meta.dirname, 'lib/agents-module.mjs'), '--allow-exec'],
})
const { lab, names } = cluster
const verdict = new Verdict()
await cluster.start()
const file = join(cluster.dir, 'ticks')
const perl = resolve(import.meta.dirname, 'lib/ticker.pl')

interface AgentJson {
  readonly name: string
  readonly status: string
  readonly node_id: string | null
}

for (let i = 0; i < agents; i += 10)
  await Promise.all(
    Array.from({ length: Math.min(10, agents - i) }, (_, k) =>
      curl('n1', '/api/agents', {
        name: `a${i + k}`,
        ...((i + k) % 2 === 0
          ? { command: 'perl', args: [perl, file, String(everyMs)], restart: 'always' }
          : { kind: 'ticker', config: { file, every_ms: everyMs } }),
      }),
    ),
  )
await until(() => allRunning('n1'), 60_000, 'all agents to run')

/** The side without a quorum of etcd, and a node of the other side that is asked. */
const cuts: readonly (() => { readonly minority: readonly string[]; readonly witness: string })[] = [
  () => ({ minority: ['n4'], witness: 'n1' }),
  () => ({ minority: ['n4', 'n5'], witness: 'n2' }),
  () => ({ minority: ['n1', 'n4'], witness: 'n3' }),
  () => {
    const leader = cluster.leader ?? 'n3'
    return { minority: [leader], witness: names.find((n) => n !== leader) as string }
  },
  () => ({ minority: ['n2', 'n5'], witness: 'n1' }),
]
const silences: number[] = []
for (let round = 0; round < rounds; round++) {
  const { minority, witness } = (cuts[round % cuts.length] as (typeof cuts)[number])()
  const all = await list(witness)
  const there = new Set(all.filter((a) => minority.includes(a.node_id ?? '')).map((a) => a.name))
  const t0 = nowMs()
  lab.cut(minority, names.filter((n) => !minority.includes(n)).concat('journal'))
  await sleep(cutMs)
  const t1 = nowMs()
  lab.heal()
  const { ms, agent } = longestSilence(readTicks(file), there, t0, t1)
  silences.push(ms)
  console.log(
    `     round ${round + 1}: ${minority.join(' and ')} cut off, ${there.size} agents there, silent for ${ms.toFixed(0)} ms at most (${agent})`,
  )
  await cluster.allWell(30_000, t1)
  await until(() => allRunning(witness), 30_000, 'all agents to run after the heal')
}
const ticks = readTicks(file)
const wrong = overlaps(ticks)
for (const detail of wrong.slice(0, 10)) console.log(`       ${detail}`)
console.log(`     ${agents} agents, ${ticks.length} ticks, ${rounds} cuts of ${cutMs / 1_000} s`)
verdict.check(
  'never two instances of one agent active at a moment',
  wrong.length === 0,
  `${wrong.length} ticks of a former owner after one of its successor`,
)
verdict.within('all running again after a cut', Math.max(...silences), ttlMs + 2_000)
cluster.end()
verdict.end()

async function list(via: string): Promise<readonly AgentJson[]> {
  return ((await curl(via, '/api/agents?limit=10000')) as { agents: AgentJson[] }).agents
}

async function allRunning(via: string): Promise<boolean> {
  const all = await list(via).catch(() => [])
  await sleep(200)
  return all.length === agents && all.every((a) => a.status === 'running')
}

/** From inside that node's network, where alone its HTTP can be reached. */
function curl(name: string, path: string, body?: unknown): Promise<unknown> {
  const data = body === undefined ? [] : ['-H', 'content-type: application/json', '-d', JSON.stringify(body)]
  const { child } = lab.spawn(name, 'curl', [
    '-sS',
    '--fail-with-body',
    '-m',
    '15',
    ...data,
    `http://127.0.0.1:8151${path}`,
  ])
  let text = ''
  child.stdout?.setEncoding('utf8')
  child.stdout?.on('data', (chunk: string) => {
    text += chunk
  })
  return new Promise((done, failed) => {
    child.once('close', (code) => {
      if (code === 0) done(JSON.parse(text))
      else failed(new Error(`${path} at ${name}: curl ended with ${code}: ${text.slice(0, 500)}`))
    })
  })
}
