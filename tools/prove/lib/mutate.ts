/**
 * Makes wrong bytes out of right ones: bits flipped, ends cut off, lengths that lie, pieces of two frames in one, and values that are well-formed
 * and senseless. All chance is seeded: the same seed makes the same bytes.
 */
import { Packr } from 'msgpackr'
import type { Random } from '../../../src/core/kernel/random.js'
import { decodeMembership, encodeMembership } from '../../../src/core/membership/codec.js'
import type { MembershipMessage } from '../../../src/core/membership/messages.js'
import { type FrameKind, frameHeaderBytes, writeFrameHeader } from '../../../src/core/wire/frame.js'
import type { RecordedFrame } from './wiretap.js'

const packr = new Packr({ useRecords: false })
const lengths = [0, 1, 6, 7, 8, 255, 65_535, 16_777_216, 16_777_217, 0x7fff_ffff, 0xffff_ffff]

/** A frame as it goes over the wire. */
export function frameBytes(kind: FrameKind | number, type: number, id: number, body: Uint8Array): Buffer {
  const bytes = Buffer.alloc(frameHeaderBytes + body.length)
  writeFrameHeader(bytes, 0, kind as FrameKind, type, id, body.length)
  bytes.set(body, frameHeaderBytes)
  return bytes
}

export class Mutator {
  private readonly random: Random

  constructor(random: Random) {
    this.random = random
  }

  /** Anything at all. */
  garbage(bytesMax: number): Buffer {
    return this.noise(this.random.below(bytesMax))
  }

  /** Never the same bytes again. */
  bytes(given: Uint8Array, other?: Uint8Array): Buffer {
    const { random } = this
    const bytes = Buffer.from(given)
    if (bytes.length === 0) return this.noise(1 + random.below(40))
    switch (random.below(other === undefined ? 5 : 6)) {
      case 0:
        for (let i = 1 + random.below(8); i > 0; i--) flip(bytes, random.below(bytes.length * 8))
        return bytes
      case 1:
        for (let i = 1 + random.below(16); i > 0; i--) bytes[random.below(bytes.length)] = random.below(256)
        return Buffer.from(bytes)
      case 2:
        return bytes.subarray(0, random.below(bytes.length))
      case 3:
        return Buffer.concat([bytes, this.noise(1 + random.below(64))])
      case 4: {
        const from = random.below(bytes.length)
        const to = from + random.below(bytes.length - from)
        return Buffer.concat([bytes.subarray(0, to), bytes.subarray(from)])
      }
      default: {
        const tail = Buffer.from(other as Uint8Array)
        return Buffer.concat([
          bytes.subarray(0, random.below(bytes.length)),
          tail.subarray(random.below(tail.length)),
        ])
      }
    }
  }

  /** A recorded frame made wrong in its header or in its body; the body sometimes so that it decodes. */
  frame(given: RecordedFrame, other: RecordedFrame): Buffer {
    const { random } = this
    const { kind, type, id, body } = given
    switch (random.below(8)) {
      case 0:
        return this.bytes(
          frameBytes(kind, type, id, body),
          frameBytes(other.kind, other.type, other.id, other.body),
        )
      case 1: {
        const lying = frameBytes(kind, type, id, body)
        lying.writeUInt32BE(random.pick(lengths) as number, 0)
        return lying
      }
      case 2:
        return frameBytes(random.below(7), type, id, body)
      case 3:
        return frameBytes(kind, random.below(12), random.uint32(), body)
      case 4:
        return frameBytes(kind, type, id, other.body)
      case 5:
        return frameBytes(kind, type, id, this.bytes(body, other.body))
      default:
        return frameBytes(kind, type, id, given.way === 'mesh' ? this.packed(body) : this.membership(body))
    }
  }

  /** A datagram or control frame of the membership protocol. */
  membership(body: Uint8Array): Buffer {
    const decoded = decodeMembership(body)
    if (!decoded.ok || this.random.chance(0.3)) return this.bytes(body)
    const wrong = this.value(decoded.message, true) as MembershipMessage
    try {
      return Buffer.from(encodeMembership(wrong))
    } catch {
      // Too senseless for our own encoder: then as bytes.
      return this.bytes(body)
    }
  }

  /** MessagePack. */
  private packed(body: Uint8Array): Buffer {
    try {
      return Buffer.from(packr.pack(this.value(packr.unpack(body), false)))
    } catch {
      // Not MessagePack to begin with, such as a hello.
      return this.bytes(body)
    }
  }

  /** Somewhere in it another value stands. `isTyped`: of the same type, mostly. */
  private value(given: unknown, isTyped: boolean): unknown {
    const { random } = this
    if (Array.isArray(given) && given.length > 0 && !random.chance(0.15)) {
      const copy = [...given]
      const at = random.below(copy.length)
      copy[at] = this.value(copy[at], isTyped)
      return copy
    }
    if (typeof given === 'object' && given !== null && !Array.isArray(given) && !random.chance(0.1)) {
      const copy: Record<string, unknown> = { ...given }
      const name = random.pick(Object.keys(copy))
      if (name !== undefined && name !== 'type') copy[name] = this.value(copy[name], isTyped)
      return copy
    }
    if (isTyped && typeof given === 'string') return this.text(given)
    if (isTyped && typeof given === 'number') return this.number(given)
    return this.any(given)
  }

  private any(given: unknown): unknown {
    const { random } = this
    switch (random.below(10)) {
      case 0:
        return null
      case 1:
        return this.number(typeof given === 'number' ? given : 0)
      case 2:
        return this.text(typeof given === 'string' ? given : '')
      case 3:
        return []
      case 4:
        return { __proto__: 1, constructor: 2, length: -1 }
      case 5:
        return this.noise(random.below(64))
      case 6:
        return Array.from({ length: random.below(2_000) }, () => random.below(300))
      case 7:
        return [given, [given, [given]]]
      case 8:
        return random.chance(0.5)
      default:
        return this.text(String(given))
    }
  }

  private number(given: number): number {
    const { random } = this
    const extremes = [
      0,
      1,
      -1,
      0.5,
      255,
      256,
      65_536,
      2 ** 31,
      2 ** 32,
      2 ** 53 - 1,
      2 ** 53,
      1e308,
      Number.NaN,
    ]
    return random.chance(0.5)
      ? (random.pick(extremes) as number)
      : given + random.pick([-2, -1, 1, 2, 1_000])!
  }

  private text(given: string): string {
    const { random } = this
    switch (random.below(6)) {
      case 0:
        return ''
      case 1:
        return given + given
      case 2:
        return 'x'.repeat(random.pick([10, 100, 1_000, 70_000]) as number)
      case 3:
        return `${given}\u0000\n\ud800`
      case 4:
        return random.pick([
          '__proto__',
          'constructor',
          '{',
          '[[[[',
          '127.0.0.1:1',
          '0.0.0.0:0',
          '../../x',
        ]) as string
      default:
        return this.bytes(Buffer.from(given)).toString('latin1')
    }
  }

  private noise(length: number): Buffer {
    return Buffer.from(Array.from({ length }, () => this.random.below(256)))
  }
}

function flip(bytes: Buffer, bit: number): void {
  const at = bit >>> 3
  bytes[at] = (bytes[at] as number) ^ (1 << (bit & 7))
}
