/** The simulated network: latency, loss, duplication, reordering, one-way and two-way cuts, and what a dead process does to its peers. */
import type { Scheduler } from './scheduler.js'

export interface LinkQuality {
  readonly lossRate: number
  readonly duplicateRate: number
  /** Latency is between these, ms; a wide range reorders. */
  readonly delayMsMin: number
  readonly delayMsMax: number
}

export const goodLink: LinkQuality = { lossRate: 0, duplicateRate: 0, delayMsMin: 0.1, delayMsMax: 0.6 }

export class SimNetwork {
  private readonly scheduler: Scheduler
  private readonly cuts = new Set<string>()
  quality: LinkQuality = goodLink
  sentBytes = 0

  constructor(scheduler: Scheduler) {
    this.scheduler = scheduler
  }

  /** Nothing gets from any of `from` to any of `to`; both ways with `bothWays`. */
  cut(from: readonly string[], to: readonly string[], bothWays: boolean): void {
    for (const a of from) {
      for (const b of to) {
        this.cuts.add(`${a}>${b}`)
        if (bothWays) this.cuts.add(`${b}>${a}`)
      }
    }
  }

  heal(): void {
    this.cuts.clear()
    this.quality = goodLink
  }

  reaches(from: string, to: string): boolean {
    return !this.cuts.has(`${from}>${to}`)
  }

  get isWhole(): boolean {
    return this.cuts.size === 0
  }

  /** May be lost, doubled, late. */
  datagram(from: string, to: string, bytes: number, deliver: () => void): void {
    this.sentBytes += bytes
    const { random } = this.scheduler
    if (!this.reaches(from, to) || random.chance(this.quality.lossRate)) return
    this.scheduler.after(this.latencyMs(), deliver)
    if (random.chance(this.quality.duplicateRate)) this.scheduler.after(this.latencyMs() * 3, deliver)
  }

  /** In order is not promised across messages, loss only by a cut: what a TCP connection looks like to a sender with a time-out. */
  stream(from: string, to: string, bytes: number, deliver: () => void): void {
    this.sentBytes += bytes
    if (!this.reaches(from, to) || !this.reaches(to, from)) return
    const retransmitMs = this.scheduler.random.chance(this.quality.lossRate) ? 200 : 0
    this.scheduler.after(this.latencyMs() + retransmitMs, deliver)
  }

  private latencyMs(): number {
    return this.scheduler.random.between(this.quality.delayMsMin, this.quality.delayMsMax)
  }
}
