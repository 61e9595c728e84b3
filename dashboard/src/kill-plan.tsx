/** Telling a run to stop: which it is and what that means for it, then the deed. */
import { useState } from 'preact/hooks'
import type { Outcomes } from './outcomes.js'
import { PlanDialog } from './plan-dialog.js'
import { fetchRun, killRun, type RunJson } from './processors-client.js'
import { useAnswer } from './use-answer.js'

const reasonLengthMax = 1_000

interface Props {
  readonly id: string
  readonly outcomes: Outcomes
  readonly onDone: () => void
  readonly onClose: () => void
}

export function KillPlan({ id, outcomes, onDone, onClose }: Props) {
  const [reason, setReason] = useState('killed on the dashboard')
  const { answer, error } = useAnswer(`run ${id}`, () => fetchRun(id))
  const act = async (): Promise<string> => {
    const isKilled = await killRun(id, reason)
    onDone()
    return isKilled ? `${id} was told to stop` : `${id} had ended before`
  }
  const obstacle =
    error ??
    (answer === null
      ? 'Asking how it is …'
      : answer.status === 'running'
        ? null
        : `It runs no more: ${answer.status}${answer.detail === '' ? '' : `, ${answer.detail}`}`)
  return (
    <PlanDialog title={`Kill ${id}`} verb="Kill" isDestructive {...{ obstacle, act, outcomes, onClose }}>
      {answer === null ? null : (
        <>
          <p>
            A run of <b>{answer.name}</b> on {answer.node_id}, {answer.status}.
          </p>
          <ul class="meaning" aria-label="What will happen">
            {meaning(answer).map((line) => (
              <li key={line}>{line}</li>
            ))}
          </ul>
          <label class="stack">
            Reason, told to whoever waits for it{' '}
            <input
              type="text"
              value={reason}
              maxLength={reasonLengthMax}
              onInput={({ currentTarget }) => setReason(currentTarget.value)}
            />
          </label>
        </>
      )}
    </PlanDialog>
  )
}

function meaning({ helps }: RunJson): readonly string[] {
  return [
    'Its signal aborts; it is down when its code has settled, or after 5 s. Code that heeds no signal goes on in its process.',
    helps === undefined || helps === null
      ? 'Whoever waits for its result is told that it was killed. It is not started again.'
      : `The batch of ${helps.stream} that it has is given out again by ${helps.owner}, which may ask for another helper.`,
  ]
}
