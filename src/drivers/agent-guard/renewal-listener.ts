/**
 * The guard's end of the control thread's connection: takes exactly one, which must say the token first. Its end without a goodbye is the end of the node.
 */
import { timingSafeEqual } from 'node:crypto'
import { rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { encodeFrame, FrameReader } from './frames.js'
import type { KillingFrame, Renewal, RenewalFrame } from './protocol.js'

const frameBytesMax = 4_096
/** Whoever has connected but not said the token. */
const strangersMax = 8
const helloMsMax = 2_000

export interface RenewalWorld {
  readonly token: string
  readonly socketPath: string
  /** True: nothing may be believed any more. Called before anything that has come in is looked at. */
  readonly isEnding: () => boolean
  readonly onRenewal: (renewal: Renewal) => void
  readonly onGone: (detail: string) => void
}

export class RenewalListener {
  readonly #world: RenewalWorld
  readonly #server: Server
  #connection: Socket | undefined
  #saidBye = false

  constructor(world: RenewalWorld) {
    this.#world = world
    this.#server = createServer((socket) => this.#greet(socket))
    this.#server.maxConnections = strangersMax
  }

  listen(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject)
      this.#server.listen(this.#world.socketPath, () => {
        this.#server.removeListener('error', reject)
        resolve()
      })
    })
  }

  /** Tells the control thread that everything has been sent its SIGKILL. */
  sayKilling(): void {
    this.#connection?.write(encodeFrame({ type: 'killing' } satisfies KillingFrame))
  }

  /** Takes the socket's file and directory away. */
  close(): void {
    this.#server.close()
    rmSync(dirname(this.#world.socketPath), { recursive: true, force: true })
  }

  #greet(socket: Socket): void {
    const reader = new FrameReader(frameBytesMax)
    const tooLate = setTimeout(() => socket.destroy(), helloMsMax)
    socket.on('error', () => undefined)
    socket.on('data', (chunk: Buffer) => {
      if (this.#world.isEnding()) return
      try {
        for (const frame of reader.read(chunk)) this.#receive(socket, frame as RenewalFrame)
      } catch {
        socket.destroy()
      }
      if (this.#connection === socket) clearTimeout(tooLate)
    })
    socket.once('close', () => {
      clearTimeout(tooLate)
      if (this.#connection === socket && !this.#saidBye)
        this.#world.onGone('the connection of the control thread ended')
    })
  }

  #receive(socket: Socket, frame: RenewalFrame): void {
    if (this.#connection !== socket) this.#admit(socket, frame)
    else if (frame.type === 'renew') this.#world.onRenewal(frame.renewal)
    else if (frame.type === 'bye') this.#saidBye = true
  }

  #admit(socket: Socket, frame: RenewalFrame): void {
    const isRight = frame.type === 'hello' && isSame(frame.token, this.#world.token)
    if (!isRight || this.#connection !== undefined) {
      socket.destroy()
      return
    }
    this.#connection = socket
    this.close()
  }
}

/** Both are hexadecimal and of one length when they are right. */
function isSame(given: unknown, token: string): boolean {
  const [a, b] = [Buffer.from(String(given)), Buffer.from(token)]
  return a.length === b.length && timingSafeEqual(a, b)
}
