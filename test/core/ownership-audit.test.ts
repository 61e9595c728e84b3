import { describe, expect, it } from 'vitest'
import { asEpoch, asLeaseId } from '../../src/core/kernel/brand.js'
import { OwnershipAudit, type TenureReport } from '../../src/core/sharding/ownership-audit.js'
import type { ShardAssignment } from '../../src/core/sharding/shard-map.js'

const report = (nodeId: string, epoch: number, change: Partial<TenureReport> = {}): TenureReport => ({
  shard: 0,
  epoch: asEpoch(epoch),
  nodeId,
  lease: asLeaseId(`lease-${nodeId}`),
  openedAtMs: 1,
  closedAtMs: 0,
  acknowledged: 0,
  ...change,
})
const assigned = (nodeId: string, epoch: number): ShardAssignment => ({
  epoch: asEpoch(epoch),
  nodeId,
  lease: asLeaseId(`lease-${nodeId}`),
  target: null,
  unsealed: [],
})

describe('the auditor of ownership', () => {
  it('is silent about a shard that goes from hand to hand as it should, in whatever order it hears of it', () => {
    const audit = new OwnershipAudit()
    const alarms = [
      ...audit.reported(report('b', 2, { acknowledged: 9 })),
      ...audit.mapChanged([assigned('a', 1)]),
      ...audit.reported(report('a', 1, { acknowledged: 5, closedAtMs: 7 })),
      ...audit.mapChanged([assigned('b', 2)]),
      ...audit.reported(report('a', 1, { acknowledged: 3 })),
      ...audit.sealed(0, {
        through: asEpoch(1),
        end: 5,
        segments: [{ epoch: asEpoch(1), lease: asLeaseId('lease-a'), first: 1, last: 5 }],
      }),
    ]
    expect(alarms).toEqual([])
    expect(audit.history()).toMatchObject([
      { nodeId: 'a', acknowledged: 5, closedAtMs: 7 },
      { nodeId: 'b', acknowledged: 9 },
    ])
  })

  it('raises an alarm, once, for two owners of one epoch', () => {
    const audit = new OwnershipAudit()
    expect(audit.reported(report('a', 4))).toEqual([])
    expect(audit.reported(report('b', 4))).toMatchObject([{ rule: 'two_owners', shard: 0, epoch: 4 }])
    expect(audit.reported(report('b', 4))).toEqual([])
  })

  it('raises an alarm for an epoch that the store gave to two', () => {
    const audit = new OwnershipAudit()
    audit.mapChanged([assigned('a', 4)])
    expect(audit.mapChanged([assigned('b', 4)])).toMatchObject([{ rule: 'two_owners', epoch: 4 }])
  })

  it('raises an alarm for a tenure that was never assigned, whichever is heard first', () => {
    const first = new OwnershipAudit()
    first.mapChanged([assigned('a', 4)])
    expect(first.reported(report('b', 4))).toMatchObject([{ rule: 'not_assigned' }])
    const second = new OwnershipAudit()
    second.reported(report('b', 4))
    expect(second.mapChanged([assigned('a', 4)])).toMatchObject([{ rule: 'not_assigned' }])
  })

  it('raises an alarm for an acknowledgement past the seal, and says nothing of what retention has cut', () => {
    const audit = new OwnershipAudit()
    audit.reported(report('a', 1, { acknowledged: 7 }))
    const segment = { epoch: asEpoch(1), lease: asLeaseId('lease-a'), first: 1, last: 5 }
    expect(audit.sealed(0, { through: asEpoch(3), end: 9, segments: [] })).toEqual([])
    expect(audit.sealed(0, { through: asEpoch(0), end: 0, segments: [] })).toEqual([])
    expect(audit.sealed(0, { through: asEpoch(1), end: 5, segments: [segment] })).toMatchObject([
      { rule: 'past_seal', detail: expect.stringContaining('offset 7') },
    ])
  })

  it('remembers a bounded number of tenures', () => {
    const audit = new OwnershipAudit()
    for (let epoch = 1; epoch <= 100; epoch++) audit.reported(report('a', epoch))
    expect(audit.history().length).toBeLessThanOrEqual(8)
  })
})
