/** Socket.IO with its own client, three servers in one cluster of ours: everything its adapter must be able to do. */
import { createServer, type Server as HttpServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Server, type Socket as ServerSocket } from 'socket.io'
import { type Socket as ClientSocket, io as connect } from 'socket.io-client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createAdapter } from '../../src/socket-io/index.js'
import { RoomCluster, until } from './kit.js'

const count = 3

describe('the adapter for Socket.IO', () => {
  const cluster = new RoomCluster()
  const servers: Server[] = []
  const https: HttpServer[] = []
  const clients: ClientSocket[] = []
  const heard: string[][] = []
  const sockets: ServerSocket[] = []

  const urlOf = (i: number): string =>
    `http://127.0.0.1:${((https[i] as HttpServer).address() as AddressInfo).port}`
  const join = async (...rooms: (readonly [socket: number, room: string])[]): Promise<void> => {
    for (const [i, room] of rooms) await sockets[i]?.join(room)
  }

  beforeAll(async () => {
    await cluster.start(count)
    for (const node of cluster.nodes) {
      const http = createServer()
      const server = new Server(http, { connectionStateRecovery: { maxDisconnectionDuration: 30_000 } })
      server.adapter(createAdapter(node, { heartbeatInterval: 500 }))
      await new Promise<void>((done) => http.listen(0, '127.0.0.1', done))
      servers.push(server)
      https.push(http)
    }
    for (let i = 0; i < count; i++) {
      const met = new Promise<ServerSocket>((done) => servers[i]?.once('connection', done))
      const client = connect(urlOf(i), { transports: ['websocket'], reconnectionDelay: 50 })
      clients.push(client)
      const list: string[] = []
      heard.push(list)
      client.on('say', (text: string) => list.push(text))
      client.on('ask', (n: number, answer: (n: number) => void) => answer(n + i))
      sockets.push(await met)
    }
    await Promise.all(
      servers.map(async (server) => {
        while ((await server.of('/').adapter.serverCount()) < count)
          await new Promise((wait) => setTimeout(wait, 20))
      }),
    )
  })
  afterAll(async () => {
    for (const client of clients) client.close()
    await Promise.all(servers.map((server) => server.close()))
    await cluster.close()
  })

  it('broadcasts to all, to rooms, and to none of those that are left out', async () => {
    const [one, two] = servers
    await join([0, 'r1'], [1, 'r1'], [2, 'r2'])
    one?.emit('say', 'all')
    one?.to('r1').emit('say', 'r1')
    two?.to(['r1', 'r2']).except('r2').emit('say', 'not r2')
    sockets[2]?.broadcast.emit('say', 'from three')
    one?.local.emit('say', 'local')
    await until('all', () => heard.every((list) => list.includes('all')))
    await until('the rest', () =>
      [0, 1].every((i) => heard[i]?.includes('from three') && heard[i]?.includes('not r2')),
    )
    expect(heard.map((list) => list.toSorted())).toEqual([
      ['all', 'from three', 'local', 'not r2', 'r1'],
      ['all', 'from three', 'not r2', 'r1'],
      ['all'],
    ])
  })

  it('gathers answers with a timeout, from all servers', async () => {
    const answers = (await servers[0]?.timeout(5_000).emitWithAck('ask', 10)) as number[]
    expect(answers.toSorted()).toEqual([10, 11, 12])
    const silent = servers[0]?.timeout(200).emitWithAck('nobody answers this')
    await expect(silent).rejects.toThrow()
  })

  it('fetches sockets of all servers, and makes them join, leave and go', async () => {
    const found = (await servers[1]?.fetchSockets()) ?? []
    expect(found.map(({ id }) => id).toSorted()).toEqual(sockets.map(({ id }) => id).toSorted())
    servers[0]?.in(sockets[2]?.id as string).socketsJoin('made')
    await until('the join', () => sockets[2]?.rooms.has('made') === true)
    expect((await servers[1]?.in('made').fetchSockets())?.map(({ id }) => id)).toEqual([sockets[2]?.id])
    servers[1]?.in('made').socketsLeave('made')
    await until('the leave', () => sockets[2]?.rooms.has('made') === false)
    const extra = connect(urlOf(2), { transports: ['websocket'], reconnection: false, forceNew: true })
    await until('it', () => extra.connected)
    servers[0]?.in(extra.id as string).disconnectSockets(true)
    await until('its end', () => !extra.connected)
    expect(clients[2]?.connected).toBe(true)
  })

  it('lets servers talk, and answer each other', async () => {
    for (const [i, server] of servers.entries())
      server.on('hello', (text: string, answer: (text: string) => void) => answer(`${text} ${i}`))
    const answers = (await servers[0]?.serverSideEmitWithAck('hello', 'you')) as string[]
    expect(answers.toSorted()).toEqual(['you 1', 'you 2'])
  })

  it('gives a client that was cut off what it missed, also on another server', async () => {
    const nodes = new Set<number>()
    for (const [i, server] of servers.entries()) server.on('connection', (s) => s.recovered && nodes.add(i))
    const [client] = clients as [ClientSocket]
    const list = heard[0] as string[]
    await join([0, 'kept'])
    servers[1]?.to('kept').emit('say', 'before')
    await until('it', () => list.includes('before'))
    // On to another server, as behind a balancer.
    client.io.on('reconnect_attempt', () => {})
    ;(client.io as unknown as { uri: string }).uri = urlOf(2)
    const away = new Promise((done) => client.once('disconnect', done))
    client.io.engine.close()
    await away
    await new Promise((done) => setTimeout(done, 10))
    for (let n = 0; n < 5; n++) servers[n % 2]?.to('kept').emit('say', `missed ${n}`)
    servers[1]?.to('somebody else').emit('say', 'not for it')
    servers[2]?.to('kept').emit('say', 'the last')
    await until('all', () => list.includes('the last'))
    expect(client.recovered).toBe(true)
    expect([...nodes]).toEqual([2])
    expect(list.slice(list.indexOf('before')).toSorted()).toEqual([
      'before',
      ...[0, 1, 2, 3, 4].map((n) => `missed ${n}`),
      'the last',
    ])
  })
})
