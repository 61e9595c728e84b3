/**
 * The owner's side of rooms with history: every message that was acknowledged here goes once to each node that has somebody in its room, with the
 * place of its neighbour before it. Nodes that follow say so, and ask again every second; the registry tells of those that have not asked yet.
 */
import type { NodeId, ShardId } from '../../core/kernel/brand.js'
import { RoomTails } from '../../core/rooms/room-tails.js'
import type { AcknowledgedEvent } from '../data-plane.js'
import { monotonicMs } from '../host-clock.js'
import { type PushedMessage, packPushed } from './frames.js'
import { messageOfEvent } from './message.js'

export const roomStream = 'skein.rooms'

const roomsPerShardMax = 20_000
const followedForMs = 10_000
const bytesPerFrameMax = 1_048_576

export interface RoomOwnerWorld {
  readonly nodeId: NodeId
  shardOf(room: string): ShardId
  /** How far the log of a shard that is open here is acknowledged. */
  confirmedEnd(shard: ShardId): number | undefined
  /** Other nodes with somebody in the room, as the registry knows. */
  nodesIn(room: string): Iterable<NodeId>
  send(nodeId: NodeId, body: Uint8Array): void
  receive(messages: readonly PushedMessage[]): void
}

export interface FollowAnswer {
  readonly end: number
  readonly last: number
}

export class RoomOwner {
  private readonly world: RoomOwnerWorld
  private readonly tails = new RoomTails(roomsPerShardMax)
  /** Of each room, until when. */
  private readonly followers = new Map<string, Map<NodeId, number>>()

  constructor(world: RoomOwnerWorld) {
    this.world = world
  }

  opened(shard: ShardId): void {
    const end = this.world.confirmedEnd(shard)
    if (end !== undefined) this.tails.opened(shard, end)
  }

  closed(shard: ShardId): void {
    this.tails.closed(shard)
  }

  /** Undefined when this node does not own the room's shard. */
  follow(room: string, nodeId: NodeId): FollowAnswer | undefined {
    const shard = this.world.shardOf(room)
    const end = this.world.confirmedEnd(shard)
    if (end === undefined) return undefined
    const last = this.tails.lastOf(shard, room) ?? end
    this.noteFollower(room, nodeId)
    return { end, last }
  }

  /** A follower is at `position`. Where it should be, when that is not far enough. */
  check(room: string, position: number, nodeId: NodeId): number | undefined {
    const last = this.tails.lastOf(this.world.shardOf(room), room)
    if (last === undefined) return undefined
    this.noteFollower(room, nodeId)
    return last > position ? last : undefined
  }

  private noteFollower(room: string, nodeId: NodeId): void {
    let nodes = this.followers.get(room)
    if (nodes === undefined) {
      nodes = new Map()
      this.followers.set(room, nodes)
    }
    nodes.set(nodeId, monotonicMs() + followedForMs)
  }

  /** Who has not asked for long follows no more. */
  sweep(): void {
    const nowMs = monotonicMs()
    for (const [room, nodes] of this.followers) {
      for (const [nodeId, untilMs] of nodes) if (untilMs < nowMs) nodes.delete(nodeId)
      if (nodes.size === 0) this.followers.delete(room)
    }
  }

  /** In order, on the owner of their shards. */
  acknowledged(events: readonly AcknowledgedEvent[]): void {
    const outgoing = new Map<NodeId, PushedMessage[]>()
    for (const event of events) {
      const isRoom = event.stream === roomStream
      const after = this.tails.acknowledged(event.shard, event.offset, isRoom ? event.key : undefined)
      if (!isRoom) continue
      const message = messageOfEvent(event)
      if (message === undefined) continue
      const { room, position, except, text } = message
      for (const nodeId of this.nodesOf(room)) {
        const list = outgoing.get(nodeId)
        const pushed = { room, after, position, except, text }
        if (list === undefined) outgoing.set(nodeId, [pushed])
        else list.push(pushed)
      }
    }
    const here = outgoing.get(this.world.nodeId)
    outgoing.delete(this.world.nodeId)
    for (const [nodeId, messages] of outgoing)
      for (const part of partsOf(messages)) this.world.send(nodeId, packPushed(part))
    // After what goes to other nodes has left: it must not wait until hundreds of sockets here are written to.
    if (here !== undefined) process.nextTick(() => this.world.receive(here))
  }

  private nodesOf(room: string): Set<NodeId> {
    const nodes = new Set(this.world.nodesIn(room))
    for (const nodeId of this.followers.get(room)?.keys() ?? []) nodes.add(nodeId)
    return nodes
  }
}

function* partsOf(messages: readonly PushedMessage[]): Generator<readonly PushedMessage[]> {
  let from = 0
  let bytes = 0
  for (const [i, { text }] of messages.entries()) {
    if (bytes > 0 && bytes + text.length > bytesPerFrameMax) {
      yield messages.slice(from, i)
      from = i
      bytes = 0
    }
    bytes += text.length
  }
  yield messages.slice(from)
}
