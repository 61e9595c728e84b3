/**
 * What would keep a node with this configuration from working, found before it is started or while it runs: each finding that is not well says what to do.
 * Looks and connects as the node would; takes no lease and joins nothing.
 */
import { X509Certificate } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { existsSync, readFileSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { hostTrouble, parseAddress } from '../core/kernel/address.js'
import { advertisedAddress } from './advertised.js'
import { checkStore, makeJournal } from './compose.js'
import {
  checkCertificates,
  checkClock,
  checkDirectory,
  checkFiles,
  checkPeers,
  checkVersion,
  finding,
  isLoopback,
  messageOf,
} from './doctor-host.js'
import type { Check, NodeConfig } from './node-api.js'

const livezTimeoutMs = 1_000

/** Never throws. Ends within about 20 s. */
export async function examine(config: NodeConfig): Promise<readonly Check[]> {
  return [
    checkVersion(),
    checkFiles(),
    await checkClock(config),
    ...checkDirectory(config.dataDir),
    checkSecret(config),
    ...checkCertificates(config),
    checkAdvertised(config),
    checkReach(config),
    await checkPort('HTTP port', config.host, config.port, config),
    await checkPort('peer port', config.peerHost, config.peerPort, config),
    await checkUdpPort(config),
    await checkPort('control port', config.peerHost, config.controlPort, config),
    await checkPeers(config),
    ...(await checkStore(config)),
    await checkJournal(config),
  ]
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

/** Probes go by UDP, at the number of the peer port. */
async function checkUdpPort(config: NodeConfig): Promise<Check> {
  const { peerHost: host, peerPort: port } = config
  const name = 'peer port, UDP'
  if (port === 0) return finding(name, true, 'any free one', '')
  const trouble = await new Promise<NodeJS.ErrnoException | undefined>((done) => {
    const socket = createSocket({ type: host.includes(':') ? 'udp6' : 'udp4' })
    socket.once('error', (error: NodeJS.ErrnoException) => {
      socket.close()
      done(error)
    })
    socket.bind(port, host, () => socket.close(() => done(undefined)))
  })
  if (trouble === undefined) return finding(name, true, `${host}:${port} is free`, '')
  if (trouble.code === 'EADDRINUSE' && (await isNodeThere(config)))
    return finding(name, true, `${host}:${port} is in use; a node answers at ${config.port}`, '')
  const fix = 'choose another --peer-port, or stop the program that has it'
  return finding(name, false, `${host}:${port}: ${trouble.code ?? trouble.message}`, fix)
}

async function isNodeThere({ host, port, httpsCert }: NodeConfig): Promise<boolean> {
  const at = hostTrouble(host, true) === undefined ? host : '127.0.0.1'
  if (httpsCert !== undefined) return await showsCertificate(at, port, httpsCert)
  try {
    const signal = AbortSignal.timeout(livezTimeoutMs)
    return (await fetch(`http://${at.includes(':') ? `[${at}]` : at}:${port}/livez`, { signal })).ok
  } catch {
    return false
  }
}

/** Whoever has the port shows the certificate that this node would: that is known without trusting anybody. */
async function showsCertificate(host: string, port: number, file: string): Promise<boolean> {
  return await new Promise((done) => {
    const socket = connectTls({ host, port, rejectUnauthorized: false, timeout: livezTimeoutMs })
    const end = (isThere: boolean): void => {
      socket.destroy()
      done(isThere)
    }
    socket.once('error', () => end(false))
    socket.once('timeout', () => end(false))
    socket.once('secureConnect', () => {
      const shown = socket.getPeerX509Certificate()?.fingerprint256
      // A file that cannot be read is told by the check of certificates.
      const own = existsSync(file) ? fingerprintOf(readFileSync(file)) : undefined
      end(shown !== undefined && shown === own)
    })
  })
}

function fingerprintOf(pem: Buffer): string | undefined {
  try {
    return new X509Certificate(pem).fingerprint256
  } catch {
    return undefined
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
