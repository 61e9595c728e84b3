/** Nodes of one cluster in this process, and clients over real WebSockets. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { WebSocket } from 'ws'
import { SkeinClient } from '../../src/client/index.js'
import type { ClientOptions, Message } from '../../src/client/types.js'
import { createNode } from '../../src/runtime/create-node.js'
import type { NodeConfig, SkeinNode } from '../../src/runtime/node-api.js'

export async function until(what: string, isTrue: () => boolean, deadlineMs = 15_000): Promise<void> {
  const untilMs = Date.now() + deadlineMs
  while (!isTrue()) {
    if (Date.now() > untilMs) throw new Error(`waited ${deadlineMs} ms for ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

export class RoomCluster {
  readonly dir = mkdtempSync(join(tmpdir(), 'skein-rooms-'))
  readonly nodes: SkeinNode[] = []
  private readonly clients: { close(): void }[] = []

  async start(count: number, config: Partial<NodeConfig> = {}): Promise<void> {
    for (let i = 1; i <= count; i++)
      this.nodes.push(
        await createNode({
          nodeId: `n${i}`,
          dataDir: join(this.dir, `n${i}`),
          threads: 'inline',
          port: 0,
          peerPort: 0,
          preset: 'local',
          peers: this.nodes.map(({ self }) => self.peerAddress),
          roomHistory: ['h/'],
          logLevel: 'silent',
          ...config,
        }),
      )
    await until('all nodes to see each other and own their shards', () =>
      this.nodes.every(
        (node) =>
          node.members.list().filter((m) => m.status === 'online').length === count &&
          node.cluster.shards().every(({ state }) => state === 'open'),
      ),
    )
  }

  address(i: number): string {
    return this.nodes[i]?.self.httpAddress ?? ''
  }

  client(i: number, options: ClientOptions = {}): SkeinClient {
    const client = new SkeinClient({ addresses: [this.address(i)], ...options })
    this.clients.push(client)
    return client
  }

  /** A bare WebSocket, and the frames it got. */
  async socket(i: number, headers: Record<string, string> = {}): Promise<BareSocket> {
    const socket = new BareSocket(`ws://${this.address(i)}/ws`, headers)
    this.clients.push(socket)
    await socket.opened
    return socket
  }

  async close(): Promise<void> {
    for (const client of this.clients) client.close()
    await Promise.all(this.nodes.map((node) => node.stop({ deadlineMs: 2_000 })))
    rmSync(this.dir, { recursive: true, force: true })
  }
}

export type AnyFrame = { readonly type: string } & Record<string, unknown>

export class BareSocket {
  readonly frames: AnyFrame[] = []
  readonly socket: WebSocket
  readonly opened: Promise<void>
  closed: { code: number; reason: string } | undefined

  constructor(url: string, headers: Record<string, string>) {
    this.socket = new WebSocket(url, { headers })
    this.opened = new Promise((resolve, reject) => {
      this.socket.once('open', resolve)
      this.socket.once('error', reject)
    })
    this.socket.on('message', (data) => this.frames.push(JSON.parse(String(data)) as AnyFrame))
    this.socket.on('close', (code, reason) => {
      this.closed = { code, reason: String(reason) }
    })
  }

  send(frame: object | string): void {
    this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame))
  }

  /** The first frame for which it holds, waited for. */
  async frame(what: string, isIt: (frame: AnyFrame) => boolean): Promise<AnyFrame> {
    await until(
      `${what}; got ${JSON.stringify(this.frames).slice(0, 2_000)}`,
      () => this.frames.some(isIt),
      8_000,
    )
    return this.frames.find(isIt) as AnyFrame
  }

  close(): void {
    this.socket.terminate()
  }
}

/** What a client is sent, as it comes. */
export function heard<T = unknown>(client: SkeinClient): Message<T>[] {
  const messages: Message<T>[] = []
  client.on('message', (message) => messages.push(message as Message<T>))
  return messages
}
