/**
 * What would keep a node with this configuration from working, found before it is started or while it runs: each finding that is not well says what to do.
 * Looks and connects as the node would; takes no lease and joins nothing.
 */
import { accessSync, constants, existsSync, readFileSync, statfsSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, resolve } from 'node:path'
import { hostTrouble, parseAddress } from '../core/kernel/address.js'
import { isSkeinError } from '../core/kernel/error.js'
import { advertisedAddress } from './advertised.js'
import { checkStore, makeJournal } from './compose.js'
import type { Check, NodeConfig } from './node-api.js'

const filesMin = 4_096
const freeBytesMin = 1_073_741_824
const livezTimeoutMs = 1_000

/** Never throws. Ends within about 20 s. */
export async function examine(config: NodeConfig): Promise<readonly Check[]> {
  return [
    checkVersion(),
    checkFiles(),
    checkDirectory(config.dataDir),
    checkSecret(config),
    checkAdvertised(config),
    checkReach(config),
    await checkPort('HTTP port', config.host, config.port, config),
    await checkPort('peer port', config.peerHost, config.peerPort, config),
    await checkPort('control port', config.peerHost, config.controlPort, config),
    ...(await checkStore(config)),
    await checkJournal(config),
  ]
}

function checkVersion(): Check {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const isOk = major > 20 || (major === 20 && minor >= 19)
  return finding('Node.js', isOk, process.versions.node, 'install Node.js 20.19 or later')
}

function checkFiles(): Check {
  const limits = existsSync('/proc/self/limits') ? readFileSync('/proc/self/limits', 'utf8') : ''
  const soft = /^Max open files\s+(\S+)/m.exec(limits)?.[1]
  const count = soft === 'unlimited' ? Number.POSITIVE_INFINITY : Number(soft ?? Number.NaN)
  if (Number.isNaN(count)) return finding('open files', true, 'the limit cannot be seen on this system', '')
  return finding(
    'open files',
    count >= filesMin,
    `at most ${soft} per process`,
    `raise it to ${filesMin} or more: ulimit -n, or LimitNOFILE= of the unit`,
  )
}

function checkDirectory(path: string): Check {
  const name = 'data directory'
  let at = resolve(path)
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at)
  try {
    if (!statSync(at).isDirectory())
      return finding(name, false, `${at} is not a directory`, 'choose another --data-dir')
    accessSync(at, constants.W_OK | constants.X_OK)
  } catch (error) {
    return finding(name, false, messageOf(error), `let this user write ${at}, or choose another --data-dir`)
  }
  const { bavail, bsize } = statfsSync(at)
  const free = bavail * bsize
  const gib = (free / 1_073_741_824).toFixed(1)
  return finding(
    name,
    free >= freeBytesMin,
    `${path}: writable, ${gib} GiB free`,
    'free some space or shorten --retention-hours: a full disk refuses every event',
  )
}

function checkSecret({
  cookie,
  cookieFile,
  tlsCert,
  peerHost,
  host,
  tokenFile,
  insecure,
}: NodeConfig): Check {
  const name = 'keys'
  if (!isLoopback(peerHost) && cookie === undefined && cookieFile === undefined && tlsCert === undefined)
    return finding(
      name,
      false,
      `peers of other hosts may connect to ${peerHost} and there is no cookie`,
      'make one with `skein cookie` and give every node the same --cookie-file, or use --tls-ca, --tls-cert, --tls-key',
    )
  if (!isLoopback(host) && tokenFile === undefined && !insecure)
    return finding(
      name,
      false,
      `HTTP listens on ${host} for other hosts and there is no token`,
      'make one with `skein token create` and give --token-file',
    )
  const mode = cookieFile !== undefined && existsSync(cookieFile) ? statSync(cookieFile).mode & 0o077 : 0
  return finding(
    name,
    mode === 0,
    mode === 0 ? 'as they should be' : `${cookieFile} can be read by others`,
    `chmod 600 ${cookieFile}`,
  )
}

function checkAdvertised(config: NodeConfig): Check {
  const name = 'advertised address'
  try {
    const { host, port } = advertisedAddress(config.advertise, config.peerHost, config.advertiseSpecial)
    return finding(name, true, port === undefined ? host : `${host}:${port}`, '')
  } catch (error) {
    return finding(
      name,
      false,
      messageOf(error),
      'give --advertise the address under which others reach this node',
    )
  }
}

/** SQLite is a file of one host: with peers elsewhere two halves would each have their own truth. */
function checkReach({ store, journal, peers, peerHost }: NodeConfig): Check {
  const name = 'store and journal for these peers'
  const far = peers.filter((peer) => !isLoopback(parseAddress(peer)?.host ?? ''))
  const local = [
    ...(store.startsWith('sqlite:') ? [`--store ${store}`] : []),
    ...(journal.startsWith('sqlite:') ? [`--journal ${journal}`] : []),
  ]
  const isOk = local.length === 0 || (far.length === 0 && isLoopback(peerHost))
  return finding(
    name,
    isOk,
    isOk
      ? 'they go together'
      : `${local.join(' and ')} can serve the nodes of this host only; ${far.length === 0 ? `${peerHost} invites others` : `${far[0]} may be another`}`,
    'for several hosts use --store etcd://… (or etcd+managed:) and --journal postgres://…; on one host let everything listen on loopback',
  )
}

async function checkPort(name: string, host: string, port: number, config: NodeConfig): Promise<Check> {
  if (port === 0) return finding(name, true, 'any free one', '')
  const trouble = await new Promise<NodeJS.ErrnoException | undefined>((done) => {
    const server = createServer()
    server.once('error', done)
    server.listen(port, host, () => server.close(() => done(undefined)))
  })
  if (trouble === undefined) return finding(name, true, `${host}:${port} is free`, '')
  if (trouble.code === 'EADDRINUSE' && (await isNodeThere(config)))
    return finding(name, true, `${host}:${port} is in use; a node answers at ${config.port}`, '')
  return finding(
    name,
    false,
    `${host}:${port}: ${trouble.code ?? trouble.message}`,
    'choose another port, or stop the program that has it',
  )
}

async function isNodeThere({ host, port }: NodeConfig): Promise<boolean> {
  const at = hostTrouble(host, true) === undefined ? host : '127.0.0.1'
  try {
    const signal = AbortSignal.timeout(livezTimeoutMs)
    return (await fetch(`http://${at.includes(':') ? `[${at}]` : at}:${port}/livez`, { signal })).ok
  } catch {
    return false
  }
}

async function checkJournal({ journal: url }: NodeConfig): Promise<Check> {
  const name = 'journal'
  const path = /^sqlite:(?:\/\/)?(.+)$/.exec(url)?.[1]
  if (path !== undefined && !existsSync(path))
    return finding(name, true, `${path} is made at the first start`, '')
  try {
    const journal = makeJournal(url, 'inline', () => {})
    try {
      await journal.open()
      const { ok, detail } = await journal.health()
      return finding(
        name,
        ok,
        `${journal.info.driver}: ${detail}`,
        'see docs/OPERATIONS.md, "When something breaks"',
      )
    } finally {
      await journal.close()
    }
  } catch (error) {
    return finding(
      name,
      false,
      messageOf(error),
      'check --journal, and that the server runs and lets this user in',
    )
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\./.test(host)
}

function finding(name: string, ok: boolean, detail: string, fix: string): Check {
  return { name, ok, detail, fix: ok ? '' : fix }
}

function messageOf(error: unknown): string {
  if (isSkeinError(error)) return `${error.code}: ${error.message}`
  return error instanceof Error ? error.message : String(error)
}
