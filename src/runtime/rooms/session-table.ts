/**
 * What the cluster knows of each session: whose it is, where it is connected and which rooms it is in. The node that has the connection says so in
 * the registry, all nodes have a copy; when that node is gone each of them keeps what it knew for as long as a client may take to come back. So any node
 * can go on with a session, and none has to ask the one that was lost.
 *
 * Clocks are not compared: whoever says last that it has the connection has it, and an older word is taken back by its own node.
 */
import type { NodeId } from '../../core/kernel/brand.js'
import { isSkeinError } from '../../core/kernel/error.js'
import type { RegistryLink } from '../registry-link.js'
import type { SessionView } from './api-types.js'

/** After that a session that did not come back is forgotten. */
export const sessionWindowMs = 120_000
/** Of sessions without a connection. */
const endedMax = 50_000

export interface SessionRecord {
  readonly user: string
  readonly nodeId: NodeId
  readonly isConnected: boolean
  readonly sinceMs: number
  /** With the last position its node had sent, null in rooms without history. */
  readonly rooms: readonly (readonly [room: string, position: number | null])[]
}

export interface SessionTableWorld {
  readonly nodeId: NodeId
  readonly rows: RegistryLink
  /** The session is connected to this process. */
  isHere(id: string): boolean
}

export class SessionTable {
  private readonly world: SessionTableWorld
  private readonly latest = new Map<string, SessionRecord>()
  private readonly stop: () => void

  constructor(world: SessionTableWorld) {
    this.world = world
    this.stop = world.rows.registry.onChange('session', (id, nodeId, row) => {
      if (row === undefined) this.dropped(id, nodeId)
      else this.heard(id, recordOf(nodeId, row.value))
    })
  }

  get(id: string): SessionRecord | undefined {
    return this.latest.get(id)
  }

  /** Of a session that is, or was a moment ago, connected here. Throws `overloaded`. */
  put(id: string, { user, isConnected, sinceMs, rooms }: Omit<SessionRecord, 'nodeId'>): void {
    const { rows } = this.world
    try {
      rows.put('session', id, [user, isConnected ? 1 : 0, sinceMs, rooms])
    } catch (error) {
      // So many long names: its client can still say them.
      if (!isSkeinError(error) || error.code !== 'payload_too_large') throw error
      rows.put('session', id, [user, isConnected ? 1 : 0, sinceMs, []])
    }
  }

  /** Somebody else has it now. */
  forget(id: string): void {
    this.world.rows.delete('session', id)
  }

  view(id: string): SessionView | undefined {
    const record = this.latest.get(id)
    if (record === undefined) return undefined
    const { user, nodeId, sinceMs, isConnected, rooms } = record
    return { id, user, nodeId, isConnected, sinceMs, rooms: rooms.map(([room]) => room) }
  }

  list(): SessionView[] {
    return [...this.latest.keys()].sort().flatMap((id) => this.view(id) ?? [])
  }

  count(): { readonly connected: number; readonly away: number } {
    let connected = 0
    for (const { isConnected } of this.latest.values()) if (isConnected) connected++
    return { connected, away: this.latest.size - connected }
  }

  private heard(id: string, record: SessionRecord | undefined): void {
    if (record === undefined) return
    const { nodeId, isConnected } = record
    const known = this.latest.get(id)
    if (!isConnected && known !== undefined && known.nodeId !== nodeId) return
    this.latest.delete(id)
    this.latest.set(id, record)
    const { world } = this
    if (isConnected && nodeId !== world.nodeId && !world.isHere(id)) this.forget(id)
  }

  private dropped(id: string, nodeId: NodeId): void {
    const known = this.latest.get(id)
    if (known?.nodeId !== nodeId) return
    for (const row of this.world.rows.registry.rows('session', id)) {
      const other = recordOf(row.nodeId, row.value)
      if (other?.isConnected !== true) continue
      this.latest.set(id, other)
      return
    }
    if (!known.isConnected) return
    this.latest.delete(id)
    this.latest.set(id, { ...known, isConnected: false, sinceMs: Date.now() })
  }

  /** Sessions that ended go after their time, or when they are too many, the oldest first. */
  sweep(nowMs: number): void {
    let ended = 0
    for (const { isConnected } of this.latest.values()) if (!isConnected) ended++
    for (const [id, { isConnected, sinceMs }] of this.latest) {
      if (isConnected || (sinceMs + sessionWindowMs > nowMs && ended <= endedMax)) continue
      ended--
      this.latest.delete(id)
      this.forget(id)
    }
  }

  close(): void {
    this.stop()
  }
}

/** Undefined for what another build may have written. */
function recordOf(nodeId: NodeId, value: unknown): SessionRecord | undefined {
  if (!Array.isArray(value)) return undefined
  const [user, connected, sinceMs, rooms] = value as unknown[]
  if (typeof user !== 'string' || typeof sinceMs !== 'number') return undefined
  if (!Array.isArray(rooms) || !rooms.every(isPlace)) return undefined
  return { user, nodeId, isConnected: connected === 1, sinceMs, rooms }
}

function isPlace(place: unknown): boolean {
  if (!Array.isArray(place)) return false
  const [room, position] = place as unknown[]
  return typeof room === 'string' && (position === null || Number.isSafeInteger(position))
}
