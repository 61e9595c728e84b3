/** What the dashboard asks and does about agents, the balancer and maintenance of nodes. Only paths and shapes of the HTTP contract. */
import type { z } from 'zod'
import type {
  AgentJson,
  balancedSchema,
  explanationSchema,
  logsSchema,
  rebalancedSchema,
  whyNotSchema,
} from '../../src/http/agent-contract.js'
import type { dryRunSchema, OperationJson, promotedSchema, statsSchema } from '../../src/http/contract.js'
import { deleteJson, getJson, postJson } from './http-client.js'

export type { AgentJson }
export type AgentWhyJson = z.infer<typeof explanationSchema>
export type CandidateJson = AgentWhyJson['candidates'][number]
export type WhyNotJson = z.infer<typeof whyNotSchema>
export type MoveJson = z.infer<typeof rebalancedSchema>['moves'][number]
export type DrainPlanJson = z.infer<typeof dryRunSchema>
export type OutputLineJson = z.infer<typeof logsSchema>['lines'][number]

/** More than this is not shown, and said to be left out. */
export const agentsShownMax = 10_000
export const movesShownMax = 1_000

export interface AgentPage {
  readonly agents: readonly AgentJson[]
  readonly total: number
}

function agentPath(name: string, rest = ''): string {
  return `api/agents/${encodeURIComponent(name)}${rest}`
}

function nodePath(id: string, rest: string): string {
  return `api/cluster/nodes/${encodeURIComponent(id)}/${rest}`
}

export function fetchAgents(): Promise<AgentPage> {
  return getJson(`api/agents?limit=${agentsShownMax}`)
}

export async function fetchAgentsOf(nodeId: string): Promise<readonly AgentJson[]> {
  const { agents } = await getJson<AgentPage>(
    `api/agents?node_id=${encodeURIComponent(nodeId)}&limit=${agentsShownMax}`,
  )
  return agents
}

export function fetchAgent(name: string): Promise<AgentJson> {
  return getJson(agentPath(name))
}

export function fetchAgentWhy(name: string): Promise<AgentWhyJson> {
  return getJson(agentPath(name, '/why'))
}

export function fetchAgentWhyNot(name: string, nodeId: string): Promise<WhyNotJson> {
  return getJson(agentPath(name, `/why-not?node=${encodeURIComponent(nodeId)}`))
}

/** Server-sent events `output`, `status`, `error`. */
export function agentStreamPath(name: string): string {
  return agentPath(name, '/stream')
}

/** Resolves when it is there. */
export function migrateAgent(name: string, nodeId: string): Promise<AgentJson> {
  return postJson(agentPath(name, '/migrate'), { node_id: nodeId })
}

export function actOnAgent(name: string, action: 'pause' | 'resume' | 'restart'): Promise<AgentJson> {
  return postJson(agentPath(name, `/${action}`))
}

/** Stops it for good; resolves when it is gone. */
export function removeAgent(name: string): Promise<unknown> {
  return deleteJson(agentPath(name))
}

export async function fetchStrategy(): Promise<string> {
  const { balancer } = await getJson<z.infer<typeof statsSchema>>('api/cluster/stats')
  return balancer.strategy
}

export async function previewStrategy(strategy: string): Promise<readonly MoveJson[]> {
  const plan = await postJson<z.infer<typeof rebalancedSchema>>('api/cluster/rebalance', {
    dry_run: true,
    strategy,
    moves_max: movesShownMax,
  })
  return plan.moves
}

export async function chooseStrategy(strategy: string): Promise<void> {
  await postJson<z.infer<typeof balancedSchema>>('api/cluster/balance', { strategy })
}

/** Resolves with the moves when they are asked for; they are carried out one after the other. */
export async function rebalance(): Promise<readonly MoveJson[]> {
  const done = await postJson<z.infer<typeof rebalancedSchema>>('api/cluster/rebalance', {
    moves_max: movesShownMax,
  })
  return done.moves
}

export function planDrain(nodeId: string): Promise<DrainPlanJson> {
  return postJson(nodePath(nodeId, 'drain'), { dry_run: true })
}

export function drainNode(nodeId: string, deadlineSeconds: number): Promise<OperationJson> {
  return postJson(nodePath(nodeId, 'drain'), { deadline: deadlineSeconds })
}

export function cordonNode(nodeId: string, isCordoned: boolean): Promise<OperationJson> {
  return postJson(nodePath(nodeId, isCordoned ? 'cordon' : 'uncordon'))
}

export function removeNode(id: string): Promise<unknown> {
  return deleteJson(`api/cluster/nodes/${encodeURIComponent(id)}`)
}

/** The node that serves this page. */
export function leadHere(): Promise<z.infer<typeof promotedSchema>> {
  return postJson('api/cluster/leader')
}

export function stepDown(): Promise<unknown> {
  return deleteJson('api/cluster/leader')
}

export async function fetchOperations(): Promise<readonly OperationJson[]> {
  const { operations } = await getJson<{ operations: OperationJson[] }>('api/cluster/operations')
  return operations
}

export function cancelOperation(id: string): Promise<OperationJson> {
  return deleteJson(`api/cluster/operations/${encodeURIComponent(id)}`)
}
