/** One connection to a node's peer port by somebody who has what a member has, and says whatever it likes on it. */
import { connect as connectTcp, type Socket } from 'node:net'
import { connect, type TLSSocket } from 'node:tls'
import { frameKinds } from '../../../src/core/wire/frame.js'
import { controlTypes } from '../../../src/engines/mesh/greeting.js'
import { cookieKeys, pskIdentity } from '../../../src/engines/mesh/keys.js'
import { frameBytes } from './mutate.js'

/** What a member proves itself with. */
export type Credentials =
  | { readonly cookie: string }
  | { readonly ca: string; readonly cert: string; readonly key: string }

const handshakeMs = 5_000
const answerMs = 1_000

export class MemberClient {
  /** Everything that the other end said. */
  onData: (bytes: Buffer) => void = () => {}
  private readonly socket: TLSSocket
  private isOver = false

  private constructor(socket: TLSSocket) {
    this.socket = socket
    socket.on('data', (bytes: Buffer) => this.onData(bytes))
    // It is thrown out again and again: that is what it is for.
    socket.on('error', () => {})
    socket.once('close', () => {
      this.isOver = true
    })
  }

  /** Undefined when the other end would not have it. */
  static async connect(
    host: string,
    port: number,
    from: string,
    credentials: Credentials,
  ): Promise<MemberClient | undefined> {
    const raw = connectTcp({ host, port, localAddress: from })
    const socket = connect({ socket: raw, minVersion: 'TLSv1.3', ...optionsOf(credentials) })
    const timer = setTimeout(() => raw.destroy(), handshakeMs)
    raw.on('error', () => {})
    const client = new MemberClient(socket)
    const isConnected = await new Promise<boolean>((done) => {
      socket.once('secureConnect', () => done(true))
      socket.once('close', () => done(false))
      raw.once('close', () => done(false))
    })
    clearTimeout(timer)
    return isConnected ? client : undefined
  }

  get isOpen(): boolean {
    return !this.isOver && !this.socket.destroyed && this.socket.writable
  }

  /** Says hello and waits until the other end has said something, too, or has had enough. */
  async greet(hello: unknown): Promise<void> {
    const heard = new Promise<void>((done) => {
      const end = (): void => {
        clearTimeout(timer)
        done()
      }
      const timer = setTimeout(end, answerMs)
      this.socket.once('data', end)
      this.socket.once('close', end)
    })
    await this.say(frameBytes(frameKinds.control, controlTypes.hello, 0, Buffer.from(JSON.stringify(hello))))
    await heard
  }

  /** Resolves when the other end has taken it, or is gone. */
  async say(bytes: Uint8Array): Promise<void> {
    const { socket } = this
    if (!this.isOpen || socket.write(bytes)) return
    await new Promise<void>((done) => {
      const end = (): void => {
        socket.off('drain', end)
        socket.off('close', end)
        done()
      }
      socket.once('drain', end)
      socket.once('close', end)
    })
  }

  async end(): Promise<void> {
    if (this.isOver) return
    const closed = new Promise<void>((done) => this.socket.once('close', () => done()))
    this.socket.end()
    const timer = setTimeout(() => this.socket.destroy(), 500)
    await closed
    clearTimeout(timer)
  }
}

function optionsOf(credentials: Credentials): object {
  if (!('cookie' in credentials)) return { ...credentials, checkServerIdentity: () => undefined }
  const key = cookieKeys([Buffer.from(credentials.cookie)])[0]!
  return {
    ciphers: 'TLS_AES_128_GCM_SHA256',
    checkServerIdentity: () => undefined,
    pskCallback: () => ({ psk: key.psk, identity: pskIdentity(key, 'hostile') }),
  }
}

/** A connection of somebody who knows nothing; the bytes are said at once. Resolves when it is over, with what was answered. */
export function strangerSays(
  host: string,
  port: number,
  from: string,
  bytes: Uint8Array,
  ms: number,
): Promise<Buffer> {
  return new Promise((done) => {
    const chunks: Buffer[] = []
    const socket: Socket = connectTcp({ host, port, localAddress: from }, () => socket.write(bytes))
    const timer = setTimeout(() => socket.destroy(), ms)
    socket.on('data', (chunk: Buffer) => chunks.push(chunk))
    socket.on('error', () => {})
    socket.once('close', () => {
      clearTimeout(timer)
      done(Buffer.concat(chunks))
    })
  })
}
