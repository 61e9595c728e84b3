/**
 * Seeded: one shard's log, owners that come and go, commits whose outcome nobody hears, followers behind a network that loses, repeats and reorders.
 * Every follower must hand on what the log has of its room: all, once, in order.
 */
import { describe, expect, it } from 'vitest'
import { Random } from '../../src/core/kernel/random.js'
import { RecentMessages } from '../../src/core/rooms/recent-messages.js'
import { RoomFollower } from '../../src/core/rooms/room-follower.js'
import { RoomTails } from '../../src/core/rooms/room-tails.js'

const shard = 3
const rooms = ['a', 'b', 'c', 'd', 'e']

interface Push {
  readonly to: Node
  readonly room: string
  readonly after: number
  readonly position: number
}

class Node {
  readonly followers = new Map<string, RoomFollower>()
  readonly handedOn = new Map<string, number[]>()
  readonly since = new Map<string, number>()
  /** Reads that began and have not ended: the log as it was. */
  readonly reads = new Map<string, number>()

  follow(room: string, end: number): void {
    this.followers.set(room, new RoomFollower(end))
    this.since.set(room, end)
    this.handedOn.set(room, [])
  }

  private handOn(room: string, position: number): void {
    this.handedOn.get(room)?.push(position)
  }

  pushed({ room, after, position }: Push, logEnd: number): void {
    const follower = this.followers.get(room)
    if (follower === undefined) return
    const what = follower.pushed(after, position)
    if (what === 'next') this.handOn(room, position)
    else if (what === 'read') this.reads.set(room, logEnd)
  }

  behind(room: string, last: number, logEnd: number): void {
    if (this.followers.get(room)?.heardOf(last) === 'read') this.reads.set(room, logEnd)
  }

  /** The read that is under way finds what the log had when it began, or fails half way. */
  endRead(room: string, log: readonly string[], isWhole: boolean, logEnd: number): void {
    const follower = this.followers.get(room) as RoomFollower
    const end = this.reads.get(room) as number
    this.reads.delete(room)
    const upTo = isWhole ? end : Math.floor((follower.position + end) / 2)
    for (let at = follower.position + 1; at <= upTo; at++)
      if (log[at] === room && follower.found(at)) this.handOn(room, at)
    if (follower.readEnded(isWhole)) this.reads.set(room, logEnd)
  }
}

class World {
  readonly random: Random
  /** What stands at each offset, from 1. */
  readonly log: string[] = ['']
  readonly nodes = [new Node(), new Node(), new Node()]
  owner = new RoomTails(3)
  wire: Push[] = []
  isBad = true

  constructor(seed: number) {
    this.random = new Random(seed)
    this.owner.opened(shard, 0)
  }

  chance(share: number): boolean {
    return this.random.uint32() / 2 ** 32 < share
  }

  pick<T>(list: readonly T[]): T {
    return list[this.random.uint32() % list.length] as T
  }

  get end(): number {
    return this.log.length - 1
  }

  step(): void {
    const room = this.pick(rooms)
    const node = this.pick(this.nodes)
    const roll = this.random.uint32() % 100
    if (roll < 50) this.publish(this.chance(0.3) ? '' : room)
    else if (roll < 52) this.log.push(room)
    else if (roll < 54) this.takeOver()
    else if (roll < 60 && !node.followers.has(room)) node.follow(room, this.end)
    else if (roll < 90) this.deliver()
    else this.endReads(0.5)
  }

  /** Empty: of another stream. */
  private publish(room: string): void {
    this.log.push(room)
    const position = this.end
    const after = this.owner.acknowledged(shard, position, room === '' ? undefined : room)
    if (room !== '') for (const to of this.nodes) this.wire.push({ to, room, after, position })
  }

  /** What the old owner had not sent is lost. */
  private takeOver(): void {
    this.wire = this.wire.filter(() => this.chance(0.5))
    this.owner = new RoomTails(3)
    this.owner.opened(shard, this.end)
  }

  private deliver(): void {
    if (this.wire.length === 0) return
    const i = this.isBad && this.chance(0.2) ? this.random.uint32() % this.wire.length : 0
    const push = this.wire[i] as Push
    if (!this.isBad || !this.chance(0.1)) this.wire.splice(i, 1)
    if (!this.isBad || !this.chance(0.1)) push.to.pushed(push, this.end)
  }

  endReads(failing: number): void {
    for (const node of this.nodes)
      for (const room of [...node.reads.keys()]) node.endRead(room, this.log, !this.chance(failing), this.end)
  }

  /** Nothing is lost any more; everybody asks where it should be. */
  settle(): void {
    this.isBad = false
    while (this.wire.length > 0) this.deliver()
    for (let i = 0; i < 3; i++) {
      for (const node of this.nodes)
        for (const [room, { position }] of node.followers) {
          const last = this.owner.lastOf(shard, room) as number
          if (last > position) node.behind(room, last, this.end)
        }
      while (this.nodes.some(({ reads }) => reads.size > 0)) this.endReads(0)
    }
  }
}

describe('rooms with history', () => {
  it('hand every message on once and in order, whatever is lost, repeated or late', () => {
    let handedOn = 0
    for (let seed = 1; seed <= 300; seed++) {
      const world = new World(seed)
      for (let i = 0; i < 400; i++) world.step()
      // A commit that nobody heard of is found by the next owner at the latest.
      world.owner = new RoomTails(3)
      world.owner.opened(shard, world.end)
      world.settle()
      for (const node of world.nodes)
        for (const [room, since] of node.since) {
          const expected = world.log.flatMap((at, i) => (at === room && i > since ? [i] : []))
          expect(node.handedOn.get(room), `seed ${seed}, room ${room}`).toEqual(expected)
          handedOn += expected.length
        }
    }
    expect(handedOn).toBeGreaterThan(50_000)
  })

  it('name a place before a message behind which nothing of its room is, also of rooms that were forgotten', () => {
    for (let seed = 1; seed <= 50; seed++) {
      const random = new Random(seed)
      const tails = new RoomTails(4)
      tails.opened(shard, 0)
      const last = new Map<string, number>()
      let offset = 0
      for (let i = 0; i < 500; i++) {
        const room = `r${random.uint32() % 12}`
        offset++
        // Stored, and the owner was not told.
        if (random.uint32() % 20 === 0) {
          last.set(room, offset)
          continue
        }
        const after = tails.acknowledged(shard, offset, room)
        expect(after).toBeGreaterThanOrEqual(last.get(room) ?? 0)
        expect(after).toBeLessThan(offset)
        last.set(room, offset)
      }
    }
  })

  it('do not read for what is known, and read once for what comes meanwhile', () => {
    const follower = new RoomFollower(10)
    expect(follower.pushed(4, 9)).toBe('known')
    expect(follower.pushed(9, 12)).toBe('next')
    expect(follower.pushed(14, 15)).toBe('read')
    expect(follower.pushed(15, 16)).toBe('later')
    expect(follower.found(14)).toBe(true)
    expect(follower.found(14)).toBe(false)
    expect(follower.found(15)).toBe(true)
    // 16 came after the read had begun: the log is read again.
    expect(follower.readEnded(true)).toBe(true)
    expect(follower.found(16)).toBe(true)
    expect(follower.readEnded(true)).toBe(false)
    expect(follower.pushed(12, 17)).toBe('next')
  })

  it('stop asking for what is not there once the log was read to its end', () => {
    const follower = new RoomFollower(3)
    expect(follower.heardOf(8)).toBe('read')
    expect(follower.readEnded(false)).toBe(true)
    expect(follower.readEnded(true)).toBe(false)
    expect(follower.position).toBe(8)
  })
})

describe('the memory of a room', () => {
  const message = (position: number, bytes = 10) => ({ position, bytes, item: `m${position}` })

  it('gives all after a place, or says that it cannot', () => {
    const recent = new RecentMessages<string>(5, { countMax: 3, bytesMax: 100 })
    for (const position of [7, 9, 12]) recent.push(message(position))
    expect(recent.after(5)?.map((m) => m.position)).toEqual([7, 9, 12])
    expect(recent.after(8)?.map((m) => m.position)).toEqual([9, 12])
    expect(recent.after(12)).toEqual([])
    expect(recent.after(4)).toBeUndefined()
    recent.push(message(13))
    expect(recent.from).toBe(7)
    expect(recent.after(6)).toBeUndefined()
    expect(recent.after(7)?.map((m) => m.position)).toEqual([9, 12, 13])
  })

  it('keeps to its bytes, and takes earlier messages only if all fit', () => {
    const recent = new RecentMessages<string>(10, { countMax: 10, bytesMax: 30 })
    for (const position of [11, 12]) recent.push(message(position))
    expect(recent.extend(0, [message(3), message(4)])).toBe(false)
    expect(recent.from).toBe(10)
    expect(recent.extend(2, [message(4)])).toBe(true)
    expect(recent.after(2)?.map((m) => m.position)).toEqual([4, 11, 12])
    recent.push(message(20, 25))
    expect(recent.after(12)?.map((m) => m.position)).toEqual([20])
    expect(recent.after(11)).toBeUndefined()
  })
})
