/** Agents as the contract's JSON. Pure. */
import type { AgentView, Explanation, NodeView } from '../runtime/node-api.js'
import type { AgentJson } from './agent-contract.js'

function timeText(ms: number): string | null {
  return ms > 0 ? new Date(ms).toISOString() : null
}

export function agentJson(a: AgentView): AgentJson {
  const { notNodes, ...constraints } = a.constraints
  return {
    name: a.name,
    kind: a.kind,
    status: a.state,
    detail: a.detail,
    node_id: a.nodeId,
    target: a.target,
    epoch: a.epoch,
    assigned_at: timeText(a.assignedAtMs),
    created_at: timeText(a.createdAtMs),
    started_at: timeText(a.startedAtMs),
    placed_by: a.placedBy,
    strategy: a.strategy,
    services: [...a.services],
    constraints: { ...constraints, ...(notNodes === undefined ? {} : { not_nodes: notNodes }) },
    restart: {
      mode: a.restart.mode,
      backoff_min_ms: a.restart.backoffMinMs,
      backoff_max_ms: a.restart.backoffMaxMs,
      tries_max: a.restart.triesMax,
      window_ms: a.restart.windowMs,
    },
    command: a.process?.command ?? null,
    args: [...(a.process?.args ?? [])],
    env: Object.keys(a.process?.env ?? {}).sort(),
    cwd: a.process?.cwd ?? null,
    config: a.config,
    restarts: a.restarts,
    pid: a.pid,
    calls: a.calls,
    waiting_calls: a.waitingCalls,
    turn_ms: Math.round(a.turnMs),
  }
}

export function explanationJson(why: Explanation) {
  return {
    agent: why.agent,
    strategy: why.strategy,
    node_id: why.nodeId,
    placed_by: why.placedBy,
    candidates: why.candidates.map((c) => ({
      node_id: c.nodeId,
      score: c.score === null ? null : Math.round(c.score * 1_000) / 1_000,
      reasons: [...c.reasons],
      agents: c.agents,
      max_agents: c.maxAgents,
      load: Math.round(c.load * 100) / 100,
    })),
    count: why.candidates.length,
  }
}

export function assignmentJson(a: AgentView, node: NodeView | undefined) {
  return {
    agent_name: a.name,
    node_id: a.nodeId as string,
    assigned_at: timeText(a.assignedAtMs),
    status: a.state,
    epoch: a.epoch,
    valid_for_ms: node === undefined || node.validForMs === null ? null : Math.floor(node.validForMs),
    kind: a.kind,
    target: a.target,
    command: a.process?.command ?? null,
    args: [...(a.process?.args ?? [])],
    config: a.config,
  }
}
