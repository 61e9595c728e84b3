/** Moving what runs so that the nodes look as the strategy in force wants it; the moves first. */
import { type MoveJson, previewStrategy, rebalance } from './agents-client.js'
import { countText } from './format.js'
import type { NodeJson } from './http-client.js'
import { MoveList } from './move-list.js'
import type { Outcomes } from './outcomes.js'
import { PlanDialog } from './plan-dialog.js'
import { useAnswer } from './use-answer.js'

interface Props {
  readonly strategy: string
  readonly nodes: readonly NodeJson[]
  readonly outcomes: Outcomes
  readonly onDone: () => void
  readonly onClose: () => void
}

export function RebalancePlan({ strategy, nodes, outcomes, onDone, onClose }: Props) {
  const { answer, error } = useAnswer(`preview ${strategy}`, () => previewStrategy(strategy))
  const obstacle =
    error ??
    (answer === null ? 'Asking what would move …' : answer.length === 0 ? 'There is nothing to move' : null)
  const act = async (): Promise<string> => {
    const moves = await rebalance()
    onDone()
    return `${movesText(moves)} asked for; they are carried out one after the other`
  }
  return (
    <PlanDialog
      title={`Rebalance as ${strategy} wants it`}
      verb={answer === null || answer.length === 0 ? 'Move' : `Move ${countText(answer.length)}`}
      {...{ obstacle, act, outcomes, onClose }}
    >
      {answer === null ? null : (
        <>
          {answer.length === 0 ? null : (
            <p>
              Processes are stopped and started anew where they go; calls to other agents wait while their
              state is handed over.
            </p>
          )}
          <MoveList moves={answer} nodes={nodes} />
        </>
      )}
    </PlanDialog>
  )
}

export function movesText(moves: readonly MoveJson[]): string {
  return moves.length === 1 ? '1 move' : `${countText(moves.length)} moves`
}
