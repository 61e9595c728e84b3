import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { asEpoch, asLeaseId, type LeaseId } from '../../src/core/kernel/brand.js'
import { withoutLeases } from '../../src/core/sharding/prune.js'
import type { Seals, ShardAssignment } from '../../src/core/sharding/shard-map.js'
import { SqliteJournal } from '../../src/drivers/journal-sqlite/sqlite-journal.js'
import type { JournalEvent } from '../../src/ports/journal.js'
import { Retention } from '../../src/runtime/retention.js'

const [l1, l2, l3] = ['l1', 'l2', 'l3'].map(asLeaseId) as [LeaseId, LeaseId, LeaseId]
const hour = 3_600_000
const event = (id: string, atMs: number, stream = 's'): JournalEvent => ({
  stream,
  key: 'k',
  id,
  type: '',
  payload: JSON.stringify('x'.repeat(1_000)),
  hlc: '',
  atMs,
})

describe('retention of what ended leases left', () => {
  let directory: string
  let journal: SqliteJournal
  let seals: Seals
  let notes: string[]
  let world: ConstructorParameters<typeof Retention>[0]

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'skein-retention-'))
    notes = []
    for (const [lease, first, atMs] of [
      [l1, 1, 1 * hour],
      [l2, 11, 5 * hour],
    ] as const) {
      const old = new SqliteJournal({ directory, thread: 'inline' })
      await old.open()
      await old.openLease(lease)
      const events = Array.from({ length: 10 }, (_, i) =>
        event(`e${first + i}`, atMs, i % 2 === 0 ? 's' : 't'),
      )
      await old.append(lease, [{ shard: 0, epoch: asEpoch(first), firstOffset: first, events }])
      await old.commitPositions(lease, [{ group: 'g', shard: 0, epoch: asEpoch(first), offset: first + 4 }])
      await old.close()
    }
    seals = {
      through: asEpoch(11),
      end: 20,
      segments: [
        { epoch: asEpoch(1), lease: l1, first: 1, last: 10 },
        { epoch: asEpoch(11), lease: l2, first: 11, last: 20 },
      ],
    }
    journal = new SqliteJournal({ directory, thread: 'inline' })
    await journal.open()
    await journal.openLease(l3)
    const owned: ShardAssignment = { epoch: asEpoch(12), nodeId: 'n', lease: l3, target: null, unsealed: [] }
    world = {
      journal,
      policy: () => ({ ageMsMax: 24 * hour, streamBytesMax: 1e9 }),
      nowMs: () => 6 * hour,
      holdsLease: () => true,
      isLeader: () => true,
      shardMap: () => [owned],
      seals: async () => [seals],
      liveLeases: async () => [l3],
      prune: async (leases) => {
        seals = withoutLeases(seals, new Set(leases)) ?? seals
      },
      note: (_, what) => notes.push(what),
    }
  })
  afterEach(async () => {
    await journal.close()
    rmSync(directory, { recursive: true, force: true })
  })

  const leases = async () => (await journal.leaseFiles()).map((f) => f.lease).sort()

  it('deletes a file only when all of it has expired, after the log was cut, and keeps the positions in it', async () => {
    const retention = new Retention({ ...world, nowMs: () => 26 * hour })
    await retention.run()
    expect(seals.segments.map((s) => s.lease)).toEqual([l2])
    expect(await leases()).toEqual([l1, l2, l3])
    await retention.run()
    expect(await leases()).toEqual([l1, l2, l3])
    await retention.run()
    expect(await leases()).toEqual([l2, l3])
    expect(notes).toEqual(['journal.dropped'])
    expect((await journal.readPositions('g', [0])).get(0)).toBe(15)
    const page = await journal.read({ shard: 0, segments: seals.segments, after: 0, limit: 100 })
    expect(page.events.map((e) => e.offset)).toEqual([11, 12, 13, 14, 15, 16, 17, 18, 19, 20])
  })

  it('deletes the last of a log too, and the log still knows where it ended', async () => {
    const retention = new Retention({ ...world, nowMs: () => 300 * hour })
    for (let pass = 0; pass < 3; pass++) await retention.run()
    expect(await leases()).toEqual([l3])
    expect(seals).toEqual({ through: asEpoch(11), end: 20, segments: [] })
    expect((await journal.readPositions('g', [0])).get(0)).toBe(15)
  })

  it('never touches the file of a live lease, or one that an unsealed tenure may still need', async () => {
    const owned: ShardAssignment = {
      epoch: asEpoch(12),
      nodeId: 'n',
      lease: l3,
      target: null,
      unsealed: [{ epoch: asEpoch(1), lease: l1 }],
    }
    const retention = new Retention({
      ...world,
      nowMs: () => 300 * hour,
      shardMap: () => [owned],
      liveLeases: async () => [l2, l3],
    })
    for (let pass = 0; pass < 3; pass++) await retention.run()
    expect(await leases()).toEqual([l1, l2, l3])
    expect(seals.segments).toHaveLength(2)
  })

  it('trims a stream that takes too much over all files, oldest first, and no other', async () => {
    await journal.append(l3, [
      { shard: 0, epoch: asEpoch(12), firstOffset: 21, events: [event('new', 6 * hour, 's')] },
    ])
    const retention = new Retention({
      ...world,
      policy: () => ({ ageMsMax: 24 * hour, streamBytesMax: 6_500 }),
    })
    for (let pass = 0; pass < 3; pass++) await retention.run()
    const page = await journal.read({ shard: 0, segments: seals.segments, after: 0, limit: 100 })
    const count = (stream: string) => page.events.filter((e) => e.stream === stream).length
    expect(count('t')).toBeGreaterThan(count('s'))
    expect(count('s')).toBeLessThanOrEqual(6)
    expect(page.events.filter((e) => e.offset > 10 && e.stream === 's').length).toBeGreaterThanOrEqual(4)
    expect(notes).toContain('journal.trimmed')
  })

  it('is the leader’s work', async () => {
    const retention = new Retention({ ...world, nowMs: () => 300 * hour, isLeader: () => false })
    for (let pass = 0; pass < 3; pass++) await retention.run()
    expect(await leases()).toEqual([l1, l2, l3])
  })
})
