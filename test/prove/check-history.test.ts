/** The checker of the network proofs, tried on histories made by hand: a good one, and the same with one thing wrong each. */
import { describe, expect, it } from 'vitest'
import { checkHistory, type Rule } from '../../tools/prove/lib/check-history.js'
import type {
  FaultRecord,
  HistoryRecord,
  MapRecord,
  OpRecord,
  ReadRecord,
  StatusRecord,
} from '../../tools/prove/lib/history.js'

const nodes = ['n1', 'n2', 'n3']
/** Shard 0 changes hands at 10 s, when n3, its owner and the leader, is cut off with n1 and n2 on the other side. */
const cutMs = 10_000
const healMs = 25_000
const endMs = 32_000

function good(): HistoryRecord[] {
  const records: HistoryRecord[] = [
    { k: 'meta', nodes, ttlMs: 5_000, backMsMax: 5_000 },
    {
      ...{ k: 'fault', name: 'n3 is cut off', minority: ['n3'] },
      ...{ began: cutMs - 20, t0: cutMs, t1: healMs, t2: healMs + 50 },
    } as FaultRecord,
  ]
  const stored: [string, string, number, number, number][] = []
  const offsets = [0, 0]
  for (let t = 0; t < endMs; t += 100) {
    const n = nodes[(t / 100) % 3] as string
    const isCutOff = n === 'n3' && t >= cutMs && t < healMs
    const isMoved = t >= cutMs
    const id = `e${t}`
    const key = `key-${(t / 100) % 4}`
    const shard = (t / 100) % 2
    if (isCutOff) {
      records.push({ k: 'op', n, id, key, t0: t, t1: t + 50, out: 'refused', code: 'no_owner' })
      records.push({ k: 'op', n: 'n1', id: `${id}-late`, key, t0: t, t1: t + 50, out: 'unknown' })
    } else {
      const offset = (offsets[shard] as number)++
      records.push({ k: 'op', n, id, key, t0: t, t1: t + 50, out: 'accepted', shard, offset })
      stored.push([id, key, shard, offset, shard === 0 && isMoved ? 2 : 1])
    }
    const knowsOfMove = isMoved && !isCutOff
    for (const of of nodes) {
      const isBehind = of === 'n3' && isMoved && t < healMs + 500
      const isNew = isMoved && !isBehind
      records.push({
        ...{ k: 'status', n: of, t0: t, t1: t + 5, isUp: true, isLeader: isNew ? of === 'n1' : of === 'n3' },
        ...{ term: isNew ? 2 : 1, leader: isNew ? 'n1' : 'n3', healthy: isBehind ? 0 : 2 },
        ...{ quorum: !isBehind, leaseMs: isBehind ? 0 : 4_000 },
      } as StatusRecord)
      if (t % 500 === 0 && (knowsOfMove || !isMoved || of === 'n3'))
        records.push({
          ...{ k: 'map', n: of, t0: t + 60, t1: t + 65, states: 'oo' },
          ...{ epochs: [isNew ? 2 : 1, 1], owners: [isNew ? 'n1' : 'n3', 'n2'] },
        } as MapRecord)
    }
  }
  for (const n of nodes) {
    records.push({ k: 'read', n, page: 0, events: stored.slice(0, 100) })
    records.push({ k: 'read', n, page: 1, events: stored.slice(100) })
  }
  return records
}

function rulesOf(records: readonly HistoryRecord[]): Rule[] {
  return [...new Set(checkHistory(records).violations.map((v) => v.rule))]
}

type Row = ReadRecord['events'][number]

/** The same change to what every node read. */
function withReads(change: (events: readonly Row[]) => readonly Row[]): HistoryRecord[] {
  return good().map((r) => (r.k === 'read' ? { ...r, events: change(r.events) } : r))
}

function withOp(id: string, change: Partial<OpRecord>): HistoryRecord[] {
  return good().map((r) => (r.k === 'op' && r.id === id ? { ...r, ...change } : r))
}

const ackedLate = 'e26500'

const doctored: { what: string; rule: Rule; history: () => HistoryRecord[] }[] = [
  {
    what: 'an acknowledged event is nowhere',
    rule: 'acknowledged-lost',
    history: () => withReads((events) => events.filter(([id]) => id !== 'e500')),
  },
  {
    what: 'an event is not where it was acknowledged',
    rule: 'acknowledged-elsewhere',
    history: () => withOp('e500', { offset: 77 }),
  },
  {
    what: 'an event is stored twice',
    rule: 'stored-twice',
    history: () =>
      withReads((e) => [
        ...e,
        ...e.filter(([id]) => id === 'e500').map((r): Row => [r[0], r[1], 1, 9_999, 1]),
      ]),
  },
  {
    what: 'an event is stored that nobody sent',
    rule: 'never-sent',
    history: () => withReads((events) => [...events, [`made-up-${events.length}`, 'key-1', 1, 9_999, 1]]),
  },
  {
    what: 'two events have one offset',
    rule: 'duplicate-offset',
    history: () =>
      withReads((events) => events.map((e): Row => (e[0] === 'e500' ? [e[0], e[1], e[2], 0, e[4]] : e))),
  },
  {
    what: 'an epoch falls along the offsets',
    rule: 'epoch-falls',
    history: () => withReads((e) => e.map((r): Row => (r[0] === 'e10200' ? [r[0], r[1], r[2], r[3], 1] : r))),
  },
  {
    what: 'a stale owner appends after the next epoch was seen',
    rule: 'stale-epoch-accepted',
    history: () =>
      withReads((e) => e.map((r): Row => (r[2] === 0 && r[4] === 2 ? [r[0], r[1], 0, r[3], 1] : r))),
  },
  {
    what: 'an epoch from before a restart of everybody is used again',
    rule: 'epoch-repeated',
    history: () => [...good(), { k: 'restart', t0: 27_000, t1: 27_100 }],
  },
  {
    what: 'a key is reordered',
    rule: 'key-reordered',
    // e0 and e400 are of one key; whoever reads finds them exchanged.
    history: () => {
      const swap = (r: Row): Row => {
        if (r[0] === 'e0') return ['e400', r[1], r[2], r[3], r[4]]
        return r[0] === 'e400' ? ['e0', r[1], r[2], r[3], r[4]] : r
      }
      return withReads((events) => events.map(swap))
    },
  },
  {
    what: 'two nodes say that they lead in one term',
    rule: 'two-leaders-in-a-term',
    history: () => [
      ...good(),
      { k: 'status', n: 'n2', t0: 30_000, t1: 30_001, isUp: false, term: 2, leader: 'n1', isLeader: true },
    ],
  },
  {
    what: 'a node saw another leader elected for a term',
    rule: 'two-leaders-in-a-term',
    history: () => [...good(), { k: 'elected', n: 'n3', term: 2, leader: 'n2' }],
  },
  {
    what: 'a shard has two owners in one epoch',
    rule: 'two-owners-in-an-epoch',
    history: () => [
      ...good(),
      { k: 'map', n: 'n2', t0: 30_000, t1: 30_001, epochs: [2, 1], owners: ['n2', 'n2'], states: 'oo' },
    ],
  },
  {
    what: 'one node reads less than the others',
    rule: 'reads-differ',
    history: () =>
      good().map((r) =>
        r.k === 'read' && r.n === 'n2' ? { ...r, events: r.events.filter(([id]) => id !== 'e500') } : r,
      ),
  },
  {
    what: 'a minority acknowledges after its lease',
    rule: 'minority-acknowledged',
    history: () => withOp('e20000', { out: 'duplicate', shard: 0, offset: 0 }),
  },
  {
    what: 'a minority has a term of its own',
    rule: 'minority-changed-state',
    history: () => [
      ...good(),
      { k: 'status', n: 'n3', t0: 15_000, t1: 15_005, isUp: true, term: 3, leader: 'n3', isLeader: true },
    ],
  },
  {
    what: 'a minority gives a shard a new epoch',
    rule: 'minority-changed-state',
    history: () => [
      ...good(),
      { k: 'map', n: 'n3', t0: 15_000, t1: 15_005, epochs: [1, 2], owners: ['n3', 'n3'], states: 'oo' },
    ],
  },
  {
    what: 'a node does not come back in time',
    rule: 'not-back-in-time',
    history: () =>
      good().map((r) => (r.k === 'status' && r.n === 'n3' && r.t0 > healMs ? { ...r, healthy: 1 } : r)),
  },
  {
    what: 'a node is back and takes nothing',
    rule: 'not-back-in-time',
    history: () => good().filter((r) => !(r.k === 'op' && r.n === 'n3' && r.t0 > healMs)),
  },
  {
    what: 'a node ended',
    rule: 'node-ended',
    history: () => [...good(), { k: 'exit', n: 'n2', t: 20_000, how: '1: out of memory' }],
  },
  {
    what: 'a node could not read back',
    rule: 'history-incomplete',
    history: () => good().filter((r) => !(r.k === 'read' && r.n === 'n2')),
  },
  { what: 'nothing happened', rule: 'history-incomplete', history: () => [] },
]

describe('the checker of histories', () => {
  it('finds nothing in a good one', () => {
    const { violations, figures } = checkHistory(good())
    expect(violations).toEqual([])
    expect(figures.acknowledged).toBeGreaterThan(200)
    expect(figures.back[0]?.ms).toBeLessThan(1_000)
  })

  it.each(doctored)('finds that $what', ({ rule, history }) => {
    expect(rulesOf(history())).toContain(rule)
  })

  it('takes what is stored without an acknowledgement for possible, even where only some nodes read it', () => {
    const late: Row = ['e11000-late', 'key-2', 0, 5_000, 2]
    const records = good().map((r) =>
      r.k === 'read' && r.n === 'n1' && r.page === 1 ? { ...r, events: [...r.events, late] } : r,
    )
    expect(records.some((r) => r.k === 'op' && r.id === 'e11000-late')).toBe(true)
    expect(rulesOf(records)).toEqual([])
  })

  it('lets a minority go on until its lease ends', () => {
    const wasCutOff = good().find((r) => r.k === 'op' && r.n === 'n3' && r.t0 > cutMs && r.t0 < cutMs + 1_000)
    expect(wasCutOff).toBeDefined()
    const { id } = wasCutOff as OpRecord
    expect(rulesOf(withOp(id, { out: 'duplicate', shard: 0, offset: 0 }))).not.toContain(
      'minority-acknowledged',
    )
  })

  it('holds nothing against the last fault that the next one does in the making', () => {
    const flaps: FaultRecord = {
      ...{ k: 'fault', name: 'the link of n2 flaps', minority: [] },
      ...{ began: 27_000, t0: 31_000, t1: 31_001, t2: 31_002 },
    }
    const records = [...good(), flaps].map((r) =>
      r.k === 'status' && r.t0 > flaps.began && r.t0 < flaps.t2 ? { ...r, healthy: 1 } : r,
    )
    const { violations, figures } = checkHistory(records)
    expect(violations).toEqual([])
    expect(figures.back.map(({ ms }) => ms < 1_000)).toEqual([true, true])
  })

  it('judges nothing by what it cannot know', () => {
    expect(rulesOf(withOp(ackedLate, { out: 'unknown' }))).toEqual([])
  })
})
