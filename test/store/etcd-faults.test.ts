/** Three etcd servers, of which some are killed, frozen or cut off: what a handle on them does and how long it takes. */
import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { afterEach, describe, expect, it } from 'vitest'
import { isSkeinError } from '../../src/core/kernel/error.js'
import type { WatchBatch } from '../../src/core/kernel/store-types.js'
import { EtcdStore } from '../../src/drivers/store-etcd/etcd-store.js'
import { checkEtcd } from '../../src/engines/etcd/checks.js'
import { parseEtcdUrl } from '../../src/engines/etcd/url.js'
import type { Store } from '../../src/ports/store.js'
import { type EtcdCluster, type EtcdMember, noEtcd, startEtcd } from './etcd-server.js'

const put = (key: string, value: string) =>
  ({ type: 'put', key, value: new TextEncoder().encode(value) }) as const

let cluster: EtcdCluster | undefined
const stores: Store[] = []

afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
  await cluster?.stop()
  cluster = undefined
})

async function start(members: number, electionTimeoutMs = 200): Promise<EtcdCluster> {
  cluster = await startEtcd({ members, electionTimeoutMs })
  return cluster
}

async function open(url: string): Promise<EtcdStore> {
  const store = new EtcdStore(parseEtcdUrl(url))
  stores.push(store)
  await store.open()
  return store
}

/** Which member a handle talks to. */
async function memberOf(etcd: EtcdCluster, store: Store): Promise<EtcdMember> {
  const { detail } = await store.health()
  const member = etcd.members.find(({ endpoint }) => detail.includes(endpoint))
  if (member === undefined) throw new Error(`no member in "${detail}"`)
  return member
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return 'ok'
  } catch (error) {
    if (!isSkeinError(error)) throw error
    return error.code
  }
}

/** Increments one counter by compare-and-set until told to stop; counts what it was told. */
function incrementing(store: Store, timeoutMs: number) {
  const seen = { acknowledged: 0, unknown: 0, refused: 0, longestGapMs: 0 }
  const stop = new AbortController()
  const run = async () => {
    let lastMs = performance.now()
    while (!stop.signal.aborted) {
      try {
        const { kv } = await store.get('n', { timeoutMs })
        const value = String(Number(new TextDecoder().decode(kv?.value)) + 1)
        const unchanged = { key: 'n', target: 'modRev', op: '=', value: kv?.modRev ?? 0n } as const
        const { ok } = await store.txn({ if: [unchanged], then: [put('n', value)] }, { timeoutMs })
        if (!ok) continue
        seen.acknowledged += 1
        seen.longestGapMs = Math.max(seen.longestGapMs, performance.now() - lastMs)
        lastMs = performance.now()
      } catch (error) {
        if (!isSkeinError(error)) throw error
        if (error.code === 'outcome_unknown') seen.unknown += 1
        else seen.refused += 1
      }
    }
  }
  const running = run()
  return {
    seen,
    stop: () => {
      stop.abort()
      return running
    },
  }
}

/** Resolves when `seen.acknowledged` has grown by `count`. */
async function progress(seen: { readonly acknowledged: number }, count: number): Promise<void> {
  const goal = seen.acknowledged + count
  await expect.poll(() => seen.acknowledged, { timeout: 15_000, interval: 10 }).toBeGreaterThanOrEqual(goal)
}

describe.skipIf(noEtcd !== undefined)(noEtcd ?? 'a store on three etcd servers', () => {
  it('loses no acknowledged write and no event while servers are killed, frozen and started again', async () => {
    const etcd = await start(3)
    const [writer, watcher] = [await open(etcd.url()), await open(etcd.url())]
    const stop = new AbortController()
    const { rev } = await writer.txn({ then: [put('n', '0')] })
    const batches: WatchBatch[] = []
    const watching = (async () => {
      for await (const batch of watcher.watch('n', { fromRev: rev, signal: stop.signal })) batches.push(batch)
    })()
    const work = incrementing(writer, 1500)
    await progress(work.seen, 20)

    const first = await memberOf(etcd, writer)
    first.pause()
    await progress(work.seen, 20)
    first.resume()
    const second = await memberOf(etcd, watcher)
    await second.kill()
    await progress(work.seen, 20)
    second.start()
    await second.ready()
    const third = etcd.members.find((member) => member !== first && member !== second)!
    await third.restart()
    await progress(work.seen, 20)
    await work.stop()

    const { kv } = await writer.get('n')
    const value = Number(new TextDecoder().decode(kv?.value))
    const { acknowledged, unknown } = work.seen
    expect(value).toBeGreaterThanOrEqual(acknowledged)
    expect(value).toBeLessThanOrEqual(acknowledged + unknown)
    await expect.poll(() => batches.at(-1)?.rev, { timeout: 10_000, interval: 10 }).toBe(kv?.modRev)
    stop.abort()
    await watching
    const texts = batches.flatMap(({ events }) =>
      events.map((event) => (event.type === 'put' ? new TextDecoder().decode(event.kv.value) : 'deleted')),
    )
    expect(texts).toEqual(Array.from({ length: value + 1 }, (_, i) => String(i)))
    expect(work.seen.longestGapMs).toBeLessThan(5000)
  })

  it('renews a lease through the freezing of the server it used', async () => {
    const etcd = await start(3)
    const store = await open(etcd.url())
    const { id } = await store.leaseGrant(10_000)
    for (const pausing of [0, 1]) {
      const member = await memberOf(etcd, store)
      member.pause()
      const beganMs = performance.now()
      await store.leaseKeepAlive(id, { unlessKey: 'evicted', timeoutMs: 3000 })
      expect(performance.now() - beganMs, `round ${pausing}`).toBeLessThan(3000)
      member.resume()
      await member.ready()
    }
  })

  it('refuses within the deadline without a quorum, says that nothing was applied, and recovers by itself', async () => {
    const etcd = await start(3)
    const store = await open(etcd.url())
    await store.txn({ then: [put('k', 'before')] })
    const [one, two] = etcd.members
    await Promise.all([one!.kill(), two!.kill()])
    await expect.poll(async () => (await store.health({ timeoutMs: 500 })).quorum).toBe(false)
    for (const work of [
      () => store.get('k', { timeoutMs: 700 }),
      () => store.txn({ then: [put('k', 'never')] }, { timeoutMs: 700 }),
      () => store.leaseGrant(5000, { timeoutMs: 700 }),
    ]) {
      const beganMs = performance.now()
      expect(['unavailable', 'timeout']).toContain(await codeOf(work()))
      expect(performance.now() - beganMs).toBeLessThan(1000)
    }
    one!.start()
    await expect
      .poll(async () => (await store.health({ timeoutMs: 500 })).quorum, { timeout: 10_000 })
      .toBe(true)
    expect(new TextDecoder().decode((await store.get('k')).kv?.value)).toBe('before')
    expect((await store.txn({ then: [put('k', 'after')] })).ok).toBe(true)
  })

  it('opens and writes though one endpoint is dead and one accepts and never answers', async () => {
    const etcd = await start(3)
    const mute = createServer(() => undefined).listen(0, '127.0.0.1')
    await once(mute, 'listening')
    const { port } = mute.address() as AddressInfo
    try {
      const working = etcd.members.map(({ endpoint }) => endpoint).join(',')
      for (let i = 0; i < 4; i++) {
        const store = await open(`etcd://127.0.0.1:1,127.0.0.1:${port},${working}`)
        expect((await store.txn({ then: [put('k', String(i))] })).ok).toBe(true)
      }
    } finally {
      mute.close()
    }
  })
})

/** Passes bytes on to an etcd until told to keep the answers to itself. */
async function proxyTo(member: EtcdMember) {
  const sockets = new Set<Socket>()
  let isMute = false
  const server = createServer((near) => {
    const far = connect(member.clientPort, '127.0.0.1')
    near.pipe(far)
    far.on('data', (chunk) => isMute || near.write(chunk))
    for (const socket of [near, far]) {
      sockets.add(socket)
      socket.on('error', () => undefined)
      socket.on('close', () => {
        near.destroy()
        far.destroy()
      })
    }
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `etcd://127.0.0.1:${(server.address() as AddressInfo).port}`,
    mute: () => {
      isMute = true
    },
    heal: () => {
      isMute = false
      for (const socket of sockets) socket.destroy()
    },
    close: () => {
      server.close()
      for (const socket of sockets) socket.destroy()
    },
  }
}

describe.skipIf(noEtcd !== undefined)(noEtcd ?? 'a store on one etcd server', () => {
  it('says that the outcome is unknown when an answer is swallowed, and sends the write only once', async () => {
    const etcd = await start(1)
    const proxy = await proxyTo(etcd.members[0]!)
    try {
      const [cut, sure] = [await open(proxy.url), await open(etcd.url())]
      await cut.txn({ then: [put('k', 'before')] })
      proxy.mute()
      const absent = { key: 'mine', target: 'createRev', op: '=', value: 0n } as const
      const beganMs = performance.now()
      const create = cut.txn({ if: [absent], then: [put('mine', 'x')] }, { timeoutMs: 600 })
      expect(await codeOf(create)).toBe('outcome_unknown')
      expect(performance.now() - beganMs).toBeLessThan(900)
      const { kv } = await sure.get('mine')
      expect([kv?.version, new TextDecoder().decode(kv?.value)]).toEqual([1, 'x'])
      // The endpoint is known to be mute by now: nothing is risked on it any more.
      expect(await codeOf(cut.txn({ then: [put('k', 'never')] }, { timeoutMs: 600 }))).toBe('timeout')
      proxy.heal()
      expect(new TextDecoder().decode((await cut.get('k')).kv?.value)).toBe('before')
    } finally {
      proxy.close()
    }
  })

  it('ends a call at once when its signal aborts, and says of a write that it may have been applied', async () => {
    const etcd = await start(1)
    const proxy = await proxyTo(etcd.members[0]!)
    try {
      const [cut, sure] = [await open(proxy.url), await open(etcd.url())]
      await cut.txn({ then: [put('k', '0')] })
      // No answer gets through from here on, however quick the server or slow the host.
      proxy.mute()
      const value = async () => new TextDecoder().decode((await sure.get('k')).kv?.value)
      for (const [work, code] of [
        [(signal: AbortSignal) => cut.txn({ then: [put('k', '1')] }, { signal }), 'outcome_unknown'],
        [(signal: AbortSignal) => cut.get('k', { signal }), 'aborted'],
      ] as const) {
        const ac = new AbortController()
        const result = codeOf(work(ac.signal))
        await expect.poll(value, { timeout: 2_000, interval: 10 }).toBe('1')
        const beganMs = performance.now()
        ac.abort()
        expect(await result).toBe(code)
        expect(performance.now() - beganMs).toBeLessThan(50)
      }
    } finally {
      proxy.close()
    }
  })

  it('goes on with every watch after a restart, from the last event delivered', async () => {
    const etcd = await start(1)
    const store = await open(etcd.url())
    const stop = new AbortController()
    const { rev } = await store.txn({ then: [put('k', '0')] })
    const iterator = store.watch('', { fromRev: rev, signal: stop.signal })[Symbol.asyncIterator]()
    expect((await iterator.next()).value?.rev).toBe(rev)
    await etcd.members[0]!.restart()
    const later = await store.txn({ then: [put('k', '1')] })
    expect((await iterator.next()).value?.rev).toBe(later.rev)
    stop.abort()
  })

  it('tells a watch that was away during a compaction, also when only a delete was forgotten', async () => {
    const etcd = await start(1)
    const store = await open(etcd.url())
    const { rev } = await store.txn({ then: [put('k', '0'), put('gone', '')] })
    const deleted = await store.txn({ then: [{ type: 'delete', key: 'gone' }] })
    const later = await store.txn({ then: [put('k', '1')] })
    const from = (fromRev: bigint) =>
      store
        .watch('', { fromRev, signal: AbortSignal.timeout(5000) })
        [Symbol.asyncIterator]()
        .next()
    await store.compact(deleted.rev)
    expect((await from(deleted.rev)).value?.events).toEqual([
      { type: 'delete', key: 'gone', modRev: deleted.rev },
    ])
    expect(await codeOf(from(rev))).toBe('compacted')
    await store.compact(later.rev)
    expect(await codeOf(from(deleted.rev))).toBe('compacted')
    expect((await from(later.rev)).value?.rev).toBe(later.rev)
  })

  it('lets a slow watcher catch up over far more than its buffer, without a gap', async () => {
    const etcd = await start(1)
    const store = await open(etcd.url())
    const { rev } = await store.txn({ then: [put('k', '0')] })
    const iterator = store
      .watch('', { fromRev: rev, signal: AbortSignal.timeout(20_000) })
      [Symbol.asyncIterator]()
    await iterator.next()
    let last = rev
    const count = 3000
    for (let i = 0; i < count / 20; i++) {
      const written = await Promise.all(
        Array.from({ length: 20 }, (_, k) => store.txn({ then: [put('k', `${i}.${k}`)] })),
      )
      for (const one of written) if (one.rev > last) last = one.rev
    }
    let previous = rev
    while (previous < last) {
      const next = await iterator.next()
      expect(next.value?.rev).toBe(previous + 1n)
      previous = next.value!.rev
    }
  })

  it('puts fragments of large revisions together, each revision one batch', async () => {
    const etcd = await start(1)
    const store = await open(etcd.url())
    const large = new Uint8Array(700_000).fill(1)
    const revs: bigint[] = []
    for (let i = 0; i < 16; i++) {
      const then = ['a', 'b'].map((key) => ({ type: 'put', key: `${key}${i}`, value: large }) as const)
      revs.push((await store.txn({ then })).rev)
    }
    const iterator = store
      .watch('', { fromRev: revs[0]!, signal: AbortSignal.timeout(10_000) })
      [Symbol.asyncIterator]()
    for (const rev of revs) {
      const next = await iterator.next()
      expect([next.value?.rev, next.value?.events.length]).toEqual([rev, 2])
    }
  })

  it('says that the disk is full when etcd has reached its quota, and goes on reading', async () => {
    cluster = await startEtcd({ args: ['--quota-backend-bytes=4000000'] })
    const store = await open(cluster.url())
    const value = new Uint8Array(900_000)
    // It looks at its size when it writes to the file, a moment after it answered: more than the quota fits in between.
    const fill = async () => {
      for (let i = 0; i < 200; i++) await store.txn({ then: [{ type: 'put', key: `k${i}`, value }] })
    }
    expect(await codeOf(fill())).toBe('disk_full')
    expect(await codeOf(store.leaseGrant(5000))).toBe('disk_full')
    expect((await store.get('k0')).kv?.value.byteLength).toBe(900_000)
    const checks = await checkEtcd(parseEtcdUrl(cluster.url()))
    expect(checks.filter(({ ok }) => !ok).map(({ name }) => name)).toContain('etcd alarms')
  })

  it('never goes on with an etcd that was set back to an older state', async () => {
    const etcd = await start(1)
    const store = await open(etcd.url())
    for (let i = 0; i < 5; i++) await store.txn({ then: [put('k', String(i))] })
    const stop = new AbortController()
    const watching = store.watch('', { fromRev: 1n, signal: stop.signal })[Symbol.asyncIterator]()
    await watching.next()
    await etcd.members[0]!.wipe()
    expect(await codeOf(store.get('k'))).toBe('store_mismatch')
    expect(await codeOf(store.txn({ then: [put('k', 'x')] }))).toBe('store_mismatch')
    const drain = async () => {
      for (let next = await watching.next(); next.done !== true; next = await watching.next());
    }
    expect(await codeOf(drain())).toBe('store_mismatch')
    expect(await codeOf(store.get('k'))).toBe('store_mismatch')
  })

  it('keeps namespaces apart, whatever they are called', async () => {
    const etcd = await start(1)
    const names = ['', 'a', 'a/b', 'a/kv', 'b']
    const all = await Promise.all(names.map((name) => open(etcd.url(name))))
    for (const [at, store] of all.entries()) await store.txn({ then: [put(`k${at}`, names[at]!)] })
    for (const [at, store] of all.entries()) {
      expect((await store.list('')).kvs.map((kv) => kv.key)).toEqual([`k${at}`])
    }
    expect(new Set(all.map((store) => store.info.identity)).size).toBe(names.length)
    const again = await open(etcd.url('a/b'))
    expect(again.info.identity).toBe(all[2]!.info.identity)
    expect((await again.txn({ then: [{ type: 'deletePrefix', prefix: '' }] })).results[0]?.deletedCount).toBe(
      1,
    )
    expect((await all[1]!.list('')).kvs.length).toBe(1)
  })
})
