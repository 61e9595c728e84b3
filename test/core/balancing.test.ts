import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Balancer, parseStrategy, type Strategy, strategies } from '../../src/core/balancing/balancer.js'
import { type Candidate, loadOf, roomOf, type Work, whyNot } from '../../src/core/balancing/candidate.js'
import type { Ranking } from '../../src/core/balancing/ranking.js'
import { type Placed, planMoves } from '../../src/core/balancing/rebalance.js'
import { Trust } from '../../src/core/balancing/trust.js'
import { Random } from '../../src/core/kernel/random.js'

type Node = { -readonly [K in keyof Candidate]: Candidate[K] }

function node(i: number, over: Partial<Candidate> = {}): Node {
  return {
    nodeId: `n${String(i).padStart(4, '0')}`,
    kind: 'node',
    refusal: '',
    role: 'worker',
    zone: '',
    region: '',
    labels: {},
    services: [],
    kinds: ['k'],
    allowsExec: true,
    agents: 0,
    maxAgents: 100,
    cpuPct: 0,
    memoryPct: 0,
    trust: 1,
    vantageOf: () => undefined,
    rttMsFrom: () => undefined,
    ...over,
  }
}

const nodesOf = (count: number, over: (i: number) => Partial<Candidate> = () => ({})): Node[] =>
  Array.from({ length: count }, (_, i) => node(i, over(i)))

const work = (name = 'a', over: Partial<Work> = {}): Work => ({ name, kind: 'k', ...over })

/** Places `count` agents one after the other, each counted before the next. */
function fill(
  strategy: Strategy,
  nodes: readonly Node[],
  count: number,
  seed = 1,
  of: (name: string) => Work = work,
): string[] {
  const balancer = new Balancer(new Random(seed))
  return Array.from({ length: count }, (_, i) => {
    const chosen = balancer.pick(strategy, nodes, of(`agent-${i}`)) as Node | undefined
    if (chosen === undefined) return ''
    chosen.agents++
    return chosen.nodeId
  })
}

/** Chance alone exceeds it once in ten thousand times (Wilson and Hilferty's approximation of the chi-square distribution). */
function chiSquareMax(degrees: number): number {
  const c = 2 / (9 * degrees)
  return degrees * (1 - c + 3.719 * Math.sqrt(c)) ** 3
}

function chiSquare(counts: readonly number[], expected: readonly number[]): number {
  return counts.reduce((sum, n, i) => sum + (n - (expected[i] as number)) ** 2 / (expected[i] as number), 0)
}

const spread = (numbers: readonly number[]): number => Math.max(...numbers) - Math.min(...numbers)

describe('every strategy', () => {
  const anyNode = (i: number) =>
    fc
      .record({
        refusal: fc.constantFrom('', '', '', 'it is draining'),
        agents: fc.nat(6),
        maxAgents: fc.nat(6),
        trust: fc.constantFrom(1, 1, 0.5),
        zone: fc.constantFrom('', 'a', 'b'),
        region: fc.constantFrom('', 'r'),
        role: fc.constantFrom('worker', 'standby'),
        labels: fc.constantFrom({}, { disk: 'ssd' }),
        services: fc.constantFrom([], ['database'], ['database', 'cache']),
        kinds: fc.constantFrom([], ['k']),
        allowsExec: fc.boolean(),
        cpuPct: fc.nat(100),
        memoryPct: fc.nat(100),
        rttMs: fc.option(fc.nat(50), { nil: undefined }),
      })
      .map((over) => node(i, over))
  const anyNodes = fc
    .integer({ min: 0, max: 9 })
    .chain((n) => fc.tuple(...Array.from({ length: n }, (_, i) => anyNode(i))))
  const anyWork: fc.Arbitrary<Work> = fc.record(
    {
      name: fc.constantFrom('a', 'b', 'c'),
      services: fc.constantFrom([], ['database'], ['cache', 'database']),
      kind: fc.constantFrom('k', 'process', 'other'),
      origin: fc.constantFrom({ zone: 'a', region: 'r' }, { zone: '', region: '' }),
      constraints: fc.record(
        {
          zone: fc.constantFrom(['a'], ['a', 'b']),
          region: fc.constant(['r']),
          role: fc.constant(['worker']),
          labels: fc.constantFrom({ disk: 'ssd' }, {}),
          nodes: fc.constant(['n0000', 'n0001', 'n0002']),
          notNodes: fc.constant(['n0001']),
        },
        { requiredKeys: [] },
      ),
    },
    { requiredKeys: ['name'] },
  )

  it('picks somebody exactly when somebody may be given the work, and never one who may not', () => {
    fc.assert(
      fc.property(anyNodes, anyWork, fc.constantFrom(...strategies), fc.nat(), (nodes, w, strategy, seed) => {
        const chosen = new Balancer(new Random(seed)).pick(strategy, nodes, w)
        const fit = nodes.filter((n) => whyNot(n, w).length === 0)
        if (fit.length === 0) expect(chosen).toBeUndefined()
        else expect(fit).toContain(chosen)
      }),
      { numRuns: 2_000 },
    )
  })

  it('says why not for exactly those that it never picks, in words that name what is missing', () => {
    const nodes = [node(0, { zone: 'b', services: [], labels: {}, role: 'standby', region: 'x', kinds: [] })]
    const w = work('a', {
      services: ['database'],
      constraints: {
        zone: ['a'],
        region: ['r'],
        role: ['worker'],
        labels: { disk: 'ssd' },
        nodes: ['other'],
        notNodes: ['n0000'],
      },
    })
    const reasons = new Balancer(new Random(1)).explain('least_loaded', nodes, w)[0]?.reasons ?? []
    for (const what of ['kind "k"', 'database', 'zone', 'region', 'role', 'disk', 'name', 'excluded'])
      expect(reasons.join('\n')).toContain(what)
    expect(reasons).toHaveLength(8)
  })

  it('fills no node over its max_agents, and leaves no place unused', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...strategies),
        fc.array(fc.nat(8), { minLength: 1, maxLength: 8 }),
        fc.nat(),
        (strategy, sizes, seed) => {
          const nodes = nodesOf(sizes.length, (i) => ({ maxAgents: sizes[i] as number, zone: `z${i % 2}` }))
          const total = sizes.reduce((sum, n) => sum + n, 0)
          const placed = fill(strategy, nodes, total + 3, seed)
          expect(nodes.map((n) => n.agents)).toEqual(sizes)
          expect(placed.filter((id) => id === '')).toHaveLength(3)
        },
      ),
    )
  })

  it('puts first in its explanation whom it picks, where neither chance nor turn decides', () => {
    const byScore = strategies.filter(
      (s) => !['round_robin', 'random', 'weighted', 'power_of_two'].includes(s),
    )
    fc.assert(
      fc.property(anyNodes, anyWork, fc.constantFrom(...byScore), (nodes, w, strategy) => {
        const balancer = new Balancer(new Random(1))
        const first = balancer.explain(strategy, nodes, w)[0]
        const chosen = balancer.pick(strategy, nodes, w)
        if (chosen !== undefined) expect(first?.candidate).toBe(chosen)
        else expect(first?.reasons ?? ['nobody']).not.toEqual([])
      }),
    )
  })

  it('is known by its name, with hyphens too, and nothing else is', () => {
    for (const strategy of strategies) {
      expect(parseStrategy(strategy)).toBe(strategy)
      expect(parseStrategy(strategy.replaceAll('_', '-'))).toBe(strategy)
    }
    for (const other of ['', 'best', 'Round_Robin', '__proto__']) expect(parseStrategy(other)).toBeUndefined()
  })
})

describe('round_robin', () => {
  it('differs by one at most between fit nodes and gives nothing to others', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 12 }), fc.nat(100), (fitness, count) => {
        const nodes = nodesOf(fitness.length, (i) => (fitness[i] ? {} : { refusal: 'it is cordoned' }))
        fill('round_robin', nodes, count)
        const fit = nodes.filter((n) => n.refusal === '').map((n) => n.agents)
        if (fit.length > 0) expect(spread(fit)).toBeLessThanOrEqual(1)
        expect(nodes.filter((n) => n.refusal !== '' && n.agents > 0)).toEqual([])
      }),
    )
  })

  it('goes on where it was when nodes come and go', () => {
    const balancer = new Balancer(new Random(1))
    const all = nodesOf(4)
    const next = (nodes: readonly Node[]) => balancer.pick('round_robin', nodes, work())?.nodeId
    expect([next(all), next(all)]).toEqual(['n0000', 'n0001'])
    const without = all.filter((n) => n.nodeId !== 'n0001')
    expect([next(without), next(without), next(without)]).toEqual(['n0002', 'n0003', 'n0000'])
    expect(next(all)).toBe('n0001')
    expect(balancer.roundRobinIndex).toBe(6)
  })
})

describe('random', () => {
  it('draws each fit node alike (chi-square)', () => {
    const nodes = nodesOf(20, (i) => ({ maxAgents: 1e9, refusal: i % 5 === 0 ? 'it is offline' : '' }))
    fill('random', nodes, 32_000)
    const counts = nodes.filter((n) => n.refusal === '').map((n) => n.agents)
    expect(
      chiSquare(
        counts,
        counts.map(() => 2_000),
      ),
    ).toBeLessThan(chiSquareMax(15))
    expect(nodes.filter((n) => n.refusal !== '').every((n) => n.agents === 0)).toBe(true)
  })
})

describe('weighted', () => {
  it('draws in proportion to free places (chi-square)', () => {
    const nodes = nodesOf(8, (i) => ({ agents: i, maxAgents: 10 + 5 * i, trust: i === 7 ? 0.5 : 1 }))
    const balancer = new Balancer(new Random(7))
    const counts = new Map<string, number>()
    const picks = 40_000
    for (let i = 0; i < picks; i++) {
      const id = balancer.pick('weighted', nodes, work())?.nodeId as string
      counts.set(id, (counts.get(id) ?? 0) + 1)
    }
    const room = nodes.map(roomOf)
    const total = room.reduce((sum, n) => sum + n, 0)
    expect(room[7]).toBe(15)
    expect(
      chiSquare(
        nodes.map((n) => counts.get(n.nodeId) ?? 0),
        room.map((n) => (n / total) * picks),
      ),
    ).toBeLessThan(chiSquareMax(7))
  })
})

describe('power_of_two', () => {
  /** How far the fullest is above the mean; each agent alike, on 1,000 nodes. */
  const excess = (strategy: Strategy, seed: number): number => {
    const nodes = nodesOf(1_000, () => ({ maxAgents: 1_000_000 }))
    fill(strategy, nodes, 10_000, seed)
    return Math.max(...nodes.map((n) => n.agents)) - 10
  }

  it('keeps the fullest within ln ln n / ln 2 + 2 of the mean, where chance alone does not (Azar et al. 1994)', () => {
    for (const seed of [1, 2, 3]) {
      const bound = Math.log(Math.log(1_000)) / Math.LN2 + 2
      expect(excess('power_of_two', seed)).toBeLessThanOrEqual(bound)
      expect(excess('random', seed)).toBeGreaterThan(2 * excess('power_of_two', seed))
    }
  })

  it('finds the one node that fits among a thousand that do not', () => {
    const nodes = nodesOf(1_000, (i) => (i === 777 ? {} : { refusal: 'it is offline' }))
    expect(new Set(fill('power_of_two', nodes, 50))).toEqual(new Set(['n0777']))
  })
})

describe('consistent', () => {
  const names = Array.from({ length: 5_000 }, (_, i) => `agent-${i}`)
  const placesOf = (nodes: readonly Node[], seed = 1): string[] => {
    const balancer = new Balancer(new Random(seed))
    return names.map((name) => balancer.pick('consistent', nodes, work(name))?.nodeId ?? '')
  }

  it('gives the same name the same node, whoever asks and whatever else is there', () => {
    const nodes = nodesOf(10)
    expect(placesOf(nodes, 1)).toEqual(
      placesOf(
        nodesOf(10, (i) => ({ agents: i, cpuPct: 9 * i })),
        99,
      ),
    )
  })

  it('spreads names evenly (chi-square)', () => {
    const places = placesOf(nodesOf(10))
    const counts = nodesOf(10).map((n) => places.filter((id) => id === n.nodeId).length)
    expect(
      chiSquare(
        counts,
        counts.map(() => 500),
      ),
    ).toBeLessThan(chiSquareMax(9))
  })

  it('moves only to a node that comes, about one in n, and only from a node that goes', () => {
    const before = placesOf(nodesOf(10))
    const more = placesOf(nodesOf(11))
    const moved = before.filter((id, i) => id !== more[i])
    expect(more.filter((id, i) => id !== before[i]).every((id) => id === 'n0010')).toBe(true)
    // 1/11 of 5,000 is 455; the standard deviation is 20.
    expect(moved.length).toBeGreaterThan(350)
    expect(moved.length).toBeLessThan(560)
    const less = placesOf(nodesOf(10).filter((n) => n.nodeId !== 'n0003'))
    expect(before.every((id, i) => id === less[i] || id === 'n0003')).toBe(true)
  })
})

describe('spread', () => {
  it('keeps zones even, and the nodes within a zone', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 4 }),
        fc.nat(120),
        (zoneSizes, count) => {
          // Zones of the same size in places, whatever the number of their nodes.
          const nodes = zoneSizes.flatMap((n, z) =>
            Array.from({ length: n }, (_, i) => node(z * 10 + i, { zone: `z${z}`, maxAgents: 1_200 / n })),
          )
          fill('spread', nodes, count)
          const zones = zoneSizes.map((_, z) =>
            nodes.filter((n) => n.zone === `z${z}`).reduce((sum, n) => sum + n.agents, 0),
          )
          expect(spread(zones)).toBeLessThanOrEqual(1)
          for (const [z] of zoneSizes.entries())
            expect(spread(nodes.filter((n) => n.zone === `z${z}`).map((n) => n.agents))).toBeLessThanOrEqual(
              1,
            )
        },
      ),
    )
  })

  it('goes by the share in use where zones differ in size', () => {
    const nodes = nodesOf(4, (i) => ({ zone: i === 0 ? 'small' : 'big' }))
    fill('spread', nodes, 40)
    expect(nodes.map((n) => n.agents)).toEqual([10, 10, 10, 10])
  })

  it('looks at zones first even where nodes are big', () => {
    const nodes = [
      node(0, { zone: 'a', agents: 3_000, maxAgents: 10_000 }),
      node(1, { zone: 'a', agents: 3_000, maxAgents: 10_000 }),
      node(2, { zone: 'b', agents: 0, maxAgents: 10_000 }),
      node(3, { zone: 'b', agents: 6_001, maxAgents: 10_000 }),
    ]
    expect(new Balancer(new Random(1)).pick('spread', nodes, work())?.zone).toBe('a')
  })
})

describe('binpack', () => {
  it('fills one before it begins the next', () => {
    const nodes = nodesOf(4, () => ({ maxAgents: 10 }))
    const placed = fill('binpack', nodes, 25)
    expect(nodes.map((n) => n.agents)).toEqual([10, 10, 5, 0])
    expect(placed.slice(0, 10)).toEqual(Array(10).fill('n0000'))
  })
})

describe('least_loaded, least_agents, lowest_latency, same_zone', () => {
  it('least_loaded weighs processor, memory and agents as documented', () => {
    expect(loadOf(node(0, { cpuPct: 50, memoryPct: 20, agents: 10, maxAgents: 100 }))).toBeCloseTo(29)
    const nodes = [
      node(0, { cpuPct: 30 }),
      node(1, { memoryPct: 39 }),
      node(2, { agents: 38 }),
      node(3, { cpuPct: 20, memoryPct: 20, agents: 20 }),
    ]
    expect(new Balancer(new Random(1)).pick('least_loaded', nodes, work())?.nodeId).toBe('n0002')
  })

  it('least_agents differs by one at most, whatever the sizes and loads', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(100), { minLength: 1, maxLength: 10 }), fc.nat(60), (cpu, count) => {
        const nodes = nodesOf(cpu.length, (i) => ({ cpuPct: cpu[i] as number, maxAgents: 60 + 10 * i }))
        fill('least_agents', nodes, count)
        expect(spread(nodes.map((n) => n.agents))).toBeLessThanOrEqual(1)
      }),
    )
  })

  it('lowest_latency takes the nearest measured one, and an unmeasured one only when it must', () => {
    const away = (ms: number) => ({ vantageOf: () => ({ nodeId: 'here' }), rttMsFrom: () => ms })
    const nodes = [node(0), node(1, away(8)), node(2, { ...away(2), maxAgents: 2 }), node(3, away(5))]
    expect(fill('lowest_latency', nodes, 3)).toEqual(['n0002', 'n0002', 'n0003'])
    expect(new Balancer(new Random(1)).pick('lowest_latency', [node(0)], work())?.nodeId).toBe('n0000')
  })

  it('same_zone goes to the zone of who asks, then to its region, then anywhere; to the least loaded there', () => {
    const nodes = [
      node(0, { zone: 'x', region: 'far', maxAgents: 1 }),
      node(1, { zone: 'b', region: 'r', maxAgents: 1, cpuPct: 90 }),
      node(2, { zone: 'a', region: 'r', maxAgents: 1, cpuPct: 80 }),
      node(3, { zone: 'a', region: 'r', maxAgents: 1, cpuPct: 70 }),
    ]
    const near = (name: string) => work(name, { origin: { zone: 'a', region: 'r' } })
    expect(fill('same_zone', nodes, 4, 1, near)).toEqual(['n0003', 'n0002', 'n0001', 'n0000'])
  })
})

describe('picks one after the other', () => {
  it.each(strategies)('by %s are those of as many passes', (strategy) => {
    const works = [
      work('a'),
      work('b', { services: ['database'] }),
      work('c', { constraints: { zone: ['zone-1'] }, origin: { zone: 'zone-1', region: 'r' } }),
    ]
    fc.assert(
      fc.property(
        fc.array(fc.record({ cpu: fc.nat(100), max: fc.nat(6) }), { minLength: 1, maxLength: 12 }),
        fc.array(fc.record({ work: fc.nat(2), taken: fc.option(fc.nat(11)) }), { maxLength: 60 }),
        (sizes, picks) => {
          const make = () =>
            nodesOf(sizes.length, (i) => ({
              cpuPct: sizes[i]?.cpu ?? 0,
              maxAgents: sizes[i]?.max ?? 0,
              zone: `zone-${i % 3}`,
              services: i % 2 === 0 ? ['database'] : [],
            }))
          const [nodes, others] = [make(), make()]
          const [quick, slow] = [new Balancer(new Random(3)), new Balancer(new Random(3))]
          const rankings = new Map<string, Ranking>()
          for (const { work: which, taken } of picks) {
            const wanted = works[which] as Work
            const chosen = quick.pickNext(strategy, nodes, wanted, rankings)
            expect(chosen?.nodeId).toBe(slow.pick(strategy, others, wanted)?.nodeId)
            // Who is chosen gets it, and somebody gets one from elsewhere.
            for (const list of [nodes, others]) {
              for (const node of list) if (node.nodeId === chosen?.nodeId) node.agents++
              const other = taken === null ? undefined : list[taken]
              if (other !== undefined) other.agents++
            }
          }
        },
      ),
    )
  })
})

describe('trust', () => {
  it('halves at every third loss within ten minutes, and recovers as they grow old', () => {
    const trust = new Trust()
    const minute = 60_000
    expect(trust.of('n', 0)).toBe(1)
    trust.lost('n', 0)
    trust.lost('n', minute)
    expect(trust.of('n', minute)).toBe(1)
    trust.lost('n', 2 * minute)
    expect(trust.of('n', 2 * minute)).toBe(0.5)
    for (const at of [3, 4, 5]) trust.lost('n', at * minute)
    expect(trust.of('n', 5 * minute)).toBe(0.25)
    expect(trust.of('other', 5 * minute)).toBe(1)
    // The first of six is ten minutes old: five are left.
    expect(trust.of('n', 10 * minute)).toBe(0.5)
    expect(trust.of('n', 13 * minute)).toBe(1)
    expect(trust.of('n', 60 * minute)).toBe(1)
  })

  it('limits the places that are given, not those that are held', () => {
    const half = node(0, { trust: 0.5, maxAgents: 10, agents: 7 })
    expect(roomOf(half)).toBe(0)
    expect(whyNot(half, work()).join()).toContain('50 %')
    expect(roomOf({ ...half, agents: 3 })).toBe(2)
  })
})

describe('planMoves', () => {
  const even: readonly Strategy[] = strategies.filter(
    (s) => !['consistent', 'binpack', 'lowest_latency', 'same_zone'].includes(s),
  )
  const pictures = fc.integer({ min: 1, max: 6 }).chain((n) =>
    fc.record({
      nodes: fc.tuple(
        ...Array.from({ length: n }, (_, i) =>
          fc
            .record({
              maxAgents: fc.integer({ min: 10, max: 30 }),
              zone: fc.constantFrom('a', 'b'),
              refusal: fc.constantFrom('', '', '', 'it is cordoned'),
              cpuPct: fc.nat(100),
              rttMs: fc.option(fc.nat(20), { nil: undefined }),
              services: fc.constantFrom(['s'], []),
            })
            .map((over) => node(i, over)),
        ),
      ),
      places: fc.array(fc.nat(n - 1), { maxLength: 30 }),
      needs: fc.array(fc.boolean(), { minLength: 30, maxLength: 30 }),
    }),
  )
  type Picture = { nodes: Node[]; places: number[]; needs: boolean[] }

  /** Agents where the picture has them, as far as they may be there. */
  function placedIn({ nodes, places, needs }: Picture): Placed[] {
    for (const n of nodes) n.agents = 0
    return places.flatMap((place, i): Placed[] => {
      const n = nodes[place] as Node
      if (n.agents >= n.maxAgents || (needs[i] === true && !n.services.includes('s'))) return []
      n.agents++
      const w = work(`agent-${i}`, needs[i] === true ? { services: ['s'] } : {})
      return [{ work: w, nodeId: n.nodeId, strategy: undefined }]
    })
  }

  function carriedOut(
    placed: readonly Placed[],
    nodes: readonly Node[],
    strategy: Strategy,
    movesMax: number,
  ) {
    const moves = planMoves(placed, nodes, strategy, new Balancer(new Random(1)), movesMax)
    const to = new Map(moves.map((m) => [m.name, m.to]))
    const after = placed.map((p) => ({ ...p, nodeId: to.get(p.work.name) ?? p.nodeId }))
    const held = nodes.map((n) => ({ ...n, agents: after.filter((p) => p.nodeId === n.nodeId).length }))
    return { moves, after, held }
  }

  it('wants nothing more once its plan is carried out', () => {
    fc.assert(
      fc.property(pictures, fc.constantFrom(...strategies), (picture, strategy) => {
        const placed = placedIn(picture)
        const { after, held } = carriedOut(placed, picture.nodes, strategy, 1_000)
        expect(planMoves(after, held, strategy, new Balancer(new Random(1)), 1_000)).toEqual([])
      }),
      { numRuns: 1_000 },
    )
  })

  it('keeps to its budget, names each agent once, from where it is to where it may be', () => {
    fc.assert(
      fc.property(pictures, fc.constantFrom(...strategies), fc.nat(5), (picture, strategy, movesMax) => {
        const placed = placedIn(picture)
        const { moves, held } = carriedOut(placed, picture.nodes, strategy, movesMax)
        expect(moves.length).toBeLessThanOrEqual(movesMax)
        expect(new Set(moves.map((m) => m.name)).size).toBe(moves.length)
        for (const { name, from, to } of moves) {
          const one = placed.find((p) => p.work.name === name)
          expect(one?.nodeId).toBe(from)
          expect(to).not.toBe(from)
          const target = picture.nodes.find((n) => n.nodeId === to) as Node
          expect(whyNot({ ...target, agents: 0 }, one?.work as Work)).toEqual([])
        }
        for (const n of held) expect(n.agents).toBeLessThanOrEqual(n.maxAgents)
      }),
      { numRuns: 1_000 },
    )
  })

  it('evens out what has no constraints: no two nodes differ by two where both are of one size', () => {
    fc.assert(
      fc.property(
        fc.array(fc.nat(20), { minLength: 1, maxLength: 8 }),
        fc.constantFrom(...even.filter((s) => s !== 'spread')),
        (counts, strategy) => {
          const nodes = nodesOf(counts.length, (i) => ({ agents: counts[i] as number, cpuPct: 10 * i }))
          const placed = counts.flatMap((n, i) =>
            Array.from({ length: n }, (_, k) => ({
              work: work(`agent-${i}-${k}`),
              nodeId: (nodes[i] as Node).nodeId,
              strategy: undefined,
            })),
          )
          const { held } = carriedOut(placed, nodes, strategy, 1_000)
          expect(spread(held.map((n) => n.agents))).toBeLessThanOrEqual(1)
        },
      ),
    )
  })

  it('moves what stands in the way of another, although that one could not move before', () => {
    // Three nodes; what is on the first may only go to the second, what is on the second anywhere.
    const nodes = [node(0, { agents: 5 }), node(1, { agents: 4 }), node(2)]
    const placed: Placed[] = [
      ...Array.from({ length: 5 }, (_, i) => ({
        work: work(`bound-${i}`, { constraints: { nodes: ['n0000', 'n0001'] } }),
        nodeId: 'n0000',
        strategy: undefined,
      })),
      ...Array.from({ length: 4 }, (_, i) => ({
        work: work(`free-${i}`),
        nodeId: 'n0001',
        strategy: undefined,
      })),
    ]
    const { held } = carriedOut(placed, nodes, 'least_agents', 100)
    // Going over them once would leave 5, 2, 2.
    expect(held.map((n) => n.agents)).toEqual([4, 3, 2])
  })

  it('spread evens out zones, whatever their nodes have', () => {
    const nodes = nodesOf(4, (i) => ({ zone: i < 2 ? 'a' : 'b', agents: i < 2 ? 2 : 1 }))
    const placed = nodes.flatMap((n) =>
      Array.from({ length: n.agents }, (_, k) => ({
        work: work(`${n.nodeId}-${k}`),
        nodeId: n.nodeId,
        strategy: undefined,
      })),
    )
    const { held, moves } = carriedOut(placed, nodes, 'spread', 100)
    expect(moves).toHaveLength(1)
    expect(held.map((n) => n.agents).toSorted()).toEqual([1, 1, 2, 2])
  })

  it('leaves an agent with a strategy of its own where that one puts it', () => {
    const nodes = nodesOf(2, (i) => ({ agents: i === 0 ? 6 : 0, maxAgents: 10 }))
    const placed: Placed[] = Array.from({ length: 6 }, (_, i) => ({
      work: work(`agent-${i}`),
      nodeId: 'n0000',
      strategy: 'binpack',
    }))
    expect(carriedOut(placed, nodes, 'least_agents', 100).moves).toEqual([])
    expect(
      carriedOut(
        placed.map((p) => ({ ...p, strategy: undefined })),
        nodes,
        'least_agents',
        100,
      ).moves,
    ).toHaveLength(3)
  })
})
