/**
 * `skein/socket.io`: an adapter for Socket.IO 4 over the mesh between nodes, in place of one over Redis. What Socket.IO says to its other servers goes
 * straight to the nodes; what the adapter must be able to do is in its own base class. Connection state recovery is ours: every node keeps what
 * went through it, and the node that had the client says what it had not got.
 */
import { Packr } from 'msgpackr'
import {
  type ClusterAdapterOptions,
  ClusterAdapterWithHeartbeat,
  type ClusterMessage,
  type ClusterResponse,
  MessageType,
  type Session,
} from 'socket.io-adapter'
import type { Channel, SkeinNode } from '../runtime/node-api.js'
import { type LoggedPacket, type Missed, PacketLog } from './packet-log.js'

const packr = new Packr({ useRecords: false, moreTypes: true })
const sweepMs = 5_000
const sessionsMax = 100_000

/** The part of a Socket.IO namespace that is used. */
interface Namespace {
  readonly name: string
  readonly server: {
    readonly opts: {
      readonly connectionStateRecovery?: { readonly maxDisconnectionDuration?: number }
    }
  }
}

type PersistedSession = Omit<Session, 'missedPackets'>
type BroadcastMessage = Extract<ClusterMessage, { type: MessageType.BROADCAST }>

interface KeptSession {
  readonly session: PersistedSession
  /** Null: kept by this node. */
  readonly from: string | null
  readonly untilMs: number
}

type Wire =
  | readonly ['message', message: ClusterMessage, offset: string]
  | readonly ['response', response: ClusterResponse]
  | readonly ['session', session: PersistedSession]
  | readonly ['restored', pid: string]

/** `io.adapter(createAdapter(node))`. Each namespace is a channel of its own between the nodes. */
export function createAdapter(
  node: SkeinNode,
  options: ClusterAdapterOptions = {},
): (namespace: unknown) => SkeinAdapter {
  // Socket.IO calls it with `new`, which no arrow function can be.
  return function adapterOf(namespace: unknown): SkeinAdapter {
    return new SkeinAdapter(namespace as Namespace, node, options)
  }
}

export class SkeinAdapter extends ClusterAdapterWithHeartbeat {
  private readonly channel: Channel
  /** Where each server of ours is, as its messages say. */
  private readonly nodeOf = new Map<string, string>()
  private readonly keptMs: number
  private readonly log: PacketLog | undefined
  private readonly sessions = new Map<string, KeptSession>()
  private readonly timer: NodeJS.Timeout
  private sent = 0

  constructor(namespace: Namespace, node: SkeinNode, options: ClusterAdapterOptions) {
    super(namespace, options)
    const { connectionStateRecovery } = namespace.server.opts
    this.keptMs = connectionStateRecovery?.maxDisconnectionDuration ?? 120_000
    if (connectionStateRecovery !== undefined) this.log = new PacketLog(this.keptMs)
    this.channel = node.channel(`socket.io ${namespace.name}`, {
      message: (from, body) => this.received(from, packr.unpack(body) as Wire),
      request: (_, body) => packr.pack(this.log?.after(packr.unpack(body) as string) ?? null),
    })
    this.channel.onNodes(() => this.nodesChanged())
    this.timer = setInterval(() => this.sweep(), sweepMs)
    this.timer.unref()
  }

  override close(): void {
    super.close()
    clearInterval(this.timer)
    this.channel.close()
  }

  // --- what Socket.IO says to its other servers -------------------------------------------------------------------------

  protected override async doPublish(message: ClusterMessage): Promise<string> {
    const offset = `${this.uid}.${++this.sent}`
    this.channel.broadcast(packr.pack(['message', message, offset] satisfies Wire))
    this.note(message, offset)
    return offset
  }

  protected override async doPublishResponse(to: string, response: ClusterResponse): Promise<void> {
    const nodeId = this.nodeOf.get(to)
    if (nodeId !== undefined) this.channel.send(nodeId, packr.pack(['response', response] satisfies Wire))
  }

  private received(from: string, wire: Wire): void {
    switch (wire[0]) {
      case 'message': {
        const [, message, offset] = wire
        this.nodeOf.set(message.uid, from)
        this.note(message, offset)
        this.onMessage(message, offset)
        break
      }
      case 'response':
        this.onResponse(wire[1])
        break
      case 'session':
        this.keep(wire[1], from)
        break
      default:
        this.sessions.delete(wire[1])
    }
  }

  /** A server whose node is gone does not answer any more: nobody waits for its heartbeat to stay out. */
  private nodesChanged(): void {
    const there = new Set(this.channel.nodes())
    for (const [uid, nodeId] of this.nodeOf) {
      if (there.has(nodeId)) continue
      this.nodeOf.delete(uid)
      this.onMessage({ type: MessageType.ADAPTER_CLOSE, uid, nsp: this.nsp.name })
    }
  }

  // --- connection state recovery ----------------------------------------------------------------------------------------

  /** What clients of whatever server may have to be given later. */
  private note(message: ClusterMessage, offset: string): void {
    if (this.log === undefined || message.type !== MessageType.BROADCAST) return
    const { packet, opts, requestId } = (message as BroadcastMessage).data
    const { type, id, data } = packet as { type: number; id?: unknown; data: readonly unknown[] }
    const isEvent = type === 2 && id === undefined && requestId === undefined
    if (!isEvent || opts.flags?.volatile !== undefined) return
    const { rooms, except } = opts
    this.log.add({ offset, data: [...data, offset], rooms, except, atMs: Date.now() })
  }

  override persistSession(session: PersistedSession): void {
    this.keep(session, null)
    this.channel.broadcast(packr.pack(['session', session] satisfies Wire))
  }

  private keep(session: PersistedSession, from: string | null): void {
    if (this.sessions.size >= sessionsMax) return
    this.sessions.set(session.pid as string, { session, from, untilMs: Date.now() + this.keptMs })
  }

  override async restoreSession(pid: string, offset: string): Promise<Session> {
    const kept = this.sessions.get(pid)
    if (kept === undefined || kept.untilMs < Date.now() || this.log === undefined)
      return null as unknown as Session
    const missed = await this.missedSince(offset, kept.from)
    if (missed === undefined || this.sessions.get(pid) !== kept) return null as unknown as Session
    this.sessions.delete(pid)
    this.channel.broadcast(packr.pack(['restored', pid] satisfies Wire))
    const rooms = new Set(kept.session.rooms)
    const isFor = (each: LoggedPacket): boolean =>
      (each.rooms.length === 0 || each.rooms.some((room) => rooms.has(room))) &&
      !each.except.some((room) => rooms.has(room))
    // What reached this node and not yet the other one comes last.
    const all = [...missed.packets, ...this.log.beyond(missed.heard)]
    return { ...kept.session, missedPackets: all.filter(isFor).map(({ data }) => [...data]) }
  }

  /** In the order of the node that had the client; of this one where that cannot be asked. */
  private async missedSince(offset: string, from: string | null): Promise<Missed | undefined> {
    if (from !== null) {
      try {
        const answer = packr.unpack(await this.channel.request(from, packr.pack(offset))) as Missed | null
        if (answer !== null) return answer
      } catch {
        // It is gone.
      }
    }
    return this.log?.after(offset)
  }

  private sweep(): void {
    const nowMs = Date.now()
    this.log?.sweep(nowMs)
    for (const [pid, { untilMs }] of this.sessions) if (untilMs < nowMs) this.sessions.delete(pid)
  }
}
