/**
 * What a `postgres://` URL means: hosts, database, who we are, how the connection is protected.
 *
 *     postgres://user@h1:5432,h2/db?schema=skein&sslmode=verify-full&sslrootcert=/etc/ca.pem&password-file=/run/secret
 *
 * The idea: everything that can be wrong is found here, before the first connection, and said by name. A password is never
 * part of a message: a target has a `label` for that.
 *
 * Must not live here: connections.
 */
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import type { ConnectionOptions } from 'node:tls'
import { SkeinError } from '../../core/kernel/error.js'
import { type PasswordSource, passwordSourceOf } from './password.js'

export interface HostPort {
  readonly host: string
  readonly port: number
}

export interface PostgresTarget {
  readonly hosts: readonly HostPort[]
  readonly database: string
  readonly user: string
  readonly password: PasswordSource
  /** Where our tables are, so that several clusters share a database. */
  readonly schema: string
  /** Undefined: no TLS. */
  readonly tls: ConnectionOptions | undefined
  /** One statement, its wait for a standby included. */
  readonly statementMsMax: number
  readonly connectMsMax: number
  /** Connections beside the writer's. */
  readonly poolMax: number
  /** The URL without its secrets, for messages. */
  readonly label: string
}

type Environment = Readonly<Record<string, string | undefined>>

const parameters = [
  'schema',
  'sslmode',
  'sslrootcert',
  'sslcert',
  'sslkey',
  'password-file',
  'statement-timeout-ms',
  'connect-timeout-ms',
  'pool',
] as const
type Parameter = (typeof parameters)[number]

const sslModes = ['disable', 'require', 'verify-ca', 'verify-full'] as const

export function isPostgresUrl(url: string): boolean {
  return /^postgres(ql)?:\/\//.test(url)
}

/** Errors: `bad_config`, naming the part, never the password. */
export function parsePostgresUrl(url: string, env: Environment = process.env): PostgresTarget {
  // `new URL` knows one host only, so the parts are taken apart here.
  const match = /^postgres(?:ql)?:\/\/(?:([^/?#]*)@)?([^/?#@]*)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(url)
  if (match === null) throw bad('it does not look like postgres://user@host:5432,host2/database?name=value')
  const [, credentials = '', hostList = '', path = '', query = ''] = match
  const hosts = parseHosts(hostList)
  const [userPart = '', ...passwordParts] = credentials.split(':')
  const user = decode(userPart, 'the user') || env.PGUSER || ''
  if (user === '') throw bad('it names no user (postgres://USER@host/database)')
  const database = decode(path, 'the database')
  if (database === '' || database.includes('/')) {
    throw bad('it names no database (postgres://user@host/DATABASE)')
  }
  const given = parseParameters(query)
  const inline = passwordParts.length === 0 ? undefined : decode(passwordParts.join(':'), 'the password')
  const schema = given.get('schema') ?? 'skein'
  if (!/^[a-z_][a-z0-9_]{0,62}$/.test(schema)) {
    throw bad(
      `schema "${schema}" has other characters than a-z, 0-9 and _, or begins with a digit, or has more than 63`,
    )
  }
  const hostNames = hosts.map(({ host, port }) => `${host.includes(':') ? `[${host}]` : host}:${port}`)
  return {
    hosts,
    database,
    user,
    password: passwordSourceOf(inline, given.get('password-file'), env),
    schema,
    tls: parseTls(given, hosts),
    statementMsMax: milliseconds(given, 'statement-timeout-ms', 5_000, 100, 600_000),
    connectMsMax: milliseconds(given, 'connect-timeout-ms', 3_000, 100, 60_000),
    poolMax: milliseconds(given, 'pool', 4, 1, 64),
    label: `postgres://${encodeURIComponent(user)}@${hostNames.join(',')}/${path} (schema ${schema})`,
  }
}

function parseHosts(list: string): HostPort[] {
  return list.split(',').map((text) => {
    const match = /^(?:\[([0-9a-fA-F:.%]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text)
    const host = match?.[1] ?? match?.[2]
    const port = Number(match?.[3] ?? 5432)
    if (host === undefined || port < 1 || port > 65_535) {
      throw bad(`"${text}" is not a host or host:port`)
    }
    return { host, port }
  })
}

function parseParameters(query: string): ReadonlyMap<Parameter, string> {
  const given = new Map<Parameter, string>()
  for (const part of query.split('&').filter((p) => p !== '')) {
    const [rawName = '', ...rest] = part.split('=')
    const name = decode(rawName, 'a parameter') as Parameter
    if (!parameters.includes(name)) {
      throw bad(`it has a parameter "${name}"; known are ${parameters.join(', ')}`)
    }
    given.set(name, decode(rest.join('='), name))
  }
  return given
}

/**
 * As libpq names them. `require` encrypts without asking who answers; without a mode it is `verify-full`, except on
 * loopback. `prefer` and `allow` do not exist here: they would send events in clear text without telling anybody.
 */
function parseTls(
  given: ReadonlyMap<Parameter, string>,
  hosts: readonly HostPort[],
): ConnectionOptions | undefined {
  const mode =
    given.get('sslmode') ?? (hosts.every(({ host }) => isLoopback(host)) ? 'disable' : 'verify-full')
  if (!sslModes.includes(mode as (typeof sslModes)[number])) {
    throw bad(`sslmode "${mode}" is not one of ${sslModes.join(', ')}`)
  }
  const files = (['sslrootcert', 'sslcert', 'sslkey'] as const).filter((name) => given.has(name))
  if (mode === 'disable') {
    if (files.length > 0) throw bad(`${files.join(' and ')} make no sense with sslmode=disable`)
    return undefined
  }
  if (given.has('sslcert') !== given.has('sslkey')) throw bad('sslcert and sslkey come together')
  const ca = readPart(given, 'sslrootcert')
  const cert = readPart(given, 'sslcert')
  const key = readPart(given, 'sslkey')
  const checksName = mode === 'verify-full'
  return {
    minVersion: 'TLSv1.2',
    rejectUnauthorized: mode !== 'require' || ca !== undefined,
    ...(checksName ? {} : { checkServerIdentity: () => undefined }),
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
  }
}

function readPart(given: ReadonlyMap<Parameter, string>, name: Parameter): string | undefined {
  const path = given.get(name)
  if (path === undefined) return undefined
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw bad(`${name}: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function milliseconds(
  given: ReadonlyMap<Parameter, string>,
  name: Parameter,
  standard: number,
  min: number,
  max: number,
): number {
  const text = given.get(name)
  if (text === undefined) return standard
  const value = Number(text)
  if (!/^\d+$/.test(text) || value < min || value > max) {
    throw bad(`${name} "${text}" is not a whole number from ${min} to ${max}`)
  }
  return value
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'))
}

function decode(text: string, what: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw bad(`${what} has a % that is not followed by two hexadecimal digits`)
  }
}

function bad(why: string): SkeinError {
  return new SkeinError('bad_config', `the journal's postgres URL is not usable: ${why}`, {
    details: { field: 'journal' },
  })
}
