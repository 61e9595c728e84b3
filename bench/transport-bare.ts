/**
 * What the transport is measured against: the least a framed request/reply can be over `node:net`, plain or with TLS by
 * the same pre-shared key: u32 length, u8 kind, u32 id, body; one write per turn, a Map of promises. No limits, no
 * deadlines, no counters, no reconnection.
 */
import { connect, createServer, type Socket } from 'node:net'
import { connect as connectTls, createServer as createTlsServer } from 'node:tls'

export const kinds = { ask: 1, note: 2, count: 3 } as const
const headerBytes = 9
const psk = Buffer.alloc(32, 7)
const tls = { ciphers: 'TLS_AES_128_GCM_SHA256', minVersion: 'TLSv1.3' } as const

export class BareLink {
  onFrame: (kind: number, id: number, body: Buffer) => void = () => undefined
  private readonly socket: Socket
  private readonly waiting = new Map<number, (body: Buffer) => void>()
  private slab = Buffer.allocUnsafe(65_536)
  private from = 0
  private at = 0
  private isScheduled = false
  private rest: Buffer | undefined
  private nextId = 1

  constructor(socket: Socket) {
    this.socket = socket
    socket.setNoDelay(true)
    socket.on('error', () => undefined)
    socket.on('data', (chunk: Buffer) => this.receive(chunk))
  }

  ask(kind: number, body: Buffer): Promise<Buffer> {
    return new Promise((resolve) => {
      const id = this.nextId++
      this.waiting.set(id, resolve)
      this.frame(kind, id, body)
    })
  }

  settle(id: number, body: Buffer): void {
    const resolve = this.waiting.get(id)
    this.waiting.delete(id)
    resolve?.(body)
  }

  frame(kind: number, id: number, body: Buffer): void {
    if (this.at + headerBytes + body.length > this.slab.length) {
      this.flush()
      this.slab = Buffer.allocUnsafe(65_536)
      this.from = 0
      this.at = 0
    }
    this.at = this.slab.writeUInt32BE(body.length + 5, this.at)
    this.slab[this.at++] = kind
    this.at = this.slab.writeUInt32BE(id, this.at)
    this.at += body.copy(this.slab, this.at)
    if (this.isScheduled) return
    this.isScheduled = true
    process.nextTick(() => {
      this.isScheduled = false
      this.flush()
    })
  }

  get isBacklogged(): boolean {
    return this.socket.writableLength > 1 << 20
  }

  drained(): Promise<void> {
    return new Promise((resolve) => this.socket.once('drain', resolve))
  }

  end(): void {
    this.socket.destroy()
  }

  /** What follows goes on in the same slab: a slab per write would measure the allocator. */
  private flush(): void {
    if (this.at === this.from) return
    this.socket.write(this.slab.subarray(this.from, this.at))
    this.from = this.at
  }

  private receive(chunk: Buffer): void {
    const data = this.rest === undefined ? chunk : Buffer.concat([this.rest, chunk])
    let at = 0
    while (data.length - at >= headerBytes) {
      const end = at + 4 + data.readUInt32BE(at)
      if (end > data.length) break
      this.onFrame(data[at + 4] as number, data.readUInt32BE(at + 5), data.subarray(at + headerBytes, end))
      at = end
    }
    this.rest = at < data.length ? data.subarray(at) : undefined
  }
}

/** Echoes; returns its port. */
export function serveBare(isTls: boolean): Promise<number> {
  const accept = (socket: Socket): void => {
    const link = new BareLink(socket)
    let notes = 0
    link.onFrame = (kind, id, body) => {
      if (kind === kinds.ask) link.frame(kinds.ask, id, body)
      else if (kind === kinds.note) notes++
      else link.frame(kinds.ask, id, Buffer.from(`${notes}`))
    }
  }
  const server = isTls ? createTlsServer({ ...tls, pskCallback: () => psk }, accept) : createServer(accept)
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve((server.address() as { port: number }).port))
  })
}

export async function dialBare(isTls: boolean, port: number): Promise<BareLink> {
  const to = { host: '127.0.0.1', port }
  const socket = isTls
    ? connectTls({
        ...to,
        ...tls,
        checkServerIdentity: () => undefined,
        pskCallback: () => ({ psk, identity: 'x' }),
      })
    : connect(to)
  await new Promise<void>((resolve) => socket.once(isTls ? 'secureConnect' : 'connect', () => resolve()))
  const link = new BareLink(socket)
  link.onFrame = (_kind, id, body) => link.settle(id, body)
  return link
}
