/**
 * Who leads and who owns, when the one that did goes: on a real etcd of three members, three nodes with their events in PostgreSQL, beside etcd's own
 * election and etcd's own loss of its leader, in the same rounds of one run. Prints a table and a JSON line; times in ms.
 *
 *     npx tsx bench/election.ts [rounds = 5] [etcd's election timeout = 1000]
 *
 * The nodes come in two ways: on one host, where the death of a process can be proved, and each with a disk of its own, as on hosts of their own,
 * where only the end of its lease proves it (needs root). Leases are 5 s on both sides, and etcd's are kept alive as its own client keeps them.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { get } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isWithoutPostgres, PostgresServer } from '../test/journal/postgres-server.js'
import { type EtcdCluster, type EtcdMember, noEtcd, startEtcd } from '../test/store/etcd-server.js'
import { json, ProcessCluster, type ProcessNode, publish, sleep, until } from '../tools/prove/lib/cluster.js'
import { EtcdPeer } from './lib/etcd-peer.js'

const ttlS = 5
const [first, second, third] = process.argv.slice(2)
if (first === 'hold') await hold(second as string, third as string)
const rounds = Number(first ?? 5)
const electionTimeoutMs = Number(second ?? 1_000)
if (noEtcd !== undefined || isWithoutPostgres('bench election')) process.exit(0)

const figures = new Map<string, number[]>()

function keep(what: string, ms: number): void {
  figures.set(what, [...(figures.get(what) ?? []), ms])
}

/** In a process of its own, to be killed: leads until then. */
async function hold(endpoint: string, name: string): Promise<never> {
  const peer = new EtcdPeer(endpoint)
  const { id } = await peer.lease(ttlS)
  await peer.campaign(name, id, 'holder')
  console.log('leads')
  await new Promise(() => {})
  process.exit(0)
}

// --- etcd by itself ----------------------------------------------------------------------------------------------------

class EtcdSide {
  private readonly etcd: EtcdCluster
  private readonly peers: EtcdPeer[]
  private elections = 0

  constructor(etcd: EtcdCluster) {
    this.etcd = etcd
    this.peers = etcd.members.map(({ endpoint }) => new EtcdPeer(endpoint))
  }

  /** The leader resigns; the next one in line, and an observer at every member, know. */
  async handOver(): Promise<void> {
    const name = `hand-over-${++this.elections}`
    const [a, b] = this.peers as [EtcdPeer, EtcdPeer]
    const leases = [await a.lease(ttlS), await b.lease(ttlS)]
    const seat = await a.campaign(name, (leases[0] as { id: string }).id, 'a')
    const seen = this.observers(name, 'b')
    const won = b.campaign(name, (leases[1] as { id: string }).id, 'b')
    await sleep(300)
    const startMs = performance.now()
    await Promise.all([
      a.resign(seat),
      won.then(() => keep('etcd election: resign, the next leads', performance.now() - startMs)),
      seen.all.then(() => keep('etcd election: resign, every member tells', performance.now() - startMs)),
    ])
    seen.stop()
    for (const lease of leases) lease.stop()
  }

  /** The process that leads is killed; the next one in line leads when the lease has ended. */
  async holderDies(): Promise<void> {
    const name = `holder-${++this.elections}`
    const b = this.peers[1] as EtcdPeer
    const holder: ChildProcess = spawn(
      process.execPath,
      ['--import', 'tsx', fileURLToPath(import.meta.url), 'hold', this.etcd.members[0]?.endpoint ?? '', name],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    )
    await once(holder.stdout as NodeJS.ReadableStream, 'data')
    const seen = this.observers(name, 'b')
    const lease = await b.lease(ttlS)
    const won = b.campaign(name, lease.id, 'b')
    // Anywhere between two of its signs of life.
    await sleep(300 + Math.random() * 1_700)
    const startMs = performance.now()
    holder.kill('SIGKILL')
    await Promise.all([
      won.then(() =>
        keep('etcd election: kill -9 of the leader, the next leads', performance.now() - startMs),
      ),
      seen.all.then(() =>
        keep('etcd election: kill -9 of the leader, every member tells', performance.now() - startMs),
      ),
    ])
    seen.stop()
    lease.stop()
  }

  /** etcd's own leader is killed; the first write through another member. Meanwhile events go on, or not. */
  async raftLeaderDies(node: ProcessNode): Promise<void> {
    const victim = await this.raftLeader()
    const others = this.etcd.members.filter((m) => m !== victim)
    const peers = others.map(({ endpoint }) => new EtcdPeer(endpoint))
    await Promise.all(peers.map((peer) => peer.put('warm')))
    const events = new EventStream(node)
    await sleep(500)
    const startMs = performance.now()
    const dead = victim.kill()
    await new Promise<void>((done) => {
      const timer = setInterval(() => {
        for (const peer of peers)
          peer.put('again', 10_000).then(
            () => {
              clearInterval(timer)
              done()
            },
            // Not yet.
            () => {},
          )
      }, 20)
    })
    keep('etcd: kill -9 of its Raft leader, first write', performance.now() - startMs)
    await dead
    await sleep(500)
    keep('Skein: the same, longest wait of an event', await events.stop())
    for (const peer of peers) peer.close()
    await victim.restart()
    await until(async () => this.allWell(), 20_000, 'etcd to be whole')
  }

  private async allWell(): Promise<boolean> {
    const answers = await Promise.all(
      this.peers.map((peer) =>
        peer.put('well', 1_000).then(
          () => true,
          () => false,
        ),
      ),
    )
    return answers.every(Boolean)
  }

  private async raftLeader(): Promise<EtcdMember> {
    for (const [i, peer] of this.peers.entries())
      if (await peer.isRaftLeader()) return this.etcd.members[i] as EtcdMember
    throw new Error('no member of etcd leads')
  }

  private observers(name: string, wanted: string): { readonly all: Promise<unknown>; stop(): void } {
    const stops: (() => void)[] = []
    const all = Promise.all(
      this.peers.map(
        (peer) =>
          new Promise<void>((seen) => {
            stops.push(
              peer.observe(name, (value) => {
                if (value === wanted) seen()
              }),
            )
          }),
      ),
    )
    return {
      all,
      stop() {
        for (const stop of stops) stop()
      },
    }
  }
}

/** One event after the other; the longest that one of them took. */
class EventStream {
  private longestMs = 0
  private isOver = false
  private readonly running: Promise<void>

  constructor(node: ProcessNode) {
    this.running = this.run(node)
  }

  async stop(): Promise<number> {
    this.isOver = true
    await this.running
    return this.longestMs
  }

  private async run(node: ProcessNode): Promise<void> {
    for (let n = 0; !this.isOver; n++) {
      const startMs = performance.now()
      await storeOne(node, `steady-${n % 200}`)
      this.longestMs = Math.max(this.longestMs, performance.now() - startMs)
      await sleep(5)
    }
  }
}

let sent = 0

/** Sent again under its id until it is acknowledged. */
async function storeOne(node: ProcessNode, key: string): Promise<void> {
  const event = { stream: 'bench', key, id: `e${++sent}`, type: 't', payload: { n: sent } }
  const deadlineMs = performance.now() + 60_000
  let why = ''
  while (performance.now() < deadlineMs) {
    const { body, status } = await publish(node.http, event, 10_000)
    const result = body.results?.[0]
    if (result !== undefined && result.status !== 'rejected') return
    why = result === undefined ? `HTTP ${status}` : JSON.stringify(result.error)
    await sleep(5)
  }
  throw new Error(`${event.id} was not stored for a minute: ${why}`)
}

// --- Skein -------------------------------------------------------------------------------------------------------------

/** What a node tells of leaders as it learns of them. */
class LeaderWatch {
  private readonly terms = new Map<string, number>()
  private readonly looks = new Set<() => void>()
  private readonly requests: { destroy(): void }[] = []

  constructor(nodes: readonly ProcessNode[]) {
    for (const node of nodes) {
      const request = get(`http://${node.http}/api/cluster/watch`, (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => {
          text += chunk
          const lines = text.split('\n')
          text = lines.pop() as string
          for (const line of lines) this.take(node.id, line)
        })
        response.on('error', () => {})
      })
      // Killed, or closed by us.
      request.on('error', () => {})
      this.requests.push(request)
    }
  }

  /** Resolves when all of them know of a leader in a later term. */
  later(than: number, nodes: readonly ProcessNode[]): Promise<void> {
    return new Promise((done) => {
      const look = (): void => {
        if (nodes.every(({ id }) => (this.terms.get(id) ?? 0) > than)) done()
      }
      this.looks.add(look)
      look()
    })
  }

  stop(): void {
    for (const request of this.requests) request.destroy()
  }

  private take(nodeId: string, line: string): void {
    if (!line.startsWith('data: ') || !line.includes('"leader.elected"')) return
    const { event, fields } = JSON.parse(line.slice(6)) as { event?: string; fields?: { term?: number } }
    if (event !== 'leader.elected') return
    this.terms.set(nodeId, Math.max(fields?.term ?? 0, this.terms.get(nodeId) ?? 0))
    for (const look of this.looks) look()
  }
}

class SkeinSide {
  readonly cluster: ProcessCluster
  readonly label: string

  constructor(label: string, store: string, journal: string, hasOwnDisks: boolean) {
    this.label = label
    const extra = ['--cluster-name', label.replace(' ', '-'), '--store', store, '--journal', journal]
    this.cluster = new ProcessCluster(extra, hasOwnDisks ? (id) => this.ownDisk(id) : undefined)
  }

  /** A process with this in front finds at the path of all data what no other one sees. */
  private ownDisk(id: string): string[] {
    const { dir } = this.cluster
    const [from, at] = [join(dir, `disk-${id}`), join(dir, id)]
    for (const path of [from, at]) mkdirSync(path, { recursive: true })
    return [
      'unshare',
      '--mount',
      'sh',
      '-c',
      'mount --bind "$1" "$2" && shift 2 && exec "$@"',
      'sh',
      from,
      at,
    ]
  }

  private async leader(): Promise<{ node: ProcessNode; term: number }> {
    const { nodes } = this.cluster
    const { leader_id, term } = (await json((nodes[0] as ProcessNode).http, '/api/cluster/leader')) as {
      leader_id: string
      term: number
    }
    return { node: nodes.find(({ id }) => id === leader_id) as ProcessNode, term }
  }

  async handOver(): Promise<void> {
    const { node, term } = await this.leader()
    const watch = new LeaderWatch(this.cluster.nodes)
    await sleep(300)
    const startMs = performance.now()
    const known = watch.later(term, this.cluster.nodes)
    const answer = await fetch(`http://${node.http}/api/cluster/leader`, { method: 'DELETE' })
    if (!answer.ok) throw new Error(`stepping down: HTTP ${answer.status}`)
    await known
    keep(`${this.label}: the leader resigns, every node knows the next`, performance.now() - startMs)
    watch.stop()
    // One that stepped down leaves the others first choice for a while.
    await sleep(3_500)
  }

  async leaderDies(): Promise<void> {
    const { node, term } = await this.leader()
    const others = this.cluster.nodes.filter((n) => n !== node)
    const watch = new LeaderWatch(others)
    await sleep(300 + Math.random() * 1_000)
    const startMs = performance.now()
    const known = watch.later(term, others)
    node.signal('SIGKILL')
    await known
    keep(`${this.label}: kill -9 of the leader, every node knows the next`, performance.now() - startMs)
    watch.stop()
    await this.comeBack(node)
  }

  /** A node that does not lead is killed: until a key of it can be written, and until all of its shards can. */
  async ownerDies(): Promise<void> {
    const { node: leader } = await this.leader()
    const victim = this.cluster.nodes.find((n) => n !== leader) as ProcessNode
    const other = this.cluster.nodes.find((n) => n !== leader && n !== victim) as ProcessNode
    const keys = await this.keysOf(victim, other)
    await sleep(Math.random() * 1_000)
    const startMs = performance.now()
    victim.signal('SIGKILL')
    const waits = await Promise.all(
      keys.map(async (key) => {
        await storeOne(other, key)
        return performance.now() - startMs
      }),
    )
    keep(`${this.label}: kill -9 of an owner, first write to its keys`, Math.min(...waits))
    keep(`${this.label}: kill -9 of an owner, a write to each of its shards`, Math.max(...waits))
    await this.comeBack(victim)
  }

  /** One key for each shard of the node. */
  private async keysOf(node: ProcessNode, via: ProcessNode): Promise<string[]> {
    const { shards } = (await json(via.http, '/api/cluster/shards')) as {
      shards: { shard: number; owner: string }[]
    }
    const wanted = new Set(shards.filter((s) => s.owner === node.id).map((s) => s.shard))
    const keys: string[] = []
    for (let i = 0; wanted.size > 0 && i < 20_000; i++) {
      const { shard } = (await json(via.http, `/api/cluster/route?key=k${i}`)) as { shard: number }
      if (wanted.delete(shard)) keys.push(`k${i}`)
    }
    return keys
  }

  private async comeBack(node: ProcessNode): Promise<void> {
    await node.kill()
    await node.start()
    await until(() => this.cluster.isWhole(), 30_000, `${this.label} to be whole again`)
  }
}

// --- rounds ------------------------------------------------------------------------------------------------------------

const isRoot = process.getuid?.() === 0
if (!isRoot) console.warn('SKIPPED: nodes as on hosts of their own: giving each its own disk needs root')
const etcd = await startEtcd({ members: 3, electionTimeoutMs, args: ['--pre-vote'] })
const postgres = await PostgresServer.start()
const etcdSide = new EtcdSide(etcd)
// A journal belongs to one cluster.
const journal = (schema: string): string => postgres.url(`schema=${schema}`)
const sides = [new SkeinSide('one host', etcd.url('one-host'), journal('one_host'), false)]
if (isRoot) sides.push(new SkeinSide('own hosts', etcd.url('own-hosts'), journal('own_hosts'), true))
try {
  for (const side of sides) await side.cluster.start(3)
  for (let round = 1; round <= rounds; round++) {
    for (const side of sides) {
      await side.handOver()
      await side.leaderDies()
      await side.ownerDies()
    }
    await etcdSide.handOver()
    await etcdSide.holderDies()
    await etcdSide.raftLeaderDies(sides[0]?.cluster.nodes[0] as ProcessNode)
    await until(
      async () => (await Promise.all(sides.map((s) => s.cluster.isWhole()))).every(Boolean),
      30_000,
      'all to be whole',
    )
  }
} finally {
  for (const side of sides) side.cluster.end()
  await etcd.stop()
  await postgres.stop()
}
report()
process.exit(0)

function report(): void {
  const rows = [...figures].map(([what, all]) => {
    const sorted = [...all].sort((a, b) => a - b)
    return {
      what,
      min: sorted[0] as number,
      median: sorted[sorted.length >> 1] as number,
      max: sorted.at(-1) as number,
    }
  })
  console.log(
    `${rounds} rounds, leases of ${ttlS} s, etcd's election timeout ${electionTimeoutMs} ms; min / median / max, ms`,
  )
  for (const { what, min, median, max } of rows)
    console.log(`${what.padEnd(72)} ${[min, median, max].map((ms) => ms.toFixed(1).padStart(8)).join(' ')}`)
  const median = (what: string): number => rows.find((row) => row.what === what)?.median ?? Number.NaN
  const ratios = Object.fromEntries(
    sides.flatMap(({ label }) => [
      [
        `${label}: hand-over / etcd's resign`,
        median(`${label}: the leader resigns, every node knows the next`) /
          median('etcd election: resign, every member tells'),
      ],
      [
        `${label}: leader killed / etcd's holder killed`,
        median(`${label}: kill -9 of the leader, every node knows the next`) /
          median('etcd election: kill -9 of the leader, every member tells'),
      ],
      [
        `${label}: owner killed, first write / etcd's Raft leader killed, first write`,
        median(`${label}: kill -9 of an owner, first write to its keys`) /
          median('etcd: kill -9 of its Raft leader, first write'),
      ],
      [
        `${label}: owner killed, first write / etcd's holder killed`,
        median(`${label}: kill -9 of an owner, first write to its keys`) /
          median('etcd election: kill -9 of the leader, the next leads'),
      ],
    ]),
  )
  console.log('ratios of medians (below 1: quicker than etcd)')
  for (const [what, ratio] of Object.entries(ratios)) console.log(`  ${what.padEnd(76)} ${ratio.toFixed(2)}`)
  console.log(JSON.stringify({ rounds, figures: Object.fromEntries(figures), ratios }))
}
