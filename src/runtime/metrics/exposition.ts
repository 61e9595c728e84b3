/**
 * The metrics of the table as Prometheus reads them. Nothing is kept here: whoever counts keeps plain numbers, and they are asked for when somebody
 * looks, so that counting costs an addition. Labels are held to what the table allows; the rest is added up as `other`. The text is prom-client's.
 */
import { Gauge, type MetricObjectWithValues, type MetricType, type MetricValue, Registry } from 'prom-client'
import type { HistogramFigures } from '../../core/kernel/histogram.js'
import type { MetricSample } from '../node-api.js'
import type { LabelValues, MetricSpec } from './metric.js'

export type ReadSamples = () => Iterable<MetricSample>

type Labels = Record<string, string>
type Value = MetricValue<string> & { metricName?: string }

const rest = 'other'

/** Takes part in the registry of prom-client as a metric of its own making. */
class TableMetric extends Gauge {
  private readonly spec: MetricSpec
  private readonly read: ReadSamples

  constructor(spec: MetricSpec, read: ReadSamples) {
    super({ name: spec.name, help: spec.help, labelNames: Object.keys(spec.labels ?? {}), registers: [] })
    this.spec = spec
    this.read = read
  }

  override async get(): Promise<MetricObjectWithValues<MetricValue<string>>> {
    const { name, help, type } = this.spec
    const values = [...merged(this.spec, this.read())].flatMap(({ labels, sample }) =>
      'counts' in sample ? bucketValues(this.spec, labels, sample) : [{ labels, value: sample.value }],
    )
    // The library's types name its kinds by number, and it writes them as words.
    return { name, help, type: type as unknown as MetricType, aggregator: 'sum', collect: () => {}, values }
  }
}

interface Merged {
  readonly labels: Labels
  sample: MetricSample
}

/** Samples that have the same labels once these are held to what is allowed become one. */
function merged(spec: MetricSpec, samples: Iterable<MetricSample>): Iterable<Merged> {
  const byLabels = new Map<string, Merged>()
  const seen = new Map<string, Set<string>>()
  for (const sample of samples) {
    const labels: Labels = {}
    for (const [name, allowed] of Object.entries(spec.labels ?? {}))
      labels[name] = held(allowed, sample.labels?.[name] ?? rest, seenOf(seen, name))
    const key = JSON.stringify(labels)
    const known = byLabels.get(key)
    if (known === undefined) byLabels.set(key, { labels, sample })
    else known.sample = added(known.sample, sample)
  }
  return byLabels.values()
}

function held(allowed: LabelValues, value: string, seen: Set<string>): string {
  if ('values' in allowed) return allowed.values.includes(value) ? value : rest
  if (!seen.has(value) && seen.size >= allowed.max) return rest
  seen.add(value)
  return value
}

function seenOf(all: Map<string, Set<string>>, name: string): Set<string> {
  let seen = all.get(name)
  if (seen === undefined) {
    seen = new Set()
    all.set(name, seen)
  }
  return seen
}

function added(a: MetricSample, b: MetricSample): MetricSample {
  if ('counts' in a && 'counts' in b)
    return { counts: a.counts.map((count, i) => count + (b.counts[i] ?? 0)), sum: a.sum + b.sum }
  if ('value' in a && 'value' in b) return { value: a.value + b.value }
  return a
}

function bucketValues(spec: MetricSpec, labels: Labels, { counts, sum }: HistogramFigures): Value[] {
  const bounds = spec.bounds ?? []
  let total = 0
  const buckets = counts.map((count, i): Value => {
    total += count
    const le = i < bounds.length ? String(bounds[i]) : '+Inf'
    return { metricName: `${spec.name}_bucket`, labels: { ...labels, le }, value: total }
  })
  return [
    ...buckets,
    { metricName: `${spec.name}_sum`, labels, value: sum },
    { metricName: `${spec.name}_count`, labels, value: total },
  ]
}

export class Exposition {
  private readonly registry = new Registry()

  /** In the order given; a name can be added once. */
  add(spec: MetricSpec, read: ReadSamples): void {
    this.registry.registerMetric(new TableMetric(spec, read))
  }

  text(): Promise<string> {
    return this.registry.metrics()
  }

  get contentType(): string {
    return this.registry.contentType
  }
}
