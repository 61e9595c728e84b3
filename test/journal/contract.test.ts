import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'vitest'
import { MemoryJournal, MemoryJournalState } from '../../src/drivers/journal-memory/memory-journal.js'
import { SqliteJournal } from '../../src/drivers/journal-sqlite/sqlite-journal.js'
import { describeJournalContract, type JournalWorld } from '../../src/testing/journal-contract.js'

const workerUrl = new URL('../../dist/drivers/journal-sqlite/worker.js', import.meta.url)

async function sqliteWorld(thread: 'inline' | 'worker'): Promise<JournalWorld> {
  const directory = await mkdtemp(join(tmpdir(), 'skein-journal-'))
  return {
    handle: (limits) => new SqliteJournal({ directory, thread, workerUrl, ...limits }),
    end: () => rm(directory, { recursive: true, force: true }),
  }
}

async function memoryWorld(): Promise<JournalWorld> {
  const state = new MemoryJournalState('memory-world')
  return { handle: (limits) => new MemoryJournal({ state, ...limits }), end: async () => undefined }
}

describeJournalContract('memory', { describe, it }, memoryWorld)
describeJournalContract('sqlite inline', { describe, it }, () => sqliteWorld('inline'))
describeJournalContract('sqlite worker', { describe, it }, () => sqliteWorld('worker'))
