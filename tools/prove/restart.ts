// Three nodes, three etcd members and PostgreSQL killed at once with kill -9, under load: all that was acknowledged is there, and no epoch repeats
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { checkHistory } from './lib/check-history.js'
import { sleep, until } from './lib/cluster.js'
import { missingEngine, NetCluster, nowMs } from './lib/net-cluster.js'
import { isWithoutNetLab } from './lib/netlab.js'
import { printVerdict } from './lib/print-verdict.js'

const { values } = parseArgs({ options: { history: { type: 'string' }, rounds: { type: 'string' } } })
const engine = missingEngine()
if (engine !== undefined) console.warn(`SKIPPED: restart: ${engine}`)
if (engine !== undefined || isWithoutNetLab('restart')) process.exit(0)

const history = resolve(values.history ?? join(tmpdir(), `skein-restart-${process.pid}.jsonl`))
const rounds = Number(values.rounds ?? 3)
const cluster = new NetCluster({ nodes: 3, etcdAt: [1, 2, 3], history })
const { names } = cluster
await cluster.start()
await cluster.command('load')
for (let round = 1; round <= rounds; round++) {
  await sleep(4_000)
  const withJournal = round % 2 === 0
  const t0 = nowMs()
  await Promise.all([
    ...names.map((name) => cluster.killNode(name)),
    ...names.map((name) => cluster.killMember(name)),
    ...(withJournal ? [cluster.postgres.kill()] : []),
  ])
  const t1 = nowMs()
  cluster.note({ k: 'restart', t0, t1 })
  if (withJournal) await cluster.postgres.resume()
  for (const name of names) cluster.startMember(name)
  await cluster.startNodes()
  const isWritable = () =>
    names.every((n) =>
      cluster.records.some((r) => r.k === 'op' && r.n === n && r.t0 > t1 && r.shard !== undefined),
    )
  await until(isWritable, 60_000, 'all nodes to acknowledge again')
  const took = ((nowMs() - t1) / 1_000).toFixed(1)
  console.log(
    `     round ${round}: nodes and etcd${withJournal ? ' and PostgreSQL' : ''} killed; every node acknowledges again after ${took} s`,
  )
  await cluster.allWell(30_000)
}
await sleep(3_000)
await cluster.finish()
cluster.end()
console.log(`     history: ${history}`)
process.exit(printVerdict(checkHistory(cluster.records)) ? 0 : 1)
