/** The surface over a real node, in one process, on every engine: every route by its name in the table, and what each refuses. */
import { mkdtemp, rm } from 'node:fs/promises'
import { request } from 'node:http'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { WebSocket } from 'ws'
import { createHttpServer, type HttpServer } from '../../src/http/server.js'
import { createNode } from '../../src/runtime/create-node.js'
import type { SkeinNode } from '../../src/runtime/node-api.js'
import { engines, type RunningEngines } from '../engines.js'
import { eventually } from '../runtime/three-nodes.js'

const quiet = { info() {}, warn() {}, error() {} }
const options = {
  host: '127.0.0.1',
  port: 0,
  allowedHosts: [],
  allowedOrigins: ['https://ok.example'],
  insecure: false,
  log: quiet,
}
for (const { name, isMissing, start } of engines)
  describe.skipIf(isMissing)(`on ${name}`, () => {
    let running: RunningEngines
    let directory: string
    let node: SkeinNode
    let server: HttpServer
    let url: string
    let port: number

    beforeAll(async () => {
      running = await start()
      directory = await mkdtemp(join(tmpdir(), 'skein-http-'))
      node = await createNode({
        nodeId: 'node-1',
        dataDir: join(directory, 'node-1'),
        threads: 'inline',
        http: false,
        peerPort: running.peerPort,
        ...(running.store === undefined ? {} : { store: running.store }),
        ...(running.journal === undefined ? {} : { journal: running.journal }),
        logLevel: 'silent',
      })
      await eventually(() => node.leader.get() !== null, 'a leader', 30_000)
      server = createHttpServer(node, options)
      const bound = await server.listen()
      url = bound.url
      port = bound.port
    }, 60_000)

    afterAll(async () => {
      await server.close()
      await node.stop()
      await running.end()
      await rm(directory, { recursive: true, force: true })
    })

    async function call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
      const text = body === undefined || typeof body === 'string' ? body : JSON.stringify(body)
      const response = await fetch(`${url}${path}`, {
        method,
        ...(text === undefined ? {} : { body: text }),
        headers: { ...(text === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
      })
      const answer = await response.text()
      const isJson = response.headers.get('content-type')?.includes('json') === true
      return {
        status: response.status,
        headers: response.headers,
        body: isJson ? JSON.parse(answer) : answer,
      }
    }

    describe('every path of the description', () => {
      it('answers its GET without a server error and refuses other methods with Allow', async () => {
        const { body } = await call('GET', '/openapi.json')
        expect(body.openapi).toBe('3.1.0')
        const text = JSON.stringify(body)
        for (const [, name] of text.matchAll(/"#\/components\/schemas\/(\w+)"/g)) {
          expect(body.components.schemas).toHaveProperty(name as string)
        }
        expect(text).not.toContain('__shared')
        for (const path of Object.keys(body.paths)) {
          const real = path.replaceAll('{id}', 'node-1')
          const refused = await call('PATCH', real)
          expect(refused, path).toMatchObject({ status: 405, body: { code: 'method_not_allowed' } })
          expect(refused.headers.get('allow'), path).toMatch(/GET|POST|DELETE/)
          if (!('get' in body.paths[path]) || path.endsWith('/watch')) continue
          expect((await call('GET', real)).status, path).toBeLessThan(500)
        }
      })

      it('carries nosniff and a content security policy', async () => {
        const page = await call('GET', '/')
        expect(page.status).toBe(200)
        expect(page.headers.get('content-type')).toMatch(/^text\/html/)
        expect(page.headers.get('x-content-type-options')).toBe('nosniff')
        expect(page.headers.get('content-security-policy')).toContain("default-src 'none'")
      })
    })

    describe('a page that made its own name lead here', () => {
      const get = (path: string, host: string) =>
        new Promise<number | undefined>((done, failed) => {
          request({ port, host: '127.0.0.1', path, headers: { host } }, (response) => {
            response.resume()
            done(response.statusCode)
          })
            .on('error', failed)
            .end()
        })

      it('reads nothing of a node that asks for no token', async () => {
        for (const path of ['/api/cluster/status', '/api/events?stream=s', '/metrics', '/api/cluster/watch'])
          expect(await get(path, 'evil.example'), path).toBe(403)
        for (const host of ['127.0.0.1', `localhost:${port}`, '[::1]:80'])
          expect(await get('/api/cluster/status', host), host).toBe(200)
        expect(await get('/livez', 'evil.example')).toBe(200)
      })
    })

    describe('the cluster', () => {
      it('shows itself', async () => {
        const status = await call('GET', '/api/cluster/status')
        expect(status.body).toMatchObject({
          node: { id: 'node-1', status: 'online', kind: 'node' },
          is_quorum_available: true,
        })
        const nodes = await call('GET', '/api/cluster/nodes')
        expect(nodes.body).toMatchObject({
          count: 1,
          total: 1,
          nodes: [{ id: 'node-1', uptime: expect.stringMatching(/s$/) }],
        })
        const stats = await call('GET', '/api/cluster/stats')
        expect(stats.body).toMatchObject({
          total_assignments: 0,
          balancer: { strategy: 'least_loaded', round_robin_index: 0 },
        })
        expect((await call('GET', '/api/cluster/route?key=__proto__')).body).toMatchObject({
          key: '__proto__',
        })
        expect((await call('GET', '/api/cluster/nodes/nobody')).status).toBe(404)
      })

      it('refuses an unknown strategy with those allowed', async () => {
        const { status, body } = await call('POST', '/api/cluster/balance?strategy=best')
        expect(status).toBe(400)
        expect(body).toMatchObject({
          code: 'invalid_argument',
          field: 'strategy',
          allowed: expect.stringContaining('least_loaded'),
        })
        expect((await call('POST', '/api/cluster/balance', { strategy: 'least-loaded' })).status).toBe(200)
      })

      it('takes an external node, its heartbeat and its removal', async () => {
        const given = {
          id: '__proto__',
          hostname: 'h',
          ip_address: '10.0.0.9',
          port: 80,
          max_agents: 4,
          services: ['db'],
        }
        const made = await call('POST', '/api/cluster/nodes', given)
        expect(made).toMatchObject({
          status: 201,
          body: { success: true, node: { id: '__proto__', kind: 'external' } },
        })
        expect((await call('POST', '/api/cluster/nodes', given)).status).toBe(409)
        const beat = await call('POST', '/api/cluster/nodes/__proto__', { cpu_usage: 50, memory_usage: 10 })
        expect(beat).toMatchObject({ status: 200, body: { success: true } })
        expect((await call('GET', '/api/cluster/nodes/__proto__')).body).toMatchObject({
          max_agents: 4,
          capacity: 1,
        })
        expect((await call('DELETE', '/api/cluster/nodes/__proto__')).status).toBe(200)
        expect((await call('POST', '/api/cluster/nodes', { id: 'x' })).body).toMatchObject({
          field: 'hostname',
        })
      })

      it('streams a snapshot first', async () => {
        const abort = new AbortController()
        const response = await fetch(`${url}/api/cluster/watch`, { signal: abort.signal })
        expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/)
        const reader = response.body?.getReader()
        let text = ''
        while (!text.includes('event: snapshot'))
          text += Buffer.from((await reader?.read())?.value ?? []).toString()
        expect(text).toMatch(/id: .+:\d+/)
        abort.abort()
      })
    })

    describe('events', () => {
      const event = { stream: 'web', key: 'k\u0000\n', payload: { a: 1 }, id: 'web-1' }

      it('are taken once, read back, and refused with another payload', async () => {
        expect(await call('POST', '/api/events', event)).toMatchObject({
          status: 202,
          body: { accepted: 1, results: [{ id: 'web-1' }] },
        })
        expect(await call('POST', '/api/events', event)).toMatchObject({
          status: 202,
          body: { duplicates: 1 },
        })
        const conflict = await call('POST', '/api/events', { ...event, payload: 2 })
        expect(conflict).toMatchObject({
          status: 409,
          body: { code: 'event_conflict', results: [{ error: { status: 409 } }] },
        })
        const page = await call('GET', `/api/events?stream=web&key=${encodeURIComponent(event.key)}`)
        expect(page.body).toMatchObject({ count: 1, events: [event] })
      })

      it('of one batch stand alone', async () => {
        const sent = [
          { stream: 'web', key: '__proto__', id: 'constructor', payload: 1 },
          { stream: 'a b' },
          7,
        ]
        const { status, body } = await call('POST', '/api/events', sent)
        expect(status).toBe(202)
        expect(body).toMatchObject({
          accepted: 1,
          rejected: 2,
          results: [{ status: 'accepted' }, { error: { field: 'stream' } }, {}],
        })
      })

      it('come as lines too', async () => {
        const lines = [1, 2, 3]
          .map((payload) => JSON.stringify({ stream: 'lines', key: 'k', payload }))
          .join('\n')
        const { body } = await call('POST', '/api/events', lines, { 'content-type': 'application/x-ndjson' })
        expect(body).toMatchObject({ accepted: 3, rejected: 0 })
        const page = await call('GET', '/api/events?stream=lines&key=k&limit=2')
        expect(page.body.events.map((each: { payload: number }) => each.payload)).toEqual([1, 2])
        const rest = await call(
          'GET',
          `/api/events?stream=lines&key=k&after=${encodeURIComponent(page.body.next_cursor)}`,
        )
        expect(rest.body.events.map((each: { payload: number }) => each.payload)).toEqual([3])
      })

      it.each([
        ['{bad', {}, 400, 'invalid_argument'],
        ['', {}, 400, 'invalid_argument'],
        [`{"stream":"s","key":"k","payload":${'['.repeat(65)}${']'.repeat(65)}}`, {}, 400, 'too_deep'],
        [`{"stream":"s","key":"k","payload":"${'x'.repeat(1_048_576)}"}`, {}, 413, 'payload_too_large'],
        [`["${'x'.repeat(5 * 1_048_576)}"]`, {}, 413, 'payload_too_large'],
        ['{}', { 'content-encoding': 'gzip' }, 415, 'unsupported_media_type'],
        ['{}', { 'content-type': 'text/plain' }, 415, 'unsupported_media_type'],
        ['{}', { origin: 'http://evil.example' }, 403, 'forbidden_origin'],
      ])('are refused with a clear error (%#)', async (body, headers, status, code) => {
        const answer = await call('POST', '/api/events', body, headers as Record<string, string>)
        expect(answer).toMatchObject({ status, body: { code } })
        expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/)
      })

      it('flow over WebSockets, both ways', async () => {
        const live = new WebSocket(`ws://127.0.0.1:${port}/ws/live?stream=ws`)
        const ingest = new WebSocket(`ws://127.0.0.1:${port}/ws/ingest`)
        const first = (socket: WebSocket) =>
          new Promise<string>((resolve) => socket.once('message', (data) => resolve(String(data))))
        await Promise.all(
          [live, ingest].map((socket) => new Promise((resolve) => socket.once('open', resolve))),
        )
        const [seen, ack] = [first(live), first(ingest)]
        ingest.send(
          JSON.stringify({
            type: 'publish',
            request_id: 'r1',
            events: [{ stream: 'ws', key: 'k', payload: 5 }, {}],
          }),
        )
        expect(JSON.parse(await ack)).toMatchObject({
          type: 'ack',
          request_id: 'r1',
          accepted: 1,
          results: [{ status: 'accepted' }, { status: 'rejected' }],
        })
        expect(JSON.parse(await seen)).toMatchObject({ type: 'event', event: { stream: 'ws', payload: 5 } })
        const error = first(ingest)
        ingest.send('{bad')
        expect(JSON.parse(await error)).toMatchObject({ type: 'error', error: { code: 'invalid_argument' } })
        live.close()
        ingest.close()
      })

      it('are not shown to a page of another origin', async () => {
        const socket = new WebSocket(`ws://127.0.0.1:${port}/ws/live`, { origin: 'http://evil.example' })
        const status = await new Promise((resolve) => {
          socket.once('unexpected-response', (_request, response) => resolve(response.statusCode))
          socket.once('error', resolve)
        })
        expect(status).toBe(403)
      })
    })

    describe('the older shapes', () => {
      it('are served', async () => {
        expect((await call('GET', '/api/nodes')).body).toMatchObject([
          { node_id: 'node-1', status: 'active' },
        ])
        expect((await call('GET', '/_api/cluster/status')).body).toMatchObject({
          node_id: 'node-1',
          status: 'standalone',
          peers: [],
        })
        expect((await call('GET', '/_api/cluster/info')).body).toMatchObject({ is_cluster_mode: false })
        expect((await call('GET', '/_api/health')).body).toMatchObject({ status: 'ok' })
        expect((await call('POST', '/_api/cluster/remove-node', { node_address: '10.9.9.9:1' })).status).toBe(
          404,
        )
      })

      it('take events', async () => {
        expect(await call('POST', '/api/ingest', [{ trace_id: 't1' }])).toMatchObject({
          status: 200,
          body: { accepted: 1 },
        })
        expect(await call('POST', '/api/v1/events', { project_id: 'p' })).toMatchObject({
          status: 202,
          body: { status: 'accepted' },
        })
        expect(await call('POST', '/api/v1/events', {})).toMatchObject({
          status: 400,
          body: { field: 'project_id' },
        })
        expect((await call('POST', '/api/v1/events/bulk', { project_id: 'p' })).status).toBe(400)
        const spans = [{ traceId: 'aa', spanId: 'b1', name: 'x' }, { traceId: 'aa' }]
        const otlp = await call('POST', '/v1/traces', {
          resourceSpans: [{ resource: {}, scopeSpans: [{ spans }] }],
        })
        expect(otlp).toMatchObject({ status: 200, body: { partialSuccess: { rejectedSpans: 1 } } })
        expect((await call('GET', '/api/events?stream=traces&key=aa')).body.events).toMatchObject([
          { id: 'b1' },
        ])
      })
    })

    describe('the connection', () => {
      it('is answered and closed when it does not speak HTTP', async () => {
        const socket = createConnection(port, '127.0.0.1')
        socket.end('garbage\r\n\r\n')
        let text = ''
        for await (const chunk of socket) text += chunk
        expect(text).toMatch(/^HTTP\/1\.1 400 .*problem\+json/s)
      })

      it('cannot be had twice on a port, nor openly without saying so', async () => {
        await expect(createHttpServer(node, { ...options, port }).listen()).rejects.toMatchObject({
          code: 'port_in_use',
        })
        await expect(createHttpServer(node, { ...options, host: '0.0.0.0' }).listen()).rejects.toMatchObject({
          code: 'bad_config',
        })
      })
    })
  })
