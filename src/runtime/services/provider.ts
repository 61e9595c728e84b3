/** The answering side: what this node offers under which slot, and the calls of others that are under way here. Knows nothing of names and versions. */
import { SkeinError } from '../../core/kernel/error.js'
import type { FrameHandler } from '../../ports/transport.js'
import type { Fabric } from '../fabric.js'
import { type Endpoint, run, uploaded, yielded } from './endpoint.js'
import { Incoming, Outgoing } from './flow.js'
import { RunningCall } from './running-call.js'
import type { Tracing } from './tracing.js'
import {
  type CallHead,
  failureOf,
  type ItemsFrame,
  packFailure,
  packItems,
  packResult,
  serviceFrames,
  unpackCall,
  unpackCancel,
} from './wire.js'

type Frame = Parameters<FrameHandler>[0]
type Reply = NonNullable<Frame['reply']>
type Call = CallHead & { readonly payload: unknown }

const streamsPerPeerMax = 256
/** Of what has no end of its own. */
export const timeoutMsMax = 86_400_000
const nothing = new Uint8Array(0)

export class Provider {
  private readonly fabric: Fabric
  private readonly tracing: Tracing
  private readonly endpoints = new Map<number, Endpoint>()
  private nextSlot = 1
  /** Calls that were not taken because too many were under way, since the start. */
  refused = 0
  /** By the caller's boot, then by the caller's number. Those that end at once are never in here. */
  private readonly underWay = new Map<string, Map<number, RunningCall>>()

  constructor(fabric: Fabric, tracing: Tracing) {
    this.fabric = fabric
    this.tracing = tracing
    fabric.handle(serviceFrames.call, (frame) => this.receive(frame))
    fabric.handle(serviceFrames.cancel, ({ from, body }) =>
      this.underWay
        .get(from.bootId)
        ?.get(unpackCancel(body))
        ?.abort(new SkeinError('aborted', 'the caller gave the call up')),
    )
    fabric.onPeers(() => this.abortGone())
  }

  add(endpoint: Endpoint): number {
    const slot = this.nextSlot++
    this.endpoints.set(slot, endpoint)
    return slot
  }

  remove(slot: number): void {
    this.endpoints.delete(slot)
  }

  /** A call from this process: nothing is packed; what is handed over is handed over as it is. */
  async callHere(
    slot: number,
    input: unknown,
    head: Pick<CallHead, 'timeoutMs' | 'trace'>,
    signal: AbortSignal | undefined,
  ): Promise<unknown> {
    const endpoint = this.admit(slot)
    const call = new RunningCall(this.fabric.nodeId, head, signal)
    try {
      const result = await this.tracing.serve(endpoint.title, head.trace, () => run(endpoint, input, call))
      call.requireTime(endpoint.title)
      return result
    } catch (error) {
      throw failureOf(error)
    } finally {
      endpoint.gate.leave()
      call.over()
    }
  }

  async *streamHere(
    slot: number,
    input: unknown,
    upload: AsyncIterable<unknown> | Iterable<unknown>,
    head: Pick<CallHead, 'timeoutMs' | 'trace'>,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<unknown> {
    const endpoint = this.admit(slot)
    const call = new RunningCall(this.fabric.nodeId, head, signal)
    call.incoming = uploaded(endpoint, upload) as AsyncIterable<never>
    try {
      yield* yielded(endpoint, input, call)
    } catch (error) {
      throw failureOf(error)
    } finally {
      endpoint.gate.leave()
      call.over()
    }
  }

  /** Items that the caller of a stream sends. */
  receiveItems(from: Frame['from'], { callId, first, items }: ItemsFrame, reply: Reply): void {
    const uploads = this.underWay.get(from.bootId)?.get(callId)?.uploads
    if (uploads === undefined) reply(new SkeinError('not_found', 'the stream has ended'))
    else if (items !== undefined) uploads.push(first, items, () => reply(nothing))
    else {
      uploads.end()
      reply(nothing)
    }
  }

  /** Of what it admits one more is running. */
  private admit(slot: number): Endpoint {
    const { nodeId } = this.fabric
    const endpoint = this.endpoints.get(slot)
    if (endpoint === undefined)
      throw new SkeinError('unavailable', `${nodeId} does not offer that any more`, {
        retryable: true,
        details: { node_id: nodeId },
      })
    const { gate, title } = endpoint
    if (gate.running >= gate.max) {
      this.refused++
      throw new SkeinError('overloaded', `${title}: ${gate.max} calls are under way on ${nodeId}`, {
        retryable: true,
        details: { node_id: nodeId },
      })
    }
    gate.running++
    return endpoint
  }

  private receive({ from, body, reply }: Frame): void {
    if (reply === undefined) return
    const call = unpackCall(body)
    let endpoint: Endpoint
    try {
      endpoint = this.admit(call.slot)
    } catch (error) {
      reply(packFailure(error))
      return
    }
    if (call.isStream)
      this.serveStream(endpoint, call, from).then(reply, (error) => reply(packFailure(error)))
    else this.serve(endpoint, call, from, reply)
  }

  private serve(
    endpoint: Endpoint,
    { payload, callId, ...head }: Call,
    from: Frame['from'],
    reply: Reply,
  ): void {
    const call = new RunningCall(from.nodeId, head)
    let result: unknown
    try {
      result = this.tracing.serve(endpoint.title, head.trace, () => run(endpoint, payload, call))
    } catch (error) {
      endpoint.gate.leave()
      call.over()
      reply(packFailure(error))
      return
    }
    if (!(result instanceof Promise)) {
      endpoint.gate.leave()
      call.over()
      reply(packed(endpoint, result))
      return
    }
    const calls = this.callsOf(from.bootId)
    calls.set(callId, call)
    const over = (): void => {
      calls.delete(callId)
      endpoint.gate.leave()
      call.over()
    }
    result
      .then((value) => {
        call.requireTime(endpoint.title)
        return packed(endpoint, value)
      })
      .catch(packFailure)
      .then((body) => {
        over()
        reply(body)
      })
  }

  private async serveStream(
    endpoint: Endpoint,
    { payload, callId, ...head }: Call,
    from: Frame['from'],
  ): Promise<Uint8Array> {
    const calls = this.callsOf(from.bootId)
    const call = new RunningCall(from.nodeId, head)
    try {
      const open = [...calls.values()].filter((c) => c.uploads !== undefined).length
      if (open >= streamsPerPeerMax)
        throw new SkeinError(
          'overloaded',
          `${from.nodeId} has ${open} streams open on ${this.fabric.nodeId}`,
          {
            retryable: true,
          },
        )
      call.uploads = new Incoming()
      call.incoming = uploaded(endpoint, call.uploads) as AsyncIterable<never>
      calls.set(callId, call)
      const options = { timeoutMs: head.timeoutMs === 0 ? timeoutMsMax : head.timeoutMs, signal: call.signal }
      const outgoing = new Outgoing(async (first, items) => {
        const frame = packItems({ callId, toProvider: false, first, items })
        await this.fabric.request(from.nodeId, serviceFrames.items, frame, options)
      })
      for await (const item of yielded(endpoint, payload, call)) await outgoing.write(item)
      await outgoing.end(false)
      return packResult(undefined)
    } finally {
      calls.delete(callId)
      endpoint.gate.leave()
      call.over()
    }
  }

  private callsOf(bootId: string): Map<number, RunningCall> {
    let calls = this.underWay.get(bootId)
    if (calls === undefined) {
      calls = new Map()
      this.underWay.set(bootId, calls)
    }
    return calls
  }

  private abortGone(): void {
    const boots = new Set<string>(this.fabric.peers.map((p) => p.bootId))
    for (const [bootId, calls] of this.underWay) {
      if (boots.has(bootId)) continue
      this.underWay.delete(bootId)
      for (const call of calls.values()) call.abort(new SkeinError('aborted', "the caller's node is gone"))
    }
  }
}

function packed({ title }: Endpoint, value: unknown): Uint8Array {
  try {
    return packResult(value)
  } catch (error) {
    const detail = error instanceof Error ? error.message : String(error)
    return packFailure(new SkeinError('handler_failed', `${title} gave back ${detail}`))
  }
}
