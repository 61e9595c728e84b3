/** Lines of level error, which somebody has to act on, are listed for operators: all of them, and no others. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')

const sources = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => readFileSync(join(root, 'src', name), 'utf8'))
  .join('\n')

const word = String.raw`'([a-z_]+\.[a-z_]+)'`
/** As they are written: level and word side by side, or the word given to a function that logs it so. */
const patterns = [
  String.raw`'error',\s*${word}`,
  `'warn' : 'error', ${word}`,
  String.raw`onNote\(${word}[^\n]*, 'error'\)`,
  String.raw`guarded\(${word}`,
  String.raw`tellTrouble\(${word}`,
]

test('OPERATIONS.md lists every line of level error, and what to do', () => {
  const logged = new Set(
    patterns.flatMap((p) => [...sources.matchAll(new RegExp(p, 'g'))].map((m) => m[1] ?? '')),
  )
  const page = readFileSync(join(root, 'docs/OPERATIONS.md'), 'utf8')
  const section = page.slice(page.indexOf('### Logs'), page.indexOf('### What a node says of its host'))
  const rows = section.split('\n').filter((line) => line.startsWith('| `'))
  const listed = rows.flatMap((row) =>
    [...(row.split(' | ')[0] ?? '').matchAll(/`([a-z_]+\.[a-z_]+)`/g)].map((m) => m[1]),
  )
  expect(listed.sort()).toEqual([...logged].sort())
})
