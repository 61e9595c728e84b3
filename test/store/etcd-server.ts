/**
 * Real etcd servers for tests and proofs: one member or several on free loopback ports, with data in a directory of their own,
 * that can be killed, paused, resumed, started again, and end by pid. They die with the process that started them.
 *
 * The binary is `ETCD`, else `etcd` of the PATH or /usr/bin.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { delimiter, join } from 'node:path'

export interface EtcdOptions {
  /** Default 1. */
  readonly members?: number
  /** Default 100. The least lease TTL is 1.5 times as much, in whole seconds. */
  readonly electionTimeoutMs?: number
  /** Certificates as `makeCertificates` makes them: clients must show one of the same authority. */
  readonly tls?: { readonly caFile: string; readonly certFile: string; readonly keyFile: string }
  /** Further arguments of etcd. */
  readonly args?: readonly string[]
}

const startMsMax = 15_000
const pollMs = 10

/** Undefined when there is none. */
export function findEtcd(): string | undefined {
  const named = process.env.ETCD
  if (named !== undefined && named !== '') return existsSync(named) ? named : undefined
  const places = [...(process.env.PATH ?? '').split(delimiter), '/usr/bin', '/usr/local/bin']
  return places.map((place) => join(place, 'etcd')).find((file) => existsSync(file))
}

/** Why tests with etcd are skipped; printed, so that nobody takes them for passed. */
export const noEtcd =
  findEtcd() === undefined
    ? 'SKIPPED: no etcd binary (apt-get install etcd-server, or ETCD=/path/to/etcd)'
    : undefined
if (noEtcd !== undefined) process.stderr.write(`${noEtcd}\n`)

export class EtcdMember {
  readonly name: string
  readonly clientPort: number
  readonly directory: string
  readonly #args: readonly string[]
  readonly #healthUrl: string
  #child: ChildProcess | undefined
  #complaints = ''

  constructor(fields: {
    name: string
    clientPort: number
    metricsPort: number
    directory: string
    args: readonly string[]
  }) {
    this.name = fields.name
    this.clientPort = fields.clientPort
    this.directory = fields.directory
    this.#args = fields.args
    this.#healthUrl = `http://127.0.0.1:${fields.metricsPort}/health`
  }

  get endpoint(): string {
    return `127.0.0.1:${this.clientPort}`
  }

  get pid(): number {
    const pid = this.#child?.pid
    if (pid === undefined) throw new Error(`etcd ${this.name} does not run`)
    return pid
  }

  /** Starts the process; `ready` tells when it serves. */
  start(): void {
    // Ends with us, also when we are killed; `setpriv` becomes etcd, so the pid is etcd's.
    const [program, ...before] = existsSync('/usr/bin/setpriv')
      ? ['/usr/bin/setpriv', '--pdeathsig', 'KILL', findEtcd()!]
      : [findEtcd()!]
    this.#complaints = ''
    this.#child = spawn(program!, [...before, ...this.#args], { stdio: ['ignore', 'ignore', 'pipe'] })
    this.#child.stderr!.on('data', (chunk: Buffer) => {
      this.#complaints = (this.#complaints + chunk.toString()).slice(-4000)
    })
  }

  /** Resolves when it answers that its cluster is healthy. */
  async ready(): Promise<void> {
    const deadlineMs = performance.now() + startMsMax
    const child = this.#child!
    while (performance.now() < deadlineMs) {
      if (child.exitCode !== null || child.signalCode !== null) {
        throw new Error(
          `etcd ${this.name} ended with ${child.exitCode ?? child.signalCode}: ${this.#complaints}`,
        )
      }
      const answer = await fetch(this.#healthUrl, { signal: AbortSignal.timeout(1000) })
        .then((response) => response.text())
        .catch(() => '')
      if (answer.includes('"true"')) return
      await new Promise((resolve) => setTimeout(resolve, pollMs))
    }
    throw new Error(`etcd ${this.name} was not healthy after ${startMsMax} ms: ${this.#complaints}`)
  }

  async kill(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    process.kill(child.pid!, signal)
    if (signal !== 'SIGCONT') process.kill(child.pid!, 'SIGCONT')
    await gone
  }

  /** Frozen: connections stay open and nothing is answered. */
  pause(): void {
    process.kill(this.pid, 'SIGSTOP')
  }

  resume(): void {
    process.kill(this.pid, 'SIGCONT')
  }

  /** Killed and started again with nothing, as after the loss of a disk; a member of several cannot come back so. */
  async wipe(): Promise<void> {
    await this.kill()
    rmSync(this.directory, { recursive: true, force: true })
    this.start()
    await this.ready()
  }

  /** Killed and started again on the same data. */
  async restart(): Promise<void> {
    await this.kill()
    this.start()
    await this.ready()
  }
}

export class EtcdCluster {
  readonly members: readonly EtcdMember[]
  readonly #directory: string
  readonly #scheme: string
  readonly #query: string

  constructor(members: readonly EtcdMember[], directory: string, scheme: string, query: string) {
    this.members = members
    this.#directory = directory
    this.#scheme = scheme
    this.#query = query
  }

  /** The URL for `--store`. */
  url(namespace = '', account = ''): string {
    const hosts = this.members.map(({ endpoint }) => endpoint).join(',')
    const who = account === '' ? '' : `${account}@`
    return `${this.#scheme}://${who}${hosts}${namespace === '' ? '' : `/${namespace}`}${this.#query}`
  }

  async stop(): Promise<void> {
    await Promise.all(this.members.map((member) => member.kill()))
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

/** Resolves when every member is healthy. */
export async function startEtcd(options: EtcdOptions = {}): Promise<EtcdCluster> {
  const { tls, electionTimeoutMs = 100 } = options
  const directory = mkdtempSync(join(tmpdir(), 'skein-etcd-'))
  const scheme = tls === undefined ? 'http' : 'https'
  const ports = await freePorts(3 * (options.members ?? 1))
  const seats = Array.from({ length: options.members ?? 1 }, (_, at) => ({
    name: `m${at + 1}`,
    clientPort: ports[3 * at]!,
    peerUrl: `http://127.0.0.1:${ports[3 * at + 1]}`,
    metricsPort: ports[3 * at + 2]!,
  }))
  const initial = seats.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(',')
  const secure =
    tls === undefined
      ? []
      : [`--cert-file=${tls.certFile}`, `--key-file=${tls.keyFile}`, `--trusted-ca-file=${tls.caFile}`]
  const members = seats.map(({ name, clientPort, peerUrl, metricsPort }) => {
    const home = join(directory, name)
    const clientUrl = `${scheme}://127.0.0.1:${clientPort}`
    const args = [
      `--name=${name}`,
      `--data-dir=${home}`,
      `--listen-client-urls=${clientUrl}`,
      `--advertise-client-urls=${clientUrl}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=${initial}`,
      `--initial-cluster-token=${directory}`,
      `--listen-metrics-urls=http://127.0.0.1:${metricsPort}`,
      `--heartbeat-interval=${Math.max(10, Math.floor(electionTimeoutMs / 10))}`,
      `--election-timeout=${electionTimeoutMs}`,
      '--logger=zap',
      '--log-level=warn',
      '--log-outputs=stderr',
      ...secure,
      ...(tls === undefined ? [] : ['--client-cert-auth']),
      ...(options.args ?? []),
    ]
    return new EtcdMember({ name, clientPort, metricsPort, directory: home, args })
  })
  const query = tls === undefined ? '' : `?ca=${tls.caFile}&cert=${tls.certFile}&key=${tls.keyFile}`
  const cluster = new EtcdCluster(members, directory, tls === undefined ? 'etcd' : 'etcds', query)
  try {
    for (const member of members) member.start()
    await Promise.all(members.map((member) => member.ready()))
  } catch (error) {
    await cluster.stop()
    throw error
  }
  return cluster
}

/** Free at the moment; whoever is quicker may take one. With `wanted`: rejects unless that one is free. */
export async function freePorts(count: number, wanted = 0): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer())
  const ports = await Promise.all(
    servers.map(async (server) => {
      server.listen(wanted, '127.0.0.1')
      await once(server, 'listening')
      return (server.address() as { port: number }).port
    }),
  )
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
  return ports
}

/** An authority, and a certificate of it for 127.0.0.1 that serves and asks. Needs `openssl`. */
export function makeCertificates(directory: string): { caFile: string; certFile: string; keyFile: string } {
  const at = (name: string) => join(directory, name)
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'pipe' })
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']
  openssl(
    'req',
    '-x509',
    ...curve,
    '-days',
    '2',
    '-subj',
    '/CN=test-ca',
    '-keyout',
    at('ca.key'),
    '-out',
    at('ca.pem'),
  )
  openssl(
    ...[
      'req',
      '-x509',
      ...curve,
      '-days',
      '2',
      '-subj',
      '/CN=member',
      '-CA',
      at('ca.pem'),
      '-CAkey',
      at('ca.key'),
    ],
    ...['-addext', 'subjectAltName=IP:127.0.0.1', '-addext', 'extendedKeyUsage=serverAuth,clientAuth'],
    ...['-addext', 'basicConstraints=critical,CA:FALSE', '-keyout', at('key.pem'), '-out', at('cert.pem')],
  )
  return { caFile: at('ca.pem'), certFile: at('cert.pem'), keyFile: at('key.pem') }
}
