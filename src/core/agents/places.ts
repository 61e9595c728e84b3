/**
 * How many agents each lease has or was promised. Kept up to date by name, so that a decision that is on its way to the store counts at
 * once and one that failed can be taken back.
 */
import type { LeaseId } from '../kernel/brand.js'
import { type AgentEntry, isActive } from './table.js'

interface Counted {
  readonly owner: LeaseId | null
  readonly to: LeaseId | null
}

export class Places {
  private readonly onCount: (lease: LeaseId, agents: number) => void
  private readonly counted = new Map<string, Counted>()
  private readonly agents = new Map<LeaseId, number>()
  private readonly leaving = new Map<LeaseId, number>()
  /** Asked to move. */
  readonly moving = new Set<string>()

  /** `onCount` is told every new count. */
  constructor(onCount: (lease: LeaseId, agents: number) => void = () => undefined) {
    this.onCount = onCount
  }

  /** Has, or will be handed. */
  agentsOf(lease: LeaseId): number {
    return this.agents.get(lease) ?? 0
  }

  /** Of those, asked to hand over. */
  leavingOf(lease: LeaseId): number {
    return this.leaving.get(lease) ?? 0
  }

  /** As the table has it. */
  follow(name: string, entry: AgentEntry | undefined): void {
    if (entry === undefined || !isActive(entry)) this.count(name, null, null)
    else this.count(name, entry.at.lease, entry.at.to?.lease ?? null)
  }

  count(name: string, owner: LeaseId | null, to: LeaseId | null): void {
    const before = this.counted.get(name)
    if (before !== undefined) {
      if (before.owner === owner && before.to === to) return
      this.countAgents(before.owner, -1)
      this.countAgents(before.to, -1)
      if (before.to !== null) add(this.leaving, before.owner, -1)
    }
    if (owner === null || to === null) this.moving.delete(name)
    else this.moving.add(name)
    if (owner === null) {
      this.counted.delete(name)
      return
    }
    this.counted.set(name, { owner, to })
    this.countAgents(owner, 1)
    this.countAgents(to, 1)
    if (to !== null) add(this.leaving, owner, 1)
  }

  private countAgents(lease: LeaseId | null, by: number): void {
    if (lease !== null) this.onCount(lease, add(this.agents, lease, by))
  }
}

function add(counts: Map<LeaseId, number>, lease: LeaseId | null, by: number): number {
  if (lease === null) return 0
  const count = (counts.get(lease) ?? 0) + by
  if (count === 0) counts.delete(lease)
  else counts.set(lease, count)
  return count
}
