/** A bar on a terminal, nothing elsewhere. Drawn on standard error, so that standard output stays the result. */
const redrawMs = 200
const barWidth = 24

export class Progress {
  /** 0 when unknown, as for standard input. */
  private readonly bytesTotal: number
  private readonly startedMs = Date.now()
  private shownMs = 0

  constructor(bytesTotal: number) {
    this.bytesTotal = bytesTotal
  }

  show(bytes: number, text: string, isLast = false): void {
    const now = Date.now()
    if (process.stderr.isTTY !== true || (!isLast && now - this.shownMs < redrawMs)) return
    this.shownMs = now
    const share = this.bytesTotal === 0 ? undefined : Math.min(1, bytes / this.bytesTotal)
    const bar =
      share === undefined ? '' : `${barOf(share)} ${String(Math.round(share * 100)).padStart(3)} %  `
    process.stderr.write(`\r${bar}${text}\u001b[K${isLast ? '\n' : ''}`)
  }

  get elapsedMs(): number {
    return Date.now() - this.startedMs
  }
}

function barOf(share: number): string {
  const full = Math.round(share * barWidth)
  return `[${'#'.repeat(full)}${'.'.repeat(barWidth - full)}]`
}
