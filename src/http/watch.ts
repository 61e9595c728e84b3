/**
 * `/api/cluster/watch`: server-sent events. A client gets a `snapshot`, then each thing that happens as a `feed` event with an
 * id, and once a second a `state` with the figures that move without anything happening. An id names the boot as well, because
 * numbers start again with the process. A client that reads too slowly is cut off and resumes where it was.
 */
import type { ServerResponse } from 'node:http'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { FeedEvent, SkeinNode } from '../runtime/node-api.js'
import type { Access, Principal } from './access.js'
import { HttpProblem } from './problem.js'
import { feedJson, snapshotJson } from './views.js'

const clientsMax = 256
const bufferedBytesMax = 1_048_576
const statePeriodMs = 1_000

export class WatchHub {
  private readonly node: SkeinNode
  private readonly access: Access
  private readonly clients = new Map<ServerResponse, () => void>()
  private readonly principals = new WeakMap<ServerResponse, Principal>()
  private timer: NodeJS.Timeout | undefined

  constructor(node: SkeinNode, access: Access) {
    this.node = node
    this.access = access
  }

  get size(): number {
    return this.clients.size
  }

  open(request: FastifyRequest, reply: FastifyReply, principal: Principal): void {
    if (this.clients.size >= clientsMax) {
      throw new HttpProblem('overloaded', `${clientsMax} clients watch already`, { retryable: true })
    }
    void this.boot // Throws while the node has not joined yet, when it can still be told.
    reply.hijack()
    const response = reply.raw
    this.principals.set(response, principal)
    const headers = {
      ...reply.getHeaders(),
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
    }
    response.writeHead(200, headers as Record<string, string>)
    response.write('retry: 1000\n\n')
    this.attach(response, this.position(request.headers['last-event-id']))
    this.timer ??= setInterval(() => this.sendState(), statePeriodMs)
  }

  close(): void {
    for (const response of [...this.clients.keys()]) this.drop(response)
  }

  /** The facade may hand over what was missed while `watch` still runs, hence the queue. */
  private attach(response: ServerResponse, afterSeq: number | undefined): void {
    let queue: FeedEvent[] | undefined = []
    const send = (event: FeedEvent) =>
      this.write(response, 'feed', feedJson(event), `${this.boot}:${event.seq}`)
    const seqBefore = this.newestSeq()
    const watching = this.node.cluster.watch(afterSeq, (event) => {
      if (queue === undefined) send(event)
      else queue.push(event)
    })
    this.clients.set(response, () => watching.stop())
    response.on('close', () => this.drop(response))
    response.on('error', () => this.drop(response))
    if (afterSeq === undefined || watching.lost) {
      this.write(response, 'snapshot', snapshotJson(this.node), `${this.boot}:${seqBefore}`)
    }
    const missed = queue
    queue = undefined
    for (const event of missed) send(event)
  }

  private get boot(): string {
    return this.node.self.bootId
  }

  private newestSeq(): number {
    return this.node.cluster.history(1).reduce((newest, event) => Math.max(newest, event.seq), 0)
  }

  private position(header: string | string[] | undefined): number | undefined {
    if (typeof header !== 'string') return undefined
    const colon = header.lastIndexOf(':')
    const digits = header.slice(colon + 1)
    if (colon === -1 || header.slice(0, colon) !== this.boot || !/^\d{1,15}$/.test(digits)) return undefined
    return Number(digits)
  }

  /** A node that cannot speak for itself any more lets its watchers go. */
  private sendState(): void {
    let text: string
    try {
      const { status, nodes } = snapshotJson(this.node)
      text = `event: state\ndata: ${JSON.stringify({ status, nodes })}\n\n`
    } catch {
      this.close()
      return
    }
    for (const response of [...this.clients.keys()]) {
      const principal = this.principals.get(response)
      // Whose token or log-in ended asks again, and is told so.
      if (principal !== undefined && !this.access.isStillGood(principal)) this.drop(response)
      else this.writeText(response, text)
    }
  }

  private write(response: ServerResponse, event: string, data: unknown, id: string): void {
    this.writeText(response, `event: ${event}\nid: ${id}\ndata: ${JSON.stringify(data)}\n\n`)
  }

  private writeText(response: ServerResponse, text: string): void {
    if (!this.clients.has(response)) return
    if (response.writableLength > bufferedBytesMax) {
      this.drop(response)
      response.destroy()
    } else response.write(text)
  }

  private drop(response: ServerResponse): void {
    const stop = this.clients.get(response)
    if (stop === undefined) return
    this.clients.delete(response)
    stop()
    if (this.clients.size === 0) {
      clearInterval(this.timer)
      this.timer = undefined
    }
    response.end()
  }
}
