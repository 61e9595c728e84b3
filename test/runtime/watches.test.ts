/** Whoever watches a run hears of its end once: pushed, asked for, or concluded from its node; seeded over lost, late and repeated messages. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Random } from '../../src/core/kernel/random.js'
import { pack, unpack } from '../../src/runtime/mesh-frames.js'
import type { SpawnRef } from '../../src/runtime/processing/api-types.js'
import { type End, packedOutcome, reasonOf } from '../../src/runtime/processing/outcome.js'
import { Watches } from '../../src/runtime/processing/watches.js'

const id = '0123456789abcdef@b'
const ref: SpawnRef = { id, name: 'x', nodeId: 'b', bootId: 'b-1' }
const done = packedOutcome({ kind: 'killed', reason: 'over', isSettled: true }, false)
const from = { nodeId: 'b', bootId: 'b-1' }

class Bench {
  /** Boot of b as membership has it; undefined for not there. */
  boot: string | undefined = 'b-1'
  left = false
  /** What b answers: whether it knows the run, or null for another process. */
  answer: (() => Promise<boolean | null>) | undefined
  asked = 0
  readonly ends: string[] = []
  readonly watches = new Watches({
    nodeId: 'a',
    bootId: 'a-1',
    bootOf: () => this.boot,
    hasLeft: () => this.left,
    watchHere: () => () => {},
    request: async (_, __, body) => {
      this.asked++
      const [, runs] = unpack(body) as [string, unknown[]]
      const known = await (this.answer ?? (() => Promise.resolve(true)))()
      return pack(known === null ? null : runs.map(() => known))
    },
    onTrouble: (error) => expect.fail(String(error)),
  })

  watch(of: SpawnRef = ref, isStarted = true): () => void {
    return this.watches.watch(of, (end: End) => this.ends.push(reasonOf(end)), { isStarted })
  }
}

describe('a watch', () => {
  let bench: Bench
  beforeEach(() => {
    vi.useFakeTimers({
      toFake: ['setInterval', 'clearInterval', 'setTimeout', 'clearTimeout', 'performance'],
    })
    bench = new Bench()
  })
  afterEach(() => {
    bench.watches.close()
    vi.useRealTimers()
  })

  it('is told once, however often the end is pushed and whatever becomes of the node then', async () => {
    bench.watch()
    await vi.advanceTimersByTimeAsync(100)
    bench.watches.ended(from, id, done)
    bench.watches.ended(from, id, done)
    bench.boot = 'b-2'
    bench.watches.peersChanged()
    await vi.advanceTimersByTimeAsync(10_000)
    expect(bench.ends).toEqual(['killed'])
  })

  it('does not believe another node, nor another process of the same', async () => {
    bench.watch()
    bench.watches.ended({ nodeId: 'c', bootId: 'b-1' }, id, done)
    bench.watches.ended({ nodeId: 'b', bootId: 'b-2' }, id, done)
    await vi.advanceTimersByTimeAsync(100)
    expect(bench.ends).toEqual([])
  })

  it.each([
    ['node_failed', undefined, false],
    ['node_left', undefined, true],
    ['node_restarted', 'b-2', false],
  ])('says %s when membership says so, and nothing when the node comes back', async (reason, boot, left) => {
    bench.watch()
    await vi.advanceTimersByTimeAsync(100)
    bench.boot = boot
    bench.left = left
    bench.watches.peersChanged()
    bench.boot = 'b-1'
    bench.watches.peersChanged()
    bench.watches.ended(from, id, done)
    expect(bench.ends).toEqual([reason])
  })

  it('hears of a restart that membership has not seen, from the node itself', async () => {
    bench.answer = async () => null
    bench.watch()
    await vi.advanceTimersByTimeAsync(10)
    expect(bench.ends).toEqual(['node_restarted'])
  })

  it('waits a little for a node that it has not heard of', async () => {
    bench.boot = undefined
    bench.watch()
    await vi.advanceTimersByTimeAsync(2_500)
    bench.boot = 'b-1'
    bench.watches.peersChanged()
    await vi.advanceTimersByTimeAsync(5_000)
    expect(bench.ends).toEqual([])
    const other = new Bench()
    other.boot = undefined
    other.watch()
    await vi.advanceTimersByTimeAsync(6_000)
    expect(other.ends).toEqual(['node_failed'])
    other.watches.close()
  })

  it('asks again and again, and takes no answer for none', async () => {
    bench.answer = () => Promise.reject(new Error('lost'))
    bench.watch()
    await vi.advanceTimersByTimeAsync(20_000)
    expect(bench.ends).toEqual([])
    expect(bench.asked).toBeGreaterThan(8)
    bench.answer = async () => false
    await vi.advanceTimersByTimeAsync(2_500)
    expect(bench.ends).toEqual(['unknown'])
  })

  it('does not ask for what is only being started', async () => {
    bench.answer = async () => false
    bench.watch(ref, false)
    await vi.advanceTimersByTimeAsync(10_000)
    expect([bench.asked, bench.ends]).toEqual([0, []])
    bench.watches.started(ref)
    await vi.advanceTimersByTimeAsync(2_500)
    expect(bench.ends).toEqual(['unknown'])
  })

  it('seeded: once for each watcher that did not go away, whatever happens', async () => {
    for (let seed = 1; seed <= 100; seed++) {
      const random = new Random(seed)
      const one = new Bench()
      one.answer = async () => {
        if (random.chance(0.3)) throw new Error('lost')
        return !random.chance(0.1)
      }
      let taken = 0
      const told: number[] = []
      const stops = Array.from({ length: 5 }, (_, i) => {
        told.push(0)
        return one.watches.watch(ref, () => {
          told[i] = (told[i] as number) + 1
        })
      })
      for (let step = 0; step < 30; step++) {
        const what = random.below(6)
        if (what === 0) one.watches.ended(from, id, done)
        else if (what === 1) one.boot = random.pick(['b-1', undefined, 'b-2'])
        else if (what === 2 && random.chance(0.1)) {
          if (told[taken] === 0) told[taken] = -1
          stops[taken++ % 5]?.()
        }
        one.watches.peersChanged()
        await vi.advanceTimersByTimeAsync(random.below(1_500))
      }
      one.boot = undefined
      await vi.advanceTimersByTimeAsync(6_000)
      one.watches.peersChanged()
      expect(
        told.filter((n) => n !== 1 && n !== -1),
        `seed ${seed}`,
      ).toEqual([])
      one.watches.close()
    }
  })
})
