/** The SQLite journal on disks that fill up, fail or rot, and with a thread that dies. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmdirSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { asEpoch, asLeaseId } from '../../src/core/kernel/brand.js'
import type { SkeinError } from '../../src/core/kernel/error.js'
import { SqliteJournal } from '../../src/drivers/journal-sqlite/sqlite-journal.js'
import { readAll, sampleEvent, sampleGroup } from '../../src/testing/journal-contract.js'

const limitedScript = fileURLToPath(new URL('./fixtures/limited.mjs', import.meta.url))
const lease = asLeaseId('l')
const next = asLeaseId('next')
let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skein-journal-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

async function openJournal(at: string, under = lease): Promise<SqliteJournal> {
  const journal = new SqliteJournal({ directory: at, thread: 'inline' })
  await journal.open()
  await journal.openLease(under)
  return journal
}

async function errorOf(promise: Promise<unknown>): Promise<SkeinError> {
  return await promise.then(
    () => assert.fail('expected an error'),
    (error: unknown) => error as SkeinError,
  )
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path)
  } catch {
    return ''
  }
}

/** Undefined when this user may mount; otherwise why not. */
function whyNoTmpfs(): string | undefined {
  try {
    const at = join(tmpdir(), `skein-mount-${process.pid}`)
    mkdirSync(at)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', at], { stdio: 'pipe' })
    execFileSync('umount', [at])
    rmdirSync(at)
    return undefined
  } catch (error) {
    return `cannot mount a tmpfs: ${String(error).split('\n')[0]}`
  }
}

const noTmpfs = whyNoTmpfs()

describe('the SQLite journal in trouble', () => {
  it.skipIf(noTmpfs !== undefined)(
    `disk full: nothing half done, and works again when there is space ${noTmpfs ?? ''}`,
    async () => {
      const at = join(directory, 'small')
      mkdirSync(at)
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=6m', 'tmpfs', at])
      try {
        writeFileSync(join(at, 'ballast'), Buffer.alloc(2 * 1024 * 1024))
        const journal = await openJournal(at)
        const big = (id: string) => sampleEvent(id, { payload: JSON.stringify('x'.repeat(100_000)) })
        let last = 0
        let error: SkeinError | undefined
        while (error === undefined) {
          const groups = [
            sampleGroup(0, 1, last + 1, [big(`a${last}`)]),
            sampleGroup(1, 1, last + 1, [big(`b${last}`)]),
          ]
          await journal.append(lease, groups).then(
            () => last++,
            (reason: SkeinError) => {
              error = reason
            },
          )
        }
        expect(error.code).toBe('disk_full')
        expect(last).toBeGreaterThan(3)
        const offsets = await journal.lastOffsets([0, 1])
        expect([offsets.get(0), offsets.get(1)]).toEqual([last, last])
        await rm(join(at, 'ballast'))
        await journal.append(lease, [sampleGroup(0, 1, last + 1, [big('again')])])
        const segments = [{ epoch: asEpoch(1), lease, first: 1, last: last + 1 }]
        expect((await readAll(journal, { shard: 0, segments })).length).toBe(last + 1)
        await journal.close()
      } finally {
        execFileSync('umount', ['-l', at])
      }
    },
  )

  it('an I/O error in a commit: outcome unknown, then goes on from the last offsets, with no gap', async () => {
    const command = `ulimit -f 2048; exec "$0" "$@"`
    const output = execFileSync('sh', ['-c', command, process.execPath, limitedScript, directory, 'l'])
    const { codes, resolved, last } = JSON.parse(output.toString()) as {
      codes: Record<string, number>
      resolved: number[]
      last: number
    }
    expect(codes.outcome_unknown).toBeGreaterThan(0)
    expect(codes.invalid_argument).toBeUndefined()
    const reader = await openJournal(directory, next)
    const [sealed] = await reader.seal(lease, [{ shard: 0, epoch: asEpoch(1) }])
    expect(sealed?.last).toBeGreaterThanOrEqual(last)
    expect(sealed?.last).toBeGreaterThanOrEqual(resolved.at(-1) ?? 0)
    const segments = [{ epoch: asEpoch(1), lease, first: 1, last: sealed?.last ?? 0 }]
    const events = await readAll(reader, { shard: 0, segments })
    expect(events.map((event) => event.offset)).toEqual(events.map((_, i) => i + 1))
    expect(events.every((event) => event.id === `id-${event.offset}`)).toBe(true)
    await reader.close()
  })

  it('a flipped byte is reported with file and shard; the rest stays readable', async () => {
    const journal = await openJournal(directory)
    const marked = (mark: string) => [sampleEvent(mark, { payload: `"${mark}${'.'.repeat(300)}"` })]
    await journal.append(lease, [
      sampleGroup(0, 1, 1, marked('victim')),
      sampleGroup(1, 1, 1, marked('sound')),
    ])
    await journal.close()
    const path = join(directory, 'l.db')
    const content = readFileSync(path)
    content[content.indexOf('"victim.') + 100] = 0x21
    writeFileSync(path, content)

    const reader = await openJournal(directory, next)
    const segments = [{ epoch: asEpoch(1), lease, first: 1, last: 1 }]
    const error = await errorOf(reader.read({ shard: 0, segments, after: 0, limit: 10 }))
    expect(error.code).toBe('corrupt')
    expect(error.details).toMatchObject({ file: path, shard: 0, first: 1, last: 1 })
    expect(
      (await errorOf(reader.recentIds(0, segments, { sinceMs: 0, countMin: 1, countMax: 1 }))).code,
    ).toBe('corrupt')
    expect((await readAll(reader, { shard: 1, segments })).length).toBe(1)
    const health = await reader.health()
    expect(health.ok).toBe(false)
    expect(health.detail).toContain(path)
    await reader.dropLease(lease)
    expect((await reader.health()).ok).toBe(true)
    await reader.close()
  })

  it('pages that SQLite itself cannot make sense of are corrupt, and no failure of ours', async () => {
    const journal = await openJournal(directory)
    const events = Array.from({ length: 400 }, (_, i) =>
      sampleEvent(`e${i}`, { payload: `"${'.'.repeat(500)}"` }),
    )
    for (let i = 0; i < events.length; i += 4)
      await journal.append(lease, [sampleGroup(0, 1, i + 1, events.slice(i, i + 4))])
    await journal.close()
    const path = join(directory, 'l.db')
    const content = readFileSync(path)
    // The first pages have the schema; what follows is the trees of the tables.
    content.fill(0x5a, 2 * 4096)
    writeFileSync(path, content)

    const reader = await openJournal(directory, next)
    const segments = [{ epoch: asEpoch(1), lease, first: 1, last: events.length }]
    const error = await errorOf(reader.read({ shard: 0, segments, after: 0, limit: 1_000 }))
    expect(error).toMatchObject({ code: 'corrupt', message: expect.stringContaining('malformed') })
    expect((await reader.health()).ok).toBe(false)
    await reader.close()
  })

  it('a file of garbage is refused by name and does not stop the others', async () => {
    const journal = await openJournal(directory)
    await journal.append(lease, [sampleGroup(0, 4, 1, [sampleEvent('a')])])
    await journal.close()
    const path = join(directory, 'rotten.db')
    const pages = readFileSync(join(directory, 'l.db'))
    pages.fill(0x5a, 100)
    writeFileSync(path, pages)
    writeFileSync(join(directory, 'noise.db'), Buffer.alloc(8192, 0x5a))

    const reader = await openJournal(directory, next)
    for (const bad of ['rotten', 'noise']) {
      const error = await errorOf(reader.seal(asLeaseId(bad), [{ shard: 0, epoch: asEpoch(4) }]))
      expect(error.code).toBe('corrupt')
    }
    expect([...(await reader.highestEpochs([0]))]).toEqual([[0, 4]])
    expect((await reader.leaseFiles()).map((file) => file.lease).sort()).toEqual(['l', 'next'])
    await reader.append(next, [sampleGroup(0, 5, 2, [sampleEvent('b')])])
    expect((await reader.health()).detail).toContain(path)
    await reader.close()
  })

  it('reads more files than it may hold open, each its own, and lets go of them', async () => {
    const leases = Array.from({ length: 7 }, (_, i) => asLeaseId(`many-${i}`))
    for (const [i, each] of leases.entries()) {
      const writer = await openJournal(directory, each)
      await writer.append(each, [sampleGroup(0, i + 1, i + 1, [sampleEvent(`of-${each}`)])])
      await writer.close()
      expect(existsSync(join(directory, `${each}.db-wal`))).toBe(false)
    }
    const reader = new SqliteJournal({ directory, thread: 'inline', readersMax: 2 })
    await reader.open()
    const segments = leases.map((each, i) => ({
      epoch: asEpoch(i + 1),
      lease: each,
      first: i + 1,
      last: i + 1,
    }))
    for (let round = 0; round < 3; round++) {
      const all = await readAll(reader, { shard: 0, segments })
      expect(all.map((event) => event.id)).toEqual(leases.map((each) => `of-${each}`))
      const third = await readAll(reader, { shard: 0, segments: segments.slice(3, 4) })
      expect(third.map((event) => event.id)).toEqual(['of-many-3'])
    }
    if (process.platform === 'linux') {
      const open = readdirSync('/proc/self/fd').map((fd) => linkOf(`/proc/self/fd/${fd}`))
      expect(
        open.filter((path) => path.includes('many-') && path.endsWith('.db')).length,
      ).toBeLessThanOrEqual(2)
    }
    await reader.close()
  })

  it('a thread that dies: the append is unknown, the owner is told, nothing hangs', async () => {
    const failures: SkeinError[] = []
    const journal = new SqliteJournal({
      directory,
      workerUrl: new URL('./fixtures/dying-worker.mjs', import.meta.url),
      onFailure: (error) => failures.push(error),
    })
    await journal.open()
    await journal.openLease(lease)
    await journal.append(lease, [sampleGroup(0, 1, 1, [sampleEvent('a')])])
    const second = await errorOf(journal.append(lease, [sampleGroup(0, 1, 2, [sampleEvent('b')])]))
    expect(second.code).toBe('outcome_unknown')
    expect(failures.length).toBe(1)
    expect((await errorOf(journal.lastOffsets([0]))).code).toBe('unavailable')
    expect((await journal.health()).ok).toBe(false)
    await journal.close()
    expect(statSync(join(directory, 'l.db')).size).toBeGreaterThan(0)
  })
})
