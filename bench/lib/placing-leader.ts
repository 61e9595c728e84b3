/**
 * A leader that does nothing but place agents: the coordinator, its table and its view as a node has them, on a real store. Members are made up; what
 * lies in the store about them (registrations, leases, offers) is real. Nobody runs what is placed.
 */
import { performance } from 'node:perf_hooks'
import { atKey, encodeAssignment, encodeSpec, packPrefix, specKey } from '../../src/core/agents/records.js'
import {
  asBootId,
  asBootNumber,
  asEpoch,
  asIncarnation,
  asLeaseId,
  asTerm,
  type LeaseId,
} from '../../src/core/kernel/brand.js'
import type { Instant } from '../../src/core/kernel/machine.js'
import { Random } from '../../src/core/kernel/random.js'
import { encodeRegistration, registrationKey } from '../../src/core/kernel/registration.js'
import type { Compare, StoreOp } from '../../src/core/kernel/store-types.js'
import { StoreView } from '../../src/core/kernel/store-view.js'
import { jsonDecode, jsonEncode } from '../../src/core/kernel/text.js'
import { type MemberRecord, noTelemetry } from '../../src/core/membership/member.js'
import { AgentPlane, type AgentPlaneEffect, agentPlaneDefaults } from '../../src/core/node/agent-plane.js'
import { offerKey } from '../../src/core/node/candidates.js'
import type { Store } from '../../src/ports/store.js'

const leaderKey = 'leader'
const leaseMs = 3_600_000
const putsPerTransaction = 100
const bareUnderWay = 4
/** Each with its own key and a compare of its own, beside one about the term: as many as a transaction holds. */
const keysPerBareTransaction = 127

export class PlacingLeader {
  private readonly store: Store
  private readonly view = new StoreView()
  private readonly plane: AgentPlane
  private readonly members = new Map<string, MemberRecord>()
  private readonly stop = new AbortController()
  private leading: Compare | null = null
  private timer: NodeJS.Timeout | undefined
  private watching: Promise<void> = Promise.resolve()
  private placed = 0
  private onPlaced: (() => void) | undefined
  private wanted = 0
  private transactions = 0
  private assignments = 0
  private thinkingMs = 0
  private valueBytes = 0
  private writes = 0

  private constructor(store: Store) {
    this.store = store
    this.plane = new AgentPlane(
      {
        view: this.view,
        nodeId: 'the-leader',
        leaseTtlMs: 5_000,
        lease: () => null,
        fadeAtMs: () => Number.POSITIVE_INFINITY,
        guard: () => (this.leading === null ? null : { term: asTerm(1), compare: this.leading }),
        member: (nodeId) => {
          const record = this.members.get(nodeId)
          return record === undefined
            ? undefined
            : { record, status: 'alive', telemetry: noTelemetry, rttMs: 0.2 }
        },
        isDraining: () => false,
        capacityLost: () => false,
      },
      { ...agentPlaneDefaults, rebalance: false },
      new Random(1),
    )
  }

  static async open(store: Store, nodes: number, maxAgents: number): Promise<PlacingLeader> {
    const leader = new PlacingLeader(store)
    await leader.begin(nodes, maxAgents)
    return leader
  }

  get namesPerTransaction(): number {
    return this.assignments / this.transactions
  }

  /** All that the leader's thread does for a placement but to talk to the store, microseconds. */
  get decideUs(): number {
    return (this.thinkingMs * 1_000) / this.assignments
  }

  /** Agents that shall run; the leader hears of them, and does nothing yet. */
  async want(names: readonly string[]): Promise<void> {
    this.leading = null
    await this.put(
      names.map((name): StoreOp => {
        const spec = {
          name,
          kind: 'session',
          services: [],
          constraints: {},
          desired: 'running' as const,
          generation: 0,
          origin: { zone: '', region: '' },
          createdAtMs: Date.now(),
        }
        return { type: 'put', key: specKey(name), value: jsonEncode(encodeSpec(spec)) }
      }),
    )
    const last = names.at(-1) as string
    while (this.plane.table.get(last) === undefined) await new Promise((done) => setTimeout(done, 1))
  }

  /** From nothing to the last answer of the store. */
  async place(count: number): Promise<void> {
    this.wanted = this.placed + count
    const done = new Promise<void>((resolve) => {
      this.onPlaced = resolve
    })
    const { kv } = await this.store.get(leaderKey)
    this.leading = { key: leaderKey, target: 'modRev', op: '=', value: kv?.modRev ?? 0n }
    this.settle()
    await done
  }

  /** The same store with the same transactions, as many under way, and nothing to decide; nobody watches. */
  async bareTransactions(names: readonly string[]): Promise<number> {
    const count = Math.ceil(names.length / this.namesPerTransaction)
    const value = new Uint8Array(Math.round(this.valueBytes / this.writes))
    const round = names[0] ?? ''
    return this.bare(Array.from({ length: count }, (_, i) => [{ key: `bare/${round}/${i}`, value }]))
  }

  /** The same store with one key for each of them, in as few transactions as that takes. */
  async bareKeys(names: readonly string[]): Promise<number> {
    const place = { nodeId: 'node-0000', lease: asLeaseId('0-0123456789'), epoch: asEpoch(1), to: null }
    const assignment = { ...place, assignedAtMs: Date.now(), by: 'least_loaded', moveId: '', state: '' }
    const value = jsonEncode(encodeAssignment(assignment))
    const puts = names.map((name) => ({ key: `bare/${atKey(name)}`, value }))
    const groups: (typeof puts)[] = []
    for (let i = 0; i < puts.length; i += keysPerBareTransaction)
      groups.push(puts.slice(i, i + keysPerBareTransaction))
    return this.bare(groups)
  }

  /** Milliseconds. */
  private async bare(
    groups: (readonly { readonly key: string; readonly value: Uint8Array }[])[],
  ): Promise<number> {
    const startMs = performance.now()
    const lane = async (): Promise<void> => {
      for (let group = groups.pop(); group !== undefined; group = groups.pop())
        await this.store.txn({
          if: group.map(({ key }) => ({ key, target: 'modRev', op: '=', value: 0n })),
          then: group.map((put) => ({ type: 'put', ...put })),
        })
    }
    await Promise.all(Array.from({ length: bareUnderWay }, lane))
    return performance.now() - startMs
  }

  async close(): Promise<void> {
    clearTimeout(this.timer)
    this.stop.abort()
    await this.watching.catch(() => undefined)
  }

  private async begin(nodes: number, maxAgents: number): Promise<void> {
    const { store } = this
    await this.put([{ type: 'put', key: leaderKey, value: jsonEncode({ term: 1 }) }])
    const registrations: StoreOp[] = []
    for (let i = 0; i < nodes; i++) {
      const nodeId = `node-${String(i).padStart(4, '0')}`
      const { id: lease } = await store.leaseGrant(leaseMs)
      registrations.push(...registration(nodeId, lease))
      this.members.set(nodeId, memberOf(nodeId, i, maxAgents))
    }
    await this.put(registrations)
    const { kvs, rev } = await store.list('')
    this.view.reset(kvs, rev)
    this.plane.reset(instant(), kvs)
    this.watching = this.follow(rev + 1n)
  }

  private async follow(fromRev: bigint): Promise<void> {
    for await (const batch of this.store.watch('', { fromRev, signal: this.stop.signal })) {
      this.think(() => {
        this.view.apply(batch)
        this.plane.apply(instant(), batch)
      })
      this.settle()
    }
  }

  private async put(ops: readonly StoreOp[]): Promise<void> {
    for (let i = 0; i < ops.length; i += putsPerTransaction)
      await this.store.txn({ then: ops.slice(i, i + putsPerTransaction) })
  }

  private think(step: () => void): void {
    const startMs = performance.now()
    step()
    if (this.leading !== null) this.thinkingMs += performance.now() - startMs
  }

  private settle(): void {
    this.carryOut(() => this.plane.settle(instant()))
    clearTimeout(this.timer)
    const inMs = this.plane.nextDeadlineMs() - instant().nowMs
    if (inMs < 60_000) this.timer = setTimeout(() => this.settle(), Math.max(0, Math.ceil(inMs)))
  }

  private carryOut(step: () => readonly AgentPlaneEffect[]): void {
    let effects: readonly AgentPlaneEffect[] = []
    this.think(() => {
      effects = step()
    })
    for (const effect of effects) if (effect.type === 'store') void this.write(effect)
  }

  private async write({ tag, request }: Extract<AgentPlaneEffect, { type: 'store' }>): Promise<void> {
    if (request.op !== 'txn') throw new Error(`the coordinator asked for ${request.op}`)
    const { then = [] } = request.txn
    const result = await this.store.txn(request.txn)
    if (!result.ok) throw new Error('a placement was refused, although nobody else writes')
    const puts = then.flatMap((op) => (op.type === 'put' ? [op] : []))
    const placed = puts.reduce((sum, put) => sum + placementsIn(put), 0)
    this.transactions++
    this.assignments += placed
    this.writes += puts.length
    this.valueBytes += puts.reduce((sum, { value }) => sum + value.length, 0)
    this.placed += placed
    this.carryOut(() => this.plane.storeDone(instant(), tag, { ok: true, op: 'txn', result }))
    if (this.placed >= this.wanted) this.onPlaced?.()
    this.settle()
  }
}

function placementsIn({ key, value }: { readonly key: string; readonly value: Uint8Array }): number {
  if (!key.startsWith(packPrefix)) return 1
  return (jsonDecode(value) as { agents: readonly unknown[] }).agents.length
}

function registration(nodeId: string, lease: LeaseId): StoreOp[] {
  const value = {
    nodeId,
    bootId: asBootId(`boot-${nodeId}`),
    boot: asBootNumber(1),
    lease,
    lifeLock: '',
    controlAddress: '',
    role: 'worker',
    zone: '',
    formatMax: 1,
  }
  return [
    { type: 'put', key: registrationKey(nodeId), value: jsonEncode(encodeRegistration(value)), lease },
    { type: 'put', key: offerKey(nodeId), value: jsonEncode({ kinds: ['session'], exec: false }), lease },
  ]
}

function memberOf(nodeId: string, i: number, maxAgents: number): MemberRecord {
  return {
    nodeId,
    bootId: asBootId(`boot-${nodeId}`),
    boot: asBootNumber(1),
    incarnation: asIncarnation(0),
    controlAddress: '',
    controlStreamAddress: '',
    peerAddress: '',
    httpAddress: '',
    lifecycle: 'active',
    stalled: false,
    cordoned: false,
    role: 'worker',
    zone: `zone-${i % 10}`,
    region: '',
    version: '',
    startedAtMs: 0,
    facts: JSON.stringify({ hostname: 'host', max_agents: maxAgents, services: [], labels: {} }),
  }
}

function instant(): Instant {
  return { nowMs: performance.now(), wallMs: Date.now() }
}
