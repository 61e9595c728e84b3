/**
 * `skein up`: a local cluster in one terminal: real processes, each with its own colour, restarted when they die, drained with Ctrl-C.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { mkdirSync } from 'node:fs'
import { createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { exchange } from '../client.js'
import { onThisMachine, type SkeinCommand } from '../command.js'
import { CliFailure, exitCodes } from '../exit.js'
import { paint, print } from '../output.js'
import { whole } from '../remote.js'

const colours = ['cyan', 'magenta', 'yellow', 'green', 'blue', 'red'] as const
const nodesMax = 16
const readyTimeoutMs = 30_000
const restartPauseMs = 300
/** A node that ended so often in a row without staying up is not going to. */
const failedStartsMax = 8
/** npm passes on a Ctrl-C that the terminal has sent already: not a second one. */
const sameSignalMs = 400

interface LocalNode {
  readonly id: string
  readonly port: number
  readonly peerPort: number
  readonly label: string
  child: ChildProcess | undefined
  starts: number
}

interface UpOptions {
  readonly nodes: string
  readonly dir: string
  readonly json?: boolean
  readonly restart: boolean
  readonly port: string
  readonly peerPort: string
}

export function addUp(program: SkeinCommand): void {
  onThisMachine(
    program
      .command('up')
      .description('a local cluster with its dashboard, in this terminal')
      .details(
        'Real processes, each started again when it dies. Ctrl-C drains and stops all, a second one ends them at once. SKEIN_* variables reach the nodes.',
      )
      .option('--nodes <n>', `how many, 1 to ${nodesMax}`, '3')
      .option('--dir <directory>', 'where the nodes keep their data', '.skein')
      .option('--port <port>', 'first HTTP port to try', '8151')
      .option('--peer-port <port>', 'first peer port to try', '6745')
      .option('--no-restart', 'leave a node that died alone')
      .example('skein up --nodes 3', 'three nodes; what to try next is printed')
      .example('SKEIN_PRESET=local skein up --nodes 5 --dir five', 'five, somewhere else'),
    'one line of JSON when the cluster is ready',
  ).action(async (options: UpOptions) => {
    await new LocalCluster(options).run()
  })
}

class LocalCluster {
  private readonly options: UpOptions
  private readonly nodes: LocalNode[] = []
  private stopping = false
  private stoppedAtMs = 0

  constructor(options: UpOptions) {
    this.options = options
  }

  async run(): Promise<void> {
    const count = whole('--nodes', this.options.nodes, 1, nodesMax)
    const dir = resolve(this.options.dir)
    let port = whole('--port', this.options.port, 1, 65_535)
    let peerPort = whole('--peer-port', this.options.peerPort, 1, 65_535)
    makeDirectory(dir)
    for (let i = 1; i <= count; i++) {
      port = await freePort(port)
      peerPort = await freePort(peerPort)
      const id = `node-${i}`
      this.nodes.push({
        id,
        port: port++,
        peerPort: peerPort++,
        label: paint(colours[(i - 1) % colours.length] as (typeof colours)[number], id),
        child: undefined,
        starts: 0,
      })
    }
    process.on('SIGINT', () => this.stop('SIGINT'))
    process.on('SIGTERM', () => this.stop('SIGTERM'))
    process.on('SIGHUP', () => this.stop('SIGHUP'))
    process.on('exit', () => {
      for (const node of this.nodes) node.child?.kill('SIGKILL')
    })
    const ends = this.nodes.map((node) => this.supervise(node, dir))
    if (await this.ready()) this.announce()
    await Promise.all(ends)
    process.exit(exitCodes.ok)
  }

  /** Starts the node again whenever it ends by itself. */
  private async supervise(node: LocalNode, dir: string): Promise<void> {
    while (!this.stopping) {
      const { code, signal } = await this.start(node, dir)
      if (this.stopping) return
      this.say(node, `ended (${signal ?? `exit code ${code}`})`)
      if (!this.options.restart) return
      if (code === exitCodes.usage || node.starts > failedStartsMax) {
        throw new CliFailure(exitCodes.failed, `${node.id} cannot be started: see its last words above`)
      }
      // One that keeps dying is tried less and less often.
      await new Promise((done) => setTimeout(done, restartPauseMs * Math.min(20, node.starts)))
      if (!this.stopping) this.say(node, 'is started again')
    }
  }

  private start(
    node: LocalNode,
    dir: string,
  ): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    const startedAt = Date.now()
    node.starts++
    const peers = this.nodes.filter((n) => n !== node).map((n) => `127.0.0.1:${n.peerPort}`)
    const args = [
      'start',
      '--node-id',
      node.id,
      '--port',
      String(node.port),
      '--peer-port',
      String(node.peerPort),
      '--data-dir',
      join(dir, node.id),
      '--allow-exec',
      '--log-format',
      'pretty',
    ]
    if (peers.length > 0) args.push('--peer', ...peers)
    const child = spawn(
      process.execPath,
      [fileURLToPath(new URL('../../../bin/skein.js', import.meta.url)), ...args],
      // In a group of its own: a Ctrl-C of the terminal must reach it through us only, and once.
      { stdio: ['ignore', 'pipe', 'pipe'], detached: true },
    )
    node.child = child
    for (const stream of [child.stdout, child.stderr]) this.relay(node, stream)
    return new Promise((done) => {
      child.once('error', (error) => this.say(node, error.message))
      child.once('close', (code, signal) => {
        node.child = undefined
        if (Date.now() - startedAt > 10_000) node.starts = 1
        done({ code, signal })
      })
    })
  }

  private relay(node: LocalNode, stream: NodeJS.ReadableStream): void {
    let rest = ''
    stream.setEncoding('utf8')
    stream.on('data', (chunk: string) => {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) this.say(node, line)
    })
  }

  private say(node: LocalNode, line: string): void {
    process.stderr.write(`${node.label} | ${line}\n`)
  }

  private async ready(): Promise<boolean> {
    const deadline = Date.now() + readyTimeoutMs
    while (Date.now() < deadline && !this.stopping) {
      const states = await Promise.all(this.nodes.map((n) => this.sees(n)))
      if (states.every((seen) => seen === this.nodes.length)) return true
      await new Promise((done) => setTimeout(done, 150))
    }
    if (!this.stopping)
      process.stderr.write(
        `the cluster is not whole after ${readyTimeoutMs / 1_000} s; see the lines above\n`,
      )
    return false
  }

  /** How many nodes this one sees online, with a leader and every shard owned; 0 otherwise. */
  private async sees(node: LocalNode): Promise<number> {
    try {
      // With tokens set, SKEIN_TOKEN_FILE reaches the nodes and SKEIN_TOKEN this question.
      const client = { addr: `127.0.0.1:${node.port}`, token: process.env.SKEIN_TOKEN }
      const { status, body } = await exchange(client, 'GET', '/readyz', undefined, 1_000)
      if (status !== 200 || body === undefined) return 0
      const answer = await exchange(client, 'GET', '/api/cluster/nodes', undefined, 1_000)
      // Without a token there is no more to be seen than that this one is ready.
      if (answer.status === 401) return this.nodes.length
      const nodes = answer.body as { nodes?: { status: string; is_leader: boolean }[] }
      if (nodes.nodes?.some((n) => n.is_leader) !== true) return 0
      return nodes.nodes.filter((n) => n.status === 'online').length
    } catch {
      // Not up yet: asked again in a moment, until the deadline.
      return 0
    }
  }

  private announce(): void {
    if (this.options.json === true) {
      print(
        JSON.stringify({
          nodes: this.nodes.map((n) => ({
            id: n.id,
            pid: n.child?.pid,
            http: `127.0.0.1:${n.port}`,
            peer: `127.0.0.1:${n.peerPort}`,
          })),
        }),
      )
      return
    }
    const [first, second] = this.nodes as [LocalNode, LocalNode | undefined]
    const url = `http://127.0.0.1:${first.port}`
    print('')
    print(paint('bold', `${this.nodes.length} nodes, one cluster. Dashboard: ${url}/`))
    for (const n of this.nodes) print(`  ${n.label}  http://127.0.0.1:${n.port}/  pid ${n.child?.pid}`)
    print('Try, in another terminal:')
    print(`  curl -s ${url}/api/cluster/status`)
    print(
      `  curl -s -XPOST ${url}/api/events -H 'content-type: application/json' -d '{"stream":"demo","key":"alice","type":"hello","payload":{"n":1}}'`,
    )
    print(`  curl -s '${`http://127.0.0.1:${(second ?? first).port}`}/api/events?stream=demo&key=alice'`)
    print('  node bin/skein.js top')
    if (second !== undefined)
      print(`Now break it:  kill -9 ${second.child?.pid}   (watch the dashboard; it comes back by itself)`)
    print('Ctrl-C drains and stops all.')
    print('')
  }

  private stop(signal: NodeJS.Signals): void {
    const now = Date.now()
    if (this.stopping) {
      if (now - this.stoppedAtMs < sameSignalMs) return
      for (const node of this.nodes) node.child?.kill('SIGKILL')
      process.exit(exitCodes.failed)
    }
    this.stopping = true
    this.stoppedAtMs = now
    process.stderr.write(`${signal}: draining; once more ends at once\n`)
    for (const node of this.nodes) node.child?.kill('SIGTERM')
  }
}

function makeDirectory(dir: string): void {
  try {
    mkdirSync(dir, { recursive: true, mode: 0o700 })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new CliFailure(exitCodes.failed, `data_dir_unusable: ${dir} cannot be made: ${code ?? message}`)
  }
}

/** The first port from `from` on, of at most 200, that is free for TCP and UDP. */
async function freePort(from: number): Promise<number> {
  for (let port = from; port < from + 200 && port < 65_536; port++) {
    if ((await isFreeTcp(port)) && (await isFreeUdp(port))) return port
  }
  throw new CliFailure(exitCodes.failed, `no free port from ${from} to ${from + 199}`)
}

function isFreeTcp(port: number): Promise<boolean> {
  return new Promise((done) => {
    const server = createServer()
    server.once('error', () => done(false))
    server.listen(port, '127.0.0.1', () => server.close(() => done(true)))
  })
}

function isFreeUdp(port: number): Promise<boolean> {
  return new Promise((done) => {
    const socket = createSocket('udp4')
    socket.once('error', () => socket.close(() => done(false)))
    socket.bind(port, '127.0.0.1', () => socket.close(() => done(true)))
  })
}
