/**
 * What a listener tells others, and what its error means in our words. No sockets here.
 */
import type { AddressInfo } from 'node:net'
import { formatAddress } from '../../core/kernel/address.js'
import { SkeinError } from '../../core/kernel/error.js'

export interface Advertised {
  readonly advertiseHost?: string | undefined
  /** Where a port is mapped on the way. */
  readonly advertisePort?: number | undefined
}

/** What others are told: the advertised host and port, else what was really bound. */
export function boundAddress(info: AddressInfo, advertised: Advertised): string {
  return formatAddress(advertised.advertiseHost ?? info.address, advertised.advertisePort ?? info.port)
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
