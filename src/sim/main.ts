/** `npm run sim -- --seed N --nodes N --minutes M`: prints what happened and the command that repeats it; exit code 1 on a violation. */
import { parseArgs } from 'node:util'
import { simulate } from './simulation.js'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    nodes: { type: 'string', default: '5' },
    minutes: { type: 'string', default: '2' },
    faults: { type: 'string' },
    'until-violation': { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})

function positive(name: 'seed' | 'seeds' | 'nodes' | 'minutes', max: number): number {
  const value = Number(values[name])
  if (Number.isFinite(value) && value > 0 && value <= max) return value
  process.stderr.write(`--${name} must be a number above 0 and at most ${max}, not "${values[name]}"\n`)
  process.exit(2)
}

const first = positive('seed', 2 ** 32)
const count = positive('seeds', 100_000)
const nodes = positive('nodes', 64)
const minutes = positive('minutes', 1_440)
const faults = values.faults?.split(',')
const untilViolation = values['until-violation']
let failed = 0
for (let seed = first; seed < first + count && !(untilViolation && failed > 0); seed++) {
  const startedMs = performance.now()
  const report = await simulate({
    seed,
    nodes,
    minutes,
    untilViolation,
    ...(faults === undefined ? {} : { faults }),
  })
  const wallMs = performance.now() - startedMs
  if (report.violations.length > 0) failed++
  if (values.json) process.stdout.write(`${JSON.stringify(report)}\n`)
  else {
    const speed = Math.round(report.virtualMs / wallMs)
    process.stdout.write(
      `seed ${seed}: digest ${report.digest}, ${report.acknowledged} events acknowledged, ${report.stored} stored, ${report.handled} handled, ${report.leaderTerms} leaders, ${speed}x real time, ${report.violations.length} violations\n`,
    )
    for (const v of report.violations.slice(0, 10))
      process.stdout.write(`  promise ${v.promise} at ${v.atMs} ms: ${v.detail}\n`)
    if (report.violations.length > 0) {
      const only = faults === undefined ? '' : ` --faults ${faults.join(',')}`
      process.stdout.write(
        `  again: npm run sim -- --seed ${seed} --nodes ${nodes} --minutes ${minutes}${only}\n`,
      )
    }
  }
}
process.exit(failed === 0 ? 0 : 1)
