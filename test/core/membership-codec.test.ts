import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../src/core/kernel/random.js'
import { claimBytes, decodeMembership, encodeMembership } from '../../src/core/membership/codec.js'
import { type Claim, noTelemetry, type Telemetry } from '../../src/core/membership/member.js'
import type { MembershipMessage } from '../../src/core/membership/messages.js'
import { arbitraryClaim, arbitraryMessages, recordOf } from './claims.js'

const claim = (over: Partial<Claim> = {}): Claim => ({
  record: recordOf('n1'),
  status: 'alive',
  from: 'n1',
  missedProbes: 0,
  verdictAtMs: 0,
  ...over,
})
const gossip = (...claims: Claim[]): MembershipMessage => ({ type: 'gossip', from: 'n1', digest: 5, claims })
const detailOf = (bytes: Uint8Array) => {
  const decoded = decodeMembership(bytes)
  return decoded.ok ? 'decoded' : decoded.detail
}

describe('membership codec', () => {
  it.each([Number.POSITIVE_INFINITY, Number.NaN, -1, 2 ** 53])('does not write %d, nor for ever', (error) => {
    const coordinate = { place: [0, 0, 0, 0], height: 0, adjustment: 0, error }
    const telemetry: Telemetry = { ...noTelemetry, coordinate }
    expect(() =>
      encodeMembership({ ...gossip(), type: 'ack', seq: error, wallMs: 0, telemetry } as never),
    ).toThrow(/is no varint/)
  })

  for (const [type, messages] of Object.entries(arbitraryMessages)) {
    it(`carries every ${type}, Unicode ids included, and returns it as it was`, () => {
      fc.assert(
        fc.property(messages, (message) => {
          expect(decodeMembership(encodeMembership(message))).toEqual({ ok: true, message })
        }),
        { numRuns: 60 },
      )
    })
  }

  it('counts the bytes of a claim as it writes them', () => {
    const empty = encodeMembership(gossip()).length
    fc.assert(
      fc.property(arbitraryClaim, (c) => {
        expect(encodeMembership(gossip(c)).length - empty).toBe(claimBytes(c))
      }),
      { numRuns: 60 },
    )
  })

  it('never throws on 20,000 random or mutated byte strings', () => {
    const random = new Random(42)
    const originals = fc
      .sample(fc.oneof(...Object.values(arbitraryMessages)), { numRuns: 40, seed: 42 })
      .map(encodeMembership)
    let refused = 0
    for (let i = 0; i < 20_000; i++) {
      let bytes: Uint8Array
      if (i % 2 === 0) {
        bytes = Uint8Array.from({ length: random.below(80) }, () => random.below(256))
        // Most of the random ones would end at the version byte.
        if (bytes.length > 1 && i % 4 === 0) bytes.set([1, random.below(10)])
      } else {
        bytes = (random.pick(originals) as Uint8Array).slice()
        for (let n = 0; n <= random.below(4); n++) bytes[random.below(bytes.length)] = random.below(256)
        if (random.chance(0.3)) bytes = bytes.slice(0, random.below(bytes.length + 1))
      }
      const decoded = decodeMembership(bytes)
      if (!decoded.ok) {
        expect(decoded.detail).not.toBe('')
        refused++
      }
    }
    expect(refused).toBeGreaterThan(10_000)
  })

  it('refuses every message that was cut short or goes on too long', () => {
    const bytes = encodeMembership(gossip(claim()))
    for (let length = 0; length < bytes.length; length++)
      expect(detailOf(bytes.slice(0, length))).not.toBe('decoded')
    expect(detailOf(Uint8Array.of(...bytes, 0))).toBe('1 bytes after the end of the message')
  })

  it('names the format version that it does not know', () => {
    expect(detailOf(Uint8Array.of(9, 0))).toBe('message format 9, this node knows 1')
    expect(detailOf(Uint8Array.of(1, 77))).toBe('unknown message type 77')
  })

  it('holds every text to its limit', () => {
    const long = (bytes: number) => 'x'.repeat(bytes)
    const id = encodeMembership(gossip(claim({ record: recordOf(long(65)) })))
    expect(detailOf(id)).toBe('text of 65 bytes where 64 are allowed')
    const address = encodeMembership(gossip(claim({ record: recordOf('n1', { peerAddress: long(256) }) })))
    expect(detailOf(address)).toBe('text of 256 bytes where 255 are allowed')
    const facts = encodeMembership(gossip(claim({ record: recordOf('n1', { facts: long(513) }) })))
    expect(detailOf(facts)).toBe('text of 513 bytes where 512 are allowed')
    expect(detailOf(encodeMembership(gossip(claim({ record: recordOf('') }))))).toBe(
      'a claim without a node id',
    )
  })

  it('does not believe a count of items that cannot be there', () => {
    const buckets = Array.from({ length: 257 }, () => 1)
    expect(detailOf(encodeMembership({ type: 'digest', from: 'n1', buckets, reply: false }))).toMatch(
      /257 items where 256/,
    )
    // A gossip message of three bytes that announces 16,383 claims.
    expect(detailOf(Uint8Array.of(1, 4, 0, 0, 0xff, 0x7f))).toMatch(/16383 items/)
  })

  describe('what follows a ping or an ack', () => {
    const ack = (process: Telemetry['process']): MembershipMessage => ({
      type: 'ack',
      seq: 1,
      from: 'n1',
      wallMs: 5,
      telemetry: { ...noTelemetry, process },
      digest: 0,
      claims: [],
    })

    it('is passed over where it is not known, and so is what more a known section says', () => {
      const plain = encodeMembership(ack(null))
      const unknown = Uint8Array.of(...plain, 99, 3, 1, 2, 3)
      expect(decodeMembership(unknown)).toEqual({ ok: true, message: ack(null) })
      const longer = Uint8Array.of(...plain, 99, 0, 1, 4, 50, 60, 70, 80)
      expect(decodeMembership(longer)).toEqual({ ok: true, message: ack({ cpuPct: 50, memoryMib: 60 }) })
    })

    it('is no place where it is of another space, out of bounds or no number, and the rest still counts', () => {
      const plain = encodeMembership(ack(null))
      const there = { place: [1, -2, 3, 0], adjustment: -0.5, height: 4, error: 0.25 }
      const readBack = (coordinate: Telemetry['coordinate']) => {
        const said = { ...ack(null), telemetry: { ...noTelemetry, coordinate } } as MembershipMessage
        const decoded = decodeMembership(encodeMembership(said))
        return decoded.ok && decoded.message.type === 'ack' ? decoded.message.telemetry.coordinate : undefined
      }
      expect(readBack(there)).toEqual(there)
      for (const wrong of [
        { ...there, place: [1, 2, 3] },
        { ...there, place: [1, 2, 3, 4, 5] },
        { ...there, place: [10_001, 0, 0, 0] },
        { ...there, adjustment: -10_001 },
        { ...there, height: 2 ** 40 },
        { ...there, error: 1.6 },
      ])
        expect(readBack(wrong)).toBeNull()
      // Four dimensions announced, none sent; and one that goes on past its section's end.
      expect(detailOf(Uint8Array.of(...plain, 2, 1, 4))).toBe('message ends early')
      expect(detailOf(Uint8Array.of(...plain, 2, 9, 4, 0, 0))).toBe('message ends early')
    })

    it('leaves the room for claims in a datagram that is counted on', () => {
      const most = 2 ** 31
      const telemetry: Telemetry = {
        ...noTelemetry,
        loadCenti: most,
        eventsPerSecond: most,
        shardsOwned: most,
        loopDelayMs: most,
        unconfirmedEvents: most,
        process: { cpuPct: most, memoryMib: most },
        coordinate: { place: [-1e4, 1e4, -1e4, 1e4], adjustment: -1e4, height: 1e4, error: 1.5 },
      }
      const head = { seq: most, wallMs: 2 ** 45, telemetry, digest: most, claims: [] }
      const id = 'ü'.repeat(32)
      const ping = encodeMembership({ type: 'ping', ...head, target: id, health: most })
      const lengths = [ping, encodeMembership({ type: 'ack', ...head, from: id })].map((b) => b.length)
      // Of the 450 bytes that gossip leaves free, the seal takes some too.
      expect(Math.max(...lengths)).toBeLessThan(250)
    })

    it('is nothing for a reader that knows of no sections', () => {
      expect([...encodeMembership(ack(null))]).toEqual([1, 1, 1, 2, 110, 49, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    })

    it('is held to its length', () => {
      const plain = encodeMembership(ack(null))
      expect(detailOf(Uint8Array.of(...plain, 1, 1, 50))).toBe('message ends early')
      expect(detailOf(Uint8Array.of(...plain, 1, 9, 50))).toBe('message ends early')
      expect(detailOf(Uint8Array.of(...plain, 99, 0xff, 0x7f))).toBe('16383 bytes where 256 are allowed')
    })
  })

  it('measures percentages into 0 to 100 and times up from zero', () => {
    const telemetry = {
      cpuPct: 140,
      memoryPct: -3,
      diskPct: 50.4,
      loadCenti: -1,
      eventsPerSecond: 2.6,
      shardsOwned: 1,
      loopDelayMs: 0,
      unconfirmedEvents: 0,
      process: null,
      coordinate: null,
    }
    const decoded = decodeMembership(
      encodeMembership({ type: 'ack', seq: 1, from: 'n1', wallMs: -5, telemetry, digest: 0, claims: [] }),
    )
    expect(decoded).toMatchObject({
      message: {
        wallMs: 0,
        telemetry: { cpuPct: 100, memoryPct: 0, diskPct: 50, loadCenti: 0, eventsPerSecond: 3 },
      },
    })
  })
})
