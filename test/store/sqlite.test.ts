// biome-ignore-all lint/suspicious/noThenProperty: a transaction's `then` is a list, never awaited
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { SqliteStore, type SqliteStoreOptions } from '../../src/drivers/store-sqlite/sqlite-store.js'
import { monotonicMs } from '../../src/engines/sqlite/clock.js'
import { isBusy, openDatabase, retryBusy } from '../../src/engines/sqlite/connection.js'
import { sharedFilesystem } from '../../src/engines/sqlite/filesystem.js'
import { hostScope } from '../../src/engines/sqlite/host-scope.js'
import { identityOf, isGone, ownIdentity } from '../../src/engines/sqlite/process-identity.js'
import { makeDirectory, removeDirectory } from './directory.js'

const stores: SqliteStore[] = []
let directory = ''
let path = ''

beforeEach(() => {
  directory = makeDirectory()
  path = `${directory}/store.db`
})
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
  removeDirectory(directory)
})

async function open(options: Partial<SqliteStoreOptions> = {}): Promise<SqliteStore> {
  const store = new SqliteStore({ path, ...options })
  stores.push(store)
  await store.open()
  return store
}

const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))
const bytes = (text: string) => new TextEncoder().encode(text)
const put = (key: string, value = '') => ({ type: 'put', key, value: bytes(value) }) as const

describe('opening a SQLite store', () => {
  it('makes files that only their owner can read, in whatever directory', async () => {
    chmodSync(directory, 0o755)
    const store = await open()
    await store.txn({ then: [{ type: 'put', key: 'k', value: new Uint8Array(1) }] })
    const files = readdirSync(directory).filter((name) => name.startsWith('store.db'))
    expect(files).toContain('store.db-wal')
    for (const name of files) expect(statSync(`${directory}/${name}`).mode & 0o077, name).toBe(0)
  })

  it('refuses what is not a store, naming the file and what to do', async () => {
    writeFileSync(path, 'this is text, and long enough to be looked at as a header. '.repeat(100))
    await expect(open()).rejects.toMatchObject({
      code: 'corrupt',
      message: expect.stringMatching(/store\.db.*not a database.*move/s),
    })
    rmSync(path)
    const other = openDatabase(path)
    other.exec('CREATE TABLE theirs (x)')
    other.close()
    await expect(open()).rejects.toMatchObject({
      code: 'incompatible',
      message: expect.stringContaining('not a Skein store'),
    })
  })

  it('says which pages are damaged goods instead of going on', async () => {
    const store = await open()
    for (let i = 0; i < 50; i++) await store.txn({ then: [put(`k${i}`, 'x'.repeat(2000))] })
    await store.close()
    const copy = openDatabase(path)
    copy.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    copy.close()
    const damaged = readFileSync(path)
    damaged.fill(0x5a, 4096)
    const elsewhere = `${directory}/damaged.db`
    writeFileSync(elsewhere, damaged)
    await expect(open({ path: elsewhere })).rejects.toMatchObject({
      code: 'corrupt',
      message: expect.stringContaining(elsewhere),
    })
  })

  it('refuses a directory that cannot be made', async () => {
    writeFileSync(`${directory}/file`, '')
    await expect(open({ path: `${directory}/file/store.db` })).rejects.toMatchObject({
      code: 'data_dir_unusable',
      message: expect.stringContaining('choose another --data-dir'),
    })
  })

  it('knows which filesystems several machines may share', () => {
    expect(sharedFilesystem(directory)).toBeUndefined()
    expect(sharedFilesystem(directory, 0x6969)).toBe('nfs')
    expect(sharedFilesystem(directory, 0xff534d42)).toBe('cifs')
    expect(sharedFilesystem(directory, 0xff534d42 | 0)).toBe('cifs')
    expect(sharedFilesystem(directory, 0x01021997)).toBe('9p')
    expect(sharedFilesystem(directory, 0x65735546)).toBeDefined()
    expect(sharedFilesystem(directory, 0xef53)).toBeUndefined()
  })

  it('ends all leases after a reboot, with events, and never goes back in revisions', async () => {
    const before = await open({ scope: { bootId: 'boot-1', timeNamespace: 'time:[1]' } })
    const { id } = await before.leaseGrant(3_600_000)
    await before.txn({ then: [{ ...put('leader'), lease: id }, put('data')] })
    const { rev } = await before.get('leader')
    const { identity } = before.info
    await before.close()
    const after = await open({ scope: { bootId: 'boot-2', timeNamespace: 'time:[1]' } })
    expect(after.info.identity).toBe(identity)
    expect((await after.list('')).kvs.map((kv) => kv.key)).toEqual(['data'])
    await expect(after.leaseKeepAlive(id)).rejects.toMatchObject({ code: 'lease_not_found' })
    const ac = new AbortController()
    const first = await after.watch('', { fromRev: rev + 1n, signal: ac.signal }).next()
    expect(first.value).toMatchObject({ events: [{ type: 'delete', key: 'leader' }] })
    ac.abort()
  })

  it('refuses another time namespace of the same boot', async () => {
    const { bootId } = hostScope()
    await open({ scope: { bootId, timeNamespace: 'time:[1]' } })
    await expect(open({ scope: { bootId, timeNamespace: 'time:[2]' } })).rejects.toMatchObject({
      code: 'incompatible',
      message: expect.stringContaining('time namespace'),
    })
  })

  it('gives a restored copy a new identity, no leases and revisions that were never handed out', async () => {
    const store = await open()
    const { id } = await store.leaseGrant(3_600_000)
    await store.txn({ then: [{ ...put('leader'), lease: id }, put('data', 'kept')] })
    const { identity } = store.info
    await store.close()
    const copy = openDatabase(path)
    copy.exec('PRAGMA wal_checkpoint(TRUNCATE)')
    copyFileSync(path, `${directory}/backup.db`)
    copy.close()
    const original = await open()
    const { rev } = await original.txn({ then: [put('data', 'lost by the restore')] })
    await original.close()
    for (const suffix of ['', '-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true })
    renameSync(`${directory}/backup.db`, path)
    const restored = await open()
    expect(restored.info.identity).not.toBe(identity)
    const { kvs, rev: now } = await restored.list('')
    expect(kvs.map((kv) => [kv.key, Buffer.from(kv.value).toString()])).toEqual([['data', 'kept']])
    expect(now).toBeGreaterThan(rev)
    const ac = new AbortController()
    await expect(restored.watch('', { fromRev: rev, signal: ac.signal }).next()).rejects.toMatchObject({
      code: 'compacted',
    })
  })

  it('stops using a file that was taken away from under it', async () => {
    const store = await open()
    await store.txn({ then: [put('k')] })
    for (const suffix of ['', '-wal', '-shm']) rmSync(`${path}${suffix}`, { force: true })
    await expect(store.txn({ then: [put('k')] })).rejects.toMatchObject({
      code: 'store_mismatch',
      message: expect.stringContaining('restart'),
    })
    await expect(store.get('k')).rejects.toMatchObject({ code: 'store_mismatch' })
    expect(await store.health()).toMatchObject({ ok: false, quorum: false })
  })

  it('can be opened by many handles at the same moment', async () => {
    mkdirSync(directory, { recursive: true })
    const opened = await Promise.all(Array.from({ length: 12 }, () => open()))
    expect(new Set(opened.map((store) => store.info.identity)).size).toBe(1)
  })
})

describe('waiting for the write lock', () => {
  it('gives up on time and at the signal, with nothing done and the loop free', async () => {
    const store = await open()
    const other = openDatabase(path)
    other.exec('BEGIN IMMEDIATE')
    let beats = 0
    const timer = setInterval(() => beats++, 10)
    const startedMs = monotonicMs()
    await expect(store.txn({ then: [put('k')] }, { timeoutMs: 200 })).rejects.toMatchObject({
      code: 'timeout',
    })
    const timedOutMs = monotonicMs()
    expect(timedOutMs - startedMs).toBeGreaterThanOrEqual(200)
    expect(timedOutMs - startedMs).toBeLessThan(250)
    const signal = AbortSignal.timeout(100)
    await expect(store.txn({ then: [put('k')] }, { signal })).rejects.toMatchObject({ code: 'aborted' })
    expect(monotonicMs() - timedOutMs).toBeLessThan(150)
    clearInterval(timer)
    expect(beats).toBeGreaterThan(15)
    expect((await store.get('k')).kv).toBeNull()
    const waiting = store.txn({ then: [put('k')] })
    await sleep(50)
    other.exec('COMMIT')
    other.close()
    expect((await waiting).ok).toBe(true)
  })

  it('tells errors that are not about locks at once', async () => {
    const database = openDatabase(path)
    await expect(retryBusy(() => database.exec('nonsense'))).rejects.toThrow('syntax error')
    expect(isBusy(new Error('database is locked'))).toBe(false)
    database.close()
  })
})

describe('history', () => {
  it('is cut by itself, by number and by age, and idle watchers do not suffer', async () => {
    const store = await open({ historyRowsMax: 100, compactEveryMs: 20 })
    const ac = new AbortController()
    const idle = store.watch('quiet/', { signal: ac.signal })
    const next = idle.next()
    for (let i = 0; i < 1300; i++) await store.txn({ then: [put('k', String(i))] })
    const count = () => {
      const database = openDatabase(path, { readOnly: true })
      const { n } = database.prepare('SELECT count(*) AS n FROM log').get() as { n: number }
      database.close()
      return n
    }
    for (const endMs = monotonicMs() + 3000; count() > 100 && monotonicMs() < endMs; ) await sleep(10)
    expect(count()).toBe(100)
    await expect(store.watch('', { fromRev: 1n, signal: ac.signal }).next()).rejects.toMatchObject({
      code: 'compacted',
    })
    await store.txn({ then: [put('quiet/1')] })
    expect((await next).value).toMatchObject({ events: [{ type: 'put' }] })
    await store.close()
    const aged = await open({ historyAgeMsMax: 50, compactEveryMs: 20 })
    for (const endMs = monotonicMs() + 3000; count() > 0 && monotonicMs() < endMs; ) await sleep(10)
    expect(count()).toBe(0)
    const { rev } = await aged.get('k')
    const present = aged.watch('', { fromRev: rev + 1n, signal: ac.signal }).next()
    await aged.txn({ then: [put('k')] })
    expect((await present).value).toMatchObject({ rev: rev + 1n })
    ac.abort()
  })
})

describe('the identity of a process', () => {
  it('tells a reused pid from the process that had it', () => {
    const mine = ownIdentity()
    expect(mine.pid).toBe(process.pid)
    expect(mine.startTicks).toBeGreaterThan(0)
    expect(identityOf(process.pid)).toEqual(mine)
    expect(isGone(mine)).toBe(false)
    expect(isGone({ ...mine, startTicks: mine.startTicks - 1 })).toBe(true)
    expect(isGone({ ...mine, pid: 4_194_303 })).toBe(true)
    expect(isGone({ ...mine, pid: 4_194_303, pidNamespace: 'pid:[1]' })).toBe(false)
  })
})
