/**
 * A connection between two memory transports: what is sent arrives in order, after the network's delay; while the pair
 * is cut it waits, as with TCP. What the frames mean is the transports' business.
 */
import type { Address } from '../../core/kernel/brand.js'
import type { Hello } from '../../ports/transport.js'
import type { MemoryNetwork } from './memory-network.js'

/** What it costs to have something on the way, beside its bytes. */
const overheadBytes = 64

export interface Carried {
  readonly bytes: number
  /** Runs at the receiver. */
  readonly arrive: () => void
}

/** One direction of a link. */
export class MemoryPipe {
  queuedBytes = 0
  readonly from: Hello
  readonly to: Address
  private readonly network: MemoryNetwork
  private readonly held: Carried[] = []
  private isClosed = false

  constructor(network: MemoryNetwork, from: Hello, to: Address) {
    this.network = network
    this.from = from
    this.to = to
  }

  carry(bytes: number, arrive: () => void): void {
    const carried = { bytes: bytes + overheadBytes, arrive }
    this.queuedBytes += carried.bytes
    this.network.later(() => this.arrive(carried))
  }

  /** After a partition: what waited goes on, in order. */
  resume(): void {
    for (const carried of this.held.splice(0)) this.network.later(() => this.arrive(carried))
  }

  close(): void {
    this.isClosed = true
    this.held.length = 0
    this.queuedBytes = 0
  }

  private arrive(carried: Carried): void {
    if (this.isClosed) return
    if (this.held.length > 0 || this.network.isCut(this.from.address, this.to)) {
      this.held.push(carried)
      return
    }
    this.queuedBytes -= carried.bytes
    carried.arrive()
  }
}
