/** Metrics of events: published, consumed, mirrored. */
import { type MetricSpec, namedMax } from './metric.js'
export const rejectionCodes = [
  'no_owner',
  'outcome_unknown',
  'overloaded',
  'event_conflict',
  'fenced',
  'disk_full',
  'unavailable',
  'timeout',
  'closed',
  'corrupt',
  'invalid_argument',
  'payload_too_large',
  'internal',
] as const

export const eventMetrics = [
  {
    name: 'skein_events_total',
    type: 'counter',
    unit: 'count',
    area: 'Events',
    help: 'Events published through this node, by outcome',
    labels: { outcome: { values: ['accepted', 'duplicate', 'rejected'] } },
    moves:
      'Duplicates are clients that tried again, and harmless. Rejected ones were not stored; skein_events_rejected_total says why.',
    panel: {
      title: 'Events published',
      kind: 'graph',
      unit: 'ops',
      queries: [
        { expr: 'sum by (outcome) (rate(skein_events_total{$at}[$__rate_interval]))', legend: '{{outcome}}' },
      ],
    },
    alerts: [
      {
        name: 'SkeinEventsRejected',
        severity: 'warning',
        expr: 'sum by (job) (rate(skein_events_total{outcome="rejected"}[5m])) / (sum by (job) (rate(skein_events_total[5m])) > 0) > 0.01',
        for: '5m',
        summary: '{{ $value | humanizePercentage }} of the events of {{ $labels.job }} are rejected',
        means:
          'Clients publish and are refused. What was refused was not stored, and was said so; clients that do not try again lose it.',
        look: ['`skein_events_rejected_total` by code, which is in the answers as well.'],
        act: [
          '`overloaded`: more nodes, or a faster journal. `no_owner`: SkeinShardsUnowned. `disk_full`: free space.',
          '`event_conflict`: a client gives one id to two different events.',
        ],
      },
    ],
  },
  {
    name: 'skein_events_rejected_total',
    type: 'counter',
    unit: 'count',
    area: 'Events',
    help: 'Events that were rejected at this node, by the code that the client got',
    labels: { code: { values: rejectionCodes } },
    moves: 'The code says whose matter it is: see the runbook of SkeinEventsRejected.',
    panel: {
      title: 'Events rejected, by reason',
      kind: 'graph',
      unit: 'ops',
      queries: [
        {
          expr: 'sum by (code) (rate(skein_events_rejected_total{$at}[$__rate_interval]))',
          legend: '{{code}}',
        },
      ],
    },
  },
  {
    name: 'skein_event_append_seconds',
    type: 'histogram',
    unit: 'seconds',
    area: 'Events',
    help: 'Commit of a batch of events to the journal',
    bounds: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1],
    moves:
      'The disk, or the synchronous standby of PostgreSQL. Each publisher waits for at least one of these.',
    panel: {
      title: 'Commit to the journal',
      kind: 'graph',
      unit: 's',
      queries: [
        {
          expr: 'histogram_quantile(0.5, sum by (le) (rate(skein_event_append_seconds_bucket{$at}[$__rate_interval])))',
          legend: '50 %',
        },
        {
          expr: 'histogram_quantile(0.99, sum by (le) (rate(skein_event_append_seconds_bucket{$at}[$__rate_interval])))',
          legend: '99 %',
        },
      ],
    },
    alerts: [
      {
        name: 'SkeinJournalSlow',
        severity: 'warning',
        expr: 'histogram_quantile(0.99, sum by (job, instance, le) (rate(skein_event_append_seconds_bucket[5m]))) > 0.25',
        for: '5m',
        summary: 'Commits of {{ $labels.instance }} take longer than 0.25 s',
        means: 'The journal is slow. Batches grow, so throughput holds for a while; latency does not.',
        look: [
          'Disk of the journal (`iostat -x 1`), or for PostgreSQL `pg_stat_activity` and the lag of its standby.',
        ],
        act: [
          'A faster disk, fewer neighbours on it, or more nodes (SQLite: one file and one writer per node).',
        ],
      },
    ],
  },
  {
    name: 'skein_events_unconfirmed',
    type: 'gauge',
    unit: 'count',
    area: 'Events',
    help: 'Events that this node took as the owner of their shard and that are not on the disk of the journal yet',
    moves: 'At most 100,000; then publishers are told overloaded.',
    panel: {
      title: 'Events that wait',
      kind: 'graph',
      unit: 'short',
      queries: [
        {
          expr: 'sum by (instance) (skein_events_unconfirmed{$at})',
          legend: 'for the journal at {{instance}}',
        },
        { expr: 'sum by (instance) (skein_events_waiting{$at})', legend: 'for an owner at {{instance}}' },
      ],
    },
  },
  {
    name: 'skein_events_waiting',
    type: 'gauge',
    unit: 'count',
    area: 'Events',
    help: 'Events that wait at this node until their shard has an owner that takes them',
    moves: 'Above 0 during take-overs. At most 50,000.',
  },
  {
    name: 'skein_forwards_total',
    type: 'counter',
    unit: 'count',
    area: 'Events',
    help: 'Parts of requests handed to the owner of their shard',
    labels: { outcome: { values: ['ok', 'unreachable', 'unknown'] } },
    moves: 'What did not succeed is tried again under the same ids until the time of the request is over.',
  },
  {
    name: 'skein_tail_listeners',
    type: 'gauge',
    unit: 'count',
    area: 'Events',
    help: 'Live tails open at this node',
    moves: 'Each costs work with every event of the cluster.',
  },
  {
    name: 'skein_tail_missed_total',
    type: 'counter',
    unit: 'count',
    area: 'Events',
    help: 'Events that this node could not send to live tails at other nodes; the listeners are told how many',
    moves: 'A node with listeners does not keep up.',
  },
  {
    name: 'skein_consumer_lag_events',
    type: 'gauge',
    unit: 'count',
    area: 'Events',
    help: 'Offsets of the shards of this node that a group of consumers has not come to yet',
    labels: { group: { max: namedMax, of: 'groups of consumers that the program defines' } },
    moves: 'Rises while events come faster than the handler works, or while it fails.',
    panel: {
      title: 'Consumers: events behind',
      kind: 'graph',
      unit: 'short',
      queries: [{ expr: 'sum by (group) (skein_consumer_lag_events{$at})', legend: '{{group}}' }],
    },
    alerts: [
      {
        name: 'SkeinConsumerBehind',
        severity: 'warning',
        expr: 'sum by (job, group) (skein_consumer_lag_events) > 10000 and sum by (job, group) (deriv(skein_consumer_lag_events[10m])) > 0',
        for: '10m',
        summary: 'Consumers "{{ $labels.group }}" of {{ $labels.job }} fall behind',
        means:
          'More events come than the group works off. They are safe in the journal until retention deletes them.',
        look: [
          '`consumer.failed` in the logs: the handler throws. `skein_consumer_failures_total`.',
          'Else the handler is slow: CPU, or what it calls.',
        ],
        act: [
          'Mend the handler; add nodes (shards spread); use a processor with helpers (SPAWN.md). Raise retention before it bites.',
        ],
      },
    ],
  },
  {
    name: 'skein_consumer_failures_total',
    type: 'counter',
    unit: 'count',
    area: 'Events',
    help: 'Batches that a handler of a consumer failed on, or that could not be read; they are tried again',
    labels: { group: { max: namedMax, of: 'groups of consumers that the program defines' } },
    moves: 'A batch that fails for ever holds up its shard.',
  },
  {
    name: 'skein_mirror_lag_seconds',
    type: 'gauge',
    unit: 'seconds',
    area: 'Events',
    help: 'Age of the oldest event of this node that the other cluster has not confirmed, 0 when it has them all',
    labels: {
      target: { max: namedMax, of: 'clusters named with --mirror' },
      stream: { max: namedMax, of: 'streams named with --mirror' },
    },
    moves:
      'Rises while the other cluster is away or slow. What retention deletes before it was copied is lost to the mirror.',
    panel: {
      title: 'Mirrors: lag',
      kind: 'graph',
      unit: 's',
      queries: [
        {
          expr: 'max by (target, stream) (skein_mirror_lag_seconds{$at})',
          legend: '{{stream}} to {{target}}',
        },
      ],
    },
    alerts: [
      {
        name: 'SkeinMirrorBehind',
        severity: 'warning',
        expr: 'max by (job, target, stream) (skein_mirror_lag_seconds) > 300',
        for: '5m',
        summary:
          'The mirror of {{ $labels.stream }} to {{ $labels.target }} is {{ $value | humanizeDuration }} behind',
        means:
          'The other cluster does not take events, or not fast enough. They are kept here for as long as retention allows.',
        look: ['`mirror.failed` in the logs says what the other side answered.'],
        act: [
          'Bring the other side back or mend its token; raise `--retention-hours` before the lag comes near it.',
        ],
      },
    ],
  },
  {
    name: 'skein_mirror_events_total',
    type: 'counter',
    unit: 'count',
    area: 'Events',
    help: 'Events copied to another cluster, by outcome there',
    labels: {
      target: { max: namedMax, of: 'clusters named with --mirror' },
      stream: { max: namedMax, of: 'streams named with --mirror' },
      outcome: { values: ['stored', 'duplicate', 'refused'] },
    },
    moves: 'Refused ones were refused for good and passed over.',
    alerts: [
      {
        name: 'SkeinMirrorRefused',
        severity: 'warning',
        expr: 'sum by (job, target, stream) (increase(skein_mirror_events_total{outcome="refused"}[15m])) > 0',
        for: '0s',
        summary: '{{ $labels.target }} refuses events of {{ $labels.stream }} for good',
        means: 'Those events are here and not there, and will not be tried again.',
        look: ['`mirror.refused` in the logs, with id and reason of each.'],
        act: [
          'Mostly limits or ids that differ between the clusters: make them the same and publish what is missing again, under its ids.',
        ],
      },
    ],
  },
] as const satisfies readonly MetricSpec[]
