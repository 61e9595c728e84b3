import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  compareHlc,
  type HlcTimestamp,
  HybridClock,
  hlcFromBytes,
  hlcFromText,
  hlcToBytes,
  hlcToText,
} from '../../src/core/hlc/hlc.js'

const farMs = 2 ** 47

const clock = (over: Partial<ConstructorParameters<typeof HybridClock>[0]> = {}) => {
  const c = new HybridClock({ tag: 7, skewMsMax: 500, ceilingMs: 0, ...over })
  if (over.ceilingMs === undefined) c.raiseCeiling(farMs)
  return c
}

const timestamp = fc.record({
  wallMs: fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 2 ** 48 - 1 })),
  counter: fc.oneof(fc.integer({ min: 0, max: 3 }), fc.integer({ min: 0, max: 0xffff })),
  tag: fc.integer({ min: 0, max: 0xffff_ffff }),
})

const compareBytes = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b)
const compareText = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0)

describe('hybrid clock', () => {
  it('gives out ever greater timestamps however the wall clock jumps', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 0, max: 10_000 }), { minLength: 2, maxLength: 50 }), (walls) => {
        const c = clock()
        const texts = walls.map((wallMs) => hlcToText(c.now(wallMs)))
        for (let i = 1; i < texts.length; i++) expect(texts[i]! > texts[i - 1]!).toBe(true)
      }),
    )
  })

  it('merges what others say: the answer is after the remote timestamp and after everything before', () => {
    const remote = fc.record({ wallMs: fc.nat(10_000), counter: fc.nat(0xffff), tag: fc.nat(9) })
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(10_000), remote), { maxLength: 40 }), (steps) => {
        const c = clock({ skewMsMax: 100_000 })
        let last: HlcTimestamp = { wallMs: 0, counter: 0, tag: 0 }
        for (const [wallMs, from] of steps) {
          const got = c.receive(from, wallMs)
          if (!got.ok) throw new Error('refused within the skew')
          expect(compareHlc(got.timestamp, from)).toBeGreaterThan(0)
          expect(compareHlc(got.timestamp, last)).toBeGreaterThan(0)
          last = got.timestamp
        }
      }),
    )
  })

  it('takes a remote timestamp that is ahead by exactly the permitted skew', () => {
    const c = clock()
    expect(c.receive({ wallMs: 1_500, counter: 3, tag: 1 }, 1_000)).toEqual({
      ok: true,
      timestamp: { wallMs: 1_500, counter: 4, tag: 7 },
    })
  })

  it('refuses a remote timestamp beyond the skew, says by how much, and stays as it was', () => {
    const c = clock()
    const twin = clock()
    for (const each of [c, twin]) each.now(1_000)
    expect(c.receive({ wallMs: 1_501, counter: 0, tag: 1 }, 1_000)).toEqual({
      ok: false,
      aheadMs: 501,
      skewMsMax: 500,
    })
    expect(c.refusedCount).toBe(1)
    expect(c.now(1_000)).toEqual(twin.now(1_000))
  })

  it('borrows a millisecond when the counter is full', () => {
    const c = clock()
    c.receive({ wallMs: 1_000, counter: 0xfffe, tag: 1 }, 1_000)
    expect(c.now(1_000)).toEqual({ wallMs: 1_001, counter: 0, tag: 7 })
    expect(c.now(1_000)).toEqual({ wallMs: 1_001, counter: 1, tag: 7 })
  })

  it('never goes back over a restart that knows the persisted ceiling', () => {
    const life = fc.record({
      startMs: fc.integer({ min: 0, max: 60_000 }),
      steps: fc.array(fc.nat(3_000), { maxLength: 30 }),
    })
    fc.assert(
      fc.property(fc.array(life, { minLength: 2, maxLength: 4 }), (lives) => {
        let persisted = 0
        let last = ''
        for (const { startMs, steps } of lives) {
          const c = clock({ ceilingMs: persisted })
          let wallMs = startMs
          for (const step of steps) {
            wallMs += step
            const wanted = c.ceilingWanted(wallMs)
            if (wanted !== undefined) {
              persisted = Math.max(persisted, wanted)
              c.raiseCeiling(wanted)
            }
            const text = hlcToText(c.now(wallMs))
            expect(text > last).toBe(true)
            last = text
          }
        }
      }),
    )
  })

  it('stands still at the ceiling and goes on counting until more is durable', () => {
    const c = clock({ ceilingMs: 0 })
    c.raiseCeiling(1_000)
    expect(c.now(5_000)).toMatchObject({ wallMs: 1_000, counter: 0 })
    expect(c.now(6_000)).toMatchObject({ wallMs: 1_000, counter: 1 })
    c.raiseCeiling(20_000)
    expect(c.now(6_000)).toMatchObject({ wallMs: 6_000, counter: 0 })
  })

  it('asks for a higher ceiling only when half of the reserve is used up', () => {
    const c = new HybridClock({ tag: 1, skewMsMax: 500, ceilingMs: 0, reserveMs: 10_000 })
    expect(c.ceilingWanted(1_000)).toBe(11_000)
    c.raiseCeiling(11_000)
    expect(c.ceilingWanted(6_000)).toBeUndefined()
    expect(c.ceilingWanted(6_001)).toBe(16_001)
    c.raiseCeiling(5)
    expect(c.ceilingWanted(6_000)).toBeUndefined()
  })
})

describe('timestamps on the wire', () => {
  it('come back from text and from bytes as they went', () => {
    fc.assert(
      fc.property(timestamp, (t) => {
        expect(hlcFromText(hlcToText(t))).toEqual(t)
        expect(hlcFromBytes(hlcToBytes(t))).toEqual(t)
        expect(hlcToText(t)).toBe(Buffer.from(hlcToBytes(t)).toString('hex'))
      }),
    )
  })

  it('sort alike as values, texts and bytes', () => {
    fc.assert(
      fc.property(timestamp, timestamp, (a, b) => {
        const sign = Math.sign(compareHlc(a, b))
        expect(compareText(hlcToText(a), hlcToText(b))).toBe(sign)
        expect(compareBytes(hlcToBytes(a), hlcToBytes(b))).toBe(sign)
      }),
    )
  })

  it('refuse everything that is not exactly one of them', () => {
    for (const text of [
      '',
      '0'.repeat(23),
      '0'.repeat(25),
      'A'.repeat(24),
      `${'0'.repeat(23)} `,
      `${'0'.repeat(24)}\n`,
    ]) {
      expect(hlcFromText(text), JSON.stringify(text)).toBeUndefined()
    }
    expect(hlcFromBytes(new Uint8Array(11))).toBeUndefined()
    expect(hlcFromBytes(new Uint8Array(13))).toBeUndefined()
  })
})
