/**
 * May this server hold the journal? Asked at every connect, and of the settings again and again: an administrator's
 * reload can take the promise away.
 *
 * The promise is that an acknowledged event is on the disk, and where a standby may take over, on its disk too. So
 * `fsync` and `full_page_writes` are on, `synchronous_commit` is `on` or `remote_apply` (`remote_write` would trust the
 * standby's memory), and a URL that names several hosts wants `synchronous_standby_names`.
 *
 * Engines that only speak PostgreSQL's protocol (CockroachDB, YugabyteDB) have none of these settings in this sense;
 * what they replicate is their own affair.
 */
import { SkeinError } from '../../core/kernel/error.js'
import { sqlStateOf } from './errors.js'
import type { Row, Session } from './session.js'
import type { PostgresTarget } from './target.js'

export interface ServerFacts {
  readonly kind: 'postgresql' | 'distributed'
  readonly version: string
  /** The same on a primary and its standbys. Empty where the engine has none. */
  readonly systemId: string
  /** Grows with every promotion. 0 where the engine has none. */
  readonly timeline: number
}

/** A seal waits this long for the statement of a writer before it ends the writer's connection. Less than a statement may take. */
const lockTimeoutMsMax = 1_000
const serverVersionMin = 120_000

const factsSql = `SELECT pg_is_in_recovery() AS standby,
  current_setting('server_version_num')::int AS version,
  current_setting('transaction_read_only') AS read_only,
  current_setting('synchronous_commit') AS synchronous_commit,
  current_setting('synchronous_standby_names') AS synchronous_standby_names,
  current_setting('fsync') AS fsync,
  current_setting('full_page_writes') AS full_page_writes,
  (SELECT system_identifier::text FROM pg_control_system()) AS system_id,
  CASE WHEN pg_is_in_recovery() THEN NULL ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END AS timeline`

/** Errors: `unavailable` (a standby, read only), `bad_config` (a setting), `incompatible` (too old). */
export async function checkServer(session: Session, target: PostgresTarget): Promise<ServerFacts> {
  const { rows } = await session.run('read', { text: 'SELECT version() AS version' })
  const version = String(rows[0]?.version ?? '')
  if (!version.startsWith('PostgreSQL ') || version.includes('-YB-')) {
    await session.run('read', { text: `SET default_transaction_isolation = 'read committed'` })
    return { kind: 'distributed', version, systemId: '', timeline: 0 }
  }
  const { rows: facts } = await session.run('read', { text: factsSql })
  const fact = facts[0] as Row
  const where = `${session.host.host}:${session.host.port}`
  if (fact.standby === true || fact.read_only === 'on') {
    throw new SkeinError('unavailable', `${where} is ${fact.standby === true ? 'a standby' : 'read only'}`, {
      retryable: true,
    })
  }
  if ((fact.version as number) < serverVersionMin) {
    throw new SkeinError('incompatible', `${where} runs ${version}; the journal needs PostgreSQL 12 or newer`)
  }
  requireDurable(fact, where, target)
  await pinSettings(session, String(fact.synchronous_commit), target)
  return {
    kind: 'postgresql',
    version,
    systemId: String(fact.system_id),
    timeline: Number.parseInt(String(fact.timeline), 16),
  }
}

/** The same settings once more, on a connection that has been checked. Errors: `bad_config`. */
export async function recheckServer(
  session: Session,
  facts: ServerFacts,
  target: PostgresTarget,
): Promise<void> {
  if (facts.kind === 'distributed') {
    await session.run('read', { text: 'SELECT 1 AS one' })
    return
  }
  const { rows } = await session.run('read', { text: factsSql })
  requireDurable(rows[0] as Row, `${session.host.host}:${session.host.port}`, target)
}

function requireDurable(fact: Row, where: string, target: PostgresTarget): void {
  const refuse = (setting: string, wanted: string): never => {
    const value = fact[setting]
    throw new SkeinError(
      'bad_config',
      `${where} has ${setting} = '${String(value)}'; the journal promises that acknowledged events survive a crash, so it must be ${wanted}`,
      { details: { field: 'journal', setting, value } },
    )
  }
  if (fact.fsync !== 'on') refuse('fsync', 'on')
  if (fact.full_page_writes !== 'on') refuse('full_page_writes', 'on')
  if (fact.synchronous_commit !== 'on' && fact.synchronous_commit !== 'remote_apply') {
    refuse('synchronous_commit', 'on or remote_apply')
  }
  if (target.hosts.length > 1 && fact.synchronous_standby_names === '') {
    refuse('synchronous_standby_names', 'set where the URL names several hosts')
  }
}

/**
 * Of this connection, whatever becomes of the defaults: how a commit is confirmed; when a statement, a wait for a lock
 * or a connection whose client is gone is given up.
 */
async function pinSettings(
  session: Session,
  synchronousCommit: string,
  target: PostgresTarget,
): Promise<void> {
  const settings: Readonly<Record<string, string | number>> = {
    synchronous_commit: synchronousCommit,
    default_transaction_isolation: 'read committed',
    lock_timeout: Math.min(lockTimeoutMsMax, Math.floor(target.statementMsMax / 3)),
    statement_timeout: target.statementMsMax,
    idle_in_transaction_session_timeout: 10_000,
    tcp_keepalives_idle: 5,
    tcp_keepalives_interval: 2,
    tcp_keepalives_count: 3,
    tcp_user_timeout: 10_000,
    bytea_output: 'hex',
  }
  const calls = Object.entries(settings).map(([name, value]) => `set_config('${name}', '${value}', false)`)
  await session.run('read', { text: `SELECT ${calls.join(', ')}` })
  try {
    await session.run('read', { text: 'SET client_connection_check_interval = 2000' })
  } catch (error) {
    // PostgreSQL before 14, or a system on which the server cannot look at a socket: keepalives have to do.
    if (!['42704', '22023'].includes(sqlStateOf(error) ?? '')) throw error
  }
}
