/**
 * A bounded number of connections for everything but appends, and a bounded line before them.
 *
 * The idea: a call takes a connection for one use and gives it back. A connection that ended, or that leads to a primary
 * of the past, is not used again.
 */
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import type { Connection, Connector } from './connector.js'

export interface PoolOptions {
  readonly connector: Connector
  readonly applicationName: string
  /** Calls that may wait for a connection; over it `overloaded`. */
  readonly callsMax: number
}

export class Pool {
  readonly #options: PoolOptions
  #idle: Connection[] = []
  readonly #busy = new Set<Connection>()
  #open = 0
  #line: { readonly go: () => void; readonly fail: (error: SkeinError) => void }[] = []
  #closed = false

  constructor(options: PoolOptions) {
    this.#options = options
  }

  /** Errors: `overloaded`, `unavailable`, `closed`, and what `use` throws. */
  async with<T>(use: (connection: Connection) => Promise<T>): Promise<T> {
    await this.#enter()
    let connection: Connection | undefined
    try {
      connection = this.#takeIdle() ?? (await this.#connect())
      this.#busy.add(connection)
      return await use(connection)
    } finally {
      if (connection !== undefined) this.#giveBack(connection)
      this.#leave()
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    const line = this.#line
    this.#line = []
    for (const { fail } of line) fail(new SkeinError('closed', 'the journal is closed'))
    await Promise.all([...this.#idle, ...this.#busy].map(({ session }) => session.close()))
    this.#idle = []
  }

  async #enter(): Promise<void> {
    const { callsMax, connector } = this.#options
    if (this.#open < connector.target.poolMax) {
      this.#open++
      return
    }
    if (this.#line.length >= callsMax) {
      throw new SkeinError('overloaded', `${this.#line.length} calls wait for the journal`, {
        retryable: true,
      })
    }
    const waitMsMax = connector.target.statementMsMax + connector.target.connectMsMax
    await new Promise<void>((go, reject) => {
      const timer = setTimeout(() => {
        this.#line = this.#line.filter((entry) => entry !== waiting)
        reject(
          new SkeinError('unavailable', `no connection was free within ${waitMsMax} ms`, { retryable: true }),
        )
      }, waitMsMax)
      const settle =
        <A extends unknown[]>(then: (...args: A) => void) =>
        (...args: A) => {
          clearTimeout(timer)
          then(...args)
        }
      const waiting = { go: settle(go), fail: settle(reject) }
      this.#line.push(waiting)
    })
  }

  /** The place goes to the next in line. */
  #leave(): void {
    const next = this.#line.shift()
    if (next === undefined) this.#open--
    else next.go()
  }

  #takeIdle(): Connection | undefined {
    for (;;) {
      const connection = this.#idle.pop()
      if (connection === undefined || this.#options.connector.isCurrent(connection)) return connection
      connection.session.destroy()
    }
  }

  async #connect(): Promise<Connection> {
    try {
      return await this.#options.connector.connect(this.#options.applicationName)
    } catch (error) {
      throw asOutage(error)
    }
  }

  #giveBack(connection: Connection): void {
    this.#busy.delete(connection)
    if (this.#closed) connection.session.destroy()
    else if (this.#options.connector.isCurrent(connection)) this.#idle.push(connection)
    else connection.session.destroy()
  }
}

/** A server that is refused while the node runs (a setting, a password) is an outage like any other: nothing was written. */
export function asOutage(error: unknown): SkeinError {
  if (isSkeinError(error) && error.code === 'unavailable') return error as SkeinError
  const message = error instanceof Error ? error.message : String(error)
  const details = isSkeinError(error) ? { refusedFor: error.code, ...error.details } : {}
  return new SkeinError('unavailable', message, { retryable: true, details, cause: error })
}
