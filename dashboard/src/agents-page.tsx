/** Agents: where there is room for them, all of them, how they are placed, and drains that move them. */
import type { AgentsAnswer } from './agents-data.js'
import { AgentsPanel } from './agents-panel.js'
import { BalancerPanel } from './balancer-panel.js'
import { DrainList } from './drain-list.js'
import { Later, largeFrom } from './later.js'
import type { LiveState } from './live-data.js'
import { NodeTiles } from './node-tiles.js'
import type { Outcomes } from './outcomes.js'
import type { OwnerColors } from './owner-colors.js'
import type { ChangeView, PageView } from './page-view.js'
import type { WantedData } from './wanted-data.js'

interface Props {
  readonly state: LiveState
  readonly data: WantedData<AgentsAnswer>
  readonly strategy: string | null
  readonly shardsTotal: number
  readonly colors: OwnerColors
  readonly nowMs: number
  readonly view: PageView
  readonly change: ChangeView
  readonly mayAct: boolean
  readonly outcomes: Outcomes
  readonly isDragging: boolean
  readonly onDropAgent: (nodeId: string) => void
  readonly onMove: (name: string) => void
  readonly onDrag: (name: string | null) => void
  readonly onRebalance: () => void
  readonly onChanged: () => void
}

export function AgentsPage(props: Props) {
  const { state, data, strategy, shardsTotal, colors, nowMs, view, change, mayAct, outcomes } = props
  const { isDragging, onDropAgent, onMove, onDrag, onRebalance, onChanged } = props
  const { nodes, operations } = state
  return (
    <>
      <section class="panel wide" aria-labelledby="places-title">
        <div class="panel-head">
          <h2 id="places-title">Where they run</h2>
          <span class="aside">
            Press a node to see its agents only{mayAct ? '; drop an agent on one to move it' : ''}
          </span>
        </div>
        <NodeTiles
          {...{ nodes, shardsTotal, colors }}
          onDropAgent={isDragging ? onDropAgent : undefined}
          picked={view.node}
          onPick={(id) => change({ node: view.node === id ? '' : id })}
        />
        <DrainList {...{ operations, nodes, nowMs, mayAct, outcomes, onChanged }} />
      </section>
      <Later isLarge={nodes.length > largeFrom}>
        <AgentsPanel {...{ data, nodes, view, change, mayAct, onMove, onDrag }} />
        <BalancerPanel
          {...{ strategy, nodes, mayAct, outcomes, onRebalance, onChanged }}
          looked={view.strategy}
          onLook={(name) => change({ strategy: name })}
        />
      </Later>
    </>
  )
}
