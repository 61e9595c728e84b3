/**
 * The node's hybrid clock with its ceiling on file: a few bytes that always name a time later than any the clock gave out. Written in place before
 * the time is used, without a sync: a killed process loses nothing that it wrote, and a machine that lost power takes longer to boot than the
 * reserve is long.
 */
import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { HybridClock, hlcFromText, hlcToText } from '../core/hlc/hlc.js'
import { hash32 } from '../core/kernel/hash.js'

const fileName = 'clock'
const skewMsMax = 500
const digits = 16

export class HlcKeeper {
  private readonly fd: number
  private readonly clock: HybridClock
  private closed = false
  onTrouble: (detail: string) => void = () => {}

  private constructor(fd: number, clock: HybridClock) {
    this.fd = fd
    this.clock = clock
  }

  /** Reads the ceiling of the last run and reserves the next one before anything is stamped. */
  static open(dataDir: string, bootId: string): HlcKeeper {
    const path = join(dataDir, fileName)
    const fd = openSync(path, 'a+', 0o600)
    closeSync(fd)
    const ceilingMs = Number(readFileSync(path, 'utf8').trim())
    const clock = new HybridClock({
      tag: hash32(bootId),
      skewMsMax,
      ceilingMs: Number.isSafeInteger(ceilingMs) ? ceilingMs : 0,
    })
    const keeper = new HlcKeeper(openSync(path, 'r+'), clock)
    keeper.reserve(Date.now())
    fsyncSync(keeper.fd)
    return keeper
  }

  get skewMsMax(): number {
    return skewMsMax
  }

  get refusedCount(): number {
    return this.clock.refusedCount
  }

  now(): string {
    const wallMs = Date.now()
    this.reserve(wallMs)
    return hlcToText(this.clock.now(wallMs))
  }

  /** A timestamp of another node; one that is too far ahead is refused and reported. */
  receive(text: string): void {
    const remote = hlcFromText(text)
    if (remote === undefined) return
    const wallMs = Date.now()
    this.reserve(Math.max(wallMs, Math.min(remote.wallMs, wallMs + skewMsMax)))
    const result = this.clock.receive(remote, wallMs)
    if (!result.ok) {
      this.onTrouble(
        `a timestamp ${Math.round(result.aheadMs)} ms ahead of this node's clock was refused (limit ${result.skewMsMax} ms): set the clocks`,
      )
    }
  }

  close(): void {
    if (this.closed) return
    this.closed = true
    closeSync(this.fd)
  }

  /** Should the file not be writable, the clock stands at its ceiling and counts: order holds, time does not move. */
  private reserve(wallMs: number): void {
    const wanted = this.clock.ceilingWanted(wallMs)
    if (wanted === undefined || this.closed) return
    try {
      const text = String(wanted).padStart(digits, '0')
      if (writeSync(this.fd, text, 0) !== digits) throw new Error('short write')
      this.clock.raiseCeiling(wanted)
    } catch (error) {
      this.onTrouble(
        `the clock's ceiling cannot be saved: ${error instanceof Error ? error.message : String(error)}`,
      )
    }
  }
}
