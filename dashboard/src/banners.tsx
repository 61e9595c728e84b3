/** What is wrong, in words: the node does not answer, or it answers that the cluster is not well. */
import { useEffect, useState } from 'preact/hooks'
import { addressAt, otherNodes } from './failover.js'
import { durationText } from './format.js'
import type { ClusterStatusJson } from './http-client.js'
import type { LiveState } from './live-data.js'

const linkedMax = 6

export function ConnectionBanner({ state, onRetry }: { state: LiveState; onRetry: () => void }) {
  const { failures, error, freshAtMs, retryAtMs } = state
  const [nowMs, setNowMs] = useState(Date.now())
  useEffect(() => {
    if (failures === 0) return
    setNowMs(Date.now())
    const timer = setInterval(() => setNowMs(Date.now()), 500)
    return () => clearInterval(timer)
  }, [failures])
  if (failures === 0) return null
  const age = Math.max(0, Math.round((nowMs - freshAtMs) / 1_000))
  const wait = Math.max(0, Math.ceil((retryAtMs - nowMs) / 1_000))
  return (
    <div class="banner bad">
      <p role="alert">
        <b>Connection lost</b>: {error ?? 'no answer'}
      </p>
      <p>
        {freshAtMs === 0 ? 'No data yet' : `Data is ${age} s old`}, next try{' '}
        {wait === 0 ? 'now' : `in ${wait} s`}
      </p>
      <button type="button" onClick={onRetry}>
        Try now
      </button>
      <Elsewhere state={state} />
    </div>
  )
}

/** The way to other nodes, for whom the page does not go there by itself. */
function Elsewhere({ state: { nodes, status, other } }: { state: LiveState }) {
  if (status === null) return null
  const candidates = otherNodes(nodes, status.node.id).slice(0, linkedMax)
  if (candidates.length === 0) return null
  return (
    <p>
      {other === null ? 'Other nodes: ' : `${other.id} answers: `}
      {other === null ? (
        candidates.map(({ id, address }) => (
          <a key={id} href={addressAt(address, status.node.id)}>
            {id}
          </a>
        ))
      ) : (
        <a href={other.url}>go on there</a>
      )}
    </p>
  )
}

export function WarningBanner({ status }: { status: ClusterStatusJson }) {
  const wrongs: string[] = []
  if (!status.is_quorum_available) wrongs.push('No quorum: nothing can be decided until more nodes are back')
  if (status.leader_id === null) wrongs.push('No leader is known at this moment')
  for (const name of ['store', 'journal'] as const) {
    if (!status[name].ok)
      wrongs.push(`The ${name} (${status[name].driver}) is not well: ${status[name].detail}`)
  }
  const closed = status.shards_total - status.shards_open
  if (closed > 0) wrongs.push(`${closed} of ${status.shards_total} shards take no writes now`)
  if (status.node.stalled)
    wrongs.push(`The main thread of this node stalls (${durationText(status.node.loop_delay_ms)})`)
  if (wrongs.length === 0) return null
  return (
    <div class="banner warn wide" role="status">
      <ul>
        {wrongs.map((wrong) => (
          <li key={wrong}>{wrong}</li>
        ))}
      </ul>
    </div>
  )
}
