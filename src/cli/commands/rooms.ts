/** `skein rooms`, `skein sessions`: who is where, and a way to speak and to listen. */
import type { Command } from 'commander'
import WebSocket from 'ws'
import { type Message, SkeinClient } from '../../client/index.js'
import { call, tlsOptions } from '../client.js'
import { CliFailure, exitCodes } from '../exit.js'
import { print, printJson, printTable } from '../output.js'
import { clientOf, type RemoteOptions, remote, whole } from '../remote.js'

interface RoomRow {
  readonly room: string
  readonly history: boolean
  readonly clients: number
  readonly nodes: readonly { readonly node_id: string; readonly clients: number }[]
}

interface MemberRow {
  readonly session: string
  readonly user: string
  readonly node: string
  readonly since: string
}

interface SessionRow {
  readonly id: string
  readonly user: string
  readonly node: string
  readonly connected: boolean
  readonly since: string
  readonly rooms: readonly string[]
}

interface HistoryPage {
  readonly messages: readonly Message[]
  readonly next_after?: number
  readonly incomplete?: string
}

const pathOf = (room: string): string => `/api/rooms/${encodeURIComponent(room)}`

export function addRooms(program: Command): void {
  const rooms = program.command('rooms').description('rooms: ls, show, send, listen, history')
  remote(
    rooms
      .command('ls')
      .description('rooms with somebody in them, over all nodes')
      .option('--prefix <text>', 'only those whose names begin so'),
  ).action(list)
  remote(rooms.command('show <room>').description('who is in it')).action(show)
  remote(
    rooms
      .command('send <room> <data>')
      .description('send JSON, or text where it is none')
      .option('--id <id>', 'in rooms with history the same id is stored once')
      .option('--user <name>', 'say whose words these are'),
  ).action(send)
  remote(
    rooms
      .command('listen <room>')
      .description('what is said there, from whatever node, until Ctrl-C')
      .option('--after <position>', 'in rooms with history: begin after this position; 0 for the beginning')
      .option('--user <name>', 'who listens'),
  ).action(listen)
  remote(
    rooms
      .command('history <room>')
      .description('what was said in a room with history')
      .option('--after <position>', 'begin after this position', '0')
      .option('--limit <n>', 'at most so many', '100'),
  ).action(history)
  addSessions(program)
}

function addSessions(program: Command): void {
  const sessions = program.command('sessions').description('sessions of clients in rooms: ls, show')
  remote(
    sessions
      .command('ls')
      .description('all of the cluster')
      .option('--user <name>', 'only those of this user')
      .option('--node <id>', 'only those on this node'),
  ).action(listSessions)
  remote(sessions.command('show <id>').description('one session')).action(
    async (id: string, o: RemoteOptions) => {
      const session = (await call(
        clientOf(o),
        'GET',
        `/api/sessions/${encodeURIComponent(id)}`,
      )) as SessionRow
      if (o.json === true) printJson(session)
      else printSessions([session])
    },
  )
}

async function list(o: RemoteOptions & { readonly prefix?: string }): Promise<void> {
  const query = o.prefix === undefined ? '' : `?${new URLSearchParams({ prefix: o.prefix })}`
  const answer = (await call(clientOf(o), 'GET', `/api/rooms${query}`)) as { rooms: readonly RoomRow[] }
  if (o.json === true) {
    printJson(answer)
    return
  }
  printTable(
    ['ROOM', 'CLIENTS', 'HISTORY', 'NODES'],
    answer.rooms.map(({ room, clients, history: isKept, nodes }) => [
      room,
      clients,
      isKept ? 'yes' : 'no',
      nodes.map((n) => `${n.node_id} (${n.clients})`).join(', '),
    ]),
  )
}

async function show(room: string, o: RemoteOptions): Promise<void> {
  const answer = (await call(clientOf(o), 'GET', pathOf(room))) as {
    clients: number
    members: readonly MemberRow[]
    incomplete?: readonly { node_id: string; error: string }[]
  }
  if (o.json === true) {
    printJson(answer)
    return
  }
  printTable(
    ['USER', 'NODE', 'SINCE', 'SESSION'],
    answer.members.map(({ user, node, since, session }) => [user, node, since, session]),
  )
  if (answer.clients > answer.members.length)
    process.stderr.write(`${answer.clients - answer.members.length} more\n`)
  for (const { node_id, error } of answer.incomplete ?? [])
    process.stderr.write(`${node_id} did not answer: ${error}\n`)
}

async function send(
  room: string,
  text: string,
  o: RemoteOptions & { readonly id?: string; readonly user?: string },
): Promise<void> {
  const { id, user } = o
  const body = {
    data: dataOf(text),
    ...(id === undefined ? {} : { id }),
    ...(user === undefined ? {} : { user }),
  }
  const answer = (await call(clientOf(o), 'POST', `${pathOf(room)}/broadcast`, body)) as {
    id: string
    status: string
    position: number | null
  }
  if (o.json === true) printJson(answer)
  else print(`${answer.status}${answer.position === null ? '' : ` at ${answer.position}`}`)
}

function dataOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}

async function listen(
  room: string,
  o: RemoteOptions & { readonly after?: string; readonly user?: string },
): Promise<void> {
  // Whoever cannot be reached, or would not have us, says so at once.
  await call(clientOf(o), 'GET', '/api/rooms?limit=1')
  const tls = tlsOptions(o)
  const headers = o.token === undefined ? {} : { authorization: `Bearer ${o.token}` }
  class Socket extends WebSocket {
    constructor(url: string) {
      super(url, { headers, handshakeTimeout: 15_000, ...tls })
    }
  }
  const client = new SkeinClient({
    addresses: [o.addr],
    WebSocket: Socket as never,
    ...(o.user === undefined ? {} : { user: o.user }),
  })
  client.on('message', (message) => print(o.json === true ? JSON.stringify(message) : lineOf(message)))
  client.on('disconnected', ({ address, reason, final }) => {
    if (!final) process.stderr.write(`(lost ${address}: ${reason})\n`)
  })
  client.on('lagged', ({ missed }) => process.stderr.write(`(${missed} messages passed over: too slow)\n`))
  const ended = new Promise<void>((done) => process.once('SIGINT', done))
  try {
    const after =
      o.after === undefined ? {} : { after: whole('--after', o.after, 0, Number.MAX_SAFE_INTEGER) }
    await client.join(room, after)
  } catch (error) {
    client.close()
    throw new CliFailure(exitCodes.failed, error instanceof Error ? error.message : String(error))
  }
  await ended
  client.close()
}

function lineOf({ from, data }: Message): string {
  const text = typeof data === 'string' ? data : JSON.stringify(data)
  return `${from.user ?? from.node ?? ''}: ${text}`
}

async function history(
  room: string,
  o: RemoteOptions & { readonly after: string; readonly limit: string },
): Promise<void> {
  let left = whole('--limit', o.limit, 1, 1_000_000)
  let after = whole('--after', o.after, 0, Number.MAX_SAFE_INTEGER)
  while (left > 0) {
    const query = new URLSearchParams({ after: String(after), limit: String(Math.min(1_000, left)) })
    const page = (await call(clientOf(o), 'GET', `${pathOf(room)}/history?${query}`)) as HistoryPage
    for (const message of page.messages)
      print(
        o.json === true ? JSON.stringify(message) : `${message.position} ${message.at} ${lineOf(message)}`,
      )
    if (page.incomplete !== undefined) process.stderr.write(`the newest may be missing: ${page.incomplete}\n`)
    if (page.next_after === undefined) return
    left -= page.messages.length
    after = page.next_after
  }
  process.stderr.write(`there may be more: --after ${after}\n`)
}

async function listSessions(
  o: RemoteOptions & { readonly user?: string; readonly node?: string },
): Promise<void> {
  const query = new URLSearchParams({ limit: '1000' })
  if (o.user !== undefined) query.set('user', o.user)
  if (o.node !== undefined) query.set('node', o.node)
  const answer = (await call(clientOf(o), 'GET', `/api/sessions?${query}`)) as {
    sessions: readonly SessionRow[]
    total: number
  }
  if (o.json === true) {
    printJson(answer)
    return
  }
  printSessions(answer.sessions)
  if (answer.total > answer.sessions.length)
    process.stderr.write(`${answer.total - answer.sessions.length} more\n`)
}

function printSessions(sessions: readonly SessionRow[]): void {
  printTable(
    ['SESSION', 'USER', 'NODE', 'CONNECTED', 'SINCE', 'ROOMS'],
    sessions.map(({ id, user, node, connected, since, rooms }) => [
      id,
      user,
      node,
      connected ? 'yes' : 'no',
      since,
      rooms.join(', '),
    ]),
  )
}
