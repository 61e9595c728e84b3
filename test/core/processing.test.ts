/** Dealing out: by hand for each rule, seeded for all of them together, and with planted bugs that the seeds must find. */
import { describe, expect, it } from 'vitest'
import { Dealer } from '../../src/core/processing/dealer.js'
import { Hold } from '../../src/core/processing/hold.js'
import { LoadMonitor } from '../../src/core/processing/load-monitor.js'
import { importWith } from '../planted.js'
import { violationsOf } from './processing-world.js'

const options = {
  batchMax: 10,
  batchBytesMax: 100,
  leaseMs: 1_000,
  isOrdered: true,
  retryMinMs: 100,
  retryMaxMs: 1_000,
}

function dealer(change: Partial<typeof options> = {}) {
  let id = 0
  return new Dealer({ ...options, ...change }, 0, () => ++id)
}

const event = (offset: number, key: string, bytes = 1) => ({ offset, key, bytes })
const offsets = (batch: { readonly events: readonly { readonly offset: number }[] } | undefined) =>
  batch?.events.map((e) => e.offset)

describe('a dealer', () => {
  it('saves no position beyond what is not done, whatever is done after it', () => {
    const d = dealer({ batchMax: 1 })
    d.offer([event(2, 'a'), event(5, 'b'), event(6, 'c')], 9)
    expect(d.position).toBe(1)
    const a = d.take(0, 'p', 9)
    const b = d.take(0, 'p', 9)
    const c = d.take(0, 'p', 9)
    d.acknowledge(1, 'p', b?.id ?? 0)
    d.acknowledge(1, 'p', c?.id ?? 0)
    expect(d.position).toBe(1)
    d.acknowledge(1, 'p', a?.id ?? 0)
    expect(d.position).toBe(9)
  })

  it('has a key with one processor at a time, in order, and lets the others pass', () => {
    const d = dealer({ batchMax: 2 })
    d.offer([event(1, 'a'), event(2, 'a'), event(3, 'a'), event(4, 'b')], 4)
    const first = d.take(0, 'p', 9)
    expect(offsets(first)).toEqual([1, 2])
    expect(offsets(d.take(0, 'q', 9))).toEqual([4])
    expect(d.take(0, 'q', 9)).toBeUndefined()
    d.acknowledge(1, 'p', first?.id ?? 0)
    expect(offsets(d.take(1, 'q', 9))).toEqual([3])
  })

  it('lets go of order where none is asked for', () => {
    const d = dealer({ batchMax: 1, isOrdered: false })
    d.offer([event(1, 'a'), event(2, 'a')], 2)
    expect([offsets(d.take(0, 'p', 9)), offsets(d.take(0, 'q', 9))]).toEqual([[1], [2]])
  })

  it('gives a batch out again when its time is over, and refuses the late result', () => {
    const d = dealer()
    d.offer([event(1, 'a')], 1)
    const first = d.take(0, 'p', 9)
    expect(d.renew(900, 'p', first?.id ?? 0)).toBe(true)
    expect(d.take(1_899, 'q', 9)).toBeUndefined()
    expect(d.renew(1_900, 'p', first?.id ?? 0)).toBe(false)
    const second = d.take(1_900, 'q', 9)
    expect(offsets(second)).toEqual([1])
    expect(d.acknowledge(1_901, 'p', first?.id ?? 0)).toBe(false)
    expect(d.renew(1_901, 'p', first?.id ?? 0)).toBe(false)
    expect(d.acknowledge(1_901, 'p', second?.id ?? 0)).toBe(false)
    expect(d.acknowledge(1_901, 'q', second?.id ?? 0)).toBe(true)
    expect(d.position).toBe(1)
  })

  it('tries again what failed, alone and later each time', () => {
    const d = dealer()
    d.offer([event(1, 'a'), event(2, 'b'), event(3, 'c')], 3)
    d.refuse(0, 'p', d.take(0, 'p', 2)?.id ?? 0)
    expect(offsets(d.take(50, 'p', 9))).toEqual([3])
    expect(d.nextDeadlineMs()).toBe(100)
    const again = d.take(100, 'p', 9)
    expect([offsets(again), again?.failures]).toEqual([[1], 1])
    d.refuse(100, 'p', again?.id ?? 0)
    expect(offsets(d.take(299, 'p', 9))).toEqual([2])
    expect(d.take(299, 'p', 9)).toBeUndefined()
    expect(offsets(d.take(300, 'p', 9))).toEqual([1])
  })

  it('keeps a batch within its bytes, and gives one event out whatever its size', () => {
    const d = dealer()
    d.offer([event(1, 'a', 500), event(2, 'b', 60), event(3, 'c', 60)], 3)
    expect([d.take(0, 'p', 9), d.take(0, 'p', 9), d.take(0, 'p', 9)].map(offsets)).toEqual([[1], [2], [3]])
    expect(d.held).toEqual({ events: 3, bytes: 620 })
    expect(d.waiting).toBe(0)
  })

  it('counts the time that batches were out once', () => {
    const d = dealer({ batchMax: 1 })
    d.offer([event(1, 'a'), event(2, 'b')], 2)
    const a = d.take(0, 'p', 9)
    d.take(100, 'p', 9)
    expect(d.takeBusyMs(200)).toBe(300)
    d.acknowledge(250, 'p', a?.id ?? 0)
    expect(d.takeBusyMs(300)).toBe(150)
  })
})

describe('a hold', () => {
  it('ends before the owner gives the batch to another, and never comes back', () => {
    const hold = new Hold(0, 50, 1_000)
    expect(hold.isLive(849)).toBe(true)
    hold.renewed(849, 500)
    expect(hold.isLive(1_299)).toBe(true)
    expect(hold.isLive(1_300)).toBe(false)
    hold.renewed(1_301, 1_300)
    expect(hold.isLive(1_302)).toBe(false)
  })
})

describe('a load monitor', () => {
  it('grows at once and shrinks one by one, when it stays calm and the others can do the work', () => {
    const monitor = new LoadMonitor({ threshold: 100, processorsMax: 4 })
    const look = (waiting: number, processors: number, busyShare: number) =>
      monitor.look({ waiting, processors, busyShare })
    expect(look(100, 1, 1)).toBe(1)
    expect(look(101, 1, 1)).toBe(2)
    expect(look(5_000, 2, 1)).toBe(4)
    // Nothing waits because four are at work.
    expect([look(0, 4, 0.9), look(0, 4, 0.9)]).toEqual([4, 4])
    expect([look(0, 4, 0.5), look(0, 4, 0.5), look(0, 3, 0.5), look(0, 3, 0.5)]).toEqual([4, 3, 3, 2])
    expect([look(0, 2, 0), look(150, 2, 0), look(0, 2, 0), look(0, 2, 0)]).toEqual([2, 2, 2, 1])
  })
})

describe('seeded: processors that freeze, die and fail over a bad network', () => {
  it('does everything once, in order of each key, with one processor at a time', () => {
    for (let seed = 1; seed <= 20; seed++) expect(violationsOf(seed), `seed ${seed}`).toEqual([])
  })

  it('does everything once without an order, too', () => {
    for (let seed = 101; seed <= 110; seed++)
      expect(violationsOf(seed, { isOrdered: false }), `seed ${seed}`).toEqual([])
  })
})

const mutations: readonly { name: string; file: string; find: string; replace: string }[] = [
  {
    name: 'what came back stays lent, too',
    file: 'dealer.ts',
    find: '    this.lent.delete(batch.id)\n',
    replace: '    if (batch.failures > 0) this.lent.delete(batch.id)\n',
  },
  {
    name: 'a batch is given out again a little early',
    file: 'dealer.ts',
    find: 'if (batch.deadlineMs <= nowMs)',
    replace: 'if (batch.deadlineMs <= nowMs + 400)',
  },
  {
    name: 'a batch never comes back',
    file: 'dealer.ts',
    find: 'if (batch.deadlineMs <= nowMs)',
    replace: 'if (batch.deadlineMs <= 0)',
  },
  {
    name: 'a busy key is not passed over',
    file: 'dealer.ts',
    find: '        passedOver.add(key)\n',
    replace: '',
  },
  {
    name: 'what is lent is lent again',
    file: 'dealer.ts',
    find: 'item.batch === waiting &&\n        item.notBeforeMs <= nowMs',
    replace: 'item.notBeforeMs <= nowMs',
  },
  {
    name: 'the position is what was read',
    file: 'dealer.ts',
    find: 'for (const offset of this.items.keys()) return offset - 1\n    return this.scannedTo',
    replace: 'return this.scannedTo',
  },
  {
    name: 'what failed counts as done',
    file: 'dealer.ts',
    find: '      item.batch = waiting\n      item.notBeforeMs',
    replace: '      this.items.delete(offset)\n      item.notBeforeMs',
  },
  {
    name: 'what was read twice is dealt twice',
    file: 'dealer.ts',
    find: '      if (event.offset <= this.scannedTo) continue\n',
    replace: '',
  },
  {
    name: 'what comes back is forgotten',
    file: 'dealer.ts',
    find: '(this.items.get(offset) as Item<E>).batch = waiting',
    replace: 'this.items.delete(offset)',
  },
  {
    name: 'a processor counts its time from the answer',
    file: 'hold.ts',
    find: 'this.deadline = askedAtMs + keptMs + share * leaseMs',
    replace: 'this.deadline = askedAtMs + keptMs + 500 + share * leaseMs',
  },
  {
    name: 'a processor counts on all of the time, by its own clock',
    file: 'hold.ts',
    find: 'const share = 0.8',
    replace: 'const share = 1',
  },
  {
    name: 'a processor counts a renewal from its answer',
    file: 'hold.ts',
    find: 'askedAtMs + share * this.leaseMs)',
    replace: 'nowMs + share * this.leaseMs)',
  },
]

describe('planted bugs', () => {
  it.each(mutations)('$name: some seed says so', async (mutation) => {
    const file = `src/core/processing/${mutation.file}`
    const world = 'test/core/processing-world.ts'
    const { violationsOf: run } = await importWith<{ violationsOf: typeof violationsOf }>(
      { ...mutation, file },
      world,
    )
    let found: readonly string[] = []
    for (let seed = 1; seed <= 60 && found.length === 0; seed++) {
      try {
        found = run(seed)
      } catch (error) {
        found = [String(error)]
      }
    }
    expect(found.length).toBeGreaterThan(0)
  })
})
