/** What the transport contracts share: a world of nodes that know a few types of frame, and ways to wait for something. */
import assert from 'node:assert/strict'
import type { Address } from '../core/kernel/brand.js'
import { isSkeinError, SkeinError } from '../core/kernel/error.js'
import type { ConnectionEvent, FrameTransport, Hello } from '../ports/transport.js'

export interface FrameWorld {
  /** A transport that is not open yet, with the limits given. */
  make(limits: { queueBytesMax?: number; requestsPerPeerMax?: number }): FrameTransport
  /** An address at which nobody listens. */
  emptyAddress(): Promise<Address>
  /** After all transports were closed. */
  end(): Promise<void>
}

export interface Node {
  readonly transport: FrameTransport
  readonly address: Address
  readonly events: ConnectionEvent[]
}

export const bytes = (text: string) => new TextEncoder().encode(text)
export const text = (value: Uint8Array) => new TextDecoder().decode(value)
export const sleep = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))
export const within = { timeoutMs: 5_000 }

/** Waits until the condition holds; fails with `what` and the state seen last. */
export async function until(
  what: string,
  isMet: () => boolean,
  seen: () => unknown,
  timeoutMs = 5_000,
): Promise<void> {
  const endMs = Date.now() + timeoutMs
  while (!isMet()) {
    if (Date.now() > endMs) assert.fail(`${what} within ${timeoutMs} ms; seen: ${JSON.stringify(seen())}`)
    await sleep(5)
  }
}

export async function failure(work: Promise<unknown>): Promise<SkeinError> {
  try {
    await work
  } catch (error) {
    assert.ok(isSkeinError(error), `expected a SkeinError, got ${String(error)}`)
    return error
  }
  assert.fail('expected an error, but the call succeeded')
}

export function contractHello(nodeId: string, changes: Partial<Hello> = {}): Omit<Hello, 'address'> {
  return {
    clusterName: 'contract',
    nodeId,
    bootId: `boot-of-${nodeId}`,
    protocolMin: 1,
    protocolMax: 1,
    storeIdentity: '',
    journalIdentity: '',
    ...changes,
  }
}

/** Frame types the nodes of the suite understand. */
export const frames = { echo: 1, fail: 2, crash: 3, never: 4, twice: 5, slow: 6, note: 7 } as const

export class World {
  readonly nodes: Node[] = []
  readonly notes: string[] = []
  readonly unanswered: (() => void)[] = []
  private readonly inner: FrameWorld

  constructor(inner: FrameWorld) {
    this.inner = inner
  }

  async node(
    nodeId: string,
    options: Parameters<FrameWorld['make']>[0] & { hello?: Partial<Hello> } = {},
  ): Promise<Node> {
    const { hello, ...limits } = options
    const transport = this.inner.make(limits)
    const events: ConnectionEvent[] = []
    transport.onConnection((event) => events.push(event))
    transport.onFrame(({ from, type, body, reply }) => {
      if (type === frames.echo) reply?.(body)
      else if (type === frames.fail) {
        reply?.(new SkeinError('conflict', 'no', { retryable: true, details: { from: from.nodeId } }))
      } else if (type === frames.crash) throw new Error('a fault of the handler')
      else if (type === frames.twice) {
        reply?.(body)
        reply?.(bytes('second'))
      } else if (type === frames.never || type === frames.slow) this.unanswered.push(() => reply?.(body))
      else this.notes.push(`${from.nodeId}: ${text(body)}`)
    })
    const node = { transport, events, address: await transport.open(contractHello(nodeId, hello)) }
    this.nodes.push(node)
    return node
  }

  emptyAddress(): Promise<Address> {
    return this.inner.emptyAddress()
  }

  async end(): Promise<void> {
    for (const { transport } of this.nodes) await transport.close({ deadlineMs: 200 })
    await this.inner.end()
  }
}
