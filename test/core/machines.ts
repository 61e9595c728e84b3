/** A handful of membership machines on a tiny network in virtual time: messages take a millisecond, cuts are by name. */
import { asBootId, asBootNumber } from '../../src/core/kernel/brand.js'
import { Random } from '../../src/core/kernel/random.js'
import type { MemberRecord } from '../../src/core/membership/member.js'
import {
  type ClusterIdentity,
  Membership,
  type MembershipEffect,
  type MembershipInput,
} from '../../src/core/membership/membership.js'
import type { MembershipMessage } from '../../src/core/membership/messages.js'
import { lanMembership, type MembershipOptions } from '../../src/core/membership/options.js'
import { recordOf } from './claims.js'

const cluster: ClusterIdentity = { clusterName: 'blue', storeIdentity: 'store-1' }
export const wallStartMs = 1_700_000_000_000

export class Machine {
  readonly id: string
  readonly membership: Membership
  /** Everything but messages that it ever answered. */
  readonly effects: MembershipEffect[] = []
  /** Messages to it stay away, and its deadlines are not kept. */
  stopped = false
  private readonly world: Machines

  constructor(
    world: Machines,
    id: string,
    identity: ClusterIdentity,
    options: MembershipOptions,
    seed: number,
  ) {
    this.world = world
    this.id = id
    this.membership = new Membership(options, identity, new Random(seed), {
      isRegistered: (record) => world.isRegistered(record),
    })
  }

  step(input: MembershipInput): this {
    const { nowMs } = this.world
    for (const effect of this.membership.step({ nowMs, wallMs: wallStartMs + nowMs }, input)) {
      if (effect.type === 'datagram' || effect.type === 'stream') {
        const from = `${this.id}:${effect.type === 'datagram' ? 1 : 2}`
        this.world.post(this, effect.to, { type: 'message', from, message: effect.message, via: effect.type })
      } else this.effects.push(effect)
    }
    return this
  }

  sees(id: string): string {
    return this.membership.table.get(id)?.status ?? 'unknown'
  }

  /** What it noted down about another, oldest first. */
  evidenceOf(id: string): string[] {
    return (
      this.membership.table
        .get(id)
        ?.evidence.toArray()
        .map((e) => e.kind) ?? []
    )
  }

  /** The statuses it went through about another. */
  historyOf(id: string): (string | null)[] {
    const changes = this.effects.flatMap((e) =>
      e.type === 'member_changed' && e.nodeId === id ? [e.after?.status ?? null] : [],
    )
    return changes.filter((status, i) => status !== changes[i - 1])
  }
}

export class Machines {
  nowMs = 10_000
  readonly all = new Map<string, Machine>()
  /** `from>to` pairs that nothing passes. */
  readonly cuts = new Set<string>()
  /** Messages carried so far, as `from>to type`. */
  readonly carried: string[] = []
  /** What the store has on record; anything, unless a test says otherwise. */
  isRegistered: (record: MemberRecord) => boolean = () => true
  /** As builds that read no sections (`codec.ts`): a message that has any is lost on them. */
  readonly older = new Set<string>()
  lostOnOlder = 0
  private readonly post_: { atMs: number; to: string; input: MembershipInput }[] = []
  private readonly options: MembershipOptions

  constructor(options: Partial<MembershipOptions> = {}) {
    this.options = { ...lanMembership, ...options }
  }

  /** Starts a machine; a later boot of the same id takes its place. */
  start(
    id: string,
    seeds: readonly string[] = [],
    record: Partial<MemberRecord> = {},
    identity: Partial<ClusterIdentity> = {},
  ): Machine {
    const machine = new Machine(this, id, { ...cluster, ...identity }, this.options, this.all.size + 1)
    this.all.set(id, machine)
    machine.step({ type: 'start', self: recordOf(id, record), seeds: seeds.map((s) => `${s}:1`) })
    return machine
  }

  /** So many machines that all know one another. */
  joined(count: number): Machine[] {
    const machines = Array.from({ length: count }, (_, i) => this.start(`n${i + 1}`, i === 0 ? [] : ['n1']))
    this.run(3_000)
    return machines
  }

  get(id: string): Machine {
    return this.all.get(id) as Machine
  }

  cut(a: string, b: string): void {
    this.cuts.add(`${a}>${b}`).add(`${b}>${a}`)
  }

  /** Nothing reaches it any more, and nothing leaves it. */
  isolate(id: string): void {
    for (const other of this.all.keys()) if (other !== id) this.cut(id, other)
  }

  post(from: Machine, address: string, input: MembershipInput): void {
    const to = address.slice(0, address.indexOf(':'))
    if (this.cuts.has(`${from.id}>${to}`) || !this.all.has(to)) return
    if (this.older.has(to) && input.type === 'message' && hasSections(input.message)) {
      this.lostOnOlder++
      return
    }
    if (input.type === 'message') this.carried.push(`${from.id}>${to} ${input.message.type}`)
    this.post_.push({ atMs: this.nowMs + 1, to, input })
  }

  run(forMs: number): void {
    const endMs = this.nowMs + forMs
    for (;;) {
      let next = endMs
      for (const m of this.all.values()) if (!m.stopped) next = Math.min(next, m.membership.nextDeadlineMs())
      for (const p of this.post_) next = Math.min(next, p.atMs)
      this.nowMs = Math.max(this.nowMs, next)
      const due = this.post_.filter((p) => p.atMs <= this.nowMs)
      if (due.length > 0)
        this.post_.splice(0, this.post_.length, ...this.post_.filter((p) => p.atMs > this.nowMs))
      for (const p of due) if (!this.get(p.to).stopped) this.get(p.to).step(p.input)
      for (const m of this.all.values()) {
        if (!m.stopped && m.membership.nextDeadlineMs() <= this.nowMs) m.step({ type: 'deadline' })
      }
      if (this.nowMs >= endMs) return
    }
  }

  /** Runs until it holds and returns how long that took; fails the test after `mostMs`. */
  until(condition: () => boolean, mostMs: number): number {
    const startMs = this.nowMs
    while (!condition()) {
      if (this.nowMs - startMs > mostMs) throw new Error(`not so after ${mostMs} ms: ${condition}`)
      this.run(10)
    }
    return this.nowMs - startMs
  }
}

function hasSections(message: MembershipMessage): boolean {
  return (
    (message.type === 'ping' || message.type === 'ack') &&
    (message.telemetry.process ?? message.telemetry.coordinate) !== null
  )
}

export const laterBoot = (id: string, boot: number): Partial<MemberRecord> => ({
  boot: asBootNumber(boot),
  bootId: asBootId(`${id}#${boot}`),
})
