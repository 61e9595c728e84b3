/** A running node: joins control, data plane, tails, consumers and views into the public API. Holds no rules of its own. */

import { randomBytes } from 'node:crypto'
import type { AgentAlarm } from '../core/agents/audit.js'
import { type Address, asBootId, asEpoch } from '../core/kernel/brand.js'
import { settingsName } from '../core/kernel/config-document.js'
import { SkeinError } from '../core/kernel/error.js'
import type { FeedEventName } from '../core/kernel/feed-events.js'
import { NoteLimiter } from '../core/kernel/note-limiter.js'
import { registrationPrefix } from '../core/kernel/registration.js'
import { externalRules } from '../core/node/candidates.js'
import type { AgentFence } from '../core/routing/events.js'
import type { Alarm } from '../core/sharding/ownership-audit.js'
import { shardOf } from '../core/sharding/shard-map.js'
import type { AgentProcesses } from '../ports/agent-processes.js'
import type { Journal } from '../ports/journal.js'
import type { MirrorTarget } from '../ports/mirror.js'
import type { ConnectionEvent, FrameTransport } from '../ports/transport.js'
import { Agents, agentFrames } from './agents/agents.js'
import { Audit } from './audit.js'
import type { AuditLog } from './audit-log.js'
import { type Channel, type ChannelHandlers, Channels } from './channels.js'
import { ClusterConfig } from './cluster-config/cluster-config.js'
import { Consumer } from './consumers.js'
import type { ControlLink } from './control-link.js'
import type { ControlToMain } from './control-messages.js'
import { DataPlane } from './data-plane.js'
import { checkQuery } from './event-checks.js'
import { EventReader } from './event-reader.js'
import { Externals } from './externals.js'
import { Fabric } from './fabric.js'
import { Feed } from './feed.js'
import type { HlcKeeper } from './hlc-keeper.js'
import { monotonicMs } from './host-clock.js'
import { Instruments, loopResolutionMs } from './instruments.js'
import { Knock } from './knock.js'
import { Leadership } from './leadership.js'
import { Maps } from './maps/maps.js'
import { meshFrames, pack } from './mesh-frames.js'
import type { InstrumentSources } from './metrics/collectors.js'
import { timedJournal } from './metrics/timed-journal.js'
import { Mirror } from './mirror.js'
import type {
  ConsumeOptions,
  EventQuery,
  NodeConfig,
  NodeView,
  PublishInput,
  PublishResult,
  ShardView,
  SkeinNode,
} from './node-api.js'
import { Operations } from './operations.js'
import { Ownership } from './ownership.js'
import { pause } from './pause.js'
import { presets } from './presets.js'
import { Processing, type ShardListener } from './processing/processing.js'
import { publishChecked, settled } from './publishing.js'
import { RegistryLink } from './registry-link.js'
import { Retention } from './retention.js'
import { Rooms } from './rooms/rooms.js'
import { Roster } from './roster.js'
import { Samples, samplePeriodMs } from './samples.js'
import { Names } from './services/names.js'
import { Services } from './services/services.js'
import type { Tracing } from './services/tracing.js'
import { MoveTeller } from './shard-moves.js'
import type { SharedState } from './shared-state.js'
import { Sight } from './sight.js'
import { Status } from './status.js'
import { Tails } from './tails.js'
import { until } from './until.js'

const publishTimeoutMs = 5_000
const heartbeatMs = 200
const journalHealthMs = 2_000
const retentionEveryMs = 60_000
/** For clients in rooms to go to another node. */
const clientsLeaveMs = 5_000
/** Names kept for counting. */
const streamsMax = 10_000

export interface NodeParts {
  readonly config: NodeConfig
  readonly nodeId: string
  readonly version: string
  readonly shared: SharedState
  readonly journal: Journal
  readonly mesh: FrameTransport & {
    /** Connections that proved nothing, and those that a limit turned away, since the start. */
    strangers(): { readonly failed: number; readonly turnedAway: number }
  }
  readonly clock: HlcKeeper
  readonly auditLog: AuditLog
  readonly link: ControlLink
  readonly bootId: string
  /** Of the cluster; the first is in use. */
  readonly secrets: () => readonly Uint8Array[]
  readonly expiries: InstrumentSources['expiries']
  readonly makeProcesses: () => AgentProcesses
  readonly tracing: Tracing
  readonly log: (
    level: 'debug' | 'info' | 'warn' | 'error',
    event: string,
    fields: Readonly<Record<string, unknown>>,
  ) => void
  readonly logCounts: Readonly<Record<string, number>>
  readonly setLogLevel: (level: NodeConfig['logLevel']) => void
  /** Ends everything in reverse order of the start. */
  readonly shutDown: () => Promise<void>
}

/** Where requests come in from outside. */
interface Door {
  quiesce(): Promise<void>
  close(): Promise<void>
}

export class RunningNode implements SkeinNode {
  readonly roster: Roster
  readonly audit: Audit
  private readonly fabric: Fabric
  private readonly rows: RegistryLink
  private readonly offered: Services
  private readonly named: Names
  private readonly parts: NodeParts
  private readonly roomsHere: Rooms
  private readonly channels: Channels
  private readonly plane: DataPlane
  private readonly reader: EventReader
  private readonly state: Status
  private readonly sight: Sight
  private readonly externals: Externals
  private readonly tails: Tails
  private readonly feed = new Feed()
  private followConfig: (() => void) | undefined
  private readonly samples = new Samples()
  /** Where shards were, for whoever looks back: the map alone says only where they are. */
  private readonly moves = new MoveTeller((moved) => this.happened('shards.moved', { ...moved }))
  private readonly leadership: Leadership
  private readonly operations: Operations
  private readonly running: Agents
  private readonly replicated: Maps
  readonly config: ClusterConfig
  private readonly retention: Retention
  private readonly mirrors: Mirror[] = []
  private readonly ownership: Ownership
  private readonly instruments: Instruments
  private readonly consumers = new Set<ShardListener>()
  /** Those of them that are no processors. */
  private readonly readers = new Set<Consumer>()
  private readonly journal: Journal
  private readonly processing: Processing
  private readonly streams = new Set<string>()
  private formatLevel = 1
  private readonly timers: NodeJS.Timeout[] = []
  private readonly notes = new NoteLimiter(monotonicMs)
  private stopping: Promise<void> | undefined
  private isShut = false
  private door: Door | undefined
  private quiet: Promise<void> = Promise.resolve()
  private finish: (end: { reason: string; error?: Error }) => void = () => {}
  private onStopped: () => void = () => {}
  private onActive: () => void = () => {}
  private onFailed: (error: Error) => void = () => {}
  private knocking: Knock | undefined
  readonly ended: SkeinNode['ended']
  /** Resolves at the first moment this node is a member, active or drained; rejects if it may not be one. */
  readonly active: Promise<void>

  constructor(parts: NodeParts) {
    this.parts = parts
    this.roster = new Roster(
      parts.nodeId,
      (id) => this.running.directory.agentsOf(id),
      externalRules(parts.config.externalOfflineMs),
    )
    const { nodeId, config, mesh, clock, log } = parts
    this.fabric = new Fabric({
      nodeId,
      bootId: asBootId(parts.bootId),
      zone: config.zone,
      region: config.region,
      mesh,
      roster: this.roster,
      clock,
      log,
    })
    this.rows = new RegistryLink(this.fabric)
    const { fabric, rows } = this
    this.offered = new Services({
      fabric,
      rows,
      candidates: () => this.roster.candidates(),
      tracing: parts.tracing,
    })
    this.named = new Names({
      fabric,
      rows,
      provider: this.offered.provider,
      caller: this.offered.caller,
      currentLease: () => this.plane.currentLease(),
      transact: (transaction) => parts.link.call('transact', transaction),
    })
    this.config = new ClusterConfig({
      config,
      link: parts.link,
      strategy: () => this.roster.strategy,
      log,
    })
    this.config.onSettings(({ logLevel }) => parts.setLogLevel(logLevel))
    this.replicated = new Maps({
      fabric: this.fabric,
      members: () =>
        this.roster.list().flatMap((v) => (v.kind === 'node' && v.observed !== 'left' ? [v.id] : [])),
    })
    this.ended = new Promise((resolve) => {
      this.finish = resolve
    })
    this.active = new Promise((resolve, reject) => {
      this.onActive = resolve
      this.onFailed = reject
    })
    this.active.catch(() => {})
    this.audit = new Audit({
      nodeId: parts.nodeId,
      log: parts.auditLog,
      mesh: parts.mesh,
      others: () =>
        this.roster.list().filter((v) => !v.isSelf && v.kind === 'node' && v.status !== 'offline'),
    })
    this.leadership = new Leadership(parts.shared, (error) =>
      parts.log('error', 'leader.task_failed', { detail: String(error) }),
    )
    this.instruments = this.makeInstruments()
    const journal = timedJournal(parts.journal, this.instruments.journal)
    this.journal = journal
    this.tails = new Tails({ mesh: parts.mesh, peers: () => this.roster.reachable() })
    this.plane = new DataPlane({
      nodeId: parts.nodeId,
      shared: parts.shared,
      journal,
      mesh: parts.mesh,
      clock: parts.clock,
      peerAddress: (id) => this.roster.peerAddress(id),
      isFenced: (fence) => this.running.isFenced(fence),
      shardClosed: (shard, epoch) => parts.link.tell({ type: 'shard_closed', shard, epoch }),
      acknowledged: (events) => {
        this.tails.acknowledged(events)
        this.ownership.acknowledged(events)
        this.roomsHere.acknowledged(events)
        for (const { stream } of events) if (this.streams.size < streamsMax) this.streams.add(stream)
        if (this.consumers.size > 0)
          for (const shard of new Set(events.map((e) => e.shard)))
            for (const c of this.consumers) c.acknowledged(shard)
      },
      shardOpened: (shard) => {
        this.instruments.counts.shardsOpened++
        const epoch = this.plane.epochOf(shard)
        const lease = this.plane.currentLease()
        if (epoch !== undefined && lease !== null) this.ownership.opened(shard, epoch, lease)
        this.roomsHere.owner.opened(shard)
        for (const c of this.consumers) c.opened(shard)
      },
      shardGone: (shard, epoch) => {
        this.instruments.counts.shardsClosed++
        this.ownership.closed(shard, epoch)
        this.roomsHere.owner.closed(shard)
        for (const c of this.consumers) c.gone(shard)
      },
      count: (outcome, events) => this.instruments.countEvents(outcome, events),
      countRejected: (code) => this.instruments.countRejected(code),
      countForward: (outcome) => this.instruments.countForward(outcome),
      observeAppend: (seconds) => this.instruments.append.observe(seconds),
      observeTakeover: (seconds) => this.instruments.takeover.observe(seconds),
      note: (level, event, fields) => parts.log(level, event, fields),
    })
    this.reader = new EventReader({
      plane: this.plane,
      journal,
      mesh: parts.mesh,
      peerAddress: (id) => this.roster.peerAddress(id),
      seals: (shards) => parts.link.call('seals', shards),
    })
    this.state = new Status({
      ...{ config, mesh, journal: parts.journal, shared: parts.shared },
      roster: this.roster,
      plane: this.plane,
      streamsSeen: () => this.streams.size,
      formatLevel: () => this.formatLevel,
    })
    this.sight = new Sight(nodeId, this.roster, mesh)
    this.externals = new Externals(this.roster, parts.link)
    this.roomsHere = this.makeRooms()
    this.channels = new Channels(this.fabric)
    this.retention = this.retentionOf()
    this.ownership = new Ownership({
      nodeId: parts.nodeId,
      shards: parts.shared.shards,
      mesh: parts.mesh,
      leader: () => this.leaderForReports(),
      seals: (shards) => parts.link.call('seals', shards),
      agentRuns: (max) => this.running.runner.runsSince(max),
      alarm: (alarm) => this.ownershipAlarm(alarm),
      note: (level, event, fields) => parts.log(level, event, fields),
    })
    this.running = new Agents({
      nodeId: parts.nodeId,
      bootId: parts.bootId,
      zone: parts.config.zone,
      region: parts.config.region,
      allowExec: parts.config.allowExec,
      link: parts.link,
      journal,
      currentLease: () => this.plane.currentLease(),
      leaseDeadlineMs: () => parts.shared.leaseDeadlineMs,
      node: (id) => this.roster.get(id),
      nodes: () => this.roster.list(),
      peerAddress: (id) => this.roster.peerAddress(id),
      candidates: () => this.roster.candidates(),
      strategy: () => this.roster.strategy,
      setStrategy: (strategy) => this.config.changeSettings({ strategy }),
      request: (address, type, body, options) => parts.mesh.request(address, type, body, options),
      publish: async (stream, event, fence) =>
        settled(await this.publishMany([{ ...event, stream }], undefined, fence)),
      makeProcesses: parts.makeProcesses,
      tracing: parts.tracing,
      log: parts.log,
    })
    this.processing = new Processing({
      fabric: this.fabric,
      rows: this.rows,
      plane: this.plane,
      journal,
      pause,
      note: parts.log,
      runningMax: config.maxSpawned,
      candidates: () => this.roster.candidates(),
      strategy: () => this.roster.strategy,
      hasLeft: (id, bootId) => this.roster.hasLeft(id, bootId),
      epochOfShard: (shard) => this.plane.shardMap[shard]?.epoch ?? 0,
    })
    this.consumers.add(this.processing)
    this.running.directory.onChange((name) => {
      const at = this.running.directory.owner(name)
      if (at !== undefined) this.ownership.assigned(name, asEpoch(at.epoch), at.lease)
    })
    this.operations = new Operations({
      link: parts.link,
      member: (id) => this.roster.get(id),
      shardMap: () => this.plane.shardMap,
      agentsOf: (id) => this.running.directory.agentsOf(id),
      blockers: (id) => this.running.blockers(id),
    })
    parts.clock.onTrouble = (detail) => this.note('warn', 'clock.trouble', { detail })
    this.listen()
  }

  private makeRooms(): Rooms {
    const { roster, plane, fabric } = this
    const self = (): NodeView | undefined => roster.get(fabric.nodeId)
    return new Rooms({
      fabric,
      rows: this.rows,
      historyPrefixes: this.parts.config.roomHistory,
      secrets: this.parts.secrets,
      shardOf: (key) => shardOf(key, plane.shards),
      ownerOf: (shard) => plane.ownerOf(shard),
      confirmedEnd: (shard) => plane.confirmedEnd(shard),
      readKey: (stream, key, after, limit) => this.reader.readKey(stream, key, after, limit),
      publish: (events) => this.publishMany(events),
      nodes: () =>
        fabric.peers.map(({ nodeId, isUnfit }) => ({
          nodeId,
          httpAddress: roster.get(nodeId)?.httpAddress ?? '',
          isFit: !isUnfit,
        })),
      httpAddress: () => self()?.httpAddress ?? '',
      isDraining: () => this.stopping !== undefined || self()?.status === 'draining',
    })
  }

  private makeInstruments(): Instruments {
    const { parts, roster, fabric } = this
    return new Instruments({
      version: parts.version,
      leaseTtlMs: presets[parts.config.preset].lease.ttlMs,
      runningMax: parts.config.maxSpawned,
      loopResolutionMs,
      status: () => this.state.of(this.self),
      members: () => roster.list(),
      peers: () => this.state.peers(),
      shards: () => this.cluster.shards(),
      membershipHealth: () => roster.health,
      control: () => roster.figures,
      journalBytes: () => this.state.journalBytes,
      eventsWaiting: () => this.plane.publisher.waitingCount,
      eventsUnconfirmed: () => this.plane.writer.unconfirmedEvents,
      tails: () => this.tails,
      consumers: () => [...this.readers],
      mirrors: () => this.mirrors,
      dropped: () => fabric.dropped,
      strangers: () => parts.mesh.strangers(),
      clockRefused: () => parts.clock.refusedCount,
      config: () => ({
        version: this.config.get(settingsName)?.version ?? 0,
        documents: this.config.list().length,
      }),
      operationsRunning: () => this.operations.list().filter((o) => o.state === 'running').length,
      agents: (isLeader) => this.running.figures(isLeader),
      services: () => this.offered.figures(),
      registrySize: (kind) => this.rows.registry.size(kind),
      namesHeld: () => this.named.held,
      processing: () => this.processing.figures(),
      rooms: () => this.roomsHere.figures(),
      maps: () => ({ ...this.replicated.api.stats(), ...this.replicated.size() }),
      expiries: parts.expiries,
      logLines: () => parts.logCounts,
      hasPeers: () => fabric.peers.length > 0,
    })
  }

  // --- wiring -------------------------------------------------------------------------------------------------------

  private handleFrames(): void {
    const { fabric } = this
    const answering = (type: number, answer: (body: Uint8Array) => Promise<Uint8Array>): void =>
      fabric.handle(type, ({ body, reply }) => {
        if (reply !== undefined) void answer(body).then(reply, reply)
      })
    fabric.handle(meshFrames.publish, ({ body, reply }) => {
      if (reply !== undefined) this.plane.receive(body, reply)
    })
    answering(meshFrames.read, (body) => this.reader.answer(body))
    for (const type of Object.values(agentFrames)) answering(type, (body) => this.running.answer(type, body))
    answering(meshFrames.sight, async () => pack(this.sight.own()))
    answering(meshFrames.audit, (body) => this.audit.answer(body))
    fabric.handle(meshFrames.ownership, ({ from, body, reply }) =>
      this.ownership.receive(from.nodeId, body, reply),
    )
    for (const type of [meshFrames.tailWanted, meshFrames.tailEvents])
      fabric.handle(type, ({ from, body }) => this.tails.receive(from, type, body))
  }

  private listen(): void {
    const { mesh, link, shared } = this.parts
    this.handleFrames()
    mesh.onFrame((frame) => {
      try {
        this.fabric.receive(frame)
      } catch (error) {
        const { from, type, reply } = frame
        this.note('warn', 'mesh.bad_frame', { from: from.nodeId, type, detail: String(error) })
        reply?.(error instanceof Error ? error : new Error(String(error)))
      }
    })
    mesh.onConnection((event) => {
      this.knocking?.take(event)
      if (event.type === 'lost')
        link.tell({
          type: 'connection_lost',
          nodeId: event.nodeId,
          bootId: event.bootId,
          address: event.address,
          detail: event.detail,
        })
      else if (event.type === 'refused')
        link.tell({ type: 'dial_refused', address: event.address, detail: event.detail })
      else if (event.type === 'rejected') this.rejected(event)
    })
    this.timers.push(
      setInterval(() => this.beat(), heartbeatMs),
      setInterval(() => this.samples.take(Date.now(), this.roster.list()), samplePeriodMs),
      setInterval(() => void this.state.checkJournal(), journalHealthMs),
      setInterval(() => void this.retention.run(), retentionEveryMs),
    )
    shared.beat()
    this.findStreams().catch((error) =>
      this.parts.log('warn', 'journal.list_failed', { detail: String(error) }),
    )
  }

  /** Of what others cause: a few of each kind a second. */
  private note(level: 'warn' | 'error', event: string, fields: Record<string, unknown>): void {
    this.notes.note(event, fields, (shown) => this.parts.log(level, event, shown))
  }

  private beat(): void {
    const { shared } = this.parts
    shared.beat()
    shared.unconfirmedEvents = this.plane.writer.unconfirmedEvents
    shared.loopDelayMs = Math.max(0, this.instruments.loopDelay.mean / 1e6 - loopResolutionMs)
  }

  /** What earlier processes left in the journal. */
  private async findStreams(): Promise<void> {
    const files = await this.parts.journal.leaseFiles()
    for (const { streamBytes } of files)
      for (const stream of streamBytes.keys()) if (this.streams.size < streamsMax) this.streams.add(stream)
  }

  private leaderForReports(): ReturnType<ConstructorParameters<typeof Ownership>[0]['leader']> {
    const leader = this.roster.leaderView()
    if (leader === null) return null
    const address = this.roster.peerAddress(leader.nodeId)
    if (leader.isSelf) return 'self'
    return address === undefined ? null : { nodeId: leader.nodeId, address }
  }

  /** Correct code never comes here: a person must look at once. */
  private ownershipAlarm(alarm: Alarm | AgentAlarm): void {
    const fields = { ...alarm }
    this.parts.log('error', 'ownership.alarm', fields)
    this.happened('ownership.alarm', fields)
  }

  private happened(
    event: FeedEventName,
    fields: Readonly<Record<string, unknown>>,
    atMs: number = Date.now(),
  ): void {
    this.instruments.countFeed(event, fields)
    this.feed.push({ atMs, nodeId: this.parts.nodeId, event, fields })
  }

  private retentionOf(): Retention {
    const { link, log } = this.parts
    return new Retention({
      journal: this.journal,
      policy: () => ({
        ageMsMax: this.config.settings.retentionHours * 3_600_000,
        streamBytesMax: this.config.settings.retentionStreamMib * 1_048_576,
      }),
      nowMs: () => Date.now(),
      holdsLease: () => this.plane.currentLease() !== null,
      isLeader: () => this.roster.leaderView()?.isSelf === true,
      shardMap: () => this.plane.shardMap,
      seals: async () => {
        const all = Array.from({ length: this.plane.shards }, (_, shard) => shard)
        return (await link.call('seals', all)).map(([, seals]) => seals)
      },
      liveLeases: async () =>
        (await link.call('list', registrationPrefix)).flatMap(({ lease }) => lease ?? []),
      prune: async (leases) => {
        const { ok, detail } = await link.call('command', { type: 'prune', leases })
        if (!ok) throw new SkeinError('conflict', `cutting expired logs: ${detail}`)
      },
      note: log,
    })
  }

  private rejected({ code, detail, inbound }: Extract<ConnectionEvent, { type: 'rejected' }>): void {
    this.note(inbound ? 'warn' : 'error', 'peer.rejected', { code, detail })
    // Anybody can come with a wrong cookie; that is no reason not to start.
    if (inbound) return
    this.onFailed(new SkeinError(code as SkeinError['code'], detail))
  }

  /** Before anything is registered. Throws what one of them turns us away for. */
  async knockAt(peers: readonly Address[]): Promise<void> {
    const knock = new Knock(peers.length)
    this.knocking = knock
    for (const peer of peers) this.parts.mesh.redial(peer)
    try {
      await Promise.race([knock.isOver, this.active])
    } finally {
      knock.end()
      this.knocking = undefined
    }
  }

  /** From now on the control plane listens. */
  controlStarted(): void {
    this.running.offer()
  }

  /** Is told before this node goes, and closed before anything that it needs. */
  serves(door: Door): void {
    this.door = door
  }

  /** A message from the control plane. */
  control(message: ControlToMain): void {
    const { link, log } = this.parts
    if (link.settle(message) || this.running.control(message)) return
    switch (message.type) {
      case 'members':
        this.roster.update(message)
        this.fabric.membersChanged()
        this.roomsHere.membersChanged()
        break
      case 'routing':
        this.roster.leader = message.leader
        this.formatLevel = message.formatLevel
        this.moves.changed(this.plane.shardMap, message.map)
        this.plane.routing(message.map)
        this.ownership.routing(message.map)
        this.roomsHere.routesChanged()
        this.leadership.update(message.leads && message.leader !== null ? message.leader.term : null)
        // One that was told to drain before it was started again is a member too, and stays empty.
        if (message.lifecycle === 'active' || message.lifecycle === 'draining') {
          this.replicated.started()
          this.onActive()
        }
        break
      case 'config':
        this.config.update(message.documents)
        // What was there before is no news.
        this.followConfig ??= this.config.watch(({ key, version, by, note }) =>
          this.happened('config.changed', { key, version, by, note }),
        )
        break
      case 'feed':
        this.happened(message.event, message.fields, message.atMs)
        log('info', message.event, message.fields)
        break
      case 'journal_open':
        this.plane
          .journalOpen(message.lease)
          .catch((error: unknown) => log('error', 'journal.open_failed', { detail: String(error) }))
        break
      case 'journal_seal':
        this.plane.seal(message.wanted).then(
          (found) => link.tell({ type: 'sealed', tag: message.tag, found, detail: '' }),
          (error: unknown) =>
            link.tell({
              type: 'sealed',
              tag: message.tag,
              found: null,
              detail: error instanceof Error ? error.message : String(error),
            }),
        )
        break
      case 'shard_open':
        this.plane
          .openShard(message.shard, message.epoch, message.lease, message.seals)
          .catch((error: unknown) => {
            log('error', 'shard.open_failed', { shard: message.shard, detail: String(error) })
          })
        break
      case 'shard_close':
        this.plane.closeShard(message.shard, message.epoch)
        break
      case 'stop_serving':
        this.leadership.stopServing()
        this.plane.stopServing(message.reason)
        this.named.leaseLost()
        this.quiet = this.running.stopServing(message.reason === 'leaving' ? 'leaving' : 'lost')
        break
      case 'relinquish':
        // Nothing that rests on the lease may be left when its end is reported.
        this.quiet
          .then(() => this.plane.relinquish())
          .then(
            () => link.tell({ type: 'relinquished' }),
            (error: unknown) => {
              log('error', 'journal.close_failed', { detail: String(error) })
              link.tell({ type: 'relinquished' })
            },
          )
        break
      case 'refused':
        this.onFailed(new SkeinError('cluster_mismatch', message.detail))
        break
      case 'stopped':
        this.onStopped()
        if (this.stopping === undefined) void this.stop({ reason: message.reason })
        break
      case 'fatal':
        this.fail(new SkeinError(message.code, message.detail))
        break
      case 'note':
        log(message.level, message.event, message.fields)
        break
      default:
        break
    }
  }

  /** This process may not go on: nothing is handed over, the lease simply ends. */
  fail(error: Error): void {
    this.parts.log('error', 'node.failed', { detail: error.message })
    this.onFailed(error)
    this.stopping ??= this.shutDown('failed', error)
  }

  // --- views --------------------------------------------------------------------------------------------------------

  get self(): NodeView {
    const view = this.roster.get(this.parts.nodeId)
    if (view === undefined)
      throw new SkeinError('unavailable', 'the node has not joined yet', { retryable: true })
    // Fresher than the last report: this is us.
    return { ...view, shardsOwned: this.plane.openShards().length, lastSeenMs: Date.now() }
  }

  readonly members: SkeinNode['members'] = {
    list: () => this.roster.list(),
    get: (id) => this.roster.get(id),
    why: async (id) => {
      const node = this.roster.get(id)
      if (node === undefined) return undefined
      const { evidence, health } = await this.parts.link.call('why', id)
      return {
        node,
        summary: summarize(node, evidence.at(-1)?.detail),
        observer: this.parts.nodeId,
        observerHealth: health,
        evidence,
      }
    },
    monitor: (id, onDown) => this.roster.monitor(id, onDown),
  }

  get agents(): SkeinNode['agents'] {
    return this.running.api
  }

  get processors(): SkeinNode['processors'] {
    return this.processing.processors
  }

  get spawn(): SkeinNode['spawn'] {
    return this.processing.spawn
  }

  get monitor(): SkeinNode['monitor'] {
    return this.processing.monitor
  }

  get link(): SkeinNode['link'] {
    return this.processing.link
  }
  get maps(): SkeinNode['maps'] {
    return this.replicated.api
  }

  map: SkeinNode['map'] = (name, options) => this.replicated.map(name, options)

  channel(name: string, handlers: ChannelHandlers): Channel {
    return this.channels.channel(name, handlers)
  }

  get rooms(): SkeinNode['rooms'] {
    return this.roomsHere.api
  }

  get balancer(): SkeinNode['balancer'] {
    return this.running.balancer
  }

  get services(): SkeinNode['services'] {
    return this.offered.api
  }

  get names(): SkeinNode['names'] {
    return this.named.api
  }

  get clock(): SkeinNode['clock'] {
    const { clock } = this.parts
    return { now: () => clock.now(), skewMsMax: clock.skewMsMax, refusedCount: clock.refusedCount }
  }

  get metrics(): Instruments {
    return this.instruments
  }

  // --- events -------------------------------------------------------------------------------------------------------

  readonly events: SkeinNode['events'] = {
    publish: async (stream, event) => settled(await this.publishMany([{ ...event, stream }])),
    publishMany: (events, options) => this.publishMany(events, options?.timeoutMs),
    read: (query: EventQuery) => {
      checkQuery(query)
      return this.reader.read(query)
    },
    tail: (filter, onEvent, onLagged) => this.tails.listen(filter, onEvent, onLagged ?? (() => {})),
    consume: (stream, handler, options: ConsumeOptions = {}) => {
      const { plane } = this
      const { tracing, log } = this.parts
      const consumer = new Consumer(
        { plane, journal: this.journal, pause, note: log },
        stream,
        (batch, context) =>
          tracing.within('process', 'consumer', messagingOf(batch), () => handler(batch, context)),
        options,
      )
      this.consumers.add(consumer)
      this.readers.add(consumer)
      return {
        stop: async () => {
          this.consumers.delete(consumer)
          this.readers.delete(consumer)
          await consumer.stop()
        },
      }
    },
  }

  mirrorTo(mirrors: readonly { readonly stream: string; readonly target: MirrorTarget }[]): void {
    for (const { stream, target } of mirrors)
      this.mirrors.push(
        new Mirror({
          stream,
          target,
          consume: this.events.consume,
          count: (to, of, outcome, events) => this.instruments.countMirrored(to, of, outcome, events),
          note: this.parts.log,
        }),
      )
  }

  private async publishMany(
    inputs: readonly PublishInput[],
    timeoutMs = publishTimeoutMs,
    fence?: AgentFence,
  ): Promise<readonly PublishResult[]> {
    if (this.isShut) throw new SkeinError('closed', 'the node is stopping', { retryable: true })
    return this.parts.tracing.within('publish', 'producer', messagingOf(inputs), () =>
      publishChecked(inputs, newEventId, (events) =>
        this.plane.publish(fence === undefined ? events : events.map((e) => ({ ...e, fence })), timeoutMs),
      ),
    )
  }

  // --- leader and cluster ---------------------------------------------------------------------------------------------

  readonly leader: SkeinNode['leader'] = {
    get: () => this.roster.leaderView(),
    promote: async () => {
      const { ok, detail } = await this.parts.link.call('command', { type: 'promote' })
      if (!ok) throw new SkeinError('conflict', `promotion refused: ${detail}`)
      await until(() => this.roster.leaderView()?.isSelf === true, 'this node to lead')
      return this.roster.leaderView() as NonNullable<ReturnType<Roster['leaderView']>>
    },
    stepDown: async () => {
      const { ok, detail } = await this.parts.link.call('command', { type: 'step_down' })
      if (!ok) throw new SkeinError('conflict', detail)
      await until(() => this.roster.leaderView()?.isSelf !== true, 'the resignation')
    },
    whileLeading: (task) => this.leadership.whileLeading(task),
  }

  readonly cluster: SkeinNode['cluster'] = {
    status: () => this.state.of(this.self),
    peers: () => this.state.peers(),
    shards: () =>
      this.plane.shardMap.map(
        (a, shard): ShardView => ({
          shard,
          epoch: a.epoch,
          owner: a.nodeId,
          target: a.target,
          state: a.nodeId === null ? 'unassigned' : a.target === null ? 'open' : 'moving',
        }),
      ),
    route: (key) => {
      const shard = shardOf(key, this.plane.shards)
      const a = this.plane.shardMap[shard]
      const owner = a?.nodeId ?? null
      return {
        key,
        shard,
        epoch: a?.epoch ?? 0,
        owner,
        address: owner === null ? '' : (this.roster.get(owner)?.httpAddress ?? ''),
      }
    },
    ownership: () => this.ownership.ask(),
    history: (limit, topic) => this.feed.history(limit, topic),
    samples: (pointsMax, nodeId) => this.samples.read(pointsMax, nodeId),
    watch: (afterSeq, onEvent) => this.feed.watch(afterSeq, onEvent),
    reachability: () => this.sight.all(),
    remove: async (id) => {
      if (await this.externals.remove(id)) return
      if (this.roster.get(id) === undefined)
        throw new SkeinError('not_found', `no node "${id}"`, { details: { node_id: id } })
      const { ok, detail } = await this.parts.link.call('command', { type: 'remove', nodeId: id })
      if (!ok) throw new SkeinError('unavailable', detail, { retryable: true })
    },
    drain: (id, { deadlineMs }) => this.operations.drain(id, deadlineMs),
    cordon: (id) => this.operations.cordon(id, true),
    uncordon: (id) => this.operations.cordon(id, false),
    operations: () => this.operations.list(),
    cancelOperation: (id) => this.operations.cancel(id),
    registerExternal: (node) => this.externals.register(node),
    heartbeat: (id, heartbeat) => this.externals.heartbeat(id, heartbeat),
  }

  // --- end ------------------------------------------------------------------------------------------------------------

  stop(options: { readonly reason?: string; readonly deadlineMs?: number } = {}): Promise<void> {
    this.stopping ??= this.leave(
      options.reason ?? 'stopped',
      options.deadlineMs ?? this.parts.config.drainDeadlineMs,
    )
    return this.stopping
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop()
  }

  private async leave(reason: string, deadlineMs: number): Promise<void> {
    const stopped = new Promise<void>((resolve) => {
      this.onStopped = resolve
    })
    const { link, log } = this.parts
    await this.door?.quiesce()
    await Promise.all([
      ...[...this.consumers].map((c) => c.stop()),
      this.offered.drain(deadlineMs),
      this.roomsHere.migrate('stopping', Math.min(deadlineMs, clientsLeaveMs)),
    ])
    try {
      await link.call('command', { type: 'leave', reason, deadlineMs })
      // The drain has its own deadline inside; this one is for a store that does not answer.
      await Promise.race([
        stopped,
        new Promise<void>((resolve) => setTimeout(resolve, deadlineMs + 2_000).unref()),
      ])
    } catch (error) {
      log('warn', 'node.leave_failed', { detail: String(error) })
    }
    // Whoever is being answered still needs the rest.
    await this.door?.close()
    await this.shutDown(reason)
  }

  private async shutDown(reason: string, error?: Error): Promise<void> {
    this.isShut = true
    for (const timer of this.timers) clearInterval(timer)
    this.leadership.stopServing()
    this.replicated.close()
    this.tails.close()
    this.ownership.close()
    this.moves.close()
    this.operations.close()
    this.processing.close()
    this.roomsHere.close()
    this.rows.close()
    this.running.close()
    await this.running.stopServing('lost')
    this.plane.close()
    await this.parts.shutDown()
    this.parts.link.close()
    this.instruments.close()
    this.finish(error === undefined ? { reason } : { reason, error })
  }
}

/** Of a span, as OpenTelemetry names it. */
function messagingOf(events: readonly { readonly stream: string }[]): Record<string, string | number> {
  return {
    'messaging.system': 'skein',
    'messaging.destination.name': events[0]?.stream ?? '',
    'messaging.batch.message_count': events.length,
  }
}

function newEventId(): string {
  return randomBytes(12).toString('hex')
}

function summarize(node: NodeView, last: string | undefined): string {
  const why = last === undefined ? '' : `: ${last}`
  if (node.observed === 'alive')
    return node.stalled
      ? `${node.id} answers probes, but its main thread stands still`
      : `${node.id} is alive`
  return `${node.id} is ${node.observed}${why}`
}
