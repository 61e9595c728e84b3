/** What can be done about one node beside draining it: forgetting one that is gone, and having the one that serves this page lead or stop leading. */
import { leadHere, removeNode, stepDown } from './agents-client.js'
import type { NodeJson } from './http-client.js'
import { nodeState } from './node-state.js'
import type { Outcomes } from './outcomes.js'
import { PlanDialog } from './plan-dialog.js'
import { useWhy } from './use-why.js'

export type NodeDeed = 'remove' | 'lead' | 'step-down'

interface Props {
  readonly nodeId: string
  readonly deed: NodeDeed
  readonly outcomes: Outcomes
  readonly onDone: () => void
  readonly onClose: () => void
}

const titles: Readonly<Record<NodeDeed, (nodeId: string) => string>> = {
  remove: (nodeId) => `Remove ${nodeId}`,
  lead: (nodeId) => `Lead from ${nodeId}`,
  'step-down': (nodeId) => `Step down on ${nodeId}`,
}
const verbs: Readonly<Record<NodeDeed, string>> = { remove: 'Remove', lead: 'Lead', 'step-down': 'Step down' }

export function NodePlan({ nodeId, deed, outcomes, onDone, onClose }: Props) {
  const { answer, error } = useWhy(nodeId)
  const obstacle = error ?? (answer === null ? 'Asking how it is …' : obstacleOf(answer.node, deed))
  const act = async (): Promise<string> => {
    const said = await carryOut(nodeId, deed)
    onDone()
    return said
  }
  return (
    <PlanDialog
      title={titles[deed](nodeId)}
      verb={verbs[deed]}
      isDestructive={deed === 'remove'}
      {...{ obstacle, act, outcomes, onClose }}
    >
      {answer === null ? null : (
        <>
          <p>
            {nodeId} is <b>{nodeState(answer.node)}</b>: {answer.summary}
          </p>
          <ul class="meaning" aria-label="What will happen">
            {meanings[deed].map((line) => (
              <li key={line}>{line}</li>
            ))}
          </ul>
        </>
      )}
    </PlanDialog>
  )
}

function obstacleOf(node: NodeJson, deed: NodeDeed): string | null {
  if (deed === 'remove')
    return nodeState(node) === 'offline' ? null : 'It is there: drain it, and stop its process'
  if (deed === 'lead') return node.is_leader ? 'It leads already' : null
  return node.is_leader ? null : 'It does not lead'
}

async function carryOut(nodeId: string, deed: NodeDeed): Promise<string> {
  switch (deed) {
    case 'remove':
      await removeNode(nodeId)
      return `${nodeId} is removed`
    case 'lead': {
      const { term } = await leadHere()
      return `${nodeId} leads, in term ${term}`
    }
    case 'step-down':
      await stepDown()
      return `${nodeId} gave the leadership up`
  }
}

const meanings: Readonly<Record<NodeDeed, readonly string[]>> = {
  remove: [
    'Its row goes from every node, and its renewals are refused: what it had, others may take.',
    'A process of that name that starts again is let in as a new one.',
  ],
  lead: [
    'The leadership is taken from whoever has it, in a new term. Shards and agents stay where they are.',
    'Tasks that run on the leader end there and begin here.',
  ],
  'step-down': [
    'Another node is elected, in a new term. Shards and agents stay where they are.',
    'Tasks that run on the leader end here and begin there.',
  ],
}
