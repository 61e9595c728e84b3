/** Metrics of what goes between nodes. */
import { type MetricSpec, peerLabel } from './metric.js'

export const networkMetrics = [
  {
    name: 'skein_peer_up',
    type: 'gauge',
    unit: 'flag',
    area: 'Network',
    help: '1 where the peer is healthy, 0 where it is suspected or down',
    labels: { peer: peerLabel },
    moves: 'One observer sees 0: its own way there is cut. All do: that peer is gone.',
    panel: {
      title: 'Peers that are not healthy, by observer',
      kind: 'graph',
      unit: 'short',
      queries: [{ expr: 'count by (instance) (skein_peer_up{$at} == 0)', legend: '{{instance}}' }],
    },
  },
  {
    name: 'skein_peer_rtt_seconds',
    type: 'gauge',
    unit: 'seconds',
    area: 'Network',
    help: 'Round trip of probes to the peer',
    labels: { peer: peerLabel },
    moves: 'Near the timeout of the preset (0.5 s in lan) healthy nodes are suspected.',
    panel: {
      title: 'Round trip of probes',
      kind: 'graph',
      unit: 's',
      queries: [
        { expr: 'max by (instance) (skein_peer_rtt_seconds{$at})', legend: 'longest from {{instance}}' },
      ],
    },
  },
  {
    name: 'skein_clock_skew_seconds',
    type: 'gauge',
    unit: 'seconds',
    area: 'Network',
    help: 'Wall clock of the peer minus ours',
    labels: { peer: peerLabel },
    moves:
      'Nothing that matters rests on wall clocks, but timestamps more than 0.5 s ahead are refused, and times in lists and logs lie.',
    panel: {
      title: 'Clock skew, widest by node',
      kind: 'graph',
      unit: 's',
      queries: [{ expr: 'max by (instance) (abs(skein_clock_skew_seconds{$at}))', legend: '{{instance}}' }],
    },
    alerts: [
      {
        name: 'SkeinClockSkew',
        severity: 'warning',
        expr: 'max by (job, instance) (abs(skein_clock_skew_seconds)) > 0.25',
        for: '2m',
        summary:
          'The clock of {{ $labels.instance }} or of one of its peers is off by {{ $value | printf "%.2f" }} s',
        means:
          'Wall clocks of the hosts drift apart. From 0.5 s on, timestamps that are ahead are refused and counted.',
        look: [
          '`skein doctor` on the host, `chronyc tracking` or `timedatectl`; `/api/cluster/clock` for who is ahead.',
        ],
        act: ['Repair NTP on the host that differs from all others.'],
      },
    ],
  },
  {
    name: 'skein_clock_refused_total',
    type: 'counter',
    unit: 'count',
    area: 'Network',
    help: 'Timestamps of others that were refused because they were too far ahead',
    moves: 'A clock in the cluster is more than 0.5 s ahead of this one.',
  },
  {
    name: 'skein_peer_bytes_total',
    type: 'counter',
    unit: 'bytes',
    area: 'Network',
    help: 'Bytes on data connections',
    labels: { peer: peerLabel, direction: { values: ['received', 'sent'] } },
    moves: 'With events forwarded, calls, rooms, maps and states of agents that move.',
    panel: {
      title: 'Bytes between nodes',
      kind: 'graph',
      unit: 'Bps',
      queries: [
        {
          expr: 'sum by (instance) (rate(skein_peer_bytes_total{direction="sent",$at}[$__rate_interval]))',
          legend: 'sent by {{instance}}',
        },
      ],
    },
  },
  {
    name: 'skein_peer_frames_total',
    type: 'counter',
    unit: 'count',
    area: 'Network',
    help: 'Frames on data connections',
    labels: { peer: peerLabel, direction: { values: ['received', 'sent'] } },
    moves: 'As the bytes; many frames with few bytes are small calls.',
  },
  {
    name: 'skein_peer_queue_bytes',
    type: 'gauge',
    unit: 'bytes',
    area: 'Network',
    help: 'Bytes that wait to be sent to the peer',
    labels: { peer: peerLabel },
    moves:
      'The peer reads too slowly, or its connection is being made anew. The queue has a limit; over it calls are refused.',
    panel: {
      title: 'Bytes that wait to be sent',
      kind: 'graph',
      unit: 'bytes',
      queries: [{ expr: 'sum by (instance) (skein_peer_queue_bytes{$at})', legend: '{{instance}}' }],
    },
  },
  {
    name: 'skein_peer_dials',
    type: 'gauge',
    unit: 'count',
    area: 'Network',
    help: 'Dials of the peer since the last one that succeeded',
    labels: { peer: peerLabel },
    moves: 'Rises while a peer refuses or does not answer; what is sent there fails at once meanwhile.',
  },
  {
    name: 'skein_mesh_dropped_total',
    type: 'counter',
    unit: 'count',
    area: 'Network',
    help: 'One-way frames that were not sent: the queue of the peer was full, or there was no connection',
    labels: { reason: { values: ['full', 'closed'] } },
    moves:
      'What rides on such frames (plain rooms, live tails, gossip of maps and registry) either says what it missed or catches up by itself. A steady rate of full: a node cannot keep up.',
    alerts: [
      {
        name: 'SkeinMeshOverflows',
        severity: 'warning',
        expr: 'sum by (job, instance) (rate(skein_mesh_dropped_total{reason="full"}[5m])) > 1',
        for: '5m',
        summary: '{{ $labels.instance }} has more to send than a peer takes',
        means:
          'A peer does not read as fast as this node writes; messages to rooms without history and live tails are lost there, and said to be.',
        look: ['`skein_peer_queue_bytes` by peer; CPU and `skein_eventloop_delay_p99_seconds` of that peer.'],
        act: [
          'Relieve the slow peer: more CPU, fewer clients, or more nodes. A single hot room can be split.',
        ],
      },
    ],
  },
  {
    name: 'skein_datagrams_total',
    type: 'counter',
    unit: 'count',
    area: 'Network',
    help: 'Datagrams of probes and gossip by what became of them',
    labels: { outcome: { values: ['sent', 'received', 'refused', 'dropped'] } },
    moves:
      'Refused: not sealed with the cookie of this cluster, or played back. Dropped: too large, or the kernel would not take them.',
  },
  {
    name: 'skein_datagram_bytes_total',
    type: 'counter',
    unit: 'bytes',
    area: 'Network',
    help: 'Bytes of probes and gossip',
    labels: { direction: { values: ['received', 'sent'] } },
    moves: 'Grows with the number of nodes, and for a moment after each change.',
  },
  {
    name: 'skein_certificate_expires_timestamp_seconds',
    type: 'gauge',
    unit: 'seconds',
    area: 'Network',
    help: 'When a certificate of this node ends, since the epoch: its own, the first of its authorities (--tls-ca), that of HTTPS',
    labels: { certificate: { values: ['node', 'authority', 'https'] } },
    moves: 'Jumps ahead when the file is renewed, which is noticed within seconds.',
    alerts: [
      {
        name: 'SkeinCertificateEnds',
        severity: 'warning',
        expr: 'skein_certificate_expires_timestamp_seconds - time() < 7 * 86400',
        for: '10m',
        summary:
          'The certificate ({{ $labels.certificate }}) of {{ $labels.instance }} ends in {{ $value | humanizeDuration }}',
        means:
          'Once it is over other nodes let this one go, or clients do not trust its HTTPS. An authority that ends takes all its certificates along.',
        look: [
          '`openssl x509 -noout -enddate -in` of the file; `certificate.unusable` or `https.unusable` in the log: a renewed file that cannot be used.',
        ],
        act: [
          'Put a new certificate and key in place of the files (`skein cert node`, or whoever made them); no restart is needed.',
          'The authority: both into `--tls-ca` everywhere, then new certificates, then the old one out (SECURITY.md).',
        ],
      },
    ],
  },
  {
    name: 'skein_strangers_total',
    type: 'counter',
    unit: 'count',
    area: 'Network',
    help: 'Connections to the peer port that proved nothing, or that a limit turned away',
    labels: { outcome: { values: ['failed', 'turned_away'] } },
    moves:
      'Health checks of a load balancer at the wrong port, a node with another cookie, or somebody who tries.',
    alerts: [
      {
        name: 'SkeinStrangers',
        severity: 'warning',
        expr: 'sum by (job, instance) (increase(skein_strangers_total[15m])) > 50',
        for: '5m',
        summary: 'Strangers knock at the peer port of {{ $labels.instance }}',
        means:
          'Somebody who does not have the cookie or a certificate of the cluster connects again and again. Nobody gets in that way.',
        look: [
          '`peer.rejected` in the log, with addresses and codes: `bad_cookie` from a node of ours is a rotation half done.',
        ],
        act: [
          'A node of ours: give it the cookie or certificate of the others (SECURITY.md).',
          'A check of ours: point it at `/livez` of the HTTP port. Anybody else: close the peer port to them.',
        ],
      },
    ],
  },
] as const satisfies readonly MetricSpec[]
