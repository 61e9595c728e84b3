/** Main's copy of who is in the cluster, as control last reported it, and those who wait for a node to go down. */

import { defaultStrategy, type Strategy } from '../core/balancing/balancer.js'
import type { Candidate } from '../core/balancing/candidate.js'
import type { LeaderFact } from '../core/election/leader-election.js'
import type { NodeId } from '../core/kernel/brand.js'
import {
  type ExternalRules,
  type ExternalSeen,
  externalCandidate,
  memberCandidate,
  RoundTrips,
} from '../core/node/candidates.js'
import type { ControlFigures, ControlToMain, MemberSnapshot, StoreHealthView } from './control-messages.js'
import { monotonicMs } from './host-clock.js'
import type { LeaderView, NodeView } from './node-api.js'
import { externalView, memberView } from './views.js'

interface Monitor {
  readonly nodeId: NodeId
  readonly bootId: string
  readonly onDown: (node: NodeView | undefined, reason: string) => void
}

export class Roster {
  readonly selfId: NodeId
  private readonly agentsOf: (nodeId: NodeId) => number
  private members = new Map<NodeId, MemberSnapshot>()
  private externals = new Map<NodeId, ExternalSeen>()
  private readonly rules: ExternalRules
  private readonly monitors = new Set<Monitor>()
  leader: LeaderFact | null = null
  store: StoreHealthView = { driver: '', identity: '', ok: false, detail: 'not open yet' }
  health = 0
  /** What the control plane counts, as it last said. */
  figures: ControlFigures | undefined
  strategy: Strategy = defaultStrategy
  private capacityLost = false
  private readonly roundTrips: RoundTrips

  constructor(selfId: NodeId, agentsOf: (nodeId: NodeId) => number, rules: ExternalRules) {
    this.selfId = selfId
    this.rules = rules
    this.agentsOf = agentsOf
    this.roundTrips = new RoundTrips(selfId, (nodeId) => this.members.get(nodeId))
  }

  update(message: Extract<ControlToMain, { type: 'members' }>): void {
    this.members = new Map(message.members.map((m) => [m.record.nodeId, m]))
    this.externals = new Map(message.externals.map((e) => [e.record.id, e]))
    this.store = message.store
    this.health = message.health
    this.figures = message.figures
    this.capacityLost = message.capacityLost
    this.strategy = message.strategy
    for (const monitor of [...this.monitors]) this.check(monitor)
  }

  list(): NodeView[] {
    const views = [...this.members.values()].map((m) =>
      memberView(m, this.selfId, this.leader?.nodeId ?? null, this.agentsOf(m.record.nodeId)),
    )
    for (const e of this.externals.values()) if (!this.members.has(e.record.id)) views.push(this.viewOf(e))
    return views.sort((a, b) => (a.id < b.id ? -1 : 1))
  }

  get(nodeId: NodeId): NodeView | undefined {
    const member = this.members.get(nodeId)
    if (member !== undefined)
      return memberView(member, this.selfId, this.leader?.nodeId ?? null, this.agentsOf(nodeId))
    const external = this.externals.get(nodeId)
    return external === undefined ? undefined : this.viewOf(external)
  }

  private silentMs({ seenAtMs }: ExternalSeen): number {
    return monotonicMs() - seenAtMs
  }

  private viewOf(e: ExternalSeen): NodeView {
    return externalView(e, this.silentMs(e), Date.now(), this.agentsOf(e.record.id), this.rules)
  }

  /** For the balancer, in order of node id, without their agents. */
  candidates(): Candidate[] {
    const found = [...this.members.values()].map((m) => {
      const c = memberCandidate(m, 0, this.capacityLost, this.roundTrips)
      return c.refusal === '' && m.draining ? { ...c, refusal: 'it is draining' } : c
    })
    for (const e of this.externals.values())
      if (!this.members.has(e.record.id))
        found.push(externalCandidate(e.record, this.silentMs(e), 0, this.rules))
    return found.sort((a, b) => (a.nodeId < b.nodeId ? -1 : 1))
  }

  external(nodeId: NodeId): ExternalSeen | undefined {
    return this.externals.get(nodeId)
  }

  peerAddress(nodeId: NodeId): string | undefined {
    return this.members.get(nodeId)?.record.peerAddress
  }

  /** That process said goodbye, as far as is known. */
  hasLeft(nodeId: NodeId, bootId: string): boolean {
    const member = this.members.get(nodeId)
    return member?.record.bootId === bootId && member.status === 'left'
  }

  /** Of members that answer, without this node. */
  reachable(): { readonly nodeId: NodeId; readonly address: string }[] {
    return [...this.members.values()]
      .filter((m) => m.record.nodeId !== this.selfId && (m.status === 'alive' || m.status === 'suspect'))
      .map((m) => ({ nodeId: m.record.nodeId, address: m.record.peerAddress }))
  }

  leaderView(): LeaderView | null {
    const { leader } = this
    if (leader === null || leader.nodeId === null) return null
    return {
      nodeId: leader.nodeId,
      httpAddress: this.get(leader.nodeId)?.httpAddress ?? '',
      term: leader.term,
      isSelf: leader.nodeId === this.selfId,
    }
  }

  monitor(nodeId: NodeId, onDown: Monitor['onDown']): () => void {
    const monitor: Monitor = { nodeId, bootId: this.members.get(nodeId)?.record.bootId ?? '', onDown }
    this.monitors.add(monitor)
    queueMicrotask(() => this.check(monitor))
    return () => this.monitors.delete(monitor)
  }

  private check(monitor: Monitor): void {
    if (!this.monitors.has(monitor)) return
    const member = this.members.get(monitor.nodeId)
    const reason = downReason(member, monitor.bootId)
    if (reason === undefined) return
    this.monitors.delete(monitor)
    monitor.onDown(this.get(monitor.nodeId), reason)
  }
}

function downReason(member: MemberSnapshot | undefined, bootId: string): string | undefined {
  if (member === undefined) return 'no such node'
  if (member.status === 'failed' || member.status === 'left') return member.status
  return member.record.bootId === bootId ? undefined : 'restarted'
}
