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

/** Violations of the first seed that shows any, or none after all seeds. */
export async function violationsWith(
  mutation: Mutation | null,
  options: { seeds: number; minutes: number; faults: string },
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
    for (let seed = 1; seed <= options.seeds; seed++) {
      const args = [
        outfile,
        '--json',
        '--seed',
        String(seed),
        '--nodes',
        '5',
        '--minutes',
        String(options.minutes),
        '--faults',
        options.faults,
      ]
      const { stdout } = await run(process.execPath, args, { maxBuffer: 1 << 26, timeout: 120_000 }).catch(
        (error: { stdout?: string; stderr?: string; code?: number }) => {
          // Exit code 1 with a report means violations; a crash of the simulation is a finding, too.
          if (error.stdout !== undefined && error.stdout !== '') return { stdout: error.stdout }
          return {
            stdout: JSON.stringify({
              violations: [
                {
                  promise: 'crash',
                  atMs: 0,
                  detail: (error.stderr ?? '').split('\n').find((l) => l.includes('Error')) ?? 'ended',
                },
              ],
            }),
          }
        },
      )
      const report = JSON.parse(stdout) as { violations: { promise: string; detail: string }[] }
      if (report.violations.length > 0)
        return report.violations.map((v) => `promise ${v.promise}: ${v.detail}`)
    }
    return []
  } finally {
    await rm(dir, { recursive: true, force: true })
  }
}
