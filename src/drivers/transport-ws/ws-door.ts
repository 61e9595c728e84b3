/** The accepting end: an HTTP server that takes WebSockets on one path, and has little to say to anybody else. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { WebSocketServer } from 'ws'
import type { HostPort } from '../../core/kernel/address.js'
import { bindError } from '../../engines/mesh/address.js'
import type { Door, DoorEvents, DoorLimits } from '../../engines/mesh/carrier.js'
import { doorSign, doorSignHeader, messageBytesMax, openStream } from './ws-stream.js'

/** What a node's two doors are asked for. A proxy may lead each path elsewhere. */
export const paths = { mesh: '/skein/mesh', control: '/skein/control' } as const
export type DoorName = keyof typeof paths

/** For load balancers that look whether somebody is there. */
const healthPath = '/livez'
const headerBytesMax = 16 * 1024

export class WsDoor implements Door {
  private readonly name: DoorName
  private readonly otherDoor: () => string | undefined
  private readonly events: DoorEvents
  private readonly server: Server
  private readonly sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: messageBytesMax,
  })
  /** Connections that have not become a WebSocket yet, with their deadlines. */
  private readonly strangers = new Map<Duplex, NodeJS.Timeout>()

  constructor(
    name: DoorName,
    otherDoor: () => string | undefined,
    { connectionsMax, handshakeTimeoutMs }: DoorLimits,
    events: DoorEvents,
  ) {
    this.name = name
    this.otherDoor = otherDoor
    this.events = events
    this.server = createServer({ noDelay: true, maxHeaderSize: headerBytesMax }, (request, response) =>
      this.answer(request, response),
    )
    const { server } = this
    server.maxConnections = connectionsMax
    server.on('drop', () => events.dropped())
    server.on('connection', (socket) => this.connected(socket, handshakeTimeoutMs))
    server.on('clientError', (error: NodeJS.ErrnoException & { rawPacket?: Buffer }, socket) => {
      const isTls = error.rawPacket?.[0] === 0x16
      this.fail(
        socket,
        error.code ?? '',
        isTls
          ? 'TLS where HTTP was expected: all nodes need the same --transport, and a proxy speaks plain HTTP to this port'
          : error.message,
        400,
      )
    })
    server.on('upgrade', (request, socket, head) => this.upgrade(request, socket, head))
    this.sockets.on('headers', (headers, { socket }) => {
      const accept = headers.find((line) => /^sec-websocket-accept:/i.test(line))?.split(': ')[1]
      headers.push(`${doorSignHeader}: ${doorSign(accept, socket.localAddress, socket.localPort)}`)
    })
    this.sockets.on('wsClientError', ({ message }, socket) => this.fail(socket, '', message, 400))
  }

  async open(host: string, port: number): Promise<AddressInfo> {
    const { server } = this
    await new Promise<void>((resolve, reject) => {
      const onError = (error: Error): void => reject(bindError(error, 'TCP', host, port))
      server.once('error', onError)
      server.listen(port, host, () => {
        server.off('error', onError)
        resolve()
      })
    })
    server.on('error', ({ message }) => this.events.note('transport.server_error', { detail: message }))
    return server.address() as AddressInfo
  }

  async close(): Promise<void> {
    const isClosed = new Promise<void>((resolve) => this.server.close(() => resolve()))
    for (const stranger of this.strangers.keys()) stranger.destroy()
    await isClosed
  }

  private connected(socket: Socket, timeoutMs: number): void {
    if (!this.events.admit(socket)) return
    const timer = setTimeout(() => this.fail(socket, '', 'no WebSocket in time'), timeoutMs)
    this.strangers.set(socket, timer)
    socket.once('close', () => this.forget(socket))
  }

  private upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const path = request.url?.replace(/[?#].*$/s, '')
    const remote = remoteOf(socket)
    if (path !== paths[this.name]) {
      const isOther = Object.values<string | undefined>(paths).includes(path)
      const address = isOther ? this.otherDoor() : undefined
      if (address === undefined) this.fail(socket, '', `a WebSocket on ${shorten(path)}`, isOther ? 503 : 404)
      else this.say(socket, 307, { location: `//${address}${path}` })
      return
    }
    if (request.headers.origin !== undefined) {
      this.fail(socket, '', `a web page of ${shorten(request.headers.origin)}`, 403)
      return
    }
    this.sockets.handleUpgrade(request, socket, head, (webSocket) => {
      this.forget(socket)
      this.events.deliver(openStream(webSocket), remote)
    })
  }

  private answer({ url, method, socket }: IncomingMessage, response: ServerResponse): void {
    response.setHeader('connection', 'close')
    if (url === healthPath && (method === 'GET' || method === 'HEAD')) {
      response.end('ok\n')
      return
    }
    const remote = remoteOf(socket)
    this.events.failed(remote, '', `an HTTP request, ${method} ${shorten(url)}, where only nodes connect`)
    response.writeHead(426, { upgrade: 'websocket', 'content-type': 'text/plain' })
    response.end(
      `Nodes of a cluster connect here, by WebSocket on ${paths[this.name]}. The API is on another port.\n`,
    )
  }

  private fail(socket: Duplex, code: string, detail: string, status?: 400 | 403 | 404 | 503): void {
    if (socket.destroyed) return
    this.events.failed(remoteOf(socket), code, detail.slice(0, 200))
    if (status === undefined) socket.destroy()
    else this.say(socket, status)
  }

  /** The last words of a connection. */
  private say(socket: Duplex, status: keyof typeof reasons, headers: Record<string, string> = {}): void {
    const lines = Object.entries({ ...headers, connection: 'close', 'content-length': '0' })
    const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join('')
    socket.on('error', () => undefined)
    socket.once('finish', () => socket.destroy())
    socket.end(`HTTP/1.1 ${status} ${reasons[status]}\r\n${head}\r\n`)
  }

  private forget(socket: Duplex): void {
    clearTimeout(this.strangers.get(socket))
    this.strangers.delete(socket)
  }
}

const reasons = {
  307: 'Temporary Redirect',
  400: 'Bad Request',
  403: 'Forbidden',
  404: 'Not Found',
  503: 'Service Unavailable',
} as const

function remoteOf(socket: Duplex): HostPort {
  const { remoteAddress, remotePort } = socket as Socket
  return { host: remoteAddress ?? 'unknown', port: remotePort ?? 0 }
}

function shorten(text: string | undefined): string {
  return JSON.stringify((text ?? '').slice(0, 100))
}
