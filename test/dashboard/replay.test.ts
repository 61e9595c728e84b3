/** What the page makes of the history: who had which shards at a moment, who led, and how nodes were; and which lines stand between nodes. */
import { describe, expect, it } from 'vitest'
import { happenings } from '../../dashboard/src/happenings.js'
import type { FeedEventJson, NodeJson, ShardJson } from '../../dashboard/src/http-client.js'
import { shownNodes } from '../../dashboard/src/node-list.js'
import { momentAt, movesOf, unknownEpoch } from '../../dashboard/src/replay.js'
import { Samples, spreadOf, sumOf } from '../../dashboard/src/samples.js'
import { linksOf, placedNodes } from '../../dashboard/src/topology-layout.js'
import { Crowd } from '../../tools/prove/lib/crowd.js'

const startMs = Date.parse('2026-01-01T00:00:00Z')
const crowdNodes = new Crowd(3).nodes

function node(index: number, change: Partial<NodeJson> = {}): NodeJson {
  const started_at = new Date(startMs).toISOString()
  const well = {
    status: 'online',
    observed: 'alive',
    healthy: true,
    stalled: false,
    lifecycle: 'active',
  } as const
  return { ...(crowdNodes[index] as NodeJson), ...well, started_at, is_leader: index === 0, ...change }
}

let seq = 0
function happened(afterS: number, event: string, fields: Record<string, unknown>): FeedEventJson {
  return {
    seq: ++seq,
    at: new Date(startMs + afterS * 1_000).toISOString(),
    node_id: 'node-1',
    event,
    fields,
  }
}

function shard(number: number, owner: string | null): ShardJson {
  return { shard: number, epoch: 9, owner, target: null, state: owner === null ? 'unassigned' : 'open' }
}

describe('the past, as the page shows it', () => {
  const history = [
    happened(10, 'leader.elected', { leader: 'node-1', term: 1 }),
    happened(20, 'member.suspected', { member: 'node-3', detail: '2 probes missed' }),
    happened(30, 'member.failed', { member: 'node-3', detail: '5 probes missed' }),
    happened(31, 'shards.moved', { count: 2, moves: [{ from: 'node-3', to: '', shards: '1-2' }] }),
    happened(32, 'shards.moved', { count: 2, moves: [{ from: '', to: 'node-1', shards: '1-2' }] }),
    happened(40, 'leader.elected', { leader: 'node-2', term: 2 }),
  ]
  const failed = { status: 'offline', observed: 'failed', healthy: false } as const
  const state = {
    nodes: [node(0, { is_leader: false }), node(1, { is_leader: true }), node(2, failed)],
    shards: [shard(0, 'node-1'), shard(1, 'node-1'), shard(2, 'node-1')],
    history,
    samples: new Samples(),
  }
  const at = (s: number) => momentAt(state, startMs + s * 1_000, startMs + 60_000)

  it('gives shards back to whom they were taken from, and says nothing of epochs it does not know', () => {
    expect(at(50).shards.map(({ owner }) => owner)).toEqual(['node-1', 'node-1', 'node-1'])
    expect(at(31.5).shards.map(({ owner }) => owner)).toEqual(['node-1', null, null])
    expect(at(15).shards.map(({ owner }) => owner)).toEqual(['node-1', 'node-3', 'node-3'])
    expect(at(15).shards.map(({ epoch }) => epoch)).toEqual([9, unknownEpoch, unknownEpoch])
  })

  it('knows how each node was, and who led under which term', () => {
    const observed = (s: number) => at(s).nodes.find(({ id }) => id === 'node-3')?.observed
    expect([15, 25, 35].map(observed)).toEqual(['alive', 'suspect', 'failed'])
    expect(at(5)).toMatchObject({ leaderId: null })
    expect(at(15)).toMatchObject({ leaderId: 'node-1', term: 1 })
    expect(at(45)).toMatchObject({ leaderId: 'node-2', term: 2 })
    expect(
      at(15)
        .nodes.filter(({ is_leader }) => is_leader)
        .map(({ id }) => id),
    ).toEqual(['node-1'])
  })

  it('takes nothing for a move that is of another shape', () => {
    expect(movesOf([{ from: 'a', to: 'b', shards: '0-2,7' }])).toEqual([
      { from: 'a', to: 'b', shards: [0, 1, 2, 7] },
    ])
    expect(movesOf([null, 7, { from: 'a' }, { from: 'a', to: 'b', shards: 'x,5-4,99999999' }])).toEqual([
      { from: 'a', to: 'b', shards: [] },
    ])
    expect(movesOf('nothing')).toEqual([])
  })
})

describe('the samples of the page', () => {
  it('keeps a value per node and moment, nothing for a node that is not up, and no more than fifteen minutes', () => {
    const samples = new Samples()
    for (let i = 0; i < 900; i++) {
      const second = node(1, i >= 890 ? { observed: 'failed' } : { events_per_second: 5 })
      samples.add(startMs + i * 2_000, [node(0, { events_per_second: i }), second])
    }
    const length = samples.atMs.length
    expect(length).toBeLessThanOrEqual(480)
    expect(samples.nodes.get('node-1')?.events_per_second.length).toBe(length)
    expect(samples.nodes.get('node-2')?.events_per_second.at(-1)).toBeNull()
    expect(sumOf(samples, 'events_per_second').at(-1)).toBe(899)
    expect(sumOf(samples, 'events_per_second').at(-20)).toBe(885)
    expect(spreadOf(samples, 'rtt_ms', 'node-1').median.at(-1)).toBeNull()
    expect(samples.indexAt(startMs)).toBe(-1)
    expect(samples.indexAt(samples.atMs[3] as number)).toBe(3)
  })
})

describe('lines between nodes', () => {
  it('tells the mean round trip, who does not see whom, and leaves out those of a node that left', () => {
    const nodes = [node(0), node(1), node(2, { observed: 'left', status: 'offline' })]
    const placed = placedNodes(nodes, 640)
    const sights = [
      {
        observer: 'node-1',
        age_ms: 0,
        sees: [{ node_id: 'node-2', status: 'alive', rtt_ms: 1, missed_heartbeats: 0 }],
      },
      {
        observer: 'node-2',
        age_ms: 0,
        sees: [{ node_id: 'node-1', status: 'suspect', rtt_ms: 3, missed_heartbeats: 2 }],
      },
    ]
    expect(linksOf(placed, sights, 'node-1')).toMatchObject([{ rttMs: 2, blind: ['node-2'], isOwn: true }])
    expect(placedNodes([node(0)], 640)[0]).toMatchObject({ x: 320, outY: -1 })
  })
})

describe('what happened, in lines', () => {
  it('tells moves of shards that come close together as one, and the newest of all that is told', () => {
    const move = (s: number, from: string, shards: string) =>
      happened(s, 'shards.moved', { count: 0, moves: [{ from, to: 'node-1', shards }] })
    const history = [
      move(1, 'node-2', '0'),
      happened(2, 'member.failed', { member: 'node-3', detail: 'gone' }),
      move(3, 'node-3', '1-2'),
      happened(3.5, 'lease.granted', {}),
      move(4, '', '4,6'),
      move(20, 'node-2', '9'),
    ]
    expect(happenings(history, 10).map(({ subject, text }) => `${subject}: ${text}`)).toEqual([
      ': 1 shard moved: node-2 → node-1 1',
      'node-3: failed — gone',
      ': 4 shards moved: nobody → node-1 2, node-3 → node-1 2',
      ': 1 shard moved: node-2 → node-1 1',
    ])
    expect(happenings(history, 2).length).toBe(2)
  })
})

describe('the order of the nodes', () => {
  it('has first those that are not well, finds by any word, and follows the column that is asked for', () => {
    const nodes = [
      node(0, { cpu_usage: 5, labels: { rack: 'r7' } }),
      node(1, { observed: 'suspect', cpu_usage: 9 }),
      node(2, { status: 'offline', observed: 'failed', cpu_usage: 1 }),
    ]
    const ids = (text: string, order: string) => shownNodes(nodes, text, order).map(({ id }) => id)
    expect(ids('', '')).toEqual(['node-2', 'node-3', 'node-1'])
    expect(ids('', '-cpu')).toEqual(['node-2', 'node-1', 'node-3'])
    expect(ids('', 'node')).toEqual(['node-1', 'node-2', 'node-3'])
    expect(ids('rack=r7', '')).toEqual(['node-1'])
    expect(ids('SUSPECT', 'nonsense')).toEqual(['node-2'])
  })
})
