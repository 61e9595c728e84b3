/** Bundles the simulator with one planted bug and runs it in a process of its own. */
import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { bundleWith } from '../planted.js'
import type { Mutation } from './mutations.js'

const run = promisify(execFile)
const timeMsMax = 170_000

/** Violations of the first seed that shows any, or none after all seeds. */
export async function violationsWith(
  mutation: Mutation,
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
    await bundleWith(mutation, 'src/sim/main.ts', outfile)
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
