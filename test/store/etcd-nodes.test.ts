/** Nodes as processes on one etcd: they form a cluster, lose their leader to `kill -9`, and go on publishing. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { afterEach, describe, expect, it } from 'vitest'
import { makeDirectory, removeDirectory } from './directory.js'
import { type EtcdCluster, freePorts, noEtcd, startEtcd } from './etcd-server.js'

const bin = resolve(import.meta.dirname, '../../bin/skein.js')
const directory = makeDirectory()
const children = new Set<ChildProcess>()
let etcd: EtcdCluster | undefined

interface Running {
  readonly id: string
  readonly child: ChildProcess
  readonly http: string
}

afterEach(async () => {
  for (const child of children) {
    if (child.exitCode !== null || child.signalCode !== null) continue
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
  }
  await etcd?.stop()
  removeDirectory(directory)
})

async function start(id: string, store: string, peerPort: number, peer?: number): Promise<Running> {
  const args = [bin, 'start', '--json', '--log-level', 'silent', '--node-id', id, '--port', '0']
  args.push('--peer-port', String(peerPort), '--store', store, '--journal', `sqlite:${directory}/journal`)
  args.push('--data-dir', join(directory, id), ...(peer === undefined ? [] : ['--peer', `127.0.0.1:${peer}`]))
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  children.add(child)
  for await (const line of createInterface({ input: child.stdout! })) {
    return { id, child, http: (JSON.parse(line) as { http: string }).http }
  }
  throw new Error(`node ${id} ended without a word`)
}

async function leaderOf({ http }: Running): Promise<string | undefined> {
  const response = await fetch(`http://${http}/api/cluster/status`, { signal: AbortSignal.timeout(2000) })
  return ((await response.json()) as { leader_id?: string }).leader_id
}

async function publish({ http }: Running, key: string): Promise<number> {
  const response = await fetch(`http://${http}/api/events`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify([{ stream: 's', key, type: 't', payload: 1 }]),
    signal: AbortSignal.timeout(8000),
  })
  return response.status
}

describe.skipIf(noEtcd !== undefined)(noEtcd ?? 'nodes on one etcd', () => {
  it('lead, take over from a killed leader, and publish under every key again', async () => {
    etcd = await startEtcd()
    const url = etcd.url('nodes')
    const ports = await freePorts(3)
    const first = await start('n1', url, ports[0]!)
    const nodes = [
      first,
      ...(await Promise.all([start('n2', url, ports[1]!, ports[0]), start('n3', url, ports[2]!, ports[0])])),
    ]
    const ids = nodes.map(({ id }) => id)
    await expect.poll(() => leaderOf(first), { timeout: 10_000 }).toSatisfy((id) => ids.includes(id))
    const keys = Array.from({ length: 40 }, (_, i) => `key-${i}`)
    const everywhere = (node: Running) => Promise.all(keys.map((key) => publish(node, key)))
    await expect.poll(() => everywhere(first), { timeout: 10_000 }).toEqual(keys.map(() => 202))

    const leader = await leaderOf(first)
    const killed = nodes.find(({ id }) => id === leader)!
    const survivor = nodes.find(({ id }) => id !== leader)!
    const beganMs = performance.now()
    killed.child.kill('SIGKILL')
    await expect
      .poll(() => leaderOf(survivor), { timeout: 10_000, interval: 20 })
      .toSatisfy((id) => ids.includes(id) && id !== leader)
    await expect
      .poll(() => everywhere(survivor), { timeout: 10_000, interval: 20 })
      .toEqual(keys.map(() => 202))
    // The lease time of five seconds, and two.
    expect(performance.now() - beganMs).toBeLessThan(7000)
  })
})
