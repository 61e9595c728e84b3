/**
 * What placing agents costs. First a pick, at 10, 100 and 1,000 nodes that hold 100,000 agents together, by every strategy, beside one bare pass over
 * the same candidates and beside a peer's strategies, in the same rounds. Then placements: agents that nobody runs yet, given to 1,000 nodes by one
 * leader's own coordinator and made durable in the store, and seen by its own watch; beside the same store given the same transactions that nobody
 * decides upon or watches, and beside it given one key for each agent.
 * Prints tables and a JSON line.
 *
 *     npx tsx bench/balancer.ts [agents to place = 20000] [rounds = 5] [directory]
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { ServiceBroker, Strategies } from 'moleculer'
import { Balancer, type Strategy, strategies } from '../src/core/balancing/balancer.js'
import type { Candidate, Work } from '../src/core/balancing/candidate.js'
import { Random } from '../src/core/kernel/random.js'
import { noTelemetry } from '../src/core/membership/member.js'
import { RoundTrips } from '../src/core/node/candidates.js'
import { EtcdStore } from '../src/drivers/store-etcd/etcd-store.js'
import { SqliteStore } from '../src/drivers/store-sqlite/sqlite-store.js'
import { parseEtcdUrl } from '../src/engines/etcd/url.js'
import type { Store } from '../src/ports/store.js'
import { noEtcd, startEtcd } from '../test/store/etcd-server.js'
import { PlacingLeader } from './lib/placing-leader.js'

const toPlace = Number(process.argv[2] ?? 20_000)
const rounds = Number(process.argv[3] ?? 5)
const directory = mkdtempSync(join(process.argv[4] ?? tmpdir(), 'skein-bench-'))
const agents = 100_000
const nodesPlaced = 1_000
const roundMs = 60

const median = (figures: readonly number[]): number =>
  figures.toSorted((a, b) => a - b)[figures.length >> 1] as number

// --- picks -------------------------------------------------------------------------------------------------------------

const idOf = (i: number): string => `node-${String(i).padStart(4, '0')}`

interface Seen {
  readonly telemetry: typeof noTelemetry
  readonly rttMs: number
}

/** Round trips are told as a node tells them: by where both are. */
function candidatesOf(count: number): Candidate[] {
  const random = new Random(count)
  const seen = new Map<string, Seen>(
    Array.from({ length: count }, (_, i) => {
      const place = Array.from({ length: 4 }, () => random.float() * 10)
      const coordinate = { place, height: 0.1, adjustment: 0, error: 0.1 }
      return [idOf(i), { telemetry: { ...noTelemetry, coordinate }, rttMs: 0 }] as const
    }),
  )
  const roundTrips = new RoundTrips('', (nodeId) => seen.get(nodeId))
  return Array.from({ length: count }, (_, i) => ({
    nodeId: idOf(i),
    kind: 'node' as const,
    refusal: '',
    role: 'worker' as const,
    zone: `zone-${i % 10}`,
    region: `region-${i % 3}`,
    labels: {},
    services: [],
    kinds: ['session'],
    allowsExec: false,
    agents: Math.floor(agents / count),
    maxAgents: Math.floor((2 * agents) / count),
    cpuPct: random.float() * 100,
    memoryPct: random.float() * 100,
    trust: 1,
    ...roundTrips.of(idOf(i), seen.get(idOf(i)) as Seen),
  }))
}

/** Microseconds each, over one round. */
function timeOf(step: (turn: number) => unknown): number {
  const startMs = performance.now()
  let turns = 0
  let passedMs = 0
  do {
    for (let i = 0; i < 10; i++) step(turns++)
    passedMs = performance.now() - startMs
  } while (passedMs < roundMs)
  return (passedMs * 1_000) / turns
}

/** Looks at each candidate once and keeps the best of a number that is there already: nothing that must see all can be cheaper. */
function bestByOneField(candidates: readonly Candidate[]): Candidate | undefined {
  let best: Candidate | undefined
  for (const c of candidates) if (best === undefined || c.cpuPct < best.cpuPct) best = c
  return best
}

const broker = new ServiceBroker({ logger: false })
/** Its list holds endpoints that were found fit before. */
const peers = {
  round_robin: new Strategies.RoundRobin(broker.registry, broker),
  random: new Strategies.Random(broker.registry, broker),
  power_of_two: new Strategies.CpuUsage(broker.registry, broker),
} as unknown as Partial<Record<Strategy, { select(list: readonly unknown[]): unknown }>>

const works = Array.from(
  { length: 1_000 },
  (_, i): Work => ({
    name: `session-${i}`,
    kind: 'session',
    origin: { nodeId: idOf(i % 10), zone: `zone-${i % 10}`, region: `region-${i % 3}` },
  }),
)

interface PickRow {
  readonly nodes: number
  readonly strategy: string
  readonly us: number
  readonly ofBarePass: number
  readonly peerUs: number | null
}

const picks: PickRow[] = []
for (const count of [10, 100, 1_000]) {
  const candidates = candidatesOf(count)
  const endpoints = candidates.map((c) => ({ id: c.nodeId, node: { cpu: c.cpuPct } }))
  const balancer = new Balancer(new Random(1))
  const found = new Map<string, number[]>()
  const keep = (what: string, us: number): void => {
    found.set(what, [...(found.get(what) ?? []), us])
  }
  // The first round warms up.
  for (let round = 0; round <= rounds; round++) {
    if (round === 1) found.clear()
    keep(
      'bare',
      timeOf(() => bestByOneField(candidates)),
    )
    for (const strategy of strategies) {
      keep(
        strategy,
        timeOf((turn) => balancer.pick(strategy, candidates, works[turn % works.length] as Work)),
      )
      const peer = peers[strategy]
      if (peer !== undefined)
        keep(
          `${strategy} of the peer`,
          timeOf(() => peer.select(endpoints)),
        )
    }
  }
  const bare = median(found.get('bare') as number[])
  for (const strategy of strategies) {
    const us = median(found.get(strategy) as number[])
    const ofPeer = found.get(`${strategy} of the peer`)
    picks.push({
      nodes: count,
      strategy,
      us,
      ofBarePass: us / bare,
      peerUs: ofPeer === undefined ? null : median(ofPeer),
    })
  }
}
await broker.stop()

console.log(
  `a pick, ${agents} agents on all nodes together; microseconds (times one bare pass over the candidates; Moleculer's round robin, random, least CPU of three)`,
)
for (const strategy of strategies) {
  const cells = picks
    .filter((row) => row.strategy === strategy)
    .map(({ us, ofBarePass, peerUs }) =>
      `${us.toFixed(2)} (${ofBarePass.toFixed(1)}${peerUs === null ? '' : `; ${peerUs.toFixed(2)}`})`.padEnd(
        22,
      ),
    )
  console.log(`  ${strategy.padEnd(16)} ${cells.join(' ')}`)
}

// --- placements --------------------------------------------------------------------------------------------------------

interface PlacedRow {
  readonly store: string
  readonly placements_per_s: number
  readonly bare_transactions_per_s: number
  readonly bare_keys_per_s: number
  readonly of_bare_transactions: number
  readonly of_bare_keys: number
  readonly per_transaction: number
  readonly decide_us: number
}

async function placing(what: string, store: Store): Promise<PlacedRow> {
  await store.open()
  const leader = await PlacingLeader.open(
    store,
    nodesPlaced,
    Math.ceil((3 * toPlace * (rounds + 1)) / nodesPlaced),
  )
  const ours: number[] = []
  const bareTransactions: number[] = []
  const bareKeys: number[] = []
  for (let round = 0; round <= rounds; round++) {
    const names = Array.from({ length: toPlace }, (_, i) => `session-${round}-${i}`)
    await leader.want(names)
    const startMs = performance.now()
    await leader.place(names.length)
    const placedMs = performance.now() - startMs
    const transactionsMs = await leader.bareTransactions(names)
    const keysMs = await leader.bareKeys(names)
    if (round === 0) continue
    ours.push((toPlace / placedMs) * 1_000)
    bareTransactions.push((toPlace / transactionsMs) * 1_000)
    bareKeys.push((toPlace / keysMs) * 1_000)
  }
  const row = {
    store: what,
    placements_per_s: Math.round(median(ours)),
    bare_transactions_per_s: Math.round(median(bareTransactions)),
    bare_keys_per_s: Math.round(median(bareKeys)),
    of_bare_transactions: Number((median(ours) / median(bareTransactions)).toFixed(3)),
    of_bare_keys: Number((median(ours) / median(bareKeys)).toFixed(2)),
    per_transaction: Number(leader.namesPerTransaction.toFixed(1)),
    decide_us: Number(leader.decideUs.toFixed(1)),
  }
  await leader.close()
  await store.close()
  return row
}

const placed: PlacedRow[] = []
placed.push(await placing('sqlite', new SqliteStore({ path: join(directory, 'store.db') })))
if (noEtcd === undefined) {
  const etcd = await startEtcd()
  placed.push(await placing('etcd, one member', new EtcdStore(parseEtcdUrl(etcd.url('bench')))))
  await etcd.stop()
} else console.warn(`SKIPPED: placements on etcd: ${noEtcd}`)
rmSync(directory, { recursive: true, force: true })

console.log(`placements a second by one leader, ${nodesPlaced} nodes, ${toPlace} agents a round, durable`)
for (const row of placed)
  console.log(
    `  ${row.store.padEnd(18)} ${String(row.placements_per_s).padStart(7)}  the bare store with the same transactions ${row.bare_transactions_per_s} (${row.of_bare_transactions}), with a key each ${row.bare_keys_per_s} (${row.of_bare_keys}); ${row.per_transaction} in a transaction, ${row.decide_us} us of thinking each`,
  )
console.log(JSON.stringify({ bench: 'balancer', agents, picks, placed }))
process.exit(0)
