/** The datagrams and control frames of the membership protocol. Encoded by `codec.ts`. */
import type { Address, NodeId } from '../kernel/brand.js'
import type { Claim, Telemetry } from './member.js'

export type MembershipMessage =
  /** Direct probe (SWIM §3.1). Carries the prober's own claim so that an unknown prober becomes known. */
  | {
      readonly type: 'ping'
      readonly seq: number
      readonly target: NodeId
      readonly health: number
      readonly wallMs: number
      readonly telemetry: Telemetry
      readonly digest: number
      readonly claims: readonly Claim[]
    }
  | {
      readonly type: 'ack'
      readonly seq: number
      readonly from: NodeId
      readonly wallMs: number
      readonly telemetry: Telemetry
      readonly digest: number
      readonly claims: readonly Claim[]
    }
  /** Asks a third node to probe `target` (SWIM §3.1); a nack says "I tried, it did not answer me either" (Lifeguard). */
  | {
      readonly type: 'ping_req'
      readonly seq: number
      readonly target: NodeId
      readonly address: Address
      readonly claims: readonly Claim[]
    }
  | { readonly type: 'nack'; readonly seq: number; readonly from: NodeId; readonly claims: readonly Claim[] }
  | {
      readonly type: 'gossip'
      readonly from: NodeId
      readonly digest: number
      readonly claims: readonly Claim[]
    }
  /** Anti-entropy, step 1: one digest per bucket of members. */
  | {
      readonly type: 'digest'
      readonly from: NodeId
      readonly buckets: readonly number[]
      readonly reply: boolean
    }
  /** Anti-entropy, step 2, and the answer to a join: whole claims; `buckets` lists those that `wanted` asks back. */
  | {
      readonly type: 'state'
      readonly from: NodeId
      readonly claims: readonly Claim[]
      readonly wanted: readonly number[]
    }
  /** First contact: here I am, send me what you know. Repeated until a state arrives. */
  | {
      readonly type: 'join'
      readonly clusterName: string
      readonly storeIdentity: string
      readonly claims: readonly Claim[]
    }
  /** The answer to a join that cannot be: the text names the difference and the fix. */
  | { readonly type: 'refuse'; readonly from: NodeId; readonly detail: string }
