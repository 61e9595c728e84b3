import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type DedupeEntry, type DedupeOptions, DedupeWindow } from '../../src/core/routing/dedupe.js'

/** The same, as dumb as can be: a list, oldest first. */
class Oracle {
  readonly list: { id: string; entry: DedupeEntry }[] = []
  readonly options: DedupeOptions

  constructor(options: DedupeOptions) {
    this.options = options
  }

  lookup(id: string): DedupeEntry | undefined {
    return this.list.find((item) => item.id === id)?.entry
  }

  insert(id: string, entry: DedupeEntry): void {
    const known = this.list.find((item) => item.id === id)
    if (known !== undefined) {
      known.entry = entry
      return
    }
    this.list.push({ id, entry })
    if (this.list.length > this.options.idsMax) this.list.shift()
  }

  evict(nowMs: number): void {
    const { windowMs, idsMin } = this.options
    const outnumbered = () => this.list.length - 1 >= idsMin
    while (this.list[0] !== undefined && outnumbered() && nowMs - this.list[0].entry.atMs > windowMs)
      this.list.shift()
  }
}

/** Few enough that ids come again, odd enough to matter: empty, long, beyond ASCII, one the start of another. */
const idArbitrary = fc.oneof(
  fc.integer({ min: 0, max: 400 }).map((n) => `id-${n}`),
  fc.constantFrom('', 'a', 'ab', 'é', 'éa', '\u{1F9E6}', '\0', '__proto__', 'x'.repeat(300), '\ud800'),
  fc.string({ maxLength: 3 }),
)

const stepArbitrary = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant('insert' as const), id: idArbitrary, payload: idArbitrary }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 40 }) }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('evict' as const) }) },
)

describe('the dedupe window', () => {
  it('answers like a list, whatever happens', () => {
    const optionsArbitrary = fc.record({
      windowMs: fc.integer({ min: 0, max: 100 }),
      idsMin: fc.integer({ min: 0, max: 120 }),
      idsMax: fc.integer({ min: 1, max: 250 }),
    })
    fc.assert(
      fc.property(
        optionsArbitrary,
        fc.array(stepArbitrary, { maxLength: 600, size: 'max' }),
        (options, steps) => {
          const window = new DedupeWindow(options)
          const oracle = new Oracle(options)
          let nowMs = 1_763_700_000_000
          let offset = 0
          for (const step of steps) {
            if (step.kind === 'wait') nowMs += step.ms
            else if (step.kind === 'evict') {
              window.evict(nowMs)
              oracle.evict(nowMs)
            } else {
              expect(window.lookup(step.id)).toEqual(oracle.lookup(step.id))
              const entry = { offset: ++offset, payloadDigest: step.payload, atMs: nowMs }
              window.insert(step.id, entry)
              oracle.insert(step.id, entry)
            }
            expect(window.size).toBe(oracle.list.length)
          }
          for (const { id, entry } of oracle.list) expect(window.lookup(id)).toEqual(entry)
        },
      ),
      { numRuns: 150 },
    )
  })

  it('keeps the newest idsMax through many turns of the ring', () => {
    const window = new DedupeWindow({ windowMs: 0, idsMin: 10, idsMax: 1000 })
    for (let i = 0; i < 20_000; i++) window.insert(`digest-${i}`, { offset: i, payloadDigest: 'p', atMs: i })
    expect(window.size).toBe(1000)
    expect(window.lookup('digest-18999')).toBeUndefined()
    for (let i = 19_000; i < 20_000; i++) expect(window.lookup(`digest-${i}`)?.offset).toBe(i)
    window.evict(30_000)
    expect(window.size).toBe(10)
    expect(window.lookup('digest-19990')?.offset).toBe(19_990)
  })

  it('takes no more than 80 bytes an id', () => {
    const idsMax = 50_000
    const window = new DedupeWindow({ windowMs: 600_000, idsMin: 10_000, idsMax })
    for (let i = 0; i < idsMax; i++) {
      const digest = `${i}`.padStart(22, 'AbCdEf-_0123456789')
      window.insert(digest, { offset: i, payloadDigest: digest, atMs: 1_763_700_000_000 + i })
    }
    let bytes = 0
    const count = (value: unknown) => {
      if (ArrayBuffer.isView(value)) bytes += value.byteLength
      else if (typeof value === 'object' && value !== null)
        for (const inner of Object.values(value)) count(inner)
    }
    count(window)
    expect(bytes / idsMax).toBeLessThan(80)
  })

  it('refuses a digest that is no digest', () => {
    const window = new DedupeWindow({ windowMs: 1, idsMin: 1, idsMax: 10 })
    const entry = { offset: 1, payloadDigest: 'p', atMs: 1 }
    expect(() => window.insert('x'.repeat(70_000), entry)).toThrow(RangeError)
    expect(window.size).toBe(0)
    expect(window.lookup('x')).toBeUndefined()
  })
})
