/** Spawn and processors over HTTP and on the command line, on two real nodes. */
import { execFile } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { Build, getJson, type RealNode, RealNodes, until } from '../runtime/real-node.js'

const run = promisify(execFile)
const program = (library: string) => `
import { defineProcessor } from '${library}'
export const Square = defineProcessor('square', (n) => n * n, { isIdempotent: true })
export const Shapes = defineProcessor('shapes', () => ({ at: new Date(0), by: new Map([['k', 1n]]), raw: new Uint8Array([1]), set: new Set([1]) }))
export const Wait = defineProcessor('wait', (_, { signal }) => new Promise((_, no) => signal.addEventListener('abort', () => no(signal.reason))))
export const Fail = defineProcessor('fail', () => { throw new RangeError('out of it') })
export const setup = (node) => { node.processors.process('jobs', defineProcessor('job', () => {})) }
`

let build: Build
let nodes: RealNodes
let one: RealNode
let two: RealNode

beforeAll(async () => {
  build = new Build()
  nodes = new RealNodes()
  const module = join(build.directory, 'program.mjs')
  writeFileSync(module, program(pathToFileURL(join(build.directory, 'dist/index.js')).href))
  one = await nodes.start(build, 'one', ['--shards', '8', '--load', module, '--max-spawned', '3'])
  two = await nodes.start(build, 'two', ['--shards', '8', '--load', module, '--peer', one.peer])
  await until('both to be known', async () => {
    const list = await getJson<{ processors: { name: string; nodes: string[] }[] }>(
      `${one.url}/api/processors`,
    )
    return list.processors.find((p) => p.name === 'square')?.nodes.length === 2 ? true : undefined
  })
  await until('rows to come', async () =>
    (await spawn({ name: 'square', args: 1, on: 'two' })).status < 300 ? true : undefined,
  )
}, 60_000)
afterAll(async () => {
  await nodes.close()
  build.remove()
})

async function spawn(body: unknown) {
  const response = await fetch(`${one.url}/api/spawn`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  return {
    status: response.status,
    location: response.headers.get('location'),
    body: (await response.json()) as Run,
  }
}

interface Run {
  readonly id: string
  readonly status: string
  readonly node_id: string
  readonly code?: string
  readonly detail: string
  readonly result?: unknown
  readonly error?: { readonly code: string; readonly details: unknown }
}

it('answers 200 with the result of what ended in time, and with how it failed', async () => {
  const done = await spawn({ name: 'square', args: 12, on: 'two', wait_ms: 5_000 })
  expect(done).toMatchObject({ status: 200, body: { status: 'finished', result: 144, node_id: 'two' } })
  const shapes = await spawn({ name: 'shapes', on: 'two', wait_ms: 5_000 })
  expect(shapes.body.result).toEqual({
    at: '1970-01-01T00:00:00.000Z',
    by: { k: '1' },
    raw: 'AQ==',
    set: [1],
  })
  const failed = await spawn({ name: 'fail', on: 'two', wait_ms: 5_000 })
  expect(failed.status).toBe(200)
  expect(failed.body).toMatchObject({
    status: 'failed',
    error: { code: 'handler_failed', details: { name: 'RangeError' } },
  })
})

it('answers 202 with where it runs, lists it on any node, and tells it to stop from any', async () => {
  const started = await spawn({ name: 'wait', on: 'two' })
  expect(started.status).toBe(202)
  expect(started.location).toBe(`/api/processors/${encodeURIComponent(started.body.id)}`)
  for (const { url } of [one, two]) {
    const list = await getJson<{ running: Run[]; nodes: unknown[]; streams: { group: string }[] }>(
      `${url}/api/processors`,
    )
    expect(list.running.map((r) => r.id)).toEqual([started.body.id])
    expect(list.nodes).toEqual([
      { node_id: 'one', running: 0, running_max: 3 },
      { node_id: 'two', running: 1, running_max: 100 },
    ])
    expect(list.streams.map((s) => s.group)).toEqual(['jobs/job', 'jobs/job'])
    expect(await getJson<Run>(`${url}${started.location}`)).toMatchObject({
      status: 'running',
      node_id: 'two',
    })
  }
  const kill = () => fetch(`${one.url}${started.location}?reason=enough`, { method: 'DELETE' })
  expect(await (await kill()).json()).toEqual({ success: true, killed: true })
  expect(await getJson<Run>(`${two.url}${started.location}?wait_ms=5000`)).toMatchObject({
    status: 'killed',
    detail: 'enough',
  })
  expect(await (await kill()).json()).toEqual({ success: true, killed: false })
})

it('refuses with the right status', async () => {
  const refused = async (body: unknown) => {
    const { status, body: problem } = await spawn(body)
    return [status, problem.code]
  }
  expect(await refused({ name: 'nobody' })).toEqual([404, 'not_found'])
  expect(await refused({ name: 'square', args: 1, where: 'two' })).toEqual([400, 'invalid_argument'])
  expect(await refused({ name: 'wait', retries: 1 })).toEqual([400, 'invalid_argument'])
  expect(await refused({ name: 'square', on: 'nowhere' })).toEqual([404, 'not_found'])
  const all = await Promise.all([1, 2, 3].map(() => spawn({ name: 'wait', on: 'one' })))
  expect(await refused({ name: 'square', args: 1, on: 'one' })).toEqual([429, 'overloaded'])
  for (const { location } of all) await fetch(`${one.url}${location}`, { method: 'DELETE' })
  const get = async (id: string) =>
    (await fetch(`${one.url}/api/processors/${encodeURIComponent(id)}`)).status
  const ids = ['no-id', '0123456789abcdef@one', '0123456789abcdef@two', '0123456789abcdef@nowhere']
  expect(await Promise.all(ids.map(get))).toEqual([400, 404, 404, 404])
})

it('does the same on the command line', async () => {
  const cli = (...args: string[]) =>
    run(process.execPath, ['bin/skein.js', ...args, '--addr', new URL(one.url).host], {
      cwd: build.directory,
    })
  expect((await cli('spawn', 'square', '7', '--on', 'two')).stdout).toBe('49\n')
  const { id } = JSON.parse((await cli('spawn', 'wait', '--detach', '--on', 'two', '--json')).stdout) as Run
  expect((await cli('processors')).stdout).toMatch(/square +yes +one, two/)
  expect((await cli('processors', 'ls')).stdout).toContain(id)
  expect((await cli('processors', 'show', id)).stdout).toContain('runs on two')
  expect((await cli('processors', 'kill', id, '--reason', 'over')).stdout).toContain('told to stop')
  await until('it to be down', async () =>
    cli('processors', 'show', id).then(
      () => undefined,
      (error: { code: number; stderr: string }) =>
        /killed.*over/.test(error.stderr) && error.code === 1 ? true : undefined,
    ),
  )
  await expect(cli('spawn', 'nobody')).rejects.toMatchObject({ code: 4 })
  await expect(cli('spawn', 'wait', '--timeout', '200')).rejects.toMatchObject({ code: 6 })
}, 60_000)
