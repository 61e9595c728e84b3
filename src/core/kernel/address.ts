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
  const v4 = bytesOfV4(name.startsWith('::ffff:') ? name.slice(7) : name)
  if (v4 !== undefined) {
    const [a, b] = v4
    if (a === 0) return `${host} stands for "any address" and leads nowhere`
    if (v4.every((byte) => byte === 255)) return `${host} is the broadcast address`
    if (a >= 224) return `${host} is a multicast or reserved address`
    if (allowSpecial) return undefined
    if (a === 169 && b === 254) return `${host} is link-local, where clouds keep their metadata`
    if (v4.join('.') === '100.100.100.200') return `${host} is a cloud's metadata address`
    return undefined
  }
  if (name.includes(':')) {
    if (/^[0:]+$/.test(name)) return `${host} stands for "any address" and leads nowhere`
    if (/^ff/.test(name)) return `${host} is a multicast address`
    if (allowSpecial) return undefined
    if (/^fe[89ab]/.test(name)) return `${host} is link-local`
    if (/^fd00:ec2:(0:)*:?254$/.test(name)) return `${host} is a cloud's metadata address`
    return undefined
  }
  if (!allowSpecial && /(^|\.)metadata(\.|$)/.test(name)) return `${host} names a cloud's metadata service`
  return undefined
}

function bytesOfV4(text: string): [number, number, number, number] | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)
  if (match === null) return undefined
  const bytes = match.slice(1).map(Number)
  return bytes.every((byte) => byte <= 255) ? (bytes as [number, number, number, number]) : undefined
}
