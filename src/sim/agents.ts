/**
 * Agents in the simulation: what the main thread and the guard of a process would run, the load that makes, moves and removes them, and
 * the check that no agent ever acts twice at a time. Every agent ticks; a tick is an effect that the outside sees.
 */
import {
  type AgentSpec,
  decodeSpec,
  encodeSpec,
  guardKey,
  specKey,
  specPrefix,
} from '../core/agents/records.js'
import { endOf } from '../core/agents/table.js'
import { asEpoch, type Epoch, type LeaseId, type NodeId } from '../core/kernel/brand.js'
import { registrationKey } from '../core/kernel/registration.js'
import { jsonEncode } from '../core/kernel/text.js'
import { intentPrefix } from '../core/node/candidates.js'
import type { NodeEffect } from '../core/node/node-types.js'
import type { SimCluster } from './cluster.js'
import type { SimNode } from './node.js'

const tickMs = 40
const agentsWanted = 12

type Start = Extract<NodeEffect, { type: 'agent_start' }>
type Stop = Extract<NodeEffect, { type: 'agent_stop' }>

interface Instance {
  readonly name: string
  readonly epoch: Epoch
  readonly lease: LeaseId
  readonly isProcess: boolean
  isOver: boolean
}

/** The agents of one process, from its start to its death. */
export class SimAgents {
  private readonly node: SimNode
  private readonly cluster: SimCluster
  private readonly guard: SimGuard
  private readonly instances = new Map<string, Instance>()
  /** Asked to start, not running yet. */
  private readonly starting = new Map<string, Epoch>()

  constructor(node: SimNode, cluster: SimCluster) {
    this.node = node
    this.cluster = cluster
    this.guard = new SimGuard(cluster, node)
  }

  get isQuiet(): boolean {
    return this.instances.size === 0
  }

  running(): { readonly name: string; readonly epoch: Epoch; readonly lease: LeaseId }[] {
    return [...this.instances.values()].filter((i) => !i.isOver)
  }

  /** On main. */
  start({ name, epoch, lease, spec }: Start): void {
    const { scheduler } = this.cluster
    this.starting.set(name, epoch)
    if (spec.kind === 'process') this.guard.announce(lease, () => this.begin(name, epoch, lease, true))
    else
      scheduler.after(
        scheduler.random.between(0.5, 15),
        this.node.onMain(() => this.begin(name, epoch, lease, false)),
      )
  }

  private begin(name: string, epoch: Epoch, lease: LeaseId, isProcess: boolean): void {
    const { node, cluster } = this
    if (this.starting.get(name) !== epoch) return
    this.starting.delete(name)
    if (!node.mayRun(lease)) return
    if (cluster.scheduler.random.chance(0.01)) {
      node.toControl(() =>
        node.step({
          type: 'agent_report',
          name,
          epoch,
          outcome: 'refused',
          detail: 'by chance',
          floor: asEpoch(0),
        }),
      )
      return
    }
    const instance: Instance = { name, epoch, lease, isProcess, isOver: false }
    this.instances.set(name, instance)
    node.toControl(() =>
      node.step({ type: 'agent_report', name, epoch, outcome: 'running', detail: '', floor: asEpoch(0) }),
    )
    if (isProcess) this.guard.run(instance)
    else this.tick(instance)
  }

  /** A step of a defined agent: only with a live lease, only when main turns. */
  private tick(instance: Instance): void {
    this.cluster.scheduler.after(
      tickMs,
      this.node.onMain(() => {
        if (instance.isOver) return
        if (this.node.mayRun(instance.lease))
          this.cluster.checkers.agents.ticked(this.node.id, instance.name, instance.epoch)
        this.tick(instance)
      }),
    )
  }

  /** On main. */
  stop({ name, epoch }: Stop): void {
    const instance = this.instances.get(name)
    if (instance === undefined) {
      this.starting.delete(name)
      this.report(name, epoch)
      return
    }
    this.end(instance, () => this.report(name, epoch))
  }

  /** On main: the lease is over. */
  stopAll(): void {
    for (const instance of this.instances.values()) this.end(instance, () => {})
    this.starting.clear()
  }

  private end(instance: Instance, done: () => void): void {
    const { scheduler } = this.cluster
    scheduler.after(
      scheduler.random.between(0.5, instance.isProcess ? 80 : 25),
      this.node.onMain(() => {
        instance.isOver = true
        if (this.instances.get(instance.name) === instance) this.instances.delete(instance.name)
        done()
        this.node.finishRelinquishing()
      }),
    )
  }

  private report(name: string, epoch: Epoch): void {
    this.node.toControl(() => this.node.step({ type: 'agent_stopped', name, epoch, state: '' }))
  }

  /** Control renewed the lease: the guard may go on until then. */
  renewed(deadlineMs: number): void {
    this.guard.deadlineMs = deadlineMs
  }

  died(): void {
    this.instances.clear()
    this.guard.nodeDied()
  }
}

/** A process of its own: not stopped with its node, notices its death a little later, and ends what it runs at its deadline. */
class SimGuard {
  private readonly cluster: SimCluster
  private readonly node: SimNode
  private readonly locator: string
  private readonly processes = new Set<Instance>()
  private announced: LeaseId | null = null
  private readonly waiting: (() => void)[] = []
  deadlineMs = 0

  constructor(cluster: SimCluster, node: SimNode) {
    this.cluster = cluster
    this.node = node
    this.locator = `guard of ${node.bootId}`
  }

  /** Nothing runs before the store knows where the guard's lock lies. */
  announce(lease: LeaseId, done: () => void): void {
    const { cluster, node } = this
    if (this.announced === lease) {
      cluster.scheduler.after(cluster.scheduler.random.between(1, 30), node.onMain(done))
      return
    }
    this.waiting.push(done)
    if (this.waiting.length > 1) return
    cluster.liveGuards.add(this.locator)
    node.request(
      'app.guard',
      {
        op: 'txn',
        txn: {
          if: [{ key: registrationKey(node.id), target: 'lease', op: '=', value: lease }],
          then: [{ type: 'put', key: guardKey(lease), value: jsonEncode({ v: 1, life_lock: this.locator }) }],
        },
      },
      (reply) =>
        node.onMain(() => {
          const isDone = reply.ok && reply.op === 'txn' && reply.result.ok
          if (isDone) this.announced = lease
          for (const next of this.waiting.splice(0)) {
            if (isDone) next()
            else if (node.mayRun(lease))
              cluster.scheduler.after(
                100,
                node.onMain(() => this.announce(lease, next)),
              )
          }
        })(),
    )
  }

  run(instance: Instance): void {
    this.processes.add(instance)
    this.tick(instance)
  }

  private tick(instance: Instance): void {
    this.cluster.scheduler.after(tickMs, () => {
      if (instance.isOver || !this.processes.has(instance)) return
      if (this.node.instant.nowMs >= this.deadlineMs) {
        this.processes.clear()
        return
      }
      this.cluster.checkers.agents.ticked(this.node.id, instance.name, instance.epoch)
      this.tick(instance)
    })
  }

  nodeDied(): void {
    const { scheduler, liveGuards } = this.cluster
    // At once, mostly; a busy host lets it wait.
    const afterMs = scheduler.random.chance(0.2)
      ? scheduler.random.between(30, 400)
      : scheduler.random.between(1, 30)
    scheduler.after(afterMs, () => {
      this.processes.clear()
      liveGuards.delete(this.locator)
    })
  }
}

/** Promise 4: whoever acts has the highest epoch that ever acted. */
export class AgentChecks {
  private readonly fail: (promise: string, detail: string) => void
  private readonly acted = new Map<string, { readonly epoch: Epoch; readonly node: NodeId }>()
  tickCount = 0

  constructor(fail: (promise: string, detail: string) => void) {
    this.fail = fail
  }

  ticked(node: NodeId, name: string, epoch: Epoch): void {
    this.tickCount++
    const last = this.acted.get(name)
    if (last !== undefined && (epoch < last.epoch || (epoch === last.epoch && node !== last.node)))
      this.fail(
        '4',
        `agent ${name} acted on ${node} under epoch ${epoch} after ${last.node} under ${last.epoch}`,
      )
    this.acted.set(name, { epoch, node })
  }
}

/** Makes, moves, pauses, removes agents and drains nodes, as operators would: through any node that reaches the store. */
export class AgentLoad {
  private readonly cluster: SimCluster
  private active = false
  private ids = 0
  private drained: NodeId | undefined

  constructor(cluster: SimCluster) {
    this.cluster = cluster
  }

  start(): void {
    this.active = true
    for (let i = 0; i < agentsWanted; i++) this.create(`a${i}`)
    this.next()
  }

  stop(): void {
    this.active = false
    if (this.drained !== undefined) this.intend(this.drained, false)
  }

  private next(): void {
    const { scheduler } = this.cluster
    scheduler.after(scheduler.random.between(100, 1_500), () => {
      if (!this.active) return
      this.act()
      this.next()
    })
  }

  private act(): void {
    const { scheduler, store } = this.cluster
    const name = `a${scheduler.random.below(agentsWanted)}`
    const kv = store.get(specKey(name))
    const spec = kv === undefined ? undefined : decodeSpec(kv)
    const what = scheduler.random.float()
    if (spec === undefined) this.create(name)
    else if (what < 0.5) {
      const to = scheduler.random.pick(this.cluster.nodes)?.id ?? null
      this.put({ ...spec, move: { to: what < 0.15 ? null : to, id: `m${++this.ids}` } })
    } else if (what < 0.65) this.put({ ...spec, desired: 'removed' })
    else if (what < 0.75) this.drain()
    else this.put({ ...spec, generation: spec.generation + 1 })
  }

  private drain(): void {
    if (this.drained !== undefined) this.intend(this.drained, false)
    this.drained =
      this.drained === undefined ? this.cluster.scheduler.random.pick(this.cluster.nodes)?.id : undefined
    if (this.drained !== undefined) this.intend(this.drained, true)
  }

  private intend(nodeId: NodeId, drain: boolean): void {
    this.write(intentPrefix + nodeId, { v: 1, drain, cordon: false })
  }

  private create(name: string): void {
    this.put({
      name,
      kind: Number(name.slice(1)) % 2 === 0 ? 'process' : 'counter',
      services: [],
      constraints: {},
      desired: 'running',
      generation: 0,
      origin: { zone: '', region: '' },
      createdAtMs: 0,
    })
  }

  private put(spec: AgentSpec): void {
    this.write(specKey(spec.name), encodeSpec(spec))
  }

  /** Until it is written: a node may be cut off from the store just now. */
  private write(key: string, value: unknown): void {
    const { scheduler, store, nodes } = this.cluster
    const via = scheduler.random.pick(nodes)?.id ?? ''
    const before = store.get(key)?.modRev ?? 0n
    store.request(
      via,
      'app.agents',
      {
        op: 'txn',
        txn: {
          if: [{ key, target: 'modRev', op: '=', value: before }],
          then: [{ type: 'put', key, value: jsonEncode(value) }],
        },
      },
      (reply) => {
        if (!reply.ok && reply.code === 'unavailable') scheduler.after(200, () => this.write(key, value))
      },
    )
  }

  /** Everything that is wanted runs once, where the store says. */
  checkLiveness(): void {
    const { cluster } = this
    const { checkers } = cluster
    const running = new Map<string, string[]>()
    for (const node of cluster.nodes)
      for (const { name, epoch, lease } of node.agents?.running() ?? [])
        running.set(name, [...(running.get(name) ?? []), `${node.id} ${lease} ${epoch}`])
    for (const kv of cluster.store.list().kvs) {
      if (!kv.key.startsWith(specPrefix)) continue
      const spec = decodeSpec(kv)
      if (spec === undefined) continue
      const runs = running.get(spec.name) ?? []
      running.delete(spec.name)
      if (spec.desired === 'removed')
        checkers.fail('liveness', `agent ${spec.name} is removed and still there`)
      else if (runs.length !== 1) {
        const entry = cluster.nodes[0]?.machine.agents.table.get(spec.name)
        checkers.fail(
          'liveness',
          `agent ${spec.name} runs ${runs.length} times after the heal: ${JSON.stringify({ at: entry?.at, end: entry === undefined ? null : endOf(entry) })} ${runs.join(', ')}`,
        )
      }
    }
    for (const [name, runs] of running)
      checkers.fail('liveness', `agent ${name} is not wanted and runs: ${runs.join(', ')}`)
  }
}
