/** The one file that names drivers: which ones a configuration means, and how a control plane and a journal come to run. */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { Worker } from 'node:worker_threads'
import { formatAddress } from '../core/kernel/address.js'
import type { Address } from '../core/kernel/brand.js'
import { SkeinError } from '../core/kernel/error.js'
import { GuardRenewalSender, type GuardRenewalsOptions } from '../drivers/agent-guard/guard-renewals.js'
import { GuardedProcesses, type GuardedProcessesOptions } from '../drivers/agent-guard/guarded-processes.js'
import { dnsSource } from '../drivers/discovery-dns/dns-source.js'
import { fileSource } from '../drivers/discovery-file/file-source.js'
import { checkManagedEtcd } from '../drivers/etcd-managed/checks.js'
import { ManagedStore } from '../drivers/etcd-managed/managed-store.js'
import { PostgresJournal } from '../drivers/journal-postgres/postgres-journal.js'
import { isPostgresUrl } from '../drivers/journal-postgres/target.js'
import { SqliteJournal } from '../drivers/journal-sqlite/sqlite-journal.js'
import { httpTarget } from '../drivers/mirror-http/http-target.js'
import { EtcdStore } from '../drivers/store-etcd/etcd-store.js'
import { SqliteStore } from '../drivers/store-sqlite/sqlite-store.js'
import { UdpDatagramTransport } from '../drivers/transport-tcp/datagram-transport.js'
import { TcpFrameTransport } from '../drivers/transport-tcp/frame-transport.js'
import { WsFrameTransport } from '../drivers/transport-ws/frame-transport.js'
import { bad, checkEtcd, well } from '../engines/etcd/checks.js'
import { type EtcdTarget, parseEtcdUrl } from '../engines/etcd/url.js'
import { SqliteLifeLocks } from '../engines/sqlite/life-lock.js'
import type { AgentProcesses, GuardRenewals } from '../ports/agent-processes.js'
import type { DiscoverySource } from '../ports/discovery.js'
import type { Journal } from '../ports/journal.js'
import type { LifeLocks } from '../ports/life-lock.js'
import type { MirrorTarget } from '../ports/mirror.js'
import type { Store } from '../ports/store.js'
import type { FrameTransport, Rekeyable } from '../ports/transport.js'
import type { ControlSetup, ControlToMain, MainToControl } from './control-messages.js'
import { type ControlDrivers, ControlPlane } from './control-plane.js'
import type { Check, NodeConfig } from './node-api.js'

/** Room for a ping with several claims that carry many labels; one packet on loopback, fragments elsewhere. */
const datagramBytesMax = 4_096

export interface RunningControl {
  post(message: MainToControl): void
  close(): Promise<void>
}

export function makeLifeLocks(): LifeLocks {
  return new SqliteLifeLocks()
}

/** For the main thread. Starts nothing: `open` does. Throws `bad_config`. */
export function makeAgentProcesses(options: GuardedProcessesOptions): AgentProcesses {
  return new GuardedProcesses(options)
}

/** For the control thread. Connects at once. Throws `invalid_argument`. */
export function makeGuardRenewals(options: GuardRenewalsOptions): GuardRenewals {
  return new GuardRenewalSender(options)
}

type StoreNote = (event: string, fields: Record<string, unknown>, level?: 'info' | 'warn' | 'error') => void

/** The URL, and what one that the node runs itself needs to know of the node. */
interface StorePlace {
  readonly url: string
  readonly clusterName: string
  readonly peerAddress: string
  readonly bindHost: string
  readonly peers: readonly string[]
  readonly cookies: readonly Uint8Array[]
  readonly dataDir: string
}

function makeStore({ peerAddress: address, ...place }: StorePlace, onNote: StoreNote): Store {
  const { url } = place
  if (/^etcds?:/.test(url)) return new EtcdStore(parseEtcdUrl(url))
  if (!url.startsWith('etcd+managed:')) return new SqliteStore({ path: resolve(pathOf(url, 'store')) })
  return new ManagedStore({
    ...place,
    address,
    dataDir: resolve(place.dataDir),
    makeStore: (target: EtcdTarget) => new EtcdStore(target),
    onNote,
  })
}

function makeStoreOf(setup: ControlSetup, onNote: StoreNote): Store {
  const { store: url, bind, peerAddress, keys, diskPath: dataDir } = setup
  const { clusterName, seeds: peers } = setup.options
  const { cookies } = keys
  return makeStore({ url, clusterName, peerAddress, bindHost: bind.host, peers, cookies, dataDir }, onNote)
}

/** A store by its URL, for a program that is no node but has a node's configuration. Throws `bad_config`. */
export function makeStoreAt(
  url: string,
  config: NodeConfig,
  cookies: readonly Uint8Array[],
  onNote: StoreNote,
): Store {
  const { clusterName, peerHost: bindHost, peers, dataDir } = config
  return makeStore(
    { url, clusterName, peerAddress: peerAddressOf(config), bindHost, peers, cookies, dataDir },
    onNote,
  )
}

function peerAddressOf({ advertise, peerHost, peerPort }: NodeConfig): string {
  return formatAddress(advertise?.replace(/:\d+$/, '') ?? peerHost, peerPort)
}

/** What a person should know about the store of this configuration. Never throws. */
export async function checkStore(config: NodeConfig): Promise<readonly Check[]> {
  const { store: url } = config
  try {
    if (/^etcds?:/.test(url)) return await checkEtcd(parseEtcdUrl(url))
    if (url.startsWith('etcd+managed:'))
      return await checkManagedEtcd({
        url,
        clusterName: config.clusterName,
        address: peerAddressOf(config),
        bindHost: config.peerHost,
        peers: config.peers,
        cookies: [],
        dataDir: resolve(config.dataDir),
      })
    const path = resolve(pathOf(url, 'store'))
    if (!existsSync(path)) return [well('store', `${path} is made at the first start`)]
    const store = new SqliteStore({ path })
    try {
      await store.open()
      const { ok, detail } = await store.health()
      return [ok ? well('store', `sqlite: ${detail}`) : bad('store', detail, 'look at the disk and the file')]
    } finally {
      await store.close()
    }
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error)
    return [bad('store', detail, 'check --store, and that this user may read and write it')]
  }
}

export function makeJournal(
  url: string,
  threads: 'worker' | 'inline',
  onFailure: (error: Error) => void,
): Journal {
  if (isPostgresUrl(url)) return new PostgresJournal({ url })
  return new SqliteJournal({ directory: resolve(pathOf(url, 'journal')), thread: threads, onFailure })
}

/** Throws `bad_config`. */
export function makeDiscovery(source: string): DiscoverySource {
  if (source.startsWith('dns')) return dnsSource(source)
  if (source.startsWith('file:')) return fileSource(source)
  throw new SkeinError(
    'bad_config',
    `--discover "${source}": dns:NAME:PORT, dns+srv:NAME or file:PATH expected`,
    {
      details: { field: 'discover' },
    },
  )
}

/** Of `STREAM=URL`. Throws `bad_config`. */
export function makeMirror(
  text: string,
  tokenFile: string | undefined,
): { readonly stream: string; readonly target: MirrorTarget } {
  const [, stream, url] = /^([A-Za-z0-9._-]{1,128})=(.+)$/.exec(text) ?? []
  if (stream === undefined || url === undefined)
    throw new SkeinError('bad_config', `--mirror "${text}": STREAM=URL expected`, {
      details: { field: 'mirror' },
    })
  return { stream, target: httpTarget(url, tokenFile) }
}

type TransportName = NodeConfig['transport']
type MeshOptions = ConstructorParameters<typeof TcpFrameTransport>[0]

/** The transport of the main thread. */
export interface Mesh extends FrameTransport, Rekeyable {
  /** Where the control thread of this node is reached: for those who know the mesh's address only. */
  leadTo(controlAddress: Address): void
  /** Connections that proved nothing, and those that a limit turned away, since the start. */
  strangers(): { readonly failed: number; readonly turnedAway: number }
}

export function makeMesh(transport: TransportName, options: MeshOptions): Mesh {
  // Datagrams have the peer port's number; nobody asks TCP there for them.
  if (transport === 'tcp') return Object.assign(new TcpFrameTransport(options), { leadTo: () => undefined })
  return new WsFrameTransport({ ...options, door: 'mesh', isSecure: transport === 'wss' })
}

/** How control threads reach each other. */
function makeControlTransports(
  setup: ControlSetup,
  onNote: NonNullable<MeshOptions['onNote']>,
): Pick<ControlDrivers, 'datagrams' | 'streams'> {
  const { bind, keys, advertiseHost, advertisePort, control, transport, peerAddress } = setup
  const options = { ...control, host: bind.host, ...keys, onNote }
  if (transport !== 'tcp') {
    const streams = new WsFrameTransport({ ...options, door: 'control', isSecure: transport === 'wss' })
    streams.leadTo(peerAddress)
    return { streams, datagrams: streams.datagrams }
  }
  // Until the cluster's own secret is read from the store, nobody else knows what these are sealed with.
  const cookies = keys.cookies.length > 0 ? keys.cookies : [randomBytes(32)]
  const { host, port } = bind
  return {
    streams: new TcpFrameTransport(options),
    datagrams: new UdpDatagramTransport({
      host,
      port,
      advertiseHost,
      advertisePort,
      cookies,
      datagramBytesMax,
    }),
  }
}

export function makeControlPlane(setup: ControlSetup, post: (message: ControlToMain) => void): ControlPlane {
  const onNote = (
    event: string,
    fields: Record<string, unknown>,
    level: 'info' | 'warn' | 'error' = 'warn',
  ): void => post({ type: 'note', level, event, fields })
  return new ControlPlane(
    setup,
    {
      store: makeStoreOf(setup, onNote),
      ...makeControlTransports(setup, onNote),
      lifeLocks: makeLifeLocks(),
      discovery: setup.discover.map(makeDiscovery),
      guardRenewals: (address) => makeGuardRenewals({ address }),
    },
    post,
  )
}

/** Resolves when store and sockets are open; rejects with what kept them from it. */
export async function runControl(
  setup: ControlSetup,
  threads: 'worker' | 'inline',
  post: (message: ControlToMain) => void,
  onExit: (error: Error) => void,
): Promise<RunningControl> {
  if (threads === 'inline') {
    const plane = makeControlPlane(setup, post)
    await plane.start()
    return { post: (message) => plane.receiveFromMain(message), close: () => plane.close() }
  }
  const worker = new Worker(new URL('./control-worker.js', import.meta.url), { workerData: setup })
  let closing = false
  const exited = new Promise<void>((done) => worker.once('exit', () => done()))
  await new Promise<void>((started, failed) => {
    worker.on(
      'message',
      (
        message:
          | ControlToMain
          | { type: 'started' }
          | {
              type: 'start_failed'
              code: SkeinError['code']
              message: string
              details: Record<string, unknown>
            },
      ) => {
        if (message.type === 'started') started()
        else if (message.type === 'start_failed')
          failed(new SkeinError(message.code, message.message, { details: message.details }))
        else post(message)
      },
    )
    worker.once('error', (error) => {
      failed(error)
      if (!closing) onExit(error)
    })
    worker.once('exit', (code) => {
      const error = new Error(`the control thread ended with code ${code}`)
      failed(error)
      if (!closing) onExit(error)
    })
  })
  return {
    post: (message) => worker.postMessage(message),
    close: async () => {
      closing = true
      worker.postMessage({ type: 'close' } satisfies MainToControl)
      await exited
    },
  }
}

function pathOf(url: string, what: 'store' | 'journal'): string {
  const match = /^sqlite:(?:\/\/)?(.+)$/.exec(url)
  if (match === null)
    throw new SkeinError('bad_config', `--${what} "${url}": this build knows sqlite:PATH`, {
      details: { field: what },
    })
  return match[1] as string
}
