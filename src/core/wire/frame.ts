/**
 * Frames on a connection: u32 length of what follows, u8 kind, u16 type, u32 request id, body. Big-endian.
 *
 * The decoder takes chunks as they come, hands out bodies as views where a frame lies whole in a chunk, and never
 * throws: garbage is a violation, after which the connection is of no use. It keeps at most one frame, and of that no
 * more than twice what has arrived: a length that is only announced costs nothing.
 *
 * What a frame means, who may send it and when, must not live here.
 */
export const frameKinds = { oneWay: 0, request: 1, reply: 2, error: 3, control: 4 } as const
export type FrameKind = (typeof frameKinds)[keyof typeof frameKinds]

export const frameHeaderBytes = 11
/** Of a whole frame on the wire, header included. */
export const frameBytesMax = 16 * 1024 * 1024
export const frameBodyBytesMax = frameBytesMax - frameHeaderBytes

const lengthBytes = 4
/** Kind, type and id. */
const afterLengthBytes = frameHeaderBytes - lengthBytes
const partialBytesMin = 4_096
const noBytes = new Uint8Array(0)

/** Takes complete frames. `body` may be a view of a received chunk: copy it to keep it for long. Must not throw. */
export interface FrameSink {
  takeFrame(kind: FrameKind, type: number, id: number, body: Uint8Array): void
}

/** Writes a header at `at` and returns the position after it. `type` is 16 bits, `id` 32, both unsigned. */
export function writeFrameHeader(
  into: Uint8Array,
  at: number,
  kind: FrameKind,
  type: number,
  id: number,
  bodyBytes: number,
): number {
  const length = bodyBytes + afterLengthBytes
  into[at] = length >>> 24
  into[at + 1] = length >>> 16
  into[at + 2] = length >>> 8
  into[at + 3] = length
  into[at + 4] = kind
  into[at + 5] = type >>> 8
  into[at + 6] = type
  into[at + 7] = id >>> 24
  into[at + 8] = id >>> 16
  into[at + 9] = id >>> 8
  into[at + 10] = id
  return at + frameHeaderBytes
}

export class FrameDecoder {
  /** Largest frame that is let through, header included. May be raised while decoding. */
  frameBytesMax: number
  private readonly sink: FrameSink
  /** The beginning of a frame whose end has not come yet: `have` bytes of `need`, which is 0 while unknown. */
  private partial: Uint8Array = noBytes
  private have = 0
  private need = 0
  private violation: string | undefined

  constructor(sink: FrameSink, bytesMax = frameBytesMax) {
    this.sink = sink
    this.frameBytesMax = bytesMax
  }

  /** Bytes kept for the frame that is incomplete now. */
  get keptBytes(): number {
    return this.partial.length
  }

  /** Gives the sink every frame that is complete now. Returns what is wrong with the stream, or undefined. */
  push(chunk: Uint8Array): string | undefined {
    if (this.violation !== undefined) return this.violation
    let at = 0
    if (this.have > 0) {
      at = this.fill(chunk)
      if (this.violation !== undefined || this.have > 0) return this.violation
    }
    const end = chunk.length
    while (end - at > lengthBytes) {
      const next = at + lengthAt(chunk, at) + lengthBytes
      if (!this.isSound(chunk, at, next - at)) return this.violation
      if (next > end) break
      this.emit(chunk, at, next)
      at = next
    }
    if (at < end) this.keep(chunk, at)
    return this.violation
  }

  private keep(chunk: Uint8Array, at: number): void {
    const rest = chunk.length - at
    this.need = rest > lengthBytes ? lengthAt(chunk, at) + lengthBytes : 0
    this.partial = new Uint8Array(this.capacityFor(rest))
    this.partial.set(chunk.subarray(at))
    this.have = rest
  }

  /** Completes the kept frame from the chunk; returns how much of the chunk it took. */
  private fill(chunk: Uint8Array): number {
    let used = 0
    if (this.need === 0) {
      while (this.have <= lengthBytes && used < chunk.length) {
        this.partial[this.have++] = chunk[used++] as number
      }
      if (this.have <= lengthBytes) return used
      this.need = lengthAt(this.partial, 0) + lengthBytes
      if (!this.isSound(this.partial, 0, this.need)) return used
    }
    const take = Math.min(this.need - this.have, chunk.length - used)
    if (this.have + take > this.partial.length) {
      const grown = new Uint8Array(this.capacityFor(this.have + take))
      grown.set(this.partial.subarray(0, this.have))
      this.partial = grown
    }
    this.partial.set(chunk.subarray(used, used + take), this.have)
    this.have += take
    if (this.have === this.need) {
      const whole = this.partial
      this.forget()
      this.emit(whole, 0, this.need)
    }
    return used + take
  }

  private capacityFor(bytes: number): number {
    const wanted = Math.max(partialBytesMin, bytes * 2)
    return this.need === 0 ? partialBytesMin : Math.min(this.need, wanted)
  }

  private emit(data: Uint8Array, at: number, end: number): void {
    const id =
      ((data[at + 7] as number) << 24) |
      ((data[at + 8] as number) << 16) |
      ((data[at + 9] as number) << 8) |
      (data[at + 10] as number)
    this.sink.takeFrame(
      data[at + 4] as FrameKind,
      ((data[at + 5] as number) << 8) | (data[at + 6] as number),
      id >>> 0,
      data.subarray(at + frameHeaderBytes, end),
    )
  }

  /** Judges length and kind before anything is kept; `at + 4` must be readable. */
  private isSound(data: Uint8Array, at: number, bytes: number): boolean {
    if (bytes < frameHeaderBytes || bytes > this.frameBytesMax) {
      return this.fail(`a frame of ${bytes} bytes; ${frameHeaderBytes} to ${this.frameBytesMax} are allowed`)
    }
    const kind = data[at + lengthBytes] as number
    return kind <= frameKinds.control || this.fail(`unknown kind of frame ${kind}`)
  }

  private fail(violation: string): false {
    this.violation = violation
    this.forget()
    return false
  }

  private forget(): void {
    this.partial = noBytes
    this.have = 0
  }
}

function lengthAt(data: Uint8Array, at: number): number {
  return (
    (((data[at] as number) << 24) |
      ((data[at + 1] as number) << 16) |
      ((data[at + 2] as number) << 8) |
      (data[at + 3] as number)) >>>
    0
  )
}
