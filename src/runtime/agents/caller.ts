/**
 * The asking side: calls of one node to one agent, in order, wherever the agent is. Each is sent until it is answered or its deadline passes;
 * numbers make sure that a call that is sent again is carried out once. Calls made while the agent moves wait and arrive in order.
 */
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import type { AgentFence } from '../../core/routing/events.js'
import type { AgentDirectory } from './directory.js'
import { type CallFrame, type CallReply, packCall, unpackReply } from './frames.js'

export interface CallerWorld {
  readonly caller: string
  readonly selfId: string
  readonly directory: AgentDirectory
  nowMs(): number
  address(nodeId: string): string | undefined
  callHere(frame: CallFrame): Promise<CallReply>
  request(address: string, body: Uint8Array, timeoutMs: number, signal: AbortSignal): Promise<Uint8Array>
}

interface Pending {
  readonly seq: number
  readonly method: string
  readonly args: Uint8Array
  readonly deadlineMs: number
  readonly fence: AgentFence | undefined
  readonly resolve: (result: Uint8Array) => void
  readonly reject: (error: Error) => void
  timer: NodeJS.Timeout | undefined
  wasSent: boolean
}

const pendingMax = 1_000
const windowMax = 64
const pauseMinMs = 2
const pauseMaxMs = 250
/** A request that is not answered by then is sent again; the agent knows it by its number. */
const attemptMs = 5_000

/** Calls to one agent. */
class Line {
  private readonly world: CallerWorld
  private readonly name: string
  /** Of this line alone: one that is made anew counts anew. */
  private readonly caller: string
  private pending: Pending[] = []
  private seq = 0
  private nextToSend = 0
  private inFlight = 0
  private round = 0
  private pausedUntil: Promise<void> | undefined
  private pauses = 0
  private hint: string | null = null
  private abort = new AbortController()

  constructor(world: CallerWorld, name: string, id: number) {
    this.world = world
    this.name = name
    this.caller = `${world.caller}.${id}`
  }

  get isIdle(): boolean {
    return this.pending.length === 0
  }

  call(
    method: string,
    args: Uint8Array,
    timeoutMs: number,
    fence: AgentFence | undefined,
  ): Promise<Uint8Array> {
    if (this.pending.length >= pendingMax)
      return Promise.reject(
        new SkeinError('overloaded', `${pendingMax} calls of this node wait for agent "${this.name}"`, {
          retryable: true,
        }),
      )
    return new Promise((resolve, reject) => {
      const call: Pending = {
        seq: ++this.seq,
        method,
        args,
        fence,
        deadlineMs: this.world.nowMs() + timeoutMs,
        resolve,
        reject,
        timer: undefined,
        wasSent: false,
      }
      call.timer = setTimeout(() => this.expire(call, timeoutMs), timeoutMs)
      this.pending.push(call)
      this.send()
    })
  }

  close(): void {
    this.abort.abort()
    for (const call of this.pending.splice(0)) {
      clearTimeout(call.timer)
      call.reject(new SkeinError('closed', 'the node is stopping', { retryable: true }))
    }
  }

  private expire(call: Pending, timeoutMs: number): void {
    if (!this.drop(call)) return
    const entry = this.world.directory.get(this.name)
    const where = entry?.at === undefined ? 'it has no node yet' : `it is assigned to ${entry.at.nodeId}`
    call.reject(
      new SkeinError(
        'timeout',
        `agent "${this.name}" did not answer "${call.method}" in ${timeoutMs} ms; ${where}`,
        {
          retryable: !call.wasSent,
          details: { outcome: call.wasSent ? 'unknown' : 'not_done' },
        },
      ),
    )
  }

  private drop(call: Pending): boolean {
    const index = this.pending.indexOf(call)
    if (index < 0) return false
    this.pending.splice(index, 1)
    clearTimeout(call.timer)
    if (index < this.nextToSend) this.nextToSend--
    return true
  }

  private send(): void {
    if (this.pausedUntil !== undefined) return
    while (this.nextToSend < this.pending.length && this.inFlight < windowMax) {
      const trouble = this.trouble()
      if (trouble !== undefined) {
        for (const call of this.pending.splice(0)) {
          clearTimeout(call.timer)
          call.reject(trouble)
        }
        this.nextToSend = 0
        return
      }
      const target = this.hint ?? this.world.directory.owner(this.name)?.nodeId
      if (target === undefined) {
        this.pause()
        return
      }
      const call = this.pending[this.nextToSend] as Pending
      const prev = this.nextToSend === 0 ? 0 : (this.pending[this.nextToSend - 1] as Pending).seq
      this.nextToSend++
      this.dispatch(call, prev, target)
    }
  }

  /** Why waiting would be in vain. */
  private trouble(): SkeinError | undefined {
    const { directory } = this.world
    const entry = directory.get(this.name)
    if (entry?.spec === undefined || entry.spec.desired === 'removed')
      return new SkeinError('not_found', `no agent "${this.name}"`, { details: { agent: this.name } })
    const { spec, end } = entry
    // One that is to begin anew, or elsewhere, is worth waiting for.
    const isOver =
      directory.hasEnded(this.name) && end?.outcome !== 'refused' && spec.generation <= (end?.generation ?? 0)
    if (isOver)
      return new SkeinError(
        'conflict',
        `agent "${this.name}" has ${end?.outcome ?? 'ended'}: ${end?.detail ?? ''}`,
      )
    return undefined
  }

  private dispatch(call: Pending, prev: number, target: string): void {
    const { world } = this
    const { round } = this
    const leftMs = Math.max(1, call.deadlineMs - world.nowMs())
    const frame: CallFrame = {
      name: this.name,
      caller: this.caller,
      seq: call.seq,
      prev,
      acked: (this.pending[0]?.seq ?? call.seq) - 1,
      method: call.method,
      args: call.args,
      timeoutMs: leftMs,
      ...(call.fence === undefined ? {} : { fence: call.fence }),
    }
    this.inFlight++
    void this.ask(frame, target, leftMs, call)
      .then(
        (reply) => this.answered(call, reply, round),
        (error: unknown) => this.failed(call, error, round),
      )
      .finally(() => {
        this.inFlight--
        this.send()
      })
  }

  private async ask(frame: CallFrame, target: string, leftMs: number, call: Pending): Promise<CallReply> {
    const { world } = this
    if (target === world.selfId) {
      call.wasSent = true
      return world.callHere(frame)
    }
    const address = world.address(target)
    if (address === undefined) return { kind: 'again', detail: `${target} has no known address`, hint: null }
    call.wasSent = true
    return unpackReply(
      await world.request(address, packCall(frame), Math.min(leftMs, attemptMs), this.abort.signal),
    )
  }

  private answered(call: Pending, reply: CallReply, round: number): void {
    if (reply.kind === 'again') {
      if (reply.hint !== null && reply.hint !== this.hint && round === this.round) {
        this.hint = reply.hint
        this.pauses = 0
      } else if (round === this.round) this.hint = null
      this.again(round)
      return
    }
    this.pauses = 0
    if (!this.drop(call)) return
    if (reply.kind === 'error' && reply.error.code === 'outcome_unknown' && reply.error.retryable) {
      // The agent's node lost its right to answer: its number tells the next node whether it was carried out.
      this.putBack(call, round)
      return
    }
    if (reply.kind === 'result') call.resolve(reply.result)
    else call.reject(reply.error)
  }

  private putBack(call: Pending, round: number): void {
    const leftMs = call.deadlineMs - this.world.nowMs()
    if (leftMs <= 0) {
      call.reject(
        new SkeinError('timeout', `agent "${this.name}" did not answer "${call.method}" in time`, {
          details: { outcome: 'unknown' },
        }),
      )
      return
    }
    let index = this.pending.findIndex((c) => c.seq > call.seq)
    if (index < 0) index = this.pending.length
    this.pending.splice(index, 0, call)
    if (index < this.nextToSend) this.nextToSend++
    call.timer = setTimeout(() => this.expire(call, leftMs), leftMs)
    this.again(round)
  }

  private failed(call: Pending, error: unknown, round: number): void {
    const code = isSkeinError(error) ? error.code : 'internal'
    const isPassing =
      code === 'peer_unreachable' ||
      code === 'outcome_unknown' ||
      code === 'timeout' ||
      code === 'overloaded' ||
      code === 'closed' ||
      code === 'aborted'
    if (isPassing) {
      this.hint = null
      this.again(round)
    } else if (this.drop(call)) call.reject(error instanceof Error ? error : new Error(String(error)))
  }

  /** From the first unanswered call on, in order, once more. */
  private again(round: number): void {
    if (round !== this.round) return
    this.round++
    this.nextToSend = 0
    this.pause()
  }

  private pause(): void {
    if (this.pausedUntil !== undefined) return
    const ms = Math.min(pauseMaxMs, pauseMinMs * 2 ** Math.min(this.pauses++, 10))
    this.pausedUntil = this.world.directory.changed(this.name, ms, this.abort.signal).then(() => {
      this.pausedUntil = undefined
      if (!this.abort.signal.aborted) this.send()
    })
  }
}

const linesMax = 10_000
/** Let go at a time, so that not every new line looks for one. */
const forgottenAtOnce = 100

export class AgentCaller {
  private readonly world: CallerWorld
  private readonly lines = new Map<string, Line>()
  private lineIds = 0

  constructor(world: CallerWorld) {
    this.world = world
  }

  /** The packed result. Errors: `not_found`, `conflict` (ended, paused), `overloaded`, `timeout` (details.outcome), and what the handler threw. */
  call(
    name: string,
    method: string,
    args: Uint8Array,
    timeoutMs: number,
    fence?: AgentFence,
  ): Promise<Uint8Array> {
    let line = this.lines.get(name)
    if (line === undefined) {
      if (this.lines.size >= linesMax) this.forget()
      if (this.lines.size >= linesMax)
        return Promise.reject(
          new SkeinError('overloaded', `calls of this node to ${linesMax} agents are not answered yet`, {
            retryable: true,
          }),
        )
      line = new Line(this.world, name, ++this.lineIds)
    } else this.lines.delete(name)
    // Least lately used first.
    this.lines.set(name, line)
    return line.call(method, args, timeoutMs, fence)
  }

  close(): void {
    for (const line of this.lines.values()) line.close()
    this.lines.clear()
  }

  /** Those that have nothing to wait for, the least lately used first. */
  private forget(): void {
    let left = forgottenAtOnce
    for (const [name, line] of this.lines) {
      if (!line.isIdle) continue
      this.lines.delete(name)
      if (--left === 0) return
    }
  }
}
