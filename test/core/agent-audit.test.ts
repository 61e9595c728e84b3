import { describe, expect, it } from 'vitest'
import { AgentAudit, type AgentRunReport } from '../../src/core/agents/audit.js'
import { asEpoch, asLeaseId } from '../../src/core/kernel/brand.js'

const run = (over: Partial<AgentRunReport> = {}): AgentRunReport => ({
  agent: 'a',
  epoch: asEpoch(1),
  nodeId: 'n1',
  lease: asLeaseId('l1'),
  startedAtMs: 1_000,
  actedAtMs: 2_000,
  ...over,
})
const next = { epoch: asEpoch(2), nodeId: 'n2', lease: asLeaseId('l2') }

describe('the auditor of agents', () => {
  it('is silent about runs that follow each other, whatever the order of the reports', () => {
    for (const reports of [
      [run(), run({ ...next, startedAtMs: 2_100, actedAtMs: 0 })],
      [run({ ...next, startedAtMs: 2_100, actedAtMs: 0 }), run()],
    ]) {
      const audit = new AgentAudit(500)
      expect(audit.assigned('a', asEpoch(1), asLeaseId('l1'))).toEqual([])
      expect(reports.flatMap((r) => audit.reported(r))).toEqual([])
      expect(audit.assigned('a', asEpoch(2), asLeaseId('l2'))).toEqual([])
    }
  })

  it('says when two leases ran one epoch, once', () => {
    const audit = new AgentAudit(500)
    audit.reported(run())
    const other = run({ nodeId: 'n2', lease: asLeaseId('l2') })
    expect(audit.reported(other).map((a) => a.rule)).toEqual(['two_owners'])
    expect(audit.reported(other)).toEqual([])
  })

  it('says when a run was assigned to somebody else, whichever is known first', () => {
    const late = new AgentAudit(500)
    late.reported(run())
    expect(late.assigned('a', asEpoch(1), asLeaseId('other')).map((a) => a.rule)).toEqual(['not_assigned'])
    const early = new AgentAudit(500)
    early.assigned('a', asEpoch(1), asLeaseId('other'))
    expect(early.reported(run()).map((a) => a.rule)).toEqual(['not_assigned'])
  })

  it('says when a former owner acted after its successor had begun, beyond what clocks may differ', () => {
    const audit = new AgentAudit(500)
    audit.reported(run({ actedAtMs: 2_600 }))
    expect(audit.reported(run({ ...next, startedAtMs: 2_200 }))).toEqual([])
    expect(audit.reported(run({ actedAtMs: 2_701 })).map((a) => a.rule)).toEqual(['acted_after_successor'])
  })

  it('allows nothing where both ran on one clock', () => {
    const audit = new AgentAudit(500)
    audit.reported(run({ actedAtMs: 2_201 }))
    const alarms = audit.reported(run({ ...next, nodeId: 'n1', startedAtMs: 2_200 }))
    expect(alarms.map((a) => a.rule)).toEqual(['acted_after_successor'])
  })
})
