/** Messages on a byte stream: JSON, one a line. Bounded, so that neither side can fill the other's memory. */
import { SkeinError } from '../../core/kernel/error.js'

const newline = 0x0a

export function encodeFrame(message: unknown): string {
  return `${JSON.stringify(message)}\n`
}

/** Gathers chunks and hands out whole messages. */
export class FrameReader {
  readonly #bytesMax: number
  #waiting: Buffer[] = []
  #bytes = 0

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax
  }

  /** Throws `protocol_violation` for what is no JSON or too long; the stream is of no use after that. */
  *read(chunk: Buffer): Generator<unknown> {
    let start = 0
    for (;;) {
      const end = chunk.indexOf(newline, start)
      const piece = chunk.subarray(start, end === -1 ? undefined : end)
      this.#bytes += piece.length
      if (this.#bytes > this.#bytesMax)
        throw new SkeinError('protocol_violation', `a frame is longer than ${this.#bytesMax} bytes`)
      this.#waiting.push(piece)
      if (end === -1) return
      const text = Buffer.concat(this.#waiting).toString('utf8')
      this.#waiting = []
      this.#bytes = 0
      start = end + 1
      yield parse(text)
    }
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new SkeinError('protocol_violation', 'a frame is not JSON', { cause })
  }
}
