/** The node's hybrid clock with its durable ceiling: a small file that always names a time later than any the clock gave out. */
import { open, readFile, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { HybridClock, hlcFromText, hlcToText } from '../core/hlc/hlc.js'
import { hash32 } from '../core/kernel/hash.js'

const fileName = 'clock'
const skewMsMax = 500

export class HlcKeeper {
  private readonly path: string
  private readonly clock: HybridClock
  private saving = false
  private timer: NodeJS.Timeout | undefined
  onTrouble: (detail: string) => void = () => {}

  private constructor(path: string, clock: HybridClock) {
    this.path = path
    this.clock = clock
  }

  /** Reads the ceiling of the last run and reserves the next one before anything is stamped. */
  static async open(dataDir: string, bootId: string): Promise<HlcKeeper> {
    const path = join(dataDir, fileName)
    const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return '0'
      throw error
    })
    const ceilingMs = Number(text.trim())
    const keeper = new HlcKeeper(
      path,
      new HybridClock({
        tag: hash32(bootId),
        skewMsMax,
        ceilingMs: Number.isFinite(ceilingMs) ? ceilingMs : 0,
      }),
    )
    await keeper.reserve()
    keeper.timer = setInterval(() => void keeper.reserve(), 1_000)
    keeper.timer.unref()
    return keeper
  }

  get skewMsMax(): number {
    return skewMsMax
  }

  get refusedCount(): number {
    return this.clock.refusedCount
  }

  now(): string {
    return hlcToText(this.clock.now(Date.now()))
  }

  /** A timestamp of another node; one that is too far ahead is refused and reported. */
  receive(text: string): void {
    const remote = hlcFromText(text)
    if (remote === undefined) return
    const result = this.clock.receive(remote, Date.now())
    if (!result.ok)
      this.onTrouble(
        `a timestamp ${Math.round(result.aheadMs)} ms ahead of this node's clock was refused (limit ${result.skewMsMax} ms): set the clocks`,
      )
  }

  close(): void {
    clearInterval(this.timer)
  }

  private async reserve(): Promise<void> {
    const wanted = this.clock.ceilingWanted(Date.now())
    if (wanted === undefined || this.saving) return
    this.saving = true
    try {
      const draft = `${this.path}.new`
      const file = await open(draft, 'w', 0o600)
      await file.writeFile(String(wanted))
      await file.datasync()
      await file.close()
      await rename(draft, this.path)
      this.clock.raiseCeiling(wanted)
    } catch (error) {
      this.onTrouble(
        `the clock's ceiling cannot be saved: ${error instanceof Error ? error.message : String(error)}`,
      )
    } finally {
      this.saving = false
    }
  }
}
