/** Wrong input at the HTTP port without an end: broken requests, senseless calls of every route, broken WebSocket frames. */
import { connect, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { WebSocket } from 'ws'
import type { Random } from '../../../src/core/kernel/random.js'
import { type GuardedCluster, type GuardedNode, httpPort } from './guarded-cluster.js'
import type { Mutator } from './mutate.js'

interface Operation {
  readonly method: string
  readonly path: string
  readonly role: string
}

/** What may be called with a token that is good: nothing that an operator could mean. */
const harmless = new Set(['viewer', 'public'])
const answerMs = 1_500

export class HttpFuzz {
  requests = 0
  /** Given with each answer, to be looked at. */
  onAnswer: (where: string, bytes: Buffer) => void = () => {}
  /** The last answer of 500. */
  fault = 'none'
  readonly statuses = new Map<number, number>()
  private readonly cluster: GuardedCluster
  private readonly random: Random
  private readonly mutator: Mutator
  private readonly operations: readonly Operation[]
  private readonly sockets: readonly string[]

  private constructor(cluster: GuardedCluster, random: Random, mutator: Mutator, document: OpenApi) {
    this.cluster = cluster
    this.random = random
    this.mutator = mutator
    this.operations = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.entries(methods).map(([method, operation]) => ({
        method: method.toUpperCase(),
        path,
        role: operation['x-skein-role'] ?? 'admin',
      })),
    )
    this.sockets = ['/ws/ingest', '/ws/live', '/_api/cluster/status/ws']
  }

  static async for(cluster: GuardedCluster, random: Random, mutator: Mutator): Promise<HttpFuzz> {
    const document = (await (cluster.nodes[0] as GuardedNode).get('/openapi.json')) as OpenApi
    return new HttpFuzz(cluster, random, mutator, document)
  }

  get routes(): number {
    return this.operations.length
  }

  /** One piece of trouble. Never throws for what the node does; the node's state is looked at by others. */
  async once(): Promise<void> {
    const node = this.random.pick(this.cluster.nodes) as GuardedNode
    this.requests++
    switch (this.random.below(5)) {
      case 0:
        return this.brokenRequest(node)
      case 1:
      case 2:
        return this.senselessCall(node)
      case 3:
        return this.brokenFrames(node)
      default:
        return this.senselessSocket(node)
    }
  }

  private token(): string {
    const { viewer, operator } = this.cluster.tokens
    return this.random.pick([
      viewer,
      viewer,
      operator,
      '',
      'skein_wrong',
      `${viewer.slice(0, -1)}!`,
    ]) as string
  }

  /** A request that was right, as bytes, made wrong. */
  private async brokenRequest(node: GuardedNode): Promise<void> {
    const { random } = this
    const body = this.body()
    const { method, path } = random.pick(this.operations) as Operation
    const head = [
      `${method} ${path} HTTP/1.1`,
      `host: ${node.inside}:${httpPort}`,
      `authorization: Bearer ${this.cluster.tokens.viewer}`,
      'content-type: application/json',
      random.chance(0.2)
        ? 'transfer-encoding: chunked'
        : `content-length: ${body.length + random.pick([0, 0, -5, 5, 1e9])!}`,
      random.chance(0.2) ? 'expect: 100-continue' : 'accept: */*',
    ]
    const bytes = Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body])
    const said = random.chance(0.1) ? this.mutator.garbage(2_000) : this.mutator.bytes(bytes)
    const answer = await this.exchange(node, said)
    this.onAnswer('the answer to a broken request', answer)
  }

  /** Any route, with parameters and a body that it does not want. */
  private async senselessCall(node: GuardedNode): Promise<void> {
    const { random } = this
    const { method, path, role } = random.pick(this.operations) as Operation
    const filled = path.replaceAll(/\{\w+\}/g, () => encodeURIComponent(this.word()))
    const query = random.chance(0.5) ? `?${this.queryName()}=${encodeURIComponent(this.word())}` : ''
    const token = harmless.has(role) || path === '/api/events' ? this.token() : this.cluster.tokens.viewer
    if (filled.includes('/watch')) return
    try {
      const { status, text } = await node.ask(method, filled + query, {
        token,
        timeoutMs: 5_000,
        ...(method === 'GET' ? {} : { body: this.mutator.bytes(this.body()).toString('latin1') }),
      })
      if (status === 500) this.fault = `${method} ${filled}${query}: ${text.slice(0, 300)}`
      this.statuses.set(status, (this.statuses.get(status) ?? 0) + 1)
      this.onAnswer(`the answer to ${method} ${path}`, Buffer.from(text))
    } catch {
      // No answer: a node that is gone is found by others.
    }
  }

  private async brokenFrames(node: GuardedNode): Promise<void> {
    const path = this.random.pick(this.sockets) as string
    const upgrade = [
      `GET ${path} HTTP/1.1`,
      `host: ${node.inside}:${httpPort}`,
      'upgrade: websocket',
      'connection: upgrade',
      'sec-websocket-version: 13',
      'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==',
      `sec-websocket-protocol: skein, skein.token.${this.cluster.tokens.operator}`,
    ]
    const frame = Buffer.concat([Buffer.from([0x81, 0xfe, 0, 100, 1, 2, 3, 4]), Buffer.alloc(100, 0x41)])
    const bytes: Buffer[] = [Buffer.from(`${upgrade.join('\r\n')}\r\n\r\n`)]
    for (let i = this.random.below(20); i >= 0; i--) bytes.push(this.mutator.bytes(frame))
    this.onAnswer('the answer to broken WebSocket frames', await this.exchange(node, Buffer.concat(bytes)))
  }

  /** A WebSocket as it should be, with messages that should not. */
  private async senselessSocket(node: GuardedNode): Promise<void> {
    const scheme = this.cluster.proof === 'cookie' ? 'ws' : 'wss'
    const path = this.random.pick(this.sockets) as string
    const socket = new WebSocket(`${scheme}://${node.inside}:${httpPort}${path}`, {
      ca: this.cluster.authorities(),
      headers: { authorization: `Bearer ${this.cluster.tokens.operator}` },
      handshakeTimeout: answerMs,
    })
    socket.on('message', (data) => this.onAnswer(`a message of ${path}`, Buffer.from(String(data))))
    await new Promise<void>((over) => {
      const timer = setTimeout(() => socket.terminate(), answerMs)
      socket.on('error', () => {
        // Refused or thrown out.
      })
      socket.once('close', () => {
        clearTimeout(timer)
        over()
      })
      socket.once('open', () => {
        const message = JSON.stringify({
          type: 'publish',
          request_id: this.word(),
          events: [{ stream: 'fuzz', key: this.word(), type: 't', payload: this.word() }],
        })
        for (let i = this.random.below(20); i >= 0; i--) {
          const wrong = this.mutator.bytes(Buffer.from(message))
          socket.send(this.random.chance(0.5) ? wrong : wrong.toString('latin1'))
        }
        setTimeout(() => socket.close(), 100)
      })
    })
  }

  private exchange(node: GuardedNode, bytes: Buffer): Promise<Buffer> {
    return new Promise((done) => {
      const chunks: Buffer[] = []
      const to = {
        host: node.inside,
        port: httpPort,
        localAddress: this.cluster.address(200 + this.random.below(50)),
      }
      const raw: Socket = connect(to)
      const socket: Socket =
        this.cluster.proof === 'cookie'
          ? raw
          : connectTls({ socket: raw, ca: this.cluster.authorities(), servername: '' })
      socket.write(bytes)
      socket.end()
      const timer = setTimeout(() => socket.destroy(), answerMs)
      socket.on('data', (chunk: Buffer) => chunks.push(chunk))
      raw.on('error', () => {})
      socket.on('error', () => {})
      raw.once('close', () => {
        clearTimeout(timer)
        done(Buffer.concat(chunks))
      })
    })
  }

  private body(): Buffer {
    const event = {
      stream: 'fuzz',
      key: this.word(),
      type: 't',
      payload: { deep: [[this.word()]] },
      id: this.word(),
    }
    const text = JSON.stringify(this.random.chance(0.3) ? [event, event] : event)
    if (this.random.chance(0.02)) return Buffer.from('['.repeat(100_000))
    return Buffer.from(this.random.chance(0.1) ? `${text}\n${text}\n` : text)
  }

  private queryName(): string {
    return this.random.pick(['stream', 'key', 'after', 'limit', 'strategy', 'dry_run', 'x', '__proto__'])!
  }

  private word(): string {
    const { random } = this
    const words = [
      'node-1',
      'load',
      '__proto__',
      '..',
      '%',
      '\u0000',
      '-1',
      '1e999',
      '☃',
      'a'.repeat(300),
      '{}',
      "' or 1=1",
    ]
    return random.chance(0.7) ? (random.pick(words) as string) : this.mutator.garbage(20).toString('latin1')
  }
}

interface OpenApi {
  readonly paths: Record<string, Record<string, { readonly 'x-skein-role'?: string }>>
}
