/**
 * What the host of a node must give it: a program new enough, files enough, a clock that is kept, a disk that is quick, certificates that hold, peers
 * that can be reached. Each finding that is not well says what to do.
 */
import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  writeSync,
} from 'node:fs'
import { connect } from 'node:net'
import { dirname, join, resolve } from 'node:path'
import { parseAddress } from '../core/kernel/address.js'
import { nodeIdIn } from '../core/kernel/certificate-name.js'
import { isSkeinError } from '../core/kernel/error.js'
import { version } from '../core/version.js'
import { type CertificateFiles, loadCertificate } from '../keys/certificate-files.js'
import type { Check, NodeConfig } from './node-api.js'

const filesMin = 4_096
const freeBytesMin = 1_073_741_824
const gibBytes = 1_073_741_824
/** A renewal of the lease waits for the disk: beyond this it is at stake. */
const syncMsMax = 500
const syncs = 5
const certificateDaysMin = 14
const dayMs = 86_400_000
const connectTimeoutMs = 2_000

export function checkVersion(): Check {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
  const isOk = major > 20 || (major === 20 && minor >= 19)
  const words = `skein ${version}, Node.js ${process.versions.node}, ${process.platform}-${process.arch}`
  return finding('versions', isOk, words, 'install Node.js 20.19 or later')
}

/** Open files: `ulimit -n`. */
export function checkFiles(): Check {
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

/** Node ids, leases and shards need no clock on the wall; timestamps of events, certificates and tokens do. */
export async function checkClock({ peerHost }: NodeConfig): Promise<Check> {
  const name = 'clock'
  const builtMs = statSync(new URL(import.meta.url)).mtimeMs
  if (Date.now() + dayMs < builtMs)
    return finding(
      name,
      false,
      `it is ${new Date().toISOString()}, before this program was installed`,
      'set the clock, and let NTP keep it: timedatectl set-ntp true, or chronyd',
    )
  const isKept = await isSynchronised()
  if (isKept === undefined)
    return finding(name, true, 'whether something keeps it in step cannot be seen from here', '')
  // Nodes of one host share its clock, whatever it says.
  return finding(
    name,
    isKept || isLoopback(peerHost),
    isKept ? 'kept in step with the world' : 'nothing keeps it in step with the world',
    'let NTP keep it: timedatectl set-ntp true, or chronyd; timestamps more than 500 ms ahead are refused by the others',
  )
}

/** Undefined where nobody can tell. */
async function isSynchronised(): Promise<boolean | undefined> {
  if (existsSync('/run/systemd/timesync/synchronized')) return true
  const said = await output('timedatectl', ['show', '--property=NTPSynchronized', '--value'])
  if (/^(yes|no)$/.test(said)) return said === 'yes'
  const leap = /^Leap status\s*:\s*(.+)$/m.exec(await output('chronyc', ['-n', 'tracking']))?.[1]
  return leap === undefined ? undefined : leap === 'Normal'
}

/** Empty when the program is not there or fails. */
function output(program: string, args: readonly string[]): Promise<string> {
  return new Promise((done) => {
    execFile(program, args, { timeout: 2_000 }, (error, stdout) => done(error === null ? stdout.trim() : ''))
  })
}

export function checkDirectory(path: string): readonly Check[] {
  const name = 'data directory'
  const at = existingPartOf(path)
  try {
    if (!statSync(at).isDirectory())
      return [finding(name, false, `${at} is not a directory`, 'choose another --data-dir')]
    accessSync(at, constants.W_OK | constants.X_OK)
  } catch (error) {
    const fix = `let this user write ${at}, or choose another --data-dir`
    return [finding(name, false, messageOf(error), fix)]
  }
  const { bavail, bsize, files, ffree } = statfsSync(at)
  const free = bavail * bsize
  const isCrowded = files > 0 && ffree / files < 0.01
  return [
    finding(
      name,
      free >= freeBytesMin && !isCrowded,
      `${path}: writable, ${(free / gibBytes).toFixed(1)} GiB free${isCrowded ? `, but only ${ffree} files more fit` : ''}`,
      'free some space or shorten --retention-hours: a full disk refuses every event',
    ),
    checkSync(at),
  ]
}

/** How long the disk takes to keep what it was given: an acknowledgement waits for that. The file is removed. */
function checkSync(directory: string): Check {
  const name = 'disk'
  let made: string | undefined
  try {
    made = mkdtempSync(join(directory, '.skein-doctor-'))
    const file = openSync(join(made, 'sync'), 'w', 0o600)
    const times: number[] = []
    try {
      for (let i = 0; i < syncs; i++) {
        const startedMs = performance.now()
        writeSync(file, Buffer.alloc(4_096, i))
        fsyncSync(file)
        times.push(performance.now() - startedMs)
      }
    } finally {
      closeSync(file)
    }
    const ms = times.sort((a, b) => a - b)[Math.floor(syncs / 2)] as number
    return finding(
      name,
      ms <= syncMsMax,
      `keeps 4 KiB within ${ms.toFixed(1)} ms`,
      'events and leases wait for it: use a local disk, or see what else writes there (iostat -x 1)',
    )
  } catch (error) {
    return finding(name, false, messageOf(error), `let this user write ${directory}`)
  } finally {
    if (made !== undefined) rmSync(made, { recursive: true, force: true })
  }
}

/** Of the mesh and of HTTPS, where there are any: readable, belonging together, of this node, not about to end. */
export function checkCertificates(config: NodeConfig): readonly Check[] {
  const { tlsCa: ca, tlsCert, tlsKey, httpsCert, httpsKey, clusterName, nodeId } = config
  const checks: Check[] = []
  const nodeOf = (names: string | undefined) => nodeIdIn(names, clusterName)
  if (tlsCert !== undefined && tlsKey !== undefined)
    checks.push(
      checkCertificate(
        'certificate',
        { ca, cert: tlsCert, key: tlsKey },
        nodeId === undefined ? undefined : { nodeId, nodeOf },
      ),
    )
  if (httpsCert !== undefined && httpsKey !== undefined)
    checks.push(checkCertificate('HTTPS certificate', { ca, cert: httpsCert, key: httpsKey }, undefined))
  return checks
}

function checkCertificate(
  name: string,
  files: CertificateFiles,
  mustName: Parameters<typeof loadCertificate>[1],
): Check {
  const renew =
    'make another with skein cert node, or renew it where it came from; running nodes take it up by themselves'
  try {
    const { cert, ca } = loadCertificate(files, mustName)
    const parsed = new X509Certificate(cert)
    const endMs = Date.parse(parsed.validTo)
    const days = Math.floor((endMs - Date.now()) / dayMs)
    // Of HTTPS another authority may be right: the mesh's is for clients then.
    if (name === 'certificate' && ca !== '' && !isSignedBy(parsed, ca))
      return finding(
        name,
        false,
        `${files.cert} is not signed by ${files.ca}`,
        'give the authority that signed it as --tls-ca',
      )
    const words = `${files.cert} is good for ${days} days more`
    return finding(name, days >= certificateDaysMin, words, renew)
  } catch (error) {
    return finding(name, false, messageOf(error), renew)
  }
}

/** By one of the authorities in a file, or by one in between that the certificate's own file may bring along. */
function isSignedBy(certificate: X509Certificate, authorities: string): boolean {
  const blocks = authorities.match(/-----BEGIN CERTIFICATE-----[\s\S]+?-----END CERTIFICATE-----/g) ?? []
  return blocks.some((pem) => certificate.checkIssued(new X509Certificate(pem)))
}

/** Whether those that are to be joined can be reached. Nobody there yet is no fault: one node is the first. */
export async function checkPeers({ peers }: NodeConfig): Promise<Check> {
  const name = 'peers'
  if (peers.length === 0)
    return finding(name, true, 'none are given: it runs alone, or is found by others', '')
  const tried = await Promise.all(peers.map(async (peer) => ({ peer, trouble: await troubleAt(peer) })))
  const absent = tried.filter(({ trouble }) => trouble === 'ECONNREFUSED').map(({ peer }) => peer)
  const lost = tried.filter(({ trouble }) => trouble !== undefined && trouble !== 'ECONNREFUSED')
  const there = peers.length - absent.length - lost.length
  const words = [
    `${there} of ${peers.length} answer`,
    ...(absent.length === 0 ? [] : [`nobody is there yet at ${absent.join(', ')}`]),
    ...lost.map(({ peer, trouble }) => `${peer}: ${trouble}`),
  ]
  return finding(
    name,
    lost.length === 0,
    words.join('; '),
    'check the name, the port and what is between (firewalls, security groups); peers speak TCP and UDP on that port',
  )
}

async function troubleAt(peer: string): Promise<string | undefined> {
  const address = parseAddress(peer)
  if (address === undefined) return 'no host:port'
  return await new Promise((done) => {
    const socket = connect({ host: address.host, port: address.port, timeout: connectTimeoutMs })
    const end = (trouble: string | undefined): void => {
      socket.destroy()
      done(trouble)
    }
    socket.once('connect', () => end(undefined))
    socket.once('timeout', () => end(`no answer within ${connectTimeoutMs / 1_000} s`))
    socket.once('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message))
  })
}

function existingPartOf(path: string): string {
  let at = resolve(path)
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at)
  return at
}

export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || /^127\./.test(host)
}

export function finding(name: string, ok: boolean, detail: string, fix: string): Check {
  return { name, ok, detail, fix: ok ? '' : fix }
}

export function messageOf(error: unknown): string {
  if (isSkeinError(error)) return `${error.code}: ${error.message}`
  return error instanceof Error ? error.message : String(error)
}
