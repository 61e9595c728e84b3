/** A stopped cluster made by hand, with everything that a log can have: several tenures, shards that came back, gaps of retention, a tail that nobody sealed. */
import { asEpoch, asLeaseId } from '../../src/core/kernel/brand.js'
import { jsonEncode } from '../../src/core/kernel/text.js'
import {
  encodeSeals,
  encodeShardMap,
  type ShardAssignment,
  unassigned,
} from '../../src/core/sharding/shard-map.js'
import { SqliteJournal } from '../../src/drivers/journal-sqlite/sqlite-journal.js'
import { SqliteStore } from '../../src/drivers/store-sqlite/sqlite-store.js'
import type { AppendGroup, JournalEvent } from '../../src/ports/journal.js'
import type { Place } from '../../src/runtime/carry/carry-between.js'

export const sourceShards = 8
const pathOf = (url: string): string => url.slice('sqlite:'.length)
const [a, b, c] = ['lease-a', 'lease-b', 'lease-c'].map(asLeaseId) as [
  ReturnType<typeof asLeaseId>,
  ReturnType<typeof asLeaseId>,
  ReturnType<typeof asLeaseId>,
]

export function eventsOf(shard: number, first: number, count: number, chars = 20): JournalEvent[] {
  return Array.from({ length: count }, (_, i) => ({
    stream: (first + i) % 3 === 0 ? 'old' : 'orders',
    key: `k${shard}-${i % 5}`,
    id: `e${shard}-${first + i}`,
    type: 't',
    payload: JSON.stringify('x'.repeat((first + i) % chars)),
    hlc: String(first + i).padStart(24, '0'),
    atMs: 1_763_700_000_000 + first + i,
  }))
}

export async function openStore(place: Place): Promise<SqliteStore> {
  const store = new SqliteStore({ path: pathOf(place.store) })
  await store.open()
  return store
}

export async function openJournal(place: Place): Promise<SqliteJournal> {
  const journal = new SqliteJournal({ directory: pathOf(place.journal), thread: 'inline' })
  await journal.open()
  return journal
}

/** `each`: events of each tenure of each shard; there are three. Returns how many there are after retention. */
export async function makeSource(place: Place, each = 50, chars = 20): Promise<number> {
  const store = await openStore(place)
  const journal = await openJournal(place)
  const shards = Array.from({ length: sourceShards }, (_, shard) => shard)
  const write = async (
    lease: typeof a,
    of: readonly number[],
    epoch: number,
    first: number,
  ): Promise<void> => {
    for (const shard of of)
      for (let at = 0; at < each; at += 1_000) {
        const count = Math.min(1_000, each - at)
        const group: AppendGroup = {
          shard,
          epoch: asEpoch(epoch),
          firstOffset: first + at,
          events: eventsOf(shard, first + at, count, chars),
        }
        await journal.append(lease, [group])
      }
  }
  // Lease a has all, then b, then a has the even ones again; c had the odd ones when it was killed.
  await journal.openLease(a)
  await write(a, shards, 2, 1)
  const other = await openJournal(place)
  await other.openLease(b)
  await other.commitPositions(
    b,
    shards.map((shard) => ({ group: 'billing', shard, epoch: asEpoch(4), offset: each + 3 })),
  )
  for (const shard of shards)
    for (let at = 0; at < each; at += 1_000)
      await other.append(b, [
        {
          shard,
          epoch: asEpoch(4),
          firstOffset: each + 1 + at,
          events: eventsOf(shard, each + 1 + at, Math.min(1_000, each - at), chars),
        },
      ])
  await other.close()
  const even = shards.filter((shard) => shard % 2 === 0)
  const odd = shards.filter((shard) => shard % 2 === 1)
  await write(a, even, 7, 2 * each + 1)
  // Of the first tenure all of one stream is gone, in the middle and at both ends.
  const removed = await journal.trim(
    {
      ageMsMax: Number.MAX_SAFE_INTEGER,
      streamBytesMax: Number.MAX_SAFE_INTEGER,
      streamBytesMaxOf: new Map([['old', 0]]),
    },
    Date.now(),
    b,
  )
  await journal.closeLease()
  const last = await openJournal(place)
  await last.openLease(c)
  for (const shard of odd)
    for (let at = 0; at < each; at += 1_000)
      await last.append(c, [
        {
          shard,
          epoch: asEpoch(9),
          firstOffset: 2 * each + 1 + at,
          events: eventsOf(shard, 2 * each + 1 + at, Math.min(1_000, each - at), chars),
        },
      ])
  await last.close()
  const states = await openJournal(place)
  await states.openLease(asLeaseId('lease-d'))
  const checkpoint = (agent: string, epoch: number, seq: number, bytes: number) => ({
    agent,
    epoch: asEpoch(epoch),
    seq,
    state: new Uint8Array(bytes).fill(seq),
  })
  await states.saveCheckpoints(asLeaseId('lease-d'), [
    checkpoint('alice', 3, 7, 10),
    checkpoint('bob', 1, 1, 3_000_000),
    checkpoint('\u{1F9E6}', 2, 0, 0),
    checkpoint('gone', 4, 2, 5),
  ])
  await states.forgetCheckpoint(asLeaseId('lease-d'), 'gone', asEpoch(4))
  await states.close()
  const segment = (epoch: number, lease: typeof a, first: number) => ({
    epoch: asEpoch(epoch),
    lease,
    first,
    last: first + each - 1,
  })
  const map = shards.map(
    (shard): ShardAssignment =>
      shard % 2 === 0
        ? { ...unassigned, epoch: asEpoch(7), nodeId: 'n1', lease: a }
        : { ...unassigned, epoch: asEpoch(9), nodeId: 'n3', lease: c },
  )
  const key = (name: string): string => `skein/skein/${name}`
  const put = (name: string, value: unknown) =>
    ({ type: 'put', key: key(name), value: jsonEncode(value) }) as const
  await store.txn({
    then: [
      put('cluster/record', {
        v: 1,
        journal: journal.info.identity,
        journal_driver: 'sqlite',
        shards: sourceShards,
        by: 'n1',
      }),
      put('shards/map', encodeShardMap(map, 1)),
      ...shards.map((shard) =>
        put(
          `shards/seals/${shard}`,
          encodeSeals(
            { through: asEpoch(4), segments: [segment(2, a, 1), segment(4, b, each + 1)], end: 2 * each },
            1,
          ),
        ),
      ),
      put('shards/release/2', { v: 1, epoch: 7, lease: a, floor: 11 }),
      put('leader', { v: 1, term: 17, node_id: 'n3', lease: c, reason: 'vacant' }),
      put('boots/n1', { boot_id: 'x' }),
      put('intents/n2', { v: 1, drain: true }),
      put('removed/n4', { v: 1, boot: 99_999 }),
      put(`evicted/${c}`, { v: 1 }),
      put('documents/greeting', { v: 1, text: 'hello' }),
    ],
  })
  await journal.close()
  await store.close()
  return sourceShards * 3 * each - removed
}
