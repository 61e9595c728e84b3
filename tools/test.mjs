// Runs all tests once and closes with one line: "N passed, N failed". With CI=true a skipped test is a failure.
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const dir = mkdtempSync(join(tmpdir(), 'skein-test-'))
const output = join(dir, 'result.json')
const { status } = spawnSync(
  process.execPath,
  [
    'node_modules/vitest/vitest.mjs',
    'run',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${output}`,
    ...process.argv.slice(2),
  ],
  { stdio: ['ignore', 'inherit', 'inherit'] },
)
let passed = 0
let failed = 0
let skipped = 0
try {
  const result = JSON.parse(readFileSync(output, 'utf8'))
  passed = result.numPassedTests
  failed = result.numFailedTests
  skipped = result.numPendingTests + result.numTodoTests
  // A file that did not load has no tests to count.
  for (const file of result.testResults)
    if (file.status === 'failed' && file.assertionResults.every((t) => t.status !== 'failed')) failed++
} catch (error) {
  console.error(`the test runner left no result: ${error.message}`)
  failed++
}
rmSync(dir, { recursive: true, force: true })
if (process.env.CI === 'true') {
  failed += skipped
  if (skipped > 0) console.error(`${skipped} skipped tests count as failed with CI=true`)
}
if (status !== 0 && failed === 0) failed = 1
console.log(
  `${passed} passed, ${failed} failed${skipped > 0 && process.env.CI !== 'true' ? `, ${skipped} skipped` : ''}`,
)
process.exit(failed === 0 && passed > 0 ? 0 : 1)
