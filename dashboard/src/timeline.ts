/**
 * Membership and leadership over time, from the node's history: per member a row of spans (in which state it was) and markers
 * (what happened). Pure; drawing is in `timeline-panel.tsx`.
 *
 * The history is bounded and begins with the answering node's process, so a member whose first event is not its arrival was in
 * the ordinary state before it, and a member without events has been in its present state since it started.
 */
import type { FeedEventJson, NodeJson } from './http-client.js'
import { nodeState } from './node-state.js'

export type SpanState = 'alive' | 'draining' | 'stalled' | 'suspect' | 'failed' | 'left'

export interface Span {
  readonly state: SpanState
  readonly fromMs: number
  readonly toMs: number
}

export interface Marker {
  readonly atMs: number
  readonly seq: number
  readonly sign: string
  readonly tone: SpanState | 'leader' | 'plain'
  readonly text: string
}

export interface TimelineRow {
  readonly nodeId: string
  readonly spans: readonly Span[]
  readonly markers: readonly Marker[]
}

interface Axes {
  observed: 'alive' | 'suspect' | 'failed' | 'left'
  isDraining: boolean
  isStalled: boolean
}

interface Rule {
  readonly sign: string
  readonly tone: Marker['tone']
  readonly words: string
  readonly change: Partial<Axes>
}

const fresh: Axes = { observed: 'alive', isDraining: false, isStalled: false }

/** What each event says about its subject; events not named here do not belong to a member's row. */
const rules: Readonly<Record<string, Rule>> = {
  'member.joined': { sign: '●', tone: 'plain', words: 'joined', change: fresh },
  'member.restarted': { sign: '↻', tone: 'plain', words: 'restarted', change: fresh },
  'member.recovered': { sign: '●', tone: 'alive', words: 'recovered', change: { observed: 'alive' } },
  'member.suspected': { sign: '▲', tone: 'suspect', words: 'suspected', change: { observed: 'suspect' } },
  'member.failed': { sign: '✕', tone: 'failed', words: 'failed', change: { observed: 'failed' } },
  'member.left': { sign: '■', tone: 'left', words: 'left', change: { observed: 'left' } },
  'member.leaving': { sign: '▼', tone: 'draining', words: 'leaving', change: { isDraining: true } },
  'member.draining': { sign: '▼', tone: 'draining', words: 'draining', change: { isDraining: true } },
  'member.active': { sign: '●', tone: 'alive', words: 'active', change: { isDraining: false } },
  'member.stalled': { sign: '◼', tone: 'stalled', words: 'main thread stalled', change: { isStalled: true } },
  'member.unstalled': { sign: '●', tone: 'alive', words: 'turning again', change: { isStalled: false } },
  'member.evicted': { sign: '✕', tone: 'failed', words: 'evicted', change: {} },
  'member.removed': { sign: '■', tone: 'left', words: 'removed', change: { observed: 'left' } },
  'self.draining': { sign: '▼', tone: 'draining', words: 'draining', change: { isDraining: true } },
  'self.leaving': { sign: '▼', tone: 'draining', words: 'leaving', change: { isDraining: true } },
  'self.active': { sign: '●', tone: 'alive', words: 'active', change: { isDraining: false } },
  'lease.lost': { sign: '◆', tone: 'suspect', words: 'lost its lease', change: {} },
  'leader.resigned': { sign: '♕', tone: 'leader', words: 'gave the leadership up', change: {} },
  'leader.elected': { sign: '♛', tone: 'leader', words: 'elected leader', change: {} },
}

const byName = new Intl.Collator('en', { numeric: true })
const arrivals: ReadonlySet<string> = new Set(['member.joined'])

export function timelineRows(
  events: readonly FeedEventJson[],
  nodes: readonly NodeJson[],
  fromMs: number,
  nowMs: number,
): TimelineRow[] {
  const byMember = new Map<string, FeedEventJson[]>(nodes.map(({ id }) => [id, []]))
  for (const event of events) {
    const subject = subjectOf(event)
    if (subject === null) continue
    const kept = byMember.get(subject)
    if (kept !== undefined) kept.push(event)
    else if (Date.parse(event.at) >= fromMs) byMember.set(subject, [event])
  }
  const nodeById = new Map(nodes.map((node) => [node.id, node]))
  return [...byMember]
    .map(([nodeId, own]) => row(nodeId, own, nodeById.get(nodeId), fromMs, nowMs))
    .toSorted((a, b) => byName.compare(a.nodeId, b.nodeId))
}

/** The member an event is about: not always the one that reports it. */
export function subjectOf({ event, fields, node_id }: FeedEventJson): string | null {
  if (rules[event] === undefined) return null
  const named = event.startsWith('leader.') ? fields.leader : fields.member
  return typeof named === 'string' && named !== '' ? named : node_id
}

export function eventText({ event, fields }: FeedEventJson): string {
  const words = rules[event]?.words ?? event
  const term = typeof fields.term === 'number' ? `, term ${fields.term}` : ''
  const observer =
    typeof fields.observer === 'string' && fields.observer !== '' ? ` by ${fields.observer}` : ''
  const why = [fields.detail, fields.reason].find((each) => typeof each === 'string' && each !== '')
  return `${words}${term}${event === 'member.suspected' ? observer : ''}${why === undefined ? '' : ` — ${String(why)}`}`
}

function row(
  nodeId: string,
  events: readonly FeedEventJson[],
  node: NodeJson | undefined,
  fromMs: number,
  nowMs: number,
): TimelineRow {
  const spans: Span[] = []
  const markers: Marker[] = []
  const axes = { ...fresh }
  const first = events.find(({ event }) => !event.startsWith('leader.'))
  let state: SpanState | null =
    first === undefined ? presentState(node) : arrivals.has(first.event) ? null : 'alive'
  let sinceMs = Math.max(fromMs, Date.parse(node?.started_at ?? '') || fromMs)
  if (first !== undefined) {
    const firstMs = Date.parse(first.at)
    // Started again since: what it was before began before this start.
    const isAnew = state !== null && sinceMs > firstMs
    sinceMs = isAnew ? fromMs : Math.min(sinceMs, Math.max(fromMs, firstMs))
  }
  const close = (toMs: number) => {
    if (state !== null && toMs > sinceMs) spans.push({ state, fromMs: sinceMs, toMs })
    sinceMs = Math.max(sinceMs, toMs)
  }
  for (const each of events) {
    const rule = rules[each.event]
    const atMs = Date.parse(each.at)
    if (rule === undefined || Number.isNaN(atMs)) continue
    if (atMs >= fromMs)
      markers.push({ atMs, seq: each.seq, sign: rule.sign, tone: rule.tone, text: eventText(each) })
    if (Object.keys(rule.change).length === 0) continue
    Object.assign(axes, rule.change)
    const next = each.event === 'member.removed' ? null : spanState(axes)
    if (next === state) continue
    close(atMs)
    state = next
  }
  close(nowMs)
  return { nodeId, spans, markers }
}

function spanState({ observed, isDraining, isStalled }: Axes): SpanState {
  if (observed !== 'alive') return observed
  return isStalled ? 'stalled' : isDraining ? 'draining' : 'alive'
}

function presentState(node: NodeJson | undefined): SpanState | null {
  if (node === undefined) return null
  const state = nodeState(node)
  if (state === 'offline') return node.observed === 'left' ? 'left' : 'failed'
  return state === 'online' || state === 'joining' ? 'alive' : state
}
