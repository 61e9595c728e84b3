/**
 * One connection: statements one after another, each with a deadline.
 *
 * The idea: a statement either gets the server's answer in time, or the socket is destroyed at once. There is no
 * transaction that waits for us: every statement is one message pair and commits by itself, so a client that freezes
 * holds no lock longer than its statement runs.
 *
 * A warning that comes with a write (of class 01, whatever the language of its text) says that the commit did not do all
 * of what was asked: "committed locally, but might not have been replicated". Such a write is `outcome_unknown`.
 */
import { Socket } from 'node:net'
import type pg from 'pg'
import { SkeinError } from '../../core/kernel/error.js'
import { classify, type Phase } from './errors.js'
import type { HostPort, PostgresTarget } from './target.js'

export interface Statement {
  readonly text: string
  /** Prepared once per connection under this name. */
  readonly name?: string
}

export type Row = Readonly<Record<string, unknown>>

export interface Answer {
  readonly rows: readonly Row[]
  /** Rows inserted, updated or deleted by the main statement; rows returned by a SELECT. */
  readonly count: number
}

export interface SessionOptions {
  readonly target: PostgresTarget
  readonly host: HostPort
  readonly applicationName: string
}

/** Numbers of 8 bytes are within the safe range here: offsets, epochs, sizes, milliseconds. */
const parsers: Readonly<Record<number, (text: string) => unknown>> = {
  16: (text) => text === 't' || text === 'true',
  17: (text) => Buffer.from(text.slice(2), 'hex'),
  20: Number,
  21: Number,
  23: Number,
  700: Number,
  701: Number,
  1700: Number,
}
const asText = (text: string) => text
const types = { getTypeParser: (oid: number) => parsers[oid] ?? asText } as unknown as pg.CustomTypesConfig

export class Session {
  readonly host: HostPort
  readonly #target: PostgresTarget
  readonly #client: pg.Client
  readonly #socket: Socket
  #ended = false
  #warning: string | undefined

  private constructor(options: SessionOptions, client: pg.Client, socket: Socket) {
    this.host = options.host
    this.#target = options.target
    this.#client = client
    this.#socket = socket
    client.on('error', () => this.destroy())
    client.on('end', () => {
      this.#ended = true
    })
    client.on('notice', (notice) => {
      if (notice.code?.startsWith('01') === true || notice.code === '57P01') {
        this.#warning = notice.message ?? 'a warning'
      }
    })
  }

  /** Errors: `unavailable`, `unauthenticated`, `bad_config`. */
  static async open(options: SessionOptions): Promise<Session> {
    const { target, host, applicationName } = options
    const { database, user, connectMsMax, tls } = target
    const password = target.password(host.host, host.port, database, user)
    // Loaded here, so that whoever keeps the journal in files never loads it.
    const { default: library } = await import('pg')
    const socket = new Socket()
    const client = new library.Client({
      ...host,
      database,
      user,
      // An empty one keeps the client from looking for one by itself.
      password: password ?? '',
      ssl: tls ?? false,
      application_name: applicationName,
      fallback_application_name: 'skein',
      connectionTimeoutMillis: connectMsMax,
      keepAlive: true,
      keepAliveInitialDelayMillis: 5_000,
      stream: () => socket,
      types,
    })
    const session = new Session(options, client, socket)
    try {
      await client.connect()
      return session
    } catch (error) {
      session.destroy()
      throw classify(error, 'connect', `${host.host}:${host.port}`)
    }
  }

  get ended(): boolean {
    return this.#ended
  }

  /**
   * Runs one statement. Errors: as `classify` says; when the time is up, `outcome_unknown` for a write and `unavailable`
   * for a read, and the session has ended.
   */
  async run(
    phase: Exclude<Phase, 'connect'>,
    { text, name }: Statement,
    values: readonly unknown[] = [],
    msMax: number = this.#target.statementMsMax,
  ): Promise<Answer> {
    const where = `${this.host.host}:${this.host.port}`
    if (this.#ended) {
      throw new SkeinError('unavailable', `the connection to ${where} has ended`, { retryable: true })
    }
    this.#warning = undefined
    let isLate = false
    const timer = setTimeout(() => {
      isLate = true
      this.destroy()
    }, msMax)
    try {
      const query = { text, values: [...values], ...(name === undefined ? {} : { name }) }
      const { rows, rowCount } = await this.#client.query<Row>(query)
      if (phase === 'write' && this.#warning !== undefined) {
        throw new SkeinError('outcome_unknown', `${where}: ${this.#warning}`)
      }
      return { rows, count: rowCount ?? 0 }
    } catch (error) {
      if (isLate) {
        const code = phase === 'write' ? 'outcome_unknown' : 'unavailable'
        throw new SkeinError(code, `${where} did not answer within ${msMax} ms`, {
          retryable: phase === 'read',
        })
      }
      throw classify(error, phase, where)
    } finally {
      clearTimeout(timer)
    }
  }

  /** At once, whatever is under way. */
  destroy(): void {
    this.#ended = true
    this.#socket.destroy()
  }

  /** Says goodbye, so that the server frees the connection at once; a silent server is left after a moment. */
  async close(): Promise<void> {
    if (this.#ended) return
    this.#ended = true
    const timer = setTimeout(() => this.#socket.destroy(), 500)
    await this.#client.end().catch(() => undefined)
    clearTimeout(timer)
    this.#socket.destroy()
  }
}
