/** Events from the command line: send a file, read a key back, follow the stream. */
import type { Command } from 'commander'
import WebSocket from 'ws'
import { baseUrl, call, type TlsFiles, tlsOptions, unreachable } from '../client.js'
import { CliFailure, exitCodeOf, exitCodes } from '../exit.js'
import { keyFinder } from '../line-batches.js'
import { print } from '../output.js'
import { publishLines } from '../publish-file.js'
import { addressesOf, clientOf, type RemoteOptions, remote, remoteMany, tlsOf, whole } from '../remote.js'

interface EventJson {
  readonly id: string
  readonly payload: unknown
}

interface Page {
  readonly events: readonly EventJson[]
  readonly next_cursor?: string
}

interface PublishOptions extends TlsFiles {
  readonly addr?: readonly string[]
  readonly token?: string
  readonly json?: boolean
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

export function addEvents(program: Command): void {
  const events = program.command('events').description('events: publish, get, tail')
  remoteMany(
    events
      .command('publish <file>')
      .description('send a file line by line, keyed by what the expression finds; - reads standard input')
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
      .option('--patience <seconds>', 'give up when one batch was refused for so long', '120'),
  ).action(publish)
  remote(
    events
      .command('get')
      .description('the events of a key, in order, from any node')
      .requiredOption('--stream <stream>', 'which stream')
      .option('--key <key>', 'which key; all without')
      .option('--limit <n>', 'at most so many', '1000')
      .option('--all', 'however many there are')
      .option('--after <cursor>', 'go on from a next_cursor'),
  ).action(get)
  remote(
    events
      .command('tail')
      .description('events of the whole cluster as they are acknowledged')
      .option('--stream <stream>', 'which stream; all without')
      .option('--key <key>', 'which key; all without'),
  ).action(tail)
}

async function publish(file: string, o: PublishOptions): Promise<void> {
  const repeat = whole('--repeat', o.repeat, 1, 1_000_000)
  if (file === '-' && repeat > 1) {
    throw new CliFailure(exitCodes.usage, '--repeat needs a file: standard input can be read once')
  }
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
    },
  )
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
  process.stderr.write(`there are more: --after ${after}, or --all\n`)
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
  const url = `${baseUrl(o.addr).replace(/^http/, 'ws')}/ws/live?${query}`
  const headers = o.token === undefined ? {} : { authorization: `Bearer ${o.token}` }
  const socket = new WebSocket(url, { headers, handshakeTimeout: 15_000, ...tlsOptions(o) })
  let isOurEnd = false
  process.once('SIGINT', () => {
    isOurEnd = true
    socket.close()
  })
  await new Promise<void>((done, failed) => {
    socket.on('message', (data) => showFrame(String(data), o.json === true))
    socket.once('unexpected-response', (_, response) => {
      const status = response.statusCode ?? 0
      failed(new CliFailure(exitCodeOf(status), `${o.addr} refused to be followed: HTTP ${status}`))
    })
    socket.on('error', (error) => failed(unreachable(o.addr, error)))
    socket.once('close', (code, reason) => {
      if (isOurEnd) done()
      else
        failed(new CliFailure(exitCodes.unreachable, `${o.addr} ended the tail: ${code} ${String(reason)}`))
    })
  })
}

function showFrame(text: string, asJson: boolean): void {
  const frame = JSON.parse(text) as { type: string; event?: EventJson; missed?: number }
  if (frame.type === 'event' && frame.event !== undefined) {
    print(asJson ? JSON.stringify(frame.event) : lineOf(frame.event))
  } else if (frame.type === 'lagged') {
    process.stderr.write(`(${frame.missed} events passed over: this reader is too slow)\n`)
  }
}
