/**
 * Lease files as attachments of one connection in memory.
 *
 * The idea: a connection of its own per file would stay open, files and locks and all, until its prepared statements
 * are garbage collected: the library for Node 20 cannot finalize them. `DETACH` closes a file at once and does, for
 * the last writer, what closing does: it writes the log back and removes it. Statements are kept by alias; SQLite
 * expires them all at each DETACH and prepares them again.
 *
 * A connection that is read-only attaches read-only, which in WAL mode also means that it neither checkpoints nor
 * removes a log when it is the last one to leave.
 *
 * Must not live here: what is in the files.
 */
import {
  classifySqliteError,
  type Database,
  openDatabase,
  type Statement,
} from '../../engines/sqlite/connection.js'

/** SQLite attaches ten at most. */
const aliasesMax = 10

export class Attachments {
  readonly #database: Database
  readonly #statements = new Map<string, Statement>()
  readonly #free: string[] = []

  constructor(readOnly: boolean) {
    this.#database = openDatabase(':memory:', { readOnly })
    // Pages of 4 KiB: how far a log grows before it is written back, which takes some 50 ms.
    this.#database.exec('PRAGMA wal_autocheckpoint = 2000')
    for (let i = 0; i < aliasesMax; i++) this.#free.push(`f${i}`)
  }

  get hasRoom(): boolean {
    return this.#free.length > 0
  }

  /** The alias under which the file is known until `detach`. `pragmas` are run for it, `name = value` each. */
  attach(path: string, pragmas: readonly string[]): string {
    const alias = this.#free.pop()
    if (alias === undefined) throw new Error(`more than ${aliasesMax} files attached`)
    try {
      this.#database.exec(`ATTACH '${path.replaceAll("'", "''")}' AS ${alias}`)
    } catch (error) {
      this.#free.push(alias)
      throw classifySqliteError(error, `opening ${path}`, path)
    }
    try {
      for (const pragma of pragmas) this.exec(`PRAGMA ${alias}.${pragma}`)
      return alias
    } catch (error) {
      this.detach(alias)
      throw classifySqliteError(error, `opening ${path}`, path)
    }
  }

  detach(alias: string): void {
    this.rollback()
    this.#database.exec(`DETACH ${alias}`)
    this.#free.push(alias)
  }

  exec(sql: string): void {
    this.#database.exec(sql)
  }

  statement(sql: string): Statement {
    let statement = this.#statements.get(sql)
    if (statement === undefined) {
      statement = this.#database.prepare(sql)
      this.#statements.set(sql, statement)
    }
    return statement
  }

  rollback(): void {
    try {
      if (this.#database.inTransaction) this.#database.exec('ROLLBACK')
    } catch {
      // What made the transaction fail says more; the file is detached and attached again after such an error.
    }
  }

  /** After everything is detached. */
  close(): void {
    this.#statements.clear()
    this.#database.close()
  }
}
