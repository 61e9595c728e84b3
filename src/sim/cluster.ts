/** A whole cluster in virtual time: nodes, store, journal, network, clients, and the checkers that watch them. */

import { electionDefaults } from '../core/election/leader-election.js'
import type { Address, NodeId } from '../core/kernel/brand.js'
import { asBootId } from '../core/kernel/brand.js'
import { StoreView } from '../core/kernel/store-view.js'
import { lanMembership } from '../core/membership/options.js'
import { agentPlaneDefaults } from '../core/node/agent-plane.js'
import type { NodeOptions } from '../core/node/node-types.js'
import type { SimApp } from './app.js'
import { Checkers } from './checkers.js'
import { Clients } from './clients.js'
import { SimJournal } from './journal.js'
import { SimNetwork } from './network.js'
import { SimNode } from './node.js'
import { Scheduler } from './scheduler.js'
import { SimStore } from './store.js'

export interface SimClusterOptions {
  readonly seed: number
  readonly nodes: number
  readonly shards?: number
  /** Called at each start of a process, with its node. */
  readonly app?: SimApp
}

export interface HistoryEntry {
  readonly atMs: number
  readonly nodeId: NodeId
  readonly event: string
  readonly fields: Readonly<Record<string, unknown>>
}

export class SimCluster {
  readonly scheduler: Scheduler
  readonly network: SimNetwork
  readonly store: SimStore
  readonly journal = new SimJournal()
  readonly checkers: Checkers
  readonly clients: Clients
  readonly app: SimApp | undefined
  readonly nodes: SimNode[] = []
  readonly shards: number
  readonly log: HistoryEntry[] = []
  /** Of guards that run. */
  readonly liveGuards = new Set<string>()
  tornWriteRate = 0
  lastNetworkFaultMs = Number.NEGATIVE_INFINITY

  constructor(options: SimClusterOptions) {
    this.scheduler = new Scheduler(options.seed)
    this.network = new SimNetwork(this.scheduler)
    this.store = new SimStore(this.scheduler)
    this.shards = options.shards ?? 16
    this.checkers = new Checkers(this)
    this.clients = new Clients(this)
    this.app = options.app
    this.store.onCommit = (client, tag, txn, result) => this.checkers.committed(client, tag, txn, result)
    for (let i = 1; i <= options.nodes; i++) this.nodes.push(new SimNode(this, `n${i}`))
  }

  node(id: NodeId): SimNode | undefined {
    return this.nodes.find((n) => n.id === id)
  }

  byAddress(address: Address): SimNode | undefined {
    return this.node(address.slice(0, address.indexOf(':')))
  }

  isBootRunning(bootId: string): boolean {
    return this.nodes.some((n) => n.isRunning && n.bootId === bootId)
  }

  startNode(node: SimNode, keepDisk = true): void {
    this.scheduler.trace(`${node.id} starts`)
    node.lastFaultMs = this.scheduler.nowMs
    node.start(this.nodeOptions(), keepDisk)
  }

  /** The kernel closes its sockets: whoever keeps a connection learns of it, if the network lets it. */
  processDied(dead: SimNode): void {
    this.scheduler.trace(`${dead.id} died`)
    const { bootId } = dead
    for (const peer of this.nodes) {
      if (!peer.isRunning || !peer.kept.includes(`${dead.id}:2`)) continue
      const address = `${dead.id}:2`
      this.network.stream(dead.id, peer.id, 0, () => {
        peer.onControl(() =>
          peer.step({
            type: 'membership',
            input: { type: 'connection_lost', nodeId: dead.id, bootId, address, detail: 'reset by peer' },
          }),
        )()
        this.scheduler.after(
          1,
          peer.onControl(() => {
            if (!dead.isRunning)
              peer.step({
                type: 'membership',
                input: { type: 'dial_refused', address, detail: 'connection refused' },
              })
          }),
        )
      })
    }
  }

  history(nodeId: NodeId, event: string, fields: Readonly<Record<string, unknown>>): void {
    this.scheduler.trace(`${nodeId} ${event} ${JSON.stringify(fields)}`)
    if (this.log.length < 20_000) this.log.push({ atMs: this.scheduler.nowMs, nodeId, event, fields })
  }

  /** The store's content as a node would see it that missed nothing. */
  viewOf(store: SimStore): StoreView {
    const view = new StoreView()
    const { kvs, rev } = store.list()
    view.reset(kvs, rev)
    return view
  }

  private nodeOptions(): NodeOptions {
    return {
      nodeId: '',
      bootId: asBootId(''),
      clusterName: 'sim',
      storeIdentity: 'sim',
      addresses: { control: '', controlStream: '', peer: '', http: '' },
      seeds: ['n1:1', 'n2:1', 'n3:1'],
      role: 'worker',
      zone: '',
      region: '',
      version: '0',
      facts: '{"max_agents":30,"sections":1}',
      lifeLock: '',
      membership: lanMembership,
      lease: { ttlMs: 5_000, renewIntervalMs: 1_000, wallGapMsMax: 500 },
      election: electionDefaults,
      coordinator: { shards: this.shards, settleMs: 1_000, movingMax: 64, rebalance: true },
      // Agents are few here: two at once are a pack.
      agents: { ...agentPlaneDefaults, packedMin: 2 },
      evictAfterMs: 1_000,
      proveUnknownAfterMs: 300,
      aloneAfterMs: 1_000,
      moveOffStalledMs: 2_000,
      standbyReliefMs: 10_000,
      drainDeadlineMs: 30_000,
    }
  }
}
