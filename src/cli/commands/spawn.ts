/** `skein spawn`, `skein processors`: run named functions of the nodes' programs, and see what runs. */
import type { Command } from 'commander'
import { call } from '../client.js'
import { CliFailure, exitCodes } from '../exit.js'
import { paint, print, printJson, printTable } from '../output.js'
import { clientOf, type RemoteOptions, remote, whole } from '../remote.js'

interface Run {
  readonly id: string
  readonly name: string
  readonly node_id: string
  readonly status: string
  readonly detail: string
  readonly started_by?: string
  readonly started_at?: string
  readonly helps?: { readonly stream: string; readonly owner: string } | null
  readonly result?: unknown
  readonly error?: { readonly code: string; readonly detail: string }
}

interface List {
  readonly processors: readonly { name: string; nodes: readonly string[]; is_idempotent: boolean }[]
  readonly running: readonly Run[]
  readonly streams: readonly {
    readonly group: string
    readonly node_id: string
    readonly waiting: number
    readonly lent: number
    readonly helpers: readonly string[]
    readonly processed: number
    readonly processed_by_helpers: number
  }[]
  readonly nodes: readonly { node_id: string; running: number; running_max: number; error?: string }[]
}

/** Of one request for the end; then it is asked again. */
const waitAtOnceMs = 30_000
const pathOf = (id: string): string => `/api/processors/${encodeURIComponent(id)}`

export function addSpawn(program: Command): void {
  remote(
    program
      .command('spawn <name> [args]')
      .description('run a processor and print its result; the argument is JSON, or text where it is not')
      .option('--on <where>', 'a strategy, or the id of a node')
      .option('--zone <zone>', 'preferred')
      .option('--region <region>', 'preferred')
      .option('--timeout <ms>', 'tell it to stop after')
      .option('--retries <n>', 'run it anew when its node went away; it must be idempotent')
      .option('--detach', 'only start it, and print its id'),
  ).action(spawn)
  const processors = remote(
    program.command('processors').description('processors: ls (the default), show, kill'),
  ).action(list)
  remote(processors.command('ls').description('who has which, what runs, the load of streams')).action(
    (_: RemoteOptions, command: Command) => list(command.optsWithGlobals()),
  )
  remote(processors.command('show <id>').description('one run, or how it ended')).action(
    async (id: string, _: RemoteOptions, command: Command) => {
      const o = command.optsWithGlobals() as RemoteOptions
      tell(o, (await call(clientOf(o), 'GET', pathOf(id))) as Run)
    },
  )
  remote(
    processors
      .command('kill <id>')
      .description('tell a run to stop')
      .option('--reason <text>', 'told to it, and to who watches it'),
  ).action(async (id: string, own: { readonly reason?: string }, command: Command) => {
    const o = command.optsWithGlobals() as RemoteOptions
    const query = own.reason === undefined ? '' : `?reason=${encodeURIComponent(own.reason)}`
    const answer = (await call(clientOf(o), 'DELETE', pathOf(id) + query)) as { killed: boolean }
    if (o.json === true) printJson(answer)
    else print(answer.killed ? `${id} is told to stop` : `${id} had ended before`)
  })
}

interface SpawnFlags extends RemoteOptions {
  readonly on?: string
  readonly zone?: string
  readonly region?: string
  readonly timeout?: string
  readonly retries?: string
  readonly detach?: boolean
}

async function spawn(name: string, text: string | undefined, o: SpawnFlags): Promise<void> {
  const { on, zone, region, timeout, retries } = o
  let run = (await call(clientOf(o), 'POST', '/api/spawn', {
    name,
    ...(text === undefined ? {} : { args: argumentOf(text) }),
    ...(on === undefined ? {} : { on }),
    ...(zone === undefined ? {} : { zone }),
    ...(region === undefined ? {} : { region }),
    ...(timeout === undefined ? {} : { timeout_ms: whole('--timeout', timeout, 1, 86_400_000) }),
    ...(retries === undefined ? {} : { retries: whole('--retries', retries, 0, 100) }),
  })) as Run
  while (run.status === 'running' && o.detach !== true)
    run = (await call(
      clientOf(o),
      'GET',
      `${pathOf(run.id)}?wait_ms=${waitAtOnceMs}`,
      undefined,
      waitAtOnceMs + 10_000,
    )) as Run
  tell(o, run)
}

function argumentOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

function tell(o: RemoteOptions, run: Run): void {
  if (o.json === true) printJson(run)
  else if (run.status === 'running') print(`${run.id} runs on ${run.node_id}`)
  else if (run.status === 'finished') print(JSON.stringify(run.result, null, 2) ?? 'null')
  if (run.status !== 'running' && run.status !== 'finished')
    throw new CliFailure(
      run.error?.code === 'timeout' ? exitCodes.timedOut : exitCodes.failed,
      `${run.name} on ${run.node_id} ${run.status}: ${run.error?.code ?? ''} ${run.detail}`,
    )
}

async function list(o: RemoteOptions): Promise<void> {
  const answer = (await call(clientOf(o), 'GET', '/api/processors')) as List
  if (o.json === true) {
    printJson(answer)
    return
  }
  for (const n of answer.nodes)
    if (n.error !== undefined) print(paint('yellow', `${n.node_id} did not answer: ${n.error}`))
  printTable(
    ['PROCESSOR', 'IDEMPOTENT', 'NODES'],
    answer.processors.map((p) => [p.name, p.is_idempotent ? 'yes' : 'no', p.nodes.join(', ')]),
  )
  if (answer.running.length > 0) {
    print('')
    printTable(
      ['RUN', 'PROCESSOR', 'NODE', 'SINCE', 'FOR'],
      answer.running.map((r) => [
        r.id,
        r.name,
        r.node_id,
        r.started_at,
        r.helps == null ? r.started_by : `${r.helps.stream} of ${r.helps.owner}`,
      ]),
    )
  }
  if (answer.streams.length > 0) {
    print('')
    printTable(
      ['STREAM/GROUP', 'OWNER', 'WAITING', 'AT WORK', 'HELPERS', 'PROCESSED', 'BY HELPERS'],
      answer.streams.map((s) => [
        s.group,
        s.node_id,
        s.waiting,
        s.lent,
        s.helpers.join(', '),
        s.processed,
        s.processed_by_helpers,
      ]),
    )
  }
}
