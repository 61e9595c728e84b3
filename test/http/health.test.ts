/** What a kubelet or a load balancer goes by: `/livez` is about this process alone, `/readyz` about whether it is worth sending work to. */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createNode, type SkeinNode } from '../../src/index.js'
import { type EtcdCluster, freePorts, noEtcd, startEtcd } from '../store/etcd-server.js'

const dir = mkdtempSync(join(tmpdir(), 'skein-health-'))
afterAll(() => rmSync(dir, { recursive: true, force: true }))

const waitMs = 20_000

interface Health {
  readonly live: number
  readonly ready: number
  readonly reasons: readonly string[]
}

/** 0 where nobody answered. */
async function healthAt(address: string): Promise<Health> {
  const ask = async (path: string): Promise<{ status: number; reasons: readonly string[] }> => {
    const response = await fetch(`http://${address}${path}`, { signal: AbortSignal.timeout(2_000) })
    const body = (await response.json()) as { readonly reasons?: readonly string[] }
    return { status: response.status, reasons: body.reasons ?? [] }
  }
  const none = { status: 0, reasons: [] }
  const [live, ready] = await Promise.all([ask('/livez').catch(() => none), ask('/readyz').catch(() => none)])
  return { live: live.status, ready: ready.status, reasons: ready.reasons }
}

async function until(address: string, isSo: (health: Health) => boolean, what: string): Promise<Health> {
  const endMs = performance.now() + waitMs
  for (;;) {
    const health = await healthAt(address)
    if (isSo(health)) return health
    if (performance.now() > endMs)
      throw new Error(`waited ${waitMs} ms for ${what}: ${JSON.stringify(health)}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

const quick = { threads: 'inline', preset: 'local', shards: 8, peerPort: 0, logLevel: 'silent' } as const

describe('a node that starts', () => {
  let silent: Server
  const open = new Set<Socket>()
  beforeAll(async () => {
    // A peer that takes connections and says nothing holds the start up for as long as a handshake may take.
    silent = createServer((socket) => {
      open.add(socket)
      socket.on('error', () => {})
    })
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
  })
  afterAll(() => {
    for (const socket of open) socket.destroy()
    silent.close()
  })

  it('lives before it is ready, says why it is not, and then is', async () => {
    const [port = 0] = await freePorts(1)
    const address = silent.address()
    const peer = typeof address === 'object' ? `127.0.0.1:${address?.port}` : ''
    const starting = createNode({ ...quick, nodeId: 'new', dataDir: join(dir, 'new'), port, peers: [peer] })
    try {
      const at = `127.0.0.1:${port}`
      const early = await until(at, (h) => h.live === 200, 'it to live')
      expect(early).toMatchObject({ ready: 503, reasons: ['the node is starting'] })
      await starting
      await until(at, (h) => h.live === 200 && h.ready === 200, 'it to be ready')
    } finally {
      await (await starting).stop({ deadlineMs: 1_000 })
    }
  })
})

describe('a node that is told to stop', () => {
  it('is not ready at once, and serves and lives until what it does is done', async () => {
    const node = await createNode({ ...quick, nodeId: 'going', dataDir: join(dir, 'going'), port: 0 })
    const at = node.self.httpAddress
    let done: () => void = () => {}
    node.services.provide('slow', {
      work: () => new Promise<string>((resolve) => (done = () => resolve('kept'))),
    })
    await until(at, (h) => h.ready === 200, 'it to be ready')
    const call = node.services.call('slow', 'work', undefined, { timeoutMs: 30_000 })
    const stopped = node.stop({ deadlineMs: 30_000 })
    const draining = await until(at, (h) => h.ready !== 200, 'readiness to go')
    expect(draining).toMatchObject({ live: 200, ready: 503 })
    expect(draining.reasons).toContain('the node is stopping')
    expect((await fetch(`http://${at}/api/cluster/status`)).status).toBe(200)
    done()
    expect(await call).toBe('kept')
    await stopped
    expect(await healthAt(at)).toMatchObject({ live: 0, ready: 0 })
  })
})

describe.skipIf(noEtcd !== undefined)('a node whose store is away', () => {
  let etcd: EtcdCluster
  let node: SkeinNode
  beforeAll(async () => {
    etcd = await startEtcd()
    const store = etcd.url('health')
    node = await createNode({ ...quick, nodeId: 'cut', dataDir: join(dir, 'cut'), port: 0, store })
  }, 60_000)
  afterAll(async () => {
    await node?.stop({ deadlineMs: 1_000 })
    await etcd?.stop()
  }, 60_000)

  it('lives, is not ready for as long, and comes back by itself', async () => {
    const at = node.self.httpAddress
    await until(at, (h) => h.ready === 200, 'it to be ready')
    for (const member of etcd.members) member.pause()
    const cut = await until(at, (h) => h.ready === 503, 'readiness to go')
    expect(cut.live).toBe(200)
    expect(cut.reasons).toContain('no quorum')
    for (const member of etcd.members) member.resume()
    const back = await until(at, (h) => h.ready === 200, 'it to be ready again')
    expect(back.live).toBe(200)
  })
})
