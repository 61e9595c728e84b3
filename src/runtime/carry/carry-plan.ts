/**
 * What a carry writes where: pure, and the same for the same source, so that a carry that was cut short goes on by making its plan again.
 *
 * Epochs and offsets stay; leases do not: those of the source mean nothing to another store. What one lease wrote is put under one lease of the
 * carry as far as that is possible, so that retention goes on in pieces as before. A shard's epochs must be written in order, for journals fence lower
 * ones; so a lease that got a shard back after somebody else had it is met again, and its second visit has a lease of its own.
 */
import { asEpoch, asLeaseId, type Epoch, type LeaseId, type ShardId } from '../../core/kernel/brand.js'
import type { Seals, Tenure } from '../../core/sharding/shard-map.js'
import type { Segment } from '../../ports/journal.js'

/** A shard of the source with everything that counts of it, nobody owning it. */
export interface CarriedShard {
  readonly shard: ShardId
  /** Ascending, without a gap between them. */
  readonly segments: readonly Segment[]
  /** Offset of the last event that ever counted. */
  readonly end: number
  /** The highest epoch that anybody was given or wrote: the next one is higher. */
  readonly floor: Epoch
}

/** What is written under one lease of the target. */
export interface CarryStep {
  readonly lease: LeaseId
  /** Of each shard in ascending order of epochs. */
  readonly parts: readonly { readonly shard: ShardId; readonly segment: Segment }[]
}

export interface CarryPlan {
  readonly steps: readonly CarryStep[]
  /** By shard, with the target's leases. */
  readonly shards: readonly CarriedShard[]
}

/** What the source's store and journal say of one shard. */
export interface ShardFacts {
  readonly shard: ShardId
  readonly seals: Seals
  /** Of the tenures beyond the seals, what they wrote. */
  readonly unsealed: readonly Segment[]
  readonly floor: Epoch
}

/** Tenures that ended, since nobody holds a lease any more, and that no successor has sealed. */
export function endedTenures(
  assignment: { readonly epoch: Epoch; readonly lease: LeaseId | null; readonly unsealed: readonly Tenure[] },
  seals: Seals,
): readonly Tenure[] {
  const { epoch, lease, unsealed } = assignment
  const all = lease === null || epoch === 0 ? unsealed : [...unsealed, { epoch, lease }]
  return all.filter((tenure) => tenure.epoch > seals.through)
}

export function carriedShard({ shard, seals, unsealed, floor }: ShardFacts): CarriedShard {
  const fresh = unsealed.filter(({ epoch }) => epoch > seals.through).sort((a, b) => a.epoch - b.epoch)
  return {
    shard,
    segments: [...seals.segments, ...fresh],
    end: fresh.at(-1)?.last ?? seals.end,
    floor: asEpoch(Math.max(floor, seals.through, fresh.at(-1)?.epoch ?? 0)),
  }
}

/** `id` is the carry's; the leases of the target are named after it. */
export function planCarry(id: string, source: readonly CarriedShard[]): CarryPlan {
  const done = new Map<ShardId, number>()
  const renamed = new Map<ShardId, Segment[]>(source.map(({ shard }) => [shard, []]))
  const steps: CarryStep[] = []
  for (;;) {
    const from = mostWanted(source, done)
    if (from === undefined) break
    const lease = asLeaseId(`carried-${id}-${steps.length}`)
    const parts: { shard: ShardId; segment: Segment }[] = []
    for (const { shard, segments } of source) {
      let at = done.get(shard) ?? 0
      for (; segments[at]?.lease === from; at++) {
        const segment = segments[at] as Segment
        parts.push({ shard, segment })
        renamed.get(shard)?.push({ ...segment, lease })
      }
      done.set(shard, at)
    }
    steps.push({ lease, parts })
  }
  const shards = source.map((each) => ({ ...each, segments: renamed.get(each.shard) ?? [] }))
  return { steps, shards }
}

/** The lease that most shards would go on with; ties go to the one that is met first. */
function mostWanted(
  source: readonly CarriedShard[],
  done: ReadonlyMap<ShardId, number>,
): LeaseId | undefined {
  const counts = new Map<LeaseId, number>()
  for (const { shard, segments } of source) {
    const next = segments[done.get(shard) ?? 0]
    if (next !== undefined) counts.set(next.lease, (counts.get(next.lease) ?? 0) + 1)
  }
  let best: LeaseId | undefined
  for (const [lease, count] of counts) if (best === undefined || count > (counts.get(best) ?? 0)) best = lease
  return best
}
