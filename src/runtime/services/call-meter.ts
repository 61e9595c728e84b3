/** How calls of this node end and how long they take, by service. Services beyond a limit are counted together: a program may make names up. */
import { isSkeinError } from '../../core/kernel/error.js'
import { Histogram, type HistogramFigures, latencyBounds } from '../../core/kernel/histogram.js'
import { namedMax } from '../metrics/metric.js'
import { type CallOutcome, callOutcomes } from '../metrics/program-metrics.js'

export class CallMeter {
  readonly outcomes: Record<CallOutcome, number>
  inFlight = 0
  private readonly seconds = new Histogram(latencyBounds)

  constructor() {
    this.outcomes = Object.fromEntries(callOutcomes.map((o) => [o, 0])) as Record<CallOutcome, number>
  }

  ended(outcome: CallOutcome, tookMs: number): void {
    this.outcomes[outcome]++
    this.seconds.observe(tookMs / 1_000)
  }

  figures(): HistogramFigures {
    return this.seconds.figures()
  }
}

export class CallMeters {
  private readonly byService = new Map<string, CallMeter>()
  private readonly others = new CallMeter()

  of(service: string): CallMeter {
    const known = this.byService.get(service)
    if (known !== undefined) return known
    if (this.byService.size >= namedMax - 1) return this.others
    const meter = new CallMeter()
    this.byService.set(service, meter)
    return meter
  }

  *all(): Generator<readonly [service: string, meter: CallMeter]> {
    yield* this.byService
    if (this.byService.size >= namedMax - 1) yield ['other', this.others]
  }
}

/** What a handler throws arrives with its own code or none: then it failed there, whatever the reason. */
export function outcomeOf(error: unknown): CallOutcome {
  if (!isSkeinError(error)) return 'failed'
  switch (error.code) {
    case 'timeout':
      return 'timeout'
    case 'aborted':
      return 'aborted'
    case 'peer_unreachable':
    case 'outcome_unknown':
      return 'unreachable'
    case 'overloaded':
    case 'unavailable':
    case 'not_found':
    case 'closed':
      return 'refused'
    default:
      return 'failed'
  }
}
