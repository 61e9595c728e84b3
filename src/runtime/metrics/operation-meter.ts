/** How long requests of a few kinds take, and how many failed. */
import { Histogram, type HistogramFigures, latencyBounds } from '../../core/kernel/histogram.js'
import { monotonicMs } from '../host-clock.js'

/** Since the start; plain data, so that it may cross to another thread. */
export interface OperationFigures {
  readonly operation: string
  readonly seconds: HistogramFigures
  readonly failures: number
}

export class OperationMeter<O extends string> {
  private readonly kinds: ReadonlyMap<O, { readonly seconds: Histogram; failures: number }>

  constructor(operations: readonly O[]) {
    this.kinds = new Map(operations.map((o) => [o, { seconds: new Histogram(latencyBounds), failures: 0 }]))
  }

  /** Throws what `work` throws. */
  async timed<T>(operation: O, work: () => Promise<T>): Promise<T> {
    const startMs = monotonicMs()
    const kind = this.kinds.get(operation)
    try {
      return await work()
    } catch (error) {
      if (kind !== undefined) kind.failures++
      throw error
    } finally {
      kind?.seconds.observe((monotonicMs() - startMs) / 1_000)
    }
  }

  figures(): OperationFigures[] {
    return [...this.kinds].map(([operation, { seconds, failures }]) => ({
      operation,
      seconds: seconds.figures(),
      failures,
    }))
  }
}
