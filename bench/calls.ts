/**
 * Calls between two processes on this machine: ours with a contract (validated both ways) and with bytes, Moleculer over TCP with a validated action,
 * NATS request and reply, and a bare framed socket. Rounds of all sides are interleaved, so that the machine's moods meet all; medians over rounds.
 * And what it takes to find a name. Prints a table and a JSON line of ratios.
 *
 *     npx tsx bench/calls.ts [ms per side and round = 700] [rounds = 5]
 */
import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { connect as connectSocket, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { connect } from '@nats-io/transport-node'
import { ServiceBroker } from 'moleculer'
import { z } from 'zod'
import { createNode, defineService, type SkeinNode } from '../dist/index.js'
import { dialBare, kinds, serveBare } from './transport-bare.js'

const servers = ['skein', 'bare', 'moleculer', 'nats'] as const
type ServerName = (typeof servers)[number]
const sides = ['typed', 'bytes', 'moleculer', 'nats', 'bare'] as const
type SideName = (typeof sides)[number]

const Echo = defineService('echo', {
  methods: {
    typed: { input: z.object({ p: z.string() }), output: z.object({ p: z.string() }) },
    bytes: {},
  },
})

const sizes = [100, 1_024]
const bytesOf = new Map(sizes.map((size) => [size, Buffer.alloc(size, 97)]))
const objectOf = new Map(sizes.map((size) => [size, { p: 'a'.repeat(size - 8) }]))
const dir = process.env.BENCH_DIR ?? mkdtempSync(join(tmpdir(), 'skein-bench-'))

type Ask = (size: number) => Promise<unknown>

interface Side {
  readonly ask: Ask
  end(): Promise<unknown> | undefined
}

function startNode(nodeId: string, peers: readonly string[]): Promise<SkeinNode> {
  return createNode({
    nodeId,
    dataDir: join(dir, nodeId),
    peerPort: 0,
    http: false,
    preset: 'lan',
    shards: 8,
    logLevel: 'error',
    peers,
  })
}

function makeBroker(nodeId: string, urls: readonly string[]): ServiceBroker {
  return new ServiceBroker({
    nodeID: nodeId,
    logger: false,
    requestTimeout: 20_000,
    transporter: { type: 'TCP', options: { udpDiscovery: false, useHostname: false, urls } },
  })
}

// The answering process.

async function serve(server: ServerName, args: readonly string[]): Promise<string> {
  if (server === 'bare') return `${await serveBare(false)}`
  if (server === 'nats') {
    const nats = await connect({ servers: args[0] as string })
    nats.subscribe('echo', { callback: (_, message) => void message.respond(message.data) })
    await nats.flush()
    return args[0] as string
  }
  if (server === 'moleculer') {
    const broker = makeBroker('server', args.slice(1))
    broker.createService({
      name: 'echo',
      actions: {
        run: { params: { p: 'string' }, handler: (context: { params: unknown }) => context.params },
      },
    })
    await broker.start()
    return ''
  }
  const node = await startNode('server', [])
  node.services.provide(Echo, { typed: (input) => input, bytes: (input) => input })
  await node.names.register('echo', { run: (input: unknown) => input })
  return node.self.peerAddress
}

// The asking process.

async function open(
  places: ReadonlyMap<ServerName, string>,
  urls: readonly string[],
): Promise<Map<SideName, Side>> {
  const node = await startNode('client', [places.get('skein') as string])
  await node.services.wait('echo')
  const echo = node.services.get(Echo)
  const broker = makeBroker('client', urls)
  await broker.start()
  await broker.waitForServices('echo', 20_000)
  const nats = await connect({ servers: places.get('nats') as string })
  const bare = await dialBare(false, Number(places.get('bare')))
  console.log(`a name is found in ${Math.round(whereisNs(node))} ns`)
  const of = <T>(map: ReadonlyMap<number, T>, size: number): T => map.get(size) as T
  return new Map<SideName, Side>([
    ['typed', { ask: (size) => echo.typed(of(objectOf, size)), end: () => node.stop() }],
    ['bytes', { ask: (size) => echo.bytes(of(bytesOf, size)), end: () => undefined }],
    ['moleculer', { ask: (size) => broker.call('echo.run', of(objectOf, size)), end: () => broker.stop() }],
    [
      'nats',
      {
        ask: (size) => nats.request('echo', of(bytesOf, size), { timeout: 10_000 }),
        end: () => nats.close(),
      },
    ],
    [
      'bare',
      { ask: (size) => bare.ask(kinds.ask, of(bytesOf, size)), end: () => Promise.resolve(bare.end()) },
    ],
  ])
}

function whereisNs(node: SkeinNode): number {
  const rounds = 2_000_000
  let found = 0
  for (let i = 0; i < rounds / 10; i++) if (node.names.whereis('echo') !== undefined) found++
  const startMs = performance.now()
  for (let i = 0; i < rounds; i++) if (node.names.whereis('echo') !== undefined) found++
  const ns = ((performance.now() - startMs) * 1e6) / rounds
  if (found === 0) throw new Error('the name is not there')
  return ns
}

interface Measure {
  readonly perSecond: number
  readonly p50Us: number
  readonly p99Us: number
}

async function closedLoop({ ask }: Side, size: number, inFlight: number, ms: number): Promise<Measure> {
  const times: number[] = []
  const startMs = performance.now()
  const endMs = startMs + ms
  let done = 0
  const worker = async (): Promise<void> => {
    for (let nowMs = performance.now(); nowMs < endMs; ) {
      await ask(size)
      const thenMs = nowMs
      nowMs = performance.now()
      if ((done++ & 7) === 0) times.push(nowMs - thenMs)
    }
  }
  await Promise.all(Array.from({ length: inFlight }, worker))
  const seconds = (performance.now() - startMs) / 1_000
  times.sort((a, b) => a - b)
  const at = (share: number): number => (times[Math.floor(times.length * share)] as number) * 1_000
  return { perSecond: done / seconds, p50Us: at(0.5), p99Us: at(0.99) }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

async function startNats(): Promise<{ readonly place: string; readonly child: ChildProcess }> {
  try {
    execFileSync('nats-server', ['--version'], { stdio: 'ignore' })
  } catch {
    throw new Error('this bench needs nats-server: apt-get install nats-server')
  }
  const port = await freePort()
  const child = spawn('nats-server', ['-a', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' })
  for (let i = 0; i < 100; i++) {
    const socket = connectSocket(port, '127.0.0.1')
    const isUp = await once(socket, 'connect').then(
      () => true,
      () => false,
    )
    socket.destroy()
    if (isUp) return { place: `127.0.0.1:${port}`, child }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  throw new Error('nats-server did not come up')
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] as number
}

async function main(): Promise<void> {
  const ms = Number(process.argv[2] ?? 700)
  const rounds = Number(process.argv[3] ?? 5)
  const urls = [`127.0.0.1:${await freePort()}/server`, `127.0.0.1:${await freePort()}/client`]
  const nats = await startNats()
  const children: ChildProcess[] = [nats.child]
  const places = new Map<ServerName, string>()
  try {
    for (const server of servers) {
      const child = fork(fileURLToPath(import.meta.url), ['--serve', server, nats.place, ...urls], {
        execArgv: process.execArgv,
        env: { ...process.env, BENCH_DIR: dir },
      })
      children.push(child)
      places.set(
        server,
        await new Promise<string>((resolve) => child.once('message', (m) => resolve(`${m}`))),
      )
    }
    const opened = await open(places, urls)
    report(await measureAll(opened, ms, rounds))
    for (const side of opened.values()) await side.end()
  } finally {
    for (const child of children) child.kill('SIGKILL')
    rmSync(dir, { recursive: true, force: true })
  }
}

type Rows = Record<string, Record<SideName, Measure>>

async function measureAll(opened: ReadonlyMap<SideName, Side>, ms: number, rounds: number): Promise<Rows> {
  const rows: Rows = {}
  for (const size of sizes) {
    for (const inFlight of [1, 64, 512]) {
      const results = new Map<SideName, Measure[]>(sides.map((name) => [name, []]))
      for (let round = 0; round <= rounds; round++)
        for (const name of sides) {
          const result = await closedLoop(opened.get(name) as Side, size, inFlight, ms)
          // The first round warms up.
          if (round > 0) results.get(name)?.push(result)
        }
      rows[`${size} B, ${inFlight} in flight`] = Object.fromEntries(
        [...results].map(([name, list]) => [
          name,
          {
            perSecond: median(list.map((m) => m.perSecond)),
            p50Us: median(list.map((m) => m.p50Us)),
            p99Us: median(list.map((m) => m.p99Us)),
          },
        ]),
      ) as Record<SideName, Measure>
    }
  }
  return rows
}

function report(rows: Rows): void {
  const cell = (m: Measure): string =>
    `${Math.round(m.perSecond / 100) / 10} k/s, p50 ${Math.round(m.p50Us)} p99 ${Math.round(m.p99Us)} µs`
  console.log(`| | ${sides.join(' | ')} |\n|---|${sides.map(() => '---|').join('')}`)
  for (const [row, results] of Object.entries(rows))
    console.log(`| ${row} | ${sides.map((name) => cell(results[name])).join(' | ')} |`)
  const over = (a: Measure, b: Measure): number => Math.round((a.perSecond / b.perSecond) * 100) / 100
  const ratios = Object.fromEntries(
    Object.entries(rows).map(([row, { typed, bytes, moleculer, nats, bare }]) => [
      row,
      {
        typed_over_moleculer: over(typed, moleculer),
        bytes_over_moleculer: over(bytes, moleculer),
        bytes_over_nats: over(bytes, nats),
        bytes_over_bare: over(bytes, bare),
      },
    ]),
  )
  console.log(JSON.stringify({ bench: 'calls', ratios }))
}

if (process.argv[2] === '--serve') {
  const place = await serve(process.argv[3] as ServerName, process.argv.slice(4))
  process.on('disconnect', () => process.exit())
  process.send?.(place)
} else {
  await main()
  process.exit()
}
