/**
 * Online audit of ownership. Every node tells the leader which shards it serves under which epoch and lease and how far it has acknowledged, as that
 * changes; the leader compares it with the store. What correct code can never do raises an alarm: an error in the log, an event in the history, a count
 * in the metrics and the status.
 */
import { type AgentAlarm, AgentAudit, type AgentRunReport } from '../core/agents/audit.js'
import type { Epoch, LeaseId, NodeId, ShardId } from '../core/kernel/brand.js'
import { SkeinError } from '../core/kernel/error.js'
import { type Alarm, OwnershipAudit, type TenureReport } from '../core/sharding/ownership-audit.js'
import type { Seals, ShardMap } from '../core/sharding/shard-map.js'
import type { FrameTransport } from '../ports/transport.js'
import { meshFrames, pack, reportsPerFrameMax, unpack, unpackReports } from './mesh-frames.js'
import type { OwnershipView } from './node-api.js'

export interface OwnershipWorld {
  readonly nodeId: NodeId
  /** How many there are. */
  readonly shards: number
  readonly mesh: FrameTransport
  /** Where the leader's reports go: its mesh address; null while nobody leads; `self` when this node does. */
  leader(): { readonly nodeId: NodeId; readonly address: string } | 'self' | null
  seals(shards: readonly ShardId[]): Promise<readonly (readonly [ShardId, Seals])[]>
  /** Of this node's agents: those that began or acted since it was asked last, at most so many. */
  agentRuns(max: number): readonly AgentRunReport[]
  alarm(alarm: Alarm | AgentAlarm): void
  note(level: 'warn', event: string, fields: Record<string, unknown>): void
}

const askTimeoutMs = 2_000
const reportEveryMs = 1_000
/** Of this node's tenures, ended ones included. */
const keptMax = 8_192
/** How far clocks of nodes may be apart before it is reported elsewhere, ms. */
const skewMsMax = 1_000
/** The newest are kept. */
const alarmsMax = 1_000

export class Ownership {
  private readonly world: OwnershipWorld
  private readonly own = new Map<string, TenureReport>()
  private readonly changed = new Set<string>()
  private readonly timer: NodeJS.Timeout
  private auditor = new OwnershipAudit()
  private agentAuditor = new AgentAudit(skewMsMax)
  private map: ShardMap = []
  private reportedTo = ''
  private checking = false
  /** Raised while this node led. */
  private readonly alarms: (Alarm | AgentAlarm)[] = []

  constructor(world: OwnershipWorld) {
    this.world = world
    this.timer = setInterval(() => void this.report(), reportEveryMs)
    this.timer.unref()
  }

  opened(shard: ShardId, epoch: Epoch, lease: LeaseId): void {
    const { nodeId } = this.world
    this.set({ shard, epoch, lease, nodeId, openedAtMs: Date.now(), closedAtMs: 0, acknowledged: 0 })
  }

  closed(shard: ShardId, epoch: Epoch): void {
    const known = this.own.get(keyOf(shard, epoch))
    if (known !== undefined) this.set({ ...known, closedAtMs: Date.now() })
  }

  /** Events of one shard lie together, in ascending order. */
  acknowledged(
    events: readonly { readonly shard: ShardId; readonly epoch: Epoch; readonly offset: number }[],
  ): void {
    for (let i = 0; i < events.length; i++) {
      const event = events[i] as (typeof events)[number]
      if (events[i + 1]?.shard !== event.shard) this.reached(event.shard, event.epoch, event.offset)
    }
  }

  private reached(shard: ShardId, epoch: Epoch, offset: number): void {
    const key = keyOf(shard, epoch)
    const known = this.own.get(key)
    if (known === undefined || known.acknowledged >= offset) return
    this.own.set(key, { ...known, acknowledged: offset })
    this.changed.add(key)
  }

  routing(map: ShardMap): void {
    this.map = map
    if (this.world.leader() === 'self') this.raise(this.auditor.mapChanged(map))
  }

  /** Another node's report, this one leads, or did when it was sent; or its question, which has a reply. */
  receive(from: NodeId, body: Uint8Array, reply: ((body: Uint8Array | Error) => void) | undefined): void {
    if (reply !== undefined) reply(pack(this.view()))
    else for (const row of unpackReports(body, from, this.world.shards)) this.take(row)
  }

  private take(row: TenureReport | AgentRunReport): void {
    this.raise('agent' in row ? this.agentAuditor.reported(row) : this.auditor.reported(row))
  }

  /** The store's word on an agent, as this node sees it. */
  assigned(agent: string, epoch: Epoch, lease: LeaseId): void {
    if (this.world.leader() === 'self') this.raise(this.agentAuditor.assigned(agent, epoch, lease))
  }

  /** What the leader knows. Errors: `no_leader`, and those of a request to it. */
  async ask(): Promise<OwnershipView> {
    const leader = this.world.leader()
    if (leader === 'self') return this.view()
    if (leader === null)
      throw new SkeinError(
        'unavailable',
        'nobody leads at the moment: the history of ownership is the leader’s',
        {
          retryable: true,
        },
      )
    const timeoutMs = askTimeoutMs
    return unpack(
      await this.world.mesh.request(leader.address, meshFrames.ownership, pack(null), { timeoutMs }),
    ) as OwnershipView
  }

  private view(): OwnershipView {
    return { auditor: this.world.nodeId, alarms: this.alarms, tenures: this.auditor.history() }
  }

  close(): void {
    clearInterval(this.timer)
  }

  private set(report: TenureReport): void {
    const key = keyOf(report.shard, report.epoch)
    this.own.delete(key)
    this.own.set(key, report)
    this.changed.add(key)
    if (this.own.size > keptMax) this.own.delete(this.own.keys().next().value as string)
  }

  private async report(): Promise<void> {
    const leader = this.world.leader()
    if (leader === null) return
    const to = leader === 'self' ? this.world.nodeId : leader.nodeId
    if (to !== this.reportedTo) {
      // A new leader knows nothing yet.
      for (const key of this.own.keys()) this.changed.add(key)
      if (leader === 'self') this.raise(this.auditor.mapChanged(this.map))
      else {
        this.auditor = new OwnershipAudit()
        this.agentAuditor = new AgentAudit(skewMsMax)
      }
      this.reportedTo = to
    }
    const keys = [...this.changed].slice(0, reportsPerFrameMax)
    const reports: (TenureReport | AgentRunReport)[] = keys.flatMap((key) => this.own.get(key) ?? [])
    // A report that is lost is made up for by the next act.
    reports.push(...this.world.agentRuns(reportsPerFrameMax - reports.length))
    if (leader === 'self') {
      for (const key of keys) this.changed.delete(key)
      for (const report of reports) this.take(report)
      await this.checkSeals()
    } else if (
      reports.length === 0 ||
      this.world.mesh.send(leader.address, meshFrames.ownership, pack(reports)) === 'queued'
    )
      for (const key of keys) this.changed.delete(key)
  }

  /** Of shards with ended tenures: what was acknowledged lies below the seal. */
  private async checkSeals(): Promise<void> {
    if (this.checking) return
    const shards = [
      ...new Set(
        this.auditor
          .history()
          .filter((t) => t.acknowledged > 0 && t.epoch < (this.map[t.shard]?.epoch ?? 0))
          .map((t) => t.shard),
      ),
    ]
    if (shards.length === 0) return
    this.checking = true
    try {
      for (const [shard, seals] of await this.world.seals(shards))
        this.raise(this.auditor.sealed(shard, seals))
    } catch (error) {
      this.world.note('warn', 'ownership.audit_failed', {
        detail: error instanceof Error ? error.message : String(error),
      })
    } finally {
      this.checking = false
    }
  }

  private raise(alarms: readonly (Alarm | AgentAlarm)[]): void {
    for (const alarm of alarms) {
      this.alarms.push(alarm)
      if (this.alarms.length > alarmsMax) this.alarms.shift()
      this.world.alarm(alarm)
    }
  }
}

function keyOf(shard: ShardId, epoch: Epoch): string {
  return `${shard}/${epoch}`
}
