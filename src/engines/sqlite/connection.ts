/**
 * SQLite as a library: opening a file, telling its errors apart, and waiting for its locks.
 *
 * The idea: `node:sqlite` where Node has it, `@photostructure/sqlite` (the same API) where not, behind one small
 * interface. Every connection runs with busy_timeout 0, so no statement ever waits inside SQLite: SQLite's own busy
 * handler sleeps on the thread and is unfair (a frozen lock holder would freeze every event loop of the host). Waiting
 * is `retryBusy`, which sleeps outside.
 *
 * Exactly one SQLite library is chosen per process. Two of them opening one file in one process would not know of
 * each other, and POSIX drops all of a process's locks on a file when any of its descriptors is closed.
 *
 * Must not live here: schemas, leases, anything that knows what is stored.
 */
import { randomInt } from 'node:crypto'
import { closeSync, openSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname } from 'node:path'
import { SkeinError } from '../../core/kernel/error.js'
import { monotonicMs } from './clock.js'

/** What a parameter may be. `bigint` must fit 64 bits. */
export type SqlValue = null | number | bigint | string | Uint8Array

export interface Statement {
  run(...parameters: SqlValue[]): { changes: number | bigint; lastInsertRowid: number | bigint }
  get(...parameters: SqlValue[]): unknown
  all(...parameters: SqlValue[]): unknown[]
  /** Integers come as bigint from now on; without it one above 2^53 - 1 throws. */
  setReadBigInts(enabled: boolean): void
}

export interface Database {
  readonly path: string
  exec(sql: string): void
  prepare(sql: string): Statement
  /** Is a transaction open on this connection? */
  readonly inTransaction: boolean
  /**
   * Idempotent. Frees locks. File descriptors go at once only if nothing was prepared: a library may keep the
   * connection half-open until its statements are garbage collected. Use `exec` for connections that come and go.
   */
  close(): void
}

export interface OpenOptions {
  readonly readOnly?: boolean
  /**
   * How long the *opening* may block this thread on locks, in ms (recovery of a dead writer's log takes a lock for a
   * moment). Default 50; 0 inside `retryBusy`, which waits without blocking. Afterwards nothing blocks.
   */
  readonly openTimeoutMs?: number
  /** `wal` (default) for data; `delete` for files that are only locked. */
  readonly journalMode?: 'wal' | 'delete'
}

interface RawDatabase {
  exec(sql: string): void
  prepare(sql: string): Statement
  close(): void
  readonly isTransaction?: boolean
}

type RawConstructor = new (path: string, options: { readOnly?: boolean; timeout?: number }) => RawDatabase

interface Library {
  readonly name: 'node:sqlite' | '@photostructure/sqlite'
  readonly DatabaseSync: RawConstructor
}

let library: Library | undefined

/** The SQLite library of this process, loaded on first use. Throws `incompatible` when there is none. */
export function sqliteLibrary(): Library {
  library ??= loadLibrary()
  return library
}

function loadLibrary(): Library {
  const major = Number(process.versions.node.split('.')[0])
  const minor = Number(process.versions.node.split('.')[1])
  const require = createRequire(import.meta.url)
  const builtIn = major > 22 || (major === 22 && minor >= 13)
  const name = builtIn ? 'node:sqlite' : '@photostructure/sqlite'
  try {
    const { DatabaseSync } = require(name) as { DatabaseSync: RawConstructor }
    return { name, DatabaseSync }
  } catch (cause) {
    throw new SkeinError(
      'incompatible',
      `no SQLite library: ${name} does not load on Node ${process.versions.node}; reinstall the dependencies on this machine`,
      { cause },
    )
  }
}

/**
 * Opens (and, unless `readOnly`, creates) a database file with synchronous=FULL: a commit that returned survives a
 * power cut. Errors: `data_dir_unusable`, `corrupt`, `disk_full`, `unavailable` (locked while opening: retryable).
 */
export function openDatabase(path: string, options: OpenOptions = {}): Database {
  const { DatabaseSync } = sqliteLibrary()
  const { readOnly = false, openTimeoutMs = 50, journalMode = 'wal' } = options
  let raw: RawDatabase | undefined
  if (!readOnly && path !== ':memory:') createForOwner(path)
  try {
    raw = new DatabaseSync(path, { readOnly, timeout: openTimeoutMs })
    if (!readOnly) raw.exec(`PRAGMA journal_mode = ${journalMode}`)
    raw.exec('PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF')
    // Touches the file, so that a wrong one is refused now and not at the first statement.
    raw.exec('SELECT count(*) FROM sqlite_schema')
    raw.exec('PRAGMA busy_timeout = 0')
    return wrap(path, raw)
  } catch (error) {
    closeQuietly(raw)
    throw classifySqliteError(error, `opening ${path}`, path)
  }
}

/**
 * SQLite makes files that all may read; the ones beside it (-wal, -shm) get the mode of this one. Only a file that is new is touched:
 * closing one that this process has open elsewhere would drop its locks.
 */
function createForOwner(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600))
  } catch {
    // It is there, or cannot be: SQLite says so in its own words.
  }
}

function wrap(path: string, raw: RawDatabase): Database {
  let open = true
  return {
    path,
    exec: (sql) => raw.exec(sql),
    prepare: (sql) => raw.prepare(sql),
    get inTransaction() {
      return open && raw.isTransaction === true
    },
    close() {
      if (!open) return
      open = false
      raw.close()
    },
  }
}

function closeQuietly(raw: RawDatabase | undefined): void {
  try {
    raw?.close()
  } catch {
    // The error that brought us here says more.
  }
}

const primaryCode = {
  perm: 3,
  busy: 5,
  locked: 6,
  noMemory: 7,
  readOnly: 8,
  ioError: 10,
  corrupt: 11,
  full: 13,
  cannotOpen: 14,
  protocol: 15,
  tooBig: 18,
  notADatabase: 26,
} as const

/** A library may leave the code out of what it throws in the middle of a statement. SQLite's own words for it are fixed. */
const codesByWords: ReadonlyMap<string, number> = new Map([
  ['database is locked', primaryCode.busy],
  ['disk I/O error', primaryCode.ioError],
  ['database disk image is malformed', primaryCode.corrupt],
  ['database or disk is full', primaryCode.full],
  ['file is not a database', primaryCode.notADatabase],
])

/** SQLite's extended result code of an error, or undefined when the error is not SQLite's. */
export function sqliteErrorCode(error: unknown): number | undefined {
  if (!(error instanceof Error)) return undefined
  const { errcode, code } = error as { errcode?: unknown; code?: unknown }
  if (typeof errcode === 'number') return errcode
  if (code === 'ERR_SQLITE_ERROR') return codesByWords.get(error.message)
  return error instanceof SkeinError ? sqliteErrorCode(error.cause) : undefined
}

/** Somebody else holds the lock that was needed; nothing was done. True for a raw error and for a classified one. */
export function isBusy(error: unknown): boolean {
  const code = (sqliteErrorCode(error) ?? 0) & 0xff
  return code === primaryCode.busy || code === primaryCode.locked || code === primaryCode.protocol
}

/**
 * Turns what SQLite threw into a SkeinError; leaves a SkeinError as it is. `what` says what was being done, `path`
 * (when given) the file. The caller decides whether a failed COMMIT is `outcome_unknown`.
 */
export function classifySqliteError(error: unknown, what: string, path?: string): SkeinError {
  if (error instanceof SkeinError) return error
  const extended = sqliteErrorCode(error)
  const text = error instanceof Error ? error.message : String(error)
  const details = { ...(path === undefined ? {} : { path }), sqliteCode: extended }
  const file = path ?? 'the database file'
  switch ((extended ?? 0) & 0xff) {
    case primaryCode.busy:
    case primaryCode.locked:
    case primaryCode.protocol:
      return new SkeinError('unavailable', `${what}: another process holds the lock (${text})`, {
        retryable: true,
        details,
        cause: error,
      })
    case primaryCode.full:
      return new SkeinError('disk_full', `${what}: no space left; free space where ${file} lies`, {
        retryable: true,
        details,
        cause: error,
      })
    case primaryCode.corrupt:
    case primaryCode.notADatabase:
      return new SkeinError(
        'corrupt',
        `${what}: ${text}; move ${file} (with its -wal and -shm) away or restore it from a backup`,
        { details, cause: error },
      )
    case primaryCode.perm:
    case primaryCode.readOnly:
    case primaryCode.cannotOpen:
      return new SkeinError(
        'data_dir_unusable',
        `${what}: ${text}; ${path === undefined ? 'its directory' : dirname(path)} must exist and be writable by this user`,
        { details, cause: error },
      )
    case primaryCode.tooBig:
      return new SkeinError('payload_too_large', `${what}: ${text}`, { details, cause: error })
    case primaryCode.noMemory:
      return new SkeinError('overloaded', `${what}: out of memory`, {
        retryable: true,
        details,
        cause: error,
      })
    case primaryCode.ioError:
      return new SkeinError('unavailable', `${what}: ${text}; look at the disk under ${file}`, {
        details,
        cause: error,
      })
    default:
      return new SkeinError('internal', `${what}: ${text}`, { details, cause: error })
  }
}

export interface RetryOptions {
  readonly signal?: AbortSignal | undefined
  /** On the clock of `monotonicMs`. Default: 3000 ms from now. */
  readonly deadlineMs?: number | undefined
  /** What is being waited for; goes into the error's message. */
  readonly what?: string
}

/**
 * Calls `attempt` until it does not find a lock taken, sleeping 0.5 to 3 ms (jittered, hence fair) in between without
 * blocking the event loop. `attempt` must have undone everything when it throws a busy error. Errors: `timeout` past
 * the deadline and `aborted`, both: certainly nothing done; anything else that `attempt` threw.
 */
export async function retryBusy<T>(attempt: () => T, options: RetryOptions = {}): Promise<T> {
  const { signal, what = 'waiting for a lock' } = options
  const deadlineMs = options.deadlineMs ?? monotonicMs() + 3000
  for (;;) {
    if (signal?.aborted === true) throw new SkeinError('aborted', `${what}: aborted by the caller`)
    let busy: unknown
    try {
      return attempt()
    } catch (error) {
      if (!isBusy(error)) throw error
      busy = error
    }
    if (monotonicMs() >= deadlineMs) {
      throw new SkeinError('timeout', `${what}: the lock was not free before the deadline`, {
        retryable: true,
        cause: busy,
      })
    }
    await sleep(randomInt(500, 3000) / 1000, signal)
  }
}

/** Resolves early, without an error, when the signal aborts. Leaves no listener behind. */
function sleep(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const wake = () => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', wake)
      resolve()
    }
    const timer = setTimeout(wake, ms)
    signal?.addEventListener('abort', wake, { once: true })
  })
}
