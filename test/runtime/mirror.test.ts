/** Two clusters as real processes, one mirroring a stream to the other. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Build, getJson, type RealNode, RealNodes, until } from './real-node.js'

interface Event {
  readonly id: string
  readonly key: string
  readonly payload: number
}

describe('a mirror', () => {
  let build: Build
  let here: RealNodes
  let there: RealNodes
  beforeEach(() => {
    build = new Build()
    here = new RealNodes()
    there = new RealNodes()
  })
  afterEach(async () => {
    await here.close()
    await there.close()
    build.remove()
  })

  const far = ['--cluster-name', 'far', '--cookie', 'a cookie of thirty-two bytes or more']

  async function publish(node: RealNode, from: number, to: number, stream = 'orders'): Promise<void> {
    const events = Array.from({ length: to - from }, (_, i) => ({
      stream,
      key: `k${(from + i) % 7}`,
      id: `e${from + i}`,
      type: 't',
      payload: from + i,
    }))
    const response = await fetch(`${node.url}/api/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(events),
    })
    expect(((await response.json()) as { accepted: number }).accepted).toBe(events.length)
  }

  async function read(node: RealNode, stream = 'orders'): Promise<Event[]> {
    const events: Event[] = []
    let cursor: string | undefined
    do {
      const after = cursor === undefined ? '' : `&after=${cursor}`
      const page = await getJson<{ events: Event[]; next_cursor?: string }>(
        `${node.url}/api/events?stream=${stream}&limit=1000${after}`,
      )
      events.push(...page.events)
      cursor = page.next_cursor
    } while (cursor !== undefined)
    return events
  }

  const copied = (node: RealNode, count: number) =>
    until(`${count} events over there`, async () => {
      const events = await read(node)
      return events.length >= count ? events : undefined
    })

  async function lag(node: RealNode): Promise<number> {
    const metrics = await (await fetch(`${node.url}/metrics`)).text()
    return Number(/^skein_mirror_lag_seconds\{[^}]*\} (\S+)/m.exec(metrics)?.[1] ?? Number.NaN)
  }

  function expectInOrder(events: readonly Event[]): void {
    const last = new Map<string, number>()
    for (const { key, payload } of events) {
      expect(payload).toBeGreaterThan(last.get(key) ?? -1)
      last.set(key, payload)
    }
  }

  it('copies a stream in order and once, through a loss of either side, and tells how far behind it is', async () => {
    let target = await there.start(build, 'far', far)
    const ports = ['--port', new URL(target.url).port, '--peer-port', target.peer.split(':')[1] as string]
    const mirroring = ['--mirror', `orders=${target.url}`]
    let source = await here.start(build, 'near', mirroring)
    await publish(source, 0, 100)
    await publish(source, 0, 20, 'private')
    expectInOrder(await copied(target, 100))
    expect(await read(target, 'private')).toEqual([])
    await until('no lag', async () => ((await lag(source)) === 0 ? true : undefined))

    await there.end(target)
    await publish(source, 100, 200)
    await until('a lag', async () => ((await lag(source)) > 0.5 ? true : undefined))
    target = await there.start(build, 'far', [...far, ...ports])
    expectInOrder(await copied(target, 200))

    await publish(source, 200, 300)
    await here.end(source)
    source = await here.start(build, 'near', mirroring)
    await publish(source, 300, 350)
    const events = await copied(target, 350)
    expectInOrder(events)
    expect(events.map((e) => e.id).sort()).toEqual(Array.from({ length: 350 }, (_, i) => `e${i}`).sort())
    await until('no lag', async () => ((await lag(source)) === 0 ? true : undefined))
    expect(await read(target)).toHaveLength(350)
  }, 90_000)

  it('refuses an address that it cannot use, before it joins', async () => {
    await expect(here.start(build, 'near', ['--mirror', 'orders=ftp://far'])).rejects.toThrow(
      /--mirror: an http:\/\/ or https:\/\/ address/,
    )
    await expect(here.start(build, 'near', ['--mirror', 'http://far'])).rejects.toThrow(/STREAM=URL expected/)
  }, 30_000)
})
