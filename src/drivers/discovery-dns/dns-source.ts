/**
 * Discovery by DNS: the A and AAAA records of a name with a port (`dns:NAME:PORT`), or its SRV records, which bring ports along
 * (`dns+srv:NAME`). `?server=HOST:PORT` asks that server instead of the system's. Without it, names are looked up as every other program of
 * the host does, hosts file included. Kept by the library: parsing and sending of queries.
 */
import { lookup, Resolver } from 'node:dns/promises'
import { formatAddress } from '../../core/kernel/address.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { DiscoverySource } from '../../ports/discovery.js'

const addressesMax = 1_000
const queryTimeoutMs = 2_000
/** DNS says that the name is not there, or has no such record: nobody to join, which is an answer. */
const goneCodes = new Set(['ENOTFOUND', 'ENODATA'])

/** Throws `bad_config`. */
export function dnsSource(text: string): DiscoverySource {
  const match = /^dns(\+srv)?:([A-Za-z0-9._-]{1,253})(?::(\d{1,5}))?(?:\?server=([^&\s]+))?$/.exec(text)
  const isSrv = match?.[1] !== undefined
  const port = Number(match?.[3] ?? 0)
  if (match === null || isSrv !== (match[3] === undefined) || port > 65_535 || (!isSrv && port === 0))
    throw new SkeinError(
      'bad_config',
      `--discover "${text}": dns:NAME:PORT or dns+srv:NAME expected, either with ?server=HOST:PORT`,
      { details: { field: 'discover' } },
    )
  const name = match[2] as string
  const server = match[4]
  const resolver = (): Resolver => {
    const made = new Resolver({ timeout: queryTimeoutMs, tries: 2 })
    if (server !== undefined) made.setServers([server])
    return made
  }
  if (server !== undefined) requireServer(text, server)
  return {
    name: text,
    find: async (signal) => {
      const asked = resolver()
      const cancel = (): void => asked.cancel()
      signal.addEventListener('abort', cancel, { once: true })
      try {
        const found = isSrv
          ? await servicesOf(asked, name, server === undefined)
          : (await hostsOf(asked, name, server === undefined)).map((host) => formatAddress(host, port))
        return [...new Set(found)].sort().slice(0, addressesMax)
      } catch (error) {
        throw new SkeinError('unavailable', `${text}: ${(error as Error).message}`, {
          cause: error,
          retryable: true,
        })
      } finally {
        signal.removeEventListener('abort', cancel)
      }
    },
  }
}

async function servicesOf(resolver: Resolver, name: string, bySystem: boolean): Promise<string[]> {
  const records = await orGone(resolver.resolveSrv(name))
  const addresses: string[] = []
  for (const { name: host, port } of records.slice(0, addressesMax)) {
    for (const address of await hostsOf(resolver, host, bySystem))
      addresses.push(formatAddress(address, port))
  }
  return addresses
}

async function hostsOf(resolver: Resolver, name: string, bySystem: boolean): Promise<string[]> {
  if (bySystem) return (await orGone(lookup(name, { all: true }))).map(({ address }) => address)
  const both = await Promise.all([orGone(resolver.resolve4(name)), orGone(resolver.resolve6(name))])
  return both.flat()
}

async function orGone<T>(answer: Promise<T[]>): Promise<T[]> {
  try {
    return await answer
  } catch (error) {
    if (goneCodes.has((error as NodeJS.ErrnoException).code ?? '')) return []
    throw error
  }
}

function requireServer(text: string, server: string): void {
  try {
    new Resolver().setServers([server])
  } catch (cause) {
    throw new SkeinError(
      'bad_config',
      `--discover "${text}": "${server}" is not an IP address, with or without a port`,
      { cause, details: { field: 'discover' } },
    )
  }
}
