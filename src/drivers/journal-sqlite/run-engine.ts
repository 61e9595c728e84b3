/**
 * Running an engine: calls one after another, each repeated while a lock is taken. In the journal's own thread or, for
 * tests and many nodes in one process, in the caller's.
 *
 * A strict order matters: an append that waited for a lock must not be overtaken by the one after it.
 */
import { Worker } from 'node:worker_threads'
import { SkeinError } from '../../core/kernel/error.js'
import { monotonicMs } from '../../engines/sqlite/clock.js'
import { retryBusy } from '../../engines/sqlite/connection.js'
import { type EngineOptions, JournalEngine } from './engine.js'
import type { AnswerMessage, CallArguments, CallName, CallValue, WorkerData } from './protocol.js'
import { fromErrorData } from './protocol.js'

/** How long a call may find a file locked before it is given up. */
const lockWaitMsMax = 2000

export interface EngineRunner {
  /** `transfer`: buffers that move instead of being copied; they are gone afterwards. */
  call<N extends CallName>(
    name: N,
    args: CallArguments<N>,
    transfer?: readonly ArrayBuffer[],
  ): Promise<CallValue<N>>
  /** After the last call. */
  stop(): Promise<void>
}

/** Runs calls in this thread. */
export class InlineRunner implements EngineRunner {
  readonly #engine: JournalEngine
  #tail: Promise<unknown> = Promise.resolve()

  constructor(options: EngineOptions) {
    this.#engine = new JournalEngine(options)
  }

  call<N extends CallName>(name: N, args: CallArguments<N>): Promise<CallValue<N>> {
    const result = this.#tail.then(() => this.#attempt(name, args))
    this.#tail = result.catch(() => undefined)
    return result
  }

  async #attempt<N extends CallName>(name: N, args: CallArguments<N>): Promise<CallValue<N>> {
    const method = this.#engine[name] as (...args: CallArguments<N>) => CallValue<N>
    try {
      return await retryBusy(() => method.apply(this.#engine, args), {
        deadlineMs: monotonicMs() + lockWaitMsMax,
        what: `journal ${name}`,
      })
    } catch (error) {
      if (!(error instanceof SkeinError && error.code === 'timeout')) throw error
      throw new SkeinError('unavailable', error.message, { retryable: true, cause: error })
    }
  }

  async stop(): Promise<void> {
    await this.#tail
  }
}

interface Waiting {
  readonly name: CallName
  readonly resolve: (value: never) => void
  readonly reject: (error: unknown) => void
}

/** Runs calls in a thread of their own. */
export class WorkerRunner implements EngineRunner {
  readonly #worker: Worker
  readonly #waiting = new Map<number, Waiting>()
  #lastNumber = 0
  #stopping = false
  #failure: SkeinError | undefined

  /** `onFailure`: the thread ended without being asked to. */
  constructor(options: EngineOptions, url: URL, onFailure: (error: SkeinError) => void) {
    const workerData: WorkerData = { options }
    this.#worker = new Worker(url, { workerData, name: 'skein-journal' })
    this.#worker.on('message', (message: AnswerMessage) => this.#answered(message))
    const fail = (cause: unknown) => {
      if (this.#stopping || this.#failure !== undefined) return
      this.#failure = new SkeinError('unavailable', `the journal's thread ended: ${String(cause)}`, { cause })
      for (const { name, reject } of this.#waiting.values()) reject(lostCall(name, this.#failure))
      this.#waiting.clear()
      onFailure(this.#failure)
    }
    this.#worker.on('error', fail)
    this.#worker.on('exit', (code) => fail(`exit code ${code}`))
  }

  call<N extends CallName>(
    name: N,
    args: CallArguments<N>,
    transfer: readonly ArrayBuffer[] = [],
  ): Promise<CallValue<N>> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure)
    return new Promise((resolve, reject) => {
      const number = ++this.#lastNumber
      this.#waiting.set(number, { name, resolve, reject })
      this.#worker.postMessage({ number, name, args }, [...transfer])
    })
  }

  async stop(): Promise<void> {
    this.#stopping = true
    await this.#worker.terminate()
  }

  #answered(message: AnswerMessage): void {
    const waiting = this.#waiting.get(message.number)
    if (waiting === undefined) return
    this.#waiting.delete(message.number)
    if ('error' in message) waiting.reject(fromErrorData(message.error))
    else waiting.resolve(message.value as never)
  }
}

/** Of a call under way when the thread died only a commit may have left something. */
function lostCall(name: CallName, failure: SkeinError): SkeinError {
  return name === 'commit' ? new SkeinError('outcome_unknown', failure.message, { cause: failure }) : failure
}
