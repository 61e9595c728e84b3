/**
 * Who may write: the Host must be one of this node's own names (or a page that rebinds DNS could reach it), the Origin absent,
 * the same, or allowed (or any page a user visits could). And the headers every answer carries. Pure but for the list of interfaces.
 */
import { BlockList, isIP } from 'node:net'
import { networkInterfaces } from 'node:os'
import { HttpProblem } from './problem.js'

const loopback = new BlockList()
loopback.addSubnet('127.0.0.0', 8, 'ipv4')
loopback.addAddress('::1', 'ipv6')

export interface Doors {
  /** The address HTTP is bound to. */
  readonly host: string
  readonly allowedHosts: readonly string[]
  readonly allowedOrigins: readonly string[]
}

export function isLoopback(host: string): boolean {
  const name = host.toLowerCase()
  if (name === 'localhost' || name.endsWith('.localhost')) return true
  const version = isIP(name)
  return version !== 0 && loopback.check(name, version === 6 ? 'ipv6' : 'ipv4')
}

/** What limits count strangers by: an IPv4 address, or the half of an IPv6 address that its holder did not choose. */
export function networkOf(address: string): string {
  if (isIP(address) !== 6 || address.includes('.')) return address
  const [head = '', tail] = address.split('::')
  const groups = head === '' ? [] : head.split(':')
  const missing = tail === undefined ? 0 : 8 - groups.length - (tail === '' ? 0 : tail.split(':').length)
  return [...groups, ...Array<string>(missing).fill('0'), ...(tail?.split(':') ?? [])].slice(0, 4).join(':')
}

/** Throws `forbidden_origin` when these headers may not write. */
export function checkDoors(
  headers: { readonly host?: string | undefined; readonly origin?: string | undefined },
  doors: Doors,
): void {
  checkHost(headers.host, doors)
  if (isOriginAllowed(headers.origin, headers.host ?? '', doors)) return
  throw new HttpProblem(
    'forbidden_origin',
    `Origin: got ${JSON.stringify(headers.origin)}, which may not write here`,
    {
      details: {
        field: 'Origin',
        given: headers.origin,
        allowed: 'none, the same origin, or one in allowed origins',
      },
    },
  )
}

/** Throws `forbidden_origin` for a name that is not this node's: a page may have made it lead here. */
export function checkHost(header: string | undefined, doors: Doors): void {
  const host = hostName(header)
  if (host !== undefined && isOwnHost(host, header ?? '', doors)) return
  throw new HttpProblem(
    'forbidden_origin',
    `Host: got ${JSON.stringify(header ?? '')}, which is not a name of this node`,
    {
      details: {
        field: 'Host',
        given: header ?? '',
        allowed: 'an address of this node, or a name in allowed hosts',
      },
    },
  )
}

function isOriginAllowed(origin: string | undefined, host: string, doors: Doors): boolean {
  if (origin === undefined || isListedOrigin(origin, doors)) return true
  const url = parseUrl(origin)
  if (url === undefined || (url.protocol !== 'http:' && url.protocol !== 'https:')) return false
  return url.host === parseUrl(`${url.protocol}//${host}`)?.host
}

export function isListedOrigin(origin: string, doors: Doors): boolean {
  return doors.allowedOrigins.some(
    (allowed) => allowed.toLowerCase().replace(/\/$/, '') === origin.toLowerCase(),
  )
}

/** Name or address without port and brackets; undefined for what is no host at all. */
function hostName(header: string | undefined): string | undefined {
  if (header === undefined || !/^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?$/.test(header))
    return undefined
  const name = header.replace(/:\d{1,5}$/, '')
  return name.replace(/^\[|\]$/g, '').toLowerCase()
}

function isOwnHost(name: string, header: string, doors: Doors): boolean {
  if (isLoopback(name) || name === doors.host.toLowerCase()) return true
  if (doors.allowedHosts.some((allowed) => [name, header.toLowerCase()].includes(allowed.toLowerCase())))
    return true
  return isWildcard(doors.host) && isIP(name) !== 0 && isInterface(name)
}

function isWildcard(host: string): boolean {
  return host === '0.0.0.0' || host === '::' || host === ''
}

function isInterface(address: string): boolean {
  return Object.values(networkInterfaces()).some(
    (list) => list?.some((each) => each.address === address) ?? false,
  )
}

function parseUrl(text: string): URL | undefined {
  return URL.canParse(text) ? new URL(text) : undefined
}

const policyParts = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "font-src 'self'",
  "manifest-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
]
const othersMax = 64

/** `others`: host:port of the other nodes, which the page may ask whether they are there. What is no plain host:port is left out. */
export function pagePolicy(others: readonly string[], isTls = false): string {
  const scheme = isTls ? 'https' : 'http'
  const plain = others.filter((each) => /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+):\d{1,5}$/.test(each))
  const origins = plain.slice(0, othersMax).map((each) => `${scheme}://${each}`)
  return [...policyParts, ["connect-src 'self'", ...origins].join(' ')].join('; ')
}

export const answerHeaders = {
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
  'cross-origin-resource-policy': 'same-origin',
  'x-frame-options': 'DENY',
  'content-security-policy': pagePolicy([]),
} as const
