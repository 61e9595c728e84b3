/**
 * All agents, as this node's copy of the store has them, indexed by name and by owner. Follows the watch key by key, so that a cluster
 * with many agents costs a change what the change is worth. Who reads it also learns which names changed.
 */
import type { LeaseId, Revision } from '../kernel/brand.js'
import type { Compare, KeyValue, WatchBatch } from '../kernel/store-types.js'
import {
  type AgentEnd,
  type AgentSpec,
  type Assignment,
  agentsPrefix,
  atKey,
  atPrefix,
  decodeAssignment,
  decodeEnd,
  decodePack,
  decodeSpec,
  endPrefix,
  type Packed,
  packPrefix,
  specKey,
  specPrefix,
} from './records.js'

export interface AgentEntry {
  readonly name: string
  spec: AgentSpec | undefined
  specRev: Revision
  /** At which the description was created; 0 where there is none. */
  madeRev: Revision
  at: Assignment | undefined
  /** Of its own key, whether or not `at` is from there. */
  atRev: Revision
  /** The pack that `at` is from; empty where it is from its own key. */
  pack: string
  end: AgentEnd | undefined
  endRev: Revision
}

export function emptyEntry(name: string): AgentEntry {
  return {
    name,
    spec: undefined,
    specRev: 0n,
    madeRev: 0n,
    at: undefined,
    atRev: 0n,
    pack: '',
    end: undefined,
    endRev: 0n,
  }
}

/** The end counts for the run under the present epoch only. */
export function endOf(entry: AgentEntry): AgentEnd | undefined {
  return entry.end !== undefined && entry.end.epoch === entry.at?.epoch ? entry.end : undefined
}

/** It has an owner and has not ended: it takes up a place. */
export function isActive(entry: AgentEntry): entry is AgentEntry & { readonly at: Assignment } {
  return entry.at !== undefined && endOf(entry) === undefined
}

/** Holds as long as its assignment is what this entry says. */
export function assignmentHolds({ name, atRev, pack, madeRev }: AgentEntry): Compare[] {
  const at: Compare = { key: atKey(name), target: 'modRev', op: '=', value: atRev }
  return pack === '' ? [at] : [at, { key: specKey(name), target: 'createRev', op: '=', value: madeRev }]
}

interface InPack {
  readonly pack: string
  readonly packed: Packed
}

/** Of a name that is in some pack. */
interface Sources {
  /** By its own key. */
  own: Assignment | undefined
  readonly packs: InPack[]
}

export interface Pack {
  readonly rev: Revision
  readonly packed: readonly Packed[]
}

export class AgentTable {
  readonly entries = new Map<string, AgentEntry>()
  readonly packs = new Map<string, Pack>()
  private readonly sources = new Map<string, Sources>()
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
    this.packs.clear()
    this.sources.clear()
    for (const kv of kvs) if (kv.key.startsWith(agentsPrefix)) this.put(kv)
    for (const name of new Set([...before, ...this.entries.keys()])) this.tell(name)
  }

  apply(batch: WatchBatch): void {
    for (const event of batch.events) {
      const key = event.type === 'put' ? event.kv.key : event.key
      if (!key.startsWith(agentsPrefix)) continue
      const names = event.type === 'put' ? this.put(event.kv) : this.remove(event.key, event.modRev)
      for (const name of names) this.tell(name)
    }
  }

  private put(kv: KeyValue): readonly string[] {
    const { key, modRev } = kv
    if (key.startsWith(packPrefix)) {
      if (modRev <= (this.packs.get(key)?.rev ?? 0n)) return []
      return this.repack(key, { rev: modRev, packed: decodePack(kv) })
    }
    if (key.startsWith(specPrefix)) {
      const entry = this.entry(key.slice(specPrefix.length))
      if (modRev <= entry.specRev) return []
      entry.spec = decodeSpec(kv)
      entry.specRev = modRev
      entry.madeRev = kv.createRev
      this.settle(entry)
      return [entry.name]
    }
    if (key.startsWith(atPrefix)) {
      const entry = this.entry(key.slice(atPrefix.length))
      if (modRev <= entry.atRev) return []
      entry.atRev = modRev
      this.assignOwn(entry, decodeAssignment(kv))
      return [entry.name]
    }
    if (!key.startsWith(endPrefix)) return []
    const entry = this.entry(key.slice(endPrefix.length))
    if (modRev <= entry.endRev) return []
    entry.end = decodeEnd(kv)
    entry.endRev = modRev
    return [entry.name]
  }

  /** Revisions of what is gone count as 0: that is what a compare expects. The watch delivers in order. */
  private remove(key: string, rev: Revision): readonly string[] {
    if (key.startsWith(packPrefix)) return this.repack(key, undefined)
    const [prefix, what] = key.startsWith(specPrefix)
      ? ([specPrefix, 'spec'] as const)
      : key.startsWith(atPrefix)
        ? ([atPrefix, 'at'] as const)
        : ([endPrefix, 'end'] as const)
    const entry = key.startsWith(prefix) ? this.entries.get(key.slice(prefix.length)) : undefined
    if (entry === undefined || entry[`${what}Rev`] > rev) return []
    entry[`${what}Rev`] = 0n
    if (what === 'at') this.assignOwn(entry, undefined)
    else entry[what] = undefined
    if (what === 'spec') {
      entry.madeRev = 0n
      this.settle(entry)
    }
    if (entry.spec === undefined && entry.at === undefined && entry.end === undefined)
      this.entries.delete(entry.name)
    return [entry.name]
  }

  /** Replaces what is in a pack. Names whose assignment may differ. */
  private repack(key: string, pack: Pack | undefined): readonly string[] {
    const names = new Set<string>()
    for (const { name } of this.packs.get(key)?.packed ?? []) {
      names.add(name)
      const sources = this.sources.get(name)
      const at = sources?.packs.findIndex((p) => p.pack === key) ?? -1
      if (at >= 0) sources?.packs.splice(at, 1)
    }
    if (pack === undefined) this.packs.delete(key)
    else this.packs.set(key, pack)
    for (const packed of pack?.packed ?? []) {
      const { name } = packed
      names.add(name)
      const sources = this.sources.get(name)
      if (sources !== undefined) sources.packs.push({ pack: key, packed })
      else this.sources.set(name, { own: this.entries.get(name)?.at, packs: [{ pack: key, packed }] })
    }
    for (const name of names) {
      const entry = this.entries.get(name)
      if (entry !== undefined) this.settle(entry)
      if (this.sources.get(name)?.packs.length === 0) this.sources.delete(name)
    }
    return [...names]
  }

  private assignOwn(entry: AgentEntry, at: Assignment | undefined): void {
    const sources = this.sources.get(entry.name)
    if (sources === undefined) this.assign(entry, at)
    else {
      sources.own = at
      this.settle(entry)
    }
  }

  /** Which of its assignments counts? That of the highest epoch; of one epoch there is one, and were there two, all would choose the same. */
  private settle(entry: AgentEntry): void {
    const sources = this.sources.get(entry.name)
    if (sources === undefined) return
    let at = sources.own
    entry.pack = ''
    for (const { pack, packed } of sources.packs) {
      if (packed.madeRev !== entry.madeRev) continue
      const ahead = packed.at.epoch - (at?.epoch ?? 0)
      if (ahead < 0 || (ahead === 0 && (entry.pack === '' || pack < entry.pack))) continue
      at = packed.at
      entry.pack = pack
    }
    this.assign(entry, at)
  }

  private entry(name: string): AgentEntry {
    let entry = this.entries.get(name)
    if (entry === undefined) {
      entry = emptyEntry(name)
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
