/**
 * One shard's log, owners that come and go, commits whose outcome nobody hears, followers behind a network that loses, repeats and reorders, and clients that
 * ask for what they missed. Every follower must hand on what the log has of its room: all, once, in order; whoever asks is given all of it or told to read.
 */
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
  readonly recent = new Map<string, RecentMessages<number>>()
  /** Reads that began and have not ended: where they began, and where the log ended. */
  readonly reads = new Map<string, { readonly from: number; readonly end: number }>()

  follow(room: string, end: number): void {
    this.followers.set(room, new RoomFollower(end))
    this.since.set(room, end)
    this.handedOn.set(room, [])
    this.recent.set(room, new RecentMessages(end, recentLimits))
  }

  private handOn(room: string, position: number): void {
    this.handedOn.get(room)?.push(position)
    this.recent.get(room)?.push({ position, bytes: 100 + (position % 3) * 100, item: position })
  }

  pushed({ room, after, position }: Push, logEnd: number): void {
    const follower = this.followers.get(room)
    if (follower === undefined) return
    const what = follower.pushed(after, position)
    if (what === 'next') this.handOn(room, position)
    else if (what === 'read') this.beginRead(room, follower, logEnd)
  }

  behind(room: string, last: number, logEnd: number): void {
    const follower = this.followers.get(room)
    if (follower?.heardOf(last) === 'read') this.beginRead(room, follower, logEnd)
  }

  private beginRead(room: string, { position }: RoomFollower, logEnd: number): void {
    this.reads.set(room, { from: position, end: logEnd })
  }

  /** The read that is under way finds what the log had when it began, or fails half way. */
  endRead(room: string, log: readonly string[], isWhole: boolean, logEnd: number): void {
    const follower = this.followers.get(room) as RoomFollower
    const read = this.reads.get(room)
    if (read === undefined) return
    this.reads.delete(room)
    const upTo = isWhole ? read.end : Math.floor((read.from + read.end) / 2)
    for (let at = read.from + 1; at <= upTo; at++)
      if (log[at] === room && follower.found(at)) this.handOn(room, at)
    if (follower.readEnded(isWhole)) this.beginRead(room, follower, logEnd)
  }
}

/** Of a room's newest, as few as make it forget. */
const recentLimits = { countMax: 6, bytesMax: 1_000 }

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
  takeOver(): void {
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

  /** A client that was away asks each node for what it missed of each room. */
  askAll(violations: string[]): void {
    for (const node of this.nodes)
      for (const [room, { position }] of node.followers) {
        const from = this.random.uint32() % (position + 1)
        const given = node.recent.get(room)?.after(from)
        if (given === undefined) continue
        const expected = positionsOf(this.log, room, from).filter((at) => at <= position)
        if (given.map((m) => m.position).join() !== expected.join())
          violations.push(`room ${room}: given ${given.length} after ${from} of ${expected.length}`)
      }
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

function positionsOf(log: readonly string[], room: string, after: number): number[] {
  return log.flatMap((at, i) => (at === room && i > after ? [i] : []))
}

/** What was wrong in one run, and how many messages were handed on. */
export function runOf(seed: number): { readonly violations: readonly string[]; readonly handedOn: number } {
  const world = new World(seed)
  const violations: string[] = []
  for (let i = 0; i < 400; i++) {
    world.step()
    if (i % 20 === 0) world.askAll(violations)
  }
  // A commit that nobody heard of is found by the next owner at the latest.
  world.takeOver()
  world.settle()
  world.askAll(violations)
  let handedOn = 0
  for (const node of world.nodes)
    for (const [room, since] of node.since) {
      const expected = positionsOf(world.log, room, since)
      const got = node.handedOn.get(room) ?? []
      handedOn += got.length
      if (got.join() !== expected.join())
        violations.push(`room ${room}: handed on ${got.join()} where ${expected.join()} stands`)
    }
  return { violations, handedOn }
}
