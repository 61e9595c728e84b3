/**
 * Messages between two processes on this machine: our transport over TCP and over WebSockets, a bare framed socket (plain, and TLS by the same kind
 * of key) and Moleculer's TCP transporter, each with its peer in a process of its own. Rounds of all sides are
 * interleaved, so that the machine's moods meet all; medians over rounds. Prints a table and a JSON line of ratios.
 *
 *     npx tsx bench/transport.ts [ms per side and round = 700] [rounds = 5]
 */
import { type ChildProcess, fork } from 'node:child_process'
import { createServer } from 'node:net'
import { performance } from 'node:perf_hooks'
import { fileURLToPath } from 'node:url'
import { ServiceBroker } from 'moleculer'
import { TcpFrameTransport } from '../src/drivers/transport-tcp/frame-transport.js'
import { WsFrameTransport } from '../src/drivers/transport-ws/frame-transport.js'
import type { FrameTransport } from '../src/ports/transport.js'
import { dialBare, kinds, serveBare } from './transport-bare.js'

const sides = ['skein', 'skein_ws', 'plain', 'tls', 'moleculer'] as const
type SideName = (typeof sides)[number]

interface Side {
  ask(size: number): Promise<unknown>
  /** Sends one way; false when the other end should catch up first. Absent where there is no such thing. */
  note?(size: number): boolean
  notesReceived?(): Promise<number>
  end(): Promise<void>
}

const bodies = new Map([100, 1_024].map((size) => [size, Buffer.alloc(size, 97)]))
const bodyOf = (size: number): Buffer => bodies.get(size) as Buffer
const frames = { ask: 1, note: 2, count: 3 }

async function openTransport(
  nodeId: string,
  side: 'skein' | 'skein_ws',
): Promise<{ transport: FrameTransport; address: string }> {
  const options = { host: '127.0.0.1', port: 0, cookies: [Buffer.from('bench')] }
  const transport =
    side === 'skein'
      ? new TcpFrameTransport(options)
      : new WsFrameTransport({ ...options, door: 'mesh', isSecure: false })
  const address = await transport.open({
    clusterName: 'bench',
    nodeId,
    bootId: nodeId,
    protocolMin: 1,
    protocolMax: 1,
    storeIdentity: '',
    journalIdentity: '',
  })
  return { transport, address }
}

function makeBroker(nodeId: string, urls: readonly string[]): ServiceBroker {
  return new ServiceBroker({
    nodeID: nodeId,
    logger: false,
    requestTimeout: 20_000,
    transporter: { type: 'TCP', options: { udpDiscovery: false, useHostname: false, urls } },
  })
}

// The peer's process.

async function serve(side: SideName, urls: readonly string[]): Promise<string> {
  if (side === 'plain' || side === 'tls') return `${await serveBare(side === 'tls')}`
  if (side === 'moleculer') {
    const broker = makeBroker('server', urls)
    broker.createService({ name: 'echo', actions: { run: (context: { params: unknown }) => context.params } })
    await broker.start()
    return ''
  }
  const { transport, address } = await openTransport('server', side)
  let notes = 0
  transport.onFrame(({ type, body, reply }) => {
    if (type === frames.ask) reply?.(body)
    else if (type === frames.note) notes++
    else reply?.(Buffer.from(`${notes}`))
  })
  return address
}

// The asking process.

async function open(side: SideName, place: string, urls: readonly string[]): Promise<Side> {
  if (side === 'skein' || side === 'skein_ws') {
    const { transport } = await openTransport('client', side)
    const options = { timeoutMs: 10_000 }
    return {
      ask: (size) => transport.request(place, frames.ask, bodyOf(size), options),
      note: (size) => transport.send(place, frames.note, bodyOf(size)) === 'queued',
      notesReceived: async () =>
        Number(Buffer.from(await transport.request(place, frames.count, bodyOf(100), options))),
      end: () => transport.close(),
    }
  }
  if (side === 'moleculer') {
    const broker = makeBroker('client', urls)
    await broker.start()
    await broker.waitForServices('echo', 20_000)
    const params = new Map([...bodies.keys()].map((size) => [size, { p: 'a'.repeat(size - 8) }]))
    return { ask: (size) => broker.call('echo.run', params.get(size)), end: () => broker.stop() }
  }
  const link = await dialBare(side === 'tls', Number(place))
  return {
    ask: (size) => link.ask(kinds.ask, bodyOf(size)),
    note: (size) => {
      link.frame(kinds.note, 0, bodyOf(size))
      return !link.isBacklogged
    },
    notesReceived: async () => Number(await link.ask(kinds.count, bodyOf(100))),
    end: async () => link.end(),
  }
}

interface Measure {
  readonly perSecond: number
  readonly p50Us: number
  readonly p99Us: number
}

async function closedLoop(side: Side, size: number, inFlight: number, ms: number): Promise<Measure> {
  const times: number[] = []
  const startMs = performance.now()
  const endMs = startMs + ms
  let done = 0
  const worker = async (): Promise<void> => {
    for (let nowMs = performance.now(); nowMs < endMs; ) {
      await side.ask(size)
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

async function oneWay(side: Side, size: number, ms: number): Promise<Measure> {
  const { note, notesReceived } = side
  if (note === undefined || notesReceived === undefined) return { perSecond: 0, p50Us: 0, p99Us: 0 }
  const before = await notesReceived()
  const startMs = performance.now()
  let sent = 0
  while (performance.now() - startMs < ms) {
    for (let i = 0; i < 512 && note(size); i++) sent++
    await new Promise(setImmediate)
  }
  const received = (await notesReceived()) - before
  if (received < sent) throw new Error(`${sent} frames sent, ${received} received`)
  return { perSecond: received / ((performance.now() - startMs) / 1_000), p50Us: 0, p99Us: 0 }
}

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as { port: number }
  await new Promise((resolve) => server.close(resolve))
  return port
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1] as number
}

async function main(): Promise<void> {
  const ms = Number(process.argv[2] ?? 700)
  const rounds = Number(process.argv[3] ?? 5)
  const urls = [`127.0.0.1:${await freePort()}/server`, `127.0.0.1:${await freePort()}/client`]
  const children: ChildProcess[] = []
  const opened = new Map<SideName, Side>()
  for (const name of sides) {
    const child = fork(fileURLToPath(import.meta.url), ['--serve', name, ...urls], {
      execArgv: process.execArgv,
    })
    children.push(child)
    const place = await new Promise<string>((resolve) =>
      child.once('message', (message) => resolve(`${message}`)),
    )
    opened.set(name, await open(name, place, urls))
  }
  const rows: Record<string, Record<SideName, Measure>> = {}
  const measure = async (row: string, run: (side: Side) => Promise<Measure>): Promise<void> => {
    const results = new Map<SideName, Measure[]>(sides.map((name) => [name, []]))
    for (let round = 0; round <= rounds; round++) {
      for (const name of sides) {
        const result = await run(opened.get(name) as Side)
        // The first round warms up.
        if (round > 0) results.get(name)?.push(result)
      }
    }
    rows[row] = Object.fromEntries(
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
  for (const size of bodies.keys()) {
    for (const inFlight of [1, 64, 512]) {
      await measure(`${size} B, ${inFlight} in flight`, (side) => closedLoop(side, size, inFlight, ms))
    }
    await measure(`${size} B, one way`, (side) => oneWay(side, size, ms))
  }
  report(rows)
  for (const side of opened.values()) await side.end()
  for (const child of children) child.disconnect()
}

function report(rows: Record<string, Record<SideName, Measure>>): void {
  const cell = (m: Measure): string => {
    if (m.perSecond === 0) return '-'
    const rate = `${Math.round(m.perSecond / 100) / 10} k/s`
    return m.p50Us === 0 ? rate : `${rate}, p50 ${Math.round(m.p50Us)} p99 ${Math.round(m.p99Us)} µs`
  }
  console.log(`| | ${sides.join(' | ')} |\n|---|${sides.map(() => '---|').join('')}`)
  for (const [row, results] of Object.entries(rows)) {
    console.log(`| ${row} | ${sides.map((name) => cell(results[name])).join(' | ')} |`)
  }
  const ratios = Object.fromEntries(
    Object.entries(rows).map(([row, { skein, skein_ws, plain, tls, moleculer }]) => {
      const over = (other: Measure): number | null =>
        other.perSecond === 0 ? null : Math.round((skein.perSecond / other.perSecond) * 100) / 100
      const p50 = plain.p50Us === 0 ? null : Math.round((skein.p50Us / plain.p50Us) * 100) / 100
      return [
        row,
        {
          over_plain: over(plain),
          over_tls: over(tls),
          over_own_ws: over(skein_ws),
          over_moleculer: over(moleculer),
          p50_over_plain: p50,
        },
      ]
    }),
  )
  console.log(JSON.stringify({ bench: 'transport', ratios }))
}

if (process.argv[2] === '--serve') {
  const place = await serve(process.argv[3] as SideName, process.argv.slice(4))
  process.on('disconnect', () => process.exit())
  process.send?.(place)
} else {
  await main()
  process.exit()
}
