/** From SQLite to etcd and PostgreSQL and back, with nodes before and after: what was acknowledged is there, and everything goes on. */
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { EtcdStore } from '../../src/drivers/store-etcd/etcd-store.js'
import { parseEtcdUrl } from '../../src/engines/etcd/url.js'
import { lendStore, type Place } from '../../src/runtime/carry/carry-between.js'
import { carryKey } from '../../src/runtime/carry/carry-marks.js'
import { listCluster } from '../../src/runtime/carry/carry-source.js'
import type { EventView, SkeinNode } from '../../src/runtime/node-api.js'
import { managedPort } from '../engines.js'
import { isWithoutPostgres, PostgresServer } from '../journal/postgres-server.js'
import { type EtcdCluster, noEtcd, startEtcd } from '../store/etcd-server.js'
import { carry, configFor, publish, readAll, sqliteIn, startNode } from './kit.js'

const isMissing = isWithoutPostgres('carrying to etcd and PostgreSQL') || noEtcd !== undefined

interface Before {
  readonly events: ReadonlyMap<string, readonly EventView[]>
  readonly term: number
  /** Highest epoch of each shard. */
  readonly epochs: ReadonlyMap<number, number>
}

function epochsOf(node: SkeinNode): Map<number, number> {
  return new Map(node.cluster.shards().map(({ shard, epoch }) => [shard, epoch]))
}

/** Consumes all there is; resolves to the ids seen once `count` came. */
async function consume(node: SkeinNode, count: number): Promise<string[]> {
  const seen: string[] = []
  const consumer = node.events.consume('orders', (batch) => void seen.push(...batch.map(({ id }) => id)), {
    group: 'billing',
  })
  await expect.poll(() => seen.length, { timeout: 20_000 }).toBe(count)
  await consumer.stop()
  return seen
}

async function stateOf(node: SkeinNode): Promise<Before> {
  const status = node.cluster.status()
  return { events: await readAll(node, 'orders'), term: status.term, epochs: epochsOf(node) }
}

/** A node on the target: old events as they were, ids still known, epochs and terms above the old ones, positions kept. */
async function expectGoesOn(node: SkeinNode, before: Before, from: number): Promise<void> {
  expect(await readAll(node, 'orders')).toEqual(before.events)
  await expect.poll(() => node.cluster.status().term, { timeout: 10_000 }).toBeGreaterThan(before.term)
  for (const [shard, epoch] of epochsOf(node))
    expect(epoch, `shard ${shard}`).toBeGreaterThan(before.epochs.get(shard) ?? 0)
  const first = [...before.events.values()][0]?.[0] as EventView
  const again = await node.events.publish('orders', { ...first, payload: first.payload })
  expect(again).toMatchObject({ status: 'duplicate', offset: first.offset })
  await publish(node, 'orders', from, 80)
  const after = await readAll(node, 'orders')
  for (const [key, list] of after) {
    const old = before.events.get(key) ?? []
    expect(list.slice(0, old.length)).toEqual(old)
    for (const [i, event] of list.entries()) {
      if (i === 0) continue
      expect(event.offset).toBeGreaterThan(list[i - 1]?.offset ?? 0)
      expect(event.hlc > (list[i - 1]?.hlc ?? '')).toBe(true)
    }
  }
  // Only what is new: the position came along.
  expect((await consume(node, 80)).sort()).toEqual(
    Array.from({ length: 80 }, (_, i) => `e${from + i}`).sort(),
  )
}

describe.skipIf(isMissing)('a cluster that is carried', () => {
  const directory = mkdtempSync(join(tmpdir(), 'skein-carry-'))
  let etcd: EtcdCluster
  let postgres: PostgresServer
  beforeAll(async () => {
    ;[etcd, postgres] = await Promise.all([startEtcd(), PostgresServer.start()])
  })
  afterAll(async () => {
    await Promise.all([etcd?.stop(), postgres?.remove()])
    rmSync(directory, { recursive: true, force: true })
  })

  it('from SQLite to etcd and PostgreSQL, and back, goes on where it was', async () => {
    const home = sqliteIn(join(directory, 'home'))
    const servers: Place = { store: etcd.url('there'), journal: postgres.url('schema=there') }
    const back = sqliteIn(join(directory, 'back'))

    // Two nodes one after another and two at once, so that shards change hands and logs have several tenures.
    const n1 = await startNode('n1', home, directory)
    await publish(n1, 'orders', 0, 300)
    const n2 = await startNode('n2', home, directory, { peers: [n1.self.peerAddress] })
    await expect
      .poll(() => new Set(n1.cluster.shards().map((s) => s.owner)).size, { timeout: 15_000 })
      .toBe(2)
    await publish(n2, 'orders', 300, 300)
    await n2.stop({ deadlineMs: 5_000 })
    await publish(n1, 'orders', 600, 100)
    const seen = await consume(n1, 700)
    expect(new Set(seen).size).toBe(700)
    await n1.cluster.cordon('n2')
    const before = await stateOf(n1)
    await n1.stop({ deadlineMs: 5_000 })

    expect(await carry(home, servers, directory, { isDryRun: true })).toMatchObject({
      outcome: 'would_carry',
      events: 700,
    })
    const report = await carry(home, servers, directory)
    expect(report).toMatchObject({
      outcome: 'carried',
      resumed: false,
      events: 700,
      copied: 700,
      positions: expect.any(Number),
    })
    expect(report.shards.reduce((sum, { events }) => sum + events, 0)).toBe(700)
    expect(report.positions).toBeGreaterThan(0)
    // Run again it has nothing to do.
    expect(await carry(home, servers, directory)).toMatchObject({ outcome: 'done_before', id: report.id })

    // Nobody may go on with the old copy by mistake.
    await expect(startNode('n1', home, directory)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining(`--store ${servers.store}`),
    })

    const n3 = await startNode('n1', servers, directory)
    await expectGoesOn(n3, before, 1_000)
    const store = new EtcdStore(parseEtcdUrl(servers.store))
    await store.open()
    const keys = (await listCluster(store, 'skein')).map(({ key }) => key)
    await store.close()
    expect(keys).toContain('intents/n2')
    expect(keys).not.toContain(carryKey)
    const later = await stateOf(n3)
    await n3.stop({ deadlineMs: 5_000 })

    const returned = await carry(servers, back, directory)
    expect(returned).toMatchObject({ outcome: 'carried', events: 780 })
    const old = new Map(report.shards.map((proof) => [proof.shard, proof]))
    for (const proof of returned.shards)
      expect(proof.epoch).toBeGreaterThanOrEqual(old.get(proof.shard)?.epoch ?? 0)
    const n4 = await startNode('n1', back, directory)
    await expectGoesOn(n4, later, 2_000)
    await n4.stop({ deadlineMs: 5_000 })
  }, 120_000)

  it('with its nodes killed and its store alone changed keeps its journal', async () => {
    const journal = postgres.url('schema=kept')
    const [from, to] = [etcd.url('kept-a'), etcd.url('kept-b')].map((store): Place => ({ store, journal }))
    const node = await startNode('k1', from as Place, directory)
    await publish(node, 'orders', 0, 200)
    await consume(node, 200)
    const before = await stateOf(node)
    await node.stop({ deadlineMs: 0 })
    expect(await carry(from as Place, to as Place, directory)).toMatchObject({
      outcome: 'carried',
      leases: 0,
    })
    const again = await startNode('k1', to as Place, directory)
    await expectGoesOn(again, before, 1_000)
    await again.stop({ deadlineMs: 5_000 })
  }, 60_000)

  it('to an etcd that the nodes run themselves, and from it', async () => {
    const home = sqliteIn(join(directory, 'small'))
    const managed: Place = { store: 'etcd+managed:?members=1', journal: postgres.url('schema=managed') }
    const peerPort = await managedPort()
    const config = { peerPort, cookie: 'a cookie of the test' }
    const node = await startNode('n1', home, join(directory, 'm'), config)
    await publish(node, 'orders', 0, 100)
    await consume(node, 100)
    const before = await stateOf(node)
    await node.stop({ deadlineMs: 5_000 })
    // It is founded where that node will look for it.
    expect(await carry(home, managed, join(directory, 'm'), { config })).toMatchObject({
      outcome: 'carried',
      events: 100,
    })
    const there = await startNode('n1', managed, join(directory, 'm'), config)
    await expectGoesOn(there, before, 1_000)
    const later = await stateOf(there)
    await there.stop({ deadlineMs: 5_000 })
    const back = sqliteIn(join(directory, 'small-back'))
    expect(await carry(managed, back, join(directory, 'm'), { config })).toMatchObject({
      outcome: 'carried',
      events: 180,
    })
    const home2 = await startNode('n1', back, join(directory, 'm'), config)
    await expectGoesOn(home2, later, 2_000)
    await home2.stop({ deadlineMs: 5_000 })
  }, 120_000)

  it('from an etcd with a member on each of three nodes, lent by the other two', async () => {
    const managed: Place = { store: 'etcd+managed:?members=3', journal: postgres.url('schema=three') }
    const home = join(directory, 'three')
    const ports: number[] = []
    while (ports.length < 3) {
      const port = await managedPort()
      if (!ports.some((other) => Math.abs(other - port) % 1_000 === 0)) ports.push(port)
    }
    const peersOf = (at: number) => ports.filter((_, i) => i !== at).map((port) => `127.0.0.1:${port}`)
    const configOf = (at: number) => ({
      peerPort: ports[at] as number,
      cookie: 'a cookie of the test',
      peers: peersOf(at),
    })
    const nodes = await Promise.all(ports.map((_, at) => startNode(`n${at}`, managed, home, configOf(at))))
    const members = () =>
      readdirSync(home).filter((name) => existsSync(join(home, name, 'etcd', 'data', 'member'))).length
    await expect.poll(members, { timeout: 30_000 }).toBe(3)
    await publish(nodes[1] as SkeinNode, 'orders', 0, 100)
    const before = await stateOf(nodes[0] as SkeinNode)
    for (const node of nodes) await node.stop({ deadlineMs: 2_000 })

    const done = new AbortController()
    const lent = [1, 2].map((at) =>
      lendStore(
        { ...configFor(managed, home), ...configOf(at), dataDir: join(home, `n${at}`) },
        done.signal,
        () => undefined,
        () => undefined,
      ),
    )
    const back = sqliteIn(join(directory, 'three-back'))
    // The nodes that stopped last had no etcd left to give their leases back to: those end once it runs again.
    const attempt = () =>
      carry(managed, back, home, { config: { ...configOf(0), dataDir: join(home, 'n0') } })
    let report: Awaited<ReturnType<typeof attempt>> | undefined
    await expect
      .poll(
        async () => {
          report = await attempt().catch((error: { code?: string; message: string }) => {
            if (error.code !== 'conflict' || !error.message.includes('Stop all nodes')) throw error
            return undefined
          })
          return report?.outcome
        },
        { timeout: 40_000, interval: 500 },
      )
      .toBe('carried')
    expect(report).toMatchObject({ outcome: 'carried', events: 100 })
    done.abort()
    await Promise.all(lent)
    const node = await startNode('n0', back, directory)
    expect(await readAll(node, 'orders')).toEqual(before.events)
    await node.stop({ deadlineMs: 2_000 })
  }, 120_000)
})
