/** A TCP proxy that can cut, swallow and hold back, for tests of what a client does about it. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'

interface Pair {
  readonly client: Socket
  readonly upstream: Socket
  readonly held: Buffer[]
}

export class TcpProxy {
  readonly #server: Server
  readonly #pairs = new Set<Pair>()
  #swallowsReplies = false
  #holdsRequests = false
  #whenReplied: (() => void) | undefined
  #whenHeld: (() => void) | undefined

  private constructor(server: Server, upstreamPort: number) {
    this.#server = server
    server.on('connection', (client) => this.#serve(client, upstreamPort))
  }

  static async to(upstreamPort: number): Promise<TcpProxy> {
    const server = createServer()
    const proxy = new TcpProxy(server, upstreamPort)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return proxy
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  /** From now on requests arrive and answers do not. Resolves with the first answer that was swallowed. */
  swallowReplies(): Promise<void> {
    this.#swallowsReplies = true
    return new Promise((resolve) => {
      this.#whenReplied = resolve
    })
  }

  /** From now on requests are kept here. Resolves when the first has come. */
  holdRequests(): Promise<void> {
    this.#holdsRequests = true
    return new Promise((resolve) => {
      this.#whenHeld = resolve
    })
  }

  /**
   * The clients see their connections break; the server does not, yet. New connections work. Returns what delivers the
   * requests held back to the server, late, and waits for its answer.
   */
  cutClients(): () => Promise<void> {
    this.#swallowsReplies = false
    this.#holdsRequests = false
    const old = [...this.#pairs]
    for (const { client } of old) client.destroy()
    return async () => {
      for (const { upstream, held } of old) {
        if (held.length === 0 || upstream.destroyed) continue
        const answered = once(upstream, 'data')
        upstream.resume()
        upstream.write(Buffer.concat(held))
        await answered
      }
      for (const { upstream } of old) upstream.destroy()
    }
  }

  async close(): Promise<void> {
    for (const { client, upstream } of this.#pairs) {
      client.destroy()
      upstream.destroy()
    }
    this.#server.close()
    await once(this.#server, 'close')
  }

  #serve(client: Socket, upstreamPort: number): void {
    const upstream = connect(upstreamPort, '127.0.0.1')
    const pair: Pair = { client, upstream, held: [] }
    this.#pairs.add(pair)
    for (const socket of [client, upstream]) socket.on('error', () => undefined)
    client.on('data', (chunk: Buffer) => {
      if (this.#holdsRequests) {
        pair.held.push(chunk)
        this.#whenHeld?.()
      } else upstream.write(chunk)
    })
    upstream.on('data', (chunk: Buffer) => {
      if (this.#swallowsReplies) this.#whenReplied?.()
      else if (!client.destroyed) client.write(chunk)
    })
    client.on('end', () => client.destroy())
    // A client that leaves takes its server side along, unless something is held for later.
    client.on('close', () => {
      if (pair.held.length === 0) upstream.destroy()
    })
    upstream.on('close', () => {
      client.destroy()
      this.#pairs.delete(pair)
    })
  }
}
