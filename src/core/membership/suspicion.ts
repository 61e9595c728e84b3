/** How long a suspicion stands before it becomes a verdict (Lifeguard §4.2, dynamic suspicion). */

export interface SuspicionFacts {
  /** Independent members that confirmed, beyond the first accuser. */
  readonly confirmations: number
  /** Confirmations that make the timeout shortest; 0 in clusters too small to have any. */
  readonly confirmationsWanted: number
  readonly minMs: number
  readonly maxMs: number
}

/** max - (max - min) * log(c + 1) / log(k + 1), never below min. */
export function suspicionTimeoutMs(facts: SuspicionFacts): number {
  if (facts.confirmationsWanted < 1) return facts.minMs
  const fraction = Math.log(facts.confirmations + 1) / Math.log(facts.confirmationsWanted + 1)
  return Math.max(facts.minMs, facts.maxMs - (facts.maxMs - facts.minMs) * fraction)
}
