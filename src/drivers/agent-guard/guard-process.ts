/** The node's handle on one guard: starts it, speaks with it, notices its end and cleans up after it. One object for each guard. */
import type { ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { rmSync } from 'node:fs'
import type { Socket } from 'node:net'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { SkeinError } from '../../core/kernel/error.js'
import { monotonicMs } from '../../engines/sqlite/clock.js'
import { identityOf } from '../../engines/sqlite/process-identity.js'
import type { ProcessEvent } from '../../ports/agent-processes.js'
import { encodeFrame, FrameReader } from './frames.js'
import { GroupTable, type GroupUsage } from './group-usage.js'
import { lastWords, launchGuard, makeSocketPath, prepareHome } from './guard-launch.js'
import { endMarked, sendSignal } from './marked-processes.js'
import {
  type CallName,
  type FromGuard,
  formatTarget,
  fromErrorData,
  type GuardCalls,
  type ToGuard,
} from './protocol.js'
import { frameBytesMax, type GuardLimits, type GuardSetup } from './settings.js'

const startMsMax = 15_000
const farewellMsMax = 15_000
/** After its pipe closed, until it is killed; and after its end, for what is still in the pipe. */
const lingerMsMax = 2_000
/** For what it left behind. */
const sweepMsMax = 5_000
const pingMsMax = 5_000
const pollMs = 5
const callsMax = 4_096
const waitingBytesMax = 2 * frameBytesMax

export interface GuardProcessOptions {
  readonly nodeId: string
  readonly dataDir: string
  readonly limits: GuardLimits
  /** The guard's module. */
  readonly entry: URL
  readonly onEvent: (event: ProcessEvent) => void
  readonly onNote: (event: string, fields: Readonly<Record<string, unknown>>) => void
  /** Once, after everything of it is gone, if `end` had not been called. */
  readonly onLost: (detail: string) => void
}

interface Call {
  readonly name: CallName
  readonly resolve: (value: never) => void
  readonly reject: (error: SkeinError) => void
  readonly timer: NodeJS.Timeout
}

export class GuardProcess {
  readonly renewalAddress: string
  /** Resolves when the guard is gone and everything of it. */
  readonly ended: Promise<void>
  readonly #options: GuardProcessOptions
  readonly #child: ChildProcess
  readonly #channel: Socket
  readonly #setup: GuardSetup
  /** Of the guard's process. */
  readonly #startTicks: number
  readonly #calls = new Map<number, Call>()
  /** First processes of groups that have not ended, by pid. */
  readonly #groups = new Map<number, { readonly startTicks: number; readonly name: string }>()
  #lifeLock = ''
  #ready: { readonly resolve: () => void; readonly reject: (error: SkeinError) => void } | undefined
  #lastId = 0
  #lastWord = 'it was killed or crashed'
  #isReady = false
  #isAsked = false
  #isChecked = false

  private constructor(options: GuardProcessOptions, child: ChildProcess, setup: GuardSetup) {
    this.#options = options
    this.#child = child
    this.#channel = child.stdio[3] as Socket
    this.#setup = setup
    const { socketPath, token, mark } = setup
    const pid = child.pid ?? 0
    this.#startTicks = identityOf(pid)?.startTicks ?? 0
    this.renewalAddress = formatTarget({ socketPath, token, mark, pid, startTicks: this.#startTicks })
    this.ended = this.#untilEnded()
  }

  /** Errors: `unavailable`, `data_dir_unusable`, `incompatible`. */
  static async start(options: GuardProcessOptions): Promise<GuardProcess> {
    const home = prepareHome(options.dataDir)
    // Of this data directory's earlier guards nothing may live: the directory has one node at a time.
    const { isSure, left } = await endMarked(`${home.mark}/`, 0, 'without_guards', sweepMsMax)
    if (!isSure) options.onNote('agent.processes_left', { pids: left })
    const boot = randomBytes(8).toString('hex')
    const setup: GuardSetup = {
      nodeId: options.nodeId,
      agentsDir: home.agentsDir,
      lifeLockPath: join(home.directory, `${boot}.life`),
      socketPath: makeSocketPath(home.directory),
      token: randomBytes(32).toString('hex'),
      mark: `${home.mark}/${boot}`,
      limits: options.limits,
    }
    const guard = new GuardProcess(options, launchGuard(options.entry, home, setup.mark), setup)
    await guard.#untilReady(home.logFile)
    return guard
  }

  get lifeLock(): string {
    return this.#lifeLock
  }

  get isRunning(): boolean {
    return !(this.#channel.destroyed || this.#isAsked)
  }

  async call<Name extends CallName>(
    name: Name,
    args: GuardCalls[Name]['args'],
    timeoutMs: number,
  ): Promise<GuardCalls[Name]['value']> {
    if (!this.isRunning) throw noGuard()
    if (this.#calls.size >= callsMax || this.#channel.writableLength > waitingBytesMax)
      throw new SkeinError(
        'overloaded',
        `${this.#calls.size} calls wait for the guard of this node's agents`,
        { retryable: true },
      )
    const id = ++this.#lastId
    return await new Promise((resolve, reject) => {
      const timer = setTimeout(() => this.#late(id, name, timeoutMs), timeoutMs)
      this.#calls.set(id, { name, resolve, reject, timer })
      this.#send({ type: 'call', id, call: name, args })
    })
  }

  /** Asks it to kill everything and end; kills it when it does not. Resolves when all is gone. */
  async end(): Promise<void> {
    this.#isAsked = true
    this.#send({ type: 'bye' })
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), farewellMsMax)
    await this.ended
    clearTimeout(timer)
  }

  #send(message: ToGuard): void {
    if (this.#channel.writable) this.#channel.write(encodeFrame(message))
  }

  #receive(message: FromGuard): void {
    switch (message.type) {
      case 'value':
        this.#take(message.id)?.resolve(message.value as never)
        break
      case 'error':
        this.#take(message.id)?.reject(fromErrorData(message.error))
        break
      case 'event': {
        const { event, startTicks } = message
        if (event.type === 'started')
          this.#groups.set(event.pid, { startTicks: startTicks ?? 0, name: event.name })
        else for (const [pid, { name }] of this.#groups) if (name === event.name) this.#groups.delete(pid)
        this.#options.onEvent(event)
        break
      }
      case 'output':
        for (const line of message.lines)
          this.#options.onEvent({ type: 'output', name: message.name, ...line })
        break
      case 'note':
        this.#options.onNote(message.event, message.fields)
        break
      case 'ending':
        this.#lastWord = message.detail
        break
      case 'ready':
        this.#lifeLock = message.lifeLock
        this.#isReady = true
        this.#ready?.resolve()
        break
      case 'not_ready':
        this.#ready?.reject(fromErrorData(message.error))
        break
    }
  }

  #take(id: number): Call | undefined {
    const call = this.#calls.get(id)
    this.#calls.delete(id)
    clearTimeout(call?.timer)
    return call
  }

  #late(id: number, name: CallName, timeoutMs: number): void {
    this.#take(id)?.reject(
      new SkeinError(
        'timeout',
        `the guard of this node's agents did not answer ${name} within ${timeoutMs} ms`,
        {
          details: { call: name },
        },
      ),
    )
    void this.#check()
  }

  /** A guard that does not turn is no guard: agents that nobody can stop are ended with it. */
  async #check(): Promise<void> {
    if (this.#isChecked) return
    this.#isChecked = true
    const id = ++this.#lastId
    const isAnswered = await new Promise<boolean>((resolve) => {
      const timer = setTimeout(() => {
        this.#calls.delete(id)
        resolve(false)
      }, pingMsMax)
      const answered = () => resolve(true)
      this.#calls.set(id, { name: 'ping', resolve: answered, reject: answered, timer })
      this.#send({ type: 'call', id, call: 'ping', args: {} })
    })
    this.#isChecked = false
    if (isAnswered) return
    this.#lastWord = `it did not answer for ${pingMsMax} ms and was killed`
    this.#child.kill('SIGKILL')
  }

  async #untilReady(logFile: string): Promise<void> {
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), startMsMax)
    try {
      await new Promise<void>((resolve, reject) => {
        this.#ready = { resolve, reject }
        void this.ended.then(() =>
          reject(
            new SkeinError(
              'unavailable',
              `the guard of this node's agents did not start within ${startMsMax} ms, or ended; its last words (${logFile}): ${lastWords(logFile)}`,
              { retryable: true, details: { path: logFile } },
            ),
          ),
        )
        this.#send({ type: 'setup', setup: this.#setup })
      })
    } catch (error) {
      await this.end()
      throw error
    } finally {
      clearTimeout(timer)
    }
  }

  async #untilEnded(): Promise<void> {
    const child = this.#child
    const reader = new FrameReader(frameBytesMax)
    const exited = new Promise<void>((resolve) => {
      child.once('exit', () => resolve())
      // Not started at all; or a signal that could not be sent, which changes nothing.
      child.on('error', (error) => {
        this.#lastWord = error.message
        if (child.pid === undefined) resolve()
      })
    })
    const closed = new Promise<void>((resolve) => {
      this.#channel.once('close', () => resolve())
    })
    this.#channel.on('error', () => undefined)
    this.#channel.on('data', (chunk: Buffer) => {
      for (const message of reader.read(chunk)) this.#receive(message as FromGuard)
    })
    await Promise.race([exited, closed])
    const kill = setTimeout(() => child.kill('SIGKILL'), lingerMsMax)
    await exited
    clearTimeout(kill)
    await Promise.race([closed, sleep(lingerMsMax)])
    this.#channel.destroy()
    await this.#cleanUp()
  }

  /** The guard is gone. Its direct children went with it where there is setpriv; the rest is for us. */
  async #cleanUp(): Promise<void> {
    const groupsLeft = await this.#endGroups()
    const marked = await endMarked(`${this.#setup.mark}/`, this.#startTicks, 'with_guards', sweepMsMax)
    const isSure = marked.isSure && groupsLeft.length === 0
    const left = [...new Set([...groupsLeft, ...marked.left])]
    rmSync(dirname(this.#setup.socketPath), { recursive: true, force: true })
    for (const id of [...this.#calls.keys()]) {
      const call = this.#take(id)
      // What was to be stopped is stopped.
      if (call?.name === 'stop' && isSure) call.resolve(null as never)
      else call?.reject(noGuard())
    }
    if (this.#isAsked || !this.#isReady) return
    const leftWords = isSure ? '' : `; processes may be left${left.length > 0 ? `: ${left.join(', ')}` : ''}`
    this.#options.onLost(`${this.#lastWord}${leftWords}`)
  }

  /** Groups whose first process is still the one that was started. What the kernel has sent its SIGKILL takes a moment to die. Returns what does not. */
  async #endGroups(): Promise<readonly number[]> {
    const ours = [...this.#groups].filter(
      ([pid, { startTicks }]) => startTicks !== 0 && identityOf(pid)?.startTicks === startTicks,
    )
    const table = new GroupTable()
    const deadlineMs = monotonicMs() + sweepMsMax
    let left = ours.map(([pid]) => pid)
    for (;;) {
      left = left.filter((pid) => sendSignal(-pid, 'SIGKILL'))
      if (left.length === 0) return []
      const groups = await Promise.race([table.read(0), sleep(sweepMsMax)])
      left = left.filter((pid) => !isOnlyZombies(pid, groups ?? undefined))
      if (left.length === 0 || monotonicMs() > deadlineMs) return left
      await sleep(pollMs)
    }
  }
}

function isOnlyZombies(pid: number, groups: ReadonlyMap<number, GroupUsage> | undefined): boolean {
  return groups !== undefined && !groups.has(pid)
}

export function noGuard(): SkeinError {
  return new SkeinError('unavailable', "the guard of this node's agents does not run", { retryable: true })
}
