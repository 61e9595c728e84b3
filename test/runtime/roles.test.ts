/** What a replica and a standby do beside workers, on real node processes: while all is well, while a worker is missing, and after it came back. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { AgentJson } from '../../src/http/agent-contract.js'
import type { NodeJson } from '../../src/http/contract.js'
import { Build, getJson, type RealNode, RealNodes, until } from './real-node.js'

const program = (library: string) => `
import { defineAgent } from '${library}'
export const Counter = defineAgent('counter', {
  state: { n: 0 },
  on: { add: (ctx, by) => (ctx.state.n += by) },
})
`
const shards = 16
const testDeadlineMs = 90_000

interface Problem {
  readonly code: string
  readonly detail: string
}

/** What each node has. */
interface Holdings {
  readonly leader: string | null
  readonly shards: Readonly<Record<string, number>>
  readonly agents: Readonly<Record<string, number>>
}

describe('roles on real nodes', () => {
  let build: Build
  let cluster: RealNodes
  let flags: string[]
  beforeEach(() => {
    build = new Build()
    cluster = new RealNodes()
    const module = join(build.directory, 'program.mjs')
    writeFileSync(module, program(pathToFileURL(join(build.directory, 'dist/index.js')).href))
    flags = ['--shards', String(shards), '--load', module, '--allow-exec']
  })
  afterEach(async () => {
    await cluster.close()
    build.remove()
  })

  const start = (id: string, role: string, peer?: RealNode): Promise<RealNode> =>
    cluster.start(build, id, [...flags, '--role', role, ...(peer === undefined ? [] : ['--peer', peer.peer])])

  async function send<T>(
    method: string,
    url: string,
    body: unknown = {},
  ): Promise<{ status: number; body: T }> {
    const response = await fetch(url, {
      method,
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body),
    })
    return { status: response.status, body: (await response.json()) as T }
  }

  async function holdings(via: RealNode): Promise<Holdings> {
    const [{ shards: map }, { agents }, { leader_id: leader }] = await Promise.all([
      getJson<{ shards: { owner: string | null }[] }>(`${via.url}/api/cluster/shards`),
      getJson<{ agents: AgentJson[] }>(`${via.url}/api/agents`),
      getJson<{ leader_id: string | null }>(`${via.url}/api/cluster/status`),
    ])
    const running = agents.filter(({ status }) => status === 'running')
    return {
      leader,
      shards: tally(map.map(({ owner }) => owner)),
      agents: tally(running.map((agent) => agent.node_id)),
    }
  }

  const settled = (via: RealNode, what: string, look: (h: Holdings) => boolean): Promise<Holdings> => {
    let last: Holdings | undefined
    return until(
      what,
      async () => {
        last = await holdings(via)
        return look(last) ? last : undefined
      },
      30_000,
    ).catch((error: unknown) => {
      throw new Error(`${String(error)}; ${JSON.stringify(last)}`)
    })
  }

  /** No shard, no agent, no leadership. */
  const hasNothing = (h: Holdings, id: string): boolean =>
    h.leader !== id && h.shards[id] === undefined && h.agents[id] === undefined
  const isWhole = (h: Holdings, agents: number): boolean =>
    h.leader !== null && sum(h.shards) === shards && sum(h.agents) === agents

  const online = (via: RealNode, ids: readonly string[]): Promise<true> =>
    until(`${ids.join()} online`, async () => {
      const { nodes } = await getJson<{ nodes: NodeJson[] }>(`${via.url}/api/cluster/nodes`)
      return nodes
        .filter(({ status }) => status === 'online')
        .map(({ id }) => id)
        .sort()
        .join() === ids.join()
        ? true
        : undefined
    })

  it(
    'a replica answers for the whole cluster and is given nothing; a standby is given nothing until a worker dies, and gives all back when it has returned',
    async () => {
      const w1 = await start('w1', 'worker')
      const w2 = await start('w2', 'worker', w1)
      const replica = await start('r', 'replica', w1)
      const standby = await start('s', 'standby', w1)
      await online(replica, ['r', 's', 'w1', 'w2'])

      // Everything is asked of the replica.
      for (const name of ['c1', 'c2', 'c3', 'c4'])
        expect(
          (
            await send('POST', `${replica.url}/api/agents`, {
              name,
              kind: 'counter',
              strategy: 'least_agents',
            })
          ).status,
        ).toBe(201)
      expect(
        (await send('POST', `${replica.url}/api/agents`, { name: 'p', command: 'sleep', args: ['100000'] }))
          .status,
      ).toBe(201)
      const count = async (name: string): Promise<number> => {
        const { status, body } = await send<{ result: number }>(
          'POST',
          `${replica.url}/api/agents/${name}/call`,
          { method: 'add', args: [1], timeout_ms: 20_000 },
        )
        expect(status).toBe(200)
        return body.result
      }
      const events = Array.from({ length: 40 }, (_, i) => ({
        stream: 't',
        key: `k${i}`,
        type: 'x',
        payload: i,
      }))
      const published = await send<{ accepted: number }>('POST', `${replica.url}/api/events`, events)
      expect(published).toMatchObject({ status: 202, body: { accepted: 40 } })
      const read = async (via: RealNode): Promise<number[]> =>
        (await getJson<{ events: { payload: number }[] }>(`${via.url}/api/events?stream=t`)).events
          .map(({ payload }) => payload)
          .sort((a, b) => a - b)
      expect(await read(replica)).toEqual(events.map(({ payload }) => payload))
      expect(await count('c1')).toBe(1)

      const whole = await settled(replica, 'the workers to have everything', (h) => isWhole(h, 5))
      for (const id of ['r', 's']) expect(hasNothing(whole, id), JSON.stringify(whole)).toBe(true)
      // Not for a moment either.
      const { tenures } = await getJson<{ tenures: { node_id: string }[] }>(
        `${replica.url}/api/cluster/ownership`,
      )
      expect(tenures.length).toBeGreaterThanOrEqual(shards)
      expect(
        Object.keys(tally(tenures.map(({ node_id }) => node_id))).filter((id) => !/^w/.test(id)),
      ).toEqual([])
      const nodes = await getJson<{ nodes: NodeJson[] }>(`${replica.url}/api/cluster/nodes`)
      expect(nodes.nodes.find(({ id }) => id === 'r')).toMatchObject({ role: 'replica', max_agents: 0 })
      expect(nodes.nodes.find(({ id }) => id === 's')).toMatchObject({ role: 'standby', max_agents: 100 })

      // Nobody can make them take anything.
      const refused = async (id: string, node: RealNode, why: RegExp): Promise<void> => {
        const moved = await send<Problem>('POST', `${w1.url}/api/agents/c1/migrate`, { node_id: id })
        expect(moved.status).toBe(409)
        expect(moved.body.detail).toMatch(why)
        const promoted = await send<Problem>('POST', `${node.url}/api/cluster/leader`)
        expect(promoted).toMatchObject({ status: 409, body: { code: 'conflict' } })
        expect(promoted.body.detail).toMatch(/never leads|leads only while/)
      }
      await refused('r', replica, /it is a replica/)
      await refused('s', standby, /it is a standby/)
      // Each has the leadership in turn, and gives it up: it stays among the workers.
      for (const leader of [w1, w2]) {
        await until('the promotion', async () =>
          (await send('POST', `${leader.url}/api/cluster/leader`)).status === 200 ? true : undefined,
        )
        await send('DELETE', `${leader.url}/api/cluster/leader`)
        const next = await settled(
          replica,
          'the next leader',
          (h) => h.leader !== null && h.leader !== leader.id,
        )
        expect(['w1', 'w2']).toContain(next.leader)
      }

      await cluster.end(w1)
      const called = await settled(
        replica,
        'the standby to take its part',
        (h) => isWhole(h, 5) && h.shards.w1 === undefined && (h.shards.s ?? 0) > 0 && (h.agents.s ?? 0) > 0,
      )
      expect(['w2', 's']).toContain(called.leader)
      expect(hasNothing(called, 'r')).toBe(true)
      expect(await count('c1')).toBe(2)
      expect(await read(replica)).toEqual(events.map(({ payload }) => payload))

      // Without any worker it does everything.
      await cluster.end(w2)
      const alone = await settled(
        replica,
        'the standby to have everything',
        (h) => isWhole(h, 5) && h.leader === 's' && h.shards.s === shards && h.agents.s === 5,
      )
      expect(hasNothing(alone, 'r')).toBe(true)
      expect(await count('c1')).toBe(3)
      expect(await read(standby)).toEqual(events.map(({ payload }) => payload))

      // One of two is back: still one missing, so it shares. Both are back: it is relieved.
      const again = await start('w1', 'worker', standby)
      await settled(
        again,
        'the first worker to take its part',
        (h) => isWhole(h, 5) && (h.shards.w1 ?? 0) > 0,
      )
      await start('w2', 'worker', standby)
      const relieved = await settled(
        replica,
        'the standby to be relieved',
        (h) => isWhole(h, 5) && hasNothing(h, 's'),
      )
      expect(hasNothing(relieved, 'r')).toBe(true)
      expect(['w1', 'w2']).toContain(relieved.leader)
      expect(await count('c1')).toBe(4)
      expect(await read(replica)).toEqual(events.map(({ payload }) => payload))
    },
    testDeadlineMs,
  )

  it(
    'a standby and a replica that are there first wait for a worker; where the last worker drains, the standby takes all and gives it back after',
    async () => {
      const standby = await start('s', 'standby')
      const replica = await start('r', 'replica', standby)
      expect(await holdings(replica)).toEqual({ leader: null, shards: {}, agents: {} })
      const w1 = await start('w1', 'worker', standby)
      await send('POST', `${replica.url}/api/agents`, { name: 'c', kind: 'counter' })
      const isAllOn = (id: string) => (h: Holdings) =>
        h.leader === id && h.shards[id] === shards && h.agents[id] === 1
      await settled(replica, 'the worker to have everything', isAllOn('w1'))

      expect((await send('POST', `${replica.url}/api/cluster/nodes/w1/drain`)).status).toBe(202)
      await settled(
        replica,
        'the standby to have what was drained',
        (h) => h.shards.s === shards && h.agents.s === 1,
      )
      expect((await send('POST', `${replica.url}/api/cluster/nodes/w1/uncordon`)).status).toBeLessThan(300)
      await settled(replica, 'the worker to have everything again', isAllOn('w1'))

      // One that leaves on purpose hands over to it, and is not missed for longer than it takes the next one to come.
      await cluster.end(w1, 'SIGTERM')
      await settled(replica, 'the standby to have everything', isAllOn('s'))
      await start('w2', 'worker', standby)
      await settled(replica, 'the next worker to have everything', isAllOn('w2'))
    },
    testDeadlineMs,
  )
})

function tally(names: readonly (string | null)[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const name of names) if (name !== null) counts[name] = (counts[name] ?? 0) + 1
  return counts
}

function sum(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((a, b) => a + b, 0)
}
