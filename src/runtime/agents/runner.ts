/** Runs the agents that control gives to this node: starts, stops and hands them on, and answers for them. Decides nothing about places. */
import type { AgentRunReport } from '../../core/agents/audit.js'
import type { AgentSpec } from '../../core/agents/records.js'
import { asEpoch, type Epoch, type LeaseId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { NodeEffect, NodeInput } from '../../core/node/node-types.js'
import type { ProcessEvent } from '../../ports/agent-processes.js'
import { InlineBody } from './body.js'
import { DefinedRun, type DefinedRunWorld } from './defined-run.js'
import { type AgentDefinition, reservedKind } from './definition.js'
import type { CallFrame, CallReply } from './frames.js'
import { Handovers, sendState, tokenOf } from './handover.js'
import { ProcessRun, type ProcessRunWorld } from './process-run.js'
import type { AgentRun, LocalAgent, Report } from './run.js'
import { WorkerBody } from './worker-body.js'

type Start = Extract<NodeEffect, { type: 'agent_start' }>
type Stop = Extract<NodeEffect, { type: 'agent_stop' }>

export interface RunnerWorld
  extends Omit<DefinedRunWorld, 'report' | 'body' | 'reach'>,
    Pick<ProcessRunWorld, 'guard'> {
  readonly nodeId: string
  reach: Omit<DefinedRunWorld['reach'], 'log'>
  tell(message: Extract<NodeInput, { type: 'agent_report' | 'agent_stopped' }>): void
  /** Carries a frame of a state to another node. */
  sendTo(nodeId: string, body: Uint8Array): Promise<Uint8Array>
  offer(kinds: readonly string[]): void
  /** Its state in the journal, for good. */
  forget(lease: LeaseId, name: string, throughEpoch: Epoch): Promise<void>
}

interface Running {
  readonly name: string
  readonly epoch: Epoch
  readonly lease: LeaseId
  readonly kind: string
  readonly run: AgentRun
  /** What the auditor was told last. */
  reportedMs: number
}

/** Callers that come late are told where it went for so long, ms. */
const rememberMovedMs = 30_000
const movedMax = 10_000

export class AgentRunner {
  private readonly world: RunnerWorld
  private readonly definitions = new Map<string, AgentDefinition>()
  private readonly running = new Map<string, Running>()
  private readonly moved = new Map<string, { readonly to: string; readonly untilMs: number }>()
  readonly handovers: Handovers

  constructor(world: RunnerWorld) {
    this.world = world
    this.handovers = new Handovers(() => world.nowMs())
  }

  /** Throws `conflict` where another definition has that kind. */
  define(definition: AgentDefinition): void {
    const known = this.definitions.get(definition.kind)
    if (known === definition) return
    if (known !== undefined)
      throw new SkeinError('conflict', `agents of kind "${definition.kind}" are defined on this node already`)
    this.definitions.set(definition.kind, definition)
    this.world.offer(this.kinds())
  }

  kinds(): string[] {
    return [...this.definitions.keys()].sort()
  }

  // --- what control says ---------------------------------------------------------------------------------------------

  start({ name, epoch, lease, spec, state }: Start): void {
    const { world } = this
    this.moved.delete(name)
    const report: Report = (outcome, detail, floor) => {
      if (this.running.get(name)?.epoch === epoch || outcome === 'refused')
        world.tell({ type: 'agent_report', name, epoch, outcome, detail, floor })
    }
    const run = this.make(spec, epoch, lease, report)
    if (run === undefined) return
    this.running.set(name, { name, epoch, lease, kind: spec.kind, run, reportedMs: 0 })
    void run.start(this.handovers.take(name, state))
  }

  private make(spec: AgentSpec, epoch: Epoch, lease: LeaseId, report: Report): AgentRun | undefined {
    const { world } = this
    if (spec.kind === reservedKind) return new ProcessRun({ ...world, report }, spec, epoch, lease)
    const definition = this.definitions.get(spec.kind)
    if (definition === undefined) {
      report('refused', `no agents of kind "${spec.kind}" are defined on ${world.nodeId}`, asEpoch(0))
      return undefined
    }
    const { name, kind, config } = spec
    const facts = { name, kind, epoch, nodeId: world.nodeId, config }
    const log: DefinedRunWorld['reach']['log'] = (level, event, fields) =>
      world.log(level, event, { ...fields, agent: name, epoch })
    return new DefinedRun(
      {
        ...world,
        report,
        reach: { ...world.reach, log },
        body: (reach) =>
          definition.worker === undefined
            ? new InlineBody(definition, facts, reach)
            : new WorkerBody(definition.worker, facts, reach),
      },
      spec,
      epoch,
      lease,
    )
  }

  update(name: string, epoch: Epoch, spec: AgentSpec): void {
    const found = this.running.get(name)
    if (found?.epoch === epoch) found.run.update(spec)
  }

  stop(message: Stop): void {
    void this.stopOne(message)
  }

  private async stopOne({ name, epoch, why, to }: Stop): Promise<void> {
    const found = this.running.get(name)
    let state = ''
    if (found?.epoch === epoch) {
      await found.run.stop(why)
      if (why === 'removed') await this.forget(found)
      if (why === 'moved' && to !== null) state = await this.sendAhead(found, to)
      // Callers learn where it went when it is there; until then they wait.
      if (why !== 'moved' && this.running.get(name) === found) this.running.delete(name)
    }
    this.world.tell({ type: 'agent_stopped', name, epoch, state })
  }

  /** Nobody is to find its state under a new agent of that name. */
  private async forget({ name, lease, epoch }: Running): Promise<void> {
    try {
      await this.world.forget(lease, name, epoch)
    } catch (error) {
      this.world.log('warn', 'agent.state_not_forgotten', { agent: name, detail: String(error) })
    }
  }

  /** Its token; empty where the next owner has to read the journal, where all of it is anyway. */
  private async sendAhead({ name, run }: Running, to: string): Promise<string> {
    const state = run.lastState()
    if (state === undefined) return ''
    try {
      await sendState(name, state, (body) => this.world.sendTo(to, body))
      return tokenOf(name, state)
    } catch (error) {
      this.world.log('warn', 'agent.state_not_sent', { agent: name, to, detail: String(error) })
      return ''
    }
  }

  handed(name: string, epoch: Epoch, to: string): void {
    const found = this.running.get(name)
    if (found?.epoch !== epoch) return
    this.running.delete(name)
    found.run.movedTo(to)
    if (this.moved.size >= movedMax) this.moved.delete(this.moved.keys().next().value as string)
    this.moved.set(name, { to, untilMs: this.world.nowMs() + rememberMovedMs })
  }

  /**
   * The lease is over: everything stops now. Resolves when nothing runs. `quiet` is told before that, when nothing runs in this process any more: the
   * others are the guard's, which ends them at the lease's deadline whatever this process does.
   */
  async stopAll(why: 'lost' | 'leaving', quiet: () => void): Promise<void> {
    const all = [...this.running.values()].map(({ run }) => run)
    this.running.clear()
    const stops = all.map((run) => run.stop(why))
    await Promise.all(stops.filter((_, i) => !(all[i] instanceof ProcessRun)))
    quiet()
    await Promise.all(stops)
  }

  // --- what the guard says ----------------------------------------------------------------------------------------------

  processEvent(event: ProcessEvent): void {
    const run = this.running.get(event.name)?.run
    if (run instanceof ProcessRun) run.event(event)
  }

  /** The guard is gone, and with it every process. */
  guardLost(lease: LeaseId, detail: string): void {
    this.world.log('error', 'guard.lost', { detail })
    for (const { run, lease: of } of this.running.values())
      if (run instanceof ProcessRun && of === lease) run.guardLost(detail)
  }

  // --- what others ask --------------------------------------------------------------------------------------------------

  call(frame: CallFrame): Promise<CallReply> {
    const found = this.running.get(frame.name)
    if (found !== undefined) return found.run.call(frame)
    const moved = this.moved.get(frame.name)
    const hint = moved !== undefined && moved.untilMs > this.world.nowMs() ? moved.to : null
    return Promise.resolve({
      kind: 'again',
      detail: `agent "${frame.name}" does not run on ${this.world.nodeId}`,
      hint,
    })
  }

  /** Errors: `not_found`, and what the command says. */
  async command(name: string, command: string, data: unknown): Promise<unknown> {
    const found = this.running.get(name)
    if (found === undefined)
      throw new SkeinError('not_found', `agent "${name}" does not run on ${this.world.nodeId}`, {
        retryable: true,
      })
    return found.run.command(command, data)
  }

  /** For the auditor: runs that began or acted since this was asked last, at most so many. */
  runsSince(max: number): readonly AgentRunReport[] {
    const found: AgentRunReport[] = []
    for (const running of this.running.values()) {
      if (found.length >= max) break
      const { startedAtMs, actedAtMs } = running.run.local()
      if (startedAtMs === 0 || running.reportedMs === startedAtMs + actedAtMs) continue
      running.reportedMs = startedAtMs + actedAtMs
      const { name, epoch, lease } = running
      found.push({ agent: name, epoch, lease, nodeId: this.world.nodeId, startedAtMs, actedAtMs })
    }
    return found
  }

  local(name: string): (LocalAgent & { readonly epoch: number }) | undefined {
    const found = this.running.get(name)
    return found === undefined ? undefined : { ...found.run.local(), epoch: found.epoch }
  }

  all(): readonly (readonly [string, LocalAgent & { readonly epoch: number }])[] {
    return [...this.running.values()].map((r) => [r.name, { ...r.run.local(), epoch: r.epoch }] as const)
  }
}
