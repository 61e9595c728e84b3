/**
 * Asks the owners of rooms' shards to push what comes, again whenever a shard changes hands, and tells them every second where we are, so that
 * whatever is lost on the way is found missing.
 */
import type { NodeId, ShardId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { Fabric } from '../fabric.js'
import { pack, unpack } from '../mesh-frames.js'
import { packPlaces, roomFrames, roomsPerCheckMax, unpackPlaces } from './frames.js'
import type { RoomLog } from './room-log.js'
import type { FollowAnswer, RoomOwner } from './room-owner.js'

const followTimeoutMs = 1_000
const retryMs = 100
/** Looked at in one second; more take their turn. */
const checksMax = 5_000

export interface FollowingWorld {
  readonly fabric: Fabric
  readonly owner: RoomOwner
  shardOf(room: string): ShardId
  /** Who serves the shard and under which epoch; undefined while nobody does. */
  ownerOf(shard: ShardId): { readonly nodeId: NodeId; readonly epoch: number } | undefined
}

interface Followed {
  readonly log: RoomLog
  readonly shard: ShardId
  /** Who was asked last, `node epoch`; empty while nobody was. */
  asked: string
}

export class RoomFollowing {
  private readonly world: FollowingWorld
  private readonly rooms = new Map<string, Followed>()
  private waiting = new Set<string>()
  private timer: NodeJS.Timeout | undefined
  private isAsking = false
  private nextCheck = 0
  private isClosed = false

  constructor(world: FollowingWorld) {
    this.world = world
    const { fabric, owner } = world
    fabric.handle(roomFrames.follow, ({ from, body, reply }) => {
      const rooms = unpack(body)
      if (!Array.isArray(rooms) || rooms.length > roomsPerCheckMax)
        throw new SkeinError('protocol_violation', 'a malformed frame of rooms: follow')
      const answers = (rooms as unknown[]).map((room) => {
        const answer = typeof room === 'string' ? owner.follow(room, from.nodeId) : undefined
        return answer === undefined ? null : [answer.end, answer.last]
      })
      reply?.(pack(answers))
    })
    fabric.handle(roomFrames.check, ({ from, body }) => {
      const behind = unpackPlaces(body).flatMap(([room, position]) => {
        const last = owner.check(room, position, from.nodeId)
        return last === undefined ? [] : [[room, last] as const]
      })
      if (behind.length > 0) fabric.send(from.nodeId, roomFrames.behind, packPlaces(behind))
    })
    fabric.handle(roomFrames.behind, ({ body }) => {
      for (const [room, last] of unpackPlaces(body)) this.rooms.get(room)?.log.behind(last)
    })
  }

  add(log: RoomLog): void {
    const shard = this.world.shardOf(log.room)
    this.rooms.set(log.room, { log, shard, asked: '' })
    this.want(log.room)
  }

  remove(room: string): void {
    this.rooms.delete(room)
    this.waiting.delete(room)
  }

  get(room: string): RoomLog | undefined {
    return this.rooms.get(room)?.log
  }

  /** A shard may have changed hands. */
  routesChanged(): void {
    for (const [room, { shard, asked }] of this.rooms) {
      const owner = this.world.ownerOf(shard)
      if (owner !== undefined && asked !== `${owner.nodeId} ${owner.epoch}`) this.want(room)
    }
  }

  private want(room: string): void {
    this.waiting.add(room)
    if (!this.isAsking) this.askIn(0)
  }

  private askIn(ms: number): void {
    if (this.isClosed) return
    this.timer ??= setTimeout(() => {
      this.timer = undefined
      void this.ask()
    }, ms)
  }

  private async ask(): Promise<void> {
    this.isAsking = true
    const rooms = [...this.waiting]
    this.waiting = new Set()
    const byOwner = new Map<NodeId, string[]>()
    for (const room of rooms) {
      const followed = this.rooms.get(room)
      if (followed === undefined) continue
      const owner = this.world.ownerOf(followed.shard)
      if (owner === undefined) {
        this.waiting.add(room)
        continue
      }
      followed.asked = `${owner.nodeId} ${owner.epoch}`
      const list = byOwner.get(owner.nodeId)
      if (list === undefined) byOwner.set(owner.nodeId, [room])
      else list.push(room)
    }
    await Promise.all([...byOwner].map(([nodeId, list]) => this.askOwner(nodeId, list)))
    this.isAsking = false
    if (this.waiting.size > 0) this.askIn(retryMs)
  }

  private async askOwner(nodeId: NodeId, rooms: readonly string[]): Promise<void> {
    for (let i = 0; i < rooms.length; i += roomsPerCheckMax) {
      const part = rooms.slice(i, i + roomsPerCheckMax)
      const answers = await this.answersOf(nodeId, part)
      part.forEach((room, n) => {
        const answer = answers[n]
        if (answer === undefined) this.waiting.add(room)
        else this.rooms.get(room)?.log.followed(answer.end, answer.last)
      })
    }
  }

  private async answersOf(
    nodeId: NodeId,
    rooms: readonly string[],
  ): Promise<readonly (FollowAnswer | undefined)[]> {
    const { fabric, owner } = this.world
    if (nodeId === fabric.nodeId) return rooms.map((room) => owner.follow(room, nodeId))
    try {
      const options = { timeoutMs: followTimeoutMs }
      const value = unpack(await fabric.request(nodeId, roomFrames.follow, pack(rooms), options))
      if (!Array.isArray(value)) return []
      return value.map((row) => {
        const [end, last] = Array.isArray(row) ? (row as unknown[]) : []
        return Number.isSafeInteger(end) && Number.isSafeInteger(last)
          ? { end: end as number, last: last as number }
          : undefined
      })
    } catch {
      // Asked again a moment later, of whoever owns the shard then.
      return []
    }
  }

  /** Every second. */
  check(): void {
    const { fabric, owner } = this.world
    owner.sweep()
    const all = [...this.rooms.values()]
    if (this.nextCheck >= all.length) this.nextCheck = 0
    const turn = all.slice(this.nextCheck, this.nextCheck + checksMax)
    this.nextCheck += checksMax
    const byOwner = new Map<NodeId, [string, number][]>()
    for (const { log, shard } of turn) {
      const at = this.world.ownerOf(shard)
      const { room, position } = log
      if (at === undefined || position === undefined) continue
      if (at.nodeId === fabric.nodeId) {
        const last = owner.check(room, position, fabric.nodeId)
        if (last !== undefined) log.behind(last)
        continue
      }
      const list = byOwner.get(at.nodeId)
      if (list === undefined) byOwner.set(at.nodeId, [[room, position]])
      else list.push([room, position])
    }
    for (const [nodeId, list] of byOwner)
      for (let i = 0; i < list.length; i += roomsPerCheckMax)
        fabric.send(nodeId, roomFrames.check, packPlaces(list.slice(i, i + roomsPerCheckMax)))
  }

  close(): void {
    this.isClosed = true
    clearTimeout(this.timer)
  }
}
