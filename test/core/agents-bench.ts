/** The leader's and the nodes' machines for agents on one store, step by step: the test says when the view hears of a write and who gets which answer. */
import {
  type AgentCandidate,
  AgentCoordinator,
  type AgentCoordinatorEffect,
  type AgentCoordinatorOptions,
} from '../../src/core/agents/coordinator.js'
import { AgentHost, type AgentHostEffect, type AgentHostInput } from '../../src/core/agents/host.js'
import { type AgentSpec, type Assignment, encodeSpec, specKey } from '../../src/core/agents/records.js'
import { type AgentEntry, AgentTable } from '../../src/core/agents/table.js'
import { Balancer, type Strategy } from '../../src/core/balancing/balancer.js'
import { asTerm, type LeaseId } from '../../src/core/kernel/brand.js'
import type { Instant } from '../../src/core/kernel/machine.js'
import { Random } from '../../src/core/kernel/random.js'
import { registrationKey } from '../../src/core/kernel/registration.js'
import type { Compare, StoreEffect, StoreReply } from '../../src/core/kernel/store-types.js'
import { StoreView } from '../../src/core/kernel/store-view.js'
import { jsonEncode } from '../../src/core/kernel/text.js'
import { MemoryStoreState } from '../../src/drivers/store-memory/memory-state.js'

const ttlMs = 5_000

export function specOf(name: string, over: Partial<AgentSpec> = {}): AgentSpec {
  return {
    name,
    kind: 'counter',
    services: [],
    constraints: {},
    desired: 'running',
    generation: 0,
    origin: { zone: '', region: '' },
    createdAtMs: 0,
    ...over,
  }
}

type Asked = { readonly by: AgentCoordinator | AgentHost; readonly effect: StoreEffect }

export class AgentsBench {
  nowMs = 1_000
  strategy: Strategy = 'least_loaded'
  /** Who leads: conditional on this key; null when this node does not. */
  leading: Compare | null
  term = 1
  fadeAtMs = Number.POSITIVE_INFINITY
  readonly state = new MemoryStoreState({ nowMs: () => this.nowMs, identity: 'bench' })
  readonly view = new StoreView()
  readonly table = new AgentTable()
  readonly candidates: { -readonly [K in keyof AgentCandidate]: AgentCandidate[K] }[] = []
  readonly coordinator: AgentCoordinator
  readonly hosts = new Map<string, AgentHost>()
  /** Everything that was asked for, in order, but for what went to the store. */
  readonly said: (AgentCoordinatorEffect | AgentHostEffect)[] = []
  /** On its way to the store. */
  readonly asked: Asked[] = []

  constructor(options: Partial<AgentCoordinatorOptions> = {}) {
    this.put('leader', 1)
    this.leading = { key: 'leader', target: 'modRev', op: '=', value: this.state.rev }
    this.coordinator = new AgentCoordinator(
      {
        table: this.table,
        view: this.view,
        balancer: new Balancer(new Random(1)),
        guard: () => (this.leading === null ? null : { term: asTerm(this.term), compare: this.leading }),
        candidates: () => this.candidates.map((c) => ({ ...c })),
        strategy: () => this.strategy,
        isLive: (lease) => this.state.list('nodes/').some((kv) => kv.lease === lease),
      },
      { leaseTtlMs: ttlMs, movingMax: 10, refusedPauseMs: 2_000, rebalance: true, packedMin: 16, ...options },
    )
    this.view.reset(this.state.list(''), this.state.rev)
  }

  get at(): Instant {
    return { nowMs: this.nowMs, wallMs: 1_700_000_000_000 + this.nowMs }
  }

  /** A node with a lease, and its host. */
  node(nodeId: string, over: Partial<AgentCandidate> = {}): LeaseId {
    const lease = this.state.grant(1e9).id
    this.state.txn({ then: [{ type: 'put', key: registrationKey(nodeId), value: jsonEncode({}), lease }] })
    this.candidates.push({
      nodeId,
      lease,
      moveOff: '',
      kind: 'node',
      refusal: '',
      role: 'worker',
      zone: '',
      region: '',
      labels: {},
      services: [],
      kinds: ['counter'],
      allowsExec: true,
      agents: 0,
      maxAgents: 100,
      cpuPct: 0,
      memoryPct: 0,
      trust: 1,
      vantageOf: () => undefined,
      rttMsFrom: () => undefined,
      ...over,
    })
    this.candidates.sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1))
    this.hosts.set(
      nodeId,
      new AgentHost({
        table: this.table,
        nodeId,
        lease: () => (this.state.get(registrationKey(nodeId))?.lease === lease ? lease : null),
        viewRev: () => this.view.rev,
        fadeAtMs: () => this.fadeAtMs,
        compare: (place) => ({
          key: registrationKey(place.nodeId),
          target: 'lease',
          op: '=',
          value: place.lease,
        }),
      }),
    )
    return lease
  }

  candidate(nodeId: string) {
    const found = this.candidates.find((c) => c.nodeId === nodeId)
    if (found === undefined) throw new Error(`no candidate ${nodeId}`)
    return found
  }

  /** Its lease is over: the store knows, and nobody may be given anything there. */
  end(nodeId: string): void {
    const { lease } = this.candidate(nodeId)
    this.candidates.splice(
      this.candidates.findIndex((c) => c.nodeId === nodeId),
      1,
    )
    this.state.revoke(lease)
  }

  put(key: string, value: unknown): void {
    this.state.txn({ then: [{ type: 'put', key, value: jsonEncode(value) }] })
  }

  want(name: string, over: Partial<AgentSpec> = {}): void {
    this.put(specKey(name), encodeSpec(specOf(name, over)))
  }

  /** As the store has it. */
  assignment(name: string): Assignment | undefined {
    const table = new AgentTable()
    table.reset(this.state.list('agents/'))
    return table.get(name)?.at
  }

  entry(name: string): AgentEntry | undefined {
    return this.table.get(name)
  }

  /** The view hears of all that was written, or of so many transactions of it. */
  watch(transactions = Number.POSITIVE_INFINITY): void {
    let left = transactions
    for (let next = this.view.rev + 1n; next <= this.state.rev; ) {
      const page = this.state.readPage('', next)
      for (const batch of page.batches) {
        if (--left < 0) return
        this.view.apply(batch)
        this.table.apply(batch)
      }
      next = page.next
    }
  }

  step(): void {
    this.take(this.coordinator, this.coordinator.step(this.at, { type: 'changed' }))
    for (const host of this.hosts.values()) this.take(host, host.step(this.at, { type: 'changed' }))
  }

  tell(nodeId: string, input: AgentHostInput): void {
    const host = this.hosts.get(nodeId)
    if (host === undefined) throw new Error(`no host ${nodeId}`)
    this.take(host, host.step(this.at, input))
  }

  proof(lease: LeaseId, result: 'dead' | 'alive' | 'unknown'): void {
    this.take(this.coordinator, this.coordinator.step(this.at, { type: 'guard_proof', lease, result }))
  }

  private take(
    by: AgentCoordinator | AgentHost,
    effects: readonly (AgentCoordinatorEffect | AgentHostEffect)[],
  ): void {
    for (const effect of effects) {
      if (effect.type === 'store') this.asked.push({ by, effect })
      else this.said.push(effect)
    }
  }

  /** The oldest request reaches the store, and its answer whoever asked. */
  answer(how: 'carried out' | 'lost before' | 'lost after' = 'carried out'): void {
    const next = this.asked.shift()
    if (next === undefined) throw new Error('nobody asked the store for anything')
    const { by, effect } = next
    if (effect.request.op !== 'txn') throw new Error('not a transaction')
    let reply: StoreReply = { ok: false, code: 'outcome_unknown', detail: 'the answer was lost' }
    if (how !== 'lost before') {
      const result = this.state.txn(effect.request.txn)
      if (how === 'carried out') reply = { ok: true, op: 'txn', result }
    }
    this.take(by, by.step(this.at, { type: 'store_done', tag: effect.tag, reply }))
  }

  /** Until nobody asks for anything any more. Every stop that is asked for is carried out, every start runs. */
  settle(): void {
    for (let rounds = 0; rounds < 1_000; rounds++) {
      this.watch()
      const before = this.said.length
      this.step()
      const isQuiet = this.asked.length === 0 && this.said.length === before
      while (this.asked.length > 0) this.answer()
      if (isQuiet && this.view.rev === this.state.rev) return
    }
    throw new Error('does not settle')
  }

  /** Time passes, deadline by deadline. */
  pass(ms: number): void {
    const untilMs = this.nowMs + ms
    for (;;) {
      const next = Math.min(
        this.coordinator.nextDeadlineMs(),
        ...[...this.hosts.values()].map((h) => h.nextDeadlineMs()),
      )
      if (next > untilMs) break
      this.nowMs = Math.max(this.nowMs + 0.001, next)
      this.settle()
    }
    this.nowMs = untilMs
    this.settle()
  }

  starts(name: string): string[] {
    return this.said.flatMap((e) =>
      e.type === 'agent_start' && e.name === name ? [`${e.lease} ${e.epoch}`] : [],
    )
  }

  feed(event: string): readonly Readonly<Record<string, unknown>>[] {
    return this.said.flatMap((e) => (e.type === 'feed' && e.event === event ? [e.fields] : []))
  }
}
