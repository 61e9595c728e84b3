/** Tokens, roles, log-ins, limits and the audit log, over a real node with real connections. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { limitConnections } from '../../src/http/connections.js'
import { RateLimit } from '../../src/http/rate-limit.js'
import type { AccessRole } from '../../src/keys/roles.js'
import { createToken, removeToken } from '../../src/keys/tokens.js'
import { createNode } from '../../src/runtime/create-node.js'
import type { SkeinNode } from '../../src/runtime/node-api.js'

const secrets = {} as Record<AccessRole | 'short', string>
let directory: string
let tokenFile: string
let node: SkeinNode
let base: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'skein-access-'))
  tokenFile = join(directory, 'tokens')
  for (const role of ['viewer', 'operator', 'admin'] as const)
    secrets[role] = createToken(tokenFile, role, `the-${role}`)
  secrets.short = createToken(tokenFile, 'viewer', 'short')
  node = await createNode({
    nodeId: 'node-1',
    dataDir: join(directory, 'node-1'),
    threads: 'inline',
    port: 0,
    peerPort: 0,
    tokenFile,
    logLevel: 'silent',
    rateLimit: 20,
    rateBurst: 400,
  })
  base = `http://${node.self.httpAddress}`
}, 30_000)

afterAll(async () => {
  await node.stop()
  await rm(directory, { recursive: true, force: true })
})

interface Asked {
  readonly token?: string
  readonly cookie?: string
  readonly body?: unknown
  readonly headers?: Record<string, string>
}

async function call(method: string, path: string, asked: Asked = {}) {
  const { token, cookie, body, headers } = asked
  const response = await fetch(base + path, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    headers: {
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(cookie === undefined ? {} : { cookie }),
      ...headers,
    },
  })
  const text = await response.text()
  const isJson = response.headers.get('content-type')?.includes('json') === true
  return {
    status: response.status,
    headers: response.headers,
    body: isJson && text !== '' ? JSON.parse(text) : text,
  }
}

const event = { stream: 's', key: 'k', type: 't', payload: { n: 1 } }

describe('without a token', () => {
  it('only what is public answers', async () => {
    for (const path of ['/livez', '/readyz', '/_api/health', '/', '/api/auth'])
      expect((await call('GET', path)).status, path).toBe(200)
    expect((await call('OPTIONS', '/api/events')).status).toBe(204)
    for (const path of ['/metrics', '/openapi.json', '/api/nodes', '/nothing/here', '/api/cluster/watch']) {
      const refused = await call('GET', path)
      expect(refused, path).toMatchObject({ status: 401, body: { code: 'unauthenticated' } })
      expect(refused.headers.get('www-authenticate'), path).toBe('Bearer realm="skein"')
    }
  })

  it('no method and no spelling of a path gets by', async () => {
    for (const [method, path] of [
      ['HEAD', '/api/nodes'],
      ['PROPFIND', '/api/nodes'],
      ['GET', '/api/nodes/'],
      ['GET', '//api/nodes'],
      ['GET', '/api/%6eodes'],
      ['GET', '/assets/../api/nodes'],
    ] as const)
      expect((await call(method, path)).status, `${method} ${path}`).toBe(401)
    expect((await call('HEAD', '/api/audit', { token: secrets.viewer })).status).toBe(403)
  })

  it('every route of the description but the public ones is closed, and says which role it needs', async () => {
    const { body } = await call('GET', '/openapi.json', { token: secrets.viewer })
    let closed = 0
    for (const [path, operations] of Object.entries<Record<string, Record<string, unknown>>>(body.paths)) {
      for (const [method, operation] of Object.entries(operations)) {
        const role = operation['x-skein-role']
        expect(['public', 'viewer', 'operator', 'admin'], `${method} ${path}`).toContain(role)
        if (role === 'public') {
          expect(operation.security).toEqual([])
          continue
        }
        expect(operation.responses, path).toHaveProperty('401')
        const real = path.replaceAll(/\{\w+\}/g, 'x')
        // A WebSocket's path, asked without an upgrade, is closed like any other.
        expect((await call(method.toUpperCase(), real)).status, `${method} ${path}`).toBe(401)
        closed++
      }
    }
    expect(closed).toBeGreaterThan(25)
    expect(body.components.securitySchemes).toHaveProperty('token')
  })
})

describe('roles', () => {
  it('viewers look, operators act, admins remove', async () => {
    const refusals = [
      ['viewer', 'POST', '/api/events', 'operator'],
      ['viewer', 'POST', '/api/cluster/leader', 'operator'],
      ['operator', 'DELETE', '/api/cluster/nodes/x', 'admin'],
      ['operator', 'GET', '/api/audit', 'admin'],
    ] as const
    for (const [role, method, path, needed] of refusals) {
      const refused = await call(method, path, { token: secrets[role] })
      expect(refused, path).toMatchObject({
        status: 403,
        body: { code: 'forbidden', role_needed: needed, role },
      })
      expect(refused.headers.get('www-authenticate')).toContain(`scope="${needed}"`)
    }
    expect((await call('GET', '/api/cluster/nodes', { token: secrets.viewer })).status).toBe(200)
    expect((await call('POST', '/api/events', { token: secrets.operator, body: event })).status).toBe(202)
    expect((await call('DELETE', '/api/cluster/nodes/x', { token: secrets.admin })).status).toBe(404)
  })

  it('a wrong token is told so, and one that was removed is wrong within two seconds', async () => {
    const wrong = await call('GET', '/api/nodes', { token: `${secrets.viewer}x` })
    expect(wrong.headers.get('www-authenticate')).toContain('error="invalid_token"')
    expect((await call('GET', '/api/nodes', { token: secrets.short })).status).toBe(200)
    removeToken(tokenFile, 'short')
    await expect
      .poll(async () => (await call('GET', '/api/nodes', { token: secrets.short })).status, {
        timeout: 5_000,
      })
      .toBe(401)
  })

  it('a page of another origin may not write, whatever it shows', async () => {
    const asked = { token: secrets.operator, body: event, headers: { origin: 'http://evil.example' } }
    expect(await call('POST', '/api/events', asked)).toMatchObject({
      status: 403,
      body: { code: 'forbidden_origin' },
    })
  })
})

describe('a browser', () => {
  const logIn = (token: string) => call('POST', '/api/auth/login', { body: { token } })

  it('changes a token for a cookie that scripts and other sites do not get, and drops it again', async () => {
    const login = await logIn(secrets.viewer)
    expect(login).toMatchObject({ status: 200, body: { name: 'the-viewer', role: 'viewer', via: 'session' } })
    const set = login.headers.get('set-cookie') as string
    expect(set).toMatch(/^skein_session=[^;]+; Max-Age=3600; Path=\/; HttpOnly; SameSite=Strict$/)
    expect(set).not.toContain(secrets.viewer)
    const cookie = set.split(';')[0] as string
    expect((await call('GET', '/api/cluster/status', { cookie })).status).toBe(200)
    expect((await call('POST', '/api/events', { cookie, body: event })).status).toBe(403)
    expect((await call('GET', '/api/auth', { cookie })).body).toMatchObject({
      name: 'the-viewer',
      via: 'session',
    })
    const forged = cookie.replace('the-viewer', 'the-admin')
    expect((await call('GET', '/api/cluster/status', { cookie: forged })).status).toBe(401)
    const out = await call('POST', '/api/auth/logout', { cookie })
    expect(out.headers.get('set-cookie')).toContain('Max-Age=0')
  })

  it('follows the watch stream with it', async () => {
    const cookie = (await logIn(secrets.viewer)).headers.get('set-cookie')?.split(';')[0] as string
    const response = await fetch(`${base}/api/cluster/watch`, { headers: { cookie } })
    expect(response.status).toBe(200)
    await response.body?.cancel()
  })

  it('loses the stream when its token is removed', async () => {
    const passing = createToken(tokenFile, 'viewer', 'passing')
    await expect.poll(async () => (await logIn(passing)).status, { timeout: 5_000, interval: 500 }).toBe(200)
    const response = await fetch(`${base}/api/cluster/watch`, {
      headers: { authorization: `Bearer ${passing}` },
    })
    removeToken(tokenFile, 'passing')
    // Ends by itself; a stream that did not would keep the test waiting.
    for await (const _ of response.body as ReadableStream<Uint8Array>);
    expect((await call('GET', '/api/cluster/watch', { token: passing })).status).toBe(401)
  })

  it('opens WebSockets with it, or with a subprotocol; programs with a header', async () => {
    const cookie = (await logIn(secrets.viewer)).headers.get('set-cookie')?.split(';')[0] as string
    const url = base.replace('http', 'ws')
    const open = (path: string, protocols: string[], headers: Record<string, string>) =>
      new Promise<string>((done) => {
        const socket = new WebSocket(url + path, protocols, { headers })
        socket.on('open', () => {
          done(`open ${socket.protocol}`)
          socket.close()
        })
        socket.on('unexpected-response', (_, response) => done(`${response.statusCode}`))
        socket.on('error', () => done('error'))
      })
    expect(await open('/ws/live', [], {})).toBe('401')
    expect(await open('/ws/nothing', [], {})).toBe('401')
    expect(await open('/ws/live', [], { cookie })).toBe('open ')
    expect(await open('/ws/live', ['skein', `skein.token.${secrets.viewer}`], {})).toBe('open skein')
    expect(await open('/ws/live', ['skein', 'skein.token.wrong'], {})).toBe('401')
    expect(await open('/ws/live', [], { authorization: `Bearer ${secrets.viewer}` })).toBe('open ')
    expect(await open('/ws/ingest', [], { cookie })).toBe('403')
    expect(await open('/ws/ingest', [], { authorization: `Bearer ${secrets.operator}` })).toBe('open ')
    expect(await open('/ws/live', [], { cookie, origin: 'http://evil.example' })).toBe('403')
  })
})

describe('the audit log', () => {
  it('has every call that changed something, with who and what; publishing as a count', async () => {
    const answer = await call('POST', '/api/cluster/nodes/node-1/cordon?because=test', {
      token: secrets.operator,
    })
    await call('POST', '/api/cluster/nodes/node-1/uncordon', { token: secrets.operator })
    const { body } = await call('GET', '/api/audit', { token: secrets.admin })
    const cordon = body.entries.find((e: { target: string }) => e.target.includes('because=test'))
    expect(cordon).toMatchObject({
      node: 'node-1',
      who: 'the-operator',
      role: 'operator',
      via: 'token',
      address: '127.0.0.1',
      method: 'POST',
      route: '/api/cluster/nodes/{id}/cordon',
      target: '/api/cluster/nodes/node-1/cordon?because=test',
      status: answer.status,
      request: answer.headers.get('x-request-id'),
    })
    expect(cordon.hlc).toMatch(/^[0-9a-f]{24}$/)
    expect(JSON.stringify(body)).not.toContain(secrets.operator.slice(6))
    expect(body.entries.map((e: { route: string }) => e.route)).not.toContain('/api/events')
    const rest = await call('GET', `/api/audit?after=${cordon.hlc}&limit=1`, { token: secrets.admin })
    expect(rest.body).toMatchObject({ count: 1, entries: [{ route: '/api/cluster/nodes/{id}/uncordon' }] })
    expect((await call('GET', '/api/audit?after=x', { token: secrets.admin })).status).toBe(400)
  })
})

describe('limits', () => {
  it('an address that guesses is told to wait; a right token from there still works', async () => {
    let last = await call('GET', '/api/nodes', { token: 'guess' })
    for (let i = 0; i < 30 && last.status !== 429; i++)
      last = await call('GET', '/api/nodes', { token: `guess-${i}` })
    expect(last.status).toBe(429)
    expect(Number(last.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    expect((await call('POST', '/api/auth/login', { body: { token: 'guess' } })).status).toBe(429)
    expect((await call('GET', '/api/nodes', { token: secrets.viewer })).status).toBe(200)
  })

  it('one client’s flood is refused with Retry-After and does not touch another', async () => {
    const flood = Array.from({ length: 1_500 }, () => call('GET', '/api/auth', { token: secrets.viewer }))
    const answers = await Promise.all(flood)
    const refused = answers.filter(({ status }) => status === 429)
    expect(refused.length).toBeGreaterThan(0)
    expect(refused[0]).toMatchObject({ body: { code: 'overloaded', retryable: true } })
    expect(Number(refused[0]?.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    expect((await call('GET', '/api/nodes', { token: secrets.operator })).status).toBe(200)
  })

  it('more than a hundred headers are refused', async () => {
    const headers = Object.fromEntries(Array.from({ length: 120 }, (_, i) => [`x-h-${i}`, '1']))
    expect((await call('GET', '/livez', { headers })).status).toBe(431)
  })

  it('connections of one other address have a bound, which ends with them', async () => {
    const server = createServer((socket) => socket.on('error', () => undefined))
    limitConnections(server, 2)
    // Loopback is not limited, so the address is one of this machine's others.
    const other = Object.values(networkInterfaces())
      .flatMap((list) => list ?? [])
      .find(({ internal, family }) => !internal && family === 'IPv4')?.address
    if (other === undefined) {
      process.stderr.write('\nSKIPPED: this machine has no address beside loopback\n')
      return
    }
    await new Promise<void>((up) => server.listen(0, other, up))
    const { port } = server.address() as AddressInfo
    const dial = () =>
      new Promise<{ socket: Socket; isCut: boolean }>((done) => {
        const socket = connect(port, other)
        socket.once('close', () => done({ socket, isCut: true }))
        socket.once('connect', () => setTimeout(() => done({ socket, isCut: false }), 100))
      })
    const [first, , third] = await Promise.all([dial(), dial(), dial()])
    expect(third?.isCut).toBe(true)
    first?.socket.destroy()
    await expect.poll(async () => (await dial()).isCut, { timeout: 5_000 }).toBe(false)
    server.close()
  })

  it('buckets fill again, and what is remembered has a bound', () => {
    const limit = new RateLimit(10, 2)
    expect([limit.take('a', 0), limit.take('a', 0), limit.take('a', 0)]).toEqual([0, 0, 1])
    expect([limit.take('a', 100), limit.take('a', 100), limit.take('b', 100)]).toEqual([0, 1, 0])
    for (let i = 0; i < 20_000; i++) limit.take(`c${i}`, 200)
    expect(limit.size).toBeLessThanOrEqual(8_192)
    expect(new RateLimit(0, 1).take('a', 0)).toBe(0)
  })
})

describe('a start', () => {
  it('for other machines needs a token in the file, or insecure', async () => {
    const empty = join(directory, 'empty')
    await writeFile(empty, '# none yet\n', { mode: 0o600 })
    const config = {
      nodeId: 'node-2',
      dataDir: join(directory, 'other', 'node-2'),
      threads: 'inline',
      host: '0.0.0.0',
      port: 0,
      peerPort: 0,
      logLevel: 'silent',
    } as const
    await expect(createNode({ ...config, tokenFile: empty })).rejects.toThrow(/skein token create/)
    await expect(createNode(config)).rejects.toMatchObject({ code: 'bad_config' })
    const open = await createNode({ ...config, tokenFile })
    await open.stop()
  })
})
