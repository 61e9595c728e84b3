/** Replicated maps under seeded faults: every oracle stays silent, and each planted bug makes one speak. */
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { describe, expect, it } from 'vitest'
import { type MapFault, type MapReport, type MapRun, simulateMaps } from '../../src/sim/maps.js'
import { type MapMutation, mapMutations } from './map-mutations.js'

const root = resolve(import.meta.dirname, '../..')
const faultSets: readonly (readonly MapFault[])[] = [
  ['loss'],
  ['partition'],
  ['long_partition', 'loss'],
  ['restart', 'loss', 'partition'],
  ['skew', 'loss', 'partition'],
  ['loss', 'partition', 'long_partition', 'restart', 'skew'],
]

async function simulatorWith({ name, file, find, replace }: MapMutation): Promise<{
  run: (options: MapRun) => MapReport
  end: () => Promise<void>
}> {
  const dir = await mkdtemp(join(tmpdir(), 'skein-maps-'))
  const outfile = join(dir, 'maps.mjs')
  let applied = false
  await build({
    entryPoints: [join(root, 'src/sim/maps.ts')],
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile,
    logLevel: 'silent',
    plugins: [
      {
        name: 'mutate',
        setup(builder) {
          builder.onLoad({ filter: /\.ts$/ }, async ({ path }) => {
            const text = await readFile(path, 'utf8')
            if (path !== join(root, file)) return { contents: text, loader: 'ts' }
            const parts = text.split(find)
            if (parts.length !== 2) throw new Error(`"${name}": found ${parts.length - 1} times in ${file}`)
            applied = true
            return { contents: parts.join(replace), loader: 'ts' }
          })
        },
      },
    ],
  })
  if (!applied) throw new Error(`"${name}": ${file} is not part of the simulation`)
  const module = (await import(pathToFileURL(outfile).href)) as { simulateMaps: (o: MapRun) => MapReport }
  return { run: module.simulateMaps, end: () => rm(dir, { recursive: true, force: true }) }
}

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
      const { run, end } = await simulatorWith(mutation)
      try {
        for (let seed = 1; seed <= (mutation.seeds ?? 8); seed++) {
          try {
            const { violations } = run({ seed, nodes: 4, seconds: 45, faults: mutation.faults })
            if (violations.length > 0) return
          } catch {
            // That it cannot even go on is seen as well.
            return
          }
        }
        expect.unreachable('no seed found it')
      } finally {
        await end()
      }
    },
    120_000,
  )
})
