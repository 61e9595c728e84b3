/** One node: why it has its status, what it is, how it was doing, and which shards it has. */
import { CurveChart } from './curve-chart.js'
import { Drawer } from './drawer.js'
import { Evidence } from './evidence.js'
import { bytesText, countText, durationText, percentText } from './format.js'
import type { NodeJson, ShardJson } from './http-client.js'
import type { NodeDeed } from './node-plans.js'
import { nodeState } from './node-state.js'
import type { Curve, FigureName, Samples } from './samples.js'
import { rttText } from './topology-layout.js'
import { useWhy } from './use-why.js'

const shardsNamedMax = 64

interface Props {
  readonly nodeId: string
  /** Null for one that is not known any more. */
  readonly node: NodeJson | null
  readonly shards: readonly ShardJson[]
  readonly samples: Samples
  readonly mayAct: boolean
  /** Removing nodes needs more than the rest. */
  readonly mayRemove: boolean
  readonly onDeed: (deed: NodeDeed) => void
  readonly onClose: () => void
}

export function NodeDrawer({ nodeId, node, shards, samples, mayAct, mayRemove, onDeed, onClose }: Props) {
  const { answer, error } = useWhy(nodeId)
  const state = answer === null ? '' : nodeState(answer.node)
  const failure = error === null ? null : `The evidence could not be read: ${error}`
  return (
    <Drawer
      title={`Why is ${nodeId} ${state === '' ? 'so' : state}?`}
      error={failure}
      hasAnswer={answer !== null}
      onClose={onClose}
    >
      {answer === null ? null : <Evidence why={answer} />}
      {node === null ? null : <Deeds {...{ node, mayAct, mayRemove, onDeed }} />}
      {node === null ? null : <Facts node={node} />}
      <Curves nodeId={nodeId} samples={samples} />
      <Owned shards={shards.filter(({ owner }) => owner === nodeId)} />
    </Drawer>
  )
}

type DeedProps = Pick<Props, 'mayAct' | 'mayRemove' | 'onDeed'> & { readonly node: NodeJson }

function Deeds({ node, mayAct, mayRemove, onDeed }: DeedProps) {
  const deeds: readonly (readonly [deed: NodeDeed, words: string])[] = [
    ...(node.is_self && mayAct && !node.is_leader ? [['lead', 'Lead from here…'] as const] : []),
    ...(node.is_self && mayAct && node.is_leader ? [['step-down', 'Step down…'] as const] : []),
    ...(nodeState(node) === 'offline' && mayRemove ? [['remove', 'Remove…'] as const] : []),
  ]
  return deeds.length === 0 ? null : (
    <p class="bar">
      {deeds.map(([deed, words]) => (
        <button key={deed} type="button" onClick={() => onDeed(deed)}>
          {words}
        </button>
      ))}
    </p>
  )
}

function Facts({ node }: { readonly node: NodeJson }) {
  const labels = Object.entries(node.labels).map(([name, value]) => `${name}=${value}`)
  const own = [
    node.process_cpu === null ? '' : `${percentText(node.process_cpu)} CPU`,
    node.process_memory_mib === null ? '' : bytesText(node.process_memory_mib * 1_048_576),
  ]
  const facts: readonly (readonly [name: string, value: string])[] = [
    ['HTTP', node.address],
    ['Peers', node.peer_address],
    ['Host', node.hostname],
    ['Place', [node.region, node.zone].filter((each) => each !== '').join(' / ')],
    ['Role', node.role],
    ['Version', node.version],
    ['Up', node.uptime],
    ['Boot', `${node.boot_id}, incarnation ${node.incarnation}`],
    [
      'Host load',
      `${percentText(node.cpu_usage)} CPU, ${percentText(node.memory_usage)} memory, ${percentText(node.disk_usage)} disk, load average ${node.load_average.toFixed(2)}`,
    ],
    ['Process', own.filter((each) => each !== '').join(', ')],
    ['Main thread', `${durationText(node.loop_delay_ms)} late at most${node.stalled ? ', stalled' : ''}`],
    ['Round trip', node.is_self ? '' : rttText(node.rtt_ms)],
    ['Missed probes', countText(node.missed_heartbeats)],
    ['Services', node.services.join(', ')],
    ['Labels', labels.join(', ')],
  ]
  return (
    <section aria-labelledby="node-facts">
      <h3 id="node-facts">What it is</h3>
      <dl class="facts">
        {facts.flatMap(([name, value]) =>
          value === ''
            ? []
            : [
                <div key={name} class="fact">
                  <dt>{name}</dt>
                  <dd>{value}</dd>
                </div>,
              ],
        )}
      </dl>
    </section>
  )
}

function Curves({ nodeId, samples }: { readonly nodeId: string; readonly samples: Samples }) {
  const curves = samples.nodes.get(nodeId)
  if (curves === undefined) return null
  const { atMs } = samples
  const one = (name: FigureName): Curve => curves[name]
  return (
    <div class="curves">
      <CurveChart
        id="node-load"
        title="CPU and memory of its host"
        atMs={atMs}
        span={100}
        format={percentText}
        heightPx={120}
        series={[
          { name: 'CPU', color: '--blue', curve: one('cpu_usage') },
          { name: 'memory', color: '--purple', curve: one('memory_usage') },
        ]}
      />
      <CurveChart
        id="node-rate"
        title="Events per second"
        atMs={atMs}
        span={10}
        format={countText}
        heightPx={110}
        series={[{ name: 'events/s', color: '--line', curve: one('events_per_second'), isFilled: true }]}
      />
      <CurveChart
        id="node-delays"
        title="Round trip and main thread"
        atMs={atMs}
        format={rttText}
        heightPx={110}
        series={[
          { name: 'round trip', color: '--good', curve: one('rtt_ms') },
          { name: 'main thread late', color: '--warn', curve: one('loop_delay_ms') },
        ]}
      />
      <CurveChart
        id="node-work"
        title="Agents and shards"
        atMs={atMs}
        span={4}
        format={countText}
        heightPx={110}
        series={[
          { name: 'agents', color: '--blue', curve: one('agents') },
          { name: 'shards', color: '--good', curve: one('shards_owned') },
        ]}
      />
    </div>
  )
}

function Owned({ shards }: { readonly shards: readonly ShardJson[] }) {
  return (
    <section aria-labelledby="node-shards">
      <h3 id="node-shards">Shards: {shards.length}</h3>
      <p class="mono">
        {shards
          .slice(0, shardsNamedMax)
          .map(({ shard, target }) => (target === null ? String(shard) : `${shard} → ${target}`))
          .join(', ')}
        {shards.length > shardsNamedMax ? ` and ${shards.length - shardsNamedMax} more` : ''}
      </p>
    </section>
  )
}
