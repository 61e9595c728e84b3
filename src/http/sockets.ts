/**
 * WebSockets beside Fastify: the upgrade is checked (path, Host, Origin, query) before anything is spoken, every connection is
 * counted, pinged and bounded.
 */
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { type WebSocket, WebSocketServer } from 'ws'
import { type Access, chosenProtocol, clientOf, type Principal } from './access.js'
import type { AuditTrail } from './audit.js'
import { limits } from './contract.js'
import { HttpProblem, notFound, type Problem, problemOf, problemType, zodProblem } from './problem.js'
import type { Log, SocketRoute } from './route.js'
import { checkDoors, type Doors } from './security.js'

const socketsMax = 1_024
/** Of one token, or of one other machine's address. */
const socketsPerClientMax = 256
const pingPeriodMs = 15_000

export interface SocketGates {
  readonly doors: Doors
  readonly access: Access
  readonly trail: AuditTrail
  readonly log: Log
}

interface OpenSocket {
  readonly principal: Principal
  /** Since the last ping. */
  hasAnswered: boolean
}

interface Admitted {
  readonly route: SocketRoute
  readonly query: unknown
  readonly principal: Principal
}

export class SocketHub {
  private readonly routes: ReadonlyMap<string, SocketRoute>
  private readonly gates: SocketGates
  /** By the largest message they take. */
  private readonly servers = new Map<number, WebSocketServer>()
  private readonly byRoute = new Map<SocketRoute, number>()
  private readonly byClient = new Map<string, number>()
  private readonly sockets = new Map<WebSocket, OpenSocket>()
  private timer: NodeJS.Timeout | undefined
  /** Of routes without a limit of their own. */
  private shared = 0
  private isClosing = false

  constructor(routes: readonly SocketRoute[], gates: SocketGates) {
    this.routes = new Map(routes.map((each) => [each.path, each]))
    this.gates = gates
  }

  get size(): number {
    return this.sockets.size
  }

  has(path: string): boolean {
    return this.find(path) !== undefined
  }

  /** `/ws/agents/{name}` stands for any one name. */
  private find(path: string): SocketRoute | undefined {
    const cut = path.lastIndexOf('/')
    return (
      this.routes.get(path) ??
      (cut < path.length - 1 ? this.routes.get(`${path.slice(0, cut)}/{name}`) : undefined)
    )
  }

  upgrade(request: IncomingMessage, stream: Duplex, head: Buffer): void {
    stream.on('error', () => stream.destroy())
    const principal = this.gates.access.identify(request.headers, request.socket)
    try {
      const admitted = this.check(request, principal)
      const server = this.serverOf(admitted.route.messageBytesMax ?? limits.batchBytesMax)
      server.handleUpgrade(request, stream, head, (socket) => this.open(socket, admitted, request))
    } catch (error) {
      const { status, code } = refuse(stream, error)
      const { path } = splitTarget(request.url ?? '/')
      if (this.find(path)?.role !== 'viewer') this.note(principal, path, status, code)
    }
  }

  private serverOf(maxPayload: number): WebSocketServer {
    let server = this.servers.get(maxPayload)
    if (server === undefined) {
      server = new WebSocketServer({
        noServer: true,
        maxPayload,
        perMessageDeflate: false,
        clientTracking: false,
        handleProtocols: chosenProtocol,
      })
      this.servers.set(maxPayload, server)
    }
    return server
  }

  private open(socket: WebSocket, { route, query, principal }: Admitted, request: IncomingMessage): void {
    this.admit(socket, route, principal)
    if (route.role !== 'viewer') {
      this.note(principal, route.path, 101)
      let frames = 0
      socket.on('message', () => frames++)
      socket.on('close', () => {
        if (frames > 0) this.note(principal, route.path, 101, `closed after ${frames} frames`)
      })
    }
    try {
      route.open(socket, query, request, principal)
    } catch (error) {
      this.gates.log.warn({ error: String(error) }, 'websocket refused')
      socket.close(1011, 'the node cannot serve this now')
    }
  }

  /** A socket that only reads changes nothing, and is not in the audit log. */
  private note(principal: Principal, path: string, status: number, code?: string): void {
    const call = { method: 'WS', route: path, target: path, status, code, request: '' }
    this.gates.trail.note(principal, call, false)
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
    for (const server of this.servers.values()) server.close()
  }

  private check(request: IncomingMessage, principal: Principal): Admitted {
    const { doors, access } = this.gates
    const { path, search } = splitTarget(request.url ?? '/')
    const route = this.find(path)
    access.admit(principal, route?.role ?? 'viewer')
    if (route === undefined) throw notFound(`WebSocket ${path}`)
    checkDoors({ host: request.headers.host, origin: request.headers.origin }, doors)
    if (this.isClosing) throw new HttpProblem('closed', 'The node is stopping', { retryable: true })
    this.checkCount(route, principal)
    if (route.query === undefined) return { route, query: undefined, principal }
    const given = Object.fromEntries(new URLSearchParams(search))
    const parsed = route.query.safeParse(given)
    if (!parsed.success) throw zodProblem(parsed.error, given, 'query')
    return { route, query: parsed.data, principal }
  }

  private checkCount(route: SocketRoute, principal: Principal): void {
    const open = this.byRoute.get(route) ?? 0
    if (route.socketsMax !== undefined) {
      if (open < route.socketsMax) return
      throw new HttpProblem('overloaded', `${route.socketsMax} WebSockets are open here already`, {
        retryable: true,
      })
    }
    if (this.shared >= socketsMax)
      throw new HttpProblem('overloaded', `${socketsMax} WebSockets are open already`, { retryable: true })
    if (principal.via !== 'local' && (this.byClient.get(clientOf(principal)) ?? 0) >= socketsPerClientMax) {
      const detail = `This client has ${socketsPerClientMax} WebSockets open already`
      throw new HttpProblem('overloaded', detail, { retryable: true })
    }
  }

  private admit(socket: WebSocket, route: SocketRoute, principal: Principal): void {
    const client = clientOf(principal)
    const hasOwnLimit = route.socketsMax !== undefined
    this.byRoute.set(route, (this.byRoute.get(route) ?? 0) + 1)
    if (!hasOwnLimit) this.shared++
    const open: OpenSocket = { principal, hasAnswered: true }
    this.sockets.set(socket, open)
    if (!hasOwnLimit) this.byClient.set(client, (this.byClient.get(client) ?? 0) + 1)
    socket.on('pong', () => {
      open.hasAnswered = true
    })
    socket.on('error', (error) => this.gates.log.warn({ error: error.message }, 'websocket failed'))
    socket.on('close', () => {
      this.sockets.delete(socket)
      this.byRoute.set(route, (this.byRoute.get(route) ?? 1) - 1)
      if (!hasOwnLimit) this.release(client)
      if (this.sockets.size > 0) return
      clearInterval(this.timer)
      this.timer = undefined
    })
    this.timer ??= setInterval(() => this.ping(), pingPeriodMs)
  }

  private release(client: string): void {
    this.shared--
    const left = (this.byClient.get(client) ?? 1) - 1
    if (left > 0) this.byClient.set(client, left)
    else this.byClient.delete(client)
  }

  private ping(): void {
    for (const [socket, open] of this.sockets) {
      if (!open.hasAnswered) socket.terminate()
      else if (!this.gates.access.isStillGood(open.principal))
        socket.close(1008, 'the token or the log-in ended')
      else {
        open.hasAnswered = false
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

function refuse(stream: Duplex, error: unknown): Problem {
  const { problem, headers } = problemOf(error)
  const body = JSON.stringify(problem)
  const head = [
    `HTTP/1.1 ${problem.status} ${problem.title}`,
    `content-type: ${problemType}`,
    `content-length: ${Buffer.byteLength(body)}`,
    'connection: close',
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ]
  stream.end(`${head.join('\r\n')}\r\n\r\n${body}`)
  return problem
}
