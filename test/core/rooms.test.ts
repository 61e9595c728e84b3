/** The core of rooms with history: seeded runs, its parts by hand, and planted bugs that the seeds must find. */
import { describe, expect, it } from 'vitest'
import { Random } from '../../src/core/kernel/random.js'
import { RecentMessages } from '../../src/core/rooms/recent-messages.js'
import { RoomFollower } from '../../src/core/rooms/room-follower.js'
import { RoomTails } from '../../src/core/rooms/room-tails.js'
import { importWith, type PlantedBug } from '../planted.js'
import { runOf } from './rooms-world.js'

const shard = 3

describe('rooms with history', () => {
  it('hand every message on once and in order, whatever is lost, repeated or late', () => {
    let total = 0
    for (let seed = 1; seed <= 300; seed++) {
      const { violations, handedOn } = runOf(seed)
      expect(violations, `seed ${seed}`).toEqual([])
      total += handedOn
    }
    expect(total).toBeGreaterThan(50_000)
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

const follower = 'src/core/rooms/room-follower.ts'
const tails = 'src/core/rooms/room-tails.ts'
const recent = 'src/core/rooms/recent-messages.ts'
const bugs: readonly PlantedBug[] = [
  {
    name: 'a follower passes over a gap',
    file: follower,
    find: '!this.reading && after <= this.at',
    replace: '!this.reading',
  },
  {
    name: 'a read that failed half way counts as whole',
    file: follower,
    find: 'if (isWhole) this.at',
    replace: 'this.at',
  },
  {
    name: 'a read counts for what came after it began',
    file: follower,
    find: 'Math.max(this.at, this.aim)',
    replace: 'Math.max(this.at, this.wanted)',
  },
  {
    name: 'an owner thinks that it knows the rooms of the owners before it',
    file: tails,
    find: '{ seen: end, base: end, last: new Map() }',
    replace: '{ seen: end, base: 0, last: new Map() }',
  },
  {
    name: 'an owner passes over commits that it never heard of',
    file: tails,
    find: 'if (offset !== tail.seen + 1) {',
    replace: 'if (offset < tail.seen) {',
  },
  {
    name: 'an owner remembers rooms over a gap',
    file: tails,
    find: 'tail.last.clear()',
    replace: '',
  },
  {
    name: 'a room is forgotten and its last place with it',
    file: tails,
    find: 'tail.base = Math.max(tail.base, oldest[1])',
    replace: '',
  },
  {
    name: 'whoever is behind is not told of what an owner did not see',
    file: tails,
    find: '(tail.last.get(room) ?? tail.base)',
    replace: '(tail.last.get(room) ?? 0)',
  },
  {
    name: 'a memory gives less than all',
    file: recent,
    find: 'if (position < this.since) return undefined',
    replace: '',
  },
  {
    name: 'a memory does not say what it gave up',
    file: recent,
    find: 'this.since = gone.position',
    replace: '',
  },
]

describe('planted bugs', () => {
  it.each(bugs)('$name: some seed says so', async (bug) => {
    const world = await importWith<{ runOf: typeof runOf }>(bug, 'test/core/rooms-world.ts')
    let found: readonly string[] = []
    for (let seed = 1; seed <= 60 && found.length === 0; seed++) found = world.runOf(seed).violations
    expect(found.length).toBeGreaterThan(0)
  })
})
