/** Addresses as text: `host:port`, `[v6]:port`. */
import type { AddressInfo } from 'node:net'
import { SkeinError } from '../../core/kernel/error.js'

export function parseAddress(address: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(address)
  const port = Number(match?.[3])
  const host = match?.[1] ?? match?.[2]
  if (host === undefined || port > 65_535)
    throw new SkeinError('bad_address', `"${address}" is not host:port`, { details: { address } })
  return { host, port }
}

export function formatAddress(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

export function boundAddress(info: AddressInfo, advertiseHost: string | undefined): string {
  return formatAddress(advertiseHost ?? info.address, info.port)
}

/** A listener's error in our words. */
export function bindError(
  error: NodeJS.ErrnoException,
  what: string,
  host: string,
  port: number,
): SkeinError {
  const details = { host, port }
  if (error.code === 'EADDRINUSE')
    return new SkeinError(
      'port_in_use',
      `${what} ${formatAddress(host, port)} is in use; choose another port or stop the other process`,
      { details, cause: error },
    )
  if (error.code === 'EACCES')
    return new SkeinError('bad_address', `${what} ${formatAddress(host, port)}: not permitted`, {
      details,
      cause: error,
    })
  return new SkeinError(
    'bad_address',
    `${what} cannot bind ${formatAddress(host, port)}: ${error.code ?? error.message}`,
    { details, cause: error },
  )
}
