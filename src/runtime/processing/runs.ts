/**
 * What runs on this node: starts it within its limits, tells it to stop, and tells whoever watches how it ended, once for each, until that is confirmed or the
 * watcher is gone. An end is remembered for a while, for those who ask late.
 */
import type { NodeId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import { asHandlerError } from '../agents/frames.js'
import { pack } from '../mesh-frames.js'
import { pause } from '../pause.js'
import type { AnyProcessor, EndedRun, ProcessorContext, RunView, SpawnRef } from './api-types.js'
import { type HelpFrame, processingFrames, type StartFrame, type WatchFrame } from './frames.js'
import { type End, type Outcome, packedOutcome, reasonOf } from './outcome.js'
import { packData, unpackData } from './packing.js'

export const spawnLimits = {
  /** Of the arguments of a run and of its result, packed. */
  bytesMax: 4 * 1_048_576,
  /** Nodes that watch one run. */
  watchersMax: 1_000,
  linksMax: 1_000,
} as const

const graceMs = 5_000
const endedKeptMs = 600_000
const endedMax = 1_000
const endedBytesMax = 64 * 1_048_576
const sweepEveryMs = 60_000
const pushTimeoutMs = 2_000
const pushAgainMs = 250

export interface RunsWorld {
  readonly nodeId: NodeId
  readonly bootId: string
  readonly runningMax: number
  bootOf(nodeId: NodeId): string | undefined
  request(
    nodeId: NodeId,
    type: number,
    body: Uint8Array,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Uint8Array>
  watch(run: SpawnRef, onEnd: (end: End) => void): () => void
  /** Resolves when there is no more to help with, or the signal aborted and all is given back. */
  help(
    definition: AnyProcessor,
    frame: HelpFrame,
    self: SpawnRef,
    owner: NodeId,
    signal: AbortSignal,
  ): Promise<void>
  /** The end that is linked with ours. */
  linkThere(run: SpawnRef, other: SpawnRef): Promise<void>
  /** Events of that group that wait on this node as the owner of their shards. */
  ownWaiting(group: string): number
  /** How many run has changed. */
  loadChanged(running: number): void
  log(
    level: 'debug' | 'info' | 'warn' | 'error',
    event: string,
    fields: Readonly<Record<string, unknown>>,
  ): void
}

interface Run {
  readonly ref: SpawnRef
  readonly startedBy: NodeId
  readonly startedAtMs: number
  readonly help: HelpFrame | null
  readonly abort: AbortController
  readonly watchers: Map<NodeId, { readonly bootId: string; readonly wantsResult: boolean }>
  readonly listeners: Set<(end: End) => void>
  readonly links: (() => void)[]
  readonly timers: NodeJS.Timeout[]
  /** What it will have ended with, if it was told to stop. */
  stopped: ((isSettled: boolean) => Outcome) | undefined
  settled: Promise<void>
}

interface Ended {
  readonly ref: SpawnRef
  readonly outcome: Outcome
  readonly atMs: number
  readonly bytes: number
}

export class Runs {
  readonly definitions = new Map<string, AnyProcessor>()
  private readonly world: RunsWorld
  /** Not ended yet. */
  private readonly runs = new Map<string, Run>()
  /** How runs ended, since the start. */
  readonly ends = { finished: 0, failed: 0, killed: 0, left: 0 }
  /** Whose code has not settled, ended or not: they use up the limits. */
  private readonly atWork = new Set<Run>()
  private readonly ended = new Map<string, Ended>()
  private endedBytes = 0
  private readonly pushing = new Set<string>()
  private readonly timer: NodeJS.Timeout
  private readonly closing = new AbortController()
  private isLeaving = false

  constructor(world: RunsWorld) {
    this.world = world
    this.timer = setInterval(() => this.sweep(), sweepEveryMs)
    this.timer.unref()
  }

  get running(): number {
    return this.atWork.size
  }

  list(): RunView[] {
    return [...this.runs.values()].map((run) => this.view(run))
  }

  /** Accepted, or was before. Errors: `not_found`, `overloaded` and `closed`: certainly not run. */
  start(frame: StartFrame, from: { readonly nodeId: NodeId; readonly bootId: string }): void {
    const { id, name, args, timeoutMs, help } = frame
    const watcher = { bootId: from.bootId, wantsResult: true }
    const isFromHere = from.nodeId === this.world.nodeId
    // Asked again, because the answer was lost.
    const known = this.runs.get(id)
    const before = this.ended.get(id)
    if (known !== undefined && !isFromHere) known.watchers.set(from.nodeId, watcher)
    if (before !== undefined && !isFromHere) void this.push(before, from.nodeId, watcher)
    if (known !== undefined || before !== undefined) return
    const definition = this.definitionFor(name)
    if (help !== null && this.world.ownWaiting(help.group) >= help.waitingBelow)
      throw new SkeinError('overloaded', `${this.world.nodeId} has as much of "${help.group}" to do itself`, {
        retryable: true,
        details: { node_id: this.world.nodeId },
      })
    const run: Run = {
      ref: { id, name, nodeId: this.world.nodeId, bootId: this.world.bootId },
      startedBy: from.nodeId,
      startedAtMs: Date.now(),
      help,
      abort: new AbortController(),
      watchers: new Map(),
      listeners: new Set(),
      links: [],
      timers: [],
      stopped: undefined,
      settled: Promise.resolve(),
    }
    if (!isFromHere) run.watchers.set(from.nodeId, watcher)
    this.runs.set(id, run)
    this.atWork.add(run)
    this.world.loadChanged(this.atWork.size)
    if (timeoutMs > 0) run.timers.push(setTimeout(() => this.timeOut(run, timeoutMs), timeoutMs))
    // A helper is nothing without the owner that it helps.
    if (help !== null) this.linkHere(run, { id: '', name: '', nodeId: from.nodeId, bootId: from.bootId })
    run.settled = this.carryOut(run, definition, args)
  }

  private definitionFor(name: string): AnyProcessor {
    const { nodeId, runningMax } = this.world
    const definition = this.definitions.get(name)
    if (definition === undefined)
      throw new SkeinError('not_found', `${nodeId} has no processor "${name}"`, {
        details: { processor: name, node_id: nodeId },
      })
    if (this.isLeaving) throw new SkeinError('closed', `${nodeId} is leaving`, { retryable: true })
    let ofThisName = 0
    for (const { ref } of this.atWork) if (ref.name === name) ofThisName++
    const ownMax = definition.runningMax ?? Number.POSITIVE_INFINITY
    if (this.atWork.size >= runningMax || ofThisName >= ownMax)
      throw new SkeinError(
        'overloaded',
        this.atWork.size >= runningMax
          ? `${nodeId} runs ${this.atWork.size} processors, at most ${runningMax} are allowed (--max-spawned)`
          : `${nodeId} runs "${name}" ${ofThisName} times, at most ${ownMax} are allowed`,
        { retryable: true, details: { node_id: nodeId, running: this.atWork.size, running_max: runningMax } },
      )
    return definition
  }

  private async carryOut(run: Run, definition: AnyProcessor, packed: Uint8Array): Promise<void> {
    let outcome: Outcome
    try {
      const result = await this.body(run, definition, packed)
      outcome = {
        kind: 'finished',
        result: packData(result, `the result of processor "${run.ref.name}"`, spawnLimits.bytesMax),
      }
    } catch (error) {
      outcome = { kind: 'failed', error: asHandlerError(error, `processor "${run.ref.name}"`) }
    }
    this.atWork.delete(run)
    this.world.loadChanged(this.atWork.size)
    // Who finishes although it was told that its node leaves has finished.
    const isFinished = outcome.kind === 'finished' && run.stopped?.(true).kind === 'left'
    this.end(run, isFinished ? outcome : (run.stopped?.(true) ?? outcome))
  }

  private async body(run: Run, definition: AnyProcessor, packed: Uint8Array): Promise<unknown> {
    const { ref, help, abort, startedBy } = run
    // Not in the turn in which it was asked for: a synchronous processor must not hold the answer back.
    await new Promise((turn) => setImmediate(turn))
    if (abort.signal.aborted) throw abort.signal.reason
    if (help !== null) return this.world.help(definition, help, ref, startedBy, abort.signal)
    const context: ProcessorContext = {
      self: ref,
      nodeId: ref.nodeId,
      signal: abort.signal,
      link: (other) => this.linkBoth(ref, other),
    }
    return (definition.run as (args: unknown, context: ProcessorContext) => unknown)(
      unpackData(packed, `the arguments of processor "${ref.name}"`),
      context,
    )
  }

  // --- stopping -----------------------------------------------------------------------------------------------------

  /** False: it had ended, or was told to stop before. Undefined: nothing is known of it. */
  kill(id: string, reason: string): boolean | undefined {
    const run = this.runs.get(id)
    if (run === undefined) return this.ended.has(id) ? false : undefined
    return this.stop(
      run,
      (isSettled) => ({ kind: 'killed', reason, isSettled }),
      new SkeinError('aborted', `killed: ${reason}`, { details: { reason } }),
    )
  }

  private timeOut(run: Run, timeoutMs: number): void {
    const error = (isSettled: boolean): SkeinError =>
      new SkeinError('timeout', `processor "${run.ref.name}" was not done in ${timeoutMs} ms`, {
        details: { outcome: 'unknown', is_settled: isSettled },
      })
    this.stop(run, (isSettled) => ({ kind: 'failed', error: error(isSettled) }), error(false))
  }

  private stop(run: Run, stopped: (isSettled: boolean) => Outcome, cause: SkeinError): boolean {
    if (run.stopped !== undefined) return false
    run.stopped = stopped
    run.abort.abort(cause)
    run.timers.push(setTimeout(() => this.end(run, stopped(false)), graceMs))
    return true
  }

  /** The node leaves: nothing new, and what runs is told to come to its end. Resolves when it has, or after a while. */
  async leave(): Promise<void> {
    this.isLeaving = true
    const cause = new SkeinError('closed', 'the node is leaving', { details: { reason: 'node_left' } })
    for (const run of this.runs.values()) this.stop(run, (isSettled) => ({ kind: 'left', isSettled }), cause)
    const all = Promise.all([...this.atWork].map((run) => run.settled))
    await Promise.race([all, pause(graceMs)])
    // Their watchers hear of it before the connections close.
    const untilMs = performance.now() + pushTimeoutMs
    while (this.pushing.size > 0 && performance.now() < untilMs) await pause(10)
  }

  close(): void {
    this.isLeaving = true
    this.closing.abort()
    clearInterval(this.timer)
    for (const run of this.runs.values()) {
      for (const timer of run.timers) clearTimeout(timer)
      for (const unlink of run.links) unlink()
      run.abort.abort(new SkeinError('closed', 'the node is stopping'))
    }
  }

  // --- ends ---------------------------------------------------------------------------------------------------------

  private end(run: Run, outcome: Outcome): void {
    const { id } = run.ref
    if (!this.runs.delete(id)) return
    this.ends[outcome.kind]++
    for (const timer of run.timers) clearTimeout(timer)
    for (const unlink of run.links) unlink()
    const bytes = outcome.kind === 'finished' ? (outcome.result?.length ?? 0) : 0
    const ended: Ended = { ref: run.ref, outcome, atMs: performance.now(), bytes }
    this.ended.set(id, ended)
    this.endedBytes += bytes
    this.sweep()
    for (const listener of run.listeners) listener({ kind: 'outcome', outcome })
    for (const [nodeId, watcher] of run.watchers) void this.push(ended, nodeId, watcher)
    if (outcome.kind === 'failed' || (outcome.kind === 'killed' && !outcome.isSettled))
      this.world.log('info', 'processor.ended', {
        processor: run.ref.name,
        id,
        reason: outcome.kind,
        detail: outcome.kind === 'failed' ? outcome.error.message : outcome.reason,
      })
  }

  private sweep(): void {
    const oldestMs = performance.now() - endedKeptMs
    for (const [id, { atMs, bytes }] of this.ended) {
      if (this.ended.size <= endedMax && this.endedBytes <= endedBytesMax && atMs > oldestMs) return
      this.ended.delete(id)
      this.endedBytes -= bytes
    }
  }

  /** Again and again until it is confirmed, or that process is no peer any more: then it has its own conclusion. */
  private async push(
    { ref, outcome }: Ended,
    nodeId: NodeId,
    { bootId, wantsResult }: { readonly bootId: string; readonly wantsResult: boolean },
  ): Promise<void> {
    const name = `${ref.id} ${nodeId}`
    if (this.pushing.has(name)) return
    this.pushing.add(name)
    try {
      const body = pack([ref.id, packedOutcome(outcome, wantsResult)])
      while (!this.closing.signal.aborted && this.world.bootOf(nodeId) === bootId) {
        try {
          const options = { timeoutMs: pushTimeoutMs, signal: this.closing.signal }
          await this.world.request(nodeId, processingFrames.ended, body, options)
          return
        } catch {
          await pause(pushAgainMs, this.closing.signal)
        }
      }
    } finally {
      this.pushing.delete(name)
    }
  }

  // --- watching and linking -----------------------------------------------------------------------------------------

  /** For each run whether it is known. What has ended is told once more. */
  watched(frame: WatchFrame, from: { readonly nodeId: NodeId; readonly bootId: string }): boolean[] {
    return frame.runs.map(([id, wantsResult]) => {
      const watcher = { bootId: from.bootId, wantsResult }
      const run = this.runs.get(id)
      if (run !== undefined) {
        const isNew = !run.watchers.has(from.nodeId)
        if (isNew && run.watchers.size >= spawnLimits.watchersMax)
          throw new SkeinError('overloaded', `${spawnLimits.watchersMax} nodes watch this run`)
        const wanted = run.watchers.get(from.nodeId)?.wantsResult === true
        run.watchers.set(from.nodeId, { ...watcher, wantsResult: wantsResult || wanted })
        return true
      }
      const ended = this.ended.get(id)
      if (ended !== undefined) void this.push(ended, from.nodeId, watcher)
      return ended !== undefined
    })
  }

  /** From this very node. */
  watchHere(id: string, onEnd: (end: End) => void): () => void {
    const run = this.runs.get(id)
    if (run !== undefined) {
      run.listeners.add(onEnd)
      return () => run.listeners.delete(onEnd)
    }
    const ended = this.ended.get(id)
    queueMicrotask(() =>
      onEnd(ended === undefined ? { kind: 'forgotten' } : { kind: 'outcome', outcome: ended.outcome }),
    )
    return () => {}
  }

  /** The run ends, killed, when the other one (or its node, for an empty id) ends otherwise than by finishing. False: it had ended before. */
  link(id: string, other: SpawnRef): boolean {
    const run = this.runs.get(id)
    if (run === undefined) {
      if (this.ended.has(id)) return false
      throw new SkeinError('not_found', `no run ${id} here`, { details: { run: id } })
    }
    this.linkHere(run, other)
    return true
  }

  private linkHere(run: Run, other: SpawnRef): void {
    if (run.links.length >= spawnLimits.linksMax)
      throw new SkeinError('overloaded', `this run has ${spawnLimits.linksMax} links`)
    run.links.push(
      this.world.watch(other, (end) => {
        const reason = reasonOf(end)
        const what = other.id === '' ? `node ${other.nodeId}` : `${other.name} ${other.id}`
        if (reason !== 'finished') this.kill(run.ref.id, `linked to ${what}: ${reason}`)
      }),
    )
  }

  private async linkBoth(self: SpawnRef, other: SpawnRef): Promise<void> {
    this.link(self.id, other)
    await this.world.linkThere(other, self)
  }

  // --- looking ------------------------------------------------------------------------------------------------------

  /** Undefined for what is not known, or not any more. */
  async show(id: string, waitMs: number): Promise<RunView | EndedRun | undefined> {
    const run = this.runs.get(id)
    if (run !== undefined && waitMs > 0) {
      const over = new AbortController()
      const onEnd = (): void => over.abort()
      run.listeners.add(onEnd)
      await pause(waitMs, over.signal)
      run.listeners.delete(onEnd)
    }
    const now = this.runs.get(id)
    if (now !== undefined) return this.view(now)
    const ended = this.ended.get(id)
    return ended === undefined ? undefined : endedRun(ended.ref, ended.outcome)
  }

  /** For another node: `[0, ref, view]` while it runs, `[1, ref, outcome]` then. */
  async showPacked(id: string, waitMs: number): Promise<readonly unknown[] | undefined> {
    const found = await this.show(id, waitMs)
    if (found === undefined) return undefined
    const ended = this.ended.get(id)
    return ended === undefined ? [0, null, found] : [1, ended.ref, packedOutcome(ended.outcome, true)]
  }

  private view({ ref, startedBy, startedAtMs, stopped, help }: Run): RunView {
    return {
      ...ref,
      startedBy,
      startedAtMs,
      isStopping: stopped !== undefined,
      helps: help === null ? null : { stream: help.stream, group: help.group, owner: startedBy },
    }
  }
}

export function endedRun(ref: SpawnRef, outcome: Outcome): EndedRun {
  switch (outcome.kind) {
    case 'finished': {
      const result = outcome.result === null ? undefined : unpackData(outcome.result, 'a result')
      return { ref, status: 'finished', detail: '', result }
    }
    case 'failed':
      return { ref, status: 'failed', detail: outcome.error.message, error: outcome.error }
    case 'killed':
      return { ref, status: 'killed', detail: outcome.reason }
    case 'left':
      return { ref, status: 'node_down', detail: `${ref.nodeId} left` }
  }
}
