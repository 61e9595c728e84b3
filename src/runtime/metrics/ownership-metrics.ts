/** Metrics of leases, shards and their owners. */
import type { MetricSpec } from './metric.js'

export const ownershipMetrics = [
  {
    name: 'skein_lease_remaining_seconds',
    type: 'gauge',
    unit: 'seconds',
    area: 'Leases and ownership',
    help: 'Time until this node stops by itself unless it renews its lease, 0 without one',
    moves: 'A saw between the full time and one renewal less. Lower: renewals are late, the store is slow.',
    panel: {
      title: 'Lease: least time left',
      kind: 'graph',
      unit: 's',
      queries: [
        { expr: 'min by (instance) (skein_lease_remaining_seconds{$at})', legend: '{{instance}}' },
        { expr: 'max(skein_lease_ttl_seconds{$at}) * 0.9', legend: 'full' },
      ],
    },
    alerts: [
      {
        name: 'SkeinLeaseRunsOut',
        severity: 'warning',
        expr: 'skein_lease_remaining_seconds < 0.5 * skein_lease_ttl_seconds',
        for: '30s',
        summary: '{{ $labels.instance }} renews its lease late',
        means:
          'Renewals take so long, or fail so often, that this node lives in the second half of its lease. At its end it stops serving on purpose, since others may take over from then on.',
        look: [
          '`skein status --addr` there: what does it say of the store?',
          '`skein_store_seconds` and `skein_store_failures_total`; for etcd its own `etcd_disk_wal_fsync_duration_seconds`.',
        ],
        act: [
          'Make the store faster (disk, CPU, network), or take a preset with a longer lease on all nodes.',
        ],
      },
    ],
  },
  {
    name: 'skein_lease_ttl_seconds',
    type: 'gauge',
    unit: 'seconds',
    area: 'Leases and ownership',
    help: 'How long a lease lasts, by the preset of this node',
    moves: 'Constant while the node runs.',
  },
  {
    name: 'skein_leases_lost_total',
    type: 'counter',
    unit: 'count',
    area: 'Leases and ownership',
    help: 'Leases that this process lost',
    moves: 'Stays 0. Each loss stopped all that this node owned, until it had another lease.',
    panel: {
      title: 'Leases lost and alarms of the auditor',
      kind: 'graph',
      unit: 'short',
      queries: [
        { expr: 'sum(increase(skein_leases_lost_total{$at}[$__rate_interval]))', legend: 'leases lost' },
        { expr: 'sum(increase(skein_ownership_alarms_total{$at}[$__rate_interval]))', legend: 'alarms' },
      ],
    },
    alerts: [
      {
        name: 'SkeinLeaseLost',
        severity: 'warning',
        expr: 'increase(skein_leases_lost_total[15m]) > 0',
        for: '0s',
        summary: '{{ $labels.instance }} lost its lease',
        means:
          'The node could not renew in time and stopped what it owned; shards and agents went to others or came back under a new epoch. Nothing acknowledged is lost; clients saw 503 or 504 for some seconds.',
        look: [
          '`lease.lost` in its log names the reason: no answer of the store, a host that was suspended, or an eviction.',
          'Others at the same time: the store. This one alone: its host or its network.',
        ],
        act: [
          'Treat the cause as under SkeinLeaseRunsOut. A host that is suspended or paused (snapshots of virtual machines) must not run a node.',
        ],
      },
    ],
  },
  {
    name: 'skein_ownership_alarms_total',
    type: 'counter',
    unit: 'count',
    area: 'Leases and ownership',
    help: 'Times the auditor at the leader found what correct code cannot do; any is a bug',
    moves:
      'Stays 0: two owners of an epoch, a tenure that was never assigned, an acknowledgement past a seal, an agent that acted after its successor.',
    alerts: [
      {
        name: 'SkeinOwnershipAlarm',
        severity: 'critical',
        expr: 'increase(skein_ownership_alarms_total[1h]) > 0',
        for: '0s',
        summary: 'The auditor of {{ $labels.job }} found a breach of ownership',
        means:
          'Something was owned twice, or an event was acknowledged that its successor does not know. This is a bug of Skein, or somebody changed store or journal by hand.',
        look: [
          '`ownership.alarm` in the log of the leader names rule, shard or agent, epoch and nodes; `skein shards` and `/api/cluster/ownership` show the tenures.',
        ],
        act: [
          'Keep the logs of all nodes, and a copy of store and journal, before anything is restarted.',
          'Stop writes to that shard if you can, and tell us.',
        ],
      },
    ],
  },
  {
    name: 'skein_evictions_total',
    type: 'counter',
    unit: 'count',
    area: 'Leases and ownership',
    help: 'Nodes that this node, as the leader, evicted because nobody sees them while their lease lives',
    moves: 'A node reaches the store and not the others: half a partition.',
  },
  {
    name: 'skein_shards',
    type: 'gauge',
    unit: 'count',
    area: 'Leases and ownership',
    help: 'Shards by state in the map as this node knows it',
    labels: { state: { values: ['open', 'moving', 'unassigned'] } },
    moves: 'Moving for a moment after each change of nodes. Unassigned: nobody could be given them.',
    panel: {
      title: 'Shards by state',
      kind: 'graph',
      unit: 'short',
      queries: [{ expr: 'max by (state) (skein_shards{$at})', legend: '{{state}}' }],
    },
  },
  {
    name: 'skein_shards_owned',
    type: 'gauge',
    unit: 'count',
    area: 'Leases and ownership',
    help: 'Shards open on this node',
    moves:
      'Even over the workers when all is quiet. The sum is the number of shards; it dips while some change hands.',
    panel: {
      title: 'Shards open by node',
      kind: 'graph',
      unit: 'short',
      queries: [{ expr: 'skein_shards_owned{$at}', legend: '{{instance}}' }],
    },
    alerts: [
      {
        name: 'SkeinShardsUnowned',
        severity: 'critical',
        expr: 'sum by (job) (skein_shards_owned) < max by (job) (sum by (job, instance) (skein_shards))',
        for: '30s',
        summary: '{{ $labels.job }}: only {{ $value }} shards are served',
        means:
          'Nobody serves the missing shards: events with their keys are refused with `no_owner` after five seconds. A few seconds of it are normal after a crash; half a minute is not.',
        look: [
          '`skein shards`: which, and who should have them. Is there a leader (SkeinNoLeader)?',
          'Logs of the assigned node for `shard.open_failed`, `journal.open_failed`, `shards.seal_failed`.',
          'Is a node missing from the scrape, so that only the sum is wrong?',
        ],
        act: [
          'The journal does not answer: see SkeinJournalDown.',
          'One node cannot open them: `skein nodes cordon ID`, then `drain`; others take them.',
        ],
      },
    ],
  },
  {
    name: 'skein_shards_opened_total',
    type: 'counter',
    unit: 'count',
    area: 'Leases and ownership',
    help: 'Shards that this node took up',
    moves: 'Each is a move. A steady rate without changes of nodes: shards go to and fro.',
  },
  {
    name: 'skein_shards_closed_total',
    type: 'counter',
    unit: 'count',
    area: 'Leases and ownership',
    help: 'Shards that this node gave up or lost',
    moves: 'See skein_shards_opened_total.',
  },
  {
    name: 'skein_shard_takeover_seconds',
    type: 'histogram',
    unit: 'seconds',
    area: 'Leases and ownership',
    help: 'From the moment this node hears that a shard is its own until it serves it: the predecessor is sealed and its ids are read',
    bounds: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    moves: 'Grows with the ids in the dedupe window, and when store or journal are slow.',
    panel: {
      title: 'Time to take a shard up, 99 of 100',
      kind: 'graph',
      unit: 's',
      queries: [
        {
          expr: 'histogram_quantile(0.99, sum by (le) (rate(skein_shard_takeover_seconds_bucket{$at}[$__rate_interval])))',
          legend: '99 %',
        },
      ],
    },
  },
] as const satisfies readonly MetricSpec[]
