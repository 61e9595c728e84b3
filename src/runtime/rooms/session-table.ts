/**
 * What the cluster knows of each session: whose it is, where it is connected and which rooms it is in. It lies in a replicated map, so any node can go
 * on with it, and outlives the connection by the time a client may take to come back.
 */
import type { NodeId } from '../../core/kernel/brand.js'
import type { SessionView } from './api-types.js'

/** After that a session that did not come back is forgotten. */
export const sessionWindowMs = 120_000

export interface SessionRecord {
  readonly user: string
  readonly nodeId: NodeId
  readonly isConnected: boolean
  readonly sinceMs: number
  /** With the last position its node had sent, null in rooms without history. */
  readonly rooms: readonly (readonly [room: string, position: number | null])[]
}

/** The part of a replicated map that is needed. */
export interface SessionMap {
  get(key: string): unknown
  set(key: string, value: unknown): void
  delete(key: string): void
  entries(): Iterable<readonly [string, unknown]>
}

export interface SessionTableWorld {
  readonly nodeId: NodeId
  readonly map: SessionMap
  /** Members that answer, this node included. */
  isThere(nodeId: NodeId): boolean
  /** The session is connected to this process. */
  isHere(id: string): boolean
  /** Somebody must tidy up after nodes that are gone; one at a time is enough. */
  tidies(): boolean
}

export class SessionTable {
  private readonly world: SessionTableWorld

  constructor(world: SessionTableWorld) {
    this.world = world
  }

  get(id: string): SessionRecord | undefined {
    return recordOf(this.world.map.get(id))
  }

  put(id: string, record: SessionRecord): void {
    const { user, nodeId, isConnected, sinceMs, rooms } = record
    this.world.map.set(id, [user, nodeId, isConnected ? 1 : 0, sinceMs, rooms])
  }

  view(id: string): SessionView | undefined {
    const record = this.get(id)
    if (record === undefined) return undefined
    const { user, nodeId, sinceMs } = record
    return {
      id,
      user,
      nodeId,
      isConnected: record.isConnected && this.world.isThere(nodeId),
      sinceMs,
      rooms: record.rooms.map(([room]) => room),
    }
  }

  list(): SessionView[] {
    const views: SessionView[] = []
    for (const [id] of this.world.map.entries()) {
      const view = this.view(id)
      if (view !== undefined) views.push(view)
    }
    return views.sort((a, b) => (a.id < b.id ? -1 : 1))
  }

  /** Sessions that ended go after their time; those of a node that is gone have ended now. */
  sweep(nowMs: number): void {
    const { world } = this
    const { nodeId, map } = world
    const isTidy = world.tidies()
    for (const [id, value] of [...map.entries()]) {
      const record = recordOf(value)
      if (record === undefined) {
        map.delete(id)
        continue
      }
      const isOurs = record.nodeId === nodeId || (isTidy && !world.isThere(record.nodeId))
      if (!isOurs) continue
      if (record.isConnected) {
        if (record.nodeId !== nodeId || !world.isHere(id))
          this.put(id, { ...record, isConnected: false, sinceMs: nowMs })
      } else if (record.sinceMs + sessionWindowMs < nowMs) map.delete(id)
    }
  }
}

/** What lies in a map may have been written by somebody else. */
function recordOf(value: unknown): SessionRecord | undefined {
  if (!Array.isArray(value)) return undefined
  const [user, nodeId, connected, sinceMs, rooms] = value as unknown[]
  if (typeof user !== 'string' || typeof nodeId !== 'string' || typeof sinceMs !== 'number') return undefined
  if (!Array.isArray(rooms) || !rooms.every(isPlace)) return undefined
  return { user, nodeId, isConnected: connected === 1, sinceMs, rooms }
}

function isPlace(place: unknown): boolean {
  if (!Array.isArray(place)) return false
  const [room, position] = place as unknown[]
  return typeof room === 'string' && (position === null || Number.isSafeInteger(position))
}
