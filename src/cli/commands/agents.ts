/** `skein agents`, `skein balance`, `skein rebalance`: what runs where, and why. */
import type { Command } from 'commander'
import { call } from '../client.js'
import { CliFailure, exitCodes } from '../exit.js'
import { paint, print, printJson, printTable } from '../output.js'
import { clientOf, type RemoteOptions, remote, whole } from '../remote.js'

type Row = Record<string, unknown>

const pathOf = (name: string): string => `/api/agents/${encodeURIComponent(name)}`
/** A move or a removal waits for the agent to come to rest. */
const patienceMs = 40_000

export function addAgents(program: Command): void {
  const agents = program
    .command('agents')
    .description(
      'agents: ls, show, create, stop, migrate, pause, resume, restart, call, input, signal, logs, why',
    )
  remote(
    agents
      .command('ls')
      .description('all agents of the cluster')
      .option('--node <id>', 'only those on this node')
      .option('--status <status>', 'only those in this status'),
  ).action(list)
  remote(agents.command('show <name>').description('one agent')).action(show)
  addCreate(agents)
  remote(
    agents.command('stop <name>').description('stop it for good and forget its state').alias('rm'),
  ).action(async (name: string, o: RemoteOptions) => {
    const answer = await call(clientOf(o), 'DELETE', pathOf(name), undefined, patienceMs)
    if (o.json === true) printJson(answer)
    else print(`${name} is gone`)
  })
  remote(
    agents
      .command('migrate <name>')
      .description('move it to a node, or where the balancer thinks')
      .option('--to <node>', 'that node')
      .option('--dry-run', 'only show where it could go, and why not elsewhere'),
  ).action(migrate)
  for (const [verb, description] of [
    ['pause', 'let it stand still'],
    ['resume', 'let it go on'],
    ['restart', 'begin anew from its last state; revives one that has ended'],
  ] as const)
    remote(agents.command(`${verb} <name>`).description(description)).action(
      async (name: string, o: RemoteOptions) =>
        tell(o, (await call(clientOf(o), 'POST', `${pathOf(name)}/${verb}`)) as Row),
    )
  remote(
    agents
      .command('call <name> <method> [args...]')
      .description('call a defined agent; arguments are JSON, or text where they are not')
      .option('--timeout <ms>', 'give up after', '10000'),
  ).action(callAgent)
  remote(
    agents.command('input <name> <text>').description('a line for the standard input of a process agent'),
  ).action((name: string, text: string, o: RemoteOptions) =>
    command(o, name, 'send_input', { text: `${text}\n` }),
  )
  remote(
    agents.command('signal <name> <signal>').description('send a signal to a process agent, such as SIGHUP'),
  ).action((name: string, signal: string, o: RemoteOptions) => command(o, name, 'send_signal', { signal }))
  remote(
    agents
      .command('logs <name>')
      .description('recent output of a process agent')
      .option('--lines <n>', 'how many', '100')
      .option('-f, --follow', 'go on as it comes'),
  ).action(logs)
  remote(
    agents
      .command('why <name>')
      .description('why it is where it is: every node with its score or its reasons'),
  ).action(async (name: string, o: RemoteOptions) =>
    explain(o, (await call(clientOf(o), 'GET', `${pathOf(name)}/why`)) as Row),
  )
  addBalance(program)
}

function addCreate(agents: Command): void {
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
      .option('--service <name...>', 'services that its node must offer')
      .option('--zone <zone...>', 'zones it may be in')
      .option('--region <region...>', 'regions it may be in')
      .option('--node <id...>', 'nodes it may be on')
      .option('--label <name=value...>', 'labels that its node must have'),
  ).action(create)
}

function addBalance(program: Command): void {
  remote(
    program
      .command('balance [strategy]')
      .description('show or choose the strategy of placement')
      .option('--dry-run', 'only show who would move'),
  ).action(async (strategy: string | undefined, o: RemoteOptions & { readonly dryRun?: boolean }) => {
    if (strategy === undefined) {
      const stats = (await call(clientOf(o), 'GET', '/api/cluster/stats')) as { balancer: Row }
      if (o.json === true) printJson(stats.balancer)
      else print(String(stats.balancer.strategy))
      return
    }
    moves(
      o,
      (await call(clientOf(o), 'POST', '/api/cluster/balance', {
        strategy,
        ...(o.dryRun === true ? { dry_run: true } : {}),
      })) as Row,
    )
  })
  remote(
    program
      .command('rebalance')
      .description('move agents until the cluster looks as its strategy wants it')
      .option('--moves <n>', 'at most so many', '100')
      .option('--dry-run', 'only show them'),
  ).action(async (o: RemoteOptions & { readonly moves: string; readonly dryRun?: boolean }) => {
    const moves_max = whole('--moves', o.moves, 1, 10_000)
    moves(
      o,
      (await call(
        clientOf(o),
        'POST',
        '/api/cluster/rebalance',
        { moves_max, dry_run: o.dryRun === true },
        patienceMs,
      )) as Row,
    )
  })
}

function moves(o: RemoteOptions, answer: Row): void {
  if (o.json === true) {
    printJson(answer)
    return
  }
  if (answer.strategy !== undefined)
    print(`strategy: ${String(answer.strategy)}${answer.dry_run === true ? ' (not changed)' : ''}`)
  const list = answer.moves as Row[] | undefined
  if (list === undefined) return
  if (list.length === 0) print('nothing would move')
  else
    printTable(
      ['AGENT', 'FROM', 'TO', 'WHY'],
      list.map((m) => [m.agent, m.from, m.to, m.why]),
    )
}

async function list(o: RemoteOptions & { readonly node?: string; readonly status?: string }): Promise<void> {
  const query = new URLSearchParams({ limit: '10000' })
  if (o.node !== undefined) query.set('node_id', o.node)
  if (o.status !== undefined) query.set('status', o.status)
  const answer = (await call(clientOf(o), 'GET', `/api/agents?${query}`)) as { agents: Row[] }
  if (o.json === true) {
    printJson(answer)
    return
  }
  printTable(
    ['NAME', 'KIND', 'STATUS', 'NODE', 'EPOCH', 'RESTARTS', 'DETAIL'],
    answer.agents.map((a) => [
      a.name,
      a.kind,
      coloured(String(a.status)),
      a.node_id ?? '-',
      a.epoch,
      a.restarts,
      a.detail,
    ]),
  )
}

function coloured(status: string): string {
  const colour =
    status === 'running' ? 'green' : status === 'failed' || status === 'orphaned' ? 'red' : 'yellow'
  return paint(colour, status)
}

async function show(name: string, o: RemoteOptions): Promise<void> {
  tell(o, (await call(clientOf(o), 'GET', pathOf(name))) as Row)
}

function tell(o: RemoteOptions, answer: Row): void {
  if (o.json === true) printJson(answer)
  else
    for (const [key, value] of Object.entries(answer))
      print(`${key.padEnd(14)} ${typeof value === 'object' ? JSON.stringify(value) : String(value)}`)
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
  const answer = await call(clientOf(o), 'POST', '/api/agents', {
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
  })
  const agent = answer as Row
  if (o.json === true) printJson(agent)
  else
    print(
      `${name} is ${String(agent.status)}${agent.node_id === null ? `: ${String(agent.detail)}` : ` on ${String(agent.node_id)}`}`,
    )
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
  if (o.dryRun === true) explain(o, answer)
  else if (o.json === true) printJson(answer)
  else print(`${name} runs on ${String(answer.node_id)}, epoch ${String(answer.epoch)}`)
}

function explain(o: RemoteOptions, answer: Row): void {
  if (o.json === true) {
    printJson(answer)
    return
  }
  print(
    `${String(answer.agent)} is on ${String(answer.node_id ?? 'no node')}, placed by ${String(answer.placed_by || '-')}; strategy ${String(answer.strategy)}`,
  )
  printTable(
    ['NODE', 'SCORE', 'AGENTS', 'LOAD', 'WHY NOT'],
    (answer.candidates as Row[]).map((c) => [
      c.node_id,
      c.score ?? '-',
      `${String(c.agents)}/${String(c.max_agents)}`,
      c.load,
      (c.reasons as string[]).join('; '),
    ]),
  )
}

async function callAgent(
  name: string,
  method: string,
  words: readonly string[],
  o: RemoteOptions & { readonly timeout: string },
): Promise<void> {
  const timeout_ms = whole('--timeout', o.timeout, 1, 60_000)
  const args = words.map((word) => {
    try {
      return JSON.parse(word) as unknown
    } catch {
      // Not JSON: text as it is.
      return word
    }
  })
  const answer = (await call(
    clientOf(o),
    'POST',
    `${pathOf(name)}/call`,
    { method, args, timeout_ms },
    timeout_ms + 5_000,
  )) as Row
  if (o.json === true) printJson(answer)
  else print(typeof answer.result === 'string' ? answer.result : JSON.stringify(answer.result))
}

async function command(o: RemoteOptions, name: string, what: string, data: unknown): Promise<void> {
  const answer = await call(clientOf(o), 'POST', `${pathOf(name)}/command`, { command: what, data })
  if (o.json === true) printJson(answer)
  else print(`${what}: done`)
}

async function logs(
  name: string,
  o: RemoteOptions & { readonly lines: string; readonly follow?: boolean },
): Promise<void> {
  let limit = whole('--lines', o.lines, 1, 1_000)
  let after: number | undefined
  for (;;) {
    const query = new URLSearchParams({
      limit: String(limit),
      ...(after === undefined ? {} : { after: String(after), wait_ms: '5000' }),
    })
    const answer = (await call(clientOf(o), 'GET', `${pathOf(name)}/logs?${query}`)) as {
      lines: Row[]
      next_after: number
    }
    if (o.json === true) for (const line of answer.lines) print(JSON.stringify(line))
    else
      for (const line of answer.lines)
        print(line.stream === 'stderr' ? paint('yellow', String(line.text)) : String(line.text))
    if (o.follow !== true) return
    after = answer.next_after
    limit = 1_000
  }
}
