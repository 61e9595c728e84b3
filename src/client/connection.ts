/** One WebSocket to one node: opens, says hello, passes frames on, notices silence, ends once. */
import type { WebSocketConstructor, WebSocketLike } from './types.js'

export type Frame = Readonly<Record<string, unknown>> & { readonly type: string }

export interface ConnectionHandlers {
  /** The first frame to send; asked for when the connection is open. */
  hello(): object
  frame(frame: Frame): void
  ended(reason: string): void
}

const openState = 1
const helloTimeoutMs = 5_000

export class Connection {
  readonly address: string
  private readonly handlers: ConnectionHandlers
  private readonly silenceMs: number
  private socket: WebSocketLike | undefined
  private timer: ReturnType<typeof setInterval> | undefined
  private heardAtMs = 0
  private askedAtMs = 0
  private trouble = ''
  private hasEnded = false

  constructor(address: string, silenceMs: number, handlers: ConnectionHandlers) {
    this.address = address
    this.silenceMs = silenceMs
    this.handlers = handlers
  }

  open(Socket: WebSocketConstructor, protocols: string[]): void {
    this.heardAtMs = performance.now()
    this.timer = setInterval(() => this.look(), Math.min(1_000, this.silenceMs / 4))
    let socket: WebSocketLike
    try {
      socket =
        protocols.length === 0 ? new Socket(urlOf(this.address)) : new Socket(urlOf(this.address), protocols)
    } catch (error) {
      this.end(String(error))
      return
    }
    this.socket = socket
    socket.onopen = () => this.send(JSON.stringify(this.handlers.hello()))
    socket.onmessage = (event: { readonly data: unknown }) => {
      this.heardAtMs = performance.now()
      this.askedAtMs = 0
      const frame = parse(String(event.data))
      if (frame !== undefined && !this.hasEnded) this.handlers.frame(frame)
    }
    socket.onerror = (event: { readonly message?: string }) => {
      this.trouble = event.message ?? 'the connection failed'
    }
    socket.onclose = (event: { readonly code?: number; readonly reason?: unknown }) => {
      const said = String(event.reason ?? '')
      this.end(said !== '' ? said : this.trouble !== '' ? this.trouble : `closed (${event.code ?? 1006})`)
    }
  }

  /** False when it cannot be sent now. */
  send(text: string): boolean {
    const { socket } = this
    if (socket?.readyState !== openState || this.hasEnded) return false
    socket.send(text)
    return true
  }

  /** Nothing is told of it any more. */
  close(reason: string): void {
    this.hasEnded = true
    clearInterval(this.timer)
    this.socket?.close(1000, reason)
  }

  private end(reason: string): void {
    if (this.hasEnded) return
    this.hasEnded = true
    clearInterval(this.timer)
    this.handlers.ended(reason)
  }

  /** Silence is asked about first. */
  private look(): void {
    const nowMs = performance.now()
    const limitMs = this.socket?.readyState === openState ? this.silenceMs : helloTimeoutMs
    if (nowMs - this.heardAtMs < limitMs) return
    if (this.askedAtMs === 0 && this.send('{"type":"ping"}')) {
      this.askedAtMs = nowMs
      return
    }
    if (this.askedAtMs !== 0 && nowMs - this.askedAtMs < this.silenceMs / 2) return
    const { socket } = this
    this.end('it does not answer')
    socket?.close()
  }
}

/** `host:port` or a URL. */
function urlOf(address: string): string {
  const text = /^(https?|wss?):\/\//.test(address) ? address.replace(/^http/, 'ws') : `ws://${address}`
  return `${text.replace(/\/+$/, '').replace(/\/ws$/, '')}/ws`
}

function parse(text: string): Frame | undefined {
  try {
    const value = JSON.parse(text) as unknown
    return typeof value === 'object' && value !== null && 'type' in value ? (value as Frame) : undefined
  } catch {
    return undefined
  }
}
