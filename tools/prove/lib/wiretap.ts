/**
 * Sits on the path between the nodes of a guarded cluster: what they tell others leads here, and is passed on to where they listen, with the
 * sender's address kept. Records every byte, as anybody on the path could. With the cookie it also opens what is sealed, as only a member
 * can, and records the frames and datagrams inside.
 */
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { readFileSync } from 'node:fs'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import {
  type ConnectionOptions,
  connect as connectTls,
  createServer as createTlsServer,
  type TLSSocket,
  type TlsOptions,
} from 'node:tls'
import type { HostPort } from '../../../src/core/kernel/address.js'
import { FrameDecoder, type FrameKind } from '../../../src/core/wire/frame.js'
import { Opener } from '../../../src/drivers/transport-tcp/seal.js'
import { sleep } from './cluster.js'
import { type GuardedNode, httpPort, peerPort } from './guarded-cluster.js'

/** Of everything together; the oldest recordings stay. */
const recordedBytesMax = 64 * 1024 * 1024
/** A node listens for control messages by then. */
const startMsMax = 20_000

/** What it takes to be each node for the others. */
export interface TapKeys {
  server(to: GuardedNode): TlsOptions
  /** To dial in the name of who dialled us; undefined for nobody we know. */
  onward(socket: TLSSocket): ConnectionOptions | undefined
}

/** `mesh` carries data, `control` membership. */
export type Way = 'mesh' | 'control'

/** A connection as it was: what each end wrote, in order. */
export interface RecordedStream {
  readonly way: Way
  /** The node that was dialled. */
  readonly to: GuardedNode
  readonly chunks: { readonly isOfDialler: boolean; readonly bytes: Buffer }[]
}

export interface RecordedDatagram {
  readonly from: string
  readonly to: string
  readonly bytes: Buffer
}

export interface RecordedFrame {
  readonly way: Way
  readonly kind: FrameKind
  readonly type: number
  readonly id: number
  readonly body: Buffer
}

export class Wiretap {
  readonly streams: RecordedStream[] = []
  readonly datagrams: RecordedDatagram[] = []
  /** Only when it was given the cookie. */
  readonly frames: RecordedFrame[] = []
  readonly plainDatagrams: Buffer[] = []
  private readonly nodes: GuardedNode[] = []
  private readonly keys: TapKeys | undefined
  private opener: Opener | undefined
  private readonly udp = new Map<string, UdpSocket>()
  private readonly servers: Server[] = []
  private readonly sockets = new Set<Socket>()
  /** Ports of nodes in whose place we listen, and those that are not asked for. */
  private readonly taken = new Set<string>()
  private readonly controlPorts = new Map<GuardedNode, number>()
  private recordedBytes = 0
  private isClosed = false

  /** With keys it opens the connections. */
  constructor(keys?: TapKeys) {
    this.keys = keys
  }

  /** From now on datagrams are opened, too. */
  openDatagrams(secret: Uint8Array): void {
    this.opener = new Opener([secret], Buffer.alloc(8))
  }

  /** Takes the place of a node that is about to start, the first time or again. */
  async before(node: GuardedNode): Promise<void> {
    if (!this.nodes.includes(node)) {
      this.nodes.push(node)
      this.taken.add(`${node.id}:${httpPort}`)
      await this.openUdp(node)
      await this.listen(node, peerPort, 'mesh')
    }
    void this.findControl(node)
  }

  /** Where a node listens now. */
  portOf(node: GuardedNode, way: Way): number {
    return way === 'mesh' ? peerPort : (this.controlPorts.get(node) ?? 0)
  }

  /** Begins anew: what was recorded until now is forgotten. */
  forget(): void {
    this.streams.length = 0
    this.datagrams.length = 0
    this.frames.length = 0
    this.plainDatagrams.length = 0
    this.recordedBytes = 0
  }

  /** Says a recorded datagram once more, from the address it came from. */
  async repeat(datagram: RecordedDatagram): Promise<void> {
    const socket = this.udp.get(datagram.from)
    const to = this.nodes.find(({ id }) => id === datagram.to)
    if (socket === undefined || to === undefined)
      throw new Error(`no way from ${datagram.from} to ${datagram.to}`)
    await send(socket, datagram.bytes, to.inside)
  }

  close(): void {
    this.isClosed = true
    for (const socket of this.udp.values()) socket.close()
    for (const server of this.servers) server.close()
    for (const socket of this.sockets) socket.destroy()
  }

  // --- datagrams ---------------------------------------------------------------------------------------------------------

  private async openUdp(node: GuardedNode): Promise<void> {
    const socket = createSocket('udp4')
    await new Promise<void>((bound, failed) => {
      socket.once('error', failed)
      socket.bind(peerPort, node.outside, bound)
    })
    // A node that is down answers with ICMP: as lost as it would be without us.
    socket.on('error', () => {})
    socket.on('message', (bytes, from) => {
      const sender = this.nodes.find(({ inside }) => inside === from.address)
      if (sender === undefined) return
      if (this.mayKeep(bytes.length)) this.datagrams.push({ from: sender.id, to: node.id, bytes })
      const plain = this.opener?.open(Buffer.from(bytes), performance.now())
      if (plain !== undefined && this.mayKeep(plain.length)) this.plainDatagrams.push(Buffer.from(plain))
      void send(this.udp.get(sender.id) as UdpSocket, bytes, node.inside).catch(() => {
        // Closed meanwhile: lost, as datagrams may be.
      })
    })
    this.udp.set(node.id, socket)
  }

  // --- connections -------------------------------------------------------------------------------------------------------

  /** Where control messages come in is chosen by the system at each start. */
  private async findControl(node: GuardedNode): Promise<void> {
    const untilMs = performance.now() + startMsMax
    while (!this.isClosed && performance.now() < untilMs) {
      const port = listeningPorts(node.inside).find((each) => !this.taken.has(`${node.id}:${each}`))
      if (port !== undefined) {
        this.controlPorts.set(node, port)
        await this.listen(node, port, 'control')
        return
      }
      await sleep(20)
    }
  }

  private async listen(node: GuardedNode, port: number, way: Way): Promise<void> {
    this.taken.add(`${node.id}:${port}`)
    // What is opened goes through a relay of its own behind this one, which records it as it is on the wire.
    const to =
      this.keys === undefined
        ? { host: node.inside, port }
        : await this.listenInside(node, port, way, this.keys)
    const server = createServer((socket) => {
      this.keep(socket)
      this.relay(socket, node, to, way)
    })
    await new Promise<void>((up, failed) => {
      server.once('error', failed)
      server.listen(port, node.outside, up)
    })
    this.servers.push(server)
  }

  private keep(socket: Socket): void {
    this.sockets.add(socket)
    socket.on('error', () => {
      // Either end may vanish; the other is told by `close`.
    })
    socket.once('close', () => this.sockets.delete(socket))
  }

  private relay(socket: Socket, node: GuardedNode, to: HostPort, way: Way): void {
    const onward = connect(to)
    this.keep(onward)
    const stream: RecordedStream = { way, to: node, chunks: [] }
    this.streams.push(stream)
    join(socket, onward, (bytes, isOfDialler) => {
      if (this.mayKeep(bytes.length)) stream.chunks.push({ isOfDialler, bytes })
    })
  }

  /** Each end takes us for the other. */
  private async listenInside(node: GuardedNode, port: number, way: Way, keys: TapKeys): Promise<HostPort> {
    const server = createTlsServer({ ...keys.server(node), minVersion: 'TLSv1.3' })
    server.on('tlsClientError', () => {
      // A node that ends in the middle of its handshake, or a stranger.
    })
    server.on('secureConnection', (socket) => {
      this.keep(socket)
      const options = keys.onward(socket)
      if (options === undefined) {
        socket.destroy()
        return
      }
      const onward = connectTls({ ...options, host: node.inside, port, minVersion: 'TLSv1.3' })
      this.keep(onward)
      const decoders = [true, false].map(
        () =>
          new FrameDecoder({
            takeFrame: (kind, type, id, body) => {
              if (this.mayKeep(body.length))
                this.frames.push({ way, kind, type, id, body: Buffer.from(body) })
            },
          }),
      )
      join(socket, onward, (bytes, isOfDialler) => {
        decoders[isOfDialler ? 0 : 1]?.push(Buffer.from(bytes))
      })
    })
    const host = node.outside
    await new Promise<void>((up, failed) => {
      server.once('error', failed)
      server.listen(0, host, up)
    })
    this.servers.push(server)
    return { host, port: (server.address() as AddressInfo).port }
  }

  private mayKeep(bytes: number): boolean {
    if (this.recordedBytes + bytes > recordedBytesMax) return false
    this.recordedBytes += bytes
    return true
  }
}

function join(near: Socket, far: Socket, seen: (bytes: Buffer, isOfDialler: boolean) => void): void {
  for (const [from, to, isOfDialler] of [
    [near, far, true],
    [far, near, false],
  ] as const) {
    from.on('data', (bytes: Buffer) => {
      seen(bytes, isOfDialler)
      if (!to.write(bytes)) from.pause()
    })
    to.on('drain', () => from.resume())
    from.on('end', () => to.end())
    from.once('close', () => to.destroy())
  }
}

function send(socket: UdpSocket, bytes: Uint8Array, host: string): Promise<void> {
  return new Promise((sent, failed) =>
    socket.send(bytes, peerPort, host, (error) => (error === null ? sent() : failed(error))),
  )
}

/** TCP ports on which somebody listens at that address. */
function listeningPorts(host: string): number[] {
  const wanted = host
    .split('.')
    .reverse()
    .map((byte) => Number(byte).toString(16).padStart(2, '0').toUpperCase())
    .join('')
  return readFileSync('/proc/net/tcp', 'utf8')
    .split('\n')
    .flatMap((line) => {
      const [, local, , state] = line.trim().split(/\s+/)
      const [address, port] = local?.split(':') ?? []
      return address === wanted && state === '0A' ? [Number.parseInt(port as string, 16)] : []
    })
}
