/**
 * A reverse proxy as networks have them: it speaks HTTP (or ends HTTPS), passes upgrades on to where the path leads, answers 502 where nobody
 * listens there, and lets nothing else through.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type Server } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo, Socket } from 'node:net'
import type { Duplex } from 'node:stream'

export interface ProxyOptions {
  /** Port on loopback that a path leads to; undefined for 404. */
  readonly route: (path: string) => number | undefined
  readonly https?: { readonly cert: string; readonly key: string }
}

export class HttpProxy {
  readonly address: string
  readonly seen: string[] = []
  /** Everything that went through, both ways; kept only while it is asked for. */
  readonly recorded: Buffer[] = []
  isRecording = false
  private readonly server: Server
  private readonly route: ProxyOptions['route']
  private readonly sockets = new Set<Duplex>()

  private constructor(server: Server, { route }: ProxyOptions) {
    this.server = server
    this.route = route
    this.address = `127.0.0.1:${(server.address() as AddressInfo).port}`
    server.on('upgrade', (incoming: IncomingMessage, near: Socket, head: Buffer) =>
      this.pass(incoming, near, head),
    )
    server.on('request', (_, response) => void response.writeHead(404).end())
  }

  static async open(options: ProxyOptions, port = 0): Promise<HttpProxy> {
    const server = options.https === undefined ? createServer() : createHttpsServer(options.https)
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return new HttpProxy(server, options)
  }

  get port(): number {
    return Number(this.address.split(':')[1])
  }

  /** Connections through it that are open. */
  get open(): number {
    return this.sockets.size
  }

  /** Ends what goes through, as a restart of the proxy would. */
  cut(): void {
    for (const socket of this.sockets) socket.destroy()
  }

  async close(): Promise<void> {
    const closed = new Promise((resolve) => this.server.close(resolve))
    this.server.closeAllConnections()
    this.cut()
    await closed
  }

  private pass(incoming: IncomingMessage, near: Socket, head: Buffer): void {
    const path = incoming.url ?? ''
    this.seen.push(path)
    near.on('error', () => undefined)
    const port = this.route(path)
    if (port === undefined) {
      near.end('HTTP/1.1 404 Not Found\r\nconnection: close\r\n\r\n')
      return
    }
    const { headers } = incoming
    const outgoing = request({ host: '127.0.0.1', port, path, headers })
    outgoing.on('error', () => near.end('HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\n\r\n'))
    outgoing.on('response', (response) => {
      const lines = Object.entries(response.headers).map(([name, value]) => `${name}: ${String(value)}\r\n`)
      near.end(`HTTP/1.1 ${response.statusCode} ${response.statusMessage}\r\n${lines.join('')}\r\n`)
      response.resume()
    })
    outgoing.on('upgrade', (response, far: Socket, farHead: Buffer) => {
      const raw = response.rawHeaders
      const lines = raw.flatMap((name, i) => (i % 2 === 0 ? [`${name}: ${raw[i + 1]}\r\n`] : []))
      near.write(`HTTP/1.1 101 Switching Protocols\r\n${lines.join('')}\r\n`)
      near.write(farHead)
      far.write(head)
      this.join(near, far)
      this.join(far, near)
    })
    outgoing.end()
  }

  private join(from: Duplex, to: Duplex): void {
    this.sockets.add(from)
    from.on('data', (chunk: Buffer) => {
      if (this.isRecording) this.recorded.push(chunk)
    })
    from.pipe(to)
    from.on('error', () => to.destroy())
    from.on('close', () => {
      this.sockets.delete(from)
      to.destroy()
    })
  }
}
