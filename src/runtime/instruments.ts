/**
 * What a node counts for Prometheus, as plain numbers; what the rest of the node knows anyway is asked for when somebody looks. Which metrics there are
 * and what they mean is in `metrics/table.ts`, how they come out of here in `metrics/collectors.ts`. One set per node: several may live in one process.
 */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { FeedEventName } from '../core/kernel/feed-events.js'
import { Histogram } from '../core/kernel/histogram.js'
import { monotonicMs } from './host-clock.js'
import { collectorsOf, type InstrumentSources } from './metrics/collectors.js'
import { type JournalOperation, journalOperations } from './metrics/engine-metrics.js'
import { Exposition, type ReadSamples } from './metrics/exposition.js'
import { OperationMeter } from './metrics/operation-meter.js'
import { type Descriptors, GarbageMeter, readDescriptors } from './metrics/process-figures.js'
import { type MetricName, metricTable } from './metrics/table.js'
import type { Metrics } from './node-api.js'

/** How often the delay of the loop is sampled, ms. Each sample wakes an idle process. */
export const loopResolutionMs = 100
/** Nodes whose failure is remembered, for the time until their agents have another. */
const failuresMax = 1_000

export class Instruments implements Metrics {
  readonly loopDelay = monitorEventLoopDelay({ resolution: loopResolutionMs })
  readonly journal = new OperationMeter<JournalOperation>(journalOperations)
  readonly garbage = new GarbageMeter(boundsOf('nodejs_gc_duration_seconds'))
  readonly append = new Histogram(boundsOf('skein_event_append_seconds'))
  readonly takeover = new Histogram(boundsOf('skein_shard_takeover_seconds'))
  readonly adoption = new Histogram(boundsOf('skein_agent_adoption_seconds'))
  readonly counts = {
    events: new Map<string, number>(),
    rejected: new Map<string, number>(),
    forwards: new Map<string, number>(),
    suspicions: new Map<string, number>(),
    placements: new Map<string, number>(),
    leaderChanges: 0,
    leasesLost: 0,
    ownershipAlarms: 0,
    evictions: 0,
    shardsOpened: 0,
    shardsClosed: 0,
  }
  /** By target, stream and outcome, which are what they are: three texts. */
  readonly mirrored = new Map<string, { readonly labels: Record<string, string>; events: number }>()
  descriptors: Descriptors | undefined
  private readonly exposition = new Exposition()
  private readonly readers = new Map<string, ReadSamples>()
  private readonly failedAtMs = new Map<string, number>()
  private answers = 0

  constructor(sources: InstrumentSources) {
    const collectors = collectorsOf(this, this.askedOnce(sources))
    for (const [name, read] of Object.entries(collectors)) this.readers.set(name, read)
    for (const spec of metricTable) this.exposition.add(spec, () => this.readers.get(spec.name)?.() ?? [])
    this.loopDelay.enable()
  }

  collect(name: string, read: ReadSamples): void {
    if (!metricTable.some((spec) => spec.name === name)) throw new Error(`no metric "${name}" in the table`)
    this.readers.set(name, read)
  }

  countEvents(outcome: string, count: number): void {
    add(this.counts.events, outcome, count)
  }

  countRejected(code: string): void {
    add(this.counts.rejected, code, 1)
  }

  countMirrored(target: string, stream: string, outcome: string, events: number): void {
    const key = JSON.stringify([target, stream, outcome])
    const known = this.mirrored.get(key)
    if (known === undefined) this.mirrored.set(key, { labels: { target, stream, outcome }, events })
    else known.events += events
  }

  countForward(outcome: string): void {
    add(this.counts.forwards, outcome, 1)
  }

  /** Counts from the feed, so that metrics and history never disagree. */
  countFeed(event: FeedEventName, fields: Readonly<Record<string, unknown>>): void {
    const { counts } = this
    const [area, what = ''] = event.split('.')
    if (area === 'member') this.countMember(what, String(fields.member))
    else if (area === 'agent') this.countAgent(what, String(fields.from ?? ''))
    else if (event === 'leader.elected') counts.leaderChanges++
    else if (event === 'lease.lost') counts.leasesLost++
    else if (event === 'ownership.alarm') counts.ownershipAlarms++
  }

  private countMember(what: string, member: string): void {
    const { suspicions } = this.counts
    if (what === 'suspected') add(suspicions, 'suspected', 1)
    else if (what === 'recovered') add(suspicions, 'refuted', 1)
    else if (what === 'failed') {
      add(suspicions, 'failed', 1)
      if (this.failedAtMs.size < failuresMax) this.failedAtMs.set(member, monotonicMs())
    } else if (what === 'evicted') this.counts.evictions++
    if (what === 'recovered' || what === 'removed' || what === 'restarted') this.failedAtMs.delete(member)
  }

  /** Of the leader, which alone decides on places. */
  private countAgent(what: string, from: string): void {
    add(this.counts.placements, what, 1)
    const failedAtMs = what === 'replaced' ? this.failedAtMs.get(from) : undefined
    if (failedAtMs !== undefined) this.adoption.observe((monotonicMs() - failedAtMs) / 1_000)
  }

  async text(): Promise<string> {
    this.descriptors = await readDescriptors()
    this.answers++
    return this.exposition.text()
  }

  /** What costs something is looked up once for an answer: all its values are read in one turn. */
  private askedOnce(sources: InstrumentSources): InstrumentSources {
    const once = <T>(read: () => T): (() => T) => {
      let known: { readonly answer: number; readonly value: T } | undefined
      return () => {
        if (known?.answer !== this.answers) known = { answer: this.answers, value: read() }
        return known.value
      }
    }
    const agents = once(() => sources.agents(sources.status().leader?.isSelf === true))
    return {
      ...sources,
      status: once(() => sources.status()),
      members: once(() => sources.members()),
      peers: once(() => sources.peers()),
      agents: () => agents(),
      services: once(() => sources.services()),
      processing: once(() => sources.processing()),
      rooms: once(() => sources.rooms()),
      maps: once(() => sources.maps()),
      consumers: once(() => sources.consumers()),
    }
  }

  get contentType(): string {
    return this.exposition.contentType
  }

  close(): void {
    this.loopDelay.disable()
    this.garbage.close()
  }
}

function add(counts: Map<string, number>, name: string, by: number): void {
  counts.set(name, (counts.get(name) ?? 0) + by)
}

function boundsOf(name: MetricName): readonly number[] {
  return metricTable.find((spec) => spec.name === name)?.bounds ?? []
}
