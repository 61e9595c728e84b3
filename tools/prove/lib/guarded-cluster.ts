/**
 * A cluster as a careful operator runs it, out of real processes: a cookie or certificates between the nodes, tokens (with certificates also
 * HTTPS) at the HTTP port, its log on file. Each node has loopback addresses of its own, on which the ports are those of the documents, and
 * tells others an address behind which a wiretap may sit.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { Agent as HttpAgent, request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { nodeUri } from '../../../src/core/kernel/certificate-name.js'
import { createCookieFile, type RotationStep, rotateCookieFile } from '../../../src/keys/cookie.js'
import { type MadeCertificate, makeAuthority, makeLeaf } from '../../../src/keys/make-certificates.js'
import { createToken } from '../../../src/keys/tokens.js'
import { sleep } from './cluster.js'

const bin = resolve(import.meta.dirname, '../../../bin/skein.js')
export const clusterName = 'guarded'
export const peerPort = 6745
export const httpPort = 8151
/** The last byte of what a node tells others is so much higher than that of where it listens. */
const outsideFrom = 100

export type Proof = 'cookie' | 'certificates'

export interface Answer {
  readonly status: number
  readonly text: string
}

/** Something that must not be found where people look, and what it is. */
export interface Secret {
  readonly what: string
  readonly value: string
}

export interface MemberJson {
  readonly id: string
  readonly status: string
  readonly observed: string
  readonly lifecycle: string
  readonly healthy: boolean
  readonly stalled: boolean
  readonly is_leader: boolean
  readonly boot_id: string
}

export interface ShardJson {
  readonly shard: number
  readonly owner: string | null
  readonly epoch: number
  readonly state: string
}

/** Why the proofs that need more than one loopback address cannot run here. */
export function isWithoutLoopbacks(what: string): boolean {
  if (process.platform === 'linux') return false
  console.warn(`SKIPPED: ${what}: it needs Linux, where all of 127.0.0.0/8 is loopback`)
  return true
}

export class GuardedNode {
  readonly id: string
  /** Where it listens, and what it tells others. */
  readonly inside: string
  readonly outside: string
  readonly logPath: string
  private readonly cluster: GuardedCluster
  private child: ChildProcess | undefined
  private readonly agent: HttpAgent

  constructor(cluster: GuardedCluster, index: number) {
    this.cluster = cluster
    this.id = `node-${index}`
    this.inside = cluster.address(index)
    this.outside = cluster.tap !== undefined ? cluster.address(outsideFrom + index) : this.inside
    this.logPath = join(cluster.dir, 'seen', `${this.id}.log`)
    this.agent =
      cluster.proof === 'cookie' ? new HttpAgent({ keepAlive: true }) : new HttpsAgent({ keepAlive: true })
  }

  get pid(): number {
    return this.child?.pid ?? 0
  }

  get isRunning(): boolean {
    return this.child !== undefined && this.child.exitCode === null && this.child.signalCode === null
  }

  /** Resolves when the node says it is up; rejects with the end of its log when it ends before. */
  async start(peers: readonly GuardedNode[]): Promise<void> {
    const { cluster } = this
    await cluster.tap?.before(this)
    const log = openSync(this.logPath, 'a', 0o600)
    const args = [
      ...['start', '--json', '--node-id', this.id, '--cluster-name', clusterName, '--shards', '32'],
      ...['--host', this.inside, '--port', String(httpPort)],
      ...['--peer-host', this.inside, '--peer-port', String(peerPort), '--advertise', this.outside],
      ...['--data-dir', join(cluster.dir, 'data', this.id), '--log-level', 'debug'],
      ...['--token-file', cluster.tokenFile, ...cluster.proofFlags(this.id)],
      ...peers.flatMap((peer) => ['--peer', `${peer.outside}:${peerPort}`]),
    ]
    const child = spawn(process.execPath, [...cluster.nodeFlags, bin, ...args], {
      stdio: ['ignore', 'pipe', log],
      // Nothing of this process's surroundings configures a node.
      env: { PATH: process.env.PATH },
    })
    closeSync(log)
    this.child = child
    await new Promise<void>((up, failed) => {
      const ended = (code: number | null, signal: NodeJS.Signals | null): void =>
        failed(new Error(`${this.id} ended (${signal ?? code}): ${this.log().slice(-1_000)}`))
      child.once('exit', ended)
      child.stdout?.once('data', () => {
        child.off('exit', ended)
        up()
      })
    })
  }

  /** All it has written to standard error. */
  log(): string {
    return readFileSync(this.logPath, 'utf8')
  }

  /** Lines of its log that say this. */
  said(event: string): { readonly msg: string; readonly detail?: string }[] {
    return this.log()
      .split('\n')
      .filter((line) => line.includes(`"msg":"${event}"`))
      .map((line) => JSON.parse(line) as { msg: string })
  }

  async kill(): Promise<void> {
    const { child } = this
    if (child === undefined || !this.isRunning) return
    const gone = new Promise<void>((done) => child.once('exit', () => done()))
    child.kill('SIGKILL')
    await gone
  }

  /** Any status is an answer; what gives none in time throws. */
  ask(
    method: string,
    path: string,
    options: {
      readonly body?: string
      readonly token?: string
      readonly headers?: Record<string, string>
      readonly timeoutMs?: number
    } = {},
  ): Promise<Answer> {
    const { body, timeoutMs = 10_000 } = options
    const token = options.token ?? this.cluster.tokens.admin
    const headers = {
      ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...options.headers,
    }
    const to = { host: this.inside, port: httpPort, method, path, headers, agent: this.agent }
    return new Promise((answered, failed) => {
      const take = (response: import('node:http').IncomingMessage): void => {
        const chunks: Buffer[] = []
        response.on('data', (chunk: Buffer) => chunks.push(chunk))
        response.once('error', failed)
        response.once('end', () =>
          answered({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
        )
      }
      const asked =
        this.cluster.proof === 'cookie'
          ? httpRequest(to, take)
          : httpsRequest({ ...to, ca: this.cluster.authorities() }, take)
      asked.once('error', failed)
      asked.setTimeout(timeoutMs, () =>
        asked.destroy(new Error(`${this.id} ${path}: no answer in ${timeoutMs} ms`)),
      )
      asked.end(body)
    })
  }

  async get(path: string): Promise<never> {
    const { status, text } = await this.ask('GET', path)
    if (status !== 200) throw new Error(`${this.id} ${path}: HTTP ${status} ${text.slice(0, 300)}`)
    return JSON.parse(text) as never
  }

  async members(): Promise<readonly MemberJson[]> {
    return ((await this.get('/api/cluster/nodes')) as { nodes: MemberJson[] }).nodes
  }

  async shards(): Promise<readonly ShardJson[]> {
    return ((await this.get('/api/cluster/shards')) as { shards: ShardJson[] }).shards
  }

  /** Names of what it tells of in its history. */
  async history(): Promise<readonly string[]> {
    const { events } = (await this.get('/api/cluster/history?limit=1000')) as { events: { event: string }[] }
    return events.map(({ event }) => event)
  }

  /** All ids of a stream as this node reads them back, in its order. */
  async readAll(stream: string): Promise<string[]> {
    const ids: string[] = []
    let after = ''
    for (;;) {
      const page = (await this.get(`/api/events?stream=${stream}&limit=1000${after}`)) as {
        events: { id: string }[]
        next_cursor?: string
        incomplete?: unknown[]
      }
      if (page.incomplete !== undefined && page.incomplete.length > 0)
        throw new Error(`${this.id} cannot read all: ${JSON.stringify(page.incomplete[0])}`)
      for (const { id } of page.events) ids.push(id)
      if (page.next_cursor === undefined) return ids
      after = `&after=${page.next_cursor}`
    }
  }

  end(): void {
    this.agent.destroy()
    this.child?.kill('SIGKILL')
  }
}

interface ClusterOptions {
  /** Sits behind what the nodes tell others; told of each start beforehand. */
  readonly tap?: { before(node: GuardedNode): Promise<void> } | undefined
  /** Of Node itself. */
  readonly nodeFlags?: readonly string[]
}

export class GuardedCluster {
  readonly dir = mkdtempSync(join(tmpdir(), 'skein-guarded-'))
  readonly proof: Proof
  readonly tap: ClusterOptions['tap']
  readonly nodeFlags: readonly string[]
  readonly nodes: GuardedNode[] = []
  readonly tokenFile: string
  tokens: { readonly viewer: string; readonly operator: string; readonly admin: string }
  /** Of everything that was ever in force. */
  readonly secrets: Secret[] = []
  private readonly keys = join(this.dir, 'keys')
  private readonly masterCookie = join(this.keys, 'cookie')
  /** Signs; the first one does, all are trusted. */
  private trusted: MadeCertificate[] = []

  constructor(proof: Proof, options: ClusterOptions = {}) {
    this.proof = proof
    this.tap = options.tap
    this.nodeFlags = options.nodeFlags ?? []
    for (const name of ['keys', 'data', 'seen']) mkdirSync(join(this.dir, name), { mode: 0o700 })
    this.tokenFile = join(this.keys, 'tokens')
    const make = (role: 'viewer' | 'operator' | 'admin') => {
      const value = createToken(this.tokenFile, role, `the-${role}`)
      this.secrets.push({ what: `the token of the ${role}`, value })
      return value
    }
    this.tokens = { viewer: make('viewer'), operator: make('operator'), admin: make('admin') }
    process.once('exit', () => this.end())
  }

  /** 127.0.0.0/8 has room for all that run at one time. */
  address(last: number): string {
    return `127.${64 + ((process.pid >> 8) & 63)}.${process.pid & 255}.${last}`
  }

  async start(count: number): Promise<void> {
    if (this.proof === 'cookie') {
      createCookieFile(this.masterCookie)
      this.keepCookies()
    } else await this.trust('first')
    for (let i = 1; i <= count; i++) await this.add()
    await this.untilWhole()
  }

  /** One more node, which joins through the others. */
  async add(): Promise<GuardedNode> {
    const node = new GuardedNode(this, this.nodes.length + 1)
    await this.handOut(node.id)
    await node.start(this.nodes)
    this.nodes.push(node)
    return node
  }

  /** Keys of now for one that comes late. */
  async makeLatecomer(): Promise<() => Promise<string>> {
    const node = new GuardedNode(this, 90)
    await this.handOut(node.id)
    return () => this.join(node)
  }

  /** How the process of a node that should not get in ended. */
  private async join(node: GuardedNode): Promise<string> {
    try {
      await node.start(this.nodes)
      return 'it is up'
    } catch (error) {
      return error instanceof Error ? error.message : String(error)
    } finally {
      node.end()
    }
  }

  // --- keys ------------------------------------------------------------------------------------------------------------

  proofFlags(id: string): string[] {
    const at = (name: string): string => join(this.keys, name)
    if (this.proof === 'cookie') return ['--cookie-file', at(`cookie-${id}`)]
    const files = [
      '--tls-ca',
      at(`ca-${id}.crt`),
      '--tls-cert',
      at(`${id}.crt`),
      '--tls-key',
      at(`${id}.key`),
    ]
    return [...files, '--https-cert', at(`${id}.crt`), '--https-key', at(`${id}.key`)]
  }

  /** The cookies now in force, the one that is shown first. */
  cookies(): string[] {
    return readFileSync(this.masterCookie, 'utf8').trim().split('\n')
  }

  authorities(): string {
    return this.trusted.map(({ cert }) => cert).join('')
  }

  /** What a node has, in PEM. */
  certificateOf(id: string): { readonly ca: string; readonly cert: string; readonly key: string } {
    const read = (name: string): string => readFileSync(join(this.keys, name), 'utf8')
    return { ca: read(`ca-${id}.crt`), cert: read(`${id}.crt`), key: read(`${id}.key`) }
  }

  /** A member's own, for a client that knows what a member knows. */
  leaf(name: string): Promise<MadeCertificate> {
    const signer = this.trusted[0] as MadeCertificate
    return makeLeaf(signer, { name, uri: nodeUri(clusterName, name), hosts: [], isServer: true, days: 1 })
  }

  /** A step of changing the cookie, for all nodes. Resolves when each has taken it. */
  async rotateCookie(step: RotationStep): Promise<void> {
    rotateCookieFile(this.masterCookie, step)
    this.keepCookies()
    await this.change('cookies.changed', (id) => this.handOut(id))
  }

  /** New certificates for all nodes, of a new authority or the same, and which authorities are trusted meanwhile. */
  async rotateCertificates(step: 'renew' | 'trust both' | 'use the new' | 'drop the old'): Promise<void> {
    if (step === 'trust both') await this.trust('second')
    if (step === 'use the new') this.trusted.reverse()
    if (step === 'drop the old') this.trusted.pop()
    const isForLeaves = step === 'renew' || step === 'use the new'
    await this.change('certificate.changed', (id) => this.handOut(id, isForLeaves))
  }

  private async change(event: string, hand: (id: string) => Promise<void>): Promise<void> {
    const before = this.nodes.map((node) => node.said(event).length)
    for (const { id } of this.nodes) await hand(id)
    await until(
      async () => this.nodes.every((node, i) => node.said(event).length > (before[i] as number)),
      15_000,
      () => `every node to say ${event}`,
    )
  }

  private keepCookies(): void {
    for (const value of this.cookies())
      if (!this.secrets.some((secret) => secret.value === value))
        this.secrets.push({ what: 'a cookie', value })
  }

  private async trust(name: string): Promise<void> {
    const made = await makeAuthority(clusterName, 10)
    this.trusted.push(made)
    this.secrets.push({ what: `the key of the ${name} authority`, value: made.key })
  }

  private async handOut(id: string, isNewLeaf = true): Promise<void> {
    if (this.proof === 'cookie') {
      this.put(`cookie-${id}`, `${this.cookies().join('\n')}\n`)
      return
    }
    if (isNewLeaf) {
      const signer = this.trusted[0] as MadeCertificate
      const hosts = [this.address(Number(id.split('-').at(-1)))]
      const made = await makeLeaf(signer, {
        name: id,
        uri: nodeUri(clusterName, id),
        hosts,
        isServer: true,
        days: 1,
      })
      this.secrets.push({ what: `a key of ${id}`, value: made.key })
      this.put(`${id}.key`, made.key)
      this.put(`${id}.crt`, made.cert)
    }
    this.put(`ca-${id}.crt`, this.authorities())
  }

  private put(name: string, text: string): void {
    const path = join(this.keys, name)
    writeFileSync(`${path}.new`, text, { mode: 0o600 })
    renameSync(`${path}.new`, path)
  }

  // --- state -----------------------------------------------------------------------------------------------------------

  /** Why the cluster is not whole, or undefined: all see exactly each other, well, one leader, every shard open, shared out evenly. */
  async whyNotWhole(): Promise<string | undefined> {
    const leaders = new Set<string>()
    for (const node of this.nodes) {
      const members = await node.members().catch((error: Error) => error.message)
      if (typeof members === 'string') return members
      const ids = members.map(({ id }) => id).sort()
      const wanted = this.nodes.map(({ id }) => id).sort()
      if (ids.join() !== wanted.join())
        return `${node.id} knows ${ids.length} members: ${ids.slice(0, 9).join()}`
      const bad = members.find((m) => m.status !== 'online' || !m.healthy || m.stalled)
      if (bad !== undefined)
        return `${node.id} says ${bad.id} is ${bad.status}${bad.stalled ? ', stalled' : ''}`
      leaders.add(members.find((m) => m.is_leader)?.id ?? '')
      const shards = await node.shards()
      const idle = shards.find((s) => s.owner === null || s.state !== 'open')
      if (idle !== undefined) return `${node.id}: shard ${idle.shard} of ${idle.owner} is ${idle.state}`
      const counts = this.nodes.map(({ id }) => shards.filter(({ owner }) => owner === id).length)
      if (Math.max(...counts) - Math.min(...counts) > 1)
        return `shards are shared out as ${counts.join(', ')}`
    }
    return leaders.size === 1 && !leaders.has('') ? undefined : `leaders: ${[...leaders].join()}`
  }

  async untilWhole(limitMs = 30_000): Promise<number> {
    let why: string | undefined
    return until(
      async () => {
        why = await this.whyNotWhole()
        return why === undefined
      },
      limitMs,
      () => `the cluster to be whole: ${why}`,
    )
  }

  end(): void {
    for (const node of this.nodes) node.end()
    if (process.env.PROVE_KEEP !== undefined) console.log(`     kept: ${this.dir}`)
    else rmSync(this.dir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })
  }
}

/** Asks every 50 ms; returns how long it took. */
async function until(isTrue: () => Promise<boolean>, limitMs: number, what: () => string): Promise<number> {
  const startMs = performance.now()
  for (;;) {
    if (await isTrue()) return performance.now() - startMs
    if (performance.now() - startMs > limitMs) throw new Error(`waited ${limitMs} ms for ${what()}`)
    await sleep(50)
  }
}
