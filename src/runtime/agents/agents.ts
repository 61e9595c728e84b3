/** Agents on one node, for its program and for other nodes: joins directory, runner, caller and guard into the public API. */
import { randomBytes } from 'node:crypto'
import { workOf } from '../../core/agents/coordinator.js'
import {
  type AgentEnd,
  type AgentSpec,
  type Assignment,
  atKey,
  encodeAssignment,
  encodeEnd,
  encodeSpec,
  endKey,
  specKey,
} from '../../core/agents/records.js'
import { type AgentEntry, assignmentHolds, endOf, isActive } from '../../core/agents/table.js'
import { Balancer, parseStrategy, type Strategy, strategies } from '../../core/balancing/balancer.js'
import { type Candidate, loadOf, type Origin, whyNot } from '../../core/balancing/candidate.js'
import { planMoves } from '../../core/balancing/rebalance.js'
import { asEpoch, type LeaseId, type NodeId } from '../../core/kernel/brand.js'
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import { Random } from '../../core/kernel/random.js'
import { jsonEncode } from '../../core/kernel/text.js'
import type { AgentFence } from '../../core/routing/events.js'
import type { AgentProcesses } from '../../ports/agent-processes.js'
import type { Journal } from '../../ports/journal.js'
import type { ControlLink } from '../control-link.js'
import type { ControlToMain } from '../control-messages.js'
import { monotonicMs } from '../host-clock.js'
import { pack, unpack } from '../mesh-frames.js'
import type { NodeView } from '../node-api.js'
import type { Tracing } from '../services/tracing.js'
import type {
  AgentInput,
  AgentsApi,
  AgentView,
  BalancerApi,
  Explanation,
  OutputView,
  PlaceOptions,
  PlannedMove,
} from './api-types.js'
import { proxyOf } from './body.js'
import { AgentCaller } from './caller.js'
import type { AnyAgentDefinition } from './definition.js'
import { AgentDirectory } from './directory.js'
import { type CallFrame, type CallReply, packReply, unpackCall } from './frames.js'
import { GuardKeeper } from './guard-keeper.js'
import { packData, unpackData } from './packing.js'
import type { LocalAgent } from './run.js'
import { AgentRunner } from './runner.js'
import { specOf } from './spec.js'
import { agentView, stateOf } from './views.js'

const callTimeoutMs = 10_000
const placeTimeoutMs = 5_000
const moveTimeoutMs = 30_000
const askTimeoutMs = 1_000
const specTries = 10
const movesMaxDefault = 100

export const agentFrames = { call: 8, ask: 9, state: 10 } as const

export interface AgentFigures {
  readonly states: ReadonlyMap<string, number>
  readonly waitingCalls: number
  readonly restarts: number
}

export interface AgentsWorld {
  readonly nodeId: NodeId
  readonly bootId: string
  readonly zone: string
  readonly region: string
  readonly allowExec: boolean
  readonly link: ControlLink
  readonly journal: Pick<Journal, 'saveCheckpoints' | 'readCheckpoint' | 'forgetCheckpoint'>
  readonly tracing: Tracing
  currentLease(): LeaseId | null
  /** Monotonic, ms: until when the lease holds for us. */
  leaseDeadlineMs(): number
  node(id: NodeId): NodeView | undefined
  nodes(): readonly NodeView[]
  peerAddress(nodeId: NodeId): string | undefined
  /** In order of node id, without their agents. */
  candidates(): readonly Candidate[]
  strategy(): Strategy
  /** For the whole cluster. */
  setStrategy(strategy: Strategy): Promise<void>
  request(
    address: string,
    type: number,
    body: Uint8Array,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Uint8Array>
  publish(
    stream: string,
    event: { readonly key: string; readonly type?: string; readonly payload: unknown; readonly id?: string },
    fence: AgentFence,
  ): Promise<unknown>
  makeProcesses(): AgentProcesses
  log(
    level: 'debug' | 'info' | 'warn' | 'error',
    event: string,
    fields: Readonly<Record<string, unknown>>,
  ): void
}

type LocalState = LocalAgent & { readonly epoch: number }

export class Agents {
  readonly directory = new AgentDirectory()
  readonly runner: AgentRunner
  readonly api: AgentsApi
  readonly balancer: BalancerApi
  private readonly world: AgentsWorld
  private readonly caller: AgentCaller
  private readonly guards: GuardKeeper
  private readonly picker = new Balancer(new Random(randomBytes(4).readUInt32LE()))
  private closed = false

  constructor(world: AgentsWorld) {
    this.world = world
    this.guards = new GuardKeeper({
      nodeId: world.nodeId,
      make: () => world.makeProcesses(),
      transact: (txn) => world.link.call('transact', txn),
      renewAt: (address) => world.link.tell({ type: 'guard', address }),
      event: (event) => this.runner.processEvent(event),
      lost: (lease, detail) => this.runner.guardLost(lease, detail),
    })
    this.runner = new AgentRunner({
      nodeId: world.nodeId,
      nowMs: monotonicMs,
      wallMs: () => Date.now(),
      mayAct: (lease) => world.currentLease() === lease && monotonicMs() < world.leaseDeadlineMs(),
      load: (name) => world.journal.readCheckpoint(name),
      save: (lease, checkpoint) => world.journal.saveCheckpoints(lease, [checkpoint]),
      forget: (lease, name, epoch) => world.journal.forgetCheckpoint(lease, name, epoch),
      guard: (lease) => this.guards.get(lease),
      reach: {
        publish: async (stream, event, fence) => {
          await world.publish(stream, event, fence)
        },
        call: (name, method, args, fence) => this.call(name, method, args, callTimeoutMs, fence),
      },
      tell: (message) => world.link.tell(message),
      sendTo: (nodeId, body) => this.requestTo(nodeId, agentFrames.state, body, 5_000),
      offer: () => this.offer(),
      log: world.log,
    })
    this.caller = new AgentCaller({
      caller: world.bootId,
      selfId: world.nodeId,
      directory: this.directory,
      nowMs: monotonicMs,
      address: (nodeId) => world.peerAddress(nodeId),
      callHere: (frame) => this.carryOut(frame),
      request: (address, body, timeoutMs, signal) =>
        world.request(address, agentFrames.call, body, { timeoutMs, signal }),
    })
    this.api = this.makeApi()
    this.balancer = this.makeBalancer()
  }

  /** Tells the cluster what can be run here. */
  offer(): void {
    const offer = { kinds: this.runner.kinds(), exec: this.world.allowExec }
    this.world.link.tell({ type: 'offer', offer })
  }

  // --- control ---------------------------------------------------------------------------------------------------------

  /** True when the message was about agents. */
  control(message: ControlToMain): boolean {
    switch (message.type) {
      case 'agents_changed':
        this.directory.update(message.reset, message.entries)
        return true
      case 'agent_start':
        this.runner.start(message)
        return true
      case 'agent_spec':
        this.runner.update(message.name, message.epoch, message.spec)
        return true
      case 'agent_stop':
        this.runner.stop(message)
        return true
      case 'agent_handed':
        this.runner.handed(message.name, message.epoch, message.to)
        return true
      default:
        return false
    }
  }

  /** The lease is over, or this node leaves: resolves when nothing of an agent runs here. */
  async stopServing(why: 'lost' | 'leaving'): Promise<void> {
    await this.runner.stopAll(why, () => this.world.link.tell({ type: 'agents_quiet' }))
    await this.guards.end()
  }

  close(): void {
    this.closed = true
    this.caller.close()
  }

  // --- other nodes -------------------------------------------------------------------------------------------------------

  /** Answers a frame of type {@link agentFrames}. */
  async answer(type: number, body: Uint8Array): Promise<Uint8Array> {
    if (type === agentFrames.call) return packReply(await this.carryOut(unpackCall(body)))
    if (type === agentFrames.state) return this.runner.handovers.receive(body)
    const [what, name, data] = unpack(body) as [string, string, unknown]
    if (what === 'states') return pack(this.runner.all())
    if (what === 'local') return pack(this.runner.local(name) ?? null)
    return pack(await this.runner.command(name, what, data))
  }

  private async requestTo(
    nodeId: NodeId,
    type: number,
    body: Uint8Array,
    timeoutMs: number,
  ): Promise<Uint8Array> {
    if (nodeId === this.world.nodeId) return this.answer(type, body)
    const address = this.world.peerAddress(nodeId)
    if (address === undefined)
      throw new SkeinError('peer_unreachable', `node "${nodeId}" has no known address`, { retryable: true })
    return this.world.request(address, type, body, { timeoutMs })
  }

  private async askOwner(name: string, what: string, data: unknown, timeoutMs: number): Promise<unknown> {
    const owner = this.directory.owner(name)
    if (owner === undefined) {
      this.require(name)
      throw new SkeinError('conflict', `agent "${name}" does not run anywhere at the moment`, {
        retryable: true,
      })
    }
    return unpack(await this.requestTo(owner.nodeId, agentFrames.ask, pack([what, name, data]), timeoutMs))
  }

  /** What the nodes that run agents say of them; who does not answer is passed over. */
  private async localStates(): Promise<ReadonlyMap<string, LocalState>> {
    const found = new Map<string, LocalState>(this.runner.all())
    const others = this.world
      .nodes()
      .filter(
        (n) => !n.isSelf && n.kind === 'node' && n.status !== 'offline' && this.directory.agentsOf(n.id) > 0,
      )
    await Promise.all(
      others.map(async ({ id }) => {
        try {
          const body = await this.requestTo(id, agentFrames.ask, pack(['states', '', null]), askTimeoutMs)
          for (const [name, local] of unpack(body) as [string, LocalState][]) found.set(name, local)
        } catch (error) {
          this.world.log('debug', 'agent.states_unknown', { node: id, detail: String(error) })
        }
      }),
    )
    return found
  }

  // --- API -----------------------------------------------------------------------------------------------------------------

  private makeApi(): AgentsApi {
    return {
      define: (definition) => this.runner.define(definition),
      place: (definition, name, options) => this.place(definition, name, options ?? {}),
      get: (_, name, options) =>
        proxyOf((method, args) => this.call(name, method, args, options?.timeoutMs ?? callTimeoutMs)),
      call: (name, method, args, options) =>
        this.call(name, method, args, options?.timeoutMs ?? callTimeoutMs),
      create: (input) => this.create(input),
      list: async () => {
        const locals = await this.localStates()
        return this.directory
          .list()
          .filter((e) => e.spec !== undefined)
          .map((e) => this.view(e, (name) => locals.get(name)))
      },
      show: (name) => this.show(name),
      remove: (name, options) => this.remove(name, options?.timeoutMs ?? moveTimeoutMs),
      migrate: (name, options) =>
        this.migrate(name, options?.to ?? null, options?.timeoutMs ?? moveTimeoutMs),
      pause: (name) => this.desire(name, 'paused'),
      resume: (name) => this.desire(name, 'running'),
      restart: async (name) => {
        await this.updateSpec(name, (spec) => ({ ...spec, generation: spec.generation + 1 }))
        return this.show(name)
      },
      command: (name, command, data) => this.command(name, command, data),
      output: (name, query) => this.output(name, query ?? {}),
      report: (name, report) => this.report(name, report),
      blockers: (nodeId) => this.blockers(nodeId),
      why: async (name) => this.why(name),
    }
  }

  private async place(
    definition: AnyAgentDefinition,
    name: string,
    options: PlaceOptions,
  ): Promise<AgentView> {
    const { kind } = definition
    const known = this.directory.get(name)?.spec
    if (known !== undefined && known.desired !== 'removed') return this.placed(name, kind, options)
    try {
      return await this.create({ ...options, name, kind })
    } catch (error) {
      if (isSkeinError(error) && error.code === 'conflict') return this.placed(name, kind, options)
      throw error
    }
  }

  private async placed(name: string, kind: string, options: PlaceOptions): Promise<AgentView> {
    const { timeoutMs = placeTimeoutMs } = options
    await this.until(name, timeoutMs, (entry) => entry?.spec !== undefined)
    const entry = this.require(name)
    if (entry.spec?.kind !== kind)
      throw new SkeinError('conflict', `agent "${name}" is of kind "${entry.spec?.kind}", not "${kind}"`)
    await this.until(name, timeoutMs, (e) => e !== undefined && isActive(e))
    return this.show(name)
  }

  private async create(input: AgentInput): Promise<AgentView> {
    const { world } = this
    this.checkOpen()
    const spec = specOf(input, this.origin(), Date.now())
    const { name } = spec
    if (this.directory.get(name) !== undefined) throw this.taken(name)
    if (spec.kind === 'process' && !world.candidates().some((c) => c.allowsExec || c.kind === 'external'))
      throw new SkeinError(
        'forbidden',
        'no node of this cluster runs processes for others: start the nodes that shall with --allow-exec',
      )
    const { ok } = await world.link.call('transact', {
      if: [{ key: specKey(name), target: 'createRev', op: '=', value: 0n }],
      then: [{ type: 'put', key: specKey(name), value: jsonEncode(encodeSpec(spec)) }],
    })
    if (!ok) throw this.taken(name)
    const timeoutMs = input.timeoutMs ?? placeTimeoutMs
    await this.until(name, Math.max(1_000, timeoutMs), (entry) => entry !== undefined)
    if (timeoutMs > 0) await this.until(name, timeoutMs, (entry) => entry !== undefined && isActive(entry))
    return this.show(name)
  }

  private taken(name: string): SkeinError {
    return new SkeinError('conflict', `agent "${name}" exists`, { details: { agent: name } })
  }

  private async show(name: string): Promise<AgentView> {
    const entry = this.require(name)
    let local: LocalState | undefined
    try {
      const owner = this.directory.owner(name)
      if (owner !== undefined) {
        if (owner.nodeId === this.world.nodeId) local = this.runner.local(name)
        else if (this.world.node(owner.nodeId)?.kind === 'node') {
          const body = await this.requestTo(
            owner.nodeId,
            agentFrames.ask,
            pack(['local', name, null]),
            askTimeoutMs,
          )
          local = (unpack(body) as LocalState | null) ?? undefined
        }
      }
    } catch (error) {
      this.world.log('debug', 'agent.state_unknown', { agent: name, detail: String(error) })
    }
    return this.view(this.directory.get(name) ?? entry, () => local)
  }

  private view(entry: AgentEntry, local: (name: string) => LocalState | undefined): AgentView {
    return agentView(entry, { node: (id) => this.world.node(id), local })
  }

  private async remove(name: string, timeoutMs: number): Promise<void> {
    const { epoch } = await this.show(name)
    await this.updateSpec(name, (spec) => ({ ...spec, desired: 'removed' }))
    await this.until(name, timeoutMs, (entry) => entry === undefined)
    const lease = this.world.currentLease()
    if (lease !== null) await this.world.journal.forgetCheckpoint(lease, name, asEpoch(epoch))
  }

  private async migrate(name: string, to: NodeId | null, timeoutMs: number): Promise<AgentView> {
    const entry = this.require(name)
    const spec = entry.spec as AgentSpec
    if (!isActive(entry))
      throw new SkeinError('conflict', `agent "${name}" does not run: there is nothing to move`)
    const from = entry.at.nodeId
    if (to === from) throw new SkeinError('conflict', `agent "${name}" runs on ${from} already`)
    const candidates = this.candidates().filter((c) => c.nodeId !== from)
    const reasons = to === null ? undefined : this.reasonsAgainst(to, candidates, spec)
    if (reasons !== undefined && reasons.length > 0)
      throw new SkeinError('conflict', `agent "${name}" cannot go to ${to}: ${reasons.join('; ')}`, {
        details: { reasons },
      })
    if (to === null && !candidates.some((c) => whyNot(c, workOf(spec)).length === 0))
      throw new SkeinError('conflict', `no other node can take agent "${name}"`)
    const id = randomBytes(6).toString('hex')
    await this.updateSpec(name, (s) => ({ ...s, move: { to, id } }))
    await this.until(name, timeoutMs, (e) => e?.at === undefined || (e.at.moveId === id && e.at.to === null))
    const now = this.directory.get(name)?.at
    if (now !== undefined && now.nodeId === from)
      throw new SkeinError(
        'conflict',
        `agent "${name}" stays on ${from}: the leader found that ${to ?? 'no other node'} cannot take it`,
      )
    return this.show(name)
  }

  private reasonsAgainst(to: NodeId, candidates: readonly Candidate[], spec: AgentSpec): string[] {
    const target = candidates.find((c) => c.nodeId === to)
    if (target === undefined)
      throw new SkeinError('not_found', `no node "${to}"`, { details: { node_id: to } })
    return whyNot(target, workOf(spec))
  }

  private async desire(name: string, desired: 'running' | 'paused'): Promise<AgentView> {
    await this.updateSpec(name, (spec) => ({ ...spec, desired }))
    return this.show(name)
  }

  private async command(name: string, command: string, data: unknown): Promise<unknown> {
    if (command === 'pause') return this.desire(name, 'paused')
    if (command === 'resume') return this.desire(name, 'running')
    return this.askOwner(name, command, data ?? null, 15_000)
  }

  private async output(
    name: string,
    query: { readonly afterSeq?: number; readonly limit?: number; readonly waitMs?: number },
  ): Promise<readonly OutputView[]> {
    const data = {
      limit: query.limit ?? 100,
      wait_ms: query.waitMs ?? 0,
      ...(query.afterSeq === undefined ? {} : { after_seq: query.afterSeq }),
    }
    return (await this.askOwner(name, 'output', data, (query.waitMs ?? 0) + 5_000)) as OutputView[]
  }

  /** Is a later epoch of that agent known here? Then what it does under this one comes from a step that was frozen. */
  isFenced({ agent, epoch }: AgentFence): boolean {
    return (this.directory.get(agent)?.at?.epoch ?? 0) > epoch
  }

  private carryOut(frame: CallFrame): Promise<CallReply> {
    const { fence } = frame
    if (fence === undefined || !this.isFenced(fence)) return this.runner.call(frame)
    const error = new SkeinError('fenced', `agent "${fence.agent}" has a later epoch than ${fence.epoch}`)
    return Promise.resolve({ kind: 'error', error })
  }

  private async call(
    name: string,
    method: string,
    args: readonly unknown[],
    timeoutMs: number,
    fence?: AgentFence,
  ): Promise<unknown> {
    this.checkOpen()
    const result = await this.world.tracing.within(
      `agent.${method}`,
      'client',
      { 'rpc.system': 'skein', 'rpc.method': method, 'skein.agent': name },
      () => this.caller.call(name, method, packData(args, 'the arguments'), timeoutMs, fence),
    )
    return unpackData(result, 'the result')
  }

  // --- balancer --------------------------------------------------------------------------------------------------------------

  private makeBalancer(): BalancerApi {
    const strategyNow = (): Strategy => this.world.strategy()
    const indexNow = (): number => this.picker.roundRobinIndex
    return {
      get strategy() {
        return strategyNow()
      },
      get roundRobinIndex() {
        return indexNow()
      },
      setStrategy: async (text) => {
        const strategy = parseStrategy(text)
        if (strategy === undefined)
          throw new SkeinError('invalid_argument', `strategy "${text}" is none of ${strategies.join(', ')}`, {
            details: { field: 'strategy', allowed: strategies },
          })
        await this.world.setStrategy(strategy)
      },
      select: (query = {}) => {
        const services = [...(query.services ?? []), ...(query.service === undefined ? [] : [query.service])]
        const work = {
          name: query.name ?? '',
          services,
          origin: this.origin(),
          ...(query.constraints === undefined ? {} : { constraints: query.constraints }),
          ...(query.kind === undefined ? {} : { kind: query.kind }),
        }
        return this.picker.pick(query.strategy ?? strategyNow(), this.candidates(), work)?.nodeId ?? null
      },
      plan: (options = {}) =>
        this.plan(options.strategy ?? strategyNow(), options.movesMax ?? movesMaxDefault),
      rebalance: async (options = {}) => {
        const moves = this.plan(strategyNow(), options.movesMax ?? movesMaxDefault)
        for (const { agent, to } of moves) {
          const id = randomBytes(6).toString('hex')
          await this.updateSpec(agent, (spec) => ({ ...spec, move: { to, id } }))
        }
        return moves
      },
    }
  }

  private origin(): Origin {
    const { nodeId, zone, region } = this.world
    return { nodeId, zone, region }
  }

  private candidates(): Candidate[] {
    return this.world.candidates().map((c) => ({ ...c, agents: this.directory.agentsOf(c.nodeId) }))
  }

  private plan(strategy: Strategy, movesMax: number): PlannedMove[] {
    const placed = this.directory
      .list()
      .flatMap((e) =>
        isActive(e) && e.spec !== undefined && e.at.to === null && e.spec.desired !== 'removed'
          ? [{ work: workOf(e.spec), nodeId: e.at.nodeId, strategy: e.spec.strategy }]
          : [],
      )
    return planMoves(placed, this.candidates(), strategy, this.picker, movesMax).map(
      ({ name, from, to, why }) => ({
        agent: name,
        from,
        to,
        why,
      }),
    )
  }

  private why(name: string): Explanation {
    const entry = this.require(name)
    const spec = entry.spec as AgentSpec
    const strategy = spec.strategy ?? this.world.strategy()
    const active = isActive(entry)
    return {
      agent: name,
      strategy,
      nodeId: active ? entry.at.nodeId : null,
      placedBy: entry.at?.by ?? '',
      candidates: this.picker
        .explain(strategy, this.candidates(), workOf(spec))
        .map(({ candidate, score, reasons }) => ({
          nodeId: candidate.nodeId,
          score,
          reasons,
          agents: candidate.agents,
          maxAgents: candidate.maxAgents,
          load: loadOf(candidate),
        })),
    }
  }

  /** Agents by state: those that this node runs, and, told by the leader alone, those that no node runs. */
  figures(isLeader: boolean): AgentFigures {
    const { nodeId } = this.world
    const locals = new Map(this.runner.all())
    const nodes = new Map<NodeId, NodeView | undefined>()
    const node = (id: NodeId): NodeView | undefined => {
      if (!nodes.has(id)) nodes.set(id, this.world.node(id))
      return nodes.get(id)
    }
    const states = new Map<string, number>()
    for (const entry of this.directory.values()) {
      if (entry.spec === undefined) continue
      const runsAt = isActive(entry) ? entry.at.nodeId : undefined
      const owner = runsAt === undefined ? undefined : node(runsAt)
      const isToldThere = owner !== undefined && owner.kind === 'node' && owner.status !== 'offline'
      if (runsAt !== nodeId && (isToldThere || !isLeader)) continue
      const local = locals.get(entry.name)
      const { state } = stateOf(entry, { node }, local?.epoch === entry.at?.epoch ? local : undefined)
      states.set(state, (states.get(state) ?? 0) + 1)
    }
    let waitingCalls = 0
    let restarts = 0
    for (const local of locals.values()) {
      waitingCalls += local.waitingCalls
      restarts += local.restarts
    }
    return { states, waitingCalls, restarts }
  }

  /** Of agents on that node that nobody else could take: what a drain waits for. */
  blockers(nodeId: NodeId): { readonly agent: string; readonly reason: string }[] {
    const others = this.candidates().filter((c) => c.nodeId !== nodeId)
    return this.directory.list().flatMap((e) => {
      if (!isActive(e) || e.at.nodeId !== nodeId || e.spec === undefined) return []
      const work = workOf(e.spec)
      if (others.some((c) => whyNot(c, work).length === 0)) return []
      const nearest = others.map((c) => `${c.nodeId}: ${whyNot(c, work).join(', ')}`).slice(0, 3)
      return [{ agent: e.name, reason: nearest.length === 0 ? 'there is no other node' : nearest.join('; ') }]
    })
  }

  /** In the name of an external node: what a node's own host machine does for itself. */
  private async report(
    name: string,
    {
      epoch,
      status,
      detail = '',
    }: { readonly epoch: number; readonly status: string; readonly detail?: string },
  ): Promise<void> {
    const entry = this.require(name)
    const { at } = entry
    const owner = at === undefined ? undefined : this.world.node(at.nodeId)
    if (at === undefined || owner?.kind !== 'external')
      throw new SkeinError('conflict', `agent "${name}" does not run on an external node`)
    if (at.epoch !== epoch)
      throw new SkeinError(
        'conflict',
        `agent "${name}" is assigned under epoch ${at.epoch}, not ${epoch}: stop what runs under the old one`,
        {
          details: { epoch: at.epoch },
        },
      )
    if (status === 'running') return
    const isHandOver = status === 'stopped' && at.to !== null && entry.spec?.desired !== 'removed'
    const next: Assignment = {
      ...(at.to ?? at),
      epoch: asEpoch(at.epoch + 1),
      assignedAtMs: Date.now(),
      to: null,
      by: at.by,
      moveId: at.moveId,
      state: '',
    }
    const end: AgentEnd = {
      epoch: at.epoch,
      outcome: status as AgentEnd['outcome'],
      detail,
      generation: entry.spec?.generation ?? 0,
      floor: asEpoch(0),
    }
    const { ok } = await this.world.link.call('transact', {
      if: assignmentHolds(entry),
      then: [
        isHandOver
          ? { type: 'put', key: atKey(name), value: jsonEncode(encodeAssignment(next)) }
          : { type: 'put', key: endKey(name), value: jsonEncode(encodeEnd(end)) },
      ],
    })
    if (!ok)
      throw new SkeinError(
        'conflict',
        `the assignment of agent "${name}" has just changed: ask for it again`,
        { retryable: true },
      )
  }

  // --- the store -------------------------------------------------------------------------------------------------------------

  private require(name: string): AgentEntry {
    const entry = this.directory.get(name)
    if (entry?.spec === undefined)
      throw new SkeinError('not_found', `no agent "${name}"`, { details: { agent: name } })
    return entry
  }

  private async updateSpec(name: string, change: (spec: AgentSpec) => AgentSpec): Promise<void> {
    this.checkOpen()
    for (let tries = 0; tries < specTries; tries++) {
      const entry = this.require(name)
      const spec = entry.spec as AgentSpec
      if (spec.desired === 'removed') throw new SkeinError('conflict', `agent "${name}" is being removed`)
      const next = change(spec)
      const { ok, rev } = await this.world.link.call('transact', {
        if: [{ key: specKey(name), target: 'modRev', op: '=', value: entry.specRev }],
        then: [{ type: 'put', key: specKey(name), value: jsonEncode(encodeSpec(next)) }],
      })
      if (ok) {
        // What this node says from now on includes it.
        await this.until(name, placeTimeoutMs, (e) => e === undefined || e.specRev >= rev)
        return
      }
      await this.directory.changed(name, 200)
    }
    throw new SkeinError('conflict', `agent "${name}" is being changed by others all the time`, {
      retryable: true,
    })
  }

  private async until(
    name: string,
    timeoutMs: number,
    isTrue: (entry: AgentEntry | undefined) => boolean,
  ): Promise<void> {
    const deadlineMs = monotonicMs() + timeoutMs
    while (!isTrue(this.directory.get(name))) {
      const leftMs = deadlineMs - monotonicMs()
      if (leftMs <= 0) throw this.tooLate(name, timeoutMs)
      await this.directory.changed(name, leftMs)
      this.checkOpen()
    }
  }

  private tooLate(name: string, timeoutMs: number): SkeinError {
    const entry = this.directory.get(name)
    const view = entry?.spec === undefined ? undefined : this.view(entry, (n) => this.runner.local(n))
    const reasons =
      entry?.spec === undefined || (entry.at !== undefined && endOf(entry) === undefined)
        ? ''
        : `: ${this.why(name)
            .candidates.slice(0, 5)
            .map((c) => `${c.nodeId} (${c.reasons.join(', ') || 'could take it'})`)
            .join('; ')}`
    return new SkeinError(
      'timeout',
      `agent "${name}" is ${view?.state ?? 'not there'} after ${timeoutMs} ms${reasons}`,
      {
        retryable: true,
        details: { agent: name, state: view?.state ?? null },
      },
    )
  }

  private checkOpen(): void {
    if (this.closed) throw new SkeinError('closed', 'the node is stopping', { retryable: true })
  }
}
