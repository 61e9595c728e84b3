/**
 * WebSockets beside Fastify: the upgrade is checked (path, Host, Origin, query) before anything is spoken, every connection is
 * counted, pinged and bounded.
 */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { limits } from './contract.js'
import { HttpProblem, notFound, problemOf, problemType, zodProblem } from './problem.js'
import type { Log, SocketRoute } from './route.js'
import { checkDoors, type Doors } from './security.js'

const socketsMax = 1_024
const pingPeriodMs = 15_000

export class SocketHub {
  private readonly routes: ReadonlyMap<string, SocketRoute>
  private readonly doors: Doors
  private readonly log: Log
  private readonly server = new WebSocketServer({
    noServer: true,
    maxPayload: limits.batchBytesMax,
    perMessageDeflate: false,
    clientTracking: false,
  })
  /** Whether it answered since the last ping. */
  private readonly sockets = new Map<WebSocket, boolean>()
  private timer: NodeJS.Timeout | undefined
  private isClosing = false

  constructor(routes: readonly SocketRoute[], doors: Doors, log: Log) {
    this.routes = new Map(routes.map((each) => [each.path, each]))
    this.doors = doors
    this.log = log
  }

  get size(): number {
    return this.sockets.size
  }

  has(path: string): boolean {
    return this.routes.has(path)
  }

  upgrade(request: IncomingMessage, stream: Duplex, head: Buffer): void {
    stream.on('error', () => stream.destroy())
    try {
      const { route, query } = this.check(request)
      this.server.handleUpgrade(request, stream, head, (socket) => {
        this.admit(socket)
        try {
          route.open(socket, query, request)
        } catch (error) {
          this.log.warn({ error: String(error) }, 'websocket refused')
          socket.close(1011, 'the node cannot serve this now')
        }
      })
    } catch (error) {
      refuse(stream, error)
    }
  }

  /** Tells every client to go and cuts off who has not gone by then. */
  async close(deadlineMs: number): Promise<void> {
    this.isClosing = true
    const open = [...this.sockets.keys()]
    const gone = open.map((socket) => new Promise((resolve) => socket.once('close', resolve)))
    for (const socket of open) socket.close(1001, 'node is stopping')
    const cut = setTimeout(() => {
      for (const socket of open) socket.terminate()
    }, deadlineMs)
    await Promise.all(gone)
    clearTimeout(cut)
    this.server.close()
  }

  private check(request: IncomingMessage): { route: SocketRoute; query: unknown } {
    const { path, search } = splitTarget(request.url ?? '/')
    const route = this.routes.get(path)
    if (route === undefined) throw notFound(`WebSocket ${path}`)
    checkDoors({ host: request.headers.host, origin: request.headers.origin }, this.doors)
    if (this.isClosing) throw new HttpProblem('closed', 'The node is stopping', { retryable: true })
    if (this.sockets.size >= socketsMax) {
      throw new HttpProblem('overloaded', `${socketsMax} WebSockets are open already`, { retryable: true })
    }
    if (route.query === undefined) return { route, query: undefined }
    const given = Object.fromEntries(new URLSearchParams(search))
    const parsed = route.query.safeParse(given)
    if (!parsed.success) throw zodProblem(parsed.error, given, 'query')
    return { route, query: parsed.data }
  }

  private admit(socket: WebSocket): void {
    this.sockets.set(socket, true)
    socket.on('pong', () => this.sockets.set(socket, true))
    socket.on('error', (error) => this.log.warn({ error: error.message }, 'websocket failed'))
    socket.on('close', () => {
      this.sockets.delete(socket)
      if (this.sockets.size > 0) return
      clearInterval(this.timer)
      this.timer = undefined
    })
    this.timer ??= setInterval(() => this.ping(), pingPeriodMs)
  }

  private ping(): void {
    for (const [socket, hasAnswered] of this.sockets) {
      if (!hasAnswered) socket.terminate()
      else {
        this.sockets.set(socket, false)
        socket.ping()
      }
    }
  }
}

export function splitTarget(target: string): { path: string; search: string } {
  const mark = target.indexOf('?')
  return mark === -1
    ? { path: target, search: '' }
    : { path: target.slice(0, mark), search: target.slice(mark + 1) }
}

function refuse(stream: Duplex, error: unknown): void {
  const { problem } = problemOf(error)
  const body = JSON.stringify(problem)
  const head = [
    `HTTP/1.1 ${problem.status} ${problem.title}`,
    `content-type: ${problemType}`,
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
  ]
  stream.end(`${head.join('\r\n')}\r\n\r\n${body}`)
}
