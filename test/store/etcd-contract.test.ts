import { describe, it } from 'vitest'
import { EtcdStore } from '../../src/drivers/store-etcd/etcd-store.js'
import { parseEtcdUrl } from '../../src/engines/etcd/url.js'
import { describeStoreContract } from '../../src/testing/store-contract.js'
import { noEtcd, startEtcd } from './etcd-server.js'

const timeoutMs = 30_000

/** etcd looks for expired leases twice a second, and ends them in a transaction of their own. */
const expiryLagMsMax = 1500

describe.skipIf(noEtcd !== undefined)(noEtcd ?? 'with a real etcd', () => {
  describeStoreContract(
    'the etcd store',
    async () => {
      const etcd = await startEtcd()
      const stores: EtcdStore[] = []
      return {
        expiryLagMsMax,
        async handle() {
          const store = new EtcdStore(parseEtcdUrl(etcd.url()))
          stores.push(store)
          await store.open()
          return store
        },
        async end() {
          for (const store of stores) await store.close()
          await etcd.stop()
        },
      }
    },
    { describe, it: (name, run) => it(name, run, timeoutMs) },
  )
})
