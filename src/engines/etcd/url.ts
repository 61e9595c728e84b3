/**
 * The URL of a store on etcd:
 * `etcd[s]://[user[:password]@]host[:port][,host[:port]…][/namespace][?ca=FILE&cert=FILE&key=FILE&password-file=FILE]`.
 *
 * `etcds`, or any of ca, cert and key, means TLS. Clusters that share an etcd take different namespaces. Nothing is read here, and
 * no message repeats the URL: it may hold a password.
 */
import { SkeinError } from '../../core/kernel/error.js'

export interface EtcdTarget {
  /** `host:port`, v6 in brackets. */
  readonly endpoints: readonly string[]
  /** Segments of `[A-Za-z0-9._-]` joined by `/`. */
  readonly namespace: string
  readonly user?: string
  readonly password?: string
  readonly passwordFile?: string
  readonly tls?: {
    readonly caFile?: string
    readonly certFile?: string
    readonly keyFile?: string
    /** What the servers' certificates are made out to, instead of their addresses. Not part of a URL. */
    readonly serverName?: string
  }
}

const portDefault = '2379'
const namespaceDefault = 'skein'
const namespaceLengthMax = 96
const endpointsMax = 16
const form =
  'etcd[s]://[user[:password]@]host[:port][,host[:port]…][/namespace][?ca=&cert=&key=&password-file=]'
const parameters = ['ca', 'cert', 'key', 'password-file']

/** Throws `bad_config` that says what is wrong and what is allowed. */
export function parseEtcdUrl(url: string): EtcdTarget {
  // Before anything is quoted in a message.
  if (/^[^@/]*\/\/[^@]*[/?#][^@]*@|@.*@/.test(url)) {
    throw bad('a character of / ? # @ in the user or password must be escaped, as %2F %3F %23 %40')
  }
  const match = /^(etcds?):\/\/(?:([^@/?#]*)@)?([^/?#@]+)(?:\/([^?#]*))?(?:\?([^#]*))?$/.exec(url)
  if (match === null) throw bad(`it is not of the form ${form}`)
  const [, scheme, account, hosts = '', path = '', query = ''] = match
  const endpoints = hosts.split(',').map(endpointOf)
  if (endpoints.length > endpointsMax) throw bad(`${endpoints.length} endpoints; at most ${endpointsMax}`)
  const twice = endpoints.find((endpoint, at) => endpoints.indexOf(endpoint) !== at)
  if (twice !== undefined) throw bad(`the endpoint ${twice} is named twice`)
  const given = parametersOf(query)
  const isSecure = scheme === 'etcds' || given.has('ca') || given.has('cert') || given.has('key')
  if (given.has('cert') !== given.has('key')) throw bad('cert and key belong together: give both or neither')
  return {
    endpoints,
    namespace: namespaceOf(path),
    ...accountOf(account, given.get('password-file')),
    ...(isSecure ? { tls: tlsOf(given) } : {}),
  }
}

function endpointOf(text: string): string {
  const match = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?$/.exec(text)
  const port = Number(match?.[2] ?? portDefault)
  if (match === null || port < 1 || port > 65_535) {
    throw bad(`the endpoint "${text}" is not host, host:port or [v6]:port with a port from 1 to 65535`)
  }
  return `${match[1]}:${port}`
}

function namespaceOf(path: string): string {
  const namespace = path.replace(/\/$/, '')
  if (namespace === '') return namespaceDefault
  if (!/^[A-Za-z0-9._-]+(\/[A-Za-z0-9._-]+)*$/.test(namespace) || namespace.length > namespaceLengthMax) {
    throw bad(
      `the namespace "${namespace}" is not made of A-Z a-z 0-9 . _ - and single slashes, at most ${namespaceLengthMax} characters`,
    )
  }
  return namespace
}

function parametersOf(query: string): Map<string, string> {
  const given = new Map<string, string>()
  for (const [name, value] of new URLSearchParams(query)) {
    if (!parameters.includes(name)) {
      throw bad(`it does not know the parameter "${name}"; there are ${parameters.join(', ')}`)
    }
    if (value === '') throw bad(`the parameter ${name} is empty; it is the name of a file`)
    if (given.has(name)) throw bad(`the parameter ${name} is given twice`)
    given.set(name, value)
  }
  return given
}

function accountOf(account: string | undefined, passwordFile: string | undefined): Partial<EtcdTarget> {
  if (account === undefined) {
    if (passwordFile !== undefined) throw bad('password-file needs a user: etcd://user@host')
    return {}
  }
  const colon = account.indexOf(':')
  const user = unescaped(colon < 0 ? account : account.slice(0, colon))
  const password = colon < 0 ? undefined : unescaped(account.slice(colon + 1))
  if (user === '') throw bad('the user before @ is empty')
  if (password !== undefined && passwordFile !== undefined) {
    throw bad('it has a password and a password-file; give one of them, better the file')
  }
  if (password !== undefined) return { user, password }
  if (passwordFile === undefined) {
    throw bad('the user has no password: add ?password-file=FILE, or user:password@')
  }
  return { user, passwordFile }
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    throw bad('user or password has a % that begins no valid escape; write % as %25')
  }
}

function tlsOf(given: ReadonlyMap<string, string>): NonNullable<EtcdTarget['tls']> {
  const files = { caFile: given.get('ca'), certFile: given.get('cert'), keyFile: given.get('key') }
  return Object.fromEntries(Object.entries(files).filter(([, file]) => file !== undefined))
}

function bad(reason: string): SkeinError {
  return new SkeinError('bad_config', `the etcd URL of --store is refused: ${reason}`, {
    details: { field: 'store', allowed: form },
  })
}
