/** Metrics of membership and leadership. */
import type { MetricSpec } from './metric.js'

export const clusterMetrics = [
  {
    name: 'skein_build_info',
    type: 'gauge',
    unit: 'flag',
    area: 'Cluster',
    help: 'Versions of this node, always 1',
    labels: { version: { max: 1, of: 'this build' }, node: { max: 1, of: 'this version of Node.js' } },
    moves: 'Nodes of two versions run while an upgrade is under way.',
    panel: {
      title: 'Nodes by version',
      kind: 'graph',
      unit: 'short',
      queries: [
        { expr: 'count by (version, node) (skein_build_info{$at})', legend: '{{version}} on {{node}}' },
      ],
    },
    alerts: [
      {
        name: 'SkeinAbsent',
        severity: 'critical',
        expr: 'absent(skein_build_info)',
        for: '1m',
        summary: 'No node of any cluster answers Prometheus',
        means:
          'Prometheus gets metrics from no node: all are down, the way to them is cut, the token of the scrape is refused, or the scrape configuration names the wrong place.',
        look: [
          'The page "Targets" of Prometheus: is it `connection refused`, a timeout, or 401?',
          'On a node: `curl -s http://127.0.0.1:8151/livez`, then `skein doctor`.',
        ],
        act: [
          '401: the token of the scrape was withdrawn. Make another with `skein token create --role viewer`.',
          'The process is gone: start it, and read the last line it logged; it names the reason. See the failure modes in OPERATIONS.md.',
        ],
      },
      {
        name: 'SkeinVersionsDiffer',
        severity: 'warning',
        expr: 'count by (job) (count by (job, version) (skein_build_info)) > 1',
        for: '2h',
        summary: 'Nodes of {{ $labels.job }} run {{ $value }} versions for two hours',
        means:
          'An upgrade stopped half way. Nothing is wrong at this moment: nodes of both versions work together in the older format. What the new version adds stays off, and the way back narrows once all have the new one.',
        look: ['`skein nodes ls` shows the version of each node.'],
        act: ['Go on with the upgrade, or go back: UPGRADING.md.'],
      },
    ],
  },
  {
    name: 'skein_nodes',
    type: 'gauge',
    unit: 'count',
    area: 'Cluster',
    help: 'Nodes by status, as this node sees them, itself and external ones included',
    labels: { status: { values: ['online', 'offline', 'draining', 'unknown'] } },
    moves:
      'Online falls when a node fails, leaves or is drained. Offline ones stay until they come back, are removed, or 24 h have passed. Nodes that differ in these numbers do not see the same cluster.',
    panel: {
      title: 'Nodes by status',
      kind: 'graph',
      unit: 'short',
      queries: [{ expr: 'max by (status) (skein_nodes{$at})', legend: '{{status}}' }],
    },
    alerts: [
      {
        name: 'SkeinNodeOffline',
        severity: 'warning',
        expr: 'max by (job) (skein_nodes{status="offline"}) > 0',
        for: '1m',
        summary: '{{ $value }} nodes of {{ $labels.job }} are offline',
        means:
          'A node crashed, hangs, is cut off, or was stopped for good and never removed. Its shards and agents have gone to others by now; what is missing is capacity, and one more failure costs more.',
        look: [
          '`skein nodes ls`: which one. `skein nodes why ID`: who noticed, and by what.',
          'On its host: does the process run, what was its last log line, is the host reachable from the others?',
        ],
        act: [
          'Start it again with the same data directory and id.',
          'It is gone for good: `skein nodes remove ID` ends the alert.',
          'It runs and is cut off: mend the network; it rejoins by itself.',
        ],
      },
      {
        name: 'SkeinViewsDiffer',
        severity: 'warning',
        expr: 'max by (job) (skein_nodes{status="online"}) - min by (job) (skein_nodes{status="online"}) > 0',
        for: '2m',
        summary: 'Nodes of {{ $labels.job }} disagree about who is online',
        means:
          'Some nodes see others that the rest does not: a partition, one-way loss, or a firewall that lets only some pairs talk. Who may own what is decided by the store, so nothing is owned twice.',
        look: [
          '`curl /api/cluster/reachability`, or the dashboard view "Reachability": who sees whom.',
          '`skein nodes why ID` on one node of each opinion.',
        ],
        act: [
          'Open UDP and TCP of the peer port and TCP of the control port between all nodes, both ways.',
          'A node that sees nobody: look at its host first.',
        ],
      },
    ],
  },
  {
    name: 'skein_members_stalled',
    type: 'gauge',
    unit: 'count',
    area: 'Cluster',
    help: 'Members that answer probes while their main thread stands still, as this node sees them',
    moves:
      'A long loop, a huge JSON document or a debugger holds a main thread. After 2 s its shards are moved off.',
    alerts: [
      {
        name: 'SkeinStalled',
        severity: 'warning',
        expr: 'max by (job) (skein_members_stalled) > 0',
        for: '15s',
        summary: '{{ $value }} nodes of {{ $labels.job }} stand still',
        means:
          'The main thread of a node has not turned for more than a second. It is not dead, since another thread answers for it, but it serves nothing, and its shards go elsewhere.',
        look: [
          '`skein nodes ls` names it; `skein_eventloop_delay_p99_seconds` shows how long it was going on.',
          'On its host: `top -H` for a busy thread; `kill -USR1 PID` opens the inspector of Node.js on loopback, for a CPU profile.',
        ],
        act: [
          'Find the loop in the program (handlers of consumers, services, agents) and cut it up or move it to a worker.',
          'If it does not come back, restart the process: its work has moved already.',
        ],
      },
    ],
  },
  {
    name: 'skein_degraded',
    type: 'gauge',
    unit: 'flag',
    area: 'Cluster',
    help: '1 while this node calls the cluster degraded: a member is suspected or down, or this node, its store or its journal is not well',
    moves: 'It is what `is_degraded` and exit code 7 of `skein status` say.',
    panel: {
      title: 'Degraded',
      kind: 'stat',
      unit: 'none',
      queries: [{ expr: 'max(skein_degraded{$at})', legend: '' }],
    },
  },
  {
    name: 'skein_leader',
    type: 'gauge',
    unit: 'flag',
    area: 'Cluster',
    help: '1 where this node leads',
    moves: 'The sum over all nodes is 1. For a fraction of a second around a change it may be 0.',
    panel: {
      title: 'Leader',
      kind: 'stat',
      unit: 'none',
      queries: [{ expr: 'skein_leader{$at} == 1', legend: '{{instance}}' }],
    },
    alerts: [
      {
        name: 'SkeinNoLeader',
        severity: 'critical',
        expr: 'sum by (job) (skein_leader) == 0',
        for: '30s',
        summary: '{{ $labels.job }} has no leader',
        means:
          'Nobody holds the leadership in the store. Shards stay where they are and events go on, but nothing that fails is taken over: no shard, no agent.',
        look: [
          '`skein status`: does the store answer (`is_quorum_available`)?',
          '`skein leader show`; `skein history` for `leader.resigned` and the reason.',
          'Are there workers at all? Replicas never lead, and standbys only while capacity is lost.',
        ],
        act: [
          'The store does not answer: see SkeinStoreDown.',
          'All nodes are cordoned or draining: `skein nodes uncordon ID`.',
          'Else `skein leader promote --addr` at a healthy worker, and keep the logs of all nodes for a report.',
        ],
      },
      {
        name: 'SkeinTwoLeaders',
        severity: 'critical',
        expr: 'sum by (job) (skein_leader) > 1',
        for: '30s',
        summary: '{{ $value }} nodes of {{ $labels.job }} say that they lead',
        means:
          'Two leaders of one cluster would be a bug. Two clusters under one `job` look the same: then the scrape configuration is what is wrong. Writes of a leader are conditional on its term, so at most one of them has an effect.',
        look: [
          '`skein leader show --addr` at each: the same term twice is a bug, different store identities in `skein status` are two clusters.',
        ],
        act: [
          'Two clusters: give each a job of its own.',
          'One cluster: keep logs and store, stop the one with the lower term, and tell us.',
        ],
      },
    ],
  },
  {
    name: 'skein_leader_term',
    type: 'gauge',
    unit: 'count',
    area: 'Cluster',
    help: 'Term of the last leader known, 0 before the first',
    moves: 'Rises by one with each change of holder.',
  },
  {
    name: 'skein_leader_changes_total',
    type: 'counter',
    unit: 'count',
    area: 'Cluster',
    help: 'Changes of leader seen',
    moves:
      'Each restart of a leader is one. More than that: the store is slow, or the leader loses sight of the others.',
    panel: {
      title: 'Changes of leader and suspicions, per hour',
      kind: 'graph',
      unit: 'short',
      queries: [
        { expr: 'max(increase(skein_leader_changes_total{$at}[1h]))', legend: 'leader' },
        { expr: 'sum by (outcome) (increase(skein_suspicions_total{$at}[1h]))', legend: '{{outcome}}' },
      ],
    },
    alerts: [
      {
        name: 'SkeinLeaderFlaps',
        severity: 'warning',
        expr: 'max by (job) (increase(skein_leader_changes_total[15m])) > 3',
        for: '1m',
        summary: 'The leader of {{ $labels.job }} changed {{ $value | printf "%.0f" }} times in 15 minutes',
        means:
          'The leadership goes from node to node. Each change is safe, but while it goes on take-overs wait for the next leader.',
        look: [
          '`skein history`: `leader.resigned` with its reason; `lease.lost` around it points at the store.',
          '`skein_store_seconds` and `skein_eventloop_delay_p99_seconds` of the nodes that led.',
        ],
        act: [
          'A slow store: give etcd a disk of its own, or raise the preset from `lan` to `wan`.',
          'One bad host: `skein nodes cordon ID`, and look at it in peace.',
        ],
      },
    ],
  },
  {
    name: 'skein_suspicions_total',
    type: 'counter',
    unit: 'count',
    area: 'Cluster',
    help: 'Suspicions as this node saw them begin and end',
    labels: { outcome: { values: ['suspected', 'refuted', 'failed'] } },
    moves:
      'Failed: somebody crashed or was cut off. Many refuted: packets are lost, or a host is so loaded that it answers late.',
    alerts: [
      {
        name: 'SkeinSuspicionsRefuted',
        severity: 'warning',
        expr: 'sum by (job) (increase(skein_suspicions_total{outcome="refuted"}[15m])) > 20',
        for: '5m',
        summary: 'Healthy nodes of {{ $labels.job }} are suspected again and again',
        means:
          'Probes go unanswered and the nodes then say that they are well: packets are lost, or hosts are starved of CPU. The margin before a healthy node is called failed is being used up.',
        look: [
          '`skein nodes why ID` of those that are named: one observer (its own trouble) or many (theirs)?',
          '`skein_peer_rtt_seconds`, `skein_host_cpu_ratio`, and drops of the network interface.',
        ],
        act: ['Mend the network, give the hosts more CPU, or take the preset `wan`, which waits longer.'],
      },
    ],
  },
  {
    name: 'skein_membership_health',
    type: 'gauge',
    unit: 'count',
    area: 'Cluster',
    help: "This node's own health as its failure detector scores it: 0 is well, each step makes it wait longer before it accuses others",
    moves:
      'Above 0: this node misses answers or is late itself (Lifeguard). Its verdicts about others are slower.',
  },
  {
    name: 'skein_format_level',
    type: 'gauge',
    unit: 'count',
    area: 'Cluster',
    help: 'Level of the format that the cluster keeps its data in',
    moves: 'Rises by itself once every node reads the next one; from then on older builds are refused.',
  },
  {
    name: 'skein_config_version',
    type: 'gauge',
    unit: 'count',
    area: 'Cluster',
    help: "Version of the document with the cluster's run-time settings, 0 while nobody has set any",
    moves:
      'Rises with each change of a setting. Nodes that differ for more than a second do not follow the store.',
  },
  {
    name: 'skein_config_documents',
    type: 'gauge',
    unit: 'count',
    area: 'Cluster',
    help: 'Documents in the configuration of the cluster',
    moves: 'At most 200.',
  },
  {
    name: 'skein_operations_running',
    type: 'gauge',
    unit: 'count',
    area: 'Cluster',
    help: 'Drains and other long work that was asked for at this node and is not done',
    moves:
      'Stays above 0 for long: a drain waits for agents that nobody else can take (`skein nodes drain` says which).',
  },
] as const satisfies readonly MetricSpec[]
