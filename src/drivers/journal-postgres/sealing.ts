/**
 * Fences: how a tenure (a lease's writing of one shard under one epoch) is ended for good, from outside.
 *
 * The idea: the fence of a writer is one row per lease with a version. Every append is one statement that raises the
 * version from the one its writer knows and inserts; a seal first marks the tenure as sealed, then raises the version of
 * its lease. An append that runs holds the row, so the seal waits for it and sees it; an append that comes later does
 * not find its version, inserts nothing, and its writer looks up what has been sealed. The proof is in docs/POSTGRES.md.
 *
 * The row is held by a running statement only. If one does not end (its client froze between two packets, or it waits
 * for a standby that is gone), the server is told to end that connection.
 */
import { createHash } from 'node:crypto'
import type { Epoch, LeaseId, ShardId } from '../../core/kernel/brand.js'
import { isSkeinError } from '../../core/kernel/error.js'
import type { Extent } from '../../engines/journal/rules.js'
import { int8Array } from './arrays.js'
import type { Connection } from './connector.js'
import { isTransient, sqlStateOf } from './errors.js'
import type { Tables } from './schema.js'
import type { Answer, Statement } from './session.js'

export interface Tenure {
  readonly shard: ShardId
  readonly epoch: Epoch
}

const attemptsMax = 5
const lockNotAvailable = '55P03'

/** By this name the server's list of connections shows who writes under a lease. Has at most 63 characters. */
export function writerName(identity: string, lease: LeaseId): string {
  const digest = createHash('sha256').update(`${identity}\n${lease}`).digest('hex')
  return `skein-writer-${digest.slice(0, 32)}`
}

export class Sealing {
  readonly #t: Tables
  readonly #identity: string

  constructor(tables: Tables, identity: string) {
    this.#t = tables
    this.#identity = identity
  }

  /** From now on nothing is added to these tenures of the lease. */
  async fence(connection: Connection, lease: LeaseId, tenures: readonly Tenure[]): Promise<void> {
    const { session } = connection
    const sorted = [...tenures].sort((a, b) => a.shard - b.shard || a.epoch - b.epoch)
    await patiently(() =>
      session.run(
        'write',
        {
          text: `INSERT INTO ${this.#t.tenure} AS t (shard, epoch, lease, opened, sealed)
            SELECT shard, epoch, $1, false, true FROM unnest($2::int8[], $3::int8[]) AS w(shard, epoch) ORDER BY 1, 2
            ON CONFLICT (shard, epoch, lease) DO UPDATE SET sealed = true
            WHERE NOT t.sealed`,
        },
        [lease, int8Array(sorted.map((t) => t.shard)), int8Array(sorted.map((t) => t.epoch))],
      ),
    )
    await this.bump(connection, lease, {
      text: `UPDATE ${this.#t.lease} SET version = version + 1 WHERE lease = $1`,
    })
  }

  /**
   * Raises the version of a lease: what was sent before and has not begun will find another. Waits for an append that
   * runs, and ends the connection of one that does not end.
   */
  async bump(
    connection: Connection,
    lease: LeaseId,
    statement: Statement,
    values: readonly unknown[] = [lease],
  ): Promise<Answer> {
    return await patiently(
      () => connection.session.run('write', statement, values),
      async (error) => {
        if (sqlStateOf(error) !== lockNotAvailable || connection.facts.kind !== 'postgresql') return
        await connection.session.run(
          'read',
          {
            text: `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE application_name = $1 AND usename = current_user AND pid <> pg_backend_pid()`,
          },
          [writerName(this.#identity, lease)],
        )
      },
    )
  }

  /** First and last offset of each of these tenures that holds anything, in the order asked. */
  async extents(connection: Connection, lease: LeaseId, tenures: readonly Tenure[]): Promise<Extent[]> {
    const { rows } = await connection.session.run(
      'read',
      {
        text: `SELECT t.shard, t.epoch, coalesce(t.first_offset, f.first_offset) AS first, l.last_offset AS last
          FROM unnest($2::int8[], $3::int8[]) WITH ORDINALITY AS w(shard, epoch, place)
          JOIN ${this.#t.tenure} t ON t.shard = w.shard AND t.epoch = w.epoch AND t.lease = $1 AND t.opened
          CROSS JOIN LATERAL (SELECT b.first_offset FROM ${this.#t.block} b
            WHERE b.shard = w.shard AND b.epoch = w.epoch ORDER BY b.last_offset LIMIT 1) f
          CROSS JOIN LATERAL (SELECT b.last_offset FROM ${this.#t.block} b
            WHERE b.shard = w.shard AND b.epoch = w.epoch ORDER BY b.last_offset DESC LIMIT 1) l
          ORDER BY w.place`,
      },
      [lease, int8Array(tenures.map((t) => t.shard)), int8Array(tenures.map((t) => t.epoch))],
    )
    return rows.map(({ shard, epoch, first, last }) => ({ shard, epoch, first, last }) as Extent)
  }
}

/** Repeats what the server refused without having done anything. */
export async function patiently<T>(
  attempt: () => Promise<T>,
  between: (error: unknown) => Promise<void> = () => Promise.resolve(),
): Promise<T> {
  for (let n = 1; ; n++) {
    try {
      return await attempt()
    } catch (error) {
      if (!isSkeinError(error) || !isTransient(error) || n === attemptsMax) throw error
      await between(error)
    }
  }
}
