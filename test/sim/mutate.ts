/** Bundles the simulator with one planted bug and runs it in a process of its own. */
import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import type { Mutation } from './mutations.js'

const root = resolve(import.meta.dirname, '../..')
const run = promisify(execFile)
const timeMsMax = 170_000

/** Violations of the first seed that shows any, or none after all seeds. */
export async function violationsWith(
  mutation: Mutation | null,
  options: {
    readonly firstSeed?: number
    readonly seeds: number
    readonly minutes: number
    readonly faults: string
  },
): Promise<string[]> {
  const dir = await mkdtemp(join(tmpdir(), 'skein-mutation-'))
  try {
    const outfile = join(dir, 'sim.mjs')
    let applied = mutation === null
    await build({
      entryPoints: [join(root, 'src/sim/main.ts')],
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
              if (mutation === null || path !== join(root, mutation.file))
                return { contents: text, loader: 'ts' }
              const parts = text.split(mutation.find)
              if (parts.length !== 2)
                throw new Error(
                  `"${mutation.name}": found ${parts.length - 1} times in ${mutation.file}, must be once`,
                )
              applied = true
              return { contents: parts.join(mutation.replace), loader: 'ts' }
            })
          },
        },
      ],
    })
    if (!applied) throw new Error(`"${mutation?.name}": ${mutation?.file} is not part of the simulator`)
    const { firstSeed = 1, seeds, minutes, faults } = options
    const args = [
      ...[outfile, '--json', '--until-violation', '--seed', String(firstSeed), '--seeds', String(seeds)],
      ...['--nodes', '5', '--minutes', String(minutes), '--faults', faults],
    ]
    const { stdout, crash } = await run(process.execPath, args, {
      maxBuffer: 1 << 26,
      timeout: timeMsMax,
    }).then(
      ({ stdout }) => ({ stdout, crash: undefined }),
      (error: { stdout: string; stderr: string; code?: number | null; message: string }) => {
        // Exit code 1 with a report means violations; a crash of the simulation is a finding, too. Taking for ever is none.
        if (typeof error.code !== 'number') throw new Error(`${options.faults}: ${error.message}`)
        return { stdout: error.stdout, crash: error.stderr }
      },
    )
    const reports = stdout
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as { violations: { promise: string; detail: string }[] })
    const found = reports.flatMap(({ violations }) => violations)
    if (found.length === 0 && crash !== undefined)
      return [`crash: ${crash.split('\n').find((l) => l.includes('Error')) ?? 'ended'}`]
    return found.map((v) => `promise ${v.promise}: ${v.detail}`)
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}
