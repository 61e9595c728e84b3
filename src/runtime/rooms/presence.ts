/**
 * Who is in a room over all nodes. Nobody keeps the whole list unless somebody there wants to be told of changes: then its node asks all others once
 * and is told of what changes; a node that goes takes its clients with it. A client that comes back elsewhere before it was missed has not left.
 */
import type { NodeId } from '../../core/kernel/brand.js'
import type { Fabric } from '../fabric.js'
import { pack, unpack } from '../mesh-frames.js'
import type { RegistryLink } from '../registry-link.js'
import type { RoomMember, RoomPresence } from './api-types.js'
import {
  type MemberRow,
  membersPerAnswerMax,
  type PresenceChange,
  packMembers,
  packPresence,
  roomFrames,
  roomRow,
  unpackMembers,
  unpackPresence,
} from './frames.js'
import { jsonFrame } from './message.js'
import type { Room } from './room.js'

const askTimeoutMs = 1_500
const flushMs = 20
const rowEveryMs = 250
/** Of one room that is watched. */
const watchedMax = 10_000
const shownMax = 1_000

interface Change {
  readonly came: Map<string, MemberRow>
  readonly went: Map<string, MemberRow>
}

interface Watched {
  readonly members: Map<string, RoomMember>
}

/** Who is told: a client in a room. */
export interface PresenceSink {
  write(frame: Uint8Array): boolean
}

export interface PresenceWorld {
  readonly fabric: Fabric
  readonly rows: RegistryLink
  room(name: string): Room | undefined
  hasHistory(name: string): boolean
  watchers(room: Room): Iterable<PresenceSink>
}

export class Presence {
  private readonly world: PresenceWorld
  private readonly changes = new Map<string, Change>()
  private readonly watched = new Map<string, Watched>()
  private readonly staleRows = new Set<string>()
  private flushTimer: NodeJS.Timeout | undefined
  private rowTimer: NodeJS.Timeout | undefined
  private readonly stopRows: () => void

  constructor(world: PresenceWorld) {
    this.world = world
    const { fabric, rows } = world
    fabric.handle(roomFrames.members, ({ body, reply }) => {
      const [room, limit] = unpack(body) as [string, number]
      const members = this.membersHere(String(room), Number(limit))
      reply?.(packMembers(this.world.room(String(room))?.clients ?? 0, members))
    })
    fabric.handle(roomFrames.presence, ({ from, body }) => {
      for (const change of unpackPresence(body)) this.changed(from.nodeId, change)
    })
    this.stopRows = rows.registry.onChange('room', (room, nodeId, row) => {
      if (row === undefined && nodeId !== fabric.nodeId) this.nodeGone(room, nodeId)
    })
  }

  // --- what this node tells ------------------------------------------------------------------------------------------

  came(room: Room, member: MemberRow): void {
    const change = this.changeOf(room.name)
    if (!change.went.delete(member.session)) change.came.set(member.session, member)
    this.changedRow(room)
  }

  went(room: Room, member: MemberRow): void {
    const change = this.changeOf(room.name)
    if (!change.came.delete(member.session)) change.went.set(member.session, member)
    this.changedRow(room)
  }

  /** The first occupant and the last are told at once, numbers a moment later. */
  changedRow(room: Room): void {
    const { registry } = this.world.rows
    if (room.occupants.size === 0) {
      this.staleRows.delete(room.name)
      this.world.rows.delete('room', room.name)
      return
    }
    const told = registry.ownRow('room', room.name)
    const wants = room.watchers > 0
    if (told === undefined || roomRow(told.value).wantsPresence !== wants) {
      this.staleRows.delete(room.name)
      this.world.rows.put('room', room.name, [room.clients, wants ? 1 : 0])
      return
    }
    this.staleRows.add(room.name)
    this.rowTimer ??= setTimeout(() => {
      this.rowTimer = undefined
      for (const name of this.staleRows) {
        const stale = this.world.room(name)
        if (stale !== undefined && stale.occupants.size > 0)
          this.world.rows.put('room', name, [stale.clients, stale.watchers > 0 ? 1 : 0])
      }
      this.staleRows.clear()
    }, rowEveryMs)
    this.rowTimer.unref()
  }

  private changeOf(room: string): Change {
    let change = this.changes.get(room)
    if (change === undefined) {
      change = { came: new Map(), went: new Map() }
      this.changes.set(room, change)
      this.flushTimer ??= setTimeout(() => this.flush(), flushMs)
    }
    return change
  }

  private flush(): void {
    this.flushTimer = undefined
    const { fabric, rows } = this.world
    const byNode = new Map<NodeId, PresenceChange[]>()
    for (const [room, { came, went }] of this.changes) {
      if (came.size === 0 && went.size === 0) continue
      const change = { room, came: [...came.values()], went: [...went.values()] }
      this.changed(fabric.nodeId, change)
      for (const row of rows.registry.rows('room', room)) {
        if (row.nodeId === fabric.nodeId || !roomRow(row.value).wantsPresence) continue
        const list = byNode.get(row.nodeId)
        if (list === undefined) byNode.set(row.nodeId, [change])
        else list.push(change)
      }
    }
    this.changes.clear()
    for (const [nodeId, list] of byNode) fabric.send(nodeId, roomFrames.presence, packPresence(list))
  }

  // --- what watchers here are told -------------------------------------------------------------------------------------

  /** The whole list as it is, then changes. */
  async watch(room: Room, sink: PresenceSink): Promise<void> {
    let watched = this.watched.get(room.name)
    if (watched === undefined) {
      watched = { members: new Map() }
      this.watched.set(room.name, watched)
      const { members } = await this.presence(room.name, watchedMax)
      for (const member of members) watched.members.set(member.session, member)
    }
    const all = [...watched.members.values()]
    sink.write(
      jsonFrame({
        type: 'presence',
        room: room.name,
        count: all.length,
        members: all.slice(0, shownMax).map(memberJson),
      }),
    )
  }

  unwatched(room: string): void {
    this.watched.delete(room)
  }

  private changed(nodeId: NodeId, { room, came, went }: PresenceChange): void {
    const watched = this.watched.get(room)
    if (watched === undefined) return
    const { members } = watched
    const joined: RoomMember[] = []
    const left: RoomMember[] = []
    for (const row of came) {
      const member = { ...row, nodeId }
      if (!members.has(row.session)) joined.push(member)
      if (members.has(row.session) || members.size < watchedMax) members.set(row.session, member)
    }
    for (const { session } of went) {
      const member = members.get(session)
      if (member?.nodeId !== nodeId) continue
      members.delete(session)
      left.push(member)
    }
    this.tell(room, joined, left)
  }

  private nodeGone(room: string, nodeId: NodeId): void {
    const watched = this.watched.get(room)
    if (watched === undefined) return
    const left = [...watched.members.values()].filter((m) => m.nodeId === nodeId)
    for (const { session } of left) watched.members.delete(session)
    this.tell(room, [], left)
  }

  private tell(name: string, joined: readonly RoomMember[], left: readonly RoomMember[]): void {
    const room = this.world.room(name)
    if (room === undefined || (joined.length === 0 && left.length === 0)) return
    const count = this.watched.get(name)?.members.size ?? 0
    const frame = jsonFrame({
      type: 'presence',
      room: name,
      count,
      joined: joined.slice(0, shownMax).map(memberJson),
      left: left.slice(0, shownMax).map(memberJson),
    })
    for (const sink of this.world.watchers(room)) sink.write(frame)
  }

  // --- whoever asks ----------------------------------------------------------------------------------------------------

  private membersHere(room: string, limit: number): MemberRow[] {
    const members: MemberRow[] = []
    for (const { member } of this.world.room(room)?.occupants ?? []) {
      if (members.length >= Math.min(limit, membersPerAnswerMax)) break
      if (member !== null) members.push(member)
    }
    return members
  }

  async presence(room: string, limit: number): Promise<RoomPresence> {
    const { fabric, rows } = this.world
    const others = rows.registry.rows('room', room).filter(({ nodeId }) => nodeId !== fabric.nodeId)
    const members: RoomMember[] = this.membersHere(room, limit).map((m) => ({ ...m, nodeId: fabric.nodeId }))
    let clients = this.world.room(room)?.clients ?? 0
    const incomplete: { nodeId: NodeId; error: string }[] = []
    await Promise.all(
      others.map(async ({ nodeId }) => {
        try {
          const options = { timeoutMs: askTimeoutMs }
          const answer = unpackMembers(
            await fabric.request(nodeId, roomFrames.members, pack([room, limit]), options),
          )
          clients += answer.clients
          for (const member of answer.members) members.push({ ...member, nodeId })
        } catch (error) {
          incomplete.push({ nodeId, error: error instanceof Error ? error.message : String(error) })
        }
      }),
    )
    members.sort((a, b) => a.sinceMs - b.sinceMs || (a.session < b.session ? -1 : 1))
    return {
      room,
      hasHistory: this.world.hasHistory(room),
      clients,
      members: members.slice(0, limit),
      incomplete,
    }
  }

  close(): void {
    this.stopRows()
    clearTimeout(this.flushTimer)
    clearTimeout(this.rowTimer)
  }
}

function memberJson({ session, user, nodeId, sinceMs }: RoomMember): Readonly<Record<string, unknown>> {
  return { session, user, node: nodeId, since: new Date(sinceMs).toISOString() }
}
