/** What the tables say as a whole: epochs seen, space taken. */
import type { ShardId } from '../../core/kernel/brand.js'
import { int8Array } from './arrays.js'
import type { Connection } from './connector.js'
import type { Tables } from './schema.js'

/** 0 where a shard was never written. What was dropped still counts. */
export async function highestEpochs(
  { session }: Connection,
  { shard: table }: Tables,
  shards: readonly ShardId[],
): Promise<ReadonlyMap<ShardId, number>> {
  const { rows } = await session.run(
    'read',
    { text: `SELECT shard, epoch FROM ${table} WHERE shard = ANY($1::int8[])` },
    [int8Array(shards)],
  )
  const found = new Map(rows.map(({ shard, epoch }) => [shard as ShardId, epoch as number]))
  return new Map(shards.map((shard) => [shard, found.get(shard) ?? 0]))
}

/** On PostgreSQL with indexes and free space, as the disk sees it; elsewhere what events and states take. */
export async function storedBytes({ session, facts }: Connection, t: Tables): Promise<number> {
  const text =
    facts.kind === 'postgresql'
      ? `SELECT (pg_total_relation_size('${t.block}') + pg_total_relation_size('${t.checkpoint}'))::int8 AS bytes`
      : `SELECT ((SELECT coalesce(sum(bytes), 0) FROM ${t.streamUse})
          + (SELECT coalesce(sum(bytes), 0) FROM ${t.checkpoint}))::int8 AS bytes`
  const { rows } = await session.run('read', { text })
  return rows[0]?.bytes as number
}
