/** Rooms over three nodes in one process, with the client that programs use. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { heard, RoomCluster, until } from './kit.js'

describe('rooms', () => {
  const cluster = new RoomCluster()
  beforeAll(() => cluster.start(3))
  afterAll(() => cluster.close())

  it('carry a message to clients and programs on every node, in order, and to none who is left out', async () => {
    const clients = [0, 1, 2].map((i) => cluster.client(i, { user: `user-${i}` }))
    const messages = clients.map((c) => heard(c))
    const programs: unknown[] = []
    for (const c of clients) await c.join('plain')
    const stop = cluster.nodes[2]?.rooms.listen('plain', ({ data }) => programs.push(data))
    await until('all nodes to know of the room', () =>
      cluster.nodes.every(({ rooms }) => rooms.list('plain')[0]?.nodes.length === 3),
    )
    const [first, second] = clients as [(typeof clients)[0], (typeof clients)[0]]
    for (let n = 0; n < 50; n++) expect((await first.broadcast('plain', n)).status).toBe('sent')
    await until(
      '50 messages everywhere',
      () => messages.every((m) => m.length === 50) && programs.length === 50,
    )
    for (const list of messages)
      expect(list.map(({ data }) => data)).toEqual(Array.from({ length: 50 }, (_, i) => i))
    expect(messages[1]?.[0]).toMatchObject({
      room: 'plain',
      from: { user: 'user-0', session: first.session },
    })
    expect(messages[1]?.[0]?.position).toBeUndefined()

    await cluster.nodes[0]?.rooms.broadcast('plain', 'not for two', { except: [second.session] })
    await first.broadcast('plain', 'for all')
    await until('the last one', () => messages.every((m) => m.at(-1)?.data === 'for all'))
    expect(messages.map((m) => m.length)).toEqual([52, 51, 52])
    stop?.()
    await second.leave('plain')
    await first.broadcast('plain', 'after leaving')
    await until('those who are there', () => messages[2]?.at(-1)?.data === 'after leaving')
    expect(messages[1]?.length).toBe(51)
    expect(programs.length).toBe(52)
  })

  it('keep a history where the name says so: positions, replay, one stored for one id', async () => {
    const [one, two] = [cluster.client(0), cluster.client(1)]
    const got = heard<number>(two)
    await one.join('h/a')
    const { position } = await two.join('h/a')
    expect(position).not.toBeNull()
    const sent = await Promise.all(Array.from({ length: 40 }, (_, n) => one.broadcast('h/a', n)))
    await until('all 40', () => got.length === 40)
    expect(got.map(({ data }) => data)).toEqual(Array.from({ length: 40 }, (_, i) => i))
    expect(got.map((m) => m.position)).toEqual(sent.map((s) => s.position))

    const again = await one.broadcast('h/a', 'x', { id: 'same' })
    const twice = await one.broadcast('h/a', 'x', { id: 'same' })
    expect([again.status, twice.status]).toEqual(['accepted', 'duplicate'])
    expect(twice.position).toBe(again.position)
    await expect(one.broadcast('h/a', 'y', { id: 'same' })).rejects.toMatchObject({ code: 'event_conflict' })

    const late = cluster.client(2)
    const lateGot = heard<number>(late)
    await late.join('h/a', { after: sent[29]?.position as number })
    await until('what came after the 30th', () => lateGot.length === 11)
    expect(lateGot.map(({ data }) => data)).toEqual([30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 'x'])

    const page = await cluster.nodes[2]?.rooms.history('h/a', {
      after: sent[9]?.position as number,
      limit: 5,
    })
    expect(page?.messages.map(({ data }) => data)).toEqual([10, 11, 12, 13, 14])
    expect(page?.nextAfter).toBe(sent[14]?.position)
    await expect(cluster.nodes[0]?.rooms.history('plain')).rejects.toMatchObject({ code: 'not_found' })
  })

  it('replay more than memory holds, and go on live without a gap', async () => {
    const [node] = cluster.nodes
    const first = await node?.rooms.broadcast('h/long', 0)
    const many = (from: number) =>
      Promise.all(Array.from({ length: 500 }, (_, n) => node?.rooms.broadcast('h/long', from + n)))
    for (let from = 1; from < 2_501; from += 500) await many(from)
    const last = many(2_501)
    const reader = cluster.client(1)
    const got = heard<number>(reader)
    await reader.join('h/long', { after: (first?.position as number) - 1 })
    await last
    for (let n = 3_001; n <= 3_100; n++) await node?.rooms.broadcast('h/long', n)
    await until('all of them', () => got.length >= 3_101, 30_000)
    expect(got.map(({ data }) => data)).toEqual(Array.from({ length: 3_101 }, (_, i) => i))
  })

  it('say who is there over all nodes, and who comes and goes', async () => {
    const watcher = cluster.client(0, { user: 'watcher' })
    const changes: string[] = []
    watcher.on('presence', ({ members, joined, left }) => {
      for (const { user } of members ?? []) changes.push(`there ${user}`)
      for (const { user } of joined ?? []) changes.push(`came ${user}`)
      for (const { user } of left ?? []) changes.push(`went ${user}`)
    })
    await watcher.join('who', { presence: true })
    await until('the list', () => changes.includes('there watcher'))
    const guest = cluster.client(1, { user: 'guest' })
    await guest.join('who')
    await until('the guest', () => changes.includes('came guest'))
    const { clients, members } = await guest.presence('who')
    expect(clients).toBe(2)
    expect(members.map(({ user, node }) => `${user} ${node}`)).toEqual(['watcher n1', 'guest n2'])
    guest.close()
    await until('its leaving', () => changes.includes('went guest'))
    expect(changes).toEqual(['there watcher', 'came guest', 'went guest'])
    await until('the numbers', () => cluster.nodes[2]?.rooms.list('who')[0]?.clients === 1)
  })

  it('move a session to another node of its own accord: rooms back, nothing missed, nothing twice', async () => {
    const roamer = cluster.client(0, { user: 'roamer', discover: false })
    const got = heard<number>(roamer)
    await roamer.join('h/roam')
    await roamer.join('roam')
    const [, , third] = cluster.nodes
    for (let n = 0; n < 10; n++) await third?.rooms.broadcast('h/roam', n)
    await until('ten', () => got.length === 10)
    const token = roamer.resumeToken as string
    const at = got.at(-1)?.position as number
    roamer.close()
    for (let n = 10; n < 20; n++) await third?.rooms.broadcast('h/roam', n)
    const back = cluster.client(1, { resume: token, rooms: [{ room: 'h/roam', after: at }] })
    const gotBack = heard(back)
    await back.ready()
    expect(back.session).toBe(roamer.session)
    expect(back.user).toBe('roamer')
    await until('what it missed', () => gotBack.length === 10)
    expect(gotBack.map(({ data }) => data)).toEqual([10, 11, 12, 13, 14, 15, 16, 17, 18, 19])
    // The other room it had not to name.
    await until('both rooms', () => cluster.nodes[1]?.rooms.list('roam')[0]?.clients === 1)
    await third?.rooms.broadcast('roam', 'back')
    await until('the word', () => gotBack.at(-1)?.data === 'back')
  })
})
