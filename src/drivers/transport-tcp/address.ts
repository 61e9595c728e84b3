/**
 * Addresses as text: `host:port`, `[v6]:port`; and what a listener's error means in our words. No sockets here.
 */
import type { AddressInfo } from 'node:net'
import { SkeinError } from '../../core/kernel/error.js'

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

/** What others are told: the advertised host, or the bound one, with the port that was really bound. */
export function boundAddress(info: AddressInfo, advertiseHost: string | undefined): string {
  return formatAddress(advertiseHost ?? info.address, info.port)
}

export function bindError(
  error: NodeJS.ErrnoException,
  protocol: 'TCP' | 'UDP',
  host: string,
  port: number,
): SkeinError {
  const where = `${protocol} ${formatAddress(host, port)}`
  const options = { details: { host, port, protocol }, cause: error }
  switch (error.code) {
    case 'EADDRINUSE':
      return new SkeinError(
        'port_in_use',
        `${where} is in use; choose another port or stop the other process`,
        options,
      )
    case 'EACCES':
      return new SkeinError('bad_address', `${where}: this user may not bind it`, options)
    default:
      return new SkeinError(
        'bad_address',
        `${where} cannot be bound: ${error.code ?? error.message}`,
        options,
      )
  }
}
