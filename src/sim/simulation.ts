/**
 * One simulated run: start, load, break (safety phase), heal, settle (liveness phase), check. Everything follows from the seed.
 */

import { SkeinError } from '../core/kernel/error.js'
import { checkEvent } from '../runtime/event-checks.js'
import type { PublishInput } from '../runtime/node-api.js'
import { AgentLoad } from './agents.js'
import type { AppWorld, SimApp } from './app.js'
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
  /** A run is over at its first violation: enough to know that there is one. */
  readonly untilViolation?: boolean
  /** The program that runs on every node. Absent: one that consumes the stream of the built-in load. */
  readonly app?: SimApp
  /** Each runs once, side by side, from the moment the faults begin. Absent: a built-in load. */
  readonly clients?: readonly SimClient[]
  /** After the heal, when every client is done and every acknowledged event had time to be handled. Throw, or call `fail`. */
  readonly check?: (world: ClientWorld) => void
}

export type SimClient = (world: ClientWorld) => Promise<void>

/** What a client outside the cluster has: virtual time, chance, and an endpoint that tries until it is told. */
export interface ClientWorld extends AppWorld {
  /** Resolves once acknowledged, over as many nodes and tries as it takes, always under one id; rejects when it was refused for good. */
  publish(stream: string, event: Omit<PublishInput, 'stream'>): Promise<void>
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
  /** Events that handlers finished, each counted once per group. */
  readonly handled: number
  readonly leaderTerms: number
  readonly faults: Readonly<Record<string, number>>
  readonly simulatedEvents: number
  readonly virtualMs: number
}

/** The cluster has formed by then, ms. */
const startedMs = 4_000
/** How long the healed cluster may take to be whole again, ms. */
const settleMs = 20_000
/** For what was still under way when the load ended, ms. */
const finishMs = 12_000

export async function simulate(options: SimulationOptions): Promise<SimulationReport> {
  const cluster = new SimCluster({ app: builtInApp, ...options })
  const { scheduler, checkers } = cluster
  if (options.untilViolation === true) checkers.onViolation = () => scheduler.end()
  const nemesis = new Nemesis(cluster, options.faults)
  const load = options.clients === undefined ? new Workload(cluster) : undefined
  cluster.nodes.forEach((node, i) => {
    scheduler.after(i * 20, () => cluster.startNode(node))
  })
  await scheduler.play(startedMs)
  const agents = new AgentLoad(cluster)
  load?.start()
  if (load !== undefined) agents.start()
  let clientsRunning = 0
  for (const client of options.clients ?? []) {
    clientsRunning++
    client(clientWorld(cluster)).then(
      () => clientsRunning--,
      (error) => checkers.fail('app', `a client ended: ${String(error)}`),
    )
  }
  scheduler.hasSettled = true
  nemesis.start()
  const endMs = startedMs + options.minutes * 60_000
  await scheduler.play(endMs)
  nemesis.healAll()
  await scheduler.play(endMs + settleMs)
  load?.stop()
  agents.stop()
  if (scheduler.isOver) return reportOf(options, cluster, nemesis, { acknowledged: 0, stored: 0 })
  // In a healed cluster clients go on as fast as they like; as much time again is enough for those who fell behind.
  const patienceMs = scheduler.nowMs + options.minutes * 60_000
  while (clientsRunning > 0 && scheduler.nowMs < patienceMs) await scheduler.play(scheduler.nowMs + 1_000)
  await scheduler.play(scheduler.nowMs + finishMs)
  checkLiveness(cluster, load !== undefined)
  if (load !== undefined) agents.checkLiveness()
  if (clientsRunning > 0) checkers.fail('liveness', `${clientsRunning} clients are not done`)
  const stored = checkers.checkEvents()
  options.check?.(clientWorld(cluster))
  return reportOf(options, cluster, nemesis, stored)
}

function reportOf(
  { seed, nodes, minutes }: SimulationOptions,
  { scheduler, checkers, log }: SimCluster,
  nemesis: Nemesis,
  events: { readonly acknowledged: number; readonly stored: number },
): SimulationReport {
  return {
    seed,
    nodes,
    minutes,
    digest: scheduler.digest(),
    violations: checkers.violations,
    ...events,
    handled: checkers.consumers.handledCount,
    leaderTerms: log.filter((e) => e.event === 'leader.elected' && e.nodeId === e.fields.leader).length,
    faults: nemesis.counts,
    simulatedEvents: scheduler.eventCount,
    virtualMs: scheduler.nowMs,
  }
}

const builtInApp: SimApp = (node, { sleep, random }) => {
  node.events.consume('s', () => sleep(random.between(0.1, 3)))
}

function clientWorld(cluster: SimCluster): ClientWorld {
  const { scheduler, checkers, clients } = cluster
  const settling = <T>(start: (resolve: (value: T) => void) => void): Promise<T> =>
    new Promise((resolve) => {
      start((value) => {
        scheduler.hasSettled = true
        resolve(value)
      })
    })
  return {
    nowMs: () => scheduler.nowMs,
    sleep: (ms) => settling((resolve) => scheduler.after(ms, () => resolve())),
    random: scheduler.random,
    fail: (detail) => checkers.fail('app', detail),
    publish: async (stream, event) => {
      const checked = checkEvent({ ...event, stream })
      if ('error' in checked) throw checked.error
      const id = checked.id === '' ? `c${++cluster.clients.ids}` : checked.id
      const refusal = await settling<string | undefined>((resolve) =>
        clients.publish([{ ...checked, id }], resolve),
      )
      if (refusal !== undefined) throw new SkeinError('conflict', refusal)
    },
  }
}

function checkLiveness(cluster: SimCluster, isLoaded: boolean): void {
  const { checkers, clients } = cluster
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
  if (isLoaded && clients.lastAckMs < cluster.scheduler.nowMs - finishMs - 2_000)
    checkers.fail('liveness', `no event was acknowledged since ${Math.round(clients.lastAckMs)} ms`)
  if (clients.underWay > 0) checkers.fail('liveness', `${clients.underWay} requests were never answered`)
}
