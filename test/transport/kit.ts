/** What the transport tests share: a node with its events and notes, a node in another process, waiting. */
import { type ChildProcess, spawn } from 'node:child_process'
import { rmSync } from 'node:fs'
import type { AddressInfo, Server } from 'node:net'
import { createInterface, type Interface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { TcpFrameTransport } from '../../src/drivers/transport-tcp/frame-transport.js'
import { WsFrameTransport } from '../../src/drivers/transport-ws/frame-transport.js'
import type { MeshTransportOptions } from '../../src/engines/mesh/mesh-options.js'
import type { MeshTransport } from '../../src/engines/mesh/mesh-transport.js'
import type { ConnectionEvent, FrameHandler, Hello } from '../../src/ports/transport.js'

/** The port that is bound, where another one is advertised. */
export function boundPort(transport: MeshTransport): number {
  const { listener } = transport as unknown as { listener: { door: { server: Server } } }
  return (listener.door.server.address() as AddressInfo).port
}

export const cookie = 'a cookie for tests'
const root = fileURLToPath(new URL('../..', import.meta.url))

export interface TestNode {
  readonly transport: MeshTransport
  readonly address: string
  readonly events: (ConnectionEvent & { readonly atMs: number })[]
  readonly notes: { readonly event: string; readonly fields: Record<string, unknown> }[]
}

export type CarrierName = 'tcp' | 'ws'
export const carriers = ['tcp', 'ws'] as const

export function makeTransport(carrier: CarrierName, options: MeshTransportOptions): MeshTransport {
  if (carrier === 'tcp') return new TcpFrameTransport(options)
  return new WsFrameTransport({ ...options, door: 'mesh', isSecure: false })
}

export class Nodes {
  private readonly carrier: CarrierName
  private readonly nodes: TestNode[] = []
  private readonly children: PeerProcess[] = []
  private readonly bundle = `${root}/node_modules/.cache/skein-transport-${process.pid}/peer.mjs`
  private isBuilt = false

  constructor(carrier: CarrierName = 'tcp') {
    this.carrier = carrier
  }

  async open(
    nodeId: string,
    options: Partial<MeshTransportOptions> = {},
    hello: Partial<Hello> = {},
    handler: FrameHandler = ({ body, reply }) => reply?.(body),
  ): Promise<TestNode> {
    const events: TestNode['events'] = []
    const notes: TestNode['notes'] = []
    const transport = makeTransport(this.carrier, {
      host: '127.0.0.1',
      port: 0,
      cookies: [Buffer.from(cookie)],
      onNote: (event, fields) => notes.push({ event, fields }),
      ...options,
    })
    transport.onConnection((event) => events.push({ ...event, atMs: performance.now() }))
    transport.onFrame(handler)
    const address = await transport.open({
      clusterName: 'test',
      nodeId,
      bootId: `${nodeId}-boot`,
      protocolMin: 1,
      protocolMax: 1,
      storeIdentity: '',
      journalIdentity: '',
      ...hello,
    })
    const node = { transport, address, events, notes }
    this.nodes.push(node)
    return node
  }

  /** A node in another process, which can be stopped and killed. */
  async spawn(nodeId: string, requestsPerPeerMax = 1_024, advertisePort = 0): Promise<PeerProcess> {
    if (!this.isBuilt) {
      await build({
        entryPoints: [`${root}/test/transport/fixtures/peer.ts`],
        outfile: this.bundle,
        bundle: true,
        platform: 'node',
        format: 'esm',
        target: 'node20',
        packages: 'external',
      })
      this.isBuilt = true
    }
    const args = [this.bundle, cookie, nodeId, `${requestsPerPeerMax}`, this.carrier, `${advertisePort}`]
    const process_ = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit', 'ipc'] })
    const child = new PeerProcess(process_)
    this.children.push(child)
    const [address = '', port = ''] = (await child.line()).split(' ')
    child.address = address
    child.port = Number(port)
    return child
  }

  async end(): Promise<void> {
    for (const child of this.children.splice(0)) child.kill()
    for (const node of this.nodes.splice(0)) await node.transport.close({ deadlineMs: 100 })
  }

  remove(): void {
    rmSync(new URL('.', `file://${this.bundle}`), { recursive: true, force: true })
  }
}

export class PeerProcess {
  address = ''
  /** Bound, where another one is advertised. */
  port = 0
  private readonly process: ChildProcess
  private readonly lines: AsyncIterator<string>

  constructor(child: ChildProcess) {
    this.process = child
    const lines: Interface = createInterface({ input: child.stdout! })
    this.lines = lines[Symbol.asyncIterator]()
  }

  async line(): Promise<string> {
    const { value, done } = await this.lines.next()
    if (done === true) throw new Error('the peer process ended')
    return value
  }

  async say(line: string): Promise<string> {
    this.process.stdin!.write(`${line}\n`)
    return await this.line()
  }

  signal(name: 'SIGSTOP' | 'SIGCONT'): void {
    this.process.kill(name)
  }

  kill(): void {
    this.process.kill('SIGKILL')
  }
}

export async function until(what: string, isMet: () => boolean, seen: () => unknown, timeoutMs = 5_000) {
  const endMs = Date.now() + timeoutMs
  while (!isMet()) {
    if (Date.now() > endMs) {
      throw new Error(`${what}: not within ${timeoutMs} ms; seen: ${JSON.stringify(seen())}`)
    }
    await new Promise((resolve) => setTimeout(resolve, 2))
  }
}

export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return 'ok'
  } catch (error) {
    return (error as { code?: string }).code ?? String(error)
  }
}
