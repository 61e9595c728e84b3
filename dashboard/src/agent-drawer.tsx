/** One agent in a drawer: the facts, why it is where it is and not elsewhere, its output, and what can be done to it. */
import type { ComponentChildren } from 'preact'
import type { DisruptiveAction } from './action-plan.js'
import { placedText } from './agent-list.js'
import { OutputView, useAgentStream } from './agent-output.js'
import { type AgentJson, type AgentWhyJson, actOnAgent, fetchAgentWhy } from './agents-client.js'
import { AgentStatusWord } from './agents-table.js'
import { Drawer } from './drawer.js'
import { agoText, clockText } from './format.js'
import type { Outcomes } from './outcomes.js'
import { useAnswer } from './use-answer.js'

const whyEveryMs = 3_000

interface Props {
  readonly name: string
  readonly nowMs: number
  readonly mayAct: boolean
  readonly outcomes: Outcomes
  readonly onMove: () => void
  readonly onAct: (action: DisruptiveAction) => void
  readonly onChanged: () => void
  readonly onClose: () => void
}

export function AgentDrawer({ name, nowMs, mayAct, outcomes, onMove, onAct, onChanged, onClose }: Props) {
  const stream = useAgentStream(name)
  const { agent, isOpen, isGone, error } = stream
  // Of one that goes or is gone there is nothing to ask.
  const isAsked = !isGone && agent?.status !== 'stopping'
  const why = useAnswer(isAsked ? `why ${name}` : null, () => fetchAgentWhy(name), whyEveryMs)
  const resume = (): Promise<void> =>
    outcomes.tell(`Resuming ${name}`, async () => {
      const { status } = await actOnAgent(name, 'resume')
      onChanged()
      return `${name} goes on: ${status}`
    })
  return (
    <Drawer title={name} error={error} hasAnswer={agent !== null} onClose={onClose}>
      {agent === null ? null : (
        <>
          <p role="status" class="agent-state">
            <AgentStatusWord status={agent.status} />
            {agent.node_id === null ? ' on no node' : ` on ${agent.node_id}`}
            {agent.target === null ? '' : `, moving to ${agent.target}`}
            {agent.detail === '' ? '' : `: ${agent.detail}`}
            {isOpen ? null : <span class="tag warn">stale: not connected</span>}
          </p>
          <fieldset class="bar" aria-label={`What can be done to ${name}`}>
            <button type="button" disabled={!mayAct || agent.node_id === null} onClick={onMove}>
              Move to…
            </button>
            {agent.status === 'paused' ? (
              <button type="button" disabled={!mayAct} onClick={() => void resume()}>
                Resume
              </button>
            ) : (
              <button
                type="button"
                disabled={!mayAct || agent.node_id === null}
                onClick={() => onAct('pause')}
              >
                Pause…
              </button>
            )}
            <button type="button" disabled={!mayAct} onClick={() => onAct('restart')}>
              Restart…
            </button>
            <button type="button" class="danger" disabled={!mayAct} onClick={() => onAct('stop')}>
              Stop…
            </button>
            {mayAct ? null : <span class="aside">These need the role operator.</span>}
          </fieldset>
          <Facts agent={agent} nowMs={nowMs} />
          <Why why={why.answer} error={why.error} agent={agent} />
          {agent.kind === 'process' ? <OutputView name={name} stream={stream} /> : null}
        </>
      )}
    </Drawer>
  )
}

function Facts({ agent, nowMs }: { readonly agent: AgentJson; readonly nowMs: number }) {
  const { constraints, services, restart, config } = agent
  const isProcess = agent.kind === 'process'
  return (
    <dl class="facts">
      <Fact name="Kind">{agent.kind}</Fact>
      {agent.command === null ? null : (
        <Fact name="Command">
          <code>{[agent.command, ...agent.args].join(' ')}</code>
        </Fact>
      )}
      {isProcess && agent.pid > 0 ? <Fact name="Process id">{agent.pid}</Fact> : null}
      {agent.cwd === null ? null : <Fact name="Directory">{agent.cwd}</Fact>}
      {agent.env.length === 0 ? null : <Fact name="Environment">{agent.env.join(', ')} (names only)</Fact>}
      <Fact name="Epoch">{agent.epoch}</Fact>
      <Fact name="Placed">
        {agent.assigned_at === null
          ? 'not yet'
          : `${agoText(agent.assigned_at, nowMs)}: ${placedText(agent)}`}
      </Fact>
      {agent.started_at === null ? null : (
        <Fact name="Started">
          {clockText(Date.parse(agent.started_at))}, {agoText(agent.started_at, nowMs)}
        </Fact>
      )}
      <Fact name="Restarts">
        {agent.restarts}, {restart.mode.replaceAll('_', ' ')}
      </Fact>
      {isProcess ? null : (
        <Fact name="Calls">
          {agent.calls} carried out, {agent.waiting_calls} wait, {agent.turn_ms} ms in the present one
        </Fact>
      )}
      {services.length === 0 ? null : <Fact name="Needs services">{services.join(', ')}</Fact>}
      {Object.keys(constraints).length === 0 ? null : (
        <Fact name="Constraints">
          <code>{JSON.stringify(constraints)}</code>
        </Fact>
      )}
      {agent.strategy === null ? null : <Fact name="Own strategy">{agent.strategy}</Fact>}
      {config === null || config === undefined ? null : (
        <Fact name="Config">
          <code>{JSON.stringify(config)}</code>
        </Fact>
      )}
    </dl>
  )
}

function Fact({ name, children }: { readonly name: string; readonly children: ComponentChildren }) {
  return (
    <>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </>
  )
}

interface WhyProps {
  readonly why: AgentWhyJson | null
  readonly error: string | null
  readonly agent: AgentJson
}

function Why({ why, error, agent }: WhyProps) {
  return (
    <section aria-labelledby="why-here">
      <h3 id="why-here">
        {agent.node_id === null ? 'Why nowhere?' : `Why on ${agent.node_id}, and why not elsewhere?`}
      </h3>
      {error === null ? null : <p class="bad">The reasons could not be read: {error}</p>}
      {why === null ? null : (
        <>
          <p class="aside">
            {why.strategy} decides, the preferred node first
            {why.candidates.some(({ score }) => score !== null) ? '; a lower score is better' : ''}. What runs
            is not moved without need.
          </p>
          <table class="candidates">
            <thead>
              <tr>
                <th scope="col">Node</th>
                <th scope="col">Could it?</th>
                <th scope="col">Score</th>
                <th scope="col">Agents</th>
                <th scope="col">Load</th>
              </tr>
            </thead>
            <tbody>
              {why.candidates.map(({ node_id, score, reasons, agents, max_agents, load }) => (
                <tr key={node_id} data-candidate={node_id}>
                  <th scope="row">
                    {node_id}
                    {node_id === why.node_id ? <span class="tag">here</span> : null}
                  </th>
                  <td class={reasons.length === 0 ? 'good' : 'bad'}>
                    <span aria-hidden="true">{reasons.length === 0 ? '✓' : '✕'}</span>{' '}
                    {reasons.length === 0 ? 'yes' : reasons.join('; ')}
                  </td>
                  <td class="figure">{score ?? '–'}</td>
                  <td class="figure">
                    {agents}/{max_agents}
                  </td>
                  <td class="figure">{load.toFixed(0)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </>
      )}
    </section>
  )
}
