/**
 * What everything that lives on all nodes at once needs of the rest: who is there now, frames to and from them. Peers are other members that answer,
 * as membership last said; a frame type belongs to whoever took it first.
 */
import type { BootId, NodeId } from '../core/kernel/brand.js'
import { SkeinError } from '../core/kernel/error.js'
import type { FrameHandler, FrameTransport } from '../ports/transport.js'
import type { HlcKeeper } from './hlc-keeper.js'
import type { Roster } from './roster.js'

type Frame = Parameters<FrameHandler>[0]
type Handler = (frame: Frame) => void

export interface Peer {
  readonly nodeId: NodeId
  readonly bootId: BootId
  /** Of its mesh. */
  readonly address: string
  readonly zone: string
  readonly region: string
  /** Its main thread stands still, or it is on its way out: others are better asked. */
  readonly isUnfit: boolean
}

export interface FabricWorld {
  readonly nodeId: NodeId
  readonly bootId: BootId
  readonly zone: string
  readonly region: string
  readonly mesh: FrameTransport
  readonly roster: Roster
  readonly clock: HlcKeeper
  readonly log: (
    level: 'debug' | 'info' | 'warn' | 'error',
    event: string,
    fields: Readonly<Record<string, unknown>>,
  ) => void
}

export class Fabric {
  readonly nodeId: NodeId
  readonly bootId: BootId
  readonly zone: string
  readonly region: string
  readonly clock: HlcKeeper
  readonly log: FabricWorld['log']
  /** One-way frames that were not queued, since the start. */
  readonly dropped = { full: 0, closed: 0 }
  private readonly mesh: FrameTransport
  private readonly roster: Roster
  private readonly handlers: (Handler | undefined)[] = []
  private readonly listeners = new Set<() => void>()
  private byId = new Map<NodeId, Peer>()
  private list: readonly Peer[] = []

  constructor(world: FabricWorld) {
    this.nodeId = world.nodeId
    this.bootId = world.bootId
    this.zone = world.zone
    this.region = world.region
    this.clock = world.clock
    this.log = world.log
    this.mesh = world.mesh
    this.roster = world.roster
  }

  /** Other members that answer, in order of node id. */
  get peers(): readonly Peer[] {
    return this.list
  }

  peer(nodeId: NodeId): Peer | undefined {
    return this.byId.get(nodeId)
  }

  /** Told after a peer came, went, started anew or changed its fitness. Returns the way to stop. */
  onPeers(listener: () => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  /** Takes a frame type for good. The handler may throw: a request is answered with the error. */
  handle(type: number, handler: Handler): void {
    if (this.handlers[type] !== undefined) throw new Error(`frame type ${type} is taken`)
    this.handlers[type] = handler
  }

  /** A frame that came. Throws what its handler throws, and `incompatible` for a type that nobody took. */
  receive(frame: Frame): void {
    const handler = this.handlers[frame.type]
    if (handler === undefined)
      throw new SkeinError('incompatible', `frame type ${frame.type} is unknown to this node`)
    handler(frame)
  }

  /** One way, in order, at most once; see {@link FrameTransport.send}. `closed` as well for a node that is no peer now. */
  send(nodeId: NodeId, type: number, body: Uint8Array): 'queued' | 'full' | 'closed' {
    const peer = this.byId.get(nodeId)
    const outcome = peer === undefined ? 'closed' : this.mesh.send(peer.address, type, body)
    if (outcome !== 'queued') this.dropped[outcome]++
    return outcome
  }

  /** See {@link FrameTransport.request}; `peer_unreachable` as well for a node that is no peer now. */
  request(
    nodeId: NodeId,
    type: number,
    body: Uint8Array,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Uint8Array> {
    const peer = this.byId.get(nodeId)
    if (peer === undefined)
      return Promise.reject(
        new SkeinError('peer_unreachable', `${nodeId} is not there`, {
          retryable: true,
          details: { node_id: nodeId },
        }),
      )
    return this.mesh.request(peer.address, type, body, options)
  }

  /** Membership has spoken. */
  membersChanged(): void {
    const list: Peer[] = []
    for (const v of this.roster.list()) {
      if (v.isSelf || v.kind !== 'node' || (v.observed !== 'alive' && v.observed !== 'suspect')) continue
      list.push({
        nodeId: v.id,
        bootId: v.bootId as BootId,
        address: v.peerAddress,
        zone: v.zone,
        region: v.region,
        isUnfit: v.stalled || v.status !== 'online',
      })
    }
    const isSame =
      list.length === this.list.length && list.every((p, i) => isSamePeer(p, this.list[i] as Peer))
    if (isSame) return
    this.list = list
    this.byId = new Map(list.map((p) => [p.nodeId, p]))
    for (const listener of [...this.listeners]) listener()
  }
}

function isSamePeer(a: Peer, b: Peer): boolean {
  return (
    a.nodeId === b.nodeId &&
    a.bootId === b.bootId &&
    a.address === b.address &&
    a.isUnfit === b.isUnfit &&
    a.zone === b.zone &&
    a.region === b.region
  )
}
