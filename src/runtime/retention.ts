/**
 * Retention: events that are older than promised, or more than a stream may take, are deleted. Each node trims what it writes itself; the leader
 * looks after what ended leases left: it trims their files, cuts logs whose beginning has expired, and deletes files that nothing refers to.
 */
import type { LeaseId } from '../core/kernel/brand.js'
import type { Seals, ShardMap } from '../core/sharding/shard-map.js'
import type { Journal, LeaseFile, RetentionPolicy } from '../ports/journal.js'

export interface RetentionWorld {
  readonly journal: Pick<Journal, 'trim' | 'leaseFiles' | 'dropLease'>
  /** In force now. */
  policy(): RetentionPolicy
  /** Wall clock, ms. */
  nowMs(): number
  holdsLease(): boolean
  isLeader(): boolean
  shardMap(): ShardMap
  seals(): Promise<readonly Seals[]>
  /** Of every registered node. */
  liveLeases(): Promise<readonly LeaseId[]>
  /** Cuts what these leases wrote from the beginnings of the logs; only the leader can. */
  prune(leases: readonly LeaseId[]): Promise<void>
  note(level: 'info' | 'warn', event: string, fields: Record<string, unknown>): void
}

export class Retention {
  private readonly world: RetentionWorld
  /** Files that nothing referred to a pass ago. A lease of this very moment is not known to everybody yet. */
  private unreferenced: ReadonlySet<LeaseId> = new Set()
  private running = false

  constructor(world: RetentionWorld) {
    this.world = world
  }

  /** One pass; nothing while the last one still runs. Never rejects. */
  async run(): Promise<void> {
    const { world } = this
    if (this.running || !world.holdsLease()) return
    this.running = true
    try {
      this.tell('journal.trimmed', await world.journal.trim(world.policy(), world.nowMs()))
      if (world.isLeader()) await this.tidy()
      else this.unreferenced = new Set()
    } catch (error) {
      world.note('warn', 'journal.trim_failed', {
        detail: error instanceof Error ? error.message : String(error),
      })
    } finally {
      this.running = false
    }
  }

  private async tidy(): Promise<void> {
    const { world } = this
    const { journal } = world
    const policy = world.policy()
    const files = await journal.leaseFiles()
    const seals = await world.seals()
    const inUse = new Set(await world.liveLeases())
    for (const { lease, unsealed } of world.shardMap()) {
      if (lease !== null) inUse.add(lease)
      for (const tenure of unsealed) inUse.add(tenure.lease)
    }
    const sealed = new Set(seals.flatMap(({ segments }) => segments.map((s) => s.lease)))
    const ended = files.filter((f) => !inUse.has(f.lease))
    const wasUnreferenced = this.unreferenced
    this.unreferenced = new Set(ended.map((f) => f.lease).filter((lease) => !sealed.has(lease)))
    for (const lease of this.unreferenced) {
      if (!wasUnreferenced.has(lease)) continue
      await journal.dropLease(lease)
      world.note('info', 'journal.dropped', { lease })
    }
    const expired: LeaseId[] = []
    for (const { file, budget } of withBudgets(files, policy)) {
      if (inUse.has(file.lease) || !sealed.has(file.lease)) continue
      const { lease, newestAtMs } = file
      const isOver = [...budget].some(([stream, bytesMax]) => (file.streamBytes.get(stream) ?? 0) > bytesMax)
      if (newestAtMs > 0 && newestAtMs < world.nowMs() - policy.ageMsMax) expired.push(lease)
      else if (isOver)
        this.tell(
          'journal.trimmed',
          await journal.trim({ ...policy, streamBytesMaxOf: budget }, world.nowMs(), lease),
        )
    }
    if (expired.length > 0) await world.prune(expired)
  }

  private tell(event: string, events: number): void {
    if (events > 0) this.world.note('info', event, { events })
  }
}

/** Newest first, each with what the newer ones leave of every stream's bytes. */
function withBudgets(
  files: readonly LeaseFile[],
  policy: RetentionPolicy,
): { readonly file: LeaseFile; readonly budget: ReadonlyMap<string, number> }[] {
  const taken = new Map<string, number>()
  return [...files]
    .sort((a, b) => b.newestAtMs - a.newestAtMs)
    .map((file) => {
      const budget = new Map<string, number>()
      for (const [stream, bytes] of file.streamBytes) {
        const before = taken.get(stream) ?? 0
        budget.set(stream, Math.max(0, policy.streamBytesMax - before))
        taken.set(stream, before + bytes)
      }
      return { file, budget }
    })
}
