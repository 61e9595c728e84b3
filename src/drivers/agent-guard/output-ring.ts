/** The newest lines of one agent, bounded in number and in bytes. */
import type { OutputLine } from '../../ports/agent-processes.js'

/** What a line costs beside its text. */
const lineBytes = 64

export class OutputRing {
  readonly #linesMax: number
  readonly #bytesMax: number
  /** Lines live in `[first, end)`; the slots before are given back now and then. */
  #lines: (OutputLine | undefined)[] = []
  #first = 0
  #bytes = 0

  constructor(linesMax: number, bytesMax: number) {
    this.#linesMax = linesMax
    this.#bytesMax = bytesMax
  }

  push(line: OutputLine): void {
    this.#lines.push(line)
    this.#bytes += costOf(line)
    while (this.size > this.#linesMax || (this.#bytes > this.#bytesMax && this.size > 1)) this.#drop()
  }

  get size(): number {
    return this.#lines.length - this.#first
  }

  /** Oldest first. Above `afterSeq` the first `limit`; without it the last `limit`. */
  read(afterSeq: number | undefined, limit: number): OutputLine[] {
    const all = this.#lines.slice(this.#first) as OutputLine[]
    if (afterSeq === undefined) return all.slice(-limit)
    const from = all.findIndex(({ seq }) => seq > afterSeq)
    return from === -1 ? [] : all.slice(from, from + limit)
  }

  #drop(): void {
    this.#bytes -= costOf(this.#lines[this.#first] as OutputLine)
    this.#lines[this.#first++] = undefined
    if (this.#first < this.#linesMax) return
    this.#lines = this.#lines.slice(this.#first)
    this.#first = 0
  }
}

/** A string takes one byte a character, or two. */
function costOf({ text }: OutputLine): number {
  return lineBytes + 2 * text.length
}
