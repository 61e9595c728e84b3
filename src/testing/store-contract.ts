// biome-ignore-all lint/suspicious/noThenProperty: a transaction's `then` is a list, never awaited
/**
 * What every store driver must do, as tests. Bring your own runner: pass its `describe` and `it`; assertions are
 * `node:assert/strict`.
 *
 * The contract is written against the port alone. What needs a driver's own means (killing a server, stopping a lock
 * holder, cutting a connection) belongs to that driver's tests.
 */
import assert from 'node:assert/strict'
import type { Revision } from '../core/kernel/brand.js'
import { isSkeinError } from '../core/kernel/error.js'
import { type Compare, type KeyValue, storeLimits, type WatchBatch } from '../core/kernel/store-types.js'
import type { Store } from '../ports/store.js'

/** The two functions of a test runner that the suite uses (vitest, node:test, mocha, jest all have them). */
export interface TestRunner {
  readonly describe: (name: string, define: () => void) => void
  readonly it: (name: string, run: () => Promise<void>) => void
}

/** One fresh, empty store. */
export interface StoreWorld {
  /** Another open handle on the same store, as another node would have it. */
  handle(): Promise<Store>
  /** Closes all handles and removes the store. */
  end(): Promise<void>
  /** How late after its TTL a lease may end, in ms. Default 250. */
  readonly expiryLagMsMax?: number
}

const bytes = (text: string) => new TextEncoder().encode(text)
const text = (value: Uint8Array | undefined) => new TextDecoder().decode(value)
const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))
const nowMs = () => Number(process.hrtime.bigint()) / 1e6
const put = (key: string, value: string, lease?: KeyValue['lease']) =>
  ({
    type: 'put',
    key,
    value: bytes(value),
    ...(lease === undefined || lease === null ? {} : { lease }),
  }) as const

async function assertCode(work: Promise<unknown>, code: string): Promise<Error> {
  try {
    await work
  } catch (error) {
    assert.ok(isSkeinError(error), `expected a SkeinError ${code}, got ${String(error)}`)
    assert.equal(error.code, code)
    return error
  }
  assert.fail(`expected the error ${code}, but the call succeeded`)
}

/** Takes batches until `enough`; fails with what it saw when they do not come. */
async function collect(
  watch: AsyncIterable<WatchBatch>,
  enough: (batches: readonly WatchBatch[]) => boolean,
  timeoutMs = 5000,
): Promise<WatchBatch[]> {
  const batches: WatchBatch[] = []
  const iterator = watch[Symbol.asyncIterator]()
  const deadlineMs = nowMs() + timeoutMs
  while (!enough(batches)) {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<'late'>((resolve) => {
      timer = setTimeout(() => resolve('late'), Math.max(0, deadlineMs - nowMs()))
    })
    const next = await Promise.race([iterator.next(), late])
    clearTimeout(timer)
    if (next === 'late') assert.fail(`the watch stood still after ${describeBatches(batches)}`)
    if (next.done === true) assert.fail(`the watch ended after ${describeBatches(batches)}`)
    batches.push(next.value)
  }
  return batches
}

const describeBatches = (batches: readonly WatchBatch[]) =>
  `${batches.length} batches, last revision ${batches.at(-1)?.rev ?? 'none'}`

const eventTexts = (batches: readonly WatchBatch[]) =>
  batches.flatMap(({ events }) =>
    events.map((event) =>
      event.type === 'put' ? `put ${event.kv.key}=${text(event.kv.value)}` : `delete ${event.key}`,
    ),
  )

const counted = (count: number) => (batches: readonly WatchBatch[]) => batches.length >= count

/** Defines the suite. Each test gets a world of its own. */
export function describeStoreContract(
  name: string,
  makeWorld: () => Promise<StoreWorld>,
  { describe, it }: TestRunner,
): void {
  const test = (title: string, run: (world: StoreWorld, a: Store, b: Store) => Promise<void>) =>
    it(title, async () => {
      const world = await makeWorld()
      try {
        await run(world, await world.handle(), await world.handle())
      } finally {
        await world.end()
      }
    })
  describe(`${name} keeps the store contract`, () => {
    describe('keys and transactions', () => defineKeys(test))
    describe('watches', () => defineWatches(test))
    describe('leases', () => defineLeases(test))
    describe('limits, deadlines and the end', () => defineLimits(test))
  })
}

type Test = (title: string, run: (world: StoreWorld, a: Store, b: Store) => Promise<void>) => void

function defineKeys(test: Test): void {
  test('numbers creations, changes and versions, and begins anew after a delete', async (_, a) => {
    const first = await a.txn({ then: [put('k', '1')] })
    const second = await a.txn({ then: [put('k', '2')] })
    assert.ok(first.ok && second.rev > first.rev)
    const { kv } = await a.get('k')
    assert.deepEqual(
      [kv?.createRev, kv?.modRev, kv?.version, text(kv?.value), kv?.lease],
      [first.rev, second.rev, 2, '2', null],
    )
    await a.txn({ then: [{ type: 'delete', key: 'k' }] })
    assert.equal((await a.get('k')).kv, null)
    const again = await a.txn({ then: [put('k', '3')] })
    const after = (await a.get('k')).kv
    assert.deepEqual([after?.createRev, after?.version], [again.rev, 1])
  })

  test('compares every target with every operator, on keys there and not there', async (_, a) => {
    const { id } = await a.leaseGrant(60_000)
    await a.txn({ then: [put('k', 'x')] })
    const { rev } = await a.txn({ then: [put('k', 'v', id)] })
    const created = (await a.get('k')).kv!.createRev
    const holding: Compare[] = [
      { key: 'k', target: 'createRev', op: '=', value: created },
      { key: 'k', target: 'createRev', op: '<', value: rev },
      { key: 'k', target: 'modRev', op: '=', value: rev },
      { key: 'k', target: 'modRev', op: '>', value: created },
      { key: 'k', target: 'modRev', op: '!=', value: created },
      { key: 'k', target: 'version', op: '=', value: 2 },
      { key: 'k', target: 'version', op: '>', value: 1 },
      { key: 'k', target: 'version', op: '<', value: 3 },
      { key: 'k', target: 'value', op: '=', value: bytes('v') },
      { key: 'k', target: 'value', op: '!=', value: bytes('w') },
      { key: 'k', target: 'lease', op: '=', value: id },
      { key: 'k', target: 'lease', op: '!=', value: null },
      { key: 'none', target: 'createRev', op: '=', value: 0n },
      { key: 'none', target: 'modRev', op: '<', value: 1n },
      { key: 'none', target: 'version', op: '=', value: 0 },
      { key: 'none', target: 'value', op: '=', value: new Uint8Array() },
      { key: 'none', target: 'lease', op: '=', value: null },
    ]
    for (const compare of holding) {
      const { ok } = await a.txn({ if: [compare], then: [{ type: 'get', key: 'k' }] })
      assert.ok(ok, `${compare.key} ${compare.target} ${compare.op} should hold`)
      const inverse = { '=': '!=', '!=': '=', '<': '>', '>': '<' } as const
      const opposite = { ...compare, op: inverse[compare.op] } as Compare
      const refused = await a.txn({ if: [opposite], then: [put('k2', 'never')] })
      assert.equal(refused.ok, false, `${opposite.key} ${opposite.target} ${opposite.op} should not hold`)
    }
  })

  test('carries out one branch, its writes under one revision, each op seeing those before', async (_, a) => {
    const { rev, ok, results } = await a.txn({
      if: [{ key: 'none', target: 'version', op: '>', value: 0 }],
      then: [put('wrong', '')],
      else: [
        put('p/a', '1'),
        put('p/b', '2'),
        { type: 'get', key: 'p/a' },
        { type: 'list', prefix: 'p/' },
        { type: 'delete', key: 'absent' },
      ],
    })
    assert.equal(ok, false)
    assert.equal(text(results[2]?.kv?.value), '1')
    assert.deepEqual(
      results[3]?.kvs?.map((kv) => [kv.key, kv.modRev]),
      [
        ['p/a', rev],
        ['p/b', rev],
      ],
    )
    assert.equal(results[4]?.deletedCount, 0)
    const gone = await a.txn({ then: [{ type: 'deletePrefix', prefix: 'p/' }] })
    assert.equal(gone.results[0]?.deletedCount, 2)
    assert.equal((await a.get('wrong')).kv, null)
  })

  test('makes no revision when nothing was written', async (_, a) => {
    const before = await a.txn({ then: [put('k', '1')] })
    const never = { key: 'k', target: 'version', op: '=', value: 9 } as const
    assert.equal((await a.txn({ if: [never], then: [put('k', '2')] })).rev, before.rev)
    assert.equal((await a.txn({ then: [{ type: 'delete', key: 'none' }] })).rev, before.rev)
    assert.equal((await a.txn({ then: [{ type: 'get', key: 'k' }] })).rev, before.rev)
    assert.equal((await a.get('k')).rev, before.rev)
  })

  test('loses no increment of several clients', async (world, a, b) => {
    const increments = 40
    const work = async (store: Store) => {
      for (let done = 0; done < increments; ) {
        const { kv } = await store.get('n')
        const value = String(Number(text(kv?.value)) + 1)
        const unchanged = { key: 'n', target: 'modRev', op: '=', value: kv?.modRev ?? 0n } as const
        if ((await store.txn({ if: [unchanged], then: [put('n', value)] })).ok) done++
      }
    }
    await Promise.all([a, b, await world.handle(), await world.handle()].map(work))
    const { kv } = await a.get('n')
    assert.deepEqual([text(kv?.value), kv?.version], [String(4 * increments), 4 * increments])
  })

  test('shows an acknowledged write to every other client at once', async (_, a, b) => {
    for (let i = 0; i < 50; i++) {
      const { rev } = await a.txn({ then: [put('k', String(i))] })
      const seen = await b.get('k')
      assert.deepEqual([text(seen.kv?.value), seen.rev], [String(i), rev])
    }
  })

  test('lists a prefix in UTF-8 byte order, in pages, and keeps bytes as they are', async (_, a) => {
    const ordered = ['p', 'p/', 'p/\u0001', 'p/a', 'p/é', 'p/\ud7ff', 'p/\ufffd', 'p/𐀀', 'p/\u{10ffff}']
    const binary = Uint8Array.from({ length: 256 }, (_, i) => i)
    for (const key of [...ordered].reverse()) {
      await a.txn({ then: [{ type: 'put', key, value: key === 'p/a' ? binary : new Uint8Array() }] })
    }
    await a.txn({ then: [put('o', ''), put('q', ''), put('p0', '')] })
    const inside = ordered.slice(1)
    const all = await a.list('p/')
    assert.deepEqual(
      all.kvs.map((kv) => kv.key),
      inside,
    )
    assert.equal(all.more, false)
    assert.deepEqual(all.kvs[2]?.value, binary)
    assert.equal(all.kvs[0]?.value.byteLength, 0)
    const paged: string[] = []
    for (let more = true; more; ) {
      const last = paged.at(-1)
      const page = await a.list('p/', { limit: 3, ...(last === undefined ? {} : { startAfter: last }) })
      assert.ok(page.kvs.length <= 3)
      paged.push(...page.kvs.map((kv) => kv.key))
      more = page.more
    }
    assert.deepEqual(paged, inside)
    assert.equal((await a.list('')).kvs.length, ordered.length + 3)
    assert.equal((await a.list('p/\u{10ffff}')).kvs.length, 1)
  })
}

function defineWatches(test: Test): void {
  test('delivers the past once and in order, one batch per revision, then the present', async (_, a, b) => {
    const ac = new AbortController()
    const { rev } = await a.txn({ then: [put('w/1', 'a'), put('x', 'no'), put('w/2', 'b')] })
    await b.txn({ then: [put('y', 'no')] })
    await a.txn({ then: [put('w/1', 'c'), { type: 'delete', key: 'w/2' }] })
    const watch = b.watch('w/', { fromRev: rev, signal: ac.signal })
    const later = sleep(30).then(() => a.txn({ then: [put('w/3', 'd')] }))
    const batches = await collect(watch, counted(3))
    await later
    assert.deepEqual(
      batches.map(({ events }) => events.length),
      [2, 2, 1],
    )
    assert.equal(batches[0]?.rev, rev)
    assert.deepEqual(eventTexts(batches), ['put w/1=a', 'put w/2=b', 'put w/1=c', 'delete w/2', 'put w/3=d'])
    ac.abort()
  })

  test('begins with now when no revision is named, and misses nothing from then on', async (_, a, b) => {
    const ac = new AbortController()
    await a.txn({ then: [put('k', 'before')] })
    const watch = b.watch('', { signal: ac.signal })
    const collecting = collect(watch, counted(3))
    let done = false
    const ended = () => {
      done = true
    }
    collecting.then(ended, ended)
    for (let i = 0; !done; i++) await a.txn({ then: [put('k', String(i))] })
    const [first, ...rest] = eventTexts(await collecting).map((event) => event.replace('put k=', ''))
    assert.notEqual(first, 'before')
    assert.deepEqual(rest.slice(0, 2), [String(Number(first) + 1), String(Number(first) + 2)])
    ac.abort()
  })

  test('catches up over a long history without a gap while others write', async (world, a, b) => {
    const ac = new AbortController()
    const count = 1500
    const first = (await a.txn({ then: [put('n', '0')] })).rev
    const write = async () => {
      for (let i = 1; i <= count; i++) await a.txn({ then: [put('n', String(i))] })
    }
    const writing = write()
    const early = collect(b.watch('n', { fromRev: first, signal: ac.signal }), counted(count + 1), 20_000)
    await writing
    const third = await world.handle()
    const late = collect(third.watch('n', { fromRev: first, signal: ac.signal }), counted(count + 1), 20_000)
    const expected = Array.from({ length: count + 1 }, (_, i) => `put n=${i}`)
    assert.deepEqual(eventTexts(await early), expected)
    assert.deepEqual(eventTexts(await late), expected)
    ac.abort()
  })

  test('refuses a compacted revision by name; list and watch from there has no gap', async (_, a, b) => {
    const ac = new AbortController()
    const old = (await a.txn({ then: [put('k', '1')] })).rev
    const kept = (await a.txn({ then: [put('k', '2')] })).rev
    await a.compact(kept)
    const refused = b.watch('', { fromRev: old, signal: ac.signal })[Symbol.asyncIterator]().next()
    const error = await assertCode(refused, 'compacted')
    assert.equal((error as Error & { details: { compactRev: Revision } }).details.compactRev, kept)
    assert.deepEqual(
      eventTexts(await collect(b.watch('', { fromRev: kept, signal: ac.signal }), counted(1))),
      ['put k=2'],
    )
    const listed = await b.list('')
    await a.txn({ then: [put('k', '3')] })
    const rest = await collect(b.watch('', { fromRev: listed.rev + 1n, signal: ac.signal }), counted(1))
    assert.deepEqual([text(listed.kvs[0]?.value), eventTexts(rest)], ['2', ['put k=3']])
    ac.abort()
  })

  test('tells a watcher that stood still for too long, or gives it everything, but never skips', async (_, a, b) => {
    const ac = new AbortController()
    const { rev: from } = await a.txn({ then: [put('k', '0')] })
    const iterator = b.watch('', { fromRev: from, signal: ac.signal })[Symbol.asyncIterator]()
    assert.equal((await iterator.next()).done, false)
    let rev = from
    for (let i = 0; i < 300; i++) rev = (await a.txn({ then: [put('k', String(i))] })).rev
    await a.compact(rev)
    let previous = from
    try {
      while (previous < rev) {
        const next = await iterator.next()
        assert.ok(next.done !== true, `the watch ended after ${previous}`)
        assert.equal(next.value.rev, previous + 1n, `gap after ${previous}`)
        previous = next.value.rev
      }
    } catch (error) {
      if (!isSkeinError(error)) throw error
      assert.equal(error.code, 'compacted')
    }
    ac.abort()
  })

  test('ends a watch when its signal aborts and when the store closes', async (_, a, b) => {
    const ac = new AbortController()
    const drained = (watch: AsyncIterable<WatchBatch>) => watch[Symbol.asyncIterator]().next()
    const aborted = drained(a.watch('', { signal: ac.signal }))
    const closed = drained(b.watch('', { signal: new AbortController().signal }))
    await sleep(20)
    ac.abort()
    await b.close()
    assert.equal((await aborted).done, true)
    assert.equal((await closed).done, true)
  })
}

function defineLeases(test: Test): void {
  test('ends a lease not early and soon after, with delete events to others', async (world, a, b) => {
    const ac = new AbortController()
    const beforeMs = nowMs()
    const { id, ttlMs } = await a.leaseGrant(300)
    assert.ok(ttlMs >= 300)
    await a.txn({ then: [put('l/1', '', id), put('l/2', '', id), put('free', '')] })
    const watch = collect(b.watch('', { signal: ac.signal }), counted(1), ttlMs + 2000)
    const batch = await watch
    const elapsedMs = nowMs() - beforeMs
    assert.deepEqual(eventTexts(batch), ['delete l/1', 'delete l/2'])
    assert.ok(elapsedMs >= ttlMs, `ended after ${elapsedMs} of ${ttlMs} ms`)
    const lagMs = world.expiryLagMsMax ?? 250
    assert.ok(elapsedMs <= ttlMs + lagMs, `ended ${elapsedMs - ttlMs} ms late`)
    assert.equal((await a.list('')).kvs.length, 1)
    ac.abort()
  })

  test('never revives a dead lease, and refuses to attach a key to one', async (_, a, b) => {
    const { id, ttlMs } = await a.leaseGrant(150)
    await sleep(ttlMs + 20)
    await assertCode(a.leaseKeepAlive(id), 'lease_not_found')
    await assertCode(b.txn({ then: [put('other', ''), put('k', '', id)] }), 'lease_not_found')
    assert.deepEqual((await b.list('')).kvs, [])
    await a.leaseRevoke(id)
    assert.notEqual((await a.leaseGrant(150)).id, id)
  })

  test('extends a lease without a revision and without waking a watcher', async (_, a, b) => {
    const ac = new AbortController()
    const { id, ttlMs } = await a.leaseGrant(400)
    const { rev } = await a.txn({ then: [put('k', '', id)] })
    const events: WatchBatch[] = []
    const watching = (async () => {
      for await (const batch of b.watch('', { signal: ac.signal })) events.push(batch)
    })()
    const untilMs = nowMs() + 2.5 * ttlMs
    while (nowMs() < untilMs) {
      assert.deepEqual(await b.leaseKeepAlive(id), { ttlMs })
      await sleep(ttlMs / 6)
    }
    const { kv, rev: now } = await b.get('k')
    assert.deepEqual([kv?.lease, now, events.length], [id, rev, 0])
    ac.abort()
    await watching
  })

  test('refuses to extend a lease while the named key exists', async (_, a, b) => {
    const { id } = await a.leaseGrant(60_000)
    await a.leaseKeepAlive(id, { unlessKey: 'evicted/n' })
    await b.txn({ then: [put('evicted/n', '')] })
    await assertCode(a.leaseKeepAlive(id, { unlessKey: 'evicted/n' }), 'fenced')
    await b.txn({ then: [{ type: 'delete', key: 'evicted/n' }] })
    await a.leaseKeepAlive(id, { unlessKey: 'evicted/n' })
  })

  test('revokes at once; a key put anew without the lease stays', async (_, a, b) => {
    const { id } = await a.leaseGrant(60_000)
    await a.txn({ then: [put('mine', '', id), put('kept', '', id)] })
    await a.txn({ then: [put('kept', 'free')] })
    await b.leaseRevoke(id)
    assert.deepEqual(
      (await a.list('')).kvs.map((kv) => [kv.key, kv.lease]),
      [['kept', null]],
    )
    await assertCode(a.leaseKeepAlive(id), 'lease_not_found')
    await b.leaseRevoke(id)
  })

  test('ends two leases that fall due together, and thousands of keys at once', async (_, a, b) => {
    const ac = new AbortController()
    const [one, two] = [await a.leaseGrant(500), await b.leaseGrant(500)]
    const keysPerTxn = storeLimits.txnOpsMax
    for (let i = 0; i < 8; i++) {
      const then = Array.from({ length: keysPerTxn }, (_, k) => put(`m/${i}/${k}`, '', one.id))
      await a.txn({ then })
      await a.leaseKeepAlive(one.id)
      await b.leaseKeepAlive(two.id)
    }
    const { rev } = await b.txn({ then: [put('two', '', two.id)] })
    const batches = await collect(b.watch('', { fromRev: rev + 1n, signal: ac.signal }), (seen) => {
      return eventTexts(seen).length === 8 * keysPerTxn + 1
    })
    assert.equal(new Set(batches.map((batch) => batch.rev)).size, batches.length)
    assert.deepEqual((await a.list('')).kvs, [])
    ac.abort()
  })

  test('lets one candidate win, the next one after it, with rising fences', async (_, a, b) => {
    const campaign = async (store: Store, ttlMs: number) => {
      const { id } = await store.leaseGrant(ttlMs)
      const absent = { key: 'leader', target: 'createRev', op: '=', value: 0n } as const
      const { ok, rev } = await store.txn({ if: [absent], then: [put('leader', id, id)] })
      return { ok, rev, id, fence: { key: 'leader', target: 'createRev', op: '=', value: rev } as const }
    }
    const [first, second] = await Promise.all([campaign(a, 400), campaign(b, 60_000)])
    assert.notEqual(first.ok, second.ok)
    const [winner, loser] = first.ok ? [first, b] : [second, a]
    await loser.leaseRevoke(winner.id)
    const next = await campaign(loser, 60_000)
    assert.ok(next.ok && next.rev > winner.rev)
    const stale = await a.txn({ if: [winner.fence], then: [put('data', 'stale')] })
    const fresh = await b.txn({ if: [next.fence], then: [put('data', 'fresh')] })
    assert.deepEqual([stale.ok, fresh.ok], [false, true])
  })
}

function defineLimits(test: Test): void {
  test('enforces the common limits', async (_, a) => {
    const { keyBytesMax, valueBytesMax, txnOpsMax, txnBytesMax } = storeLimits
    const value = (size: number) => new Uint8Array(size)
    await a.txn({ then: [{ type: 'put', key: 'k'.repeat(keyBytesMax), value: value(valueBytesMax) }] })
    await a.txn({ then: Array.from({ length: txnOpsMax }, (_, i) => put(`k${i}`, '')) })
    await assertCode(a.get('k'.repeat(keyBytesMax + 1)), 'payload_too_large')
    await assertCode(
      a.txn({ then: [{ type: 'put', key: 'k', value: value(valueBytesMax + 1) }] }),
      'payload_too_large',
    )
    await assertCode(
      a.txn({ then: Array.from({ length: txnOpsMax + 1 }, (_, i) => put(`k${i}`, '')) }),
      'payload_too_large',
    )
    const half = value(txnBytesMax / 2)
    await assertCode(
      a.txn({
        then: [
          { type: 'put', key: 'a', value: half },
          { type: 'put', key: 'b', value: half },
        ],
      }),
      'payload_too_large',
    )
  })

  test('refuses malformed keys and contradicting writes', async (_, a) => {
    const { rev } = await a.list('')
    await assertCode(a.get(''), 'invalid_argument')
    await assertCode(a.get('a\0b'), 'invalid_argument')
    await assertCode(a.get('\ud800'), 'invalid_argument')
    await assertCode(a.txn({ then: [put('k', '1'), put('k', '2')] }), 'invalid_argument')
    await assertCode(a.txn({ then: [put('k', '1'), { type: 'delete', key: 'k' }] }), 'invalid_argument')
    await assertCode(
      a.txn({ then: [{ type: 'deletePrefix', prefix: 'k' }, put('k/1', '')] }),
      'invalid_argument',
    )
    await assertCode(a.list('', { limit: 0 }), 'invalid_argument')
    await assertCode(a.leaseGrant(0), 'invalid_argument')
    assert.equal((await a.list('')).rev, rev)
  })

  test('refuses a call whose signal has aborted, before any effect', async (_, a) => {
    const signal = AbortSignal.abort()
    const { rev } = await a.get('k')
    await assertCode(a.txn({ then: [put('k', '')] }, { signal }), 'aborted')
    await assertCode(a.get('k', { signal }), 'aborted')
    await assertCode(a.leaseGrant(1000, { signal }), 'aborted')
    assert.deepEqual(await a.get('k'), { kv: null, rev })
  })

  test('shows one identity to all handles and says that it is well', async (_, a, b) => {
    assert.equal(a.info.identity, b.info.identity)
    assert.ok(a.info.identity.length >= 8 && a.info.ttlMsMin > 0)
    const { ok, quorum } = await a.health()
    assert.deepEqual([ok, quorum], [true, true])
  })

  test('refuses calls after close, which may be repeated and does not end leases', async (_, a, b) => {
    const { id } = await a.leaseGrant(60_000)
    await a.txn({ then: [put('k', 'v', id)] })
    await a.close()
    await a.close()
    await assertCode(a.get('k'), 'closed')
    await assertCode(a.txn({ then: [put('k', '')] }), 'closed')
    assert.equal((await b.get('k')).kv?.lease, id)
  })
}
