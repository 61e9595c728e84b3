import { describe, expect, it } from 'vitest'
import { hostTrouble } from '../../src/core/kernel/address.js'
import { addressTrouble } from '../../src/core/membership/addresses.js'
import type { MemberRecord } from '../../src/core/membership/member.js'
import { advertisedAddress, advertisedHttp } from '../../src/runtime/advertised.js'

describe('addresses that a node may advertise', () => {
  it.each([
    '0.0.0.0',
    '::',
    '[::]',
    '0:0:0:0:0:0:0:0',
    '255.255.255.255',
    '224.0.0.1',
    'ff02::1',
    '::ffff:0.0.0.0',
    '169.254.169.254',
    '169.254.170.2',
    '::ffff:169.254.169.254',
    'fd00:ec2::254',
    '100.100.100.200',
    'fe80::1',
    'metadata.google.internal',
    '2852039166',
    '0xa9fea9fe',
    '0251.0376.0251.0376',
    '169.254.43518',
    '169.254.169.254.',
    '010.0.0.1',
    '::ffff:a9fe:a9fe',
    '0:0:0:0:0:ffff:a9fe:a9fe',
    '64:ff9b::a9fe:a9fe',
    'fd00:0ec2:0:0:0:0:0:254',
    'fe80::1%eth0',
    'FE80::1',
    '1::2::3',
    '1:2:3:4:5:6:7:8:9',
    '::ffff:1.2.3.999',
  ])('refuses %s', (host) => {
    expect(hostTrouble(host, false)).toContain(host)
  })

  it.each([
    '127.0.0.1',
    '10.0.0.1',
    '192.168.1.1',
    '::1',
    'fd12::1',
    'node-1.example',
    'n1',
    '172.16.0.1',
    '::ffff:10.0.0.1',
    '1:2:3:4:5:6:7:8',
    '64:ff9b::a00:1',
    'n1.0a',
    '10.example',
    '3com',
  ])('takes %s', (host) => {
    expect(hostTrouble(host, false)).toBeUndefined()
  })

  it('lets only link-local and metadata addresses through when asked to', () => {
    for (const host of ['169.254.10.1', 'fe80::1', 'fd00:ec2::254', '100.100.100.200'])
      expect(hostTrouble(host, true)).toBeUndefined()
    for (const host of ['0.0.0.0', '::', '224.0.0.1']) expect(hostTrouble(host, true)).toBeDefined()
  })

  it('is the bound host unless --advertise says otherwise, with or without a port', () => {
    expect(advertisedAddress(undefined, '10.0.0.1', false)).toEqual({ host: '10.0.0.1', port: undefined })
    expect(advertisedAddress('a.example', '0.0.0.0', false)).toEqual({ host: 'a.example', port: undefined })
    expect(advertisedAddress('a.example:7000', '0.0.0.0', false)).toEqual({ host: 'a.example', port: 7000 })
    expect(advertisedAddress('[fd12::1]:7000', '::', false)).toEqual({ host: 'fd12::1', port: 7000 })
    expect(advertisedAddress('fd12::1', '::', false)).toEqual({ host: 'fd12::1', port: undefined })
  })

  it('says what to add where the bound address leads nowhere', () => {
    expect(() => advertisedAddress(undefined, '0.0.0.0', false)).toThrow(/add --advertise HOST/)
    expect(() => advertisedAddress('0.0.0.0', '0.0.0.0', false)).toThrow(/--advertise 0\.0\.0\.0: /)
    expect(() => advertisedAddress('169.254.169.254:1', '0.0.0.0', false)).toThrow(/metadata/)
    expect(() => advertisedAddress('no host', '0.0.0.0', false)).toThrow(/no host/)
  })

  it('tells of HTTP under the host of the peers where HTTP listens everywhere', () => {
    const peer = { host: 'a.example', port: undefined }
    expect(advertisedHttp({ host: '0.0.0.0', port: 8151 }, peer)).toBe('a.example:8151')
    expect(advertisedHttp({ host: '127.0.0.1', port: 8151 }, peer)).toBe('127.0.0.1:8151')
    expect(advertisedHttp({ host: '::1', port: 8151 }, peer)).toBe('[::1]:8151')
  })
})

describe('addresses in claims about members', () => {
  const record = {
    bootId: 'b1',
    controlAddress: '10.0.0.1:6745',
    controlStreamAddress: '10.0.0.1:40001',
    peerAddress: '10.0.0.1:6745',
    httpAddress: '',
  } as unknown as MemberRecord

  it('are believed when they lead to a host', () => {
    expect(addressTrouble(record, undefined, false)).toBeUndefined()
  })

  it('are not believed when they lead nowhere or to a metadata service', () => {
    const claim = { ...record, httpAddress: '169.254.169.254:80' }
    expect(addressTrouble(claim, undefined, false)).toContain('httpAddress 169.254.169.254:80')
    expect(addressTrouble(claim, undefined, true)).toBeUndefined()
    expect(addressTrouble({ ...record, peerAddress: '0.0.0.0:1' }, undefined, true)).toContain('peerAddress')
  })

  it('stay with a boot for life, and may change with the next', () => {
    const moved = { ...record, peerAddress: '10.6.6.6:6745' }
    expect(addressTrouble(moved, record, false)).toContain('is not followed')
    expect(
      addressTrouble({ ...moved, bootId: 'b2' as MemberRecord['bootId'] }, record, false),
    ).toBeUndefined()
  })
})
