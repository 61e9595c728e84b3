/**
 * What every transport driver must do, as tests. Bring your own runner: pass its `describe` and `it`; assertions are
 * `node:assert/strict`.
 *
 * Written against the port alone. Cookies, garbage, replays, killed processes belong to the tests of the driver that
 * has them.
 */
import assert from 'node:assert/strict'
import type { ConnectionEvent, Hello } from '../ports/transport.js'
import type { TestRunner } from './store-contract.js'
import {
  bytes,
  contractHello,
  type FrameWorld,
  failure,
  frames,
  type Node,
  sleep,
  text,
  until,
  World,
  within,
} from './transport-contract-kit.js'

export type { FrameWorld } from './transport-contract-kit.js'

/** The contract of {@link FrameTransport}. */
export function describeFrameTransportContract(
  name: string,
  makeWorld: () => Promise<FrameWorld>,
  runner: TestRunner,
): void {
  const test = (title: string, run: (world: World) => Promise<void>): void =>
    runner.it(title, async () => {
      const world = new World(await makeWorld())
      try {
        await run(world)
      } finally {
        await world.end()
      }
    })

  runner.describe(`${name}: frames`, () => {
    messages(test)
    runner.describe('errors', () => errors(test))
    runner.describe('connections', () => connections(test))
    runner.describe('limits', () => limits(test))
  })
}

type Test = (title: string, run: (world: World) => Promise<void>) => void

function messages(test: Test): void {
  test('a request is answered, in both directions, over one connection', async (world) => {
    const a = await world.node('a')
    const b = await world.node('b')
    assert.equal(text(await a.transport.request(b.address, frames.echo, bytes('one'), within)), 'one')
    assert.equal(text(await b.transport.request(a.address, frames.echo, bytes('two'), within)), 'two')
    assert.deepEqual(
      [a, b].map((n) => n.events.map((e) => e.type)),
      [['up'], ['up']],
    )
    const up = a.events[0] as Extract<ConnectionEvent, { type: 'up' }>
    assert.deepEqual(up.hello, { ...contractHello('b'), address: b.address })
  })

  test('bodies of every size come back unchanged', async (world) => {
    const a = await world.node('a')
    const b = await world.node('b')
    const sizes = [0, 1, 100, 16_383, 16_384, 65_525, 65_536, 300_000, 5_000_000]
    const bodies = sizes.map((size) => new Uint8Array(size).map((_, i) => (i * 31 + size) & 255))
    const replies = await Promise.all(
      bodies.map((body) => a.transport.request(b.address, frames.echo, body, within)),
    )
    for (const [i, reply] of replies.entries()) {
      assert.equal(reply.length, sizes[i])
      assert.ok(Buffer.from(reply).equals(Buffer.from(bodies[i] as Uint8Array)), `body of ${sizes[i]} bytes`)
    }
  })

  test('one-way frames arrive once each and in order', async (world) => {
    const a = await world.node('a')
    const b = await world.node('b')
    for (let i = 0; i < 5_000; i++)
      assert.equal(a.transport.send(b.address, frames.note, bytes(`${i}`)), 'queued')
    await until(
      '5000 notes',
      () => world.notes.length === 5_000,
      () => world.notes.length,
    )
    assert.deepEqual(
      world.notes,
      Array.from({ length: 5_000 }, (_, i) => `a: ${i}`),
    )
  })

  test('thousands of requests at a time all find their own reply', async (world) => {
    const a = await world.node('a')
    const b = await world.node('b')
    const replies = await Promise.all(
      Array.from({ length: 5_000 }, (_, i) =>
        a.transport.request(b.address, frames.echo, bytes(`${i}`), within).then(text),
      ),
    )
    assert.deepEqual(
      replies,
      replies.map((_, i) => `${i}`),
    )
  })

  test('a second reply is ignored', async (world) => {
    const a = await world.node('a')
    const b = await world.node('b')
    assert.equal(text(await a.transport.request(b.address, frames.twice, bytes('first'), within)), 'first')
    assert.equal(text(await a.transport.request(b.address, frames.echo, bytes('next'), within)), 'next')
  })

  test('bytes and frames are counted', async (world) => {
    const a = await world.node('a')
    const b = await world.node('b')
    await a.transport.request(b.address, frames.echo, new Uint8Array(1_000), within)
    const stats = a.transport.peers().find((p) => p.address === b.address)
    assert.ok(stats?.connected)
    assert.ok(stats.sentBytes >= 1_000 && stats.receivedBytes >= 1_000, JSON.stringify(stats))
    assert.ok(stats.sentFrames >= 1 && stats.receivedFrames >= 1 && stats.attemptCount === 0)
    assert.ok(Math.abs(stats.lastSeenMs - Date.now()) < 5_000)
  })
}

function errors(test: Test): void {
  test('an error reply keeps code, message, retryable and details', async (world) => {
    const a = await world.node('a')
    const b = await world.node('b')
    const error = await failure(a.transport.request(b.address, frames.fail, bytes(''), within))
    assert.deepEqual(
      [error.code, error.message, error.retryable, error.details],
      ['conflict', 'no', true, { from: 'a' }],
    )
  })

  test('a handler that throws answers internal and harms nothing else', async (world) => {
    const a = await world.node('a')
    const b = await world.node('b')
    const error = await failure(a.transport.request(b.address, frames.crash, bytes(''), within))
    assert.equal(error.code, 'internal')
    assert.equal(text(await a.transport.request(b.address, frames.echo, bytes('on'), within)), 'on')
  })

  test('no reply in time: timeout, near the deadline, and the late reply is ignored', async (world) => {
    const a = await world.node('a')
    const b = await world.node('b')
    await a.transport.request(b.address, frames.echo, bytes(''), within)
    const startMs = performance.now()
    const error = await failure(a.transport.request(b.address, frames.never, bytes(''), { timeoutMs: 100 }))
    const tookMs = performance.now() - startMs
    assert.equal(error.code, 'timeout')
    assert.ok(tookMs >= 99 && tookMs < 400, `${tookMs} ms`)
    for (const answer of world.unanswered) answer()
    assert.equal(text(await a.transport.request(b.address, frames.echo, bytes('on'), within)), 'on')
  })

  test('the caller can give up', async (world) => {
    const a = await world.node('a')
    const b = await world.node('b')
    const controller = new AbortController()
    const { signal } = controller
    const work = failure(a.transport.request(b.address, frames.never, bytes(''), { ...within, signal }))
    setTimeout(() => controller.abort(), 30)
    assert.equal((await work).code, 'aborted')
    const late = await failure(a.transport.request(b.address, frames.echo, bytes(''), { ...within, signal }))
    assert.equal(late.code, 'aborted')
  })

  test('nobody listens: peer_unreachable, retryable, and refused as an event', async (world) => {
    const a = await world.node('a')
    const address = await world.emptyAddress()
    const error = await failure(a.transport.request(address, frames.echo, bytes(''), within))
    assert.deepEqual([error.code, error.retryable], ['peer_unreachable', true])
    assert.deepEqual(
      a.events.map((e) => [e.type, e.address]),
      [['refused', address]],
    )
  })

  test('the peer closes with a request unanswered: outcome_unknown', async (world) => {
    const a = await world.node('a')
    const b = await world.node('b')
    const work = failure(a.transport.request(b.address, frames.never, bytes(''), within))
    await until(
      'the request',
      () => world.unanswered.length === 1,
      () => world.unanswered.length,
    )
    await b.transport.close({ deadlineMs: 100 })
    assert.equal((await work).code, 'outcome_unknown')
  })

  test('after close everything is closed', async (world) => {
    const a = await world.node('a')
    const b = await world.node('b')
    await a.transport.close()
    assert.equal(a.transport.send(b.address, frames.note, bytes('')), 'closed')
    assert.equal(
      (await failure(a.transport.request(b.address, frames.echo, bytes(''), within))).code,
      'closed',
    )
    await a.transport.close()
  })

  test('a body over the limit is refused before it is sent', async (world) => {
    const a = await world.node('a')
    const b = await world.node('b')
    const body = new Uint8Array(16 * 1024 * 1024)
    assert.equal(
      (await failure(a.transport.request(b.address, frames.echo, body, within))).code,
      'frame_too_large',
    )
    assert.throws(() => a.transport.send(b.address, frames.note, body), { code: 'frame_too_large' })
  })
}

function connections(test: Test): void {
  test('both dial at once: everything is answered, and one connection is told of', async (world) => {
    const a = await world.node('a')
    const b = await world.node('b')
    const ask = (from: Node, to: Node) =>
      Array.from({ length: 200 }, (_, i) =>
        from.transport.request(to.address, frames.echo, bytes(`${i}`), within).then(text),
      )
    const replies = await Promise.all([...ask(a, b), ...ask(b, a)])
    assert.deepEqual(
      replies,
      replies.map((_, i) => `${i % 200}`),
    )
    await sleep(50)
    assert.deepEqual(
      [a, b].map((n) => n.events.map((e) => e.type)),
      [['up'], ['up']],
    )
  })

  test('a goodbye is closed, not lost; a kept peer is found again when it is back', async (world) => {
    const a = await world.node('a')
    const b = await world.node('b')
    a.transport.keep(b.address)
    await until(
      'up',
      () => a.events.some((e) => e.type === 'up'),
      () => a.events,
    )
    await b.transport.close()
    await until(
      'closed',
      () => a.events.some((e) => e.type === 'closed'),
      () => a.events,
    )
    await until(
      'a refused redial',
      () => a.events.some((e) => e.type === 'refused'),
      () => a.events,
    )
    assert.ok(a.events.every((e) => e.type !== 'lost'))
  })

  test('other cluster, store or protocol: rejected at both ends, in words that name the fix', async (world) => {
    const a = await world.node('a', { hello: { storeIdentity: 'store-1' } })
    const cases: [Partial<Hello>, string, RegExp][] = [
      [{ clusterName: 'other' }, 'cluster_mismatch', /--cluster-name/],
      [{ storeIdentity: 'store-2' }, 'store_mismatch', /--store/],
      [{ protocolMin: 5, protocolMax: 6 }, 'incompatible', /upgrade/],
      [{ nodeId: 'a' }, 'node_id_in_use', /--node-id/],
    ]
    for (const [i, [hello, code, words]] of cases.entries()) {
      const b = await world.node(`b${i}`, { hello })
      a.events.length = 0
      const error = await failure(b.transport.request(a.address, frames.echo, bytes(''), within))
      assert.equal(error.code, 'peer_unreachable')
      for (const [node, other] of [
        [a, b],
        [b, a],
      ] as const) {
        await until(
          `${code} told`,
          () => node.events.length > 0,
          () => node.events,
        )
        const event = node.events[0] as Extract<ConnectionEvent, { type: 'rejected' }>
        assert.deepEqual([event.type, event.address, event.code], ['rejected', other.address, code])
        assert.equal(event.inbound, node === a)
        assert.match(event.detail, words)
      }
    }
  })

  test('a redial that is asked for tells its outcome', async (world) => {
    const a = await world.node('a')
    const b = await world.node('b')
    const address = await world.emptyAddress()
    a.transport.redial(address)
    await until(
      'refused',
      () => a.events.some((e) => e.type === 'refused'),
      () => a.events,
    )
    a.transport.redial(b.address)
    await until(
      'up',
      () => a.events.some((e) => e.type === 'up'),
      () => a.events,
    )
  })
}

function limits(test: Test): void {
  test('over the queue limit send is full and request overloaded; afterwards all goes on', async (world) => {
    const a = await world.node('a', { queueBytesMax: 100_000 })
    const b = await world.node('b')
    await a.transport.request(b.address, frames.echo, bytes(''), within)
    const body = new Uint8Array(20_000)
    let accepted = 0
    while (a.transport.send(b.address, frames.note, body) === 'queued' && accepted < 10_000) accepted++
    assert.ok(accepted >= 3 && accepted < 10_000, `${accepted} accepted`)
    const error = await failure(a.transport.request(b.address, frames.echo, body, within))
    assert.deepEqual([error.code, error.retryable], ['overloaded', true])
    await until(
      'what was accepted',
      () => world.notes.length === accepted,
      () => world.notes.length,
    )
    assert.equal((await a.transport.request(b.address, frames.echo, body, within)).length, body.length)
  })

  test('a receiver never has more requests at hand than it gave credit for', async (world) => {
    const a = await world.node('a', { requestsPerPeerMax: 10 })
    const b = await world.node('b', { requestsPerPeerMax: 10 })
    const work = Array.from({ length: 50 }, (_, i) =>
      a.transport.request(b.address, frames.slow, bytes(`${i}`), within).then(text),
    )
    for (let answered = 0; answered < 50; answered++) {
      const atHand = Math.min(10, 50 - answered)
      await until(
        'the next request',
        () => world.unanswered.length >= atHand,
        () => world.unanswered.length,
      )
      assert.ok(world.unanswered.length <= 10)
      world.unanswered.shift()?.()
    }
    assert.deepEqual(
      await Promise.all(work),
      Array.from({ length: 50 }, (_, i) => `${i}`),
    )
  })

  test('a request that waits for credit until its deadline was certainly not sent', async (world) => {
    const a = await world.node('a', { requestsPerPeerMax: 1 })
    const b = await world.node('b', { requestsPerPeerMax: 1 })
    const first = failure(a.transport.request(b.address, frames.never, bytes(''), { timeoutMs: 300 }))
    const error = await failure(a.transport.request(b.address, frames.echo, bytes(''), { timeoutMs: 100 }))
    assert.deepEqual([error.code, error.retryable], ['overloaded', true])
    assert.equal((await first).code, 'timeout')
  })
}
