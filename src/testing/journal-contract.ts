/**
 * What every journal driver must do, as a suite to run over it. Import it in a test file of your driver:
 *
 *     describeJournalContract('mine', { describe, it }, async () => makeWorld())
 *
 * The idea: a world is one shared journal (a directory, a database); its handles are the processes of a cluster. Each
 * test makes a world of its own. Timings are not part of the contract, except that nothing waits for another writer.
 *
 * Must not live here: a test runner, anything of one driver.
 */
import assert from 'node:assert/strict'
import { asEpoch, asLeaseId, type LeaseId } from '../core/kernel/brand.js'
import { type ErrorCode, isSkeinError } from '../core/kernel/error.js'
import type {
  AppendGroup,
  Journal,
  JournalEvent,
  ReadRequest,
  Segment,
  StoredEvent,
} from '../ports/journal.js'
import type { TestRunner } from './store-contract.js'

export interface JournalWorld {
  /** A handle of its own on the journal of this world, not opened yet. */
  handle(limits?: { readonly queueEventsMax: number }): Journal
  /** Closes what is open and removes everything. */
  end(): Promise<void>
}

const l1 = asLeaseId('lease-1')
const l2 = asLeaseId('lease-2')
const e1 = asEpoch(1)
const e2 = asEpoch(2)

/** An event with what matters to the test; the rest is filled in. */
export function sampleEvent(id: string, over: Partial<JournalEvent> = {}): JournalEvent {
  return {
    stream: 's',
    key: 'k',
    id,
    type: 't',
    payload: `{"id":"${id}"}`,
    hlc: `hlc-${id}`,
    atMs: 1000,
    ...over,
  }
}

export function sampleGroup(
  shard: number,
  epoch: number,
  first: number,
  events: readonly JournalEvent[],
): AppendGroup {
  return { shard, epoch: asEpoch(epoch), firstOffset: first, events }
}

function numbered(from: number, to: number, over: Partial<JournalEvent> = {}): JournalEvent[] {
  return Array.from({ length: to - from + 1 }, (_, i) => sampleEvent(`e${from + i}`, over))
}

function segment(epoch: number, lease: LeaseId, first: number, last: number): Segment {
  return { epoch: asEpoch(epoch), lease, first, last }
}

const ids = (events: readonly { readonly id: string }[]) => events.map((event) => event.id)

/** Pages through to the end. Fails where a page makes no progress. */
export async function readAll(
  journal: Journal,
  request: Omit<ReadRequest, 'after' | 'limit'>,
  limit = 1000,
): Promise<StoredEvent[]> {
  const all: StoredEvent[] = []
  let after = 0
  for (;;) {
    const page = await journal.read({ ...request, after, limit })
    assert.ok(page.events.length <= limit)
    all.push(...page.events)
    if (page.end) return all
    assert.ok(page.scannedTo > after, `a page after ${after} got no further`)
    after = page.scannedTo
  }
}

async function refused(promise: Promise<unknown>, code: ErrorCode): Promise<void> {
  const error: unknown = await promise.then(
    () => assert.fail(`expected ${code}, but it succeeded`),
    (reason: unknown) => reason,
  )
  assert.ok(isSkeinError(error), `expected ${code}, got ${String(error)}`)
  assert.equal(error.code, code)
}

/** Registers the suite with the test runner given. `makeWorld` is called once per test. */
export function describeJournalContract(
  name: string,
  runner: TestRunner,
  makeWorld: () => Promise<JournalWorld>,
): void {
  const test = (
    title: string,
    body: (open: (lease?: LeaseId) => Promise<Journal>, world: JournalWorld) => Promise<void>,
  ) => {
    runner.it(title, async () => {
      const world = await makeWorld()
      const handles: Journal[] = []
      const open = async (lease?: LeaseId) => {
        const journal = world.handle()
        handles.push(journal)
        await journal.open()
        if (lease !== undefined) await journal.openLease(lease)
        return journal
      }
      try {
        await body(open, world)
      } finally {
        for (const handle of handles) await handle.close()
        await world.end()
      }
    })
  }

  runner.describe(`${name}: writing`, () => describeWriting(test))
  runner.describe(`${name}: sealing and fencing`, () => describeFencing(test))
  runner.describe(`${name}: reading`, () => describeReading(test))
  runner.describe(`${name}: keeping house`, () => describeHousekeeping(test))
}

type Test = (
  title: string,
  body: (open: (lease?: LeaseId) => Promise<Journal>, world: JournalWorld) => Promise<void>,
) => void

function describeWriting(test: Test): void {
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
      assert.equal(await journal.readPositions(text, 0, [l1]), i + 1)
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

function describeFencing(test: Test): void {
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

  test('seal finds first and last per shard and epoch while the writer goes on', async (open) => {
    const writer = await open(l1)
    const other = await open()
    assert.deepEqual(await other.seal(l1, [{ shard: 0, epoch: e1 }]), [])
    assert.deepEqual(await other.seal(asLeaseId('never-was'), [{ shard: 0, epoch: e1 }]), [])
    await writer.append(l1, [sampleGroup(0, 1, 5, numbered(5, 7)), sampleGroup(1, 2, 1, numbered(1, 2))])
    await writer.append(l1, [sampleGroup(0, 1, 8, numbered(8, 9))])
    const wanted = [
      { shard: 0, epoch: e1 },
      { shard: 0, epoch: e2 },
      { shard: 1, epoch: e2 },
    ]
    assert.deepEqual(await other.seal(l1, wanted), [
      { shard: 0, epoch: 1, first: 5, last: 9 },
      { shard: 1, epoch: 2, first: 1, last: 2 },
    ])
    await writer.append(l1, [sampleGroup(0, 1, 10, numbered(10, 10))])
    assert.equal((await other.seal(l1, wanted))[0]?.last, 10)
  })

  test('what lies beyond a seal is never returned, nor what an old owner wrote late', async (open) => {
    const stale = await open(l1)
    await stale.append(l1, [sampleGroup(0, 1, 1, numbered(1, 4))])
    const owner = await open(l2)
    const [sealed] = await owner.seal(l1, [{ shard: 0, epoch: e1 }])
    assert.equal(sealed?.last, 4)
    await stale.append(l1, [sampleGroup(0, 1, 5, numbered(5, 6, { payload: '"late"' }))])
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

function describeReading(test: Test): void {
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

  test('positions: the highest epoch wins, then the highest offset, over the leases asked for', async (open) => {
    const a = await open(l1)
    const b = await open(l2)
    const at = (epoch: number, offset: number) => [{ group: 'g', shard: 0, epoch: asEpoch(epoch), offset }]
    assert.equal(await a.readPositions('g', 0, [l1, l2]), 0)
    await a.commitPositions(l1, at(1, 50))
    await a.commitPositions(l1, at(1, 40))
    assert.equal(await b.readPositions('g', 0, [l1, l2]), 50)
    await b.commitPositions(l2, at(2, 30))
    assert.equal(await a.readPositions('g', 0, [l1, l2]), 30)
    assert.equal(await a.readPositions('g', 0, [l1]), 50)
    assert.equal(await a.readPositions('other', 0, [l1, l2]), 0)
    assert.equal(await a.readPositions('g', 1, [l1, l2]), 0)
    await b.close()
    assert.equal(await a.readPositions('g', 0, [l1, l2]), 30)
  })
}

function describeHousekeeping(test: Test): void {
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
