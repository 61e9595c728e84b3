/** Three processes that reach each other through HTTPS proxies alone, one in front of each, which show both doors of a node under one name. */
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type MadeCertificate, makeAuthority, makeLeaf } from '../../src/keys/make-certificates.js'
import { HttpProxy } from '../transport/http-proxy.js'
import { Build, getJson, type RealNode, RealNodes, until } from './real-node.js'

interface NodeRow {
  readonly id: string
  readonly status: string
  readonly peer_address: string
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, '127.0.0.1'))
  await Promise.all(servers.map((server) => new Promise((done) => server.once('listening', done))))
  const ports = servers.map((server) => (server.address() as { port: number }).port)
  await Promise.all(servers.map((server) => new Promise((done) => server.close(done))))
  return ports
}

/** Sockets of the process that are UDP, by the kernel's tables. */
function udpSockets(pid: number): number {
  const inodes = new Set(
    ['udp', 'udp6'].flatMap((table) =>
      readFileSync(`/proc/net/${table}`, 'utf8')
        .trim()
        .split('\n')
        .slice(1)
        .map((line) => line.trim().split(/\s+/)[9]),
    ),
  )
  return readdirSync(`/proc/${pid}/fd`).filter((fd) => {
    try {
      return inodes.has(/^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1])
    } catch {
      // Closed between the listing and the look.
      return false
    }
  }).length
}

describe('a cluster over WebSockets', () => {
  let build: Build
  let nodes: RealNodes
  let authority: MadeCertificate
  const proxies: HttpProxy[] = []
  beforeEach(async () => {
    build = new Build()
    nodes = new RealNodes()
    authority = await makeAuthority('c', 1)
  })
  afterEach(async () => {
    await nodes.close()
    for (const proxy of proxies.splice(0)) await proxy.close()
    build.remove()
  })

  async function start(
    id: string,
    peers: readonly string[],
    more: readonly string[] = [],
  ): Promise<RealNode> {
    const site = await makeLeaf(authority, {
      name: 'p',
      uri: 'urn:p',
      hosts: ['127.0.0.1'],
      isServer: true,
      days: 1,
    })
    const [mesh, control] = await freePorts(2)
    const proxy = await HttpProxy.open({
      route: (path) => (path === '/skein/mesh' ? mesh : path === '/skein/control' ? control : undefined),
      https: site,
    })
    proxies.push(proxy)
    const trusted = join(nodes.data, 'authority.pem')
    writeFileSync(trusted, authority.cert)
    const options = ['--transport', 'wss', '--peer-port', `${mesh}`, '--control-port', `${control}`]
    options.push('--advertise', proxy.address, '--advertise-control', proxy.address)
    return await nodes.start(build, id, [...options, ...peers.flatMap((p) => ['--peer', p]), ...more], {
      NODE_EXTRA_CA_CERTS: trusted,
    })
  }

  const rows = async (node: RealNode) =>
    new Map(
      (await getJson<{ nodes: NodeRow[] }>(`${node.url}/api/cluster/nodes`)).nodes.map((row) => [
        row.id,
        row,
      ]),
    )
  const statuses = async (node: RealNode, ids: string) =>
    [...ids].map((id) => rows(node).then((all) => all.get(id)?.status ?? 'absent'))
  const settled = (what: string, node: RealNode, ids: string, wanted: string) =>
    until(what, async () => {
      const found = await Promise.all(await statuses(node, ids))
      return found.every((status) => wanted.split('|').includes(status)) ? true : undefined
    })

  async function publish(node: RealNode, from: number, count: number): Promise<void> {
    const events = Array.from({ length: count }, (_, i) => ({
      stream: 's',
      key: `k${(from + i) % 60}`,
      id: `e${from + i}`,
      type: 't',
      payload: from + i,
    }))
    // What a moving shard refused is sent again, as every client must: its id makes that safe.
    await until('everything is stored', async () => {
      const response = await fetch(`${node.url}/api/events`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(events),
        signal: AbortSignal.timeout(10_000),
      })
      const answer = (await response.json()) as { accepted: number; duplicates: number }
      return answer.accepted + answer.duplicates === count ? true : undefined
    })
  }

  /** Ids by key, in the order in which they are stored. */
  async function read(node: RealNode): Promise<Map<string, string[]>> {
    const found = new Map<string, string[]>()
    for (let k = 0; k < 60; k++) {
      const page = await getJson<{ events: { id: string }[] }>(
        `${node.url}/api/events?stream=s&key=k${k}&limit=1000`,
      )
      found.set(
        `k${k}`,
        page.events.map((event) => event.id),
      )
    }
    return found
  }

  it('forms, forwards events, notices a killed node, survives a restart of the proxies, and lets no other cookie in', async () => {
    const a = await start('a', [])
    const b = await start('b', [proxies[0]!.address])
    const c = await start('c', [proxies[0]!.address])
    for (const node of [a, b, c]) await settled('three members', node, 'abc', 'online')
    for (const { child } of [a, b, c]) expect(udpSockets(child.pid as number)).toBe(0)
    expect([...(await rows(b)).values()].map((row) => row.peer_address).sort()).toEqual(
      proxies.map((proxy) => proxy.address).sort(),
    )
    await publish(a, 0, 300)
    await publish(b, 300, 300)
    const before = await read(c)
    expect([...before.values()].flat()).toHaveLength(600)
    for (const [key, ids] of before)
      expect(ids).toEqual(Array.from({ length: 10 }, (_, i) => `e${Number(key.slice(1)) + i * 60}`))

    expect(new Set(proxies.flatMap((proxy) => proxy.seen))).toEqual(
      new Set(['/skein/mesh', '/skein/control']),
    )

    // All connections of all proxies end at once: nobody is dead, so nobody is called so.
    for (const proxy of proxies) proxy.cut()
    await publish(c, 600, 60)
    await settled('still three members', a, 'abc', 'online')
    const history = await getJson<{ events: { event: string }[] }>(`${a.url}/api/cluster/history?limit=1000`)
    expect(history.events.filter(({ event }) => event === 'member.failed')).toEqual([])

    await nodes.end(c)
    for (const node of [a, b]) await settled('c is missed', node, 'c', 'offline')
    const why = await getJson<{ evidence: { kind: string; detail: string }[] }>(
      `${a.url}/api/cluster/nodes/c/why`,
    )
    expect(why.evidence.some(({ kind, detail }) => kind === 'dial_refused' && detail.includes('502'))).toBe(
      true,
    )
    await publish(a, 660, 60)
    expect([...(await read(b)).values()].flat()).toHaveLength(720)

    await expect(start('d', [proxies[0]!.address], ['--cookie', 'not the right one'])).rejects.toThrow(
      /bad_cookie/,
    )
    expect((await rows(a)).has('d')).toBe(false)
  }, 120_000)
})
