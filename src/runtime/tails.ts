/**
 * Live tails: events of the whole cluster as they are acknowledged, at most once. A node with listeners tells the others, again and again; they send
 * what fits and count what does not.
 */
import type { NodeId } from '../core/kernel/brand.js'
import type { FrameTransport } from '../ports/transport.js'
import type { AcknowledgedEvent } from './data-plane.js'
import { monotonicMs } from './host-clock.js'
import { meshFrames, pack, type TailRow, unpackTail } from './mesh-frames.js'
import type { EventView } from './node-api.js'

const announceEveryMs = 1_000
const wantedForMs = 4_000
const eventsPerFrameMax = 500

interface Listener {
  readonly stream: string | undefined
  readonly key: string | undefined
  readonly onEvent: (event: EventView) => void
  readonly onLagged: (missed: number) => void
}

interface RemoteListener {
  untilMs: number
  missed: number
  readonly address: string
}

export interface TailWorld {
  readonly mesh: FrameTransport
  /** Addresses of the other nodes that are reachable now. */
  peers(): readonly { readonly nodeId: NodeId; readonly address: string }[]
}

export class Tails {
  private readonly world: TailWorld
  private readonly listeners = new Set<Listener>()
  private readonly remote = new Map<NodeId, RemoteListener>()
  private timer: NodeJS.Timeout | undefined
  /** Events that could not be sent to listeners elsewhere, since the start. */
  missed = 0

  constructor(world: TailWorld) {
    this.world = world
  }

  listen(
    filter: { readonly stream?: string; readonly key?: string },
    onEvent: (event: EventView) => void,
    onLagged: (missed: number) => void,
  ): () => void {
    const listener: Listener = { stream: filter.stream, key: filter.key, onEvent, onLagged }
    this.listeners.add(listener)
    if (this.timer === undefined) {
      this.timer = setInterval(() => this.announce(), announceEveryMs)
      this.announce()
    }
    return () => {
      this.listeners.delete(listener)
      if (this.listeners.size === 0) this.close()
    }
  }

  get listenerCount(): number {
    return this.listeners.size
  }

  /** Events acknowledged on this node. */
  acknowledged(events: readonly AcknowledgedEvent[]): void {
    if (this.listeners.size > 0)
      for (const event of events) this.deliver({ ...event, payload: event.payload })
    const nowMs = monotonicMs()
    for (const [nodeId, remote] of this.remote) {
      if (remote.untilMs < nowMs) this.remote.delete(nodeId)
      else this.sendTo(remote, events)
    }
  }

  /** A frame of another node. */
  receive(from: { readonly nodeId: NodeId; readonly address: string }, type: number, body: Uint8Array): void {
    if (type === meshFrames.tailWanted) {
      const known = this.remote.get(from.nodeId)
      // Each costs work with every event. One that is new here will ask again.
      const isMember = this.world
        .peers()
        .some(({ nodeId, address }) => nodeId === from.nodeId && address === from.address)
      if (!isMember) return
      this.remote.set(from.nodeId, {
        address: from.address,
        missed: known?.missed ?? 0,
        untilMs: monotonicMs() + wantedForMs,
      })
      return
    }
    const { missed, rows } = unpackTail(body)
    if (missed > 0) for (const listener of this.listeners) listener.onLagged(missed)
    for (const [id, stream, key, kind, payload, shard, epoch, offset, hlc, atMs] of rows)
      this.deliver({ id, stream, key, type: kind, payload, shard, epoch, offset, hlc, atMs })
  }

  close(): void {
    clearInterval(this.timer)
    this.timer = undefined
  }

  private announce(): void {
    for (const { address } of this.world.peers())
      this.world.mesh.send(address, meshFrames.tailWanted, pack(null))
  }

  private sendTo(remote: RemoteListener, events: readonly AcknowledgedEvent[]): void {
    for (let i = 0; i < events.length; i += eventsPerFrameMax) {
      const part = events.slice(i, i + eventsPerFrameMax)
      const rows = part.map(
        (e): TailRow => [e.id, e.stream, e.key, e.type, e.payload, e.shard, e.epoch, e.offset, e.hlc, e.atMs],
      )
      const sent = this.world.mesh.send(remote.address, meshFrames.tailEvents, pack([remote.missed, rows]))
      if (sent === 'queued') remote.missed = 0
      else {
        remote.missed += part.length
        this.missed += part.length
      }
    }
  }

  private deliver(event: Omit<EventView, 'payload'> & { readonly payload: string }): void {
    let view: EventView | undefined
    for (const listener of this.listeners) {
      if (listener.stream !== undefined && listener.stream !== event.stream) continue
      if (listener.key !== undefined && listener.key !== event.key) continue
      view ??= { ...event, payload: JSON.parse(event.payload) }
      listener.onEvent(view)
    }
  }
}
