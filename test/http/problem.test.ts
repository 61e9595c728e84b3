import { describe, expect, it } from 'vitest'
import { SkeinError } from '../../src/core/kernel/error.js'
import { heartbeatSchema, nodeRegistrationSchema } from '../../src/http/contract.js'
import { HttpProblem, problemOf, zodProblem } from '../../src/http/problem.js'
import { durationMs, uptimeText } from '../../src/http/views.js'

describe('problems', () => {
  it('carry code, status and Retry-After where waiting helps', () => {
    const { problem, headers } = problemOf(
      new SkeinError('no_owner', 'nobody', { retryable: true, details: { shard: 3 } }),
    )
    expect(problem).toEqual({
      type: 'urn:skein:problem:no_owner',
      title: 'No owner',
      status: 503,
      detail: 'nobody',
      code: 'no_owner',
      retryable: true,
      shard: 3,
    })
    expect(headers['retry-after']).toBe('1')
  })

  it('say nothing of the inside', () => {
    const { problem } = problemOf(new Error('secret path'))
    expect(problem).toMatchObject({ code: 'internal', status: 500 })
    expect(JSON.stringify(problem)).not.toContain('secret')
  })

  it('cannot have their own members replaced by details', () => {
    const error = new HttpProblem('conflict', 'x', { details: { status: 200, code: 'fine' } })
    expect(problemOf(error).problem).toMatchObject({ status: 409, code: 'conflict' })
  })

  it.each([
    [nodeRegistrationSchema, { id: 'a b' }, 'id'],
    [nodeRegistrationSchema, { id: 'a', hostname: 'h', ip_address: '999.1.1.1', port: 1 }, 'ip_address'],
    [nodeRegistrationSchema, { id: 'a', hostname: 'h', ip_address: '10.0.0.1', port: 0 }, 'port'],
    [heartbeatSchema, { cpu_usage: 101 }, 'cpu_usage'],
    [heartbeatSchema, [], 'body'],
  ] as const)('of a schema name the field, what was given and what is allowed', (schema, value, field) => {
    const parsed = schema.safeParse(value)
    if (parsed.success) throw new Error('was taken')
    const { details } = zodProblem(parsed.error, value, 'body')
    expect(details).toMatchObject({ field, given: expect.any(String), allowed: expect.any(String) })
    expect(details.allowed).not.toMatch(/Invalid|received/)
  })
})

describe('durations', () => {
  it.each([
    [0, '0s'],
    [8_130_000, '2h15m30s'],
    [3_600_000, '1h0m0s'],
    [61_999, '1m1s'],
    [-5, '0s'],
  ])('%d ms up is %s', (ms, text) => expect(uptimeText(ms)).toBe(text))

  it.each([
    [30, 30_000],
    ['500ms', 500],
    ['2m', 120_000],
    ['1h', 3_600_000],
  ] as const)('%s is %d ms', (given, ms) => expect(durationMs(given)).toBe(ms))
})
