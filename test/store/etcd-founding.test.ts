/** Who founds a managed cluster and who gets a seat in it: the rules alone, without processes. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isSkeinError } from '../../src/core/kernel/error.js'
import { Founding } from '../../src/drivers/etcd-managed/founding.js'
import type { FoundingPromise } from '../../src/drivers/etcd-managed/home.js'
import { Rendezvous } from '../../src/drivers/etcd-managed/rendezvous.js'
import {
  planSeats,
  type SeatLimits,
  type SeatMember,
  type SeatNode,
} from '../../src/drivers/etcd-managed/seats.js'
import { etcdAddress, managedSettings } from '../../src/drivers/etcd-managed/settings.js'
import { monotonicMs } from '../../src/engines/sqlite/clock.js'
import { freePorts } from './etcd-server.js'

const never = new AbortController().signal
const yieldTurn = () => new Promise<void>((resolve) => setImmediate(resolve))

/** What outlives a node's process. */
interface Disk {
  hasData: boolean
  endpoints: readonly string[]
  promise: FoundingPromise | undefined
}

/** Nodes that reach one another as `reaches` says; a node is down while it has no entry. */
class Net {
  readonly nodes = new Map<string, Founding>()
  readonly strangers: string[] = []
  readonly reaches: (from: string, to: string) => boolean

  constructor(reaches: (from: string, to: string) => boolean = () => true) {
    this.reaches = reaches
  }

  start(address: string, peers: readonly string[], disk: Disk): Founding {
    const founding = new Founding({
      settings: { address, clusterName: 'test', peers },
      home: {
        get hasData() {
          return disk.hasData
        },
        get endpoints() {
          return disk.endpoints
        },
        get promise() {
          return disk.promise
        },
        promiseTo: async (promise) => {
          await yieldTurn()
          disk.promise = promise
        },
      },
      canFound: true,
      ask: async (to, question) => {
        await yieldTurn()
        const peer = [...this.nodes].find(([one]) => etcdAddress(one, 'rendezvous') === to)
        if (peer === undefined || !this.reaches(address, peer[0])) return undefined
        const answer = await peer[1].answer(question)
        return this.reaches(peer[0], address) ? answer : undefined
      },
      pause: yieldTurn,
      onStranger: (clusterId) => this.strangers.push(clusterId),
    })
    this.nodes.set(address, founding)
    return founding
  }
}

const blank = (): Disk => ({ hasData: false, endpoints: [], promise: undefined })
const soon = (ms = 60) => monotonicMs() + ms

async function outcome(founding: Founding, ms?: number): Promise<string> {
  try {
    const found = await founding.find(soon(ms), never)
    return found.type === 'found' ? 'found' : `join ${found.endpoints.join()}`
  } catch (error) {
    if (!isSkeinError(error)) throw error
    return error.message
  }
}

describe('founding a managed etcd cluster', () => {
  it('lets the first address of a group found it, and nobody before all have answered', async () => {
    const net = new Net()
    const all = ['a:1', 'b:1', 'c:1']
    const others = (self: string) => all.filter((one) => one !== self)
    const b = net.start('b:1', others('b:1'), blank())
    const c = net.start('c:1', others('c:1'), blank())
    expect(await outcome(b)).toContain('no answer from a:1')
    const a = net.start('a:1', others('a:1'), blank())
    const [first, second] = await Promise.all([outcome(a), outcome(b), outcome(c)])
    expect(first).toBe('found')
    expect(second).toContain('a:1')
    a.settled('1', ['a:1001'])
    expect(await outcome(c)).toBe('join a:1001')
  })

  it('refuses groups that differ, and says how they differ', async () => {
    const net = new Net()
    const a = net.start('a:1', ['b:1'], blank())
    net.start('b:1', ['c:1'], blank())
    expect(await outcome(a)).toContain('b:1 names b:1, c:1')
  })

  it('keeps a promise over restarts, also when the node is started alone then', async () => {
    const net = new Net()
    const disk = blank()
    net.start('b:1', ['a:1'], disk)
    expect(await outcome(net.start('a:1', ['b:1'], blank()))).toBe('found')
    net.nodes.delete('a:1')
    expect(await outcome(net.start('b:1', [], disk), 2500)).toContain('promised that a:1 founds')
  })

  it('founds alone after a moment, unless a cluster calls; calls from a second cluster are noticed', async () => {
    const net = new Net()
    const belong = (clusterId: string) =>
      ({ type: 'belong', cluster: 'test', from: 'z:1', clusterId, endpoints: ['z:1001'] }) as const
    const lone = net.start('a:1', [], blank())
    const startedMs = monotonicMs()
    expect(await outcome(lone, 3000)).toBe('found')
    expect(monotonicMs() - startedMs).toBeGreaterThan(1000)
    lone.settled('1', ['a:1001'])
    await lone.answer(belong('1'))
    expect(net.strangers).toEqual([])
    await lone.answer(belong('2'))
    expect(net.strangers).toEqual(['2'])
    const wanted = net.start('b:1', [], blank())
    const finding = outcome(wanted, 3000)
    await wanted.answer(belong('1'))
    expect(await finding).toBe('join z:1001')
  })

  it('never lets two found for groups that share a node, whatever is lost or restarted with other peers', async () => {
    const names = ['a:1', 'b:1', 'c:1', 'd:1']
    const run = fc.record({
      at: fc.nat(3),
      peers: fc.subarray(names, { minLength: 1 }),
      lost: fc.subarray(names),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(run, { minLength: 2, maxLength: 10 }), async (runs) => {
        const disks = new Map(names.map((name) => [name, blank()]))
        const founders: FoundingPromise[] = []
        let lost: readonly string[] = []
        const net = new Net((from, to) => !lost.includes(from) && !lost.includes(to))
        const attempts: Promise<void>[] = []
        for (const one of runs) {
          lost = one.lost
          const address = names[one.at]!
          const peers = one.peers.filter((peer) => peer !== address)
          if (peers.length === 0) continue
          const disk = disks.get(address)!
          if (disk.hasData) continue
          const founding = net.start(address, peers, disk)
          attempts.push(
            outcome(founding, 5).then((result) => {
              // Only the newest process of a node is alive.
              if (result !== 'found' || net.nodes.get(address) !== founding) return
              disk.hasData = true
              founders.push(disk.promise!)
            }),
          )
          if (one.lost.length % 2 === 0) await yieldTurn()
        }
        await Promise.all(attempts)
        for (const [at, one] of founders.entries()) {
          for (const other of founders.slice(at + 1)) {
            expect(one.group.filter((node) => other.group.includes(node))).toEqual([])
          }
        }
      }),
      { numRuns: 150 },
    )
  })
})

describe('the meeting place of nodes', () => {
  it('answers who knows the cookie, and nobody else', async () => {
    const [port = 0] = await freePorts(1)
    const cookie = (text: string) => [Buffer.from(text)]
    const answer = { endpoints: ['x:1'], group: [], granted: false, detail: '' }
    const server = new Rendezvous(cookie('cookie-one'), async () => answer)
    await server.listen('127.0.0.1', port)
    const ask = (text: string) =>
      new Rendezvous(cookie(text), async () => answer).ask(
        `127.0.0.1:${port}`,
        { type: 'hello', cluster: 'c', from: 'y:1' },
        never,
      )
    try {
      expect(await ask('cookie-one')).toEqual(answer)
      expect(await ask('cookie-two')).toBeUndefined()
      const bare = await fetch(`http://127.0.0.1:${port}/skein-etcd`, { method: 'POST', body: '{}' })
      expect(bare.status).toBe(403)
      await expect(new Rendezvous(cookie('x'), async () => answer).listen('127.0.0.1', port)).rejects.toThrow(
        'not free',
      )
    } finally {
      await server.close()
    }
  })
})

describe('seats in a managed etcd cluster', () => {
  const limits: SeatLimits = { seats: 3, deadVoterMs: 15_000, deadLearnerMs: 30_000 }
  const member = (name: string, fields: Partial<SeatMember> = {}): SeatMember => ({
    id: `id-${name}`,
    name: `${name}-1`,
    peerUrl: `http://${name}`,
    isLearner: false,
    silentMs: 0,
    ...fields,
  })
  const node = (address: string, run = 1): SeatNode => ({
    address,
    peerUrl: `http://${address}`,
    name: `${address}-${run}`,
  })
  const [a, b, c, d] = ['a', 'b', 'c', 'd'] as const

  it.each([
    ['nobody waits', [member(a)], [node(a)], undefined],
    ['a second node comes', [member(a)], [node(a), node(b)], { type: 'add', peerUrl: 'http://b' }],
    ['it stays a learner', [member(a), member(b, { isLearner: true })], [node(a), node(b)], undefined],
    [
      'a third one waits, so the second gets its vote',
      [member(a), member(b, { isLearner: true })],
      [node(a), node(b), node(c)],
      { type: 'promote', id: 'id-b', name: 'b-1' },
    ],
    [
      'the third makes the votes odd',
      [member(a), member(b), member(c, { isLearner: true })],
      [node(a), node(b), node(c)],
      { type: 'promote', id: 'id-c', name: 'c-1' },
    ],
    [
      'a learner that has not started waits',
      [member(a), member(b), member(c, { isLearner: true, name: '', silentMs: 1 })],
      [node(a), node(b), node(c)],
      undefined,
    ],
    [
      'all seats are taken',
      [member(a), member(b), member(c)],
      [node(a), node(b), node(c), node(d)],
      undefined,
    ],
    [
      'a voter is away and nobody waits',
      [member(a), member(b), member(c, { silentMs: 99_000 })],
      [node(a), node(b)],
      undefined,
    ],
    [
      'a voter is away for a short while',
      [member(a), member(b), member(c, { silentMs: 9000 })],
      [node(a), node(b), node(d)],
      undefined,
    ],
    [
      'a voter is away for long and another waits',
      [member(a), member(b), member(c, { silentMs: 16_000 })],
      [node(a), node(b), node(d)],
      {
        type: 'remove',
        id: 'id-c',
        name: 'c-1',
        reason: 'its node has been away for 16 s and d waits for a seat',
      },
    ],
    [
      'a silent voter whose node is up is not removed',
      [member(a), member(b), member(c, { silentMs: 99_000 })],
      [node(a), node(b), node(c), node(d)],
      undefined,
    ],
    [
      'a node has come back without its data',
      [member(a), member(b), member(c, { silentMs: 1 })],
      [node(a), node(b), node(c, 2)],
      { type: 'remove', id: 'id-c', name: 'c-1', reason: 'its node c has come back without its data' },
    ],
    [
      'a learner never gets going',
      [member(a), member(b, { isLearner: true, silentMs: 31_000 })],
      [node(a), node(c)],
      { type: 'remove', id: 'id-b', name: 'b-1', reason: 'it has not got going for 31 s' },
    ],
  ])('%s', (_, members, nodes, action) => {
    expect(planSeats(members, nodes, limits)).toEqual(action)
  })

  it('never plans a removal that leaves fewer members up than a quorum of those that remain', () => {
    const silences = fc.constantFrom(0, 1, 9000, 16_000, 40_000)
    const seat = fc.record({ silentMs: silences, isUp: fc.boolean(), run: fc.constantFrom(1, 2) })
    fc.assert(
      fc.property(fc.array(seat, { minLength: 3, maxLength: 3 }), fc.boolean(), (seats, isWaiting) => {
        const members = seats.map(({ silentMs }, at) => member('abc'[at]!, { silentMs }))
        const alive = members.filter(({ silentMs }) => silentMs === 0)
        // Without a quorum etcd accepts no change, and the planner runs nowhere.
        if (alive.length < 2) return
        const nodes = seats.flatMap(({ silentMs, isUp, run }, at) =>
          silentMs === 0 ? [node('abc'[at]!)] : isUp ? [node('abc'[at]!, run)] : [],
        )
        const action = planSeats(members, isWaiting ? [...nodes, node(d)] : nodes, limits)
        if (action?.type === 'remove') expect(alive.map(({ id }) => id)).not.toContain(action.id)
      }),
    )
  })
})

describe('the settings of managed etcd', () => {
  const setup = {
    url: 'etcd+managed:',
    clusterName: 'test',
    address: 'h:6745',
    bindHost: '0.0.0.0',
    peers: ['h:6745', 'i:6745', 'i:6745'],
    cookies: [],
    dataDir: '/d',
  }

  it('derives ports and forgets that a node is its own peer', () => {
    const settings = managedSettings({ ...setup, url: 'etcd+managed:?members=5&etcd=/x' })
    expect(settings).toMatchObject({ seats: 5, binary: '/x', home: '/d/etcd', peers: ['i:6745'] })
    expect(etcdAddress(settings.address, 'client')).toBe('h:7745')
  })

  it.each([
    ['etcd+managed:?members=2', 'members is 1, 3 or 5'],
    ['etcd+managed:?x=1', 'does not know "x"'],
    ['etcd+managed://h', 'of the form'],
  ])('refuses %s', (url, words) => {
    expect(() => managedSettings({ ...setup, url })).toThrow(words)
  })

  it('refuses a peer port without room above it', () => {
    expect(() => managedSettings({ ...setup, address: 'h:65000' })).toThrow('take one up to 62535')
  })
})
