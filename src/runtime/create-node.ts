/**
 * Starts a node: identity, cookie, clock, journal, mesh, HTTP, control plane, in this order; a failure on the way undoes what was done and
 * leaves by the same door. Resolves once the node is an active member.
 */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { hostname } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { electionDefaults } from '../core/election/leader-election.js'
import { parseAddress } from '../core/kernel/address.js'
import { SkeinError } from '../core/kernel/error.js'
import { NoteLimiter } from '../core/kernel/note-limiter.js'
import { factsBytesMax, type MemberFacts } from '../core/membership/facts.js'
import { agentPlaneDefaults } from '../core/node/agent-plane.js'
import { externalOfflineMsDefault } from '../core/node/candidates.js'
import { version } from '../core/version.js'
import { createHttpServer } from '../http/server.js'
import type { TransportKeys } from '../ports/transport.js'
import { type AdvertisedAddress, advertisedAddress, advertisedHttp } from './advertised.js'
import { AuditLog } from './audit-log.js'
import {
  makeAgentProcesses,
  makeJournal,
  makeLifeLocks,
  makeMesh,
  makeMirror,
  type RunningControl,
  runControl,
} from './compose.js'
import { ControlLink } from './control-link.js'
import type { ControlSetup, ControlToMain } from './control-messages.js'
import { protocolMax, protocolMin } from './control-plane.js'
import { Credentials } from './credentials.js'
import { HlcKeeper } from './hlc-keeper.js'
import { monotonicMs } from './host-clock.js'
import { openIdentity } from './identity.js'
import { loadModules } from './load-modules.js'
import { type Log, makeLog } from './log.js'
import { RunningNode } from './node.js'
import type { NodeConfig, SkeinNode } from './node-api.js'
import { presets } from './presets.js'
import { Tracing } from './services/tracing.js'
import { SharedState } from './shared-state.js'

export { version }

/** What a node is when nobody says otherwise. `dataDir`, `store` and `journal` follow from the peer port and the data directory. */
export function withDefaults(config: Partial<NodeConfig>): NodeConfig {
  const peerPort = config.peerPort ?? 6745
  const dataDir = resolve(config.dataDir ?? join('.skein', `node-${peerPort}`))
  return {
    clusterName: 'skein',
    host: '127.0.0.1',
    port: 8151,
    peerHost: '127.0.0.1',
    peers: [],
    discover: [],
    mirror: [],
    advertiseSpecial: false,
    transport: 'tcp',
    controlPort: 0,
    insecure: false,
    rateLimit: 10_000,
    rateBurst: 20_000,
    auditMib: 64,
    store: `sqlite:${join(dirname(dataDir), 'store.db')}`,
    journal: `sqlite:${join(dirname(dataDir), 'journal')}`,
    shards: 256,
    preset: 'lan',
    role: 'worker',
    services: [],
    maxAgents: 100,
    maxSpawned: 100,
    allowExec: false,
    load: [],
    rebalance: 'auto',
    zone: '',
    region: '',
    labels: {},
    logLevel: 'info',
    logFormat: 'json',
    allowedOrigins: [],
    allowedHosts: [],
    threads: 'worker',
    http: true,
    roomHistory: [],
    roomClients: 10_000,
    drainDeadlineMs: 30_000,
    externalOfflineMs: externalOfflineMsDefault,
    retentionHours: 168,
    retentionStreamMib: 10_240,
    ...config,
    peerPort,
    dataDir,
  }
}

/**
 * Errors: `bad_config`, `data_dir_unusable`, `already_running`, `bad_cookie`, `port_in_use`, `bad_address`, `cluster_mismatch`, `store_mismatch`,
 * `incompatible`, `node_id_in_use`, and what the store's driver throws at open.
 */
export async function createNode(partial: Partial<NodeConfig> = {}): Promise<SkeinNode> {
  const config = withDefaults(partial)
  const undo: (() => Promise<unknown> | unknown)[] = []
  try {
    return await start(config, undo)
  } catch (error) {
    for (const step of undo.reverse()) await step()
    throw error
  }
}

async function start(config: NodeConfig, undo: (() => Promise<unknown> | unknown)[]): Promise<SkeinNode> {
  const modules = await loadModules(config.load)
  const tracing = await Tracing.load()
  const mirrors = config.mirror.map((text) => makeMirror(text, config.mirrorTokenFile))
  const identity = openIdentity(config.dataDir, config.nodeId, makeLifeLocks())
  undo.push(() => {
    identity.lifeLock.release()
    identity.directoryLock.release()
  })
  const { nodeId, bootId } = identity
  const { log, setLevel, counts: logCounts } = makeLog(config, nodeId)
  const credentials = new Credentials(config, nodeId, log)
  undo.push(() => credentials.close())
  const clock = HlcKeeper.open(config.dataDir, bootId)
  undo.push(() => clock.close())
  const auditLog = new AuditLog({
    directory: identity.dataDir,
    bytesMax: config.auditMib * 1_048_576,
    nodeId,
    now: () => clock.now(),
    onTrouble: (detail) => log('error', 'audit.write_failed', { detail }),
  })
  undo.push(() => auditLog.close())

  let node: RunningNode | undefined
  const die = (error: Error): void => {
    if (node === undefined) return
    node.fail(error)
  }
  const journal = makeJournal(config.journal, config.threads, die)
  await journal.open()
  undo.push(() => journal.close())

  const advertised = advertisedAddress(config.advertise, config.peerHost, config.advertiseSpecial)
  if (advertised.port !== undefined && config.peerPort === 0)
    throw new SkeinError('bad_config', '--advertise with a port needs a fixed --peer-port, not 0', {
      details: { field: 'advertise' },
    })
  const controlAt = advertisedControl(config, advertised)
  const mesh = makeMesh(config.transport, {
    host: config.peerHost,
    port: config.peerPort,
    advertiseHost: advertised.host,
    advertisePort: advertised.port,
    ...credentials.keys,
    onNote: (event, fields) => log('warn', event, fields),
  })
  const peerAddress = await mesh.open({
    clusterName: config.clusterName,
    nodeId,
    bootId,
    protocolMin,
    protocolMax,
    storeIdentity: '',
    journalIdentity: journal.info.identity,
  })
  undo.push(() => mesh.close({ deadlineMs: 500 }))

  const shared = new SharedState(config.shards)
  let control: RunningControl | undefined
  const link = new ControlLink((message) => control?.post(message))
  node = new RunningNode({
    config,
    nodeId,
    version,
    tracing,
    shared,
    journal,
    mesh,
    clock,
    auditLog,
    link,
    log,
    logCounts,
    setLogLevel: setLevel,
    bootId,
    secrets: () => credentials.secrets,
    expiries: () => credentials.expiries(),
    makeProcesses: () =>
      makeAgentProcesses({
        dataDir: identity.dataDir,
        nodeId,
        onNote: (event, fields) => log('warn', event, fields),
      }),
    shutDown: () => unwind(undo),
  })
  const running = node
  for (const { definitions, processors } of modules) {
    for (const definition of definitions) running.agents.define(definition)
    for (const processor of processors) running.processors.register(processor)
  }
  const httpAddress = config.http ? await serveHttp(config, advertised, running, credentials, log, undo) : ''

  // Who would not have us says so on the first connection, with the reason.
  await running.knockAt(config.peers)

  const early: ControlToMain[] = []
  control = await runControl(
    controlSetup(config, {
      shared,
      nodeId,
      bootId,
      peerAddress,
      advertised,
      advertisedControl: controlAt,
      httpAddress,
      keys: credentials.keys,
      journalIdentity: journal.info.identity,
      journalDriver: journal.info.driver,
      lifeLock: identity.lifeLock.locator,
    }),
    config.threads,
    (message) => {
      if (message.type === 'opened') mesh.leadTo(message.controlAddress)
      if (control === undefined) early.push(message)
      else running.control(message)
    },
    die,
  )
  const started = control
  undo.push(() => started.close())
  credentials.onRekey = (keys) => {
    mesh.rekey(keys)
    link.tell({ type: 'rekey', keys })
  }
  // What changed while the start was under way.
  credentials.onRekey(credentials.keys)
  for (const message of early) running.control(message)
  running.controlStarted()
  await running.active
  running.mirrorTo(mirrors)
  for (const { setup } of modules) await setup(running)
  return running
}

/** Where the control port is, as others are told: what was said for it, else the host that was said for the peer port. */
function advertisedControl(config: NodeConfig, peer: AdvertisedAddress): AdvertisedAddress {
  const { advertiseControl, controlPort, peerHost, advertiseSpecial } = config
  if (advertiseControl === undefined) return { host: peer.host, port: undefined }
  const control = advertisedAddress(advertiseControl, peerHost, advertiseSpecial, 'advertise-control')
  if (control.port !== undefined && controlPort === 0)
    throw new SkeinError(
      'bad_config',
      '--advertise-control with a port needs a fixed --control-port, not 0',
      {
        details: { field: 'advertiseControl' },
      },
    )
  return control
}

async function unwind(undo: (() => Promise<unknown> | unknown)[]): Promise<void> {
  for (const step of undo.splice(0).reverse()) await step()
}

async function serveHttp(
  config: NodeConfig,
  advertised: AdvertisedAddress,
  node: RunningNode,
  credentials: Credentials,
  log: Log,
  undo: (() => Promise<unknown> | unknown)[],
): Promise<string> {
  // What callers cause must not fill the log.
  const notes = new NoteLimiter(monotonicMs)
  const limited =
    (level: 'warn' | 'error') =>
    (fields: object, event: string): void =>
      notes.note(event, { ...fields }, (shown) => log(level, event, shown))
  const dashboardDir = fileURLToPath(new URL('../../dist/dashboard', import.meta.url))
  const server = createHttpServer(node, {
    host: config.host,
    port: config.port,
    tokens: credentials.tokens,
    secrets: () => credentials.secrets,
    https: credentials.https,
    clusterName: config.clusterName,
    rateLimit: config.rateLimit,
    rateBurst: config.rateBurst,
    allowedOrigins: config.allowedOrigins,
    allowedHosts: config.allowedHosts,
    roomClients: config.roomClients,
    insecure: config.insecure,
    ...(existsSync(dashboardDir) ? { dashboardDir } : {}),
    log: {
      info: (fields: object, event: string) => log('info', event, { ...fields }),
      warn: limited('warn'),
      error: limited('error'),
    },
  })
  const bound = await server.listen()
  undo.push(() => server.close())
  node.serves(server)
  return advertisedHttp(bound, advertised)
}

interface SetupFacts {
  readonly shared: SharedState
  readonly nodeId: string
  readonly bootId: ControlSetup['options']['bootId']
  readonly peerAddress: string
  readonly advertised: AdvertisedAddress
  readonly advertisedControl: AdvertisedAddress
  readonly httpAddress: string
  readonly keys: TransportKeys
  readonly journalIdentity: string
  readonly journalDriver: string
  readonly lifeLock: string
}

/** Errors: `bad_config` where peers would not read it. */
function factsText({ maxAgents, role, services, labels }: NodeConfig): string {
  const facts: MemberFacts = {
    hostname: hostname(),
    // It has no places, whatever its configuration says: the cluster's capacity is not made of them.
    max_agents: role === 'replica' ? 0 : maxAgents,
    services,
    labels,
    sections: 1,
  }
  const text = JSON.stringify(facts)
  const bytes = Buffer.byteLength(text)
  if (bytes > factsBytesMax)
    throw new SkeinError(
      'bad_config',
      `services and labels make ${bytes} bytes of what a node says of itself, ${factsBytesMax} are allowed: name fewer, or shorter`,
      { details: { bytes, bytes_max: factsBytesMax } },
    )
  return text
}

function controlSetup(config: NodeConfig, facts: SetupFacts): ControlSetup {
  const timing = presets[config.preset]
  const { advertised } = facts
  const boundPort = advertised.port === undefined ? parseAddress(facts.peerAddress)?.port : config.peerPort
  return {
    shared: facts.shared.buffer,
    options: {
      nodeId: facts.nodeId,
      bootId: facts.bootId,
      clusterName: config.clusterName,
      seeds: config.peers,
      role: config.role,
      zone: config.zone,
      region: config.region,
      version,
      facts: factsText(config),
      lifeLock: facts.lifeLock,
      membership: { ...timing.membership, allowSpecialAddresses: config.advertiseSpecial },
      lease: timing.lease,
      election: electionDefaults,
      coordinator: {
        shards: config.shards,
        settleMs: timing.settleMs,
        movingMax: 64,
        rebalance: config.rebalance === 'auto',
      },
      agents: {
        ...agentPlaneDefaults,
        rebalance: config.rebalance === 'auto',
        externalOfflineMs: config.externalOfflineMs,
      },
      evictAfterMs: timing.evictAfterMs,
      proveUnknownAfterMs: 300,
      aloneAfterMs: 1_000,
      moveOffStalledMs: 2_000,
      standbyReliefMs: timing.standbyReliefMs,
      drainDeadlineMs: config.drainDeadlineMs,
    },
    peerAddress: facts.peerAddress,
    httpAddress: facts.httpAddress,
    store: config.store,
    // Datagrams share the peer port's number: the mesh has just bound it for TCP.
    bind: { host: config.peerHost, port: boundPort ?? config.peerPort },
    advertiseHost: advertised.host,
    advertisePort: advertised.port,
    transport: config.transport,
    control: {
      port: config.controlPort,
      advertiseHost: facts.advertisedControl.host,
      advertisePort: facts.advertisedControl.port,
    },
    discover: config.discover,
    keys: facts.keys,
    journalIdentity: facts.journalIdentity,
    journalDriver: facts.journalDriver,
    diskPath: config.dataDir,
    seed: randomBytes(4).readUInt32LE(),
  }
}
