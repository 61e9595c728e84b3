/**
 * What changed in the shard map, in as few words as it takes: who had which shards, and who has them now. With both ends named, a reader can walk the
 * history backwards from the present map. A move of many shards is many small changes: those of a moment are told as one.
 */
import type { ShardMap } from '../core/sharding/shard-map.js'

export interface ShardMove {
  /** Node ids; empty for nobody. */
  readonly from: string
  readonly to: string
  /** Shard numbers, ascending, in ranges: `0-12,40`. */
  readonly shards: string
}

export interface ShardMoves {
  readonly moves: readonly ShardMove[]
  /** How many shards they are about. */
  readonly count: number
}

const gatherMs = 250

export class MoveTeller {
  private readonly tell: (moves: ShardMoves) => void
  private before: ShardMap | undefined
  private now: ShardMap = []
  private timer: NodeJS.Timeout | undefined

  constructor(tell: (moves: ShardMoves) => void) {
    this.tell = tell
  }

  changed(before: ShardMap, now: ShardMap): void {
    this.before ??= before
    this.now = now
    this.timer ??= setTimeout(() => this.gathered(), gatherMs)
    this.timer.unref()
  }

  close(): void {
    clearTimeout(this.timer)
  }

  private gathered(): void {
    const moves = shardMoves(this.before ?? [], this.now)
    this.before = undefined
    this.timer = undefined
    if (moves !== null) this.tell(moves)
  }
}

/** Null when every owner stayed, or when there is nothing to compare with. */
export function shardMoves(before: ShardMap, after: ShardMap): ShardMoves | null {
  if (before.length !== after.length) return null
  const byEnds = new Map<string, { from: string; to: string; shards: number[] }>()
  let count = 0
  for (let shard = 0; shard < after.length; shard++) {
    const from = before[shard]?.nodeId ?? ''
    const to = after[shard]?.nodeId ?? ''
    if (from === to) continue
    count++
    const key = `${from}/${to}`
    const known = byEnds.get(key)
    if (known === undefined) byEnds.set(key, { from, to, shards: [shard] })
    else known.shards.push(shard)
  }
  if (count === 0) return null
  const moves = [...byEnds.values()].map(({ from, to, shards }) => ({ from, to, shards: rangesOf(shards) }))
  return { moves, count }
}

function rangesOf(ascending: readonly number[]): string {
  const ranges: string[] = []
  for (let at = 0; at < ascending.length; ) {
    const first = ascending[at] as number
    let length = 1
    while (ascending[at + length] === first + length) length++
    ranges.push(length === 1 ? String(first) : `${first}-${first + length - 1}`)
    at += length
  }
  return ranges.join()
}
