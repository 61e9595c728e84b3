/** `skein spawn`, `skein processors`: run named functions of the nodes' programs, and see what runs. */
import { call } from '../client.js'
import type { SkeinCommand } from '../command.js'
import { CliFailure, exitCodes } from '../exit.js'
import { paint, print, printJson, table } from '../output.js'
import { clientOf, jsonOrText, type RemoteOptions, remote, whole } from '../remote.js'
import { shows, type WatchOptions } from '../view.js'

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
const pathOf = (id: string | undefined): string => `/api/processors/${encodeURIComponent(id ?? '')}`

export function addSpawn(program: SkeinCommand): void {
  remote(
    program
      .command('spawn <name> [args]')
      .description('run a processor and print its result; the argument is JSON, or text where it is not')
      .details('Exit code 1 when it failed, 6 when it took longer than --timeout.')
      .names('processor')
      .option('--on <where>', 'a strategy, or the id of a node')
      .naming('--on', 'node')
      .option('--zone <zone>', 'preferred')
      .option('--region <region>', 'preferred')
      .option('--timeout <ms>', 'tell it to stop after')
      .option('--retries <n>', 'run it anew when its node went away; it must be idempotent')
      .option('--detach', 'only start it, and print its id')
      .example('skein spawn resize \'{"image": "a.png"}\'', 'where it fits best')
      .example('skein spawn resize a.png --on node-2 --timeout 5000', 'there, for five seconds at most')
      .example('skein spawn resize a.png --detach', 'started; skein processors show tells how it ended'),
  ).action(spawn)
  const processors = program.command('processors').description('processors: ls, show, kill').lists('ls')
  shows<List>(
    processors
      .command('ls')
      .description('who has which, what runs, the load of streams')
      .example('skein processors ls --watch', 'as runs come and go'),
    { ask: async (o) => (await call(clientOf(o), 'GET', '/api/processors')) as List, lines: listLines },
  )
  shows<Run, WatchOptions>(
    processors
      .command('show <id>')
      .description('one run, or how it ended; exit code 1 when it failed')
      .names('run')
      .example('skein processors show 6b1f0c2a9b77', 'its status and its result'),
    {
      ask: async (o, id) => (await call(clientOf(o), 'GET', pathOf(id))) as Run,
      // Watched, how it ended is what is looked for; else it is told as a failure.
      lines: (run, o) => (failureOf(run) === undefined || o.watch === true ? [wordsOf(run)] : []),
      failure: failureOf,
    },
  )
  remote(
    processors
      .command('kill <id>')
      .description('tell a run to stop')
      .names('run')
      .option('--reason <text>', 'told to it, and to who watches it')
      .example('skein processors kill 6b1f0c2a9b77 --reason "taken back"', 'it is told, and ends'),
  ).action(async (id: string, o: RemoteOptions & { readonly reason?: string }) => {
    const query = o.reason === undefined ? '' : `?reason=${encodeURIComponent(o.reason)}`
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
    ...(text === undefined ? {} : { args: jsonOrText(text) }),
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
  const failure = failureOf(run)
  if (o.json === true) printJson(run)
  else if (failure === undefined) print(wordsOf(run))
  if (failure !== undefined) throw failure
}

/** Of one that finished, its result. */
function wordsOf(run: Run): string {
  if (run.status === 'running') return `${run.id} runs on ${run.node_id}`
  if (run.status === 'finished') return JSON.stringify(run.result, null, 2) ?? 'null'
  return `${run.name} on ${run.node_id} ${run.status}: ${run.error?.code ?? ''} ${run.detail}`
}

function failureOf(run: Run): CliFailure | undefined {
  const { status, error } = run
  if (status === 'running' || status === 'finished') return undefined
  const code = error?.code === 'timeout' ? exitCodes.timedOut : exitCodes.failed
  return new CliFailure(code, wordsOf(run), { code: error?.code ?? status })
}

function listLines({ processors, running, streams, nodes }: List): readonly string[] {
  const silent = nodes.filter((n) => n.error !== undefined)
  const lines = [
    ...silent.map((n) => paint('yellow', `${n.node_id} did not answer: ${n.error}`)),
    ...table(
      ['PROCESSOR', 'IDEMPOTENT', 'NODES'],
      processors.map((p) => [p.name, p.is_idempotent ? 'yes' : 'no', p.nodes.join(', ')]),
    ),
  ]
  if (running.length > 0)
    lines.push(
      '',
      ...table(
        ['RUN', 'PROCESSOR', 'NODE', 'SINCE', 'FOR'],
        running.map((r) => [
          r.id,
          r.name,
          r.node_id,
          r.started_at,
          r.helps == null ? r.started_by : `${r.helps.stream} of ${r.helps.owner}`,
        ]),
      ),
    )
  if (streams.length > 0)
    lines.push(
      '',
      ...table(
        ['STREAM/GROUP', 'OWNER', 'WAITING', 'AT WORK', 'HELPERS', 'PROCESSED', 'BY HELPERS'],
        streams.map((s) => [
          s.group,
          s.node_id,
          s.waiting,
          s.lent,
          s.helpers.join(', '),
          s.processed,
          s.processed_by_helpers,
        ]),
      ),
    )
  return lines
}
