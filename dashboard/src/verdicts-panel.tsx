/** What is wrong with nodes, and why, without anybody having to ask: the verdict on each that is not well, with its evidence. */

import { Evidence } from './evidence.js'
import type { NodeJson } from './http-client.js'
import { memo } from './memo.js'
import { type NodeState, nodeState, stateSigns } from './node-state.js'
import { useWhy } from './use-why.js'

const shownMax = 3
const factsMax = 4
/** Worst first. */
const order: readonly NodeState[] = ['suspect', 'offline', 'stalled', 'draining', 'joining']

interface Props {
  readonly nodes: readonly NodeJson[]
  readonly isReplay: boolean
  readonly onWhy: (nodeId: string) => void
}

export const VerdictsPanel = memo(function VerdictsPanel({ nodes, isReplay, onWhy }: Props) {
  const unwell = nodes
    .filter((node) => nodeState(node) !== 'online')
    .toSorted((a, b) => order.indexOf(nodeState(a)) - order.indexOf(nodeState(b)))
  return (
    <section class="panel" id="verdicts" aria-labelledby="verdicts-title">
      <div class="panel-head">
        <h2 id="verdicts-title">Why</h2>
        <span class="aside">
          {unwell.length === 0
            ? `${nodes.length} of ${nodes.length} nodes are well`
            : `${unwell.length} not as usual`}
        </span>
      </div>
      {unwell.length === 0 ? (
        <p class="empty">
          <span class="good" aria-hidden="true">
            ●
          </span>{' '}
          Every node {isReplay ? 'was' : 'is'} online. When one is suspected, fails, stalls or drains, what
          was seen stands here.
        </p>
      ) : null}
      {unwell.slice(0, shownMax).map((node) => (
        <Verdict key={node.id} {...{ node, isReplay, onWhy }} />
      ))}
      {unwell.length > shownMax ? (
        <ul class="legend" aria-label="More nodes that are not as usual">
          {unwell.slice(shownMax, shownMax + 24).map((node) => (
            <li key={node.id}>
              <button type="button" class="key" onClick={() => onWhy(node.id)}>
                <span aria-hidden="true">{stateSigns[nodeState(node)]}</span> {node.id} {nodeState(node)}
              </button>
            </li>
          ))}
          {unwell.length > shownMax + 24 ? <li>and {unwell.length - shownMax - 24} more</li> : null}
        </ul>
      ) : null}
    </section>
  )
})

type VerdictProps = Omit<Props, 'nodes'> & { readonly node: NodeJson }

function Verdict({ node, isReplay, onWhy }: VerdictProps) {
  const state = nodeState(node)
  return (
    <article class="verdict" aria-label={`${node.id} ${state}`} data-verdict={node.id}>
      <div class="panel-head">
        <h3>
          <span class={`status ${state}`}>
            <span aria-hidden="true">{stateSigns[state]}</span> {state}
          </span>{' '}
          {node.id}
        </h3>
        <button type="button" onClick={() => onWhy(node.id)}>
          all of it<span class="visually-hidden"> about {node.id}</span>
        </button>
      </div>
      {isReplay ? (
        <p class="aside">What was seen then is in the timeline; evidence is kept for now only.</p>
      ) : (
        <Reasons nodeId={node.id} />
      )}
    </article>
  )
}

function Reasons({ nodeId }: { readonly nodeId: string }) {
  const { answer, error } = useWhy(nodeId)
  return (
    <>
      {error === null ? null : <p role="alert">The evidence could not be read: {error}</p>}
      {answer === null ? (
        error === null ? (
          <p class="empty">Asking …</p>
        ) : null
      ) : (
        <Evidence why={answer} shownMax={factsMax} />
      )}
    </>
  )
}
