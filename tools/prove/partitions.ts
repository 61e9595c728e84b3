// Five nodes on five network namespaces, etcd and PostgreSQL: cuts, one-way loss, flapping, latency and loss under load; a checker decides
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { checkHistory } from './lib/check-history.js'
import { sleep } from './lib/cluster.js'
import { missingEngine, NetCluster } from './lib/net-cluster.js'
import { isWithoutNetLab } from './lib/netlab.js'
import { printVerdict } from './lib/print-verdict.js'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { journal: { type: 'string' }, history: { type: 'string' } },
})
const engine = missingEngine()
if (engine !== undefined) console.warn(`SKIPPED: partitions: ${engine}`)
if (engine !== undefined || isWithoutNetLab('partitions')) process.exit(0)

const history = resolve(values.history ?? join(tmpdir(), `skein-partitions-${process.pid}.jsonl`))
// etcd's members are on both sides of the cuts below, so that two nodes of five can be the side that goes on.
const cluster = new NetCluster({
  nodes: 5,
  etcdAt: [1, 2, 3],
  history,
  ...(values.journal === undefined ? {} : { journal: values.journal }),
})
const { lab, names } = cluster
const but = (...some: string[]) => names.filter((name) => !some.includes(name))

/** Each leaves the network broken; healing is the cluster's part. */
const faults: Record<string, () => Promise<void>> = {
  'two nodes cut off': () =>
    cluster.fault('two nodes cut off', ['n1', 'n4'], {
      begin: () => lab.cut(['n1', 'n4'], but('n1', 'n4')),
      ms: 15_000,
    }),
  // The store's majority is with the two; the three are the minority that counts.
  'three nodes cut off': () =>
    cluster.fault('three nodes cut off', ['n3', 'n4', 'n5'], {
      begin: () => lab.cut(['n1', 'n2'], ['n3', 'n4', 'n5']),
      ms: 15_000,
    }),
  'a leader that is not heard': async () => {
    const leader = leaderNow()
    await cluster.fault(`${leader}, the leader, is not heard`, [], {
      begin: () => lab.cutOneWay([leader], but(leader)),
      ms: 12_000,
    })
  },
  'a leader that hears nobody': async () => {
    const leader = leaderNow()
    await cluster.fault(`${leader}, the leader, hears nobody`, [], {
      begin: () => lab.cutOneWay(but(leader), [leader]),
      ms: 12_000,
    })
  },
  'an isolated leader': async () => {
    const leader = leaderNow()
    await cluster.fault(`${leader}, the leader, is isolated`, [leader], {
      begin: () => lab.cut([leader], but(leader)),
      ms: 12_000,
    })
  },
  'a bridge': () =>
    cluster.fault('two halves that both see n3', [], {
      begin: () => lab.cut(['n1', 'n4'], ['n2', 'n5']),
      ms: 15_000,
    }),
  'a flapping link': () =>
    cluster.fault('the link of n2 flaps for 60 s', [], {
      async begin() {
        for (let i = 0; i < 15; i++) {
          lab.linkDown('n2')
          await sleep(1_500)
          lab.linkUp('n2')
          await sleep(2_500)
        }
      },
      ms: 0,
    }),
  'a store without quorum': () =>
    cluster.fault('etcd has no quorum for 20 s', names, {
      begin: () => cluster.signalMembers(['n1', 'n2'], 'SIGSTOP'),
      ms: 20_000,
      undo: () => cluster.signalMembers(['n1', 'n2'], 'SIGCONT'),
    }),
  // They keep their leases and may write nothing: what they own must not move twice, nor be acknowledged.
  'no way to the journal': () =>
    cluster.fault('n4 and n5 do not reach the journal', [], {
      begin: () => lab.cut(['n4', 'n5'], ['journal']),
      ms: 12_000,
    }),
  'latency and loss': () =>
    cluster.fault('50 ms of latency and 10 % of loss', [], {
      async begin() {
        console.log(`     latency by ${await lab.delay(50, 20)}`)
        lab.lose(10)
      },
      ms: 20_000,
    }),
}

function leaderNow(): string {
  const { leader } = cluster
  if (leader === undefined) throw new Error('nobody leads')
  return leader
}

const wanted = Object.keys(faults).filter((name) => positionals.length === 0 || positionals.includes(name))
if (wanted.length === 0) throw new Error(`no such fault; there are: ${Object.keys(faults).join(', ')}`)
await cluster.start()
await cluster.command('load')
await sleep(3_000)
for (const name of wanted) {
  console.log(`     ${name}`)
  await faults[name]?.()
}
await cluster.finish()
cluster.end()
console.log(`     history: ${history}`)
process.exit(printVerdict(checkHistory(cluster.records)) ? 0 : 1)
