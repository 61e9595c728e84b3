/** Real processes for the proofs: nodes started, killed and stopped by pid, all data in a temporary directory that goes away. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '../../..')

export interface NodeFacts {
  readonly id: string
  readonly pid: number
  readonly http: string
  readonly peer: string
}

export class ProcessNode {
  readonly id: string
  private readonly cluster: ProcessCluster
  private child: ChildProcess | undefined
  facts: NodeFacts | undefined
  /** Fixed after the first start, so that a restart is the same node at the same place. */
  private port = 0
  private peerPort = 0
  stderr = ''

  constructor(cluster: ProcessCluster, id: string) {
    this.cluster = cluster
    this.id = id
  }

  get http(): string {
    return this.facts?.http ?? `127.0.0.1:${this.port}`
  }

  get pid(): number {
    return this.child?.pid ?? 0
  }

  get isRunning(): boolean {
    return this.child !== undefined && this.child.exitCode === null && this.child.signalCode === null
  }

  /** Resolves when the node says it is up. */
  start(): Promise<NodeFacts> {
    const peers = this.cluster.nodes.flatMap((n) =>
      n === this || n.peerPort === 0 ? [] : [`127.0.0.1:${n.peerPort}`],
    )
    const args = [
      'start',
      '--json',
      '--node-id',
      this.id,
      '--port',
      String(this.port),
      '--peer-port',
      String(this.peerPort),
      '--data-dir',
      join(this.cluster.dir, this.id),
      '--log-level',
      'warn',
      ...this.cluster.extra,
    ]
    if (peers.length > 0) args.push('--peer', ...peers)
    const [program, ...before] = [...this.cluster.prefix(this.id), process.execPath]
    const child = spawn(program as string, [...before, join(root, 'bin/skein.js'), ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.child = child
    child.stderr.setEncoding('utf8')
    child.stderr.on('data', (text: string) => {
      this.stderr = (this.stderr + text).slice(-20_000)
    })
    return new Promise((up, failed) => {
      let out = ''
      child.stdout.setEncoding('utf8')
      child.stdout.on('data', (text: string) => {
        out += text
        const line = out.split('\n')[0] as string
        if (!out.includes('\n') || this.facts?.pid === child.pid) return
        this.facts = JSON.parse(line) as NodeFacts
        this.port = Number(this.facts.http.split(':').at(-1))
        this.peerPort = Number(this.facts.peer.split(':').at(-1))
        up(this.facts)
      })
      child.once('exit', (code, signal) =>
        failed(new Error(`${this.id} ended (${signal ?? code}): ${this.stderr.slice(-500)}`)),
      )
    })
  }

  signal(signal: NodeJS.Signals): void {
    this.child?.kill(signal)
  }

  /**
   * SIGCONT. A process that was stopped inside a write to the store has been ended by the others, so that they could go on; then it is started
   * again, as `skein up` would. Any other end is an error.
   */
  async resume(): Promise<void> {
    const { child } = this
    child?.kill('SIGCONT')
    await sleep(200)
    if (this.isRunning) return
    if (child?.signalCode !== 'SIGKILL')
      throw new Error(`${this.id} ended with ${child?.exitCode} after SIGCONT: ${this.stderr.slice(-2_000)}`)
    console.log(
      `     ${this.id} was stopped inside a write to the store and ended by the others: started again`,
    )
    await this.start()
  }

  /** kill -9, and wait for the kernel to be done with it. */
  async kill(): Promise<void> {
    const { child } = this
    if (child === undefined || !this.isRunning) return
    const gone = new Promise<void>((done) => child.once('exit', () => done()))
    child.kill('SIGKILL')
    await gone
  }
}

export class ProcessCluster {
  readonly dir = mkdtempSync(join(tmpdir(), 'skein-prove-'))
  readonly nodes: ProcessNode[] = []
  readonly extra: readonly string[]
  readonly prefix: (id: string) => readonly string[]

  /** Flags of every node, and what stands before its command. */
  constructor(extra: readonly string[] = [], prefix: ProcessCluster['prefix'] = () => []) {
    this.extra = extra
    this.prefix = prefix
    process.once('exit', () => this.end())
  }

  /** One more, started; whether the cluster is whole is not looked at. */
  async add(): Promise<ProcessNode> {
    const node = new ProcessNode(this, `node-${this.nodes.length + 1}`)
    this.nodes.push(node)
    await node.start()
    return node
  }

  async start(count: number): Promise<void> {
    for (let i = 1; i <= count; i++) await this.add()
    await until(() => this.isWhole(), 15_000, 'the cluster to be whole')
  }

  /** Everybody sees everybody online, there is a leader, and all shards are open and evenly owned. */
  async isWhole(): Promise<boolean> {
    for (const node of this.nodes) {
      const list = (await json(node.http, '/api/cluster/nodes').catch(() => undefined)) as
        | { nodes: NodeJson[] }
        | undefined
      if (
        list === undefined ||
        list.nodes.filter((n) => n.status === 'online' && n.healthy).length !== this.nodes.length
      )
        return false
      if (!list.nodes.some((n) => n.is_leader)) return false
      const { shards } = (await json(node.http, '/api/cluster/shards')) as {
        shards: { owner: string | null; state: string }[]
      }
      if (shards.some((s) => s.owner === null || s.state !== 'open')) return false
      const counts = new Map<string, number>()
      for (const s of shards) counts.set(s.owner as string, (counts.get(s.owner as string) ?? 0) + 1)
      if (
        counts.size !== this.nodes.length ||
        Math.max(...counts.values()) - Math.min(...counts.values()) > 1
      )
        return false
    }
    return true
  }

  end(): void {
    for (const node of this.nodes) {
      node.signal('SIGCONT')
      node.signal('SIGKILL')
    }
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  }
}

export interface NodeJson {
  readonly id: string
  readonly status: string
  readonly observed: string
  readonly healthy: boolean
  readonly stalled: boolean
  readonly is_leader: boolean
  readonly shards_owned: number
}

export async function json(http: string, path: string, timeoutMs = 2_000): Promise<unknown> {
  const response = await fetch(`http://${http}${path}`, { signal: AbortSignal.timeout(timeoutMs) })
  if (!response.ok) throw new Error(`${path}: HTTP ${response.status} ${await response.text()}`)
  return response.json()
}

export async function publish(
  http: string,
  events: unknown,
  timeoutMs = 10_000,
): Promise<{
  status: number
  body: {
    results?: {
      id: string
      status: string
      shard: number
      offset: number
      error?: { retryable?: boolean; code?: string; detail?: string }
    }[]
  }
}> {
  const text = Array.isArray(events)
    ? events.map((e) => JSON.stringify(e)).join('\n')
    : JSON.stringify(events)
  const response = await fetch(`http://${http}/api/events`, {
    method: 'POST',
    headers: { 'content-type': Array.isArray(events) ? 'application/x-ndjson' : 'application/json' },
    body: text,
    signal: AbortSignal.timeout(timeoutMs),
  })
  return { status: response.status, body: (await response.json()) as never }
}

export function sleep(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms))
}

/** Asks every 5 ms; returns how long it took. Throws what it waited for. */
export async function until(
  isTrue: () => boolean | Promise<boolean>,
  limitMs: number,
  what: string,
): Promise<number> {
  const startMs = performance.now()
  for (;;) {
    if (await isTrue()) return performance.now() - startMs
    if (performance.now() - startMs > limitMs) throw new Error(`waited ${limitMs} ms for ${what}`)
    await sleep(5)
  }
}

export class Verdict {
  private failures = 0

  check(what: string, ok: boolean, figure: string): void {
    console.log(`${ok ? 'ok  ' : 'FAIL'} ${what}: ${figure}`)
    if (!ok) this.failures++
  }

  /** A figure with a limit. In the tests (PROVE_TIMES=off) it is printed and not judged: machines differ, promises do not. */
  within(what: string, ms: number, limitMs: number): void {
    const figure = `${ms.toFixed(0)} ms, at most ${limitMs}`
    if (process.env.PROVE_TIMES === 'off') console.log(`     ${what}: ${figure}`)
    else this.check(what, ms <= limitMs, figure)
  }

  /** Ends the process: 0 when everything held. */
  end(): never {
    console.log(this.failures === 0 ? 'held' : `${this.failures} did not hold`)
    process.exit(this.failures === 0 ? 0 : 1)
  }
}
