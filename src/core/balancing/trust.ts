/**
 * Damping of nodes that keep failing: three losses within ten minutes halve the share of its places that a node is given, three more
 * halve it again; each loss is forgotten when it is ten minutes old. Every node counts, so that a new leader knows.
 */
import type { NodeId } from '../kernel/brand.js'

export interface TrustOptions {
  /** Losses that halve the share. */
  readonly lossesMax: number
  readonly windowMs: number
}

export const trustDefaults: TrustOptions = { lossesMax: 3, windowMs: 600_000 }

const remembered = 60

export class Trust {
  private readonly options: TrustOptions
  private readonly losses = new Map<NodeId, number[]>()

  constructor(options: TrustOptions = trustDefaults) {
    this.options = options
  }

  /** That node lost its lease without handing over. */
  lost(nodeId: NodeId, nowMs: number): void {
    const times = this.recent(nodeId, nowMs)
    times.push(nowMs)
    this.losses.set(nodeId, times.slice(-remembered))
  }

  /** 1 for full, then 1/2, 1/4 … */
  of(nodeId: NodeId, nowMs: number): number {
    const times = this.losses.get(nodeId)
    if (times === undefined) return 1
    const recent = this.recent(nodeId, nowMs)
    if (recent.length === 0) this.losses.delete(nodeId)
    return 0.5 ** Math.floor(recent.length / this.options.lossesMax)
  }

  private recent(nodeId: NodeId, nowMs: number): number[] {
    return (this.losses.get(nodeId) ?? []).filter((t) => nowMs - t < this.options.windowMs)
  }
}
