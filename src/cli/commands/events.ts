/** Events from the command line: send a file, read a key back, follow the stream. */
import type { Command } from 'commander'
import WebSocket from 'ws'
import { baseUrl, call } from '../client.js'
import { CliFailure, exitCodes } from '../exit.js'
import { print } from '../output.js'
import { type PublishOptions, publishFile } from '../publish-file.js'
import { type CommonOptions, clientOf, remote } from './cluster.js'

interface EventJson {
  readonly id: string
  readonly payload: unknown
}

interface Page {
  readonly events: readonly EventJson[]
  readonly next_cursor?: string
}

export function addEvents(program: Command): void {
  const events = program.command('events').description('events: publish, get, tail')
  remote(
    events
      .command('publish <file>')
      .description('send a file line by line, keyed by what the expression finds; - reads standard input')
      .requiredOption('--stream <stream>', 'where to')
      .requiredOption('--key-regex <expression>', 'the key of a line: first match, or its first group')
      .option(
        '--key-default <key>',
        'key of the lines where nothing is found; without it they are left out and counted',
      )
      .option(
        '--id-prefix <text>',
        'start of the ids, which make sending again safe; the file name by default',
      )
      .option('--batch <lines>', 'lines per request', '500')
      .option('--repeat <times>', 'send the file so many times, with ids of their own', '1')
      .option('--fallback <addr...>', 'other nodes to try when --addr does not answer')
      .option('--patience <seconds>', 'give up when one batch was refused for so long', '120'),
  ).action((file: string, o: CommonOptions & PublishOptions) => publishFile(file, o))
  remote(
    events
      .command('get')
      .description('the events of a key, in order, from any node')
      .requiredOption('--stream <stream>', 'which stream')
      .option('--key <key>', 'which key; all without')
      .option('--limit <n>', 'at most so many; 0 for all', '0')
      .option('--after <cursor>', 'go on from a next_cursor'),
  ).action(get)
  remote(
    events
      .command('tail')
      .description('events of the whole cluster as they are acknowledged')
      .requiredOption('--stream <stream>', 'which stream')
      .option('--key <key>', 'which key'),
  ).action(tail)
}

async function get(
  o: CommonOptions & {
    readonly stream: string
    readonly key?: string
    readonly limit: string
    readonly after?: string
  },
): Promise<void> {
  const limit = Number(o.limit)
  if (!Number.isInteger(limit) || limit < 0)
    throw new CliFailure(exitCodes.usage, `--limit: a whole number from 0 expected, got "${o.limit}"`)
  let left = limit === 0 ? Number.POSITIVE_INFINITY : limit
  let after = o.after
  while (left > 0) {
    const query = new URLSearchParams({ stream: o.stream, limit: String(Math.min(1_000, left)) })
    if (o.key !== undefined) query.set('key', o.key)
    if (after !== undefined) query.set('after', after)
    const page = (await call(clientOf(o), 'GET', `/api/events?${query}`)) as Page
    for (const event of page.events) print(o.json === true ? JSON.stringify(event) : lineOf(event))
    left -= page.events.length
    if (page.next_cursor === undefined) return
    after = page.next_cursor
  }
}

/** A line that came from a file comes out as that line. */
function lineOf(event: EventJson): string {
  const line = (event.payload as { line?: unknown } | null)?.line
  return typeof line === 'string' ? line : JSON.stringify(event.payload)
}

async function tail(o: CommonOptions & { readonly stream: string; readonly key?: string }): Promise<void> {
  const query = new URLSearchParams({ stream: o.stream })
  if (o.key !== undefined) query.set('key', o.key)
  const url = `${baseUrl(o.addr).replace(/^http/, 'ws')}/ws/live?${query}`
  const socket = new WebSocket(
    url,
    o.token === undefined ? {} : { headers: { authorization: `Bearer ${o.token}` } },
  )
  await new Promise<void>((done, failed) => {
    socket.on('message', (data) => {
      const frame = JSON.parse(String(data)) as { type: string; event?: EventJson; missed?: number }
      if (frame.type === 'event' && frame.event !== undefined)
        print(o.json === true ? JSON.stringify(frame.event) : lineOf(frame.event))
      else if (frame.type === 'lagged')
        process.stderr.write(`(${frame.missed} events passed over: this reader is too slow)\n`)
    })
    socket.on('error', (error) =>
      failed(new CliFailure(exitCodes.unreachable, `${o.addr}: ${error.message}`)),
    )
    socket.on('close', () => done())
    process.once('SIGINT', () => socket.close())
  })
}
