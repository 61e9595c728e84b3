/** PostgreSQL on a host of a lab's own, with fsync on. It refuses to run as root, so it runs as the user `postgres`. */
import { execFile } from 'node:child_process'
import { appendFileSync, chownSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { findPostgres } from '../../../test/journal/postgres-server.js'
import { until } from './cluster.js'
import type { Identity, LabProcess, NetLab } from './netlab.js'

export class NetPostgres {
  readonly url: string
  private readonly lab: NetLab
  private readonly host: string
  /** Its data, and the socket over which we reach it: sockets in the file system are no matter of network namespaces. */
  private readonly home: string
  private readonly complain: (text: string) => void
  private server: LabProcess | undefined

  constructor(lab: NetLab, host: string, home: string, complain: (text: string) => void) {
    this.lab = lab
    this.host = host
    this.home = home
    this.complain = complain
    this.url = `postgres://skein@${lab.address(host)}:5432/skein?sslmode=disable`
  }

  async start(): Promise<void> {
    const { uid, gid } = userPostgres()
    mkdirSync(this.home)
    chownSync(this.home, uid, gid)
    const data = join(this.home, 'data')
    await this.command('initdb', ['-D', data, '-U', 'postgres', '-A', 'trust', '--no-sync', '-E', 'UTF8'])
    const address = this.lab.address(this.host)
    const settings = [
      `listen_addresses = '${address}'`,
      `unix_socket_directories = '${this.home}'`,
      'shared_buffers = 32MB',
      'max_connections = 100',
    ]
    appendFileSync(join(data, 'postgresql.conf'), `${settings.join('\n')}\n`)
    // The lab's bridge is the only way here.
    appendFileSync(join(data, 'pg_hba.conf'), `host all all ${address}/24 trust\n`)
    await this.resume()
    for (const statement of ['CREATE ROLE skein LOGIN', 'CREATE DATABASE skein OWNER skein'])
      await this.command('psql', ['-h', this.home, '-U', 'postgres', '-qc', statement])
  }

  /** On the data it has. */
  async resume(): Promise<void> {
    const program = join(findPostgres() as string, 'postgres')
    const server = this.lab.spawn(this.host, program, ['-D', join(this.home, 'data')], {
      identity: userPostgres(),
      cwd: this.home,
    })
    this.server = server
    server.child.stderr?.on('data', (chunk: Buffer) => this.complain(chunk.toString()))
    const answers = () =>
      this.command('pg_isready', ['-h', this.home, '-t', '1']).then(
        () => true,
        () => false,
      )
    await until(answers, 20_000, 'PostgreSQL to answer')
  }

  /** SIGKILL to the postmaster and its children at once, as a crash of the machine would. */
  async kill(): Promise<void> {
    const { server } = this
    if (server === undefined) return
    server.signal('SIGSTOP')
    const children = readFileSync(`/proc/${server.pid}/task/${server.pid}/children`, 'utf8')
    for (const child of children.split(' ').filter((pid) => pid !== ''))
      try {
        process.kill(Number(child), 'SIGKILL')
      } catch {
        // It ended meanwhile.
      }
    await server.kill()
  }

  private async command(name: string, args: readonly string[]): Promise<void> {
    const program = join(findPostgres() as string, name)
    await promisify(execFile)(program, [...args], { ...userPostgres(), cwd: this.home })
  }
}

function userPostgres(): Identity {
  const line = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith('postgres:'))
  if (line === undefined) throw new Error('PostgreSQL does not run as root, and there is no user postgres')
  const [, , uid, gid] = line.split(':')
  return { uid: Number(uid), gid: Number(gid) }
}
