/**
 * The tables of a store file, and what must be settled in one transaction when a handle opens it: is this our file,
 * is it still the file it was (not a restored copy), and does the lease clock mean the same as before.
 *
 * Must not live here: anything that runs after opening.
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { SkeinError } from '../../core/kernel/error.js'
import type { Database } from '../../engines/sqlite/connection.js'
import { compareScopes, type HostScope } from '../../engines/sqlite/host-scope.js'
import { isGone, type ProcessIdentity } from '../../engines/sqlite/process-identity.js'
import type { SqliteKeyspace } from './keyspace.js'

/** Marks the file as ours (PRAGMA application_id): "Skn" and 1. */
const applicationId = 0x536b6e01
const schemaVersion = 1
/** Added to the revision when a copy is put in place, so that fencing numbers handed out since are not handed out again. */
const restoredRevisionGap = 1_000_000

const tables = `
CREATE TABLE state (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  identity TEXT NOT NULL,
  inode TEXT NOT NULL,
  boot_id TEXT NOT NULL,
  time_namespace TEXT NOT NULL,
  rev INTEGER NOT NULL,
  compact_rev INTEGER NOT NULL,
  lease_count INTEGER NOT NULL
);
CREATE TABLE kv (
  key TEXT PRIMARY KEY NOT NULL,
  value BLOB NOT NULL,
  create_rev INTEGER NOT NULL,
  mod_rev INTEGER NOT NULL,
  version INTEGER NOT NULL,
  lease TEXT
);
CREATE INDEX kv_by_lease ON kv (lease) WHERE lease IS NOT NULL;
CREATE TABLE log (
  id INTEGER PRIMARY KEY,
  rev INTEGER NOT NULL,
  at_ms REAL NOT NULL,
  key TEXT NOT NULL,
  value BLOB,
  create_rev INTEGER,
  version INTEGER,
  lease TEXT
);
CREATE INDEX log_by_rev ON log (rev);
CREATE TABLE lease (
  id TEXT PRIMARY KEY NOT NULL,
  ttl_ms REAL NOT NULL,
  expires_ms REAL NOT NULL,
  pid INTEGER NOT NULL,
  pid_namespace TEXT NOT NULL,
  start_ticks INTEGER NOT NULL
);
CREATE INDEX lease_by_expiry ON lease (expires_ms);
CREATE TABLE handle (
  id TEXT PRIMARY KEY NOT NULL,
  pid INTEGER NOT NULL,
  pid_namespace TEXT NOT NULL,
  start_ticks INTEGER NOT NULL
);
`

/** Makes the tables in a new file; refuses a file that is something else. Runs inside a write transaction. */
export function ensureSchema(database: Database): void {
  const read = (pragma: string) =>
    Number(Object.values(database.prepare(`PRAGMA ${pragma}`).get() as Record<string, unknown>)[0])
  const found = read('application_id')
  const version = read('user_version')
  const { n } = database.prepare('SELECT count(*) AS n FROM sqlite_schema').get() as { n: number }
  if (n === 0) {
    database.exec(tables)
    database.exec(`PRAGMA application_id = ${applicationId}; PRAGMA user_version = ${schemaVersion}`)
    return
  }
  if (found === applicationId && version === schemaVersion) return
  const text =
    found === applicationId
      ? `${database.path} has store format ${version}, this version of Skein reads ${schemaVersion}; run one version on all nodes of the host`
      : `${database.path} is an SQLite database but not a Skein store; choose another --store or move it away`
  throw new SkeinError('incompatible', text, {
    details: { path: database.path, applicationId: found, version },
  })
}

export interface OpeningHandle {
  readonly id: string
  readonly scope: HostScope
  readonly process: ProcessIdentity
  readonly inode: string
}

/**
 * Reads or makes the state row and registers the handle. Another boot than the stored one: all leases end, with
 * delete events. Another inode: the file is a copy, so it gets a new identity, its leases end and revisions leap.
 * Throws `incompatible` for another time namespace of the same boot. Returns the identity.
 */
export function settleState(database: Database, space: SqliteKeyspace, handle: OpeningHandle): string {
  const { scope } = handle
  const row = database
    .prepare('SELECT identity, inode, boot_id AS bootId, time_namespace AS timeNamespace FROM state')
    .get() as (HostScope & { identity: string; inode: string }) | undefined
  let identity = row?.identity ?? randomUUID()
  if (row === undefined) {
    database
      .prepare('INSERT INTO state VALUES (1, ?, ?, ?, ?, 0, 0, 0)')
      .run(identity, handle.inode, scope.bootId, scope.timeNamespace)
  } else {
    const relation = compareScopes(row, scope)
    if (relation === 'other_time_namespace') throw otherTimeNamespace(database.path, row, scope)
    const restored = row.inode !== handle.inode
    if (relation === 'other_boot' || restored) {
      space.endAllLeases()
      database.exec('UPDATE log SET at_ms = 0; DELETE FROM handle')
    }
    if (restored) {
      identity = randomUUID()
      space.leap(restoredRevisionGap)
    }
    database
      .prepare('UPDATE state SET identity = ?, inode = ?, boot_id = ?, time_namespace = ?')
      .run(identity, handle.inode, scope.bootId, scope.timeNamespace)
  }
  forgetGoneHandles(database)
  const { pid, pidNamespace, startTicks } = handle.process
  database.prepare('INSERT INTO handle VALUES (?, ?, ?, ?)').run(handle.id, pid, pidNamespace, startTicks)
  return identity
}

function forgetGoneHandles(database: Database): void {
  const rows = database
    .prepare('SELECT id, pid, pid_namespace AS pidNamespace, start_ticks AS startTicks FROM handle')
    .all() as (ProcessIdentity & { id: string })[]
  const forget = database.prepare('DELETE FROM handle WHERE id = ?')
  for (const row of rows) if (isGone(row)) forget.run(row.id)
}

function otherTimeNamespace(path: string, stored: HostScope, mine: HostScope): SkeinError {
  return new SkeinError(
    'incompatible',
    `${path} is used from time namespace ${stored.timeNamespace}, this process is in ${mine.timeNamespace}: their clocks differ, so leases cannot be shared; run all nodes of the store in one time namespace`,
    { details: { path, stored: stored.timeNamespace, own: mine.timeNamespace } },
  )
}

export function newHandleId(): string {
  return randomBytes(8).toString('hex')
}
