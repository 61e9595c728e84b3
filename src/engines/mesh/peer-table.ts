/**
 * The peers by address. An address that turned out to be another name of a connected peer leads to that peer as long as
 * it is connected; afterwards it may mean somebody else.
 */
import type { Address } from '../../core/kernel/brand.js'
import type { Hello, PeerStats } from '../../ports/transport.js'
import type { Connection } from './connection.js'
import { Peer, type Pool } from './peer.js'
import { PendingRequest } from './pending-request.js'

const peersMax = 16_384

export class PeerTable {
  private readonly pool: Pool
  private readonly peers = new Map<Address, Peer>()
  private readonly aliases = new Map<Address, Peer>()

  constructor(pool: Pool) {
    this.pool = pool
  }

  all(): IterableIterator<Peer> {
    return this.peers.values()
  }

  /** By its own address only. */
  get(address: Address): Peer | undefined {
    return this.peers.get(address)
  }

  /** By any of its names. */
  known(address: Address): Peer | undefined {
    return this.peers.get(address) ?? this.aliases.get(address)
  }

  /** By any of its names; made when unknown. Undefined when it is unknown and the table full. */
  find(address: Address): Peer | undefined {
    const known = this.known(address)
    if (known !== undefined) return known
    return this.peers.size >= peersMax ? undefined : this.add(address)
  }

  /** The peer that named this address as its own, in a hello that was accepted. Undefined when it is unknown and the table full. */
  ensure(address: Address): Peer | undefined {
    return this.peers.get(address) ?? (this.peers.size >= peersMax ? undefined : this.add(address))
  }

  forget(peer: Peer): void {
    this.peers.delete(peer.address)
  }

  /** The dialled address is another name of the peer: what waited there goes its way. */
  merge(alias: Peer, peer: Peer): void {
    for (const item of alias.takeWaiting()) {
      if (item instanceof PendingRequest) peer.waitRequest(item)
      else peer.waitOneWay(item.type, item.body)
    }
    for (const address of alias.keptBy) peer.keptBy.add(address)
    peer.lastUsedMs = Math.max(peer.lastUsedMs, alias.lastUsedMs)
    alias.stop()
    this.peers.delete(alias.address)
    this.aliases.set(alias.address, peer)
  }

  forgetAliases(peer: Peer): void {
    for (const [alias, target] of this.aliases) if (target === peer) this.aliases.delete(alias)
  }

  stats(connections: Iterable<Connection>): PeerStats[] {
    const live = new Map<Address, Connection[]>()
    for (const connection of connections) {
      if (connection.hello === undefined) continue
      const { address }: Hello = connection.hello
      const known = live.get(address)
      if (known === undefined) live.set(address, [connection])
      else known.push(connection)
    }
    return [...this.peers.values()].map((peer) => statsOf(peer, live.get(peer.address) ?? []))
  }

  private add(address: Address): Peer {
    this.aliases.delete(address)
    const peer = new Peer(address, this.pool)
    this.peers.set(address, peer)
    return peer
  }
}

function statsOf(peer: Peer, connections: readonly Connection[]): PeerStats {
  const totals = { ...peer.totals }
  let { lastSeenMs } = peer
  for (const connection of connections) {
    totals.sentBytes += connection.sentBytes
    totals.receivedBytes += connection.receivedBytes
    totals.sentFrames += connection.sentFrames
    totals.receivedFrames += connection.receivedFrames
    lastSeenMs = Math.max(lastSeenMs, connection.lastSeenMs)
  }
  return {
    ...totals,
    address: peer.address,
    connected: peer.connection !== undefined,
    queuedBytes: peer.queuedBytes,
    attemptCount: peer.attemptCount,
    circuit: peer.circuit,
    retryInMs: peer.retryInMs,
    lastSeenMs,
  }
}
