/** Replicated maps under seeded faults: every oracle stays silent, and each planted bug makes one speak. */
import { describe, expect, it } from 'vitest'
import { type MapFault, simulateMaps } from '../../src/sim/maps.js'
import { importWith } from '../planted.js'
import { mapMutations } from './map-mutations.js'

const faultSets: readonly (readonly MapFault[])[] = [
  ['loss'],
  ['partition'],
  ['long_partition', 'loss'],
  ['restart', 'loss', 'partition'],
  ['skew', 'loss', 'partition'],
  ['loss', 'partition', 'long_partition', 'restart', 'skew'],
]

describe('replicated maps converge', () => {
  it.each(faultSets.map((faults) => ({ faults })))(
    'after $faults',
    ({ faults }) => {
      for (let seed = 1; seed <= 6; seed++) {
        const { violations, writes } = simulateMaps({ seed, nodes: 3 + (seed % 3), seconds: 45, faults })
        expect(violations, `seed ${seed}`).toEqual([])
        expect(writes).toBeGreaterThan(100)
      }
    },
    120_000,
  )

  it('the same seed is the same run', () => {
    const options = { seed: 11, nodes: 4, seconds: 30, faults: ['loss', 'partition'] as const }
    expect(simulateMaps(options)).toEqual(simulateMaps(options))
  })
})

describe('planted bugs', () => {
  it.each(mapMutations)(
    '$name: an oracle says so',
    async (mutation) => {
      const sim = await importWith<{ simulateMaps: typeof simulateMaps }>(mutation, 'src/sim/maps.ts')
      for (let seed = 1; seed <= (mutation.seeds ?? 8); seed++) {
        try {
          const { violations } = sim.simulateMaps({ seed, nodes: 4, seconds: 45, faults: mutation.faults })
          if (violations.length > 0) return
        } catch {
          // That it cannot even go on is seen as well.
          return
        }
      }
      expect.unreachable('no seed found it')
    },
    120_000,
  )
})
