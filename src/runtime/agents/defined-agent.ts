/**
 * One defined agent on its node: its calls, one at a time and in order, and its state, saved after them. An answer leaves only when what
 * the call changed is in the journal and this node still may act for the agent; while one save is under way the next calls run already
 * and share the next save.
 */
import type { AgentSpec } from '../../core/agents/records.js'
import { asEpoch, type Epoch, type LeaseId } from '../../core/kernel/brand.js'
import { type ErrorCode, isSkeinError, SkeinError } from '../../core/kernel/error.js'
import type { AgentFence } from '../../core/routing/events.js'
import type { Checkpoint } from '../../ports/journal.js'
import { pause as sleep } from '../pause.js'
import type { AgentBody, AgentReach, FencedReach } from './body.js'
import type { StopCause } from './definition.js'
import { asHandlerError, type CallFrame, type CallReply, packReply, unpackReply } from './frames.js'
import { Ledger, type LedgerRow } from './ledger.js'
import { packData, unpackData } from './packing.js'

export interface DefinedAgentWorld {
  nowMs(): number
  wallMs(): number
  /** Holds the node this lease, at this very moment? */
  mayAct(lease: LeaseId): boolean
  load(name: string): Promise<Checkpoint | undefined>
  save(lease: LeaseId, checkpoint: Checkpoint): Promise<void>
  body(reach: AgentReach): AgentBody
  /** What others refuse of an agent that runs elsewhere by now carries its fence. */
  reach: FencedReach
  report(outcome: 'running' | 'completed' | 'failed' | 'refused', detail: string, floor: Epoch): void
  log(
    level: 'debug' | 'info' | 'warn' | 'error',
    event: string,
    fields: Readonly<Record<string, unknown>>,
  ): void
}

/** A state that its former node sent ahead; `epoch` is that node's. */
export interface HandedState {
  readonly epoch: number
  readonly seq: number
  readonly bytes: Uint8Array
}

interface Waiting {
  readonly frame: CallFrame
  readonly deadlineMs: number
  readonly settle: (reply: CallReply) => void
}

type Turn =
  | { readonly type: 'call'; readonly call: Waiting }
  | { readonly type: 'step'; readonly step: number }

interface Done {
  readonly call: Waiting
  readonly reply: CallReply
}

interface Saved {
  readonly v: 1
  readonly state: Uint8Array
  readonly ledger: readonly LedgerRow[]
}

const queueMax = 1_000
const retryMinMs = 20
const retryMaxMs = 500
const passing: ReadonlySet<ErrorCode> = new Set([
  'unavailable',
  'overloaded',
  'outcome_unknown',
  'disk_full',
  'timeout',
])

export class DefinedAgent {
  readonly name: string
  readonly epoch: Epoch
  readonly lease: LeaseId
  startedAtMs = 0
  callCount = 0
  /** The last time it answered, or ran a step of its own, with a live lease; wall clock, ms. */
  actedAtMs = 0
  lastError = ''
  private readonly world: DefinedAgentWorld
  private readonly fence: AgentFence
  private readonly body: AgentBody
  private readonly ledger = new Ledger()
  private readonly queue: Turn[] = []
  /** Last call of each caller that waits in the queue or is being carried out. */
  private readonly enqueued = new Map<string, number>()
  /** Came while it was starting. */
  private readonly early: Waiting[] = []
  private readonly repeats = new Map<string, Waiting[]>()
  private readonly timers: NodeJS.Timeout[] = []
  private readonly queuedSteps = new Set<number>()
  private executed: Done[] = []
  private savedState: Uint8Array | undefined
  private seq = 0
  private turning = false
  private running = false
  private paused = false
  private sealed = false
  private hint: string | null = null
  private saving: Promise<void> | undefined
  private idle: (() => void)[] = []
  private turnSinceMs = 0
  private completing: string | undefined
  private starting: Promise<void> = Promise.resolve()
  private abandoned = false
  private stopped: Promise<void> | undefined
  private inSave: readonly Done[] = []
  /** Something ran that no caller waits for. */
  private stepped = false

  constructor(world: DefinedAgentWorld, spec: AgentSpec, epoch: Epoch, lease: LeaseId) {
    this.world = world
    this.name = spec.name
    this.epoch = epoch
    this.lease = lease
    this.paused = spec.desired === 'paused'
    this.fence = { agent: spec.name, epoch }
    const { reach } = world
    this.body = world.body({
      ...reach,
      publish: async (stream, event) => {
        this.checkFence()
        await reach.publish(stream, event, this.fence)
      },
      call: async (name, method, args) => {
        this.checkFence()
        return reach.call(name, method, args, this.fence)
      },
      every: (everyMs, step) => this.every(everyMs, step),
      complete: (detail) => {
        this.completing = detail
      },
    })
    void this.body.broken.then((detail) => this.broke(detail))
  }

  get state(): 'starting' | 'running' | 'paused' | 'stopping' {
    if (this.sealed) return 'stopping'
    return !this.running ? 'starting' : this.paused ? 'paused' : 'running'
  }

  get waitingCalls(): number {
    return this.queue.length
  }

  /** How long the present call or step has been running, ms; 0 when none is. */
  get turnMs(): number {
    return this.turning ? this.world.nowMs() - this.turnSinceMs : 0
  }

  /** Reports how it went; never rejects. */
  start(handed: HandedState | undefined): Promise<void> {
    this.starting = this.begin(handed)
    return this.starting
  }

  private async begin(handed: HandedState | undefined): Promise<void> {
    const { world } = this
    try {
      const found = handed ?? (await this.load())
      if (found !== undefined && found.epoch > this.epoch) {
        world.report('refused', `the journal holds a state of epoch ${found.epoch}`, asEpoch(found.epoch))
        return
      }
      const bytes = found === undefined ? undefined : 'bytes' in found ? found.bytes : found.state
      const saved =
        bytes === undefined ? undefined : (unpackData(bytes, `the checkpoint of ${this.name}`) as Saved)
      if (saved !== undefined) this.ledger.load(saved.ledger)
      if (found !== undefined && found.epoch === this.epoch) this.seq = found.seq
      await this.body.start(saved?.state)
      if (this.sealed) return
      // A former owner that was frozen in the middle of a save must not be found under our epoch's nose.
      if (handed === undefined && found?.epoch !== this.epoch) await this.saveNow()
      else this.savedState = saved?.state
      this.startedAtMs = world.wallMs()
      this.running = true
      world.report('running', '', asEpoch(0))
      for (const call of this.early.splice(0)) this.accept(call)
      this.turn()
    } catch (error) {
      if (this.sealed) return
      this.lastError = asHandlerError(error, `agent ${this.name} did not start`).message
      for (const call of this.early.splice(0)) this.settle(call, this.again(this.lastError))
      world.report('failed', this.lastError, asEpoch(0))
    }
  }

  pause(paused: boolean): void {
    this.paused = paused
    this.turn()
  }

  call(frame: CallFrame): Promise<CallReply> {
    return new Promise((settle) => {
      const call: Waiting = { frame, deadlineMs: this.world.nowMs() + frame.timeoutMs, settle }
      this.accept(call)
    })
  }

  private accept(call: Waiting): void {
    const { frame, settle } = call
    if (this.sealed) {
      settle(this.again('it is moving'))
      return
    }
    if (!this.running) {
      // What it has carried out already is known when its state has been read, not before.
      if (this.early.length >= queueMax) settle(this.overfull())
      else this.early.push(call)
      return
    }
    const enqueued = this.enqueued.get(frame.caller) ?? 0
    switch (this.ledger.check(frame, enqueued)) {
      case 'gap':
        settle(this.again('a call before it has not come yet'))
        return
      case 'done':
        this.answerAgain(call)
        return
      case 'new':
        break
    }
    if (frame.seq <= enqueued) {
      // It waits in the queue already: both get the one answer.
      const key = `${frame.caller} ${frame.seq}`
      this.repeats.set(key, [...(this.repeats.get(key) ?? []), call])
      return
    }
    if (this.paused) {
      settle({ kind: 'error', error: new SkeinError('conflict', `agent "${this.name}" is paused`) })
      return
    }
    if (this.queue.length >= queueMax) {
      settle(this.overfull())
      return
    }
    this.enqueued.set(frame.caller, frame.seq)
    this.queue.push({ type: 'call', call })
    this.turn()
  }

  private overfull(): CallReply {
    const error = new SkeinError('overloaded', `${queueMax} calls wait for agent "${this.name}"`, {
      retryable: true,
    })
    return { kind: 'error', error }
  }

  /** Carried out before; its answer may still wait for the save. */
  private answerAgain(call: Waiting): void {
    const { caller, seq } = call.frame
    const isPending = this.executed.some((d) => d.call.frame.caller === caller && d.call.frame.seq === seq)
    const inSave = this.inSave.some((d) => d.call.frame.caller === caller && d.call.frame.seq === seq)
    if (isPending || inSave) {
      const key = `${caller} ${seq}`
      this.repeats.set(key, [...(this.repeats.get(key) ?? []), call])
      return
    }
    const answer = this.ledger.answer(caller, seq)
    if (answer === undefined)
      call.settle({
        kind: 'error',
        error: new SkeinError('outcome_unknown', 'it was carried out, and its answer is not kept any more'),
      })
    else call.settle(answer.isError ? unpackReply(answer.body) : { kind: 'result', result: answer.body })
  }

  private every(everyMs: number, step: number): void {
    const timer = setInterval(() => {
      if (this.queuedSteps.has(step) || this.sealed) return
      this.queuedSteps.add(step)
      this.queue.push({ type: 'step', step })
      this.turn()
    }, everyMs)
    timer.unref()
    this.timers.push(timer)
  }

  private turn(): void {
    if (this.turning || !this.running || this.paused || this.sealed) return
    const next = this.queue.shift()
    if (next === undefined) return
    this.turning = true
    this.turnSinceMs = this.world.nowMs()
    void this.take(next).finally(() => {
      this.turning = false
      this.flush()
      if (this.completing !== undefined) void this.finish('completed', this.completing)
      this.wakeIdle()
      this.turn()
    })
  }

  private async take(turn: Turn): Promise<void> {
    if (turn.type === 'step') {
      this.queuedSteps.delete(turn.step)
      if (!this.world.mayAct(this.lease)) return
      try {
        await this.body.step(turn.step)
      } catch (error) {
        this.lastError = asHandlerError(error, 'a step failed').message
        this.world.log('error', 'agent.step_failed', { agent: this.name, detail: this.lastError })
      }
      this.stepped = true
      const atMs = this.world.wallMs()
      if (this.world.mayAct(this.lease)) this.actedAtMs = atMs
      return
    }
    await this.carryOut(turn.call)
    // Until here the same call, sent again, found it waiting.
    const { caller, seq } = turn.call.frame
    if (this.enqueued.get(caller) === seq) this.enqueued.delete(caller)
  }

  private async carryOut(call: Waiting): Promise<void> {
    const { frame } = call
    if (!this.world.mayAct(this.lease)) {
      this.settle(call, this.again('this node may not act for it now'))
      return
    }
    if (this.world.nowMs() >= call.deadlineMs) {
      this.settle(call, {
        kind: 'error',
        error: new SkeinError(
          'timeout',
          `the call waited ${frame.timeoutMs} ms for agent "${this.name}" and was not begun`,
        ),
      })
      return
    }
    const reply = await this.body.call(frame.method, frame.args).then(
      (result): CallReply => ({ kind: 'result', result }),
      (error: unknown): CallReply => ({
        kind: 'error',
        error: asHandlerError(error, `${this.name}.${frame.method}`),
      }),
    )
    this.callCount++
    if (reply.kind === 'error') this.lastError = reply.error.message
    const isError = reply.kind === 'error'
    const body = reply.kind === 'result' ? reply.result : packReply(reply)
    this.ledger.record(frame, { seq: frame.seq, isError, body }, this.world.wallMs())
    this.executed.push({ call, reply })
  }

  // --- saving -------------------------------------------------------------------------------------------------------

  private flush(): void {
    if (this.saving !== undefined || (this.executed.length === 0 && !this.stepped)) return
    const group = this.executed
    this.executed = []
    this.stepped = false
    this.inSave = group
    this.saving = this.saveGroup(group).finally(() => {
      this.inSave = []
      this.saving = undefined
      // In the middle of a turn the state is half changed: the end of that turn saves.
      if (!this.turning) this.flush()
      this.wakeIdle()
    })
  }

  private async saveGroup(group: readonly Done[]): Promise<void> {
    let failure: SkeinError | undefined
    try {
      const state = this.body.state()
      // What changed nothing can be done again without harm.
      if (this.savedState === undefined || !equalBytes(state, this.savedState)) await this.save(state)
    } catch (error) {
      failure = isSkeinError(error) ? error : asHandlerError(error, `agent ${this.name} could not be saved`)
      this.lastError = failure.message
    }
    // Read before the question: a freeze between the two must not look like an act.
    const atMs = this.world.wallMs()
    const mayAnswer = this.world.mayAct(this.lease)
    if (failure === undefined && mayAnswer) {
      this.actedAtMs = atMs
      for (const { call, reply } of group) this.settle(call, reply)
      return
    }
    const error =
      failure !== undefined && mayAnswer
        ? failure
        : new SkeinError('outcome_unknown', 'this node may not act for the agent any longer', {
            retryable: true,
          })
    for (const { call } of group) this.settle(call, { kind: 'error', error })
    // A state that cannot be kept (too large, not plain data) must not be built upon: it begins anew from the last one that was.
    if (mayAnswer && failure !== undefined) this.broke(`its state cannot be saved: ${failure.message}`)
  }

  private async saveNow(): Promise<void> {
    await this.save(this.body.state())
  }

  /** Until it is saved, or this node may not act for it any more. */
  private async save(state: Uint8Array): Promise<void> {
    const { world } = this
    const saved: Saved = { v: 1, state, ledger: this.ledger.rows(world.wallMs()) }
    const checkpoint: Checkpoint = {
      agent: this.name,
      epoch: this.epoch,
      seq: ++this.seq,
      state: packData(saved, `the state of agent ${this.name}`),
    }
    await this.persist('saving', () => world.save(this.lease, checkpoint))
    this.savedState = state
  }

  private load(): Promise<Checkpoint | undefined> {
    return this.persist('loading', () => this.world.load(this.name))
  }

  /** A journal that is away comes back: tries until it does, or until this node may not act for the agent any more. */
  private async persist<T>(what: string, attempt: () => Promise<T>): Promise<T> {
    for (let delayMs = retryMinMs; ; delayMs = Math.min(retryMaxMs, delayMs * 2)) {
      try {
        return await attempt()
      } catch (error) {
        const isPassing = isSkeinError(error) && passing.has(error.code)
        if (!isPassing || this.abandoned || !this.world.mayAct(this.lease)) throw error
        this.lastError = `${what}: ${error.message}`
        this.world.log('warn', 'agent.journal_away', { agent: this.name, detail: this.lastError })
        await sleep(delayMs)
      }
    }
  }

  private settle(call: Waiting, reply: CallReply): void {
    call.settle(reply)
    const key = `${call.frame.caller} ${call.frame.seq}`
    const repeats = this.repeats.get(key)
    if (repeats === undefined) return
    this.repeats.delete(key)
    for (const repeat of repeats) repeat.settle(reply)
  }

  private again(detail: string): CallReply {
    return { kind: 'again', detail, hint: this.hint }
  }

  private checkFence(): void {
    if (!this.world.mayAct(this.lease) || (this.sealed && !this.turning))
      throw new SkeinError('fenced', `agent "${this.name}" of epoch ${this.epoch} may not act any more`)
  }

  // --- end ------------------------------------------------------------------------------------------------------------

  private broke(detail: string): void {
    this.lastError = detail
    if (!this.sealed) void this.finish('failed', detail)
  }

  private async finish(outcome: 'completed' | 'failed', detail: string): Promise<void> {
    if (this.sealed) return
    await this.stop(outcome)
    this.world.report(outcome, detail, asEpoch(0))
  }

  /** Resolves when nothing of it runs any more and all that it did is saved, as far as it may be. Idempotent. */
  stop(why: StopCause): Promise<void> {
    this.stopped ??= this.end(why)
    return this.stopped
  }

  private async end(why: StopCause): Promise<void> {
    this.sealed = true
    // What was lost is not worth waiting for a journal that is away.
    this.abandoned = why === 'lost' || !this.running
    for (const timer of this.timers) clearInterval(timer)
    // A move lets the present call end; everything else tells it to hurry.
    if (why !== 'moved') this.body.abort()
    for (const call of this.early.splice(0)) this.settle(call, this.again('it is moving'))
    for (const turn of this.queue.splice(0))
      if (turn.type === 'call') this.settle(turn.call, this.again('it is moving'))
    this.enqueued.clear()
    await this.starting
    await this.quiet()
    if (this.running && this.world.mayAct(this.lease) && why !== 'failed') {
      try {
        await this.body.stop(why)
        const state = this.body.state()
        if (this.savedState === undefined || !equalBytes(state, this.savedState)) await this.save(state)
      } catch (error) {
        this.lastError = String(error)
        this.world.log('error', 'agent.stop_failed', { agent: this.name, detail: this.lastError })
      }
    }
    await this.body.close()
  }

  private async quiet(): Promise<void> {
    while (this.turning || this.saving !== undefined || this.executed.length > 0 || this.stepped) {
      if (!this.turning) this.flush()
      await new Promise<void>((resolve) => this.idle.push(resolve))
    }
  }

  private wakeIdle(): void {
    for (const wake of this.idle.splice(0)) wake()
  }

  /** After `stop`: where to ask from now on. */
  movedTo(hint: string): void {
    this.hint = hint
  }

  /** After `stop`, for whoever takes it over. */
  lastState(): HandedState {
    const saved: Saved = {
      v: 1,
      state: this.savedState ?? this.body.state(),
      ledger: this.ledger.rows(this.world.wallMs()),
    }
    return { epoch: this.epoch, seq: this.seq, bytes: packData(saved, 'the state') }
  }
}

function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0
}
