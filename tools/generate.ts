/**
 * `npm run docs:generate`: what the documentation takes from the source itself, written anew. With `--check` it only says what is out of date, and
 * fails when something is. A generator makes a whole file, or what stands between `<!-- generated: NAME -->` and `<!-- /generated: NAME -->` in one.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { alertRules, alertsPage } from './generate/alerts.js'
import { cliReference } from './generate/cli-reference.js'
import { errorsPage } from './generate/errors-page.js'
import { eventsPage } from './generate/events-page.js'
import { grafanaDashboard } from './generate/grafana.js'
import { metricsPage } from './generate/metrics-page.js'
import { optionsPage } from './generate/options-page.js'

export interface Generator {
  /** From the root of the repository. */
  readonly file: string
  /** Of a part of a file that is written by hand otherwise. */
  readonly section?: string
  /** The same whenever the source is the same: no times, no environment. */
  generate(): string | Promise<string>
}

const generators: readonly Generator[] = [
  { file: 'docs/CLI.md', generate: cliReference },
  { file: 'docs/ERRORS.md', generate: errorsPage },
  { file: 'docs/EVENTS.md', generate: eventsPage },
  { file: 'docs/METRICS.md', generate: metricsPage },
  { file: 'docs/OPTIONS.md', generate: optionsPage },
  { file: 'docs/ALERTS.md', generate: alertsPage },
  { file: 'deploy/prometheus/alerts.yaml', generate: alertRules },
  { file: 'deploy/grafana/skein.json', generate: grafanaDashboard },
]

const root = resolve(import.meta.dirname, '..')

/** The files that are not what the source says, with what they should be. */
export async function outOfDate(): Promise<ReadonlyMap<string, string>> {
  const wanted = new Map<string, string>()
  for (const { file, section, generate } of generators) {
    const made = `${(await generate()).trimEnd()}\n`
    if (section === undefined) wanted.set(file, made)
    else wanted.set(file, withSection(wanted.get(file) ?? read(file), file, section, made))
  }
  return new Map(
    [...wanted]
      .map(([file, text]) => [file, formatted(file, text)] as const)
      .filter(([file, text]) => read(file) !== text),
  )
}

function read(file: string): string {
  const path = resolve(root, file)
  return existsSync(path) ? readFileSync(path, 'utf8') : ''
}

/** As everything in the repository is; tables line up then. */
function formatted(file: string, text: string): string {
  const biome = resolve(root, 'node_modules/@biomejs/biome/bin/biome')
  const args = [biome, 'format', `--stdin-file-path=${file}`]
  return execFileSync(process.execPath, args, { cwd: root, input: text, encoding: 'utf8' })
}

function withSection(text: string, file: string, section: string, made: string): string {
  const [begin, end] = [`<!-- generated: ${section} -->`, `<!-- /generated: ${section} -->`]
  const from = text.indexOf(begin)
  const to = text.indexOf(end)
  if (from === -1 || to < from) throw new Error(`${file} has no ${begin} … ${end}`)
  return `${text.slice(0, from + begin.length)}\n\n${made}\n${text.slice(to)}`
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const stale = await outOfDate()
  const isCheck = process.argv.includes('--check')
  for (const [file, text] of stale) {
    if (!isCheck) writeFileSync(resolve(root, file), text)
    console.log(isCheck ? `${file} is out of date: npm run docs:generate` : `${file} written`)
  }
  if (stale.size === 0) console.log('all up to date')
  process.exit(isCheck && stale.size > 0 ? 1 : 0)
}
