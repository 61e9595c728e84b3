/** Main's copy of all agents, as control reports them, and those who wait for one to change. */
import type { AgentEntry } from '../../core/agents/table.js'
import { endOf, isActive } from '../../core/agents/table.js'
import type { LeaseId, NodeId } from '../../core/kernel/brand.js'

export class AgentDirectory {
  private readonly entries = new Map<string, AgentEntry>()
  private readonly counts = new Map<NodeId, number>()
  private readonly waiting = new Map<string, Set<() => void>>()
  private readonly listeners: ((name: string) => void)[] = []

  /** Told each name that changed. */
  onChange(listener: (name: string) => void): void {
    this.listeners.push(listener)
  }

  update(reset: boolean, entries: readonly AgentEntry[]): void {
    const named = new Set(entries.map((e) => e.name))
    if (reset) for (const name of [...this.entries.keys()]) if (!named.has(name)) this.set(name, undefined)
    for (const e of entries)
      this.set(e.name, e.spec === undefined && e.at === undefined && e.end === undefined ? undefined : e)
  }

  get(name: string): AgentEntry | undefined {
    return this.entries.get(name)
  }

  /** In order of name. */
  list(): AgentEntry[] {
    return [...this.entries.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  /** In no order. */
  values(): IterableIterator<AgentEntry> {
    return this.entries.values()
  }

  get size(): number {
    return this.entries.size
  }

  /** Agents that take up a place on that node. */
  agentsOf(nodeId: NodeId): number {
    return this.counts.get(nodeId) ?? 0
  }

  get activeCount(): number {
    let total = 0
    for (const count of this.counts.values()) total += count
    return total
  }

  /** Who runs it, while it has not ended. */
  owner(
    name: string,
  ): { readonly nodeId: NodeId; readonly lease: LeaseId; readonly epoch: number } | undefined {
    const entry = this.entries.get(name)
    return entry !== undefined && isActive(entry) ? entry.at : undefined
  }

  hasEnded(name: string): boolean {
    const entry = this.entries.get(name)
    return entry !== undefined && endOf(entry) !== undefined
  }

  /** Resolves at the next change of that name, or after so long. */
  changed(name: string, afterMs: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const waiters = this.waiting.get(name) ?? new Set()
      this.waiting.set(name, waiters)
      const done = (): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', done)
        waiters.delete(done)
        if (waiters.size === 0 && this.waiting.get(name) === waiters) this.waiting.delete(name)
        resolve()
      }
      const timer = setTimeout(done, afterMs)
      timer.unref()
      signal?.addEventListener('abort', done)
      waiters.add(done)
    })
  }

  private set(name: string, entry: AgentEntry | undefined): void {
    const before = this.entries.get(name)
    if (before !== undefined && isActive(before)) this.count(before.at.nodeId, -1)
    if (entry === undefined) this.entries.delete(name)
    else {
      this.entries.set(name, entry)
      if (isActive(entry)) this.count(entry.at.nodeId, 1)
    }
    for (const wake of [...(this.waiting.get(name) ?? [])]) wake()
    for (const listener of this.listeners) listener(name)
  }

  private count(nodeId: NodeId, by: number): void {
    const count = (this.counts.get(nodeId) ?? 0) + by
    if (count === 0) this.counts.delete(nodeId)
    else this.counts.set(nodeId, count)
  }
}
