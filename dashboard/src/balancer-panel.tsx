/** How agents are given to nodes: the strategy in force, what another one would move, choosing it, and moving what runs now. */
import { useEffect, useState } from 'preact/hooks'
import { chooseStrategy, previewStrategy } from './agents-client.js'
import { movesText } from './balance-plan.js'
import type { NodeJson } from './http-client.js'
import { MoveList } from './move-list.js'
import type { Outcomes } from './outcomes.js'
import { strategyTexts } from './strategies.js'
import { useAnswer } from './use-answer.js'

const previewEveryMs = 5_000

interface Props {
  /** In force; null while that is unknown. */
  readonly strategy: string | null
  /** That is looked at before it is chosen; empty for none. */
  readonly looked: string
  readonly onLook: (strategy: string) => void
  readonly nodes: readonly NodeJson[]
  readonly mayAct: boolean
  readonly outcomes: Outcomes
  readonly onRebalance: () => void
  readonly onChanged: () => void
}

export function BalancerPanel(props: Props) {
  const { strategy, onLook, nodes, mayAct, outcomes, onRebalance, onChanged } = props
  const looked = props.looked in strategyTexts ? props.looked : null
  const [isApplying, setIsApplying] = useState(false)
  // Once it is in force it is a preview no longer.
  useEffect(() => {
    if (looked !== null && looked === strategy) onLook('')
  }, [looked, strategy])
  const shown = looked ?? strategy ?? ''
  const isOther = looked !== null && looked !== strategy
  const preview = useAnswer(
    isOther && mayAct ? `preview ${looked}` : null,
    () => previewStrategy(looked ?? ''),
    previewEveryMs,
  )
  const apply = async (): Promise<void> => {
    if (looked === null) return
    setIsApplying(true)
    await outcomes.tell('Choosing the strategy', async () => {
      await chooseStrategy(looked)
      onChanged()
      return `${looked} places agents from now on`
    })
    setIsApplying(false)
  }
  return (
    <section class="panel wide" id="balancer" aria-labelledby="balancer-title">
      <div class="panel-head">
        <h2 id="balancer-title">Placement of agents</h2>
        <span class="aside">
          in force: <b data-testid="strategy">{strategy ?? '…'}</b>
        </span>
      </div>
      <div class="bar">
        <label for="strategy">Strategy</label>
        <select
          id="strategy"
          value={shown}
          disabled={strategy === null}
          aria-describedby="strategy-text"
          onChange={({ currentTarget }) =>
            onLook(currentTarget.value === strategy ? '' : currentTarget.value)
          }
        >
          {Object.keys(strategyTexts).map((name) => (
            <option key={name} value={name}>
              {name}
              {name === strategy ? ' (in force)' : ''}
            </option>
          ))}
        </select>
        {isOther ? (
          <>
            <button
              type="button"
              class="primary"
              disabled={!mayAct || isApplying}
              onClick={() => void apply()}
            >
              Use {looked}
            </button>
            <button type="button" onClick={() => onLook('')}>
              Leave it
            </button>
          </>
        ) : (
          <button type="button" disabled={!mayAct || strategy === null} onClick={onRebalance}>
            Rebalance…
          </button>
        )}
      </div>
      <p class="aside" id="strategy-text">
        {strategyTexts[shown] ?? ''}
      </p>
      {isOther ? (
        <section class="preview" aria-label={`Preview of ${looked}`} aria-live="polite">
          {!mayAct ? <p class="aside">A preview needs the role operator.</p> : null}
          {preview.error === null ? null : <p class="bad">No preview: {preview.error}</p>}
          {preview.answer === null ? null : (
            <>
              <p>
                Preview, nothing is changed yet. New agents would be placed by {looked}; for those that run
                now it would want <b>{movesText(preview.answer)}</b>, which happen only with Rebalance.
              </p>
              <MoveList moves={preview.answer} nodes={nodes} />
            </>
          )}
        </section>
      ) : null}
    </section>
  )
}
