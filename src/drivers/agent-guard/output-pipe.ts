/**
 * One stream of a child, read from the start: what comes before anybody has asked waits here, because Node throws away what nobody reads when a
 * child ends. One chunk at a time: the next is read when the last one has been dealt with. (After the child's end what is left in the pipe comes at once; it is no more than a pipe holds.)
 */
import type { Readable } from 'node:stream'

/** What may wait until somebody asks. */
const earlyBytesMax = 64 * 1_024

export class OutputPipe {
  readonly #stream: Readable
  #early: Buffer[] = []
  #take: ((chunk: Buffer) => Promise<void>) | undefined
  #last: Promise<void> = Promise.resolve()
  readonly closed: Promise<void>

  constructor(stream: Readable) {
    this.#stream = stream
    stream.on('data', (chunk: Buffer) => {
      if (this.#take === undefined) {
        this.#early.push(chunk)
        if (this.early.length >= earlyBytesMax) stream.pause()
      } else {
        stream.pause()
        this.#deal(chunk)
      }
    })
    // A pipe that breaks ends like one that is closed: there is nothing more to read, and `close` follows.
    stream.on('error', () => undefined)
    this.closed = new Promise((resolve) => {
      stream.once('close', () => resolve())
    })
  }

  /** What came before `read`. */
  get early(): Buffer {
    return Buffer.concat(this.#early)
  }

  /** Hands every chunk to `take`, from the first; resolves when the stream has ended and `take` is done with the last one. `take` must not reject. */
  async read(take: (chunk: Buffer) => Promise<void>): Promise<void> {
    this.#take = take
    for (const chunk of this.#early.splice(0)) this.#deal(chunk)
    this.#stream.resume()
    await this.closed
    await this.#last
  }

  destroy(): void {
    this.#stream.destroy()
  }

  #deal(chunk: Buffer): void {
    const done = this.#take!(chunk)
    this.#last = done
    void done.then(() => this.#stream.resume())
  }
}
