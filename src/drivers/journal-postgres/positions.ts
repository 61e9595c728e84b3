/** Positions of consumers: one row per group and shard. The highest epoch wins, then the highest offset, whoever writes last. */
import type { Epoch, LeaseId, ShardId } from '../../core/kernel/brand.js'
import { isNewerPosition } from '../../engines/journal/rules.js'
import { byteaArray, int8Array } from './arrays.js'
import type { Connection } from './connector.js'
import { keyOf, type Tables } from './schema.js'

export interface Position {
  readonly group: string
  readonly shard: ShardId
  readonly epoch: Epoch
  readonly offset: number
}

export async function writePositions(
  { session }: Connection,
  { position }: Tables,
  lease: LeaseId,
  positions: readonly Position[],
): Promise<void> {
  const newest = new Map<string, Position>()
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
