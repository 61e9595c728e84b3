import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { readSeals, readShardMap, shardOf } from '../../src/core/sharding/shard-map.js'
import { SimCluster, type SimulationOptions, type SimulationReport, simulate } from '../../src/sim/index.js'
import type { SimNode } from '../../src/sim/node.js'

interface CorpusEntry {
  readonly seed: number
  readonly nodes: number
  readonly minutes: number
  /** Null for all. */
  readonly faults: readonly string[] | null
}

/** Seeds that once failed stay here for ever. */
const corpus: CorpusEntry[] = JSON.parse(readFileSync(join(import.meta.dirname, 'corpus.json'), 'utf8'))

async function expectClean(options: SimulationOptions): Promise<SimulationReport> {
  const report = await simulate(options)
  const only = options.faults === undefined ? '' : ` --faults ${options.faults.join(',')}`
  const again = `npm run sim -- --seed ${options.seed} --nodes ${options.nodes} --minutes ${options.minutes}${only}`
  expect(report.violations, again).toEqual([])
  expect(report.acknowledged, again).toBeGreaterThan(0)
  return report
}

describe('simulation', () => {
  it.each([11, 12, 13, 14, 15, 16])('keeps every promise under all faults: seed %i', async (seed) => {
    const report = await expectClean({ seed, nodes: 5, minutes: 2 })
    expect(Object.keys(report.faults).length).toBeGreaterThan(5)
    expect(report.stored).toBeGreaterThanOrEqual(report.acknowledged)
    expect(report.handled).toBeGreaterThanOrEqual(report.acknowledged)
  })

  it.each(corpus)(
    'stays mended: seed $seed, $nodes nodes, $minutes minutes',
    async ({ seed, nodes, minutes, faults }) => {
      await expectClean({ seed, nodes, minutes, ...(faults === null ? {} : { faults }) })
    },
  )

  it.each([21, 22])('is the same run twice: seed %i', async (seed) => {
    const first = await simulate({ seed, nodes: 5, minutes: 1 })
    expect(await simulate({ seed, nodes: 5, minutes: 1 })).toEqual(first)
    expect((await simulate({ seed: seed + 100, nodes: 5, minutes: 1 })).digest).not.toBe(first.digest)
  })

  it.each([1, 2])('keeps every promise in a cluster of two: seed %i', async (seed) => {
    await expectClean({ seed, nodes: 2, minutes: 2 })
  })

  it.each([1, 2])('keeps every promise on a single node: seed %i', async (seed) => {
    await expectClean({ seed, nodes: 1, minutes: 2 })
  })

  it('names the faults it knows when it is asked for another', async () => {
    await expect(simulate({ seed: 1, nodes: 1, minutes: 1, faults: ['crash', 'flood'] })).rejects.toThrow(
      /unknown faults flood; known: crash/,
    )
  })
})

describe('the simulator as a library', () => {
  const started = (nodes: number): SimCluster => {
    const cluster = new SimCluster({ seed: 5, nodes, shards: 8 })
    for (const node of cluster.nodes) cluster.startNode(node)
    cluster.scheduler.runUntil(5_000)
    return cluster
  }
  const leadersIn = (cluster: SimCluster) =>
    cluster.nodes.filter((n) => n.isRunning && n.machine.election.guard(n.instant.nowMs) !== null)
  const ownersOf = (cluster: SimCluster, shard: number) =>
    cluster.nodes.filter((n) => n.isRunning && n.ownsOpen(shard))

  it('starts a cluster, elects one leader and gives every shard one owner', () => {
    const cluster = started(3)
    expect(
      cluster.log
        .filter((e) => e.event === 'lease.granted')
        .map((e) => e.nodeId)
        .sort(),
    ).toEqual(['n1', 'n2', 'n3'])
    expect(leadersIn(cluster)).toHaveLength(1)
    for (let shard = 0; shard < 8; shard++) expect(ownersOf(cluster, shard), `shard ${shard}`).toHaveLength(1)
    expect(cluster.checkers.violations).toEqual([])
  })

  it('tells in its log how a crash of the leader was seen and healed', () => {
    const cluster = started(3)
    const [old] = leadersIn(cluster)
    old!.crash()
    cluster.scheduler.runUntil(20_000)
    const [next] = leadersIn(cluster)
    expect(next!.id).not.toBe(old!.id)
    const elections = cluster.log.filter((e) => e.event === 'leader.elected' && e.nodeId === e.fields.leader)
    expect(elections.at(-1)).toMatchObject({ nodeId: next!.id })
    expect(elections.at(-1)!.atMs).toBeGreaterThan(5_000)
    for (let shard = 0; shard < 8; shard++) expect(ownersOf(cluster, shard), `shard ${shard}`).toHaveLength(1)
    expect(cluster.checkers.violations).toEqual([])
  })

  it('goes on from the end of a log whose beginning retention has cut', () => {
    const cluster = started(3)
    const publish = (id: string) => {
      const offsets: number[] = []
      const [node] = cluster.nodes.filter((n) => n.isRunning)
      const event = { stream: 's', key: 'order-1', id, type: 't', payload: '1' }
      node!.publisher.publish([event], cluster.scheduler.nowMs + 2_000, ([outcome]) => {
        if (outcome!.status === 'accepted') offsets.push(outcome!.offset)
      })
      cluster.scheduler.runUntil(cluster.scheduler.nowMs + 2_500)
      return offsets
    }
    expect(publish('a')).toEqual([1])
    expect(publish('b')).toEqual([2])
    const shard = shardOf('order-1', 8)
    const [owner] = ownersOf(cluster, shard)
    const lease = owner!.currentLease()
    owner!.crash()
    cluster.scheduler.runUntil(20_000)
    expect(readSeals(cluster.viewOf(cluster.store), shard)).toMatchObject({
      end: 2,
      segments: [{ lease, last: 2 }],
    })
    const [leader] = leadersIn(cluster)
    leader!.step({ type: 'command', id: 'c', command: { type: 'prune', leases: [lease!] } })
    cluster.scheduler.runUntil(21_000)
    expect(readSeals(cluster.viewOf(cluster.store), shard)).toMatchObject({ end: 2, segments: [] })
    const [next] = ownersOf(cluster, shard)
    next!.crash()
    cluster.scheduler.runUntil(40_000)
    expect(publish('c')).toEqual([3])
    expect(cluster.checkers.violations).toEqual([])
  })

  it('takes shards off a node whose main thread stopped before it had them open', () => {
    const cluster = new SimCluster({ seed: 5, nodes: 3, shards: 8 })
    const [first, second, late] = cluster.nodes as [SimNode, SimNode, SimNode]
    for (const node of [first, second]) cluster.startNode(node)
    cluster.scheduler.runUntil(5_000)
    cluster.startNode(late)
    const given = () =>
      (readShardMap(cluster.viewOf(cluster.store)) ?? []).filter((a) => a.nodeId === late.id).length
    while (given() === 0 && cluster.scheduler.nowMs < 20_000)
      cluster.scheduler.runUntil(cluster.scheduler.nowMs + 0.2)
    expect(given()).toBeGreaterThan(0)
    late.blockMain(12_000)
    cluster.scheduler.runUntil(cluster.scheduler.nowMs + 6_000)
    expect(given()).toBe(0)
    for (let shard = 0; shard < 8; shard++) expect(ownersOf(cluster, shard), `shard ${shard}`).toHaveLength(1)
    cluster.scheduler.runUntil(cluster.scheduler.nowMs + 20_000)
    expect(given()).toBeGreaterThan(0)
    expect(cluster.checkers.violations).toEqual([])
  })

  it('carries an event from any node to its owner and finds it in the journal', () => {
    const cluster = started(3)
    const outcomes: string[] = []
    for (const node of cluster.nodes) {
      const event = { stream: 's', key: 'order-1', id: `from ${node.id}`, type: 't', payload: '1' }
      node.publisher.publish([event], cluster.scheduler.nowMs + 2_000, ([outcome]) =>
        outcomes.push(outcome!.status),
      )
    }
    cluster.scheduler.runUntil(7_500)
    expect(outcomes).toEqual(['accepted', 'accepted', 'accepted'])
    expect(cluster.checkers.checkEvents().stored).toBe(3)
    expect(cluster.checkers.violations).toEqual([])
  })
})
