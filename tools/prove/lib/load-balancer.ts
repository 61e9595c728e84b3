/**
 * What stands between HTTP clients and a cluster: asks `/readyz` of every node, spreads requests over those that are ready on connections
 * that are kept, and asks the next one only where no connection could be made. What was sent is never sent again: an error is an error.
 */
import { Agent, type IncomingMessage, request } from 'node:http'
import { sleep } from './cluster.js'

const checkEveryMs = 100
const checkTimeoutMs = 1_000

export interface Answer {
  readonly status: number
  readonly text: string
}

interface Backend {
  readonly http: () => string
  isReady: boolean
}

export class LoadBalancer {
  private readonly backends: readonly Backend[]
  private readonly agent = new Agent({ keepAlive: true })
  private turn = 0
  private isOver = false
  private readonly checks: Promise<unknown>
  /** Requests that found a door closed and went to the next. */
  passedOn = 0

  constructor(nodes: readonly { readonly http: string }[]) {
    this.backends = nodes.map((node) => ({ http: () => node.http, isReady: true }))
    this.checks = Promise.all(this.backends.map((backend) => this.watch(backend)))
  }

  async close(): Promise<void> {
    this.isOver = true
    await this.checks
    this.agent.destroy()
  }

  async post(path: string, body: unknown, timeoutMs: number): Promise<Answer> {
    const text = JSON.stringify(body)
    const ready = this.backends.filter((b) => b.isReady)
    const first = this.turn++
    for (let i = 0; i < ready.length; i++) {
      const { http } = ready[(first + i) % ready.length] as Backend
      try {
        return await this.ask('POST', http(), path, text, timeoutMs)
      } catch (error) {
        if ((error as NodeJS.ErrnoException).syscall !== 'connect') throw error
        this.passedOn++
      }
    }
    throw new Error(`no node is ready for ${path}`)
  }

  private async watch(backend: Backend): Promise<void> {
    while (!this.isOver) {
      backend.isReady = await this.ask('GET', backend.http(), '/readyz', '', checkTimeoutMs).then(
        ({ status }) => status === 200,
        () => false,
      )
      await sleep(checkEveryMs)
    }
  }

  private ask(method: string, http: string, path: string, body: string, timeoutMs: number): Promise<Answer> {
    const signal = AbortSignal.timeout(timeoutMs)
    const headers = body === '' ? {} : { 'content-type': 'application/json' }
    return new Promise((answered, failed) => {
      const take = (response: IncomingMessage): void => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.once('error', failed)
        response.once('end', () =>
          answered({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
        )
      }
      request(`http://${http}${path}`, { method, headers, agent: this.agent, signal }, take)
        .once('error', failed)
        .end(body)
    })
  }
}
