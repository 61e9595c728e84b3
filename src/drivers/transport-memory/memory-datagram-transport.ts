/** Datagrams over a {@link MemoryNetwork}: copied on sending, lost when the network says so. */
import type { Address } from '../../core/kernel/brand.js'
import type { DatagramTransport } from '../../ports/transport.js'
import type { MemoryNetwork } from './memory-network.js'

export interface MemoryDatagramTransportOptions {
  readonly network: MemoryNetwork
  /** Chosen by the network when absent. */
  readonly address?: Address
  /** Default 1,400. */
  readonly datagramBytesMax?: number
}

export class MemoryDatagramTransport implements DatagramTransport {
  readonly datagramBytesMax: number
  private readonly network: MemoryNetwork
  private readonly wanted: Address | undefined
  private address: Address | undefined
  private handler: (datagram: Uint8Array, from: Address) => void = () => undefined
  private readonly counts = {
    sentBytes: 0,
    receivedBytes: 0,
    sent: 0,
    received: 0,
    refused: 0,
    dropped: 0,
  }

  constructor(options: MemoryDatagramTransportOptions) {
    this.network = options.network
    this.wanted = options.address
    this.datagramBytesMax = options.datagramBytesMax ?? 1_400
  }

  async open(): Promise<Address> {
    this.address = this.network.bind('datagrams', this, this.wanted)
    return this.address
  }

  send(to: Address, datagram: Uint8Array): void {
    const { address, counts } = this
    if (address === undefined || datagram.length > this.datagramBytesMax) {
      counts.dropped++
      return
    }
    counts.sent++
    counts.sentBytes += datagram.length
    if (!this.network.carryDatagram(address, to, datagram.slice())) counts.dropped++
  }

  onDatagram(handler: (datagram: Uint8Array, from: Address) => void): void {
    this.handler = handler
  }

  /** Called by the network. */
  deliver(datagram: Uint8Array, from: Address): void {
    this.counts.received++
    this.counts.receivedBytes += datagram.length
    this.handler(datagram, from)
  }

  stats() {
    return { ...this.counts }
  }

  async close(): Promise<void> {
    if (this.address !== undefined) this.network.unbind('datagrams', this.address)
    this.address = undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
