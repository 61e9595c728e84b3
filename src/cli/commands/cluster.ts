/** What an operator asks of a cluster: status, nodes, leader, shards, history. */
import type { Command } from 'commander'
import { call } from '../client.js'
import { exitCodes } from '../exit.js'
import { paint, print, printJson, printTable } from '../output.js'
import { clientOf, type RemoteOptions, remote, whole } from '../remote.js'

type Row = Record<string, unknown>

export function addCluster(program: Command): void {
  remote(
    program.command('status').description('the cluster as one node sees it; exit code 7 when degraded'),
  ).action(status)
  const nodes = program.command('nodes').description('nodes: ls, show, why, drain, cordon, uncordon, remove')
  remote(nodes.command('ls').description('all nodes')).action(listNodes)
  remote(nodes.command('show <id>').description('one node')).action((id: string, o: RemoteOptions) =>
    show(o, `/api/cluster/nodes/${encodeURIComponent(id)}`),
  )
  remote(nodes.command('why <id>').description('the evidence behind its status')).action(why)
  remote(
    nodes
      .command('drain <id>')
      .description('move its work elsewhere')
      .option('--deadline <seconds>', 'give up after', '30')
      .option('--dry-run', 'only show what would move'),
  ).action(drain)
  for (const verb of ['cordon', 'uncordon'] as const) {
    remote(
      nodes
        .command(`${verb} <id>`)
        .description(verb === 'cordon' ? 'give it nothing new' : 'let it be given work again'),
    ).action((id: string, o: RemoteOptions) =>
      operate(o, `/api/cluster/nodes/${encodeURIComponent(id)}/${verb}`),
    )
  }
  remote(
    nodes
      .command('remove <id>')
      .description('forget an offline node, evict one that is cut off, make a live one leave'),
  ).action(async (id: string, o: RemoteOptions) => {
    const answer = await call(clientOf(o), 'DELETE', `/api/cluster/nodes/${encodeURIComponent(id)}`)
    if (o.json === true) printJson(answer)
    else print(`${id} is removed`)
  })
  const leader = program.command('leader').description('leader: show, promote, step-down')
  remote(leader.command('show').description('who leads')).action((o: RemoteOptions) =>
    show(o, '/api/cluster/leader'),
  )
  remote(leader.command('promote').description('make the node at --addr the leader')).action(
    (o: RemoteOptions) => operate(o, '/api/cluster/leader'),
  )
  remote(leader.command('step-down').description('make the node at --addr give the leadership up')).action(
    (o: RemoteOptions) => operate(o, '/api/cluster/leader', 'DELETE'),
  )
  remote(program.command('shards').description('who owns which shards')).action(shards)
  remote(
    program
      .command('history')
      .description('what happened, as one node saw it')
      .option('--limit <n>', 'newest', '50'),
  ).action(history)
}

async function status(o: RemoteOptions): Promise<void> {
  const s = (await call(clientOf(o), 'GET', '/api/cluster/status')) as Row
  if (o.json === true) printJson(s)
  else {
    const leader = s.leader as Row | null
    print(
      `cluster ${String(s.cluster_name)}: leader ${String(s.leader_id ?? leader?.node_id ?? 'none')}, term ${String(s.term)}, quorum ${s.is_quorum_available === true ? 'yes' : 'NO'}${s.is_degraded === true ? ', DEGRADED' : ''}`,
    )
    print(
      `peers: ${String(s.healthy_peers)} healthy, ${String(s.suspected_peers)} suspected, ${String(s.down_peers)} down of ${String(s.total_peers)}`,
    )
    for (const engine of ['store', 'journal']) {
      const e = s[engine] as Row
      print(`${engine}: ${String(e.driver)} ${e.ok === true ? 'ok' : `NOT OK: ${String(e.detail)}`}`)
    }
  }
  if (s.is_degraded === true) process.exitCode = exitCodes.degraded
}

async function listNodes(o: RemoteOptions): Promise<void> {
  const answer = (await call(clientOf(o), 'GET', '/api/cluster/nodes')) as { nodes: Row[] }
  if (o.json === true) {
    printJson(answer)
    return
  }
  printTable(
    ['ID', 'STATUS', 'ROLE', 'SHARDS', 'EVENTS/S', 'CPU', 'UPTIME', 'HTTP', 'PEER'],
    answer.nodes.map((n) => [
      n.id,
      statusOf(n),
      n.role,
      n.shards_owned,
      Math.round(Number(n.events_per_second ?? 0)),
      `${Math.round(Number(n.cpu_usage ?? 0))}%`,
      n.uptime,
      n.address,
      n.peer_address,
    ]),
  )
}

function statusOf(node: Row): string {
  const status = String(node.status)
  const colour = status === 'online' ? 'green' : status === 'offline' ? 'red' : 'yellow'
  if (node.healthy === true) return paint(colour, status)
  return paint(colour, `${status} (${node.stalled === true ? 'stalled' : String(node.observed)})`)
}

async function show(o: RemoteOptions, path: string): Promise<void> {
  const answer = (await call(clientOf(o), 'GET', path)) as Row
  if (o.json === true) printJson(answer)
  else
    for (const [key, value] of Object.entries(answer))
      print(`${key.padEnd(18)} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
}

async function why(id: string, o: RemoteOptions): Promise<void> {
  const answer = (await call(clientOf(o), 'GET', `/api/cluster/nodes/${encodeURIComponent(id)}/why`)) as {
    summary: string
    evidence: Row[]
  }
  if (o.json === true) {
    printJson(answer)
    return
  }
  print(answer.summary)
  for (const e of answer.evidence)
    print(`  ${String(e.at)}  ${String(e.observer)}  ${String(e.kind)}: ${String(e.detail)}`)
}

async function drain(
  id: string,
  o: RemoteOptions & { readonly deadline: string; readonly dryRun?: boolean },
): Promise<void> {
  const deadline = whole('--deadline', o.deadline, 1, 86_400)
  await operate(o, `/api/cluster/nodes/${encodeURIComponent(id)}/drain`, 'POST', {
    deadline,
    ...(o.dryRun === true ? { dry_run: true } : {}),
  })
}

async function operate(o: RemoteOptions, path: string, method = 'POST', value?: unknown): Promise<void> {
  const answer = (await call(clientOf(o), method, path, value)) as Row
  if (o.json === true) printJson(answer)
  else
    print(
      Object.entries(answer)
        .map(([k, v]) => `${k}: ${typeof v === 'object' ? JSON.stringify(v) : String(v)}`)
        .join(', '),
    )
}

async function shards(o: RemoteOptions): Promise<void> {
  const answer = (await call(clientOf(o), 'GET', '/api/cluster/shards')) as { shards: Row[]; count: number }
  if (o.json === true) {
    printJson(answer)
    return
  }
  const byOwner = new Map<string, { shards: number[]; moving: number }>()
  for (const s of answer.shards) {
    const owner = String(s.owner ?? '(none)')
    const entry = byOwner.get(owner) ?? { shards: [], moving: 0 }
    entry.shards.push(Number(s.shard))
    if (s.state === 'moving') entry.moving++
    byOwner.set(owner, entry)
  }
  printTable(
    ['OWNER', 'SHARDS', 'MOVING', 'WHICH'],
    [...byOwner].sort().map(([owner, e]) => [owner, e.shards.length, e.moving, ranges(e.shards)]),
  )
}

function ranges(numbers: readonly number[]): string {
  const parts: string[] = []
  for (let i = 0; i < numbers.length; ) {
    let j = i
    while (j + 1 < numbers.length && numbers[j + 1] === (numbers[j] as number) + 1) j++
    parts.push(i === j ? String(numbers[i]) : `${numbers[i]}-${numbers[j]}`)
    i = j + 1
  }
  return parts.length > 12 ? `${parts.slice(0, 12).join(',')},…` : parts.join(',')
}

async function history(o: RemoteOptions & { readonly limit: string }): Promise<void> {
  const limit = whole('--limit', o.limit, 1, 100_000)
  const answer = (await call(clientOf(o), 'GET', `/api/cluster/history?limit=${limit}`)) as { events: Row[] }
  if (o.json === true) {
    printJson(answer)
    return
  }
  for (const e of answer.events)
    print(`${String(e.at)}  ${String(e.event).padEnd(20)} ${JSON.stringify(e.fields)}`)
}
