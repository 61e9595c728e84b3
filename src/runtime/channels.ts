/**
 * Messages between the programs of nodes, by the name of a channel: what an adapter for somebody else's library needs to run over the mesh instead of a
 * broker. In order and at most once; what comes for a channel that nobody has open here is dropped, and a request for it refused.
 */
import type { NodeId } from '../core/kernel/brand.js'
import { SkeinError } from '../core/kernel/error.js'
import type { Fabric } from './fabric.js'
import { pack, unpack } from './mesh-frames.js'

export const channelFrames = { message: 70, request: 71 } as const

const nameCharsMax = 128
const requestTimeoutMs = 5_000

export interface Channel {
  /** Other nodes that answer, whether or not they have the channel open. */
  nodes(): readonly NodeId[]
  send(to: NodeId, body: Uint8Array): 'queued' | 'full' | 'closed'
  /** To all of {@link nodes}. */
  broadcast(body: Uint8Array): void
  /** Rejects as requests between nodes do, and with `not_found` where the channel is not open. */
  request(to: NodeId, body: Uint8Array, options?: { readonly timeoutMs?: number }): Promise<Uint8Array>
  /** Told after a node came, went or started anew. */
  onNodes(listener: () => void): () => void
  close(): void
}

export interface ChannelHandlers {
  message(from: NodeId, body: Uint8Array): void
  request?(from: NodeId, body: Uint8Array): Promise<Uint8Array> | Uint8Array
}

export class Channels {
  private readonly fabric: Fabric
  private readonly open = new Map<string, ChannelHandlers>()

  constructor(fabric: Fabric) {
    this.fabric = fabric
    fabric.handle(channelFrames.message, ({ from, body }) => {
      const { name, bytes } = unpackNamed(body)
      this.open.get(name)?.message(from.nodeId, bytes)
    })
    fabric.handle(channelFrames.request, ({ from, body, reply }) => {
      const { name, bytes } = unpackNamed(body)
      const request = this.open.get(name)?.request
      if (request === undefined)
        throw new SkeinError('not_found', `channel "${name}" is not open on this node`)
      void Promise.resolve()
        .then(() => request(from.nodeId, bytes))
        .then(reply, (error) => reply?.(error instanceof Error ? error : new Error(String(error))))
    })
  }

  /** Throws `conflict` where it is open already. */
  channel(name: string, handlers: ChannelHandlers): Channel {
    if (name === '' || name.length > nameCharsMax)
      throw new SkeinError('invalid_argument', `a channel is named by 1 to ${nameCharsMax} characters`)
    if (this.open.has(name)) throw new SkeinError('conflict', `channel "${name}" is open already`)
    this.open.set(name, handlers)
    const { fabric } = this
    const stops: (() => void)[] = []
    return {
      nodes: () => fabric.peers.map(({ nodeId }) => nodeId),
      send: (to, body) => fabric.send(to, channelFrames.message, pack([name, body])),
      broadcast: (body) => {
        const frame = pack([name, body])
        for (const { nodeId } of fabric.peers) fabric.send(nodeId, channelFrames.message, frame)
      },
      request: (to, body, { timeoutMs = requestTimeoutMs } = {}) =>
        fabric.request(to, channelFrames.request, pack([name, body]), { timeoutMs }),
      onNodes: (listener) => {
        const stop = fabric.onPeers(listener)
        stops.push(stop)
        return stop
      },
      close: () => {
        for (const stop of stops) stop()
        if (this.open.get(name) === handlers) this.open.delete(name)
      },
    }
  }
}

function unpackNamed(body: Uint8Array): { readonly name: string; readonly bytes: Uint8Array } {
  const [name, bytes] = (unpack(body) ?? []) as unknown[]
  if (typeof name !== 'string' || !(bytes instanceof Uint8Array))
    throw new SkeinError('protocol_violation', 'a malformed frame of a channel')
  return { name, bytes }
}
