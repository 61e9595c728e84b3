// etcd that the nodes run themselves, from nothing to a writable cluster of three; then each node is lost with its disk and replaced by one command
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { checkHistory } from './lib/check-history.js'
import { sleep, until, Verdict } from './lib/cluster.js'
import type { OpRecord } from './lib/history.js'
import { missingEngine, NetCluster, nowMs } from './lib/net-cluster.js'
import { isWithoutNetLab } from './lib/netlab.js'
import { printVerdict } from './lib/print-verdict.js'

const { values } = parseArgs({ options: { history: { type: 'string' } } })
const engine = missingEngine()
if (engine !== undefined) console.warn(`SKIPPED: managed: ${engine}`)
if (engine !== undefined || isWithoutNetLab('managed')) process.exit(0)

const ttlMs = 5_000
const writableMsMax = 10_000
const refusedMsMax = ttlMs + 2_000
const history = resolve(values.history ?? join(tmpdir(), `skein-managed-${process.pid}.jsonl`))
const verdict = new Verdict()
const cluster = new NetCluster({ nodes: 3, store: 'etcd+managed:', history, ttlMs })
const { names } = cluster
await cluster.postgres.start()

const isAcknowledged = (r: { k: string; shard?: number }) => r.k === 'op' && r.shard !== undefined
/** Since `fromMs`, each of these nodes has acknowledged and sees all others well. Returns how long after it. */
async function writable(fromMs: number): Promise<number> {
  const did = (name: string) =>
    cluster.records.some((r) => r.k === 'op' && isAcknowledged(r) && r.n === name && r.t0 > fromMs)
  await until(() => names.every(did), 60_000, 'every node to acknowledge')
  const ms = nowMs() - fromMs
  await cluster.allWell(30_000)
  return ms
}

/** What the nodes' logs say of seats: each `etcd.member_*` with its words. */
function seatNotes(): number {
  return names.reduce(
    (sum, n) => sum + (cluster.stderr.get(n) ?? '').split('etcd.member_promote').length - 1,
    0,
  )
}

const startMs = nowMs()
cluster.startClients()
const started = cluster.startNodes()
await cluster.command('load')
await started
verdict.within('from nothing to three nodes that all acknowledge', await writable(startMs), writableMsMax)
await cluster.command('sample')
const promoted = await until(() => seatNotes() >= 2, 30_000, 'three votes')
console.log(`     three votes ${promoted.toFixed(0)} ms later`)

for (const victim of names) {
  // etcd takes a majority of its votes for a while after a change of them.
  await sleep(6_000)
  const isLeader = cluster.leader === victim
  const promotions = seatNotes()
  const t0 = nowMs()
  await cluster.killNode(victim)
  cluster.loseDisk(victim)
  await cluster.startNode(victim)
  const backMs = await writable(t0)
  await until(() => seatNotes() > promotions, 60_000, `${victim} to have a vote again`)
  console.log(
    `     ${victim}${isLeader ? ', the leader,' : ''} lost with its disk: all acknowledge after ${backMs.toFixed(0)} ms, its vote is there after ${(nowMs() - t0).toFixed(0)} ms`,
  )
  verdict.within(
    `${victim} lost: the longest wait of an event at the others`,
    longestWait(victim, t0),
    refusedMsMax,
  )
}

/** From an event's first attempt to its acknowledgement. */
function longestWait(victim: string, fromMs: number): number {
  const first = new Map<string, number>()
  let longest = 0
  for (const r of cluster.records) {
    if (r.k !== 'op' || r.n === victim || r.t1 < fromMs) continue
    const op: OpRecord = r
    const since = first.get(op.id) ?? op.t0
    first.set(op.id, since)
    if (isAcknowledged(op)) longest = Math.max(longest, op.t1 - since)
  }
  return longest
}

await cluster.finish()
cluster.end()
console.log(`     history: ${history}`)
verdict.check('the history of it all', printVerdict(checkHistory(cluster.records)), history)
verdict.end()
