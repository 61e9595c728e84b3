// 100,000 mutated frames and ten minutes of fuzz on both ports, from strangers and from a member: no crash, memory back, no secret in any log
import { statSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { WebSocket } from 'ws'
import { Random } from '../../src/core/kernel/random.js'
import { SqliteStore } from '../../src/drivers/store-sqlite/sqlite-store.js'
import { datagramSecret } from '../../src/runtime/datagram-secret.js'
import { sleep, Verdict } from './lib/cluster.js'
import {
  GuardedCluster,
  type GuardedNode,
  httpPort,
  isWithoutLoopbacks,
  type Proof,
} from './lib/guarded-cluster.js'
import { HttpFuzz } from './lib/http-fuzz.js'
import { Inspector, type Memory } from './lib/inspector.js'
import { Load } from './lib/load.js'
import type { Credentials } from './lib/member-client.js'
import { Mutator } from './lib/mutate.js'
import { type Corpus, PeerFuzz } from './lib/peer-fuzz.js'
import { SecretSearch } from './lib/secret-search.js'
import { tapKeys } from './lib/tap-keys.js'
import { Wiretap } from './lib/wiretap.js'

if (isWithoutLoopbacks('hostile')) process.exit(0)
const { values } = parseArgs({
  options: {
    frames: { type: 'string' },
    minutes: { type: 'string' },
    seed: { type: 'string' },
    proof: { type: 'string', multiple: true },
  },
})
const framesWanted = Number(values.frames ?? 100_000)
const fuzzMs = Number(values.minutes ?? 10) * 60_000
/** Before and after. */
const loadMs = Math.min(5_000, 2_000 + fuzzMs / 20)
const seed = Number(values.seed ?? Date.now() % 1_000_000)
const proofs = (values.proof ?? ['cookie', 'certificates']) as Proof[]
const verdict = new Verdict()
const mib = 1_048_576
/**
 * Garbage collected, so much above what it was: heaps and what they hold outside, where ids of the events stored meanwhile are remembered; and what
 * the kernel counts, where an allocator keeps pages that it may need again. From half-way on the latter does not grow.
 */
const heldGrowthMibMax = 32
const rssGrowthMibMax = 96
const rssLateGrowthMibMax = 32
const logMibMax = 8
const httpAtOnce = 16
/** Hello, ping, membership; publish, read, tails, sight, audit, ownership; and their answers. */
const kindsMin = 12

/** What the nodes of this very cluster say to each other, opened: one joins, events are stored, read and watched. */
async function record(cluster: GuardedCluster, tap: Wiretap, secret: Uint8Array): Promise<Corpus> {
  tap.openDatagrams(secret)
  await cluster.add()
  await cluster.untilWhole()
  const tails = cluster.nodes.map((node) => openTail(cluster, node))
  const load = new Load(cluster, 'corpus', { pauseMs: 50 })
  await sleep(2_000)
  await load.stop()
  for (const node of cluster.nodes) {
    for (const path of ['/api/cluster/reachability', '/api/cluster/ownership', '/api/audit?limit=10'])
      await node.get(path)
    await node.readAll('corpus')
  }
  for (const tail of tails) tail.terminate()
  const corpus = { frames: [...tap.frames], datagrams: [...tap.plainDatagrams] }
  const kinds = new Set(corpus.frames.map(({ way, kind, type }) => `${way}/${kind}/${type}`))
  verdict.check(
    `${cluster.proof}: there is something to mutate`,
    kinds.size >= kindsMin &&
      corpus.datagrams.length > 0 &&
      tap.datagrams.length > 0 &&
      tap.streams.length > 0,
    `${corpus.frames.length} frames of ${kinds.size} kinds and ${corpus.datagrams.length} datagrams, opened; ${tap.streams.length} connections as they were on the wire`,
  )
  return corpus
}

function openTail(cluster: GuardedCluster, node: GuardedNode): WebSocket {
  const scheme = cluster.proof === 'cookie' ? 'ws' : 'wss'
  return new WebSocket(`${scheme}://${node.inside}:${httpPort}/ws/live?stream=corpus`, {
    ca: cluster.authorities(),
    headers: { authorization: `Bearer ${cluster.tokens.viewer}` },
  })
}

/** What a member proves itself with, and what it seals datagrams with. */
async function asMember(cluster: GuardedCluster): Promise<{ credentials: Credentials; secret: Uint8Array }> {
  if (cluster.proof === 'cookie') {
    const cookie = cluster.cookies()[0] as string
    return { credentials: { cookie }, secret: Buffer.from(cookie) }
  }
  const { cert, key } = await cluster.leaf('hostile')
  const store = new SqliteStore({ path: join(cluster.dir, 'data', 'store.db') })
  await store.open()
  const secret = await datagramSecret(store, 'guarded')
  await store.close()
  return { credentials: { ca: cluster.authorities(), cert, key }, secret }
}

async function measure(inspectors: readonly Inspector[]): Promise<Memory[]> {
  return Promise.all(inspectors.map((inspector) => inspector.measure()))
}

async function prove(proof: Proof): Promise<void> {
  const tap = new Wiretap(tapKeys(() => cluster))
  const cluster: GuardedCluster = new GuardedCluster(proof, { tap, nodeFlags: ['--inspect=127.0.0.1:0'] })
  await cluster.start(2)
  const { nodes } = cluster
  const { credentials, secret } = await asMember(cluster)
  const corpus = await record(cluster, tap, secret)
  const pids = nodes.map(({ pid }) => pid)
  const random = new Random(seed)
  const mutator = new Mutator(random)
  const http = await HttpFuzz.for(cluster, random, mutator)
  const peer = new PeerFuzz({ cluster, random, mutator, corpus, tap, credentials, secret })
  const search = new SecretSearch([
    ...cluster.secrets,
    { what: 'the secret of datagrams', value: Buffer.from(secret).toString('hex') },
  ])
  // What a member is answered inside of its connection is not for strangers, and yet no place for a secret.
  http.onAnswer = peer.onAnswer = (where, bytes) => search.look(where, bytes)

  const warm = new Load(cluster, 'before', { pauseMs: 100 })
  await sleep(loadMs)
  await warm.stop()
  const inspectors = await Promise.all(nodes.map((node) => Inspector.connect(node.log())))
  const before = await measure(inspectors)

  const load = new Load(cluster, 'meanwhile', { pauseMs: 500, isTolerant: true })
  const startMs = performance.now()
  await peer.run(framesWanted, () => nodes.some((node) => !node.isRunning))
  console.log(`     ${proof}: ${framesText(peer)} in ${((performance.now() - startMs) / 1_000).toFixed(0)} s`)
  const fuzz = async (ms: number): Promise<void> => {
    const endMs = performance.now() + ms
    const isEnough = (): boolean => performance.now() > endMs || nodes.some((node) => !node.isRunning)
    await Promise.all([
      peer.run(Number.POSITIVE_INFINITY, isEnough),
      ...Array.from({ length: httpAtOnce }, async () => {
        while (!isEnough()) await http.once()
      }),
    ])
  }
  await fuzz(fuzzMs / 2)
  const halfWay = nodes.every((node) => node.isRunning) ? await measure(inspectors) : []
  await fuzz(fuzzMs / 2)
  const statuses = [...http.statuses]
    .sort(([a], [b]) => a - b)
    .map(([status, count]) => `${status}: ${count}`)
  console.log(
    `     ${proof}: then ${(fuzzMs / 60_000).toFixed(1)} minutes on both ports: ${framesText(peer)} in all, ${http.requests} pieces of HTTP and WebSocket over ${http.routes} operations (${statuses.join(', ')})`,
  )
  peer.close()
  verdict.check(
    `${proof}: no request was answered with a fault of the node`,
    (http.statuses.get(500) ?? 0) === 0,
    http.fault,
  )
  const alive = nodes.map((node) => node.isRunning)
  verdict.check(
    `${proof}: no process ended`,
    nodes.every((node, i) => alive[i] && node.pid === pids[i]),
    nodes.map((node, i) => (alive[i] ? node.pid : node.log().slice(-600))).join(', '),
  )
  if (alive.includes(false)) return

  const why = await cluster.untilWhole(30_000).then(
    (ms) => ms,
    (error: Error) => error.message,
  )
  verdict.check(
    `${proof}: the members see exactly each other, nobody is stalled, every shard is open`,
    typeof why === 'number',
    typeof why === 'number' ? `${why.toFixed(0)} ms after the end` : why,
  )
  await load.stop()
  const after = new Load(cluster, 'after', { pauseMs: 100 })
  await sleep(loadMs)
  await after.stop()
  verdict.check(
    `${proof}: it takes events as before`,
    after.refused === 0,
    after.refusals[0] ?? `${after.acknowledged.size}`,
  )
  for (const each of [warm, load, after]) {
    const differences = await Promise.all(nodes.map((node) => each.differs(node)))
    const difference = differences.find((d) => d !== undefined)
    verdict.check(
      `${proof}: every node reads back all that was acknowledged ${each.stream}`,
      difference === undefined,
      difference ?? `${each.acknowledged.size} events, once each`,
    )
  }
  await checkReadable(cluster)

  const since = await measure(inspectors)
  nodes.forEach((node, i) => {
    const [was, between, now] = [before[i], halfWay[i], since[i]] as [Memory, Memory, Memory]
    const text = (m: Memory): string =>
      `heap ${m.heapMib.toFixed(1)} of ${m.committedMib.toFixed(0)}, external ${m.externalMib.toFixed(1)}, resident ${m.rssMib.toFixed(0)} MiB`
    const heldMib = now.heapMib + now.externalMib - was.heapMib - was.externalMib
    verdict.check(
      `${proof}: memory of ${node.id} is back`,
      heldMib <= heldGrowthMibMax &&
        now.rssMib - was.rssMib <= rssGrowthMibMax &&
        now.rssMib - between.rssMib <= rssLateGrowthMibMax,
      `${text(was)} before; resident ${between.rssMib.toFixed(0)} MiB half-way; ${text(now)} after`,
    )
  })
  for (const inspector of inspectors) inspector.close()

  for (const node of nodes) {
    const size = statSync(node.logPath).size / mib
    verdict.check(`${proof}: ${node.id} did not flood its log`, size <= logMibMax, `${size.toFixed(2)} MiB`)
  }
  for (const node of nodes)
    for (const path of [
      '/metrics',
      '/openapi.json',
      '/api/cluster/nodes',
      '/api/cluster/history?limit=1000',
      '/api/audit?limit=1000',
      '/api/cluster/status',
      '/api/cluster/peers',
    ])
      search.look(path, Buffer.from((await node.ask('GET', path)).text))
  const files =
    search.lookInFiles(join(cluster.dir, 'seen')) + search.lookInFiles(join(cluster.dir, 'data'), /audit/)
  verdict.check(
    `${proof}: no cookie, token or key in ${files} logs and ${(search.lookedAtBytes / mib).toFixed(1)} MiB of answers`,
    search.finds.size === 0 && files >= 2 * nodes.length,
    [...search.finds].slice(0, 5).join('; ') ||
      `${search.needles} pieces of ${search.secrets} secrets looked for`,
  )
  tap.close()
  cluster.end()
}

/** Nothing that got in makes a stream unreadable. */
async function checkReadable(cluster: GuardedCluster): Promise<void> {
  for (const stream of ['corpus', 'fuzz', 'traces', 'events']) {
    const outcomes = await Promise.all(
      cluster.nodes.map((node) =>
        node.readAll(stream).then(
          (ids) => ids.length,
          (error: Error) => error.message,
        ),
      ),
    )
    verdict.check(
      `${cluster.proof}: every node reads back "${stream}", whatever got in`,
      outcomes.every((outcome) => typeof outcome === 'number' && outcome === outcomes[0]),
      `${[...new Set(outcomes)].join(', ')} events`,
    )
  }
}

function framesText({ counts, total }: PeerFuzz): string {
  return `${total} mutated frames (${counts.inside} in ${counts.sessions} sessions of a member, thrown out of ${counts.thrownOut}; ${counts.insideDatagrams} sealed datagrams; ${counts.outsideDatagrams} datagrams and ${counts.outside} connections of strangers)`
}

console.log(`     seed ${seed}`)
for (const proof of proofs) await prove(proof)
verdict.end()
