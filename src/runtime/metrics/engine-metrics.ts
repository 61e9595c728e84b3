/** Metrics of store and journal. */
import { latencyBounds } from '../../core/kernel/histogram.js'
import type { MetricSpec } from './metric.js'
/** What the store is asked for. */
export const storeOperations = ['lease_grant', 'lease_keep_alive', 'lease_revoke', 'txn', 'list'] as const
export type StoreOperation = (typeof storeOperations)[number]

/** What the journal is asked for, beside appending events. */
export const journalOperations = ['read', 'seal', 'positions', 'checkpoints', 'keeping'] as const
export type JournalOperation = (typeof journalOperations)[number]

export const engineMetrics = [
  {
    name: 'skein_store_up',
    type: 'gauge',
    unit: 'flag',
    area: 'Store and journal',
    help: '1 while the store answered this node within the last three seconds',
    moves: 'At 0 this node stops what it owns when its lease ends, 4.5 s later in lan.',
    panel: {
      title: 'Store and journal answer',
      kind: 'graph',
      unit: 'none',
      queries: [
        { expr: 'min by (instance) (skein_store_up{$at})', legend: 'store at {{instance}}' },
        { expr: 'min by (instance) (skein_journal_up{$at})', legend: 'journal at {{instance}}' },
      ],
    },
    alerts: [
      {
        name: 'SkeinStoreDown',
        severity: 'critical',
        expr: 'skein_store_up == 0',
        for: '10s',
        summary: 'The store does not answer {{ $labels.instance }}',
        means:
          'Without the store nobody may own anything: publishing stops when the lease ends. Reads go on. One node alone: it is cut off, and the others take over from it. All nodes: the store itself is down.',
        look: [
          '`skein status --addr` there says what the store answered last.',
          'etcd: `etcdctl endpoint status --cluster`. SQLite: is the disk full or hanging, does a process hold the lock (the log names it)?',
        ],
        act: [
          'Bring the store back; nodes go on by themselves within seconds.',
          'A quorum of etcd is lost for good: restore it from a snapshot as BACKUP.md says.',
        ],
      },
    ],
  },
  {
    name: 'skein_journal_up',
    type: 'gauge',
    unit: 'flag',
    area: 'Store and journal',
    help: '1 while the journal is well, as this node last tried it',
    moves: 'At 0 publishing answers 503; who owns what does not change.',
    alerts: [
      {
        name: 'SkeinJournalDown',
        severity: 'critical',
        expr: 'skein_journal_up == 0',
        for: '10s',
        summary: 'The journal does not answer {{ $labels.instance }}',
        means:
          'Events cannot be stored: publishing is refused and nothing is lost. Leadership, membership, services and rooms without history go on.',
        look: [
          '`skein status --addr` there: `journal` has the detail. Logs: `journal.append_failed`, `journal.open_failed`.',
          'PostgreSQL: does it take connections, is it read-only (a standby), is its disk full? SQLite: disk, or a page that is `corrupt`.',
        ],
        act: [
          'Bring it back; nodes go on by themselves.',
          '`disk_full`: free space. `corrupt`: restore that file from a backup (BACKUP.md).',
        ],
      },
    ],
  },
  {
    name: 'skein_store_seconds',
    type: 'histogram',
    unit: 'seconds',
    area: 'Store and journal',
    help: 'Requests to the store, those that failed included',
    labels: { operation: { values: storeOperations } },
    bounds: latencyBounds,
    moves: 'Renewals of leases are among them: as long as they take, so much less is the lease worth.',
    panel: {
      title: 'Store: 99 of 100 requests',
      kind: 'graph',
      unit: 's',
      queries: [
        {
          expr: 'histogram_quantile(0.99, sum by (le, operation) (rate(skein_store_seconds_bucket{$at}[$__rate_interval])))',
          legend: '{{operation}}',
        },
      ],
    },
    alerts: [
      {
        name: 'SkeinStoreSlow',
        severity: 'warning',
        expr: 'histogram_quantile(0.99, sum by (job, le) (rate(skein_store_seconds_bucket{operation="lease_keep_alive"}[5m]))) > 0.5',
        for: '5m',
        summary: 'Leases of {{ $labels.job }} take {{ $value | printf "%.2f" }} s to renew',
        means: 'The store answers, but slowly. From about 4 s on (`lan`) leases are lost.',
        look: [
          'Disk latency of the store, its CPU, and who else uses it; `skein_store_seconds` by operation.',
        ],
        act: ['Give etcd a disk of its own (SSD). With SQLite: the data directory must be on a local disk.'],
      },
    ],
  },
  {
    name: 'skein_store_failures_total',
    type: 'counter',
    unit: 'count',
    area: 'Store and journal',
    help: 'Requests to the store that failed; a transaction whose guard did not hold is an answer and not among them',
    labels: { operation: { values: storeOperations } },
    moves: 'Timeouts and lost connections. A few during an election of etcd are normal.',
  },
  {
    name: 'skein_journal_bytes',
    type: 'gauge',
    unit: 'bytes',
    area: 'Store and journal',
    help: 'Size of the journal, as far as this node sees it',
    moves: 'Grows with events and shrinks by retention.',
    panel: {
      title: 'Size of the journal',
      kind: 'graph',
      unit: 'bytes',
      queries: [{ expr: 'max(skein_journal_bytes{$at})', legend: 'journal' }],
    },
  },
  {
    name: 'skein_journal_seconds',
    type: 'histogram',
    unit: 'seconds',
    area: 'Store and journal',
    help: 'Requests to the journal beside appending events, those that failed included',
    labels: { operation: { values: journalOperations } },
    bounds: latencyBounds,
    moves:
      'read: consumers, history, pages. seal: take-overs. positions: what consumers have done. checkpoints: states of agents. keeping: retention, once a minute.',
    panel: {
      title: 'Journal: 99 of 100 requests',
      kind: 'graph',
      unit: 's',
      queries: [
        {
          expr: 'histogram_quantile(0.99, sum by (le, operation) (rate(skein_journal_seconds_bucket{$at}[$__rate_interval])))',
          legend: '{{operation}}',
        },
      ],
    },
  },
  {
    name: 'skein_journal_failures_total',
    type: 'counter',
    unit: 'count',
    area: 'Store and journal',
    help: 'Requests to the journal beside appending events that failed',
    labels: { operation: { values: journalOperations } },
    moves: 'With skein_journal_up. Alone: one file or one row cannot be read.',
  },
] as const satisfies readonly MetricSpec[]
