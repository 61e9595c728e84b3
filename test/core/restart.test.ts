import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { RestartPolicy } from '../../src/core/agents/records.js'
import { type RestartDecision, Restarts, restartDefaults } from '../../src/core/agents/restart.js'

/** An agent in virtual time. */
class Agent {
  nowMs = 1_000
  readonly restarts: Restarts

  constructor(policy: Partial<RestartPolicy> = {}, random = () => 0) {
    this.restarts = new Restarts({ ...restartDefaults, ...policy }, random)
    this.restarts.started(this.nowMs)
  }

  /** Runs for a while and ends; how long it waits for its next start, or what is decided instead. */
  ends(ranMs = 0, failed = true, starts = true): number | RestartDecision {
    this.nowMs += ranMs
    const decision = this.restarts.ended(this.nowMs, failed)
    if (decision.action !== 'restart') return decision
    this.nowMs += decision.delayMs
    if (starts) this.restarts.started(this.nowMs)
    return decision.delayMs
  }
}

describe('restarting', () => {
  it('waits longer each time, up to the limit', () => {
    const agent = new Agent()
    const delays = Array.from({ length: 8 }, () => agent.ends())
    expect(delays).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000])
    expect(agent.restarts.count).toBe(8)
  })

  it('begins anew after a good run', () => {
    const agent = new Agent()
    for (const delayMs of [500, 1_000, 2_000]) expect(agent.ends(59_000)).toBe(delayMs)
    expect(agent.ends(60_000)).toBe(500)
    expect(agent.ends()).toBe(1_000)
  })

  it('does not take the time since a good run for a good run', () => {
    const agent = new Agent()
    expect(agent.ends(3_600_000, true, false)).toBe(500)
    for (const delayMs of [1_000, 2_000, 4_000]) expect(agent.ends(0, true, false)).toBe(delayMs)
  })

  it('ends after too many starts within the window, not over a longer time', () => {
    const policy = { triesMax: 2, windowMs: 10_000, backoffMaxMs: 500 }
    const often = new Agent(policy)
    expect([often.ends(4_000), often.ends(4_000)]).toEqual([500, 500])
    expect(often.ends(1_000)).toEqual({ action: 'give_up', detail: 'restarted 2 times within 10 s' })
    const seldom = new Agent(policy)
    for (let i = 0; i < 20; i++) expect(seldom.ends(6_000)).toBe(500)
  })

  it('follows its mode', () => {
    expect(new Agent({ mode: 'never' }).ends()).toEqual({
      action: 'give_up',
      detail: 'it is not to be restarted',
    })
    expect(new Agent({ mode: 'never' }).ends(1, false)).toEqual({ action: 'done' })
    expect(new Agent({ mode: 'on_failure' }).ends(1, false)).toEqual({ action: 'done' })
    expect(new Agent({ mode: 'on_failure' }).ends()).toBe(500)
    expect(new Agent({ mode: 'always' }).ends(1, false)).toBe(500)
  })

  it('never waits outside of its limits, nor starts more often than allowed', () => {
    fc.assert(
      fc.property(
        fc.record({
          backoffMinMs: fc.integer({ min: 0, max: 1_000 }),
          more: fc.integer({ min: 0, max: 10_000 }),
          triesMax: fc.integer({ min: 0, max: 5 }),
          windowMs: fc.integer({ min: 1, max: 50_000 }),
        }),
        fc.double({ min: 0, max: 0.999, noNaN: true }),
        fc.array(fc.integer({ min: 0, max: 5_000 }), { maxLength: 40 }),
        ({ more, ...rest }, chance, runsMs) => {
          const policy = { ...rest, backoffMaxMs: rest.backoffMinMs + more }
          const agent = new Agent(policy, () => chance)
          const endsMs: number[] = []
          for (const ranMs of runsMs) {
            const endMs = agent.nowMs + ranMs
            const delayMs = agent.ends(ranMs)
            if (typeof delayMs !== 'number') {
              expect(delayMs.action).toBe('give_up')
              return
            }
            // The sum of two times is not exact to the last bit.
            expect(delayMs).toBeGreaterThanOrEqual(policy.backoffMinMs * 0.8 - 1e-6)
            expect(delayMs).toBeLessThanOrEqual(policy.backoffMaxMs)
            endsMs.push(endMs)
            const recent = endsMs.filter((atMs) => endMs - atMs <= policy.windowMs)
            expect(recent.length).toBeLessThanOrEqual(policy.triesMax)
          }
        },
      ),
    )
  })
})
