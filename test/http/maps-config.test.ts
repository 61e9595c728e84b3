/** Maps and configuration over HTTP and by the command, against two real nodes and a third that comes later. */
import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { Build, getJson, type RealNode, RealNodes, until } from '../runtime/real-node.js'

interface Answer {
  readonly status: number
  readonly etag: string | null
  // biome-ignore lint/suspicious/noExplicitAny: of many shapes
  readonly body: any
}

async function ask(
  method: string,
  url: string,
  value?: unknown,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetch(url, {
    method,
    ...(value === undefined ? {} : { body: JSON.stringify(value) }),
    headers: { ...(value === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
  })
  return { status: response.status, etag: response.headers.get('etag'), body: await response.json() }
}

describe('maps and configuration from outside', () => {
  const flags = ['--shards', '8']
  let build: Build
  let nodes: RealNodes
  let one: RealNode
  let two: RealNode
  beforeAll(async () => {
    build = new Build()
    nodes = new RealNodes()
    one = await nodes.start(build, 'one', flags)
    two = await nodes.start(build, 'two', [...flags, '--peer', one.peer])
    await until('both nodes', async () => {
      const { nodes: all } = await getJson<{ nodes: { status: string }[] }>(`${two.url}/api/cluster/nodes`)
      return all.filter((n) => n.status === 'online').length === 2 ? true : undefined
    })
  }, 60_000)
  afterAll(async () => {
    await nodes.close()
    build.remove()
  })

  function skein(...args: readonly string[]): Promise<{ code: number; out: string }> {
    return new Promise((done) => {
      const at = ['--addr', one.url.replace('http://', '')]
      execFile(process.execPath, [join(build.directory, 'bin/skein.js'), ...args, ...at], (error, out, err) =>
        done({ code: typeof error?.code === 'number' ? error.code : 0, out: out + err }),
      )
    })
  }

  it('a key that is put on one node is read on the other, and deleted there', async () => {
    const at = (node: RealNode): string => `${node.url}/api/maps/presence/alice%20b`
    expect((await ask('GET', at(one))).status).toBe(404)
    const put = await ask('PUT', at(one), { value: { status: 'online' } })
    expect(put).toMatchObject({
      status: 200,
      body: { key: 'alice b', kind: 'value', value: { status: 'online' }, node_id: 'one', conflicts: [] },
    })
    await until('alice', async () => ((await ask('GET', at(two))).status === 200 ? true : undefined))
    const { body } = await ask('GET', `${two.url}/api/maps`)
    expect(body).toMatchObject({ maps: [{ name: 'presence', keys: 1 }], count: 1 })
    expect((await ask('DELETE', at(two))).body).toEqual({ success: true })
    expect((await ask('DELETE', at(two))).status).toBe(404)
    await until('her leave', async () => ((await ask('GET', at(one))).status === 404 ? true : undefined))
  })

  it('counters and sets take additions; a key that holds one takes nothing else', async () => {
    const sums = `${one.url}/api/maps/sums`
    await ask('PUT', `${sums}/n`, { increment: 2 })
    expect((await ask('PUT', `${sums}/n`, { increment: -5 })).body).toMatchObject({
      kind: 'counter',
      value: -3,
    })
    await ask('PUT', `${sums}/s`, { add: ['x', 'y'] })
    expect((await ask('PUT', `${sums}/s`, { remove: ['x'], add: ['z'] })).body.value).toEqual(['y', 'z'])
    expect(await ask('PUT', `${sums}/n`, { value: 1 })).toMatchObject({
      status: 409,
      body: { code: 'conflict' },
    })
    for (const wrong of [{}, { value: 1, increment: 2 }, { increment: 'x' }, { remove: 1 }, 7])
      expect(await ask('PUT', `${sums}/w`, wrong), JSON.stringify(wrong)).toMatchObject({
        status: 400,
        body: { detail: expect.stringContaining('one of {value}, {increment') },
      })
    expect(await ask('PUT', `${sums}/w`, { add: [] })).toMatchObject({
      status: 400,
      body: { field: 'add' },
    })
    const page = await ask('GET', `${sums}?limit=1`)
    expect(page.body).toMatchObject({ keys: 2, count: 1, next_cursor: 'n', entries: [{ key: 'n' }] })
    expect((await ask('GET', `${sums}?after=n`)).body.entries).toMatchObject([{ key: 's' }])
    expect((await ask('GET', `${one.url}/api/maps/none`)).status).toBe(404)
    expect((await ask('PUT', `${one.url}/api/maps/no%20name/k`, { value: 1 })).status).toBe(400)
  })

  it('a document is made once, and changed only by who says what it replaces', async () => {
    const at = `${one.url}/api/config/limits`
    expect((await ask('GET', at)).status).toBe(404)
    expect(await ask('PUT', at, { value: { a: 1 }, note: 'first' })).toMatchObject({
      status: 201,
      etag: '"1"',
      body: { key: 'limits', version: 1, value: { a: 1 }, note: 'first', by: 'local' },
    })
    expect(await ask('PUT', at, { value: 2 })).toMatchObject({ status: 428, body: { version: 1 } })
    expect((await ask('PUT', at, { value: 2 }, { 'if-none-match': '*' })).status).toBe(412)
    expect((await ask('PUT', at, { value: 2 }, { 'if-match': '"1"' })).etag).toBe('"2"')
    expect(await ask('PUT', at, { value: 3 }, { 'if-match': '"1"' })).toMatchObject({
      status: 412,
      body: { code: 'conflict', version: 2 },
    })
    expect((await ask('PUT', at, { value: 3 }, { 'if-match': '*' })).body.version).toBe(3)
    expect((await ask('PUT', at, { value: 3 }, { 'if-match': 'x' })).status).toBe(400)
    await until('version 3 on the other node', async () =>
      (await ask('GET', at.replace(one.url, two.url))).etag === '"3"' ? true : undefined,
    )
  })

  it('of many who replace the same version one succeeds', async () => {
    const path = '/api/config/race'
    await ask('PUT', one.url + path, { value: 0 })
    const tries = Array.from({ length: 10 }, (_, i) =>
      ask('PUT', (i % 2 === 0 ? one : two).url + path, { value: i }, { 'if-match': '"1"' }),
    )
    const statuses = (await Promise.all(tries)).map(({ status }) => status).sort()
    expect(statuses).toEqual([200, ...Array.from({ length: 9 }, () => 412)])
  })

  it('keeps its history, and goes back', async () => {
    const at = `${one.url}/api/config/limits`
    const { body } = await ask('GET', `${at.replace(one.url, two.url)}/history`)
    expect(body.versions.map((v: { version: number }) => v.version)).toEqual([3, 2, 1])
    expect(await ask('POST', `${at}/rollback`, { version: 1 }, { 'if-match': '"2"' })).toMatchObject({
      status: 412,
    })
    expect((await ask('POST', `${at}/rollback`, { version: 9 })).status).toBe(404)
    expect((await ask('POST', `${at}/rollback`, { version: 0 })).status).toBe(400)
    expect((await ask('POST', `${at}/rollback`, { version: 1 })).body).toMatchObject({
      version: 4,
      value: { a: 1 },
    })
    expect((await ask('GET', `${one.url}/api/config/none/history`)).status).toBe(404)
    for (let i = 0; i < 55; i++) await ask('PUT', at, { value: i }, { 'if-match': '*' })
    const kept = (await ask('GET', `${at}/history`)).body
    expect(kept.count).toBe(50)
    expect(kept.versions[0].version).toBe(59)
    expect((await ask('PUT', at, { value: 'x'.repeat(70_000) }, { 'if-match': '*' })).status).toBe(413)
    expect((await ask('PUT', `${one.url}/api/config/no%20name`, { value: 1 })).status).toBe(400)
  }, 60_000)

  it('Skein’s own settings are checked, apply on every node at once, and on one that comes later', async () => {
    const path = '/api/config/skein'
    const wrong = await ask('PUT', one.url + path, { value: { strategy: 'best', log_levle: 'info' } })
    expect(wrong.status).toBe(400)
    expect(JSON.stringify(wrong.body)).toMatch(/strategy.*log_levle/s)
    const value = { strategy: 'binpack', log_level: 'silent', rebalance: 'manual', rate_limit: 5_000 }
    expect((await ask('PUT', one.url + path, { value })).status).toBe(201)
    const inForce = (node: RealNode) =>
      until(`the settings on ${node.id}`, async () => {
        const { settings } = (await ask('GET', `${node.url}/api/config`)).body
        const stats = (await ask('GET', `${node.url}/api/cluster/stats`)).body
        const isSo = Object.entries(value).every(([name, wanted]) => settings[name] === wanted)
        return isSo && stats.balancer.strategy === 'binpack' ? settings : undefined
      })
    await inForce(one)
    await inForce(two)
    const three = await nodes.start(build, 'three', [...flags, '--peer', one.peer])
    expect(await inForce(three)).toMatchObject({ rate_burst: 20_000 })
    // The other way to choose a strategy writes the same document, and leaves the rest of it.
    await ask('POST', `${two.url}/api/cluster/balance?strategy=random`)
    const { body } = await ask('GET', two.url + path)
    expect(body).toMatchObject({ version: 2, value: { ...value, strategy: 'random' } })
    await until('the strategy everywhere', async () => {
      const all = await Promise.all([one, two, three].map((n) => ask('GET', `${n.url}/api/cluster/stats`)))
      return all.every((a) => a.body.balancer.strategy === 'random') ? true : undefined
    })
  }, 60_000)

  it('the command does all of it', async () => {
    expect(await skein('config', 'set', 'cli', '{"a":1}', '--note', 'why')).toEqual({
      code: 0,
      out: '"cli" is at version 1\n',
    })
    expect(await skein('config', 'set', 'cli', 'two', '--if-version', '0')).toMatchObject({ code: 5 })
    expect((await skein('config', 'set', 'cli', 'two', '--if-version', '1', '--json')).out).toContain(
      '"version": 2',
    )
    expect((await skein('config', 'get', 'cli')).out).toBe('"two"\n')
    expect((await skein('config', 'get')).out).toMatch(/cli +2[\s\S]*strategy +random/)
    expect((await skein('config', 'history', 'cli')).out).toMatch(/2 .*"two"\n1 .*why.*\{"a":1\}/)
    expect((await skein('config', 'rollback', 'cli', '1')).out).toBe('"cli" is at version 3\n')
    expect((await skein('config', 'get', 'absent')).code).toBe(4)
    expect((await skein('maps', 'set', 'm', 'k', 'hello')).out).toBe('hello\n')
    expect((await skein('maps', 'set', 'm', 'n', '--increment', '4')).out).toBe('4\n')
    expect((await skein('maps', 'set', 'm', 's', '--add', '1', 'two')).out).toBe('["two",1]\n')
    expect((await skein('maps', 'set', 'm', 's')).code).toBe(2)
    expect((await skein('maps', 'get', 'm', 'k', '--json')).out).toContain('"kind": "value"')
    expect((await skein('maps', 'ls')).out).toMatch(/m +3/)
    expect((await skein('maps', 'ls', 'm')).out).toMatch(/k +value +one[\s\S]*n +counter +-/)
    expect((await skein('maps', 'rm', 'm', 'k')).out).toBe('k is gone\n')
    expect((await skein('maps', 'rm', 'm', 'k')).code).toBe(4)
  }, 60_000)
})
