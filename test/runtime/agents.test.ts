/** Agents as a program defines them, and processes as a user runs them, on real node processes. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Build, getJson, type RealNode, RealNodes, until } from './real-node.js'

const program = (library: string) => `
import { defineAgent } from '${library}'
const here = import.meta.url
export const Counter = defineAgent('counter', {
  state: { n: 0 },
  on: {
    add: (ctx, by) => (ctx.state.n += by),
    fail: (ctx) => { ctx.state.n++; throw new Error('not today') },
    who: (ctx) => ({ name: ctx.name, epoch: ctx.epoch, config: ctx.config }),
    tell: (ctx, text) => ctx.publish('told', { key: ctx.name, payload: text }),
    ask: (ctx, other) => ctx.call(Counter, other).add(10),
    finish: (ctx) => ctx.complete('all done'),
    swell: (ctx) => { ctx.state.big = 'x'.repeat(5_000_000) },
  },
})
export const Clock = defineAgent('clock', {
  state: { ticks: 0, starts: 0 },
  onStart: (ctx) => { ctx.state.starts++; ctx.every(20, () => { ctx.state.ticks++ }) },
  on: { read: (ctx) => ({ ...ctx.state }) },
})
export const Threaded = defineAgent('threaded', {
  state: { kept: 0 },
  worker: { module: here, memoryMib: 48 },
  on: {
    keep: (ctx, n) => (ctx.state.kept += n),
    thread: async () => (await import('node:worker_threads')).isMainThread,
    eat: () => { const all = []; for (;;) all.push(new Array(100000).fill(Math.random())) },
  },
})
`

interface Agent {
  readonly status: string
  readonly detail: string
  readonly node_id: string | null
  readonly epoch: number
  readonly restarts: number
}

describe('agents on real nodes', () => {
  let build: Build
  let nodes: RealNodes
  let one: RealNode
  let two: RealNode
  let dir: string
  beforeEach(async () => {
    build = new Build()
    nodes = new RealNodes()
    dir = mkdtempSync(join(tmpdir(), 'skein-agents-'))
    const module = join(build.directory, 'program.mjs')
    writeFileSync(module, program(pathToFileURL(join(build.directory, 'dist/index.js')).href))
    const flags = ['--shards', '8', '--load', module, '--allow-exec']
    one = await nodes.start(build, 'one', flags)
    two = await nodes.start(build, 'two', [...flags, '--peer', one.peer])
    await until('both nodes', async () => {
      const { nodes: all } = await getJson<{ nodes: { status: string }[] }>(`${two.url}/api/cluster/nodes`)
      return all.filter((n) => n.status === 'online').length === 2 ? true : undefined
    })
  }, 60_000)
  afterEach(async () => {
    await nodes.close()
    build.remove()
    rmSync(dir, { recursive: true, force: true })
  })

  const show = (name: string) => getJson<Agent>(`${two.url}/api/agents/${name}`)

  async function post(path: string, body: unknown = {}, via = one): Promise<{ status: number; body: never }> {
    const response = await fetch(`${via.url}${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    return { status: response.status, body: (await response.json()) as never }
  }

  async function call(name: string, method: string, ...args: unknown[]): Promise<unknown> {
    const { status, body } = await post(`/api/agents/${name}/call`, { method, args })
    if (status !== 200) throw Object.assign(new Error((body as { detail: string }).detail), { problem: body })
    return (body as { result: unknown }).result
  }

  it('calls them in order, from any node, with what they were made with', async () => {
    expect(
      (await post('/api/agents', { name: 'a', kind: 'counter', config: { colour: 'red' } })).status,
    ).toBe(201)
    expect((await post('/api/agents', { name: 'a', kind: 'counter' }, two)).status).toBe(409)
    const results = await Promise.all(Array.from({ length: 50 }, () => call('a', 'add', 1)))
    expect(results).toEqual(Array.from({ length: 50 }, (_, i) => i + 1))
    await expect(call('a', 'swell')).rejects.toMatchObject({ problem: { code: 'payload_too_large' } })
    expect(await call('a', 'add', 1)).toBe(51)
    expect(await call('a', 'who')).toMatchObject({ name: 'a', config: { colour: 'red' } })
    await expect(call('a', 'fail')).rejects.toMatchObject({ problem: { code: 'handler_failed' } })
    await expect(call('a', 'nothing')).rejects.toMatchObject({
      problem: { code: 'not_found', allowed: expect.anything() },
    })
    await expect(call('b', 'add', 1)).rejects.toMatchObject({ problem: { code: 'not_found' } })
    expect((await post('/api/agents', { name: 'x', kind: 'unknown' })).body).toMatchObject({
      status: 'pending',
    })
  }, 60_000)

  it('lets them publish, call one another, and finish', async () => {
    await post('/api/agents', { name: 'a', kind: 'counter' })
    await post('/api/agents', { name: 'b', kind: 'counter' })
    expect(await call('a', 'ask', 'b')).toBe(10)
    await call('a', 'tell', 'hello')
    const { events } = await getJson<{ events: { payload: unknown }[] }>(
      `${two.url}/api/events?stream=told&key=a`,
    )
    expect(events.map((e) => e.payload)).toEqual(['hello'])
    await call('a', 'finish')
    await until('the end', async () => ((await show('a')).status === 'stopped' ? true : undefined))
    await expect(call('a', 'add', 1)).rejects.toMatchObject({ problem: { code: 'conflict' } })
    expect((await post('/api/agents/a/restart')).status).toBe(200)
    await until('it to run again', async () => ((await show('a')).status === 'running' ? true : undefined))
    expect(await call('a', 'add', 1)).toBe(1)
  }, 60_000)

  it('keeps what their own steps did over a move and over the death of their node', async () => {
    await post('/api/agents', { name: 'c', kind: 'clock' })
    const read = async () => (await call('c', 'read')) as { ticks: number; starts: number }
    const before = await until('ticks', async () => {
      const state = await read()
      return state.ticks > 5 ? state : undefined
    })
    const from = (await show('c')).node_id as string
    expect((await post('/api/agents/c/migrate')).status).toBe(200)
    const moved = await read()
    expect(moved.ticks).toBeGreaterThanOrEqual(before.ticks)
    expect(moved.starts).toBe(2)
    // Back to the second node, which then dies.
    if (from === 'two') await post('/api/agents/c/migrate', { node_id: 'two' })
    const last = await read()
    await nodes.end(two)
    const { status, body } = await post('/api/agents/c/call', { method: 'read', timeout_ms: 20_000 })
    expect(status).toBe(200)
    expect((body as { result: { ticks: number } }).result.ticks).toBeGreaterThanOrEqual(last.ticks)
  }, 90_000)

  it('runs those that want it in a thread, and starts them again when it runs out of memory', async () => {
    await post('/api/agents', {
      name: 't',
      kind: 'threaded',
      restart: { mode: 'always', backoff_min_ms: 50 },
    })
    expect(await call('t', 'keep', 7)).toBe(7)
    expect(await call('t', 'thread')).toBe(false)
    await expect(call('t', 'eat')).rejects.toMatchObject({ problem: { code: 'handler_failed' } })
    expect(await call('t', 'keep', 1)).toBe(8)
    expect((await show('t')).restarts).toBeGreaterThan(0)
  }, 90_000)

  it('starts processes again, with growing pauses, until it is enough', async () => {
    const restart = {
      mode: 'always',
      backoff_min_ms: 10,
      backoff_max_ms: 20,
      tries_max: 3,
      window_ms: 60_000,
    }
    await post('/api/agents', { name: 'p', command: 'sh', args: ['-c', 'echo began; exit 3'], restart })
    const failed = await until('the end of patience', async () => {
      const agent = await show('p')
      return agent.status === 'failed' ? agent : undefined
    })
    expect(failed.detail).toMatch(/code 3/)
  }, 60_000)

  it('carries the state of a process by its hooks', async () => {
    const saved = join(dir, 'saved')
    writeFileSync(saved, 'the state\n')
    const loaded = join(dir, 'loaded')
    await post('/api/agents', {
      name: 'h',
      command: 'sleep',
      args: ['1000'],
      save_hook: { command: 'cat', args: [saved] },
      load_hook: { command: 'sh', args: ['-c', `cat >> ${loaded}`] },
    })
    await until('it to run', async () => ((await show('h')).status === 'running' ? true : undefined))
    expect((await post('/api/agents/h/migrate')).status).toBe(200)
    await until('it to run there', async () => ((await show('h')).status === 'running' ? true : undefined))
    expect(readFileSync(loaded, 'utf8')).toBe('the state\n')
  }, 60_000)

  it('pauses and resumes, and forgets the state of one that is removed', async () => {
    await post('/api/agents', { name: 'a', kind: 'counter' })
    await call('a', 'add', 5)
    await post('/api/agents/a/pause')
    await until('the pause', async () => ((await show('a')).status === 'paused' ? true : undefined))
    await expect(call('a', 'add', 1)).rejects.toMatchObject({ problem: { code: 'conflict' } })
    await post('/api/agents/a/resume')
    await until('the call', async () => ((await call('a', 'add', 1).catch(() => 0)) === 6 ? true : undefined))
    const { epoch } = await show('a')
    expect((await fetch(`${one.url}/api/agents/a`, { method: 'DELETE' })).status).toBe(200)
    await until('the other node to have heard of it', async () =>
      (await fetch(`${two.url}/api/agents/a`)).status === 404 ? true : undefined,
    )
    await post('/api/agents', { name: 'a', kind: 'counter' })
    expect(await call('a', 'add', 1)).toBe(1)
    expect((await show('a')).epoch).toBeGreaterThan(epoch)
  }, 60_000)
})
