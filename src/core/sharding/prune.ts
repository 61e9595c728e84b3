/** Cutting the beginnings off the logs of shards, before retention deletes the files they lie in. Written by the leader only. */
import type { LeaseId } from '../kernel/brand.js'
import { formatLevel } from '../kernel/format.js'
import type { Compare, Transaction } from '../kernel/store-types.js'
import type { StoreView } from '../kernel/store-view.js'
import { jsonEncode } from '../kernel/text.js'
import { encodeSeals, readSeals, type Seals, sealKey } from './shard-map.js'

/** Of etcd's 128 operations per transaction, two for each shard; the rest is for the next round. */
const shardsPerTransaction = 60

/** The seals of a shard without what these leases wrote at its beginning, or null if nothing changes. The end of the log stays known. */
export function withoutLeases(seals: Seals, leases: ReadonlySet<LeaseId>): Seals | null {
  const keep = seals.segments.findIndex((s) => !leases.has(s.lease))
  if (keep === 0 || seals.segments.length === 0) return null
  return { ...seals, segments: keep < 0 ? [] : seals.segments.slice(keep) }
}

/** Null when no shard's log begins with one of these leases. */
export function pruneTransaction(
  view: StoreView,
  shards: number,
  leases: ReadonlySet<LeaseId>,
  guard: Compare,
): Transaction | null {
  const compares: Compare[] = [guard]
  const puts: NonNullable<Transaction['then']>[number][] = []
  for (let shard = 0; shard < shards && puts.length < shardsPerTransaction; shard++) {
    const seals = withoutLeases(readSeals(view, shard), leases)
    if (seals === null) continue
    const key = sealKey(shard)
    compares.push({ key, target: 'modRev', op: '=', value: view.modRev(key) })
    puts.push({ type: 'put', key, value: jsonEncode(encodeSeals(seals, formatLevel(view))) })
  }
  return puts.length === 0 ? null : { if: compares, then: puts }
}
