/**
 * The auditor of ownership: is told what every node says it serves and what the store says it may, and raises an alarm when the two ever
 * disagree in a way that correct code cannot: two owners of one (shard, epoch), a tenure that was never assigned, an acknowledgement past a seal.
 *
 * It decides nothing and holds nothing up. Reports come late and in any order, from nodes that may have died since; what it concludes from must
 * therefore hold whatever the order: facts about an epoch never change once they are true.
 */
import type { Epoch, LeaseId, NodeId, ShardId } from '../kernel/brand.js'
import type { Seals, ShardMap } from './shard-map.js'

/** What a node says of one of its own tenures. */
export interface TenureReport {
  readonly shard: ShardId
  readonly epoch: Epoch
  readonly nodeId: NodeId
  /** Who the owner really is: a lease belongs to one process. */
  readonly lease: LeaseId
  /** Wall clock of the node, ms. */
  readonly openedAtMs: number
  /** 0 while open. */
  readonly closedAtMs: number
  /** Highest offset it acknowledged, 0 for none. */
  readonly acknowledged: number
}

export interface Alarm {
  readonly rule: 'two_owners' | 'not_assigned' | 'past_seal'
  readonly shard: ShardId
  readonly epoch: Epoch
  readonly detail: string
}

/** Tenures remembered of each shard, newest kept. */
const tenuresMax = 8
const alarmsMax = 1_000

export class OwnershipAudit {
  private readonly tenures = new Map<ShardId, TenureReport[]>()
  private readonly assigned = new Map<ShardId, Map<Epoch, LeaseId>>()
  /** Told already: an alarm is raised once. */
  private readonly raised = new Set<string>()

  /** Of every shard, oldest first. */
  history(): readonly TenureReport[] {
    return [...this.tenures.values()].flat()
  }

  /** The shard map as it is in the store. */
  mapChanged(map: ShardMap): readonly Alarm[] {
    const alarms: Alarm[] = []
    map.forEach(({ epoch, lease }, shard) => {
      if (lease === null) return
      const known = this.assigned.get(shard) ?? new Map<Epoch, LeaseId>()
      this.assigned.set(shard, known)
      const before = known.get(epoch)
      if (before !== undefined && before !== lease)
        this.raise(alarms, 'two_owners', shard, epoch, `assigned to lease ${before} and to lease ${lease}`)
      known.set(epoch, lease)
      if (known.size > tenuresMax) known.delete(known.keys().next().value as Epoch)
      for (const report of this.tenures.get(shard) ?? []) this.compareAssigned(alarms, report)
    })
    return alarms
  }

  reported(report: TenureReport): readonly Alarm[] {
    const alarms: Alarm[] = []
    const known = this.tenures.get(report.shard) ?? []
    const same = known.findIndex((t) => t.epoch === report.epoch && t.lease === report.lease)
    const other = known.find((t) => t.epoch === report.epoch && t.lease !== report.lease)
    if (other !== undefined)
      this.raise(
        alarms,
        'two_owners',
        report.shard,
        report.epoch,
        `served by ${other.nodeId} under lease ${other.lease} and by ${report.nodeId} under lease ${report.lease}`,
      )
    if (same >= 0) known[same] = merged(known[same] as TenureReport, report)
    else known.push(report)
    known.sort((a, b) => a.epoch - b.epoch)
    this.tenures.set(report.shard, known.slice(-tenuresMax))
    this.compareAssigned(alarms, report)
    return alarms
  }

  /** What counts of the shard's ended tenures, as the store has it. */
  sealed(shard: ShardId, seals: Seals): readonly Alarm[] {
    const alarms: Alarm[] = []
    for (const { epoch, nodeId, acknowledged } of this.tenures.get(shard) ?? []) {
      if (epoch > seals.through || acknowledged === 0) continue
      // Where the log ended with that epoch; retention may have cut it since, then nothing can be said.
      const last = seals.segments.findLast((s) => s.epoch <= epoch)?.last
      if (last !== undefined && acknowledged > last)
        this.raise(
          alarms,
          'past_seal',
          shard,
          epoch,
          `${nodeId} acknowledged offset ${acknowledged}; the log was sealed at ${last}`,
        )
    }
    return alarms
  }

  private compareAssigned(alarms: Alarm[], { shard, epoch, lease, nodeId }: TenureReport): void {
    const to = this.assigned.get(shard)?.get(epoch)
    if (to !== undefined && to !== lease)
      this.raise(
        alarms,
        'not_assigned',
        shard,
        epoch,
        `${nodeId} serves it under lease ${lease}; it was assigned to lease ${to}`,
      )
  }

  private raise(alarms: Alarm[], rule: Alarm['rule'], shard: ShardId, epoch: Epoch, detail: string): void {
    const key = `${rule}/${shard}/${epoch}`
    if (this.raised.has(key) || this.raised.size >= alarmsMax) return
    this.raised.add(key)
    alarms.push({ rule, shard, epoch, detail })
  }
}

function merged(a: TenureReport, b: TenureReport): TenureReport {
  return {
    ...b,
    closedAtMs: Math.max(a.closedAtMs, b.closedAtMs),
    acknowledged: Math.max(a.acknowledged, b.acknowledged),
  }
}
