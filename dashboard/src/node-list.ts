/** Which nodes the table shows, and in which order: those that are not well come first unless another column is asked for. Pure. */
import type { NodeJson } from './http-client.js'
import { nodeState } from './node-state.js'

export const nodeColumns = ['node', 'status', 'shards', 'agents', 'events', 'cpu', 'memory', 'seen'] as const
export type NodeColumn = (typeof nodeColumns)[number]

const byName = new Intl.Collator('en', { numeric: true })

const values: Readonly<Record<Exclude<NodeColumn, 'node' | 'status'>, (node: NodeJson) => number>> = {
  shards: (node) => node.shards_owned,
  agents: (node) => node.active_agents,
  events: (node) => node.events_per_second,
  cpu: (node) => node.cpu_usage,
  memory: (node) => node.memory_usage,
  seen: (node) => Date.parse(node.last_seen ?? '') || 0,
}

export interface NodeOrder {
  readonly column: NodeColumn
  readonly isDescending: boolean
}

/** Empty, and whatever is no order: by status. */
export function parseOrder(order: string): NodeOrder {
  const isDescending = order.startsWith('-')
  const name = isDescending ? order.slice(1) : order
  const column = nodeColumns.find((each) => each === name)
  return column === undefined ? { column: 'status', isDescending: false } : { column, isDescending }
}

export function shownNodes(nodes: readonly NodeJson[], text: string, order: string): readonly NodeJson[] {
  const wanted = text.trim().toLowerCase()
  const found = wanted === '' ? nodes : nodes.filter((node) => textOf(node).includes(wanted))
  const { column, isDescending } = parseOrder(order)
  const sign = isDescending ? -1 : 1
  return found.toSorted((a, b) => sign * compare(a, b, column) || byName.compare(a.id, b.id))
}

function compare(a: NodeJson, b: NodeJson, column: NodeColumn): number {
  if (column === 'node') return byName.compare(a.id, b.id)
  if (column === 'status') return trouble(b) - trouble(a)
  return values[column](a) - values[column](b)
}

/** Higher: looked at earlier. */
function trouble(node: NodeJson): number {
  const ranks = { offline: 5, suspect: 6, stalled: 4, draining: 3, joining: 2, online: 0 } as const
  return ranks[nodeState(node)]
}

function textOf({
  id,
  hostname,
  address,
  zone,
  region,
  role,
  version,
  kind,
  services,
  ...node
}: NodeJson): string {
  const labels = Object.entries(node.labels).map(([name, value]) => `${name}=${value}`)
  const words = [
    id,
    hostname,
    address,
    zone,
    region,
    role,
    version,
    kind,
    nodeState({ id, ...node } as NodeJson),
  ]
  return [...words, ...services, ...labels].join(' ').toLowerCase()
}
