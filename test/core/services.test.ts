/** Circuit breakers and versions of services, by hand. */
import { describe, expect, it } from 'vitest'
import { Breaker, breakerDefaults } from '../../src/core/services/breaker.js'
import { compareVersions, isVersion, satisfies } from '../../src/core/services/version.js'

const { failuresMax, openMsMin, openMsMax } = breakerDefaults

function broken(atMs: number): Breaker {
  const breaker = new Breaker()
  for (let i = 0; i < failuresMax; i++) breaker.failed(atMs)
  return breaker
}

describe('a circuit breaker', () => {
  it('opens after so many failures on end, and not for those between which a call went well', () => {
    const breaker = new Breaker()
    for (let i = 0; i < failuresMax * 10; i++) {
      breaker.failed(i)
      if (i % (failuresMax - 1) === 0) breaker.succeeded()
      expect(breaker.allows(i)).toBe(true)
    }
    expect(broken(0).allows(0)).toBe(false)
    expect(broken(0).stateAt(0)).toBe('open')
  })

  it('lets one call through when its time is over, which decides', () => {
    const breaker = broken(0)
    expect(breaker.allows(openMsMin - 1)).toBe(false)
    expect(breaker.stateAt(openMsMin)).toBe('half_open')
    expect(breaker.allows(openMsMin)).toBe(true)
    breaker.begin(openMsMin)
    expect(breaker.allows(openMsMin + 1)).toBe(false)
    breaker.succeeded()
    expect(breaker.allows(openMsMin + 1)).toBe(true)
    expect(breaker.isClosed).toBe(true)
  })

  it('stays open twice as long each time, up to a limit, and late failures of one opening count once', () => {
    const breaker = broken(0)
    breaker.failed(1)
    expect(breaker.allows(openMsMin)).toBe(true)
    let atMs = openMsMin
    for (let openMs = openMsMin * 2; openMs < openMsMax * 4; openMs *= 2) {
      breaker.begin(atMs)
      breaker.failed(atMs)
      const waitMs = Math.min(openMs, openMsMax)
      expect(breaker.allows(atMs + waitMs - 1)).toBe(false)
      expect(breaker.allows(atMs + waitMs)).toBe(true)
      atMs += waitMs
    }
  })

  it('is not closed for ever by a call through it that is never settled', () => {
    const breaker = broken(0)
    breaker.begin(openMsMin)
    expect(breaker.allows(openMsMin * 2 - 1)).toBe(false)
    expect(breaker.allows(openMsMin * 2)).toBe(true)
  })
})

describe('versions', () => {
  it('serve whoever asks for less of them', () => {
    expect(['2', '2.0', '2.1.3'].map((v) => satisfies(v, '2'))).toEqual([true, true, true])
    expect([satisfies('20', '2'), satisfies('2', '2.0'), satisfies('1.2', '2')]).toEqual([
      false,
      false,
      false,
    ])
  })

  it('are ordered by number', () => {
    expect(['10', '2', '2.10', '2.9', '2.0'].sort(compareVersions)).toEqual(['2', '2.0', '2.9', '2.10', '10'])
    expect(['2', '2.1', '1.2.3.4'].every(isVersion)).toBe(true)
    expect(['', 'v2', '2.', '1.2.3.4.5', '-1'].some(isVersion)).toBe(false)
  })
})
