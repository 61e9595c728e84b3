/** A bar on a terminal; elsewhere a line every few seconds, so that a log shows that it goes on. Drawn on standard error, so that standard output stays the result. */
import { clip, sizeOf } from './output.js'

const redrawMs = 200
const lineEveryMs = 5_000
const barWidth = 24

export class Progress {
  /** 0 when unknown, as for standard input. */
  private readonly total: number
  /** Nothing without a terminal, and no bar either when a program reads. */
  private readonly isQuiet: boolean
  private readonly startedMs = Date.now()
  private shownMs = 0
  private saidMs = Date.now()
  private isOpen = false

  constructor(total: number, { isQuiet = false } = {}) {
    this.total = total
    this.isQuiet = isQuiet
  }

  show(done: number, text: string, isLast = false): void {
    const now = Date.now()
    if (process.stderr.isTTY !== true) {
      if (this.isQuiet || isLast || now - this.saidMs < lineEveryMs) return
      this.saidMs = now
      process.stderr.write(`${text}\n`)
      return
    }
    if (!isLast && now - this.shownMs < redrawMs) return
    this.shownMs = now
    const share = this.total === 0 ? undefined : Math.min(1, done / this.total)
    const bar =
      share === undefined ? '' : `${barOf(share)} ${String(Math.round(share * 100)).padStart(3)} %  `
    const line = clip(`${bar}${text}`, sizeOf(process.stderr).columns - 1)
    process.stderr.write(`\r${line}\u001b[K${isLast ? '\n' : ''}`)
    this.isOpen = !isLast
  }

  /** Leaves the bar where it is, for what is said next. */
  end(): void {
    if (this.isOpen) process.stderr.write('\n')
    this.isOpen = false
  }

  get elapsedMs(): number {
    return Date.now() - this.startedMs
  }
}

function barOf(share: number): string {
  const full = Math.round(share * barWidth)
  return `[${'#'.repeat(full)}${'.'.repeat(barWidth - full)}]`
}
