/** The node's Prometheus instruments (DESIGN §7). One registry per node: several nodes may live in one process. */
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { Counter, Gauge, Histogram, Registry } from 'prom-client'
import type { Mirror } from './mirror.js'
import type { ClusterStatus, Metrics, NodeView, PeerView } from './node-api.js'

/** How often the delay of the loop is sampled, ms. Each sample wakes an idle process. */
export const loopResolutionMs = 100

export interface InstrumentSources {
  status(): ClusterStatus
  members(): readonly NodeView[]
  peers(): readonly PeerView[]
  mirrors(): readonly Pick<Mirror, 'target' | 'stream' | 'lagMs'>[]
  readonly version: string
}

export class Instruments implements Metrics {
  readonly registry = new Registry()
  readonly loopDelay = monitorEventLoopDelay({ resolution: loopResolutionMs })
  private readonly sources: InstrumentSources
  private readonly events: Counter<'outcome'>
  private readonly forwards: Counter<'outcome'>
  private readonly suspicions: Counter<'outcome'>
  private readonly leaderChanges: Counter
  private readonly leasesLost: Counter
  private readonly ownershipAlarms: Counter
  private readonly mirrored: Counter<'target' | 'stream' | 'outcome'>
  private readonly append: Histogram

  constructor(sources: InstrumentSources) {
    this.sources = sources
    const registers = [this.registry]
    this.events = new Counter({
      name: 'skein_events_total',
      help: 'Events published through this node, by outcome',
      labelNames: ['outcome'],
      registers,
    })
    this.forwards = new Counter({
      name: 'skein_forwards_total',
      help: 'Parts of requests handed to the owner of their shard',
      labelNames: ['outcome'],
      registers,
    })
    this.suspicions = new Counter({
      name: 'skein_suspicions_total',
      help: 'Suspicions as this node saw them end',
      labelNames: ['outcome'],
      registers,
    })
    this.leaderChanges = new Counter({
      name: 'skein_leader_changes_total',
      help: 'Changes of leader seen',
      registers,
    })
    this.leasesLost = new Counter({
      name: 'skein_leases_lost_total',
      help: 'Leases this process lost',
      registers,
    })
    this.ownershipAlarms = new Counter({
      name: 'skein_ownership_alarms_total',
      help: 'Times the auditor found what correct code cannot do; any is a bug',
      registers,
    })
    this.mirrored = new Counter({
      name: 'skein_mirror_events_total',
      help: 'Events copied to another cluster, by outcome there',
      labelNames: ['target', 'stream', 'outcome'],
      registers,
    })
    this.append = new Histogram({
      name: 'skein_event_append_seconds',
      help: 'Commit of a batch to the journal',
      buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1],
      registers,
    })
    new Gauge({
      name: 'skein_build_info',
      help: 'Version of this node',
      labelNames: ['version', 'node'],
      registers,
    })
      .labels(sources.version, process.version)
      .set(1)
    this.gauges()
    this.loopDelay.enable()
  }

  private gauges(): void {
    const { sources } = this
    const registers = [this.registry]
    const gauge = (name: string, help: string, read: () => number): void => {
      new Gauge({
        name,
        help,
        registers,
        collect() {
          this.set(read())
        },
      })
    }
    gauge('skein_leader', '1 where this node leads', () => (sources.status().leader?.isSelf === true ? 1 : 0))
    gauge('skein_leader_term', 'Term of the last leader known', () => sources.status().term)
    gauge(
      'skein_lease_remaining_seconds',
      'Time until this node stops by itself unless it renews',
      () => sources.status().leaseRemainingMs / 1_000,
    )
    gauge('skein_shards_owned', 'Shards open on this node', () => sources.status().node.shardsOwned)
    gauge('skein_eventloop_delay_p99_seconds', 'Delay of the main event loop since the last scrape', () => {
      // The histogram counts its own interval with every delay.
      const seconds = Math.max(0, this.loopDelay.percentile(99) / 1e9 - loopResolutionMs / 1_000)
      this.loopDelay.reset()
      return Number.isFinite(seconds) ? seconds : 0
    })
    new Gauge({
      name: 'skein_nodes',
      help: 'Nodes by status',
      labelNames: ['status'],
      registers,
      collect() {
        this.reset()
        for (const [status, count] of Object.entries(sources.status().nodesByStatus))
          this.labels(status).set(count)
      },
    })
    const perPeer = (name: string, help: string, read: (peer: PeerView) => number): void => {
      new Gauge({
        name,
        help,
        labelNames: ['peer'],
        registers,
        collect() {
          this.reset()
          for (const peer of sources.peers()) this.labels(peer.nodeId).set(read(peer))
        },
      })
    }
    perPeer('skein_peer_up', '1 where the peer is healthy', (p) => (p.status === 'healthy' ? 1 : 0))
    perPeer('skein_peer_rtt_seconds', 'Round trip of probes', (p) => p.rttMs / 1_000)
    new Gauge({
      name: 'skein_mirror_lag_seconds',
      help: 'Age of the oldest event of this node that the other cluster has not confirmed, 0 when it has them all',
      labelNames: ['target', 'stream'],
      registers,
      collect() {
        this.reset()
        const nowMs = Date.now()
        for (const m of sources.mirrors()) this.labels(m.target, m.stream).set(m.lagMs(nowMs) / 1_000)
      },
    })
    new Gauge({
      name: 'skein_peer_bytes_total',
      help: 'Bytes on data connections',
      labelNames: ['peer', 'direction'],
      registers,
      collect() {
        this.reset()
        for (const p of sources.peers()) {
          this.labels(p.nodeId, 'received').set(p.receivedBytes)
          this.labels(p.nodeId, 'sent').set(p.sentBytes)
        }
      },
    })
    new Gauge({
      name: 'skein_clock_skew_seconds',
      help: 'Wall clock of the peer minus ours',
      labelNames: ['peer'],
      registers,
      collect() {
        this.reset()
        for (const m of sources.members())
          if (!m.isSelf && m.kind === 'node') this.labels(m.id).set(m.skewMs / 1_000)
      },
    })
  }

  countEvents(outcome: string, count: number): void {
    this.events.labels(outcome).inc(count)
  }

  countMirrored(target: string, stream: string, outcome: string, events: number): void {
    this.mirrored.labels(target, stream, outcome).inc(events)
  }

  countForward(outcome: string): void {
    this.forwards.labels(outcome).inc()
  }

  observeAppend(seconds: number): void {
    this.append.observe(seconds)
  }

  /** Counts from the feed, so that metrics and history never disagree. */
  countFeed(event: string): void {
    if (event === 'member.suspected') this.suspicions.labels('suspected').inc()
    else if (event === 'member.recovered') this.suspicions.labels('refuted').inc()
    else if (event === 'member.failed') this.suspicions.labels('failed').inc()
    else if (event === 'leader.elected') this.leaderChanges.inc()
    else if (event === 'lease.lost') this.leasesLost.inc()
    else if (event === 'ownership.alarm') this.ownershipAlarms.inc()
  }

  text(): Promise<string> {
    return this.registry.metrics()
  }

  get contentType(): string {
    return this.registry.contentType
  }

  close(): void {
    this.loopDelay.disable()
  }
}
