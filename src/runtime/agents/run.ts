/** What the runner knows of an agent that runs here, whatever its kind. */
import type { AgentEnd, AgentSpec } from '../../core/agents/records.js'
import type { Epoch } from '../../core/kernel/brand.js'
import type { HandedState } from './defined-agent.js'
import type { StopCause } from './definition.js'
import type { CallFrame, CallReply } from './frames.js'

export type Report = (outcome: 'running' | AgentEnd['outcome'], detail: string, floor: Epoch) => void

export interface LocalAgent {
  readonly state: 'starting' | 'running' | 'restarting' | 'paused' | 'stopping'
  readonly detail: string
  /** Wall clock, ms; 0 before. */
  readonly startedAtMs: number
  readonly restarts: number
  /** Of defined agents: carried out here, waiting, and how long the present one has run, ms. */
  readonly calls: number
  readonly waitingCalls: number
  readonly turnMs: number
  /** Of process agents; 0 for none. */
  readonly pid: number
  /** When it last did something that others could see, wall clock, ms; 0 before, and where that is not known (processes). */
  readonly actedAtMs: number
}

export interface AgentRun {
  /** Reports how it went; never rejects. */
  start(handed: HandedState | undefined): Promise<void>
  /** What is wanted of it changed. */
  update(spec: AgentSpec): void
  call(frame: CallFrame): Promise<CallReply>
  /** Commands of its stream: pause, resume, kill, send_input, get_state, send_signal, output. */
  command(command: string, data: unknown): Promise<unknown>
  /** Resolves when nothing of it runs here. Idempotent. */
  stop(why: StopCause): Promise<void>
  /** After `stop`: what the next owner may start from; undefined where it is to read the journal. */
  lastState(): HandedState | undefined
  movedTo(nodeId: string): void
  local(): LocalAgent
}
