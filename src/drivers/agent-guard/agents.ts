/** The agents of one guard by name: at most one run of a name at a time, never under a lower epoch than before. */
import { SkeinError } from '../../core/kernel/error.js'
import type { OutputLine, ProcessSpec, ProcessState } from '../../ports/agent-processes.js'
import { agentDirectory } from './agent-directory.js'
import { AgentOutput } from './agent-output.js'
import { AgentRun, notRunning, type RunWorld } from './agent-run.js'
import { OutputLog } from './output-log.js'
import type { GuardLimits } from './settings.js'

/** Agents that ended, whose output and state are still told. */
const endedMax = 64
/** What groups use may be so old, ms. */
const usageAgeMs = 500

export interface AgentsWorld extends RunWorld {
  readonly agentsDir: string
  readonly limits: GuardLimits
  /** Why nothing may be started, or undefined. */
  readonly whyNot: () => string | undefined
  readonly isEnding: () => boolean
  readonly onLines: (name: string, lines: readonly OutputLine[]) => void
  readonly onNote: (event: string, fields: Readonly<Record<string, unknown>>) => void
}

interface Slot {
  readonly output: AgentOutput
  run: AgentRun
  isRunning: boolean
}

export class Agents {
  readonly #world: AgentsWorld
  /** Those that ended are in the order of their end. */
  readonly #slots = new Map<string, Slot>()
  #running = 0

  constructor(world: AgentsWorld) {
    this.#world = world
  }

  async start(spec: ProcessSpec, epoch: number): Promise<void> {
    const { name } = spec
    const before = this.#slots.get(name)
    this.#refuse(name, epoch, before)
    const output = before?.output ?? this.#makeOutput(name)
    const run = new AgentRun(spec, epoch, output, this.#world)
    const slot: Slot = { output, run, isRunning: true }
    this.#slots.set(name, slot)
    this.#running++
    void run.over.then(() => this.#ended(name, slot))
    await run.start()
  }

  async stop(name: string, epoch: number, graceMs: number | null): Promise<void> {
    const slot = this.#slots.get(name)
    if (slot?.isRunning !== true || slot.run.epoch > epoch) return
    const { run } = slot
    if (run.epoch < epoch)
      throw new SkeinError('conflict', `agent "${name}" runs under epoch ${run.epoch}, not ${epoch}`, {
        details: { name, epoch: run.epoch },
      })
    run.stop(graceMs ?? run.spec.stopGraceMs)
    await run.over
  }

  pause(name: string): void {
    this.#run(name).pause()
  }

  resume(name: string): void {
    this.#run(name).resume()
  }

  signal(name: string, signal: string): void {
    this.#run(name).signal(signal as NodeJS.Signals)
  }

  input(name: string, text: string): Promise<void> {
    return this.#run(name).input(text)
  }

  output(name: string, afterSeq: number | null, limit: number): OutputLine[] {
    const slot = this.#slots.get(name)
    if (slot === undefined) throw notRunning(name)
    return slot.output.read(afterSeq ?? undefined, limit)
  }

  async state(name: string): Promise<ProcessState | null> {
    const slot = this.#slots.get(name)
    if (slot === undefined) return null
    const { run, output, isRunning } = slot
    const usage = isRunning ? (await this.#world.groups.table.read(usageAgeMs))?.get(run.pid) : undefined
    return {
      name,
      epoch: run.epoch,
      pid: run.pid,
      isRunning: slot.isRunning,
      isPaused: run.isPaused,
      startedAtMs: run.startedAtMs,
      ...usage,
      outputSeq: output.seq,
    }
  }

  #refuse(name: string, epoch: number, before: Slot | undefined): void {
    const why = this.#world.whyNot()
    if (why !== undefined)
      throw new SkeinError('unavailable', `agent "${name}" may not start: ${why}`, {
        retryable: true,
        details: { name },
      })
    if (before?.isRunning === true)
      throw new SkeinError('conflict', `agent "${name}" runs already, under epoch ${before.run.epoch}`, {
        details: { name, epoch: before.run.epoch },
      })
    if (before !== undefined && before.run.epoch > epoch)
      throw new SkeinError(
        'conflict',
        `agent "${name}" ran under epoch ${before.run.epoch}, above ${epoch}`,
        {
          details: { name, epoch: before.run.epoch },
        },
      )
    const { agentsMax } = this.#world.limits
    if (this.#running >= agentsMax)
      throw new SkeinError(
        'overloaded',
        `${agentsMax} process agents run on this node: no more are allowed`,
        {
          retryable: true,
          details: { name, agentsMax },
        },
      )
  }

  #run(name: string): AgentRun {
    const slot = this.#slots.get(name)
    if (slot?.isRunning !== true) throw notRunning(name)
    return slot.run
  }

  #ended(name: string, slot: Slot): void {
    slot.isRunning = false
    this.#running--
    this.#slots.delete(name)
    this.#slots.set(name, slot)
    if (this.#slots.size - this.#running <= endedMax) return
    for (const [oldest, { isRunning }] of this.#slots) {
      if (isRunning) continue
      this.#slots.delete(oldest)
      return
    }
  }

  #makeOutput(name: string): AgentOutput {
    const { limits, isEnding, onLines, onNote, agentsDir } = this.#world
    const directory = agentDirectory(agentsDir, name)
    const log = new OutputLog({
      directory,
      fileBytesMax: limits.fileBytesMax,
      filesMax: limits.filesMax,
      onFailure: (detail) => onNote('agent.output_not_written', { agent: name, directory, detail }),
    })
    return new AgentOutput({ limits, log, isEnding, onLines: (lines) => onLines(name, lines) })
  }
}
