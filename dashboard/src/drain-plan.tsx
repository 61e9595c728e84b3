/** Draining a node: the shards and agents that would leave it and what stands in the way, then the drain. Its progress is told in `drain-list.tsx`. */
import { useState } from 'preact/hooks'
import { type AgentJson, drainNode, fetchAgentsOf, planDrain } from './agents-client.js'
import { countText } from './format.js'
import type { Outcomes } from './outcomes.js'
import { PlanDialog } from './plan-dialog.js'
import { useAnswer } from './use-answer.js'

const deadlineSecondsDefault = 30
const deadlineSecondsMax = 86_400
const namedMax = 200

interface Props {
  readonly nodeId: string
  readonly outcomes: Outcomes
  readonly onDone: () => void
  readonly onClose: () => void
}

export function DrainPlan({ nodeId, outcomes, onDone, onClose }: Props) {
  const [deadline, setDeadline] = useState(deadlineSecondsDefault)
  const { answer, error } = useAnswer(`drain ${nodeId}`, () => planDrain(nodeId))
  const there = useAnswer(`agents of ${nodeId}`, () => fetchAgentsOf(nodeId))
  const isDeadlineFit = Number.isInteger(deadline) && deadline >= 1 && deadline <= deadlineSecondsMax
  const obstacle =
    error ??
    (answer === null
      ? 'Asking what would move …'
      : isDeadlineFit
        ? null
        : `The deadline is a whole number from 1 to ${deadlineSecondsMax}`)
  const act = async (): Promise<string> => {
    await drainNode(nodeId, deadline)
    onDone()
    return `The drain of ${nodeId} has begun; its progress is in the panel of nodes`
  }
  return (
    <PlanDialog title={`Drain ${nodeId}`} verb="Drain" {...{ obstacle, act, outcomes, onClose }}>
      {answer === null ? null : (
        <>
          <p data-testid="drain-plan">
            {countOf(answer.shards.length, 'shard')} and {countOf(answer.agents.length, 'agent')} would move
            to other nodes; then {nodeId} stays empty until it is uncordoned.
          </p>
          <Kinds names={answer.agents} agents={there.answer ?? []} />
          {answer.blockers.length === 0 ? null : (
            <div class="blockers">
              <p class="warn">
                <span aria-hidden="true">▲</span> {countOf(answer.blockers.length, 'agent')} could go nowhere:
                the drain would wait for a node that can take them.
              </p>
              <ul>
                {answer.blockers.slice(0, namedMax).map((blocker) => (
                  <li key={blocker.agent}>
                    <b>{blocker.agent}</b> <span class="aside">{blocker.reason}</span>
                  </li>
                ))}
              </ul>
            </div>
          )}
          {answer.agents.length === 0 ? null : (
            <details>
              <summary>The agents</summary>
              <p class="names">
                {answer.agents.slice(0, namedMax).join(', ')}
                {answer.agents.length > namedMax
                  ? ` and ${countText(answer.agents.length - namedMax)} more`
                  : ''}
              </p>
            </details>
          )}
          <label class="field">
            Deadline, seconds{' '}
            <input
              type="number"
              min={1}
              max={deadlineSecondsMax}
              value={deadline}
              onInput={({ currentTarget }) => setDeadline(currentTarget.valueAsNumber)}
            />
          </label>
          <p class="aside">
            At the deadline the drain counts as failed, and what is left stays where it is and goes on trying.
          </p>
        </>
      )}
    </PlanDialog>
  )
}

/** How many of them restart, and how many only wait for their state. */
function Kinds({ names, agents }: { names: readonly string[]; agents: readonly AgentJson[] }) {
  const kindByName = new Map(agents.map(({ name, kind }) => [name, kind]))
  const processes = names.filter((name) => kindByName.get(name) === 'process').length
  const others = names.filter((name) => (kindByName.get(name) ?? 'process') !== 'process').length
  const lines: string[] = []
  if (processes > 0)
    lines.push(`${countOf(processes, 'process', 'processes')}: stopped here and started anew elsewhere`)
  if (others > 0) lines.push(`${countOf(others, 'defined agent')}: handed over with their state, calls wait`)
  return lines.length === 0 ? null : (
    <ul class="meaning" aria-label="What will happen">
      {lines.map((line) => (
        <li key={line}>{line}</li>
      ))}
    </ul>
  )
}

export function countOf(count: number, one: string, many = `${one}s`): string {
  return `${countText(count)} ${count === 1 ? one : many}`
}
