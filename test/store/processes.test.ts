// biome-ignore-all lint/suspicious/noThenProperty: a transaction's `then` is a list, never awaited
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { SqliteStore, type SqliteStoreOptions } from '../../src/drivers/store-sqlite/sqlite-store.js'
import { monotonicMs } from '../../src/engines/sqlite/clock.js'
import { openDatabase } from '../../src/engines/sqlite/connection.js'
import { type Child, Fixtures } from './child.js'
import { makeDirectory, removeDirectory } from './directory.js'

const fixtures = new Fixtures()
const stores: SqliteStore[] = []
let directory = ''
let path = ''

beforeAll(() => fixtures.build())
afterAll(() => fixtures.remove())
beforeEach(() => {
  directory = makeDirectory()
  path = `${directory}/store.db`
})
afterEach(async () => {
  await fixtures.endChildren()
  for (const store of stores.splice(0)) await store.close()
  removeDirectory(directory)
})

async function open(options: Partial<SqliteStoreOptions> = {}): Promise<SqliteStore> {
  const store = new SqliteStore({ path, ...options })
  await store.open()
  stores.push(store)
  return store
}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))
const writing = { then: [{ type: 'put', key: 'k', value: new Uint8Array() }] } as const

/** Writes until one write succeeds; returns how long that took, and the errors before. */
async function writeAtLast(
  store: SqliteStore,
  giveUpMs: number,
): Promise<{ tookMs: number; errors: string[] }> {
  const startedMs = monotonicMs()
  const errors: string[] = []
  for (;;) {
    try {
      await store.txn(writing, { timeoutMs: 500 })
      return { tookMs: monotonicMs() - startedMs, errors }
    } catch (error) {
      errors.push((error as Error).message)
      if (monotonicMs() - startedMs > giveUpMs) throw error
    }
  }
}

/** The longest gap between two beats of a 20 ms timer. */
function heartbeat(): { longestGapMs(): number; stop(): void } {
  let lastMs = monotonicMs()
  let longestMs = 0
  const timer = setInterval(() => {
    longestMs = Math.max(longestMs, monotonicMs() - lastMs)
    lastMs = monotonicMs()
  }, 20)
  return { longestGapMs: () => longestMs, stop: () => clearInterval(timer) }
}

describe('the SQLite store among processes', () => {
  it('loses and repeats nothing while its writers are killed', { timeout: 30_000 }, async () => {
    const store = await open()
    const ac = new AbortController()
    const seen: string[] = []
    const watching = (async () => {
      for await (const { events } of store.watch('n', { fromRev: 0n, signal: ac.signal })) {
        for (const event of events)
          if (event.type === 'put') seen.push(Buffer.from(event.kv.value).toString())
      }
    })()
    const beat = heartbeat()
    const all: Child[] = []
    const running = Array.from({ length: 4 }, () => fixtures.start('cas-worker', path))
    all.push(...running)
    await Promise.all(running.map((child) => child.line(0)))
    let kills = 0
    for (const endMs = monotonicMs() + 5000; monotonicMs() < endMs; kills++) {
      await sleep(120 + (kills % 5) * 30)
      const victim = kills % running.length
      await running[victim]!.kill()
      running[victim] = fixtures.start('cas-worker', path)
      all.push(running[victim]!)
    }
    for (const child of running) await child.kill()
    beat.stop()
    const acknowledged = all.flatMap((child) => child.lines.map(Number))
    const { kv } = await store.get('n')
    const total = Number(Buffer.from(kv!.value).toString())
    expect(new Set(acknowledged).size).toBe(acknowledged.length)
    expect(Math.max(...acknowledged)).toBeLessThanOrEqual(total)
    // Committed, then killed before it could say so: at most one for each kill.
    expect(total - acknowledged.length).toBeLessThanOrEqual(kills + running.length)
    for (const endMs = monotonicMs() + 3000; seen.length < total && monotonicMs() < endMs; ) await sleep(10)
    ac.abort()
    await watching
    expect(seen).toEqual(Array.from({ length: total }, (_, i) => String(i + 1)))
    const check = openDatabase(path, { readOnly: true })
    expect(check.prepare('PRAGMA integrity_check').all()).toMatchObject([{ integrity_check: 'ok' }])
    check.close()
    console.log(
      `chaos: ${total} writes, ${kills} kills, longest loop gap ${beat.longestGapMs().toFixed(0)} ms`,
    )
    expect(beat.longestGapMs()).toBeLessThan(500)
  })

  it('writes again within TTL + 2 s when a lease holder froze in a write', { timeout: 20_000 }, async () => {
    const ttlMs = 1500
    const [one, two] = [
      await open({ frozenHolderAfterMs: ttlMs }),
      await open({ frozenHolderAfterMs: ttlMs }),
    ]
    const { identity } = one.info
    const frozen = fixtures.start('freezer', path, 'lease', String(ttlMs))
    await frozen.line(0)
    const beat = heartbeat()
    const results = await Promise.all([writeAtLast(one, 6000), writeAtLast(two, 6000)])
    beat.stop()
    const tookMs = Math.max(...results.map((result) => result.tookMs))
    console.log(`frozen lease holder: ${tookMs.toFixed(0)} ms, gap ${beat.longestGapMs().toFixed(0)} ms`)
    expect(tookMs).toBeLessThan(ttlMs + 2000)
    expect(tookMs).toBeGreaterThan(ttlMs - 300)
    expect(beat.longestGapMs()).toBeLessThan(250)
    expect(await frozen.exited).toEqual({ code: null, signal: 'SIGKILL' })
    expect(results[0].errors.join()).toContain(`process ${frozen.process.pid} has held the write lock`)
    const again = await open()
    expect(again.info.identity).toBe(identity)
    expect(await one.health()).toMatchObject({ ok: true })
  })

  it('ends a stopped holder without a lease before the leases of others suffer', {
    timeout: 20_000,
  }, async () => {
    const store = await open({ frozenHolderAfterMs: 2000 })
    const { id } = await store.leaseGrant(2500)
    const frozen = fixtures.start('freezer', path, 'handle')
    await frozen.line(0)
    await store.leaseKeepAlive(id, { timeoutMs: 2400 })
    expect(await frozen.exited).toEqual({ code: null, signal: 'SIGKILL' })
  })

  it('never ends a process that is not known to the store, and names it', { timeout: 20_000 }, async () => {
    const store = await open({ frozenHolderAfterMs: 300 })
    const frozen = fixtures.start('freezer', path, 'foreign')
    await frozen.line(0)
    await expect(store.txn(writing, { timeoutMs: 1500 })).rejects.toMatchObject({
      code: 'timeout',
      message: expect.stringContaining(`process ${frozen.process.pid}`),
    })
    expect(await store.health()).toMatchObject({
      ok: false,
      quorum: true,
      detail: expect.stringContaining('not a Skein process'),
    })
    expect(frozen.process.exitCode).toBeNull()
    await frozen.kill()
    await store.txn(writing)
    expect(await store.health()).toMatchObject({ ok: true })
  })

  it('refuses the guarded write of a leader that was stopped beyond its TTL', {
    timeout: 20_000,
  }, async () => {
    const store = await open()
    const ac = new AbortController()
    const leader = fixtures.start('leader', path, '600')
    await leader.line(0)
    await sleep(1000)
    expect((await store.get('leader')).kv).not.toBeNull()
    const events = store.watch('leader', { signal: ac.signal })
    leader.signal('SIGSTOP')
    const { value } = await events[Symbol.asyncIterator]().next()
    expect(value).toMatchObject({ events: [{ type: 'delete', key: 'leader' }] })
    await store.txn({ then: [{ type: 'put', key: 'leader', value: new Uint8Array() }] })
    leader.signal('SIGCONT')
    leader.say('stale')
    expect([await leader.line(1), await leader.line(2)].sort()).toEqual([
      'refused',
      'renewal lease_not_found',
    ])
    expect((await store.get('data')).kv).toBeNull()
    ac.abort()
  })

  it('wakes the watchers of another process in milliseconds', async () => {
    const [writer, reader] = [await open(), await open()]
    const ac = new AbortController()
    const leader = fixtures.start('leader', path, '60000')
    await leader.line(0)
    const iterator = reader.watch('data', { signal: ac.signal })[Symbol.asyncIterator]()
    const latenciesMs: number[] = []
    for (let i = 1; i <= 40; i++) {
      const next = iterator.next()
      const sentMs = monotonicMs()
      leader.say(String(i))
      await next
      latenciesMs.push(monotonicMs() - sentMs)
      await leader.line(i)
    }
    latenciesMs.sort((a, b) => a - b)
    console.log(`write and watch over two processes: median ${latenciesMs[20]!.toFixed(2)} ms`)
    // Well below the safety poll of 500 ms.
    expect(latenciesMs[20]).toBeLessThan(60)
    expect((await writer.get('data')).kv?.version).toBe(40)
    ac.abort()
  })
})
