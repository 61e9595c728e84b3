/** What a checked history comes to, for people. */
import type { Verdict } from './check-history.js'

const shownMax = 5

/** Returns whether everything held. */
export function printVerdict({ violations, figures }: Verdict): boolean {
  console.log(
    `     ${figures.acknowledged} events acknowledged, ${figures.stored} stored, ${figures.terms} terms, ${figures.samples} samples, longest time without any acknowledgement ${figures.longestGapMs.toFixed(0)} ms`,
  )
  const attempts = Object.entries(figures.attempts).map(([what, count]) => `${count} ${what}`)
  console.log(`     attempts: ${attempts.join(', ')}`)
  for (const { fault, ms, node } of figures.back)
    console.log(
      `     ${fault}: all back ${ms.toFixed(0)} ms after the heal${node === '' ? '' : `, ${node} last`}`,
    )
  const rules = new Map<string, string[]>()
  for (const { rule, detail } of violations) rules.set(rule, [...(rules.get(rule) ?? []), detail])
  for (const [rule, details] of rules) {
    console.log(`FAIL ${rule}: ${details.length}`)
    for (const detail of details.slice(0, shownMax)) console.log(`       ${detail}`)
  }
  console.log(rules.size === 0 ? 'held' : `${rules.size} did not hold`)
  return rules.size === 0
}
