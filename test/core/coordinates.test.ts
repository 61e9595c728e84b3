/** Network coordinates in a simulated network, and that what is placed by latency lands near who asked for it. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Balancer } from '../../src/core/balancing/balancer.js'
import type { Candidate } from '../../src/core/balancing/candidate.js'
import { planMoves } from '../../src/core/balancing/rebalance.js'
import { Random } from '../../src/core/kernel/random.js'
import {
  type Coordinate,
  dimensions,
  estimateMs,
  isCoordinate,
  NetworkPosition,
  reachMaxMs,
} from '../../src/core/membership/coordinates.js'
import { noTelemetry } from '../../src/core/membership/member.js'
import { memberCandidate, RoundTrips } from '../../src/core/node/candidates.js'
import { recordOf } from './claims.js'
import { Machines } from './machines.js'

/** Nodes in a plane of so many ms across, each behind an access link; round trips waver by a tenth, and one in twenty is far too late. */
class Plane {
  readonly nodes: { readonly x: number; readonly y: number; readonly linkMs: number }[]
  readonly positions: NetworkPosition[]
  private readonly random: Random

  constructor(count: number, acrossMs: number, linkMsMax: number, seed: number) {
    this.random = new Random(seed)
    this.nodes = Array.from({ length: count }, () => ({
      x: this.random.between(0, acrossMs),
      y: this.random.between(0, acrossMs),
      linkMs: this.random.between(0.05, linkMsMax),
    }))
    this.positions = this.nodes.map((_, i) => new NetworkPosition(`n${i}`))
  }

  trueMs(a: number, b: number): number {
    const [p, q] = [this.nodes[a]!, this.nodes[b]!]
    return Math.hypot(p.x - q.x, p.y - q.y) + p.linkMs + q.linkMs
  }

  /** Every node probes so many others, by chance. */
  probe(rounds: number): void {
    for (let round = 0; round < rounds; round++) {
      for (let a = 0; a < this.nodes.length; a++) {
        const b = (a + 1 + this.random.below(this.nodes.length - 1)) % this.nodes.length
        const late = this.random.chance(0.05) ? this.random.between(10, 200) : 0
        const rttMs = this.trueMs(a, b) * this.random.between(0.9, 1.1) + late
        this.positions[a]!.observe(`n${b}`, this.positions[b]!.coordinate, rttMs)
      }
    }
  }

  /** Sorted, of all pairs. */
  errors(): number[] {
    const found: number[] = []
    for (let a = 0; a < this.nodes.length; a++)
      for (let b = 0; b < a; b++) {
        const estimate = estimateMs(this.positions[a]!.coordinate, this.positions[b]!.coordinate)
        found.push(estimate === undefined ? 1 : Math.abs(estimate - this.trueMs(a, b)) / this.trueMs(a, b))
      }
    return found.sort((a, b) => a - b)
  }
}

const at = (share: number, sorted: readonly number[]) => sorted[Math.floor(share * sorted.length)] as number

describe('network coordinates', () => {
  it.each([[1], [2], [3], [4], [5]])(
    'tell the round trips of 40 nodes after 200 probes each: half within 6 %, nine of ten within 25 % (seed $0)',
    (seed) => {
      const plane = new Plane(40, 100, 5, seed)
      plane.probe(200)
      const errors = plane.errors()
      expect(at(0.5, errors)).toBeLessThan(0.06)
      expect(at(0.9, errors)).toBeLessThan(0.25)
    },
  )

  it('say nothing at the start, and soon something', () => {
    const plane = new Plane(20, 50, 1, 7)
    expect(plane.errors().every((e) => e === 1)).toBe(true)
    plane.probe(60)
    expect(at(0.5, plane.errors())).toBeLessThan(0.25)
  })

  it.each([
    [0.001, 0.5],
    [0.01, 2],
    [0.0001, 20],
  ])(
    'are of some use where hosts are slower than a network %s ms across: access links of up to %s ms',
    (across, linkMs) => {
      const plane = new Plane(10, across, linkMs, 4)
      plane.probe(1_000)
      expect(at(0.5, plane.errors())).toBeLessThan(0.25)
      for (const { coordinate } of plane.positions) expect(coordinate.height).toBeLessThan(2 * linkMs)
    },
  )

  it('follow a network that changes', () => {
    const plane = new Plane(20, 50, 1, 8)
    plane.probe(200)
    ;(plane.nodes as { x: number; y: number; linkMs: number }[])[0] = { x: 300, y: 20, linkMs: 10 }
    plane.probe(200)
    const wrong = plane.nodes.slice(1).map((_, i) => {
      const estimate = estimateMs(plane.positions[0]!.coordinate, plane.positions[i + 1]!.coordinate)
      return Math.abs((estimate ?? 0) - plane.trueMs(0, i + 1)) / plane.trueMs(0, i + 1)
    })
    expect(
      at(
        0.5,
        wrong.sort((a, b) => a - b),
      ),
    ).toBeLessThan(0.15)
  })

  it('stay put: a network that does not change does not wander off', () => {
    const plane = new Plane(20, 50, 1, 9)
    plane.probe(5_000)
    const middle = Array.from(
      { length: dimensions },
      (_, i) => plane.positions.reduce((sum, p) => sum + (p.coordinate.place[i] as number), 0) / 20,
    )
    expect(Math.hypot(...middle)).toBeLessThan(100)
    expect(at(0.5, plane.errors())).toBeLessThan(0.15)
  })

  it('are the same for the same measurements', () => {
    const [a, b] = [new Plane(10, 50, 1, 3), new Plane(10, 50, 1, 3)]
    a.probe(20)
    b.probe(20)
    expect(a.positions.map((p) => p.coordinate)).toEqual(b.positions.map((p) => p.coordinate))
  })

  it('stay within bounds whatever peers say and clocks measure', () => {
    const number = fc.oneof(fc.double(), fc.double({ min: -reachMaxMs, max: reachMaxMs }), fc.constant(0))
    const coordinate = fc.record({
      place: fc.array(number, { minLength: 3, maxLength: 5 }),
      height: number,
      adjustment: number,
      error: fc.oneof(number, fc.double({ min: 0, max: 1.5, noNaN: true })),
    })
    fc.assert(
      fc.property(fc.array(fc.tuple(coordinate, number), { maxLength: 60 }), (heard) => {
        const position = new NetworkPosition('n1')
        for (const [peer, rttMs] of heard) {
          position.observe('n2', peer, rttMs)
          expect(isCoordinate(position.coordinate)).toBe(true)
        }
      }),
    )
  })

  it('are moved by one liar no further than a quarter of its distance', () => {
    const plane = new Plane(20, 50, 1, 5)
    plane.probe(200)
    const victim = plane.positions[0] as NetworkPosition
    const before = victim.coordinate
    const liar: Coordinate = { place: [10_000, 0, 0, 0], height: 0, adjustment: 0, error: 0 }
    victim.observe('liar', liar, 1)
    const moved = Math.hypot(...victim.coordinate.place.map((v, i) => v - (before.place[i] as number)))
    expect(moved).toBeLessThan(2_600)
    // Next to it, and far too slow: all of the difference may be height, and no more of it.
    const place = victim.coordinate.place.map((v, i) => (i === 0 ? v + 0.01 : v))
    const low = victim.coordinate.height
    victim.observe('slow', { place, height: 5, adjustment: 0, error: 0 }, 1_000)
    expect(victim.coordinate.height).toBeLessThan(low + 251)
    victim.observe('liar', { ...liar, place: [1e9, 0, 0, 0] }, 1)
    victim.observe('liar', { ...liar, place: [0, 0] }, 1)
    expect(victim.coordinate.place.every((v) => Math.abs(v) <= reachMaxMs)).toBe(true)
  })
})

describe('lowest_latency', () => {
  const seenOf = (plane: Plane, self: number) => (nodeId: string) => {
    const index = Number(nodeId.slice(1))
    const position = plane.positions[index]
    if (position === undefined) return undefined
    // The chooser has measured whom it probes; between others it has never measured anything.
    const rttMs = index === self ? 0 : plane.trueMs(self, index)
    return { telemetry: { ...noTelemetry, coordinate: position.coordinate }, rttMs }
  }

  const candidatesOf = (plane: Plane, self: number): Candidate[] => {
    const seen = seenOf(plane, self)
    const roundTrips = new RoundTrips(`n${self}`, seen)
    return plane.nodes.map((_, i) =>
      memberCandidate(
        {
          record: recordOf(`n${i}`, { facts: '{"max_agents":10}' }),
          status: 'alive',
          ...(seen(`n${i}`) as { telemetry: typeof noTelemetry; rttMs: number }),
          evicted: false,
          trust: 1,
          offer: { kinds: ['k'], exec: false },
        },
        0,
        false,
        roundTrips,
      ),
    )
  }
  const workFrom = (origin: string, notNodes: string[] = []) => ({
    name: 'w',
    constraints: { notNodes },
    origin: { nodeId: origin, zone: '', region: '' },
  })

  it('puts work near who asked, on the word of a third node that never measured them', () => {
    const plane = new Plane(40, 100, 3, 11)
    plane.probe(300)
    const chooser = 0
    const candidates = candidatesOf(plane, chooser)
    const balancer = new Balancer(new Random(1))
    const detours: number[] = []
    for (let asker = 1; asker < 40; asker++) {
      expect(balancer.pick('lowest_latency', candidates, workFrom(`n${asker}`))?.nodeId).toBe(`n${asker}`)
      const chosen = balancer.pick('lowest_latency', candidates, workFrom(`n${asker}`, [`n${asker}`]))
      const others = plane.nodes.flatMap((_, i) => (i === asker ? [] : [plane.trueMs(asker, i)]))
      detours.push(plane.trueMs(asker, Number(chosen?.nodeId.slice(1))) - Math.min(...others))
    }
    // Of round trips of up to 140 ms: mostly the nearest itself, never far from it.
    detours.sort((a, b) => a - b)
    expect(detours.filter((d) => d === 0).length).toBeGreaterThan(25)
    expect(at(0.9, detours)).toBeLessThan(4)
    expect(detours.at(-1)).toBeLessThan(15)
  })

  it('goes by what the chooser measured where it is one of the two, and by zone where nobody knows', () => {
    const plane = new Plane(6, 100, 3, 12)
    const candidates = candidatesOf(plane, 2)
    const nearest = [...plane.nodes.keys()]
      .filter((i) => i !== 2)
      .sort((a, b) => plane.trueMs(2, a) - plane.trueMs(2, b))[0]
    const balancer = new Balancer(new Random(1))
    const pick = (origin: string) => balancer.pick('lowest_latency', candidates, workFrom(origin, ['n2']))
    // No coordinates yet.
    expect(pick('n2')?.nodeId).toBe(`n${nearest}`)
    const zoned = candidates.map((c, i) => ({ ...c, zone: i === 4 ? 'here' : 'there' }))
    const work = { ...workFrom('gone'), origin: { nodeId: 'gone', zone: 'here', region: '' } }
    expect(balancer.pick('lowest_latency', zoned, work)?.nodeId).toBe('n4')
  })

  it('moves nothing for what measurements waver, and what is worth it', () => {
    const balancer = new Balancer(new Random(1))
    const base = candidatesOf(new Plane(2, 10, 1, 1), 0)
    const plan = (hereMs: number | undefined, thereMs: number) => {
      const [a, b] = base as [Candidate, Candidate]
      const nodes = [
        { ...a, vantageOf: () => a, rttMsFrom: () => hereMs },
        { ...b, vantageOf: () => b, rttMsFrom: () => thereMs },
      ]
      const placed = [{ work: workFrom('n9'), nodeId: 'n0', strategy: undefined }]
      return planMoves(placed, nodes, 'lowest_latency', balancer, 5).map((m) => m.to)
    }
    expect(plan(10, 9)).toEqual([])
    expect(plan(0.6, 0.1)).toEqual([])
    expect(plan(undefined, 1)).toEqual([])
    expect(plan(10, 5)).toEqual(['n1'])
  })
})

describe('membership', () => {
  it('learns where all nodes are from its probes', () => {
    const world = new Machines()
    const newer = { facts: '{"sections":1}' }
    const all = [1, 2, 3].map((i) => world.start(`n${i}`, i === 1 ? [] : ['n1'], newer))
    world.run(60_000)
    const [n1] = all as [(typeof all)[0], ...typeof all]
    const of = (id: string) => n1.membership.seen(id)?.telemetry.coordinate ?? null
    // Messages take a millisecond each way.
    for (const [a, b] of [
      ['n1', 'n2'],
      ['n2', 'n3'],
    ] as const) {
      const estimate = estimateMs(of(a), of(b))
      expect(estimate).toBeGreaterThan(1.5)
      expect(estimate).toBeLessThan(2.5)
    }
  })

  it('knows nothing of a later boot until it says', () => {
    const world = new Machines()
    const newer = { facts: '{"sections":1}' }
    const n1 = world.start('n1', [], newer)
    world.start('n2', ['n1'], newer)
    world.run(20_000)
    expect(n1.membership.seen('n2')?.telemetry.coordinate).not.toBeNull()
    const record = { ...n1.membership.table.get('n2')!.record }
    world.isolate('n2')
    n1.step({
      type: 'message',
      from: 'n3:1',
      via: 'datagram',
      message: {
        type: 'gossip',
        from: 'n3',
        digest: 0,
        claims: [
          {
            record: recordOf('n2', {
              ...record,
              boot: 2 as typeof record.boot,
              bootId: 'n2#2' as typeof record.bootId,
            }),
            status: 'alive',
            from: 'n2',
            missedProbes: 0,
            verdictAtMs: 0,
          },
        ],
      },
    })
    expect(n1.membership.table.get('n2')?.record.boot).toBe(2)
    expect(n1.membership.seen('n2')?.telemetry.coordinate).toBeNull()
  })
})
