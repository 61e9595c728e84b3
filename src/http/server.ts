/**
 * The HTTP surface of a node: Fastify for requests, `ws` for WebSockets, on one Node server whose time limits close what
 * dawdles. What the routes do is in their own files; here they are registered, guarded and closed.
 */
import { randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer, type Server as TlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { Duplex } from 'node:stream'
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify'
import { SkeinError } from '../core/kernel/error.js'
import type { SkeinNode } from '../runtime/node-api.js'
import { Access, type AccessOptions, type RouteRole } from './access.js'
import { agentRoutes } from './agent-routes.js'
import { agentSocket, agentStreamRoute } from './agent-streams.js'
import { AuditTrail } from './audit.js'
import { authRoutes } from './auth-routes.js'
import { clusterRoutes } from './cluster-routes.js'
import { configRoutes } from './config-routes.js'
import { limitConnections } from './connections.js'
import { bodyBytesMaxOf, dispatch, type GuardedRequest, sendAnswer, sendError } from './dispatch.js'
import { eventRoutes, eventSockets } from './event-routes.js'
import { mapRoutes } from './map-routes.js'
import { HttpMeter, noRoute } from './meter.js'
import { nodeRoutes } from './node-routes.js'
import { olderRoutes, olderSockets } from './older-systems.js'
import { openapiDocument } from './openapi.js'
import { HttpProblem, notFound, problemOf, problemType } from './problem.js'
import { processorRoutes } from './processor-routes.js'
import { Publisher } from './publish.js'
import { roomRoutes } from './room-routes.js'
import { roomSocket } from './room-socket.js'
import type { Answer, Log, Method, Route } from './route.js'
import { answerHeaders, checkDoors, checkHost, isListedOrigin, isLoopback, pagePolicy } from './security.js'
import { serviceRoutes } from './service-routes.js'
import { SocketHub, splitTarget } from './sockets.js'
import { StaticFiles } from './static-files.js'
import { systemRoutes } from './system-routes.js'
import { WatchHub } from './watch.js'

export interface HttpsSource {
  readonly current: { readonly cert: string; readonly key: string; readonly ca: string }
  /** Set by the server: takes a renewed certificate into use. */
  onChange: (certificate: HttpsSource['current']) => void
}

export interface HttpServerOptions extends Partial<AccessOptions> {
  readonly host: string
  /** 0 for any free one. */
  readonly port: number
  readonly allowedOrigins: readonly string[]
  readonly allowedHosts: readonly string[]
  /** WebSockets of rooms that may be open. */
  readonly roomClients?: number
  /** Serve other machines without a token. */
  readonly insecure: boolean
  /** HTTPS instead of HTTP. With `ca`, clients may show a certificate of that authority instead of a token. */
  readonly https?: HttpsSource | undefined
  /** Built dashboard; a plain page is served without. */
  readonly dashboardDir?: string
  readonly log: Log
}

export interface HttpServer {
  /** Fails with `port_in_use`, `bad_address` or `bad_config`. */
  listen(): Promise<{ readonly host: string; readonly port: number; readonly url: string }>
  /**
   * The node is about to go: not ready from now on, and every answer ends its connection. Resolves when those that were kept open are gone, or
   * after half a second: by then whoever spreads requests over nodes has been told. Requests are served all the while.
   */
  quiesce(): Promise<void>
  /** Lets running requests end, for five seconds at most. Idempotent. */
  close(): Promise<void>
}

/** What the router keeps beside a route. */
interface RouteConfig {
  readonly role: RouteRole
  readonly pattern: string
}

const serverLimits = {
  headersTimeout: 5_000,
  requestTimeout: 15_000,
  connectionsCheckingInterval: 1_000,
  keepAliveTimeout: 10_000,
  maxHeaderSize: 16_384,
  noDelay: true,
} as const

/** A certificate is asked for, not insisted on: people come with a browser and a token. */
function tlsOptions({ cert, key, ca }: HttpsSource['current']) {
  const clients = ca === '' ? {} : { ca, requestCert: true, rejectUnauthorized: false }
  return { cert, key, minVersion: 'TLSv1.2' as const, ...clients }
}

/** Beside clients of rooms. */
const connectionsMax = 4_096
const roomClientsDefault = 10_000
const connectionsPerAddressMax = 1_024
const headersMax = 100
const closeDeadlineMs = 5_000
const quiesceMsMax = 500
const quiescePollMs = 20

export function createHttpServer(node: SkeinNode, options: HttpServerOptions): HttpServer {
  const surface = new Surface(node, options)
  let closing: Promise<void> | undefined
  return {
    listen: () => surface.listen(),
    quiesce: () => surface.quiesce(),
    close: () => {
      closing ??= surface.close()
      return closing
    },
  }
}

class Surface {
  private readonly node: SkeinNode
  private readonly options: HttpServerOptions
  private readonly routes: readonly Route[]
  private readonly methodsByPath = new Map<string, Method[]>()
  private readonly access: Access
  private readonly trail: AuditTrail
  private readonly meter = new HttpMeter()
  private readonly watch: WatchHub
  private readonly sockets: SocketHub
  private readonly files = new StaticFiles()
  private readonly app: FastifyInstance
  private readonly requestPrefix = `${randomBytes(4).toString('hex')}-`
  private requests = 0
  private isQuiescing = false
  /** Of HTTP; those of WebSockets are the hub's. */
  private readonly connections = new Set<Duplex>()
  private readonly stopListening: () => void
  private server!: Server

  constructor(node: SkeinNode, options: HttpServerOptions) {
    this.node = node
    this.options = options
    const ownSecret = randomBytes(32)
    this.access = new Access({
      tokens: options.tokens,
      secrets: options.secrets ?? (() => [ownSecret]),
      rateLimit: options.rateLimit ?? 0,
      rateBurst: options.rateBurst ?? 0,
      clusterName: options.clusterName,
    })
    this.stopListening = node.config.onSettings(({ rateLimit, rateBurst }) =>
      this.access.limitTo(rateLimit, rateBurst),
    )
    this.trail = new AuditTrail(node.audit)
    const publisher = new Publisher(node)
    this.watch = new WatchHub(node, this.access)
    const socketRoutes = [
      ...eventSockets(node, publisher),
      agentSocket(node),
      roomSocket(node, options.roomClients ?? roomClientsDefault),
      ...olderSockets(node),
    ]
    this.sockets = new SocketHub(socketRoutes, {
      doors: options,
      access: this.access,
      trail: this.trail,
      log: options.log,
    })
    let document: string | undefined
    this.routes = [
      ...authRoutes(node, this.access, options.https !== undefined),
      ...clusterRoutes(node, this.watch),
      ...nodeRoutes(node),
      ...agentRoutes(node),
      ...serviceRoutes(node),
      agentStreamRoute(node),
      ...processorRoutes(node),
      ...eventRoutes(node, publisher),
      ...roomRoutes(node),
      ...mapRoutes(node),
      ...configRoutes(node),
      ...olderRoutes(node, publisher),
      ...systemRoutes(node, {
        isQuiescing: () => this.isQuiescing,
        openapi: () => {
          document ??= openapiDocument(this.routes, socketRoutes, node.self.version)
          return document
        },
      }),
    ]
    this.app = this.build()
    const { metrics } = node
    metrics.collect('skein_http_requests_total', () => this.meter.requests())
    metrics.collect('skein_http_request_seconds', () => this.meter.durations())
    metrics.collect('skein_http_throttled_total', () => this.meter.throttledCount())
    metrics.collect('skein_http_connections', () => [{ value: this.connections.size }])
    metrics.collect('skein_ws_connections', () => [{ value: this.sockets.size }])
  }

  async listen(): Promise<{ host: string; port: number; url: string }> {
    const { host, port, insecure } = this.options
    if (!isLoopback(host) && !insecure && !this.access.isRequired) {
      throw new SkeinError(
        'bad_config',
        `host: ${host} is reachable from other machines, which needs a token file that holds a token (skein token create), or insecure`,
        {
          details: { field: 'host', given: host, allowed: 'a loopback address, a token, or insecure' },
        },
      )
    }
    await this.files.load(this.options.dashboardDir)
    await this.app.ready()
    await bind(this.server, host, port)
    const bound = (this.server.address() as AddressInfo).port
    const shown = host.includes(':') ? `[${host}]` : host
    return {
      host,
      port: bound,
      url: `${this.options.https === undefined ? 'http' : 'https'}://${shown}:${bound}`,
    }
  }

  async quiesce(): Promise<void> {
    this.isQuiescing = true
    const endMs = performance.now() + quiesceMsMax
    while (this.connections.size > 0 && performance.now() < endMs)
      await new Promise((resolve) => setTimeout(resolve, quiescePollMs))
  }

  async close(): Promise<void> {
    this.isQuiescing = true
    this.stopListening()
    this.watch.close()
    const ended = new Promise<void>((resolve) => {
      if (this.server.listening) this.server.close(() => resolve())
      else resolve()
    })
    await this.sockets.close(1_000)
    this.server.closeIdleConnections()
    const cut = setTimeout(() => this.server.closeAllConnections(), closeDeadlineMs)
    await ended
    clearTimeout(cut)
    await this.app.close()
    this.trail.flush()
  }

  private build(): FastifyInstance {
    const app = Fastify({
      logger: false,
      bodyLimit: 1_048_576,
      genReqId: () => `${this.requestPrefix}${++this.requests}`,
      routerOptions: { ignoreTrailingSlash: true, maxParamLength: 512 },
      frameworkErrors: (error, _request, reply) => {
        sendError(reply as unknown as FastifyReply, error, this.options.log)
      },
      serverFactory: (handler) => {
        this.server = this.createServer(handler)
        return this.server
      },
    })
    app.removeAllContentTypeParsers()
    app.addContentTypeParser('*', { parseAs: 'buffer' }, (_request, body, done) => done(null, body))
    app.decorateRequest('principal', null)
    app.decorateRequest('refusal', undefined)
    app.decorateRequest('isStream', false)
    app.addHook('onRequest', async (request, reply) => this.guard(request as GuardedRequest, reply))
    app.addHook('onResponse', async (request, reply) => this.answered(request as GuardedRequest, reply))
    app.setErrorHandler((error, _request, reply) => sendError(reply, error, this.options.log))
    app.setNotFoundHandler((request, reply) => this.fallback(request, reply))
    for (const route of this.routes) {
      this.methodsByPath.set(route.path, [...(this.methodsByPath.get(route.path) ?? []), route.method])
      app.route({
        method: route.method,
        url: route.path.replaceAll(/\{(\w+)\}/g, ':$1'),
        bodyLimit: bodyBytesMaxOf(route),
        config: { role: route.role, pattern: route.path } satisfies RouteConfig,
        ...(route.method === 'GET' ? {} : { onSend: this.auditing(route) }),
        handler: (request, reply) => dispatch(route, request as GuardedRequest, reply),
      })
    }
    return app
  }

  private createServer(handler: (request: IncomingMessage, response: ServerResponse) => void): Server {
    const { https } = this.options
    const server =
      https === undefined
        ? createServer(serverLimits, handler)
        : createTlsServer({ ...serverLimits, ...tlsOptions(https.current) }, handler)
    if (https !== undefined)
      https.onChange = (certificate) => (server as TlsServer).setSecureContext(tlsOptions(certificate))
    server.maxConnections = connectionsMax + (this.options.roomClients ?? roomClientsDefault)
    limitConnections(server, connectionsPerAddressMax)
    server.maxHeadersCount = headersMax + 1
    server.on(https === undefined ? 'connection' : 'secureConnection', (connection: Duplex) => {
      this.connections.add(connection)
      connection.once('close', () => this.connections.delete(connection))
    })
    server.on('upgrade', (request: IncomingMessage, stream: Duplex, head: Buffer) => {
      this.connections.delete(request.socket)
      this.sockets.upgrade(request, stream, head)
    })
    server.on('clientError', answerBrokenRequest)
    return server
  }

  /** Before the answer goes out, so that nobody is told of what was not noted. */
  private auditing(route: Route) {
    const isFrequent = route.isFrequent === true
    return async (request: FastifyRequest, reply: FastifyReply): Promise<void> => {
      const { principal, refusal } = request as GuardedRequest
      if (principal === null) return
      reply.header('x-request-id', request.id)
      this.trail.note(
        principal,
        {
          method: request.method,
          route: route.path,
          target: request.url,
          status: reply.statusCode,
          code: refusal,
          request: request.id,
        },
        isFrequent,
      )
    }
  }

  private answered(request: GuardedRequest, reply: FastifyReply): void {
    const { pattern = noRoute } = request.routeOptions.config as Partial<RouteConfig>
    const tookMs = request.isStream ? undefined : reply.elapsedTime
    this.meter.answered(pattern, request.method, reply.raw.statusCode, tookMs)
  }

  private async guard(request: GuardedRequest, reply: FastifyReply): Promise<void> {
    reply.headers(answerHeaders)
    if (this.isQuiescing) reply.header('connection', 'close')
    const { host, origin } = request.headers
    request.principal = this.access.identify(request.headers, request.socket)
    const role = this.roleOf(request)
    this.access.admit(request.principal, role)
    if (request.raw.rawHeaders.length > 2 * headersMax)
      throw new HttpProblem('invalid_argument', `More than ${headersMax} headers`, { status: 431 })
    if (origin !== undefined && isListedOrigin(origin, this.options)) {
      reply.headers({
        'access-control-allow-origin': origin,
        vary: 'Origin',
        'cross-origin-resource-policy': 'cross-origin',
      })
    }
    if (request.method === 'GET' || request.method === 'HEAD') {
      if (role !== 'public' && host !== undefined) this.guardRead(host)
      return
    }
    checkDoors({ host, origin }, this.options)
    const encoding = request.headers['content-encoding']
    if (encoding !== undefined && encoding.toLowerCase() !== 'identity') {
      throw new HttpProblem(
        'unsupported_media_type',
        `Content-Encoding: got ${JSON.stringify(encoding)}, allowed is none`,
        {
          details: { field: 'Content-Encoding', given: encoding, allowed: 'none' },
        },
      )
    }
  }

  /** Where nobody has to show a token, a page that makes its own name lead here would read as if it were a user of this machine. */
  private guardRead(host: string): void {
    if (!this.access.isRequired && isLoopback(this.options.host)) checkHost(host, this.options)
  }

  /** Anybody may have the page to log in with, and ask what a method is for; whatever else no route takes is nobody's to probe. */
  private roleOf(request: FastifyRequest): RouteRole {
    const { role } = request.routeOptions.config as Partial<RouteConfig>
    if (role !== undefined) return role
    const isPublic = request.method === 'OPTIONS' || this.files.has(splitTarget(request.url).path)
    return isPublic ? 'public' : 'viewer'
  }

  /** What no route took: a file, a preflight, a known path with another method, or nothing. */
  private async fallback(request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
    const { path } = splitTarget(request.url)
    const isRead = request.method === 'GET' || request.method === 'HEAD'
    if (isRead && this.sockets.has(path)) {
      throw new HttpProblem('invalid_argument', `${path} speaks WebSocket`, {
        status: 426,
        headers: { upgrade: 'websocket', connection: 'Upgrade' },
      })
    }
    if (isRead) {
      const file = await this.files.read(path)
      const isKnown = (request as GuardedRequest).principal?.role !== undefined
      if (file !== undefined) return sendAnswer(reply, path === '/' && isKnown ? this.withOthers(file) : file)
    }
    const methods = this.methodsOf(path)
    if (methods.length === 0) throw notFound(`Path ${path.slice(0, 200)}`)
    const allow = methods.join(', ')
    if (request.method === 'OPTIONS') {
      const cors = {
        'access-control-allow-methods': allow,
        'access-control-allow-headers': 'authorization, content-type',
      }
      return reply
        .code(204)
        .headers({ allow, ...cors })
        .send()
    }
    throw new HttpProblem(
      'method_not_allowed',
      `${request.method} is not for this path; allowed is ${allow}`,
      {
        headers: { allow },
        details: { field: 'method', given: request.method, allowed: allow },
      },
    )
  }

  /** The dashboard, which may ask the other nodes of now whether they are there. Not for strangers, who would read their addresses in it. */
  private withOthers(page: Answer): Answer {
    const others = this.node.members.list().flatMap((each) => (each.isSelf ? [] : [each.httpAddress]))
    const policy = pagePolicy(others, this.options.https !== undefined)
    return { ...page, headers: { ...page.headers, 'content-security-policy': policy } }
  }

  private methodsOf(path: string): string[] {
    const given = path.replace(/(?<=.)\/$/, '').split('/')
    const methods = new Set<string>()
    for (const [pattern, list] of this.methodsByPath) {
      const parts = pattern.split('/')
      const matches =
        parts.length === given.length &&
        parts.every((part, at) => part === given[at] || (part.startsWith('{') && given[at] !== ''))
      if (matches) for (const method of list) methods.add(method)
    }
    if (methods.size === 0 && (this.files.has(path) || this.sockets.has(path))) methods.add('GET')
    if (methods.has('GET')) methods.add('HEAD')
    return [...methods]
  }
}

function bind(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const fail = (error: NodeJS.ErrnoException) => {
      const code = error.code === 'EADDRINUSE' ? 'port_in_use' : 'bad_address'
      const reason = code === 'port_in_use' ? 'is taken by another process' : `cannot be used (${error.code})`
      reject(
        new SkeinError(code, `port: ${host}:${port} ${reason}`, { details: { host, port }, cause: error }),
      )
    }
    server.once('error', fail)
    server.listen(port, host, () => {
      server.off('error', fail)
      resolve()
    })
  })
}

const brokenStatus = new Map([
  ['ERR_HTTP_REQUEST_TIMEOUT', { status: 408, detail: 'The request took too long to arrive' }],
  ['HPE_HEADER_OVERFLOW', { status: 431, detail: 'The headers are larger than 16384 bytes' }],
])

/** Below HTTP there is no reply object, only the connection. */
function answerBrokenRequest(error: NodeJS.ErrnoException, stream: Duplex): void {
  if (!stream.writable || error.code === 'ECONNRESET') {
    stream.destroy()
    return
  }
  const { status, detail } = brokenStatus.get(error.code ?? '') ?? {
    status: 400,
    detail: 'This is not an HTTP request',
  }
  const { problem } = problemOf(new HttpProblem('protocol_violation', detail, { status }))
  const body = JSON.stringify(problem)
  const head = `HTTP/1.1 ${status} ${problem.title}\r\ncontent-type: ${problemType}\r\nconnection: close`
  stream.end(`${head}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`)
}
