// Wrong input of every kind, at every door: each gets its own clear error, and the node stays up
import { spawn, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { chmodSync, mkdirSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { join, resolve } from 'node:path'
import { json, ProcessCluster, type ProcessNode, sleep, Verdict } from './lib/cluster.js'

const verdict = new Verdict()
const cluster = new ProcessCluster()
await cluster.start(2)
const node = cluster.nodes[0] as ProcessNode
const bin = resolve(import.meta.dirname, '../../bin/skein.js')

async function ask(
  method: string,
  path: string,
  body?: string,
  type = 'application/json',
  headers: Record<string, string> = {},
): Promise<{ status: number; code: string; detail: string; body: Record<string, unknown> }> {
  const response = await fetch(`http://${node.http}${path}`, {
    method,
    headers: { ...(body === undefined ? {} : { 'content-type': type }), ...headers },
    ...(body === undefined ? {} : { body }),
    signal: AbortSignal.timeout(10_000),
  })
  const text = await response.text()
  let value: Record<string, unknown> = {}
  try {
    value = JSON.parse(text) as Record<string, unknown>
  } catch {
    // Not JSON: shown by its status.
  }
  return {
    status: response.status,
    code: String(value.code ?? ''),
    detail: String(value.detail ?? text.slice(0, 80)),
    body: value,
  }
}

async function refuses(
  what: string,
  status: number | readonly number[],
  answer: ReturnType<typeof ask>,
): Promise<void> {
  const a = await answer
  const wanted = typeof status === 'number' ? [status] : status
  verdict.check(
    what,
    wanted.includes(a.status) && (a.code !== '' || a.status === 202),
    `${a.status} ${a.code}: ${a.detail.slice(0, 110)}`,
  )
}

const event = (over: Record<string, unknown>): string =>
  JSON.stringify({ stream: 's', key: 'k', type: 't', payload: { n: 1 }, ...over })

await refuses('malformed JSON', 400, ask('POST', '/api/events', '{"stream":'))
await refuses('wrong types', 400, ask('POST', '/api/events', event({ stream: 7 })))
await refuses('a missing key', 400, ask('POST', '/api/events', JSON.stringify({ stream: 's', payload: 1 })))
await refuses(
  'deep nesting',
  400,
  ask(
    'POST',
    '/api/events',
    event({ payload: 0 }).replace('"payload":0', `"payload":${'['.repeat(5_000)}${']'.repeat(5_000)}`),
  ),
)
await refuses(
  '1 MiB + 1 byte',
  413,
  ask(
    'POST',
    '/api/events',
    event({ payload: '' }).replace(
      '"payload":""',
      `"payload":"${'x'.repeat(1_048_577 - event({ payload: '' }).length + 0)}"`,
    ),
  ),
)
await refuses('an empty stream name', 400, ask('POST', '/api/events', event({ stream: '' })))
await refuses('a NUL in the stream name', 400, ask('POST', '/api/events', event({ stream: 'a\u0000b' })))
await refuses('wrong content type', 415, ask('POST', '/api/events', event({}), 'text/plain'))
await refuses(
  'a content encoding',
  415,
  ask('POST', '/api/events', event({}), 'application/json', { 'content-encoding': 'gzip' }),
)
await refuses('unknown strategy', 400, ask('POST', '/api/cluster/balance?strategy=best_effort'))
await refuses('wrong method', 405, ask('PUT', '/api/events', event({})))
await refuses('unknown path', 404, ask('GET', '/api/nothing'))
await refuses('unknown node', 404, ask('GET', '/api/cluster/nodes/nobody'))
await refuses('a limit out of range', 400, ask('GET', '/api/events?stream=s&limit=5000'))
await refuses('a cursor that is none', 400, ask('GET', '/api/events?stream=s&after=zzz'))
await refuses(
  'a foreign origin',
  403,
  ask('POST', '/api/events', event({}), 'application/json', { origin: 'https://evil.example' }),
)

const strange = ['__proto__', 'constructor', 'a\nb', 'a\u0000b', 'ü😀', ' ']
for (const key of strange) {
  const sent = await ask('POST', '/api/events', event({ key, id: key, payload: { nested: { key } } }))
  const back = (await json(node.http, `/api/events?stream=s&key=${encodeURIComponent(key)}`).catch(() => ({
    events: [],
  }))) as { events: { id: string; key: string }[] }
  const kept = sent.status === 202 && back.events.some((e) => e.id === key && e.key === key)
  verdict.check(
    `key and id ${JSON.stringify(key)}: kept faithfully or refused clearly`,
    kept || (sent.status === 400 && sent.code !== ''),
    kept ? 'kept' : `${sent.status} ${sent.code}: ${sent.detail.slice(0, 80)}`,
  )
}
await ask('POST', '/api/events', event({ id: 'twice' }))
const again = await ask('POST', '/api/events', event({ id: 'twice' }))
verdict.check(
  'the same event again is a duplicate',
  again.status === 202 && again.body.duplicates === 1,
  JSON.stringify(again.body).slice(0, 90),
)
await refuses(
  'duplicate id with another payload',
  409,
  ask('POST', '/api/events', event({ id: 'twice', payload: { n: 2 } })),
)

// --- the peer port and its datagrams
const [peerHost, peerPort] = (node.facts?.peer ?? '').split(':') as [string, string]
const garbage = await new Promise<string>((done) => {
  const socket = connect(Number(peerPort), peerHost, () => socket.write(randomBytes(4_096)))
  socket.on('close', () => done('closed'))
  socket.on('error', () => {})
  setTimeout(() => {
    socket.destroy()
    done('left open for 5 s')
  }, 5_000).unref()
})
verdict.check('garbage on the peer port: the connection is closed', garbage === 'closed', garbage)
const udp = createSocket('udp4')
for (let i = 0; i < 2_000; i++)
  await new Promise<void>((sent) =>
    udp.send(randomBytes(1 + (i % 1_400)), Number(peerPort), peerHost, () => sent()),
  )
udp.close()

// --- starting wrongly
function start(what: string, args: readonly string[], words: RegExp, exit?: number): void {
  const run = spawnSync(process.execPath, [bin, 'start', '--log-level', 'silent', ...args], {
    timeout: 20_000,
    encoding: 'utf8',
  })
  const said = run.stderr.trim().split('\n').slice(-3).join(' ')
  verdict.check(
    what,
    run.status !== 0 &&
      run.status !== null &&
      words.test(said) &&
      (exit === undefined || run.status === exit),
    `exit ${run.status}: ${said.slice(0, 160)}`,
  )
}
const fresh = (name: string): string[] => [
  '--data-dir',
  join(cluster.dir, 'x', name),
  '--port',
  '0',
  '--peer-port',
  '0',
]
const busy = createServer()
await new Promise<void>((up) => busy.listen(0, '127.0.0.1', up))
const busyPort = String((busy.address() as { port: number }).port)
start(
  'HTTP port in use',
  ['--data-dir', join(cluster.dir, 'x', 'a'), '--port', busyPort, '--peer-port', '0'],
  /port_in_use.*taken/,
)
start(
  'peer port in use',
  ['--data-dir', join(cluster.dir, 'x', 'b'), '--port', '0', '--peer-port', peerPort],
  /port_in_use.*in use/,
)
busy.close()
const blocked = join(cluster.dir, 'file')
spawnSync('touch', [blocked])
start(
  'unwritable data dir',
  ['--data-dir', join(blocked, 'x'), '--port', '0', '--peer-port', '0'],
  /data_dir_unusable/,
)
start(
  'second process on one data dir',
  ['--data-dir', join(cluster.dir, 'node-1'), '--port', '0', '--peer-port', '0'],
  /already_running/,
)
start(
  'wrong cookie',
  [...fresh('c'), '--cookie', 'this-is-not-the-cookie-of-this-cluster', '--peer', node.facts?.peer ?? ''],
  /bad_cookie/,
)
start(
  'other cluster name',
  [
    ...fresh('d'),
    '--cluster-name',
    'other',
    '--cookie-file',
    join(cluster.dir, 'cookie'),
    '--peer',
    node.facts?.peer ?? '',
  ],
  /cluster_mismatch/,
)
start(
  'another store',
  [...fresh('e'), '--cookie-file', join(cluster.dir, 'cookie'), '--peer', node.facts?.peer ?? ''],
  /store_mismatch|uses another|use store/,
)
start('a bad peer address', [...fresh('f'), '--peer', 'nonsense'], /host:port/, 2)
start('several mistakes at once', [...fresh('g'), '--shards', 'many', '--role', 'king'], /shards|role/, 2)
start('an unknown flag', ['--frobnicate'], /unknown option/, 2)
mkdirSync(join(cluster.dir, 'open'), { recursive: true })

// --- a second node with the same id: its own data dir, the same store
const twin = spawn(
  process.execPath,
  [
    bin,
    'start',
    '--node-id',
    'node-2',
    '--data-dir',
    join(cluster.dir, 'twin'),
    '--port',
    '0',
    '--peer-port',
    '0',
    '--peer',
    node.facts?.peer ?? '',
    '--log-level',
    'warn',
  ],
  { stdio: ['ignore', 'pipe', 'pipe'] },
)
let said = ''
twin.stderr.on('data', (chunk: Buffer) => {
  said += String(chunk)
})
const twinExit = await Promise.race([
  new Promise<number | null>((done) => twin.once('exit', done)),
  sleep(8_000).then(() => -1),
])
twin.kill('SIGKILL')
verdict.check(
  'a second node with the same id is refused with words',
  twinExit === 1 && /node_id_in_use: .*registered by another running process/.test(said),
  `exit ${twinExit}: ${said.trim().split('\n').at(-1)?.slice(0, 160)}`,
)
chmodSync(join(cluster.dir, 'open'), 0o700)

verdict.check('both nodes are still up and whole', await cluster.isWhole(), 'asked')
verdict.end()
