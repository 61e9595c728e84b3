/** Positions of consumers: one row per group and shard. The highest epoch wins, then the highest offset, whoever writes last. */
import { asEpoch, type LeaseId, type ShardId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import { isNewerPosition } from '../../engines/journal/rules.js'
import type { ConsumerPosition, PositionPage } from '../../ports/journal.js'
import { byteaArray, int8Array } from './arrays.js'
import type { Connection } from './connector.js'
import { keyOf, type Tables } from './schema.js'

export async function writePositions(
  { session }: Connection,
  { position }: Tables,
  lease: LeaseId,
  positions: readonly ConsumerPosition[],
): Promise<void> {
  const newest = new Map<string, ConsumerPosition>()
  for (const one of positions) {
    const name = `${one.shard} ${one.group}`
    const before = newest.get(name)
    if (before === undefined || isNewerPosition(one, before)) newest.set(name, one)
  }
  // In one order for all, so that two of these cannot wait for each other.
  const rows = [...newest.values()]
    .map((p) => ({ ...p, key: keyOf(p.group) }))
    .sort((a, b) => a.key.compare(b.key) || a.shard - b.shard)
  await session.run(
    'write',
    {
      name: 'skein_positions',
      text: `INSERT INTO ${position} AS p (consumer_key, shard, consumer, epoch, position, lease)
        SELECT w.*, $6::text FROM unnest($1::bytea[], $2::int8[], $3::bytea[], $4::int8[], $5::int8[]) AS w
        ON CONFLICT (consumer_key, shard) DO UPDATE
        SET epoch = excluded.epoch, position = excluded.position, lease = excluded.lease
        WHERE (excluded.epoch, excluded.position) > (p.epoch, p.position)`,
    },
    [
      byteaArray(rows.map((r) => r.key)),
      int8Array(rows.map((r) => r.shard)),
      byteaArray(rows.map((r) => Buffer.from(r.group))),
      int8Array(rows.map((r) => r.epoch)),
      int8Array(rows.map((r) => r.offset)),
      lease,
    ],
  )
}

/** 0 where none was saved. */
export async function readPositions(
  { session }: Connection,
  { position }: Tables,
  group: string,
  shards: readonly ShardId[],
): Promise<ReadonlyMap<ShardId, number>> {
  const { rows } = await session.run(
    'read',
    {
      text: `SELECT shard, position FROM ${position} WHERE consumer_key = $1::bytea AND shard = ANY($2::int8[])`,
    },
    [keyOf(group), int8Array(shards)],
  )
  const found = new Map(rows.map((row) => [row.shard as ShardId, row.position as number]))
  return new Map(shards.map((shard) => [shard, found.get(shard) ?? 0]))
}

/** In the order of the primary key. Errors: `invalid_argument`. */
export async function listPositions(
  { session }: Connection,
  { position }: Tables,
  after: string,
  limit: number,
): Promise<PositionPage> {
  const [, afterShard = '-1', afterKey = ''] = /^(\d{1,9}) ([0-9a-f]{64})$/.exec(after) ?? []
  if (after !== '' && afterKey === '')
    throw new SkeinError('invalid_argument', `"${after}" is no place in the list of positions`)
  const { rows } = await session.run(
    'read',
    {
      text: `SELECT consumer_key, shard, consumer, epoch, position FROM ${position}
        WHERE (consumer_key, shard) > ($1::bytea, $2::int8) ORDER BY consumer_key, shard LIMIT $3::int8`,
    },
    [Buffer.from(afterKey, 'hex'), Number(afterShard), limit + 1],
  )
  const positions = rows.slice(0, limit).map(
    (row): ConsumerPosition => ({
      group: (row.consumer as Buffer).toString(),
      shard: row.shard as ShardId,
      epoch: asEpoch(row.epoch as number),
      offset: row.position as number,
    }),
  )
  const last = rows[limit - 1]
  if (rows.length <= limit || last === undefined) return { positions }
  return { positions, next: `${last.shard} ${(last.consumer_key as Buffer).toString('hex')}` }
}
