/** Asks a running Node process, through its inspector, to collect its garbage and say what is left: of the main thread and of every worker. */
import { WebSocket } from 'ws'
import { sleep } from './cluster.js'

export interface Memory {
  /** Of all threads, after a collection. */
  readonly heapMib: number
  /** What V8 has for them. */
  readonly committedMib: number
  /** Outside of the heaps: buffers and what libraries hold. */
  readonly externalMib: number
  /** Of the process, as the kernel counts it. */
  readonly rssMib: number
}

interface Reply {
  readonly id?: number
  readonly method?: string
  readonly params?: Record<string, never>
  readonly result?: Record<string, never>
  readonly error?: { readonly message: string }
}

const mib = 1_048_576
const givingBackMs = 2_000
const roundsMax = 6
const settledMib = 1
const expression = 'JSON.stringify(process.memoryUsage())'

export class Inspector {
  private readonly socket: WebSocket
  private readonly waiting = new Map<string, (reply: Reply) => void>()
  private readonly workers = new Set<string>()
  private count = 0

  private constructor(socket: WebSocket) {
    this.socket = socket
    socket.on('message', (data) => this.take(JSON.parse(String(data)) as Reply, ''))
  }

  /** Of a process that was started with `--inspect=HOST:0` and has told its log where to connect. */
  static async connect(log: string): Promise<Inspector> {
    const urls = [...log.matchAll(/Debugger listening on (ws:\S+)/g)]
    const url = urls.at(-1)?.[1]
    if (url === undefined) throw new Error('the process has not said where its inspector is')
    const socket = new WebSocket(url, { perMessageDeflate: false })
    await new Promise<void>((open, failed) => {
      socket.once('open', () => open())
      socket.once('error', failed)
    })
    const inspector = new Inspector(socket)
    await inspector.call('', 'NodeWorker.enable', { waitForDebuggerOnStart: false })
    return inspector
  }

  /** V8 gives empty pages back in its own time, some at each collection: until no more come. */
  async measure(): Promise<Memory> {
    let last = await this.collect()
    for (let round = 1; round < roundsMax; round++) {
      const next = await this.collect()
      const isSettled = last.rssMib - next.rssMib < settledMib
      last = next
      if (isSettled) break
    }
    return last
  }

  private async collect(): Promise<Memory> {
    const usages: NodeJS.MemoryUsage[] = []
    const sessions = ['', ...this.workers]
    for (const session of sessions) await this.call(session, 'HeapProfiler.collectGarbage', {})
    await sleep(givingBackMs)
    for (const session of sessions) {
      const { result } = await this.call(session, 'Runtime.evaluate', { expression, returnByValue: true })
      usages.push(JSON.parse((result as unknown as { result: { value: string } }).result.value))
    }
    const sum = (of: (usage: NodeJS.MemoryUsage) => number): number =>
      usages.reduce((total, usage) => total + of(usage), 0) / mib
    return {
      heapMib: sum(({ heapUsed }) => heapUsed),
      committedMib: sum(({ heapTotal }) => heapTotal),
      externalMib: sum(({ external }) => external),
      rssMib: (usages[0] as NodeJS.MemoryUsage).rss / mib,
    }
  }

  close(): void {
    this.socket.close()
  }

  private call(session: string, method: string, params: Record<string, unknown>): Promise<Reply> {
    const id = ++this.count
    const message = JSON.stringify({ id, method, params })
    const answered = new Promise<Reply>((done, failed) => {
      const timer = setTimeout(() => failed(new Error(`no answer to ${method}`)), 20_000)
      this.waiting.set(`${session}/${id}`, (reply) => {
        clearTimeout(timer)
        if (reply.error === undefined) done(reply)
        else failed(new Error(`${method}: ${reply.error.message}`))
      })
    })
    this.socket.send(
      session === ''
        ? message
        : JSON.stringify({
            id: ++this.count,
            method: 'NodeWorker.sendMessageToWorker',
            params: { sessionId: session, message },
          }),
    )
    return answered
  }

  private take(reply: Reply, session: string): void {
    if (reply.id !== undefined) {
      const key = `${session}/${reply.id}`
      this.waiting.get(key)?.(reply)
      this.waiting.delete(key)
    } else if (reply.method === 'NodeWorker.attachedToWorker') {
      this.workers.add((reply.params as { sessionId: string } | undefined)?.sessionId ?? '')
    } else if (reply.method === 'NodeWorker.detachedFromWorker') {
      this.workers.delete((reply.params as { sessionId: string } | undefined)?.sessionId ?? '')
    } else if (reply.method === 'NodeWorker.receivedMessageFromWorker') {
      const { sessionId, message } = reply.params as unknown as { sessionId: string; message: string }
      this.take(JSON.parse(message) as Reply, sessionId)
    }
  }
}
