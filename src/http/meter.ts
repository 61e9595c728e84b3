/** What the HTTP surface counts: requests by the pattern of their route, never by the path that was asked for. */
import { Histogram, latencyBounds } from '../core/kernel/histogram.js'
import type { MetricSample } from '../runtime/node-api.js'

/** Where no route took the request: files of the dashboard, unknown paths. */
export const noRoute = '(none)'

interface Answers {
  readonly method: string
  readonly route: string
  /** By hundreds of the status. */
  readonly statuses: Map<string, number>
  readonly seconds: Histogram
}

export class HttpMeter {
  private readonly byRoute = new Map<string, Map<string, Answers>>()
  private throttled = 0

  /** `tookMs` undefined: a stream that stayed open, whose length says nothing. */
  answered(route: string, method: string, status: number, tookMs: number | undefined): void {
    const answers = this.of(route, method)
    const hundreds = `${Math.floor(status / 100)}xx`
    answers.statuses.set(hundreds, (answers.statuses.get(hundreds) ?? 0) + 1)
    if (tookMs !== undefined) answers.seconds.observe(tookMs / 1_000)
    if (status === 429) this.throttled++
  }

  requests(): MetricSample[] {
    return this.all().flatMap(({ method, route, statuses }) =>
      [...statuses].map(([status, value]) => ({ labels: { method, route, status }, value })),
    )
  }

  durations(): MetricSample[] {
    return this.all().map(({ method, route, seconds }) => ({
      labels: { method, route },
      ...seconds.figures(),
    }))
  }

  throttledCount(): MetricSample[] {
    return [{ value: this.throttled }]
  }

  private all(): Answers[] {
    return [...this.byRoute.values()].flatMap((byMethod) => [...byMethod.values()])
  }

  /** Both are of the server's own choosing: the router knows no other methods and patterns. */
  private of(route: string, method: string): Answers {
    let byMethod = this.byRoute.get(route)
    if (byMethod === undefined) {
      byMethod = new Map()
      this.byRoute.set(route, byMethod)
    }
    let answers = byMethod.get(method)
    if (answers === undefined) {
      answers = { method, route, statuses: new Map(), seconds: new Histogram(latencyBounds) }
      byMethod.set(method, answers)
    }
    return answers
  }
}
