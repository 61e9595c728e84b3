/** Metrics of agents, services, names and processors. */
import { latencyBounds } from '../../core/kernel/histogram.js'
import { type MetricSpec, namedMax } from './metric.js'
export const agentStates = [
  'pending',
  'starting',
  'running',
  'migrating',
  'stopping',
  'stopped',
  'failed',
  'orphaned',
  'paused',
] as const

export const callOutcomes = ['ok', 'failed', 'timeout', 'unreachable', 'refused', 'aborted'] as const
export type CallOutcome = (typeof callOutcomes)[number]

/** Rows of the registry. */
export const registryKinds = [
  'service',
  'name',
  'room',
  'room_history',
  'session',
  'processor',
  'processor_load',
  'stream_load',
] as const

const serviceLabel = { max: namedMax, of: 'services that this node called; all names together are `(names)`' }
const groupLabel = { max: namedMax, of: 'groups that process a stream' }

export const programMetrics = [
  {
    name: 'skein_agents',
    type: 'gauge',
    unit: 'count',
    area: 'Agents',
    help: 'Agents by state: each node tells of those that it runs, the leader of those that nobody runs; the sum over all nodes is the cluster',
    labels: { state: { values: agentStates } },
    moves:
      'Orphaned for a moment after a crash. Pending: nobody can take them. Failed: they ended by an error, and their restarts are used up.',
    panel: {
      title: 'Agents by state',
      kind: 'graph',
      unit: 'short',
      queries: [{ expr: 'sum by (state) (skein_agents{$at})', legend: '{{state}}' }],
    },
    alerts: [
      {
        name: 'SkeinAgentsWithoutNode',
        severity: 'warning',
        expr: 'sum by (job) (skein_agents{state=~"pending|orphaned"}) > 0',
        for: '2m',
        summary: '{{ $value }} agents of {{ $labels.job }} run nowhere',
        means:
          'No node can take them: places are used up, services or constraints do not match, or the nodes that could are drained.',
        look: [
          '`skein agents ls`, then `GET /api/agents/NAME/why-not?node=ID` for a node that you would expect.',
        ],
        act: ['Add nodes or raise `--max-agents`; loosen constraints; uncordon what was drained.'],
      },
      {
        name: 'SkeinAgentsFailed',
        severity: 'warning',
        expr: 'sum by (job) (skein_agents{state="failed"}) > 0',
        for: '1m',
        summary: '{{ $value }} agents of {{ $labels.job }} failed',
        means: 'They ended by an error as often as their restart policy allows, and stay ended.',
        look: ['`skein agents show NAME` for the error, `skein agents logs NAME` for its output.'],
        act: [
          'Mend the cause, then stop the agent and create it again; its state is kept until it is removed.',
        ],
      },
    ],
  },
  {
    name: 'skein_agent_calls_waiting',
    type: 'gauge',
    unit: 'count',
    area: 'Agents',
    help: 'Calls that wait for their turn at agents of this node',
    moves: 'An agent does one thing at a time: its callers queue here.',
  },
  {
    name: 'skein_agent_restarts',
    type: 'gauge',
    unit: 'count',
    area: 'Agents',
    help: 'Restarts of the agents that run on this node now, added up',
    moves: 'Agents crash and are started again.',
  },
  {
    name: 'skein_agent_placements_total',
    type: 'counter',
    unit: 'count',
    area: 'Agents',
    help: 'What this node, as the leader, decided about the places of agents',
    labels: {
      decision: { values: ['assigned', 'replaced', 'moving', 'move_refused', 'move_dropped', 'removed'] },
    },
    moves:
      'Assigned: new ones. Replaced: their node was gone. Moving: live migrations, by drain, by hand or for balance.',
    panel: {
      title: 'Placements of agents',
      kind: 'graph',
      unit: 'ops',
      queries: [
        {
          expr: 'sum by (decision) (rate(skein_agent_placements_total{$at}[$__rate_interval]))',
          legend: '{{decision}}',
        },
      ],
    },
  },
  {
    name: 'skein_agent_adoption_seconds',
    type: 'histogram',
    unit: 'seconds',
    area: 'Agents',
    help: 'From the moment the leader saw a node fail until an agent of it had another node',
    bounds: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60],
    moves: 'A fraction of a second where death could be proved, the length of a lease where not.',
    panel: {
      title: 'Adoption of orphans, 99 of 100',
      kind: 'graph',
      unit: 's',
      queries: [
        {
          expr: 'histogram_quantile(0.99, sum by (le) (rate(skein_agent_adoption_seconds_bucket{$at}[$__rate_interval])))',
          legend: '99 %',
        },
      ],
    },
  },
  {
    name: 'skein_service_calls_total',
    type: 'counter',
    unit: 'count',
    area: 'Services and processors',
    help: 'Calls that this node made, to itself included, by how they ended after all tries',
    labels: { service: serviceLabel, outcome: { values: callOutcomes } },
    moves:
      'Failed: the handler threw. Timeout and unreachable: nobody answered. Refused: all were full, or nobody offers it any more.',
    panel: {
      title: 'Calls by outcome',
      kind: 'graph',
      unit: 'ops',
      queries: [
        {
          expr: 'sum by (service, outcome) (rate(skein_service_calls_total{$at}[$__rate_interval]))',
          legend: '{{service}} {{outcome}}',
        },
      ],
    },
    alerts: [
      {
        name: 'SkeinServiceFails',
        severity: 'warning',
        expr: 'sum by (job, service) (rate(skein_service_calls_total{outcome!="ok",outcome!="aborted"}[5m])) / (sum by (job, service) (rate(skein_service_calls_total[5m])) > 0.1) > 0.05',
        for: '5m',
        summary: '{{ $value | humanizePercentage }} of the calls to "{{ $labels.service }}" fail',
        means: 'Callers get errors, after the tries that were allowed.',
        look: [
          '`skein_service_calls_total` by outcome; `skein services` for instances and breakers; the logs of those who offer it.',
        ],
        act: [
          'failed: mend the handler. timeout, refused: more instances or a higher `concurrency`. unreachable: the network, or nobody offers it.',
        ],
      },
    ],
  },
  {
    name: 'skein_service_call_seconds',
    type: 'histogram',
    unit: 'seconds',
    area: 'Services and processors',
    help: 'Calls that this node made, all tries included',
    labels: { service: serviceLabel },
    bounds: latencyBounds,
    moves: 'The handler, the way there, and what it waits for in its queue.',
    panel: {
      title: 'Calls: 99 of 100',
      kind: 'graph',
      unit: 's',
      queries: [
        {
          expr: 'histogram_quantile(0.99, sum by (le, service) (rate(skein_service_call_seconds_bucket{$at}[$__rate_interval])))',
          legend: '{{service}}',
        },
      ],
    },
  },
  {
    name: 'skein_service_calls_in_flight',
    type: 'gauge',
    unit: 'count',
    area: 'Services and processors',
    help: 'Calls under way: asked by this node, and served by it',
    labels: { side: { values: ['asked', 'served'] } },
    moves:
      'Served has the limit `concurrency` for each offer; over it callers are refused and ask another instance.',
  },
  {
    name: 'skein_service_refused_total',
    type: 'counter',
    unit: 'count',
    area: 'Services and processors',
    help: 'Calls that this node did not take because as many were under way as it allows',
    moves: 'Callers ask another instance. Everywhere at once: the service is too small.',
  },
  {
    name: 'skein_service_breakers',
    type: 'gauge',
    unit: 'count',
    area: 'Services and processors',
    help: 'Instances of services whose circuit breaker is not closed, as this node has found them',
    labels: { state: { values: ['open', 'half_open'] } },
    moves: 'Five failures on end open one; it is tried again after 1 to 30 s.',
    alerts: [
      {
        name: 'SkeinBreakerOpen',
        severity: 'warning',
        expr: 'sum by (job, instance) (skein_service_breakers{state="open"}) > 0',
        for: '2m',
        summary: '{{ $labels.instance }} does not reach {{ $value }} instances of services',
        means:
          'Calls from this node to those instances failed again and again, and go to others. Where there are no others, callers get errors.',
        look: ['`skein services --addr` there: which instance; `skein nodes why ID` of its node.'],
        act: ['One caller only: its network. All callers: restart or mend that instance.'],
      },
    ],
  },
  {
    name: 'skein_registry_rows',
    type: 'gauge',
    unit: 'count',
    area: 'Services and processors',
    help: 'Keys in the registry of all nodes, as this one knows it, by kind',
    labels: { kind: { values: registryKinds } },
    moves:
      'A node may have 100,000 rows. Nodes whose numbers differ for more than a few seconds do not hear each other.',
  },
  {
    name: 'skein_names_held',
    type: 'gauge',
    unit: 'count',
    area: 'Services and processors',
    help: 'Global names that this node holds',
    moves: 'Falls to 0 when it loses its lease, for names that the store keeps.',
  },
  {
    name: 'skein_processor_runs',
    type: 'gauge',
    unit: 'count',
    area: 'Services and processors',
    help: 'Processors at work on this node',
    moves: 'Up to --max-spawned; over it others are asked.',
    panel: {
      title: 'Processors at work and what waits',
      kind: 'graph',
      unit: 'short',
      queries: [
        { expr: 'sum(skein_processor_runs{$at})', legend: 'at work' },
        { expr: 'sum by (group) (skein_processor_waiting_events{$at})', legend: 'waiting: {{group}}' },
      ],
    },
  },
  {
    name: 'skein_processor_runs_max',
    type: 'gauge',
    unit: 'count',
    area: 'Services and processors',
    help: 'Processors that this node runs at most (--max-spawned)',
    moves: 'Constant while the node runs.',
  },
  {
    name: 'skein_processor_ends_total',
    type: 'counter',
    unit: 'count',
    area: 'Services and processors',
    help: 'Processors that ended on this node, by how',
    labels: { outcome: { values: ['finished', 'failed', 'killed', 'left'] } },
    moves: 'Failed: they threw, or took too long.',
  },
  {
    name: 'skein_processor_waiting_events',
    type: 'gauge',
    unit: 'count',
    area: 'Services and processors',
    help: 'Events of streams in processing that wait at this node, as the owner of their shards',
    labels: { group: groupLabel },
    moves: 'Above the threshold per processor, helpers are started on other nodes.',
    alerts: [
      {
        name: 'SkeinProcessorsBehind',
        severity: 'warning',
        expr: 'sum by (job, group) (skein_processor_waiting_events) > 10000',
        for: '10m',
        summary: '{{ $value }} events of "{{ $labels.group }}" wait for processors',
        means: 'All processors and helpers together do not keep up, or no node can take more helpers.',
        look: [
          '`GET /api/processors`: running, limits, helpers by node; `skein_processor_runs` against `skein_processor_runs_max`.',
        ],
        act: ['Raise `--max-spawned` or the most helpers of the stream, or add nodes.'],
      },
    ],
  },
  {
    name: 'skein_processor_lent_events',
    type: 'gauge',
    unit: 'count',
    area: 'Services and processors',
    help: 'Events that processors here and elsewhere have in hand',
    labels: { group: groupLabel },
    moves: 'With the number of processors and the size of their batches.',
  },
  {
    name: 'skein_processor_helpers',
    type: 'gauge',
    unit: 'count',
    area: 'Services and processors',
    help: 'Processors on other nodes that help with the streams of this one',
    labels: { group: groupLabel },
    moves: 'Rises with what waits, and falls when it is done.',
  },
  {
    name: 'skein_processor_events_total',
    type: 'counter',
    unit: 'count',
    area: 'Services and processors',
    help: 'Events of the shards of this node that were processed, by whom',
    labels: { by: { values: ['owner', 'helper'] } },
    moves: 'Throughput of processing.',
  },
] as const satisfies readonly MetricSpec[]
