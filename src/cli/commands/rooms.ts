/** `skein rooms`, `skein sessions`: who is where, and a way to speak and to listen. */
import WebSocket from 'ws'
import { type Message, SkeinClient } from '../../client/index.js'
import { call, hintAtNames, reachedAddr, tlsOptions } from '../client.js'
import type { SkeinCommand } from '../command.js'
import { CliFailure, exitCodes } from '../exit.js'
import { untilInterrupted } from '../interrupt.js'
import { namedBy } from '../names.js'
import { print, printJson, table, tell } from '../output.js'
import { clientOf, jsonOrText, type RemoteOptions, remote, whole } from '../remote.js'
import { shows } from '../view.js'

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

const pathOf = (room: string | undefined): string => `/api/rooms/${encodeURIComponent(room ?? '')}`

interface RoomView {
  readonly clients: number
  readonly members: readonly MemberRow[]
  readonly incomplete?: readonly { readonly node_id: string; readonly error: string }[]
}

export function addRooms(program: SkeinCommand): void {
  const rooms = program.command('rooms').description('rooms: ls, show, send, listen, history').lists('ls')
  addRoomViews(rooms)
  remote(
    rooms
      .command('send <room> <data>')
      .description('send JSON, or text where it is none')
      .names('room')
      .option('--id <id>', 'in rooms with history the same id is stored once')
      .option('--user <name>', 'say whose words these are')
      .example('skein rooms send lobby "maintenance at noon" --user ops', 'to everybody who is there')
      .example('skein rooms send lobby \'{"deploy": 7}\' --id deploy-7', 'once, however often it is sent'),
  ).action(send)
  remote(
    rooms
      .command('listen <room>')
      .description('what is said there, from whatever node, until Ctrl-C; with --json one line of JSON each')
      .names('room')
      .option('--after <position>', 'in rooms with history: begin after this position; 0 for the beginning')
      .option('--user <name>', 'who listens')
      .example('skein rooms listen lobby', 'as it is said')
      .example('skein rooms listen log-orders --after 0', 'from the beginning, then as it is said'),
  ).action(listen)
  remote(
    rooms
      .command('history <room>')
      .description('what was said in a room with history; with --json one line of JSON each')
      .names('room')
      .option('--after <position>', 'begin after this position', '0')
      .option('--limit <n>', 'at most so many', '100')
      .example('skein rooms history log-orders --limit 20', 'the first twenty'),
  ).action(history)
  addSessions(program)
}

function addRoomViews(rooms: SkeinCommand): void {
  shows<{ rooms: readonly RoomRow[] }, RemoteOptions & { prefix?: string }>(
    rooms
      .command('ls')
      .description('rooms with somebody in them, over all nodes')
      .option('--prefix <text>', 'only those whose names begin so')
      .example('skein rooms ls', 'with their clients, by node')
      .example('skein rooms ls --prefix chat- --watch', 'some of them, as people come and go'),
    {
      ask: async (o) => {
        const query = o.prefix === undefined ? '' : `?${new URLSearchParams({ prefix: o.prefix })}`
        return (await call(clientOf(o), 'GET', `/api/rooms${query}`)) as { rooms: readonly RoomRow[] }
      },
      lines: ({ rooms: list }) =>
        table(
          ['ROOM', 'CLIENTS', 'HISTORY', 'NODES'],
          list.map(({ room, clients, history: isKept, nodes }) => [
            room,
            clients,
            isKept ? 'yes' : 'no',
            nodes.map((n) => `${n.node_id} (${n.clients})`).join(', '),
          ]),
        ),
    },
  )
  shows<RoomView>(
    rooms
      .command('show <room>')
      .description('who is in it')
      .names('room')
      .example('skein rooms show lobby', 'users and their sessions'),
    {
      ask: async (o, room) => {
        const view = (await call(clientOf(o), 'GET', pathOf(room))) as RoomView
        // Any name is that of a room; one with nobody in it is perhaps misspelt.
        const named = view.clients === 0 ? namedBy(pathOf(room)) : undefined
        const hint = named === undefined ? undefined : await hintAtNames(clientOf(o), named)
        if (hint !== undefined && o.json !== true) tell(`nobody is there; ${hint}`)
        return view
      },
      lines: ({ members }) =>
        table(
          ['USER', 'NODE', 'SINCE', 'SESSION'],
          members.map(({ user, node, since, session }) => [user, node, since, session]),
        ),
      notes: ({ clients, members, incomplete }) => [
        ...(clients > members.length ? [`${clients - members.length} more`] : []),
        ...(incomplete ?? []).map(({ node_id, error }) => `${node_id} did not answer: ${error}`),
      ],
    },
  )
}

interface SessionList {
  readonly sessions: readonly SessionRow[]
  readonly total: number
}

function addSessions(program: SkeinCommand): void {
  const sessions = program
    .command('sessions')
    .description('sessions of clients in rooms: ls, show')
    .lists('ls')
  shows<SessionList, RemoteOptions & { user?: string; node?: string }>(
    sessions
      .command('ls')
      .description('all of the cluster')
      .option('--user <name>', 'only those of this user')
      .option('--node <id>', 'only those on this node')
      .naming('--node', 'node')
      .example('skein sessions ls', 'who is connected where')
      .example('skein sessions ls --user alice', 'those of one user'),
    {
      ask: async (o) => {
        const query = new URLSearchParams({ limit: '1000' })
        if (o.user !== undefined) query.set('user', o.user)
        if (o.node !== undefined) query.set('node', o.node)
        return (await call(clientOf(o), 'GET', `/api/sessions?${query}`)) as SessionList
      },
      lines: ({ sessions: list }) => sessionLines(list),
      notes: ({ sessions: list, total }) => (total > list.length ? [`${total - list.length} more`] : []),
    },
  )
  shows<SessionRow>(
    sessions
      .command('show <id>')
      .description('one session')
      .names('session')
      .example('skein sessions show 6b1f0c2a9b77', 'its user, node and rooms'),
    {
      ask: async (o, id) =>
        (await call(clientOf(o), 'GET', `/api/sessions/${encodeURIComponent(id ?? '')}`)) as SessionRow,
      lines: (session) => sessionLines([session]),
    },
  )
}

async function send(
  room: string,
  text: string,
  o: RemoteOptions & { readonly id?: string; readonly user?: string },
): Promise<void> {
  const { id, user } = o
  const body = {
    data: jsonOrText(text),
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
    // The one that has just answered first.
    addresses: [...new Set([reachedAddr(o.addr), ...o.addr.split(',')])],
    WebSocket: Socket as never,
    ...(o.user === undefined ? {} : { user: o.user }),
  })
  client.on('message', (message) => print(o.json === true ? JSON.stringify(message) : lineOf(message)))
  client.on('disconnected', ({ address, reason, final }) => {
    if (!final) tell(`(lost ${address}: ${reason})`)
  })
  client.on('lagged', ({ missed }) => tell(`(${missed} messages passed over: too slow)`))
  const { signal, release } = untilInterrupted()
  const ended = new Promise<void>((done) => signal.addEventListener('abort', () => done()))
  try {
    const after =
      o.after === undefined ? {} : { after: whole('--after', o.after, 0, Number.MAX_SAFE_INTEGER) }
    await client.join(room, after)
  } catch (error) {
    client.close()
    release()
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
    if (page.incomplete !== undefined) tell(`the newest may be missing: ${page.incomplete}`)
    if (page.next_after === undefined) return
    left -= page.messages.length
    after = page.next_after
  }
  tell(`there may be more: --after ${after}`)
}

function sessionLines(sessions: readonly SessionRow[]): readonly string[] {
  return table(
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
