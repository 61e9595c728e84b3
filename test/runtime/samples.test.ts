/** What a node remembers of all nodes' figures, and what it says of shards that moved. */
import { describe, expect, it } from 'vitest'
import { asEpoch, asLeaseId } from '../../src/core/kernel/brand.js'
import { type ShardMap, unassigned } from '../../src/core/sharding/shard-map.js'
import type { NodeView } from '../../src/runtime/node-api.js'
import { Samples } from '../../src/runtime/samples.js'
import { shardMoves } from '../../src/runtime/shard-moves.js'

function view(id: string, eventsPerSecond: number, observed: NodeView['observed'] = 'alive'): NodeView {
  const figures = {
    cpuUsage: 1,
    memoryUsage: 2,
    agents: 3,
    shardsOwned: 4,
    rttMs: 5,
    skewMs: -6,
    loopDelayMs: 7,
  }
  return { id, observed, eventsPerSecond, ...figures } as unknown as NodeView
}

describe('the samples of a node', () => {
  it('are spread over what is kept, the newest always among them, with nothing for who was not there or not up', () => {
    const samples = new Samples()
    for (let i = 0; i < 500; i++)
      samples.take(i, i < 499 ? [view('a', i)] : [view('a', i), view('b', 8), view('c', 9, 'failed')])
    const all = samples.read(1_000)
    expect(all.atMs.length).toBe(450)
    expect([all.atMs[0], all.atMs.at(-1), all.periodMs]).toEqual([50, 499, 2_000])
    expect(all.nodes.map(({ nodeId }) => nodeId)).toEqual(['a', 'b', 'c'])
    const few = samples.read(10)
    expect(few.atMs.length).toBeLessThanOrEqual(10)
    expect([few.atMs.at(-1), few.periodMs]).toEqual([499, 90_000])
    expect(few.nodes[0]?.figures.eventsPerSecond).toEqual(few.atMs)
    expect(few.nodes[1]?.figures.skewMs).toEqual([...new Array(few.atMs.length - 1).fill(null), -6])
    expect(few.nodes[2]?.figures.skewMs.every((each) => each === null)).toBe(true)
    expect(samples.read(10, 'b').nodes.map(({ nodeId }) => nodeId)).toEqual(['b'])
  })
})

describe('what is said of moved shards', () => {
  const map = (...owners: (string | null)[]): ShardMap =>
    owners.map((each) =>
      each === null
        ? unassigned
        : { ...unassigned, nodeId: each, lease: asLeaseId(`lease-${each}`), epoch: asEpoch(1) },
    )

  it('names both ends, and the shards in ranges', () => {
    expect(shardMoves(map('a', 'a', 'a', 'b', null), map('b', 'b', 'a', 'a', 'a'))).toEqual({
      count: 4,
      moves: [
        { from: 'a', to: 'b', shards: '0-1' },
        { from: 'b', to: 'a', shards: '3' },
        { from: '', to: 'a', shards: '4' },
      ],
    })
  })

  it('is nothing when nobody moved, or when there was no map before', () => {
    expect(shardMoves(map('a', 'b'), map('a', 'b'))).toBeNull()
    expect(shardMoves([], map('a', 'b'))).toBeNull()
  })
})
