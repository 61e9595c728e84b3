// kill -9, SIGSTOP and a blocked main thread: how fast each is seen, taken over, and forgiven
import {
  json,
  type NodeJson,
  ProcessCluster,
  type ProcessNode,
  publish,
  sleep,
  until,
  Verdict,
} from './lib/cluster.js'

const rounds = Number(process.argv[2] ?? 3)
const verdict = new Verdict()
const cluster = new ProcessCluster()
await cluster.start(3)

async function view(of: ProcessNode, about: ProcessNode): Promise<NodeJson | undefined> {
  const list = (await json(of.http, '/api/cluster/nodes', 1_000).catch(() => undefined)) as
    | { nodes: NodeJson[] }
    | undefined
  return list?.nodes.find((n) => n.id === about.id)
}

async function term(of: ProcessNode): Promise<{ term: number; leader: string }> {
  const s = (await json(of.http, '/api/cluster/leader', 1_000).catch(() => ({ term: 0, leader_id: '' }))) as {
    term: number
    leader_id: string
  }
  return { term: s.term, leader: s.leader_id }
}

async function shardsOf(node: ProcessNode, via: ProcessNode): Promise<number[]> {
  const { shards } = (await json(via.http, '/api/cluster/shards')) as {
    shards: { shard: number; owner: string }[]
  }
  return shards.filter((s) => s.owner === node.id).map((s) => s.shard)
}

/** One key for each shard of the node. */
async function keysOwnedBy(node: ProcessNode, via: ProcessNode): Promise<string[]> {
  const shards = new Set(await shardsOf(node, via))
  const keys: string[] = []
  for (let i = 0; shards.size > 0 && i < 20_000; i++) {
    const { shard } = (await json(via.http, `/api/cluster/route?key=k${i}`)) as { shard: number }
    if (shards.delete(shard)) keys.push(`k${i}`)
  }
  return keys
}

let sequence = 0
for (let round = 1; round <= rounds; round++) {
  for (const wantLeader of [false, true]) {
    const before = await term(cluster.nodes[0] as ProcessNode)
    const victim = cluster.nodes.find((n) => (n.id === before.leader) === wantLeader) as ProcessNode
    const survivors = cluster.nodes.filter((n) => n !== victim)
    const keys = await keysOwnedBy(victim, survivors[0] as ProcessNode)
    const what = wantLeader ? 'leader' : 'follower'
    const startMs = performance.now()
    victim.signal('SIGKILL')
    const [seen, led, writable] = await Promise.all([
      Promise.all(
        survivors.map((s) =>
          until(async () => (await view(s, victim))?.observed === 'failed', 5_000, 'failed'),
        ),
      ),
      wantLeader
        ? until(async () => (await term(survivors[0] as ProcessNode)).term > before.term, 5_000, 'a new term')
        : 0,
      // One write to every shard of the dead node; the clock stops when the last is acknowledged.
      publish(
        (survivors[0] as ProcessNode).http,
        keys.map((key) => ({ stream: 'failover', key, id: `f${++sequence}`, type: 't', payload: 1 })),
      ).then((r) => {
        const bad = r.body.results?.filter((x) => x.status === 'rejected') ?? []
        if (bad.length > 0) throw new Error(`refused: ${JSON.stringify(bad[0])}`)
        return performance.now() - startMs
      }),
    ])
    verdict.within(
      `round ${round}, kill -9 of the ${what}: all survivors report it failed`,
      Math.max(...seen),
      200,
    )
    if (wantLeader) verdict.within(`round ${round}, kill -9 of the leader: a new term`, led, 500)
    verdict.within(
      `round ${round}, kill -9 of the ${what}: its ${keys.length} shards take writes again`,
      writable,
      1_000,
    )
    const why = (await json((survivors[0] as ProcessNode).http, `/api/cluster/nodes/${victim.id}/why`)) as {
      summary: string
      evidence: unknown[]
    }
    verdict.check(`round ${round}: evidence says why`, why.evidence.length > 0, why.summary)
    await victim.start()
    await until(() => cluster.isWhole(), 20_000, 'the cluster to be whole again')
  }
}

const leader = (await term(cluster.nodes[0] as ProcessNode)).leader
const frozen = cluster.nodes.find((n) => n.id !== leader) as ProcessNode
const others = cluster.nodes.filter((n) => n !== frozen)
const frozenMs = performance.now()
frozen.signal('SIGSTOP')
const around = await until(
  async () => (await Promise.all(others.map((o) => view(o, frozen)))).every((v) => v?.healthy === false),
  8_000,
  'routed around',
)
verdict.within('SIGSTOP: routed around (not healthy)', around, 3_100)
await until(
  async () => (await Promise.all(others.map((o) => view(o, frozen)))).every((v) => v?.observed === 'failed'),
  12_000,
  'failed',
)
const failedMs = performance.now() - frozenMs
verdict.within('SIGSTOP: failed by about 5 s', failedMs, 6_000)
await sleep(Math.max(0, 9_000 - (performance.now() - frozenMs)))
const resumedMs = performance.now()
await frozen.resume()
await until(
  async () =>
    (await Promise.all(others.map((o) => view(o, frozen)))).every(
      (v) => v?.observed === 'alive' && v.healthy,
    ),
  10_000,
  'a member again',
)
verdict.within('SIGCONT: a member again by itself', performance.now() - resumedMs, 5_000)
await until(() => cluster.isWhole(), 20_000, 'the cluster to be whole after SIGCONT')
verdict.end()
