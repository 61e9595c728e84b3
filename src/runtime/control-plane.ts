/**
 * The shell of the node machine: carries its effects out on the real store, sockets and clocks, and brings their completions back in as
 * inputs. Runs in the control worker, or in the calling thread. Decides nothing.
 */

import { writeSync } from 'node:fs'
import { configKey, configPrefix, settingsName } from '../core/kernel/config-document.js'
import { isSkeinError } from '../core/kernel/error.js'
import type { Note } from '../core/kernel/machine.js'
import { NoteLimiter } from '../core/kernel/note-limiter.js'
import { Random } from '../core/kernel/random.js'
import { evictionKey, readRegistration } from '../core/kernel/registration.js'
import type { KeyValue } from '../core/kernel/store-types.js'
import { decodeMembership, encodeMembership } from '../core/membership/codec.js'
import type { MembershipInput } from '../core/membership/membership.js'
import { externalPrefix, intentPrefix, offerKey, offerPrefix, readOffer } from '../core/node/candidates.js'
import { NodeMachine } from '../core/node/node-machine.js'
import type { NodeEffect, NodeInput } from '../core/node/node-types.js'
import { readSeals } from '../core/sharding/shard-map.js'
import type { GuardRenewals } from '../ports/agent-processes.js'
import type { DiscoverySource } from '../ports/discovery.js'
import type { LifeLocks } from '../ports/life-lock.js'
import type { Store } from '../ports/store.js'
import type {
  ConnectionEvent,
  DatagramTransport,
  FrameTransport,
  Rekeyable,
  TransportKeys,
} from '../ports/transport.js'
import { admit } from './cluster-record.js'
import type {
  ControlCalls,
  ControlSetup,
  ControlToMain,
  MainToControl,
  MemberSnapshot,
} from './control-messages.js'
import { datagramSecret } from './datagram-secret.js'
import { Discoverer } from './discoverer.js'
import { monotonicMs, readInstant } from './host-clock.js'
import { HostMeter } from './host-meter.js'
import { SharedState } from './shared-state.js'
import { StoreLink } from './store-link.js'

/** The drivers it runs on; `compose.ts` chooses them. */
export interface ControlDrivers {
  readonly store: Store
  readonly datagrams: DatagramTransport & Rekeyable
  readonly streams: FrameTransport & Rekeyable
  readonly lifeLocks: LifeLocks
  readonly discovery: readonly DiscoverySource[]
  guardRenewals(address: string): GuardRenewals
}

export const protocolMin = 1
export const protocolMax = 1
const membershipFrame = 1
const stallCheckMs = 200
const stalledAfterMs = 1_000
const snapshotEveryMs = 1_000
const snapshotCoalesceMs = 15
const lateTimerMs = 2_147_000

export class ControlPlane {
  private readonly setup: ControlSetup
  private readonly drivers: ControlDrivers
  private readonly post: (message: ControlToMain) => void
  private readonly shared: SharedState
  private readonly link: StoreLink
  private readonly meter: HostMeter
  private readonly discoverer: Discoverer
  private machine: NodeMachine | undefined
  private renewals: GuardRenewals | undefined
  private timer: NodeJS.Timeout | undefined
  private snapshotTimer: NodeJS.Timeout | undefined
  private readonly intervals: NodeJS.Timeout[] = []
  private readonly commands = new Map<string, number>()
  private kept = new Set<string>()
  private lastBeat = { count: -1, atMs: 0 }
  private isStalled = false
  private closed = false
  private stepping = false
  private readonly inputs: NodeInput[] = []
  private running: Promise<void> = Promise.resolve()
  /** Of what others cause. */
  private readonly notes = new NoteLimiter(monotonicMs)

  constructor(setup: ControlSetup, drivers: ControlDrivers, post: (message: ControlToMain) => void) {
    this.setup = setup
    this.drivers = drivers
    this.post = post
    this.shared = new SharedState(setup.shared)
    this.meter = new HostMeter(setup.diskPath, this.shared)
    this.discoverer = new Discoverer({
      sources: drivers.discovery,
      fixed: setup.options.seeds,
      found: (seeds) => this.feedMembership({ type: 'seeds', seeds }),
      note: (level, event, fields) => this.post({ type: 'note', level, event, fields }),
    })
    this.link = new StoreLink(drivers.store, setup.options.clusterName, {
      onReset: (kvs, rev) => {
        this.feed({ type: 'view_reset', kvs, rev })
        this.showConfig(kvs)
      },
      onBatch: (batch) => {
        this.feed({ type: 'view_batch', batch })
        this.showConfig(batch.events.flatMap((e) => (e.type === 'put' ? e.kv : [])))
        if (batch.events.some((e) => isShown(e.type === 'put' ? e.kv.key : e.key))) this.snapshotSoon()
      },
      onTrouble: (detail) =>
        this.post({ type: 'note', level: 'warn', event: 'store.trouble', fields: { detail } }),
    })
  }

  /** Opens store and sockets, then joins. Throws what a driver throws. */
  async start(): Promise<void> {
    const { drivers, setup } = this
    await drivers.store.open()
    const { options } = setup
    const { clusterName, nodeId, coordinator } = options
    const { journalIdentity, journalDriver } = setup
    await admit(this.link, {
      clusterName,
      nodeId,
      journalIdentity,
      journalDriver,
      shards: coordinator.shards,
    })
    await this.rekey(setup.keys)
    await this.discoverer.look()
    const controlStream = await drivers.streams.open({
      clusterName: options.clusterName,
      nodeId: options.nodeId,
      bootId: options.bootId,
      protocolMin,
      protocolMax,
      storeIdentity: drivers.store.info.identity,
      journalIdentity: setup.journalIdentity,
    })
    const control = await drivers.datagrams.open()
    this.machine = new NodeMachine(
      {
        ...options,
        seeds: this.discoverer.addresses(),
        storeIdentity: drivers.store.info.identity,
        addresses: { control, controlStream, peer: setup.peerAddress, http: setup.httpAddress },
      },
      new Random(setup.seed),
    )
    drivers.datagrams.onDatagram((bytes, from) => this.receive(bytes, from, 'datagram'))
    drivers.streams.onFrame((frame) => {
      if (frame.type === membershipFrame) this.receive(frame.body, frame.from.address, 'stream')
    })
    drivers.streams.onConnection((event) => this.connection(event))
    this.intervals.push(
      setInterval(() => this.watchMain(), stallCheckMs),
      setInterval(() => this.snapshot(), snapshotEveryMs),
    )
    this.post({
      type: 'opened',
      controlAddress: control,
      storeIdentity: drivers.store.info.identity,
      storeDriver: drivers.store.info.driver,
    })
    this.running = this.link.run()
    this.feed({ type: 'start' })
    this.discoverer.start()
  }

  /** A message from main. */
  receiveFromMain(message: MainToControl): void {
    switch (message.type) {
      case 'call':
        void this.answer(message.id, message.method, message.ask)
        break
      case 'connection_lost':
      case 'dial_refused':
        this.feedMembership(message)
        break
      case 'rekey':
        void this.rekey(message.keys).catch((error: unknown) =>
          this.post({
            type: 'note',
            level: 'error',
            event: 'keys.unusable',
            fields: { detail: String(error) },
          }),
        )
        break
      case 'guard':
        this.renewals?.close()
        this.renewals = message.address === null ? undefined : this.drivers.guardRenewals(message.address)
        this.renewGuard()
        break
      case 'close':
        void this.close()
        break
      default:
        this.feed(message)
    }
  }

  /** Past a deadline the guard ends what it has, whatever becomes of this process. */
  private renewGuard(): void {
    this.renewals?.renew(this.shared.leaseDeadlineMs)
  }

  /** Certificates seal no datagrams: without a cookie, a secret that the cluster keeps in its store does. */
  private async rekey(keys: TransportKeys): Promise<void> {
    const { datagrams, streams, store } = this.drivers
    streams.rekey(keys)
    const { clusterName } = this.setup.options
    const cookies = keys.cookies.length > 0 ? keys.cookies : [await datagramSecret(store, clusterName)]
    datagrams.rekey({ cookies })
  }

  async close(): Promise<void> {
    if (this.closed) return
    this.closed = true
    clearTimeout(this.timer)
    clearTimeout(this.snapshotTimer)
    for (const interval of this.intervals) clearInterval(interval)
    this.discoverer.close()
    this.renewals?.close()
    this.link.close()
    await this.drivers.streams.close({ deadlineMs: 300 })
    await this.drivers.datagrams.close()
    await this.running
    await this.drivers.store.close()
  }

  // --- the machine ------------------------------------------------------------------------------------------------

  /** Inputs that come while effects are carried out wait their turn: effects of one step stay in order. */
  private feed(input: NodeInput): void {
    if (this.closed || this.machine === undefined) return
    this.inputs.push(input)
    if (this.stepping) return
    this.stepping = true
    try {
      for (let next = this.inputs.shift(); next !== undefined; next = this.inputs.shift()) {
        for (const effect of this.machine.step(readInstant(), next)) this.carryOut(effect)
      }
    } finally {
      this.stepping = false
    }
    this.armTimer()
  }

  private feedMembership(input: MembershipInput): void {
    this.feed({ type: 'membership', input })
  }

  private armTimer(): void {
    clearTimeout(this.timer)
    if (this.closed || this.machine === undefined) return
    const inMs = Math.min(lateTimerMs, Math.max(0, Math.ceil(this.machine.nextDeadlineMs() - monotonicMs())))
    this.timer = setTimeout(() => this.feed({ type: 'deadline' }), inMs)
  }

  private carryOut(effect: NodeEffect): void {
    const { drivers, shared } = this
    switch (effect.type) {
      case 'datagram':
        drivers.datagrams.send(effect.to, encodeMembership(effect.message))
        break
      case 'stream':
        drivers.streams.send(effect.to, membershipFrame, encodeMembership(effect.message))
        break
      case 'keep':
        this.keep(effect.addresses)
        break
      case 'store':
        void this.link
          .request(effect.request)
          .then((reply) => this.feed({ type: 'store_done', tag: effect.tag, reply }))
        break
      case 'prove_death': {
        const result = drivers.lifeLocks.prove(effect.locator)
        this.feed({ type: 'death_proof', nodeId: effect.nodeId, lease: effect.lease, result })
        break
      }
      case 'lease_deadline':
        shared.leaseDeadlineMs = effect.deadlineMs
        this.renewGuard()
        break
      case 'set_epoch':
        shared.setEpoch(effect.shard, effect.epoch)
        break
      case 'stop_serving':
        shared.clearEpochs()
        this.post(effect)
        break
      case 'member_changed':
        this.snapshotSoon()
        break
      case 'note':
        this.note(effect.level, effect.event, effect.fields)
        break
      case 'feed':
        this.post({ type: 'feed', atMs: Date.now(), event: effect.event, fields: effect.fields })
        break
      case 'command_done':
        this.commandDone(effect.id, effect.ok, effect.detail)
        break
      case 'stopped':
        this.post(effect)
        break
      case 'prove_guard': {
        const result = drivers.lifeLocks.prove(effect.locator)
        this.feed({ type: 'guard_proof', lease: effect.lease, result })
        break
      }
      case 'die':
        // Main may be blocked, and what it runs has no right to go on: nothing gentler is sure to help.
        writeSync(2, `${effect.detail}: this process ends\n`)
        process.kill(process.pid, 'SIGKILL')
        break
      case 'routing':
        this.snapshot()
        this.post(effect)
        break
      default:
        this.post(effect)
    }
  }

  private note(level: Note['level'], event: string, fields: Note['fields']): void {
    this.notes.note(event, fields, (shown) => this.post({ type: 'note', level, event, fields: shown }))
  }

  private keep(addresses: readonly string[]): void {
    const wanted = new Set(addresses)
    for (const address of this.kept) if (!wanted.has(address)) this.drivers.streams.unkeep(address)
    for (const address of wanted) if (!this.kept.has(address)) this.drivers.streams.keep(address)
    this.kept = wanted
  }

  // --- the network ------------------------------------------------------------------------------------------------

  private receive(bytes: Uint8Array, from: string, via: 'datagram' | 'stream'): void {
    const decoded = decodeMembership(bytes)
    if (decoded.ok) this.feedMembership({ type: 'message', from, message: decoded.message, via })
    else this.note('warn', 'wire.garbage', { from, detail: decoded.detail })
  }

  private connection(event: ConnectionEvent): void {
    if (event.type === 'lost') {
      this.feedMembership({
        type: 'connection_lost',
        nodeId: event.nodeId,
        bootId: event.bootId,
        address: event.address,
        detail: event.detail,
      })
    } else if (event.type === 'refused')
      this.feedMembership({ type: 'dial_refused', address: event.address, detail: event.detail })
    else if (event.type === 'rejected') {
      const { address, code, detail, inbound } = event
      this.note(inbound ? 'warn' : 'error', 'peer.rejected', { address, code, detail })
    }
  }

  // --- what main sees -----------------------------------------------------------------------------------------------

  private watchMain(): void {
    const nowMs = monotonicMs()
    const count = this.shared.heartbeat
    if (count !== this.lastBeat.count) this.lastBeat = { count, atMs: nowMs }
    const stalled = nowMs - this.lastBeat.atMs >= stalledAfterMs
    if (stalled === this.isStalled) return
    this.isStalled = stalled
    this.feed({ type: 'main_stalled', stalled })
  }

  private showConfig(kvs: readonly KeyValue[]): void {
    const documents = kvs.filter((kv) => kv.key.startsWith(configPrefix))
    if (documents.length > 0) this.post({ type: 'config', documents })
  }

  private snapshotSoon(): void {
    this.snapshotTimer ??= setTimeout(() => {
      this.snapshotTimer = undefined
      this.snapshot()
    }, snapshotCoalesceMs)
  }

  private snapshot(): void {
    const { machine } = this
    if (machine === undefined || this.closed) return
    this.feedMembership({ type: 'telemetry', telemetry: this.meter.read() })
    const nowMs = monotonicMs()
    const wallMs = Date.now()
    const members = [...machine.membership.table.entries.values()].map((entry): MemberSnapshot => {
      const isSelf = entry.record.nodeId === this.setup.options.nodeId
      const registration = readRegistration(machine.view, entry.record.nodeId)
      return {
        record: entry.record,
        status: entry.status,
        missedProbes: entry.missedProbes,
        lastSeenMs: isSelf ? wallMs : entry.heardAtMs === 0 ? 0 : wallMs - (nowMs - entry.heardAtMs),
        rttMs: entry.rttMs,
        skewMs: entry.skewMs,
        telemetry: machine.membership.seen(entry.record.nodeId)?.telemetry ?? entry.telemetry,
        evicted: registration !== undefined && machine.view.kv(evictionKey(registration.lease)) !== undefined,
        draining: machine.isDraining(entry.record.nodeId),
        trust: machine.agents.trust.of(entry.record.nodeId, nowMs),
        offer: readOffer(machine.view.json(offerKey(entry.record.nodeId))),
      }
    })
    const { info } = this.drivers.store
    this.post({
      type: 'members',
      members,
      externals: machine.agents.externalsSeen(),
      capacityLost: machine.capacityLost,
      strategy: machine.agents.strategy,
      store: { driver: info.driver, identity: info.identity, ...this.link.health },
      health: machine.membership.health,
      figures: { store: this.link.meter.figures(), datagrams: this.drivers.datagrams.stats() },
    })
  }

  // --- calls --------------------------------------------------------------------------------------------------------

  private async answer(id: number, method: keyof ControlCalls, ask: unknown): Promise<void> {
    const { machine } = this
    if (machine === undefined) {
      this.post({ type: 'failure', id, code: 'unavailable', detail: 'the control plane is starting' })
      return
    }
    try {
      switch (method) {
        case 'command':
          this.commands.set(`c${id}`, id)
          this.feed({ type: 'command', id: `c${id}`, command: ask as ControlCalls['command']['ask'] })
          return
        case 'why': {
          const entry = machine.membership.table.get(ask as string)
          this.post({
            type: 'answer',
            id,
            value: { evidence: entry?.evidence.toArray() ?? [], health: machine.membership.health },
          })
          return
        }
        case 'seals':
          this.post({
            type: 'answer',
            id,
            value: (ask as number[]).map((shard) => [shard, readSeals(machine.view, shard)]),
          })
          return
        case 'list':
          this.post({ type: 'answer', id, value: await this.link.list(ask as string) })
          return
        case 'transact':
          this.post({
            type: 'answer',
            id,
            value: await this.link.transact(ask as ControlCalls['transact']['ask']),
          })
          return
        case 'control_traffic': {
          const { sentBytes, receivedBytes, refused } = this.drivers.datagrams.stats()
          this.post({ type: 'answer', id, value: { sentBytes, receivedBytes, refused } })
          return
        }
      }
    } catch (error) {
      const code = isSkeinError(error) ? error.code : 'internal'
      this.post({ type: 'failure', id, code, detail: error instanceof Error ? error.message : String(error) })
    }
  }

  private commandDone(commandId: string, ok: boolean, detail: string): void {
    const id = this.commands.get(commandId)
    if (id === undefined) return
    this.commands.delete(commandId)
    this.post({ type: 'answer', id, value: { ok, detail } })
  }
}

/** Keys that change what main shows of nodes. */
function isShown(key: string): boolean {
  return [externalPrefix, offerPrefix, intentPrefix, configKey(settingsName)].some((prefix) =>
    key.startsWith(prefix),
  )
}
