/**
 * What a node does for the etcd cluster while it runs, in one beat after another: says that it is here and would like a seat, takes
 * the seat it is given, tells the store where the servers are, and, where its own member leads, gives seats (`seats.ts`).
 *
 * The nodes that are up are keys in etcd itself, each with a lease; a seat is a member that etcd lists under a node's peer address.
 */
import { randomBytes } from 'node:crypto'
import { isSkeinError } from '../../core/kernel/error.js'
import { type Attempt, type EtcdClient, pause } from '../../engines/etcd/client.js'
import { calls, type Member, type StatusResponse, toBig, toHex } from '../../engines/etcd/codec.js'
import { monotonicMs } from '../../engines/sqlite/clock.js'
import type { SeatAction, SeatMember, SeatNode } from './seats.js'
import { planSeats, seatLimits } from './seats.js'

export interface StewardWorld {
  readonly client: EtcdClient
  /** This node, if it can run a member. The name changes when its member was removed. */
  self(): SeatNode & { readonly clientUrl: string }
  readonly canServe: boolean
  readonly seats: number
  /** Where the keys of nodes are. Must not reach into a namespace of the store. */
  readonly prefix: string
  hasMember(): boolean
  /** A seat is free for us: start the member. */
  takeSeat(members: readonly Member[]): void
  useEndpoints(addresses: readonly string[], clusterId: string): Promise<void>
  note(event: string, fields: Record<string, unknown>, level: 'info' | 'warn'): void
}

const beatMs = 1000
/** While something is about to change. */
const quickBeatMs = 200
const callTimeoutMs = 3000
const statusTimeoutMs = 700
const nodeTtlSeconds = 10

export class Steward {
  readonly #world: StewardWorld
  readonly #ending = new AbortController()
  /** When each member last answered, by id; since when it has been looked at, if never. */
  readonly #answeredMs = new Map<string, number>()
  #running: Promise<void> = Promise.resolve()
  #lease: string | undefined
  #announced = ''
  #isQuick = true
  #trouble: string | undefined
  #members: readonly Member[] = []

  constructor(world: StewardWorld) {
    this.#world = world
  }

  /** What went wrong at the last beat. */
  get trouble(): string | undefined {
    return this.#trouble
  }

  /** As last seen. */
  get members(): readonly Member[] {
    return this.#members
  }

  start(): void {
    this.#running = this.#run()
  }

  async stop(): Promise<void> {
    this.#ending.abort()
    await this.#running
  }

  /** All members as of now: the server has just answered a linearizable read. */
  membersNow(): Promise<readonly Member[]> {
    const { client, prefix } = this.#world
    return client.run('listing members', 'read', { timeoutMs: callTimeoutMs }, async (attempt) => {
      await attempt.read(calls.range, { key: Buffer.from(prefix), countOnly: true })
      return (await attempt.read(calls.memberList, {})).members
    })
  }

  async #run(): Promise<void> {
    const { signal } = this.#ending
    while (!signal.aborted) {
      try {
        await this.#beat()
        this.#trouble = undefined
      } catch (error) {
        if (signal.aborted || this.#world.client.closed.aborted) return
        const trouble = error instanceof Error ? error.message : String(error)
        if (trouble !== this.#trouble && isSkeinError(error)) {
          this.#world.note('etcd.trouble', { code: error.code, detail: trouble }, 'warn')
        }
        this.#trouble = trouble
      }
      await pause(this.#isQuick ? quickBeatMs : beatMs, [signal])
    }
  }

  async #beat(): Promise<void> {
    const world = this.#world
    const members = await this.membersNow()
    this.#members = members
    await world.useEndpoints(serving(members), world.client.continuity.clusterId ?? '')
    const self = world.self()
    const own = members.find(({ peerUrls }) => peerUrls.includes(self.peerUrl))
    if (own === undefined && (await this.#move(members, self))) return
    if (world.canServe) {
      await this.#announce()
      if (own !== undefined && own.name === '' && !world.hasMember()) world.takeSeat(members)
    }
    const isUnsettled = members.some(({ isLearner, name }) => isLearner || name === '')
    this.#isQuick = isUnsettled || (world.canServe && own === undefined)
    if (own !== undefined && (await this.#leads(self.clientUrl))) await this.#lead(members)
  }

  /** The node has another address than when its member was added: the others must know, or they count it as gone. */
  async #move(members: readonly Member[], { name, peerUrl }: SeatNode): Promise<boolean> {
    const known = members.find((member) => member.name === name)
    if (known === undefined) return false
    await this.#world.client.run('moving a member', 'once', { timeoutMs: callTimeoutMs }, (attempt) =>
      attempt.send(calls.memberUpdate, {
        id: BigInt(`0x${toHex(known.id)}`).toString(),
        peerUrls: [peerUrl],
      }),
    )
    this.#world.note('etcd.member_moved', { name, peerUrl }, 'info')
    return true
  }

  /** A key that lives as long as we say so. */
  async #announce(): Promise<void> {
    const { client, prefix } = this.#world
    const self = this.#world.self()
    const value = JSON.stringify({ address: self.address, peerUrl: self.peerUrl, name: self.name })
    const options = { timeoutMs: callTimeoutMs }
    if (this.#lease !== undefined) {
      const id = this.#lease
      const { ttl } = await client.run('staying known', 'repeatable', options, (attempt) =>
        attempt.exchange(calls.leaseKeepAlive, { id }),
      )
      if (toBig(ttl) <= 0n) this.#lease = undefined
    }
    if (this.#lease !== undefined && this.#announced === value) return
    const id = this.#lease ?? (randomBytes(8).readBigUInt64BE() & 0x7fff_ffff_ffff_ffffn).toString()
    if (this.#lease === undefined) {
      await client.run('becoming known', 'once', options, (attempt) =>
        attempt.send(calls.leaseGrant, { ttl: String(nodeTtlSeconds), id }),
      )
      this.#lease = id
    }
    const key = Buffer.from(prefix + self.address)
    await client.run('becoming known', 'once', options, (attempt) =>
      attempt.send(calls.txn, {
        compare: [],
        success: [{ requestPut: { key, value: Buffer.from(value), lease: id } }],
        failure: [],
      }),
    )
    this.#announced = value
  }

  async #leads(clientUrl: string): Promise<boolean> {
    const status = await this.#statusOf(clientUrl)
    return status !== undefined && toHex(status.leader) === toHex(status.header.memberId)
  }

  async #lead(members: readonly Member[]): Promise<void> {
    const seen = await Promise.all(members.map((member) => this.#look(member)))
    this.#world.client.keepSingle(members.flatMap(({ clientUrls }) => clientUrls.map(addressOf)))
    for (const id of this.#answeredMs.keys()) {
      if (!seen.some((member) => member.id === id)) this.#answeredMs.delete(id)
    }
    const nodes = await this.#nodes()
    const action = planSeats(seen, nodes, { seats: this.#world.seats, ...seatLimits })
    if (action === undefined) return
    this.#isQuick = true
    await this.#carryOut(action)
  }

  async #carryOut(action: SeatAction): Promise<void> {
    const { client } = this.#world
    const options = { timeoutMs: callTimeoutMs }
    const change = <T>(send: (attempt: Attempt) => Promise<T>) =>
      client.run('changing members', 'once', options, send)
    try {
      if (action.type === 'add') {
        await change((a) => a.send(calls.memberAdd, { peerUrls: [action.peerUrl], isLearner: true }))
      } else {
        const id = BigInt(`0x${action.id}`).toString()
        if (action.type === 'promote') await change((a) => a.send(calls.memberPromote, { id }))
        else await change((a) => a.send(calls.memberRemove, { id }))
      }
      this.#world.note(`etcd.member_${action.type}`, { ...action }, 'info')
    } catch (error) {
      // etcd takes one change at a time and none until the last one has settled: the next beat tries again.
      const isEarly =
        isSkeinError(error) && ['unavailable', 'conflict', 'outcome_unknown'].includes(error.code)
      if (!isEarly) throw error
    }
  }

  async #look(member: Member): Promise<SeatMember> {
    const id = toHex(member.id)
    const url = member.clientUrls[0]
    const status = url === undefined ? undefined : await this.#statusOf(url)
    const nowMs = monotonicMs()
    if (status !== undefined || !this.#answeredMs.has(id)) this.#answeredMs.set(id, nowMs)
    return {
      id,
      name: member.name,
      peerUrl: member.peerUrls[0] ?? '',
      isLearner: member.isLearner,
      silentMs: status === undefined ? Math.max(1, nowMs - this.#answeredMs.get(id)!) : 0,
    }
  }

  async #statusOf(clientUrl: string): Promise<StatusResponse | undefined> {
    const endpoint = this.#world.client.single(addressOf(clientUrl))
    try {
      return await endpoint.unary(calls.status, {}, { deadlineMs: monotonicMs() + statusTimeoutMs })
    } catch {
      return undefined
    }
  }

  /** In the order in which they came. */
  async #nodes(): Promise<SeatNode[]> {
    const { client, prefix } = this.#world
    const key = Buffer.from(prefix)
    const rangeEnd = Buffer.from(key)
    rangeEnd[rangeEnd.length - 1]! += 1
    const { kvs } = await client.run('listing nodes', 'read', { timeoutMs: callTimeoutMs }, (attempt) =>
      attempt.read(calls.range, { key, rangeEnd }),
    )
    return [...kvs]
      .sort((a, b) => (toBig(a.createRevision) < toBig(b.createRevision) ? -1 : 1))
      .map((kv) => JSON.parse(Buffer.from(kv.value).toString('utf8')) as SeatNode)
  }
}

/** A learner refuses clients. */
function serving(members: readonly Member[]): string[] {
  return members.filter(({ isLearner }) => !isLearner).flatMap(({ clientUrls }) => clientUrls.map(addressOf))
}

function addressOf(url: string): string {
  return url.replace(/^https?:\/\//, '')
}
