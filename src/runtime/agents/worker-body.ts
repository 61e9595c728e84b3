/** An agent's handlers in a thread of their own, with a limit on memory. What it reaches of the cluster goes through the main thread. */
import { isAbsolute, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { Worker } from 'node:worker_threads'
import { type ErrorCode, isSkeinError, SkeinError } from '../../core/kernel/error.js'
import type { AgentBody, AgentFacts, AgentReach } from './body.js'
import type { StopCause } from './definition.js'
import type { FromWorker, ToWorker, WireError, WorkerSetup } from './worker-messages.js'

const memoryMibDefault = 128
const empty = new Uint8Array()
/** How long one that was told to end may take before its thread is ended, ms. */
const endGraceMs = 5_000

export class WorkerBody implements AgentBody {
  readonly broken: Promise<string>
  private readonly worker: Worker
  private readonly reach: AgentReach
  private readonly waiting = new Map<
    number,
    { resolve: (result: Uint8Array) => void; reject: (error: Error) => void }
  >()
  private last: Uint8Array = empty
  private ids = 0
  private isOver = false
  private readonly exited: Promise<void>

  constructor(
    options: { readonly module: string | URL; readonly memoryMib?: number },
    facts: AgentFacts,
    reach: AgentReach,
  ) {
    this.reach = reach
    const setup: WorkerSetup = { module: moduleUrl(options.module), facts }
    this.worker = new Worker(new URL('./agent-worker.js', import.meta.url), {
      workerData: setup,
      name: `agent ${facts.name}`,
      resourceLimits: { maxOldGenerationSizeMb: options.memoryMib ?? memoryMibDefault },
    })
    let broke: (detail: string) => void = () => {}
    this.broken = new Promise((settle) => {
      broke = settle
    })
    this.exited = new Promise((settle) => {
      this.worker.once('exit', (code) => {
        settle()
        this.fail(`its thread ended with code ${code}`, broke)
      })
    })
    this.worker.on('message', (message: FromWorker) => this.receive(message))
    this.worker.on('error', (error) => this.fail(error.message, broke))
  }

  async start(state: Uint8Array | undefined): Promise<void> {
    await this.ask((id) => ({ type: 'start', id, state }))
  }

  call(method: string, args: Uint8Array): Promise<Uint8Array> {
    return this.ask((id) => ({ type: 'call', id, method, args }))
  }

  async step(step: number): Promise<void> {
    await this.ask((id) => ({ type: 'step', id, step }))
  }

  state(): Uint8Array {
    return this.last
  }

  async stop(why: StopCause): Promise<void> {
    await this.ask((id) => ({ type: 'stop', id, why }))
  }

  abort(): void {
    if (!this.isOver) this.worker.postMessage({ type: 'abort' } satisfies ToWorker)
    // A thread can be ended whatever it does; its last saved state stands.
    setTimeout(() => void this.worker.terminate(), endGraceMs).unref()
  }

  async close(): Promise<void> {
    this.isOver = true
    await this.worker.terminate()
    await this.exited
  }

  private ask(make: (id: number) => ToWorker): Promise<Uint8Array> {
    return new Promise((resolve, reject) => {
      if (this.isOver) {
        reject(new SkeinError('handler_failed', 'the thread of the agent has ended'))
        return
      }
      const id = ++this.ids
      this.waiting.set(id, { resolve, reject })
      this.worker.postMessage(make(id))
    })
  }

  private receive(message: FromWorker): void {
    switch (message.type) {
      case 'done': {
        this.last = message.state
        const asked = this.waiting.get(message.id)
        this.waiting.delete(message.id)
        asked?.resolve(message.result)
        break
      }
      case 'failed': {
        if (message.state !== undefined) this.last = message.state
        const asked = this.waiting.get(message.id)
        this.waiting.delete(message.id)
        asked?.reject(errorOf(message.error))
        break
      }
      case 'reach':
        void this.reachFor(message)
        break
      case 'every':
        this.reach.every(message.everyMs, message.step)
        break
      case 'complete':
        this.reach.complete(message.detail)
        break
      case 'log':
        this.reach.log(message.level, message.event, message.fields)
        break
    }
  }

  private async reachFor({ id, what, args }: Extract<FromWorker, { type: 'reach' }>): Promise<void> {
    const reply = (value: unknown, error: WireError | null): void => {
      if (!this.isOver) this.worker.postMessage({ type: 'reached', id, value, error } satisfies ToWorker)
    }
    try {
      if (what === 'publish') {
        const [stream, event] = args as Parameters<AgentReach['publish']>
        await this.reach.publish(stream, event)
        reply(undefined, null)
      } else {
        const [name, method, list] = args as Parameters<AgentReach['call']>
        reply(await this.reach.call(name, method, list), null)
      }
    } catch (error) {
      reply(undefined, wireError(error))
    }
  }

  private fail(detail: string, broke: (detail: string) => void): void {
    if (this.isOver) return
    this.isOver = true
    for (const { reject } of this.waiting.values())
      reject(new SkeinError('handler_failed', `the thread of the agent ended in the middle: ${detail}`))
    this.waiting.clear()
    broke(detail)
  }
}

function moduleUrl(module: string | URL): string {
  if (module instanceof URL) return module.href
  if (/^[a-z]+:/.test(module)) return module
  return pathToFileURL(isAbsolute(module) ? module : resolve(module)).href
}

export function wireError(error: unknown): WireError {
  if (isSkeinError(error))
    return { code: error.code, message: error.message, details: error.details, retryable: error.retryable }
  return {
    code: 'handler_failed',
    message: error instanceof Error ? error.message : String(error),
    details: error instanceof Error ? { name: error.name } : {},
    retryable: false,
  }
}

export function errorOf(error: WireError): SkeinError {
  return new SkeinError(error.code as ErrorCode, error.message, {
    details: error.details,
    retryable: error.retryable,
  })
}
