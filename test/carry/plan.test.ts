import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { asEpoch, asLeaseId } from '../../src/core/kernel/brand.js'
import { noSeals } from '../../src/core/sharding/shard-map.js'
import type { Segment } from '../../src/ports/journal.js'
import {
  type CarriedShard,
  carriedShard,
  endedTenures,
  planCarry,
} from '../../src/runtime/carry/carry-plan.js'

const segment = (epoch: number, lease: string, first: number, last: number): Segment => ({
  epoch: asEpoch(epoch),
  lease: asLeaseId(lease),
  first,
  last,
})

/** Logs as clusters leave them: each shard was owned by some of a few leases in turn. */
const logs = fc
  .array(
    fc.array(fc.record({ lease: fc.constantFrom('a', 'b', 'c', 'd'), skip: fc.nat(3), count: fc.nat(5) }), {
      maxLength: 8,
    }),
    { maxLength: 12 },
  )
  .map((shards) =>
    shards.map((tenures, shard): CarriedShard => {
      let epoch = 0
      let end = 0
      const segments = tenures.map(({ lease, skip, count }) => {
        epoch += 1 + skip
        const made = segment(epoch, lease, end + 1, end + count)
        end += count
        return made
      })
      return { shard, segments, end, floor: asEpoch(epoch) }
    }),
  )

describe('the plan of a carry', () => {
  it('holds every segment once, at its epoch and offsets, and writes the epochs of a shard in order', () => {
    fc.assert(
      fc.property(logs, (source) => {
        const { steps, shards } = planCarry('0123456789ab', source)
        const written = new Map<number, Segment[]>(source.map(({ shard }) => [shard, []]))
        for (const { lease, parts } of steps) {
          expect(parts.length).toBeGreaterThan(0)
          // One step, one lease of the source: retention goes on in the pieces it had.
          expect(new Set(parts.map((part) => part.segment.lease)).size).toBe(1)
          for (const { shard, segment: each } of parts) written.get(shard)?.push({ ...each, lease })
        }
        for (const [i, { shard, segments, end, floor }] of source.entries()) {
          const here = shards[i] as CarriedShard
          expect(written.get(shard)).toEqual(here.segments)
          expect(here.segments.map(({ epoch, first, last }) => [epoch, first, last])).toEqual(
            segments.map(({ epoch, first, last }) => [epoch, first, last]),
          )
          expect([here.end, here.floor]).toEqual([end, floor])
        }
        expect(new Set(steps.map(({ lease }) => lease)).size).toBe(steps.length)
        expect(planCarry('0123456789ab', source)).toEqual({ steps, shards })
      }),
    )
  })

  it('needs one step for a lease, unless it got a shard back after another had it', () => {
    const shard = (number: number, ...leases: string[]): CarriedShard => ({
      shard: number,
      segments: leases.map((lease, i) => segment(i + 1, lease, i * 10 + 1, i * 10 + 10)),
      end: leases.length * 10,
      floor: asEpoch(leases.length),
    })
    const simple = planCarry('id', [shard(0, 'a', 'b'), shard(1, 'a', 'b'), shard(2, 'b')])
    expect(simple.steps.map(({ parts }) => parts.map((p) => p.shard))).toEqual([
      [0, 1],
      [0, 1, 2],
    ])
    const back = planCarry('id', [shard(0, 'a', 'b', 'a'), shard(1, 'a')])
    expect(
      back.steps.map(({ lease, parts }) => [lease, parts.map((p) => [p.shard, p.segment.epoch])]),
    ).toEqual([
      [
        'carried-id-0',
        [
          [0, 1],
          [1, 1],
        ],
      ],
      ['carried-id-1', [[0, 2]]],
      ['carried-id-2', [[0, 3]]],
    ])
  })

  it('ends every tenure that nobody sealed, and puts the next epoch above all that were ever seen', () => {
    const seals = { through: asEpoch(3), segments: [segment(2, 'a', 1, 7)], end: 7 }
    const tenure = (epoch: number, lease: string) => ({ epoch: asEpoch(epoch), lease: asLeaseId(lease) })
    const assignment = { ...tenure(6, 'c'), unsealed: [tenure(3, 'a'), tenure(5, 'b')] }
    expect(endedTenures(assignment, seals)).toEqual([tenure(5, 'b'), tenure(6, 'c')])
    expect(endedTenures({ epoch: asEpoch(6), lease: null, unsealed: [] }, seals)).toEqual([])
    expect(endedTenures({ epoch: asEpoch(0), lease: asLeaseId('x'), unsealed: [] }, noSeals)).toEqual([])
    const unsealed = [segment(6, 'c', 9, 12), segment(5, 'b', 8, 8)]
    expect(carriedShard({ shard: 4, seals, unsealed, floor: asEpoch(9) })).toEqual({
      shard: 4,
      segments: [segment(2, 'a', 1, 7), segment(5, 'b', 8, 8), segment(6, 'c', 9, 12)],
      end: 12,
      floor: 9,
    })
    expect(carriedShard({ shard: 4, seals, unsealed: [], floor: asEpoch(1) })).toMatchObject({
      end: 7,
      floor: 3,
    })
  })
})
