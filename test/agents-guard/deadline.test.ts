import { describe, expect, it } from 'vitest'
import { LeaseDeadline } from '../../src/drivers/agent-guard/lease-deadline.js'

const wallMs = 1_700_000_000_000
const at = (nowMs: number, aheadMs = 0) => ({ nowMs, wallMs: wallMs + nowMs + aheadMs })
const renewal = (deadlineMs: number, nowMs: number, aheadMs = 0) => ({ deadlineMs, ...at(nowMs, aheadMs) })

describe('the deadline of a lease', () => {
  it('allows nothing before the first renewal, and has not passed either', () => {
    const deadline = new LeaseDeadline()
    expect(deadline.whyNot(at(5))).toBe('no renewal of the lease yet')
    expect(deadline.passed(at(5))).toBeUndefined()
    expect(deadline.remainingMs(5)).toBe(Number.POSITIVE_INFINITY)
  })

  it('passes on the dot, for ever', () => {
    const deadline = new LeaseDeadline()
    deadline.renew(renewal(1_000, 0), at(0))
    expect(deadline.whyNot(at(999))).toBeUndefined()
    expect(deadline.remainingMs(999)).toBe(1)
    expect(deadline.passed(at(1_000))).toContain('without a renewal')
    deadline.renew(renewal(9_000, 1_001), at(1_001))
    expect(deadline.passed(at(1_002))).toContain('without a renewal')
  })

  it('is not saved by a renewal that is looked at too late', () => {
    const deadline = new LeaseDeadline()
    deadline.renew(renewal(1_000, 0), at(0))
    deadline.renew(renewal(9_000, 900), at(1_500))
    expect(deadline.passed(at(1_501))).toBeDefined()
  })

  it('may be drawn closer', () => {
    const deadline = new LeaseDeadline()
    deadline.renew(renewal(1_000, 0), at(0))
    deadline.renew(renewal(0, 10), at(10))
    expect(deadline.passed(at(10))).toBeDefined()
  })

  it('has passed when the host was suspended, even between a renewal and its arrival', () => {
    const slept = new LeaseDeadline()
    slept.renew(renewal(10_000, 0), at(0))
    expect(slept.passed(at(100, 500))).toBeUndefined()
    expect(slept.passed(at(200, 501))).toContain('suspended')
    const underway = new LeaseDeadline()
    underway.renew(renewal(10_000, 0), at(1, 60_000))
    expect(underway.passed(at(1, 60_000))).toContain('suspended')
  })

  it('does not mind a wall clock that is set back, or slowly corrected', () => {
    const deadline = new LeaseDeadline()
    deadline.renew(renewal(10_000, 0), at(0))
    expect(deadline.passed(at(100, -3_600_000))).toBeUndefined()
    for (let i = 1; i < 20; i++) {
      deadline.renew(renewal(10_000 + i * 1_000, i * 1_000, i * 400), at(i * 1_000, i * 400))
      expect(deadline.passed(at(i * 1_000 + 999, i * 400))).toBeUndefined()
    }
  })
})
