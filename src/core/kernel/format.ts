/**
 * The level of what is kept in the store. A build reads every level from `min` to `max` and writes the one that the cluster is at. The leader raises it once
 * every registered node can read the next; from then on older builds are refused. So a rolling upgrade never leaves a value that somebody cannot read.
 */
import { registrations } from './registration.js'
import type { StoreView } from './store-view.js'

/** What this build reads, and the highest it can write. Raise `max` together with the code that writes the new format. */
export const formatLevels = { min: 1, max: 1 } as const

export const formatKey = 'cluster/format'

/** The level the cluster is at; 1 where none was ever written. */
export function formatLevel(view: StoreView): number {
  const value = view.json(formatKey) as { level?: number } | undefined
  return Number(value?.level ?? 1)
}

/** The level that every registered node can read. */
export function formatLevelForAll(view: StoreView): number {
  return registrations(view).reduce(
    (level, { formatMax }) => Math.min(level, formatMax),
    formatLevels.max as number,
  )
}

/** Why this build may not take part, or undefined. */
export function formatTrouble(level: number): string | undefined {
  const { min, max } = formatLevels
  if (level > max)
    return `the cluster keeps its data in format ${level}, this build reads ${min} to ${max}: upgrade this node`
  if (level < min)
    return `the cluster keeps its data in format ${level}, this build reads ${min} to ${max}: upgrade the other nodes through a version that reads both first`
  return undefined
}
