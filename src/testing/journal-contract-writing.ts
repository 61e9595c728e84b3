/** The part of the journal's contract about writing: durability, order, refusal, seals and fences. */
import assert from 'node:assert/strict'
import { asEpoch, asLeaseId } from '../core/kernel/brand.js'
import {
  e1,
  e2,
  ids,
  l1,
  l2,
  late,
  numbered,
  readAll,
  refused,
  sampleEvent,
  sampleGroup,
  segment,
  type Test,
} from './journal-contract-kit.js'

export function describeWriting(test: Test): void {
  test('what was appended is there for another handle and after the writer closed', async (open) => {
    const writer = await open(l1)
    await writer.append(l1, [sampleGroup(3, 1, 1, numbered(1, 3)), sampleGroup(4, 1, 1, numbered(4, 4))])
    const other = await open()
    const request = { shard: 3, segments: [segment(1, l1, 1, 3)] }
    assert.deepEqual(ids(await readAll(other, request)), ['e1', 'e2', 'e3'])
    await writer.close()
    const later = await open()
    assert.deepEqual(ids(await readAll(later, request)), ['e1', 'e2', 'e3'])
    assert.equal(later.info.identity, writer.info.identity)
  })

  test('an event comes back as it was, with shard, epoch and offset', async (open) => {
    const journal = await open(l1)
    const event = sampleEvent('x', { payload: '{"a": 1.0,  "b":"\\u0000"}', atMs: 1_763_700_000_123 })
    await journal.append(l1, [sampleGroup(7, 5, 41, [event])])
    const [stored] = await readAll(journal, { shard: 7, segments: [segment(5, l1, 41, 41)] })
    assert.deepEqual({ ...stored }, { ...event, shard: 7, epoch: 5, offset: 41 })
  })

  test('keys, ids and streams may be any text: empty, NUL, newline, __proto__, astral, long', async (open) => {
    const journal = await open(l1)
    const odd = [
      '',
      '\0',
      'a\0b',
      'a\nb',
      '__proto__',
      'constructor',
      '\u{1F9E6}\u{10FFFF}',
      '\uFFFD',
      "';--",
      'x'.repeat(3000),
    ]
    const events = odd.map((text) => sampleEvent(text, { stream: `s${text}`, key: text, type: text }))
    await journal.append(l1, [sampleGroup(0, 1, 1, events)])
    await journal.commitPositions(
      l1,
      odd.map((group, i) => ({ group, shard: 0, epoch: e1, offset: i + 1 })),
    )
    const segments = [segment(1, l1, 1, odd.length)]
    for (const [i, text] of odd.entries()) {
      const found = await readAll(journal, { shard: 0, segments, stream: `s${text}`, key: text })
      assert.deepEqual(
        found.map((e) => [e.offset, e.id, e.type]),
        [[i + 1, text, text]],
      )
      assert.deepEqual([...(await journal.readPositions(text, [0]))], [[0, i + 1]])
    }
  })

  test('text that is not Unicode is refused, nothing of the append is kept', async (open) => {
    const journal = await open(l1)
    const bad = sampleEvent('bad', { key: '\ud800' })
    await refused(journal.append(l1, [sampleGroup(0, 1, 1, [sampleEvent('a'), bad])]), 'invalid_argument')
    assert.equal((await journal.lastOffsets([0])).get(0), undefined)
  })

  test('a gap, a repetition and an empty group are refused; the append after them works', async (open) => {
    const journal = await open(l1)
    await journal.append(l1, [sampleGroup(1, 1, 10, numbered(10, 12))])
    await refused(journal.append(l1, [sampleGroup(1, 1, 14, numbered(14, 14))]), 'invalid_argument')
    await refused(journal.append(l1, [sampleGroup(1, 1, 12, numbered(12, 12))]), 'invalid_argument')
    await refused(journal.append(l1, [sampleGroup(1, 1, 13, [])]), 'invalid_argument')
    await refused(journal.append(l1, [sampleGroup(1, 1, 0, numbered(0, 0))]), 'invalid_argument')
    await journal.append(l1, [sampleGroup(1, 1, 13, numbered(13, 13))])
    assert.deepEqual([...(await journal.lastOffsets([1, 2]))], [[1, 13]])
  })

  test('a copy may leave gaps, at the start of an epoch and within one append too, but repeats nothing', async (open) => {
    const journal = await open()
    await journal.openLease(l1, { copies: true })
    await journal.append(l1, [
      sampleGroup(1, 3, 10, numbered(10, 12)),
      sampleGroup(1, 3, 20, numbered(20, 20)),
      sampleGroup(2, 1, 7, numbered(7, 7)),
    ])
    await journal.append(l1, [sampleGroup(1, 3, 40, numbered(40, 41))])
    for (const first of [41, 30, 20, 1])
      await refused(
        journal.append(l1, [sampleGroup(1, 3, first, numbered(first, first))]),
        'invalid_argument',
      )
    await refused(journal.append(l1, [sampleGroup(1, 2, 50, numbered(50, 50))]), 'fenced')
    await journal.append(l1, [sampleGroup(1, 5, 60, numbered(60, 60))])
    assert.deepEqual(
      (
        await journal.seal(
          l1,
          [3, 5].map((epoch) => ({ shard: 1, epoch: asEpoch(epoch) })),
        )
      ).map((extent) => ({ ...extent })),
      [
        { shard: 1, epoch: 3, first: 10, last: 41 },
        { shard: 1, epoch: 5, first: 60, last: 60 },
      ],
    )
    await journal.close()

    // Whoever goes on with it later says again that it is a copy.
    const later = await open()
    await later.openLease(l1, { copies: true })
    await later.append(l1, [sampleGroup(2, 1, 9, numbered(9, 9))])
    await later.openLease(l2)
    await later.append(l2, [sampleGroup(2, 2, 10, numbered(10, 10))])
    await refused(later.append(l2, [sampleGroup(2, 2, 12, numbered(12, 12))]), 'invalid_argument')
    const segments = [segment(3, l1, 8, 45), segment(5, l1, 46, 60)]
    const found = await readAll(later, { shard: 1, segments }, 2)
    assert.deepEqual(
      found.map((event) => [event.epoch, event.offset, event.id]),
      [10, 11, 12, 20, 40, 41, 60].map((n) => [n === 60 ? 5 : 3, n, `e${n}`]),
    )
    assert.deepEqual(
      ids(await readAll(later, { shard: 2, segments: [segment(1, l1, 1, 9), segment(2, l2, 10, 10)] })),
      ['e7', 'e9', 'e10'],
    )
  })

  test('one bad group refuses the whole append, and only that append', async (open) => {
    const journal = await open(l1)
    await journal.append(l1, [sampleGroup(1, 1, 1, numbered(1, 1))])
    const good = journal.append(l1, [sampleGroup(2, 1, 1, numbered(1, 2))])
    const bad = journal.append(l1, [
      sampleGroup(3, 1, 1, numbered(1, 2)),
      sampleGroup(1, 1, 5, numbered(5, 5)),
    ])
    const next = journal.append(l1, [sampleGroup(3, 1, 1, numbered(1, 1))])
    await refused(bad, 'invalid_argument')
    await Promise.all([good, next])
    const last = await journal.lastOffsets([1, 2, 3])
    assert.deepEqual([last.get(1), last.get(2), last.get(3)], [1, 2, 1])
  })

  test('appends sent without waiting keep their order', async (open) => {
    const journal = await open(l1)
    const appends = Array.from({ length: 200 }, (_, i) =>
      journal.append(l1, [sampleGroup(i % 3, 1, Math.floor(i / 3) + 1, [sampleEvent(`i${i}`)])]),
    )
    await Promise.all(appends)
    const found = await readAll(journal, { shard: 1, segments: [segment(1, l1, 1, 67)] })
    assert.deepEqual(
      ids(found),
      Array.from({ length: 67 }, (_, i) => `i${i * 3 + 1}`),
    )
  })

  test('groups that mix streams keep their offsets', async (open) => {
    const journal = await open(l1)
    const streams = ['a', 'a', 'b', 'a', 'b', 'b']
    await journal.append(l1, [
      sampleGroup(
        0,
        1,
        1,
        streams.map((stream, i) => sampleEvent(`${i + 1}`, { stream })),
      ),
    ])
    const segments = [segment(1, l1, 1, 6)]
    const all = await readAll(journal, { shard: 0, segments })
    assert.deepEqual(
      all.map((e) => [e.offset, e.stream]),
      streams.map((stream, i) => [i + 1, stream]),
    )
    assert.deepEqual(ids(await readAll(journal, { shard: 0, segments, stream: 'b' })), ['3', '5', '6'])
  })

  test('the queue is bounded: what does not fit is refused at once, what was taken is kept', async (_open, world) => {
    const journal = world.handle({ queueEventsMax: 10 })
    await journal.open()
    try {
      await journal.openLease(l1)
      const settled = await Promise.allSettled(
        Array.from({ length: 20 }, (_, i) => journal.append(l1, [sampleGroup(i, 1, 1, numbered(1, 4))])),
      )
      const codes = settled.map((s) =>
        s.status === 'fulfilled' ? 'ok' : (s.reason as { code: string }).code,
      )
      assert.equal(codes[0], 'ok')
      assert.ok(codes.includes('overloaded'))
      assert.ok(
        codes.every((code) => code === 'ok' || code === 'overloaded'),
        codes.join(),
      )
      const last = await journal.lastOffsets(codes.map((_, shard) => shard))
      assert.deepEqual(
        codes.map((_, shard) => last.has(shard)),
        codes.map((code) => code === 'ok'),
      )
      await journal.append(l1, [sampleGroup(99, 1, 1, numbered(1, 30))])
    } finally {
      await journal.close()
    }
  })

  test('close settles what is under way; afterwards every call says closed', async (open) => {
    const journal = await open(l1)
    const appends = Array.from({ length: 50 }, (_, i) =>
      journal.append(l1, [sampleGroup(0, 1, i + 1, numbered(i, i))]),
    )
    const settled = Promise.allSettled(appends)
    await journal.close()
    await journal.close()
    const kept = (await settled).filter((s) => s.status === 'fulfilled').length
    const other = await open()
    const [found] = await other.seal(l1, [{ shard: 0, epoch: e1 }])
    assert.ok((found?.last ?? 0) >= kept, `${kept} acknowledged, ${found?.last ?? 0} there`)
    await refused(journal.append(l1, [sampleGroup(0, 1, 51, numbered(51, 51))]), 'closed')
    await refused(journal.read({ shard: 0, segments: [], after: 0, limit: 1 }), 'closed')
    assert.equal((await journal.health()).ok, false)
  })
}

export function describeFencing(test: Test): void {
  test('only the open lease may append, and a closed one does not come back', async (open) => {
    const journal = await open()
    await refused(journal.append(l1, [sampleGroup(0, 1, 1, numbered(1, 1))]), 'fenced')
    await journal.openLease(l1)
    await journal.openLease(l1)
    await refused(journal.append(l2, [sampleGroup(0, 1, 1, numbered(1, 1))]), 'fenced')
    await journal.append(l1, [sampleGroup(0, 1, 1, numbered(1, 1))])
    const underWay = journal.append(l1, [sampleGroup(0, 1, 2, numbered(2, 2))])
    await journal.closeLease()
    await underWay
    await journal.closeLease()
    await refused(journal.append(l1, [sampleGroup(0, 1, 3, numbered(3, 3))]), 'fenced')
    await refused(journal.openLease(l1), 'fenced')
    await journal.openLease(l2)
    await refused(journal.append(l1, [sampleGroup(0, 1, 3, numbered(3, 3))]), 'fenced')
    await refused(journal.commitPositions(l1, [{ group: 'g', shard: 0, epoch: e1, offset: 1 }]), 'fenced')
    await journal.append(l2, [sampleGroup(0, 2, 3, numbered(3, 3))])
  })

  test('opening another lease ends the one before', async (open) => {
    const journal = await open(l1)
    await journal.append(l1, [sampleGroup(0, 1, 1, numbered(1, 1))])
    await journal.openLease(l2)
    await refused(journal.append(l1, [sampleGroup(0, 1, 2, numbered(2, 2))]), 'fenced')
  })

  test('an older epoch than one already written is fenced', async (open) => {
    const journal = await open(l1)
    await journal.append(l1, [sampleGroup(0, 4, 1, numbered(1, 1))])
    await refused(journal.append(l1, [sampleGroup(0, 3, 2, numbered(2, 2))]), 'fenced')
  })

  test('seal finds first and last per shard and epoch while the writer lives', async (open, world) => {
    const writer = await open(l1)
    const other = await open()
    assert.deepEqual(await other.seal(l1, [{ shard: 5, epoch: e1 }]), [])
    assert.deepEqual(await other.seal(asLeaseId('never-was'), [{ shard: 0, epoch: e1 }]), [])
    await writer.append(l1, [sampleGroup(0, 1, 5, numbered(5, 7)), sampleGroup(1, 2, 1, numbered(1, 2))])
    await writer.append(l1, [sampleGroup(0, 1, 8, numbered(8, 9))])
    const wanted = [
      { shard: 0, epoch: e1 },
      { shard: 0, epoch: e2 },
      { shard: 1, epoch: e2 },
    ]
    const found = [
      { shard: 0, epoch: 1, first: 5, last: 9 },
      { shard: 1, epoch: 2, first: 1, last: 2 },
    ]
    assert.deepEqual(await other.seal(l1, wanted), found)
    await late(world, writer.append(l1, [sampleGroup(0, 1, 10, numbered(10, 10))]))
    assert.equal((await other.seal(l1, wanted))[0]?.last, world.sealFences === true ? 9 : 10)
  })

  test('a seal of one shard leaves the writer its others, and the writer may look at its own', async (open, world) => {
    const writer = await open(l1)
    const other = await open()
    await writer.append(l1, [sampleGroup(0, 1, 1, numbered(1, 2)), sampleGroup(1, 1, 1, numbered(1, 1))])
    await other.seal(l1, [
      { shard: 0, epoch: e1 },
      { shard: 2, epoch: e1 },
    ])
    await late(world, writer.append(l1, [sampleGroup(2, 1, 1, numbered(1, 1))]))
    await late(
      world,
      writer.append(l1, [sampleGroup(1, 1, 2, numbered(2, 2)), sampleGroup(0, 1, 3, numbered(3, 3))]),
    )
    const next = world.sealFences === true ? 2 : 3
    await writer.append(l1, [sampleGroup(1, 1, next, numbered(next, next))])
    const own = [{ shard: 1, epoch: e1 }]
    assert.deepEqual(await writer.seal(l1, own), [{ shard: 1, epoch: 1, first: 1, last: next }])
    await writer.append(l1, [sampleGroup(1, 1, next + 1, numbered(next + 1, next + 1))])
    assert.equal((await writer.seal(l1, own))[0]?.last, next + 1)
  })

  test('what lies beyond a seal is never returned, nor what an old owner wrote late', async (open, world) => {
    const stale = await open(l1)
    await stale.append(l1, [sampleGroup(0, 1, 1, numbered(1, 4))])
    const owner = await open(l2)
    const [sealed] = await owner.seal(l1, [{ shard: 0, epoch: e1 }])
    assert.equal(sealed?.last, 4)
    await late(world, stale.append(l1, [sampleGroup(0, 1, 5, numbered(5, 6, { payload: '"late"' }))]))
    await owner.append(l2, [sampleGroup(0, 2, 5, numbered(5, 8, { payload: '"new"' }))])
    const segments = [segment(1, l1, 1, 4), segment(2, l2, 5, 7)]
    for (const limit of [1, 2, 3, 1000]) {
      const all = await readAll(owner, { shard: 0, segments }, limit)
      assert.deepEqual(
        all.map((e) => [e.offset, e.epoch]),
        [
          [1, 1],
          [2, 1],
          [3, 1],
          [4, 1],
          [5, 2],
          [6, 2],
          [7, 2],
        ],
      )
      assert.ok(all.every((e) => e.payload !== '"late"'))
    }
    const recent = await owner.recentIds(0, segments, { sinceMs: 0, countMin: 100, countMax: 100 })
    assert.deepEqual(
      recent.map((r) => r.offset),
      [1, 2, 3, 4, 5, 6, 7],
    )
    assert.ok(recent.every((r) => r.payload !== '"late"'))
  })

  test('a shard may come back to the same lease below what it once wrote in vain', async (open) => {
    const journal = await open(l1)
    await journal.append(l1, [sampleGroup(0, 1, 1, numbered(1, 6))])
    await journal.append(l1, [sampleGroup(0, 3, 5, numbered(5, 5, { payload: '"again"' }))])
    const segments = [segment(1, l1, 1, 4), segment(3, l1, 5, 5)]
    const all = await readAll(journal, { shard: 0, segments })
    assert.deepEqual(
      all.map((e) => [e.offset, e.epoch]),
      [
        [1, 1],
        [2, 1],
        [3, 1],
        [4, 1],
        [5, 3],
      ],
    )
    assert.equal((await journal.lastOffsets([0])).get(0), 5)
    assert.equal((await journal.seal(l1, [{ shard: 0, epoch: e1 }]))[0]?.last, 6)
  })

  test('a horizon inside one commit cuts it', async (open) => {
    const journal = await open(l1)
    await journal.append(l1, [sampleGroup(0, 1, 1, numbered(1, 10))])
    const page = await journal.read({ shard: 0, segments: [segment(1, l1, 3, 6)], after: 0, limit: 100 })
    assert.deepEqual(
      page.events.map((e) => e.offset),
      [3, 4, 5, 6],
    )
    assert.deepEqual([page.scannedTo, page.end], [6, true])
  })

  test('the highest epoch of each shard, over all leases', async (open) => {
    const a = await open(l1)
    await a.append(l1, [sampleGroup(0, 3, 1, numbered(1, 1)), sampleGroup(1, 9, 1, numbered(1, 1))])
    const b = await open(l2)
    await b.append(l2, [sampleGroup(0, 7, 2, numbered(2, 2))])
    await a.close()
    assert.deepEqual(
      [...(await b.highestEpochs([0, 1, 2]))],
      [
        [0, 7],
        [1, 9],
        [2, 0],
      ],
    )
  })
}
