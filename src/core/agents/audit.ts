/**
 * The auditor of agents: is told which node ran which agent under which epoch and when it last acted, and what the store assigned. Raises an
 * alarm for what correct code cannot do: one epoch run by two leases, a run that was never assigned, and an act after the successor's first.
 * Reports come late and in any order; what it concludes from never changes once it is true.
 */
import type { Epoch, LeaseId, NodeId } from '../kernel/brand.js'

export interface AgentRunReport {
  readonly agent: string
  readonly epoch: Epoch
  readonly nodeId: NodeId
  readonly lease: LeaseId
  /** Wall clock of the node, ms. */
  readonly startedAtMs: number
  /** The last time it did something that others could see, with a live lease; wall clock of the node, ms. */
  readonly actedAtMs: number
}

export interface AgentAlarm {
  readonly rule: 'two_owners' | 'not_assigned' | 'acted_after_successor'
  readonly agent: string
  readonly epoch: Epoch
  readonly detail: string
}

/** Runs remembered of each agent, newest kept; agents, least lately reported first. */
const runsMax = 4
const agentsMax = 100_000
const alarmsMax = 1_000

interface Known {
  runs: AgentRunReport[]
  readonly assigned: Map<Epoch, LeaseId>
}

export class AgentAudit {
  private readonly agents = new Map<string, Known>()
  private readonly raised = new Set<string>()
  /** Clocks of two nodes may differ by this much without anything being wrong, ms. */
  private readonly skewMsMax: number

  constructor(skewMsMax: number) {
    this.skewMsMax = skewMsMax
  }

  /** As the store has it. */
  assigned(agent: string, epoch: Epoch, lease: LeaseId): readonly AgentAlarm[] {
    const alarms: AgentAlarm[] = []
    const known = this.known(agent)
    const before = known.assigned.get(epoch)
    if (before !== undefined && before !== lease)
      this.raise(alarms, 'two_owners', agent, epoch, `assigned to lease ${before} and to lease ${lease}`)
    known.assigned.set(epoch, lease)
    if (known.assigned.size > runsMax) known.assigned.delete(known.assigned.keys().next().value as Epoch)
    for (const run of known.runs) this.compareAssigned(alarms, known, run)
    return alarms
  }

  reported(report: AgentRunReport): readonly AgentAlarm[] {
    const alarms: AgentAlarm[] = []
    const { agent, epoch, lease } = report
    const known = this.known(agent)
    const other = known.runs.find((r) => r.epoch === epoch && r.lease !== lease)
    if (other !== undefined)
      this.raise(
        alarms,
        'two_owners',
        agent,
        epoch,
        `run by ${other.nodeId} under lease ${other.lease} and by ${report.nodeId} under lease ${lease}`,
      )
    const same = known.runs.find((r) => r.epoch === epoch && r.lease === lease)
    const merged =
      same === undefined ? report : { ...report, actedAtMs: Math.max(same.actedAtMs, report.actedAtMs) }
    known.runs = [...known.runs.filter((r) => r !== same), merged]
      .sort((a, b) => a.epoch - b.epoch)
      .slice(-runsMax)
    this.compareAssigned(alarms, known, merged)
    this.compareOrder(alarms, known)
    return alarms
  }

  private compareAssigned(alarms: AgentAlarm[], known: Known, run: AgentRunReport): void {
    const to = known.assigned.get(run.epoch)
    if (to !== undefined && to !== run.lease)
      this.raise(
        alarms,
        'not_assigned',
        run.agent,
        run.epoch,
        `${run.nodeId} runs it under lease ${run.lease}; it was assigned to lease ${to}`,
      )
  }

  private compareOrder(alarms: AgentAlarm[], { runs }: Known): void {
    for (let i = 1; i < runs.length; i++) {
      const before = runs[i - 1] as AgentRunReport
      const after = runs[i] as AgentRunReport
      const lateMs = before.actedAtMs - after.startedAtMs
      const allowedMs = before.nodeId === after.nodeId ? 0 : this.skewMsMax
      if (before.epoch < after.epoch && lateMs > allowedMs)
        this.raise(
          alarms,
          'acted_after_successor',
          after.agent,
          before.epoch,
          `${before.nodeId} acted ${lateMs} ms after ${after.nodeId} had started it under epoch ${after.epoch}`,
        )
    }
  }

  private known(agent: string): Known {
    const known = this.agents.get(agent) ?? { runs: [], assigned: new Map<Epoch, LeaseId>() }
    this.agents.delete(agent)
    this.agents.set(agent, known)
    if (this.agents.size > agentsMax) this.agents.delete(this.agents.keys().next().value as string)
    return known
  }

  private raise(
    alarms: AgentAlarm[],
    rule: AgentAlarm['rule'],
    agent: string,
    epoch: Epoch,
    detail: string,
  ): void {
    const key = `${rule}/${agent}/${epoch}`
    if (this.raised.has(key) || this.raised.size >= alarmsMax) return
    this.raised.add(key)
    alarms.push({ rule, agent, epoch, detail })
  }
}
