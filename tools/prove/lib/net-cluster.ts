/**
 * A cluster on network namespaces: nodes with addresses of their own, etcd members beside some of them, PostgreSQL on a host of
 * its own, and at each node a client that publishes, samples and reads back. Everything observed goes into one history.
 */
import {
  appendFileSync,
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { findPostgres } from '../../../test/journal/postgres-server.js'
import { findEtcd } from '../../../test/store/etcd-server.js'
import { sleep, until } from './cluster.js'
import type { HistoryRecord, StatusRecord } from './history.js'
import { NetPostgres } from './net-postgres.js'
import { type LabProcess, NetLab } from './netlab.js'

const root = resolve(import.meta.dirname, '../../..')
const journalHost = 'journal'
const httpPort = 8151
const peerPort = 6745

export interface NetClusterOptions {
  readonly nodes: number
  /** At which nodes (from 1) an etcd member lives. Ignored with another store. */
  readonly etcdAt?: readonly number[]
  /** Instead of those members: a value for --store. */
  readonly store?: string
  /** All nodes on one machine, with SQLite for store and journal; instead of the other engines. */
  readonly isOneHost?: boolean
  /** A value for --journal; PostgreSQL on a host of its own when absent. */
  readonly journal?: string
  readonly shards?: number
  readonly workers?: number
  readonly paceMs?: number
  readonly keys?: number
  /** Where the history is written. */
  readonly history: string
  /** A lease's time, as the preset has it: 5 s with lan. */
  readonly ttlMs?: number
  readonly backMsMax?: number
  /** For every node, beside what it is told anyway. */
  readonly extra?: readonly string[]
}

/** ms of CLOCK_MONOTONIC, as the clients have it. */
export function nowMs(): number {
  return Number(process.hrtime.bigint()) / 1e6
}

/** Why a cluster with these engines cannot be had; undefined when it can. */
export function missingEngine(): string | undefined {
  if (findEtcd() === undefined) return 'no etcd (Debian: apt-get install etcd-server)'
  if (findPostgres() === undefined) return 'no PostgreSQL (Debian: apt-get install postgresql)'
  return undefined
}

export class NetCluster {
  readonly lab: NetLab
  readonly names: readonly string[]
  readonly dir = mkdtempSync(join(tmpdir(), 'skein-network-'))
  readonly records: HistoryRecord[] = []
  /** The last status sample of each node. */
  readonly latest = new Map<string, StatusRecord>()
  readonly stderr = new Map<string, string>()
  private readonly options: NetClusterOptions
  private readonly nodes = new Map<string, LabProcess>()
  private readonly members = new Map<string, LabProcess>()
  private readonly clients = new Map<string, LabProcess>()
  private readonly file: number
  readonly postgres: NetPostgres
  private hasEnded = false
  private readonly onExit = () => this.end()

  constructor(options: NetClusterOptions) {
    this.options = options
    this.names = Array.from({ length: options.nodes }, (_, i) => `n${i + 1}`)
    this.lab = new NetLab([...this.names, journalHost])
    // PostgreSQL runs as a user of its own and has its directory in here.
    chmodSync(this.dir, 0o711)
    this.postgres = new NetPostgres(this.lab, journalHost, join(this.dir, 'postgres'), (text) =>
      this.keep(journalHost, text),
    )
    mkdirSync(this.diskAt)
    for (const name of this.names) mkdirSync(this.diskOf(name))
    mkdirSync(join(options.history, '..'), { recursive: true })
    this.file = openSync(options.history, 'w')
    process.once('exit', this.onExit)
    this.note({
      k: 'meta',
      nodes: this.names,
      ttlMs: options.ttlMs ?? 5_000,
      backMsMax: options.backMsMax ?? 5_000,
    })
  }

  note(record: HistoryRecord): void {
    this.records.push(record)
    writeSync(this.file, `${JSON.stringify(record)}\n`)
    if (record.k === 'status') this.latest.set(record.n, record)
  }

  /** Engines, nodes and clients; resolves when all nodes see all others. */
  async start(): Promise<void> {
    if (this.options.isOneHost !== true) {
      if (this.options.journal === undefined) await this.postgres.start()
      if (this.options.store === undefined) await this.startEtcd()
    }
    await this.startNodes()
    this.startClients()
    await this.command('sample')
    await this.allWell(30_000)
  }

  async startNodes(): Promise<void> {
    await Promise.all(this.names.map((name) => this.startNode(name)))
  }

  startClients(): void {
    for (const name of this.names) this.startClient(name)
  }

  /** A node under its name, on what data it has. Resolves when it says that it is up. */
  startNode(name: string): Promise<void> {
    const isOneHost = this.options.isOneHost === true
    const peers = this.names
      .filter((other) => other !== name)
      .map((o) => `${this.lab.address(o)}:${peerPort}`)
    const node = this.lab.spawn(
      name,
      process.execPath,
      [
        ...[join(root, 'bin/skein.js'), 'start', '--json', '--node-id', name],
        ...['--port', String(httpPort), '--peer-port', String(peerPort), '--log-level', 'info'],
        ...['--peer-host', this.lab.address(name), '--peer', ...peers],
        ...[
          '--data-dir',
          join(isOneHost ? this.diskOf(name) : this.diskAt, 'node'),
          '--shards',
          String(this.options.shards ?? 32),
        ],
        ...['--store', this.store, '--journal', this.journal],
        ...(this.options.extra ?? []),
      ],
      {
        env: { SKEIN_COOKIE: 'a-cookie-of-the-network-tests-only-0123456789' },
        // Were the others' life locks in sight, deaths would be proved that no other machine could prove.
        ...(isOneHost ? {} : { disk: { from: this.diskOf(name), at: this.diskAt } }),
      },
    )
    this.nodes.set(name, node)
    this.keepComplaints(name, node)
    return new Promise((up, failed) => {
      node.child.stdout?.once('data', () => up())
      node.child.once('exit', (code, signal) => {
        const how = `${signal ?? code}: ${this.stderr.get(name)?.slice(-1_500)}`
        failed(new Error(`${name} ended with ${how}`))
        if (this.nodes.get(name) === node && !this.hasEnded)
          this.note({ k: 'exit', n: name, t: nowMs(), how })
      })
    })
  }

  /** kill -9; on purpose, so the history has no record of it. */
  async killNode(name: string): Promise<void> {
    const node = this.nodes.get(name)
    this.nodes.delete(name)
    await node?.kill()
  }

  /** The disk of a node is gone, and an empty one is in its place. */
  loseDisk(name: string): void {
    rmSync(this.diskOf(name), { recursive: true, force: true })
    mkdirSync(this.diskOf(name))
  }

  private diskOf(name: string): string {
    return join(this.dir, `disk-${name}`)
  }

  /** Where each node finds its own disk. */
  private get diskAt(): string {
    return join(this.dir, 'disk')
  }

  startMember(name: string): void {
    const at = (node: string, port: number) => `http://${this.lab.address(node)}:${port}`
    const member = this.lab.spawn(name, findEtcd() ?? 'etcd', [
      `--name=${name}`,
      `--data-dir=${join(this.dir, `${name}-etcd`)}`,
      `--listen-client-urls=${at(name, 2379)}`,
      `--advertise-client-urls=${at(name, 2379)}`,
      `--listen-peer-urls=${at(name, 2380)}`,
      `--initial-advertise-peer-urls=${at(name, 2380)}`,
      `--initial-cluster=${this.etcdNames.map((each) => `${each}=${at(each, 2380)}`).join(',')}`,
      '--initial-cluster-token=network-test',
      // As is the default from 3.5 on: without it, a member that was cut off makes the others elect anew when it comes back.
      '--pre-vote',
      ...['--logger=zap', '--log-level=warn', '--log-outputs=stderr'],
    ])
    this.members.set(name, member)
    this.keepComplaints(`${name}-etcd`, member)
  }

  async killMember(name: string): Promise<void> {
    const member = this.members.get(name)
    this.members.delete(name)
    await member?.kill()
  }

  /** SIGSTOP or SIGCONT to etcd members: their connections stay open. */
  signalMembers(names: readonly string[], signal: 'SIGSTOP' | 'SIGCONT'): void {
    for (const name of names) this.members.get(name)?.signal(signal)
  }

  get etcdNames(): readonly string[] {
    return (this.options.etcdAt ?? []).map((at) => `n${at}`)
  }

  /** Every client does it; rejects when one does not answer in time. */
  async command(command: 'load' | 'sample' | 'rest' | 'read', names = this.names): Promise<void> {
    const before = this.records.length
    for (const name of names) this.clients.get(name)?.child.stdin?.write(`${command}\n`)
    const isDone = (name: string) =>
      this.records.slice(before).some((r) => r.k === 'done' && r.n === name && r.command === command)
    await until(() => names.every(isDone), 60_000, `"${command}" at ${names.join(', ')}`)
  }

  get leader(): string | undefined {
    const newest = [...this.latest.values()].filter((s) => s.leader != null)
    newest.sort((a, b) => (b.term ?? 0) - (a.term ?? 0))
    return newest[0]?.leader ?? undefined
  }

  /** A fault from when it is there to when it is gone; then time for all to come back, which the checker judges. */
  async fault(
    name: string,
    minority: readonly string[],
    fault: { readonly begin: () => Promise<void> | void; readonly ms: number; readonly undo?: () => void },
  ): Promise<void> {
    const began = nowMs()
    await fault.begin()
    const t0 = nowMs()
    await sleep(fault.ms)
    const t1 = nowMs()
    fault.undo?.()
    this.lab.heal()
    const t2 = nowMs()
    this.note({ k: 'fault', name, began, t0, t1, t2, minority })
    await this.allWell(30_000, t2)
    const acknowledges = (name: string) =>
      this.records.some((r) => r.k === 'op' && r.n === name && r.t0 > t2 && r.shard !== undefined)
    await until(() => this.names.every(acknowledges), 30_000, 'all nodes to acknowledge').catch(
      () => undefined,
    )
    // Samples and acknowledgements of a quiet network between two faults.
    await sleep(2_000)
  }

  /** Waits until each node has said, after that time, that all is well. Gives up silently: the checker has the last word. */
  async allWell(limitMs: number, afterMs = nowMs()): Promise<boolean> {
    const isWell = (name: string) => {
      const s = this.latest.get(name)
      return (
        s !== undefined &&
        s.t0 > afterMs &&
        s.quorum === true &&
        s.leader != null &&
        (s.leaseMs ?? 0) > 0 &&
        s.healthy === this.names.length - 1
      )
    }
    return await until(() => this.names.every(isWell), limitMs, 'all nodes to be well').then(
      () => true,
      () => false,
    )
  }

  /** The load ends, and every node reads back what is stored. */
  async finish(): Promise<void> {
    await this.command('rest')
    await this.command('read')
  }

  end(): void {
    if (this.hasEnded) return
    this.hasEnded = true
    process.off('exit', this.onExit)
    this.lab.end()
    closeSync(this.file)
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
  }

  private get store(): string {
    if (this.options.isOneHost === true) return `sqlite:${join(this.dir, 'store.db')}`
    const servers = this.etcdNames.map((name) => `${this.lab.address(name)}:2379`)
    return this.options.store ?? `etcd://${servers.join(',')}`
  }

  private get journal(): string {
    if (this.options.isOneHost === true) return `sqlite:${join(this.dir, 'journal')}`
    return this.options.journal ?? this.postgres.url
  }

  private startClient(name: string): void {
    const { workers = 3, paceMs = 150, keys = 40 } = this.options
    const client = this.lab.spawn(
      name,
      process.execPath,
      [join(import.meta.dirname, 'net-client.mjs'), name, String(workers), String(paceMs), String(keys)],
      { stdio: ['pipe', 'pipe', 'pipe'] },
    )
    this.clients.set(name, client)
    this.keepComplaints(`${name}-client`, client)
    createInterface({ input: client.child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      if (!this.hasEnded) this.note(JSON.parse(line) as HistoryRecord)
    })
  }

  private async startEtcd(): Promise<void> {
    for (const name of this.etcdNames) this.startMember(name)
    await this.membersHealthy()
  }

  /** Asks from inside the namespaces, where alone they can be reached. */
  async membersHealthy(): Promise<void> {
    const ask = `
      const url = process.argv[1]
      for (let i = 0; i < 200; i++) {
        const text = await fetch(url, { signal: AbortSignal.timeout(1000) }).then((r) => r.text(), () => '')
        if (text.includes('"true"')) process.exit(0)
        await new Promise((r) => setTimeout(r, 100))
      }
      process.exit(1)`
    await Promise.all(
      this.etcdNames.map(async (name) => {
        const url = `http://${this.lab.address(name)}:2379/health`
        const asking = this.lab.spawn(name, process.execPath, ['--input-type=module', '-e', ask, url])
        const code = await new Promise((done) => asking.child.once('exit', done))
        if (code !== 0) throw new Error(`etcd at ${name} is not healthy: ${this.stderr.get(`${name}-etcd`)}`)
      }),
    )
  }

  private keepComplaints(name: string, from: LabProcess): void {
    from.child.stderr?.setEncoding('utf8')
    from.child.stderr?.on('data', (text: string) => this.keep(name, text))
  }

  /** With PROVE_LOGS, in a file of that directory as well. */
  private keep(name: string, text: string): void {
    if (process.env.PROVE_LOGS !== undefined)
      appendFileSync(join(process.env.PROVE_LOGS, `${name}.log`), text)
    this.stderr.set(name, `${this.stderr.get(name) ?? ''}${text}`.slice(-400_000))
  }
}
