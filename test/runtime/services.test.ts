/** Calls and streams between nodes of one process, over real sockets. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  type CallOptions,
  defineService,
  type HandlerContext,
  ServiceError,
  type SkeinNode,
  type StreamContext,
} from '../../src/index.js'
import { eventually, startThree, type ThreeNodes } from './three-nodes.js'

const Pricing = defineService('pricing', {
  version: '2.1',
  methods: {
    quote: {
      input: z.object({ sku: z.string().min(1), count: z.number().int().default(1) }),
      output: z.object({ price: z.number(), node: z.string() }),
      idempotent: true,
    },
    broken: { output: z.object({ price: z.number() }) },
    ticks: { input: z.object({ count: z.number() }), output: z.number(), stream: true },
    sums: { input: z.object({}), upload: z.number(), output: z.number(), stream: true },
  },
})

const never = (): Promise<never> => new Promise(() => {})

describe('services', () => {
  let three: ThreeNodes
  let n1: SkeinNode
  let n2: SkeinNode
  let n3: SkeinNode
  beforeAll(async () => {
    three = await startThree([
      { zone: 'a', region: 'r' },
      { zone: 'b', region: 'r' },
      { zone: 'c', region: 's' },
    ])
    ;[n1, n2, n3] = three.nodes
  }, 30_000)
  afterAll(() => three.stop())

  const pricing = (node: SkeinNode) =>
    node.services.provide(Pricing, {
      quote: ({ sku, count }) => ({ price: sku.length * count, node: node.self.id }),
      broken: () => ({ price: 'much' }) as never,
      async *ticks({ count }) {
        for (let i = 0; i < count; i++) yield i
      },
      async *sums(_, context) {
        let sum = 0
        for await (const n of context.incoming) {
          sum += n
          yield sum
        }
      },
    })

  it('calls by contract, with types and validation on both ways', async () => {
    const offered = pricing(n2)
    await n1.services.wait('pricing')
    const client = n1.services.get(Pricing)
    expect(await client.quote({ sku: 'abc' })).toEqual({ price: 3, node: 'n2' })
    expect(await client.quote({ sku: 'abc', count: 4 })).toEqual({ price: 12, node: 'n2' })
    await expect(client.quote({ sku: '' })).rejects.toMatchObject({
      code: 'invalid_argument',
      details: { issues: [{ path: 'sku' }] },
    })
    await expect(client.broken()).rejects.toMatchObject({
      code: 'handler_failed',
      message: expect.stringContaining('pricing.broken gave back what its contract does not allow'),
    })
    expect(n1.services.find('pricing')?.instances[0]).toMatchObject({
      nodeId: 'n2',
      version: '2.1',
      healthy: true,
    })
    await offered.stop()
    await eventually(() => n1.services.find('pricing') === undefined, 'the withdrawal')
    await expect(client.quote({ sku: 'abc' })).rejects.toMatchObject({ code: 'not_found' })
  })

  it('streams both ways, not faster than they are read', async () => {
    const offered = pricing(n3)
    await n1.services.wait('pricing')
    const client = n1.services.get(Pricing)
    const seen: number[] = []
    for await (const n of client.ticks({ count: 1_000 })) seen.push(n)
    expect(seen).toEqual(Array.from({ length: 1_000 }, (_, i) => i))
    const sums: number[] = []
    for await (const n of client.sums({}, { upload: [1, 2, 3, 4] })) sums.push(n)
    expect(sums).toEqual([1, 3, 6, 10])
    await expect(
      (async () => {
        for await (const _ of client.sums({}, { upload: ['x' as never] }));
      })(),
    ).rejects.toMatchObject({ code: 'invalid_argument' })
    await offered.stop()
  })

  it('holds a fast writer back, and ends it when the reader leaves', async () => {
    let written = 0
    let ended = false
    const offered = n2.services.provide('fast', {
      flow: {
        stream: true,
        handler: async function* (_: unknown, context: StreamContext) {
          try {
            for (;;) {
              written++
              yield written
              if (context.signal.aborted) return
            }
          } finally {
            ended = true
          }
        },
      },
    })
    await n1.services.wait('fast')
    let read = 0
    for await (const _ of n1.services.stream('fast', 'flow')) {
      if (++read === 10) await new Promise((resolve) => setTimeout(resolve, 100))
      if (read === 20) break
    }
    expect(written).toBeLessThan(1_000)
    await eventually(() => ended, 'the end of the handler')
    await offered.stop()
  })

  it('carries errors with code and details', async () => {
    const offered = n2.services.provide('shop', {
      buy: () => {
        throw new ServiceError('sold_out', 'nothing left', { details: { left: 0 } })
      },
      crash: () => {
        throw new TypeError('oh')
      },
      swamp: () => ({ f: () => 1 }),
    })
    await n1.services.wait('shop')
    const error = await n1.services.call('shop', 'buy').catch((e: unknown) => e)
    expect(error).toBeInstanceOf(ServiceError)
    expect(error).toMatchObject({
      code: 'sold_out',
      message: 'nothing left',
      details: { left: 0 },
      retryable: false,
    })
    await expect(n1.services.call('shop', 'crash')).rejects.toMatchObject({
      code: 'handler_failed',
      message: 'oh',
      details: { name: 'TypeError' },
    })
    await expect(n2.services.call('shop', 'crash'), 'in the same process').rejects.toMatchObject({
      code: 'handler_failed',
      message: 'oh',
      details: { name: 'TypeError' },
    })
    await expect(n1.services.call('shop', 'sell')).rejects.toMatchObject({
      code: 'not_found',
      details: { allowed: ['buy', 'crash', 'swamp'] },
    })
    await offered.stop()
  })

  it('gives up at the deadline and on abort, and tells the other side', async () => {
    const reasons: unknown[] = []
    const offered = n2.services.provide('slow', {
      wait: (_: unknown, { signal }: HandlerContext) => {
        signal.addEventListener('abort', () => reasons.push(signal.reason))
        return never()
      },
    })
    await n1.services.wait('slow')
    await expect(n1.services.call('slow', 'wait', 1, { timeoutMs: 50 })).rejects.toMatchObject({
      code: 'timeout',
      message: expect.stringContaining('slow.wait on n2 did not answer in'),
      details: { outcome: 'unknown' },
    })
    await eventually(() => reasons.length === 1, 'the deadline there')
    const abort = new AbortController()
    const call = n1.services.call('slow', 'wait', 1, { signal: abort.signal })
    setTimeout(() => abort.abort(), 20)
    await expect(call).rejects.toMatchObject({ code: 'aborted' })
    await eventually(() => reasons.length === 2, 'the abort there')
    void offered.stop()
  })

  it('takes no answer that a handler makes of the end of its time, here or elsewhere', async () => {
    const half = (_: unknown, { signal }: HandlerContext) =>
      new Promise((resolve) => signal.addEventListener('abort', () => resolve('half of it')))
    const offered = n2.services.provide('halves', { half })
    await n1.services.wait('halves')
    for (const node of [n1, n2])
      await expect(node.services.call('halves', 'half', 1, { timeoutMs: 50 })).rejects.toMatchObject({
        code: 'timeout',
        details: { outcome: 'unknown' },
      })
    const wrong = [
      { retries: -1 },
      { retries: 11 },
      { hedgeMs: -1 },
      { prefer: 'moon' },
      { strategy: 'best' },
    ]
    for (const options of wrong)
      await expect(n1.services.call('halves', 'half', 1, options as CallOptions)).rejects.toMatchObject({
        code: 'invalid_argument',
      })
    await offered.stop()
  })

  it('prefers what is near, goes by version, and spreads', async () => {
    const offers = three.nodes.map((node) =>
      node.services.provide('where', { am: () => node.self.id }, { version: node === n3 ? '2' : '1.5' }),
    )
    await eventually(() => n1.services.find('where')?.instances.length === 3, 'three instances')
    const ask = (options = {}) => n1.services.call<string>('where', 'am', null, options)
    expect(await ask()).toBe('n3')
    expect(await ask({ version: '1' })).toBe('n1')
    expect(await ask({ version: '1', nodeId: 'n2' })).toBe('n2')
    await expect(ask({ version: '3' })).rejects.toMatchObject({
      code: 'not_found',
      details: { offered: ['1.5', '2'] },
    })
    const counts = new Map<string, number>()
    for (let i = 0; i < 200; i++) {
      const at = await ask({ version: '1', prefer: 'any' })
      counts.set(at, (counts.get(at) ?? 0) + 1)
    }
    expect(Math.min(counts.get('n1') ?? 0, counts.get('n2') ?? 0)).toBeGreaterThan(50)
    const keyed = new Set<string>()
    for (let i = 0; i < 20; i++) keyed.add(await ask({ version: '1', prefer: 'any', key: 'k' }))
    expect(keyed.size).toBe(1)
    expect(await n2.services.call('where', 'am', null, { version: '1', prefer: 'zone' })).toBe('n2')
    for (const offer of offers) await offer.stop()
  })

  it('tries elsewhere what was certainly not done, and asks a second one when the first is late', async () => {
    const calls: string[] = []
    const offers = [n2, n3].map((node) =>
      node.services.provide(
        'work',
        {
          full: () => {
            calls.push(node.self.id)
            throw new ServiceError('busy', 'not now', { retryable: node === n2 })
          },
          late: {
            idempotent: true,
            handler: async () => {
              if (node === n2) await never()
              return node.self.id
            },
          },
        },
        { concurrency: 10 },
      ),
    )
    await eventually(() => n1.services.find('work')?.instances.length === 2, 'two instances')
    await expect(n1.services.call('work', 'full', null, { retries: 3 })).rejects.toMatchObject({
      code: 'busy',
    })
    expect(calls.at(-1)).toBe('n3')
    expect(calls.filter((c) => c === 'n3')).toHaveLength(1)
    for (let i = 0; i < 6; i++)
      expect(await n1.services.call('work', 'late', null, { hedgeMs: 20, timeoutMs: 3_000 })).toBe('n3')
    await expect(n1.services.call('work', 'full', null, { hedgeMs: 20 })).rejects.toMatchObject({
      code: 'invalid_argument',
    })
    for (const offer of offers) void offer.stop()
  })

  it('refuses more calls at a time than it was told to take', async () => {
    let release = (): void => {}
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    const offered = n2.services.provide('narrow', { pass: () => gate }, { concurrency: 2 })
    await n1.services.wait('narrow')
    const running = [n1.services.call('narrow', 'pass'), n1.services.call('narrow', 'pass')]
    await expect(n1.services.call('narrow', 'pass', null, { retries: 0 })).rejects.toMatchObject({
      code: 'overloaded',
      retryable: true,
    })
    release()
    await Promise.all(running)
    await offered.stop()
  })

  it('passes trace context on', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    const offers = [
      n2.services.provide('outer', {
        ask: (_: unknown, context: HandlerContext) => n2.services.call('inner', 'say', null, context.onward),
      }),
      n3.services.provide('inner', { say: (_: unknown, context: HandlerContext) => context.traceparent }),
    ]
    await n1.services.wait('outer')
    await n2.services.wait('inner')
    expect(await n1.services.call('outer', 'ask', null, { traceparent })).toBe(traceparent)
    await expect(n1.services.call('outer', 'ask', null, { traceparent: 'x' })).rejects.toMatchObject({
      code: 'invalid_argument',
    })
    for (const offer of offers) await offer.stop()
  })

  it('sends bytes as they are', async () => {
    const offered = n2.services.provide('bytes', { echo: (input: Uint8Array) => input })
    await n1.services.wait('bytes')
    const bytes = new Uint8Array(100_000).map((_, i) => i)
    const back = await n1.services.call<Uint8Array>('bytes', 'echo', bytes)
    expect(back).toBeInstanceOf(Uint8Array)
    expect(Buffer.compare(back, bytes)).toBe(0)
    await offered.stop()
  })

  describe('names', () => {
    it('registers, finds and calls from any node', async () => {
      class Desk {
        private n = 0
        add(by: number): number {
          this.n += by
          return this.n
        }
        _secret(): void {}
      }
      await n1.names.register('desk', new Desk())
      await eventually(() => [n2, n3].every((n) => n.names.whereis('desk') !== undefined), 'the name')
      const desk = n3.names.whereis('desk')
      expect(desk).toMatchObject({ nodeId: 'n1', kind: 'unique', methods: ['add'] })
      expect(await desk?.call('add', 2)).toBe(2)
      expect(await n2.names.whereis('desk')?.call('add', 3)).toBe(5)
      await expect(desk?.call('_secret')).rejects.toMatchObject({ code: 'not_found' })
      await expect(n2.names.register('desk', {})).rejects.toMatchObject({
        code: 'conflict',
        details: { node_id: 'n1' },
      })
      await n1.names.unregister('desk')
      await eventually(() => n3.names.whereis('desk') === undefined, 'the end of the name')
      await expect(desk?.callWith({ timeoutMs: 500 }, 'add', 1)).rejects.toMatchObject({
        code: 'unavailable',
      })
    })

    it('lets another succeed to a well-known name', async () => {
      const held: string[] = []
      const say = (id: string) => ({ who: () => id })
      await n1.names.register('office', say('n1'), { kind: 'well_known', onHeld: () => held.push('n1') })
      await eventually(() => n2.names.whereis('office') !== undefined, 'the name')
      await n2.names.register('office', say('n2'), { kind: 'well_known', onHeld: () => held.push('n2') })
      await eventually(() => n3.names.whereis('office')?.successors.length === 1, 'the line')
      const seen: (string | undefined)[] = []
      const stop = n3.names.watch('office', (ref) => seen.push(ref?.nodeId))
      expect(await n3.names.whereis('office')?.call('who')).toBe('n1')
      await n1.names.unregister('office')
      await eventually(() => n3.names.whereis('office')?.nodeId === 'n2', 'the successor')
      expect(await n3.names.whereis('office')?.call('who')).toBe('n2')
      expect(held).toEqual(['n1', 'n2'])
      expect(seen).toEqual(['n1', 'n2'])
      stop()
      await n2.names.unregister('office')
    })

    it('registers through the store, where two can never both succeed', async () => {
      const results = await Promise.allSettled(
        three.nodes.map((node) => node.names.register('one', { who: () => node.self.id }, { kind: 'store' })),
      )
      expect(results.filter((r) => r.status === 'fulfilled')).toHaveLength(1)
      await eventually(
        () => three.nodes.every((n) => n.names.whereis('one') !== undefined),
        'the name everywhere',
      )
      const holder = n1.names.whereis('one')?.nodeId
      expect(await n1.names.whereis('one')?.call('who')).toBe(holder)
      await three.nodes.find((n) => n.self.id === holder)?.names.unregister('one')
      await n2.names.register('one', {}, { kind: 'store' })
      await n2.names.unregister('one')
    })

    it('keeps names of a node apart', async () => {
      for (const node of three.nodes)
        await node.names.register('log', { at: () => node.self.id }, { kind: 'node' })
      await eventually(() => n1.names.list().length === 3, 'the names')
      expect(await n1.names.whereis('log', { nodeId: 'n3' })?.call('at')).toBe('n3')
      expect(n1.names.whereis('log')).toBeUndefined()
      expect(n1.names.list().map((n) => n.name)).toEqual(['log@n1', 'log@n2', 'log@n3'])
      for (const node of three.nodes) await node.names.unregister('log')
    })
  })
})
