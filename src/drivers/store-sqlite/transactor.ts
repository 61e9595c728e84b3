/**
 * One connection and its transactions: begin, run a synchronous body, commit or undo, and say truthfully what became
 * of a write. A body runs in one go on this thread, so a process can hold the write lock for long only if it is frozen.
 *
 * Before each write the file is looked up by its path again: if somebody deleted or replaced it, this connection
 * would go on in a file that no new process can see, and one host would have two stores.
 */
import { statSync } from 'node:fs'
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import {
  classifySqliteError,
  type Database,
  isBusy,
  type Statement,
  sqliteErrorCode,
} from '../../engines/sqlite/connection.js'

export interface LockObserver {
  /** The write lock was found taken. */
  onBusy(): void
  /** The write lock was obtained. */
  onFree(): void
}

const diskFull = 13

export class Transactor {
  readonly database: Database
  /** Inode of the file, as text. */
  readonly inode: string
  readonly #observer: LockObserver
  #replaced: SkeinError | undefined
  #dataVersion: Statement | undefined

  constructor(database: Database, observer: LockObserver) {
    this.database = database
    this.#observer = observer
    this.inode = inodeOf(database.path) ?? 'none'
  }

  /** Runs a body on one snapshot. Throws a busy error (see `isBusy`) when the attempt may be repeated. */
  read<T>(what: string, body: () => T): T {
    if (this.#replaced !== undefined) throw this.#replaced
    try {
      this.database.exec('BEGIN')
      const value = body()
      this.database.exec('COMMIT')
      return value
    } catch (error) {
      this.#rollback()
      throw isBusy(error) ? error : this.#classify(error, what)
    }
  }

  /**
   * Runs a body under the write lock and commits. A SkeinError from the body is a refusal, given before the body
   * wrote anything of its own: what it did before (ending due leases) is committed, then the error is thrown.
   * `durable: false` spares the fsync, for what means nothing after a power cut.
   */
  write<T>(what: string, body: () => T, durable = true): T {
    this.checkFile()
    if (!durable) this.database.exec('PRAGMA synchronous = NORMAL')
    try {
      return this.#write(what, body)
    } finally {
      if (!durable) this.database.exec('PRAGMA synchronous = FULL')
    }
  }

  #write<T>(what: string, body: () => T): T {
    this.#begin(what)
    let value: T
    try {
      value = body()
    } catch (error) {
      if (isSkeinError(error)) this.#commit(what)
      else this.#rollback()
      throw isBusy(error) ? error : this.#classify(error, what)
    }
    this.#commit(what)
    return value
  }

  /** Could the write lock be had right now? */
  tryLock(): boolean {
    try {
      this.database.exec('BEGIN IMMEDIATE')
    } catch {
      return false
    }
    this.#rollback()
    return true
  }

  /** A number that changes when another connection has committed. */
  dataVersion(): number {
    this.#dataVersion ??= this.database.prepare('PRAGMA data_version')
    return (this.#dataVersion.get() as { data_version: number }).data_version
  }

  /** Throws `store_mismatch`, now and ever after, once the path names another file than the open one. */
  checkFile(): void {
    const { path } = this.database
    if (this.#replaced === undefined && inodeOf(path) !== this.inode) {
      this.#replaced = new SkeinError(
        'store_mismatch',
        `${path} was deleted or replaced while in use; restart every node that uses it`,
        { details: { path } },
      )
    }
    if (this.#replaced !== undefined) throw this.#replaced
  }

  #begin(what: string): void {
    try {
      this.database.exec('BEGIN IMMEDIATE')
    } catch (error) {
      if (!isBusy(error)) throw this.#classify(error, what)
      this.#observer.onBusy()
      throw error
    }
    this.#observer.onFree()
  }

  #commit(what: string): void {
    try {
      this.database.exec('COMMIT')
    } catch (error) {
      this.#rollback()
      if (isBusy(error)) throw error
      if (((sqliteErrorCode(error) ?? 0) & 0xff) === diskFull) throw this.#classify(error, what)
      // The log frames may have reached the file: recovery could still find the commit.
      throw new SkeinError('outcome_unknown', `${what}: the commit failed half-way`, {
        details: { path: this.database.path },
        cause: error,
      })
    }
  }

  #rollback(): void {
    try {
      this.database.exec('ROLLBACK')
    } catch {
      // SQLite has already ended the transaction by itself.
    }
  }

  #classify(error: unknown, what: string): SkeinError {
    return classifySqliteError(error, what, this.database.path)
  }
}

function inodeOf(path: string): string | undefined {
  return statSync(path, { bigint: true, throwIfNoEntry: false })?.ino.toString()
}
