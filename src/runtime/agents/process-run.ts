/** A process agent under supervision: started through the guard, started again when it ends, its state carried by hooks where it has any. */
import type { AgentSpec, HookSpec, ProcessPart } from '../../core/agents/records.js'
import { Restarts } from '../../core/agents/restart.js'
import { asEpoch, type Epoch, type LeaseId } from '../../core/kernel/brand.js'
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import type { AgentProcesses, OutputLine, ProcessEvent, ProcessSpec } from '../../ports/agent-processes.js'
import type { Checkpoint } from '../../ports/journal.js'
import { pause } from '../pause.js'
import type { HandedState } from './defined-agent.js'
import type { StopCause } from './definition.js'
import type { CallReply } from './frames.js'
import type { AgentRun, LocalAgent, Report } from './run.js'

export interface ProcessRunWorld {
  nowMs(): number
  wallMs(): number
  mayAct(lease: LeaseId): boolean
  /** The guard of that lease, ready and known to the store. */
  guard(lease: LeaseId): Promise<AgentProcesses>
  load(name: string): Promise<Checkpoint | undefined>
  save(lease: LeaseId, checkpoint: Checkpoint): Promise<void>
  report: Report
  log(
    level: 'debug' | 'info' | 'warn' | 'error',
    event: string,
    fields: Readonly<Record<string, unknown>>,
  ): void
}

const hookTimeoutMs = 30_000
const hookOutputMax = 1_048_576
const waitMaxMs = 20_000
const linesMax = 1_000
const firstRenewalMs = 2_000
const renewalPauseMs = 15

export class ProcessRun implements AgentRun {
  private readonly world: ProcessRunWorld
  private readonly epoch: Epoch
  private readonly lease: LeaseId
  private readonly restarts: Restarts
  private spec: AgentSpec
  private guard: AgentProcesses | undefined
  private timer: NodeJS.Timeout | undefined
  private pid = 0
  private startedAtMs = 0
  private detail = ''
  private stopping: Promise<void> | undefined
  private starting: Promise<void> = Promise.resolve()
  private isPaused = false
  private hasBegun = false
  private readonly outputWaiters = new Set<() => void>()

  constructor(world: ProcessRunWorld, spec: AgentSpec, epoch: Epoch, lease: LeaseId) {
    this.world = world
    this.spec = spec
    this.epoch = epoch
    this.lease = lease
    this.restarts = new Restarts(spec.restart, Math.random)
  }

  private get part(): ProcessPart {
    return this.spec.process as ProcessPart
  }

  start(): Promise<void> {
    this.starting = this.begin()
    return this.starting
  }

  private async begin(): Promise<void> {
    const { world, spec } = this
    if (spec.process === undefined) {
      world.report('refused', 'it names no command', asEpoch(0))
      return
    }
    if (spec.desired === 'paused') {
      // It begins when it is resumed.
      this.isPaused = true
      world.report('running', 'paused', asEpoch(0))
      return
    }
    try {
      this.guard = await world.guard(this.lease)
      if (!this.hasBegun && spec.process.loadHook !== undefined) await this.loadState(spec.process.loadHook)
      if (this.stopping !== undefined) return
      this.hasBegun = true
      const { command, args, env, cwd, stopGraceMs } = spec.process
      await this.startUnder(this.guard, {
        name: spec.name,
        command,
        args,
        env,
        stopGraceMs,
        ...(cwd === undefined ? {} : { cwd }),
      })
    } catch (error) {
      this.failed(error instanceof Error ? error.message : String(error))
    }
  }

  /** A guard that has just begun waits for its first renewal, which comes another way. */
  private async startUnder(guard: AgentProcesses, process: ProcessSpec): Promise<void> {
    const untilMs = this.world.nowMs() + firstRenewalMs
    for (;;) {
      try {
        await guard.start(process, this.epoch)
        return
      } catch (error) {
        const isEarly = isSkeinError(error) && error.code === 'unavailable' && this.world.nowMs() < untilMs
        if (!isEarly || !this.world.mayAct(this.lease) || this.stopping !== undefined) throw error
        await pause(renewalPauseMs)
      }
    }
  }

  private async loadState(hook: HookSpec): Promise<void> {
    const found = await this.world.load(this.spec.name)
    if (found === undefined) return
    if (found.epoch > this.epoch)
      throw new SkeinError('fenced', `the journal holds a state of epoch ${found.epoch}`)
    const { code, stderr } = await this.runHook(hook, new TextDecoder().decode(found.state))
    if (code !== 0)
      throw new SkeinError('handler_failed', `its load hook ended with ${code}: ${stderr.slice(-500)}`)
  }

  private runHook(hook: HookSpec, input: string) {
    const { env, cwd } = this.part
    return (this.guard as AgentProcesses).run({
      name: this.spec.name,
      epoch: this.epoch,
      command: hook.command,
      args: hook.args,
      env,
      ...(cwd === undefined ? {} : { cwd }),
      input,
      timeoutMs: hookTimeoutMs,
      outputBytesMax: hookOutputMax,
    })
  }

  /** What the guard says of it. */
  event(event: ProcessEvent): void {
    if (event.epoch !== this.epoch) return
    switch (event.type) {
      case 'started':
        this.pid = event.pid
        this.startedAtMs = event.atMs
        this.restarts.started(this.world.nowMs())
        this.world.report('running', '', asEpoch(0))
        break
      case 'output':
        for (const wake of [...this.outputWaiters]) wake()
        break
      case 'start_failed':
        this.failed(event.detail)
        break
      case 'exited':
        this.pid = 0
        if (this.stopping === undefined) this.ended(event.code, event.signal)
        break
    }
  }

  private ended(code: number | null, signal: string | null): void {
    const how = signal === null ? `ended with code ${code}` : `ended by ${signal}`
    if (code === 0) {
      const next = this.restarts.ended(this.world.nowMs(), false)
      if (next.action === 'restart') this.again(next.delayMs, how)
      else this.world.report('completed', how, asEpoch(0))
    } else this.failed(how)
  }

  private failed(detail: string): void {
    if (this.stopping !== undefined) return
    this.detail = detail
    const next = this.restarts.ended(this.world.nowMs(), true)
    if (next.action === 'restart') this.again(next.delayMs, detail)
    else
      this.world.report(
        'failed',
        next.action === 'give_up' ? `${detail} (${next.detail})` : detail,
        asEpoch(0),
      )
  }

  private again(delayMs: number, detail: string): void {
    this.world.log('info', 'agent.restarting', { agent: this.spec.name, in_ms: delayMs, detail })
    this.timer = setTimeout(() => {
      this.timer = undefined
      if (this.stopping === undefined && this.world.mayAct(this.lease)) void this.start()
    }, delayMs)
  }

  /** With the guard, the process is gone. */
  guardLost(detail: string): void {
    this.guard = undefined
    this.pid = 0
    this.failed(`its guard ended: ${detail}`)
  }

  update(spec: AgentSpec): void {
    const wasPaused = this.spec.desired === 'paused'
    this.spec = spec
    const isPaused = spec.desired === 'paused'
    if (wasPaused === isPaused) return
    this.setPaused(isPaused).catch((error: unknown) => {
      this.world.log('warn', 'agent.pause_failed', { agent: spec.name, detail: String(error) })
    })
  }

  private async setPaused(paused: boolean): Promise<void> {
    await this.starting
    this.isPaused = paused
    if (!paused && this.pid === 0 && this.timer === undefined) await this.start()
    else if (this.pid > 0)
      await (paused ? this.guard?.pause(this.spec.name) : this.guard?.resume(this.spec.name))
  }

  call(): Promise<CallReply> {
    return Promise.resolve({
      kind: 'error',
      error: new SkeinError(
        'invalid_argument',
        `agent "${this.spec.name}" is a process: it takes commands, not calls`,
      ),
    })
  }

  async command(command: string, data: unknown): Promise<unknown> {
    const { name } = this.spec
    const guard = this.guard
    const value = (data ?? {}) as {
      text?: unknown
      signal?: unknown
      after_seq?: unknown
      limit?: unknown
      wait_ms?: unknown
    }
    if (command === 'output') return this.output(value)
    if (guard === undefined)
      throw new SkeinError('conflict', `agent "${name}" has no process at the moment`, { retryable: true })
    switch (command) {
      case 'kill':
        await guard.signal(name, 'SIGKILL')
        return {}
      case 'send_input':
        if (typeof value.text !== 'string')
          throw new SkeinError('invalid_argument', 'send_input: data.text must be a string')
        await guard.input(name, value.text)
        return {}
      case 'send_signal':
        if (typeof value.signal !== 'string')
          throw new SkeinError(
            'invalid_argument',
            'send_signal: data.signal must be a string such as "SIGUSR1"',
          )
        await guard.signal(name, value.signal)
        return {}
      case 'get_state': {
        const state = await guard.state(name)
        return {
          ...this.local(),
          ...(state === undefined
            ? {}
            : {
                pid: state.pid,
                cpu_ms: state.cpuMs,
                memory_bytes: state.memoryBytes,
                processes: state.processes,
                output_seq: state.outputSeq,
              }),
        }
      }
      default:
        throw new SkeinError(
          'invalid_argument',
          `no command "${command}"; allowed: pause, resume, kill, send_input, get_state, send_signal`,
        )
    }
  }

  /** Lines after a number; waits for the first new one for as long as was asked. */
  private async output(query: {
    after_seq?: unknown
    limit?: unknown
    wait_ms?: unknown
  }): Promise<readonly OutputLine[]> {
    const { guard } = this
    const limit = Math.min(linesMax, Number(query.limit ?? 100))
    const waitUntilMs = this.world.nowMs() + Math.min(waitMaxMs, Number(query.wait_ms ?? 0))
    for (;;) {
      const lines =
        guard === undefined
          ? []
          : await guard
              .output(this.spec.name, {
                limit,
                ...(query.after_seq === undefined ? {} : { afterSeq: Number(query.after_seq) }),
              })
              .catch((error: unknown) => {
                if (isSkeinError(error) && error.code === 'not_found') return []
                throw error
              })
      const leftMs = waitUntilMs - this.world.nowMs()
      if (lines.length > 0 || leftMs <= 0 || this.stopping !== undefined) return lines
      await new Promise<void>((resolve) => {
        const done = (): void => {
          clearTimeout(timer)
          this.outputWaiters.delete(done)
          resolve()
        }
        const timer = setTimeout(done, leftMs)
        this.outputWaiters.add(done)
      })
    }
  }

  stop(why: StopCause): Promise<void> {
    this.stopping ??= this.end(why)
    return this.stopping
  }

  private async end(why: StopCause): Promise<void> {
    clearTimeout(this.timer)
    for (const wake of [...this.outputWaiters]) wake()
    const { guard } = this
    if (guard === undefined) {
      await this.starting
      return
    }
    const hurried = why === 'lost' || why === 'fading'
    await guard.stop(this.spec.name, this.epoch, hurried ? 0 : this.part.stopGraceMs)
    await this.starting
    // One that was just being started.
    await guard.stop(this.spec.name, this.epoch, 0)
    const { saveHook } = this.part
    if (saveHook === undefined || !this.hasBegun || hurried || !this.world.mayAct(this.lease)) return
    try {
      const { code, stdout, stderr } = await this.runHook(saveHook, '')
      if (code !== 0) throw new SkeinError('handler_failed', `ended with ${code}: ${stderr.slice(-500)}`)
      const state = new TextEncoder().encode(stdout)
      await this.world.save(this.lease, { agent: this.spec.name, epoch: this.epoch, seq: 1, state })
    } catch (error) {
      this.world.log('error', 'agent.save_hook_failed', { agent: this.spec.name, detail: String(error) })
    }
  }

  /** It travels through the journal. */
  lastState(): HandedState | undefined {
    return undefined
  }

  movedTo(): void {}

  local(): LocalAgent {
    return {
      state:
        this.stopping !== undefined
          ? 'stopping'
          : this.isPaused
            ? 'paused'
            : this.timer !== undefined
              ? 'restarting'
              : this.pid > 0
                ? 'running'
                : 'starting',
      detail: this.detail,
      startedAtMs: this.startedAtMs,
      restarts: this.restarts.count,
      calls: 0,
      waitingCalls: 0,
      turnMs: 0,
      pid: this.pid,
      actedAtMs: 0,
    }
  }
}
