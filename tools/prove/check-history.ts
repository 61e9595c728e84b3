// Judges a history that another proof has written: npm run prove check-history FILE
import { readFileSync } from 'node:fs'
import { checkHistory } from './lib/check-history.js'
import type { HistoryRecord } from './lib/history.js'
import { printVerdict } from './lib/print-verdict.js'

const file = process.argv[2]
if (file === undefined) {
  console.error('which history? (a file of JSON lines)')
  process.exit(2)
}
const lines = readFileSync(file, 'utf8').split('\n')
const records = lines.filter((line) => line !== '').map((line) => JSON.parse(line) as HistoryRecord)
process.exit(printVerdict(checkHistory(records)) ? 0 : 1)
