/** Peer addresses in the three forms people write. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parsePeer } from '../../src/config/peer-address.js'

describe('a peer address', () => {
  test('is host:port, with or without a name before it', () => {
    expect(parsePeer('10.0.0.2:6745')).toBe('10.0.0.2:6745')
    expect(parsePeer('node-2:10.0.0.2:6745')).toBe('10.0.0.2:6745')
    expect(parsePeer('node-2@db.example:6745')).toBe('db.example:6745')
    expect(parsePeer(' n@[::1]:06745 ')).toBe('[::1]:6745')
    expect(parsePeer('[fe80::1]:1')).toBe('[fe80::1]:1')
  })

  test('is refused with the reason', () => {
    const why = (text: string): string => (parsePeer(text) as Error).message
    expect(why('host')).toMatch(/host:port.*"host"/)
    expect(why('host:0')).toMatch(/1 to 65535/)
    expect(why('host:65536')).toMatch(/1 to 65535/)
    expect(why('host:12x')).toMatch(/1 to 65535/)
    expect(why(':6745')).toMatch(/host is missing/)
    expect(why('a b@host:1')).toMatch(/the name before the host/)
    expect(why('::1:6745')).toMatch(/expected/)
    expect(why('')).toMatch(/expected/)
  })

  test('in any valid form gives the same address, and other text never throws', () => {
    const name = fc.stringMatching(/^[A-Za-z0-9._-]{1,20}$/)
    fc.assert(
      fc.property(name, name, fc.integer({ min: 1, max: 65_535 }), (id, host, port) => {
        const address = `${host}:${port}`
        expect(parsePeer(address)).toBe(address)
        expect(parsePeer(`${id}:${address}`)).toBe(address)
        expect(parsePeer(`${id}@${address}`)).toBe(address)
      }),
    )
    fc.assert(fc.property(fc.string(), (text) => void parsePeer(text)))
  })
})
