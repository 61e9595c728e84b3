/** Metrics of the HTTP surface, of the process and of its host. Names without `skein_` are those that Prometheus users of Node.js know. */
import { latencyBounds } from '../../core/kernel/histogram.js'
import type { MetricSpec } from './metric.js'

const routeLabel = {
  max: 200,
  of: 'patterns of the routes of the API, never a path that was asked for; `(none)` for what no route took',
}
const methodLabel = { values: ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS'] }

export const processMetrics = [
  {
    name: 'skein_http_requests_total',
    type: 'counter',
    unit: 'count',
    area: 'HTTP',
    help: 'Requests answered, by the pattern of their route and the class of their status',
    labels: {
      method: methodLabel,
      route: routeLabel,
      status: { values: ['1xx', '2xx', '3xx', '4xx', '5xx'] },
    },
    moves:
      '4xx: clients ask wrongly, or are limited (skein_http_throttled_total). 5xx: the cluster could not.',
    panel: {
      title: 'Requests by status',
      kind: 'graph',
      unit: 'ops',
      queries: [
        {
          expr: 'sum by (status) (rate(skein_http_requests_total{$at}[$__rate_interval]))',
          legend: '{{status}}',
        },
      ],
    },
    alerts: [
      {
        name: 'SkeinHttpErrors',
        severity: 'warning',
        expr: 'sum by (job, instance) (rate(skein_http_requests_total{status="5xx",route!="/readyz"}[5m])) / (sum by (job, instance) (rate(skein_http_requests_total{route!="/readyz"}[5m])) > 0.1) > 0.05',
        for: '5m',
        summary: '{{ $labels.instance }} answers {{ $value | humanizePercentage }} of its requests with 5xx',
        means:
          'Mostly 503: no owner, no leader, store or journal away, or overloaded. 500 is a bug, with a stack in the log.',
        look: [
          '`skein_http_requests_total` by route; `request failed` in the log; the other alerts that fire.',
        ],
        act: ['Treat the cause: store, journal, owner, load. Keep the log of a 500 and tell us.'],
      },
    ],
  },
  {
    name: 'skein_http_request_seconds',
    type: 'histogram',
    unit: 'seconds',
    area: 'HTTP',
    help: 'Time to answer, by the pattern of the route; streams that stay open are left out',
    labels: { method: methodLabel, route: routeLabel },
    bounds: latencyBounds,
    moves: 'Publishing includes the commit; questions about the cluster include the nodes that were asked.',
    panel: {
      title: 'Answers: 99 of 100, the slowest routes',
      kind: 'graph',
      unit: 's',
      queries: [
        {
          expr: 'topk(8, histogram_quantile(0.99, sum by (le, method, route) (rate(skein_http_request_seconds_bucket{$at}[$__rate_interval]))))',
          legend: '{{method}} {{route}}',
        },
      ],
    },
  },
  {
    name: 'skein_http_throttled_total',
    type: 'counter',
    unit: 'count',
    area: 'HTTP',
    help: 'Requests answered with 429: the limit of a client (--rate-limit), or a queue that is full',
    moves: 'One busy client, or a cluster at its limit.',
  },
  {
    name: 'skein_http_connections',
    type: 'gauge',
    unit: 'count',
    area: 'HTTP',
    help: 'Connections to the HTTP port, WebSockets left out',
    moves: 'At most 4,096 beside the clients of rooms, 1,024 from one address.',
  },
  {
    name: 'skein_ws_connections',
    type: 'gauge',
    unit: 'count',
    area: 'HTTP',
    help: 'Open WebSockets',
    moves: 'Clients of rooms, tails, consoles of agents.',
    panel: {
      title: 'Connections',
      kind: 'graph',
      unit: 'short',
      queries: [
        { expr: 'sum by (instance) (skein_ws_connections{$at})', legend: 'WebSockets at {{instance}}' },
        { expr: 'sum by (instance) (skein_http_connections{$at})', legend: 'HTTP at {{instance}}' },
      ],
    },
  },
  {
    name: 'skein_eventloop_delay_p99_seconds',
    type: 'gauge',
    unit: 'seconds',
    area: 'Process and host',
    help: 'Delay of the main event loop, 99 of 100 samples since the last scrape',
    moves: 'Everything on this node is as late as this. From 1 s on it counts as stalled.',
    panel: {
      title: 'Delay of the event loop',
      kind: 'graph',
      unit: 's',
      queries: [{ expr: 'skein_eventloop_delay_p99_seconds{$at}', legend: '{{instance}}' }],
    },
    alerts: [
      {
        name: 'SkeinEventLoopLate',
        severity: 'warning',
        expr: 'skein_eventloop_delay_p99_seconds > 0.25',
        for: '5m',
        summary: 'The event loop of {{ $labels.instance }} is {{ $value | printf "%.2f" }} s late',
        means: 'The main thread is busy for long at a time: everything on this node answers late.',
        look: [
          '`skein_host_cpu_ratio` (the whole host?) and `nodejs_gc_duration_seconds` (memory?); else a CPU profile of the process.',
        ],
        act: ['Cut long loops up, move them to workers, or give the node more CPU and memory.'],
      },
    ],
  },
  {
    name: 'skein_log_lines_total',
    type: 'counter',
    unit: 'count',
    area: 'Process and host',
    help: 'Lines that this node logged, by level, also those that --log-level does not show',
    labels: { level: { values: ['debug', 'info', 'warn', 'error'] } },
    moves: 'An error means that a person must act; OPERATIONS.md lists them.',
    panel: {
      title: 'Warnings and errors logged',
      kind: 'graph',
      unit: 'short',
      queries: [
        {
          expr: 'sum by (instance, level) (increase(skein_log_lines_total{level=~"warn|error",$at}[$__rate_interval]))',
          legend: '{{level}} at {{instance}}',
        },
      ],
    },
    alerts: [
      {
        name: 'SkeinErrorsLogged',
        severity: 'warning',
        expr: 'increase(skein_log_lines_total{level="error"}[15m]) > 0',
        for: '0s',
        summary: '{{ $labels.instance }} logged errors',
        means:
          'Something happened that does not mend itself. The other alerts may say more; this one is for what they do not know.',
        look: [
          'Lines of level 50 in the log of that node: `msg` is listed in OPERATIONS.md under "Logs", `detail` has the reason.',
        ],
        act: ['What the list says of that line.'],
      },
    ],
  },
  {
    name: 'skein_host_cpu_ratio',
    type: 'gauge',
    unit: 'ratio',
    area: 'Process and host',
    help: 'CPU in use of what this node may use: its host, or the tightest limit set on it there',
    moves: 'Near 1 everything gets late, probes at last.',
    panel: {
      title: 'CPU, memory and disk in use',
      kind: 'graph',
      unit: 'percentunit',
      queries: [
        { expr: 'skein_host_cpu_ratio{$at}', legend: 'CPU at {{instance}}' },
        { expr: 'skein_host_memory_ratio{$at}', legend: 'memory at {{instance}}' },
        { expr: 'skein_host_disk_ratio{$at}', legend: 'disk at {{instance}}' },
      ],
    },
  },
  {
    name: 'skein_host_memory_ratio',
    type: 'gauge',
    unit: 'ratio',
    area: 'Process and host',
    help: 'Memory in use of what this node may use',
    moves: 'At 1 the kernel ends a process.',
    alerts: [
      {
        name: 'SkeinMemoryShort',
        severity: 'warning',
        expr: 'skein_host_memory_ratio > 0.92',
        for: '5m',
        summary: '{{ $labels.instance }} uses {{ $value | humanizePercentage }} of its memory',
        means:
          'The host, or the container of this node, is nearly out of memory. At the end the kernel kills a process: a crash, from which the others take over.',
        look: [
          '`process_resident_memory_bytes`, `nodejs_heap_size_used_bytes`; on the host, who else takes it.',
        ],
        act: [
          'Raise the limit of the container, or give Node.js less than it has with `--max-old-space-size`. See SIZING.md.',
        ],
      },
    ],
  },
  {
    name: 'skein_host_disk_ratio',
    type: 'gauge',
    unit: 'ratio',
    area: 'Process and host',
    help: 'Disk in use where the data directory is',
    moves: 'Full: publishing is refused with disk_full; with a store on the same disk, leases end.',
    alerts: [
      {
        name: 'SkeinDiskFills',
        severity: 'warning',
        expr: 'skein_host_disk_ratio > 0.85',
        for: '10m',
        summary: 'The disk of {{ $labels.instance }} is {{ $value | humanizePercentage }} full',
        means: 'At this rate the journal will have no room.',
        look: ['`skein_journal_bytes`; `du` of the data directory and its parent.'],
        act: [
          'Lower `--retention-hours` or `--retention-stream-mib` (at run time: `skein config set`), or add disk.',
        ],
      },
      {
        name: 'SkeinDiskFull',
        severity: 'critical',
        expr: 'skein_host_disk_ratio > 0.97',
        for: '1m',
        summary: 'The disk of {{ $labels.instance }} is full',
        means:
          'Publishing fails or is about to (`disk_full`, 507). Where the store is on this disk, leases cannot be renewed and serving stops.',
        look: ['`df`; what grew last.'],
        act: ['Free space now; nodes go on by themselves. Then as under SkeinDiskFills.'],
      },
    ],
  },
  {
    name: 'process_cpu_seconds_total',
    type: 'counter',
    unit: 'seconds',
    area: 'Process and host',
    help: 'CPU time of this process, all threads',
    moves: 'More than one second a second: several threads work.',
    panel: {
      title: 'CPU of the process',
      kind: 'graph',
      unit: 'short',
      queries: [
        { expr: 'rate(process_cpu_seconds_total{$at}[$__rate_interval])', legend: 'CPUs of {{instance}}' },
      ],
    },
  },
  {
    name: 'process_start_time_seconds',
    type: 'gauge',
    unit: 'seconds',
    area: 'Process and host',
    help: 'When this process started, since the epoch',
    moves: 'Changes with each restart.',
    alerts: [
      {
        name: 'SkeinRestarts',
        severity: 'warning',
        expr: 'changes(process_start_time_seconds{job=~".*skein.*"}[30m]) > 2',
        for: '0s',
        summary: '{{ $labels.instance }} was started {{ $value }} times in half an hour',
        means: 'The process ends again and again, by itself or by whoever supervises it.',
        look: [
          'Its last log line before each start; exit codes in `journalctl -u skein` or `kubectl describe pod`. OOMKilled: SkeinMemoryShort.',
        ],
        act: [
          'Treat what the line names. A liveness probe that is too eager kills nodes that are only busy: DEPLOY.md.',
        ],
      },
    ],
  },
  {
    name: 'process_resident_memory_bytes',
    type: 'gauge',
    unit: 'bytes',
    area: 'Process and host',
    help: 'Resident memory of this process',
    moves: 'Grows with clients, rooms, maps, agents and queues, all of which have limits.',
    panel: {
      title: 'Memory of the process',
      kind: 'graph',
      unit: 'bytes',
      queries: [
        { expr: 'process_resident_memory_bytes{$at}', legend: 'resident {{instance}}' },
        { expr: 'nodejs_heap_size_used_bytes{$at}', legend: 'heap {{instance}}' },
      ],
    },
  },
  {
    name: 'process_open_fds',
    type: 'gauge',
    unit: 'count',
    area: 'Process and host',
    help: 'Open file descriptors of this process; only where the system tells',
    moves: 'One for each connection and file.',
    alerts: [
      {
        name: 'SkeinDescriptorsShort',
        severity: 'warning',
        expr: 'process_open_fds{job=~".*skein.*"} / process_max_fds{job=~".*skein.*"} > 0.8',
        for: '5m',
        summary: '{{ $labels.instance }} has used {{ $value | humanizePercentage }} of its file descriptors',
        means: 'At the end no connection is accepted and no file opened.',
        look: [
          '`skein_ws_connections`, `skein_http_connections`; `ulimit -n` of the process (`skein doctor`).',
        ],
        act: [
          'Raise `LimitNOFILE` (systemd) or the ulimit of the container; spread the clients over more nodes.',
        ],
      },
    ],
  },
  {
    name: 'process_max_fds',
    type: 'gauge',
    unit: 'count',
    area: 'Process and host',
    help: 'File descriptors that this process may open; only where the system tells',
    moves: 'Constant while the node runs.',
  },
  {
    name: 'nodejs_heap_size_used_bytes',
    type: 'gauge',
    unit: 'bytes',
    area: 'Process and host',
    help: 'Heap of the main thread in use',
    moves: 'A saw: up until a collection. Rising lows: something is kept.',
  },
  {
    name: 'nodejs_heap_size_total_bytes',
    type: 'gauge',
    unit: 'bytes',
    area: 'Process and host',
    help: 'Heap of the main thread',
    moves: 'As far as the limit of Node.js.',
  },
  {
    name: 'nodejs_external_memory_bytes',
    type: 'gauge',
    unit: 'bytes',
    area: 'Process and host',
    help: 'Memory of buffers outside the heap of the main thread',
    moves: 'With what waits to be sent.',
  },
  {
    name: 'nodejs_gc_duration_seconds',
    type: 'histogram',
    unit: 'seconds',
    area: 'Process and host',
    help: 'Collections of garbage in the main thread, by kind',
    labels: { kind: { values: ['minor', 'major', 'incremental', 'weakcb'] } },
    bounds: [0.001, 0.01, 0.1, 1, 2, 5],
    moves: 'Long major ones: the heap is nearly full.',
    panel: {
      title: 'Time in garbage collection',
      kind: 'graph',
      unit: 'percentunit',
      queries: [
        {
          expr: 'sum by (instance) (rate(nodejs_gc_duration_seconds_sum{$at}[$__rate_interval]))',
          legend: '{{instance}}',
        },
      ],
    },
  },
] as const satisfies readonly MetricSpec[]
