/** `skein nodes`: what each is, why, and what is to become of it. */
import type { NodeJson, OperationJson, WhyJson } from '../../http/contract.js'
import { call } from '../client.js'
import type { SkeinCommand } from '../command.js'
import { followOperation } from '../follow.js'
import { fields, paint, print, printJson, table } from '../output.js'
import { clientOf, type RemoteOptions, remote, whole } from '../remote.js'
import { shows } from '../view.js'

type Row = Record<string, unknown>

const pathOf = (id: string | undefined): string => `/api/cluster/nodes/${encodeURIComponent(id ?? '')}`

export function addNodes(program: SkeinCommand): void {
  const nodes = program
    .command('nodes')
    .description('nodes: ls, show, why, drain, cordon, uncordon, remove')
    .lists('ls')
  shows<{ nodes: readonly NodeJson[] }>(
    nodes
      .command('ls')
      .description('all nodes')
      .example('skein nodes ls', 'their status, role, load and addresses')
      .example('skein nodes ls --watch', 'drawn again every two seconds')
      .example('skein nodes ls --json | jq -r ".nodes[].id"', 'their ids'),
    {
      ask: async (o) => (await call(clientOf(o), 'GET', '/api/cluster/nodes')) as { nodes: NodeJson[] },
      lines: ({ nodes: list }) =>
        table(
          ['ID', 'STATUS', 'ROLE', 'SHARDS', 'AGENTS', 'EVENTS/S', 'CPU', 'UPTIME', 'HTTP', 'PEER'],
          list.map((n) => [
            n.id,
            statusOf(n),
            n.role,
            n.shards_owned,
            n.active_agents,
            Math.round(n.events_per_second ?? 0),
            `${Math.round(n.cpu_usage ?? 0)}%`,
            n.uptime,
            n.address,
            n.peer_address,
          ]),
        ),
    },
  )
  shows<Row>(
    nodes
      .command('show <id>')
      .description('one node, every figure of it')
      .names('node')
      .example('skein nodes show node-1', 'as a list')
      .example('skein nodes show node-1 --json', 'as JSON'),
    { ask: async (o, id) => (await call(clientOf(o), 'GET', pathOf(id))) as Row, lines: fields },
  )
  shows<WhyJson>(
    nodes
      .command('why <id>')
      .description('the evidence behind its status: who saw what, when, and how well the observer was itself')
      .names('node')
      .example('skein nodes why node-2', 'why it is called what it is called'),
    {
      ask: async (o, id) => (await call(clientOf(o), 'GET', `${pathOf(id)}/why`)) as WhyJson,
      lines: ({ summary, evidence }) => [
        summary,
        ...evidence.map((e) => `  ${e.at}  ${e.observer}  ${e.kind}: ${e.detail}`),
      ],
    },
  )
  addMaintenance(nodes)
}

function addMaintenance(nodes: SkeinCommand): void {
  remote(
    nodes
      .command('drain <id>')
      .description('move its work elsewhere, and wait until nothing is left there')
      .details(
        'The node goes on draining when the wait ends, also over a restart, until skein nodes uncordon. Ctrl-C leaves it to itself. On a terminal a bar shows what is left. Exit code 1: something is still there at the deadline; the operation says what.',
      )
      .names('node')
      .option('--deadline <seconds>', 'give up after', '30')
      .option('--dry-run', 'only show what would move')
      .option('--detach', 'only begin it, and print the operation')
      .example('skein nodes drain node-2', 'until it is empty')
      .example('skein nodes drain node-2 --dry-run', 'what would move, and which agents nobody else can take')
      .example('skein nodes drain node-2 --detach --json', 'begun; skein operations shows how it goes'),
  ).action(drain)
  for (const [verb, what, shown] of [
    ['cordon', 'give it nothing new; it keeps what it has', 'gets nothing new'],
    ['uncordon', 'let it be given work again; ends a drain, too', 'may be given work again'],
  ] as const) {
    remote(
      nodes
        .command(`${verb} <id>`)
        .description(what)
        .names('node')
        .option('--dry-run', 'only show what it concerns')
        .example(`skein nodes ${verb} node-2`, shown),
    ).action(async (id: string, o: RemoteOptions & { readonly dryRun?: boolean }) => {
      if (o.dryRun === true) {
        await preview(id, verb, o)
        return
      }
      const operation = (await call(clientOf(o), 'POST', `${pathOf(id)}/${verb}`)) as OperationJson
      if (o.json === true) printJson(operation)
      else print(`${id} ${operation.detail}`)
    })
  }
  remote(
    nodes
      .command('remove <id>')
      .alias('rm')
      .description('forget an offline node, evict one that is cut off, make a live one leave')
      .names('node')
      .example('skein nodes remove node-9', 'it is in no list any more'),
  ).action(async (id: string, o: RemoteOptions) => {
    const answer = await call(clientOf(o), 'DELETE', pathOf(id))
    if (o.json === true) printJson(answer)
    else print(`${id} is removed`)
  })
}

function statusOf(node: NodeJson): string {
  const { status, healthy, stalled, observed } = node
  const colour = status === 'online' ? 'green' : status === 'offline' ? 'red' : 'yellow'
  const isCordoned = node.cordoned && status !== 'draining' ? ' (cordoned)' : ''
  if (healthy) return paint(colour, `${status}${isCordoned}`)
  return paint(colour, `${status} (${stalled ? 'stalled' : observed})`)
}

interface DrainOptions extends RemoteOptions {
  readonly deadline: string
  readonly dryRun?: boolean
  readonly detach?: boolean
}

async function drain(id: string, o: DrainOptions): Promise<void> {
  const deadline = whole('--deadline', o.deadline, 1, 86_400)
  if (o.dryRun === true) {
    await preview(id, 'drain', o)
    return
  }
  const operation = (await call(clientOf(o), 'POST', `${pathOf(id)}/drain`, { deadline })) as OperationJson
  if (o.detach === true) {
    if (o.json === true) printJson(operation)
    else print(`operation ${operation.id}: ${operation.detail}; skein operations show ${operation.id}`)
    return
  }
  await followOperation(o, operation)
}

interface DryRun {
  readonly shards: readonly number[]
  readonly agents: readonly string[]
  readonly blockers: readonly { readonly agent: string; readonly reason: string }[]
}

async function preview(id: string, verb: string, o: RemoteOptions): Promise<void> {
  const answer = (await call(clientOf(o), 'POST', `${pathOf(id)}/${verb}`, { dry_run: true })) as DryRun
  if (o.json === true) {
    printJson(answer)
    return
  }
  const { shards, agents, blockers } = answer
  print(`${id} has ${shards.length} shards and ${agents.length} agents that would move`)
  for (const agent of agents) print(`  ${agent}`)
  for (const { agent, reason } of blockers) print(paint('yellow', `  ${agent} could go nowhere: ${reason}`))
}
