/** Agents as others see them: what is wanted, where it is, and how it is doing, as far as its node answered. */

import type { AgentEntry } from '../../core/agents/table.js'
import { endOf } from '../../core/agents/table.js'
import type { NodeView } from '../node-api.js'
import type { AgentState, AgentView } from './api-types.js'
import type { LocalAgent } from './run.js'
import { type AgentSpec, restartDefaultsOf } from './spec.js'

export interface ViewWorld {
  node(id: string): NodeView | undefined
  /** How it is doing on its node; undefined where that was not asked or did not answer. */
  local(name: string): (LocalAgent & { readonly epoch: number }) | undefined
}

export function agentView(entry: AgentEntry, world: ViewWorld): AgentView {
  const spec = entry.spec as AgentSpec
  const { at } = entry
  const end = endOf(entry)
  const local = at === undefined ? undefined : world.local(entry.name)
  const current = local?.epoch === at?.epoch ? local : undefined
  const { state, detail } = stateOf(entry, world, current)
  return {
    name: entry.name,
    kind: spec.kind,
    state,
    detail,
    nodeId: end === undefined ? (at?.nodeId ?? null) : null,
    target: at?.to?.nodeId ?? null,
    epoch: at?.epoch ?? 0,
    assignedAtMs: at?.assignedAtMs ?? 0,
    createdAtMs: spec.createdAtMs,
    placedBy: at?.by ?? '',
    strategy: spec.strategy ?? null,
    services: spec.services,
    constraints: spec.constraints,
    restart: restartDefaultsOf(spec),
    process: spec.process ?? null,
    config: spec.config ?? null,
    startedAtMs: current?.startedAtMs ?? 0,
    restarts: current?.restarts ?? 0,
    calls: current?.calls ?? 0,
    waitingCalls: current?.waitingCalls ?? 0,
    turnMs: current?.turnMs ?? 0,
    pid: current?.pid ?? 0,
  }
}

export function stateOf(
  entry: AgentEntry,
  world: Pick<ViewWorld, 'node'>,
  local: LocalAgent | undefined,
): { readonly state: AgentState; readonly detail: string } {
  const { spec, at } = entry
  const end = endOf(entry)
  if (spec?.desired === 'removed') return { state: 'stopping', detail: 'being removed' }
  if (at === undefined) return { state: 'pending', detail: 'no node has been found for it yet' }
  if (end !== undefined) {
    if (end.outcome === 'failed') return { state: 'failed', detail: end.detail }
    if (end.outcome === 'refused')
      return { state: 'pending', detail: `${at.nodeId} could not run it: ${end.detail}` }
    return { state: 'stopped', detail: end.detail }
  }
  const node = world.node(at.nodeId)
  if (node === undefined || node.status === 'offline')
    return {
      state: 'orphaned',
      detail: `its node ${at.nodeId} is ${node === undefined ? 'gone' : 'offline'}`,
    }
  if (at.to !== null) return { state: 'migrating', detail: `to ${at.to.nodeId} (${at.by})` }
  if (spec?.desired === 'paused') return { state: 'paused', detail: '' }
  if (local === undefined) return { state: 'running', detail: '' }
  if (local.state === 'restarting') return { state: 'starting', detail: `starts again: ${local.detail}` }
  return { state: local.state, detail: local.detail }
}
