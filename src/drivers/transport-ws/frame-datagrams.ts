/**
 * Datagrams where there is no UDP: one-way frames on the connections of a frame transport, which seals them and knows their sender. What a
 * datagram may do, they may: one that would have to wait long behind others is dropped, as a network would, because an old probe helps nobody.
 */
import type { Address } from '../../core/kernel/brand.js'
import type { DatagramTransport, Rekeyable } from '../../ports/transport.js'

/** Not one that the control plane uses for frames of its own. */
export const datagramFrame = 100
/** What may wait for one peer before datagrams to it are dropped. */
const backlogBytesMax = 128 * 1024
const bytesMax = 4_096

/** What they travel on. */
export interface DatagramFrames {
  /** Once it is open. */
  readonly ownAddress: Address | undefined
  queuedBytes(to: Address): number
  send(to: Address, type: number, body: Uint8Array): 'queued' | 'full' | 'closed'
  strangers(): { readonly failed: number }
}

export class FrameDatagrams implements DatagramTransport, Rekeyable {
  readonly datagramBytesMax = bytesMax
  private readonly frames: DatagramFrames
  private isOpen = false
  private handler: (datagram: Uint8Array, from: Address) => void = () => undefined
  private readonly counts = { sentBytes: 0, receivedBytes: 0, sent: 0, received: 0, dropped: 0 }

  constructor(frames: DatagramFrames) {
    this.frames = frames
  }

  /** The frame transport must be open: its address is this one's. */
  async open(): Promise<Address> {
    const { ownAddress } = this.frames
    if (ownAddress === undefined) throw new Error('datagrams over frames are opened after the frames')
    this.isOpen = true
    return ownAddress
  }

  /** The frames' keys are theirs. */
  rekey(): void {}

  send(to: Address, datagram: Uint8Array): void {
    const { counts, frames } = this
    const fits = datagram.length <= bytesMax && frames.queuedBytes(to) < backlogBytesMax
    if (!this.isOpen || !fits || frames.send(to, datagramFrame, datagram) !== 'queued') {
      counts.dropped++
      return
    }
    counts.sent++
    counts.sentBytes += datagram.length
  }

  onDatagram(handler: (datagram: Uint8Array, from: Address) => void): void {
    this.handler = handler
  }

  receive(datagram: Uint8Array, from: Address): void {
    if (!this.isOpen || datagram.length > bytesMax) return
    this.counts.received++
    this.counts.receivedBytes += datagram.length
    this.handler(datagram, from)
  }

  stats() {
    return { ...this.counts, refused: this.frames.strangers().failed }
  }

  /** Leaves the frames open. */
  async close(): Promise<void> {
    this.isOpen = false
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
