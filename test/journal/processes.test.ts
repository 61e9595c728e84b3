/** The SQLite journal with writers in processes of their own, which are killed or stopped in mid-load. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { asEpoch, asLeaseId, type LeaseId } from '../../src/core/kernel/brand.js'
import { SqliteJournal } from '../../src/drivers/journal-sqlite/sqlite-journal.js'
import { readAll } from '../../src/testing/journal-contract.js'

const writerScript = fileURLToPath(new URL('./fixtures/writer.mjs', import.meta.url))
const workerUrl = new URL('../../dist/drivers/journal-sqlite/worker.js', import.meta.url)
const shards = 8
const wanted = Array.from({ length: shards }, (_, shard) => ({ shard, epoch: asEpoch(1) }))

let directory: string
const children: ChildProcess[] = []

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skein-journal-'))
})
afterEach(async () => {
  for (const child of children.splice(0)) child.kill('SIGKILL')
  await rm(directory, { recursive: true, force: true })
})

interface Writer {
  readonly child: ChildProcess
  /** Per shard the highest offset whose append resolved. */
  readonly resolved: Map<number, number>
  readonly resolvedCount: () => number
  /** After the process is gone: all it said has been read. */
  readonly ended: Promise<unknown>
  until(count: number): Promise<void>
}

function startWriter(lease: LeaseId): Writer {
  const child = spawn(process.execPath, [writerScript, directory, lease, String(shards)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  children.push(child)
  const resolved = new Map<number, number>()
  let count = 0
  let wake = () => {}
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
  lines.on('line', (line) => {
    if (line === 'ready') return
    const [shard, last] = line.split(' ').map(Number) as [number, number]
    resolved.set(shard, Math.max(resolved.get(shard) ?? 0, last))
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

async function openReader(): Promise<SqliteJournal> {
  const journal = new SqliteJournal({ directory, workerUrl })
  await journal.open()
  return journal
}

/** Every offset from 1 to the seal is readable, and the seal covers all that resolved. */
async function checkSealed(reader: SqliteJournal, lease: LeaseId, resolved: ReadonlyMap<number, number>) {
  const sealed = await reader.seal(lease, wanted)
  for (const [shard, last] of resolved) {
    const found = sealed.find((s) => s.shard === shard)
    assert.ok(
      found !== undefined && found.last >= last,
      `shard ${shard}: ${last} resolved, ${found?.last} sealed`,
    )
    const segments = [{ epoch: found.epoch, lease, first: found.first, last: found.last }]
    const events = await readAll(reader, { shard, segments })
    assert.equal(events.length, found.last)
    for (const [i, event] of events.entries()) assert.equal(event.id, `${lease}-${shard}-${i + 1}`)
  }
}

describe('the SQLite journal among processes', () => {
  it('keeps every resolved append through kill -9, again and again', async () => {
    const reader = await openReader()
    const endMs = performance.now() + 5000
    let kills = 0
    let total = 0
    for (; kills < 12 && (kills < 3 || performance.now() < endMs); kills++) {
      const lease = asLeaseId(`killed-${kills}`)
      const writer = startWriter(lease)
      await writer.until(50 + kills * 37)
      writer.child.kill('SIGKILL')
      await writer.ended
      await checkSealed(reader, lease, writer.resolved)
      total += writer.resolvedCount()
    }
    expect(total).toBeGreaterThan(kills * 50)
    expect((await reader.health()).ok).toBe(true)
    await reader.close()
  }, 20_000)

  it('seals the file of a stopped writer within a second, and never shows what it writes on waking up', async () => {
    const reader = await openReader()
    for (let round = 0; round < 3; round++) {
      const lease = asLeaseId(`stopped-${round}`)
      const writer = startWriter(lease)
      await writer.until(100 + round * 61)
      writer.child.kill('SIGSTOP')
      const before = performance.now()
      const sealed = await reader.seal(lease, wanted)
      expect(performance.now() - before).toBeLessThan(1000)
      const saidUntilNow = writer.resolvedCount()
      writer.child.kill('SIGCONT')
      await writer.until(saidUntilNow + 200)
      for (const { shard, epoch, first, last } of sealed) {
        const events = await readAll(reader, { shard, segments: [{ epoch, lease, first, last }] })
        assert.equal(events.at(-1)?.offset, last)
        assert.equal(events.length, last)
      }
      writer.child.kill('SIGKILL')
      await writer.ended
      await checkSealed(reader, lease, writer.resolved)
    }
    await reader.close()
  }, 20_000)

  it('recovers a dead writer’s log from several processes at once', async () => {
    const lease = asLeaseId('crowd')
    const writer = startWriter(lease)
    await writer.until(200)
    writer.child.kill('SIGKILL')
    await writer.ended
    const readers = await Promise.all(Array.from({ length: 4 }, openReader))
    await Promise.all(readers.map((reader) => checkSealed(reader, lease, writer.resolved)))
    await Promise.all(readers.map((reader) => reader.close()))
  })
})
