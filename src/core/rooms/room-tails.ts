/**
 * What the owner of shards knows of the rooms in them: where each room's last message stands, so that it can say with the next one "between that
 * and this there is nothing". Who has everything up to there has everything; who has not reads the log.
 *
 * It is memory only. What the owner cannot know (messages of earlier owners, rooms it forgot, commits whose outcome it never heard) is covered
 * by the shard's `base`: of whatever is not remembered, nothing stands between `base` and what the owner has seen. A base that is higher than
 * need be costs a reader one look; one that is too low would lose a message, so it only rises.
 */
import type { ShardId } from '../kernel/brand.js'

interface Tail {
  seen: number
  base: number
  /** Rooms by last use. */
  readonly last: Map<string, number>
}

export class RoomTails {
  private readonly roomsMax: number
  private readonly tails = new Map<ShardId, Tail>()

  /** `roomsMax` of one shard. */
  constructor(roomsMax: number) {
    this.roomsMax = roomsMax
  }

  /** This node serves the shard from now on; its log ends at `end`. */
  opened(shard: ShardId, end: number): void {
    this.tails.set(shard, { seen: end, base: end, last: new Map() })
  }

  closed(shard: ShardId): void {
    this.tails.delete(shard)
  }

  /**
   * An event of the shard was acknowledged, of a room or of anything else. Returns a position after which, and before this one, there is no
   * message of that room.
   */
  acknowledged(shard: ShardId, offset: number, room: string | undefined): number {
    let tail = this.tails.get(shard)
    if (tail === undefined) {
      tail = { seen: offset - 1, base: offset - 1, last: new Map() }
      this.tails.set(shard, tail)
    }
    // What is between was stored, and this node was not told that it may be acknowledged.
    if (offset !== tail.seen + 1) {
      tail.base = Math.max(tail.base, offset - 1)
      tail.last.clear()
    }
    tail.seen = Math.max(tail.seen, offset)
    return room === undefined ? tail.base : this.note(tail, room, offset)
  }

  /** Where a reader must be to have all of the room, as far as this node knows; undefined when it does not serve the shard. */
  lastOf(shard: ShardId, room: string): number | undefined {
    const tail = this.tails.get(shard)
    return tail === undefined ? undefined : (tail.last.get(room) ?? tail.base)
  }

  private note(tail: Tail, room: string, offset: number): number {
    const before = tail.last.get(room) ?? tail.base
    tail.last.delete(room)
    tail.last.set(room, Math.max(before, offset))
    if (tail.last.size > this.roomsMax) {
      const [oldest] = tail.last
      if (oldest !== undefined) {
        tail.last.delete(oldest[0])
        tail.base = Math.max(tail.base, oldest[1])
      }
    }
    return before
  }
}
