/**
 * The online auditor with real processes. Into one build a bug is planted: the leader gives a shard away without raising its epoch. The auditor has
 * to say so; with the build as it is it has to be silent.
 */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { Build, getJson, RealNodes, until } from './real-node.js'

const keys = Array.from({ length: 32 }, (_, i) => `k${i}`)

interface Ownership {
  readonly alarms: readonly { readonly rule: string; readonly detail: string; readonly agent?: string }[]
  readonly tenures: readonly { readonly node_id: string; readonly epoch: number }[]
}

describe('the online auditor', () => {
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

  async function publishEverywhere(url: string, round: number): Promise<void> {
    const events = keys.map((key) => ({ stream: 's', key, id: `${key}-${round}`, type: 't', payload: round }))
    const response = await fetch(`${url}/api/events`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(events),
    })
    await response.text()
  }

  const ownership = (url: string) => getJson<Ownership>(`${url}/api/cluster/ownership`)

  /** Two nodes, each with shards and events; the one that does not lead is killed. */
  async function killAndTakeOver(): Promise<string> {
    const one = await nodes.start(build, 'one', ['--shards', '16'])
    const two = await nodes.start(build, 'two', ['--shards', '16', '--peer', one.peer])
    await until('both to own shards', async () => {
      await publishEverywhere(one.url, 0)
      const { tenures } = await ownership(one.url)
      return new Set(tenures.map((t) => t.node_id)).size === 2 ? true : undefined
    })
    await nodes.end(two)
    return one.url
  }

  it('says nothing when a node dies and another takes its shards', async () => {
    const url = await killAndTakeOver()
    await until('the take-over', async () => {
      await publishEverywhere(url, 1)
      const { tenures } = await ownership(url)
      return tenures.some((t) => t.node_id === 'one' && t.epoch !== 1) ? true : undefined
    })
    expect((await ownership(url)).alarms).toEqual([])
  }, 60_000)

  it('raises an alarm when a planted bug gives one epoch to two owners', async () => {
    build.change('core/sharding/coordinator.js', 'asEpoch(floor + 1)', 'asEpoch(Math.max(1, floor))')
    const url = await killAndTakeOver()
    const { alarms } = await until('an alarm', async () => {
      const found = await ownership(url)
      return found.alarms.length > 0 ? found : undefined
    })
    expect(alarms[0]?.rule).toMatch(/two_owners|not_assigned/)
    const metrics = await (await fetch(`${url}/metrics`)).text()
    expect(Number(/^skein_ownership_alarms_total (\d+)/m.exec(metrics)?.[1])).toBeGreaterThan(0)
    const history = await (await fetch(`${url}/api/cluster/history?limit=500`)).text()
    expect(history).toContain('ownership.alarm')
  }, 60_000)

  it('raises an alarm when a planted bug gives an agent to two owners under one epoch', async () => {
    build.change('core/agents/coordinator.js', 'asEpoch(floor + 1)', 'asEpoch(Math.max(1, floor))')
    const one = await nodes.start(build, 'one', ['--shards', '8', '--load', counterModule(build)])
    const two = await nodes.start(build, 'two', [
      '--shards',
      '8',
      '--peer',
      one.peer,
      '--load',
      counterModule(build),
    ])
    const agent = await until('an agent on the second node', async () => {
      const name = `a${Math.random().toString(36).slice(2, 8)}`
      await post(`${one.url}/api/agents`, { name, kind: 'counter' })
      await post(`${one.url}/api/agents/${name}/call`, { method: 'add', args: [1] })
      const { node_id } = await getJson<{ node_id: string }>(`${one.url}/api/agents/${name}`)
      return node_id === 'two' ? name : undefined
    })
    // Its tenure has been reported before it ends.
    await new Promise((done) => setTimeout(done, 1_500))
    await nodes.end(two)
    const { alarms } = await until('an alarm', async () => {
      await post(`${one.url}/api/agents/${agent}/call`, { method: 'add', args: [1], timeout_ms: 1_000 })
      const found = await ownership(one.url)
      return found.alarms.length > 0 ? found : undefined
    })
    expect(alarms[0]?.rule).toMatch(/two_owners|not_assigned/)
    expect(alarms[0]?.agent).toBe(agent)
  }, 60_000)
})

/** A module beside the build, with one kind of agent. */
function counterModule(build: Build): string {
  const path = join(build.directory, 'counter.mjs')
  const library = pathToFileURL(join(build.directory, 'dist/index.js')).href
  writeFileSync(
    path,
    `import { defineAgent } from '${library}'\nexport const Counter = defineAgent('counter', { state: { n: 0 }, on: { add: (ctx, by) => (ctx.state.n += by) } })\n`,
  )
  return path
}

async function post(url: string, body: unknown): Promise<void> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  })
  await response.text()
}
