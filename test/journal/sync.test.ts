/** What reaches the disk before it is reported, and what a reader leaves untouched. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, statSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { asEpoch, asLeaseId } from '../../src/core/kernel/brand.js'
import { SqliteJournal } from '../../src/drivers/journal-sqlite/sqlite-journal.js'

/** Inodes in the order in which they were synced by hand (SQLite's own syncs do not pass here). */
const synced = vi.hoisted(() => [] as number[])
vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>()
  const fsyncSync = (fd: number) => {
    synced.push(fs.fstatSync(fd).ino)
    fs.fsyncSync(fd)
  }
  return { ...fs, fsyncSync }
})

const unsyncedScript = fileURLToPath(new URL('./fixtures/unsynced.mjs', import.meta.url))
const unsyncedCheckpointScript = fileURLToPath(new URL('./fixtures/unsynced-checkpoint.mjs', import.meta.url))
let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skein-journal-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

async function openJournal(): Promise<SqliteJournal> {
  const journal = new SqliteJournal({ directory, thread: 'inline' })
  await journal.open()
  return journal
}

describe('the SQLite journal and the disk', () => {
  it('syncs what a dead writer committed and never synced before it reports it, and leaves the log alone', async () => {
    const lease = asLeaseId('unsynced')
    const maker = await openJournal()
    await maker.openLease(lease)
    await maker.close()
    const file = join(directory, 'unsynced.db')
    const databaseBefore = readFileSync(file)
    const child = spawn(process.execPath, [unsyncedScript, file], { stdio: 'inherit' })
    await once(child, 'exit')
    const log = statSync(`${file}-wal`)
    expect(log.size).toBeGreaterThan(0)

    const reader = await openJournal()
    synced.length = 0
    expect(await reader.seal(lease, [{ shard: 0, epoch: asEpoch(1) }])).toEqual([
      { shard: 0, epoch: 1, first: 1, last: 100 },
    ])
    expect(synced).toEqual([log.ino, statSync(directory).ino])
    await reader.close()
    // Closing the last connection neither wrote the log back nor removed it: the file is another lease's.
    expect(statSync(`${file}-wal`).size).toBe(log.size)
    expect(readFileSync(file).equals(databaseBefore)).toBe(true)
  })

  it('syncs the checkpoint that a dead writer never synced before it returns it, or finds it saved', async () => {
    const lease = asLeaseId('unsynced')
    const maker = await openJournal()
    await maker.openLease(lease)
    await maker.close()
    const file = join(directory, 'unsynced.db')
    const child = spawn(process.execPath, [unsyncedCheckpointScript, file], { stdio: 'inherit' })
    await once(child, 'exit')
    const log = statSync(`${file}-wal`)
    expect(log.size).toBeGreaterThan(0)

    const checkpoint = { agent: 'a', epoch: asEpoch(4), seq: 2, state: new Uint8Array(Buffer.from('state')) }
    const reader = await openJournal()
    synced.length = 0
    expect(await reader.readCheckpoint('a')).toEqual(checkpoint)
    expect(synced).toEqual([log.ino, statSync(directory).ino])
    synced.length = 0
    expect(await reader.readCheckpoint('b')).toBeUndefined()
    expect(synced).toEqual([])
    await reader.close()

    // A save that finds its row there writes nothing: what it found must be on the disk by then.
    const again = await openJournal()
    synced.length = 0
    await again.openLease(lease)
    await again.saveCheckpoints(lease, [checkpoint])
    expect(synced).toEqual([log.ino, statSync(directory).ino])
    await again.close()
  })

  it('syncs the directory after a lease’s file appeared in it, whole', async () => {
    const journal = await openJournal()
    synced.length = 0
    await journal.openLease(asLeaseId('new'))
    expect(synced).toEqual([statSync(directory).ino])
    await journal.close()
    // Nothing is left in a log: the schema went into the file before it got its name.
    expect(statSync(join(directory, 'new.db')).size).toBeGreaterThan(4096)
  })
})
