/** Prometheus' own tool, where it is installed (Debian: prometheus). */
import { spawnSync } from 'node:child_process'

const program = process.env.PROMTOOL ?? 'promtool'

export const noPromtool = spawnSync(program, ['--version'], { stdio: 'ignore' }).status !== 0

/** Says once what a missing tool leaves out. */
export function isWithoutPromtool(what: string): boolean {
  if (noPromtool) console.warn(`no promtool (Debian: prometheus; or set PROMTOOL): ${what} is skipped`)
  return noPromtool
}

/** All that it said. Throws, with that, when it found something. */
export function promtool(args: readonly string[], options: { input?: string; cwd?: string } = {}): string {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', ...options })
  const said = `${stdout}${stderr}`.trim()
  if (status !== 0)
    throw new Error(`promtool ${args.join(' ')} ended with ${status}:\n${said.slice(0, 4_000)}`)
  return said
}
