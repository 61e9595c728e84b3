/**
 * The membership machine alone, at sizes where whole clusters would be slow to simulate: how long until a crash, a cut and a join are known to all,
 * and what a quiet cluster costs each node.
 */
import { asBootId, asBootNumber, asIncarnation } from '../core/kernel/brand.js'
import { Random } from '../core/kernel/random.js'
import { encodeMembership } from '../core/membership/codec.js'
import type { MemberRecord } from '../core/membership/member.js'
import { Membership, type MembershipInput } from '../core/membership/membership.js'
import { lanMembership } from '../core/membership/options.js'
import { SimNetwork } from './network.js'
import { Scheduler } from './scheduler.js'

export interface ScaleReport {
  readonly nodes: number
  readonly crashFirstMs: number
  readonly crashAllMs: number
  readonly silentSuspectedMs: number
  readonly silentFailedMs: number
  readonly joinAllMs: number
  /** Sent by one node in a quiet cluster. */
  readonly bytesPerSecond: number
  readonly datagramsPerSecond: number
}

/** IP, UDP and the sealing of a datagram. */
const overheadBytes = 28 + 33
const wallStartMs = 1_700_000_000_000

class Member {
  readonly id: string
  readonly machine: Membership
  readonly kept = new Set<string>()
  isUp = true
  timerAtMs = Number.POSITIVE_INFINITY

  constructor(id: string, random: Random) {
    this.id = id
    this.machine = new Membership(lanMembership, { clusterName: 'scale', storeIdentity: 'scale' }, random)
  }
}

class MembershipWorld {
  readonly scheduler: Scheduler
  readonly network: SimNetwork
  readonly members = new Map<string, Member>()
  sentBytes = 0
  sentDatagrams = 0

  constructor(seed: number) {
    this.scheduler = new Scheduler(seed)
    this.network = new SimNetwork(this.scheduler)
  }

  add(index: number, seeds: readonly string[]): Member {
    const member = new Member(`m${index}`, new Random(this.scheduler.random.uint32()))
    this.members.set(member.id, member)
    this.step(member, { type: 'start', self: recordOf(member.id, index), seeds })
    this.step(member, { type: 'set_self', change: { lifecycle: 'active' } })
    return member
  }

  step(member: Member, input: MembershipInput): void {
    if (!member.isUp) return
    const { scheduler } = this
    const at = { nowMs: scheduler.nowMs, wallMs: wallStartMs + scheduler.nowMs }
    for (const effect of member.machine.step(at, input)) {
      if (effect.type === 'datagram' || effect.type === 'stream') this.send(member, effect)
      else if (effect.type === 'keep') {
        member.kept.clear()
        for (const address of effect.addresses) member.kept.add(address)
      }
    }
    const nextMs = Math.max(scheduler.nowMs, member.machine.nextDeadlineMs())
    if (nextMs >= member.timerAtMs) return
    member.timerAtMs = nextMs
    scheduler.at(nextMs, () => {
      if (member.timerAtMs <= scheduler.nowMs) member.timerAtMs = Number.POSITIVE_INFINITY
      this.step(member, { type: 'deadline' })
    })
  }

  private send(
    from: Member,
    effect: Extract<ReturnType<Membership['step']>[number], { type: 'datagram' | 'stream' }>,
  ): void {
    const to = this.members.get(effect.to.slice(0, effect.to.indexOf(':')))
    const bytes = encodeMembership(effect.message).length + overheadBytes
    this.sentBytes += bytes
    this.sentDatagrams++
    if (to === undefined) return
    const source = `${from.id}:${effect.type === 'stream' ? 2 : 1}`
    this.network[effect.type](from.id, to.id, bytes, () => {
      this.step(to, { type: 'message', from: source, message: effect.message, via: effect.type })
    })
  }

  crash(victim: Member): void {
    victim.isUp = false
    const address = `${victim.id}:2`
    for (const peer of this.members.values()) {
      if (!peer.kept.has(address)) continue
      const { bootId } = recordOf(victim.id, 0)
      this.scheduler.after(0.5, () => {
        this.step(peer, { type: 'connection_lost', nodeId: victim.id, bootId, address, detail: 'reset' })
        this.step(peer, { type: 'dial_refused', address, detail: 'connection refused' })
      })
    }
  }

  others(than: Member): Member[] {
    return [...this.members.values()].filter((m) => m.isUp && m !== than)
  }

  /** Virtual time until `isTrue`, looked at every 10 ms; Infinity after the limit. */
  until(limitMs: number, isTrue: () => boolean): number {
    const startMs = this.scheduler.nowMs
    while (!isTrue()) {
      if (this.scheduler.nowMs - startMs > limitMs) return Number.POSITIVE_INFINITY
      this.scheduler.runUntil(this.scheduler.nowMs + 10)
    }
    return this.scheduler.nowMs - startMs
  }
}

export function measureMembership(options: { readonly nodes: number; readonly seed: number }): ScaleReport {
  const world = new MembershipWorld(options.seed)
  const { scheduler } = world
  // Everybody is given the whole list, as a node is that joins a cluster at rest; the join that is measured comes later.
  for (let i = 0; i < options.nodes; i++) world.add(i, [])
  const claims = [...world.members.values()].map((m) => ({
    record: m.machine.self,
    status: 'alive' as const,
    from: m.id,
    missedProbes: 0,
    verdictAtMs: 0,
  }))
  for (const member of world.members.values())
    world.step(member, {
      type: 'message',
      from: 'm0:2',
      message: { type: 'state', from: 'm0', claims, wanted: [] },
      via: 'stream',
    })
  const everybody = (): boolean =>
    [...world.members.values()].every((m) => m.machine.table.reachableCount === world.members.size)
  if (world.until(60_000, everybody) === Number.POSITIVE_INFINITY)
    throw new Error(`${options.nodes} nodes did not find each other`)
  scheduler.runUntil(scheduler.nowMs + 10_000)

  const before = { bytes: world.sentBytes, datagrams: world.sentDatagrams }
  const quietMs = 10_000
  scheduler.runUntil(scheduler.nowMs + quietMs)
  const perNode = (count: number): number => (count * 1_000) / quietMs / options.nodes
  const bytesPerSecond = perNode(world.sentBytes - before.bytes)
  const datagramsPerSecond = perNode(world.sentDatagrams - before.datagrams)

  const joiner = world.add(options.nodes, ['m0:1'])
  const joinAllMs = world.until(20_000, () =>
    world.others(joiner).every((m) => m.machine.table.get(joiner.id) !== undefined),
  )
  scheduler.runUntil(scheduler.nowMs + 5_000)

  const crashed = world.members.get('m1') as Member
  world.crash(crashed)
  const sees = (about: Member, status: string) => (m: Member) =>
    m.machine.table.get(about.id)?.status === status
  const crashFirstMs = world.until(20_000, () => world.others(crashed).some(sees(crashed, 'failed')))
  const crashAllMs =
    crashFirstMs + world.until(20_000, () => world.others(crashed).every(sees(crashed, 'failed')))
  scheduler.runUntil(scheduler.nowMs + 5_000)

  const silent = world.members.get('m2') as Member
  const rest = world.others(silent).map((m) => m.id)
  world.network.cut([silent.id], rest, true)
  const silentSuspectedMs = world.until(20_000, () =>
    world.others(silent).some((m) => m.machine.table.get(silent.id)?.status !== 'alive'),
  )
  const silentFailedMs =
    silentSuspectedMs + world.until(30_000, () => world.others(silent).every(sees(silent, 'failed')))
  return {
    nodes: options.nodes,
    crashFirstMs,
    crashAllMs,
    silentSuspectedMs,
    silentFailedMs,
    joinAllMs,
    bytesPerSecond,
    datagramsPerSecond,
  }
}

function recordOf(id: string, index: number): MemberRecord {
  return {
    nodeId: id,
    bootId: asBootId(`boot-${id}`),
    boot: asBootNumber(index + 1),
    incarnation: asIncarnation(0),
    controlAddress: `${id}:1`,
    controlStreamAddress: `${id}:2`,
    peerAddress: `${id}:3`,
    httpAddress: `${id}:4`,
    lifecycle: 'joining',
    stalled: false,
    cordoned: false,
    role: 'worker',
    zone: '',
    region: '',
    version: '0.1.0',
    startedAtMs: wallStartMs,
    facts: '{"hostname":"host"}',
  }
}
