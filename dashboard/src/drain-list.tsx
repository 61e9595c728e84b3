/** Drains under way and how far they are; those that were begun elsewhere too, as far as this node can tell. */
import { useEffect, useRef } from 'preact/hooks'
import { cancelOperation, cordonNode } from './agents-client.js'
import { countOf } from './drain-plan.js'
import { durationText } from './format.js'
import type { NodeJson, OperationJson } from './http-client.js'
import { nodeState } from './node-state.js'
import type { Outcomes } from './outcomes.js'

const blockersShownMax = 5

interface Props {
  readonly operations: readonly OperationJson[]
  readonly nodes: readonly NodeJson[]
  readonly nowMs: number
  readonly mayAct: boolean
  readonly outcomes: Outcomes
  readonly onChanged: () => void
}

export function DrainList({ operations, nodes, nowMs, mayAct, outcomes, onChanged }: Props) {
  useEndings(operations, outcomes)
  const rows = nodes.flatMap((node) => {
    // The newest word on a node counts: after an uncordon an older drain is history.
    const latest = operations.find(({ node_id }) => node_id === node.id)
    const drain = latest?.kind === 'drain' ? latest : undefined
    const isDraining = nodeState(node) === 'draining'
    return drain?.state === 'running' || isDraining ? [{ node, drain }] : []
  })
  if (rows.length === 0) return null
  const cancel = (nodeId: string, drain: OperationJson | undefined): Promise<void> =>
    outcomes.tell(`Cancelling the drain of ${nodeId}`, async () => {
      if (drain?.state === 'running') await cancelOperation(drain.id)
      else await cordonNode(nodeId, false)
      onChanged()
      return `${nodeId} may be given work again`
    })
  return (
    <ul class="drains" aria-label="Drains">
      {rows.map(({ node, drain }) => (
        <li key={node.id} class="drain" data-drain={node.id}>
          {drain === undefined ? (
            <p>
              <b>{node.id}</b> is draining, as somebody asked of another node:{' '}
              {countOf(node.shards_owned, 'shard')} and {countOf(node.active_agents, 'agent')} left
            </p>
          ) : (
            <Progress drain={drain} nowMs={nowMs} />
          )}
          <button type="button" disabled={!mayAct} onClick={() => void cancel(node.id, drain)}>
            {drain?.state === 'running' ? 'Cancel drain' : 'Give work again'}
            <span class="visually-hidden"> of {node.id}</span>
          </button>
        </li>
      ))}
    </ul>
  )
}

function Progress({ drain, nowMs }: { drain: OperationJson; nowMs: number }) {
  const { node_id, left, total, state, deadline, blockers } = drain
  const all = Math.max(1, total.agents + total.shards, left.agents + left.shards)
  const done = state === 'done' ? all : all - left.agents - left.shards
  const leftMs = deadline === null ? 0 : Date.parse(deadline) - nowMs
  const words =
    state === 'done'
      ? 'which stays empty until it is given work again'
      : `${Math.max(0, total.agents - left.agents)} of ${countOf(total.agents, 'agent')} and ` +
        `${Math.max(0, total.shards - left.shards)} of ${countOf(total.shards, 'shard')} moved`
  return (
    <div class="drain-progress">
      <p>
        <b>
          {state === 'done' ? 'Drained' : state === 'failed' ? 'Drain is late:' : 'Draining'} {node_id}
        </b>
        , {words}
        {state === 'running' ? (
          <span class="aside"> deadline in {durationText(Math.max(0, leftMs))}</span>
        ) : null}
      </p>
      <progress class={state} max={all} value={done} aria-label={`Drain of ${node_id}`} />
      {blockers.length === 0 ? null : (
        <ul class="blockers" aria-label="What it waits for">
          {blockers.slice(0, blockersShownMax).map(({ agent, reason }) => (
            <li key={agent}>
              waits for <b>{agent}</b> <span class="aside">{reason}</span>
            </li>
          ))}
          {blockers.length > blockersShownMax ? (
            <li class="aside">and {blockers.length - blockersShownMax} more</li>
          ) : null}
        </ul>
      )}
    </div>
  )
}

/** Tells how drains ended that this page saw running or saw come; that one was cancelled is told by whoever did. */
function useEndings(operations: readonly OperationJson[], outcomes: Outcomes): void {
  const settled = useRef<ReadonlySet<string> | null>(null)
  useEffect(() => {
    const before = settled.current
    const over = operations.filter(({ state }) => state !== 'running')
    settled.current = new Set(over.map(({ id }) => id))
    if (before === null) return
    for (const { id, kind, node_id, state, detail } of over) {
      if (kind !== 'drain' || before.has(id)) continue
      if (state === 'done') outcomes.add(`${node_id} is drained: ${detail}`, true)
      if (state === 'failed') outcomes.add(`The drain of ${node_id} is late: ${detail}`, false)
    }
  }, [operations, outcomes])
}
