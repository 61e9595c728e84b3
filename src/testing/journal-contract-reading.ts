/** The part of the journal's contract about reading, positions and retention. */
import assert from 'node:assert/strict'
import { asEpoch, asLeaseId } from '../core/kernel/brand.js'
import type { Journal, JournalEvent, PositionPage, Segment } from '../ports/journal.js'
import {
  e1,
  ids,
  l1,
  l2,
  numbered,
  readAll,
  refused,
  sampleEvent,
  sampleGroup,
  segment,
  type Test,
} from './journal-contract-kit.js'

export function describeReading(test: Test): void {
  test('pages of any size give every event once, in order', async (open) => {
    const journal = await open(l1)
    for (let first = 1; first <= 700; first += 70) {
      await journal.append(l1, [sampleGroup(0, 1, first, numbered(first, first + 69))])
    }
    await journal.append(l1, [sampleGroup(0, 2, 701, numbered(701, 750))])
    const segments = [segment(1, l1, 1, 700), segment(2, l1, 701, 750)]
    for (const limit of [7, 70, 100, 749, 750, 1000]) {
      const all = await readAll(journal, { shard: 0, segments }, limit)
      assert.deepEqual(
        all.map((e) => e.offset),
        Array.from({ length: 750 }, (_, i) => i + 1),
      )
    }
    const rest = await journal.read({ shard: 0, segments, after: 748, limit: 10 })
    assert.deepEqual([rest.events.length, rest.scannedTo, rest.end], [2, 750, true])
    const none = await journal.read({ shard: 0, segments, after: 750, limit: 10 })
    assert.deepEqual([none.events.length, none.scannedTo, none.end], [0, 750, true])
    const empty = await journal.read({ shard: 5, segments: [], after: 3, limit: 10 })
    assert.deepEqual([empty.events.length, empty.scannedTo, empty.end], [0, 3, true])
  })

  test('filters by key and stream, and still gets to the end', async (open) => {
    const journal = await open(l1)
    const events = Array.from({ length: 600 }, (_, i) =>
      sampleEvent(`e${i + 1}`, { key: `k${i % 50}`, stream: i % 2 === 0 ? 'even' : 'odd' }),
    )
    for (let from = 0; from < 600; from += 6) {
      await journal.append(l1, [sampleGroup(2, 1, from + 1, events.slice(from, from + 6))])
    }
    const segments = [segment(1, l1, 1, 600)]
    const expected = events.filter((e) => e.key === 'k8')
    for (const limit of [1, 5, 12, 1000]) {
      assert.deepEqual(ids(await readAll(journal, { shard: 2, segments, key: 'k8' }, limit)), ids(expected))
    }
    assert.equal((await readAll(journal, { shard: 2, segments, stream: 'odd' }, 33)).length, 300)
    assert.deepEqual(await readAll(journal, { shard: 2, segments, key: 'k8', stream: 'odd' }), [])
    assert.deepEqual(await readAll(journal, { shard: 2, segments, key: 'nobody' }), [])
  })

  test('segments that overlap, leave a gap or go backwards are refused, as is a limit out of range', async (open) => {
    const journal = await open(l1)
    const read = (segments: Segment[], limit = 10) => journal.read({ shard: 0, segments, after: 0, limit })
    await refused(read([segment(1, l1, 1, 5), segment(2, l2, 5, 6)]), 'invalid_argument')
    await refused(read([segment(1, l1, 1, 5), segment(2, l2, 7, 8)]), 'invalid_argument')
    await refused(read([segment(2, l1, 1, 5), segment(1, l2, 6, 8)]), 'invalid_argument')
    await refused(read([], 0), 'invalid_argument')
    await refused(read([], 1001), 'invalid_argument')
    await refused(read([], 1.5), 'invalid_argument')
  })

  test('a segment whose file is gone reads as empty and does not stop the reader', async (open) => {
    const journal = await open(l2)
    await journal.append(l2, [sampleGroup(0, 2, 11, numbered(11, 12))])
    const segments = [segment(1, l1, 1, 10), segment(2, l2, 11, 12)]
    assert.deepEqual(ids(await readAll(journal, { shard: 0, segments })), ['e11', 'e12'])
  })

  test('recent ids: at least countMin, all that are young enough, at most countMax', async (open) => {
    const journal = await open(l1)
    const events = Array.from({ length: 100 }, (_, i) => sampleEvent(`e${i + 1}`, { atMs: 1000 + i + 1 }))
    for (let from = 0; from < 100; from += 20) {
      await journal.append(l1, [sampleGroup(0, 1, from + 1, events.slice(from, from + 20))])
    }
    const segments = [segment(1, l1, 1, 95)]
    const span = (sinceMs: number, countMin: number, countMax: number) =>
      journal
        .recentIds(0, segments, { sinceMs, countMin, countMax })
        .then((r) => [r.length, r[0]?.offset, r.at(-1)?.offset])
    assert.deepEqual(await span(1090, 0, 1000), [6, 90, 95])
    assert.deepEqual(await span(1090, 30, 1000), [30, 66, 95])
    assert.deepEqual(await span(1001, 0, 50), [50, 46, 95])
    assert.deepEqual(await span(0, 0, 1000), [95, 1, 95])
    const [record] = await journal.recentIds(0, segments, { sinceMs: 9999, countMin: 1, countMax: 1 })
    const { stream, key, id, payload, type, atMs } = events[94] as JournalEvent
    assert.deepEqual({ ...record }, { offset: 95, atMs, stream, key, id, payload, type })
  })

  test('positions: the highest epoch wins, then the highest offset, whatever lease they were saved under', async (open) => {
    const a = await open(l1)
    const b = await open(l2)
    const at = (epoch: number, offset: number) => [{ group: 'g', shard: 0, epoch: asEpoch(epoch), offset }]
    const position = async (journal: Journal, group = 'g', shard = 0) =>
      (await journal.readPositions(group, [shard])).get(shard)
    assert.equal(await position(a), 0)
    await a.commitPositions(l1, at(1, 50))
    await a.commitPositions(l1, at(1, 40))
    assert.equal(await position(b), 50)
    await b.commitPositions(l2, at(2, 30))
    assert.equal(await position(a), 30)
    await a.commitPositions(l1, at(1, 60))
    assert.deepEqual(
      [...(await a.readPositions('g', [2, 0]))],
      [
        [2, 0],
        [0, 30],
      ],
    )
    assert.equal(await position(a, 'other'), 0)
    assert.equal(await position(a, 'g', 1), 0)
    await b.close()
    assert.equal(await position(a), 30)
  })
}

export function describeHousekeeping(test: Test): void {
  test('the positions of all groups are listed once each, in pages of any size', async (open) => {
    const a = await open(l1)
    const groups = ['', 'g', 'a\0b', '\uFFFD', '\u{10FFFF}', 'x'.repeat(3000)]
    const saved = groups.flatMap((group, i) =>
      [0, 3, 200].map((shard) => ({ group, shard, epoch: e1, offset: i + shard + 1 })),
    )
    await a.commitPositions(l1, saved)
    await a.commitPositions(l1, [{ group: 'g', shard: 3, epoch: e1, offset: 99 }])
    const b = await open(l2)
    await b.commitPositions(l2, [
      { group: 'g', shard: 0, epoch: asEpoch(2), offset: 1 },
      { group: 'only here', shard: 1, epoch: asEpoch(4), offset: 7 },
    ])
    const expected = new Map(saved.map((p) => [`${p.shard} ${p.group}`, p]))
    expected.set('3 g', { group: 'g', shard: 3, epoch: e1, offset: 99 })
    expected.set('0 g', { group: 'g', shard: 0, epoch: asEpoch(2), offset: 1 })
    expected.set('1 only here', { group: 'only here', shard: 1, epoch: asEpoch(4), offset: 7 })
    for (const limit of [1, 4, 19, 10_000]) {
      const found = new Map<string, unknown>()
      let count = 0
      for (let after: string | undefined = ''; after !== undefined; ) {
        const page: PositionPage = await b.listPositions(after, limit)
        assert.ok(page.positions.length <= limit)
        for (const { group, shard, epoch, offset } of page.positions) {
          found.set(`${shard} ${group}`, { group, shard, epoch, offset })
          count++
        }
        after = page.next
      }
      assert.equal(count, expected.size)
      assert.deepEqual(found, expected)
    }
    for (const limit of [0, 10_001]) await refused(b.listPositions('', limit), 'invalid_argument')
  })

  test('retention by age drops the oldest, keeps offsets, and is seen as a hole', async (open) => {
    const journal = await open(l1)
    for (let i = 1; i <= 30; i++) {
      await journal.append(l1, [sampleGroup(0, 1, i, numbered(i, i, { atMs: i * 1000 }))])
    }
    const policy = { ageMsMax: 10_000, streamBytesMax: Number.MAX_SAFE_INTEGER }
    assert.equal(await journal.trim(policy, 31_000), 20)
    assert.equal(await journal.trim(policy, 31_000), 0)
    const found = await readAll(journal, { shard: 0, segments: [segment(1, l1, 1, 30)] })
    assert.deepEqual(
      found.map((e) => e.offset),
      [21, 22, 23, 24, 25, 26, 27, 28, 29, 30],
    )
    await journal.trim(policy, 10_000_000)
    assert.deepEqual(await journal.seal(l1, [{ shard: 0, epoch: e1 }]), [
      { shard: 0, epoch: 1, first: 1, last: 30 },
    ])
    await journal.append(l1, [sampleGroup(0, 1, 31, numbered(31, 31))])
  })

  test('retention by bytes is per stream', async (open) => {
    const journal = await open(l1)
    const payload = JSON.stringify('x'.repeat(1000))
    for (let i = 1; i <= 40; i++) {
      const stream = i % 4 === 0 ? 'small' : 'big'
      await journal.append(l1, [sampleGroup(0, 1, i, [sampleEvent(`e${i}`, { stream, payload })])])
    }
    await journal.trim({ ageMsMax: Number.MAX_SAFE_INTEGER, streamBytesMax: 15_000 }, 2000)
    const segments = [segment(1, l1, 1, 40)]
    const big = await readAll(journal, { shard: 0, segments, stream: 'big' })
    assert.ok(big.length >= 12 && big.length <= 15, `${big.length} of 30 left`)
    assert.equal(big.at(-1)?.offset, 39)
    assert.equal((await readAll(journal, { shard: 0, segments, stream: 'small' })).length, 10)
    const [file] = await journal.leaseFiles()
    assert.ok((file?.streamBytes.get('big') ?? 0) <= 15_000)
    assert.ok((file?.streamBytes.get('small') ?? 0) >= 10_000)
  })

  test('retention reaches the events of an ended lease, with less for one stream than for others', async (open) => {
    const old = await open(l1)
    const payload = JSON.stringify('x'.repeat(1000))
    for (let i = 1; i <= 40; i++) {
      const stream = i % 2 === 0 ? 'even' : 'odd'
      await old.append(l1, [sampleGroup(0, 1, i, [sampleEvent(`e${i}`, { stream, payload })])])
    }
    await old.close()
    const journal = await open(l2)
    const policy = {
      ageMsMax: Number.MAX_SAFE_INTEGER,
      streamBytesMax: Number.MAX_SAFE_INTEGER,
      streamBytesMaxOf: new Map([['even', 5_000]]),
    }
    assert.equal(await journal.trim(policy, 0), 0)
    const removed = await journal.trim(policy, 0, l1)
    assert.ok(removed >= 14 && removed <= 17, `${removed} events of 1,000 bytes removed`)
    assert.equal(await journal.trim(policy, 0, l1), 0)
    const found = await readAll(journal, { shard: 0, segments: [segment(1, l1, 1, 40)] })
    assert.equal(found.filter((e) => e.stream === 'odd').length, 20)
    assert.equal(found.length, 40 - removed)
    assert.deepEqual(await journal.seal(l1, [{ shard: 0, epoch: e1 }]), [
      { shard: 0, epoch: 1, first: 1, last: 40 },
    ])
    assert.equal(await journal.trim(policy, 0, asLeaseId('never')), 0)
  })

  test('a log whose beginning is gone is read from where it begins', async (open) => {
    const journal = await open(l1)
    await journal.append(l1, [sampleGroup(0, 2, 101, numbered(101, 105))])
    const page = await journal.read({ shard: 0, segments: [segment(2, l1, 101, 105)], after: 0, limit: 3 })
    assert.deepEqual(
      [page.events.map((e) => e.offset), page.scannedTo, page.end],
      [[101, 102, 103], 103, false],
    )
  })

  test('positions outlive the events they were saved beside', async (open) => {
    const old = await open(l1)
    await old.append(l1, [sampleGroup(0, 1, 1, numbered(1, 3))])
    await old.commitPositions(l1, [
      { group: 'g', shard: 0, epoch: e1, offset: 3 },
      { group: 'g', shard: 1, epoch: asEpoch(4), offset: 9 },
    ])
    await old.close()
    const bare = await open()
    await refused(bare.dropLease(l1), 'invalid_argument')
    await bare.close()
    const journal = await open(l2)
    await journal.commitPositions(l2, [{ group: 'g', shard: 1, epoch: asEpoch(5), offset: 2 }])
    await journal.dropLease(l1)
    await journal.close()
    const reader = await open()
    assert.deepEqual(
      [...(await reader.readPositions('g', [0, 1]))],
      [
        [0, 3],
        [1, 2],
      ],
    )
  })

  test('files are listed, dropped for good, and never the current one', async (open) => {
    const old = await open(l1)
    await old.append(l1, [sampleGroup(0, 1, 1, numbered(1, 3, { atMs: 77 }))])
    await old.close()
    const journal = await open(l2)
    const files = [...(await journal.leaseFiles())].sort((a, b) => (a.lease < b.lease ? -1 : 1))
    assert.deepEqual(
      files.map((f) => [f.lease, f.newestAtMs]),
      [
        [l1, 77],
        [l2, 0],
      ],
    )
    assert.ok((files[0]?.bytes ?? 0) > 0)
    assert.equal(
      (await journal.read({ shard: 0, segments: [segment(1, l1, 1, 3)], after: 0, limit: 9 })).events.length,
      3,
    )
    await refused(journal.dropLease(l2), 'invalid_argument')
    await journal.dropLease(l1)
    await journal.dropLease(l1)
    assert.deepEqual(
      (await journal.leaseFiles()).map((f) => f.lease),
      [l2],
    )
    assert.deepEqual(await journal.seal(l1, [{ shard: 0, epoch: e1 }]), [])
    const health = await journal.health()
    assert.equal(health.ok, true, health.detail)
  })

  test('all handles of one journal have one identity', async (open) => {
    const handles = await Promise.all([open(), open(), open()])
    assert.equal(new Set(handles.map((h) => h.info.identity)).size, 1)
    assert.notEqual(handles[0]?.info.identity, '')
  })
}
