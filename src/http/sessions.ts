/**
 * Log-ins of browsers, without memory: a cookie with the token's name and two times, sealed with a key that all nodes of the cluster derive
 * from its secret. Any of them accepts it, behind whatever balances between them. It ends when its time does, when the token is removed or
 * replaced, and when the cluster's secret is changed; `HttpOnly` and `SameSite=Strict` keep it from scripts and from other sites.
 */
import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'
import type { TokenEntry } from '../keys/tokens.js'

export const sessionCookie = 'skein_session'
/** Between two signs of life of the page. */
const idleSeconds = 3_600
/** Since the token was shown. */
const wholeSeconds = 12 * 3_600

export interface Session {
  readonly entry: TokenEntry
  readonly startedAtS: number
  readonly expiresAtS: number
}

export class Sessions {
  /** The first seals, all open: that is how the cluster's secret is changed without a log-out. */
  private readonly secrets: () => readonly Uint8Array[]
  private readonly keys = new Map<Uint8Array, Buffer>()

  constructor(secrets: () => readonly Uint8Array[]) {
    this.secrets = secrets
  }

  /** `startedAtS`: of the session that this one goes on with. */
  open(
    entry: TokenEntry,
    nowMs: number,
    startedAtS = Math.floor(nowMs / 1_000),
  ): { value: string } & Session {
    const nowS = Math.floor(nowMs / 1_000)
    const expiresAtS = Math.min(nowS + idleSeconds, startedAtS + wholeSeconds)
    const facts = `${entry.name}~${startedAtS}~${expiresAtS}`
    const seal = this.seals(facts, entry)[0] as Buffer
    return { value: `${facts}~${seal.toString('base64url')}`, entry, startedAtS, expiresAtS }
  }

  /** Undefined for whatever is not a session of ours, is over, or belongs to a token that is no more. */
  read(value: string, nowMs: number, byName: (name: string) => TokenEntry | undefined): Session | undefined {
    const match = /^([A-Za-z0-9._-]{1,64})~(\d{1,12})~(\d{1,12})~([A-Za-z0-9_-]{43})$/.exec(value)
    if (match === null) return undefined
    const [, name, started, expires, given] = match as unknown as [string, string, string, string, string]
    const entry = byName(name)
    if (entry === undefined || Number(expires) * 1_000 <= nowMs) return undefined
    const seal = Buffer.from(given, 'base64url')
    const isOurs = this.seals(`${name}~${started}~${expires}`, entry).some((each) =>
      timingSafeEqual(each, seal),
    )
    return isOurs ? { entry, startedAtS: Number(started), expiresAtS: Number(expires) } : undefined
  }

  private seals(facts: string, { hash }: TokenEntry): Buffer[] {
    return this.secrets().map((secret) =>
      createHmac('sha256', this.key(secret)).update(`${facts}~`).update(hash).digest(),
    )
  }

  private key(secret: Uint8Array): Buffer {
    let key = this.keys.get(secret)
    if (key === undefined) {
      const current = this.secrets()
      for (const old of this.keys.keys()) if (!current.includes(old)) this.keys.delete(old)
      key = Buffer.from(hkdfSync('sha256', secret, '', 'skein http session', 32))
      this.keys.set(secret, key)
    }
    return key
  }
}
