/** The agents: how many, how fresh, which of them are wanted, and their table. Asked for while in sight only. */
import { useMemo, useRef } from 'preact/hooks'
import {
  type AgentStatus,
  countByStatus,
  filterAgents,
  noNode,
  sortAgents,
  statusSigns,
} from './agent-list.js'
import type { AgentJson } from './agents-client.js'
import type { AgentsAnswer } from './agents-data.js'
import { AgentsTable } from './agents-table.js'
import { countText } from './format.js'
import type { NodeJson } from './http-client.js'
import type { ChangeView, PageView } from './page-view.js'
import { SearchInput } from './search-input.js'
import { StaleTag } from './stale-tag.js'
import { useKnown, useSight } from './use-wanted.js'
import type { WantedData } from './wanted-data.js'

const none: readonly AgentJson[] = []

interface Props {
  readonly data: WantedData<AgentsAnswer>
  readonly nodes: readonly NodeJson[]
  readonly view: PageView
  readonly change: ChangeView
  readonly mayAct: boolean
  readonly onMove: (name: string) => void
  readonly onDrag: (name: string | null) => void
}

export function AgentsPanel({ data, nodes, view, change, mayAct, onMove, onDrag }: Props) {
  const panel = useRef<HTMLElement>(null)
  useSight(panel, data)
  const { answer, freshAtMs, error } = useKnown(data)
  const { agents, total } = answer ?? { agents: none, total: 0 }
  const { text, status, node, kind, sort } = view
  const shown = useMemo(
    () => sortAgents(filterAgents(agents, { text, status, node, kind }), sort),
    [agents, text, status, node, kind, sort],
  )
  const isStale = freshAtMs > 0 && data.isStale(Date.now())
  return (
    <section class="panel wide" id="agents" aria-labelledby="agents-title" ref={panel}>
      <div class="panel-head">
        <h2 id="agents-title">Agents</h2>
        <span class="aside" data-testid="agents-count">
          {shown.length === agents.length
            ? countText(total)
            : `${countText(shown.length)} of ${countText(total)}`}
          {agents.length < total ? `, the first ${countText(agents.length)} are known here` : ''}
          {isStale ? <StaleTag testId="agents-stale" freshAtMs={freshAtMs} error={error} /> : null}
        </span>
      </div>
      <Filters agents={agents} nodes={nodes} view={view} change={change} />
      {freshAtMs === 0 ? (
        <p class="empty" role={error === null ? undefined : 'alert'}>
          {error === null ? 'Asking for the agents …' : `The agents could not be read: ${error}`}
        </p>
      ) : agents.length === 0 ? (
        <p class="empty">
          No agents yet: <code>skein agents create NAME -- COMMAND</code>
        </p>
      ) : (
        <AgentsTable {...{ shown, sort, change, mayAct, onMove, onDrag, isStale }} />
      )}
    </section>
  )
}

type FilterProps = Pick<Props, 'nodes' | 'view' | 'change'> & { readonly agents: readonly AgentJson[] }

function Filters({ agents, nodes, view, change }: FilterProps) {
  const counts = useMemo(() => countByStatus(agents), [agents])
  const kinds = useMemo(() => [...new Set(agents.map(({ kind }) => kind))].toSorted(), [agents])
  const isFiltered = view.text !== '' || view.status !== '' || view.node !== '' || view.kind !== ''
  return (
    <search class="bar" aria-label="Filter the agents">
      <SearchInput
        label="Text in the agents"
        placeholder="name, kind, command …"
        text={view.text}
        onText={(text) => change({ text })}
      />
      <Choice
        label="Status"
        value={view.status}
        options={(Object.keys(statusSigns) as AgentStatus[]).map((each) => [
          each,
          `${statusSigns[each]} ${each} (${counts.get(each) ?? 0})`,
        ])}
        onChoose={(status) => change({ status })}
      />
      <Choice
        label="Node"
        value={view.node}
        options={[...nodes.map(({ id }): [string, string] => [id, id]), [noNode, 'on no node']]}
        onChoose={(node) => change({ node })}
      />
      <Choice
        label="Kind"
        value={view.kind}
        options={kinds.map((each) => [each, each])}
        onChoose={(kind) => change({ kind })}
      />
      {isFiltered ? (
        <button type="button" onClick={() => change({ text: '', status: '', node: '', kind: '' })}>
          Show all
        </button>
      ) : null}
    </search>
  )
}

interface ChoiceProps {
  readonly label: string
  readonly value: string
  readonly options: readonly (readonly [value: string, text: string])[]
  readonly onChoose: (value: string) => void
}

function Choice({ label, value, options, onChoose }: ChoiceProps) {
  // What the address asks for may have no agent at the moment.
  const isKnown = value === '' || options.some(([each]) => each === value)
  return (
    <select aria-label={label} value={value} onChange={({ currentTarget }) => onChoose(currentTarget.value)}>
      <option value="">{label}: all</option>
      {isKnown ? null : <option value={value}>{value}</option>}
      {options.map(([each, text]) => (
        <option key={each} value={each}>
          {text}
        </option>
      ))}
    </select>
  )
}
