// biome-ignore-all lint/suspicious/noThenProperty: a transaction's `then` is a list, never awaited
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MemoryStoreState } from '../../src/drivers/store-memory/memory-state.js'
import { MemoryStore } from '../../src/drivers/store-memory/memory-store.js'
import { compareKeys, prefixEnd } from '../../src/engines/store/key-order.js'

const put = (key: string) => ({ type: 'put', key, value: new Uint8Array() }) as const

describe('the memory store in virtual time', () => {
  it('ends leases exactly when its clock says so, by the timer it was given', async () => {
    let nowMs = 1000
    const due: { atMs: number; run: () => void }[] = []
    const state = new MemoryStoreState({ nowMs: () => nowMs, identity: 'sim' })
    const store = new MemoryStore(state, {
      schedule: (delayMs, run) => {
        const entry = { atMs: nowMs + delayMs, run }
        due.push(entry)
        return () => due.splice(due.indexOf(entry), 1)
      },
    })
    await store.open()
    const { id } = await store.leaseGrant(500)
    await store.txn({ then: [{ ...put('k'), lease: id }] })
    expect(state.nextDeadlineMs()).toBe(1500)
    nowMs = 1400
    await store.leaseKeepAlive(id)
    expect(due.map(({ atMs }) => atMs)).toEqual([1500])
    nowMs = 1500
    due.shift()?.run()
    expect((await store.get('k')).kv).not.toBeNull()
    expect(due.map(({ atMs }) => atMs)).toEqual([1900])
    nowMs = 1900
    due.shift()?.run()
    expect((await store.get('k')).kv).toBeNull()
    expect(state.nextDeadlineMs()).toBeUndefined()
  })

  it('cuts one handle off and lets it catch up', async () => {
    const state = new MemoryStoreState({ nowMs: () => 0, identity: 'sim' })
    const [near, far] = [new MemoryStore(state), new MemoryStore(state)]
    await Promise.all([near.open(), far.open()])
    const ac = new AbortController()
    const events = far.watch('', { signal: ac.signal })
    far.disconnect()
    await near.txn({ then: [put('a')] })
    await expect(far.get('a')).rejects.toMatchObject({ code: 'unavailable' })
    expect(await far.health()).toMatchObject({ ok: false, quorum: false })
    const next = events.next()
    await near.txn({ then: [put('b')] })
    far.reconnect()
    expect((await next).value).toMatchObject({ rev: 1n })
    expect((await events.next()).value).toMatchObject({ rev: 2n })
    far.disconnect()
    const last = events.next()
    ac.abort()
    expect((await last).done).toBe(true)
  })
})

describe('the order of keys', () => {
  const text = fc.string({ unit: 'binary' })

  it('is the order of their UTF-8 bytes', () => {
    fc.assert(
      fc.property(text, text, (a, b) => {
        expect(Math.sign(compareKeys(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)))
      }),
    )
  })

  it('puts the end of a prefix after everything that has it, and before everything else that follows', () => {
    fc.assert(
      fc.property(text, text, (prefix, key) => {
        const end = prefixEnd(prefix)
        const inside = compareKeys(key, prefix) >= 0 && (end === undefined || compareKeys(key, end) < 0)
        expect(inside).toBe(key.startsWith(prefix))
        expect(end === undefined || compareKeys(prefix + key, end) < 0).toBe(true)
      }),
    )
  })
})
