/**
 * Who is calling, and may they: bearer tokens and log-in cookies to a principal, a principal and the role that a route needs to yes or no.
 * While no token is set, whoever reaches the port may do anything (it is then bound to loopback, or `insecure` was asked for); once one is,
 * whatever is not public needs one. What the answer to a browser page must look like is `security.ts`.
 */
import type { IncomingHttpHeaders } from 'node:http'
import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'
import { clientIn } from '../core/kernel/certificate-name.js'
import { type AccessRole, accessRoles, mayAct } from '../keys/roles.js'
import type { TokenEntry } from '../keys/tokens.js'
import { HttpProblem } from './problem.js'
import { RateLimit } from './rate-limit.js'
import { isLoopback, networkOf } from './security.js'
import { type Session, Sessions, sessionCookie } from './sessions.js'

/** What a route asks of its caller. */
export type RouteRole = AccessRole | 'public'

/** `local`: no token is set. `none`: nothing valid was shown. */
export interface Principal {
  readonly name: string
  readonly role: AccessRole | undefined
  readonly via: 'local' | 'token' | 'session' | 'certificate' | 'none'
  readonly address: string
  /** Something was shown, and it is not valid. */
  readonly isMistaken: boolean
  /** The token that was shown, by itself or when the log-in was. */
  readonly entry?: TokenEntry
  readonly session?: Session
  /** Of a certificate. */
  readonly expiresAtMs?: number
}

/** The tokens in force; `keys/tokens.ts` has one that follows a file. */
export interface TokenSource {
  readonly isRequired: boolean
  find(token: string): TokenEntry | undefined
  byName(name: string): TokenEntry | undefined
}

export interface AccessOptions {
  readonly tokens: TokenSource | undefined
  /** Of the cluster; seal the log-in cookies. At least one. */
  readonly secrets: () => readonly Uint8Array[]
  /** Requests per second and client, 0 for no limit, and how many may come at once. */
  readonly rateLimit: number
  readonly rateBurst: number
  /** That a client's certificate must name. */
  readonly clusterName: string | undefined
}

/** `Sec-WebSocket-Protocol` of a browser, which cannot set other headers: `skein, skein.token.<token>`. */
const tokenProtocol = 'skein.token.'
/** Wrong tokens of one address: twenty at once, then one a second. */
const failures = { perSecond: 1, burst: 20 } as const

export class Access {
  readonly sessions: Sessions
  private readonly tokens: TokenSource | undefined
  private readonly clusterName: string | undefined
  private readonly byConnection = new WeakMap<Socket, Principal | null>()
  private requests: RateLimit
  private readonly failed = new RateLimit(failures.perSecond, failures.burst)

  constructor(options: AccessOptions) {
    this.tokens = options.tokens
    this.clusterName = options.clusterName
    this.sessions = new Sessions(options.secrets)
    this.requests = new RateLimit(options.rateLimit, options.rateBurst)
  }

  /** From now on; whoever had to wait need not. */
  limitTo(perSecond: number, burst: number): void {
    this.requests = new RateLimit(perSecond, burst)
  }

  get isRequired(): boolean {
    return this.tokens?.isRequired ?? false
  }

  identify(headers: IncomingHttpHeaders, connection: Socket): Principal {
    const { tokens } = this
    const address = connection.remoteAddress ?? ''
    if (tokens === undefined || !tokens.isRequired) {
      return { name: 'local', role: 'admin', via: 'local', address, isMistaken: false }
    }
    const token = bearerOf(headers.authorization) ?? protocolToken(headers['sec-websocket-protocol'])
    if (token !== undefined) return principalOf('token', tokens.find(token), address)
    const cookie = cookieOf(headers.cookie)
    if (cookie === undefined) {
      return this.certified(connection, address) ?? nobody(address, headers.authorization !== undefined)
    }
    const session = this.sessions.read(cookie, Date.now(), (name) => tokens.byName(name))
    return session === undefined
      ? nobody(address, false)
      : { ...principalOf('session', session.entry, address), session }
  }

  /** By the certificate that the connection was made with, if it names a client of this cluster. */
  private certified(connection: Socket, address: string): Principal | undefined {
    const known = this.byConnection.get(connection)
    if (known !== undefined) return known !== null && this.isStillGood(known) ? known : undefined
    const found = this.readCertificate(connection, address)
    this.byConnection.set(connection, found ?? null)
    return found
  }

  private readCertificate(connection: Socket, address: string): Principal | undefined {
    if (!(connection instanceof TLSSocket) || !connection.authorized || this.clusterName === undefined)
      return undefined
    const certificate = connection.getPeerX509Certificate()
    const client = clientIn(certificate?.subjectAltName, this.clusterName)
    const role = accessRoles.find((each) => each === client?.role)
    if (client === undefined || role === undefined) return undefined
    const expiresAtMs = Date.parse(certificate?.validTo ?? '')
    return { name: client.name, role, via: 'certificate', address, isMistaken: false, expiresAtMs }
  }

  /** For the log-in: what is typed in is a token like any other, limited like any other. */
  identifyToken(token: string, address: string): Principal {
    return principalOf('token', this.tokens?.find(token), address)
  }

  /** Of a connection that lives on: is what was shown for it still good? */
  isStillGood({ via, entry, session, expiresAtMs }: Principal): boolean {
    if (expiresAtMs !== undefined) return expiresAtMs > Date.now()
    if (entry === undefined) return via === 'local' && !this.isRequired
    const now = this.tokens?.byName(entry.name)
    const isSame = now?.hash.equals(entry.hash) === true && now.role === entry.role
    return isSame && (session === undefined || session.expiresAtS * 1_000 > Date.now())
  }

  /** Throws `overloaded`, `unauthenticated` or `forbidden`. */
  admit(principal: Principal, needed: RouteRole): void {
    this.limit(principal)
    if (principal.role !== undefined && (needed === 'public' || mayAct(principal.role, needed))) return
    if (needed === 'public') return
    if (principal.role === undefined) throw this.unauthenticated(principal, needed)
    throw new HttpProblem(
      'forbidden',
      `This needs the role ${needed}; the token "${principal.name}" has ${principal.role}`,
      {
        details: { role_needed: needed, role: principal.role },
        headers: {
          'www-authenticate': `Bearer realm="skein", error="insufficient_scope", scope="${needed}"`,
        },
      },
    )
  }

  /** 401, or 429 for an address that shows one wrong token after the other. A right one is never made to wait for those. */
  unauthenticated(principal: Principal, needed: RouteRole): HttpProblem {
    const { address, isMistaken } = principal
    const waitS = isMistaken ? this.failed.take(networkOf(address), performance.now()) : 0
    if (waitS > 0) return tooMany('Too many wrong tokens came from this address', waitS)
    const detail = isMistaken
      ? 'The token is not one of this node'
      : 'A token is needed: Authorization: Bearer <token>, or log in at the dashboard'
    const error = isMistaken ? ', error="invalid_token"' : ''
    return new HttpProblem('unauthenticated', detail, {
      details: { role_needed: needed },
      headers: { 'www-authenticate': `Bearer realm="skein"${error}` },
    })
  }

  /** By token where there is one, so that many behind one address do not share a limit. */
  private limit(principal: Principal): void {
    if (principal.via === 'local' && isLoopback(principal.address)) return
    const waitS = this.requests.take(clientOf(principal), performance.now())
    if (waitS > 0) throw tooMany('This client sends more requests than it may', waitS)
  }
}

/** What limits are counted by. */
export function clientOf({ role, via, name, address }: Principal): string {
  return role === undefined || via === 'local'
    ? networkOf(address)
    : `${name} ${via === 'certificate' ? via : 'token'}`
}

function tooMany(detail: string, waitS: number): HttpProblem {
  return new HttpProblem('overloaded', detail, { retryable: true, headers: { 'retry-after': String(waitS) } })
}

function principalOf(via: 'token' | 'session', entry: TokenEntry | undefined, address: string): Principal {
  if (entry === undefined) return nobody(address, true)
  return { name: entry.name, role: entry.role, via, address, isMistaken: false, entry }
}

function nobody(address: string, isMistaken: boolean): Principal {
  return { name: 'anonymous', role: undefined, via: 'none', address, isMistaken }
}

function bearerOf(header: string | undefined): string | undefined {
  return header === undefined ? undefined : /^Bearer +([A-Za-z0-9._~+/=-]{1,512})$/i.exec(header)?.[1]
}

function protocolToken(header: string | undefined): string | undefined {
  const offered = header?.split(',').map((each) => each.trim())
  return offered?.find((each) => each.startsWith(tokenProtocol))?.slice(tokenProtocol.length)
}

/** Which of the offered protocols is spoken: not the token, unless nothing else was offered (browsers insist on one). */
export function chosenProtocol(offered: ReadonlySet<string>): string | false {
  const names = [...offered]
  return names.find((each) => !each.startsWith(tokenProtocol)) ?? names[0] ?? false
}

function cookieOf(header: string | undefined): string | undefined {
  const start = `${sessionCookie}=`
  const found = header?.split(';').find((each) => each.trimStart().startsWith(start))
  return found?.trim().slice(start.length)
}
