/** What a program is told about agents, and what it may ask for. Types only. */
import type { HookSpec, ProcessPart, RestartPolicy } from '../../core/agents/records.js'
import type { Strategy } from '../../core/balancing/balancer.js'
import type { Constraints } from '../../core/balancing/candidate.js'
import type { NodeId } from '../../core/kernel/brand.js'
import type { AgentProxy, AnyAgentDefinition, Handlers } from './definition.js'

// biome-ignore lint/suspicious/noExplicitAny: of whatever state
type AnyState = any

export type AgentState =
  | 'pending'
  | 'starting'
  | 'running'
  | 'migrating'
  | 'paused'
  | 'stopping'
  | 'stopped'
  | 'failed'
  | 'orphaned'

export interface AgentView {
  readonly name: string
  /** `process`, or the kind of its definition. */
  readonly kind: string
  readonly state: AgentState
  /** Why it is in that state, for people; may be empty. */
  readonly detail: string
  /** Null while nobody runs it. */
  readonly nodeId: NodeId | null
  /** Where it is moving. */
  readonly target: NodeId | null
  /** Rises with each assignment; 0 before the first. */
  readonly epoch: number
  readonly assignedAtMs: number
  readonly createdAtMs: number
  /** The strategy that placed it, or `orphan`, `migrate`, `drain`, `leaving`, `rebalance`, `standby`. */
  readonly placedBy: string
  /** Its own; null for the cluster's. */
  readonly strategy: Strategy | null
  readonly services: readonly string[]
  readonly constraints: Constraints
  readonly restart: RestartPolicy
  readonly process: ProcessPart | null
  readonly config: unknown
  /** As its node says; 0 where it did not answer. */
  readonly startedAtMs: number
  readonly restarts: number
  readonly calls: number
  readonly waitingCalls: number
  readonly turnMs: number
  readonly pid: number
}

export interface PlaceOptions {
  /** JSON, for the agent's first start. */
  readonly config?: unknown
  readonly strategy?: Strategy
  /** Services that its node must offer. */
  readonly services?: readonly string[]
  readonly constraints?: Constraints
  readonly restart?: Partial<RestartPolicy>
  /** How long to wait until a node has it, ms; 0 not to wait. Default 5000. */
  readonly timeoutMs?: number
}

export interface AgentInput extends PlaceOptions {
  readonly name: string
  /** Default `process`. */
  readonly kind?: string
  readonly command?: string
  readonly args?: readonly string[]
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
  readonly stopGraceMs?: number
  readonly saveHook?: HookSpec
  readonly loadHook?: HookSpec
}

export interface ScoredNode {
  readonly nodeId: NodeId
  /** Lower is preferred; null where chance or the turn decides. */
  readonly score: number | null
  /** Why it may not be given it; empty when it may. */
  readonly reasons: readonly string[]
  readonly agents: number
  readonly maxAgents: number
  readonly load: number
}

export interface Explanation {
  readonly agent: string
  readonly strategy: Strategy
  /** Where it is now. */
  readonly nodeId: NodeId | null
  readonly placedBy: string
  /** The preferred first. */
  readonly candidates: readonly ScoredNode[]
}

export interface PlannedMove {
  readonly agent: string
  readonly from: NodeId
  readonly to: NodeId
  readonly why: string
}

export interface OutputView {
  readonly seq: number
  readonly stream: 'stdout' | 'stderr'
  readonly text: string
  readonly atMs: number
  readonly epoch: number
}

/**
 * Errors: `invalid_argument` (what, where, what is allowed), `not_found`, `conflict` (exists with another definition; ended), `overloaded`,
 * `timeout`, `unavailable` (store), `forbidden` (processes where no node allows them).
 */
export interface AgentsApi {
  /** Lets this node run agents of that kind. */
  define(definition: AnyAgentDefinition): void
  /** Makes it unless it exists, and waits until a node has it. The same name with another kind: `conflict`. */
  place<H extends Handlers<AnyState>>(
    definition: AnyAgentDefinition<H>,
    name: string,
    options?: PlaceOptions,
  ): Promise<AgentView>
  /** Calls, typed, from any node to wherever it is. */
  get<H extends Handlers<AnyState>>(
    definition: AnyAgentDefinition<H>,
    name: string,
    options?: { readonly timeoutMs?: number },
  ): AgentProxy<H>
  /** In order per node and agent; carried out once, however often it had to be sent. Default time limit 10 s. */
  call(
    name: string,
    method: string,
    args: readonly unknown[],
    options?: { readonly timeoutMs?: number },
  ): Promise<unknown>
  /** `conflict` where the name is taken. */
  create(input: AgentInput): Promise<AgentView>
  /** In order of name, with what their nodes say of them. */
  list(): Promise<readonly AgentView[]>
  show(name: string): Promise<AgentView>
  /** Stops it for good and forgets its state. Resolves when it is gone. */
  remove(name: string, options?: { readonly timeoutMs?: number }): Promise<void>
  /** To that node, or where the balancer thinks. Resolves when it is there. `conflict` says why it cannot go there. */
  migrate(name: string, options?: { readonly to?: NodeId; readonly timeoutMs?: number }): Promise<AgentView>
  pause(name: string): Promise<AgentView>
  resume(name: string): Promise<AgentView>
  /** One that has ended, or runs: begins anew, from its last state. */
  restart(name: string): Promise<AgentView>
  /** Of a process agent: kill, send_input `{text}`, get_state, send_signal `{signal}`. */
  command(name: string, command: string, data?: unknown): Promise<unknown>
  /** Of a process agent: lines after `afterSeq`, or the last ones; waits up to `waitMs` for the first. */
  output(
    name: string,
    query?: { readonly afterSeq?: number; readonly limit?: number; readonly waitMs?: number },
  ): Promise<readonly OutputView[]>
  /** An external node tells how an agent of its own is doing. `conflict` for another epoch than the present one. */
  report(
    name: string,
    report: {
      readonly epoch: number
      readonly status: 'running' | 'stopped' | 'completed' | 'failed'
      readonly detail?: string
    },
  ): Promise<void>
  /** Of agents on that node: those that no other node could take, and why. */
  blockers(nodeId: NodeId): readonly { readonly agent: string; readonly reason: string }[]
  /** Why it is where it is, or nowhere: every node with its score or its reasons. */
  why(name: string): Promise<Explanation>
}

export interface BalancerApi {
  readonly strategy: Strategy
  /** Places chosen by turn so far, on this node. */
  readonly roundRobinIndex: number
  /** For the whole cluster, at once. `invalid_argument` for what is no strategy. */
  setStrategy(strategy: string): Promise<void>
  /** A node for work of the caller's own, by the cluster's strategy or another; null when none is fit. */
  select(query?: {
    readonly service?: string
    readonly services?: readonly string[]
    readonly constraints?: Constraints
    readonly strategy?: Strategy
    readonly name?: string
    readonly kind?: string
  }): NodeId | null
  /** Who would move, and why, if that were the strategy. */
  plan(options?: { readonly strategy?: Strategy; readonly movesMax?: number }): readonly PlannedMove[]
  /** Moves what the plan says; resolves with it when the moves are asked for. */
  rebalance(options?: { readonly movesMax?: number }): Promise<readonly PlannedMove[]>
}
