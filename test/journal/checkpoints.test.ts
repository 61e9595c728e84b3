/** Checkpoints in the SQLite journal: killed and stopped writers, files that come and go, damage, files of older builds. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { asEpoch, asLeaseId, type LeaseId } from '../../src/core/kernel/brand.js'
import { isSkeinError, type SkeinError } from '../../src/core/kernel/error.js'
import { Attachments } from '../../src/drivers/journal-sqlite/attachments.js'
import { Checkpoints } from '../../src/drivers/journal-sqlite/checkpoints.js'
import { leasesIn } from '../../src/drivers/journal-sqlite/directory.js'
import { JournalEngine } from '../../src/drivers/journal-sqlite/engine.js'
import { LeaseDatabase } from '../../src/drivers/journal-sqlite/lease-database.js'
import { SqliteJournal } from '../../src/drivers/journal-sqlite/sqlite-journal.js'
import { BlockEncoder } from '../../src/engines/journal/block.js'
import { packRecords } from '../../src/engines/journal/checkpoint.js'
import { openDatabase } from '../../src/engines/sqlite/connection.js'
import type { Checkpoint } from '../../src/ports/journal.js'
import { sampleEvent, sampleGroup } from '../../src/testing/journal-contract.js'

const writerScript = fileURLToPath(new URL('./fixtures/checkpoint-writer.mjs', import.meta.url))
const workerUrl = new URL('../../dist/drivers/journal-sqlite/worker.js', import.meta.url)
const agents = 40
const day = 24 * 60 * 60 * 1000
const keepAll = { ageMsMax: Number.MAX_SAFE_INTEGER, streamBytesMax: Number.MAX_SAFE_INTEGER }
const l1 = asLeaseId('l1')
const l2 = asLeaseId('l2')

let directory: string
const children: ChildProcess[] = []
const journals: SqliteJournal[] = []

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skein-journal-'))
})
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  for (const journal of journals.splice(0)) await journal.close()
  await rm(directory, { recursive: true, force: true })
})

interface Writer {
  readonly child: ChildProcess
  /** Per agent the highest seq whose save resolved. */
  readonly resolved: ReadonlyMap<number, number>
  readonly resolvedCount: () => number
  /** After the process is gone: all it said has been read. */
  readonly ended: Promise<unknown>
  until(count: number): Promise<void>
}

function startWriter(lease: LeaseId, epoch: number): Writer {
  const child = spawn(process.execPath, [writerScript, directory, lease, String(agents), String(epoch)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  const resolved = new Map<number, number>()
  let count = 0
  let wake = () => {}
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
  lines.on('line', (line) => {
    if (line === 'ready') return
    const [agent, seq] = line.split(' ').map(Number) as [number, number]
    resolved.set(agent, seq)
    count++
    wake()
  })
  const until = async (target: number) => {
    while (count < target) {
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }
  return { child, resolved, resolvedCount: () => count, ended: once(lines, 'close'), until }
}

async function openJournal(lease?: LeaseId, thread: 'worker' | 'inline' = 'worker'): Promise<SqliteJournal> {
  const journal = new SqliteJournal({ directory, workerUrl, thread })
  journals.push(journal)
  await journal.open()
  if (lease !== undefined) await journal.openLease(lease)
  return journal
}

function saved(agent: string, epoch: number, seq: number): Checkpoint {
  const state = new Uint8Array(Buffer.from(`${agent}@${epoch}.${seq} `))
  return { agent, epoch: asEpoch(epoch), seq, state }
}

/** What is found of each agent: never older than what resolved, and with the state that belongs to it. */
async function check(reader: SqliteJournal, resolved: ReadonlyMap<number, number>, epoch: number) {
  await Promise.all(
    [...resolved].map(async ([n, seq]) => {
      const found = await reader.readCheckpoint(`agent-${n}`)
      assert.ok(
        found?.epoch === epoch && found.seq >= seq,
        `agent-${n}: ${seq} resolved, ${found?.seq} found`,
      )
      const text = Buffer.from(found.state).toString()
      assert.ok(text.startsWith(`agent-${n}@${epoch}.${found.seq} `), text.slice(0, 60))
      assert.equal(text.length, `agent-${n}@${epoch}.${found.seq} `.length + ((found.seq * 37) % 3000))
    }),
  )
}

async function errorOf(promise: Promise<unknown>): Promise<SkeinError> {
  const error: unknown = await promise.then(
    () => assert.fail('expected an error'),
    (reason: unknown) => reason,
  )
  assert.ok(isSkeinError(error), String(error))
  return error as SkeinError
}

describe('checkpoints among processes', () => {
  it('keeps every resolved save through kill -9, and goes on under the next lease', async () => {
    const reader = await openJournal(asLeaseId('reader'))
    for (let round = 1; round <= 4; round++) {
      const lease = asLeaseId(`killed-${round}`)
      const writer = startWriter(lease, round)
      await writer.until(300 + round * 137)
      writer.child.kill('SIGKILL')
      await writer.ended
      expect(writer.resolved.size).toBe(agents)
      await check(reader, writer.resolved, round)
      await reader.dropLease(lease)
      await check(reader, writer.resolved, round)
    }
    expect((await reader.leaseFiles()).map((file) => file.lease)).toEqual(['reader'])
    expect((await reader.health()).ok).toBe(true)
  }, 30_000)

  it('reads while the writer is stopped, and its late saves never win over the next epoch', async () => {
    const owner = await openJournal(asLeaseId('owner'))
    const writer = startWriter(asLeaseId('stopped'), 1)
    await writer.until(500)
    writer.child.kill('SIGSTOP')
    const before = new Map(writer.resolved)
    await check(owner, before, 1)
    const names = Array.from({ length: agents }, (_, n) => `agent-${n}`)
    await owner.saveCheckpoints(
      asLeaseId('owner'),
      names.map((agent) => saved(agent, 2, 0)),
    )
    const saidUntilNow = writer.resolvedCount()
    writer.child.kill('SIGCONT')
    await writer.until(saidUntilNow + 500)
    const other = await openJournal()
    for (const journal of [owner, other]) {
      for (const agent of names) expect(await journal.readCheckpoint(agent)).toEqual(saved(agent, 2, 0))
    }
  }, 30_000)

  it('never shows less than was saved, while leases end, are dropped and tidied under the reader', async () => {
    const heir = await openJournal(asLeaseId('a-heir'))
    const other = await openJournal(asLeaseId('z-other'))
    const reader = await openJournal()
    const owners = [
      { journal: heir, lease: asLeaseId('a-heir') },
      { journal: other, lease: asLeaseId('z-other') },
    ]
    await heir.saveCheckpoints(asLeaseId('a-heir'), [saved('roaming', 1, 0)])
    let isOver = false
    let savedEpoch = 1
    let reads = 0
    const reading = (async () => {
      let seen = 0
      while (!isOver) {
        const least = savedEpoch
        const found = await reader.readCheckpoint('roaming')
        assert.ok(found !== undefined, `nothing found, ${least} was saved`)
        assert.ok(
          found.epoch >= least && found.epoch >= seen,
          `${found.epoch} found, ${least} saved, ${seen} seen`,
        )
        seen = found.epoch
        reads++
      }
    })()
    for (let epoch = 2; epoch <= 240; epoch++) {
      if (epoch % 3 === 0) {
        const lease = asLeaseId(`m-${epoch}`)
        const writer = await openJournal(lease, 'inline')
        await writer.saveCheckpoints(lease, [saved('roaming', epoch, 0)])
        savedEpoch = epoch
        await writer.close()
        await heir.dropLease(lease)
      } else {
        const { journal, lease } = owners[epoch % 2] as (typeof owners)[number]
        await journal.saveCheckpoints(lease, [saved('roaming', epoch, 0)])
        savedEpoch = epoch
        await Promise.all(owners.map((owner) => owner.journal.trim(keepAll, Date.now())))
      }
    }
    isOver = true
    await reading
    expect(reads).toBeGreaterThan(100)
  }, 60_000)
})

describe('checkpoints in files', () => {
  it('lets go of states that another file outranks, and of notes that hide nothing', async () => {
    const a = await openJournal(l1, 'inline')
    const b = await openJournal(l2, 'inline')
    await a.saveCheckpoints(l1, [saved('moved', 1, 0), saved('gone', 1, 0), saved('here', 1, 0)])
    await b.saveCheckpoints(l2, [saved('moved', 2, 0)])
    await b.forgetCheckpoint(l2, 'gone', asEpoch(1))
    await b.trim(keepAll, Date.now() + 2 * day)
    expect(agentsIn('l2')).toEqual(['gone', 'moved'])
    await a.trim(keepAll, Date.now())
    expect(agentsIn('l1')).toEqual(['here'])
    await b.trim(keepAll, Date.now())
    expect(agentsIn('l2')).toEqual(['gone', 'moved'])
    await b.trim(keepAll, Date.now() + 2 * day)
    expect(agentsIn('l2')).toEqual(['moved'])
    expect(await a.readCheckpoint('moved')).toEqual(saved('moved', 2, 0))
    expect(await a.readCheckpoint('gone')).toBeUndefined()
  })

  it('ends the removal of a file that a crash interrupted', async () => {
    const journal = await openJournal(l1, 'inline')
    await journal.saveCheckpoints(l1, [saved('a', 1, 1)])
    for (const name of ['x.db.dropped', 'x.db-wal', 'x.db-shm']) writeFileSync(join(directory, name), 'left')
    const other = await openJournal(undefined, 'inline')
    expect(readdirSync(directory).filter((name) => name.startsWith('x.'))).toEqual([])
    expect(await other.readCheckpoint('a')).toEqual(saved('a', 1, 1))
  })

  it('reads files of builds that knew no agents, and makes room in them for the first', async () => {
    const old = await openJournal(l1, 'inline')
    await old.append(l1, [sampleGroup(0, 1, 1, [sampleEvent('a')])])
    await old.close()
    const database = openDatabase(join(directory, 'l1.db'))
    database.exec('DROP TABLE checkpoint')
    database.close()
    const journal = await openJournal(l2, 'inline')
    expect(await journal.readCheckpoint('a')).toBeUndefined()
    expect(await journal.listCheckpoints('', 10)).toEqual({ checkpoints: [], next: undefined })
    await journal.trim(keepAll, Date.now(), l1)
    const again = await openJournal(l1, 'inline')
    await again.saveCheckpoints(l1, [saved('a', 1, 1)])
    expect(await journal.readCheckpoint('a')).toEqual(saved('a', 1, 1))
    await again.close()
    await journal.dropLease(l1)
    expect(await journal.readCheckpoint('a')).toEqual(saved('a', 1, 1))
  })

  it('says corrupt instead of returning a damaged state, or an older one; others are not concerned', async () => {
    const old = await openJournal(l1, 'inline')
    const sound = await openJournal(l2, 'inline')
    const state = new Uint8Array(Buffer.from(`victim${'.'.repeat(300)}`))
    await old.saveCheckpoints(l1, [{ agent: 'v', epoch: asEpoch(2), seq: 1, state }, saved('other', 1, 1)])
    await sound.saveCheckpoints(l2, [saved('v', 1, 0)])
    await old.close()
    const path = join(directory, 'l1.db')
    const content = readFileSync(path)
    content[content.indexOf('victim...') + 50] = 0x21
    writeFileSync(path, content)
    const reader = await openJournal(asLeaseId('reader'), 'inline')
    const [damaged, other] = await Promise.allSettled([
      reader.readCheckpoint('v'),
      reader.readCheckpoint('other'),
    ])
    assert.ok(damaged.status === 'rejected' && isSkeinError(damaged.reason))
    expect(damaged.reason.code).toBe('corrupt')
    expect(damaged.reason.details).toMatchObject({ file: path, agent: 'v', epoch: 2, seq: 1 })
    expect(other).toEqual({ status: 'fulfilled', value: saved('other', 1, 1) })
    expect((await reader.health()).detail).toContain(path)
    // Nor is the only copy thrown away.
    expect((await errorOf(reader.dropLease(l1))).code).toBe('corrupt')
    expect(existsSync(path)).toBe(true)
    await reader.saveCheckpoints(asLeaseId('reader'), [saved('v', 3, 0)])
    expect(await reader.readCheckpoint('v')).toEqual(saved('v', 3, 0))
    await reader.dropLease(l1)
    expect(await reader.readCheckpoint('other')).toEqual(saved('other', 1, 1))
    expect((await reader.health()).ok).toBe(true)
  })

  it('says corrupt where a file that may hold a later state cannot be read', async () => {
    const journal = await openJournal(l1, 'inline')
    await journal.saveCheckpoints(l1, [saved('a', 1, 1)])
    writeFileSync(join(directory, 'noise.db'), Buffer.alloc(8192, 0x5a))
    const error = await errorOf(journal.readCheckpoint('a'))
    expect(error.code).toBe('corrupt')
    expect(error.message).toContain('noise.db')
    await journal.saveCheckpoints(l1, [saved('a', 1, 2)])
    await journal.trim(keepAll, Date.now() + 2 * day)
    await rm(join(directory, 'noise.db'))
    expect(await journal.readCheckpoint('a')).toEqual(saved('a', 1, 2))
  })
})

describe('a pass over the files', () => {
  /** Two leases in the order in which a pass looks at them, a checkpoint in the second, and what happens in between. */
  function passWith(between: (first: JournalEngine, second: JournalEngine) => void) {
    const leases = [l1, l2]
    const engines = leases.map((lease) => {
      const engine = new JournalEngine({ directory, readersMax: 8 })
      engine.open()
      engine.openLease(lease)
      return { lease, engine }
    })
    const [first, second] = leasesIn(directory).map((lease) => engines.find((e) => e.lease === lease)) as [
      (typeof engines)[number],
      (typeof engines)[number],
    ]
    commit(second.engine, second.lease, 1)
    const reading = new Attachments(true)
    let looksAtFirst = 0
    const checkpoints = new Checkpoints(directory, (lease, use) => {
      if (!leasesIn(directory).includes(lease)) return undefined
      const file = LeaseDatabase.openReader(reading, directory, lease)
      try {
        return use(file)
      } finally {
        file.close()
        // The first look is at how often it was changed, the second for the agent.
        if (lease === first.lease && ++looksAtFirst === 2) between(first.engine, second.engine)
      }
    })
    try {
      const found = checkpoints.read(['a'])
      return { found, looksAtFirst }
    } finally {
      reading.close()
      for (const { engine } of engines) engine.close()
    }
  }

  function commit(engine: JournalEngine, lease: LeaseId, epoch: number) {
    const records = packRecords([{ ...saved('a', epoch, 0), forgottenAtMs: 0 }])
    const results = engine.commit({
      lease,
      blockCounts: [0],
      batch: new BlockEncoder().take(),
      positions: [],
      records,
    })
    expect(results).toEqual([null])
  }

  it('is repeated when a row went from a file to one that was looked at before', () => {
    const { found, looksAtFirst } = passWith((first, second) => {
      commit(first, leasesIn(directory)[0] as LeaseId, 2)
      second.tidyCheckpointsStep(Date.now(), '', undefined)
    })
    expect(found).toEqual([saved('a', 2, 0)])
    expect(looksAtFirst).toBeGreaterThan(3)
  })

  it('is repeated when a file went whose content had moved to one that was looked at before', () => {
    const { found, looksAtFirst } = passWith((first, second) => {
      const dropped = leasesIn(directory)[1] as LeaseId
      second.closeLease()
      first.takeOverStep(dropped, '', Date.now())
      first.dropLease(dropped)
    })
    expect(found).toEqual([saved('a', 1, 0)])
    expect(looksAtFirst).toBeGreaterThan(3)
  })
})

function agentsIn(lease: string): string[] {
  const database = openDatabase(join(directory, `${lease}.db`), { readOnly: true })
  const rows = database.prepare('SELECT CAST(agent AS TEXT) AS agent FROM checkpoint ORDER BY agent').all()
  database.close()
  return (rows as { agent: string }[]).map((row) => row.agent)
}
