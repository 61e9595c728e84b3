/** What goes wrong, and when: seeded faults, a few at a time, each healed by itself; `healAll` ends them for the liveness phase. */

import type { SimCluster } from './cluster.js'
import { goodLink } from './network.js'
import type { SimNode } from './node.js'

type Fault = (nemesis: Nemesis, node: SimNode) => void

export class Nemesis {
  readonly cluster: SimCluster
  readonly counts: Record<string, number> = {}
  private readonly kinds: readonly (keyof typeof faults)[]
  private active = false

  constructor(cluster: SimCluster, kinds?: readonly string[]) {
    this.cluster = cluster
    const all = Object.keys(faults) as (keyof typeof faults)[]
    const unknown = kinds?.filter((k) => !(k in faults)) ?? []
    if (unknown.length > 0) throw new Error(`unknown faults ${unknown.join(', ')}; known: ${all.join(', ')}`)
    this.kinds = kinds === undefined ? all : all.filter((k) => kinds.includes(k))
  }

  start(): void {
    this.active = true
    this.strike()
  }

  private strike(): void {
    const { scheduler, nodes } = this.cluster
    scheduler.after(scheduler.random.between(500, 7_000), () => {
      if (!this.active) return
      const kind = scheduler.random.pick(this.kinds)
      const node = scheduler.random.pick(nodes)
      if (kind !== undefined && node !== undefined) {
        this.counts[kind] = (this.counts[kind] ?? 0) + 1
        scheduler.trace(`fault ${kind} ${node.id}`)
        faults[kind](this, node)
      }
      this.strike()
    })
  }

  healAll(): void {
    this.active = false
    const { cluster } = this
    cluster.network.heal()
    cluster.tornWriteRate = 0
    cluster.store.faults = { delayMsMin: 0.3, delayMsMax: 2, lostReplyRate: 0 }
    const cutOff = [...cluster.store.unreachable]
    cluster.store.unreachable.clear()
    cluster.lastNetworkFaultMs = cluster.scheduler.nowMs
    for (const id of cutOff) cluster.node(id)?.listStore()
    for (const node of cluster.nodes) {
      node.lastFaultMs = cluster.scheduler.nowMs
      node.pausedUntilMs = Math.min(node.pausedUntilMs, cluster.scheduler.nowMs)
      if (!node.isRunning) cluster.startNode(node)
    }
  }

  /** Heals after a while, even when the faults have ended meanwhile. */
  later(minMs: number, maxMs: number, heal: () => void): void {
    const { scheduler } = this.cluster
    scheduler.after(scheduler.random.between(minMs, maxMs), () => {
      if (this.active) heal()
    })
  }

  touchNetwork(): void {
    this.cluster.lastNetworkFaultMs = Number.POSITIVE_INFINITY
  }

  mendNetwork(): void {
    this.cluster.network.heal()
    this.cluster.lastNetworkFaultMs = this.cluster.scheduler.nowMs
  }
}

function restartLater(
  nemesis: Nemesis,
  node: SimNode,
  minMs: number,
  maxMs: number,
  keepDisk: boolean,
): void {
  node.lastFaultMs = Number.POSITIVE_INFINITY
  node.crash()
  nemesis.later(minMs, maxMs, () => {
    if (!node.isRunning) nemesis.cluster.startNode(node, keepDisk)
  })
}

function stop(nemesis: Nemesis, node: SimNode, forMs: number): void {
  node.lastFaultMs = nemesis.cluster.scheduler.nowMs + forMs
  node.pause(forMs)
}

function cutNetwork(nemesis: Nemesis, bothWays: boolean): void {
  const { cluster } = nemesis
  const ids = cluster.scheduler.random.shuffle(cluster.nodes.map((n) => n.id))
  const side = ids.slice(0, 1 + cluster.scheduler.random.below(Math.max(1, Math.floor(ids.length / 2))))
  const rest = ids.filter((id) => !side.includes(id))
  nemesis.touchNetwork()
  cluster.network.cut(side, rest, bothWays)
  nemesis.later(1_000, 12_000, () => nemesis.mendNetwork())
}

const faults = {
  crash: (n, node) => restartLater(n, node, 300, 9_000, true),
  crash_quick_restart: (n, node) => restartLater(n, node, 5, 60, true),
  /** The host sets its clock back while the process restarts. */
  crash_clock_set_back: (n, node) => {
    node.wallOffsetMs -= n.cluster.scheduler.random.between(500, 3_000)
    restartLater(n, node, 5, 60, true)
  },
  crash_without_disk: (n, node) => restartLater(n, node, 300, 9_000, false),
  pause: (n, node) => stop(n, node, n.cluster.scheduler.random.between(500, 9_000)),
  pause_past_lease: (n, node) => stop(n, node, n.cluster.scheduler.random.between(5_000, 8_000)),
  main_blocked: (n, node) => node.blockMain(n.cluster.scheduler.random.between(500, 10_000)),
  partition: (n) => cutNetwork(n, true),
  one_way_partition: (n) => cutNetwork(n, false),
  bad_wire: (n) => {
    const { random } = n.cluster.scheduler
    n.touchNetwork()
    n.cluster.network.quality = {
      lossRate: random.between(0.05, 0.4),
      duplicateRate: 0.05,
      delayMsMin: 0.1,
      delayMsMax: random.between(2, 80),
    }
    n.later(2_000, 10_000, () => n.mendNetwork())
  },
  /** Within what promise 5 covers: no verdict may come of it. */
  short_loss: (n) => {
    if (!n.cluster.network.isWhole || n.cluster.network.quality !== goodLink) return
    n.cluster.network.quality = { ...goodLink, lossRate: 0.33 }
    n.later(1_000, 3_000, () => {
      if (n.cluster.network.isWhole) n.cluster.network.quality = goodLink
    })
  },
  slow_store: (n) => {
    n.cluster.store.faults = {
      delayMsMin: 20,
      delayMsMax: n.cluster.scheduler.random.between(100, 900),
      lostReplyRate: 0.05,
    }
    n.later(2_000, 8_000, () => {
      n.cluster.store.faults = { delayMsMin: 0.3, delayMsMax: 2, lostReplyRate: 0 }
    })
  },
  store_unreachable: (n, node) => {
    n.cluster.store.unreachable.add(node.id)
    n.later(500, 12_000, () => {
      n.cluster.store.unreachable.delete(node.id)
      if (node.isRunning) node.listStore()
    })
  },
  store_absent: (n) => {
    for (const node of n.cluster.nodes) n.cluster.store.unreachable.add(node.id)
    n.later(500, 8_000, () => {
      n.cluster.store.unreachable.clear()
      for (const node of n.cluster.nodes) if (node.isRunning) node.listStore()
    })
  },
  torn_writes: (n) => {
    n.cluster.tornWriteRate = 0.3
    n.later(500, 4_000, () => {
      n.cluster.tornWriteRate = 0
    })
  },
  power_cut: (n) => {
    for (const node of n.cluster.nodes) restartLater(n, node, 200, 2_000, true)
    n.cluster.journal.powerCut()
  },
  clock_jump: (n, node) => {
    node.wallOffsetMs += n.cluster.scheduler.random.between(-3_000, 3_000)
    // It may be paused, and stay so for longer.
    node.lastFaultMs = Math.max(node.lastFaultMs, n.cluster.scheduler.nowMs)
  },
  clock_drift: (_, node) => {
    node.wallOffsetMs += 20
  },
} satisfies Record<string, Fault>
