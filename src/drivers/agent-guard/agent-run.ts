/** One run of an agent: from its start until nothing of it is left. Tells what happens to it in order, and `over` when it is finished. */
import { SkeinError } from '../../core/kernel/error.js'
import { monotonicMs } from '../../engines/sqlite/clock.js'
import { identityOf } from '../../engines/sqlite/process-identity.js'
import type { ProcessSpec } from '../../ports/agent-processes.js'
import type { AgentOutput } from './agent-output.js'
import type { ChildGroup, ChildGroups } from './child-group.js'
import { CannotStart } from './find-command.js'
import type { LifeEvent } from './protocol.js'
import type { RunSweeper } from './run-sweeper.js'

const inputBytesMax = 1_024 * 1_024

export interface RunWorld {
  readonly nodeId: string
  readonly groups: ChildGroups
  readonly sweeper: RunSweeper
  readonly emit: (event: LifeEvent, startTicks?: number) => void
}

export class AgentRun {
  readonly spec: ProcessSpec
  readonly epoch: number
  readonly #world: RunWorld
  readonly #output: AgentOutput
  #group: ChildGroup | undefined
  #isPaused = false
  #startedAtMs = 0
  /** The first process was gone before it had to be killed. */
  #endedByItself = false
  #stop: { deadlineMs: number; timer: NodeJS.Timeout | undefined } | undefined
  #finish: () => void = () => undefined
  /** Nothing is left of it, and all of it has been told. */
  readonly over: Promise<void>

  constructor(spec: ProcessSpec, epoch: number, output: AgentOutput, world: RunWorld) {
    this.spec = spec
    this.epoch = epoch
    this.#output = output
    this.#world = world
    this.over = new Promise((resolve) => {
      this.#finish = resolve
    })
  }

  get pid(): number {
    return this.#group?.pid ?? 0
  }

  get isPaused(): boolean {
    return this.#isPaused
  }

  get startedAtMs(): number {
    return this.#startedAtMs
  }

  /** Resolves when it runs, or has failed to. */
  async start(): Promise<void> {
    const { spec, epoch } = this
    const { name } = spec
    try {
      const order = {
        command: spec.command,
        args: spec.args,
        env: agentEnvironment(spec.env, this.#world.nodeId, name, epoch),
        cwd: spec.cwd ?? process.cwd(),
      }
      const group = await this.#world.groups.start(order, {
        whyNot: () => (this.#stop === undefined ? undefined : 'it was stopped before it had started'),
        onSpawned: (spawned) => {
          this.#group = spawned
        },
      })
      this.#startedAtMs = Date.now()
      const { pid } = group
      void this.#output.mark(`epoch ${epoch}: started as process ${pid}`)
      this.#world.emit(
        { type: 'started', name, epoch, pid, atMs: this.#startedAtMs },
        identityOf(pid)?.startTicks ?? 0,
      )
      void this.#untilOver(group)
    } catch (error) {
      clearTimeout(this.#stop?.timer)
      if (!(error instanceof CannotStart)) {
        this.#group?.kill()
        this.#finish()
        throw error
      }
      void this.#output.mark(`epoch ${epoch}: did not start: ${error.message}`)
      void this.#output.close()
      this.#finish()
      this.#world.emit({ type: 'start_failed', name, epoch, detail: error.message })
    }
  }

  /** Asks, and kills when the grace is over. A later call may shorten the grace, not lengthen it. */
  stop(graceMs: number): void {
    const deadlineMs = monotonicMs() + graceMs
    if (this.#stop !== undefined && this.#stop.deadlineMs <= deadlineMs) return
    const isFirst = this.#stop === undefined
    clearTimeout(this.#stop?.timer)
    this.#stop = { deadlineMs, timer: setTimeout(() => this.#group?.kill(), graceMs) }
    if (isFirst && graceMs > 0) this.#askToStop()
  }

  #askToStop(): void {
    this.#group?.signal('SIGTERM')
    // Who is stopped hears nothing.
    this.#group?.signal('SIGCONT')
    this.#isPaused = false
  }

  pause(): void {
    if (!this.#running().signal('SIGSTOP')) throw this.#notRunning()
    this.#isPaused = true
  }

  resume(): void {
    if (!this.#running().signal('SIGCONT')) throw this.#notRunning()
    this.#isPaused = false
  }

  signal(signal: NodeJS.Signals): void {
    if (!this.#running().signalFirst(signal)) throw this.#notRunning()
  }

  async input(text: string): Promise<void> {
    const { stdin } = this.#running()
    const closed = () =>
      new SkeinError('closed', `agent "${this.spec.name}" has closed its stdin`, {
        details: { name: this.spec.name },
      })
    if (!stdin.writable) throw closed()
    if (stdin.writableLength + Buffer.byteLength(text) > inputBytesMax)
      throw new SkeinError(
        'overloaded',
        `agent "${this.spec.name}" does not read its stdin: ${stdin.writableLength} of ${inputBytesMax} bytes wait`,
        { retryable: true, details: { name: this.spec.name } },
      )
    // Taken into the queue, not read: an agent that does not read must not hold up the caller. What is refused at once is said.
    await new Promise<void>((resolve, reject) => {
      stdin.write(text, (error) => {
        if (error) reject(closed())
      })
      setImmediate(resolve)
    })
  }

  #running(): ChildGroup {
    if (this.#group === undefined) throw this.#notRunning()
    return this.#group
  }

  #notRunning(): SkeinError {
    return notRunning(this.spec.name)
  }

  async #untilOver(group: ChildGroup): Promise<void> {
    const { name } = this.spec
    const output = this.#output.attach(group.stdout, group.stderr, this.epoch)
    const { code, signal } = await group.exited
    this.#endedByItself = !group.isKilled
    // What it has started goes with it; while it was being stopped, its children have the rest of the grace.
    if (this.#stop === undefined) group.kill()
    await group.gone()
    clearTimeout(this.#stop?.timer)
    await this.#world.sweeper.endRun(group.mark)
    await output.drained()
    const reason = !this.#endedByItself ? 'killed' : this.#stop === undefined ? 'ended' : 'stopped'
    const how = signal === null ? `code ${code}` : signal
    void this.#output.mark(`epoch ${this.epoch}: ${reason}, ${how}`)
    void this.#output.close()
    this.#finish()
    this.#world.emit({ type: 'exited', name, epoch: this.epoch, code, signal, reason, atMs: Date.now() })
  }
}

export function notRunning(name: string): SkeinError {
  return new SkeinError('not_found', `no process of agent "${name}" runs on this node`, { details: { name } })
}

/** PATH, HOME, LANG and TZ of the guard, which has them from the node; then what the user gave; then what says which agent this is. */
export function agentEnvironment(
  given: Readonly<Record<string, string>>,
  nodeId: string,
  name: string,
  epoch: number,
): Record<string, string> {
  const inherited = ['PATH', 'HOME', 'LANG', 'TZ'].flatMap((variable) => {
    const value = process.env[variable]
    return value === undefined ? [] : [[variable, value] as const]
  })
  return {
    ...Object.fromEntries(inherited),
    ...given,
    SKEIN_NODE_ID: nodeId,
    SKEIN_AGENT: name,
    SKEIN_AGENT_EPOCH: String(epoch),
  }
}
