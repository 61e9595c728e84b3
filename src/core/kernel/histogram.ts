/**
 * A histogram of plain numbers: an observation costs a short walk and two additions, so that it may stand on a path that runs a hundred thousand
 * times a second. Whoever shows it asks for its figures.
 */
export interface HistogramFigures {
  /** Observations per bucket, not added up; one more than there are bounds, for what is above the last. */
  readonly counts: readonly number[]
  readonly sum: number
}

/** Upper bounds, seconds, of what takes microseconds when well and seconds when not. */
export const latencyBounds = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5,
] as const

export class Histogram {
  readonly bounds: readonly number[]
  private readonly counts: number[]
  private sum = 0

  /** Upper bounds in rising order, each included in its bucket. */
  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = new Array<number>(bounds.length + 1).fill(0)
  }

  observe(value: number): void {
    const { bounds, counts } = this
    let at = 0
    while (at < bounds.length && value > (bounds[at] as number)) at++
    counts[at] = (counts[at] as number) + 1
    this.sum += value
  }

  figures(): HistogramFigures {
    return { counts: [...this.counts], sum: this.sum }
  }
}
