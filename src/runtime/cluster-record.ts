/**
 * What the first node writes into the store about the cluster, and every later one is compared with before it takes part: which journal holds the events,
 * how many shards there are, which format the data has. So two machines with a journal each can never half-form a cluster, whoever talks to whom first.
 */

import { SkeinError } from '../core/kernel/error.js'
import { formatKey, formatTrouble } from '../core/kernel/format.js'
import { jsonDecode, jsonEncode } from '../core/kernel/text.js'
import { carryKey, markTrouble, readMark } from './carry/carry-marks.js'
import type { StoreLink } from './store-link.js'

export const recordKey = 'cluster/record'

export interface ClusterFacts {
  readonly clusterName: string
  readonly nodeId: string
  readonly journalIdentity: string
  /** As in the URL: sqlite, postgres. */
  readonly journalDriver: string
  readonly shards: number
}

export interface ClusterRecord {
  readonly journal: string
  readonly journal_driver: string
  readonly shards: number
  readonly by: string
}

/** Writes the record if there is none. Errors: `store_mismatch`, `bad_config`, `incompatible`, `conflict` (the state is
 * being carried, or was carried elsewhere), and what the store throws. */
export async function admit(link: StoreLink, facts: ClusterFacts): Promise<void> {
  const record: ClusterRecord = {
    journal: facts.journalIdentity,
    journal_driver: facts.journalDriver,
    shards: facts.shards,
    by: facts.nodeId,
  }
  const { results } = await link.transact({
    if: [recordKey, carryKey].map((key) => ({ key, target: 'createRev', op: '=', value: 0n }) as const),
    then: [
      { type: 'put', key: recordKey, value: jsonEncode({ v: 1, ...record }) },
      { type: 'get', key: formatKey },
    ],
    else: [
      { type: 'get', key: formatKey },
      { type: 'get', key: recordKey },
      { type: 'get', key: carryKey },
    ],
  })
  const valueAt = (key: string): Uint8Array | undefined =>
    results.map((r) => r.kv).find((found) => found?.key === key)?.value
  const stored = (key: string): unknown => {
    const value = valueAt(key)
    return value === undefined ? undefined : jsonDecode(value)
  }
  const mark = readMark(valueAt(carryKey))
  if (mark !== undefined) throw markTrouble(facts.clusterName, mark)
  const format = stored(formatKey) as { level?: number } | undefined
  const trouble = formatTrouble(Number(format?.level ?? 1))
  if (trouble !== undefined) throw new SkeinError('incompatible', trouble)
  const theirs = stored(recordKey) as ClusterRecord | undefined
  if (theirs !== undefined) compare(facts, theirs)
}

function compare(facts: ClusterFacts, theirs: ClusterRecord): void {
  if (theirs.shards !== facts.shards)
    throw new SkeinError(
      'bad_config',
      `cluster "${facts.clusterName}" was started with ${theirs.shards} shards, this node with --shards ${facts.shards}: the number is fixed for good, start it with --shards ${theirs.shards}`,
      { details: { field: 'shards', shards: theirs.shards } },
    )
  if (theirs.journal === facts.journalIdentity) return
  const both = theirs.journal_driver === 'sqlite' && facts.journalDriver === 'sqlite'
  const fix = both
    ? 'a SQLite journal serves the nodes of one host: give all of them the same --journal, or keep the events in PostgreSQL (--journal postgres://…) to use several hosts'
    : 'give this node the same --journal as the others'
  throw new SkeinError(
    'store_mismatch',
    `the events of cluster "${facts.clusterName}" lie in another journal (${theirs.journal_driver} ${theirs.journal}, first used by ${theirs.by}) than this node's (${facts.journalDriver} ${facts.journalIdentity}): ${fix}`,
    { details: { field: 'journal' } },
  )
}
