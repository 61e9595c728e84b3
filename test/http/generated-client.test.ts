/**
 * `/openapi.json` as a stranger would use it: it validates, a client is generated from it, compiles, and calls every operation on a real cluster; every
 * answer has a status that the document names, and the shape that it gives.
 */
import { execFile } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { createClient } from '@hey-api/openapi-ts'
import { Validator } from '@seriousme/openapi-schema-validator'
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'
import { build } from 'esbuild'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createNode, defineAgent, type NodeConfig, type SkeinNode } from '../../src/index.js'
import { createToken } from '../../src/keys/tokens.js'
import { until } from '../runtime/real-node.js'
import { eventually } from '../runtime/three-nodes.js'

interface Operation {
  readonly operationId: string
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema?: object }>> }>
  >
}
interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components: { readonly schemas: Readonly<Record<string, object>> }
}
interface Called {
  readonly response: Response
  readonly data?: unknown
  readonly error?: unknown
}
interface Stream {
  readonly stream: AsyncGenerator
}
interface Input {
  readonly path?: Readonly<Record<string, string>>
  readonly query?: Readonly<Record<string, unknown>>
  readonly body?: unknown
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}
type Sdk = Readonly<Record<string, (input?: Input) => Promise<Called & Stream>>>

const run = promisify(execFile)
const root = resolve(import.meta.dirname, '../..')
const Counter = defineAgent('counter', {
  state: { n: 0 },
  on: { add: (ctx: { state: { n: number } }, by: number) => (ctx.state.n += by) },
})

let dir: string
let one: SkeinNode
let two: SkeinNode
let document: Document
let sdk: Sdk
const operations = new Map<string, Operation>()
const validators = new Map<string, ValidateFunction>()
const called = new Set<string>()
const troubles: string[] = []

const camel = (name: string): string => name.replace(/_+(\w)/g, (_, letter: string) => letter.toUpperCase())

beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), 'skein-client-'))
  const tokenFile = join(dir, 'tokens')
  const token = createToken(tokenFile, 'admin', 'the-client')
  const start = (nodeId: string, more: Partial<NodeConfig>): Promise<SkeinNode> =>
    createNode({
      nodeId,
      dataDir: join(dir, nodeId),
      port: 0,
      peerPort: 0,
      threads: 'inline',
      preset: 'local',
      shards: 8,
      logLevel: 'error',
      allowExec: true,
      roomHistory: ['h/'],
      tokenFile,
      ...more,
    })
  one = await start('one', {})
  two = await start('two', { peers: [one.self.peerAddress] })
  for (const node of [one, two]) {
    node.agents.define(Counter)
    node.services.provide('pricing', { quote: (input) => ({ price: 2, input }) })
    node.processors.register('square', (n: number) => n * n)
  }
  await one.names.register('clock', { now: () => 7 })
  await eventually(
    () => one.members.list().filter((m) => m.status === 'online').length === 2,
    'both nodes',
    30_000,
  )

  const url = `http://${one.self.httpAddress}`
  const authorization = `Bearer ${token}`
  const text = await (await fetch(`${url}/openapi.json`, { headers: { authorization } })).text()
  document = JSON.parse(text) as Document
  for (const methods of Object.values(document.paths))
    for (const operation of Object.values(methods)) operations.set(camel(operation.operationId), operation)

  // Where the compiler finds what the generated code needs.
  const generated = join(dir, 'client')
  await writeFile(join(dir, 'openapi.json'), text)
  await createClient({
    input: join(dir, 'openapi.json'),
    output: generated,
    logs: { level: 'silent' },
    plugins: ['@hey-api/client-fetch', '@hey-api/typescript', '@hey-api/sdk'],
  })
  await writeFile(
    join(dir, 'entry.ts'),
    `import { client } from './client/client.gen'\nclient.setConfig(${JSON.stringify({ baseUrl: url, headers: { authorization } })})\nexport * from './client/sdk.gen'\n`,
  )
  const bundle = join(dir, 'sdk.mjs')
  await build({
    entryPoints: [join(dir, 'entry.ts')],
    bundle: true,
    platform: 'node',
    format: 'esm',
    outfile: bundle,
  })
  sdk = (await import(pathToFileURL(bundle).href)) as Sdk

  const ajv = new Ajv2020({ strict: false, validateFormats: false })
  ajv.addSchema({ $id: 'skein', components: document.components })
  const absolute = (schema: object): object =>
    JSON.parse(JSON.stringify(schema).replaceAll('"#/components/', '"skein#/components/')) as object
  for (const [name, { responses }] of operations)
    for (const [status, { content = {} }] of Object.entries(responses))
      for (const [type, { schema }] of Object.entries(content))
        if (schema !== undefined && type.includes('json'))
          validators.set(`${name} ${status}`, ajv.compile(absolute(schema)))
}, 120_000)

afterAll(async () => {
  await Promise.all([one?.stop({ deadlineMs: 2_000 }), two?.stop({ deadlineMs: 2_000 })])
  await rm(dir, { recursive: true, force: true })
}, 60_000)

/** Calls it and holds the answer against the document. */
async function call(name: string, status: number, input: Input = {}): Promise<unknown> {
  const operation = operations.get(name)
  const method = sdk[name]
  if (operation === undefined || method === undefined) throw new Error(`there is no operation ${name}`)
  called.add(name)
  const { response, data, error } = await method(input)
  const value = data ?? error
  const where = `${name}: ${response.status}`
  if (response.status !== status)
    troubles.push(`${where} where ${status} was due: ${JSON.stringify(value).slice(0, 300)}`)
  if (operation.responses[response.status] === undefined) troubles.push(`${where} is not in the document`)
  const validate = validators.get(`${name} ${response.status}`)
  if (validate !== undefined && !validate(value))
    troubles.push(
      `${where}: ${JSON.stringify(validate.errors?.slice(0, 3))} in ${JSON.stringify(value).slice(0, 300)}`,
    )
  return value
}

/** The first event of a stream. */
async function follow(name: string, input: Input = {}): Promise<void> {
  called.add(name)
  const end = new AbortController()
  const { stream } = await (sdk[name] as Sdk[string])({ ...input, signal: end.signal })
  const first = await stream.next()
  end.abort()
  if (first.done === true) troubles.push(`${name}: ended without an event`)
}

describe('the document', () => {
  it('is valid, and names each operation once', async () => {
    expect(await new Validator().validate({ ...structuredClone(document) })).toMatchObject({ valid: true })
    const names = Object.values(document.paths).flatMap((methods) =>
      Object.values(methods).map((o) => o.operationId),
    )
    expect(names).toEqual([...new Set(names)])
  })

  it('makes a client that compiles', async () => {
    const config = {
      compilerOptions: {
        strict: true,
        noEmit: true,
        target: 'es2022',
        module: 'esnext',
        moduleResolution: 'bundler',
        skipLibCheck: true,
        lib: ['es2023', 'dom', 'dom.iterable'],
        types: [],
      },
      include: ['client'],
    }
    await writeFile(join(dir, 'tsconfig.json'), JSON.stringify(config))
    await run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', dir])
  }, 60_000)
})

describe('a generated client', () => {
  const json = { 'content-type': 'application/json' }

  it('reads what the cluster says of itself', async () => {
    for (const name of [
      ...[
        'getApiAuth',
        'getApiClusterStatus',
        'getApiClusterPeers',
        'getApiClusterStats',
        'getApiClusterShards',
        'getApiClusterHistory',
      ],
      ...[
        'getApiClusterReachability',
        'getApiClusterOwnership',
        'getApiClusterClock',
        'getApiClusterSamples',
        'getApiClusterLeader',
        'getApiClusterOperations',
      ],
      ...[
        'getApiClusterNodes',
        'getApiClusterAssignments',
        'getApiNodes',
        'getOlderClusterStatus',
        'getOlderClusterInfo',
        'getOlderHealth',
      ],
      ...['getLivez', 'getReadyz', 'getMetrics', 'getOpenapiJson', 'getApiAudit'],
    ])
      await call(name, 200)
    await call('getApiClusterRoute', 200, { query: { key: 'alice' } })
    await call('getApiClusterRoute', 400)
    await call('getApiClusterNodesId', 200, { path: { id: 'two' } })
    await call('getApiClusterNodesId', 404, { path: { id: 'nobody' } })
    await call('getApiClusterNodesIdWhy', 200, { path: { id: 'two' } })
    await call('getApiClusterBalancerSelect', 200)
    await follow('getApiClusterWatch')
    for (const name of ['getWs', 'getWsIngest', 'getWsLive', 'getOlderClusterStatusWs']) await call(name, 426)
    expect(troubles.splice(0)).toEqual([])
  }, 60_000)

  it('publishes and reads events, of its own and of the older shapes', async () => {
    const event = { stream: 'orders', key: 'alice', type: 'made', payload: { n: 1 }, id: 'first' }
    await call('postApiEvents', 202, { body: [event, event] })
    await call('postApiEvents', 400, { body: { stream: '' } })
    await call('getApiEvents', 200, { query: { stream: 'orders', key: 'alice' } })
    await call('postApiIngest', 200, { body: { trace_id: 't1', n: 1 }, headers: json })
    await call('postApiV1Events', 202, { body: { project_id: 'p1', n: 1 }, headers: json })
    await call('postApiV1EventsBulk', 202, { body: [{ project_id: 'p1', n: 2 }], headers: json })
    const span = { traceId: '5b8efff798038103d269b633813fc60c', spanId: 'eee19b7ec3c1b174', name: 'work' }
    await call('postV1Traces', 200, { body: { resourceSpans: [{ scopeSpans: [{ spans: [span] }] }] } })
    expect(troubles.splice(0)).toEqual([])
  }, 60_000)

  it('makes, moves, asks and ends agents', async () => {
    const args = ['-e', 'process.stdin.resume(); setInterval(() => console.log("tick"), 100)']
    await call('postApiAgents', 201, {
      body: { name: 'ticker', command: process.execPath, args, restart: 'always' },
    })
    await call('postApiAgents', 409, { body: { name: 'ticker', command: 'true' } })
    await call('postApiAgents', 201, { body: { name: 'count', kind: 'counter' } })
    const path = { name: 'ticker' }
    await until('both to run', async () =>
      (await one.agents.list()).filter((a) => a.state === 'running').length === 2 ? true : undefined,
    )
    await call('getApiAgents', 200)
    await call('getApiAgentsName', 200, { path })
    await call('getApiAgentsNameLogs', 200, { path, query: { wait_ms: 5_000 } })
    await follow('getApiAgentsNameStream', { path })
    await call('getWsAgentsName', 426, { path })
    await call('getApiAgentsNameWhy', 200, { path })
    await call('getApiAgentsNameWhyNot', 200, { path, query: { node: 'two' } })
    await call('postApiAgentsNamePause', 200, { path })
    await call('postApiAgentsNameResume', 200, { path })
    await call('postApiAgentsNameCommand', 200, {
      path,
      body: { command: 'send_input', data: { text: 'x' } },
    })
    await call('postApiAgentsNameRestart', 200, { path })
    await call('postApiAgentsNameCall', 200, { path: { name: 'count' }, body: { method: 'add', args: [2] } })
    await call('postApiAgentsNameMigrate', 200, { path: { name: 'count' }, body: { dry_run: true } })
    await call('postApiClusterBalance', 200, { body: { strategy: 'least_agents' } })
    await call('postApiClusterBalance', 400, { body: { strategy: 'clairvoyant' } })
    await call('postApiClusterRebalance', 200, { body: { dry_run: true } })
    for (const name of ['ticker', 'count']) await call('deleteApiAgentsName', 200, { path: { name } })
    expect(troubles.splice(0)).toEqual([])
  }, 90_000)

  it('calls services and names, and spawns', async () => {
    await eventually(() => two.names.whereis('clock') !== undefined, 'the name', 20_000)
    await call('getApiServices', 200)
    await call('getApiServicesName', 200, { path: { name: 'pricing' } })
    await call('postApiServicesNameMethod', 200, {
      path: { name: 'pricing', method: 'quote' },
      body: { input: { sku: 'tea' } },
    })
    await call('getApiNames', 200)
    await call('getApiNamesName', 200, { path: { name: 'clock' } })
    await call('postApiNamesNameCall', 200, { path: { name: 'clock' }, body: { method: 'now' } })
    const ended = (await call('postApiSpawn', 200, {
      body: { name: 'square', args: 3, wait_ms: 5_000 },
    })) as { id: string }
    await call('getApiProcessors', 200)
    await call('getApiProcessorsId', 200, { path: { id: ended.id } })
    await call('deleteApiProcessorsId', 200, { path: { id: ended.id } })
    expect(troubles.splice(0)).toEqual([])
  }, 60_000)

  it('speaks in rooms, and keeps maps and configuration', async () => {
    const sink = { isOpen: true, bufferedBytes: 0, write: () => {}, close: () => {} }
    const client = one.rooms.connect(sink, {
      user: 'ann',
      userByDefault: 'ann',
      mayBroadcast: true,
      rooms: [],
    })
    await client.join({ room: 'h/lobby' })
    const path = { room: 'h/lobby' }
    await call('postApiRoomsRoomBroadcast', 202, { path, body: { data: 'hello' } })
    await call('getApiRooms', 200)
    await call('getApiRoomsRoom', 200, { path })
    await call('getApiRoomsRoomHistory', 200, { path })
    await call('getApiSessions', 200)
    await call('getApiSessionsId', 200, { path: { id: client.session } })
    client.closed()
    const entry = { name: 'presence', key: 'ann' }
    await call('putApiMapsNameKey', 200, { path: entry, body: { value: 'here' } })
    await call('getApiMaps', 200)
    await call('getApiMapsName', 200, { path: { name: 'presence' } })
    await call('getApiMapsNameKey', 200, { path: entry })
    await call('deleteApiMapsNameKey', 200, { path: entry })
    const key = { key: 'prices' }
    await call('putApiConfigKey', 201, { path: key, body: { value: { tea: 3 } } })
    await call('putApiConfigKey', 428, { path: key, body: { value: { tea: 4 } } })
    await call('putApiConfigKey', 412, {
      path: key,
      body: { value: { tea: 4 } },
      headers: { 'If-Match': '"7"' },
    })
    await call('putApiConfigKey', 200, {
      path: key,
      body: { value: { tea: 4 } },
      headers: { 'If-Match': '"1"' },
    })
    await call('getApiConfig', 200)
    await call('getApiConfigKey', 200, { path: key })
    await call('getApiConfigKeyHistory', 200, { path: key })
    await call('postApiConfigKeyRollback', 200, { path: key, body: { version: 1 } })
    expect(troubles.splice(0)).toEqual([])
  }, 60_000)

  it('steers nodes, the leader and long work, and logs in and out', async () => {
    const external = {
      id: 'wrapper',
      hostname: 'desk',
      ip_address: '127.0.0.1',
      port: 9_000,
      max_agents: 2,
      services: [],
    }
    await call('postApiClusterNodes', 201, { body: external })
    await call('postApiClusterNodes', 409, { body: external })
    await call('postApiClusterNodesId', 200, { path: { id: 'wrapper' }, body: { cpu_usage: 5 } })
    await call('postApiClusterAssignmentsAgentReport', 404, {
      path: { agent: 'nobody' },
      body: { epoch: 1, status: 'running' },
    })
    await call('deleteApiClusterNodesId', 200, { path: { id: 'wrapper' } })
    await call('postOlderClusterRemoveNode', 404, { body: { node_address: '127.0.0.1:1' } })
    const path = { id: 'two' }
    await call('postApiClusterNodesIdCordon', 202, { path, body: {} })
    await call('postApiClusterNodesIdUncordon', 202, { path, body: {} })
    await call('postApiClusterNodesIdDrain', 200, { path, body: { dry_run: true } })
    const drain = (await call('postApiClusterNodesIdDrain', 202, { path, body: { deadline: 20 } })) as {
      id: string
    }
    await call('getApiClusterOperationsId', 200, { path: { id: drain.id } })
    await call('deleteApiClusterOperationsId', 404, { path: { id: 'none' } })
    await call('postApiClusterLeader', 200)
    await call('deleteApiClusterLeader', 200)
    await call('postApiAuthLogin', 401, { body: { token: 'not-one' } })
    await call('postApiAuthLogout', 200)
    expect(troubles.splice(0)).toEqual([])
  }, 90_000)

  it('has called every operation', () => {
    expect([...operations.keys()].filter((name) => !called.has(name))).toEqual([])
  })
})
