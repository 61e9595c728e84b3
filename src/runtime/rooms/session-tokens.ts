/**
 * What a client shows to go on with its session on any node: the session, its user and an end, sealed with a key that all nodes derive from the
 * cluster's secret. A session is thus recognised even where nothing else is known of it.
 */
import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto'

export const tokenSeconds = 24 * 3_600

export interface TokenFacts {
  readonly session: string
  readonly user: string
}

export class SessionTokens {
  /** The first seals, all open. */
  private readonly secrets: () => readonly Uint8Array[]
  private keys = new Map<Uint8Array, Buffer>()

  constructor(secrets: () => readonly Uint8Array[]) {
    this.secrets = secrets
  }

  make({ session, user }: TokenFacts, nowMs: number): string {
    const facts = `${session}~${Buffer.from(user).toString('base64url')}~${Math.floor(nowMs / 1_000) + tokenSeconds}`
    return `${facts}~${(this.seals(facts)[0] as Buffer).toString('base64url')}`
  }

  /** Undefined for whatever is not a token of this cluster, or is over. */
  read(token: string, nowMs: number): TokenFacts | undefined {
    const match = /^([A-Za-z0-9_-]{16,32})~([A-Za-z0-9_-]{1,700})~(\d{1,12})~([A-Za-z0-9_-]{43})$/.exec(token)
    if (match === null) return undefined
    const [, session, user, expires, given] = match as unknown as [string, string, string, string, string]
    if (Number(expires) * 1_000 <= nowMs) return undefined
    const seal = Buffer.from(given, 'base64url')
    const isOurs = this.seals(`${session}~${user}~${expires}`).some((each) => timingSafeEqual(each, seal))
    return isOurs ? { session, user: Buffer.from(user, 'base64url').toString() } : undefined
  }

  private seals(facts: string): Buffer[] {
    return this.secrets().map((secret) => createHmac('sha256', this.key(secret)).update(facts).digest())
  }

  private key(secret: Uint8Array): Buffer {
    let key = this.keys.get(secret)
    if (key === undefined) {
      const current = new Set(this.secrets())
      this.keys = new Map([...this.keys].filter(([old]) => current.has(old)))
      key = Buffer.from(hkdfSync('sha256', secret, '', 'skein room session', 32))
      this.keys.set(secret, key)
    }
    return key
  }
}
