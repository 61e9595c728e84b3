/** Which agents the table shows, in which order, and how their states look. Pure. */
import type { AgentJson } from './agents-client.js'
import type { PageView } from './page-view.js'

export type AgentStatus = AgentJson['status']

/** In the order of a life. */
export const statusSigns: Readonly<Record<AgentStatus, string>> = {
  pending: '○',
  starting: '◔',
  running: '●',
  migrating: '⇄',
  paused: '‖',
  stopping: '▽',
  stopped: '■',
  failed: '✕',
  orphaned: '▲',
}

export const agentColumns = ['name', 'kind', 'status', 'node', 'epoch', 'restarts'] as const
export type AgentColumn = (typeof agentColumns)[number]

type Filters = Pick<PageView, 'text' | 'status' | 'node' | 'kind'>

/** Stands for "on no node" in the filter of nodes; no node may be called so. */
export const noNode = '(none)'

const byName = new Intl.Collator('en', { numeric: true })

export function filterAgents(agents: readonly AgentJson[], filters: Filters): readonly AgentJson[] {
  const { status, node, kind } = filters
  const text = filters.text.trim().toLowerCase()
  if (text === '' && status === '' && node === '' && kind === '') return agents
  return agents.filter(
    (agent) =>
      (status === '' || agent.status === status) &&
      (kind === '' || agent.kind === kind) &&
      (node === '' || (node === noNode ? agent.node_id === null : agent.node_id === node)) &&
      (text === '' || textOf(agent).includes(text)),
  )
}

function textOf({ name, kind, node_id, detail, command, args }: AgentJson): string {
  return `${name} ${kind} ${node_id ?? ''} ${detail} ${command ?? ''} ${args.join(' ')}`.toLowerCase()
}

export function sortAgents(agents: readonly AgentJson[], sort: string): readonly AgentJson[] {
  const { column, isDescending } = parseSort(sort)
  const value = columnValues[column]
  const compare = (a: AgentJson, b: AgentJson): number => {
    const x = value(a)
    const y = value(b)
    if (x === y) return 0
    if (typeof x === 'number' && typeof y === 'number') return x - y
    return byName.compare(String(x), String(y))
  }
  return agents.toSorted(isDescending ? (a, b) => compare(b, a) : compare)
}

const columnValues: Readonly<Record<AgentColumn, (agent: AgentJson) => string | number>> = {
  name: ({ name }) => name,
  kind: ({ kind }) => kind,
  status: ({ status }) => Object.keys(statusSigns).indexOf(status),
  node: ({ node_id }) => node_id ?? '',
  epoch: ({ epoch }) => epoch,
  restarts: ({ restarts }) => restarts,
}

export function parseSort(sort: string): { readonly column: AgentColumn; readonly isDescending: boolean } {
  const isDescending = sort.startsWith('-')
  const name = isDescending ? sort.slice(1) : sort
  return { column: agentColumns.find((each) => each === name) ?? 'name', isDescending }
}

export function countByStatus(agents: readonly AgentJson[]): ReadonlyMap<AgentStatus, number> {
  const counts = new Map<AgentStatus, number>()
  for (const { status } of agents) counts.set(status, (counts.get(status) ?? 0) + 1)
  return counts
}

/** Why an agent is where it is, in a few words. */
export function placedText({ placed_by, node_id, detail }: AgentJson): string {
  if (detail !== '') return detail
  if (node_id === null || placed_by === '') return ''
  return placementWords[placed_by] ?? `placed by ${placed_by}`
}

const placementWords: Readonly<Record<string, string>> = {
  orphan: 'its node was lost',
  migrate: 'moved here on request',
  drain: 'its node was drained',
  leaving: 'its node was drained or left',
  rebalance: 'moved for balance',
  standby: 'a standby was relieved of it',
}
