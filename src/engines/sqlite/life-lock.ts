/**
 * The life lock on SQLite: a tiny rollback-journal database per boot, on which its process keeps an exclusive
 * transaction open until it dies. The kernel frees the lock at death, not while the process is stopped, so whoever
 * can read the file has proof that the process is gone.
 *
 * The holder writes a random token first and then locks. A prover only reads: a shared lock cannot be had while the
 * exclusive one lives, and provers do not disturb each other. Finding the locator's token in the file is the proof.
 * The token is the name of an empty table, so that looking for it needs no prepared statement, which could keep a
 * descriptor of a connection that was closed.
 *
 * What ends the lock by mistake: closing *any* descriptor of the file in the holding process (POSIX). SQLite avoids
 * that among its own connections; nothing else may open the file. A worker's end closes the worker's connections, so
 * the main thread must hold it. A clean release wipes the token before it unlocks and removes the file: from then on
 * the answer is `unknown`, never `dead`, for the process may still be running its last lines.
 */
import { randomBytes } from 'node:crypto'
import { readdirSync, rmSync, statSync } from 'node:fs'
import { basename, dirname, isAbsolute, join } from 'node:path'
import { SkeinError } from '../../core/kernel/error.js'
import type { LifeLock, LifeLocks } from '../../ports/life-lock.js'
import { classifySqliteError, type Database, isBusy, openDatabase } from './connection.js'
import { prepareLocalDirectory } from './filesystem.js'
import { hostScope } from './host-scope.js'

const suffix = '.life'
/** Files of dead boots are kept this long: after removal a proof is no longer possible. Far above any lease TTL. */
const keepDeadMs = 24 * 3_600_000
/** A connection that is garbage collected is closed, and its lock with it: these are not. */
const held = new Set<Database>()

export class SqliteLifeLocks implements LifeLocks {
  /**
   * `path`: the absolute path of the file to make, ending in `.life`, another one for each boot. The lock's own
   * `locator` is what others pass to `prove`. Also removes files of boots in that directory that died a day ago.
   * Errors: `already_running`, `data_dir_unusable`, `invalid_argument`.
   */
  hold(path: string): LifeLock {
    if (!(isAbsolute(path) && path.endsWith(suffix))) {
      throw new SkeinError('invalid_argument', `a life lock needs an absolute path ending in ${suffix}`, {
        details: { path },
      })
    }
    prepareLocalDirectory(dirname(path))
    this.#sweep(dirname(path), basename(path))
    const token = randomBytes(16).toString('hex')
    const database = lock(path, token)
    held.add(database)
    const release = () => {
      if (held.delete(database)) unlock(database, token)
    }
    return {
      locator: `${hostScope().bootId}/${token}:${path}`,
      release,
      [Symbol.asyncDispose]: () => Promise.resolve(release()),
    }
  }

  prove(locator: string): 'dead' | 'alive' | 'unknown' {
    const [, bootId, token, path] = /^([^/:]+)\/([0-9a-f]+):(.+)$/s.exec(locator) ?? []
    if (token === undefined || path === undefined || bootId !== hostScope().bootId) return 'unknown'
    return probe(path, token)
  }

  #sweep(directory: string, except: string): void {
    for (const name of readdirSync(directory)) {
      if (!name.endsWith(suffix) || name === except) continue
      const path = join(directory, name)
      const modifiedMs = statSync(path, { throwIfNoEntry: false })?.mtimeMs
      if (modifiedMs === undefined || Date.now() - modifiedMs < keepDeadMs) continue
      if (probe(path, undefined) === 'dead') rmSync(path, { force: true })
    }
  }
}

/** With no token given any readable database counts as a dead boot's. */
function probe(path: string, token: string | undefined): 'dead' | 'alive' | 'unknown' {
  let database: Database | undefined
  try {
    database = openDatabase(path, { readOnly: true, openTimeoutMs: 0, journalMode: 'delete' })
    if (token !== undefined) database.exec(`SELECT count(*) FROM life_${token}`)
    return 'dead'
  } catch (error) {
    return isBusy(error) ? 'alive' : 'unknown'
  } finally {
    database?.close()
  }
}

function lock(path: string, token: string): Database {
  let database: Database | undefined
  try {
    database = openDatabase(path, { journalMode: 'delete' })
    // Free for an instant in between: nobody knows the token yet, so nobody can draw a conclusion.
    database.exec(`CREATE TABLE life_${token} (unused)`)
    database.exec('BEGIN EXCLUSIVE')
    return database
  } catch (error) {
    database?.close()
    if (!isBusy(error)) throw classifySqliteError(error, 'taking the life lock', path)
    throw new SkeinError('already_running', `another process holds ${path}`, {
      details: { path },
      cause: error,
    })
  }
}

function unlock(database: Database, token: string): void {
  try {
    database.exec(`DROP TABLE life_${token}; COMMIT`)
  } finally {
    database.close()
    rmSync(database.path, { force: true })
  }
}
