/** The cluster as this node sees it, in one piece: counts, leader, quorum, health of the engines, its connections. */
import type { Journal } from '../ports/journal.js'
import type { FrameTransport } from '../ports/transport.js'
import type { DataPlane } from './data-plane.js'
import { monotonicMs } from './host-clock.js'
import type { ClusterStatus, EngineHealth, NodeConfig, NodeView, PeerView } from './node-api.js'
import type { Roster } from './roster.js'
import type { SharedState } from './shared-state.js'
import { peerStatus } from './views.js'

export interface StatusWorld {
  readonly config: NodeConfig
  readonly shared: SharedState
  readonly roster: Roster
  readonly plane: DataPlane
  readonly journal: Journal
  readonly mesh: FrameTransport
  streamsSeen(): number
  formatLevel(): number
}

export class Status {
  private readonly world: StatusWorld
  private health = { ok: true, detail: '', bytes: 0 }

  constructor(world: StatusWorld) {
    this.world = world
  }

  get journalBytes(): number {
    return this.health.bytes
  }

  /** Asks the journal how it is. Never rejects. */
  async checkJournal(): Promise<void> {
    try {
      this.health = await this.world.journal.health()
    } catch (error) {
      this.health = { ok: false, detail: error instanceof Error ? error.message : String(error), bytes: 0 }
    }
  }

  of(node: NodeView): ClusterStatus {
    const { config, shared, plane } = this.world
    const views = this.world.roster.list()
    const others = views.filter((v) => !v.isSelf && v.kind === 'node')
    const count = (status: PeerView['status']): number =>
      others.filter((v) => peerStatus(v) === status).length
    const nodesByStatus: Record<string, number> = { online: 0, offline: 0, draining: 0, unknown: 0 }
    for (const v of views) nodesByStatus[v.status] = (nodesByStatus[v.status] ?? 0) + 1
    const store: EngineHealth = this.world.roster.store
    const journal = this.journal()
    const map = plane.shardMap
    const down = count('down') + count('suspected')
    return {
      clusterName: config.clusterName,
      node,
      leader: this.world.roster.leaderView(),
      term: this.world.roster.leader?.term ?? 0,
      isQuorumAvailable: store.ok,
      isDegraded: down > 0 || node.stalled || !store.ok || !journal.ok || node.lifecycle !== 'active',
      totalPeers: others.length,
      healthyPeers: count('healthy'),
      suspectedPeers: count('suspected'),
      downPeers: count('down'),
      nodesByStatus,
      shardsOpen: map.filter(
        (a) => a.nodeId !== null && this.world.roster.get(a.nodeId)?.status !== 'offline',
      ).length,
      shardsTotal: shared.shards,
      store,
      journal,
      leaseRemainingMs: Math.max(0, shared.leaseDeadlineMs - monotonicMs()),
      isClusterMode: config.peers.length > 0,
      streamsSeen: this.world.streamsSeen(),
      formatLevel: this.world.formatLevel(),
      eventsPerSecond: views.reduce((sum, v) => sum + (v.status === 'offline' ? 0 : v.eventsPerSecond), 0),
      dataDir: config.dataDir,
    }
  }

  private journal(): EngineHealth {
    const { driver, identity } = this.world.journal.info
    const trouble = this.world.plane.journalTrouble
    return {
      driver,
      identity,
      ok: this.health.ok && trouble === '',
      detail: trouble === '' ? this.health.detail : trouble,
    }
  }

  peers(): PeerView[] {
    const stats = new Map(this.world.mesh.peers().map((p) => [p.address, p]))
    return this.world.roster
      .list()
      .filter((v) => !v.isSelf && v.kind === 'node')
      .map((v): PeerView => {
        const s = stats.get(v.peerAddress)
        return {
          nodeId: v.id,
          address: v.peerAddress,
          status: peerStatus(v),
          lastSeenMs: v.lastSeenMs,
          missedProbes: v.missedProbes,
          receivedBytes: s?.receivedBytes ?? 0,
          sentBytes: s?.sentBytes ?? 0,
          receivedFrames: s?.receivedFrames ?? 0,
          sentFrames: s?.sentFrames ?? 0,
          queuedBytes: s?.queuedBytes ?? 0,
          rttMs: v.rttMs,
          isConnected: s?.connected ?? false,
          attemptCount: s?.attemptCount ?? 0,
        }
      })
  }
}
