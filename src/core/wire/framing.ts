/**
 * Frames on a connection: u32 length of what follows, u8 kind, u16 type, u32 request id, body. Big-endian. The decoder takes chunks as they
 * come, hands out bodies without copying where it can, and never throws: garbage is a violation, after which the connection is of no use.
 */
export const frameKinds = { oneWay: 0, request: 1, reply: 2, error: 3, control: 4 } as const
export type FrameKind = (typeof frameKinds)[keyof typeof frameKinds]

export interface Frame {
  readonly kind: FrameKind
  readonly type: number
  readonly id: number
  /** A view of the received chunk: copy it to keep it. */
  readonly body: Uint8Array
}

export const frameHeaderBytes = 11
export const frameBytesMax = 16 * 1024 * 1024

/** Writes the header and returns the position after it. */
export function writeFrameHeader(
  into: Uint8Array,
  at: number,
  kind: FrameKind,
  type: number,
  id: number,
  bodyBytes: number,
): number {
  const length = bodyBytes + 7
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

export type FrameRead = 'ok' | { readonly violation: string }

export class FrameDecoder {
  private readonly bytesMax: number
  /** The beginning of a frame whose end has not come yet. */
  private partial: Uint8Array | null = null
  private partialLength = 0
  private broken: string | null = null

  constructor(bytesMax = frameBytesMax) {
    this.bytesMax = bytesMax
  }

  /** Calls `take` for every frame that is complete now. At most one frame's bytes are kept between calls. */
  push(chunk: Uint8Array, take: (frame: Frame) => void): FrameRead {
    if (this.broken !== null) return { violation: this.broken }
    let data = chunk
    let at = 0
    if (this.partial !== null) {
      const used = this.fill(chunk)
      if (this.broken !== null) return { violation: this.broken }
      if (this.partial !== null && this.partialLength < this.partial.length) return 'ok'
      data = this.partial as Uint8Array
      this.partial = null
      const end = this.frame(data, 0, take)
      if (end < 0) return { violation: this.broken as unknown as string }
      data = chunk
      at = used
    }
    while (data.length - at >= frameHeaderBytes) {
      const length = lengthAt(data, at)
      if (length < 7 || length > this.bytesMax)
        return this.fail(`a frame of ${length} bytes; 7 to ${this.bytesMax} are allowed`)
      if (data.length - at < length + 4) break
      at = this.frame(data, at, take)
      if (at < 0) return { violation: this.broken as unknown as string }
    }
    if (at < data.length) this.keep(data, at)
    return this.broken === null ? 'ok' : { violation: this.broken }
  }

  private keep(data: Uint8Array, at: number): void {
    const rest = data.length - at
    let size = frameHeaderBytes
    if (rest >= 4) {
      const length = lengthAt(data, at)
      if (length < 7 || length > this.bytesMax) {
        this.fail(`a frame of ${length} bytes; 7 to ${this.bytesMax} are allowed`)
        return
      }
      size = length + 4
    }
    this.partial = new Uint8Array(size)
    this.partial.set(data.subarray(at))
    this.partialLength = rest
  }

  /** Completes the kept frame from the chunk; returns how much of the chunk it took. */
  private fill(chunk: Uint8Array): number {
    let used = 0
    let partial = this.partial as Uint8Array
    if (this.partialLength < 4) {
      while (this.partialLength < 4 && used < chunk.length)
        partial[this.partialLength++] = chunk[used++] as number
      if (this.partialLength < 4) return used
      const length = lengthAt(partial, 0)
      if (length < 7 || length > this.bytesMax) {
        this.fail(`a frame of ${length} bytes; 7 to ${this.bytesMax} are allowed`)
        return used
      }
      const grown = new Uint8Array(length + 4)
      grown.set(partial.subarray(0, 4))
      partial = grown
      this.partial = grown
    }
    const take = Math.min(partial.length - this.partialLength, chunk.length - used)
    partial.set(chunk.subarray(used, used + take), this.partialLength)
    this.partialLength += take
    return used + take
  }

  private frame(data: Uint8Array, at: number, take: (frame: Frame) => void): number {
    const end = at + 4 + lengthAt(data, at)
    const kind = data[at + 4] as number
    if (kind > frameKinds.control) {
      this.fail(`unknown kind of frame ${kind}`)
      return -1
    }
    take({
      kind: kind as FrameKind,
      type: ((data[at + 5] as number) << 8) | (data[at + 6] as number),
      id:
        (((data[at + 7] as number) << 24) |
          ((data[at + 8] as number) << 16) |
          ((data[at + 9] as number) << 8) |
          (data[at + 10] as number)) >>>
        0,
      body: data.subarray(at + frameHeaderBytes, end),
    })
    return end
  }

  private fail(violation: string): FrameRead {
    this.broken = violation
    this.partial = null
    return { violation }
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
