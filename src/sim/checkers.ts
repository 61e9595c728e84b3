/**
 * What must never happen, whatever the faults: the promises of the design, checked from outside on the facts of a run. A violation names the
 * promise, the moment and the parties.
 */
import type { Epoch, LeaseId, NodeId, ShardId } from '../core/kernel/brand.js'
import type { Transaction, TransactionResult } from '../core/kernel/store-types.js'
import { jsonDecode } from '../core/kernel/text.js'
import type { NodeEffect } from '../core/node/node-types.js'
import type { NewEvent } from '../core/routing/events.js'
import { noSeals, readSeals, releasePrefix, sealPrefix, shardOf } from '../core/sharding/shard-map.js'
import type { ConsumeContext, EventView } from '../runtime/node-api.js'
import { AgentChecks } from './agents.js'
import type { SimCluster } from './cluster.js'
import { ConsumerChecks } from './consumer-checks.js'
import type { SimNode } from './node.js'

export interface Violation {
  readonly promise: string
  readonly atMs: number
  readonly detail: string
}

/** What a client knows about one event. */
export interface PublishedEvent {
  readonly id: string
  readonly key: string
  readonly sentMs: number
  /** 0 until then. */
  ackedMs: number
  offset: number
  readonly shard: ShardId
}

export class Checkers {
  readonly violations: Violation[] = []
  onViolation: () => void = () => {}
  /** By stream, key and id. */
  readonly published = new Map<string, PublishedEvent>()
  readonly consumers = new ConsumerChecks((promise, detail) => this.fail(promise, detail))
  readonly agents = new AgentChecks((promise, detail) => this.fail(promise, detail))
  private readonly cluster: SimCluster
  private readonly leaders = new Map<number, string>()
  private readonly owners = new Map<string, string>()
  private readonly ends = new Map<ShardId, number>()
  private readonly settledEpochs = new Map<ShardId, number>()
  private readonly lastStamp = new Map<NodeId, string>()

  constructor(cluster: SimCluster) {
    this.cluster = cluster
  }

  fail(promise: string, detail: string): void {
    if (this.violations.length >= 50) return
    const atMs = Math.round(this.cluster.scheduler.nowMs)
    this.violations.push({ promise, atMs, detail })
    this.cluster.scheduler.trace(`VIOLATION ${promise} ${detail}`)
    this.onViolation()
  }

  /** A client is about to send this event, perhaps again. */
  publishing(event: NewEvent): void {
    const name = identityOf(event)
    if (this.published.has(name)) return
    const { id, key } = event
    const shard = shardOf(key, this.cluster.shards)
    this.published.set(name, { id, key, shard, sentMs: this.cluster.scheduler.nowMs, ackedMs: 0, offset: 0 })
  }

  /** A client was told that it is stored. */
  answered(event: NewEvent, offset: number): void {
    const fact = this.published.get(identityOf(event)) as PublishedEvent
    if (fact.ackedMs > 0) return
    fact.ackedMs = this.cluster.scheduler.nowMs
    fact.offset = offset
  }

  /** Promise 1, and the fences of promise 3, at the store. */
  committed(client: NodeId, tag: string, txn: Transaction, result: TransactionResult): void {
    if (!result.ok) return
    for (const op of txn.then ?? []) {
      if (op.type !== 'put') continue
      if (op.key === 'leader') this.leaderWritten(op.value)
      if (op.key.startsWith(sealPrefix)) this.sealWritten(op.key, op.value)
      if (op.key.startsWith(releasePrefix)) this.releaseWritten(client, op.key, op.value)
    }
    if (tag === 'shards.assign' || tag === 'evict') {
      const leader = jsonDecode(this.cluster.store.get('leader')?.value ?? new Uint8Array()) as
        | { node_id?: string }
        | undefined
      if (leader?.node_id !== client) this.fail('1', `${client} wrote ${tag} while ${leader?.node_id} leads`)
    }
  }

  private leaderWritten(value: Uint8Array): void {
    const { term, node_id, lease } = jsonDecode(value) as {
      term: number
      node_id: string | null
      lease: string | null
    }
    if (node_id === null) return
    const holder = `${node_id}/${lease}`
    const before = this.leaders.get(term)
    if (before !== undefined && before !== holder)
      this.fail('1', `two leaders in term ${term}: ${before} and ${holder}`)
    this.leaders.set(term, holder)
    this.cluster.scheduler.trace(`leader ${holder} term ${term}`)
  }

  /** A seal while the sealed tenure's lease lives and was not released would cut off acknowledgements to come. */
  private sealWritten(key: string, value: Uint8Array): void {
    const shard = Number(key.slice(sealPrefix.length))
    const { through, segments, end } = jsonDecode(value) as {
      through: number
      segments: [number, string, number, number][]
      end: number
    }
    const before = this.settledEpochs.get(shard) ?? 0
    if (through < before)
      this.fail('3', `seal of shard ${shard} went back from epoch ${before} to ${through}`)
    this.settledEpochs.set(shard, through)
    if (end < (this.ends.get(shard) ?? 0))
      this.fail('2', `the log of shard ${shard} ends at ${end} after ${this.ends.get(shard)}`)
    this.ends.set(shard, end)
    // Retention may have cut the beginning.
    let reached = (segments[0]?.[2] ?? end + 1) - 1
    for (const [epoch, lease, first, last] of segments) {
      if (first !== reached + 1)
        this.fail('2', `shard ${shard}: epoch ${epoch} of ${lease} begins at ${first} after ${reached}`)
      reached = last
    }
    if (reached !== end) this.fail('2', `shard ${shard}: the segments end at ${reached}, the log at ${end}`)
  }

  private releaseWritten(client: NodeId, key: string, value: Uint8Array): void {
    const shard = Number(key.slice(releasePrefix.length))
    const { epoch } = jsonDecode(value) as { epoch: number }
    if (this.cluster.node(client)?.writer.confirmed(shard)?.epoch === epoch)
      this.fail('3', `${client} released shard ${shard} and still serves it`)
  }

  handlerStarted(node: SimNode, group: string, batch: readonly EventView[], context: ConsumeContext): void {
    this.consumers.started(node, group, batch, context, this.settledEpochs.get(context.shard) ?? 0)
  }

  shardOpened(node: SimNode, shard: ShardId, epoch: Epoch): void {
    const key = `${shard}@${epoch}`
    const before = this.owners.get(key)
    if (before !== undefined && before !== node.bootId)
      this.fail('3', `shard ${shard} epoch ${epoch}: ${before} and ${node.bootId}`)
    this.owners.set(key, node.bootId)
    this.cluster.scheduler.trace(`${node.id} opens ${key}`)
  }

  /** Promises 3 and 6: at the moment of an acknowledgement the lease lives in the store and the epoch is not sealed. */
  acknowledged(node: SimNode, shard: ShardId, lease: LeaseId | null, offset: number): void {
    const epoch = node.writer.confirmed(shard)?.epoch
    if (lease === null || !this.cluster.store.isLeaseAlive(lease))
      this.fail('3', `${node.id} acknowledged shard ${shard} offset ${offset} without a live lease`)
    if (epoch !== undefined && (this.settledEpochs.get(shard) ?? 0) >= epoch)
      this.fail(
        '3',
        `${node.id} acknowledged shard ${shard} offset ${offset} under the sealed epoch ${epoch}`,
      )
  }

  /** Without its ceiling a clock can only promise to follow the wall. */
  diskLost(nodeId: NodeId): void {
    this.lastStamp.delete(nodeId)
  }

  stamped(node: SimNode, text: string): void {
    const before = this.lastStamp.get(node.id)
    if (before !== undefined && text <= before)
      this.fail('hlc', `${node.id} gave out ${text} after ${before}`)
    this.lastStamp.set(node.id, text)
  }

  /** Promise 5: nobody who is well is called failed. */
  memberChanged(observer: SimNode, effect: Extract<NodeEffect, { type: 'member_changed' }>): void {
    const { after, before, evidence, nodeId } = effect
    if (after?.status !== 'failed' || before?.status === 'failed' || evidence?.observer !== observer.id)
      return
    const accused = this.cluster.node(nodeId)
    if (accused === undefined || !accused.isRunning || after.record.bootId !== accused.bootId) return
    const quietMs =
      this.cluster.scheduler.nowMs - Math.max(accused.lastFaultMs, this.cluster.lastNetworkFaultMs)
    if (quietMs > 2_500)
      this.fail('5', `${observer.id} called ${nodeId} failed though it is well: ${evidence.detail}`)
  }

  /** Promise 2, at the end: everything acknowledged is there once, in order. */
  checkEvents(): { acknowledged: number; stored: number } {
    const stored = new Map<string, { offset: number; shard: ShardId }>()
    let acknowledged = 0
    for (let shard = 0; shard < this.cluster.shards; shard++) {
      let end = 0
      const rows = this.readShard(shard)
      this.consumers.checkShard(
        shard,
        rows,
        (row) => (this.published.get(identityOf(row.event))?.ackedMs ?? 0) > 0,
      )
      for (const row of rows) {
        if (row.offset !== end + 1) this.fail('2', `shard ${shard}: offset ${row.offset} after ${end}`)
        end = row.offset
        const twin = stored.get(identityOf(row.event))
        if (twin !== undefined)
          this.fail(
            '2',
            `event ${row.event.id} is stored twice: shard ${shard} offsets ${twin.offset} and ${row.offset}`,
          )
        stored.set(identityOf(row.event), { offset: row.offset, shard })
      }
    }
    const byKey = new Map<string, PublishedEvent[]>()
    for (const [name, event] of this.published) {
      if (event.ackedMs === 0) continue
      acknowledged++
      const found = stored.get(name)
      if (found === undefined)
        this.fail(
          '2',
          `acknowledged event ${event.id} of key ${event.key} (shard ${event.shard} offset ${event.offset}) is lost`,
        )
      else if (found.offset !== event.offset)
        this.fail(
          '2',
          `event ${event.id} was acknowledged at offset ${event.offset} and lies at ${found.offset}`,
        )
      const list = byKey.get(event.key)
      if (list === undefined) byKey.set(event.key, [event])
      else list.push(event)
    }
    for (const events of byKey.values()) this.checkOrder(events)
    return { acknowledged, stored: stored.size }
  }

  private readShard(shard: ShardId) {
    const { store, journal } = this.cluster
    const seals = this.cluster.viewOf(store)
    const { segments, end } = seals === undefined ? noSeals : readSeals(seals, shard)
    const owner = this.cluster.nodes.find((n) => n.ownsOpen(shard))
    const open = owner?.writer.confirmed(shard)
    return journal.read(
      shard,
      open === undefined
        ? segments
        : [...segments, { epoch: open.epoch, lease: open.lease, first: end + 1, last: open.offset }],
    )
  }

  private checkOrder(events: PublishedEvent[]): void {
    events.sort((a, b) => a.sentMs - b.sentMs)
    for (let i = 1; i < events.length; i++) {
      const late = events[i] as PublishedEvent
      for (let j = Math.max(0, i - 5); j < i; j++) {
        const early = events[j] as PublishedEvent
        if (early.ackedMs < late.sentMs && early.offset >= late.offset) {
          this.fail(
            '2',
            `key ${early.key}: ${early.id} was acknowledged before ${late.id} was sent, yet lies behind it`,
          )
        }
      }
    }
  }
}

function identityOf({ stream, key, id }: NewEvent): string {
  return JSON.stringify([stream, key, id])
}
