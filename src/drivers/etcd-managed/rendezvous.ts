/**
 * How nodes with managed etcd find one another before there is a store: a small question-and-answer over HTTP at a port next to the
 * peer port. Both sides prove that they know the cookie (HMAC-SHA-256 under a key derived from it); an answer repeats the nonce of
 * its question, so an old one is worth nothing. Nothing secret is said. What the words mean is in `founding.ts`.
 */
import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { SkeinError } from '../../core/kernel/error.js'

export type Question = { readonly cluster: string; readonly from: string } & (
  | { readonly type: 'hello' }
  /** May I found the cluster for this group? */
  | { readonly type: 'vote'; readonly group: readonly string[] }
  /** You are spoken for: there is a cluster in which a node of your address has, or had, a seat. */
  | { readonly type: 'belong'; readonly clusterId: string; readonly endpoints: readonly string[] }
)

export interface Answer {
  /** Where the cluster is, if this node knows of one. */
  readonly endpoints: readonly string[]
  readonly group: readonly string[]
  /** Only to `vote`. */
  readonly granted: boolean
  /** Why not, or what it waits for. */
  readonly detail: string
}

const bodyBytesMax = 65_536
const requestTimeoutMs = 1000
const path = '/skein-etcd'

export class Rendezvous {
  readonly #keys: readonly Buffer[]
  readonly #answer: (question: Question) => Promise<Answer>
  #server: Server | undefined

  constructor(cookies: readonly Uint8Array[], answer: (question: Question) => Promise<Answer>) {
    this.#keys = cookies.map((cookie) =>
      Buffer.from(hkdfSync('sha256', cookie, new Uint8Array(), 'skein etcd rendezvous 1', 32)),
    )
    this.#answer = answer
  }

  /** Throws `port_in_use`. */
  async listen(host: string, port: number): Promise<void> {
    const server = createServer({ requestTimeout: 5000, headersTimeout: 2000 }, (request, response) => {
      this.#serve(request, response).catch(() => response.destroy())
    })
    server.maxConnections = 64
    server.listen(port, host)
    try {
      await once(server, 'listening')
    } catch (cause) {
      throw new SkeinError('port_in_use', `${host}:${port} is not free; nodes with managed etcd meet there`, {
        details: { host, port },
        cause,
      })
    }
    this.#server = server
  }

  /** Undefined when nobody answers in time, or not with our cookie. */
  async ask(address: string, question: Question, signal: AbortSignal): Promise<Answer | undefined> {
    const nonce = randomBytes(16).toString('hex')
    const body = JSON.stringify({ ...question, nonce })
    try {
      const response = await fetch(`http://${address}${path}`, {
        method: 'POST',
        body,
        headers: { 'x-skein-mac': mac(this.#keys[0]!, 'question', body) },
        signal: AbortSignal.any([signal, AbortSignal.timeout(requestTimeoutMs)]),
      })
      const text = await response.text()
      const given = response.headers.get('x-skein-mac') ?? ''
      if (!response.ok || text.length > bodyBytesMax || !this.#isOurs('answer', text, given)) return undefined
      const { nonce: echoed, ...answer } = JSON.parse(text) as Answer & { nonce: string }
      return echoed === nonce ? answer : undefined
    } catch {
      return undefined
    }
  }

  async close(): Promise<void> {
    const server = this.#server
    this.#server = undefined
    if (server === undefined) return
    const closed = new Promise((resolve) => server.close(resolve))
    server.closeAllConnections()
    await closed
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    let bytes = 0
    for await (const chunk of request) {
      bytes += (chunk as Buffer).length
      if (bytes > bodyBytesMax) {
        response.destroy()
        return
      }
      chunks.push(chunk as Buffer)
    }
    const body = Buffer.concat(chunks).toString('utf8')
    if (
      request.url !== path ||
      !this.#isOurs('question', body, String(request.headers['x-skein-mac'] ?? ''))
    ) {
      response.writeHead(403).end()
      return
    }
    const { nonce, ...question } = JSON.parse(body) as Question & { nonce: string }
    const answer = JSON.stringify({ ...(await this.#answer(question)), nonce })
    response.writeHead(200, { 'x-skein-mac': mac(this.#keys[0]!, 'answer', answer) }).end(answer)
  }

  #isOurs(side: Side, body: string, given: string): boolean {
    const claimed = Buffer.from(given, 'hex')
    return this.#keys.some((key) => {
      const own = Buffer.from(mac(key, side, body), 'hex')
      return claimed.length === own.length && timingSafeEqual(claimed, own)
    })
  }
}

/** Part of what is proved, so that nobody can send a question back as its own answer. */
type Side = 'question' | 'answer'

function mac(key: Buffer, side: Side, body: string): string {
  return createHmac('sha256', key).update(`${side}\n${body}`).digest('hex')
}
