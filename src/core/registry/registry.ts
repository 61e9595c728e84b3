/**
 * Rows that each node writes for itself and every node holds a copy of: the services it provides, the names it holds, the rooms it has occupants of.
 *
 * A row has one writer, and a writer numbers its changes without a gap. Who knows a writer up to number n and hears of the changes after n knows it
 * up to their last; who hears of later ones asks. So any loss, repetition or order of messages ends in the writer's own rows. What must be decided
 * between rows of several nodes (whose is a name?) is decided by whoever reads, by a rule that needs nothing but the rows.
 *
 * Rows of a node that is gone are gone: `peers` says who is there. How messages travel must not live here.
 */
import type { BootId, NodeId } from '../kernel/brand.js'

/** Small and immutable; crosses the wire as it is. */
export type RowValue = unknown

export interface Row {
  readonly nodeId: NodeId
  readonly bootId: BootId
  readonly kind: string
  readonly key: string
  readonly value: RowValue
}

/** `value` undefined: deleted. */
export type RowChange = readonly [version: number, kind: string, key: string, value?: RowValue]

export type RegistryMessage =
  /** The changes after `from` up to `to`, the latest of each row only. `reset`: forget what you knew, this begins anew. */
  | {
      readonly type: 'delta'
      readonly bootId: BootId
      readonly from: number
      readonly to: number
      readonly reset: boolean
      readonly changes: readonly RowChange[]
    }
  | { readonly type: 'ask'; readonly bootId: BootId; readonly have: number }
  /** How far the writer is. */
  | { readonly type: 'beat'; readonly bootId: BootId; readonly version: number }

export interface RegistryPeer {
  readonly nodeId: NodeId
  readonly bootId: BootId
}

export interface Outgoing {
  readonly to: NodeId
  readonly message: RegistryMessage
}

export type RowListener = (key: string, nodeId: NodeId, row: Row | undefined) => void

export const registryLimits = {
  /** Of one node. */
  rowsMax: 100_000,
  keyCharsMax: 512,
  /** Kept, so that a short absence costs a delta and not everything. */
  tombstonesMax: 10_000,
  /** In one message. */
  changesMax: 1_000,
} as const

interface Copy {
  readonly bootId: BootId
  version: number
  /** Asked for more and not answered: until then gaps are not asked for again. */
  askedFor: number
  readonly rows: Map<string, Row>
}

export class Registry {
  private readonly nodeId: NodeId
  private readonly bootId: BootId
  /** In order of version, deleted ones included. */
  private readonly own = new Map<string, RowChange>()
  private ownRows = 0
  private tombstones = 0
  private version = 0
  /** Of the changes up to here some deletions are forgotten. */
  private floor = 0
  private told = 0
  private pending: RowChange[] = []
  private peerBoots = new Map<NodeId, BootId>()
  private readonly copies = new Map<NodeId, Copy>()
  private readonly byKind = new Map<string, Map<string, Row[]>>()
  private readonly listeners = new Map<string, Set<RowListener>>()
  private readonly out: Outgoing[] = []

  constructor(nodeId: NodeId, bootId: BootId) {
    this.nodeId = nodeId
    this.bootId = bootId
  }

  // --- reading ------------------------------------------------------------------------------------------------------

  /** Rows of all nodes with this key, in order of node id. Do not keep or change the array. */
  rows(kind: string, key: string): readonly Row[] {
    return this.byKind.get(kind)?.get(key) ?? []
  }

  keys(kind: string): IterableIterator<string> {
    return (this.byKind.get(kind) ?? new Map<string, Row[]>()).keys()
  }

  /** Keys of this kind. */
  size(kind: string): number {
    return this.byKind.get(kind)?.size ?? 0
  }

  ownRow(kind: string, key: string): Row | undefined {
    return this.rows(kind, key).find((r) => r.nodeId === this.nodeId)
  }

  /** Told after each change of a row of this kind, own ones included. Returns the way to stop. */
  onChange(kind: string, listener: RowListener): () => void {
    const set = this.listeners.get(kind) ?? new Set()
    set.add(listener)
    this.listeners.set(kind, set)
    return () => set.delete(listener)
  }

  /** Changes were made that nobody was told of. */
  get isDirty(): boolean {
    return this.pending.length > 0
  }

  // --- own rows -----------------------------------------------------------------------------------------------------

  /** False when this node has as many rows as it may have. */
  put(kind: string, key: string, value: RowValue): boolean {
    const id = rowId(kind, key)
    const before = this.own.get(id)
    const isNew = before === undefined || before[3] === undefined
    if (isNew && this.ownRows >= registryLimits.rowsMax) return false
    if (isNew) this.ownRows++
    this.note(id, before, [++this.version, kind, key, value])
    this.setRow({ nodeId: this.nodeId, bootId: this.bootId, kind, key, value })
    return true
  }

  delete(kind: string, key: string): void {
    const id = rowId(kind, key)
    const before = this.own.get(id)
    if (before === undefined || before[3] === undefined) return
    this.ownRows--
    this.note(id, before, [++this.version, kind, key])
    this.tombstones++
    this.dropRow(this.nodeId, kind, key)
    if (this.tombstones > registryLimits.tombstonesMax) this.forgetTombstones()
  }

  private note(id: string, before: RowChange | undefined, change: RowChange): void {
    if (before !== undefined) {
      if (before[3] === undefined) this.tombstones--
      this.own.delete(id)
    }
    this.own.set(id, change)
    this.pending.push(change)
  }

  /** The older half, so that this is rare. */
  private forgetTombstones(): void {
    let over = this.tombstones - registryLimits.tombstonesMax / 2
    for (const [id, [version, , , value]] of this.own) {
      if (over <= 0) break
      if (value !== undefined) continue
      this.own.delete(id)
      this.floor = version
      this.tombstones--
      over--
    }
  }

  // --- talking ------------------------------------------------------------------------------------------------------

  /** What to send, in order; each is given out once. */
  take(): Outgoing[] {
    return this.out.splice(0)
  }

  /** Tells every peer of what changed since the last time. */
  flush(): void {
    if (this.pending.length === 0) return
    const from = this.told
    const changes = latest(this.pending)
    this.pending = []
    this.told = this.version
    for (const to of this.peerBoots.keys()) this.tell(to, from, false, changes)
  }

  /** Every second or so: whoever missed something finds out. */
  beat(): void {
    for (const to of this.peerBoots.keys())
      this.out.push({ to, message: { type: 'beat', bootId: this.bootId, version: this.told } })
    // What was asked for and did not come is asked for again.
    for (const copy of this.copies.values()) copy.askedFor = -1
  }

  /** Who is there now, this node left out. Rows of all others are dropped. */
  peers(peers: readonly RegistryPeer[]): void {
    const boots = new Map(peers.map((p) => [p.nodeId, p.bootId]))
    for (const [nodeId, copy] of [...this.copies])
      if (boots.get(nodeId) !== copy.bootId) this.dropCopy(nodeId, copy)
    const before = this.peerBoots
    this.peerBoots = boots
    for (const [to, bootId] of boots)
      if (before.get(to) !== bootId) {
        this.out.push({ to, message: { type: 'beat', bootId: this.bootId, version: this.told } })
        this.ask(to, bootId, 0)
      }
  }

  receive(from: NodeId, message: RegistryMessage): void {
    if (message.type === 'ask') {
      if (message.bootId === this.bootId) this.answer(from, message.have)
      return
    }
    // From a boot that membership does not know (yet, or any more).
    if (this.peerBoots.get(from) !== message.bootId) return
    const copy = this.copies.get(from)
    const have = copy?.version ?? 0
    if (message.type === 'beat') {
      if (message.version > have) this.ask(from, message.bootId, have)
      return
    }
    if (!message.reset && message.from > have) {
      this.ask(from, message.bootId, have)
      return
    }
    this.apply(from, message)
  }

  private answer(to: NodeId, have: number): void {
    if (!this.peerBoots.has(to)) return
    const reset = have < this.floor || have > this.version
    const from = reset ? 0 : have
    const changes = [...this.own.values()].filter(
      ([version, , , value]) => version > from && version <= this.told && (!reset || value !== undefined),
    )
    this.tell(to, from, reset, changes)
  }

  /** In parts; each ends where the next begins. */
  private tell(to: NodeId, from: number, reset: boolean, changes: readonly RowChange[]): void {
    const { bootId } = this
    let after = from
    for (let i = 0; i === 0 || i < changes.length; i += registryLimits.changesMax) {
      const part = changes.slice(i, i + registryLimits.changesMax)
      const isLast = i + registryLimits.changesMax >= changes.length
      const upTo = isLast ? this.told : (part.at(-1)?.[0] ?? this.told)
      this.out.push({
        to,
        message: { type: 'delta', bootId, from: after, to: upTo, reset: reset && i === 0, changes: part },
      })
      after = upTo
    }
  }

  private ask(to: NodeId, bootId: BootId, have: number): void {
    const copy = this.copyOf(to, bootId)
    if (copy.askedFor === have) return
    copy.askedFor = have
    this.out.push({ to, message: { type: 'ask', bootId, have } })
  }

  private copyOf(nodeId: NodeId, bootId: BootId): Copy {
    const known = this.copies.get(nodeId)
    if (known !== undefined) return known
    const copy: Copy = { bootId, version: 0, askedFor: -1, rows: new Map() }
    this.copies.set(nodeId, copy)
    return copy
  }

  private apply(nodeId: NodeId, delta: Extract<RegistryMessage, { type: 'delta' }>): void {
    const { bootId } = delta
    let copy = this.copyOf(nodeId, bootId)
    if (delta.reset && delta.to > copy.version) {
      this.dropCopy(nodeId, copy)
      copy = this.copyOf(nodeId, bootId)
    }
    for (const [version, kind, key, value] of delta.changes) {
      if (version <= copy.version) continue
      const id = rowId(kind, key)
      if (value === undefined) {
        if (copy.rows.delete(id)) this.dropRow(nodeId, kind, key)
        continue
      }
      if (copy.rows.size >= registryLimits.rowsMax && !copy.rows.has(id)) continue
      const row: Row = { nodeId, bootId, kind, key, value }
      copy.rows.set(id, row)
      this.setRow(row)
    }
    copy.version = Math.max(copy.version, delta.to)
    copy.askedFor = -1
  }

  // --- the index ----------------------------------------------------------------------------------------------------

  private dropCopy(nodeId: NodeId, copy: Copy): void {
    this.copies.delete(nodeId)
    for (const row of copy.rows.values()) this.dropRow(nodeId, row.kind, row.key)
  }

  private setRow(row: Row): void {
    let keys = this.byKind.get(row.kind)
    if (keys === undefined) {
      keys = new Map()
      this.byKind.set(row.kind, keys)
    }
    const others = (keys.get(row.key) ?? []).filter((r) => r.nodeId !== row.nodeId)
    keys.set(
      row.key,
      [...others, row].sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1)),
    )
    this.tellListeners(row.kind, row.key, row.nodeId, row)
  }

  private dropRow(nodeId: NodeId, kind: string, key: string): void {
    const keys = this.byKind.get(kind)
    const rows = keys?.get(key)
    if (keys === undefined || rows === undefined) return
    const left = rows.filter((r) => r.nodeId !== nodeId)
    if (left.length > 0) keys.set(key, left)
    else {
      keys.delete(key)
      if (keys.size === 0) this.byKind.delete(kind)
    }
    this.tellListeners(kind, key, nodeId, undefined)
  }

  private tellListeners(kind: string, key: string, nodeId: NodeId, row: Row | undefined): void {
    const listeners = this.listeners.get(kind)
    if (listeners !== undefined) for (const listener of [...listeners]) listener(key, nodeId, row)
  }
}

/** Kinds have no space. */
function rowId(kind: string, key: string): string {
  return `${kind} ${key}`
}

/** The last change of each row, in order of version. */
function latest(changes: readonly RowChange[]): readonly RowChange[] {
  const last = new Map<string, RowChange>()
  for (const change of changes) {
    const id = rowId(change[1], change[2])
    last.delete(id)
    last.set(id, change)
  }
  return [...last.values()]
}
