/**
 * Checkpoints of agents: one row per agent, whoever saved it, also where it only says that the agent was forgotten. The
 * highest (epoch, seq) stays, whoever writes last.
 *
 * The idea: the row itself refuses what is older, so a statement that arrives late, after a time-out or from a writer that
 * was frozen, does no harm, and one whose outcome is unknown may be repeated. So a save needs none of the appends' order
 * and goes over any connection; that its lease's row is still its writer's is asked in the same statement.
 *
 * A row is held by a running statement only. If one does not end because its client froze between two packets, the server
 * is told to end that connection.
 */
import type { Epoch, LeaseId } from '../../core/kernel/brand.js'
import {
  type AgentRecord,
  checkpointOf,
  checksumOf,
  requireIntact,
} from '../../engines/journal/checkpoint.js'
import { fenced, journalLimits } from '../../engines/journal/rules.js'
import type { Checkpoint, CheckpointPage } from '../../ports/journal.js'
import { byteaArray, int8Array } from './arrays.js'
import type { Connection } from './connector.js'
import { sqlStateOf } from './errors.js'
import type { Tables } from './schema.js'
import { patiently } from './sealing.js'
import type { Row, Statement } from './session.js'

const lockNotAvailable = '55P03'
const lapsedPerStatement = 1_000

export class Checkpoints {
  readonly #t: Tables
  readonly #label: string
  readonly #save: Statement

  constructor(tables: Tables, label: string) {
    this.#t = tables
    this.#label = label
    this.#save = saveStatement(tables)
  }

  /** One of each agent. Errors: `fenced`, and those of a write. */
  async save(
    connection: Connection,
    writer: { readonly lease: LeaseId; readonly writerId: string },
    records: readonly AgentRecord[],
  ): Promise<void> {
    // In one order for all, so that two of these cannot wait for each other.
    const rows = records
      .map((record) => ({ record, agent: Buffer.from(record.agent) }))
      .sort((a, b) => a.agent.compare(b.agent))
    const values = [
      writer.lease,
      writer.writerId,
      byteaArray(rows.map((r) => r.agent)),
      int8Array(rows.map((r) => r.record.epoch)),
      int8Array(rows.map((r) => r.record.seq)),
      int8Array(rows.map((r) => r.record.forgottenAtMs)),
      int8Array(rows.map((r) => r.record.state.length)),
      int8Array(rows.map((r) => checksumOf(r.record))),
      byteaArray(rows.map((r) => r.record.state)),
    ]
    const { count } = await patiently(
      () => connection.session.run('write', this.#save, values),
      async (error) => {
        if (sqlStateOf(error) === lockNotAvailable) await endFrozenClients(connection)
      },
    )
    if (count === 0) throw fenced(writer.lease)
  }

  /**
   * As many of these as one answer holds. Durable when it resolves: the lock, which waits for no save, makes it a write,
   * whose commit comes after the commit of what was read, on the standby too. Errors: `corrupt`, and those of a write.
   */
  async read(
    { session }: Connection,
    agents: readonly string[],
  ): Promise<ReadonlyMap<string, Checkpoint | undefined>> {
    const { rows } = await session.run(
      'write',
      {
        name: 'skein_checkpoint',
        text: `WITH there AS (
            SELECT agent, sum(bytes) OVER (ORDER BY agent ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
            FROM ${this.#t.checkpoint} WHERE agent = ANY($1::bytea[]))
          SELECT ${columns}, (SELECT count(*) FROM there)::int8 AS all_rows FROM ${this.#t.checkpoint} AS c
          WHERE agent IN (SELECT agent FROM there WHERE coalesce(bytes_before, 0) <= ${journalLimits.readBytesMax})
          ORDER BY agent FOR KEY SHARE OF c`,
      },
      [byteaArray(agents.map((agent) => Buffer.from(agent)))],
    )
    const found = new Map(rows.map((row) => [(row.agent as Buffer).toString(), this.#checkpoint(row)]))
    const last = rows.at(-1)
    const isCut = last !== undefined && rows.length < (last.all_rows as number)
    const answered = agents.filter((agent) => !isCut || Buffer.from(agent).compare(last.agent as Buffer) <= 0)
    return new Map(answered.map((agent) => [agent, found.get(agent)]))
  }

  async list({ session }: Connection, after: string, limit: number): Promise<CheckpointPage> {
    // The sum counts the rows before: one that alone is larger than a page is still a page.
    const { rows } = await session.run(
      'read',
      {
        text: `SELECT ${columns} FROM (
            SELECT *, sum(bytes) OVER (ORDER BY agent ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS bytes_before
            FROM (SELECT agent, epoch, seq, forgotten_ms, bytes, crc, state FROM ${this.#t.checkpoint}
              WHERE agent > $1::bytea AND forgotten_ms IS NULL ORDER BY agent LIMIT $2::int8) AS c) AS p
          WHERE coalesce(bytes_before, 0) <= ${journalLimits.readBytesMax} ORDER BY agent`,
      },
      [Buffer.from(after), limit],
    )
    const checkpoints = rows.flatMap((row) => this.#checkpoint(row) ?? [])
    // A page may be short because of its bytes: only an empty one is the end.
    return { checkpoints, next: checkpoints.at(-1)?.agent }
  }

  /** What is noted of forgotten agents goes in time: no row of theirs is left that it would hide. */
  async tidy({ session }: Connection, nowMs: number): Promise<void> {
    for (;;) {
      const { count } = await session.run(
        'write',
        {
          text: `DELETE FROM ${this.#t.checkpoint} WHERE agent IN (
            SELECT agent FROM ${this.#t.checkpoint} WHERE forgotten_ms < $1::int8 LIMIT ${lapsedPerStatement})
            AND forgotten_ms < $1::int8`,
        },
        [Math.max(0, Math.floor(nowMs - journalLimits.forgottenMsMin))],
      )
      if (count < lapsedPerStatement) return
    }
  }

  #checkpoint(row: Row): Checkpoint | undefined {
    const record: AgentRecord = {
      agent: (row.agent as Buffer).toString(),
      epoch: row.epoch as Epoch,
      seq: row.seq as number,
      forgottenAtMs: (row.forgotten_ms as number | null) ?? 0,
      state: new Uint8Array(row.state as Buffer),
    }
    return checkpointOf(requireIntact(record, row.crc as number, this.#label))
  }
}

const columns = 'agent, epoch, seq, forgotten_ms, crc, state'

/** Returns a row where the lease is the writer's, also if nothing was newer than what is there. */
function saveStatement(t: Tables): Statement {
  return {
    name: 'skein_checkpoints',
    text: `WITH fence AS (
        SELECT lease FROM ${t.lease} WHERE lease = $1::text AND writer = $2::text),
      saved AS (
        INSERT INTO ${t.checkpoint} AS c (agent, epoch, seq, forgotten_ms, bytes, crc, state)
        SELECT n.agent, n.epoch, n.seq, nullif(n.forgotten_ms, 0), n.bytes, n.crc, n.state
        FROM fence f, unnest($3::bytea[], $4::int8[], $5::int8[], $6::int8[], $7::int8[], $8::int8[], $9::bytea[])
          AS n(agent, epoch, seq, forgotten_ms, bytes, crc, state)
        ON CONFLICT (agent) DO UPDATE
        SET epoch = excluded.epoch, seq = excluded.seq, forgotten_ms = excluded.forgotten_ms,
          bytes = excluded.bytes, crc = excluded.crc, state = excluded.state
        WHERE (excluded.epoch, excluded.seq) > (c.epoch, c.seq))
      SELECT lease FROM fence`,
  }
}

/** Connections of nodes whose statement has waited for its client, not the server, for a second. */
async function endFrozenClients({ session, facts }: Connection): Promise<void> {
  if (facts.kind !== 'postgresql') return
  await session.run('read', {
    text: `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
      WHERE application_name = 'skein' AND usename = current_user AND pid <> pg_backend_pid()
        AND state <> 'idle' AND wait_event_type = 'Client' AND query_start < now() - interval '1 second'`,
  })
}
