/**
 * What `etcd+managed:` means for one node: where its etcd lives and listens. Ports follow from the peer port, so that nodes find one
 * another's etcd through the addresses they already know. Nothing is read or opened here.
 */
import { join } from 'node:path'
import { SkeinError } from '../../core/kernel/error.js'

export interface ManagedSetup {
  /** `etcd+managed:[?members=1|3|5][&etcd=FILE]` */
  readonly url: string
  readonly clusterName: string
  /** `host:port` as other nodes name this one. */
  readonly address: string
  readonly bindHost: string
  /** Peer addresses of other nodes, as given. */
  readonly peers: readonly string[]
  readonly cookies: readonly Uint8Array[]
  readonly dataDir: string
}

export interface ManagedSettings extends ManagedSetup {
  /** Servers that vote, at most. Further nodes use theirs. */
  readonly seats: 1 | 3 | 5
  readonly binary: string | undefined
  readonly home: string
  readonly advertise: { readonly host: string; readonly port: number }
}

/** Added to a node's peer port. */
export const portOffsets = { client: 1000, peer: 2000, rendezvous: 3000 } as const
export type EtcdPort = keyof typeof portOffsets

const peerPortMax = 65_535 - portOffsets.rendezvous
const form = 'etcd+managed:[?members=1|3|5][&etcd=FILE]'

/** Throws `bad_config`. */
export function managedSettings(setup: ManagedSetup): ManagedSettings {
  const match = /^etcd\+managed:(?:\?(.*))?$/.exec(setup.url)
  if (match === null) throw bad(`it is not of the form ${form}`)
  const given = new URLSearchParams(match[1] ?? '')
  for (const name of given.keys()) {
    if (name !== 'members' && name !== 'etcd') throw bad(`it does not know "${name}"; it is ${form}`)
  }
  const seats = Number(given.get('members') ?? 3)
  if (seats !== 1 && seats !== 3 && seats !== 5) {
    throw bad('members is 1, 3 or 5: an even number bears no more losses than the odd one below it')
  }
  const { address } = setup
  const [, host = '', digits] = /^(.+):(\d+)$/.exec(address) ?? []
  const port = Number(digits)
  if (!(port >= 1 && port <= peerPortMax)) {
    throw bad(`the peer port ${port} leaves no room for etcd's ports above it; take one up to ${peerPortMax}`)
  }
  return {
    ...setup,
    seats,
    binary: given.get('etcd') ?? undefined,
    home: join(setup.dataDir, 'etcd'),
    advertise: { host, port },
    peers: [...new Set(setup.peers)].filter((peer) => peer !== address),
  }
}

/** `host:port` of one of etcd's ports at the node with this peer address. */
export function etcdAddress(peerAddress: string, which: EtcdPort): string {
  const match = /^(.+):(\d+)$/.exec(peerAddress)
  if (match === null) throw new SkeinError('bad_address', `"${peerAddress}" is not host:port`)
  return `${match[1]}:${Number(match[2]) + portOffsets[which]}`
}

/** The node's peer address, from the address of its etcd for clients. */
export function peerAddressOf(clientAddress: string): string {
  const at = clientAddress.lastIndexOf(':')
  return `${clientAddress.slice(0, at)}:${Number(clientAddress.slice(at + 1)) - portOffsets.client}`
}

export function hostPort(host: string, port: number): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]:${port}` : `${host}:${port}`
}

function bad(reason: string): SkeinError {
  return new SkeinError('bad_config', `--store etcd+managed: is refused: ${reason}`, {
    details: { field: 'store', allowed: form },
  })
}
