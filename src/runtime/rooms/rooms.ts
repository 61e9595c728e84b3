/**
 * Rooms over all nodes: who is in which room here, messages to and from the other nodes, sessions that come and go. Which nodes have somebody in
 * a room stands in the registry, so that a message goes once to each of them and to no other.
 */
import { randomBytes } from 'node:crypto'
import type { NodeId, ShardId } from '../../core/kernel/brand.js'
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import type { AcknowledgedEvent } from '../data-plane.js'
import type { Fabric } from '../fabric.js'
import type { PublishInput, PublishResult } from '../node-api.js'
import { pause } from '../pause.js'
import { settled } from '../publishing.js'
import type { RegistryLink } from '../registry-link.js'
import type {
  Broadcasted,
  BroadcastOptions,
  HelloInput,
  Joined,
  JoinInput,
  ListenOptions,
  RoomClient,
  RoomHistoryPage,
  RoomMessage,
  RoomSender,
  RoomSink,
  RoomsApi,
  RoomView,
} from './api-types.js'
import { checkBytes, checkExcept, checkMessageId, checkRoom, checkUser, roomLimits } from './checks.js'
import { Client, ClientPlace, closeCodes } from './client.js'
import {
  type PushedMessage,
  packMessage,
  roomFrames,
  roomRow,
  unpackMessage,
  unpackPushed,
} from './frames.js'
import { innerText, Message, messageOfEvent, messageText, storedPayload } from './message.js'
import { Outbox } from './outbox.js'
import { Presence } from './presence.js'
import { type Occupant, Room } from './room.js'
import { RoomFollowing } from './room-following.js'
import { type LogPage, RoomLog } from './room-log.js'
import { RoomOwner, roomStream } from './room-owner.js'
import { SessionTable } from './session-table.js'
import { SessionTokens } from './session-tokens.js'
import { Turns } from './turns.js'

const beatMs = 1_000
const joinTimeoutMs = 10_000
const resumeRetryMs = 250
const readsMax = 16
const presenceLimit = 1_000
const historyLimit = 100
/** Between what a session does and what the cluster knows of it. */
const saveEveryMs = 100
const sweepEveryBeats = 10
const drainMs = 5_000

export interface RoomsWorld {
  readonly fabric: Fabric
  readonly rows: RegistryLink
  /** Rooms whose names begin so have a history; the same on every node. */
  readonly historyPrefixes: readonly string[]
  secrets(): readonly Uint8Array[]
  shardOf(key: string): ShardId
  ownerOf(shard: ShardId): { readonly nodeId: NodeId; readonly epoch: number } | undefined
  confirmedEnd(shard: ShardId): number | undefined
  readKey(stream: string, key: string, after: number, limit: number): Promise<LogPage>
  publish(events: readonly PublishInput[]): Promise<readonly PublishResult[]>
  /** Members that answer and serve clients, this node left out; unfit ones last. */
  nodes(): readonly { readonly nodeId: NodeId; readonly httpAddress: string; readonly isFit: boolean }[]
  httpAddress(): string
  isDraining(): boolean
}

export interface RoomFigures {
  readonly rooms: number
  readonly clients: number
  readonly clientPlaces: number
  readonly programPlaces: number
  /** Of the whole cluster, as this node knows it. */
  readonly sessions: { readonly connected: number; readonly away: number }
  readonly delivered: number
  readonly missed: number
  readonly slow: number
  readonly plain: number
  readonly kept: number
  readonly reads: number
}

/** A program in a room. */
class ProgramPlace implements Occupant {
  readonly member = null
  readonly wantsPresence = false
  readonly room: Room
  position: number
  isLive = false
  isGone = false
  private readonly onMessage: (message: RoomMessage) => void

  constructor(room: Room, position: number, onMessage: (message: RoomMessage) => void) {
    this.room = room
    this.position = position
    this.onMessage = onMessage
  }

  take(message: Message): boolean {
    this.onMessage(message.view)
    return true
  }
}

export class Rooms {
  readonly owner: RoomOwner
  private readonly world: RoomsWorld
  private readonly rooms = new Map<string, Room>()
  private readonly clients = new Map<string, Client>()
  private readonly following: RoomFollowing
  private readonly presence: Presence
  private readonly tokens: SessionTokens
  private readonly table: SessionTable
  private readonly outbox: Outbox
  private readonly reads = new Turns(readsMax)
  private readonly unsaved = new Set<Client>()
  private readonly counts = { delivered: 0, missed: 0, slow: 0, plain: 0, kept: 0, reads: 0 }
  private readonly timer: NodeJS.Timeout
  private saveTimer: NodeJS.Timeout | undefined
  private beats = 0
  private isMigrating = false
  private isClosed = false

  constructor(world: RoomsWorld) {
    this.world = world
    const { fabric, rows } = world
    this.tokens = new SessionTokens(() => world.secrets())
    this.table = new SessionTable({
      nodeId: fabric.nodeId,
      rows,
      isHere: (id) => this.clients.has(id),
    })
    this.outbox = new Outbox((events) => world.publish(events))
    this.owner = new RoomOwner({
      nodeId: fabric.nodeId,
      shardOf: (room) => world.shardOf(room),
      confirmedEnd: (shard) => world.confirmedEnd(shard),
      nodesIn: (room) => rows.registry.rows('room', room).map(({ nodeId }) => nodeId),
      send: (nodeId, body) => fabric.send(nodeId, roomFrames.pushed, body),
      receive: (messages) => this.pushed(messages),
    })
    this.following = new RoomFollowing({
      fabric,
      owner: this.owner,
      shardOf: (room) => world.shardOf(room),
      ownerOf: (shard) => world.ownerOf(shard),
    })
    this.presence = new Presence({
      fabric,
      rows,
      room: (name) => this.rooms.get(name),
      hasHistory: (name) => this.hasHistory(name),
      watchers: watchersOf,
    })
    fabric.handle(roomFrames.message, ({ body }) => {
      const { room, except, text } = unpackMessage(body)
      this.rooms.get(room)?.deliver(new Message(room, 0, except, text))
    })
    fabric.handle(roomFrames.pushed, ({ body }) => this.pushed(unpackPushed(body)))
    fabric.handle(roomFrames.taken, ({ body }) => this.taken(Buffer.from(body).toString()))
    rows.put('room_history', 'prefixes', [...world.historyPrefixes].sort())
    rows.registry.onChange('room_history', (_, nodeId, row) => this.comparePrefixes(nodeId, row?.value))
    this.timer = setInterval(() => this.beat(), beatMs)
    this.timer.unref()
  }

  // --- what the node tells ---------------------------------------------------------------------------------------------

  acknowledged(events: readonly AcknowledgedEvent[]): void {
    this.owner.acknowledged(events)
  }

  routesChanged(): void {
    this.following.routesChanged()
  }

  /** Where clients could go may have changed, or whether they should. */
  membersChanged(): void {
    if (!this.world.isDraining()) this.isMigrating = false
    else if (!this.isMigrating) void this.migrate('draining', drainMs)
  }

  private pushed(messages: readonly PushedMessage[]): void {
    for (const message of messages) this.rooms.get(message.room)?.log?.pushed(message)
  }

  private beat(): void {
    this.following.check()
    for (const client of this.clients.values()) client.check()
    if (++this.beats % sweepEveryBeats === 0) this.table.sweep(Date.now())
  }

  private comparePrefixes(nodeId: NodeId, value: unknown): void {
    const { fabric, historyPrefixes } = this.world
    const own = JSON.stringify([...historyPrefixes].sort())
    if (value === undefined || JSON.stringify(value) === own) return
    const detail = 'nodes differ in which rooms have a history: give all the same --room-history'
    fabric.log('warn', 'rooms.history_differs', { node: nodeId, theirs: value, ours: own, detail })
  }

  hasHistory(room: string): boolean {
    return this.world.historyPrefixes.some((prefix) => room.startsWith(prefix))
  }

  // --- who is in a room -------------------------------------------------------------------------------------------------

  private roomOf(name: string): Room {
    const known = this.rooms.get(name)
    if (known !== undefined) return known
    if (this.rooms.size >= roomLimits.roomsPerNodeMax)
      throw new SkeinError('overloaded', `this node has ${roomLimits.roomsPerNodeMax} rooms`, {
        retryable: true,
      })
    const log = this.hasHistory(name) ? this.logOf(name) : undefined
    const room = new Room(name, log, this.counts)
    this.rooms.set(name, room)
    if (log !== undefined) this.following.add(log)
    return room
  }

  private logOf(name: string): RoomLog {
    return new RoomLog(name, {
      read: (room, after, limit) => this.readHistory(room, after, limit),
      deliver: (message) => this.rooms.get(name)?.deliver(message),
      delivered: () => {
        this.counts.delivered++
      },
      note: (room, detail) => this.world.fabric.log('warn', 'rooms.read_failed', { room, detail }),
    })
  }

  private enter(room: Room, occupant: Occupant): void {
    room.add(occupant)
    try {
      if (occupant.member === null) this.presence.changedRow(room)
      else this.presence.came(room, occupant.member)
    } catch (error) {
      this.forget(room, occupant)
      throw error
    }
  }

  private exit(room: Room, occupant: Occupant): void {
    this.forget(room, occupant)
    if (occupant.member === null) this.presence.changedRow(room)
    else this.presence.went(room, occupant.member)
  }

  private forget(room: Room, occupant: Occupant): void {
    room.remove(occupant)
    if (room.watchers === 0) this.presence.unwatched(room.name)
    if (room.occupants.size > 0) return
    this.rooms.delete(room.name)
    this.following.remove(room.name)
    room.log?.close()
  }

  // --- messages ---------------------------------------------------------------------------------------------------------

  private broadcast(
    sender: { readonly name: string; readonly from: RoomSender },
    room: string,
    data: unknown,
    { except, id = randomBytes(9).toString('base64url') }: BroadcastOptions,
  ): Promise<Broadcasted> {
    checkRoom(room)
    checkMessageId(id)
    if (except !== undefined) checkExcept(except)
    const left = except === undefined || except.length === 0 ? null : except
    const inner = innerText(sender.from, data)
    checkBytes(Buffer.byteLength(inner))
    return this.hasHistory(room)
      ? this.store(sender.name, room, id, storedPayload(left, sender.from, data))
      : Promise.resolve(this.sendNow(room, id, left, inner))
  }

  private sendNow(room: string, id: string, except: readonly string[] | null, inner: string): Broadcasted {
    this.counts.plain++
    const text = messageText(room, id, Date.now(), undefined, inner)
    const { fabric, rows } = this.world
    let body: Uint8Array | undefined
    for (const { nodeId } of rows.registry.rows('room', room)) {
      if (nodeId === fabric.nodeId) continue
      body ??= packMessage(room, except, text)
      fabric.send(nodeId, roomFrames.message, body)
    }
    const message = new Message(room, 0, except, text)
    // After what goes to other nodes has left: it must not wait until hundreds of sockets here are written to.
    process.nextTick(() => this.rooms.get(room)?.deliver(message))
    return { id, position: null, status: 'sent' }
  }

  private async store(sender: string, room: string, id: string, payload: unknown): Promise<Broadcasted> {
    this.counts.kept++
    const event = { stream: roomStream, key: room, id: `${sender}:${id}`, type: 'message', payload }
    const result = await this.outbox.send(sender, event)
    if (result.status === 'rejected' && result.error.code === 'event_conflict')
      throw new SkeinError(
        'event_conflict',
        `a message of this sender with the id "${id}" and other data is in the history of room "${room}"`,
        { details: { field: 'id', given: id, room } },
      )
    const { status, offset } = settled([result])
    return { id, position: offset, status }
  }

  private listen(
    name: string,
    onMessage: (message: RoomMessage) => void,
    { after }: ListenOptions,
  ): () => void {
    checkRoom(name)
    const room = this.roomOf(name)
    const { log } = room
    const place = new ProgramPlace(room, after ?? log?.position ?? 0, (message) => {
      if (!place.isGone) onMessage(message)
    })
    this.enter(room, place)
    if (log !== undefined)
      void log.ready.then(() => {
        if (after === undefined) place.position = Math.max(place.position, log.position ?? 0)
        return log.catchUp(place, async () => !place.isGone)
      })
    return () => {
      if (place.isGone) return
      place.isGone = true
      this.exit(room, place)
    }
  }

  private async history(
    room: string,
    { after = 0, limit = historyLimit }: { readonly after?: number; readonly limit?: number } = {},
  ): Promise<RoomHistoryPage> {
    checkRoom(room)
    if (!this.hasHistory(room))
      throw new SkeinError('not_found', `room "${room}" has no history: see --room-history`, {
        details: { room },
      })
    const page = await this.readHistory(room, after, limit)
    const messages = page.events.flatMap((event) => messageOfEvent(event)?.view ?? [])
    return {
      messages,
      incomplete: page.error ?? '',
      ...(page.end ? {} : { nextAfter: page.scannedTo }),
    }
  }

  private readHistory(room: string, after: number, limit: number): Promise<LogPage> {
    this.counts.reads++
    return this.reads.take(() => this.world.readKey(roomStream, room, after, limit))
  }

  /** What is here now, and counts since the start. */
  figures(): RoomFigures {
    let clientPlaces = 0
    let programPlaces = 0
    for (const { clients, occupants } of this.rooms.values()) {
      clientPlaces += clients
      programPlaces += occupants.size - clients
    }
    const { size } = this.clients
    return {
      ...this.counts,
      rooms: this.rooms.size,
      clients: size,
      clientPlaces,
      programPlaces,
      sessions: this.table.count(),
    }
  }

  private list(prefix = ''): RoomView[] {
    const { registry } = this.world.rows
    return [...registry.keys('room')]
      .filter((room) => room.startsWith(prefix))
      .sort()
      .map((room) => {
        const nodes = registry
          .rows('room', room)
          .map(({ nodeId, value }) => ({ nodeId, clients: roomRow(value).clients }))
        const clients = nodes.reduce((sum, node) => sum + node.clients, 0)
        return { room, hasHistory: this.hasHistory(room), clients, nodes }
      })
  }

  // --- clients ----------------------------------------------------------------------------------------------------------

  private connect(sink: RoomSink, hello: HelloInput): RoomClient {
    const nowMs = Date.now()
    const resumed = hello.resume === undefined ? undefined : this.tokens.read(hello.resume, nowMs)
    const user = this.userOf(hello, resumed?.user)
    const session = resumed?.session ?? randomBytes(12).toString('base64url')
    const record = resumed === undefined ? undefined : this.table.get(session)
    if (resumed !== undefined) this.takeOver(session)
    const client = new Client({ session, user, mayBroadcast: hello.mayBroadcast }, sink, {
      join: (one, input) => this.join(one, input),
      leave: (one, room) => this.leave(one, room),
      broadcast: (_, room, data, options) =>
        this.broadcast({ name: session, from: { session, user } }, room, data, options),
      gone: (one) => this.gone(one),
      tooSlow: () => {
        this.counts.slow++
      },
    })
    this.clients.set(session, client)
    const rooms = roomsOf(hello.rooms, record?.user === user ? record.rooms : [])
    client.tell({
      type: 'hello',
      session,
      user,
      resume: this.tokens.make({ session, user }, nowMs),
      resumed: resumed !== undefined,
      node: this.world.fabric.nodeId,
      addresses: this.addresses(),
      rooms: rooms.map(({ room }) => room),
      may_broadcast: hello.mayBroadcast,
      limits: { rooms: roomLimits.roomsPerClientMax, data_bytes: roomLimits.dataBytesMax },
    })
    this.save(client)
    for (const input of rooms) void this.rejoin(client, input)
    if (this.world.isDraining()) this.sendAway([client], 'draining')
    return client
  }

  /** Throws `forbidden` when the token is somebody else's. */
  private userOf({ user, userByDefault }: HelloInput, resumed: string | undefined): string {
    if (user !== null) checkUser(user)
    if (resumed !== undefined && user !== null && user !== resumed)
      throw new SkeinError('forbidden', `resume: this session belongs to "${resumed}", not to "${user}"`, {
        details: { field: 'resume' },
      })
    return user ?? resumed ?? userByDefault
  }

  /** The client is here now, wherever it was. */
  private takeOver(session: string): void {
    const { fabric } = this.world
    this.taken(session)
    const body = Buffer.from(session)
    for (const { nodeId } of fabric.peers) fabric.send(nodeId, roomFrames.taken, body)
  }

  private taken(session: string): void {
    const client = this.clients.get(session)
    if (client === undefined) return
    this.unsaved.delete(client)
    this.clients.delete(session)
    this.table.forget(session)
    client.end(closeCodes.taken, 'the session went on with another connection')
  }

  /** After a loss: for as long as it takes, and told when it is done. */
  private async rejoin(client: Client, input: JoinInput): Promise<void> {
    for (;;) {
      try {
        if (client.isGone) return
        await this.join(client, input, true)
        return
      } catch (error) {
        if (isSkeinError(error) && error.retryable) {
          await pause(resumeRetryMs)
          continue
        }
        const { code, message } = error as SkeinError
        client.tell({ type: 'error', room: input.room, error: { code, detail: message } })
        return
      }
    }
  }

  private async join(client: Client, input: JoinInput, isResumed = false): Promise<Joined> {
    const { room: name, after, presence = false } = input
    checkRoom(name)
    const known = client.places.get(name)
    if (known !== undefined)
      return { room: name, position: known.room.log === undefined ? null : known.position }
    if (client.places.size >= roomLimits.roomsPerClientMax)
      throw new SkeinError('overloaded', `at most ${roomLimits.roomsPerClientMax} rooms for one client`)
    const room = this.roomOf(name)
    const { log } = room
    const place = new ClientPlace(client, room, { wantsPresence: presence, position: after ?? 0 })
    client.places.set(name, place)
    try {
      this.enter(room, place)
    } catch (error) {
      client.places.delete(name)
      throw error
    }
    if (log !== undefined && log.position === undefined) {
      await Promise.race([log.ready, pause(joinTimeoutMs)])
      if (log.position === undefined) {
        if (client.places.get(name) === place) this.leave(client, name)
        throw new SkeinError('no_owner', `nobody owns the history of room "${name}" at the moment`, {
          retryable: true,
        })
      }
    }
    if (place.isGone) throw new SkeinError('closed', `the client has left room "${name}"`)
    if (log !== undefined && after === undefined) place.position = log.position ?? 0
    const joined = { room: name, position: log === undefined ? null : place.position }
    if (isResumed) client.tell({ type: 'joined', ...joined })
    // The answer goes out before what it promises.
    setImmediate(() => {
      place.catchUp()
      if (presence && !place.isGone) void this.presence.watch(room, client)
    })
    this.save(client)
    return joined
  }

  private leave(client: Client, name: string): void {
    const place = client.places.get(name)
    if (place === undefined) return
    place.hasLeft = true
    client.places.delete(name)
    this.exit(place.room, place)
    this.save(client)
  }

  private gone(client: Client): void {
    for (const [, place] of client.places) this.exit(place.room, place)
    if (this.clients.get(client.session) !== client) return
    this.clients.delete(client.session)
    this.unsaved.delete(client)
    const known = this.table.get(client.session)
    const isElsewhere = known?.isConnected === true && known.nodeId !== this.world.fabric.nodeId
    if (!isElsewhere) this.keep(client, false)
  }

  // --- what the cluster knows of sessions -----------------------------------------------------------------------------

  private save(client: Client): void {
    this.unsaved.add(client)
    this.saveTimer ??= setTimeout(() => this.saveNow(), saveEveryMs)
    this.saveTimer.unref()
  }

  private saveNow(): void {
    clearTimeout(this.saveTimer)
    this.saveTimer = undefined
    for (const each of this.unsaved) this.keep(each, true)
    this.unsaved.clear()
  }

  /** With what changed here a moment ago. */
  private sessions(): SessionTable {
    if (this.unsaved.size > 0) this.saveNow()
    return this.table
  }

  private keep(client: Client, isConnected: boolean): void {
    if (this.isClosed) return
    try {
      this.table.put(client.session, {
        user: client.user,
        isConnected,
        sinceMs: isConnected ? client.sinceMs : Date.now(),
        rooms: [...client.places.values()].map(({ room, position }) => [
          room.name,
          room.log === undefined ? null : position,
        ]),
      })
    } catch (error) {
      this.world.fabric.log('warn', 'rooms.session_not_kept', { detail: String(error) })
    }
  }

  // --- going away -------------------------------------------------------------------------------------------------------

  private addresses(): string[] {
    const own = this.world.httpAddress()
    return [own, ...this.world.nodes().map((n) => n.httpAddress)].filter((each) => each !== '')
  }

  /** Says where to go; false when there is no other node. */
  private sendAway(clients: Iterable<Client>, reason: string): boolean {
    const targets = this.world.nodes().filter((n) => n.isFit && n.httpAddress !== '')
    if (targets.length === 0) return false
    let next = 0
    for (const client of clients) {
      const target = targets[next++ % targets.length] as (typeof targets)[number]
      this.unsaved.delete(client)
      this.keep(client, false)
      client.tell({
        type: 'migrate',
        reason,
        target: { node: target.nodeId, address: target.httpAddress },
        addresses: targets.map((n) => n.httpAddress),
      })
    }
    return true
  }

  /** Hands the sessions over, tells the clients, and ends what is left of the connections after `deadlineMs`. */
  async migrate(reason: string, deadlineMs: number): Promise<void> {
    this.isMigrating = true
    if (!this.sendAway(this.clients.values(), reason)) return
    const stepMs = 50
    for (let waitedMs = 0; waitedMs < deadlineMs && this.clients.size > 0; waitedMs += stepMs)
      await pause(stepMs)
    if (!this.isMigrating) return
    for (const client of [...this.clients.values()]) client.end(closeCodes.goingAway, `the node is ${reason}`)
  }

  close(): void {
    this.isClosed = true
    clearInterval(this.timer)
    clearTimeout(this.saveTimer)
    this.following.close()
    this.presence.close()
    this.table.close()
    for (const { log } of this.rooms.values()) log?.close()
  }

  readonly api: RoomsApi = {
    broadcast: async (room, data, options = {}) => {
      const { nodeId } = this.world.fabric
      if (options.user !== undefined) checkUser(options.user)
      const from = options.user === undefined ? { node: nodeId } : { node: nodeId, user: options.user }
      return this.broadcast({ name: `@${nodeId}`, from }, room, data, options)
    },
    listen: (room, onMessage, options = {}) => this.listen(room, onMessage, options),
    presence: (room, limit = presenceLimit) => {
      checkRoom(room)
      return this.presence.presence(room, limit)
    },
    list: (prefix) => this.list(prefix),
    history: (room, query) => this.history(room, query),
    hasHistory: (room) => this.hasHistory(room),
    sessions: {
      list: () => this.sessions().list(),
      get: (id) => this.sessions().view(id),
    },
    connect: (sink, hello) => this.connect(sink, hello),
  }
}

function* watchersOf(room: Room): Generator<Client> {
  for (const occupant of room.occupants)
    if (occupant.wantsPresence && occupant instanceof ClientPlace) yield occupant.client
}

/** What the client says it was in, and what else the cluster knows of. */
function roomsOf(
  given: readonly JoinInput[],
  kept: readonly (readonly [room: string, position: number | null])[],
): JoinInput[] {
  const rooms = new Map<string, JoinInput>()
  for (const [room, position] of kept)
    rooms.set(room, position === null ? { room } : { room, after: position })
  for (const input of given) rooms.set(input.room, { ...rooms.get(input.room), ...input })
  return [...rooms.values()]
}
