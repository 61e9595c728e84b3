import { describe, expect, it } from 'vitest'
import { checkDoors, isLoopback, networkOf, pagePolicy } from '../../src/http/security.js'

const doors = { host: '127.0.0.1', allowedHosts: ['skein.local'], allowedOrigins: ['https://ok.example'] }

describe('hosts', () => {
  it.each([
    'localhost',
    'LOCALHOST:8151',
    '127.0.0.1:8151',
    '127.9.9.9',
    '[::1]:8151',
    'skein.local',
    'Skein.Local:80',
  ])('%s is one of ours', (host) => expect(() => checkDoors({ host }, doors)).not.toThrow())

  it.each([
    undefined,
    '',
    'evil.example',
    '127.0.0.1.evil.example',
    'localhost.evil',
    '10.0.0.1',
    'a@127.0.0.1',
    '[::2]',
    '0.0.0.0',
    'localhost:x',
  ])('%s is not', (host) =>
    expect(() => checkDoors({ host }, doors)).toThrow(expect.objectContaining({ code: 'forbidden_origin' })),
  )

  it('counts strangers by what they did not choose of their address', () => {
    expect(networkOf('2001:db8:1:2:3:4:5:6')).toBe('2001:db8:1:2')
    expect(networkOf('2001:db8:1:2::6')).toBe('2001:db8:1:2')
    expect(networkOf('2001:db8::6')).toBe('2001:db8:0:0')
    expect(networkOf('fe80::')).toBe('fe80:0:0:0')
    expect(networkOf('::1')).toBe('0:0:0:0')
    for (const whole of ['10.0.0.1', '::ffff:10.0.0.1', 'nonsense', '']) expect(networkOf(whole)).toBe(whole)
  })

  it('knows the loopback addresses', () => {
    expect(['127.0.0.1', '::1', 'localhost', '::ffff:127.0.0.1'].every(isLoopback)).toBe(true)
    expect(['0.0.0.0', '::', '192.168.0.1', 'example.com'].some(isLoopback)).toBe(false)
  })
})

describe('origins', () => {
  const host = 'localhost:8151'

  it.each([undefined, 'http://localhost:8151', 'http://LOCALHOST:8151', 'https://ok.example'])(
    '%s may write',
    (origin) => expect(() => checkDoors({ host, origin }, doors)).not.toThrow(),
  )

  it.each([
    'null',
    '',
    'http://localhost',
    'http://localhost:8152',
    'http://evil.example',
    'file://localhost:8151',
    'https://ok.example.evil',
  ])('%s may not', (origin) =>
    expect(() => checkDoors({ host, origin }, doors)).toThrow(
      expect.objectContaining({ code: 'forbidden_origin' }),
    ),
  )
})

describe('the policy of the page', () => {
  it('lets it ask its own node, and the others it was told of, and nobody else', () => {
    expect(pagePolicy([])).toMatch(/connect-src 'self'$/)
    expect(pagePolicy(['10.0.0.1:8151', '[::1]:8152', 'node-3.example:8151'])).toContain(
      "connect-src 'self' http://10.0.0.1:8151 http://[::1]:8152 http://node-3.example:8151",
    )
    expect(pagePolicy(['a:1'], true)).toContain("connect-src 'self' https://a:1")
  })

  it('takes no address for more than one, whatever a member calls itself', () => {
    const bad = [
      "a:1; script-src 'unsafe-inline'",
      'a:1 https://evil.example',
      '*',
      'a',
      'a:1/path',
      '',
      'http://a:1',
    ]
    expect(pagePolicy(bad)).toBe(pagePolicy([]))
    const many = Array.from({ length: 500 }, (_, i) => `10.0.${i >> 8}.${i & 255}:8151`)
    expect(pagePolicy(many).length).toBeLessThan(3_000)
  })
})
