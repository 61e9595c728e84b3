/**
 * The simulated journal of one host: a file per lease. What is written is visible before it is durable; a power cut takes what is only visible.
 * Commits are all or nothing; a frozen writer's commit may come out long after the rest of the world went on.
 */
import { asEpoch, type Epoch, type LeaseId, type ShardId } from '../core/kernel/brand.js'
import type { CommitGroup, StampedEvent } from '../core/routing/events.js'
import type { SealFound, SealWanted } from '../core/sharding/holder.js'
import type { Seals } from '../core/sharding/shard-map.js'

export interface SimRow {
  readonly shard: ShardId
  readonly epoch: Epoch
  readonly offset: number
  readonly event: StampedEvent
}

interface LeaseFile {
  /** In the order of writing; how many of them had reached the disk. */
  rows: SimRow[]
  durableRows: number
  readonly byTenure: Map<string, SimRow[]>
  /** Of consumers, by group and shard. */
  readonly positions: Map<string, Position>
}

export interface Position {
  readonly epoch: Epoch
  readonly offset: number
}

export class SimJournal {
  private readonly files = new Map<LeaseId, LeaseFile>()
  private readonly highest = new Map<ShardId, number>()

  /** Visible, not durable yet. */
  write(lease: LeaseId, groups: readonly CommitGroup[]): void {
    const file = this.file(lease)
    for (const group of groups) {
      this.highest.set(group.shard, Math.max(this.highest.get(group.shard) ?? 0, group.epoch))
      const tenure = this.tenureRows(file, group.shard, group.epoch)
      group.events.forEach((event, i) => {
        const row = { shard: group.shard, epoch: group.epoch, offset: group.firstOffset + i, event }
        file.rows.push(row)
        tenure.push(row)
      })
    }
  }

  sync(lease: LeaseId): void {
    const file = this.files.get(lease)
    if (file !== undefined) file.durableRows = file.rows.length
  }

  /** What had not reached the disk is gone. */
  powerCut(): void {
    for (const file of this.files.values()) {
      for (const row of file.rows.splice(file.durableRows).reverse())
        this.tenureRows(file, row.shard, row.epoch).pop()
    }
  }

  seal(wanted: readonly SealWanted[]): SealFound[] {
    return wanted.map(({ shard, tenures }) => {
      const segments: { epoch: Epoch; lease: LeaseId; first: number; last: number }[] = []
      for (const { lease, epoch } of tenures) {
        this.sync(lease)
        const rows = this.rowsOf(lease, shard, epoch)
        const first = rows[0]
        const last = rows.at(-1)
        if (first !== undefined && last !== undefined)
          segments.push({ epoch, lease, first: first.offset, last: last.offset })
      }
      return { shard, segments, highestEpoch: asEpoch(this.highest.get(shard) ?? 0) }
    })
  }

  lastOffset(lease: LeaseId, shard: ShardId, epoch: Epoch): number {
    return this.rowsOf(lease, shard, epoch).at(-1)?.offset ?? 0
  }

  /** All that counts of a shard, in order, or what of it lies above `after`. */
  read(shard: ShardId, segments: Seals['segments'], after = 0): SimRow[] {
    return segments
      .filter((s) => s.last > after)
      .flatMap((s) => {
        const rows = this.rowsOf(s.lease, shard, s.epoch)
        // Offsets of a tenure are consecutive.
        const base = rows[0]?.offset ?? 0
        return rows.slice(Math.max(s.first, after + 1) - base, s.last + 1 - base)
      })
  }

  /** Durable at once. The highest epoch wins, then the highest offset. */
  commitPosition(lease: LeaseId, group: string, shard: ShardId, position: Position): void {
    const { positions } = this.file(lease)
    const name = `${group}/${shard}`
    positions.set(name, later(positions.get(name), position) as Position)
  }

  position(group: string, shard: ShardId): number {
    let found: Position | undefined
    for (const { positions } of this.files.values()) found = later(found, positions.get(`${group}/${shard}`))
    return found?.offset ?? 0
  }

  private file(lease: LeaseId): LeaseFile {
    let file = this.files.get(lease)
    if (file === undefined) {
      file = { rows: [], durableRows: 0, byTenure: new Map(), positions: new Map() }
      this.files.set(lease, file)
    }
    return file
  }

  private rowsOf(lease: LeaseId, shard: ShardId, epoch: Epoch): SimRow[] {
    return this.files.get(lease)?.byTenure.get(`${shard}/${epoch}`) ?? []
  }

  private tenureRows(file: LeaseFile, shard: ShardId, epoch: Epoch): SimRow[] {
    const key = `${shard}/${epoch}`
    let rows = file.byTenure.get(key)
    if (rows === undefined) {
      rows = []
      file.byTenure.set(key, rows)
    }
    return rows
  }
}

function later(a: Position | undefined, b: Position | undefined): Position | undefined {
  if (a === undefined || b === undefined) return a ?? b
  return b.epoch > a.epoch || (b.epoch === a.epoch && b.offset > a.offset) ? b : a
}
