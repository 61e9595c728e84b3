/** What an operator asks of a cluster: status, nodes, leader, shards, history. */
import type { Command } from 'commander'
import { type ClientOptions, call } from '../client.js'
import { CliFailure, exitCodes } from '../exit.js'
import { print, printJson, printTable } from '../output.js'

export interface CommonOptions {
  readonly addr: string
  readonly token?: string
  readonly json?: boolean
}

/** Every command that talks to a node takes these. */
export function remote(command: Command): Command {
  return command
    .option('--addr <host:port>', 'node to ask', process.env.SKEIN_ADDR ?? '127.0.0.1:8151')
    .option('--token <token>', 'bearer token', process.env.SKEIN_TOKEN)
    .option('--json', 'print the answer as JSON')
}

export function clientOf(options: CommonOptions): ClientOptions {
  return { addr: options.addr, token: options.token }
}

type Row = Record<string, unknown>

export function addCluster(program: Command): void {
  remote(
    program.command('status').description('the cluster as one node sees it; exit code 7 when degraded'),
  ).action(status)
  const nodes = program.command('nodes').description('nodes: ls, show, why, drain, cordon, uncordon, remove')
  remote(nodes.command('ls').description('all nodes')).action(listNodes)
  remote(nodes.command('show <id>').description('one node')).action((id: string, o: CommonOptions) =>
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
    ).action((id: string, o: CommonOptions) =>
      operate(o, `/api/cluster/nodes/${encodeURIComponent(id)}/${verb}`),
    )
  }
  remote(
    nodes
      .command('remove <id>')
      .description('forget an offline node, evict one that is cut off, make a live one leave'),
  ).action(async (id: string, o: CommonOptions) => {
    const answer = await call(clientOf(o), 'DELETE', `/api/cluster/nodes/${encodeURIComponent(id)}`)
    if (o.json === true) printJson(answer)
    else print(`${id} is removed`)
  })
  const leader = program.command('leader').description('leader: show, promote, step-down')
  remote(leader.command('show').description('who leads')).action((o: CommonOptions) =>
    show(o, '/api/cluster/leader'),
  )
  remote(leader.command('promote').description('make the node at --addr the leader')).action(
    (o: CommonOptions) => operate(o, '/api/cluster/leader'),
  )
  remote(leader.command('step-down').description('make the node at --addr give the leadership up')).action(
    (o: CommonOptions) => operate(o, '/api/cluster/leader', 'DELETE'),
  )
  remote(program.command('shards').description('who owns which shards')).action(shards)
  remote(
    program
      .command('history')
      .description('what happened, as one node saw it')
      .option('--limit <n>', 'newest', '50'),
  ).action(history)
}

async function status(o: CommonOptions): Promise<void> {
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

async function listNodes(o: CommonOptions): Promise<void> {
  const answer = (await call(clientOf(o), 'GET', '/api/cluster/nodes')) as { nodes: Row[] }
  if (o.json === true) {
    printJson(answer)
    return
  }
  printTable(
    ['ID', 'STATUS', 'ROLE', 'SHARDS', 'EVENTS/S', 'CPU', 'UPTIME', 'HTTP', 'PEER'],
    answer.nodes.map((n) => [
      n.id,
      n.healthy === true
        ? n.status
        : `${String(n.status)} (${n.stalled === true ? 'stalled' : String(n.observed)})`,
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

async function show(o: CommonOptions, path: string): Promise<void> {
  const answer = (await call(clientOf(o), 'GET', path)) as Row
  if (o.json === true) printJson(answer)
  else
    for (const [key, value] of Object.entries(answer))
      print(`${key.padEnd(18)} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
}

async function why(id: string, o: CommonOptions): Promise<void> {
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
  o: CommonOptions & { readonly deadline: string; readonly dryRun?: boolean },
): Promise<void> {
  const deadline = Number(o.deadline)
  if (!(deadline > 0))
    throw new CliFailure(exitCodes.usage, `--deadline: seconds above 0 expected, got "${o.deadline}"`)
  await operate(o, `/api/cluster/nodes/${encodeURIComponent(id)}/drain`, 'POST', {
    deadline,
    ...(o.dryRun === true ? { dry_run: true } : {}),
  })
}

async function operate(o: CommonOptions, path: string, method = 'POST', value?: unknown): Promise<void> {
  const answer = (await call(clientOf(o), method, path, value)) as Row
  if (o.json === true) printJson(answer)
  else
    print(
      Object.entries(answer)
        .map(([k, v]) => `${k}: ${typeof v === 'object' ? JSON.stringify(v) : String(v)}`)
        .join(', '),
    )
}

async function shards(o: CommonOptions): Promise<void> {
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

async function history(o: CommonOptions & { readonly limit: string }): Promise<void> {
  const answer = (await call(
    clientOf(o),
    'GET',
    `/api/cluster/history?limit=${encodeURIComponent(o.limit)}`,
  )) as { history?: Row[]; events?: Row[] }
  if (o.json === true) {
    printJson(answer)
    return
  }
  for (const e of answer.history ?? answer.events ?? [])
    print(`${String(e.at)}  ${String(e.event).padEnd(20)} ${JSON.stringify(e.fields)}`)
}
