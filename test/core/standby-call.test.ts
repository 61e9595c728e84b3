import { beforeEach, describe, expect, it } from 'vitest'
import { asLeaseId } from '../../src/core/kernel/brand.js'
import { registrationKey } from '../../src/core/kernel/registration.js'
import { StoreView } from '../../src/core/kernel/store-view.js'
import { jsonEncode } from '../../src/core/kernel/text.js'
import type { MemberRecord, MemberStatus } from '../../src/core/membership/member.js'
import { StandbyCall } from '../../src/core/node/standby-call.js'
import { shardMapKey } from '../../src/core/sharding/shard-map.js'
import { recordOf } from './claims.js'

describe('standbys', () => {
  const members = new Map<string, { record: MemberRecord; status: MemberStatus }>()
  let view: StoreView
  let call: StandbyCall
  let rev = 0n
  beforeEach(() => {
    members.clear()
    view = new StoreView()
    view.synced = true
    call = new StandbyCall(
      { view, members: () => members.values(), standsStill: ({ stalled }) => stalled },
      10_000,
    )
    member('s', { role: 'standby' })
  })

  function member(id: string, over: Partial<MemberRecord> = {}, status: MemberStatus = 'alive'): void {
    members.set(id, { record: recordOf(id, over), status })
  }

  function put(key: string, value: unknown, lease: string | null = null): void {
    const kv = { key, value: jsonEncode(value), createRev: ++rev, modRev: rev, version: 1 }
    view.apply({
      rev,
      events: [{ type: 'put', kv: { ...kv, lease: lease === null ? null : asLeaseId(lease) } }],
    })
  }

  const someMap = () => put(shardMapKey, { v: 1, shards: [] })

  const isCalledAt = (nowMs: number): boolean => {
    call.look(nowMs)
    return call.isOn
  }

  it('wait for the first worker of a new cluster, and are called where there once was one', () => {
    expect(isCalledAt(0)).toBe(false)
    someMap()
    expect(isCalledAt(1)).toBe(true)
  })

  it('know nothing before the store was read', () => {
    view.synced = false
    someMap()
    view.synced = false
    expect(isCalledAt(0)).toBe(false)
  })

  it('are called as soon as a worker fails, however many are left, and not for a suspicion', () => {
    someMap()
    for (const id of ['a', 'b', 'c']) member(id)
    member('a', {}, 'suspect')
    expect(isCalledAt(0)).toBe(false)
    member('a', {}, 'failed')
    expect(isCalledAt(1)).toBe(true)
  })

  it('are not called for replicas, or for other standbys', () => {
    someMap()
    member('a')
    member('r', { role: 'replica' }, 'failed')
    member('t', { role: 'standby' }, 'failed')
    expect(isCalledAt(0)).toBe(false)
  })

  it.each([
    ['left', {}, 'left'],
    ['is draining', { lifecycle: 'draining' }, 'alive'],
    ['stands still', { stalled: true }, 'alive'],
    ['is joining', { lifecycle: 'joining' }, 'alive'],
  ] as const)('do not miss a worker that %s, unless it was the last', (_, over, status) => {
    someMap()
    member('a', over, status)
    member('b')
    expect(isCalledAt(0)).toBe(false)
    members.delete('b')
    expect(isCalledAt(1)).toBe(true)
  })

  it('count a worker that holds a lease and of whom gossip has not told yet', () => {
    someMap()
    put(registrationKey('a'), { role: 'worker' }, 'lease-a')
    expect(isCalledAt(0)).toBe(false)
    view.apply({ rev: ++rev, events: [{ type: 'delete', key: registrationKey('a'), modRev: rev }] })
    expect(isCalledAt(1)).toBe(true)
  })

  it('are relieved when all has been well for ten seconds in a row', () => {
    someMap()
    member('a', {}, 'failed')
    expect(isCalledAt(0)).toBe(true)
    expect(call.nextDeadlineMs()).toBe(Number.POSITIVE_INFINITY)
    member('a')
    expect(isCalledAt(1_000)).toBe(true)
    expect(call.nextDeadlineMs()).toBe(11_000)
    member('a', {}, 'failed')
    expect(isCalledAt(10_000)).toBe(true)
    member('a')
    expect(isCalledAt(12_000)).toBe(true)
    expect(isCalledAt(21_999)).toBe(true)
    expect(isCalledAt(22_000)).toBe(false)
    expect(call.nextDeadlineMs()).toBe(Number.POSITIVE_INFINITY)
  })

  it('are relieved of a worker that was removed or forgotten', () => {
    someMap()
    member('a', {}, 'failed')
    member('b')
    expect(isCalledAt(0)).toBe(true)
    members.delete('a')
    expect(isCalledAt(1)).toBe(true)
    expect(isCalledAt(10_001)).toBe(false)
  })
})
