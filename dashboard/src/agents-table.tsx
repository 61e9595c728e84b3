/**
 * The table of agents. Of thousands of rows only those in sight are drawn. One tab stop for all rows: arrow keys walk them, Enter opens one, M
 * moves it; a pointer may drag it onto a node.
 */
import { useLayoutEffect, useRef, useState } from 'preact/hooks'
import {
  type AgentColumn,
  type AgentStatus,
  agentColumns,
  parseSort,
  placedText,
  statusSigns,
} from './agent-list.js'
import type { AgentJson } from './agents-client.js'
import type { ChangeView } from './page-view.js'

const rowPx = 32
const rowsShownMax = 14
const rowsAround = 4
const pageRows = 12

interface Props {
  /** In their order. */
  readonly shown: readonly AgentJson[]
  readonly sort: string
  readonly isStale: boolean
  readonly change: ChangeView
  readonly mayAct: boolean
  readonly onMove: (name: string) => void
  /** Null when it was let go. */
  readonly onDrag: (name: string | null) => void
}

export function AgentsTable({ shown, sort, change, mayAct, onMove, onDrag, isStale }: Props) {
  const body = useRef<HTMLTableSectionElement>(null)
  const [top, setTop] = useState(0)
  /** By name, so that it stays with its agent when the order changes. */
  const [cursor, setCursor] = useState<string | null>(null)
  const heightPx = Math.min(rowsShownMax, Math.max(1, shown.length)) * rowPx
  const first = Math.max(0, Math.floor(top / rowPx) - rowsAround)
  const visible = shown.slice(first, first + rowsShownMax + 2 * rowsAround)
  const at = cursor === null ? -1 : shown.findIndex(({ name }) => name === cursor)
  useLayoutEffect(() => {
    // A shorter list may end above where we are.
    setTop(body.current?.scrollTop ?? 0)
  }, [shown.length])
  const go = (index: number): void => {
    const to = Math.min(shown.length - 1, Math.max(0, index))
    const agent = shown[to]
    const element = body.current
    if (agent === undefined || element === null) return
    setCursor(agent.name)
    if (to * rowPx < element.scrollTop) element.scrollTop = to * rowPx
    else if ((to + 1) * rowPx > element.scrollTop + heightPx) element.scrollTop = (to + 1) * rowPx - heightPx
    setTop(element.scrollTop)
  }
  const onKeyDown = (event: KeyboardEvent): void => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== event.currentTarget) return
    const steps: Readonly<Record<string, number>> = {
      ArrowDown: at + 1,
      ArrowUp: at - 1,
      PageDown: at + pageRows,
      PageUp: at - pageRows,
      Home: 0,
      End: shown.length - 1,
    }
    const to = steps[event.key]
    if (to !== undefined) go(to)
    else if (at === -1) return
    else if (event.key === 'Enter' || event.key === ' ') change({ agent: cursor ?? '' })
    else if (event.key.toLowerCase() === 'm' && mayAct) onMove(cursor ?? '')
    else return
    event.preventDefault()
  }
  return (
    <>
      <table
        // biome-ignore lint/a11y/noNoninteractiveElementToInteractiveRole: a table that is walked by keys is a grid
        role="grid"
        class={isStale ? 'agents stale' : 'agents'}
        aria-label="Agents"
        aria-describedby="agents-keys"
        aria-rowcount={shown.length + 1}
        aria-activedescendant={at >= first && at < first + visible.length ? `agent-${at}` : undefined}
        tabIndex={0}
        onKeyDown={onKeyDown}
        onFocus={(event) => {
          if (event.target === event.currentTarget && at === -1) go(0)
        }}
      >
        <Head sort={sort} change={change} />
        <tbody
          class="agents-body"
          ref={body}
          tabIndex={-1}
          style={{ height: `${heightPx}px` }}
          onScroll={({ currentTarget }) => setTop(currentTarget.scrollTop)}
        >
          {visible.map((agent, index) => (
            <Row
              key={agent.name}
              agent={agent}
              index={first + index}
              // In place of the rows that are not drawn.
              aboveRows={index === 0 ? first : 0}
              belowRows={index === visible.length - 1 ? shown.length - first - visible.length : 0}
              isCurrent={first + index === at}
              mayAct={mayAct}
              onOpen={() => {
                setCursor(agent.name)
                change({ agent: agent.name })
              }}
              onMove={() => onMove(agent.name)}
              onDrag={onDrag}
            />
          ))}
          {shown.length === 0 ? (
            <tr>
              <td class="none">No agent is like that.</td>
            </tr>
          ) : null}
        </tbody>
      </table>
      <p class="aside" id="agents-keys">
        Arrow keys walk the rows, Enter opens one{mayAct ? ', M moves it; or drag it onto a node' : ''}.
      </p>
    </>
  )
}

const titles: Readonly<Record<AgentColumn, string>> = {
  name: 'Name',
  kind: 'Kind',
  status: 'Status',
  node: 'Node',
  epoch: 'Epoch',
  restarts: 'Restarts',
}

function Head({ sort, change }: { readonly sort: string; readonly change: ChangeView }) {
  const { column, isDescending } = parseSort(sort)
  return (
    <thead class="agents-head">
      <tr aria-rowindex={1} class="agent-row">
        {agentColumns.map((each) => (
          <th
            key={each}
            scope="col"
            class={`col-${each}`}
            aria-sort={each !== column ? 'none' : isDescending ? 'descending' : 'ascending'}
          >
            <button
              type="button"
              class="sort"
              onClick={() => change({ sort: each === column && !isDescending ? `-${each}` : each })}
            >
              {titles[each]} <span aria-hidden="true">{each !== column ? '' : isDescending ? '▾' : '▴'}</span>
            </button>
          </th>
        ))}
        <th scope="col" class="col-why">
          Why
        </th>
      </tr>
    </thead>
  )
}

interface RowProps {
  readonly agent: AgentJson
  readonly index: number
  readonly aboveRows: number
  readonly belowRows: number
  readonly isCurrent: boolean
  readonly mayAct: boolean
  readonly onOpen: () => void
  readonly onMove: () => void
  readonly onDrag: (name: string | null) => void
}

function Row({ agent, index, aboveRows, belowRows, isCurrent, mayAct, onOpen, onMove, onDrag }: RowProps) {
  const { name, kind, status, node_id, target, epoch, restarts } = agent
  const placed = placedText(agent)
  return (
    <tr
      id={`agent-${index}`}
      class={isCurrent ? 'agent-row current' : 'agent-row'}
      aria-rowindex={index + 2}
      aria-selected={isCurrent}
      tabIndex={-1}
      data-agent={name}
      style={{ marginTop: `${aboveRows * rowPx}px`, marginBottom: `${belowRows * rowPx}px` }}
      draggable={mayAct && node_id !== null}
      onClick={onOpen}
      onDragStart={({ dataTransfer }) => {
        dataTransfer?.setData('text/plain', name)
        if (dataTransfer !== null) dataTransfer.effectAllowed = 'move'
        // What appears for the drag must not appear in the very event that begins it: that would end it.
        setTimeout(() => onDrag(name))
      }}
      onDragEnd={() => onDrag(null)}
    >
      <td class="col-name" data-tip={name}>
        {name}
      </td>
      <td class="col-kind">{kind}</td>
      <td class="col-status">
        <AgentStatusWord status={status} />
      </td>
      <td class="col-node">
        {node_id ?? '–'}
        {target === null ? '' : ` → ${target}`}
      </td>
      <td class="col-epoch figure">{epoch}</td>
      <td class="col-restarts figure">{restarts}</td>
      <td class="col-why" data-tip={placed === '' ? undefined : placed}>
        <span class="why-text">{placed}</span>
        {mayAct && node_id !== null ? (
          <button
            type="button"
            tabIndex={-1}
            class="row-act"
            aria-label={`Move ${name}`}
            onClick={(event) => {
              event.stopPropagation()
              onMove()
            }}
          >
            move…
          </button>
        ) : null}
      </td>
    </tr>
  )
}

export function AgentStatusWord({ status }: { readonly status: AgentStatus }) {
  return (
    <span class={`agent-status ${status}`}>
      <span aria-hidden="true">{statusSigns[status]}</span> {status}
    </span>
  )
}
