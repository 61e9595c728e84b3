/** Services and names from outside: over HTTP and by the command. */
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createNode, type HandlerContext, ServiceError, type SkeinNode } from '../../src/index.js'

const run = promisify(execFile)
const bin = resolve(import.meta.dirname, '../../bin/skein.js')

describe('services and names from outside', () => {
  let node: SkeinNode
  let dir: string
  let url: string
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), 'skein-services-'))
    node = await createNode({
      nodeId: 'n1',
      dataDir: join(dir, 'n1'),
      peerPort: 0,
      port: 0,
      threads: 'inline',
      logLevel: 'silent',
      shards: 8,
    })
    url = `http://${node.self.httpAddress}`
    node.services.provide(
      'maths',
      {
        add: ({ a, b }: { a: number; b: number }) => a + b,
        trace: (_: unknown, context: HandlerContext) => context.traceparent,
        refuse: () => {
          throw new ServiceError('too_hot', 'not today', { details: { degrees: 40 } })
        },
        bytes: () => new Uint8Array([1, 2, 3]),
        count: async function* () {
          yield 1
        },
        slow: () => new Promise(() => {}),
      },
      { version: '1.2' },
    )
    await node.names.register('clerk', { greet: (who: string) => `hello ${who}` })
  }, 30_000)
  afterAll(async () => {
    await node.stop({ deadlineMs: 1 })
    await rm(dir, { recursive: true, force: true })
  })

  async function ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    const response = await fetch(url + path, {
      method,
      headers: { ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    const text = Buffer.from(await response.arrayBuffer())
    const isJson = response.headers.get('content-type')?.includes('json') === true
    return { status: response.status, body: isJson ? JSON.parse(text.toString()) : text }
  }

  it('lists what is offered', async () => {
    const { body } = await ask('GET', '/api/services')
    expect(body).toMatchObject({ count: 1, services: [{ name: 'maths', versions: ['1.2'] }] })
    const one = await ask('GET', '/api/services/maths')
    expect(one.body.instances[0]).toMatchObject({
      node_id: 'n1',
      healthy: true,
      circuit: 'closed',
      in_flight: 0,
    })
    expect(one.body.instances[0].methods).toContainEqual({ name: 'count', idempotent: false, stream: true })
    expect(await ask('GET', '/api/services/physics')).toMatchObject({
      status: 404,
      body: { code: 'not_found' },
    })
    expect(await ask('DELETE', '/api/services')).toMatchObject({ status: 405 })
  })

  it('calls', async () => {
    expect(await ask('POST', '/api/services/maths/add', { input: { a: 1, b: 2 } })).toEqual({
      status: 200,
      body: { result: 3 },
    })
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    expect((await ask('POST', '/api/services/maths/trace', {}, { traceparent })).body).toEqual({
      result: traceparent,
    })
    expect((await ask('POST', '/api/services/maths/bytes', {})).body).toEqual(Buffer.from([1, 2, 3]))
    expect(await ask('POST', '/api/services/maths/refuse', {})).toMatchObject({
      status: 422,
      body: { code: 'handler_failed', detail: 'not today', error: 'too_hot', degrees: 40 },
    })
    expect(await ask('POST', '/api/services/maths/divide', {})).toMatchObject({ status: 404 })
    expect(await ask('POST', '/api/services/maths/count', {})).toMatchObject({ status: 400 })
    expect(await ask('POST', '/api/services/maths/add', { input: 1, timeout: 3 })).toMatchObject({
      status: 400,
    })
    expect(await ask('POST', '/api/services/maths/add', { version: '9' })).toMatchObject({ status: 404 })
    expect(await ask('POST', '/api/services/maths/slow', { timeout_ms: 20 })).toMatchObject({
      status: 504,
      body: { code: 'timeout' },
    })
  })

  it('finds and calls names', async () => {
    expect((await ask('GET', '/api/names')).body).toMatchObject({
      count: 1,
      names: [{ name: 'clerk', node_id: 'n1' }],
    })
    expect((await ask('GET', '/api/names/clerk')).body).toMatchObject({ kind: 'unique', methods: ['greet'] })
    expect(await ask('GET', '/api/names/nobody')).toMatchObject({ status: 404 })
    expect((await ask('POST', '/api/names/clerk/call', { method: 'greet', args: ['you'] })).body).toEqual({
      result: 'hello you',
    })
    expect(await ask('POST', '/api/names/clerk/call', { method: 'leave' })).toMatchObject({ status: 404 })
  })

  it('does all that by the command', async () => {
    const skein = async (...args: string[]) =>
      (await run(process.execPath, [bin, ...args, '--addr', url], { timeout: 20_000 })).stdout.trim()
    expect(await skein('services', 'ls')).toMatch(/maths +1\.2 +n1 +add, trace/)
    expect(await skein('services', 'call', 'maths', 'add', '{"a":2,"b":3}')).toBe('5')
    expect(JSON.parse(await skein('services', 'show', 'maths', '--json'))).toMatchObject({ name: 'maths' })
    expect(await skein('names', 'call', 'clerk', 'greet', 'all')).toBe('hello all')
    expect(await skein('names', 'ls')).toMatch(/clerk +n1 +unique +greet/)
    await expect(skein('services', 'show', 'physics')).rejects.toMatchObject({ code: 4 })
  })
})
