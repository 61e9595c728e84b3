/** Spawn, monitors and links between three nodes of one process, each with what it says on the wire. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { isSkeinError, SkeinError } from '../../src/core/kernel/error.js'
import { createNode } from '../../src/runtime/create-node.js'
import type {
  DownNotice,
  NodeConfig,
  ProcessorContext,
  SkeinNode,
  SpawnRef,
} from '../../src/runtime/node-api.js'
import { defineProcessor } from '../../src/runtime/processing/definition.js'
import { until } from './real-node.js'

const dir = mkdtempSync(join(tmpdir(), 'skein-spawn-'))
let nodes: SkeinNode[] = []
let a: SkeinNode
let b: SkeinNode
let c: SkeinNode

const Double = defineProcessor('double', (n: number, { nodeId }) => ({ n: n * 2, nodeId }))
/** Until it is told to stop; what it heard is its result. */
const Wait = defineProcessor(
  'wait',
  (_: unknown, { signal }: ProcessorContext) =>
    new Promise((_, fail) => signal.addEventListener('abort', () => fail(signal.reason))),
)
const Deaf = defineProcessor('deaf', (ms: number) => new Promise((done) => setTimeout(done, ms)))
const Fail = defineProcessor('fail', (how: string) => {
  if (how === 'code') throw new SkeinError('conflict', 'no room', { details: { room: 7 }, retryable: true })
  throw new RangeError('out of it')
})

async function start(nodeId: string, more: Partial<NodeConfig> = {}): Promise<SkeinNode> {
  const node = await createNode({
    nodeId,
    dataDir: join(dir, nodeId),
    peers: nodes.map((n) => n.self.peerAddress),
    peerPort: 0,
    shards: 8,
    preset: 'local',
    threads: 'inline',
    http: false,
    logLevel: 'error',
    ...more,
  })
  nodes.push(node)
  return node
}

const offered = async (node: SkeinNode, name: string, count: number): Promise<true | undefined> =>
  node.processors.where(name).length === count ? true : undefined

beforeAll(async () => {
  a = await start('a')
  b = await start('b', { zone: 'z2' })
  c = await start('c', { maxSpawned: 2 })
  for (const node of [a, b, c]) for (const p of [Double, Wait, Deaf, Fail]) node.processors.register(p)
  await until('all to know of all', async () => {
    for (const node of [a, b, c]) {
      if (node.members.list().filter((m) => m.status === 'online').length !== 3) return undefined
      if ((await offered(node, 'fail', 3)) === undefined) return undefined
    }
    return true
  })
}, 60_000)
afterAll(async () => {
  await Promise.all(nodes.map((n) => n.stop({ deadlineMs: 500 })))
  rmSync(dir, { recursive: true, force: true })
}, 60_000)

const failureOf = (promise: Promise<unknown>): Promise<SkeinError> =>
  promise.then(
    (value) => expect.fail(`did not fail: ${JSON.stringify(value)}`),
    (error: unknown) => (isSkeinError(error) ? error : expect.fail(String(error))),
  )

/** All notices that ever come. */
function watch(node: SkeinNode, ref: SpawnRef) {
  const notices: DownNotice[] = []
  node.monitor(ref, (notice) => notices.push(notice))
  const first = () => until('a notice', async () => notices[0])
  return { notices, first }
}

describe('spawn', () => {
  it('runs on the node that is named, typed, and gives the result', async () => {
    for (const on of ['a', 'b', 'c']) {
      const handle = await a.spawn(Double, 21, { on })
      expect(handle.nodeId).toBe(on)
      expect(await handle.result).toEqual({ n: 42, nodeId: on })
      expect(handle.status).toBe('finished')
    }
  })

  it('carries dates, maps and binary data both ways', async () => {
    const echo = b.processors.register('echo', (x: unknown) => x)
    const value = { at: new Date(0), by: new Map([['k', new Set([1n])]]), raw: new Uint8Array([1, 2]) }
    await until('it to be known', () => offered(a, 'echo', 1))
    const handle = await a.spawn('echo', value)
    expect(handle.nodeId).toBe('b')
    const result = (await handle.result) as typeof value
    expect(result.at).toEqual(value.at)
    expect(result.by).toEqual(value.by)
    expect([...result.raw]).toEqual([1, 2])
    const tooLarge = await failureOf(a.spawn('echo', 'x'.repeat(5_000_000)))
    expect(tooLarge.code).toBe('payload_too_large')
    const notData = await failureOf(a.spawn('echo', () => 1))
    expect(notData.code).toBe('invalid_argument')
    echo()
    await until('it to be forgotten', () => offered(a, 'echo', 0))
    expect((await failureOf(a.spawn('echo', 1))).code).toBe('not_found')
    expect((await failureOf(a.spawn('echo', 1, { on: 'b' }))).code).toBe('not_found')
    expect((await failureOf(a.spawn('echo', 1, { retries: 1 }))).code).toBe('not_found')
    expect((await failureOf(a.spawn('echo', 1, { on: 5 as never }))).code).toBe('invalid_argument')
  })

  it('carries errors with code, details and what kind they were', async () => {
    const coded = await failureOf((await a.spawn(Fail, 'code', { on: 'b' })).result)
    expect(coded).toMatchObject({ code: 'conflict', details: { room: 7 }, retryable: true })
    const other = await failureOf((await a.spawn(Fail, 'other', { on: 'b' })).result)
    expect(other).toMatchObject({ code: 'handler_failed', details: { name: 'RangeError' } })
    expect(other.message).toContain('out of it')
  })

  it('goes to the nodes in turn, and prefers a zone as long as there is one', async () => {
    // On a busy machine one may be suspected for a moment, and is passed over then.
    const isWell = () => a.members.list().every((m) => m.status === 'online' && m.healthy)
    await until('all to be well', async () => (isWell() ? true : undefined))
    const handles = await Promise.all(
      Array.from({ length: 6 }, () => a.spawn(Double, 1, { on: 'round_robin' })),
    )
    expect(new Set(handles.map((h) => h.nodeId))).toEqual(new Set(['a', 'b', 'c']))
    for (let i = 0; i < 3; i++)
      expect((await a.spawn(Double, 1, { on: 'random', zone: 'z2' })).nodeId).toBe('b')
    expect((await a.spawn(Double, 1, { zone: 'nowhere' })).name).toBe('double')
    const none = await failureOf(a.spawn(Double, 1, { constraints: { zone: ['nowhere'] } }))
    expect(none.code).toBe('overloaded')
  })

  it('refuses over the limit of a node, goes elsewhere where it may, and counts what has not settled', async () => {
    const handles = [await a.spawn(Wait, 0, { on: 'c' }), await a.spawn(Wait, 0, { on: 'c' })]
    expect(await failureOf(a.spawn(Wait, 0, { on: 'c' }))).toMatchObject({
      code: 'overloaded',
      retryable: true,
      details: { running: 2, running_max: 2 },
    })
    const others = await Promise.all(
      Array.from({ length: 4 }, () => a.spawn(Double, 1, { on: 'round_robin' })),
    )
    expect(others.map((h) => h.nodeId)).not.toContain('c')
    const listed = await b.processors.list()
    expect(listed.find((n) => n.nodeId === 'c')?.running.map((r) => r.startedBy)).toEqual(['a', 'a'])
    await Promise.all(handles.map((h) => h.kill()))
    await Promise.all(handles.map((h) => failureOf(h.result)))
    expect((await a.spawn(Double, 1, { on: 'c' })).nodeId).toBe('c')
  })

  it('is not held back by how many it has just started and seen the end of', async () => {
    for (let i = 0; i < 250; i++) await (await a.spawn(Double, i, { on: 'round_robin' })).result
  }, 20_000)

  it('tells it to stop, and says how and why', async () => {
    const handle = await a.spawn(Wait, 0, { on: 'b' })
    expect(await handle.kill('enough')).toBe(true)
    expect(await failureOf(handle.result)).toMatchObject({
      code: 'aborted',
      details: { reason: 'enough', is_settled: true },
    })
    expect(handle.status).toBe('killed')
    expect(await handle.kill()).toBe(false)
    expect(await c.processors.show(handle.id)).toMatchObject({ status: 'killed', detail: 'enough' })
  })

  it('gives up in time, and when the caller aborts', async () => {
    const late = await a.spawn(Wait, 0, { on: 'b', timeoutMs: 100 })
    const down = watch(c, late)
    expect(await failureOf(late.result)).toMatchObject({ code: 'timeout', details: { outcome: 'unknown' } })
    expect((await down.first()).reason).toMatch(/failed|killed/)
    const abort = new AbortController()
    const handle = await a.spawn(Wait, 0, { on: 'b', signal: abort.signal })
    abort.abort()
    expect((await failureOf(handle.result)).code).toBe('aborted')
    await until('it to be gone', async () => {
      const list = (await a.processors.list()).flatMap((n) => n.running)
      return list.length === 0 ? true : undefined
    })
    const before = AbortSignal.abort()
    expect((await failureOf(a.spawn(Wait, 0, { signal: before }))).code).toBe('aborted')
  })

  it('says of what did not settle that it goes on', async () => {
    const handle = await a.spawn(Deaf, 7_000, { on: 'b' })
    await handle.kill('now')
    expect(await failureOf(handle.result)).toMatchObject({ code: 'aborted', details: { is_settled: false } })
  }, 20_000)

  it('does not run again what is not idempotent', async () => {
    expect(await failureOf(a.spawn(Double, 1, { retries: 1 }))).toMatchObject({ code: 'invalid_argument' })
  })
})

describe('monitors and links', () => {
  it('tell once, from any node, why it ended', async () => {
    const finished = await a.spawn(Double, 1, { on: 'b' })
    const failed = await a.spawn(Fail, 'code', { on: 'b' })
    const killed = await a.spawn(Wait, 0, { on: 'b' })
    const refs = [finished, failed, killed].map((h) => JSON.parse(JSON.stringify(h)) as SpawnRef)
    const watched = [a, b, c].map((node) => refs.map((ref) => watch(node, ref)))
    await c.processors.handle(refs[2] as SpawnRef).kill('by c')
    for (const of of watched) {
      const notices = await Promise.all(of.map((w) => w.first()))
      expect(notices.map((n) => n.reason)).toEqual(['finished', 'failed', 'killed'])
      expect(notices[1]?.error).toMatchObject({ code: 'conflict', details: { room: 7 } })
      expect(notices[2]?.detail).toBe('by c')
    }
    await new Promise((wait) => setTimeout(wait, 2_500))
    for (const of of watched) for (const { notices } of of) expect(notices).toHaveLength(1)
  })

  it('tell of what ended before, of what nobody knows, and of another life of the node', async () => {
    const handle = await a.spawn(Double, 1, { on: 'b' })
    await handle.result
    expect((await watch(c, handle.toJSON()).first()).reason).toBe('finished')
    expect(await c.processors.handle(handle.toJSON()).result).toEqual({ n: 2, nodeId: 'b' })
    const { ref } = handle
    expect((await watch(c, { ...ref, id: '0123456789abcdef@b' }).first()).reason).toBe('unknown')
    expect((await watch(c, { ...ref, bootId: 'another' }).first()).reason).toBe('node_restarted')
    expect((await watch(c, { ...ref, nodeId: 'z', id: '0123456789abcdef@z' }).first()).reason).toBe(
      'node_failed',
    )
  }, 20_000)

  it('can be taken back', async () => {
    const handle = await a.spawn(Wait, 0, { on: 'b' })
    const notices: DownNotice[] = []
    const stop = c.monitor(handle, (n) => notices.push(n))
    stop()
    await handle.kill()
    await watch(c, handle).first()
    expect(notices).toEqual([])
  })

  it('link two runs on two nodes: they die together, but not of success', async () => {
    const link = b.processors.register('linked', async (other: SpawnRef, context: ProcessorContext) => {
      await context.link(other)
      return Wait.run(0, context)
    })
    await until('it to be known', () => offered(a, 'linked', 1))
    for (const first of [0, 1]) {
      const one = await a.spawn(Wait, 0, { on: 'c' })
      const two = await a.spawn('linked', one.toJSON())
      await until('the link', async () => ((await a.processors.list()).length > 0 ? true : undefined))
      await new Promise((wait) => setTimeout(wait, 100))
      await (first === 0 ? one : two).kill('first')
      const notice = await watch(a, first === 0 ? two : one).first()
      expect(notice).toMatchObject({ reason: 'killed' })
      expect(notice.detail).toContain('linked to')
    }
    const short = await a.spawn(Deaf, 200, { on: 'c' })
    const long = await a.spawn('linked', short.toJSON())
    await short.result
    await new Promise((wait) => setTimeout(wait, 300))
    expect(long.status).toBe('running')
    await long.kill()
    link()
  }, 20_000)

  it('link a run to this node: what is returned says when it is down', async () => {
    const handle = await a.spawn(Wait, 0, { on: 'b' })
    const { signal } = await a.link(handle)
    expect(signal.aborted).toBe(false)
    await handle.kill()
    await until('the signal', async () => (signal.aborted ? true : undefined))
  })
})

describe('a node that leaves', () => {
  it('ends what runs there with the reason, kills what is linked to it, and runs anew what is idempotent', async () => {
    const d = await start('d')
    for (const p of [Double, Wait]) d.processors.register(p)
    const idempotent = { isIdempotent: true }
    d.processors.register('again', Wait.run, idempotent)
    await until('d to be known', () => offered(a, 'again', 1))
    await until('a to be known', () => offered(d, 'wait', 4))
    const there = await a.spawn(Wait, 0, { on: 'd' })
    const byD = await d.spawn(Wait, 0, { on: 'b' })
    await d.link(byD)
    const fromA = watch(a, byD)
    const again = await until('its row to come', () => a.spawn<string>('again', 0, { retries: 1 }))
    expect(again.nodeId).toBe('d')
    b.processors.register('again', () => 'by b', idempotent)
    await until('b to be known', () => offered(a, 'again', 2))
    const down = watch(c, there)
    await d.stop({ deadlineMs: 500 })
    expect((await down.first()).reason).toBe('node_left')
    expect(await failureOf(there.result)).toMatchObject({
      code: 'node_down',
      details: { outcome: 'unknown' },
    })
    expect(await again.result).toBe('by b')
    expect(again.nodeId).toBe('b')
    expect(await fromA.first()).toMatchObject({ reason: 'killed', detail: 'linked to node d: node_left' })
    nodes = nodes.filter((n) => n !== d)
  }, 30_000)
})
