/** `AgentProcesses` for the node's main thread: one guard at a time, a new one for each `open` after the last one ended. */
import { resolve } from 'node:path'
import { SkeinError } from '../../core/kernel/error.js'
import type {
  AgentProcesses,
  Hook,
  HookResult,
  OutputLine,
  ProcessEvent,
  ProcessSpec,
  ProcessState,
} from '../../ports/agent-processes.js'
import {
  checkEpoch,
  checkGrace,
  checkHook,
  checkInput,
  checkName,
  checkOutputQuery,
  checkSignal,
  checkSpec,
} from './checks.js'
import { GuardProcess, noGuard } from './guard-process.js'
import { checkLimits, type GuardLimits, waitMsMax } from './settings.js'

const callMsMax = 5_000
const startMsMax = 15_000
/** Beyond the grace of a stop, or the time of a hook: for the end of the group. */
const endingMsMax = 15_000

export interface GuardedProcessesOptions {
  readonly nodeId: string
  /** One node at a time has it. The guard's files lie in `guard`, output of agents in `agents/<name>/output.log`. */
  readonly dataDir: string
  readonly limits?: Partial<GuardLimits>
  /** What a person may want to know: output that could not be written, processes that could not be ended. */
  readonly onNote?: (event: string, fields: Readonly<Record<string, unknown>>) => void
  /** The guard's compiled module. Default: the one of this build. */
  readonly entry?: URL
}

export class GuardedProcesses implements AgentProcesses {
  readonly #options: GuardedProcessesOptions
  readonly #limits: GuardLimits
  #guard: GuardProcess | undefined
  #opening: Promise<GuardProcess> | undefined
  #isDisposed = false
  #onEvent: (event: ProcessEvent) => void = () => undefined
  #onLost: (detail: string) => void = () => undefined

  /** Errors: `bad_config`. */
  constructor(options: GuardedProcessesOptions) {
    this.#options = options
    this.#limits = checkLimits(options.limits ?? {})
  }

  async open(): Promise<{ readonly lifeLock: string; readonly renewalAddress: string }> {
    if (this.#isDisposed) throw new SkeinError('closed', 'the agents of this node have been closed')
    if (this.#guard !== undefined && !this.#guard.isRunning) await this.#guard.ended
    this.#opening ??= this.#open()
    const { lifeLock, renewalAddress } = await this.#opening
    return { lifeLock, renewalAddress }
  }

  async start(spec: ProcessSpec, epoch: number): Promise<void> {
    checkSpec(spec)
    checkEpoch(epoch)
    await this.#running().call('start', { spec, epoch }, startMsMax)
  }

  async stop(name: string, epoch: number, graceMs?: number): Promise<void> {
    checkName(name)
    checkEpoch(epoch)
    if (graceMs !== undefined) checkGrace(graceMs)
    const guard = this.#guard
    if (guard === undefined) return
    if (!guard.isRunning) return await guard.ended
    const waitMs = (graceMs ?? waitMsMax) + endingMsMax
    await guard.call('stop', { name, epoch, graceMs: graceMs ?? null }, waitMs)
  }

  async pause(name: string): Promise<void> {
    checkName(name)
    await this.#running().call('pause', { name }, callMsMax)
  }

  async resume(name: string): Promise<void> {
    checkName(name)
    await this.#running().call('resume', { name }, callMsMax)
  }

  async signal(name: string, signal: string): Promise<void> {
    checkName(name)
    checkSignal(signal)
    await this.#running().call('signal', { name, signal }, callMsMax)
  }

  async input(name: string, text: string): Promise<void> {
    checkName(name)
    checkInput(text)
    await this.#running().call('input', { name, text }, callMsMax)
  }

  async output(
    name: string,
    query: { readonly afterSeq?: number; readonly limit: number },
  ): Promise<readonly OutputLine[]> {
    checkName(name)
    checkOutputQuery(query)
    const { afterSeq = null, limit } = query
    return await this.#running().call('output', { name, afterSeq, limit }, callMsMax)
  }

  async state(name: string): Promise<ProcessState | undefined> {
    checkName(name)
    return (await this.#running().call('state', { name }, callMsMax)) ?? undefined
  }

  async run(hook: Hook): Promise<HookResult> {
    checkHook(hook)
    return await this.#running().call('run', { hook }, hook.timeoutMs + endingMsMax)
  }

  onEvent(handler: (event: ProcessEvent) => void): void {
    this.#onEvent = handler
  }

  onLost(handler: (detail: string) => void): void {
    this.#onLost = handler
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isDisposed = true
    const guard = await this.#opening?.catch(() => undefined)
    await guard?.end()
  }

  #running(): GuardProcess {
    if (this.#guard === undefined) throw noGuard()
    return this.#guard
  }

  async #open(): Promise<GuardProcess> {
    const { nodeId, dataDir, onNote = () => undefined, entry = defaultEntry } = this.#options
    try {
      this.#guard = await GuardProcess.start({
        nodeId,
        dataDir: resolve(dataDir),
        limits: this.#limits,
        entry,
        onNote,
        onEvent: (event) => this.#onEvent(event),
        onLost: (detail) => {
          this.#opening = undefined
          this.#guard = undefined
          this.#onLost(detail)
        },
      })
      return this.#guard
    } catch (error) {
      this.#opening = undefined
      throw error
    }
  }
}

/** From the sources too: only compiled modules run in a process of their own. */
const defaultEntry = new URL('../../../dist/drivers/agent-guard/guard.js', import.meta.url)
