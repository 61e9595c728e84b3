/**
 * Sealed datagrams over UDP: version, the sender's salt (8 bytes, new per boot), counter (8 bytes), AES-256-GCM over the rest. The key is derived from the
 * cookie and the salt, so a nonce never repeats under a key. Nothing is decoded before it is authenticated; old counters are dropped (replay).
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { createSocket, type Socket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import type { Address } from '../../core/kernel/brand.js'
import type { DatagramTransport } from '../../ports/transport.js'
import { bindError, boundAddress, formatAddress, parseAddress } from './address.js'
import { datagramKey } from './keys.js'

const version = 1
const headerBytes = 17
const tagBytes = 16
const sendersMax = 8_192
/** Counters this far behind the newest are still accepted once. */
const windowSize = 1_024

export interface UdpOptions {
  readonly host: string
  readonly port: number
  /** Host that others use; the bound one by default. */
  readonly advertiseHost?: string
  /** The first seals, all open. */
  readonly cookies: readonly Uint8Array[]
  readonly datagramBytesMax?: number
}

interface Sender {
  readonly key: Buffer
  newest: number
  /** Bit i: newest - i was seen. */
  readonly seen: Uint8Array
}

export class UdpDatagramTransport implements DatagramTransport {
  readonly datagramBytesMax: number
  private readonly options: UdpOptions
  private readonly salt = randomBytes(8)
  private readonly key: Buffer
  private readonly senders = new Map<string, Sender>()
  private socket: Socket | undefined
  private counter = 0
  private handler: (datagram: Uint8Array, from: Address) => void = () => {}
  private readonly counts = { sentBytes: 0, receivedBytes: 0, sent: 0, received: 0, refused: 0, dropped: 0 }

  constructor(options: UdpOptions) {
    this.options = options
    this.datagramBytesMax = options.datagramBytesMax ?? 1_400
    this.key = datagramKey(options.cookies[0] as Uint8Array, this.salt)
  }

  async open(): Promise<Address> {
    const { host, port, advertiseHost } = this.options
    const socket = createSocket({ type: isIPv6(host) ? 'udp6' : 'udp4', recvBufferSize: 1 << 20 })
    await new Promise<void>((resolve, reject) => {
      socket.once('error', (error) => reject(bindError(error, 'UDP', host, port)))
      socket.bind(port, host, () => {
        socket.removeAllListeners('error')
        resolve()
      })
    })
    // Unreachable peers answer with ICMP errors: counted, never fatal.
    socket.on('error', () => {
      this.counts.dropped++
    })
    socket.on('message', (bytes, from) => this.receive(bytes, formatAddress(from.address, from.port)))
    this.socket = socket
    return boundAddress(socket.address(), advertiseHost)
  }

  send(to: Address, datagram: Uint8Array): void {
    const { socket } = this
    if (socket === undefined) return
    if (datagram.length > 60_000) {
      this.counts.dropped++
      return
    }
    const header = Buffer.allocUnsafe(headerBytes)
    header[0] = version
    this.salt.copy(header, 1)
    header.writeBigUInt64BE(BigInt(++this.counter), 9)
    const cipher = createCipheriv('aes-256-gcm', this.key, header.subarray(5, 17))
    cipher.setAAD(header)
    const sealed = Buffer.concat([header, cipher.update(datagram), cipher.final(), cipher.getAuthTag()])
    const { host, port } = parseAddress(to)
    socket.send(sealed, port, host, (error) => {
      if (error !== null) this.counts.dropped++
    })
    this.counts.sent++
    this.counts.sentBytes += sealed.length
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
    if (socket !== undefined) await new Promise<void>((resolve) => socket.close(() => resolve()))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  private receive(bytes: Buffer, from: Address): void {
    this.counts.receivedBytes += bytes.length
    const plain = this.unseal(bytes)
    if (plain === undefined) {
      this.counts.refused++
      return
    }
    this.counts.received++
    this.handler(plain, from)
  }

  private unseal(bytes: Buffer): Buffer | undefined {
    if (bytes.length < headerBytes + tagBytes || bytes[0] !== version) return undefined
    const counter = Number(bytes.readBigUInt64BE(9))
    if (!Number.isSafeInteger(counter)) return undefined
    const saltText = bytes.toString('latin1', 1, 9)
    const known = this.senders.get(saltText)
    if (known !== undefined) {
      const plain = isReplay(known, counter) ? undefined : open(bytes, known.key)
      if (plain !== undefined) accept(known, counter)
      return plain
    }
    for (const cookie of this.options.cookies) {
      const key = datagramKey(cookie, bytes.subarray(1, 9))
      const plain = open(bytes, key)
      if (plain === undefined) continue
      const sender: Sender = { key, newest: counter, seen: new Uint8Array(windowSize) }
      accept(sender, counter)
      if (this.senders.size >= sendersMax) this.senders.delete(this.senders.keys().next().value as string)
      this.senders.set(saltText, sender)
      return plain
    }
    return undefined
  }
}

function open(bytes: Buffer, key: Buffer): Buffer | undefined {
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(5, 17))
    decipher.setAAD(bytes.subarray(0, headerBytes))
    decipher.setAuthTag(bytes.subarray(bytes.length - tagBytes))
    return Buffer.concat([
      decipher.update(bytes.subarray(headerBytes, bytes.length - tagBytes)),
      decipher.final(),
    ])
  } catch {
    // The only failure there is: it was not sealed with this key.
    return undefined
  }
}

function isReplay(sender: Sender, counter: number): boolean {
  if (counter > sender.newest) return false
  return sender.newest - counter >= windowSize || sender.seen[counter % windowSize] === 1
}

function accept(sender: Sender, counter: number): void {
  if (counter > sender.newest) {
    const from = Math.max(sender.newest + 1, counter - windowSize + 1)
    for (let c = from; c < counter; c++) sender.seen[c % windowSize] = 0
    sender.newest = counter
  }
  sender.seen[counter % windowSize] = 1
}
