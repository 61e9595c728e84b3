/** Pausing, restarting or stopping an agent: what that means for this one, then the deed. */
import { type AgentJson, actOnAgent, fetchAgent, removeAgent } from './agents-client.js'
import type { Outcomes } from './outcomes.js'
import { PlanDialog } from './plan-dialog.js'
import { useAnswer } from './use-answer.js'

export type DisruptiveAction = 'pause' | 'restart' | 'stop'

const verbs: Readonly<Record<DisruptiveAction, string>> = {
  pause: 'Pause',
  restart: 'Restart',
  stop: 'Stop for good',
}

interface Props {
  readonly name: string
  readonly action: DisruptiveAction
  readonly outcomes: Outcomes
  readonly onDone: () => void
  readonly onClose: () => void
}

export function ActionPlan({ name, action, outcomes, onDone, onClose }: Props) {
  const { answer, error } = useAnswer(`agent ${name}`, () => fetchAgent(name))
  const act = async (): Promise<string> => {
    if (action === 'stop') {
      await removeAgent(name)
      onDone()
      return `${name} is stopped and gone`
    }
    const after = await actOnAgent(name, action)
    onDone()
    return action === 'pause' ? `${name} is paused` : `${name} begins anew: ${after.status}`
  }
  const obstacle = error ?? (answer === null ? 'Asking how it is …' : null)
  return (
    <PlanDialog
      title={`${verbs[action]}: ${name}`}
      verb={verbs[action]}
      isDestructive={action === 'stop'}
      {...{ obstacle, act, outcomes, onClose }}
    >
      {answer === null ? null : (
        <>
          <p>
            {name} ({answer.kind}) is <b>{answer.status}</b>
            {answer.node_id === null ? '' : ` on ${answer.node_id}`}.
          </p>
          <ul class="meaning" aria-label="What will happen">
            {meaning(answer, action).map((line) => (
              <li key={line}>{line}</li>
            ))}
          </ul>
        </>
      )}
    </PlanDialog>
  )
}

function meaning({ kind, pid, node_id, restarts }: AgentJson, action: DisruptiveAction): readonly string[] {
  const isProcess = kind === 'process'
  const which = pid > 0 ? `Process ${pid}` : 'Its process'
  if (action === 'pause')
    return isProcess
      ? [
          `${which} is halted by a signal, with all it holds in memory.`,
          'It goes on where it was when resumed.',
        ]
      : ['Calls are refused until it is resumed. Its state stays, and so do the calls that wait already.']
  if (action === 'restart')
    return isProcess
      ? [
          node_id === null
            ? 'It is given a node and started.'
            : `${which} is ended and started anew on ${node_id}.`,
          `What it holds in memory is lost. It was restarted ${restarts} times so far.`,
        ]
      : ['It begins anew from its last saved state. Calls wait meanwhile.']
  return [
    isProcess
      ? `${which} is ended, and not started again.`
      : 'It takes no further calls, and those that wait fail.',
    'Its state and its place are forgotten. This cannot be undone; the name is free again.',
  ]
}
