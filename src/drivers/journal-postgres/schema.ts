/**
 * The tables, their version and the journal's identity.
 *
 * The idea: text that comes from users (streams, groups of consumers) is kept as bytes, since PostgreSQL's text cannot
 * hold a NUL; where it is part of a key, its SHA-256 is the key, since an index entry has 2.7 kB at most. Offsets are not
 * a sequence: their owner assigns them.
 *
 * Created by whoever comes first, in one implicit transaction; who loses the race finds it done. Explained for operators
 * in docs/POSTGRES.md.
 */
import { createHash, randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { SkeinError } from '../../core/kernel/error.js'
import type { Connection } from './connector.js'
import { sqlStateOf } from './errors.js'

const schemaVersion = 1
const attemptsMax = 20
/** Not there, or made by somebody else in this very moment. */
const missing = ['3F000', '42P01']
const raced = ['23505', '40001', '40P01', '42P06', '42P07', 'XX000', '55P03']

/** The names of the tables of one schema, ready for SQL. */
export interface Tables {
  readonly meta: string
  readonly lease: string
  readonly shard: string
  readonly tenure: string
  readonly block: string
  readonly streamUse: string
  readonly position: string
  readonly checkpoint: string
}

export function tablesIn(schema: string): Tables {
  const table = (name: string) => `"${schema}".${name}`
  return {
    meta: table('meta'),
    lease: table('lease'),
    shard: table('shard'),
    tenure: table('tenure'),
    block: table('block'),
    streamUse: table('stream_use'),
    position: table('consumer_position'),
    checkpoint: table('checkpoint'),
  }
}

/** The key of a text of any length. */
export function keyOf(text: string): Buffer {
  return createHash('sha256').update(text).digest()
}

/** Errors: `incompatible` (of a newer version), `unavailable`, `bad_config` (no right to create tables). */
export async function openSchema(connection: Connection, schema: string): Promise<string> {
  const { meta, checkpoint } = tablesIn(schema)
  const tunes = connection.facts.kind === 'postgresql'
  const identity = await madeSure(connection, schema, creation(schema, tunes), async ({ session }) => {
    const { rows } = await session.run('read', { text: `SELECT version, identity FROM ${meta}` })
    const [row] = rows
    return row && checkVersion(Number(row.version), String(row.identity), schema)
  })
  // Came later. Builds that do not know it pass it over, so the version stays and they go on beside newer ones.
  return await madeSure(connection, schema, checkpointCreation(schema, tunes), async ({ session }) => {
    await session.run('read', { text: `SELECT 1 FROM ${checkpoint} LIMIT 0` })
    return identity
  })
}

/** What `look` finds, after `creationSql` where tables were missing. */
async function madeSure(
  connection: Connection,
  schema: string,
  creationSql: string,
  look: (connection: Connection) => Promise<string | undefined>,
): Promise<string> {
  const { session } = connection
  for (let attempt = 1; ; attempt++) {
    try {
      const found = await look(connection)
      if (found !== undefined) return found
    } catch (error) {
      if (!missing.includes(sqlStateOf(error) ?? '')) throw error
    }
    try {
      // Whoever may use a schema that is there need not be allowed to make one.
      const there = await session.run('read', {
        text: `SELECT 1 FROM pg_namespace WHERE nspname = '${schema}'`,
      })
      await session.run('write', {
        text: there.count > 0 ? creationSql : `CREATE SCHEMA "${schema}"; ${creationSql}`,
      })
    } catch (error) {
      const state = sqlStateOf(error) ?? ''
      if (state === '42501') throw mayNotCreate(schema, error)
      if (!raced.includes(state) || attempt === attemptsMax) throw error
      await sleep(20 + Math.random() * 80)
    }
  }
}

function checkVersion(version: number, identity: string, schema: string): string {
  if (version === schemaVersion) return identity
  throw new SkeinError(
    'incompatible',
    `the journal's tables in schema "${schema}" are of version ${version}; this build knows ${schemaVersion}`,
    { details: { version, known: schemaVersion } },
  )
}

function mayNotCreate(schema: string, cause: unknown): SkeinError {
  return new SkeinError(
    'bad_config',
    `tables of the journal are missing and this user may not create them: CREATE SCHEMA "${schema}" AUTHORIZATION <user>, or GRANT CREATE ON SCHEMA "${schema}" TO <user>`,
    { details: { field: 'journal' }, cause },
  )
}

/** Several statements in one message are one transaction. */
function creation(schema: string, tunes: boolean): string {
  const t = tablesIn(schema)
  // Rows that are updated all the time leave room for their next version in the same page.
  const busy = tunes ? ' WITH (fillfactor = 50)' : ''
  return `CREATE TABLE ${t.meta} (
      only_row boolean PRIMARY KEY CHECK (only_row), version int4 NOT NULL, identity text NOT NULL);
    CREATE TABLE ${t.lease} (
      lease text PRIMARY KEY, writer text NOT NULL, version int8 NOT NULL,
      opened_at timestamptz NOT NULL DEFAULT now())${busy};
    CREATE TABLE ${t.shard} (shard int8 PRIMARY KEY, epoch int8 NOT NULL, lease text NOT NULL);
    CREATE TABLE ${t.tenure} (
      shard int8 NOT NULL, epoch int8 NOT NULL, lease text NOT NULL, opened boolean NOT NULL,
      sealed boolean NOT NULL, first_offset int8, PRIMARY KEY (shard, epoch, lease));
    CREATE INDEX tenure_by_lease ON ${t.tenure} (lease);
    CREATE TABLE ${t.block} (
      shard int8 NOT NULL, epoch int8 NOT NULL, last_offset int8 NOT NULL, first_offset int8 NOT NULL,
      at_ms int8 NOT NULL, crc int8 NOT NULL, bytes int8 NOT NULL,
      stream bytea NOT NULL, hashes bytea NOT NULL, body bytea NOT NULL,
      PRIMARY KEY (shard, epoch, last_offset));
    ${tunes ? `ALTER TABLE ${t.block} ALTER COLUMN body SET STORAGE EXTERNAL;` : ''}
    CREATE TABLE ${t.streamUse} (
      lease text NOT NULL, stream_key bytea NOT NULL, stream bytea NOT NULL,
      bytes int8 NOT NULL, newest_ms int8 NOT NULL, PRIMARY KEY (lease, stream_key))${busy};
    CREATE TABLE ${t.position} (
      consumer_key bytea NOT NULL, shard int8 NOT NULL, consumer bytea NOT NULL,
      epoch int8 NOT NULL, position int8 NOT NULL, lease text NOT NULL,
      PRIMARY KEY (consumer_key, shard))${busy};
    INSERT INTO ${t.meta} (only_row, version, identity) VALUES (true, ${schemaVersion}, '${randomUUID()}')`
}

/** The state is the last column and the note of a forgotten agent indexed by itself, so that a save changes no index. */
function checkpointCreation(schema: string, tunes: boolean): string {
  const { checkpoint } = tablesIn(schema)
  return `CREATE TABLE ${checkpoint} (
      agent bytea PRIMARY KEY, epoch int8 NOT NULL, seq int8 NOT NULL, forgotten_ms int8,
      bytes int8 NOT NULL, crc int8 NOT NULL, state bytea NOT NULL)${tunes ? ' WITH (fillfactor = 50)' : ''};
    ${tunes ? `ALTER TABLE ${checkpoint} ALTER COLUMN state SET STORAGE EXTERNAL;` : ''}
    CREATE INDEX checkpoint_forgotten ON ${checkpoint} (forgotten_ms) WHERE forgotten_ms IS NOT NULL`
}
