/**
 * What is still to be told to others: the newest claim per member, each sent a limited number of times, the least told first
 * (SWIM §4.1). Bounded by the number of members.
 */
import type { NodeId } from '../kernel/brand.js'
import { claimBytes } from './codec.js'
import type { Claim } from './member.js'

interface Rumour {
  readonly claim: Claim
  /** 0 until somebody wants to know. */
  bytes: number
  told: number
}

export class Rumours {
  private readonly byMember = new Map<NodeId, Rumour>()
  /** By how often they were told, so that taking a few does not look at all. */
  private readonly levels: Map<NodeId, Rumour>[] = [new Map()]

  get size(): number {
    return this.byMember.size
  }

  add(claim: Claim): void {
    this.drop(claim.record.nodeId)
    this.put({ claim, bytes: 0, told: 0 })
  }

  drop(nodeId: NodeId): void {
    const rumour = this.byMember.get(nodeId)
    if (rumour === undefined) return
    this.byMember.delete(nodeId)
    this.levels[rumour.told]?.delete(nodeId)
  }

  /** Claims for one datagram of at most `bytesMax`; those told `tellMax` times are dropped afterwards. */
  take(bytesMax: number, tellMax: number, except?: NodeId): Claim[] {
    if (this.byMember.size === 0) return []
    const taken: Rumour[] = []
    let room = bytesMax
    for (const level of this.levels) {
      if (room < 64) break
      for (const rumour of level.values()) {
        if (rumour.bytes === 0) rumour.bytes = claimBytes(rumour.claim)
        if (rumour.bytes > room || rumour.claim.record.nodeId === except) continue
        room -= rumour.bytes
        taken.push(rumour)
        if (room < 64) break
      }
    }
    for (const rumour of taken) this.tell(rumour, tellMax)
    return taken.map((rumour) => rumour.claim)
  }

  private tell(rumour: Rumour, tellMax: number): void {
    this.drop(rumour.claim.record.nodeId)
    rumour.told++
    if (rumour.told < tellMax) this.put(rumour)
  }

  private put(rumour: Rumour): void {
    const { nodeId } = rumour.claim.record
    this.byMember.set(nodeId, rumour)
    while (this.levels.length <= rumour.told) this.levels.push(new Map())
    this.levels[rumour.told]?.set(nodeId, rumour)
  }
}
