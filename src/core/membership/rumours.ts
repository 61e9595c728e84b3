/**
 * What is still to be told to others: the newest claim per member, each sent a limited number of times, the least told first
 * (SWIM §4.1). Bounded by the number of members.
 */
import type { NodeId } from '../kernel/brand.js'
import { claimBytes } from './codec.js'
import type { Claim } from './member.js'

interface Rumour {
  readonly claim: Claim
  readonly bytes: number
  told: number
}

export class Rumours {
  private readonly byMember = new Map<NodeId, Rumour>()

  get size(): number {
    return this.byMember.size
  }

  add(claim: Claim): void {
    this.byMember.set(claim.record.nodeId, { claim, bytes: claimBytes(claim), told: 0 })
  }

  drop(nodeId: NodeId): void {
    this.byMember.delete(nodeId)
  }

  /** Claims for one datagram of at most `bytesMax`; those told `tellMax` times are dropped afterwards. */
  take(bytesMax: number, tellMax: number, except?: NodeId): Claim[] {
    if (this.byMember.size === 0) return []
    const order = [...this.byMember.values()].sort((a, b) => a.told - b.told)
    const claims: Claim[] = []
    let room = bytesMax
    for (const rumour of order) {
      if (rumour.bytes > room || rumour.claim.record.nodeId === except) continue
      room -= rumour.bytes
      claims.push(rumour.claim)
      rumour.told++
      if (rumour.told >= tellMax) this.byMember.delete(rumour.claim.record.nodeId)
      if (room < 64) break
    }
    return claims
  }
}
