/**
 * The secret that datagrams are sealed with in a cluster of certificates. Random, made by whoever comes first, kept in the store: whoever may
 * read the store is a member anyhow. It says "a member", as a cookie does; which one is said by the connections' certificates.
 */
import { randomBytes } from 'node:crypto'
import { SkeinError } from '../core/kernel/error.js'
import type { Store } from '../ports/store.js'

const secretBytes = 32
const timeoutMs = 3_000

/** Throws what the store throws. */
export async function datagramSecret(store: Store, clusterName: string): Promise<Uint8Array> {
  const key = `skein/${clusterName}/secrets/datagrams`
  const { results } = await store.txn(
    {
      if: [{ key, target: 'version', op: '=', value: 0 }],
      then: [
        { type: 'put', key, value: randomBytes(secretBytes) },
        { type: 'get', key },
      ],
      else: [{ type: 'get', key }],
    },
    { timeoutMs },
  )
  const secret = results.at(-1)?.kv?.value
  if (secret?.length === secretBytes) return secret
  throw new SkeinError('corrupt', `the store's ${key} is not ${secretBytes} bytes`)
}
