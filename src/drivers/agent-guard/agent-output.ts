/**
 * Everything that one agent prints: into its ring, into its file, and, in small batches, to the node. One chunk of a stream is under way at a time and
 * the next one is read when the file has taken it: that bounds memory and slows a chatty agent down. The node is never waited for: lines that come faster than it takes
 * them are passed over, which shows as a gap in their numbers.
 */
import type { OutputLine } from '../../ports/agent-processes.js'
import { LineSplitter } from './line-splitter.js'
import type { OutputLog } from './output-log.js'
import type { OutputPipe } from './output-pipe.js'
import { OutputRing } from './output-ring.js'
import { type GuardLimits, lineBytesMax, partialLineMs } from './settings.js'

const batchMs = 20
/** Of text, for each agent and batch. */
const batchCharactersMax = 64 * 1_024
/** What passing on a line costs beside its text. */
const lineCharacters = 100
/** How long the last words of a process that is gone are waited for, ms. Something outside of its group may hold the stream open. */
const lastWordsMsMax = 2_000

export interface OutputWorld {
  readonly limits: GuardLimits
  readonly log: OutputLog
  /** Called before anything is done with a chunk: has the deadline passed meanwhile? */
  readonly isEnding: () => boolean
  readonly onLines: (lines: readonly OutputLine[]) => void
}

export class AgentOutput {
  readonly #world: OutputWorld
  readonly #ring: OutputRing
  #seq = 0
  #batch: OutputLine[] = []
  #batchCharacters = 0
  #batchTimer: NodeJS.Timeout | undefined

  constructor(world: OutputWorld) {
    this.#world = world
    this.#ring = new OutputRing(world.limits.ringLinesMax, world.limits.ringBytesMax)
  }

  get seq(): number {
    return this.#seq
  }

  read(afterSeq: number | undefined, limit: number): OutputLine[] {
    return this.#ring.read(afterSeq, limit)
  }

  /** A line of the guard's own, in the file only. */
  mark(text: string): Promise<void> {
    return this.#world.log.append(Buffer.from(`[skein] ${new Date().toISOString()} ${text}\n`))
  }

  /** Reads both streams of a process. `drained` resolves when all is in the ring and in the file, or a disk or a stream has taken too long. */
  attach(stdout: OutputPipe, stderr: OutputPipe, epoch: number): { drained(): Promise<void> } {
    const ends = Promise.all([this.#follow(stdout, 'stdout', epoch), this.#follow(stderr, 'stderr', epoch)])
    return {
      drained: async () => {
        let enough: NodeJS.Timeout | undefined
        const waited = new Promise<void>((resolve) => {
          enough = setTimeout(() => {
            stdout.destroy()
            stderr.destroy()
            resolve()
          }, lastWordsMsMax)
        })
        await Promise.race([ends, waited])
        clearTimeout(enough)
        this.#sendBatch()
      },
    }
  }

  /** Frees the file. */
  close(): Promise<void> {
    return this.#world.log.close()
  }

  async #follow(pipe: OutputPipe, name: 'stdout' | 'stderr', epoch: number): Promise<void> {
    const splitter = new LineSplitter(lineBytesMax)
    let partial: NodeJS.Timeout | undefined
    const take = (lines: ReturnType<LineSplitter['split']>) => {
      this.#keep(lines, name, epoch)
      return this.#world.log.append(lines.bytes)
    }
    await pipe.read((chunk) => {
      clearTimeout(partial)
      if (this.#world.isEnding()) return Promise.resolve()
      const written = take(splitter.split(chunk, this.#world.limits.ringLinesMax))
      if (splitter.isHolding) partial = setTimeout(() => void take(splitter.flush(false)), partialLineMs)
      return written
    })
    clearTimeout(partial)
    await take(splitter.flush(true))
  }

  #keep(
    { count, texts }: ReturnType<LineSplitter['split']>,
    stream: 'stdout' | 'stderr',
    epoch: number,
  ): void {
    const atMs = Date.now()
    this.#seq += count - texts.length
    for (const { text, isPartial } of texts) {
      const line: OutputLine = { epoch, stream, text, seq: ++this.#seq, atMs, isPartial }
      this.#ring.push(line)
      if (this.#batchCharacters + text.length > batchCharactersMax) continue
      this.#batchCharacters += text.length + lineCharacters
      this.#batch.push(line)
    }
    if (this.#batch.length > 0) this.#batchTimer ??= setTimeout(() => this.#sendBatch(), batchMs)
  }

  #sendBatch(): void {
    clearTimeout(this.#batchTimer)
    this.#batchTimer = undefined
    const lines = this.#batch
    this.#batch = []
    this.#batchCharacters = 0
    if (lines.length > 0) this.#world.onLines(lines)
  }
}
