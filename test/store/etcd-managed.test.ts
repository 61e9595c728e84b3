/** etcd that the nodes run themselves: real processes on loopback, with losses of processes and of disks. */
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { isSkeinError } from '../../src/core/kernel/error.js'
import { checkManagedEtcd } from '../../src/drivers/etcd-managed/checks.js'
import { ManagedStore } from '../../src/drivers/etcd-managed/managed-store.js'
import { type EtcdPort, portOffsets } from '../../src/drivers/etcd-managed/settings.js'
import { EtcdStore } from '../../src/drivers/store-etcd/etcd-store.js'
import { toHex } from '../../src/engines/etcd/codec.js'
import { makeDirectory, removeDirectory } from './directory.js'
import { freePorts, noEtcd } from './etcd-server.js'

let directory = ''
let ports: number[] = []
const notes: string[] = []
const stores = new Set<ManagedStore>()

beforeEach(async () => {
  directory = makeDirectory()
  ports = await freePeerPorts(4)
  notes.length = 0
})

afterEach(async () => {
  await Promise.all([...stores].map((store) => store.close()))
  stores.clear()
  removeDirectory(directory)
})

/** Ports with all those derived from them free as well. */
async function freePeerPorts(count: number): Promise<number[]> {
  const found: number[] = []
  while (found.length < count) {
    const port = 11_000 + Math.floor(Math.random() * 15_000)
    const offsets = [0, ...Object.values(portOffsets)]
    if (found.some((other) => Math.abs(other - port) % 1000 === 0)) continue
    const all = await Promise.all(offsets.map((offset) => isFree(port + offset)))
    if (all.every(Boolean)) found.push(port)
  }
  return found
}

async function isFree(port: number): Promise<boolean> {
  try {
    return (await freePorts(1, port))[0] === port
  } catch {
    return false
  }
}

const homeOf = (at: number) => join(directory, `node-${at}`)
const addressOf = (at: number, which?: EtcdPort) =>
  `127.0.0.1:${ports[at]! + (which === undefined ? 0 : portOffsets[which])}`

function setupOf(at: number, peers: readonly number[], cookie = 'a-cookie-of-the-test') {
  return {
    url: 'etcd+managed:',
    clusterName: 'test',
    address: addressOf(at),
    bindHost: '127.0.0.1',
    peers: peers.map((peer) => addressOf(peer)),
    cookies: [Buffer.from(cookie)],
    dataDir: homeOf(at),
  }
}

async function start(at: number, peers: readonly number[], timeoutMs = 20_000): Promise<ManagedStore> {
  const store = new ManagedStore({
    ...setupOf(at, peers),
    makeStore: (target) => new EtcdStore(target),
    onNote: (event, fields) => notes.push(`${at} ${event} ${JSON.stringify(fields)}`),
  })
  stores.add(store)
  await store.open({ timeoutMs })
  return store
}

async function lose(store: ManagedStore, at: number): Promise<void> {
  process.kill(store.memberPid!, 'SIGKILL')
  await store.close()
  stores.delete(store)
  rmSync(homeOf(at), { recursive: true })
}

const value = new TextEncoder().encode('v')
const write = (store: ManagedStore, timeoutMs = 3000) =>
  store.txn({ then: [{ type: 'put', key: 'k', value }] }, { timeoutMs })

/** Waits for so many votes at nodes that are told. */
async function votes(store: ManagedStore, nodes: readonly number[]): Promise<void> {
  const wanted = nodes.map((at) => `https://${addressOf(at, 'peer')}`).sort()
  const voters = () =>
    store.members
      .filter(({ isLearner }) => !isLearner)
      .flatMap(({ peerUrls }) => [...peerUrls])
      .sort()
  await expect.poll(voters, { timeout: 20_000, interval: 50, message: `${notes.join('\n')}` }).toEqual(wanted)
}

/** Writes again and again; resolves, when stopped, to how long no write got through. */
function writing(store: ManagedStore) {
  const stop = new AbortController()
  const running = (async () => {
    let [lastMs, longestMs] = [performance.now(), 0]
    while (!stop.signal.aborted) {
      try {
        await write(store, 1500)
        longestMs = Math.max(longestMs, performance.now() - lastMs)
        lastMs = performance.now()
      } catch (error) {
        if (!isSkeinError(error)) throw error
      }
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    return Math.max(longestMs, performance.now() - lastMs)
  })()
  return () => {
    stop.abort()
    return running
  }
}

describe.skipIf(noEtcd !== undefined)(noEtcd ?? 'managed etcd', () => {
  it('comes up on three nodes that name each other, and outlives any one of them with its disk', async () => {
    const beganMs = performance.now()
    const [a, b, c] = await Promise.all([start(0, [1, 2]), start(1, [0, 2]), start(2, [0, 1])])
    await write(a)
    expect(performance.now() - beganMs).toBeLessThan(10_000)
    expect(new Set([a, b, c].map((store) => store.info.identity)).size).toBe(1)
    await votes(a, [0, 1, 2])
    expect(performance.now() - beganMs).toBeLessThan(20_000)
    expect(notes.filter((note) => note.includes('etcd.founding')).length).toBe(1)

    const founder = [a, b, c].findIndex((_, at) =>
      notes.some((note) => note.startsWith(`${at} etcd.founding`)),
    )
    const others = [0, 1, 2].filter((at) => at !== founder)
    const survivor = [a, b, c][others[0]!]!
    const idOf = (at: number) => {
      const url = `https://${addressOf(at, 'peer')}`
      const member = survivor.members.find(({ peerUrls, isLearner }) => !isLearner && peerUrls.includes(url))
      return member === undefined ? undefined : toHex(member.id)
    }
    const lostId = idOf(founder)
    const stop = writing(survivor)
    await lose([a, b, c][founder]!, founder)
    // As a founder without its disk would be started again: alone. The others call it home.
    const again = await start(founder, [])
    expect(again.info.identity).toBe(survivor.info.identity)
    await expect.poll(() => [undefined, lostId].includes(idOf(founder)), { timeout: 20_000 }).toBe(false)
    await votes(survivor, [0, 1, 2])
    expect(await stop()).toBeLessThan(7000)

    const file = await again.snapshot()
    expect(readFileSync(file).byteLength).toBeGreaterThan(10_000)
    const checks = await checkManagedEtcd(setupOf(founder, []))
    expect(checks.filter(({ ok }) => !ok)).toEqual([])
    expect(checks.map(({ name }) => name)).toContain('etcd quorum')
  })

  it('runs alone, restarts its etcd when it dies, and goes on with its data, also under other peers', async () => {
    const store = await start(0, [])
    const { rev } = await write(store)
    const { identity } = store.info
    const firstPid = store.memberPid!
    process.kill(firstPid, 'SIGKILL')
    await expect.poll(() => store.memberPid, { timeout: 5000, interval: 10 }).not.toBe(firstPid)
    expect((await store.get('k', { timeoutMs: 5000 })).kv?.modRev).toBe(rev)
    await store.close()
    stores.delete(store)
    const again = await start(0, [1, 2])
    expect([again.info.identity, (await again.get('k')).kv?.modRev]).toEqual([identity, rev])
    await again.close()
    stores.delete(again)
    ports[0] = ports[3]!
    const moved = await start(0, [])
    await votes(moved, [0])
    expect((await moved.get('k')).kv?.modRev).toBe(rev)
    const other = await checkManagedEtcd({ ...setupOf(0, []), url: 'etcd+managed:?members=2' })
    expect(other).toMatchObject([{ ok: false, fix: 'correct --store' }])
  })

  it('does not found a cluster while a peer is silent, and says whom it waits for', async () => {
    await expect(start(0, [1], 800)).rejects.toThrow(`no answer from ${addressOf(1)}`)
    const checks = await checkManagedEtcd(setupOf(0, [1]))
    expect(checks.find(({ name }) => name === 'etcd cluster')).toMatchObject({ ok: false })
  })

  it('lets nobody at its etcd who does not know the cookie', async () => {
    await start(0, [])
    const certificates = join(homeOf(0), 'etcd/certificates')
    const stranger = new EtcdStore({
      endpoints: [addressOf(0, 'client')],
      namespace: 'skein',
      tls: { caFile: `${certificates}/ca.pem`, serverName: 'skein-etcd' },
    })
    await expect(stranger.open({ timeoutMs: 2000 })).rejects.toMatchObject({ code: 'unauthenticated' })
    await stranger.close()
    const plain = new EtcdStore({ endpoints: [addressOf(0, 'client')], namespace: 'skein' })
    await expect(plain.open({ timeoutMs: 1000 })).rejects.toMatchObject({ code: 'unavailable' })
    await plain.close()
  })
})
