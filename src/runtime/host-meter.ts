/** Measures this process and its host: CPU, memory, disk, load, events. Cheap enough for once a second; the disk is looked at every ten. */
import { statfsSync } from 'node:fs'
import { freemem, loadavg, totalmem } from 'node:os'
import type { Telemetry } from '../core/membership/member.js'
import { monotonicMs } from './host-clock.js'
import type { SharedState } from './shared-state.js'

const diskEveryMs = 10_000

export class HostMeter {
  private readonly diskPath: string
  private readonly shared: SharedState
  private cpu = process.cpuUsage()
  private readAtMs = monotonicMs()
  private diskAtMs = Number.NEGATIVE_INFINITY
  private diskPct = 0
  private acknowledged = 0
  private last: Telemetry | undefined

  constructor(diskPath: string, shared: SharedState) {
    this.diskPath = diskPath
    this.shared = shared
  }

  /** Rates are since the last call that was at least half a second ago. */
  read(): Telemetry {
    const nowMs = monotonicMs()
    const elapsedMs = nowMs - this.readAtMs
    if (this.last !== undefined && elapsedMs < 500) return { ...this.last, shardsOwned: this.shardsOwned() }
    const used = process.cpuUsage(this.cpu)
    const acknowledged = this.shared.acknowledged
    const events = (acknowledged - this.acknowledged) >>> 0
    this.cpu = process.cpuUsage()
    this.readAtMs = nowMs
    this.acknowledged = acknowledged
    this.last = {
      cpuPct: elapsedMs <= 0 ? 0 : Math.min(100, (used.user + used.system) / 10 / elapsedMs),
      memoryPct: (1 - freemem() / totalmem()) * 100,
      diskPct: this.disk(nowMs),
      loadCenti: (loadavg()[0] as number) * 100,
      eventsPerSecond: elapsedMs <= 0 ? 0 : (events * 1_000) / elapsedMs,
      shardsOwned: this.shardsOwned(),
      loopDelayMs: this.shared.loopDelayMs,
      unconfirmedEvents: this.shared.unconfirmedEvents,
    }
    return this.last
  }

  private shardsOwned(): number {
    let owned = 0
    for (let shard = 0; shard < this.shared.shards; shard++) if (this.shared.epoch(shard) > 0) owned++
    return owned
  }

  private disk(nowMs: number): number {
    if (nowMs - this.diskAtMs < diskEveryMs) return this.diskPct
    this.diskAtMs = nowMs
    const { blocks, bfree, bavail } = statfsSync(this.diskPath)
    const used = blocks - bfree
    this.diskPct = used + bavail === 0 ? 0 : (used / (used + bavail)) * 100
    return this.diskPct
  }
}
