/** Three processes under load while their cookie is changed: no member is suspected, no event refused or lost, and the old cookie is worth nothing. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'

const bin = resolve(import.meta.dirname, '../../bin/skein.js')
const dir = mkdtempSync(join(tmpdir(), 'skein-rotation-'))
const master = join(dir, 'cookie')
const nodes: Node[] = []

interface Up {
  readonly http: string
  readonly peer: string
}

/** A node process, its log lines, and a way to wait for them. */
class Node {
  readonly cookieFile: string
  readonly child: ChildProcess
  readonly log: { msg: string; level: number; code?: string }[] = []
  readonly up: Promise<Up>
  private readonly looks = new Set<() => void>()

  constructor(id: string, peers: readonly string[], cookie: string) {
    this.cookieFile = join(dir, `cookie-of-${id}`)
    copyFileSync(cookie, this.cookieFile)
    const args = [
      'start',
      '--node-id',
      id,
      '--data-dir',
      join(dir, 'data', id),
      '--cookie-file',
      this.cookieFile,
    ]
    const ports = ['--port', '0', '--peer-port', '0', '--preset', 'local', '--json']
    const env = { PATH: process.env.PATH }
    this.child = spawn(process.execPath, [bin, ...args, ...ports, ...peers.flatMap((p) => ['--peer', p])], {
      env,
    })
    createInterface({ input: this.child.stderr! }).on('line', (line) => {
      if (line.startsWith('{')) this.log.push(JSON.parse(line))
      for (const look of this.looks) look()
    })
    this.up = new Promise((done, failed) => {
      this.child.stdout?.once('data', (line) => done(JSON.parse(String(line))))
      this.child.once('close', (code) =>
        failed(new Error(`${id} ended with ${code}: ${JSON.stringify(this.log)}`)),
      )
    })
  }

  said(msg: string, times: number): Promise<void> {
    return new Promise((done) => {
      const look = () => {
        if (this.log.filter((line) => line.msg === msg).length >= times) done()
      }
      this.looks.add(look)
      look()
    })
  }
}

function skein(...args: string[]) {
  return spawnSync(process.execPath, [bin, ...args], { encoding: 'utf8', timeout: 30_000 })
}

interface Answer {
  readonly healthy_peers: number
  readonly events: readonly { readonly event: string }[]
  readonly count: number
  readonly next_cursor?: string
}

async function get(http: string, path: string): Promise<Answer> {
  return (await (await fetch(`http://${http}${path}`)).json()) as Answer
}

beforeAll(async () => {
  expect(skein('cookie', '--file', master).status).toBe(0)
  expect(skein('cookie', '--file', master).status).toBe(5)
  const peers: string[] = []
  for (const id of ['node-1', 'node-2', 'node-3']) {
    const node = new Node(id, peers, master)
    nodes.push(node)
    peers.push((await node.up).peer)
  }
}, 60_000)

afterAll(async () => {
  for (const { child } of nodes) child.kill('SIGKILL')
  rmSync(dir, { recursive: true, force: true, maxRetries: 5 })
})

describe('a cookie is changed', () => {
  test('in three steps, under load, without losing a member or an event', async () => {
    const addresses = await Promise.all(nodes.map(async ({ up }) => (await up).http))
    const old = join(dir, 'cookie-old')
    copyFileSync(master, old)
    await expect
      .poll(async () => (await get(addresses[0] as string, '/api/cluster/status')).healthy_peers, {
        timeout: 20_000,
      })
      .toBe(2)
    let isOver = false
    const accepted = new Map<string, number>()
    const failures: unknown[] = []
    const publish = async (http: string, worker: number) => {
      for (let n = 0; !isOver; n++) {
        const events = Array.from({ length: 20 }, (_, i) => {
          const key = `${worker}-${i}`
          return { stream: 's', key, type: 't', id: `${key}-${n}`, payload: { n } }
        })
        const headers = { 'content-type': 'application/json' }
        const init = { method: 'POST', headers, body: JSON.stringify(events) }
        const answer = await fetch(`http://${http}/api/events`, init)
        const { results } = (await answer.json()) as { results?: { status: string }[] }
        if (answer.status !== 202 || results?.some(({ status }) => status !== 'accepted') !== false)
          failures.push([answer.status, results])
        for (const { key } of events) accepted.set(key, (accepted.get(key) ?? 0) + 1)
      }
    }
    const load = addresses.flatMap((http, i) => [publish(http, i * 2), publish(http, i * 2 + 1)])
    let changes = 0
    for (const step of ['add', 'use', 'drop']) {
      expect(skein('cookie', 'rotate', step, '--file', master).status).toBe(0)
      changes++
      for (const node of nodes) copyFileSync(master, node.cookieFile)
      await Promise.all(nodes.map((node) => node.said('cookies.changed', changes)))
    }
    // Long enough for a lost member to be suspected and declared failed.
    const seen = accepted.size === 0 ? 0 : Math.min(...accepted.values())
    await expect.poll(() => Math.min(...accepted.values()), { timeout: 30_000 }).toBeGreaterThan(seen + 20)
    isOver = true
    await Promise.all(load)
    expect(failures).toEqual([])
    for (const http of addresses) {
      const { events } = await get(http, '/api/cluster/history?limit=1000')
      const names = events.map(({ event }) => event)
      for (const lost of ['member.suspected', 'member.failed', 'member.left', 'lease.lost'])
        expect(names).not.toContain(lost)
      expect((await get(http, '/api/cluster/status')).healthy_peers).toBe(2)
    }
    for (const node of nodes) expect(node.log.filter(({ msg }) => msg === 'peer.rejected')).toEqual([])
    for (const [key, count] of accepted) {
      let stored = 0
      for (let after = ''; ; ) {
        const page = await get(addresses[0] as string, `/api/events?stream=s&key=${key}&limit=1000${after}`)
        stored += page.count
        if (page.next_cursor === undefined) break
        after = `&after=${page.next_cursor}`
      }
      expect(stored, key).toBe(count)
    }
    const late = new Node('node-4', [(await (nodes[0] as Node).up).peer], old)
    await expect(late.up).rejects.toThrow(/bad_cookie|ended with 1/)
    const next = new Node('node-5', [(await (nodes[0] as Node).up).peer], master)
    nodes.push(next)
    await next.up
  }, 120_000)
})
