/** Events from the command line: send a file, read a key back, follow the stream. */
import WebSocket from 'ws'
import type { PublishedJson } from '../../http/contract.js'
import { baseUrl, call, exchange, reachedAddr, tlsOptions, unreachable } from '../client.js'
import type { SkeinCommand } from '../command.js'
import { CliFailure, exitCodeOf, exitCodes } from '../exit.js'
import { dieOfInterrupt, untilInterrupted } from '../interrupt.js'
import { keyFinder } from '../line-batches.js'
import { print, printJson, tell } from '../output.js'
import { publishLines } from '../publish-file.js'
import {
  addressesOf,
  clientOf,
  jsonOrText,
  type RemoteManyOptions,
  type RemoteOptions,
  remote,
  remoteMany,
  tlsOf,
  whole,
} from '../remote.js'

interface EventJson {
  readonly id: string
  readonly payload: unknown
}

interface Page {
  readonly events: readonly EventJson[]
  readonly next_cursor?: string
}

interface PublishOptions extends RemoteManyOptions {
  readonly stream: string
  readonly keyRegex: string
  readonly keyDefault?: string
  readonly idPrefix?: string
  readonly batch: string
  readonly repeat: string
  readonly patience: string
}

interface GetOptions extends RemoteOptions {
  readonly stream: string
  readonly key?: string
  readonly limit: string
  readonly after?: string
  readonly all?: boolean
}

interface TailOptions extends RemoteOptions {
  readonly stream?: string
  readonly key?: string
}

interface SendOptions extends RemoteOptions {
  readonly stream: string
  readonly key: string
  readonly type?: string
  readonly id?: string
}

export function addEvents(program: SkeinCommand): void {
  const events = program.command('events').description('events: send, publish, get, tail')
  remote(
    events
      .command('send <payload>')
      .description('one event; the payload is JSON, or text where it is not. Printed once it is durable')
      .requiredOption('--stream <stream>', 'where to')
      .requiredOption('--key <key>', 'events of one key are kept in order, by one node')
      .option('--type <type>', 'what kind of event it is')
      .option('--id <id>', 'the same id is stored once (default: the node makes one)')
      .example(
        'skein events send \'{"n": 1}\' --stream demo --key alice --type hello',
        'its id, shard and offset',
      )
      .example(
        'skein events send hello --stream demo --key alice --id greeting-1',
        'once, however often it is sent',
      ),
  ).action(send)
  remoteMany(
    events
      .command('publish <file>')
      .description('send a file line by line, keyed by what the expression finds; - reads standard input')
      .details(
        'Each line is an event with an id of its own, so the same command may be repeated: what is stored is not stored twice. A batch that is refused is sent again, to the next node if there are several.',
      )
      .names('file')
      .requiredOption('--stream <stream>', 'where to')
      .requiredOption('--key-regex <expression>', 'the key of a line: first match, or its first group')
      .option(
        '--key-default <key>',
        'key of lines where nothing is found; else they are left out and counted',
      )
      .option(
        '--id-prefix <text>',
        'start of the ids, which make sending again safe (default: stream/file name)',
      )
      .option('--batch <lines>', 'lines per request', '500')
      .option('--repeat <times>', 'send the file so many times, with ids of their own', '1')
      .option('--patience <seconds>', 'give up when one batch was refused for so long', '120')
      .example(
        "skein events publish access.log --stream web --key-regex 'user=(\\w+)'",
        'a log file, by user',
      )
      .example(
        "tail -f access.log | skein events publish - --stream web --key-regex '^\\S+' --addr h1:8151,h2:8151",
        'as lines come, to whichever node answers',
      ),
  ).action(publish)
  remote(
    events
      .command('get')
      .description('the events of a key, in order, from any node; with --json one line of JSON each')
      .requiredOption('--stream <stream>', 'which stream')
      .option('--key <key>', 'which key; all without')
      .option('--limit <n>', 'at most so many', '1000')
      .option('--all', 'however many there are')
      .option('--after <cursor>', 'go on from a next_cursor')
      .example('skein events get --stream web --key alice', 'what was published under that key')
      .example('skein events get --stream web --all --json | jq .payload', 'everything there is'),
  ).action(get)
  remote(
    events
      .command('tail')
      .description('events of the whole cluster as they are acknowledged; with --json one line of JSON each')
      .option('--stream <stream>', 'which stream; all without')
      .option('--key <key>', 'which key; all without')
      .example('skein events tail --stream web', 'until Ctrl-C'),
  ).action(tail)
}

async function send(payload: string, o: SendOptions): Promise<void> {
  const answer = (await call(clientOf(o), 'POST', '/api/events', {
    stream: o.stream,
    key: o.key,
    payload: jsonOrText(payload),
    ...(o.type === undefined ? {} : { type: o.type }),
    ...(o.id === undefined ? {} : { id: o.id }),
  })) as PublishedJson
  const [result] = answer.results
  if (o.json === true) printJson(answer)
  else if (result !== undefined)
    print(`${result.status} ${result.id}: shard ${result.shard}, offset ${result.offset ?? '-'}`)
  if (result?.error !== undefined)
    throw new CliFailure(
      result.error.status === 409 ? exitCodes.conflict : exitCodes.failed,
      `${result.error.code}: ${result.error.detail}`,
      { code: result.error.code },
    )
}

async function publish(file: string, o: PublishOptions): Promise<void> {
  const repeat = whole('--repeat', o.repeat, 1, 1_000_000)
  if (file === '-' && repeat > 1) {
    throw new CliFailure(exitCodes.usage, '--repeat needs a file: standard input can be read once')
  }
  const { signal, release } = untilInterrupted()
  signal.addEventListener('abort', () => {
    tell('\nstopped: give the same command again, what is stored is not stored twice')
    dieOfInterrupt()
  })
  const summary = await publishLines(
    {
      file,
      stream: o.stream,
      keyOf: keyFinder(expressionOf(o.keyRegex), o.keyDefault),
      idPrefix: o.idPrefix,
      batchLines: whole('--batch', o.batch, 1, 5_000),
      repeat,
    },
    {
      addresses: addressesOf(o.addr),
      token: o.token,
      tls: tlsOf(o),
      stream: o.stream,
      patienceMs: whole('--patience', o.patience, 1, 86_400) * 1_000,
      isQuiet: o.json === true,
    },
  ).finally(release)
  if (o.json === true) {
    print(JSON.stringify(summary))
    return
  }
  const rate = Math.round(summary.lines / Math.max(0.001, summary.seconds))
  print(
    `${summary.lines} lines: ${summary.accepted} accepted, ${summary.duplicates} stored before, ${summary.skipped} without a key left out, ${summary.resent} sent again; ${rate} lines/s`,
  )
}

function expressionOf(text: string): RegExp {
  try {
    return new RegExp(text)
  } catch (error) {
    throw new CliFailure(
      exitCodes.usage,
      `--key-regex: ${error instanceof Error ? error.message : String(error)}`,
    )
  }
}

async function get(o: GetOptions): Promise<void> {
  let left = o.all === true ? Number.POSITIVE_INFINITY : whole('--limit', o.limit, 1, 1_000_000_000)
  let after = o.after
  while (left > 0) {
    const query = new URLSearchParams({ stream: o.stream, limit: String(Math.min(1_000, left)) })
    if (o.key !== undefined) query.set('key', o.key)
    if (after !== undefined) query.set('after', after)
    const page = (await call(clientOf(o), 'GET', `/api/events?${query}`)) as Page
    for (const event of page.events) print(o.json === true ? JSON.stringify(event) : lineOf(event))
    left -= page.events.length
    after = page.next_cursor
    if (after === undefined) return
  }
  tell(`there are more: --after ${after}, or --all`)
}

/** A line that came from a file comes out as that line. */
function lineOf(event: EventJson): string {
  const line = (event.payload as { line?: unknown } | null)?.line
  return typeof line === 'string' ? line : JSON.stringify(event.payload)
}

async function tail(o: TailOptions): Promise<void> {
  const query = new URLSearchParams()
  if (o.stream !== undefined) query.set('stream', o.stream)
  if (o.key !== undefined) query.set('key', o.key)
  // Of several, one that is there.
  await exchange(clientOf(o), 'GET', '/livez')
  const addr = reachedAddr(o.addr)
  const url = `${baseUrl(addr).replace(/^http/, 'ws')}/ws/live?${query}`
  const headers = o.token === undefined ? {} : { authorization: `Bearer ${o.token}` }
  const socket = new WebSocket(url, { headers, handshakeTimeout: 15_000, ...tlsOptions(o) })
  let isOurEnd = false
  const { signal, release } = untilInterrupted()
  signal.addEventListener('abort', () => {
    isOurEnd = true
    socket.close()
  })
  await new Promise<void>((done, failed) => {
    socket.on('message', (data) => showFrame(String(data), o.json === true))
    socket.once('unexpected-response', (_, response) => {
      const status = response.statusCode ?? 0
      failed(new CliFailure(exitCodeOf(status), `${addr} refused to be followed: HTTP ${status}`))
    })
    socket.on('error', (error) => failed(unreachable(addr, error)))
    socket.once('close', (code, reason) => {
      if (isOurEnd) done()
      else failed(new CliFailure(exitCodes.unreachable, `${addr} ended the tail: ${code} ${String(reason)}`))
    })
  }).finally(release)
}

function showFrame(text: string, asJson: boolean): void {
  const frame = JSON.parse(text) as { type: string; event?: EventJson; missed?: number }
  if (frame.type === 'event' && frame.event !== undefined) {
    print(asJson ? JSON.stringify(frame.event) : lineOf(frame.event))
  } else if (frame.type === 'lagged') {
    tell(`(${frame.missed} events passed over: this reader is too slow)`)
  }
}
