/** A rolling upgrade with two builds: the newer one speaks a protocol more and can keep its data in a higher format. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Build, getJson, type RealNode, RealNodes, until } from './real-node.js'

interface Status {
  readonly format_level: number
  readonly healthy_peers: number
}

describe('a rolling upgrade', () => {
  let older: Build
  let newer: Build
  let nodes: RealNodes
  beforeEach(() => {
    older = new Build()
    newer = new Build()
    newer.change('core/kernel/format.js', 'min: 1, max: 1', 'min: 1, max: 2')
    newer.change('runtime/control-plane.js', 'protocolMax = 1', 'protocolMax = 2')
    nodes = new RealNodes()
  })
  afterEach(async () => {
    await nodes.close()
    older.remove()
    newer.remove()
  })

  const status = (node: RealNode) => getJson<Status>(`${node.url}/api/cluster/status`)

  it('goes node by node under load; the format rises with the last one, and older builds are refused from then on', async () => {
    const running = new Map<string, RealNode>()
    const ports = new Map<string, readonly string[]>()
    for (const id of ['a', 'b', 'c']) {
      const peers = [...running.values()].flatMap((n) => ['--peer', n.peer])
      const node = await nodes.start(older, id, peers)
      running.set(id, node)
      ports.set(id, ['--port', new URL(node.url).port, '--peer-port', node.peer.split(':')[1] as string])
    }
    await until('three members', async () =>
      (await status(running.get('a') as RealNode)).healthy_peers === 2 ? true : undefined,
    )

    const acknowledged = new Set<string>()
    let stopped = false
    const load = (async () => {
      for (let n = 0; !stopped; n++) {
        const id = `e${n}`
        // Wherever a node is up: what was not answered is sent again under its id.
        await until(`event ${id}`, async () => {
          const up = [...running.values()]
          const node = up[n % up.length] as RealNode
          const response = await fetch(`${node.url}/api/events`, {
            method: 'POST',
            headers: { 'content-type': 'application/json' },
            body: JSON.stringify({ stream: 's', key: `k${n % 50}`, id, type: 't', payload: n }),
            signal: AbortSignal.timeout(5_000),
          })
          await response.text()
          return response.ok ? true : undefined
        })
        acknowledged.add(id)
        await new Promise((wait) => setTimeout(wait, 5))
      }
    })()

    for (const id of ['a', 'b', 'c']) {
      const node = running.get(id) as RealNode
      const others = [...running.values()].filter((n) => n !== node)
      expect((await status(others[0] as RealNode)).format_level).toBe(1)
      running.delete(id)
      await nodes.end(node, 'SIGTERM')
      const peers = others.flatMap((n) => ['--peer', n.peer])
      running.set(id, await nodes.start(newer, id, [...(ports.get(id) as string[]), ...peers]))
      await until('three members again', async () =>
        (await status(others[0] as RealNode)).healthy_peers === 2 ? true : undefined,
      )
    }
    await until('the higher format on every node', async () => {
      for (const node of running.values()) if ((await status(node)).format_level !== 2) return undefined
      return true
    })
    stopped = true
    await load

    const a = running.get('a') as RealNode
    const read = new Set<string>()
    let cursor = ''
    do {
      const page = await getJson<{ events: { id: string }[]; next_cursor?: string }>(
        `${a.url}/api/events?stream=s&limit=1000${cursor}`,
      )
      for (const { id } of page.events) read.add(id)
      cursor = page.next_cursor === undefined ? '' : `&after=${page.next_cursor}`
    } while (cursor !== '')
    expect([...acknowledged].filter((id) => !read.has(id))).toEqual([])
    expect(acknowledged.size).toBeGreaterThan(100)

    await expect(nodes.start(older, 'd', ['--peer', a.peer])).rejects.toThrow(
      /the cluster keeps its data in format 2, this build reads 1 to 1: upgrade this node/,
    )
    expect((await status(a)).healthy_peers).toBe(2)
  }, 120_000)
})

describe('a node that does not belong', () => {
  let build: Build
  let nodes: RealNodes
  beforeEach(() => {
    build = new Build()
    nodes = new RealNodes()
  })
  afterEach(async () => {
    await nodes.close()
    build.remove()
  })

  it('is told which journal the cluster uses and how to share it, even if it knows no peer', async () => {
    await nodes.start(build, 'a')
    await expect(nodes.start(build, 'b', ['--journal', `sqlite:${nodes.data}/other`])).rejects.toThrow(
      /lie in another journal \(sqlite \w+, first used by a\).*PostgreSQL/,
    )
  }, 60_000)

  it('is told how many shards the cluster has', async () => {
    await nodes.start(build, 'a')
    await expect(nodes.start(build, 'b', ['--shards', '64'])).rejects.toThrow(/--shards 256/)
  }, 60_000)
})
