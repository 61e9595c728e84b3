/** Three real nodes on three network namespaces of one host, under load: cut off, isolated, healed; the checker of histories decides. */
import { rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, describe, expect, it } from 'vitest'
import { checkHistory } from '../../tools/prove/lib/check-history.js'
import { NetCluster } from '../../tools/prove/lib/net-cluster.js'
import { isWithoutNetLab } from '../../tools/prove/lib/netlab.js'

const history = join(tmpdir(), `skein-network-test-${process.pid}.jsonl`)
let cluster: NetCluster | undefined

afterEach(() => {
  cluster?.end()
  rmSync(history, { force: true })
})

describe.skipIf(isWithoutNetLab('nodes on a broken network'))('nodes on a broken network', () => {
  it('lose nothing, agree, and are back by themselves', async () => {
    cluster = new NetCluster({ nodes: 3, isOneHost: true, history, workers: 2 })
    const { lab } = cluster
    await cluster.start()
    await cluster.command('load')
    await sleep(1_000)
    // The store is a file that all three reach: nobody is in a minority, and who is cut off is evicted.
    await cluster.fault('n3 is cut off', [], {
      begin: () => lab.cut(['n3'], ['n1', 'n2']),
      ms: 9_000,
    })
    const leader = cluster.leader ?? 'n1'
    await cluster.fault(`${leader}, the leader, is not heard`, [], {
      begin: () => lab.cutOneWay([leader], cluster?.names.filter((name) => name !== leader) ?? []),
      ms: 9_000,
    })
    await cluster.finish()
    const { violations, figures } = checkHistory(cluster.records)
    console.log(JSON.stringify(figures))
    expect(violations).toEqual([])
  }, 90_000)
})
