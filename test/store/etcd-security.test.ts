/** Passwords and certificates: what lets a handle in, what is said when it stays out, and what is never said. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { isSkeinError, type SkeinError } from '../../src/core/kernel/error.js'
import { EtcdStore } from '../../src/drivers/store-etcd/etcd-store.js'
import { parseEtcdUrl } from '../../src/engines/etcd/url.js'
import { makeDirectory, removeDirectory } from './directory.js'
import { type EtcdCluster, makeCertificates, noEtcd, startEtcd } from './etcd-server.js'

let directory = ''
let cluster: EtcdCluster | undefined
const stores: EtcdStore[] = []

beforeEach(() => {
  directory = makeDirectory()
})

afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
  await cluster?.stop()
  cluster = undefined
  removeDirectory(directory)
})

function handle(url: string): EtcdStore {
  const store = new EtcdStore(parseEtcdUrl(url))
  stores.push(store)
  return store
}

async function refusal(work: Promise<unknown>): Promise<SkeinError> {
  try {
    await work
  } catch (error) {
    if (isSkeinError(error)) return error
    throw error
  }
  throw new Error('nothing was refused')
}

const base64 = (text: string) => Buffer.from(text).toString('base64')
const value = new TextEncoder().encode('v')

/** Through etcd's JSON gateway: users are the operator's business, our client does not speak of them. */
async function administer(etcd: EtcdCluster, path: string, body: object): Promise<void> {
  const url = `http://${etcd.members[0]!.endpoint}/v3/auth/${path}`
  const response = await fetch(url, { method: 'POST', body: JSON.stringify(body) })
  expect(response.status, await response.text()).toBe(200)
}

async function demandPasswords(etcd: EtcdCluster): Promise<void> {
  await administer(etcd, 'user/add', { name: 'root', password: 'root-secret' })
  await administer(etcd, 'user/grant', { user: 'root', role: 'root' })
  await administer(etcd, 'user/add', { name: 'skein', password: 'p@ss/word' })
  await administer(etcd, 'role/add', { name: 'skein' })
  const perm = { permType: 'READWRITE', key: base64('skein/'), range_end: base64('skein0') }
  await administer(etcd, 'role/grant', { name: 'skein', perm })
  await administer(etcd, 'user/grant', { user: 'skein', role: 'skein' })
  await administer(etcd, 'enable', {})
}

describe.skipIf(noEtcd !== undefined)(noEtcd ?? 'an etcd that asks for passwords', () => {
  it('lets in a user with a password or a password file, renews tokens, and keeps to its role', async () => {
    cluster = await startEtcd()
    await administer(cluster, 'role/add', { name: 'root' })
    await demandPasswords(cluster)
    const file = join(directory, 'password')
    writeFileSync(file, 'p@ss/word\n', { mode: 0o600 })
    const store = handle(`${cluster.url('', 'skein')}?password-file=${file}`)
    await store.open()
    await handle(cluster.url('', 'skein:p%40ss%2Fword')).open()

    const stop = new AbortController()
    const { rev } = await store.txn({ then: [{ type: 'put', key: 'k', value }] })
    const iterator = store.watch('', { fromRev: rev, signal: stop.signal })[Symbol.asyncIterator]()
    await iterator.next()
    // Tokens are kept in memory: none from before a restart is valid after it.
    await cluster.members[0]!.restart()
    const later = await store.txn({ then: [{ type: 'put', key: 'k', value }] })
    expect((await iterator.next()).value?.rev).toBe(later.rev)
    stop.abort()

    const foreign = `${cluster.url('other', 'skein')}?password-file=${file}`
    const denied = await refusal(handle(foreign).open())
    expect(denied.code).toBe('unauthenticated')
    expect(denied.message).toContain('namespace')
  })

  it('keeps out a wrong password and none at all, at once, and never repeats what it was given', async () => {
    cluster = await startEtcd()
    await administer(cluster, 'role/add', { name: 'root' })
    await demandPasswords(cluster)
    for (const account of ['skein:wrong-secret', '']) {
      const beganMs = performance.now()
      const error = await refusal(handle(cluster.url('', account)).open())
      expect(error.code).toBe('unauthenticated')
      expect(performance.now() - beganMs).toBeLessThan(2000)
      expect(JSON.stringify([error.message, error.details, String(error.cause)])).not.toContain('secret')
    }
    const missing = await refusal(
      handle(`${cluster.url('', 'skein')}?password-file=${directory}/none`).open(),
    )
    expect([missing.code, missing.message.includes(`${directory}/none`)]).toEqual(['bad_config', true])
  })

  it('goes on without a password where etcd asks for none, and says so', async () => {
    cluster = await startEtcd()
    const store = handle(cluster.url('', 'skein:unneeded'))
    await store.open()
    expect((await store.health()).detail).toContain('asks for no password')
    expect(JSON.stringify(store.info)).not.toContain('unneeded')
  })
})

describe.skipIf(noEtcd !== undefined)(noEtcd ?? 'an etcd that speaks TLS', () => {
  it('lets in whoever shows a certificate of its authority, and tells others why not', async () => {
    const good = makeCertificates(directory)
    mkdirSync(join(directory, 'other'))
    const stranger = makeCertificates(join(directory, 'other'))
    cluster = await startEtcd({ tls: good })
    const store = handle(cluster.url())
    await store.open()
    await store.txn({ then: [{ type: 'put', key: 'k', value }] })

    const { endpoint } = cluster.members[0]!
    const urls = {
      'an authority that did not sign the server': `etcds://${endpoint}?ca=${stranger.caFile}`,
      'no certificate': `etcds://${endpoint}?ca=${good.caFile}`,
      'a certificate of another authority': `etcds://${endpoint}?ca=${good.caFile}&cert=${stranger.certFile}&key=${stranger.keyFile}`,
    }
    for (const [what, url] of Object.entries(urls)) {
      const error = await refusal(handle(url).open({ timeoutMs: 3000 }))
      expect(error.code, `${what}: ${error.message}`).toBe('unauthenticated')
    }
    const plain = await refusal(handle(`etcd://${endpoint}`).open({ timeoutMs: 1000 }))
    expect(plain.code).toBe('unavailable')
    expect((await refusal(handle(`etcds://${endpoint}?ca=${directory}/none`).open())).code).toBe('bad_config')
  })
})
