/**
 * Adapter of the fault lab for Skein: how a node is started there, and where its answers are. The lab starts the services on
 * every node of its own network, publishes, breaks things by its scenarios, and checks what came of it.
 *
 *     node LAB/run.mjs --adapter tools/faultlab/skein.mjs --scenario LAB/scenarios/partition.json --seed 1
 *
 * SKEIN_ENGINES=sqlite    one machine: store and journal are files that all nodes share (default)
 * SKEIN_ENGINES=etcd      an etcd member on every node, the journal on a PostgreSQL on the lab's host address
 * SKEIN_ENGINES=managed   the same, but the nodes run etcd themselves
 *
 * Consumers get an event at least once, so `--dedupe` asks for more than is promised.
 */
import { execFileSync, spawn } from 'node:child_process'
import { appendFileSync, chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const engines = process.env.SKEIN_ENGINES ?? 'sqlite'
if (!['sqlite', 'etcd', 'managed'].includes(engines)) throw new Error(`SKEIN_ENGINES=${engines} is unknown`)
const program = resolve(import.meta.dirname, 'node.mjs')
const shared = mkdtempSync(join(tmpdir(), 'skein-faultlab-'))
let postgres

process.once('exit', () => {
  postgres?.kill('SIGKILL')
  rmSync(shared, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
})

function storeOf(ctx) {
  if (engines === 'sqlite') return `sqlite:${join(shared, 'store.db')}`
  if (engines === 'managed') return 'etcd+managed:'
  return `etcd://${ctx.nodes.map((n) => `${ctx.ip(n)}:2379`).join(',')}`
}

function journalOf(ctx) {
  if (engines === 'sqlite') return `sqlite:${join(shared, 'journal')}`
  const host = ctx.ip('host')
  postgres ??= startPostgres(host)
  return `postgres://skein@${host}:5432/skein?sslmode=disable`
}

/** Returns when it answers. Root starts it as the user `postgres`: it refuses to run as root. */
function startPostgres(address) {
  const versions = '/usr/lib/postgresql'
  const newest = readdirSync(versions).sort((a, b) => Number(b) - Number(a))[0]
  const bin = process.env.POSTGRES_BIN ?? join(versions, newest, 'bin')
  const entry = readFileSync('/etc/passwd', 'utf8')
    .split('\n')
    .find((line) => line.startsWith('postgres:'))
  const [, , uid, gid] = entry.split(':').map(Number)
  const home = mkdtempSync(join(tmpdir(), 'skein-faultlab-postgres-'))
  const data = join(home, 'data')
  chownSync(home, uid, gid)
  const as = { uid, gid, cwd: home, stdio: 'ignore' }
  const command = (name, ...args) => execFileSync(join(bin, name), args, as)
  command('initdb', '-D', data, '-U', 'postgres', '-A', 'trust', '--no-sync', '-E', 'UTF8')
  appendFileSync(
    join(data, 'postgresql.conf'),
    `listen_addresses = '${address}'\nunix_socket_directories = '${home}'\nmax_connections = 100\n`,
  )
  appendFileSync(join(data, 'pg_hba.conf'), `host all all ${address}/24 trust\n`)
  const server = spawn('setpriv', ['--pdeathsig=KILL', join(bin, 'postgres'), '-D', data], as)
  process.once('exit', () => rmSync(home, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 }))
  for (let tries = 0; ; tries++) {
    try {
      command('pg_isready', '-h', home, '-t', '1')
      break
    } catch (error) {
      if (tries === 100) throw error
      execFileSync('sleep', ['0.1'])
    }
  }
  for (const statement of ['CREATE ROLE skein LOGIN', 'CREATE DATABASE skein OWNER skein'])
    command('psql', '-h', home, '-U', 'postgres', '-qc', statement)
  return server
}

function etcdService(ctx) {
  const ring = ctx.nodes.map((n) => `${n}=http://${ctx.ip(n)}:2380`).join(',')
  return {
    name: 'etcd',
    cmd: [
      ...['etcd', '--name', '{node}', '--data-dir', '{data}/etcd', '--initial-cluster', ring],
      ...['--listen-peer-urls', 'http://{ip}:2380', '--initial-advertise-peer-urls', 'http://{ip}:2380'],
      ...['--listen-client-urls', 'http://{ip}:2379', '--advertise-client-urls', 'http://{ip}:2379'],
      ...['--pre-vote', '--logger', 'zap', '--log-level', 'error'],
    ],
    ready: 'http://{ip}:2379/health',
  }
}

async function get(url) {
  const response = await fetch(url, { signal: AbortSignal.timeout(400) })
  if (!response.ok) throw new Error(`${url}: HTTP ${response.status}`)
  return response.json()
}

export default {
  name: `skein-${engines}`,
  nodes: 3,
  disk: 320,
  services(node, ctx) {
    const peers = ctx.nodes.filter((n) => n !== node).map((n) => `${ctx.ip(n)}:6745`)
    mkdirSync(join(shared, 'journal'), { recursive: true })
    const skein = {
      name: 'node',
      clock: true,
      fsfault: true,
      cmd: [process.execPath, program],
      env: {
        SKEIN_LAB: '{root}',
        SKEIN_PEERS: peers.join(','),
        SKEIN_STORE: storeOf(ctx),
        SKEIN_JOURNAL: journalOf(ctx),
      },
      ready: 'http://{ip}:8151/livez',
    }
    return engines === 'etcd' ? [etcdService(ctx), skein] : [skein]
  },
  urls: {
    submit: {
      method: 'POST',
      url: 'http://{ip}:8151/api/events',
      body: {
        stream: 'lab',
        key: '{key}',
        id: '{id}',
        type: 'lab',
        payload: { producer: '{producer}', seq: '{seq}' },
      },
      timeout: 4_000,
    },
    // Read by `observe`; that they are here tells the lab to wait until the members agree.
    members: { url: 'http://{ip}:8151/api/cluster/nodes', pick: 'nodes' },
    stored: { url: 'http://{ip}:8152/stored', pick: 'ids' },
  },
  async observe(_node, ip) {
    const [list, status] = await Promise.all([
      get(`http://${ip}:8151/api/cluster/nodes`),
      get(`http://${ip}:8151/api/cluster/status`),
    ])
    const leader = { leader: status.leader_id, term: status.term, self: status.is_leader }
    return {
      members: list.nodes.filter((n) => n.healthy).map((n) => n.id),
      ...(status.leader_id ? { leader } : {}),
    }
  },
  acked: (answer) => {
    const result = answer.json?.results?.[0]
    return result?.status === 'accepted' || result?.status === 'duplicate'
  },
  expect: { convergeMs: 15_000 },
}
