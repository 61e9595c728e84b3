/** The live picture of the cluster, asked for what it needs beside the nodes while it is in sight: who sees whom, and how much runs between. */

import { useMemo, useRef, useState } from 'preact/hooks'
import { fetchPeers, fetchReachability, type SightJson } from './cluster-client.js'
import type { NodeJson } from './http-client.js'
import type { LiveData } from './live-data.js'
import { memo } from './memo.js'
import { NodeTiles } from './node-tiles.js'
import type { OwnerColors } from './owner-colors.js'
import { Topology, type Traffic, trafficText } from './topology.js'
import { useKnown, useWanted } from './use-wanted.js'
import { useWidth } from './use-width.js'

/** More than this stand as tiles. */
const circleMax = 24
const widthMax = 860
const none: readonly SightJson[] = []
const noTraffic: ReadonlyMap<string, Traffic> = new Map()

interface Props {
  readonly live: LiveData
  readonly nodes: readonly NodeJson[]
  readonly shardsTotal: number
  readonly selfId: string
  readonly colors: OwnerColors
  /** What is shown is the past: nothing moves in it, and lines are not remembered. */
  readonly isReplay: boolean
  readonly isStale: boolean
  readonly onWhy: (nodeId: string) => void
}

export const TopologyPanel = memo(function TopologyPanel({
  live,
  selfId,
  isReplay,
  isStale,
  ...rest
}: Props) {
  const { nodes, onWhy } = rest
  const panel = useRef<HTMLElement>(null)
  const frame = useRef<HTMLDivElement>(null)
  const width = useWidth(frame)
  const isCircle = nodes.length <= circleMax
  const ask = useMemo(() => (isCircle ? lines() : nothing), [isCircle])
  const { answer } = useKnown(useWanted(live, panel, `lines ${isCircle}`, { ask }))
  const isMotionUnwanted = useReducedMotion()
  const traffic = isReplay ? noTraffic : (answer?.traffic ?? noTraffic)
  return (
    <section class="panel" id="topology" aria-labelledby="topology-title" ref={panel}>
      <div class="panel-head">
        <h2 id="topology-title">Topology</h2>
        <span class="aside">
          {isCircle
            ? 'outer ring: agents, inner ring: shards, lines: round trips, dots: traffic'
            : 'bars: agents, shards'}
        </span>
      </div>
      <div class={isStale ? 'stale' : undefined} ref={frame}>
        {isCircle && width === 0 ? null : isCircle ? (
          <Topology
            {...rest}
            {...{ selfId, traffic }}
            widthPx={Math.min(widthMax, width)}
            sights={isReplay ? none : (answer?.sights ?? none)}
            isStill={isReplay || isStale || isMotionUnwanted}
          />
        ) : (
          <NodeTiles {...rest} onPick={onWhy} />
        )}
      </div>
      {traffic.size === 0 ? null : (
        <p class="aside traffic-text">
          Between {selfId} and{' '}
          {[...traffic]
            .map(([id, each]) => trafficText(id, each))
            .slice(0, 6)
            .join('; ')}
        </p>
      )}
    </section>
  )
})

interface Lines {
  readonly sights: readonly SightJson[]
  readonly traffic: ReadonlyMap<string, Traffic>
}

async function nothing(): Promise<Lines> {
  return { sights: none, traffic: noTraffic }
}

/** Rates are what two answers differ by. */
function lines(): () => Promise<Lines> {
  let last: { atMs: number; byId: ReadonlyMap<string, Traffic> } | null = null
  return async () => {
    const sights = await fetchReachability()
    const peers = await fetchPeers()
    const atMs = performance.now()
    const byId = new Map(peers.map((p) => [p.server_id, { sent: p.bytes_sent, received: p.bytes_received }]))
    const before = last
    last = { atMs, byId }
    if (before === null) return { sights, traffic: noTraffic }
    const seconds = Math.max(0.001, (atMs - before.atMs) / 1_000)
    const traffic = new Map(
      [...byId].flatMap(([id, { sent, received }]) => {
        const was = before.byId.get(id)
        // Counters begin anew with a connection of another boot.
        if (was === undefined || sent < was.sent || received < was.received) return []
        return [
          [id, { sent: (sent - was.sent) / seconds, received: (received - was.received) / seconds }] as const,
        ]
      }),
    )
    return { sights, traffic }
  }
}

function useReducedMotion(): boolean {
  const [isReduced] = useState(() => matchMedia('(prefers-reduced-motion: reduce)').matches)
  return isReduced
}
