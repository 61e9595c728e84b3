/**
 * Cuts a byte stream into lines. Bytes are cut before they are decoded, at newlines or between characters, so no character is ever torn apart; and each
 * line becomes a string of its own, so that keeping one line does not keep the chunk it came in.
 */
const newline = 0x0a
const carriageReturn = 0x0d

export interface Lines {
  /** How many lines there were. */
  readonly count: number
  /** The last ones of them, as many as were asked for. */
  readonly texts: readonly { readonly text: string; readonly isPartial: boolean }[]
  /** The bytes of all of them. */
  readonly bytes: Buffer
}

export class LineSplitter {
  readonly #lineBytesMax: number
  #held: Buffer = Buffer.alloc(0)

  /** Longer lines come in pieces of up to `lineBytesMax` bytes. */
  constructor(lineBytesMax: number) {
    this.#lineBytesMax = lineBytesMax
  }

  /** Is the beginning of a line being held back? */
  get isHolding(): boolean {
    return this.#held.length > 0
  }

  /** The lines that this chunk completes. Only the last `textsMax` are decoded: nobody can keep more. */
  split(chunk: Buffer, textsMax: number): Lines {
    const data = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    /** Where each line ends, its newline included. */
    const ends: number[] = []
    let start = 0
    for (;;) {
      const at = data.indexOf(newline, start)
      const end = at === -1 ? data.length : at
      while (end - start > this.#lineBytesMax) {
        start = this.#pieceEnd(data, start)
        ends.push(start)
      }
      if (at === -1) break
      start = at + 1
      ends.push(start)
    }
    this.#held = Buffer.from(data.subarray(start))
    const first = Math.max(0, ends.length - textsMax)
    const texts = ends.slice(first).map((end, i) => decode(data, ends[first + i - 1] ?? 0, end))
    return { count: ends.length, texts, bytes: data.subarray(0, start) }
  }

  /** What is held back, without waiting for its newline; of a character only if it is whole, unless this is the end of the stream. */
  flush(isEnd: boolean): Lines {
    const data = this.#held
    const end = isEnd ? data.length : wholeCharacters(data)
    this.#held = Buffer.from(data.subarray(end))
    const texts = end === 0 ? [] : [{ text: data.toString('utf8', 0, end), isPartial: !isEnd }]
    return { count: texts.length, texts, bytes: data.subarray(0, end) }
  }

  /** Not in the middle of a character, if there are characters. */
  #pieceEnd(data: Buffer, start: number): number {
    const end = start + this.#lineBytesMax
    let cut = end
    while (cut > end - 4 && isContinuation(data[cut])) cut--
    return isContinuation(data[cut]) ? end : cut
  }
}

function decode(data: Buffer, start: number, end: number): { text: string; isPartial: boolean } {
  const isPartial = data[end - 1] !== newline
  let stop = isPartial ? end : end - 1
  if (!isPartial && stop > start && data[stop - 1] === carriageReturn) stop--
  return { text: data.toString('utf8', start, stop), isPartial }
}

function isContinuation(byte: number | undefined): boolean {
  return byte !== undefined && (byte & 0xc0) === 0x80
}

/** Length without a character at the end that is not complete. */
function wholeCharacters(data: Buffer): number {
  for (let back = 1; back <= Math.min(3, data.length); back++) {
    const byte = data[data.length - back] as number
    if (isContinuation(byte)) continue
    const wanted = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1
    return wanted > back ? data.length - back : data.length
  }
  return data.length
}
