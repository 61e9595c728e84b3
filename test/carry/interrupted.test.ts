/** Carries that are cut short anywhere, go on, are refused, and find differences: on files, so that anything can be done to them. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { asLeaseId } from '../../src/core/kernel/brand.js'
import { jsonDecode, jsonEncode } from '../../src/core/kernel/text.js'
import { openDatabase } from '../../src/engines/sqlite/connection.js'
import type { CarryPhase } from '../../src/runtime/carry/carry.js'
import type { Place } from '../../src/runtime/carry/carry-between.js'
import { listCluster } from '../../src/runtime/carry/carry-source.js'
import { carry, readAll, sqliteIn, startNode } from './kit.js'
import { makeSource, openJournal, openStore, sourceShards } from './source.js'

const bin = resolve(import.meta.dirname, '../../bin/skein.js')
let directory: string
let from: Place
let to: Place
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'skein-carry-'))
  from = sqliteIn(join(directory, 'from'))
  to = sqliteIn(join(directory, 'to'))
})
afterEach(() => rmSync(directory, { recursive: true, force: true }))

async function keysOf(place: Place): Promise<Map<string, unknown>> {
  const store = await openStore(place)
  const kvs = await listCluster(store, 'skein')
  await store.close()
  return new Map(kvs.map(({ key, value }) => [key, jsonDecode(value)]))
}

const arguments_ = (...more: string[]): string[] => [
  bin,
  'carry',
  '--data-dir',
  join(directory, 'n1'),
  '--store',
  from.store,
  '--journal',
  from.journal,
  ...more,
]
const target = (): string[] => ['--to-store', to.store, '--to-journal', to.journal]

function command(...more: string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, arguments_(...more), { encoding: 'utf8' })
  return { code: status, out: stdout, err: stderr }
}

function files(path: string): string[] {
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !/-(shm|wal|signal)$/.test(entry.name))
    .map((entry) => `${entry.name} ${statSync(join(entry.parentPath, entry.name)).size}`)
    .sort()
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}

describe('what a carry brings along', () => {
  it('is every event with its gaps, the tail that nobody sealed, terms, epochs above all, and no lease', async () => {
    const events = await makeSource(from)
    const report = await carry(from, to, directory)
    expect(report).toMatchObject({
      outcome: 'carried',
      events,
      copied: events,
      positions: sourceShards,
      checkpoints: 3,
      leases: 4,
    })
    const there = await openJournal(to)
    expect((await there.readCheckpoint('bob'))?.state).toHaveLength(3_000_000)
    expect(await there.readCheckpoint('alice')).toMatchObject({ epoch: 3, seq: 7 })
    expect(await there.readCheckpoint('gone')).toBeUndefined()
    await there.close()
    const keys = await keysOf(to)
    expect(keys.get('leader')).toEqual({ v: 1, term: 17, node_id: null, lease: null, reason: 'carried' })
    expect(keys.get('documents/greeting')).toEqual({ v: 1, text: 'hello' })
    expect([...keys.keys()].filter((key) => /^(nodes|removed|evicted|shards\/release)\//.test(key))).toEqual(
      [],
    )
    const map = keys.get('shards/map') as { owners: unknown[]; shards: [number, number, null, unknown[]][] }
    // Shard 2 was released with a floor above its epoch.
    expect(map.shards.map(([epoch, owner, , unsealed]) => [epoch, owner, unsealed])).toEqual(
      [7, 9, 11, 9, 7, 9, 7, 9].map((epoch) => [epoch, -1, []]),
    )
    const seals = keys.get('shards/seals/3') as {
      through: number
      end: number
      segments: [number, string, number, number][]
    }
    expect([seals.through, seals.end]).toEqual([9, 150])
    expect(seals.segments.map(([epoch, , first, last]) => [epoch, first, last])).toEqual([
      [2, 1, 50],
      [4, 51, 100],
      [9, 101, 150],
    ])
    for (const [, lease] of seals.segments) expect(lease).toMatch(new RegExp(`^carried-${report.id}-\\d$`))

    const node = await startNode('n1', to, directory, { shards: sourceShards })
    const read = [
      ...(await readAll(node, 'orders')).values(),
      ...(await readAll(node, 'old')).values(),
    ].flat()
    expect(read).toHaveLength(events)
    for (const { shard, epoch } of node.cluster.shards())
      expect(epoch).toBeGreaterThan(map.shards[shard]?.[0] ?? 0)
    await node.stop({ deadlineMs: 5_000 })
  })

  it('is nothing at all for a dry run: no file is touched, no mark is left', async () => {
    const events = await makeSource(from)
    mkdirSync(join(directory, 'to'))
    const store = await openStore(from)
    const { rev } = await store.get('any')
    const before = files(join(directory, 'from'))
    const report = await carry(from, to, directory, { isDryRun: true })
    expect(report.outcome).toBe('would_carry')
    expect(report.events).toBeGreaterThanOrEqual(events)
    expect((await store.get('any')).rev).toBe(rev)
    await store.close()
    expect(files(join(directory, 'from'))).toEqual(before)
    expect([...(await keysOf(to)).keys()]).toEqual([])
  })
})

describe('a carry that is cut short', () => {
  it('anywhere goes on where it stopped; until then no node takes part at either end', async () => {
    const events = await makeSource(from, 800)
    const stops: [CarryPhase, number][] = [
      ['events', 1],
      ['events', 2_000],
      ['events', 4_000],
      ['events', 5_000],
      ['positions', 1],
      ['checkpoints', 1],
      ['keys', 1],
      ['proof', 1],
    ]
    let before = 0
    for (const [at, count] of stops) {
      const stop = new AbortController()
      let here = 0
      const onProgress = (phase: CarryPhase, done: number): void => {
        if (phase === 'events') here = done
        if (phase === at && done >= count) stop.abort(new Error(`cut short at ${at}`))
      }
      await expect(carry(from, to, directory, { signal: stop.signal, onProgress })).rejects.toThrow(
        `cut short at ${at}`,
      )
      before += here
      for (const place of [from, to])
        await expect(startNode('n1', place, directory, { shards: sourceShards })).rejects.toMatchObject({
          code: 'conflict',
        })
    }
    const report = await carry(from, to, directory)
    expect(report).toMatchObject({ outcome: 'carried', events, resumed: true, copied: 0 })
    expect(before).toBe(events)
  })

  it('by kill -9 at any moment ends up with every event once', async () => {
    const events = await makeSource(from, 1_500, 200)
    const journal = join(directory, 'to', 'journal')
    const written = (): number =>
      existsSync(journal)
        ? readdirSync(journal).reduce((sum, name) => sum + sizeOf(join(journal, name)), 0)
        : 0
    // By what has been written and not by the clock: so much more in each run, until there is no more.
    for (let run = 0; ; run++) {
      const child: ChildProcess = spawn(process.execPath, arguments_(...target(), '--json'), {
        stdio: ['ignore', 'pipe', 'pipe'],
      })
      let out = ''
      let err = ''
      child.stdout?.on('data', (chunk) => (out += chunk))
      child.stderr?.on('data', (chunk) => (err += chunk))
      const looking = setInterval(() => {
        if (written() > run * 900_000 + 1) child.kill('SIGKILL')
      }, 2)
      const code = await new Promise<number | null>((done) => child.once('close', done))
      clearInterval(looking)
      if (code === null) continue
      expect([code, err]).toEqual([0, ''])
      expect(JSON.parse(out)).toMatchObject({ outcome: 'carried', events })
      expect(run).toBeGreaterThan(2)
      break
    }
    expect(await carry(from, to, directory)).toMatchObject({ outcome: 'done_before' })
  }, 120_000)

  it('is not finished when the source has changed; a source may be opened again, and says what that means', async () => {
    await makeSource(from, 1_200)
    const stop = new AbortController()
    const onProgress = (): void => stop.abort(new Error('cut short'))
    await expect(carry(from, to, directory, { signal: stop.signal, onProgress })).rejects.toThrow('cut short')
    const opened = command('--reopen')
    expect([opened.code, opened.err]).toEqual([0, ''])
    const node = await startNode('n1', from, directory, { shards: sourceShards })
    await node.events.publish('orders', { key: 'k', type: 't', payload: 1 })
    await node.stop({ deadlineMs: 5_000 })
    await expect(carry(from, to, directory)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('nodes ran on it since'),
    })
    // Half a state is never opened.
    const half = spawnSync(
      process.execPath,
      [bin, 'carry', '--reopen', '--data-dir', join(directory, 'n1'), '--store', to.store],
      { encoding: 'utf8' },
    )
    expect([half.status, half.stderr]).toEqual([5, expect.stringContaining('half a state')])
  })
})

async function hold(place: Place): Promise<void> {
  const store = await openStore(place)
  const { id } = await store.leaseGrant(60_000)
  const value = jsonEncode({ v: 1 })
  await store.txn({ then: [{ type: 'put', key: 'skein/skein/nodes/n9', value, lease: id }] })
  await store.close()
}

describe('a carry is refused', () => {
  beforeEach(async () => void (await makeSource(from, 3)))

  it('while a node holds a lease, at either end', async () => {
    await hold(to)
    await expect(carry(from, to, directory)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringMatching(/a node holds a lease in .*to\/store.db: n9/),
    })
    await hold(from)
    const done = command(...target())
    expect([done.code, done.err]).toEqual([5, expect.stringMatching(/from\/store.db: n9\. Stop all nodes/)])
    expect(done.err.trim().split('\n')).toHaveLength(1)
  })

  it('into a store or a journal that is not empty', async () => {
    const journal = await openJournal(to)
    await journal.openLease(asLeaseId('somebody'))
    await journal.close()
    await expect(carry(from, to, directory)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('holds events already'),
    })
    const store = await openStore(to)
    await store.txn({ then: [{ type: 'put', key: 'skein/skein/boots/n1', value: jsonEncode({ v: 1 }) }] })
    await store.close()
    await expect(carry(from, to, directory)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringMatching(/holds 1 keys of a cluster "skein" already \(boots\/n1\)/),
    })
  })

  it('from another journal than the cluster has, to the same store, of a cluster that is not there', async () => {
    const other = { ...from, journal: `sqlite:${join(directory, 'other')}` }
    await expect(carry(other, to, directory)).rejects.toMatchObject({ code: 'store_mismatch' })
    await expect(carry(from, { ...to, store: from.store }, directory)).rejects.toMatchObject({
      code: 'bad_config',
    })
    await expect(carry(from, to, directory, { config: { clusterName: 'other' } })).rejects.toMatchObject({
      code: 'not_found',
      message: expect.stringContaining('"other"'),
    })
  })

  it('to a second place once it was carried, until the source is opened again', async () => {
    expect(await carry(from, to, directory)).toMatchObject({ outcome: 'carried' })
    const third = sqliteIn(join(directory, 'third'))
    await expect(carry(from, third, directory)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining(`--store ${to.store}`),
    })
    expect(command('--reopen').code).toBe(0)
    expect(await carry(from, third, directory)).toMatchObject({ outcome: 'carried' })
  })

  it('with a code for each kind of mistake, and one line', () => {
    const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
      [[], 2, /--to-store says where to/],
      [['--to-store', 'file:x'], 2, /--to-store: sqlite:PATH, etcd/],
      [['--to-store', to.store, '--to-journal', 'x'], 2, /--to-journal: sqlite:DIRECTORY/],
      [[...target(), '--reopen'], 2, /goes with none/],
      [['--reopen'], 4, /no mark of a carry/],
      [['--to-store', to.store, '--to-journal', 'postgres://u:secret@127.0.0.1:1/db'], 3, /unavailable/],
    ]
    for (const [args, code, words] of cases) {
      const done = command(...args)
      expect([done.code, done.err]).toEqual([code, expect.stringMatching(words)])
      expect(done.err.trim().split('\n')).toHaveLength(1)
      expect(done.err).not.toContain('secret')
    }
  })
})

describe('the proof', () => {
  it('finds an event that is missing, and leaves the target closed', async () => {
    await makeSource(from)
    const stop = new AbortController()
    const { carryBetween } = await import('../../src/runtime/carry/carry-between.js')
    const { configFor } = await import('./kit.js')
    let isDoctored = false
    const work = carryBetween(
      configFor(from, directory),
      to,
      {
        isDryRun: false,
        signal: stop.signal,
        onProgress: (phase) => {
          if (phase !== 'keys' || isDoctored) return
          isDoctored = true
          const journal = join(directory, 'to', 'journal')
          const file = readdirSync(journal).find((name) => name.endsWith('-1.db')) as string
          const database = openDatabase(join(journal, file))
          database.exec('DELETE FROM block WHERE id = (SELECT max(id) FROM block)')
          database.close()
        },
      },
      () => undefined,
    )
    await expect(work).rejects.toMatchObject({
      code: 'corrupt',
      message: expect.stringContaining('is not to be used'),
    })
    await expect(startNode('n1', to, directory, { shards: sourceShards })).rejects.toMatchObject({
      code: 'conflict',
    })
  })
})
