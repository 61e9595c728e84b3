import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Random } from '../../src/core/kernel/random.js'
import {
  type Frame,
  FrameDecoder,
  type FrameKind,
  frameBytesMax,
  frameHeaderBytes,
  writeFrameHeader,
} from '../../src/core/wire/framing.js'

interface Plain {
  readonly kind: FrameKind
  readonly type: number
  readonly id: number
  readonly body: readonly number[]
}

const frame: fc.Arbitrary<Plain> = fc.record({
  kind: fc.constantFrom(0, 1, 2, 3, 4),
  type: fc.nat(0xffff),
  id: fc.nat(0xffff_ffff),
  body: fc.array(fc.nat(255), { maxLength: 60 }),
})

function bytesOf(frames: readonly Plain[]): Uint8Array {
  const parts = frames.map(({ kind, type, id, body }) => {
    const bytes = new Uint8Array(frameHeaderBytes + body.length)
    expect(writeFrameHeader(bytes, 0, kind, type, id, body.length)).toBe(frameHeaderBytes)
    bytes.set(body, frameHeaderBytes)
    return bytes
  })
  return Buffer.concat(parts)
}

const plain = ({ kind, type, id, body }: Frame): Plain => ({ kind, type, id, body: [...body] })

describe('frame decoder', () => {
  it('returns every frame, in order, however the bytes are cut into chunks', () => {
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 8 }),
        fc.array(fc.nat(40), { minLength: 1, maxLength: 50 }),
        (frames, cuts) => {
          const bytes = bytesOf(frames)
          const decoder = new FrameDecoder()
          const seen: Plain[] = []
          let at = 0
          for (let i = 0; at < bytes.length; i++) {
            // Chunks of no bytes happen too, but not for ever.
            const size = i < 200 ? (cuts[i % cuts.length] as number) : 7
            expect(decoder.push(bytes.subarray(at, at + size), (f) => seen.push(plain(f)))).toBe('ok')
            at += size
          }
          expect(seen).toEqual(frames)
        },
      ),
    )
  })

  it('works on single bytes', () => {
    const frames: Plain[] = [
      { kind: 1, type: 0xffff, id: 0xffff_ffff, body: [1, 2, 3] },
      { kind: 4, type: 0, id: 0, body: [] },
    ]
    const decoder = new FrameDecoder()
    const seen: Plain[] = []
    for (const byte of bytesOf(frames)) decoder.push(Uint8Array.of(byte), (f) => seen.push(plain(f)))
    expect(seen).toEqual(frames)
  })

  it('never throws on random bytes, and stays of no use after a violation', () => {
    const random = new Random(7)
    let violations = 0
    for (let run = 0; run < 2_000; run++) {
      const decoder = new FrameDecoder(200)
      for (let i = 0; i < 6; i++) {
        const chunk = Uint8Array.from({ length: random.below(40) }, () => random.below(256))
        // Small lengths, so that some frames get through.
        if (random.chance(0.5)) chunk.set([0, 0, 0].slice(0, chunk.length))
        const read = decoder.push(chunk, () => {})
        if (read === 'ok') continue
        violations++
        expect(
          decoder.push(bytesOf([{ kind: 1, type: 1, id: 1, body: [] }]), () => expect.unreachable()),
        ).toEqual(read)
        break
      }
    }
    expect(violations).toBeGreaterThan(1_000)
  })

  it('calls a frame over the limit a violation as soon as its length is known', () => {
    const oversize = new Uint8Array(4)
    new DataView(oversize.buffer).setUint32(0, frameBytesMax + 1)
    const violation = `a frame of ${frameBytesMax + 1} bytes; 7 to ${frameBytesMax} are allowed`
    expect(new FrameDecoder().push(oversize, () => {})).toEqual({ violation })
    const byByte = new FrameDecoder()
    for (const byte of oversize.subarray(0, 3)) expect(byByte.push(Uint8Array.of(byte), () => {})).toBe('ok')
    expect(byByte.push(oversize.subarray(3), () => {})).toEqual({ violation })
  })

  it('takes a frame of exactly the limit', () => {
    const body = Array.from({ length: 13 }, () => 9)
    const seen: Plain[] = []
    expect(
      new FrameDecoder(20).push(bytesOf([{ kind: 2, type: 3, id: 4, body }]), (f) => seen.push(plain(f))),
    ).toBe('ok')
    expect(seen).toHaveLength(1)
    const larger = bytesOf([{ kind: 2, type: 3, id: 4, body: [...body, 9] }])
    expect(new FrameDecoder(20).push(larger, () => expect.unreachable())).not.toBe('ok')
  })

  it('refuses a frame shorter than its own header, and kinds that do not exist', () => {
    expect(new FrameDecoder().push(Uint8Array.of(0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0), () => {})).toMatchObject({
      violation: expect.stringContaining('a frame of 6 bytes'),
    })
    const unknown = bytesOf([{ kind: 4, type: 0, id: 0, body: [] }])
    unknown[4] = 5
    expect(new FrameDecoder().push(unknown, () => {})).toEqual({ violation: 'unknown kind of frame 5' })
  })

  it('hands out what came before the garbage', () => {
    const bytes = Buffer.concat([
      bytesOf([{ kind: 1, type: 1, id: 1, body: [5] }]),
      new Uint8Array(11).fill(255),
    ])
    const seen: Plain[] = []
    expect(new FrameDecoder().push(bytes, (f) => seen.push(plain(f)))).toHaveProperty('violation')
    expect(seen).toHaveLength(1)
  })
})
