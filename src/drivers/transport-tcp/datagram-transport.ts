/**
 * Sealed datagrams over UDP: probes and gossip. May be lost, doubled, reordered; never forged. What they say must not be
 * known here. The sealing itself is `seal.ts`.
 */
import { createSocket, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import { performance } from 'node:perf_hooks'
import { formatAddress, type HostPort, parseAddress } from '../../core/kernel/address.js'
import type { Address } from '../../core/kernel/brand.js'
import { type Advertised, bindError, boundAddress } from '../../engines/mesh/address.js'
import { checkCookies } from '../../engines/mesh/keys.js'
import type { DatagramTransport, Rekeyable, TransportKeys } from '../../ports/transport.js'
import { Opener, Sealer } from './seal.js'

export interface UdpDatagramTransportOptions extends Advertised {
  /** Where to bind. Port 0 lets the system choose. */
  readonly host: string
  readonly port: number
  /** The first seals, all open: that is how a cookie is changed without a gap. */
  readonly cookies: readonly Uint8Array[]
  /** Before sealing, which adds 33. Default 1,400: fits an Ethernet frame. At most 65,000, where the path carries it. */
  readonly datagramBytesMax?: number
}

const datagramBytesDefault = 1_400
const socketBufferBytes = 1 << 20
const sendQueueBytesMax = 1 << 20
const targetsMax = 4_096

export class UdpDatagramTransport implements DatagramTransport, Rekeyable {
  readonly datagramBytesMax: number
  private readonly options: UdpDatagramTransportOptions
  private sealer: Sealer
  private cookie: Uint8Array
  private readonly opener: Opener
  private readonly targets = new Map<Address, HostPort | undefined>()
  private socket: Socket | undefined
  private handler: (datagram: Uint8Array, from: Address) => void = () => undefined
  private readonly counts = {
    sentBytes: 0,
    receivedBytes: 0,
    sent: 0,
    received: 0,
    refused: 0,
    dropped: 0,
  }

  /** Throws `bad_cookie` without a cookie. */
  constructor(options: UdpDatagramTransportOptions) {
    checkCookies(options.cookies)
    this.options = options
    this.datagramBytesMax = Math.min(options.datagramBytesMax ?? datagramBytesDefault, 65_000)
    this.cookie = options.cookies[0] as Uint8Array
    this.sealer = new Sealer(this.cookie)
    this.opener = new Opener(options.cookies, this.sealer.salt)
  }

  rekey({ cookies }: TransportKeys): void {
    checkCookies(cookies)
    const first = cookies[0] as Uint8Array
    if (Buffer.compare(first, this.cookie) !== 0) {
      this.cookie = first
      this.sealer = new Sealer(first)
    }
    this.opener.rekey(cookies, this.sealer.salt)
  }

  async open(): Promise<Address> {
    const { host, port } = this.options
    const socket = createSocket({
      type: isIPv6(host) ? 'udp6' : 'udp4',
      recvBufferSize: socketBufferBytes,
    })
    await new Promise<void>((resolve, reject) => {
      const onError = (error: Error): void => {
        socket.close()
        reject(bindError(error, 'UDP', host, port))
      }
      socket.once('error', onError)
      socket.bind(port, host, () => {
        socket.off('error', onError)
        resolve()
      })
    })
    // Unreachable peers answer with ICMP errors: counted, never fatal.
    socket.on('error', () => {
      this.counts.dropped++
    })
    socket.on('message', (bytes, from) => this.receive(bytes, from.address, from.port))
    this.socket = socket
    return boundAddress(socket.address(), this.options)
  }

  send(to: Address, datagram: Uint8Array): void {
    const { socket, counts } = this
    const target = this.target(to)
    if (
      socket === undefined ||
      target === undefined ||
      datagram.length > this.datagramBytesMax ||
      socket.getSendQueueSize() > sendQueueBytesMax
    ) {
      counts.dropped++
      return
    }
    const sealed = this.sealer.seal(datagram)
    counts.sent++
    counts.sentBytes += sealed.length
    socket.send(sealed, target.port, target.host, this.onSent)
  }

  private readonly onSent = (error: Error | null): void => {
    if (error !== null) this.counts.dropped++
  }

  onDatagram(handler: (datagram: Uint8Array, from: Address) => void): void {
    this.handler = handler
  }

  stats() {
    return { ...this.counts }
  }

  async close(): Promise<void> {
    const { socket } = this
    this.socket = undefined
    if (socket === undefined) return
    await new Promise<void>((resolve) => socket.close(() => resolve()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  private receive(sealed: Buffer, host: string, port: number): void {
    this.counts.receivedBytes += sealed.length
    const plain = this.opener.open(sealed, performance.now())
    if (plain === undefined) {
      this.counts.refused++
      return
    }
    this.counts.received++
    this.handler(plain, formatAddress(host, port))
  }

  private target(to: Address): HostPort | undefined {
    const known = this.targets.get(to)
    if (known !== undefined) return known
    const target = parseAddress(to)
    if (this.targets.size >= targetsMax) this.targets.clear()
    this.targets.set(to, target)
    return target
  }
}
