/**
 * All agents, as this node's copy of the store has them, indexed by name and by owner. Follows the watch key by key, so that a cluster
 * with many agents costs a change what the change is worth. Who reads it also learns which names changed.
 */
import type { LeaseId, Revision } from '../kernel/brand.js'
import type { KeyValue, WatchBatch } from '../kernel/store-types.js'
import {
  type AgentEnd,
  type AgentSpec,
  type Assignment,
  agentsPrefix,
  atPrefix,
  decodeAssignment,
  decodeEnd,
  decodeSpec,
  endPrefix,
  specPrefix,
} from './records.js'

export interface AgentEntry {
  readonly name: string
  spec: AgentSpec | undefined
  specRev: Revision
  at: Assignment | undefined
  atRev: Revision
  end: AgentEnd | undefined
  endRev: Revision
}

/** The end counts for the run under the present epoch only. */
export function endOf(entry: AgentEntry): AgentEnd | undefined {
  return entry.end !== undefined && entry.end.epoch === entry.at?.epoch ? entry.end : undefined
}

/** It has an owner and has not ended: it takes up a place. */
export function isActive(entry: AgentEntry): entry is AgentEntry & { readonly at: Assignment } {
  return entry.at !== undefined && endOf(entry) === undefined
}

export class AgentTable {
  readonly entries = new Map<string, AgentEntry>()
  private readonly ofLease = new Map<LeaseId, Set<string>>()
  private readonly listeners: ((name: string) => void)[] = []

  /** Told each name whose keys changed. */
  onChange(listener: (name: string) => void): void {
    this.listeners.push(listener)
  }

  get(name: string): AgentEntry | undefined {
    return this.entries.get(name)
  }

  /** Names assigned to a lease, ended ones included. */
  namesOf(lease: LeaseId): ReadonlySet<string> {
    return this.ofLease.get(lease) ?? nobody
  }

  /** All leases that something is assigned to. */
  leases(): IterableIterator<LeaseId> {
    return this.ofLease.keys()
  }

  reset(kvs: readonly KeyValue[]): void {
    const before = new Set(this.entries.keys())
    this.entries.clear()
    this.ofLease.clear()
    for (const kv of kvs) if (kv.key.startsWith(agentsPrefix)) this.put(kv)
    for (const name of new Set([...before, ...this.entries.keys()])) this.tell(name)
  }

  apply(batch: WatchBatch): void {
    for (const event of batch.events) {
      const key = event.type === 'put' ? event.kv.key : event.key
      if (!key.startsWith(agentsPrefix)) continue
      const name = event.type === 'put' ? this.put(event.kv) : this.remove(event.key, event.modRev)
      if (name !== undefined) this.tell(name)
    }
  }

  private put(kv: KeyValue): string | undefined {
    const { key, modRev } = kv
    if (key.startsWith(specPrefix)) {
      const entry = this.entry(key.slice(specPrefix.length))
      if (modRev <= entry.specRev) return undefined
      entry.spec = decodeSpec(kv)
      entry.specRev = modRev
      return entry.name
    }
    if (key.startsWith(atPrefix)) {
      const entry = this.entry(key.slice(atPrefix.length))
      if (modRev <= entry.atRev) return undefined
      this.assign(entry, decodeAssignment(kv))
      entry.atRev = modRev
      return entry.name
    }
    if (!key.startsWith(endPrefix)) return undefined
    const entry = this.entry(key.slice(endPrefix.length))
    if (modRev <= entry.endRev) return undefined
    entry.end = decodeEnd(kv)
    entry.endRev = modRev
    return entry.name
  }

  /** Revisions of what is gone count as 0: that is what a compare expects. The watch delivers in order. */
  private remove(key: string, rev: Revision): string | undefined {
    const [prefix, what] = key.startsWith(specPrefix)
      ? ([specPrefix, 'spec'] as const)
      : key.startsWith(atPrefix)
        ? ([atPrefix, 'at'] as const)
        : ([endPrefix, 'end'] as const)
    const entry = key.startsWith(prefix) ? this.entries.get(key.slice(prefix.length)) : undefined
    if (entry === undefined || entry[`${what}Rev`] > rev) return undefined
    if (what === 'at') this.assign(entry, undefined)
    else entry[what] = undefined
    entry[`${what}Rev`] = 0n
    if (entry.spec === undefined && entry.at === undefined && entry.end === undefined)
      this.entries.delete(entry.name)
    return entry.name
  }

  private entry(name: string): AgentEntry {
    let entry = this.entries.get(name)
    if (entry === undefined) {
      entry = { name, spec: undefined, specRev: 0n, at: undefined, atRev: 0n, end: undefined, endRev: 0n }
      this.entries.set(name, entry)
    }
    return entry
  }

  private assign(entry: AgentEntry, at: Assignment | undefined): void {
    const { name } = entry
    if (entry.at?.lease !== at?.lease) {
      if (entry.at !== undefined) {
        const names = this.ofLease.get(entry.at.lease)
        names?.delete(name)
        if (names?.size === 0) this.ofLease.delete(entry.at.lease)
      }
      if (at !== undefined) {
        const names = this.ofLease.get(at.lease)
        if (names === undefined) this.ofLease.set(at.lease, new Set([name]))
        else names.add(name)
      }
    }
    entry.at = at
  }

  private tell(name: string): void {
    for (const listener of this.listeners) listener(name)
  }
}

const nobody: ReadonlySet<string> = new Set()
