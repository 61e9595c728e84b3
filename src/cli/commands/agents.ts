/** `skein agents`: what runs where, and why; making, moving and ending it. */
import { call } from '../client.js'
import type { SkeinCommand } from '../command.js'
import { CliFailure, exitCodes } from '../exit.js'
import { fields, paint, print, printJson, printLines, table } from '../output.js'
import { clientOf, jsonOrText, type RemoteOptions, remote, whole } from '../remote.js'
import { shows } from '../view.js'
import { addAgentLogs } from './agent-logs.js'

type Row = Record<string, unknown>

const pathOf = (name: string | undefined): string => `/api/agents/${encodeURIComponent(name ?? '')}`
/** A move or a removal waits for the agent to come to rest. */
const patienceMs = 40_000

export function addAgents(program: SkeinCommand): void {
  const agents = program
    .command('agents')
    .description(
      'agents: ls, show, create, stop, migrate, pause, resume, restart, call, input, signal, logs, why',
    )
    .lists('ls')
  addViews(agents)
  addCreate(agents)
  remote(
    agents
      .command('stop <name>')
      .alias('rm')
      .description('stop it for good and forget its state')
      .names('agent')
      .example('skein agents stop tick', 'it is gone'),
  ).action(async (name: string, o: RemoteOptions) => {
    const answer = await call(clientOf(o), 'DELETE', pathOf(name), undefined, patienceMs)
    if (o.json === true) printJson(answer)
    else print(`${name} is gone`)
  })
  remote(
    agents
      .command('migrate <name>')
      .description('move it to a node, or where the balancer thinks')
      .names('agent')
      .option('--to <node>', 'that node')
      .naming('--to', 'node')
      .option('--dry-run', 'only show where it could go, and why not elsewhere')
      .example('skein agents migrate tick --to node-2', 'with its state and its messages')
      .example('skein agents migrate tick --dry-run', 'every node with its score, or why not'),
  ).action(migrate)
  addCommands(agents)
  addAgentLogs(agents)
}

function addViews(agents: SkeinCommand): void {
  shows<{ agents: readonly Row[] }, RemoteOptions & { node?: string; status?: string }>(
    agents
      .command('ls')
      .description('all agents of the cluster')
      .option('--node <id>', 'only those on this node')
      .naming('--node', 'node')
      .option('--status <status>', 'only those in this status')
      .example('skein agents ls', 'where each is, and how')
      .example('skein agents ls --status failed', 'those that need somebody')
      .example('skein agents ls --node node-2 --watch', 'what is left while it drains'),
    {
      ask: async (o) => {
        const query = new URLSearchParams({ limit: '10000' })
        if (o.node !== undefined) query.set('node_id', o.node)
        if (o.status !== undefined) query.set('status', o.status)
        return (await call(clientOf(o), 'GET', `/api/agents?${query}`)) as { agents: Row[] }
      },
      lines: ({ agents: list }) =>
        table(
          ['NAME', 'KIND', 'STATUS', 'NODE', 'EPOCH', 'RESTARTS', 'DETAIL'],
          list.map((a) => [
            a.name,
            a.kind,
            coloured(String(a.status)),
            a.node_id ?? '-',
            a.epoch,
            a.restarts,
            a.detail,
          ]),
        ),
    },
  )
  shows<Row>(
    agents
      .command('show <name>')
      .description('one agent')
      .names('agent')
      .example('skein agents show tick', 'all that is known of it'),
    { ask: async (o, name) => (await call(clientOf(o), 'GET', pathOf(name))) as Row, lines: fields },
  )
  shows<Row>(
    agents
      .command('why <name>')
      .description('why it is where it is: every node with its score or its reasons')
      .names('agent')
      .example('skein agents why tick', 'who could run it, and who could not'),
    {
      ask: async (o, name) => (await call(clientOf(o), 'GET', `${pathOf(name)}/why`)) as Row,
      lines: explanation,
    },
  )
}

function addCommands(agents: SkeinCommand): void {
  for (const [verb, description] of [
    ['pause', 'let it stand still'],
    ['resume', 'let it go on'],
    ['restart', 'begin anew from its last state; revives one that has ended'],
  ] as const)
    remote(
      agents
        .command(`${verb} <name>`)
        .description(description)
        .names('agent')
        .example(`skein agents ${verb} tick`, description),
    ).action(async (name: string, o: RemoteOptions) => {
      const answer = (await call(clientOf(o), 'POST', `${pathOf(name)}/${verb}`)) as Row
      if (o.json === true) printJson(answer)
      else printLines(fields(answer))
    })
  remote(
    agents
      .command('call <name> <method> [args...]')
      .description('call a defined agent; arguments are JSON, or text where they are not')
      .names('agent')
      .option('--timeout <ms>', 'give up after', '10000')
      .example('skein agents call alice add 2', 'the result is printed')
      .example('skein agents call alice set \'{"n": 1}\' --json', 'with an object, and the whole answer'),
  ).action(callAgent)
  remote(
    agents
      .command('input <name> <text>')
      .description('a line for the standard input of a process agent')
      .names('agent')
      .example('skein agents input tick hello', 'it reads one line'),
  ).action((name: string, text: string, o: RemoteOptions) =>
    command(o, name, 'send_input', { text: `${text}\n` }),
  )
  remote(
    agents
      .command('signal <name> <signal>')
      .description('send a signal to a process agent, such as SIGHUP')
      .names('agent')
      .example('skein agents signal tick SIGHUP', 'to its whole process group'),
  ).action((name: string, signal: string, o: RemoteOptions) => command(o, name, 'send_signal', { signal }))
}

function addCreate(agents: SkeinCommand): void {
  remote(
    agents
      .command('create <name> [command...]')
      .description('a process: skein agents create NAME -- PROGRAM ARGS; a defined agent: --kind KIND')
      .option('--kind <kind>', 'of a definition that the nodes have loaded')
      .option('--config <json>', 'for a defined agent')
      .option('--env <name=value...>', 'environment of the process')
      .option('--cwd <directory>', 'where it runs')
      .option('--restart <mode>', 'always, on_failure or never')
      .option('--strategy <strategy>', 'instead of the cluster’s')
      .naming('--strategy', 'strategy')
      .option('--service <name...>', 'services that its node must offer')
      .naming('--service', 'service')
      .option('--zone <zone...>', 'zones it may be in')
      .option('--region <region...>', 'regions it may be in')
      .option('--node <id...>', 'nodes it may be on')
      .naming('--node', 'node')
      .option('--label <name=value...>', 'labels that its node must have')
      .example(
        "skein agents create tick --restart always -- sh -c 'while :; do date; sleep 1; done'",
        'a process',
      )
      .example('skein agents create alice --kind counter --config \'{"n": 1}\'', 'one that a program defines')
      .example('skein agents create gpu-1 --kind trainer --service gpu --zone a b', 'where it may be'),
  ).action(create)
}

function coloured(status: string): string {
  const colour =
    status === 'running' ? 'green' : status === 'failed' || status === 'orphaned' ? 'red' : 'yellow'
  return paint(colour, status)
}

interface CreateOptions extends RemoteOptions {
  readonly kind?: string
  readonly config?: string
  readonly env?: readonly string[]
  readonly cwd?: string
  readonly restart?: string
  readonly strategy?: string
  readonly service?: readonly string[]
  readonly zone?: readonly string[]
  readonly region?: readonly string[]
  readonly node?: readonly string[]
  readonly label?: readonly string[]
}

async function create(name: string, words: readonly string[], o: CreateOptions): Promise<void> {
  const [program, ...args] = words
  const constraints = {
    ...(o.zone === undefined ? {} : { zone: o.zone }),
    ...(o.region === undefined ? {} : { region: o.region }),
    ...(o.node === undefined ? {} : { nodes: o.node }),
    ...(o.label === undefined ? {} : { labels: pairs('--label', o.label) }),
  }
  const agent = (await call(clientOf(o), 'POST', '/api/agents', {
    name,
    ...(o.kind === undefined ? {} : { kind: o.kind }),
    ...(program === undefined ? {} : { command: program, args }),
    ...(o.config === undefined ? {} : { config: json('--config', o.config) }),
    ...(o.env === undefined ? {} : { env: pairs('--env', o.env) }),
    ...(o.cwd === undefined ? {} : { cwd: o.cwd }),
    ...(o.restart === undefined ? {} : { restart: o.restart }),
    ...(o.strategy === undefined ? {} : { strategy: o.strategy }),
    ...(o.service === undefined ? {} : { services: o.service }),
    ...(Object.keys(constraints).length === 0 ? {} : { constraints }),
  })) as Row
  const where = agent.node_id === null ? `: ${String(agent.detail)}` : ` on ${String(agent.node_id)}`
  if (o.json === true) printJson(agent)
  else print(`${name} is ${String(agent.status)}${where}`)
}

function pairs(flag: string, list: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    list.map((pair) => {
      const at = pair.indexOf('=')
      if (at < 1) throw new CliFailure(exitCodes.usage, `${flag}: NAME=VALUE expected, got "${pair}"`)
      return [pair.slice(0, at), pair.slice(at + 1)]
    }),
  )
}

function json(flag: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    throw new CliFailure(exitCodes.usage, `${flag}: JSON expected, got ${text}`)
  }
}

async function migrate(
  name: string,
  o: RemoteOptions & { readonly to?: string; readonly dryRun?: boolean },
): Promise<void> {
  const body = {
    ...(o.to === undefined ? {} : { node_id: o.to }),
    ...(o.dryRun === true ? { dry_run: true } : {}),
  }
  const answer = (await call(clientOf(o), 'POST', `${pathOf(name)}/migrate`, body, patienceMs)) as Row
  if (o.json === true) printJson(answer)
  else if (o.dryRun === true) printLines(explanation(answer))
  else print(`${name} runs on ${String(answer.node_id)}, epoch ${String(answer.epoch)}`)
}

function explanation(answer: Row): readonly string[] {
  return [
    `${String(answer.agent)} is on ${String(answer.node_id ?? 'no node')}, placed by ${String(answer.placed_by || '-')}; strategy ${String(answer.strategy)}`,
    ...table(
      ['NODE', 'SCORE', 'AGENTS', 'LOAD', 'WHY NOT'],
      (answer.candidates as Row[]).map((c) => [
        c.node_id,
        c.score ?? '-',
        `${String(c.agents)}/${String(c.max_agents)}`,
        c.load,
        (c.reasons as string[]).join('; '),
      ]),
    ),
  ]
}

async function callAgent(
  name: string,
  method: string,
  words: readonly string[],
  o: RemoteOptions & { readonly timeout: string },
): Promise<void> {
  const timeout_ms = whole('--timeout', o.timeout, 1, 60_000)
  const body = { method, args: words.map(jsonOrText), timeout_ms }
  const answer = (await call(clientOf(o), 'POST', `${pathOf(name)}/call`, body, timeout_ms + 5_000)) as Row
  if (o.json === true) printJson(answer)
  else print(typeof answer.result === 'string' ? answer.result : JSON.stringify(answer.result))
}

async function command(o: RemoteOptions, name: string, what: string, data: unknown): Promise<void> {
  const answer = await call(clientOf(o), 'POST', `${pathOf(name)}/command`, { command: what, data })
  if (o.json === true) printJson(answer)
  else print(`${what}: done`)
}
