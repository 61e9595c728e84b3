/** `top` as lines: a heading, and the panels, cut to the room there is. Drawn anew each time from what is known; nothing is kept here. */
import type { FeedEventJson, NodeJson } from '../../http/contract.js'
import { clip, paint, short, table, widthOf } from '../output.js'
import { type Look, type Panel, panels, sorted, type TopState } from './top-state.js'

const alarmsShown = 3
const barWidth = 10
const roomyWidth = 120

export interface Room {
  readonly width: number
  readonly height: number
}

export function picture(top: TopState, look: Look, { width, height }: Room): readonly string[] {
  if (top.state === undefined) return [`skein top: asking ${top.addr || 'the node'} …`]
  const head = heading(top, look)
  if (look.isHelp) return cut([...head, '', ...help], width, height)
  const lines = [...head]
  const tabs = panels.map((panel) => tab(panel, look, top)).join('  ')
  lines.push('', tabs)
  const room = Math.max(3, height - lines.length)
  lines.push(...ofPanel(top, look, room, width))
  const left = height - lines.length
  // What is left of the screen shows what happened last.
  if (look.panel === 'nodes' && left > 4) lines.push('', ...newest(top.timeline, left - 1))
  return cut(lines, width, height)
}

function cut(lines: readonly string[], width: number, height: number): readonly string[] {
  return lines.slice(0, height).map((line) => clip(line, width))
}

function heading(top: TopState, look: Look): readonly string[] {
  const { status, nodes } = top.state as NonNullable<TopState['state']>
  const well = nodes.filter((node) => node.healthy).length
  const agents = top.sum((node) => node.active_agents)
  const owned = top.sum((node) => node.shards_owned)
  const state =
    top.trouble !== undefined ? paint('red', 'NO ANSWER') : look.isPaused ? paint('yellow', 'PAUSED') : ''
  const lines = [
    `${paint('bold', `skein top`)}  cluster ${paint('bold', status.cluster_name)}  seen by ${status.node.id} (${top.addr})  ${status.time.slice(11, 19)}Z  ${state}`,
    [
      `leader ${status.leader_id === null ? paint('red', 'none') : paint('green', status.leader_id)}, term ${status.term}`,
      `quorum ${status.is_quorum_available ? paint('green', 'yes') : paint('red', 'NO')}`,
      `${well === nodes.length ? well : paint('yellow', String(well))}/${nodes.length} nodes well`,
      `shards ${owned}/${status.shards_total}`,
      `agents ${agents}`,
    ].join('   '),
    `events ${Math.round(top.eventsPerSecond)}/s  ${spark(top.rates)}`,
  ]
  const notice = top.trouble ?? top.notice
  if (notice !== undefined) lines.push(paint('yellow', notice))
  const alarms = top.alarms
  for (const { name, detail } of alarms.slice(0, alarmsShown))
    lines.push(`${paint('red', 'ALARM')} ${name}: ${detail}`)
  if (alarms.length > alarmsShown) lines.push(paint('red', `${alarms.length - alarmsShown} more alarms`))
  return lines
}

function tab(panel: Panel, look: Look, { alarms }: TopState): string {
  const words = panel === 'alarms' ? `alarms ${alarms.length}` : panel
  return panel === look.panel ? paint('inverse', `[${words}]`) : ` ${words} `
}

function ofPanel(top: TopState, look: Look, room: number, width: number): readonly string[] {
  if (look.panel === 'nodes') return window(nodeLines(top, look, width), look, Math.max(3, room))
  if (look.panel === 'agents') return window(agentLines(top), look, room)
  if (look.panel === 'alarms') return window(alarmLines(top), look, room)
  return window(['TIMELINE, the newest first', ...newest(top.timeline, top.timeline.length)], look, room)
}

/** The heading stays, the rows scroll. */
function window(lines: readonly string[], look: Look, room: number): readonly string[] {
  const [head = '', ...rows] = lines
  const fit = Math.max(1, room - 1)
  // A row goes to the line that says which are shown.
  const count = rows.length <= fit ? rows.length : Math.max(1, fit - 1)
  const from = Math.min(look.scroll, rows.length - count)
  look.scroll = from
  if (rows.length <= fit) return lines
  const shown = rows.slice(from, from + count)
  return [head, ...shown, `… ${from + 1} to ${from + shown.length} of ${rows.length}`]
}

function nodeLines({ nodes }: TopState, look: Look, width: number): readonly string[] {
  return table(
    [
      'NODE',
      'STATUS',
      'ROLE',
      'CPU',
      'MEMORY',
      'LOAD',
      'AGENTS',
      'SHARDS',
      'EVENTS/S',
      'RTT',
      'LOOP',
      'UPTIME',
    ],
    sorted(nodes, look).map((n) => [
      n.is_leader ? paint('bold', n.id) : n.id,
      statusOf(n),
      n.is_leader ? paint('bold', 'leader') : n.role,
      share(n.cpu_usage, width),
      share(n.memory_usage, width),
      n.load.toFixed(0),
      `${n.active_agents}/${n.max_agents}`,
      n.shards_owned,
      Math.round(n.events_per_second),
      n.is_self ? '-' : `${n.rtt_ms.toFixed(1)} ms`,
      `${Math.round(n.loop_delay_ms)} ms`,
      n.uptime,
    ]),
  )
}

function statusOf(n: NodeJson): string {
  const words = n.stalled
    ? 'stalled'
    : n.observed === 'suspect'
      ? 'suspected'
      : n.cordoned && n.healthy
        ? 'cordoned'
        : n.status
  return paint(n.healthy ? (n.status === 'online' ? 'green' : 'yellow') : 'red', words)
}

function agentLines({ agents, agentsTotal }: TopState): readonly string[] {
  const unwell = (status: string): number =>
    status === 'failed' || status === 'orphaned' ? 0 : status === 'running' ? 2 : 1
  const list = [...agents].sort((a, b) => unwell(a.status) - unwell(b.status) || (a.name < b.name ? -1 : 1))
  const lines = table(
    ['AGENT', 'KIND', 'STATUS', 'NODE', 'RESTARTS', 'DETAIL'],
    list.map((a) => [a.name, a.kind, coloured(a.status), a.node_id ?? '-', a.restarts, a.detail]),
  )
  return agentsTotal > agents.length ? [...lines, `… ${agentsTotal - agents.length} more`] : lines
}

function coloured(status: string): string {
  return paint(
    status === 'running' ? 'green' : status === 'failed' || status === 'orphaned' ? 'red' : 'yellow',
    status,
  )
}

function alarmLines({ alarms }: TopState): readonly string[] {
  if (alarms.length === 0) return ['ALARMS', 'none']
  return [
    'ALARMS',
    ...alarms.flatMap(({ name, detail, fix }) => [paint('red', `${name}: ${detail}`), `  ${fix}`]),
  ]
}

function newest(timeline: readonly FeedEventJson[], count: number): readonly string[] {
  return timeline
    .slice(-Math.max(0, count))
    .reverse()
    .map((e) => `${e.at.slice(11, 19)}  ${e.event.padEnd(22)} ${short(e.fields, 400)}`)
}

/** `####...... 40%`, without the bar where there is no room for it. */
function share(percent: number, width: number): string {
  const full = Math.max(0, Math.min(barWidth, Math.round((percent / 100) * barWidth)))
  const bar = width < roomyWidth ? '' : `${'#'.repeat(full)}${'.'.repeat(barWidth - full)} `
  const words = `${bar}${String(Math.round(percent)).padStart(3)}%`
  return percent >= 90 ? paint('red', words) : percent >= 70 ? paint('yellow', words) : words
}

const steps = '▁▂▃▄▅▆▇█'

function spark(rates: readonly number[]): string {
  const most = Math.max(1, ...rates)
  return rates.map((rate) => steps[Math.min(7, Math.floor((rate / most) * 7.999))]).join('')
}

const help = [
  'left, right   another panel: nodes, agents, timeline, alarms',
  'up, down      scroll',
  's             sort nodes by the next column: id, status, cpu, memory, load, agents, shards, events',
  'r             the other way round',
  'p             stand still, and go on',
  'q             end',
  '',
  'EVENTS/S: acknowledged here. LOOP: how long the main thread was held up (p99). LOAD: 0.4 cpu + 0.3 memory + 0.3 agents.',
]

/** The keys, for the last line of a terminal. */
export function footer(look: Look, width: number): string {
  const words = ` q quit  left/right panel  up/down scroll  s sort (${look.sort}${look.isReversed ? ', reversed' : ''})  r reverse  p pause  ? help`
  const line = clip(words, width)
  return paint('inverse', line + ' '.repeat(Math.max(0, width - widthOf(line))))
}
