/**
 * The shard map: who owns which slice of the key space, under which epoch. One value in the store, written by the leader only.
 * Releases (by owners) and seals (by successors) are keys of their own.
 */
import { asEpoch, asLeaseId, type Epoch, type LeaseId, type NodeId, type ShardId } from '../kernel/brand.js'
import { hash32 } from '../kernel/hash.js'
import type { StoreView } from '../kernel/store-view.js'

export const shardMapKey = 'shards/map'
export const releasePrefix = 'shards/release/'
export const releaseKey = (shard: ShardId): string => `${releasePrefix}${shard}`
export const sealPrefix = 'shards/seals/'
export const sealKey = (shard: ShardId): string => `${sealPrefix}${shard}`

export interface Tenure {
  readonly epoch: Epoch
  readonly lease: LeaseId
}

export interface ShardAssignment {
  readonly epoch: Epoch
  readonly nodeId: NodeId | null
  readonly lease: LeaseId | null
  /** The owner is asked to release it, for the good of this node. */
  readonly target: NodeId | null
  /** Earlier tenures whose end was not sealed yet when the leader wrote this, ascending. */
  readonly unsealed: readonly Tenure[]
}

export type ShardMap = readonly ShardAssignment[]

export const unassigned: ShardAssignment = {
  epoch: asEpoch(0),
  nodeId: null,
  lease: null,
  target: null,
  unsealed: [],
}

/** Written by an owner that gave a shard up, after it stopped serving it. */
export interface Release {
  readonly epoch: Epoch
  /** The next epoch must be higher than this: the journal has seen it. */
  readonly floor: Epoch
}

/** What counts of each ended tenure of a shard. Everything up to epoch `through` is settled. */
export interface Seals {
  readonly through: Epoch
  readonly segments: readonly {
    readonly epoch: Epoch
    readonly lease: LeaseId
    readonly first: number
    readonly last: number
  }[]
  /** Offset of the last event that ever counted, 0 before the first; retention may have taken its segment. */
  readonly end: number
}

export const noSeals: Seals = { through: asEpoch(0), segments: [], end: 0 }

export function shardOf(key: string, shards: number): ShardId {
  return hash32(key, 0x5ce1) % shards
}

/** `level`: the cluster's format level. */
export function encodeShardMap(map: ShardMap, level: number): unknown {
  const owners: [string, string][] = []
  const index = new Map<string, number>()
  const rows = map.map((a) => {
    if (a.nodeId === null || a.lease === null) return [a.epoch, -1, null, flatten(a.unsealed)]
    let i = index.get(a.lease)
    if (i === undefined) {
      i = owners.length
      index.set(a.lease, i)
      owners.push([a.nodeId, a.lease])
    }
    return [a.epoch, i, a.target, flatten(a.unsealed)]
  })
  return { v: level, owners, shards: rows }
}

export function readShardMap(view: StoreView): ShardMap | undefined {
  const value = view.json(shardMapKey) as
    | { owners?: [string, string][]; shards?: [number, number, string | null, (number | string)[]][] }
    | undefined
  if (value === undefined || value === null || !Array.isArray(value.shards)) return undefined
  const cached = parsed.get(value)
  if (cached !== undefined) return cached
  const map = value.shards.map(([epoch, i, target, unsealed]): ShardAssignment => {
    const owner = value.owners?.[i]
    return {
      epoch: asEpoch(epoch),
      nodeId: owner?.[0] ?? null,
      lease: owner === undefined ? null : asLeaseId(owner[1]),
      target,
      unsealed: unflatten(unsealed),
    }
  })
  parsed.set(value, map)
  return map
}

/** Parsed maps by the JSON value they came from. */
const parsed = new WeakMap<object, ShardMap>()

function flatten(tenures: readonly Tenure[]): (number | string)[] {
  return tenures.flatMap((t) => [t.epoch, t.lease])
}

function unflatten(flat: readonly (number | string)[]): Tenure[] {
  const tenures: Tenure[] = []
  for (let i = 0; i + 1 < flat.length; i += 2)
    tenures.push({ epoch: asEpoch(Number(flat[i])), lease: asLeaseId(String(flat[i + 1])) })
  return tenures
}

export function readRelease(view: StoreView, shard: ShardId): Release | undefined {
  const value = view.json(releaseKey(shard)) as { epoch?: number; floor?: number } | undefined
  if (value === undefined || value === null) return undefined
  return { epoch: asEpoch(Number(value.epoch)), floor: asEpoch(Number(value.floor ?? 0)) }
}

export function encodeSeals(seals: Seals, level: number): unknown {
  return {
    v: level,
    through: seals.through,
    segments: seals.segments.map((s) => [s.epoch, s.lease, s.first, s.last]),
    end: seals.end,
  }
}

export function readSeals(view: StoreView, shard: ShardId): Seals {
  const value = view.json(sealKey(shard)) as
    | { through?: number; segments?: [number, string, number, number][]; end?: number }
    | undefined
  if (value === undefined || value === null) return noSeals
  return {
    through: asEpoch(Number(value.through)),
    segments: (value.segments ?? []).map(([epoch, lease, first, last]) => ({
      epoch: asEpoch(epoch),
      lease: asLeaseId(lease),
      first,
      last,
    })),
    end: Number(value.end ?? 0),
  }
}
