/** What a node tells others to reach it by: checked before anybody is told. */
import { networkInterfaces } from 'node:os'
import { formatAddress, hostTrouble, parseAddress } from '../core/kernel/address.js'
import { SkeinError } from '../core/kernel/error.js'

export interface AdvertisedAddress {
  readonly host: string
  /** Undefined: the port that is bound. */
  readonly port: number | undefined
}

/**
 * From `--advertise` or `--advertise-control` (host or host:port), or the address that peers connect to. Errors: `bad_config` for what leads nowhere, and where the
 * bound address says nothing about how to reach it.
 */
export function advertisedAddress(
  advertise: string | undefined,
  peerHost: string,
  allowSpecial: boolean,
  flag: 'advertise' | 'advertise-control' = 'advertise',
): AdvertisedAddress {
  const given = advertise ?? formatAddress(peerHost, 1)
  const parsed = parseAddress(given) ?? { host: given.replace(/^\[|\]$/g, ''), port: undefined }
  const { host } = parsed
  const port = advertise === undefined ? undefined : parsed.port
  const trouble = /^[A-Za-z0-9._-]{1,253}$|^[0-9A-Fa-f:.]+$/.test(host)
    ? hostTrouble(host, allowSpecial)
    : `"${host}" is no host`
  if (trouble === undefined) return { host, port }
  if (advertise !== undefined)
    throw new SkeinError('bad_config', `--${flag} ${advertise}: ${trouble}`, {
      details: { field: flag === 'advertise' ? flag : 'advertiseControl' },
    })
  throw new SkeinError(
    'bad_config',
    `--peer-host ${peerHost} listens everywhere but says not how to reach this node: add --advertise HOST, for example ${suggestion()}`,
    { details: { field: 'advertise' } },
  )
}

/** The HTTP address that others are told: the bound one, unless it says nothing. */
export function advertisedHttp(
  bound: { readonly host: string; readonly port: number },
  peer: AdvertisedAddress,
): string {
  return formatAddress(hostTrouble(bound.host, true) === undefined ? bound.host : peer.host, bound.port)
}

function suggestion(): string {
  const outside = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ internal, address }) => !internal && hostTrouble(address, false) === undefined)
    .map(({ address }) => address)
  return outside.length === 0 ? 'its address in your network' : [...new Set(outside)].slice(0, 3).join(' or ')
}
