/** `/ws` and the routes beside it, frame by frame: what is refused, and in which words; sessions, tokens, slow readers, drains. */
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { AnyFrame } from './kit.js'
import { heard, RoomCluster, until } from './kit.js'

const isAnswer = (id: string) => (frame: AnyFrame) => frame.request_id === id
const code = (frame: AnyFrame): unknown => (frame.error as { code: string } | undefined)?.code

describe('/ws', () => {
  const cluster = new RoomCluster()
  beforeAll(() => cluster.start(2))
  afterAll(() => cluster.close())

  const call = async (i: number, method: string, path: string, body?: unknown) => {
    const response = await fetch(`http://${cluster.address(i)}${path}`, {
      method,
      headers: { 'content-type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    return { status: response.status, body: (await response.json()) as Record<string, never> }
  }

  it('refuses what is no frame, or comes before hello, in clear words, and goes on', async () => {
    const socket = await cluster.socket(0)
    const wrong: [string, string, string][] = [
      ['{"type":"join"', 'invalid_argument', 'malformed JSON'],
      ['[]', 'invalid_argument', 'an object'],
      ['{"type":"shout","request_id":"1"}', 'invalid_argument', 'type'],
      ['{"type":"join","request_id":"1"}', 'invalid_argument', 'room'],
      ['{"type":"join","room":"x","request_id":"1"}', 'invalid_argument', 'hello'],
      ['{"type":"hello","rooms":[{"room":""}]}', 'invalid_argument', 'room'],
      ['{"type":"hello","surprise":1}', 'invalid_argument', 'surprise'],
      [`{"type":"hello","user":${'['.repeat(100)}${']'.repeat(100)}}`, 'too_deep', 'deeper'],
    ]
    for (const [text, expected, words] of wrong) {
      const before = socket.frames.length
      socket.send(text)
      await until(text, () => socket.frames.length > before)
      const frame = socket.frames.at(-1) as AnyFrame
      expect(frame.type, text).toBe('error')
      expect(code(frame), text).toBe(expected)
      expect((frame.error as { detail: string }).detail, text).toContain(words)
    }
    socket.socket.send(Buffer.from('{}'), { binary: true })
    await socket.frame('binary is refused', (f) => JSON.stringify(f).includes('binary'))
    socket.send({ type: 'hello' })
    const hello = await socket.frame('hello', (f) => f.type === 'hello')
    expect(hello).toMatchObject({ resumed: false, user: 'anonymous', node: 'n1', may_broadcast: true })
    socket.send({ type: 'hello', request_id: 'twice' })
    expect(code(await socket.frame('the second hello', isAnswer('twice')))).toBe('invalid_argument')
  })

  it('has its limits: rooms of a client, size of a frame, frames a second', async () => {
    const socket = await cluster.socket(0)
    socket.send({ type: 'hello', user: 'greedy' })
    for (let i = 0; i <= 100; i++) socket.send({ type: 'join', request_id: `j${i}`, room: `many-${i}` })
    expect(await socket.frame('the hundredth', isAnswer('j99'))).toMatchObject({ type: 'ack' })
    expect(code(await socket.frame('one more', isAnswer('j100')))).toBe('overloaded')
    socket.send({ type: 'broadcast', request_id: 'big', room: 'many-1', data: 'x'.repeat(270_000) })
    expect(code(await socket.frame('big data', isAnswer('big')))).toBe('payload_too_large')
    for (let i = 0; i < 3_000; i++) socket.send({ type: 'ping', request_id: `p${i}` })
    const refused = await socket.frame(
      'a flood is refused',
      (f) => code(f) === 'overloaded' && `${f.request_id}`.startsWith('p'),
    )
    expect(refused.error).toMatchObject({ retryable: true })
    socket.send(`{"type":"ping","request_id":"${'x'.repeat(310_000)}"}`)
    await until('the end', () => socket.closed !== undefined)
    expect(socket.closed?.code).toBe(1009)
    // Sent again after each reconnect, such a frame would cut the client off for good.
    const client = cluster.client(0)
    await client.ready()
    await expect(client.broadcast('h/large', 'x'.repeat(310_000))).rejects.toMatchObject({
      code: 'payload_too_large',
    })
    expect(client.isConnected).toBe(true)
  })

  it('goes on with a session by its token anywhere, for its own user only, and on one connection', async () => {
    const first = await cluster.socket(0)
    first.send({ type: 'hello', user: 'alice' })
    const hello = await first.frame('hello', (f) => f.type === 'hello')
    first.send({ type: 'join', request_id: 'j', room: 'h/s' })
    await first.frame('joined', isAnswer('j'))
    const other = await cluster.socket(1)
    other.send({ type: 'hello', user: 'mallory', resume: hello.resume, request_id: 'h' })
    expect(code(await other.frame('not hers', isAnswer('h')))).toBe('forbidden')
    const forged = `${String(hello.resume).slice(0, -4)}AAAA`
    const third = await cluster.socket(1)
    third.send({ type: 'hello', resume: forged })
    expect(await third.frame('a new session', (f) => f.type === 'hello')).toMatchObject({ resumed: false })
    const second = await cluster.socket(1)
    second.send({ type: 'hello', resume: hello.resume, rooms: [{ room: 'h/s', after: 0 }] })
    expect(await second.frame('hello', (f) => f.type === 'hello')).toMatchObject({
      session: hello.session,
      user: 'alice',
      resumed: true,
    })
    await second.frame('its room', (f) => f.type === 'joined' && f.room === 'h/s')
    await until('the first connection to end', () => first.closed !== undefined)
    expect(first.closed).toMatchObject({ code: 4001 })
  })

  it('lets a client that does not read lose no memory of ours: told what it missed, or given it later', async () => {
    const slow = await cluster.socket(0)
    slow.send({ type: 'hello', rooms: [{ room: 'fast' }, { room: 'h/fast' }] })
    await slow.frame('its rooms', (f) => f.type === 'joined' && f.room === 'h/fast')
    slow.socket.pause()
    const [node] = cluster.nodes
    const data = 'x'.repeat(100_000)
    for (let i = 0; i < 150; i++) await node?.rooms.broadcast('fast', data)
    for (let i = 0; i < 150; i++) await node?.rooms.broadcast('h/fast', { i, data })
    slow.socket.resume()
    const lagged = await slow.frame('what it missed', (f) => f.type === 'lagged')
    const plain = () => slow.frames.filter((f) => f.type === 'message' && f.room === 'fast').length
    const kept = () => slow.frames.filter((f) => f.type === 'message' && f.room === 'h/fast')
    expect(plain() + Number(lagged.missed)).toBe(150)
    expect(Number(lagged.missed)).toBeGreaterThan(20)
    await until('all of the history', () => kept().length === 150)
    expect(kept().map((f) => (f.data as { i: number }).i)).toEqual(Array.from({ length: 150 }, (_, i) => i))
  })

  it('shows rooms, presence, history and sessions over HTTP, from any node', async () => {
    const socket = await cluster.socket(1)
    socket.send({ type: 'hello', user: 'shown', rooms: [{ room: 'h/shown' }] })
    const { session } = await socket.frame('hello', (f) => f.type === 'hello')
    await socket.frame('its room', (f) => f.type === 'joined')
    await until('the other node to know', () => cluster.nodes[0]?.rooms.list('h/shown').length === 1)
    expect((await call(0, 'GET', '/api/rooms?prefix=h/shown')).body).toEqual({
      rooms: [{ room: 'h/shown', history: true, clients: 1, nodes: [{ node_id: 'n2', clients: 1 }] }],
      count: 1,
    })
    const room = `/api/rooms/${encodeURIComponent('h/shown')}`
    expect((await call(0, 'GET', room)).body).toMatchObject({
      clients: 1,
      count: 1,
      members: [{ session, user: 'shown', node: 'n2' }],
    })
    const sent = await call(0, 'POST', `${room}/broadcast`, { data: { a: 1 }, user: 'bot', id: 'm1' })
    expect(sent).toMatchObject({ status: 202, body: { id: 'm1', status: 'accepted' } })
    const message = await socket.frame('the message', (f) => f.type === 'message')
    expect(message).toMatchObject({ data: { a: 1 }, from: { node: 'n1', user: 'bot' }, id: 'm1' })
    expect((await call(1, 'GET', `${room}/history`)).body).toMatchObject({
      count: 1,
      messages: [{ room: 'h/shown', id: 'm1', position: message.position, data: { a: 1 } }],
    })
    expect((await call(1, 'GET', '/api/rooms/plain/history')).status).toBe(404)
    expect((await call(1, 'POST', `${room}/broadcast`, { data: 1, except: 'all' })).status).toBe(400)
    expect((await call(1, 'GET', `/api/sessions/${String(session)}`)).body).toMatchObject({
      user: 'shown',
      node: 'n2',
      connected: true,
      rooms: ['h/shown'],
    })
    expect((await call(1, 'GET', '/api/sessions?user=shown')).body).toMatchObject({ count: 1, total: 1 })
    expect((await call(0, 'GET', '/api/sessions/nobody')).status).toBe(404)
  })
})

describe('a node that goes', () => {
  it('hands sessions over and says where to go; clients lose nothing', async () => {
    const cluster = new RoomCluster()
    await cluster.start(3)
    const clients = Array.from({ length: 20 }, (_, i) => cluster.client(1, { user: `u${i}` }))
    const got = clients.map((c) => heard<number>(c))
    const reasons = new Set<string>()
    for (const c of clients) {
      await c.join('h/m')
      c.on('migrate', ({ reason }) => reasons.add(reason))
    }
    const bare = await cluster.socket(1)
    bare.send({ type: 'hello', user: 'forgetful', rooms: [{ room: 'h/m' }, { room: 'plain' }] })
    const { resume, session } = await bare.frame('hello', (f) => f.type === 'hello')
    await bare.frame('its room', (f) => f.type === 'joined' && f.room === 'h/m')
    let n = 0
    let isOver = false
    const talk = (async () => {
      while (!isOver) {
        await cluster.nodes[0]?.rooms.broadcast('h/m', n++)
        await new Promise((resolve) => setTimeout(resolve, 5))
      }
    })()
    await until('some messages', () => got.every((list) => list.length > 5))
    await cluster.nodes[1]?.stop({ deadlineMs: 8_000 })
    expect([...reasons]).toEqual(['stopping'])
    // What the cluster kept of a client that says nothing but its token.
    await until('its end', () => bare.closed !== undefined)
    expect(cluster.nodes[0]?.rooms.sessions.get(String(session))).toMatchObject({
      user: 'forgetful',
      isConnected: false,
      rooms: ['h/m', 'plain'],
    })
    const back = await cluster.socket(2)
    back.send({ type: 'hello', resume })
    expect(await back.frame('hello', (f) => f.type === 'hello')).toMatchObject({
      resumed: true,
      user: 'forgetful',
      rooms: ['h/m', 'plain'],
    })
    await back.frame('a message', (f) => f.type === 'message')
    await until('the others to know', () => {
      const known = cluster.nodes[0]?.rooms.sessions.list() ?? []
      return known.length === 21 && known.every((s) => s.isConnected && s.nodeId !== 'n2')
    })
    expect(clients.map((c) => c.node).every((node) => node === 'n1' || node === 'n3')).toBe(true)
    isOver = true
    await talk
    await until('the last', () => got.every((list) => list.length === n))
    for (const list of got)
      expect(list.map(({ data }) => data)).toEqual(Array.from({ length: n }, (_, i) => i))
    await cluster.close()
  })
})

describe('with tokens', () => {
  const cluster = new RoomCluster()
  const secrets = {
    viewer: randomBytes(24).toString('base64url'),
    operator: randomBytes(24).toString('base64url'),
  }
  beforeAll(async () => {
    mkdirSync(cluster.dir, { recursive: true })
    const tokenFile = join(cluster.dir, 'tokens')
    const lines = Object.entries(secrets).map(
      ([role, secret]) => `${role} ${role} sha256:${createHash('sha256').update(secret).digest('hex')}`,
    )
    writeFileSync(tokenFile, `${lines.join('\n')}\n`, { mode: 0o600 })
    await cluster.start(1, { tokenFile })
  })
  afterAll(() => cluster.close())

  it('lets viewers listen as themselves and operators speak for whom they like', async () => {
    await expect(cluster.socket(0)).rejects.toThrow('401')
    const viewer = await cluster.socket(0, { authorization: `Bearer ${secrets.viewer}` })
    viewer.send({ type: 'hello', user: 'somebody else', request_id: 'h' })
    expect(code(await viewer.frame('not as another', isAnswer('h')))).toBe('forbidden')
    viewer.send({ type: 'hello', rooms: [{ room: 'r' }] })
    expect(await viewer.frame('hello', (f) => f.type === 'hello')).toMatchObject({
      user: 'viewer',
      may_broadcast: false,
    })
    viewer.send({ type: 'broadcast', request_id: 'b', room: 'r', data: 1 })
    expect(code(await viewer.frame('no word', isAnswer('b')))).toBe('forbidden')
    const operator = cluster.client(0, { token: secrets.operator, user: 'alice' })
    await operator.broadcast('r', 'hi')
    expect(await viewer.frame('the word', (f) => f.type === 'message')).toMatchObject({
      from: { user: 'alice' },
    })
  })
})
