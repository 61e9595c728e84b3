import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type PlannerNode, planShards } from '../../src/core/sharding/planner.js'

const node = (nodeId: string, over: Partial<PlannerNode> = {}): PlannerNode => ({
  nodeId,
  zone: '',
  canReceive: true,
  ...over,
})

const pictures = fc
  .tuple(fc.integer({ min: 1, max: 8 }), fc.integer({ min: 1, max: 64 }))
  .chain(([nodeCount, shardCount]) => {
    const nodes = fc
      .array(fc.constantFrom('a', 'b', 'c'), { minLength: nodeCount, maxLength: nodeCount })
      .map((zones) => zones.map((zone, i) => node(`n${i}`, { zone })))
    // Owners that are not among the nodes have lost the right to own.
    const owner = fc.option(
      fc.nat(nodeCount + 1).map((i) => `n${i}`),
      { freq: 5 },
    )
    return fc.record({ nodes, owners: fc.array(owner, { minLength: shardCount, maxLength: shardCount }) })
  })

function counts(owners: readonly (string | null)[], nodes: readonly PlannerNode[]): number[] {
  return nodes.map((n) => owners.filter((o) => o === n.nodeId).length)
}

/** The dumb oracle: shards whose owner may not keep them, and what the fullest nodes have above the best fair shares. */
function fewestMoves(owners: readonly (string | null)[], nodes: readonly PlannerNode[]): number {
  const held = counts(owners, nodes).sort((a, b) => b - a)
  const low = Math.floor(owners.length / nodes.length)
  const extra = owners.length % nodes.length
  const homeless = owners.length - held.reduce((sum, n) => sum + n, 0)
  return held.reduce((sum, n, i) => sum + Math.max(0, n - low - (i < extra ? 1 : 0)), homeless)
}

const movesIn = (before: readonly unknown[], after: readonly unknown[]) =>
  before.filter((o, i) => o !== after[i]).length

describe('shard planner', () => {
  it('gives every node its fair share, within one', () => {
    fc.assert(
      fc.property(pictures, ({ owners, nodes }) => {
        const held = counts(planShards(owners, nodes), nodes)
        expect(held.reduce((sum, n) => sum + n, 0)).toBe(owners.length)
        expect(Math.max(...held) - Math.min(...held)).toBeLessThanOrEqual(1)
      }),
    )
  })

  it('moves as few shards as any balanced plan must', () => {
    fc.assert(
      fc.property(pictures, ({ owners, nodes }) => {
        expect(movesIn(owners, planShards(owners, nodes))).toBe(fewestMoves(owners, nodes))
      }),
    )
  })

  it('is stable: planning its own result moves nothing', () => {
    fc.assert(
      fc.property(pictures, ({ owners, nodes }) => {
        const planned = planShards(owners, nodes)
        expect(planShards(planned, nodes)).toEqual(planned)
      }),
    )
  })

  it('answers alike in whatever order the nodes are named, when zones do not matter', () => {
    const permuted = pictures.chain(({ owners, nodes }) => {
      const plain = nodes.map((n) => ({ ...n, zone: '' }))
      return fc.record({
        owners: fc.constant(owners),
        nodes: fc.constant(plain),
        other: fc.shuffledSubarray(plain, { minLength: plain.length, maxLength: plain.length }),
      })
    })
    fc.assert(
      fc.property(permuted, ({ owners, nodes, other }) => {
        expect(counts(planShards(owners, other), nodes).sort()).toEqual(
          counts(planShards(owners, nodes), nodes).sort(),
        )
      }),
    )
  })

  it('fills the zone with the fewest shards per node first, among equals', () => {
    const nodes = [node('n1', { zone: 'a' }), node('n2', { zone: 'a' }), node('n3', { zone: 'b' })]
    // One shard goes to each; of those that are equally empty, the one in the empty zone is next.
    const planned = planShards(['n1', null, null], nodes)
    expect(planned[0]).toBe('n1')
    expect(planned[1]).toBe('n3')
    expect(planned[2]).toBe('n2')
  })

  it('gives nothing new to a node that cannot receive, and leaves it what it has', () => {
    const nodes = [node('n1', { canReceive: false }), node('n2')]
    expect(planShards(['n1', null, null, null], nodes)).toEqual(['n1', 'n2', 'n2', 'n2'])
  })

  it('leaves everything where it is when nobody can receive', () => {
    const nodes = [node('n1', { canReceive: false }), node('n2', { canReceive: false })]
    expect(planShards(['n1', 'n1', 'n1', null, 'gone'], nodes)).toEqual(['n1', 'n1', 'n1', null, null])
  })

  it('assigns nothing when no node may own', () => {
    expect(planShards(['n1', null], [])).toEqual([null, null])
  })
})
