/**
 * One simulated run: start, load, break (safety phase), heal, settle (liveness phase), check. Everything follows from the seed.
 */

import type { Violation } from './checkers.js'
import { SimCluster } from './cluster.js'
import { Nemesis } from './nemesis.js'
import { Workload } from './workload.js'

export interface SimulationOptions {
  readonly seed: number
  readonly nodes: number
  /** Length of the safety phase, virtual minutes. */
  readonly minutes: number
  readonly shards?: number
  /** Only these kinds of faults; all by default. */
  readonly faults?: readonly string[]
}

export interface SimulationReport {
  readonly seed: number
  readonly nodes: number
  readonly minutes: number
  /** Equal for equal seeds, whatever the machine. */
  readonly digest: string
  readonly violations: readonly Violation[]
  readonly acknowledged: number
  readonly stored: number
  readonly leaderTerms: number
  readonly faults: Readonly<Record<string, number>>
  readonly simulatedEvents: number
  readonly virtualMs: number
}

/** How long the healed cluster may take to be whole again, ms. */
const settleMs = 20_000

export function simulate(options: SimulationOptions): SimulationReport {
  const cluster = new SimCluster(options)
  const { scheduler, checkers } = cluster
  const workload = new Workload(cluster)
  const nemesis = new Nemesis(cluster, options.faults)
  cluster.nodes.forEach((node, i) => {
    scheduler.after(i * 20, () => cluster.startNode(node))
  })
  scheduler.runUntil(4_000)
  workload.start()
  nemesis.start()
  const endMs = 4_000 + options.minutes * 60_000
  scheduler.runUntil(endMs)
  nemesis.healAll()
  scheduler.runUntil(endMs + settleMs)
  workload.stop()
  scheduler.runUntil(endMs + settleMs + 12_000)
  checkLiveness(cluster, workload)
  const { acknowledged, stored } = checkers.checkEvents()
  return {
    seed: options.seed,
    nodes: options.nodes,
    minutes: options.minutes,
    digest: scheduler.digest(),
    violations: checkers.violations,
    acknowledged,
    stored,
    leaderTerms: cluster.log.filter((e) => e.event === 'leader.elected' && e.nodeId === e.fields.leader)
      .length,
    faults: nemesis.counts,
    simulatedEvents: scheduler.eventCount,
    virtualMs: scheduler.nowMs,
  }
}

function checkLiveness(cluster: SimCluster, workload: Workload): void {
  const { checkers } = cluster
  for (const node of cluster.nodes) {
    if (!node.isRunning) {
      checkers.fail('liveness', `${node.id} does not run`)
      continue
    }
    for (const other of cluster.nodes) {
      const status = node.machine.membership.table.get(other.id)?.status
      if (status !== 'alive')
        checkers.fail('liveness', `${node.id} sees ${other.id} as ${status ?? 'unknown'} after the heal`)
    }
    if (node.machine.lease.state !== 'held')
      checkers.fail('liveness', `${node.id} holds no lease after the heal: ${node.machine.lease.state}`)
  }
  const leaders = cluster.nodes.filter(
    (n) => n.isRunning && n.machine.election.guard(n.instant.nowMs) !== null,
  )
  if (leaders.length !== 1) checkers.fail('liveness', `${leaders.length} leaders after the heal`)
  for (let shard = 0; shard < cluster.shards; shard++) {
    const owners = cluster.nodes.filter((n) => n.ownsOpen(shard))
    if (owners.length !== 1)
      checkers.fail('liveness', `shard ${shard} has ${owners.length} owners after the heal`)
  }
  if (workload.lastAckMs < cluster.scheduler.nowMs - 14_000)
    checkers.fail('liveness', `no event was acknowledged since ${Math.round(workload.lastAckMs)} ms`)
  if (workload.underWay > 0) checkers.fail('liveness', `${workload.underWay} requests were never answered`)
}
