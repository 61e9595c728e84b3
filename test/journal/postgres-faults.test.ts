/** The journal on PostgreSQL among frozen writers, crashed servers and cut connections. */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { asEpoch, asLeaseId, type Epoch, type LeaseId } from '../../src/core/kernel/brand.js'
import { isSkeinError } from '../../src/core/kernel/error.js'
import { PostgresJournal } from '../../src/drivers/journal-postgres/postgres-journal.js'
import { writerName } from '../../src/drivers/journal-postgres/sealing.js'
import { readAll, sampleEvent, sampleGroup } from '../../src/testing/journal-contract.js'
import { isWithoutPostgres, PostgresServer } from './postgres-server.js'
import { TcpProxy } from './tcp-proxy.js'

const writerScript = fileURLToPath(new URL('./fixtures/postgres-writer.mjs', import.meta.url))
const e1 = asEpoch(1)
/** Of a writer in a process of its own. */
const shards = 8

async function codeOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise
    return 'ok'
  } catch (error) {
    return isSkeinError(error) ? error.code : String(error)
  }
}

interface Writer {
  readonly child: ChildProcess
  /** Per shard the highest offset whose append resolved. */
  readonly resolved: ReadonlyMap<number, number>
  readonly refusals: readonly string[]
  /** After the process is gone: all it said has been read. */
  readonly ended: Promise<unknown>
  until(appends: number): Promise<void>
}

function startWriter(url: string, lease: LeaseId, epoch: Epoch): Writer {
  const child = spawn(process.execPath, [writerScript, url, lease, String(shards), String(epoch)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const resolved = new Map<number, number>()
  const refusals: string[] = []
  let count = 0
  let wake = () => {}
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
  lines.on('line', (line) => {
    const [first = '', second = ''] = line.split(' ')
    if (first === 'refused') refusals.push(second)
    else if (first !== 'ready') resolved.set(Number(first), Number(second))
    count++
    wake()
  })
  const until = async (appends: number) => {
    while (count < appends) {
      await new Promise<void>((resolve) => {
        wake = resolve
      })
    }
  }
  return { child, resolved, refusals, ended: once(lines, 'close'), until }
}

describe.skipIf(isWithoutPostgres('faults of the journal on PostgreSQL'))('the journal on PostgreSQL', () => {
  let server: PostgresServer
  let schema = ''
  let serial = 0
  const open: { close(): Promise<unknown> }[] = []
  const children: ChildProcess[] = []

  beforeAll(async () => {
    server = await PostgresServer.start()
  })
  afterAll(() => server?.remove())
  beforeEach(() => {
    schema = `f_${serial++}`
  })
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL')
    for (const one of open.splice(0)) await one.close()
  })

  async function journalAt(url: string, lease?: LeaseId): Promise<PostgresJournal> {
    const journal = new PostgresJournal({ url })
    open.push(journal)
    await journal.open()
    if (lease !== undefined) await journal.openLease(lease)
    return journal
  }

  function writer(lease: LeaseId, epoch: Epoch): Writer {
    const started = startWriter(server.url(`schema=${schema}`), lease, epoch)
    children.push(started.child)
    return started
  }

  /** Every offset from 1 to the seal is there, and the seal covers all that resolved. */
  async function checkSealed(
    reader: PostgresJournal,
    lease: LeaseId,
    epoch: Epoch,
    resolved: ReadonlyMap<number, number>,
  ) {
    const wanted = [...resolved.keys()].map((shard) => ({ shard, epoch }))
    const sealed = await reader.seal(lease, wanted)
    for (const [shard, last] of resolved) {
      const found = sealed.find((s) => s.shard === shard)
      assert.ok(
        found !== undefined && found.last >= last,
        `shard ${shard}: ${last} resolved, ${found?.last} sealed`,
      )
      const events = await readAll(reader, {
        shard,
        segments: [{ epoch, lease, first: found.first, last: found.last }],
      })
      assert.deepEqual(
        events.map((e) => e.id),
        Array.from({ length: found.last }, (_, i) => `${lease}-${shard}-${i + 1}`),
      )
    }
    return sealed
  }

  it('is sealed within a second while its writer is frozen, and takes nothing more when it wakes up', async () => {
    const reader = await journalAt(server.url(`schema=${schema}`))
    for (let round = 0; round < 6; round++) {
      const lease = asLeaseId(`frozen-${round}`)
      const epoch = asEpoch(round + 1)
      const frozen = writer(lease, epoch)
      await frozen.until(60 + round * 37)
      frozen.child.kill('SIGSTOP')
      const wanted = Array.from({ length: shards }, (_, shard) => ({ shard, epoch }))
      const startMs = performance.now()
      const sealed = await reader.seal(lease, wanted)
      expect(performance.now() - startMs).toBeLessThan(3_000)
      frozen.child.kill('SIGCONT')
      await frozen.ended
      expect(frozen.refusals.length).toBe(shards)
      for (const code of frozen.refusals) expect(['fenced', 'outcome_unknown', 'unavailable']).toContain(code)
      expect(await checkSealed(reader, lease, epoch, frozen.resolved)).toEqual(sealed)
    }
  })

  it('ends the connection of a writer whose statement holds the fence and does not end', async () => {
    const url = server.url(`schema=${schema}`)
    const reader = await journalAt(url)
    const lease = asLeaseId('stuck')
    const owner = await journalAt(url, lease)
    await owner.append(lease, [sampleGroup(0, 1, 1, [sampleEvent('a')])])
    // What the server sees of a client that froze between the last two packets of a statement.
    const stuck = new pg.Client({
      connectionString: server.url(),
      application_name: writerName(reader.info.identity, lease),
    })
    stuck.on('error', () => undefined)
    await stuck.connect()
    await stuck.query('BEGIN')
    await stuck.query(`UPDATE ${schema}.lease SET version = version + 1 WHERE lease = 'stuck'`)
    const startMs = performance.now()
    expect(await reader.seal(lease, [{ shard: 0, epoch: e1 }])).toEqual([
      { shard: 0, epoch: 1, first: 1, last: 1 },
    ])
    expect(performance.now() - startMs).toBeLessThan(3_000)
    await expect(stuck.query('COMMIT')).rejects.toThrow()
    expect(await codeOf(owner.append(lease, [sampleGroup(0, 1, 2, [sampleEvent('b')])]))).toBe('fenced')
    await owner.append(lease, [sampleGroup(1, 1, 1, [sampleEvent('c')])])
  })

  it('keeps all that was acknowledged when the server is killed and started again, and goes on', async () => {
    const url = server.url(`schema=${schema}`)
    for (let round = 0; round < 2; round++) {
      const lease = asLeaseId(`crash-${round}`)
      const epoch = asEpoch(round + 1)
      const busy = writer(lease, epoch)
      await busy.until(150)
      await server.kill()
      await busy.ended
      await server.resume()
      const reader = await journalAt(url)
      await checkSealed(reader, lease, epoch, busy.resolved)
    }
    const lease = asLeaseId('survivor')
    const survivor = await journalAt(url, lease)
    await survivor.append(lease, [sampleGroup(0, 3, 1, [sampleEvent('a')])])
    await server.kill()
    expect(['unavailable', 'outcome_unknown']).toContain(
      await codeOf(survivor.append(lease, [sampleGroup(0, 3, 2, [sampleEvent('b')])])),
    )
    expect((await survivor.health()).ok).toBe(false)
    await server.resume()
    await expect
      .poll(() => codeOf(survivor.append(lease, [sampleGroup(0, 3, 2, [sampleEvent('b')])])), {
        timeout: 5_000,
      })
      .toBe('ok')
    expect((await survivor.health()).ok).toBe(true)
  })

  it('says outcome_unknown when the connection is cut during a commit, and then finds out', async () => {
    const proxy = await TcpProxy.to(server.port)
    open.push(proxy)
    const lease = asLeaseId('cut')
    const through = server.url(`schema=${schema}`).replace(server.address, `127.0.0.1:${proxy.port}`)
    const journal = await journalAt(through, lease)
    await journal.append(lease, [sampleGroup(0, 1, 1, [sampleEvent('1')])])
    const replied = proxy.swallowReplies()
    const append = codeOf(journal.append(lease, [sampleGroup(0, 1, 2, [sampleEvent('2')])]))
    await replied
    proxy.cutClients()
    expect(await append).toBe('outcome_unknown')
    expect((await journal.lastOffsets([0])).get(0)).toBe(2)
    await journal.append(lease, [sampleGroup(0, 1, 3, [sampleEvent('3')])])
  })

  it('never lets a statement in that was under way when its outcome was settled', async () => {
    const proxy = await TcpProxy.to(server.port)
    open.push(proxy)
    const lease = asLeaseId('late')
    const through = server.url(`schema=${schema}`).replace(server.address, `127.0.0.1:${proxy.port}`)
    const journal = await journalAt(through, lease)
    for (let round = 0; round < 5; round++) {
      const next = round + 1
      await journal.append(lease, [sampleGroup(0, 1, next, [sampleEvent(`${next}`)])])
      const held = proxy.holdRequests()
      const append = codeOf(journal.append(lease, [sampleGroup(0, 1, next + 1, [sampleEvent('late')])]))
      await held
      const deliver = proxy.cutClients()
      expect(await append).toBe('outcome_unknown')
      expect((await journal.lastOffsets([0])).get(0)).toBe(next)
      await deliver()
      expect((await journal.seal(lease, [{ shard: 0, epoch: e1 }]))[0]?.last).toBe(next)
    }
  })

  it('gives up on a server that stands still, and finds out afterwards', async () => {
    const lease = asLeaseId('still')
    const journal = await journalAt(
      server.url(`schema=${schema}&statement-timeout-ms=600&connect-timeout-ms=600`),
      lease,
    )
    await journal.append(lease, [sampleGroup(0, 1, 1, [sampleEvent('1')])])
    server.pause()
    const startMs = performance.now()
    expect(await codeOf(journal.append(lease, [sampleGroup(0, 1, 2, [sampleEvent('2')])]))).toBe(
      'outcome_unknown',
    )
    expect(await codeOf(journal.highestEpochs([0]))).toBe('unavailable')
    expect(performance.now() - startMs).toBeLessThan(3_000)
    server.unpause()
    await expect.poll(() => codeOf(journal.lastOffsets([0])), { timeout: 5_000 }).toBe('ok')
    const last = (await journal.lastOffsets([0])).get(0) ?? 0
    expect([1, 2]).toContain(last)
    await journal.append(lease, [sampleGroup(0, 1, last + 1, [sampleEvent('next')])])
  })

  it('says unavailable when the server has no connection left or is going away', async () => {
    const url = server.url(`schema=${schema}&pool=1`)
    const lease = asLeaseId('limits')
    const journal = await journalAt(url, lease)
    await journal.append(lease, [sampleGroup(0, 1, 1, [sampleEvent('1')])])
    await server.sql('ALTER ROLE skein CONNECTION LIMIT 1')
    try {
      await server.sql(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'skein'`,
      )
      expect(await codeOf(journal.highestEpochs([0]))).toBe('unavailable')
      await server.sql(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'skein-writer-%'`,
      )
    } finally {
      await server.sql('ALTER ROLE skein CONNECTION LIMIT -1')
    }
    await expect
      .poll(() => codeOf(journal.append(lease, [sampleGroup(0, 1, 2, [sampleEvent('2')])])), {
        timeout: 5_000,
      })
      .toBe('ok')
  })

  it('saves a checkpoint though a frozen client holds its row, and reads it meanwhile', async () => {
    const url = server.url(`schema=${schema}`)
    const lease = asLeaseId('saver')
    const journal = await journalAt(url, lease)
    const reader = await journalAt(url)
    const at = (epoch: number, seq: number) => ({
      agent: 'a',
      epoch: asEpoch(epoch),
      seq,
      state: new Uint8Array([epoch, seq]),
    })
    await journal.saveCheckpoints(lease, [at(1, 1)])
    // What the server sees of a node that froze between the last two packets of a save.
    const stuck = new pg.Client({ connectionString: server.url(), application_name: 'skein' })
    stuck.on('error', () => undefined)
    await stuck.connect()
    await stuck.query('BEGIN')
    await stuck.query(`UPDATE ${schema}.checkpoint SET seq = 7`)
    expect(await reader.readCheckpoint('a')).toEqual(at(1, 1))
    await journal.saveCheckpoints(lease, [at(2, 0)])
    await expect(stuck.query('COMMIT')).rejects.toThrow()
    expect(await reader.readCheckpoint('a')).toEqual(at(2, 0))
  })

  it('refuses saves of a writer whose lease another handle opened, or whose lease was dropped', async () => {
    const url = server.url(`schema=${schema}`)
    const one = { agent: 'a', epoch: e1, seq: 1, state: new Uint8Array([1]) }
    const [first, second] = await Promise.all([journalAt(url), journalAt(url)])
    await first.openLease(asLeaseId('shared'))
    await first.saveCheckpoints(asLeaseId('shared'), [one])
    await second.openLease(asLeaseId('shared'))
    expect(await codeOf(first.saveCheckpoints(asLeaseId('shared'), [{ ...one, seq: 2 }]))).toBe('fenced')
    expect(await codeOf(first.forgetCheckpoint(asLeaseId('shared'), 'a', e1))).toBe('fenced')
    const third = await journalAt(url, asLeaseId('third'))
    await third.dropLease(asLeaseId('shared'))
    expect(await codeOf(second.saveCheckpoints(asLeaseId('shared'), [{ ...one, seq: 3 }]))).toBe('fenced')
    expect(await third.readCheckpoint('a')).toEqual(one)
  })

  it('does no harm by a save that arrives after its outcome was given up', async () => {
    const proxy = await TcpProxy.to(server.port)
    open.push(proxy)
    const lease = asLeaseId('late-save')
    const through = server.url(`schema=${schema}`).replace(server.address, `127.0.0.1:${proxy.port}`)
    const journal = await journalAt(through, lease)
    const at = (epoch: number, seq: number) => ({
      agent: 'a',
      epoch: asEpoch(epoch),
      seq,
      state: new Uint8Array([epoch, seq]),
    })
    await journal.saveCheckpoints(lease, [at(1, 1)])
    const held = proxy.holdRequests()
    const save = codeOf(journal.saveCheckpoints(lease, [at(1, 2)]))
    await held
    const deliver = proxy.cutClients()
    expect(await save).toBe('outcome_unknown')
    await journal.saveCheckpoints(lease, [at(2, 0)])
    await deliver()
    expect(await journal.readCheckpoint('a')).toEqual(at(2, 0))
    await journal.forgetCheckpoint(lease, 'a', asEpoch(2))
    await journal.saveCheckpoints(lease, [at(2, 9)])
    expect(await journal.readCheckpoint('a')).toBeUndefined()
  })

  it('makes the table of checkpoints in a database of a build that knew no agents, by several at once', async () => {
    const url = server.url(`schema=${schema}`)
    const lease = asLeaseId('old')
    const old = await journalAt(url, lease)
    await old.append(lease, [sampleGroup(0, 1, 1, [sampleEvent('1')])])
    await server.sql(`DROP TABLE ${schema}.checkpoint`)
    const journals = await Promise.all(Array.from({ length: 4 }, () => journalAt(url)))
    const one = { agent: 'a', epoch: e1, seq: 1, state: new Uint8Array([1]) }
    await old.saveCheckpoints(lease, [one])
    for (const journal of journals) expect(await journal.readCheckpoint('a')).toEqual(one)
    const [{ version }] = (await server.sql(`SELECT version FROM ${schema}.meta`)) as [{ version: number }]
    expect(version).toBe(1)
  })

  it('lets nothing above a seal, whoever races', async () => {
    const url = server.url(`schema=${schema}`)
    const [a, b, sealer] = await Promise.all([journalAt(url), journalAt(url), journalAt(url)])
    const contested = [0, 1, 2, 3]
    let refusedCount = 0
    for (let round = 0; round < 40; round++) {
      const epochA = asEpoch(2 * round + 1)
      const epochB = asEpoch(2 * round + 2)
      const leaseA = asLeaseId(`a-${round}`)
      const leaseB = asLeaseId(`b-${round}`)
      await Promise.all([a.openLease(leaseA), b.openLease(leaseB)])
      const acknowledged = new Map<string, number>()
      const appendUntilRefused = async (
        journal: PostgresJournal,
        lease: LeaseId,
        epoch: number,
        shard: number,
      ) => {
        for (let offset = 1; offset <= 60; offset++) {
          const code = await codeOf(
            journal.append(lease, [sampleGroup(shard, epoch, offset, [sampleEvent(`${offset}`)])]),
          )
          if (code !== 'ok') {
            expect(code).toBe('fenced')
            refusedCount++
            return
          }
          acknowledged.set(`${epoch}/${shard}`, offset)
        }
      }
      const pause = new Promise((resolve) => setTimeout(resolve, (round * 7) % 23))
      const appends = contested.map((shard) => appendUntilRefused(a, leaseA, epochA, shard))
      await pause
      // Half of the rounds seal first, the others let the higher epoch fence the lower by its first append.
      const wanted = contested.map((shard) => ({ shard, epoch: epochA }))
      const early = round % 2 === 0 ? await sealer.seal(leaseA, wanted) : undefined
      await Promise.all(
        contested.map((shard) => b.append(leaseB, [sampleGroup(shard, epochB, 1, [sampleEvent('b')])])),
      )
      const found = early ?? (await sealer.seal(leaseA, wanted))
      await Promise.all(appends)
      const rows = await server.sql(
        `SELECT shard::int, max(last_offset)::int AS last FROM ${schema}.block WHERE epoch = ${epochA} GROUP BY shard`,
      )
      for (const shard of contested) {
        const sealed = found.find((s) => s.shard === shard)?.last ?? 0
        const there = Number(rows.find((row) => row.shard === shard)?.last ?? 0)
        expect(there).toBe(sealed)
        expect(acknowledged.get(`${epochA}/${shard}`) ?? 0).toBeLessThanOrEqual(sealed)
      }
    }
    expect(refusedCount).toBeGreaterThan(40)
  })
})
