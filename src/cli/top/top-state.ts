/** What `top` knows of the cluster, and how its reader looks at it. Bounded; no drawing here. */
import type { FeedEventJson, NodeJson } from '../../http/contract.js'
import {
  type FailedAgents,
  type Finding,
  findingsOf,
  type OwnershipJson,
  ofAgents,
  ofOwnership,
} from '../checkup.js'
import type { State } from './watch-source.js'

const timelineMax = 500
const ratesMax = 40
const noteMsMax = 30_000

export interface AgentRow {
  readonly name: string
  readonly kind: string
  readonly status: string
  readonly node_id: string | null
  readonly restarts: number
  readonly detail: string
}

export const panels = ['nodes', 'agents', 'timeline', 'alarms'] as const
export type Panel = (typeof panels)[number]

export const sorts = ['id', 'status', 'cpu', 'memory', 'load', 'agents', 'shards', 'events'] as const
export type Sort = (typeof sorts)[number]

export class TopState {
  addr = ''
  state: State | undefined
  /** Newest last. */
  timeline: FeedEventJson[] = []
  agents: readonly AgentRow[] = []
  agentsTotal = 0
  /** Events per second of the whole cluster, one figure a second. */
  rates: number[] = []
  /** Nobody answers. */
  trouble: string | undefined
  ownership: OwnershipJson = { alarms: [] }
  failed: FailedAgents = { agents: [] }
  private noted: { readonly text: string; readonly untilMs: number } | undefined

  connected(addr: string, history: readonly FeedEventJson[], instead: string | undefined): void {
    this.addr = addr
    this.trouble = undefined
    this.timeline = [...history].sort((a, b) => a.seq - b.seq).slice(-timelineMax)
    if (instead !== undefined) this.note(`lost ${instead}; asking ${addr} now`)
  }

  take(state: State): void {
    this.state = state
    this.trouble = undefined
    this.rates = [...this.rates, this.eventsPerSecond].slice(-ratesMax)
  }

  /** The stream may tell what the history told before. */
  feed(event: FeedEventJson): void {
    if (event.seq <= (this.timeline.at(-1)?.seq ?? -1)) return
    this.timeline.push(event)
    if (this.timeline.length > timelineMax) this.timeline.shift()
  }

  get notice(): string | undefined {
    return this.noted !== undefined && Date.now() < this.noted.untilMs ? this.noted.text : undefined
  }

  /** `isMinor`: gives way to what was noted before. */
  note(text: string, isMinor = false): void {
    if (isMinor && this.notice !== undefined) return
    this.noted = { text, untilMs: Date.now() + noteMsMax }
  }

  get nodes(): readonly NodeJson[] {
    return this.state?.nodes ?? []
  }

  /** Of the nodes that are there: of one that is gone only the last words are known. */
  sum(figure: (node: NodeJson) => number): number {
    return this.nodes.reduce((sum, node) => sum + (node.status === 'offline' ? 0 : figure(node)), 0)
  }

  get eventsPerSecond(): number {
    return this.sum((node) => node.events_per_second)
  }

  /** What is not as it should be, each with the fix. */
  get alarms(): readonly Finding[] {
    if (this.state === undefined) return []
    const { status, nodes } = this.state
    return [...findingsOf(status, nodes), ofAgents(this.failed), ofOwnership(this.ownership)].filter(
      ({ ok }) => !ok,
    )
  }

  toJson(): unknown {
    return {
      addr: this.addr,
      status: this.state?.status ?? null,
      nodes: this.nodes,
      events_per_second: this.eventsPerSecond,
      alarms: this.alarms.map(({ name, detail, fix }) => ({ name, detail, fix })),
      timeline: this.timeline.slice(-20),
    }
  }
}

/** How it is looked at. */
export class Look {
  panel: Panel = 'nodes'
  sort: Sort = 'id'
  isReversed = false
  isPaused = false
  isHelp = false
  scroll = 0

  /** True when the picture changes. `quit` ends. */
  key(name: string): 'quit' | boolean {
    if (name === 'q' || name === 'ctrl-c' || name === 'escape') {
      if (this.isHelp && name !== 'ctrl-c') {
        this.isHelp = false
        return true
      }
      return 'quit'
    }
    if (name === 'p' || name === ' ') this.isPaused = !this.isPaused
    else if (name === '?' || name === 'h') this.isHelp = !this.isHelp
    else if (name === 'right' || name === 'tab') this.turn(1)
    else if (name === 'left') this.turn(-1)
    else if (name === 'down') this.scroll++
    else if (name === 'up') this.scroll = Math.max(0, this.scroll - 1)
    else if (name === 's') this.sort = sorts[(sorts.indexOf(this.sort) + 1) % sorts.length] as Sort
    else if (name === 'r') this.isReversed = !this.isReversed
    else return false
    return true
  }

  private turn(by: number): void {
    this.panel = panels[(panels.indexOf(this.panel) + by + panels.length) % panels.length] as Panel
    this.scroll = 0
  }
}

const keyOf: Readonly<Record<Sort, (node: NodeJson) => string | number>> = {
  id: (n) => n.id,
  status: (n) => `${n.healthy ? 1 : 0}${n.status}`,
  cpu: (n) => -n.cpu_usage,
  memory: (n) => -n.memory_usage,
  load: (n) => -n.load,
  agents: (n) => -n.active_agents,
  shards: (n) => -n.shards_owned,
  events: (n) => -n.events_per_second,
}

/** The heaviest first, names in their order. */
export function sorted(nodes: readonly NodeJson[], { sort, isReversed }: Look): readonly NodeJson[] {
  const key = keyOf[sort]
  const list = [...nodes].sort((a, b) => {
    const [x, y] = [key(a), key(b)]
    return x < y ? -1 : x > y ? 1 : a.id < b.id ? -1 : 1
  })
  return isReversed ? list.reverse() : list
}
