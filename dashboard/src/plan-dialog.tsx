/**
 * The frame around every action that disturbs something: first what will happen and to what, then a yes, then what came of it. A native modal
 * dialog. Who closes it while the action is under way hears of the outcome on the page.
 */
import type { ComponentChildren } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { errorText, type Outcomes } from './outcomes.js'

interface Props {
  readonly title: string
  /** What the button says that carries it out. */
  readonly verb: string
  /** Why it cannot be carried out; null when it can. */
  readonly obstacle: string | null
  readonly isDestructive?: boolean
  /** Resolves with what came of it, in words. */
  readonly act: () => Promise<string>
  readonly outcomes: Outcomes
  readonly onClose: () => void
  readonly children: ComponentChildren
}

type Phase = 'plan' | 'working' | { readonly text: string; readonly isGood: boolean }

export function PlanDialog({
  title,
  verb,
  obstacle,
  isDestructive = false,
  act,
  outcomes,
  onClose,
  children,
}: Props) {
  const dialog = useRef<HTMLDialogElement>(null)
  const closer = useRef<HTMLButtonElement>(null)
  const isOpen = useRef(true)
  const [phase, setPhase] = useState<Phase>('plan')
  const isOver = typeof phase === 'object'
  useEffect(() => {
    dialog.current?.showModal()
    return () => {
      isOpen.current = false
    }
  }, [])
  useEffect(() => {
    if (isOver) closer.current?.focus()
  }, [isOver])
  const go = async (): Promise<void> => {
    setPhase('working')
    let outcome: Exclude<Phase, string>
    try {
      outcome = { text: await act(), isGood: true }
    } catch (error) {
      outcome = { text: errorText(error), isGood: false }
    }
    outcomes.add(outcome.isGood ? outcome.text : `${title}: ${outcome.text}`, outcome.isGood)
    if (isOpen.current) setPhase(outcome)
  }
  return (
    <dialog
      class="plan"
      ref={dialog}
      onClose={onClose}
      aria-labelledby="plan-title"
      aria-busy={phase === 'working'}
    >
      <h2 id="plan-title">{title}</h2>
      {/* What is being carried out is what was shown. */}
      <fieldset class="plan-body" disabled={phase !== 'plan'}>
        {children}
      </fieldset>
      <p class="plan-outcome" role="status">
        {phase === 'working' ? 'Under way …' : null}
        {isOver ? (
          <span class={phase.isGood ? 'good' : 'bad'}>
            <span aria-hidden="true">{phase.isGood ? '✓' : '✕'}</span> {phase.text}
          </span>
        ) : null}
      </p>
      <div class="plan-buttons">
        {phase === 'plan' && obstacle !== null ? (
          <span class="bad" id="plan-obstacle">
            {obstacle}
          </span>
        ) : null}
        <button ref={closer} type="button" onClick={() => dialog.current?.close()}>
          {phase === 'plan' ? 'Cancel' : 'Close'}
        </button>
        {isOver ? null : (
          <button
            type="button"
            class={isDestructive ? 'primary danger' : 'primary'}
            disabled={obstacle !== null || phase === 'working'}
            aria-describedby={obstacle === null ? undefined : 'plan-obstacle'}
            onClick={() => void go()}
          >
            {verb}
          </button>
        )}
      </div>
    </dialog>
  )
}
