// Lists and runs the scripts of a folder by name: TypeScript through tsx, so that what is proved and measured is the source as it stands.
import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'

/** The first line of each script is a comment that says what it shows. */
export function runScripts(folder, command) {
  const scripts = readdirSync(folder)
    .filter((name) => /^[a-z0-9-]+\.ts$/.test(name))
    .map((name) => ({ name: basename(name, '.ts'), path: join(folder, name) }))
  const [name, ...args] = process.argv.slice(2)
  if (name === undefined) {
    for (const script of scripts)
      console.log(
        `${command} ${script.name.padEnd(14)} ${readFileSync(script.path, 'utf8')
          .split('\n')[0]
          .replace(/^\/\/ ?|^\/\*\* ?| ?\*\/$/g, '')}`,
      )
    process.exit(0)
  }
  const script = scripts.find((s) => s.name === name)
  if (script === undefined) {
    console.error(`no "${name}"; there are: ${scripts.map((s) => s.name).join(', ')}`)
    process.exit(2)
  }
  process.exit(
    spawnSync(process.execPath, ['--import', 'tsx', script.path, ...args], { stdio: 'inherit' }).status ?? 1,
  )
}
