import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  FrameDecoder,
  type FrameKind,
  frameBytesMax,
  frameHeaderBytes,
  frameKinds,
  writeFrameHeader,
} from '../../src/core/wire/frame.js'

interface Seen {
  readonly kind: FrameKind
  readonly type: number
  readonly id: number
  readonly body: readonly number[]
}

const frames = fc.array(
  fc.record({
    kind: fc.constantFrom(...Object.values(frameKinds)),
    type: fc.integer({ min: 0, max: 0xffff }),
    id: fc.integer({ min: 0, max: 0xffff_ffff }),
    body: fc.array(fc.integer({ min: 0, max: 255 }), { maxLength: 40 }),
  }),
  { maxLength: 12 },
)

function encode(list: readonly Seen[]): Uint8Array {
  const bytes = new Uint8Array(list.reduce((sum, f) => sum + frameHeaderBytes + f.body.length, 0))
  let at = 0
  for (const f of list) {
    at = writeFrameHeader(bytes, at, f.kind, f.type, f.id, f.body.length)
    bytes.set(f.body, at)
    at += f.body.length
  }
  return bytes
}

function collector(bytesMax?: number) {
  const seen: Seen[] = []
  const decoder = new FrameDecoder(
    { takeFrame: (kind, type, id, body) => void seen.push({ kind, type, id, body: [...body] }) },
    bytesMax,
  )
  return { seen, decoder }
}

function pushInPieces(
  decoder: FrameDecoder,
  bytes: Uint8Array,
  sizes: readonly number[],
): string | undefined {
  let at = 0
  let turn = 0
  let violation: string | undefined
  while (at < bytes.length) {
    const size = sizes.length === 0 ? bytes.length : (sizes[turn++ % sizes.length] as number)
    violation = decoder.push(bytes.slice(at, at + size))
    at += size
  }
  return violation
}

describe('frames', () => {
  it('come out as they went in, however the stream is cut', () => {
    fc.assert(
      fc.property(frames, fc.array(fc.integer({ min: 1, max: 60 }), { maxLength: 8 }), (list, sizes) => {
        const { seen, decoder } = collector()
        expect(pushInPieces(decoder, encode(list), sizes)).toBeUndefined()
        expect(seen).toEqual(list)
        expect(decoder.keptBytes).toBe(0)
      }),
    )
  })

  it('never make the decoder throw, and what follows a violation is not decoded', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), fc.integer({ min: 1, max: 50 }), (bytes, size) => {
        const { seen, decoder } = collector(1_000)
        const violation = pushInPieces(decoder, bytes, [size])
        const before = seen.length
        if (violation === undefined) return
        expect(decoder.push(encode([{ kind: 0, type: 1, id: 1, body: [] }]))).toBe(violation)
        expect(seen.length).toBe(before)
      }),
      { numRuns: 1_000 },
    )
  })

  it('are judged the same whatever the cuts', () => {
    fc.assert(
      fc.property(
        frames,
        fc.integer({ min: 0, max: 200 }),
        fc.integer({ min: 0, max: 255 }),
        fc.integer({ min: 1, max: 30 }),
        (list, where, value, size) => {
          const bytes = encode(list)
          if (bytes.length > 0) bytes[where % bytes.length] = value
          const whole = collector(200)
          const pieces = collector(200)
          const a = pushInPieces(whole.decoder, bytes, [])
          const b = pushInPieces(pieces.decoder, bytes, [size])
          expect(pieces.seen).toEqual(whole.seen)
          expect(b).toEqual(a)
        },
      ),
    )
  })

  it('that are only announced cost no memory', () => {
    const { decoder } = collector()
    const header = new Uint8Array(frameHeaderBytes)
    writeFrameHeader(header, 0, frameKinds.oneWay, 1, 0, frameBytesMax - frameHeaderBytes)
    expect(decoder.push(header)).toBeUndefined()
    expect(decoder.keptBytes).toBeLessThanOrEqual(4_096)
    decoder.push(new Uint8Array(10_000))
    expect(decoder.keptBytes).toBeLessThanOrEqual(2 * (10_000 + frameHeaderBytes))
  })

  it('of the largest size pass, one byte more does not', () => {
    const passes = collector()
    const bytes = new Uint8Array(frameBytesMax)
    writeFrameHeader(bytes, 0, frameKinds.reply, 7, 9, frameBytesMax - frameHeaderBytes)
    let received = 0
    const decoder = new FrameDecoder({
      takeFrame: (_kind, _type, _id, body) => {
        received = body.length
      },
    })
    for (let at = 0; at < bytes.length; at += 100_000) decoder.push(bytes.subarray(at, at + 100_000))
    expect(received).toBe(frameBytesMax - frameHeaderBytes)
    writeFrameHeader(bytes, 0, frameKinds.reply, 7, 9, frameBytesMax - frameHeaderBytes + 1)
    expect(passes.decoder.push(bytes.subarray(0, 5))).toMatch(/a frame of 16777217 bytes/)
  })
})
