/**
 * Whether standbys do what workers do. They are called when a worker failed, or when none is left that could take anything. Who left on purpose, was removed or was
 * forgotten is not missed; a new cluster waits for its first worker. They are relieved only after all has been well for a while, because what they took
 * moves then, and processes restart with that: a worker that comes and goes must not move everything each time.
 *
 * Every node counts for itself; what follows is the leader's to do. External nodes do not count: nobody here knows why they are silent.
 */
import type { NodeId } from '../kernel/brand.js'
import { registrations } from '../kernel/registration.js'
import type { StoreView } from '../kernel/store-view.js'
import type { MemberRecord, MemberStatus } from '../membership/member.js'
import { readShardMap } from '../sharding/shard-map.js'

export interface StandbyCallWorld {
  readonly view: StoreView
  members(): Iterable<{ readonly record: MemberRecord; readonly status: MemberStatus }>
  /** Its main thread has stood still for so long that its shards leave it. */
  standsStill(record: MemberRecord): boolean
}

export class StandbyCall {
  private readonly world: StandbyCallWorld
  /** How long all must have been well before standbys are relieved, ms. */
  private readonly reliefMs: number
  private relievedAtMs = Number.POSITIVE_INFINITY
  private called = false

  constructor(world: StandbyCallWorld, reliefMs: number) {
    this.world = world
    this.reliefMs = reliefMs
  }

  get isOn(): boolean {
    return this.called
  }

  nextDeadlineMs(): number {
    return this.relievedAtMs
  }

  look(nowMs: number): void {
    if (this.isNeeded()) {
      this.called = true
      this.relievedAtMs = Number.POSITIVE_INFINITY
    } else if (this.called) {
      this.relievedAtMs = Math.min(this.relievedAtMs, nowMs + this.reliefMs)
      if (nowMs < this.relievedAtMs) return
      this.called = false
      this.relievedAtMs = Number.POSITIVE_INFINITY
    }
  }

  private isNeeded(): boolean {
    const { view } = this.world
    const known = new Set<NodeId>()
    let workers = 0
    for (const { record, status } of this.world.members()) {
      known.add(record.nodeId)
      if (record.role !== 'worker') continue
      if (status === 'failed') return true
      if (status !== 'left' && record.lifecycle === 'active' && !this.world.standsStill(record)) workers++
    }
    if (workers > 0 || !view.synced || readShardMap(view) === undefined) return false
    // Gossip may not have told us of one yet; if it is dead, its lease ends.
    return !registrations(view).some((r) => r.role === 'worker' && !known.has(r.nodeId))
  }
}
