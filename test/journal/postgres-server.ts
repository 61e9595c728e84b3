/**
 * A real PostgreSQL for tests and proofs: made in a temporary directory, on a free loopback port, with fsync on. The
 * server refuses to run as root, so root starts it as the user `postgres`. It is ended by its process id.
 *
 * Binaries: POSTGRES_BIN, or Debian's newest under /usr/lib/postgresql.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  appendFileSync,
  chownSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import pg from 'pg'

const run = promisify(execFile)
const user = 'skein'
const database = 'skein'

/** Undefined where no PostgreSQL is installed. */
export function findPostgres(): string | undefined {
  const named = process.env.POSTGRES_BIN
  if (named !== undefined) return existsSync(join(named, 'postgres')) ? named : undefined
  const versions = '/usr/lib/postgresql'
  if (!existsSync(versions)) return undefined
  return readdirSync(versions)
    .sort((a, b) => Number(b) - Number(a))
    .map((version) => join(versions, version, 'bin'))
    .find((bin) => existsSync(join(bin, 'postgres')))
}

/** For `describe.skipIf`: says aloud that tests are left out. */
export function isWithoutPostgres(what: string): boolean {
  if (findPostgres() !== undefined) return false
  console.warn(
    `SKIPPED: ${what}: no PostgreSQL found (Debian: apt-get install postgresql, or set POSTGRES_BIN to the directory of its binaries)`,
  )
  return true
}

export interface ServerOptions {
  /** Lines for postgresql.conf. */
  readonly settings?: Readonly<Record<string, string>>
  /** Lines for pg_hba.conf instead of trusting loopback. */
  readonly access?: readonly string[]
}

export class PostgresServer {
  readonly port: number
  readonly directory: string
  readonly #bin: string
  readonly #identity: { readonly uid?: number; readonly gid?: number }
  #process: ChildProcess | undefined
  #log = ''

  private constructor(
    bin: string,
    port: number,
    directory: string,
    identity: { uid?: number; gid?: number },
  ) {
    this.#bin = bin
    this.port = port
    this.directory = directory
    this.#identity = identity
  }

  /** A new server with an empty database, running. */
  static async start(options: ServerOptions = {}): Promise<PostgresServer> {
    const server = await PostgresServer.#prepare()
    await server.#command('initdb', [
      '-D',
      server.data,
      '-U',
      'postgres',
      '-A',
      'trust',
      '--no-sync',
      '-E',
      'UTF8',
    ])
    appendFileSync(
      join(server.data, 'postgresql.conf'),
      // Small and quiet; what protects data stays as it is.
      'shared_buffers = 32MB\nmax_connections = 60\nmax_wal_senders = 4\nwal_keep_size = 64MB\n',
    )
    server.configure(options)
    await server.resume()
    await server.sql(`CREATE ROLE ${user} LOGIN REPLICATION PASSWORD 'secret-word'`, 'postgres', 'postgres')
    await server.sql(`CREATE DATABASE ${database} OWNER ${user}`, 'postgres', 'postgres')
    return server
  }

  /** A standby of this server, streaming under the given name. */
  async standby(name: string): Promise<PostgresServer> {
    const standby = await PostgresServer.#prepare()
    await standby.#command('pg_basebackup', [
      '-D',
      standby.data,
      '-d',
      `host=127.0.0.1 port=${this.port} user=postgres application_name=${name}`,
      '-R',
      '--no-sync',
      '-c',
      'fast',
    ])
    await standby.resume()
    return standby
  }

  static async #prepare(): Promise<PostgresServer> {
    const bin = findPostgres()
    if (bin === undefined) throw new Error('no PostgreSQL is installed')
    const identity: Partial<{ uid: number; gid: number }> = process.getuid?.() === 0 ? postgresUser() : {}
    const directory = mkdtempSync(join(tmpdir(), 'skein-postgres-'))
    const { uid, gid } = identity
    if (uid !== undefined && gid !== undefined) chownSync(directory, uid, gid)
    return new PostgresServer(bin, await freePort(), directory, identity)
  }

  get data(): string {
    return join(this.directory, 'data')
  }

  get log(): string {
    return this.#log
  }

  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  url(parameters = ''): string {
    return `postgres://${user}@${this.address}/${database}${parameters === '' ? '' : `?${parameters}`}`
  }

  /** Takes effect at the next start, or `reload`. The last line for a setting counts. */
  configure({ settings = {}, access }: ServerOptions): void {
    const lines = Object.entries(settings).map(([name, value]) => `${name} = ${value}\n`)
    appendFileSync(join(this.data, 'postgresql.conf'), lines.join(''))
    if (access === undefined) return
    rmSync(join(this.data, 'pg_hba.conf'))
    appendFileSync(join(this.data, 'pg_hba.conf'), `${access.join('\n')}\n`)
    this.own(join(this.data, 'pg_hba.conf'))
  }

  /** Gives a file to the server's user. */
  own(path: string): void {
    const { uid, gid } = this.#identity
    if (uid !== undefined && gid !== undefined) chownSync(path, uid, gid)
  }

  /** Starts the server on its data and waits until it answers. */
  async resume(): Promise<void> {
    const child = spawn(
      join(this.#bin, 'postgres'),
      ['-D', this.data, '-p', String(this.port), '-k', this.directory, '-c', 'listen_addresses=127.0.0.1'],
      { ...this.#identity, stdio: ['ignore', 'ignore', 'pipe'], cwd: this.directory },
    )
    this.#process = child
    child.stderr?.on('data', (chunk: Buffer) => {
      this.#log = (this.#log + chunk.toString()).slice(-20_000)
    })
    const deadlineMs = performance.now() + 20_000
    for (;;) {
      if (child.exitCode !== null) throw new Error(`postgres ended at once:\n${this.#log}`)
      try {
        await this.#command('pg_isready', ['-h', '127.0.0.1', '-p', String(this.port), '-t', '1'])
        return
      } catch (error) {
        if (performance.now() > deadlineMs)
          throw new Error(`postgres does not answer:\n${this.#log}`, { cause: error })
        await sleep(30)
      }
    }
  }

  /** SIGKILL to the postmaster and its children at once, as a crash of the machine would. */
  async kill(): Promise<void> {
    const child = this.#process
    if (child?.pid === undefined) return
    // Standing still it makes no more children: one that was missed would keep the shared memory from the next start.
    signal(child.pid, 'SIGSTOP')
    const children = childrenOf(child.pid)
    for (const pid of [child.pid, ...children]) signal(pid, 'SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
    for (let i = 0; children.some(isRunning) && i < 1_000; i++) await sleep(5)
    this.#process = undefined
  }

  /** Fast shutdown: sessions are ended. */
  async stop(): Promise<void> {
    const child = this.#process
    if (child === undefined) return
    if (child.exitCode === null && child.signalCode === null) {
      const gone = once(child, 'exit')
      child.kill('SIGINT')
      await gone
    }
    this.#process = undefined
  }

  /** The whole server stands still, its sockets open. */
  pause(): void {
    this.#signalAll('SIGSTOP')
  }

  unpause(): void {
    this.#signalAll('SIGCONT')
  }

  #signalAll(name: NodeJS.Signals): void {
    const pid = this.#process?.pid
    if (pid === undefined) return
    for (const each of [pid, ...childrenOf(pid)]) signal(each, name)
  }

  /** A standby becomes a primary, with the next timeline. */
  async promote(): Promise<void> {
    await this.sql('SELECT pg_promote(true, 20)', 'postgres', 'postgres')
  }

  async reload(): Promise<void> {
    await this.sql('SELECT pg_reload_conf()', 'postgres', 'postgres')
  }

  /** Runs one statement as a superuser unless told otherwise. */
  async sql(text: string, as = 'postgres', on = database): Promise<readonly Record<string, unknown>[]> {
    const client = new pg.Client({
      host: '127.0.0.1',
      port: this.port,
      user: as,
      database: on,
      connectionTimeoutMillis: 5_000,
    })
    client.on('error', () => undefined)
    await client.connect()
    try {
      return (await client.query(text)).rows
    } finally {
      await client.end()
    }
  }

  /** Ends it and removes its directory. */
  async remove(): Promise<void> {
    this.unpause()
    await this.kill()
    rmSync(this.directory, { recursive: true, force: true })
  }

  async #command(name: string, args: readonly string[]): Promise<void> {
    await run(join(this.#bin, name), [...args], { ...this.#identity, cwd: this.directory })
  }
}

function postgresUser(): { uid: number; gid: number } {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith('postgres:'))
  if (line === undefined) throw new Error('PostgreSQL does not run as root, and there is no user postgres')
  const [, , uid, gid] = line.split(':')
  return { uid: Number(uid), gid: Number(gid) }
}

/** Direct children only: a PostgreSQL backend has none of its own. */
function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((candidate) => {
      try {
        const stat = readFileSync(`/proc/${candidate}/stat`, 'utf8')
        return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]) === pid
      } catch {
        return false
      }
    })
}

/** Zombies hold nothing. */
function isRunning(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2)[0] !== 'Z'
  } catch {
    return false
  }
}

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It has ended meanwhile.
  }
}

export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}
