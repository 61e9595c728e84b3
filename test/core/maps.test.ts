/** Replicated maps piece by piece: joining, limits, what comes over the wire, catching up with large values, forgetting. */
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { counterValue, type Entry, joined, kindOf, knowsNothing } from '../../src/core/maps/entry.js'
import { type MapLimits, mapLimits } from '../../src/core/maps/limits.js'
import { type Partial, Pull } from '../../src/core/maps/pull.js'
import { type Instant, Replica } from '../../src/core/maps/replica.js'
import {
  bucketsAnswerWire,
  type Delta,
  deltasWire,
  digestAnswerWire,
  entryWire,
  readBucketsAnswer,
  readBucketsAsk,
  readChunk,
  readChunkAsk,
  readDeltas,
  readDigest,
  readDigestAnswer,
  readEntry,
} from '../../src/core/maps/wire.js'

let tick = 0

function at(wallMs = 1_000_000): Instant {
  return {
    wallMs,
    stamp: () => `${wallMs.toString(16).padStart(12, '0')}${(++tick).toString(16).padStart(12, '0')}`,
  }
}

/** Deltas go to every other one at once. */
function trio(limits: MapLimits = mapLimits): [Replica, Replica, Replica] {
  return [new Replica('a', limits), new Replica('b', limits), new Replica('c', limits)]
}

function send(delta: Delta, ...to: readonly Replica[]): void {
  for (const replica of to) replica.receive(1_000_000, readDeltas(deltasWire([delta]), mapLimits) as Delta[])
}

/** All that `to` lacks of `from`; answers how many questions it took. `lose` ends the pull before that question. */
function pull(
  to: Replica,
  from: Replica,
  partials = new Map<string, Partial>(),
  lose = Number.POSITIVE_INFINITY,
  wallMs = 1_000_000,
): { asked: number; isComplete: boolean; offsets: number[]; codes: string[] } {
  const one = new Pull(to, 'from', mapLimits.valueBytesMax, partials)
  const offsets: number[] = []
  const codes: string[] = []
  let asked = 0
  for (let ask = one.next(); ask !== undefined && asked < lose; ask = one.next()) {
    asked++
    let answer: unknown
    if (ask.kind === 'digest') {
      const digest = readDigest(ask.body)
      if (digest === undefined) throw new Error('digest')
      from.hear('to', digest)
      answer = digestAnswerWire(from.seen, from.differing(digest))
    } else if (ask.kind === 'buckets') {
      const wanted = readBucketsAsk(ask.body)
      if (wanted === undefined) throw new Error('buckets')
      answer = bucketsAnswerWire(from.answerBuckets('to', wanted))
    } else {
      const wanted = readChunkAsk(ask.body)
      if (wanted === undefined) throw new Error('chunk')
      offsets.push(wanted.offset)
      const chunk = from.answerChunk(wanted)
      answer = chunk === null ? null : [chunk.sum, chunk.length, chunk.offset, chunk.bytes]
    }
    const pulled = one.receive(wallMs, answer)
    if (pulled === undefined) throw new Error(`no answer to ${ask.kind}`)
    codes.push(...pulled.refusals.map(({ code }) => code))
  }
  return { asked, isComplete: one.isComplete, offsets, codes }
}

function textAt(replica: Replica, key = 'k', map = 'm'): string | null | undefined {
  return replica.get(map, key)?.values[0]?.text
}

describe('joining two copies of a key', () => {
  /** Entries as three writers make them, in any order of writing and of hearing from each other. */
  const histories = fc.array(
    fc.record({
      who: fc.nat(2),
      what: fc.constantFrom('set', 'delete', 'add', 'in', 'out', 'hear'),
      from: fc.nat(2),
      n: fc.nat(3),
    }),
    { maxLength: 25 },
  )

  function entriesOf(history: Parameters<Parameters<typeof histories.map>[0]>[0]): Entry[] {
    const replicas = trio()
    const all: Entry[] = []
    for (const { who, what, from, n } of history) {
      const replica = replicas[who] as Replica
      try {
        if (what === 'set') replica.set(at(), 'm', 'k', String(n))
        else if (what === 'delete') replica.delete(at(), 'm', 'k')
        else if (what === 'add') replica.add(at(), 'm', 'k', n - 1)
        else if (what === 'in') replica.change(at(), 'm', 'k', [String(n)], [])
        else if (what === 'out') replica.change(at(), 'm', 'k', [], [String(n)])
        else {
          const theirs = (replicas[from] as Replica).slots.get('m', 'k')?.entry
          if (theirs !== undefined) replica.take(1_000_000, 'm', 'k', theirs, knowsNothing)
        }
      } catch {
        // The key holds something else.
      }
      const entry = replica.slots.get('m', 'k')?.entry
      if (entry !== undefined) all.push(entry)
    }
    return all
  }

  const shown = (entry: Entry): string => {
    const [stamp, , values, floor, counter, set] = entryWire(entry) as [
      string,
      unknown,
      unknown,
      string,
      unknown[],
      [string, unknown[]][],
    ]
    return JSON.stringify([
      stamp,
      values,
      floor,
      [...counter].sort(),
      set.map(([element, dots]) => [element, ...dots.map(String).sort()].join()).sort(),
    ])
  }
  const join = (a: Entry, b: Entry): Entry => joined(a, b, knowsNothing, knowsNothing)

  it('is the same in either order, in any grouping, and twice', () => {
    fc.assert(
      fc.property(histories, fc.nat(), fc.nat(), fc.nat(), (history, i, j, k) => {
        const all = entriesOf(history)
        if (all.length === 0) return
        const [a, b, c] = [i, j, k].map((n) => all[n % all.length]) as [Entry, Entry, Entry]
        expect(shown(join(a, b))).toBe(shown(join(b, a)))
        expect(shown(join(join(a, b), c))).toBe(shown(join(a, join(b, c))))
        expect(shown(join(join(a, b), b))).toBe(shown(join(a, b)))
        expect(join(a, a)).toBe(a)
      }),
      { numRuns: 2_000 },
    )
  })

  it('every entry comes over the wire as it was', () => {
    fc.assert(
      fc.property(histories, (history) => {
        for (const entry of entriesOf(history)) {
          const read = readEntry(JSON.parse(JSON.stringify(entryWire(entry))), mapLimits)
          expect(read === undefined ? undefined : entryWire(read)).toEqual(entryWire(entry))
        }
      }),
      { numRuns: 200 },
    )
  })
})

describe('writes of several nodes', () => {
  it('the later one is read, the other one is a conflict until somebody writes again', () => {
    const [a, b, c] = trio()
    const first = a.set(at(), 'm', 'k', '"a"')
    const second = b.set(at(), 'm', 'k', '"b"')
    send(first.delta, b, c)
    const { changes } = a.receive(1_000_000, [second.delta])
    send(second.delta, c)
    for (const replica of [a, b, c]) {
      expect(textAt(replica)).toBe('"b"')
      expect(replica.get('m', 'k')?.values.map(({ text }) => text)).toEqual(['"b"', '"a"'])
    }
    expect(changes[0]?.lost.map(({ text }) => text)).toEqual(['"a"'])
    send(c.set(at(), 'm', 'k', '"c"').delta, a, b)
    for (const replica of [a, b]) expect(replica.get('m', 'k')?.values).toHaveLength(1)
  })

  it('what was overwritten by somebody who had seen it is no conflict', () => {
    const [a, b] = trio()
    send(a.set(at(), 'm', 'k', '1').delta, b)
    const { changes } = a.receive(1_000_000, [b.set(at(), 'm', 'k', '2').delta])
    expect(changes[0]?.lost).toEqual([])
  })

  it('a counter adds up what everybody added; a delete ends what was added before', () => {
    const [a, b, c] = trio()
    const all = [a.add(at(), 'm', 'n', 2), b.add(at(), 'm', 'n', 3), c.add(at(), 'm', 'n', -1)]
    for (const { delta } of all) send(delta, a, b, c)
    for (const replica of [a, b, c]) expect(counterValue(replica.get('m', 'n') as Entry)).toBe(4)
    const late = b.add(at(), 'm', 'n', 10)
    const gone = a.delete(at(), 'm', 'n')
    send(gone?.delta as Delta, b, c)
    send(late.delta, a, c)
    for (const replica of [a, b, c]) expect(replica.get('m', 'n')).toBeUndefined()
    send(b.add(at(), 'm', 'n', 1).delta, a, c)
    for (const replica of [a, b, c]) expect(counterValue(replica.get('m', 'n') as Entry)).toBe(1)
  })

  it('of adding and removing an element at the same time, adding wins', () => {
    const [a, b] = trio()
    send(a.change(at(), 'm', 's', ['1', '2'], [])?.delta as Delta, b)
    const removed = a.change(at(), 'm', 's', [], ['1', '2'])
    const added = b.change(at(), 'm', 's', ['1'], [])
    send(removed?.delta as Delta, b)
    send(added?.delta as Delta, a)
    for (const replica of [a, b]) expect([...(replica.get('m', 's')?.set.keys() ?? [])]).toEqual(['1'])
  })

  it('keys keep to what they hold', () => {
    const [a] = trio()
    a.add(at(), 'm', 'k', 1)
    expect(() => a.set(at(), 'm', 'k', '1')).toThrow(/holds a counter/)
    expect(() => a.change(at(), 'm', 'k', ['1'], [])).toThrow(expect.objectContaining({ code: 'conflict' }))
    a.delete(at(), 'm', 'k')
    a.set(at(), 'm', 'k', '1')
    expect(kindOf(a.get('m', 'k') as Entry)).toBe('value')
  })
})

describe('catching up', () => {
  it('brings everything in pages, and nothing when nothing differs', () => {
    const [a, b] = trio()
    for (let i = 0; i < 9_000; i++) a.set(at(), 'm', `key ${i}`, String(i))
    const first = pull(b, a)
    expect(first.isComplete).toBe(true)
    expect(first.asked).toBeGreaterThan(3)
    expect(b.slots.sizeOf('m').live).toBe(9_000)
    expect(pull(b, a).asked).toBe(1)
    a.set(at(), 'm', 'key 17', '"new"')
    expect(pull(b, a).asked).toBe(2)
    expect(textAt(b, 'key 17')).toBe('"new"')
  })

  it('a large value comes in pieces and goes on where it broke off, from any node that has it', () => {
    const [a, b, c] = trio()
    const text = JSON.stringify('ü€😀"\\'.repeat(150_000))
    const { delta } = a.set(at(), 'm', 'k', text)
    expect(delta.entry).toBeNull()
    expect(b.receive(1_000_000, [delta]).isMoreThere).toBe(true)
    pull(c, a)
    const partials = new Map<string, Partial>()
    pull(b, a, partials, 5)
    expect(b.get('m', 'k')).toBeUndefined()
    const rest = pull(b, c, partials)
    expect(rest.offsets[0]).toBe(3 * mapLimits.chunkBytes)
    expect(rest.isComplete).toBe(true)
    expect(textAt(b)).toBe(text)
  })

  it('begins anew when the value changed on the way', () => {
    const [a, b] = trio()
    a.set(at(), 'm', 'k', JSON.stringify('x'.repeat(900_000)))
    const partials = new Map<string, Partial>()
    pull(b, a, partials, 4)
    const text = JSON.stringify('y'.repeat(900_000))
    a.set(at(), 'm', 'k', text)
    expect(pull(b, a, partials).isComplete).toBe(true)
    expect(textAt(b)).toBe(text)
  })

  it('a stamp too far ahead is refused, said, and taken when its time has come', () => {
    const [a, b] = trio()
    const { delta } = a.set(at(1_002_000), 'm', 'k', '1')
    expect(b.receive(1_000_000, [delta]).refusals).toMatchObject([{ code: 'clock_skew', map: 'm', key: 'k' }])
    const early = pull(b, a)
    expect(early).toMatchObject({ isComplete: false, codes: ['clock_skew'] })
    expect(b.get('m', 'k')).toBeUndefined()
    expect(pull(b, a, new Map(), 99, 1_001_600).isComplete).toBe(true)
    expect(textAt(b)).toBe('1')
  })
})

describe('forgetting deletes', () => {
  const all = ['a', 'b', 'from', 'to']

  it('not before everybody has seen them', () => {
    const [a, b] = trio()
    send(a.set(at(), 'm', 'k', '1').delta, b)
    send(a.delete(at(), 'm', 'k')?.delta as Delta, b)
    const lateMs = 1_000_000 + mapLimits.settleMs + 1
    expect(a.sweep(lateMs, ['a', 'b'])).toBe(0)
    a.hear('b', b.seen)
    expect(a.sweep(1_000_000, ['a', 'b'])).toBe(0)
    expect(a.sweep(lateMs, ['a', 'b', 'c'])).toBe(0)
    expect(a.sweep(lateMs, ['a', 'b'])).toBe(1)
    expect(a.slots.sizeOf('m')).toEqual({ live: 0, gone: 0, bytes: 0 })
  })

  it('after the horizon, and yet nobody who was away brings the key back', () => {
    const [a, b, away] = trio()
    send(a.set(at(), 'm', 'k', '1').delta, b, away)
    pull(away, a)
    send(a.delete(at(), 'm', 'k')?.delta as Delta, b)
    const lateMs = 1_000_000 + mapLimits.horizonMs
    expect(a.sweep(lateMs, all)).toBe(1)
    expect(b.sweep(lateMs, all)).toBe(1)
    // What it has is no news: neither sent again, nor pulled.
    const held = away.slots.get('m', 'k')?.entry as Entry
    expect(a.take(lateMs, 'm', 'k', held, away.known)).toBeUndefined()
    pull(a, away)
    expect(a.get('m', 'k')).toBeUndefined()
    // And it learns that the key is gone though no delete is left to tell it.
    expect(textAt(away)).toBe('1')
    pull(away, b)
    expect(away.get('m', 'k')).toBeUndefined()
  })

  it('a pull brings deletes of keys that were never here, for those who hold an older value', () => {
    const [a, b, c] = trio()
    c.set(at(), 'm', 'k', '"older"')
    a.set(at(), 'm', 'k', '1')
    a.delete(at(), 'm', 'k')
    expect(pull(b, a).isComplete).toBe(true)
    expect(b.slots.sizeOf('m')).toMatchObject({ live: 0, gone: 1 })
    pull(c, b)
    expect(c.get('m', 'k')).toBeUndefined()
  })

  it('but what was written while it was away stays', () => {
    const [a, , away] = trio()
    send(a.set(at(), 'm', 'old', '1').delta, away)
    send(a.set(at(), 'm', 'k', '1').delta, away)
    a.delete(at(), 'm', 'old')
    away.set(at(), 'm', 'k', '2')
    a.sweep(1_000_000 + mapLimits.horizonMs, all)
    pull(a, away)
    pull(away, a)
    for (const replica of [a, away]) {
      expect(textAt(replica)).toBe('2')
      expect(replica.get('m', 'old')).toBeUndefined()
    }
  })
})

describe('limits', () => {
  const small: MapLimits = { ...mapLimits, keysMax: 3, mapsMax: 2, mapBytesMax: 2_000, valueBytesMax: 500 }

  it('of keys, maps, bytes and values', () => {
    const [a] = trio(small)
    for (const key of ['1', '2', '3']) a.set(at(), 'm', key, '1')
    const overloaded = expect.objectContaining({ code: 'overloaded' })
    expect(() => a.set(at(), 'm', '4', '1')).toThrow(overloaded)
    a.set(at(), 'm', '3', '2')
    a.delete(at(), 'm', '3')
    a.set(at(), 'm', '4', '1')
    a.set(at(), 'n', '1', '1')
    expect(() => a.set(at(), 'o', '1', '1')).toThrow(overloaded)
    const tooLarge = expect.objectContaining({ code: 'payload_too_large' })
    expect(() => a.set(at(), 'm', '4', JSON.stringify('x'.repeat(501)))).toThrow(tooLarge)
    expect(() => {
      for (const key of ['1', '2', '4']) a.set(at(), 'm', key, JSON.stringify('x'.repeat(300)))
    }).toThrow(overloaded)
    expect(() => a.set(at(), 'm', '', '1')).toThrow(expect.objectContaining({ code: 'invalid_argument' }))
    expect(() => a.set(at(), 'm', 'k', '['.repeat(100) + ']'.repeat(100))).toThrow(
      expect.objectContaining({ code: 'too_deep' }),
    )
  })

  it('what others wrote is taken up to twice as much, then refused and not counted as seen', () => {
    const [, b] = trio(small)
    const large = new Replica('a', mapLimits)
    for (let i = 0; i < 8; i++) large.set(at(), 'm', `key ${i}`, '1')
    const { isComplete, codes } = pull(b, large)
    expect(b.slots.sizeOf('m').live).toBe(6)
    expect({ isComplete, codes }).toEqual({ isComplete: false, codes: ['overloaded', 'overloaded'] })
    for (let i = 0; i < 6; i++) b.delete(at(), 'm', `key ${i}`)
    expect(pull(b, large).isComplete).toBe(true)
  })
})

describe('what makes no sense', () => {
  it('is refused by every reader without a word, and changes nothing', () => {
    const readers = [
      (v: unknown) => readDeltas(v, mapLimits),
      (v: unknown) => readEntry(v, mapLimits),
      (v: unknown) => readBucketsAnswer(v, mapLimits),
      (v: unknown) => readChunk(v, 1_000),
      readDigest,
      readDigestAnswer,
      readBucketsAsk,
      readChunkAsk,
    ]
    fc.assert(
      fc.property(fc.anything({ maxDepth: 5 }), (value) => {
        for (const read of readers) read(value)
      }),
      { numRuns: 3_000 },
    )
  })

  it('one wrong leaf spoils a delta', () => {
    const [a] = trio()
    a.change(at(), 'm', 's', ['1'], [])
    const { delta } = a.change(at(), 'm', 's', ['2'], ['1']) as { delta: Delta }
    const good = JSON.stringify(deltasWire([delta]))
    expect(readDeltas(JSON.parse(good), mapLimits)).toHaveLength(1)
    fc.assert(
      fc.property(fc.nat(), fc.constantFrom('null', '-1', '""', '[]', '"x"', '1e99'), (n, leaf) => {
        const leaves = [...good.matchAll(/"[^"]*"|\d+/g)]
        const { index, 0: old } = leaves[n % leaves.length] as RegExpExecArray
        const wire = JSON.parse(good.slice(0, index) + leaf + good.slice(index + old.length))
        const deltas = readDeltas(wire, mapLimits)
        const b = new Replica('b', mapLimits)
        if (deltas !== undefined) b.receive(1_000_000, deltas)
      }),
    )
  })

  it('writes in the name of this node, and deltas that are not what they say, are refused', () => {
    const [a, b] = trio()
    const { delta } = a.set(at(), 'm', 'k', '1')
    send(delta, b)
    const { actor } = delta
    const forged = { ...b.set(at(), 'm', 'k', '2').delta, actor, seq: 9 }
    expect(a.receive(1_000_000, [forged]).refusals).toMatchObject([{ code: 'protocol_violation' }])
    const entry = b.slots.get('m', 'k')?.entry as Entry
    const inside = { ...entry, values: entry.values.map((v) => ({ ...v, actor, seq: 9 })) }
    expect(a.take(1_000_000, 'm', 'k', inside, knowsNothing)).toMatchObject({ code: 'protocol_violation' })
    expect(textAt(a)).toBe('1')
  })
})
