/** A stream that is processed on three nodes of one process: helpers come when too much waits, and nothing is lost, doubled or out of order. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createNode } from '../../src/runtime/create-node.js'
import type {
  EventView,
  ProcessOptions,
  ProcessorContext,
  SkeinNode,
  StreamLoad,
} from '../../src/runtime/node-api.js'
import { defineProcessor } from '../../src/runtime/processing/definition.js'
import { until } from './real-node.js'

const load = { everyMs: 200, threshold: 50, processorsMax: 3 }
const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms))

describe('a stream under load', () => {
  let dir: string
  let nodes: SkeinNode[]
  /** Every time an event was at work: on which node, from when to when. */
  let seen: { id: string; key: string; offset: number; shard: number; nodeId: string; atMs: number }[]
  let atWork: Map<string, string>
  let troubles: string[]
  /** Handlers begin when it resolves. */
  let gate: Promise<void>

  beforeEach(async () => {
    dir = mkdtempSync(join(tmpdir(), 'skein-processing-'))
    nodes = []
    seen = []
    atWork = new Map()
    troubles = []
    gate = Promise.resolve()
    for (const nodeId of ['a', 'b', 'c']) {
      const peers = nodes.map((n) => n.self.peerAddress)
      nodes.push(
        await createNode({
          ...{ nodeId, peers, dataDir: join(dir, nodeId), peerPort: 0, shards: 6 },
          ...{ preset: 'local', threads: 'inline', http: false, logLevel: 'error' },
        }),
      )
    }
    await until('shards on all', async () => {
      const owners = (nodes[0] as SkeinNode).cluster
        .shards()
        .map((s) => (s.state === 'open' ? s.owner : null))
      return owners.every((o) => o !== null) && new Set(owners).size === 3 ? true : undefined
    })
  }, 60_000)
  afterEach(async () => {
    await Promise.all(nodes.map((n) => n.stop({ deadlineMs: 500 })))
    rmSync(dir, { recursive: true, force: true })
  }, 60_000)

  const Slow = defineProcessor('slow', async (batch: readonly EventView[], context: ProcessorContext) => {
    await gate
    for (const key of new Set(batch.map((e) => e.key))) {
      const other = atWork.get(key)
      if (other !== undefined) troubles.push(`${key} is with ${other} and ${context.nodeId}`)
      atWork.set(key, context.nodeId)
    }
    for (const { id, key, offset, shard } of batch) {
      await sleep(2)
      if (!context.share?.isHeld()) break
      seen.push({ id, key, offset, shard, nodeId: context.nodeId, atMs: performance.now() })
    }
    for (const e of batch) atWork.delete(e.key)
    if (!context.share?.isHeld()) throw new Error('lost')
  })

  const processOn = (options: ProcessOptions = {}) =>
    nodes.map((n) => n.processors.process('jobs', Slow, { batchMax: 5, load, ...options }))

  /** Keys of shards that this node owns. */
  function keysOf(nodeId: string, count: number): string[] {
    const keys: string[] = []
    for (let i = 0; keys.length < count; i++)
      if ((nodes[0] as SkeinNode).cluster.route(`k${i}`).owner === nodeId) keys.push(`k${i}`)
    return keys
  }

  async function publish(keys: readonly string[], count: number): Promise<string[]> {
    const events = Array.from({ length: count }, (_, i) => ({
      stream: 'jobs',
      key: keys[i % keys.length] as string,
      payload: { n: i },
      id: `e${i}`,
    }))
    const results = await (nodes[0] as SkeinNode).events.publishMany(events)
    expect(results.every((r) => r.status === 'accepted')).toBe(true)
    return events.map((e) => e.id)
  }

  async function loadOf(nodeId: string): Promise<StreamLoad | undefined> {
    const all = await (nodes[0] as SkeinNode).processors.list()
    return all.find((n) => n.nodeId === nodeId)?.streams[0]
  }

  const allDone = (ids: readonly string[]) =>
    until(
      'all events',
      async () => (new Set(seen.map((s) => s.id)).size === ids.length ? true : undefined),
      40_000,
    )

  function expectOrder(): void {
    const last = new Map<string, number>()
    for (const { key, offset } of seen) {
      expect(offset).toBeGreaterThan(last.get(key) ?? 0)
      last.set(key, offset)
    }
    expect(troubles).toEqual([])
  }

  it('is helped by the other nodes, once each and in order of each key, and the helpers go when it is calm', async () => {
    processOn()
    const ids = await publish(keysOf('a', 20), 1_500)
    await until('helpers', async () => ((await loadOf('a'))?.helpers.length === 2 ? true : undefined))
    const helping = (await (nodes[1] as SkeinNode).processors.list()).flatMap((n) => n.running)
    expect(helping.map((r) => [r.name, r.helps?.stream, r.helps?.owner, r.startedBy])).toEqual([
      ['slow', 'jobs', 'a', 'a'],
      ['slow', 'jobs', 'a', 'a'],
    ])
    await allDone(ids)
    expect(seen).toHaveLength(ids.length)
    expectOrder()
    for (const nodeId of ['a', 'b', 'c'])
      expect(seen.filter((s) => s.nodeId === nodeId).length, nodeId).toBeGreaterThan(100)
    await until('them to retire', async () => ((await loadOf('a'))?.helpers.length === 0 ? true : undefined))
    const after = await loadOf('a')
    expect(after).toMatchObject({ waiting: 0, lent: 0, processed: ids.length, refusedResults: 0 })
  }, 60_000)

  it('is not helped by nodes that have as much to do themselves', async () => {
    let begin = (): void => {}
    gate = new Promise((resolve) => {
      begin = resolve
    })
    const keys = ['a', 'b', 'c'].flatMap((id) => keysOf(id, 5))
    const ids = await publish(keys, 900)
    // What waits is there before anybody looks.
    processOn({ load: { ...load, everyMs: 2_000 } })
    for (const id of ['a', 'b', 'c'])
      await until('a backlog', async () => (((await loadOf(id))?.waiting ?? 0) > 200 ? true : undefined))
    await sleep(4_500)
    for (const id of ['a', 'b', 'c']) expect((await loadOf(id))?.helpers).toEqual([])
    begin()
    await allDone(ids)
    expectOrder()
  }, 60_000)

  it('goes on where it was when it is begun anew, and when the shards move', async () => {
    const running = processOn()
    const ids = await publish(keysOf('a', 20), 2_000)
    await until('helpers', async () => ((await loadOf('a'))?.helpers.length === 2 ? true : undefined))
    await until('some', async () => (seen.length > 200 ? true : undefined))
    await Promise.all(running.map((r) => r.stop()))
    await until('helpers to be gone', async () => {
      const all = await (nodes[0] as SkeinNode).processors.list()
      return all.flatMap((n) => n.running).length === 0 ? true : undefined
    })
    const before = seen.length
    expect(before).toBeLessThan(ids.length)
    await sleep(200)
    expect(seen).toHaveLength(before)
    // What was at work when it was stopped is done again: a batch of each node.
    processOn()
    await until('some more', async () => (seen.length > before + 50 ? true : undefined))
    const [gone] = nodes.splice(0, 1)
    await gone?.stop({ deadlineMs: 5_000 })
    await allDone(ids)
    expect(seen.length).toBeLessThan(ids.length + 100)
    expect(troubles).toEqual([])
  }, 60_000)

  it('tries again what fails, which holds up its own key alone', async () => {
    const done: string[] = []
    let failures = 0
    const Picky = defineProcessor('picky', (batch: readonly EventView[], { share }: ProcessorContext) => {
      const bad = batch.find((e) => (e.payload as { n: number }).n === 0)
      if (bad !== undefined && failures < 4) {
        failures++
        if (failures > 1) expect(batch).toHaveLength(1)
        expect(share?.failures).toBe(failures - 1)
        throw new Error('not this one')
      }
      for (const e of batch) done.push(e.id)
    })
    for (const n of nodes) n.processors.process('jobs', Picky, { load })
    const ids = await publish(keysOf('a', 10), 100)
    await until('the others', async () => (done.length === 90 ? true : undefined))
    expect(done).not.toContain('e0')
    await until('all', async () => (done.length === 100 ? true : undefined))
    expect(new Set(done)).toEqual(new Set(ids))
  }, 30_000)

  it('gives a batch again that takes longer than its deadline, and does not pile up what heeds nothing', async () => {
    const begun: string[] = []
    const Hang = defineProcessor('hang', (batch: readonly EventView[]) => {
      begun.push(...batch.map((e) => e.id))
      return begun.length === 1 ? sleep(1_000) : undefined
    })
    for (const n of nodes) n.processors.process('jobs', Hang, { deadlineMs: 100, batchMax: 1, load })
    await publish(keysOf('a', 1), 3)
    await until('it to be begun again', async () => (begun.length === 4 ? true : undefined))
    expect(begun).toEqual(['e0', 'e0', 'e1', 'e2'])
  }, 30_000)

  it('refuses what makes no sense', () => {
    const [a] = nodes as [SkeinNode]
    const refused =
      (options: ProcessOptions, processor: string | typeof Slow = Slow) =>
      () =>
        a.processors.process('jobs', processor, options)
    expect(refused({}, 'nobody')).toThrow(/register it first/)
    expect(refused({ batchMax: 0 })).toThrow(/batchMax/)
    expect(refused({ leaseMs: 1 })).toThrow(/leaseMs/)
    expect(refused({ order: 'some' as 'key' })).toThrow(/order/)
    expect(refused({ load: { threshold: 0 } })).toThrow(/threshold/)
    a.processors.process('jobs', Slow)
    expect(refused({})).toThrow(/processed on this node already/)
  })
})
