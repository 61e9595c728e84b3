/**
 * What is known of a metric, once: from here come the instruments that a node registers, `docs/METRICS.md`, `docs/ALERTS.md`, the Grafana dashboard and
 * the alert rules of Prometheus. Types only; the metrics themselves are in the files beside this one and joined in `table.ts`.
 */

/** What a label may be. Whatever else comes is counted as `other`. */
export type LabelValues =
  | { readonly values: readonly string[] }
  /** At most so many different ones in one answer. */
  | { readonly max: number; readonly of: string }

/** Headings of the dashboard and of the documentation, in this order. */
export const areas = [
  'Cluster',
  'Leases and ownership',
  'Network',
  'Store and journal',
  'Events',
  'Agents',
  'Services and processors',
  'Rooms and maps',
  'HTTP',
  'Process and host',
] as const
export type Area = (typeof areas)[number]

export interface Panel {
  readonly title: string
  readonly kind: 'stat' | 'graph'
  /** Of the axis, as Grafana names it. */
  readonly unit: 'short' | 's' | 'bytes' | 'Bps' | 'ops' | 'percentunit' | 'none'
  /** PromQL; `$at` in a selector stands for the cluster and the nodes that were chosen on the dashboard. */
  readonly queries: readonly { readonly expr: string; readonly legend: string }[]
}

export interface Alert {
  readonly name: `Skein${string}`
  /** critical: somebody must be woken. warning: somebody must look today. */
  readonly severity: 'critical' | 'warning'
  /** PromQL, true while it is wrong. */
  readonly expr: string
  readonly for: `${number}${'s' | 'm' | 'h'}`
  /** One line; may name labels in the way of Prometheus. */
  readonly summary: string
  readonly means: string
  readonly look: readonly string[]
  readonly act: readonly string[]
}

export interface MetricSpec {
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly unit: 'seconds' | 'bytes' | 'ratio' | 'count' | 'flag'
  readonly area: Area
  /** One line, as Prometheus shows it. */
  readonly help: string
  readonly labels?: Readonly<Record<string, LabelValues>>
  /** Upper bounds of a histogram. */
  readonly bounds?: readonly number[]
  /** What it says when it moves. */
  readonly moves: string
  readonly panel?: Panel
  readonly alerts?: readonly Alert[]
}

/** One peer each, itself left out. */
export const peerLabel = { max: 1_000, of: 'other members; one that was removed is gone' } as const
/** Names that the program gives. */
export const namedMax = 50
