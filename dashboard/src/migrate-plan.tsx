/** Moving an agent: every node with what speaks for or against it, what the move means for this kind of agent, then the move. */
import { useState } from 'preact/hooks'
import {
  type AgentJson,
  type AgentWhyJson,
  type CandidateJson,
  fetchAgent,
  fetchAgentWhy,
  fetchAgentWhyNot,
  migrateAgent,
} from './agents-client.js'
import type { Outcomes } from './outcomes.js'
import { PlanDialog } from './plan-dialog.js'
import { useAnswer } from './use-answer.js'

const refreshMs = 2_000

interface Props {
  readonly name: string
  /** Chosen already; null to choose here. */
  readonly to: string | null
  readonly outcomes: Outcomes
  readonly onDone: () => void
  readonly onClose: () => void
}

export function MigratePlan({ name, to, outcomes, onDone, onClose }: Props) {
  const [target, setTarget] = useState(to)
  const agent = useAnswer(`agent ${name}`, () => fetchAgent(name))
  const why = useAnswer(`why ${name}`, () => fetchAgentWhy(name), refreshMs)
  const whyNot = useAnswer(
    target === null ? null : `why-not ${name} ${target}`,
    () => fetchAgentWhyNot(name, target ?? ''),
    refreshMs,
  )
  const error = agent.error ?? why.error ?? whyNot.error
  const isThere = target !== null && why.answer?.node_id === target
  const obstacle =
    target === null
      ? 'Choose a node'
      : error !== null
        ? error
        : whyNot.answer === null || why.answer === null
          ? 'Asking whether it fits …'
          : isThere
            ? `It runs on ${target} already`
            : why.answer.node_id === null
              ? 'It runs nowhere at the moment: there is nothing to move'
              : whyNot.answer.could_run
                ? null
                : `${target} cannot take it`
  const act = async (): Promise<string> => {
    const moved = await migrateAgent(name, target ?? '')
    onDone()
    const state = moved.status === 'running' ? 'runs' : `is ${moved.status}`
    return `${name} ${state} on ${moved.node_id ?? 'no node'}, under epoch ${moved.epoch}`
  }
  return (
    <PlanDialog title={`Move ${name}`} verb="Move it" {...{ obstacle, act, outcomes, onClose }}>
      {why.answer === null ? (
        <p class="empty">{error === null ? 'Asking which nodes could take it …' : error}</p>
      ) : (
        <Targets why={why.answer} target={target} onChoose={setTarget} />
      )}
      {target === null || whyNot.answer === null || isThere ? null : (
        <p class={whyNot.answer.could_run ? 'fitness good' : 'fitness bad'} data-testid="fitness">
          <span aria-hidden="true">{whyNot.answer.could_run ? '✓' : '✕'}</span> {target}:{' '}
          {whyNot.answer.detail}
        </p>
      )}
      {agent.answer === null || target === null || whyNot.answer?.could_run !== true || isThere ? null : (
        <Meaning agent={agent.answer} target={target} />
      )}
    </PlanDialog>
  )
}

interface TargetsProps {
  readonly why: AgentWhyJson
  readonly target: string | null
  readonly onChoose: (nodeId: string) => void
}

function Targets({ why, target, onChoose }: TargetsProps) {
  const others = why.candidates.filter(({ node_id }) => node_id !== why.node_id)
  // Those that could, and nobody's place changes while a pointer is on its way there.
  const sorted = others.toSorted((a, b) => a.node_id.localeCompare(b.node_id, undefined, { numeric: true }))
  return (
    <>
      <p>{why.node_id === null ? `${why.agent} runs on no node.` : `${why.agent} is on ${why.node_id}.`}</p>
      <div class="targets" role="radiogroup" aria-label="Move to">
        {sorted.length === 0 ? <p class="empty">There is no other node.</p> : null}
        {sorted.map((candidate, index) => (
          <label key={candidate.node_id} class={candidate.reasons.length === 0 ? 'target' : 'target unfit'}>
            <input
              type="radio"
              name="target"
              value={candidate.node_id}
              checked={candidate.node_id === target}
              autofocus={target === null ? index === 0 : candidate.node_id === target}
              onChange={() => onChoose(candidate.node_id)}
            />{' '}
            <b>{candidate.node_id}</b> <span class="aside">{candidateText(candidate)}</span>
          </label>
        ))}
      </div>
    </>
  )
}

function candidateText({ agents, max_agents, load, score, reasons }: CandidateJson): string {
  const room = `${agents} of ${max_agents} agents, load ${load.toFixed(0)}`
  if (reasons.length > 0) return `${room}; not: ${reasons.join('; ')}`
  return score === null ? room : `${room}, score ${score}`
}

function Meaning({ agent, target }: { agent: AgentJson; target: string }) {
  const { name, kind, node_id, waiting_calls, pid } = agent
  const lines =
    kind === 'process'
      ? [
          `The process of ${name}${pid > 0 ? ` (pid ${pid})` : ''} is stopped on ${node_id ?? 'its node'} and started anew on ${target}.`,
          'What it holds in memory is lost, unless its hooks save and load it. Its output begins anew.',
        ]
      : [
          `${name} finishes the step it is in, and its state is handed to ${target}.`,
          `Calls wait meanwhile and are carried out there, each once${waiting_calls > 0 ? `; ${waiting_calls} wait now` : ''}.`,
        ]
  return (
    <ul class="meaning" aria-label="What will happen">
      {lines.map((line) => (
        <li key={line}>{line}</li>
      ))}
    </ul>
  )
}
