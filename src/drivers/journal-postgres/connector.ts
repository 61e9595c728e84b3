/**
 * Which of the hosts is the primary, and which never again.
 *
 * The idea: all hosts are asked at once; of those that are primaries the one with the highest timeline counts, as a
 * promotion begins a new one. What was once seen is remembered: a server of another system, or of an older timeline (an
 * old primary that came back), is refused, and connections to it are given up.
 *
 * What this cannot see: an old primary that is alone reachable from a process that never saw the new one. It commits
 * nothing, as its standby has gone over: that is why several hosts want `synchronous_standby_names`.
 */
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import { checkServer, type ServerFacts } from './server-check.js'
import { Session } from './session.js'
import type { HostPort, PostgresTarget } from './target.js'

export interface Connection {
  readonly session: Session
  readonly facts: ServerFacts
}

/** With a primary in hand, the others have this long to say that they are a newer one. */
const settleMs = 250
/** After a round without success the next one waits, doubling from and up to here. */
const pauseMsMin = 50
const pauseMsMax = 1_000

export class Connector {
  readonly target: PostgresTarget
  #systemId = ''
  #timeline = 0
  #pauseMs = 0
  #notBeforeMs = 0
  #failure: SkeinError | undefined

  constructor(target: PostgresTarget) {
    this.target = target
  }

  /** The highest timeline seen so far. */
  get timeline(): number {
    return this.#timeline
  }

  /** Is this connection still to the newest primary that we know of? */
  isCurrent({ session, facts }: Connection): boolean {
    return !session.ended && facts.timeline >= this.#timeline
  }

  /** Errors: `unavailable`, `unauthenticated`, `bad_config`, `incompatible`. Fails at once shortly after a failure. */
  async connect(applicationName: string): Promise<Connection> {
    if (this.#failure !== undefined && performance.now() < this.#notBeforeMs) throw this.#failure
    try {
      const connection = await this.#connectBest(applicationName)
      this.#pauseMs = 0
      this.#failure = undefined
      return connection
    } catch (error) {
      this.#pauseMs = Math.min(pauseMsMax, Math.max(pauseMsMin, this.#pauseMs * 2))
      this.#notBeforeMs = performance.now() + this.#pauseMs * (0.5 + Math.random() / 2)
      this.#failure = error as SkeinError
      throw error
    }
  }

  async #connectBest(applicationName: string): Promise<Connection> {
    const { hosts } = this.target
    const found: Connection[] = []
    const failures: SkeinError[] = []
    let decided = false
    await new Promise<void>((resolve) => {
      for (const host of hosts) {
        this.#connectTo(host, applicationName)
          .then(
            (connection) => {
              if (decided) void connection.session.close()
              else found.push(connection)
              setTimeout(resolve, settleMs)
            },
            (error: SkeinError) => {
              failures.push(error)
            },
          )
          .finally(() => {
            if (found.length + failures.length === hosts.length) resolve()
          })
      }
    })
    decided = true
    found.sort((a, b) => b.facts.timeline - a.facts.timeline)
    const [best, ...others] = found
    for (const { session } of others) void session.close()
    if (best === undefined) throw this.#noPrimary(failures)
    this.#remember(best)
    return best
  }

  async #connectTo(host: HostPort, applicationName: string): Promise<Connection> {
    const session = await Session.open({ target: this.target, host, applicationName })
    try {
      const facts = await checkServer(session, this.target)
      return { session, facts }
    } catch (error) {
      session.destroy()
      throw error
    }
  }

  #remember({ session, facts }: Connection): void {
    const where = `${session.host.host}:${session.host.port}`
    if (this.#systemId !== '' && facts.systemId !== this.#systemId) {
      session.destroy()
      throw new SkeinError(
        'unavailable',
        `${where} is another database system (${facts.systemId}) than before (${this.#systemId}); the journal is not there`,
        { retryable: true },
      )
    }
    if (facts.timeline < this.#timeline) {
      session.destroy()
      throw new SkeinError(
        'unavailable',
        `${where} is a primary of timeline ${facts.timeline}, but timeline ${this.#timeline} has been seen: an old primary that came back`,
        { retryable: true },
      )
    }
    this.#systemId = facts.systemId
    this.#timeline = facts.timeline
  }

  /** The gravest reason first: a wrong password does not go away by waiting. */
  #noPrimary(failures: readonly SkeinError[]): SkeinError {
    const order = ['bad_config', 'incompatible', 'unauthenticated']
    const rank = ({ code }: SkeinError) => order.indexOf(code) + 1 || order.length + 1
    const [worst] = [...failures].sort((a, b) => rank(a) - rank(b))
    if (worst !== undefined && failures.length === 1) return worst
    const reasons = failures.map((f) => (isSkeinError(f) ? f.message : String(f))).join('; ')
    return new SkeinError(worst?.code ?? 'unavailable', `no usable primary among the hosts: ${reasons}`, {
      retryable: worst?.retryable ?? true,
      details: worst?.details ?? {},
    })
  }
}
