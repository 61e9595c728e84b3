/**
 * The cluster as it was at a moment: nodes and leader from the history of what happened, shards by walking the history of moves back from the present map,
 * figures from the samples. Pure. What the history does not reach is not made up: a node whose arrival lies before it counts as having been there.
 */
import { type FeedEventJson, historyLimit, type NodeJson, type ShardJson } from './http-client.js'
import { figureNames, type Samples } from './samples.js'
import { withShards } from './shard-counts.js'
import { type SpanState, type TimelineRow, timelineRows } from './timeline.js'

/** What the page knows, as far as the past is made from it. */
interface Known {
  readonly nodes: readonly NodeJson[]
  readonly shards: readonly ShardJson[]
  /** Oldest first. */
  readonly history: readonly FeedEventJson[]
  readonly samples: Samples
}

export interface Moment {
  readonly atMs: number
  readonly nodes: readonly NodeJson[]
  readonly shards: readonly ShardJson[]
  /** Null when nobody led, or when the history does not say. */
  readonly leaderId: string | null
  readonly term: number | null
  /** Events per second of all nodes; null where there is no sample. */
  readonly eventsPerSecond: number | null
}

/** Of the epochs of shards, the history tells nothing. */
export const unknownEpoch = -1

export function momentAt({ nodes, shards, history, samples }: Known, atMs: number, nowMs: number): Moment {
  const rows = timelineRows(history, nodes, Math.min(atMs, nowMs) - 1, nowMs)
  const led = leaderAt(history, atMs, nodes)
  const index = samples.indexAt(atMs)
  const then = nodes.flatMap((node) => {
    const row = rows.find(({ nodeId }) => nodeId === node.id)
    const state = stateAt(row, atMs)
    return state === null ? [] : [nodeAt(node, state, node.id === led.leaderId, samples, index)]
  })
  const owned = shardsAt(shards, history, atMs)
  const known = then.map(({ events_per_second }) => events_per_second)
  return {
    atMs,
    nodes: withShards(then, owned),
    shards: owned,
    ...led,
    eventsPerSecond: index === -1 ? null : known.reduce((sum, each) => sum + each, 0),
  }
}

/** From when on the past can be shown: the node tells what it saw since it started, as far as it still keeps it. */
export function knownFromMs(history: readonly FeedEventJson[], self: NodeJson): number {
  const startedMs = Date.parse(self.started_at ?? '')
  const oldestMs = Date.parse(history[0]?.at ?? '')
  if (history.length >= historyLimit && !Number.isNaN(oldestMs)) return oldestMs
  return Number.isNaN(startedMs) ? 0 : startedMs
}

function stateAt(row: TimelineRow | undefined, atMs: number): SpanState | null {
  // At the moment of an event, what came of it counts.
  return row?.spans.findLast(({ fromMs, toMs }) => fromMs <= atMs && atMs <= toMs)?.state ?? null
}

function leaderAt(
  history: readonly FeedEventJson[],
  atMs: number,
  nodes: readonly NodeJson[],
): { leaderId: string | null; term: number | null } {
  const turns = history.filter(({ event }) => event === 'leader.elected' || event === 'leader.resigned')
  // Nobody was elected since the history begins: whoever leads now did all along.
  if (turns.length === 0) return { leaderId: nodes.find((each) => each.is_leader)?.id ?? null, term: null }
  const last = turns.findLast(({ at }) => Date.parse(at) <= atMs)
  const { leader, term } = last?.fields ?? {}
  const hasLeader = last?.event === 'leader.elected' && typeof leader === 'string' && leader !== ''
  return { leaderId: hasLeader ? leader : null, term: typeof term === 'number' ? term : null }
}

const axesByState: Readonly<
  Record<SpanState, Pick<NodeJson, 'status' | 'observed' | 'lifecycle' | 'stalled' | 'healthy'>>
> = {
  alive: { status: 'online', observed: 'alive', lifecycle: 'active', stalled: false, healthy: true },
  draining: { status: 'draining', observed: 'alive', lifecycle: 'draining', stalled: false, healthy: true },
  stalled: { status: 'online', observed: 'alive', lifecycle: 'active', stalled: true, healthy: false },
  suspect: { status: 'online', observed: 'suspect', lifecycle: 'active', stalled: false, healthy: false },
  failed: { status: 'offline', observed: 'failed', lifecycle: 'active', stalled: false, healthy: false },
  left: { status: 'offline', observed: 'left', lifecycle: 'left', stalled: false, healthy: false },
}

function nodeAt(
  node: NodeJson,
  state: SpanState,
  isLeader: boolean,
  samples: Samples,
  index: number,
): NodeJson {
  const curves = samples.nodes.get(node.id)
  const figures = Object.fromEntries(figureNames.map((name) => [name, curves?.[name][index] ?? 0]))
  const agents = curves?.agents[index] ?? 0
  const role = isLeader ? 'leader' : node.role === 'leader' ? 'worker' : node.role
  return {
    ...node,
    ...figures,
    ...axesByState[state],
    active_agents: agents,
    is_leader: isLeader,
    role,
    cordoned: state === 'draining' && node.cordoned,
  }
}

function shardsAt(
  shards: readonly ShardJson[],
  history: readonly FeedEventJson[],
  atMs: number,
): readonly ShardJson[] {
  const owners = shards.map(({ owner }) => owner)
  const isChanged = new Set<number>()
  for (const { event, at, fields } of history.toReversed()) {
    if (Date.parse(at) <= atMs) break
    if (event !== 'shards.moved') continue
    for (const { from, shards: moved } of movesOf(fields.moves))
      for (const shard of moved) {
        owners[shard] = from === '' ? null : from
        isChanged.add(shard)
      }
  }
  return shards.map((each) => {
    const owner = owners[each.shard] ?? null
    const epoch = isChanged.has(each.shard) ? unknownEpoch : each.epoch
    return { shard: each.shard, owner, epoch, target: null, state: owner === null ? 'unassigned' : 'open' }
  })
}

interface Move {
  readonly from: string
  readonly to: string
  readonly shards: readonly number[]
}

/** `{from, to, shards: "0-12,40"}`; what is not of that shape is passed over, as another build may have written it. */
export function movesOf(given: unknown): readonly Move[] {
  if (!Array.isArray(given)) return []
  return given.flatMap((each: Partial<Record<keyof Move, unknown>> | null) => {
    if (typeof each?.from !== 'string' || typeof each.to !== 'string' || typeof each.shards !== 'string')
      return []
    return [{ from: each.from, to: each.to, shards: numbersIn(each.shards) }]
  })
}

const shardsMax = 65_536

function numbersIn(ranges: string): number[] {
  const numbers: number[] = []
  for (const range of ranges.split(',')) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(range)
    if (match === null) continue
    const last = Number(match[2] ?? match[1])
    for (let shard = Number(match[1]); shard <= last && numbers.length < shardsMax; shard++)
      numbers.push(shard)
  }
  return numbers
}
