/**
 * Addresses as text (`host:port`, `[v6]:port`), and which of them a node may tell others to dial. A claim of an address makes every member send
 * there: what can never be a member's (nowhere, everybody) is refused, and so are the places where clouds answer for secrets.
 */

export interface HostPort {
  readonly host: string
  readonly port: number
}

/** Undefined for what is not `host:port` or `[v6]:port` with a port of 1 to 65535. */
export function parseAddress(address: string): HostPort | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(address)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  return host === undefined || port === 0 || port > 65_535 ? undefined : { host, port }
}

export function formatAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** Why nobody should be sent to that host, or undefined. `allowSpecial` lifts the ban on link-local and metadata addresses only. */
export function hostTrouble(host: string, allowSpecial: boolean): string | undefined {
  const name = host.toLowerCase().replace(/^\[|\]$/g, '')
  if (name.includes(':')) return troubleOfV6(host, name, allowSpecial)
  const v4 = bytesOfV4(name)
  if (v4 !== undefined) return troubleOfV4(host, v4, allowSpecial)
  // 2852039166, 0xa9fea9fe and 0251.0376.0251.0376 lead to 169.254.169.254.
  if (/(^|\.)(0x[\da-f]*|\d+)\.?$/.test(name)) return `${host} is no name; write an address as a.b.c.d`
  if (!allowSpecial && /(^|\.)metadata(\.|$)/.test(name)) return `${host} names a cloud's metadata service`
  return undefined
}

function troubleOfV4(host: string, v4: readonly number[], allowSpecial: boolean): string | undefined {
  const [a, b] = v4 as [number, number]
  if (a === 0) return `${host} stands for "any address" and leads nowhere`
  if (v4.every((byte) => byte === 255)) return `${host} is the broadcast address`
  if (a >= 224) return `${host} is a multicast or reserved address`
  if (allowSpecial) return undefined
  if (a === 169 && b === 254) return `${host} is link-local, where clouds keep their metadata`
  if (v4.join('.') === '100.100.100.200') return `${host} is a cloud's metadata address`
  return undefined
}

function troubleOfV6(host: string, name: string, allowSpecial: boolean): string | undefined {
  const v6 = groupsOfV6(name.replace(/%.*$/, ''))
  if (v6 === undefined) return `${host} is no address`
  const [first, second] = v6 as [number, number]
  const text = v6.map((group) => group.toString(16)).join(':')
  if (v6.every((group) => group === 0)) return `${host} stands for "any address" and leads nowhere`
  // An address of IPv4 in the clothes of IPv6: mapped, or behind a NAT64.
  if (text.startsWith('0:0:0:0:0:ffff:') || text.startsWith('64:ff9b:0:0:0:0:')) {
    const v4 = v6.slice(6).flatMap((group) => [group >> 8, group & 0xff])
    return troubleOfV4(host, v4, allowSpecial)
  }
  if (first >> 8 === 0xff) return `${host} is a multicast address`
  if (allowSpecial) return undefined
  if (first >> 6 === 0xfe80 >> 6) return `${host} is link-local`
  if (first === 0xfd00 && second === 0xec2 && text.endsWith(':0:0:0:0:0:254'))
    return `${host} is a cloud's metadata address`
  return undefined
}

function bytesOfV4(text: string): number[] | undefined {
  // A leading zero makes it octal, for those who dial.
  const match = /^(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})\.(0|[1-9]\d{0,2})$/.exec(text)
  const bytes = match?.slice(1).map(Number)
  return bytes?.every((byte) => byte <= 255) ? bytes : undefined
}

/** The eight groups of an IPv6 address, whose last two may be written as IPv4. */
function groupsOfV6(text: string): number[] | undefined {
  const tail = text.slice(text.lastIndexOf(':') + 1)
  const v4 = tail.includes('.') ? bytesOfV4(tail) : []
  if (v4 === undefined) return undefined
  const [a = 0, b = 0, c = 0, d = 0] = v4
  const whole =
    v4.length === 0
      ? text
      : `${text.slice(0, -tail.length)}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`
  const halves = whole.split('::').map((half) => (half === '' ? [] : half.split(':')))
  const [head = [], rest = []] = halves
  const missing = 8 - head.length - rest.length
  if (halves.length > 2 || (halves.length === 2 ? missing < 1 : missing !== 0)) return undefined
  const groups = [...head, ...Array<string>(missing).fill('0'), ...rest]
  return groups.every((group) => /^[\da-f]{1,4}$/.test(group))
    ? groups.map((group) => Number.parseInt(group, 16))
    : undefined
}
