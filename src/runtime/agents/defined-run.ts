/** A defined agent under supervision: started from its last state, and started again after a failure, a little later each time. */
import type { AgentSpec } from '../../core/agents/records.js'
import { Restarts } from '../../core/agents/restart.js'
import type { Epoch, LeaseId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import { DefinedAgent, type DefinedAgentWorld, type HandedState } from './defined-agent.js'
import type { StopCause } from './definition.js'
import type { CallFrame, CallReply } from './frames.js'
import type { AgentRun, LocalAgent, Report } from './run.js'

export type DefinedRunWorld = Omit<DefinedAgentWorld, 'report'> & { report: Report }

export class DefinedRun implements AgentRun {
  private readonly world: DefinedRunWorld
  private readonly epoch: Epoch
  private readonly lease: LeaseId
  private readonly restarts: Restarts
  private spec: AgentSpec
  private agent: DefinedAgent
  private timer: NodeJS.Timeout | undefined
  private failure = ''
  private hint: string | null = null
  private stopping = false

  constructor(world: DefinedRunWorld, spec: AgentSpec, epoch: Epoch, lease: LeaseId) {
    this.world = world
    this.spec = spec
    this.epoch = epoch
    this.lease = lease
    this.restarts = new Restarts(spec.restart, Math.random)
    this.agent = this.make()
  }

  private make(): DefinedAgent {
    return new DefinedAgent(
      { ...this.world, report: (outcome, detail, floor) => this.reported(outcome, detail, floor) },
      this.spec,
      this.epoch,
      this.lease,
    )
  }

  async start(handed: HandedState | undefined): Promise<void> {
    await this.agent.start(handed)
  }

  update(spec: AgentSpec): void {
    this.spec = spec
    this.agent.pause(spec.desired === 'paused')
  }

  call(frame: CallFrame): Promise<CallReply> {
    if (this.timer !== undefined)
      return Promise.resolve({
        kind: 'again',
        detail: `it failed and starts again soon: ${this.failure}`,
        hint: null,
      })
    if (this.hint !== null) return Promise.resolve({ kind: 'again', detail: 'it has moved', hint: this.hint })
    return this.agent.call(frame)
  }

  private reported(outcome: Parameters<Report>[0], detail: string, floor: Epoch): void {
    if (outcome === 'running') this.restarts.started(this.world.nowMs())
    if (outcome !== 'failed' || this.stopping) {
      if (!this.stopping) this.world.report(outcome, detail, floor)
      return
    }
    this.failure = detail
    const next = this.restarts.ended(this.world.nowMs(), true)
    if (next.action !== 'restart') {
      this.world.report('failed', next.action === 'give_up' ? `${detail} (${next.detail})` : detail, floor)
      return
    }
    this.world.log('warn', 'agent.restarting', { agent: this.spec.name, in_ms: next.delayMs, detail })
    this.timer = setTimeout(() => {
      this.timer = undefined
      void this.again()
    }, next.delayMs)
  }

  private async again(): Promise<void> {
    await this.agent.stop('failed')
    if (this.stopping || !this.world.mayAct(this.lease)) return
    this.agent = this.make()
    await this.agent.start(undefined)
  }

  async stop(why: StopCause): Promise<void> {
    this.stopping = true
    clearTimeout(this.timer)
    await this.agent.stop(why)
  }

  lastState(): HandedState | undefined {
    // Between two tries there is none but the one in the journal.
    return this.timer === undefined && this.agent.startedAtMs > 0 ? this.agent.lastState() : undefined
  }

  movedTo(nodeId: string): void {
    this.hint = nodeId
    this.agent.movedTo(nodeId)
  }

  command(command: string): Promise<unknown> {
    return Promise.reject(
      new SkeinError(
        'invalid_argument',
        `"${command}" is for process agents; "${this.spec.name}" is of kind "${this.spec.kind}"`,
      ),
    )
  }

  local(): LocalAgent {
    const { agent } = this
    return {
      state: this.timer !== undefined ? 'restarting' : agent.state,
      detail: this.timer !== undefined ? this.failure : agent.lastError,
      startedAtMs: agent.startedAtMs,
      restarts: this.restarts.count,
      calls: agent.callCount,
      waitingCalls: agent.waitingCalls,
      turnMs: agent.turnMs,
      pid: 0,
      actedAtMs: agent.actedAtMs,
    }
  }
}
