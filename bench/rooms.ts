/**
 * Broadcasts to WebSocket clients on two nodes, at fixed rates: ours, Socket.IO with its Redis adapter, and the bare sockets: two servers that hand one
 * ready-made frame to every socket, with a TCP connection between them and nothing else, which no server in Node.js can be below. CPU of the servers per
 * delivery, and how long a message takes to the clients of the other node. `added` leaves out what the same servers compute with the same clients while nothing is said. The rounds of both sides are interleaved; medians over rounds, and their ratios. What
 * the clients cost is the same for both: they look at one number in each message and nothing else. Needs redis-server (Debian: apt-get install redis-server).
 *
 *     npx tsx bench/rooms.ts [clients = 500,5000] [ms per round = 4000] [rounds = 3]
 */
import { type ChildProcess, execFileSync, fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { type AddressInfo, connect, createServer as listenOn, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { createAdapter } from '@socket.io/redis-adapter'
import { createClient } from 'redis'
import { Server } from 'socket.io'
import { WebSocket, WebSocketServer } from 'ws'
import { createNode } from '../dist/index.js'

const sides = ['skein', 'socket.io', 'bare'] as const
type Side = (typeof sides)[number]
type Emit = (text: string) => void

const [, , clientsText = '500,5000', msText = '4000', roundsText = '3', role = ''] = process.argv
const roundMs = Number(msText)
/** Messages a second to a room with so many clients: about 10,000 deliveries a second. */
const rateOf = (clients: number): number => Math.max(2, Math.round(10_000 / clients))
const self = fileURLToPath(import.meta.url)
/** Of text as long as a short chat message. */
const padding = 'a'.repeat(74)
const nowMs = (): number => performance.timeOrigin + performance.now()

interface Up {
  readonly port: number
  readonly peer: string
}

// --- servers ------------------------------------------------------------------------------------------------------------

async function serveSkein(dir: string, index: number, peer: string): Promise<{ up: Up; emit: Emit }> {
  const node = await createNode({
    nodeId: `n${index}`,
    dataDir: join(dir, `n${index}`),
    port: 0,
    peerPort: 0,
    logLevel: 'error',
    peers: peer === '' ? [] : [peer],
  })
  const port = Number(node.self.httpAddress.split(':').at(-1))
  return {
    up: { port, peer: node.self.peerAddress },
    emit: (text) => void node.rooms.broadcast('room', text),
  }
}

async function serveSocketIo(redisPort: number): Promise<{ up: Up; emit: Emit }> {
  const http = createServer()
  const io = new Server(http, { transports: ['websocket'], perMessageDeflate: false, pingInterval: 60_000 })
  const publisher = createClient({ url: `redis://127.0.0.1:${redisPort}` })
  const subscriber = publisher.duplicate()
  await Promise.all([publisher.connect(), subscriber.connect()])
  io.adapter(createAdapter(publisher, subscriber))
  io.on('connection', (socket) => void socket.join('room'))
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  return {
    up: { port: (http.address() as AddressInfo).port, peer: '' },
    emit: (text) => void io.to('room').emit('m', text),
  }
}

/** Room, sessions, order, bounds: nothing of it; what the kernel and Node.js take for a frame to each socket. */
async function serveBare(peer: string): Promise<{ up: Up; emit: Emit }> {
  const http = createServer()
  const streams = new Set<Socket>()
  new WebSocketServer({ server: http, perMessageDeflate: false }).on(
    'connection',
    (socket, { socket: stream }) => {
      socket.once('message', () => {
        streams.add(stream)
        socket.send('{"type":"joined"}')
      })
      socket.on('close', () => streams.delete(stream))
    },
  )
  http.listen(0, '127.0.0.1')
  await once(http, 'listening')
  const deliver = (frame: Uint8Array): void => {
    for (const stream of streams) stream.write(frame)
  }
  const others = new Set<Socket>()
  const link = listenOn((other) => void others.add(other.setNoDelay(true))).listen(0, '127.0.0.1')
  await once(link, 'listening')
  if (peer !== '') {
    const from = connect(Number(peer), '127.0.0.1')
    let rest = Buffer.alloc(0)
    // Frames of fewer than 65,536 bytes, with the length in the third and fourth byte.
    from.on('data', (bytes) => {
      rest = Buffer.concat([rest, bytes])
      while (rest.length > 4 && rest.length >= rest.readUInt16BE(2) + 4) {
        const end = rest.readUInt16BE(2) + 4
        deliver(rest.subarray(0, end))
        rest = rest.subarray(end)
      }
    })
    await once(from, 'connect')
  }
  return {
    up: { port: (http.address() as AddressInfo).port, peer: `${(link.address() as AddressInfo).port}` },
    emit: (text) => {
      // As long as ours: with what a client must be told besides the data.
      const said = Buffer.from(
        JSON.stringify({
          type: 'message',
          room: 'room',
          id: 'a1b2c3d4e5f6',
          at: new Date(),
          from: { node: 'n1' },
          data: text,
        }),
      )
      const frame = Buffer.concat([Buffer.from([0x81, 126, said.length >> 8, said.length & 255]), said])
      for (const other of others) other.write(frame)
      deliver(frame)
    },
  }
}

async function serve(text: string): Promise<void> {
  const { side, index, dir, peer, redisPort } = JSON.parse(text) as {
    side: Side
    index: number
    dir: string
    peer: string
    redisPort: number
  }
  const { up, emit } = await {
    skein: () => serveSkein(dir, index, peer),
    'socket.io': () => serveSocketIo(redisPort),
    bare: () => serveBare(peer),
  }[side]()
  let timer: NodeJS.Timeout | undefined
  process.on('message', ({ rate }: { rate: number }) => {
    clearInterval(timer)
    if (rate > 0)
      timer = setInterval(() => emit(`${nowMs().toFixed(3).padStart(18, '0')}${padding}`), 1_000 / rate)
  })
  process.on('disconnect', () => process.exit(0))
  process.send?.(up)
}

// --- clients ------------------------------------------------------------------------------------------------------------

interface Load {
  readonly deliveries: number
  readonly remoteMs: number[]
}

class Clients {
  private readonly sockets: WebSocket[] = []
  private readonly side: Side
  private ready = 0
  private deliveries = 0
  private remoteMs: number[] = []

  constructor(side: Side) {
    this.side = side
  }

  async open(ports: readonly number[], count: number): Promise<void> {
    for (let i = this.sockets.length; i < count; i++) {
      const at = i % ports.length
      const path = this.side === 'socket.io' ? '/socket.io/?EIO=4&transport=websocket' : '/ws'
      const socket = new WebSocket(`ws://127.0.0.1:${ports[at]}${path}`, { perMessageDeflate: false })
      this.sockets.push(socket)
      if (this.side === 'socket.io') this.speakSocketIo(socket, at === 1)
      else this.speakSkein(socket, at === 1)
      if (i % 50 === 49) while (this.ready < this.sockets.length - 100) await sleep(5)
    }
    while (this.ready < count) await sleep(10)
  }

  private heard(data: Buffer, at: number, isRemote: boolean): void {
    this.deliveries++
    if (isRemote) this.remoteMs.push(nowMs() - Number(data.toString('latin1', at, at + 18)))
  }

  private speakSkein(socket: WebSocket, isRemote: boolean): void {
    const data = '"data":"'
    socket.on('open', () => socket.send('{"type":"hello","rooms":[{"room":"room"}]}'))
    socket.on('message', (frame: Buffer) => {
      // {"type":"message", or {"type":"joined"
      if (frame[9] === 0x6d) this.heard(frame, frame.lastIndexOf(data) + data.length, isRemote)
      else if (frame[9] === 0x6a) this.ready++
    })
  }

  private speakSocketIo(socket: WebSocket, isRemote: boolean): void {
    socket.on('message', (frame: Buffer) => {
      if (frame[0] === 0x34 && frame[1] === 0x32) this.heard(frame, 8, isRemote)
      else if (frame[0] === 0x30) socket.send('40')
      else if (frame[0] === 0x34 && frame[1] === 0x30) this.ready++
      else if (frame[0] === 0x32) socket.send('3')
    })
  }

  take(): Load {
    const load = { deliveries: this.deliveries, remoteMs: this.remoteMs }
    this.deliveries = 0
    this.remoteMs = []
    return load
  }

  close(): void {
    for (const socket of this.sockets) socket.terminate()
  }
}

// --- the run ------------------------------------------------------------------------------------------------------------

function sleep(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms))
}

/** Seconds that all threads of a process have computed. */
function cpuOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return (Number(fields[11]) + Number(fields[12])) / 100
}

function quantile(list: readonly number[], share: number): number {
  const sorted = list.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN
}

async function freePort(): Promise<number> {
  const server = listenOn().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

interface Running {
  readonly servers: readonly ChildProcess[]
  readonly pids: readonly number[]
  readonly ports: readonly number[]
}

interface Figures {
  readonly cpuUs: number
  readonly addedCpuUs: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly delivered: number
}

async function start(side: Side, dir: string, redis: { port: number; pid: number }): Promise<Running> {
  const servers: ChildProcess[] = []
  const ups: Up[] = []
  for (const index of [1, 2]) {
    const facts = { side, index, dir, peer: ups[0]?.peer ?? '', redisPort: redis.port }
    const child = fork(self, ['', '', '', JSON.stringify(facts)], {
      execArgv: ['--import', 'tsx'],
      serialization: 'json',
    })
    servers.push(child)
    ups.push(((await once(child, 'message')) as [Up])[0])
  }
  const pids = servers.map((child) => child.pid as number)
  return {
    servers,
    pids: side === 'socket.io' ? [...pids, redis.pid] : pids,
    ports: ups.map(({ port }) => port),
  }
}

/** CPU seconds per second while nothing is said. */
async function idle({ pids }: Running): Promise<number> {
  const before = pids.map(cpuOf)
  const startMs = performance.now()
  await sleep(roundMs)
  const cpu = pids.reduce((sum, pid, i) => sum + cpuOf(pid) - (before[i] as number), 0)
  return (cpu * 1_000) / (performance.now() - startMs)
}

async function round(running: Running, clients: Clients, count: number): Promise<Figures> {
  const { servers, pids } = running
  const rate = rateOf(count)
  const idleCpu = await idle(running)
  servers[0]?.send({ rate })
  await sleep(500)
  clients.take()
  const before = pids.map(cpuOf)
  const startMs = performance.now()
  await sleep(roundMs)
  const { deliveries, remoteMs } = clients.take()
  const seconds = (performance.now() - startMs) / 1_000
  const cpu = pids.reduce((sum, pid, i) => sum + cpuOf(pid) - (before[i] as number), 0)
  servers[0]?.send({ rate: 0 })
  await sleep(300)
  return {
    cpuUs: (cpu * 1e6) / deliveries,
    addedCpuUs: ((cpu - idleCpu * seconds) * 1e6) / deliveries,
    p50Ms: quantile(remoteMs, 0.5),
    p99Ms: quantile(remoteMs, 0.99),
    delivered: deliveries / (rate * count * seconds),
  }
}

async function run(): Promise<void> {
  try {
    execFileSync('redis-server', ['--version'], { stdio: 'ignore' })
  } catch {
    console.log('SKIPPED: redis-server is not installed (Debian: apt-get install redis-server)')
    process.exit(2)
  }
  const dir = mkdtempSync(join(tmpdir(), 'skein-bench-'))
  const redisPort = await freePort()
  const redis = spawn(
    'redis-server',
    ['--bind', '127.0.0.1', '--port', `${redisPort}`, '--save', '', '--appendonly', 'no'],
    {
      stdio: 'ignore',
    },
  )
  process.once('exit', () => {
    redis.kill()
    rmSync(dir, { recursive: true, force: true })
  })
  await sleep(500)
  const ratios: Record<string, number> = {}
  for (const count of clientsText.split(',').map(Number)) {
    const running = new Map<Side, Running>()
    const clients = new Map<Side, Clients>()
    for (const side of sides) {
      const one = await start(side, join(dir, `${count}`), { port: redisPort, pid: redis.pid as number })
      running.set(side, one)
      const some = new Clients(side)
      await some.open(one.ports, count)
      clients.set(side, some)
    }
    const figures: Record<Side, Figures[]> = { skein: [], 'socket.io': [], bare: [] }
    for (let i = 0; i <= Number(roundsText); i++)
      for (const side of sides) {
        const found = await round(running.get(side) as Running, clients.get(side) as Clients, count)
        // The first warms up.
        if (i > 0) figures[side].push(found)
      }
    const median = (side: Side, of: keyof Figures): number =>
      quantile(
        figures[side].map((f) => f[of]),
        0.5,
      )
    console.log(`${count} clients on two nodes, ${rateOf(count)} messages a second from one of them`)
    for (const side of sides)
      console.log(
        `  ${side.padEnd(10)} ${median(side, 'cpuUs').toFixed(2).padStart(7)} µs of server CPU per delivery (${median(side, 'addedCpuUs').toFixed(2)} added), remote p50 ${median(side, 'p50Ms').toFixed(1)} ms, p99 ${median(side, 'p99Ms').toFixed(1)} ms, ${(median(side, 'delivered') * 100).toFixed(0)} % delivered`,
      )
    for (const of of ['cpuUs', 'addedCpuUs', 'p50Ms', 'p99Ms'] as const)
      for (const peer of ['socket.io', 'bare'] as const)
        ratios[`${of}_${count}_to_${peer}`] = Number((median('skein', of) / median(peer, of)).toFixed(2))
    for (const some of clients.values()) some.close()
    for (const { servers } of running.values()) for (const server of servers) server.kill('SIGKILL')
  }
  console.log(JSON.stringify({ bench: 'rooms', ours: ratios }))
  process.exit(0)
}

if (role === '') await run()
else await serve(role)
