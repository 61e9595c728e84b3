/** What a stopped cluster consists of, read from its store and journal; and what of that belongs into another store. */
import { createHash } from 'node:crypto'
import { atKey, encodeAssignment } from '../../core/agents/records.js'
import { AgentTable } from '../../core/agents/table.js'
import { leaderKey } from '../../core/election/leader-election.js'
import { asEpoch, type ShardId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import { formatLevel, formatTrouble } from '../../core/kernel/format.js'
import { evictionPrefix, registrationPrefix } from '../../core/kernel/registration.js'
import type { KeyValue } from '../../core/kernel/store-types.js'
import { StoreView } from '../../core/kernel/store-view.js'
import { jsonEncode } from '../../core/kernel/text.js'
import { removedPrefix } from '../../core/node/node-machine.js'
import {
  encodeSeals,
  encodeShardMap,
  readRelease,
  readSeals,
  readShardMap,
  releasePrefix,
  sealKey,
  sealPrefix,
  shardMapKey,
  type Tenure,
  unassigned,
} from '../../core/sharding/shard-map.js'
import type { Journal, Segment } from '../../ports/journal.js'
import type { Store } from '../../ports/store.js'
import { type ClusterRecord, recordKey } from '../cluster-record.js'
import { carryKey, originKey } from './carry-marks.js'
import { type CarriedShard, carriedShard, endedTenures } from './carry-plan.js'

const keysPerPage = 1_000
const keysMax = 1_000_000
const timeoutMs = 15_000
const pageEvents = 1_000

/** Never carried as they are: of leases and boots of the source, or made anew from what they say. */
const leftBehind = [registrationPrefix, evictionPrefix, removedPrefix, releasePrefix, sealPrefix]
const madeAnew = new Set([recordKey, carryKey, originKey, shardMapKey, leaderKey])

export const prefixOf = (clusterName: string): string => `skein/${clusterName}/`

/** All keys of the cluster, without its prefix. */
export async function listCluster(store: Store, clusterName: string): Promise<KeyValue[]> {
  const prefix = prefixOf(clusterName)
  const found: KeyValue[] = []
  let startAfter: string | undefined
  for (;;) {
    const options = { limit: keysPerPage, timeoutMs, ...(startAfter === undefined ? {} : { startAfter }) }
    const { kvs, more } = await store.list(prefix, options)
    for (const kv of kvs) found.push({ ...kv, key: kv.key.slice(prefix.length) })
    if (!more) return found
    if (found.length > keysMax)
      throw new SkeinError('payload_too_large', `more than ${keysMax} keys under ${prefix}`)
    startAfter = kvs.at(-1)?.key
  }
}

export function viewOf(kvs: readonly KeyValue[]): StoreView {
  const view = new StoreView()
  view.reset(kvs, 1n)
  return view
}

/** Nodes that hold a lease, by name. */
export function liveNodes(kvs: readonly KeyValue[]): string[] {
  return kvs
    .filter(({ key, lease }) => key.startsWith(registrationPrefix) && lease !== null)
    .map(({ key }) => key.slice(registrationPrefix.length))
}

export interface CarrySource {
  readonly record: ClusterRecord
  readonly view: StoreView
  readonly shards: readonly CarriedShard[]
  /** Whether anybody ever led: without a map there are no epochs. */
  readonly hasMap: boolean
  /** Of everything that a node could change. */
  readonly digest: string
}

/**
 * `seals`: end the tenures that no successor has sealed, as a successor would; else only look how far they go. Errors: `not_found`,
 * `store_mismatch`, `incompatible`, and what store and journal throw.
 */
export async function readSource(
  kvs: readonly KeyValue[],
  journal: Journal,
  clusterName: string,
  seals: boolean,
): Promise<CarrySource> {
  const view = viewOf(kvs)
  const record = view.json(recordKey) as ClusterRecord | undefined
  if (record === undefined)
    throw new SkeinError(
      'not_found',
      `the source's store knows no cluster "${clusterName}": see --cluster-name`,
    )
  if (record.journal !== journal.info.identity)
    throw new SkeinError(
      'store_mismatch',
      `the events of cluster "${clusterName}" lie in the journal ${record.journal_driver} ${record.journal}; the source's journal is ${journal.info.driver} ${journal.info.identity}: give its own --from-journal`,
    )
  const trouble = formatTrouble(formatLevel(view))
  if (trouble !== undefined) throw new SkeinError('incompatible', trouble)
  const map = readShardMap(view) ?? []
  const numbers = Array.from({ length: record.shards }, (_, shard) => shard)
  const highest = await journal.highestEpochs(numbers)
  const tenures = new Map(
    numbers.map((shard) => [shard, endedTenures(map[shard] ?? unassigned, readSeals(view, shard))] as const),
  )
  const unsealed = seals ? await sealed(journal, tenures) : await looked(journal, tenures, view)
  const shards = numbers.map((shard) =>
    carriedShard({
      shard,
      seals: readSeals(view, shard),
      unsealed: unsealed.get(shard) ?? [],
      floor: asEpoch(
        Math.max(map[shard]?.epoch ?? 0, readRelease(view, shard)?.floor ?? 0, highest.get(shard) ?? 0),
      ),
    }),
  )
  const isOf = ({ key, lease }: KeyValue): boolean => lease === null && key !== carryKey
  const revisions = kvs.filter(isOf).map(({ key, modRev }) => `${key} ${modRev}`)
  const digest = createHash('sha256')
    .update(JSON.stringify([journal.info.identity, revisions.sort(), shards]))
    .digest('hex')
  return { record, view, shards, hasMap: map.length > 0, digest }
}

type Found = ReadonlyMap<ShardId, readonly Segment[]>
type Wanted = ReadonlyMap<ShardId, readonly Tenure[]>

async function sealed(journal: Journal, wanted: Wanted): Promise<Found> {
  const byLease = new Map<Tenure['lease'], { shard: ShardId; epoch: Tenure['epoch'] }[]>()
  for (const [shard, tenures] of wanted)
    for (const { lease, epoch } of tenures) {
      const list = byLease.get(lease)
      if (list === undefined) byLease.set(lease, [{ shard, epoch }])
      else list.push({ shard, epoch })
    }
  const found = new Map<ShardId, Segment[]>()
  for (const [lease, list] of byLease)
    for (const { shard, epoch, first, last } of await journal.seal(lease, list))
      found.set(shard, [...(found.get(shard) ?? []), { epoch, lease, first, last }])
  return found
}

/** Reads to the end instead, so that nothing is changed. */
async function looked(journal: Journal, wanted: Wanted, view: StoreView): Promise<Found> {
  const found = new Map<ShardId, Segment[]>()
  for (const [shard, tenures] of wanted) {
    let after = readSeals(view, shard).end
    for (const { lease, epoch } of tenures) {
      const horizon = { epoch, lease, first: after + 1, last: Number.MAX_SAFE_INTEGER }
      let extent: { first: number; last: number } | undefined
      for (let end = false; !end; ) {
        const page = await journal.read({ shard, segments: [horizon], after, limit: pageEvents })
        for (const { offset } of page.events) extent = { first: extent?.first ?? offset, last: offset }
        after = page.scannedTo
        end = page.end
      }
      after = extent?.last ?? horizon.first - 1
      if (extent !== undefined)
        found.set(shard, [
          ...(found.get(shard) ?? []),
          { epoch, lease, first: horizon.first, last: extent.last },
        ])
    }
  }
  return found
}

/**
 * The keys of the target, but for the record, which comes last. No shard has an owner, and every next epoch is higher than any before; the
 * leader's term goes on from where it was; whatever hung on a lease stays behind.
 */
export function targetKeys(
  kvs: readonly KeyValue[],
  { view, hasMap }: CarrySource,
  shards: readonly CarriedShard[],
): Map<string, Uint8Array> {
  const level = formatLevel(view)
  const keys = new Map<string, Uint8Array>()
  for (const { key, value, lease } of kvs) {
    const stays = lease !== null || madeAnew.has(key) || leftBehind.some((prefix) => key.startsWith(prefix))
    if (!stays) keys.set(key, value)
  }
  unpackAgents(kvs, keys)
  const leader = view.json(leaderKey) as { readonly term?: number } | undefined
  if (leader !== undefined) {
    const term = Number(leader.term ?? 0)
    keys.set(leaderKey, jsonEncode({ v: 1, term, node_id: null, lease: null, reason: 'carried' }))
  }
  if (!hasMap) return keys
  const map = shards.map(({ floor }) => ({ ...unassigned, epoch: floor }))
  keys.set(shardMapKey, jsonEncode(encodeShardMap(map, level)))
  for (const { shard, segments, end, floor } of shards)
    if (floor > 0) keys.set(sealKey(shard), jsonEncode(encodeSeals({ through: floor, segments, end }, level)))
  return keys
}

/** Packs go by revisions of this store, which mean nothing in another: what is in them gets keys of its own. */
function unpackAgents(kvs: readonly KeyValue[], keys: Map<string, Uint8Array>): void {
  const table = new AgentTable()
  table.reset(kvs)
  for (const key of table.packs.keys()) keys.delete(key)
  for (const { name, at, pack } of table.entries.values())
    if (at !== undefined && pack !== '') keys.set(atKey(name), jsonEncode(encodeAssignment(at)))
}

/** Written last, with the journal that the events are in now. */
export function targetRecord({ record }: CarrySource, journal: Journal): Uint8Array {
  const { identity, driver } = journal.info
  return jsonEncode({ v: 1, ...record, journal: identity, journal_driver: driver })
}
