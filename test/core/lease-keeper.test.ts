import { describe, expect, it } from 'vitest'
import { type LeaseEffect, type LeaseInput, LeaseKeeper } from '../../src/core/election/lease-keeper.js'
import { asBootId, asLeaseId, type LeaseId } from '../../src/core/kernel/brand.js'
import { evictionKey } from '../../src/core/kernel/registration.js'
import type { KeyValue, StoreReply } from '../../src/core/kernel/store-types.js'
import { jsonEncode } from '../../src/core/kernel/text.js'

const ttlMs = 5_000
const mine = asLeaseId('mine')

/** A keeper with its clock; asks are answered by hand. */
class Bench {
  readonly keeper = new LeaseKeeper(
    {
      nodeId: 'n1',
      bootId: asBootId('n1#2'),
      lifeLock: '',
      controlAddress: 'n1:1',
      role: 'worker',
      zone: '',
    },
    { ttlMs, renewIntervalMs: 1_000, wallGapMsMax: 500 },
  )
  nowMs = 1_000
  wallOffsetMs = 1_700_000_000_000
  effects: readonly LeaseEffect[] = []
  private tag = ''

  step(input: LeaseInput, atMs = this.nowMs): this {
    this.nowMs = atMs
    this.effects = this.keeper.step({ nowMs: atMs, wallMs: atMs + this.wallOffsetMs }, input)
    for (const e of this.effects) if (e.type === 'store') this.tag = e.tag
    return this
  }

  answer(reply: StoreReply, atMs = this.nowMs): this {
    return this.step({ type: 'store_done', tag: this.tag, reply }, atMs)
  }

  grant(lease: LeaseId = mine, atMs = this.nowMs): this {
    return this.answer({ ok: true, op: 'lease_grant', lease, ttlMs }, atMs)
  }

  register(atMs = this.nowMs): this {
    return this.answer({ ok: true, op: 'txn', result: { ok: true, rev: 9n, results: [] } }, atMs)
  }

  blockedBy(registration: KeyValue | null): this {
    const results = [{ kv: registration }, { kv: kv('boots/n1', {}, null, 3n) }]
    return this.answer({ ok: true, op: 'txn', result: { ok: false, rev: 9n, results } })
  }

  /** What was asked of the store in the last step. */
  get asked(): string[] {
    return this.effects.flatMap((e) =>
      e.type !== 'store' ? [] : 'lease' in e.request ? `${e.request.op} ${e.request.lease}` : e.request.op,
    )
  }

  get lost(): string | undefined {
    return this.effects.find((e) => e.type === 'lease_lost')?.reason
  }
}

function kv(key: string, value: unknown, lease: LeaseId | null, modRev = 5n): KeyValue {
  return { key, value: jsonEncode(value), createRev: modRev, modRev, version: 1, lease }
}

const otherBoot = kv('nodes/n1', { boot_id: 'n1#1', life_lock: '/run/n1.lock' }, asLeaseId('theirs'))
const renewed: StoreReply = { ok: true, op: 'lease_keep_alive', ttlMs }
/** Granted and registered at 1,000 ms; the first renewal is under way. */
const held = () => new Bench().step({ type: 'open' }).grant().register()

describe('lease keeper', () => {
  it('grants, registers and then holds, with the revision of its registration as boot number', () => {
    const bench = new Bench().step({ type: 'open' })
    expect(bench.asked).toEqual(['lease_grant'])
    expect(bench.grant().asked).toEqual(['txn'])
    expect(bench.keeper.isValid(bench.nowMs)).toBe(false)
    bench.register()
    expect(bench.effects).toContainEqual({ type: 'lease_granted', lease: mine, boot: 9 })
    expect(bench.asked).toEqual(['lease_keep_alive mine'])
  })

  it('counts its deadline from before the grant was sent, at 0.9 of the TTL', () => {
    const bench = new Bench().step({ type: 'open' }, 1_000).grant(mine, 1_300).register(1_600)
    expect(bench.keeper.deadlineMs).toBe(1_000 + 4_500)
    expect(bench.keeper.isValid(5_499)).toBe(true)
    expect(bench.keeper.isValid(5_500)).toBe(false)
  })

  it('counts its deadline from before the renewal was sent, however late the answer is', () => {
    const bench = held().answer(renewed, 1_010).step({ type: 'deadline' }, 2_000)
    expect(bench.asked).toEqual(['lease_keep_alive mine'])
    bench.answer(renewed, 4_000)
    expect(bench.effects).toContainEqual({ type: 'lease_deadline', lease: mine, deadlineMs: 2_000 + 4_500 })
  })

  it('renews unless the leader evicted it', () => {
    const [effect] = held().effects.filter((e) => e.type === 'store')
    expect(effect).toMatchObject({ request: { unlessKey: evictionKey(mine) } })
  })

  it.each([
    ['lease_not_found', 'the store ended it'],
    ['fenced', 'evicted by the leader'],
  ] as const)('is lost when a renewal is answered with %s', (code, reason) => {
    const bench = held().answer({ ok: false, code, detail: '' }, 1_200)
    expect(bench.lost).toBe(reason)
    expect(bench.keeper.isValid(1_200)).toBe(false)
  })

  it('survives a store that does not answer, and tries again soon', () => {
    const bench = held().answer({ ok: false, code: 'unavailable', detail: '' }, 1_200)
    expect(bench.lost).toBeUndefined()
    expect(bench.keeper.nextDeadlineMs()).toBe(1_400)
    expect(bench.step({ type: 'deadline' }, 1_400).asked).toEqual(['lease_keep_alive mine'])
  })

  it('is lost at its deadline, which wakes it', () => {
    const bench = held()
    bench.step({ type: 'deadline' }, 5_499)
    expect(bench.lost).toBeUndefined()
    expect(bench.keeper.nextDeadlineMs()).toBeLessThanOrEqual(5_500)
    expect(bench.step({ type: 'deadline' }, 5_500).lost).toBe('not renewed for 4500 ms')
  })

  it('is never revived by a renewal that is answered too late', () => {
    const late = held().answer(renewed, 5_500)
    expect(late.lost).toBeDefined()
    expect(late.keeper.isValid(5_500)).toBe(false)
    const later = held().step({ type: 'deadline' }, 5_600).answer(renewed, 5_700)
    expect(later.keeper.state).toBe('lost')
    expect(later.keeper.isValid(5_700)).toBe(false)
  })

  it('is lost when wall time outran monotonic time: the host stood still', () => {
    const bench = held().answer(renewed, 1_010)
    bench.wallOffsetMs += 500
    expect(bench.step({ type: 'deadline' }, 1_100).lost).toBeUndefined()
    bench.wallOffsetMs += 1
    expect(bench.step({ type: 'deadline' }, 1_200).lost).toContain('the host stood still')
  })

  it('does not mind a wall clock that is set back', () => {
    const bench = held().answer(renewed, 1_010)
    bench.wallOffsetMs -= 3_600_000
    expect(bench.step({ type: 'deadline' }, 1_100).keeper.isValid(1_100)).toBe(true)
  })

  it('asks for a new lease only after what rested on the old one was relinquished and the old one revoked', () => {
    const bench = held().answer({ ok: false, code: 'lease_not_found', detail: '' })
    expect(bench.asked).toEqual([])
    for (let atMs = 2_000; atMs < 60_000; atMs += 1_000)
      expect(bench.step({ type: 'deadline' }, atMs).asked).toEqual([])
    expect(bench.step({ type: 'relinquished' }).asked).toEqual(['lease_revoke mine'])
    expect(bench.answer({ ok: true, op: 'lease_revoke' }).asked).toEqual(['lease_grant'])
    bench.grant(asLeaseId('second')).register()
    // The boot is the same; only the lease is new.
    expect(bench.effects).toContainEqual({ type: 'lease_granted', lease: 'second', boot: 9 })
  })

  it('goes on revoking until the store says that it is gone', () => {
    const bench = held().step({ type: 'deadline' }, 5_500).step({ type: 'relinquished' })
    expect(bench.answer({ ok: false, code: 'unavailable', detail: '' }).asked).toEqual([])
    expect(bench.step({ type: 'deadline' }, 5_800).asked).toEqual(['lease_revoke mine'])
    expect(bench.answer({ ok: false, code: 'lease_not_found', detail: '' }).asked).toEqual(['lease_grant'])
  })

  it('asks whether the boot that holds its node id is dead, has that lease ended on proof, and registers', () => {
    const bench = new Bench().step({ type: 'open' }).grant().blockedBy(otherBoot)
    expect(bench.effects).toContainEqual({
      type: 'prove_death',
      nodeId: 'n1',
      lease: 'theirs',
      locator: '/run/n1.lock',
    })
    expect(bench.keeper.blockedBy).toContain('stop it or choose another --node-id')
    expect(bench.step({ type: 'death_proof', lease: asLeaseId('theirs'), result: 'unknown' }).asked).toEqual(
      [],
    )
    bench.step({ type: 'death_proof', lease: asLeaseId('theirs'), result: 'dead' })
    expect(bench.effects).toContainEqual({ type: 'revoke_dead', lease: 'theirs' })
    expect(bench.step({ type: 'registration_gone' }).asked).toEqual(['txn'])
    expect(bench.register().keeper.isValid(bench.nowMs)).toBe(true)
    expect(bench.keeper.blockedBy).toBe('')
  })

  it('ends a new process whose node id is proved to run elsewhere, with the fix in the message', () => {
    const bench = new Bench().step({ type: 'open' }).grant().blockedBy(otherBoot)
    bench.step({ type: 'death_proof', lease: asLeaseId('theirs'), result: 'alive' })
    expect(bench.asked).toEqual([])
    expect(bench.effects).toContainEqual({
      type: 'id_taken',
      detail: expect.stringContaining('choose another --node-id'),
    })
  })

  it('tries again at once when the registration in its way goes', () => {
    const bench = new Bench().step({ type: 'open' }).grant().blockedBy(otherBoot)
    expect(bench.step({ type: 'registration_gone' }).asked).toEqual(['txn'])
  })

  it('takes a fresh lease when it waited so long that its own may have lapsed', () => {
    const bench = new Bench().step({ type: 'open' }).grant().blockedBy(otherBoot)
    expect(bench.step({ type: 'registration_gone' }, 1_000 + ttlMs / 2 + 1).asked).toEqual(['lease_grant'])
  })

  it('recognises its own registration whose answer was lost', () => {
    const bench = new Bench().step({ type: 'open' }).grant()
    bench.answer({ ok: false, code: 'timeout', detail: '' }).step({ type: 'deadline' }, bench.nowMs + 100)
    expect(bench.asked).toEqual(['txn'])
    bench.blockedBy(kv('nodes/n1', { boot_id: 'n1#2' }, mine, 3n))
    expect(bench.effects).toContainEqual({ type: 'lease_granted', lease: mine, boot: 3 })
  })

  it('ends the process when a later boot of its node id registered', () => {
    const bench = held().answer({ ok: false, code: 'fenced', detail: '' }).step({ type: 'relinquished' })
    bench.answer({ ok: true, op: 'lease_revoke' }).grant(asLeaseId('second'))
    const results = [{ kv: otherBoot }, { kv: kv('boots/n1', {}, null, 20n) }]
    bench.answer({ ok: true, op: 'txn', result: { ok: false, rev: 21n, results } })
    expect(bench.effects).toContainEqual({ type: 'id_taken', detail: 'another process registered as n1' })
  })

  it('revokes its lease when it closes, and closes at once without one', () => {
    const bench = held()
    expect(bench.step({ type: 'close' }).asked).toEqual(['lease_revoke mine'])
    expect(bench.keeper.isValid(bench.nowMs)).toBe(false)
    expect(bench.answer({ ok: true, op: 'lease_revoke' }).effects).toEqual([{ type: 'lease_closed' }])
    expect(new Bench().step({ type: 'close' }).effects).toEqual([{ type: 'lease_closed' }])
  })
})
