/** The asking side of spawn: finds a node for a run, asks it until the answer is certain, follows the run, and runs it anew where that is allowed. */
import { randomBytes } from 'node:crypto'
import { Balancer, parseStrategy, type Strategy, strategies } from '../../core/balancing/balancer.js'
import type { Candidate, Constraints, Work } from '../../core/balancing/candidate.js'
import type { NodeId } from '../../core/kernel/brand.js'
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import { Random } from '../../core/kernel/random.js'
import { pause } from '../pause.js'
import type { SpawnOptions, SpawnRef } from './api-types.js'
import { type HelpFrame, packStart, processingFrames, type StartFrame } from './frames.js'
import { Handle, nodeDown } from './handle.js'
import type { End } from './outcome.js'
import { packData } from './packing.js'
import { spawnLimits } from './runs.js'

const startTimeoutMs = 10_000
const startTryMs = 2_000
const startAgainMs = 100
const nodesTriedMax = 5
const retriesMax = 100

/** What every node says of its processors, as this one last heard. */
export interface Offered {
  readonly nodeId: NodeId
  readonly isIdempotent: boolean
}

export interface SpawnerWorld {
  readonly nodeId: NodeId
  readonly bootId: string
  readonly zone: string
  readonly region: string
  bootOf(nodeId: NodeId): string | undefined
  /** Nodes that have that processor, whether they are well or not. */
  offered(name: string): readonly Offered[]
  /** Running there and how many may, as it last said. */
  load(nodeId: NodeId): { readonly running: number; readonly runningMax: number; readonly version: unknown }
  candidates(): readonly Candidate[]
  strategy(): Strategy
  request(
    nodeId: NodeId,
    type: number,
    body: Uint8Array,
    options: { timeoutMs: number; signal?: AbortSignal },
  ): Promise<Uint8Array>
  startHere(frame: StartFrame): void
  watch(
    ref: SpawnRef,
    onEnd: (end: End) => void,
    options: { wantsResult?: boolean; isStarted?: boolean },
  ): () => void
  started(ref: SpawnRef): void
  kill(ref: SpawnRef, reason: string): Promise<boolean>
}

/** Certainly not started there: another node may be asked. */
const elsewhereCodes: ReadonlySet<string> = new Set(['overloaded', 'closed', 'not_found', 'peer_unreachable'])

export class Spawner {
  private readonly world: SpawnerWorld
  private readonly picker = new Balancer(new Random(randomBytes(4).readUInt32LE()))
  /** Started from here since the node last said how many it runs. */
  private readonly sent = new Map<NodeId, { version: unknown; count: number }>()

  constructor(world: SpawnerWorld) {
    this.world = world
  }

  async spawn(name: string, args: unknown, options: SpawnOptions): Promise<Handle> {
    const { timeoutMs = 0, retries = 0, signal } = options
    checkNumber('timeoutMs', timeoutMs, 0, 2 ** 31 - 1)
    checkNumber('retries', retries, 0, retriesMax)
    checkOn(options.on)
    const packed = packData(args, `the arguments of processor "${name}"`, spawnLimits.bytesMax)
    const offered = this.world.offered(name)
    if (retries > 0 && offered.length > 0 && !offered.some((o) => o.isIdempotent))
      throw new SkeinError(
        'invalid_argument',
        `processor "${name}" is not marked idempotent: it must not be run again where the outcome is unknown`,
        { details: { field: 'retries' } },
      )
    const deadlineMs = timeoutMs === 0 ? Number.POSITIVE_INFINITY : performance.now() + timeoutMs
    const handle = await this.attempt(name, packed, options, retries, deadlineMs, undefined)
    this.bound(handle, timeoutMs, signal)
    return handle
  }

  /** On that node and nowhere else: a helper of a stream. */
  help(nodeId: NodeId, name: string, frame: HelpFrame): Promise<Handle> {
    return this.startOn(nodeId, { name, args: new Uint8Array(), timeoutMs: 0, help: frame }, undefined)
  }

  /** One that is fit for another helper of that processor, the least loaded; undefined when there is none. */
  pickHelper(name: string, isWanted: (nodeId: NodeId) => boolean): NodeId | undefined {
    const offered = new Set(this.world.offered(name).map((o) => o.nodeId))
    const candidates = this.fitFor(offered).filter(
      (c) => c.nodeId !== this.world.nodeId && isWanted(c.nodeId),
    )
    return this.picker.pick('least_loaded', candidates, { name })?.nodeId
  }

  /** The caller's own limits, whatever becomes of the run's node. */
  private bound(handle: Handle, timeoutMs: number, signal: AbortSignal | undefined): void {
    if (timeoutMs > 0) {
      // The run's node has the deadline too and stops it: told to from here as well, the run might end as one that was killed.
      const timer = setTimeout(() => {
        const message = `processor "${handle.name}" was not done in ${timeoutMs} ms`
        handle.gaveUp(new SkeinError('timeout', message, { details: { outcome: 'unknown' } }))
      }, timeoutMs)
      void handle.result.catch(() => {}).finally(() => clearTimeout(timer))
    }
    if (signal === undefined) return
    const onAbort = (): void => {
      if (handle.status !== 'running') return
      void handle.kill('the caller aborted').catch(() => {})
      handle.gaveUp(new SkeinError('aborted', 'the caller aborted', { details: { outcome: 'unknown' } }))
    }
    signal.addEventListener('abort', onAbort, { once: true })
    void handle.result.catch(() => {}).finally(() => signal.removeEventListener('abort', onAbort))
    if (signal.aborted) onAbort()
  }

  private async attempt(
    name: string,
    args: Uint8Array,
    options: SpawnOptions,
    retries: number,
    deadlineMs: number,
    before: Handle | undefined,
  ): Promise<Handle> {
    const tried = new Set<NodeId>()
    let trouble: SkeinError | undefined
    while (tried.size < nodesTriedMax) {
      if (options.signal?.aborted === true)
        throw new SkeinError('aborted', 'the caller aborted', { details: { outcome: 'not_done' } })
      const nodeId = this.choose(name, options, tried)
      if (nodeId === undefined) break
      tried.add(nodeId)
      const timeoutMs =
        deadlineMs === Number.POSITIVE_INFINITY ? 0 : Math.max(1, Math.ceil(deadlineMs - performance.now()))
      try {
        const again = (handle: Handle): Promise<Handle> =>
          this.attempt(name, args, options, retries - 1, deadlineMs, handle)
        return await this.startOn(
          nodeId,
          { name, args, timeoutMs, help: null },
          before,
          retries > 0 ? again : undefined,
        )
      } catch (error) {
        if (!isSkeinError(error)) throw error
        if (!elsewhereCodes.has(error.code) && !(retries > 0 && error.code === 'node_down')) throw error
        trouble = error
      }
    }
    throw trouble ?? this.nobody(name, options)
  }

  private choose(name: string, options: SpawnOptions, tried: ReadonlySet<NodeId>): NodeId | undefined {
    const { on } = options
    const offered = new Set(this.world.offered(name).map((o) => o.nodeId))
    const named = typeof on === 'object' ? on.node : on
    const strategy =
      on === undefined ? this.world.strategy() : typeof on === 'object' ? undefined : parseStrategy(on)
    // A certain node is asked whatever it looks like from here.
    if (strategy === undefined) {
      if (named !== undefined) this.requireMember(named)
      return tried.size === 0 ? named : undefined
    }
    const candidates = this.fitFor(offered).filter((c) => !tried.has(c.nodeId))
    for (const constraints of preferences(options)) {
      const { nodeId, zone, region } = this.world
      const work: Work = { name: name, constraints, origin: { nodeId, zone, region } }
      const found = this.picker.pick(strategy, candidates, work)
      if (found !== undefined) return found.nodeId
    }
    return undefined
  }

  /** As the balancer's strategies see them: what they run instead of their agents. */
  private fitFor(offered: ReadonlySet<NodeId>): Candidate[] {
    return this.world
      .candidates()
      .filter((c) => c.kind === 'node' && offered.has(c.nodeId))
      .map((c) => {
        const { running, runningMax: told, version } = this.world.load(c.nodeId)
        // Who has not told yet may have room.
        const runningMax = Math.max(1, told)
        const sent = this.sent.get(c.nodeId)
        const more = sent !== undefined && sent.version === version ? sent.count : 0
        // What we guess orders them; that it is full a node says itself.
        const guess = Math.max(running, Math.min(running + more, runningMax - 1))
        return { ...c, agents: guess, maxAgents: runningMax, trust: 1 }
      })
  }

  /** Throws `not_found` for what is neither this node nor a member in any state. */
  private requireMember(nodeId: NodeId): void {
    if (this.world.candidates().some((c) => c.nodeId === nodeId)) return
    throw new SkeinError(
      'not_found',
      `on: "${nodeId}" is neither a strategy (${strategies.join(', ')}) nor a node of this cluster`,
      { details: { field: 'on', given: nodeId, allowed: strategies } },
    )
  }

  private nobody(name: string, { on, constraints }: SpawnOptions): SkeinError {
    const offered = this.world.offered(name)
    if (offered.length === 0)
      return new SkeinError('not_found', `no node has a processor "${name}"`, {
        details: { processor: name },
      })
    const asked = typeof on === 'string' && constraints === undefined ? ` (${on})` : ''
    return new SkeinError(
      'overloaded',
      `none of the ${offered.length} nodes that have "${name}" can take it now${asked}`,
      { retryable: true, details: { processor: name } },
    )
  }

  /** Errors: those of {@link elsewhereCodes}; `node_down` and `outcome_unknown` where it may have been started. */
  private async startOn(
    nodeId: NodeId,
    frame: Omit<StartFrame, 'id'>,
    before: Handle | undefined,
    again?: (handle: Handle) => Promise<Handle>,
  ): Promise<Handle> {
    const bootId = nodeId === this.world.nodeId ? this.world.bootId : this.world.bootOf(nodeId)
    if (bootId === undefined)
      throw new SkeinError('peer_unreachable', `${nodeId} is not there`, {
        retryable: true,
        details: { node_id: nodeId },
      })
    const ref: SpawnRef = {
      id: `${randomBytes(8).toString('hex')}@${nodeId}`,
      name: frame.name,
      nodeId,
      bootId,
    }
    const handle = before ?? new Handle(ref, this.world.kill)
    before?.moved(ref)
    let end: End | undefined
    const unwatch = this.world.watch(
      ref,
      (found) => {
        end = found
        this.count(nodeId, -1)
        void this.over(handle, found, again)
      },
      { wantsResult: true, isStarted: false },
    )
    try {
      await this.ask(ref, frame, () => end !== undefined)
    } catch (error) {
      unwatch()
      throw error
    }
    this.count(nodeId, 1)
    this.world.started(ref)
    return handle
  }

  private async over(
    handle: Handle,
    end: End,
    again: ((handle: Handle) => Promise<Handle>) | undefined,
  ): Promise<void> {
    const isUnknown = end.kind !== 'outcome' || end.outcome.kind === 'left'
    if (!isUnknown || again === undefined || handle.status !== 'running') {
      handle.ended(end)
      return
    }
    try {
      await again(handle)
    } catch {
      // It could not be run anew: what is known of the first time stands.
      handle.ended(end)
    }
  }

  /** One more there, or one less. */
  private count(nodeId: NodeId, change: 1 | -1): void {
    const { version } = this.world.load(nodeId)
    const sent = this.sent.get(nodeId)
    if (sent !== undefined && sent.version === version) sent.count = Math.max(0, sent.count + change)
    else this.sent.set(nodeId, { version, count: Math.max(0, change) })
  }

  /** Until it is certain: a node knows a run that it was asked for before. */
  private async ask(ref: SpawnRef, frame: Omit<StartFrame, 'id'>, isOver: () => boolean): Promise<void> {
    const start: StartFrame = { ...frame, id: ref.id }
    if (ref.nodeId === this.world.nodeId) {
      this.world.startHere(start)
      return
    }
    const body = packStart(start)
    const untilMs = performance.now() + startTimeoutMs
    let wasSent = false
    for (;;) {
      try {
        await this.world.request(ref.nodeId, processingFrames.start, body, { timeoutMs: startTryMs })
        return
      } catch (error) {
        const code = isSkeinError(error) ? error.code : 'internal'
        const isUncertain = code === 'outcome_unknown' || code === 'timeout' || code === 'aborted'
        // What this one certainly did not do, an earlier try may have done.
        if (!isUncertain && !(wasSent && code === 'peer_unreachable')) throw error
        wasSent ||= isUncertain
        if (isOver()) return
        if (this.world.bootOf(ref.nodeId) !== ref.bootId) throw nodeDown(ref, 'node_failed')
        if (performance.now() > untilMs)
          throw new SkeinError('outcome_unknown', `${ref.nodeId} does not answer`, {
            details: { run: ref.id, node_id: ref.nodeId, outcome: 'unknown' },
            cause: error,
          })
        await pause(startAgainMs)
      }
    }
  }
}

function checkOn(on: unknown): void {
  const isNode = typeof on === 'object' && on !== null && 'node' in on && typeof on.node === 'string'
  if (on === undefined || typeof on === 'string' || isNode) return
  throw new SkeinError('invalid_argument', 'on: a strategy, the id of a node, or { node } expected', {
    details: { field: 'on', given: typeof on },
  })
}

/** From what is liked best to what must be. */
function preferences({ zone, region, constraints = {} }: SpawnOptions): Constraints[] {
  const list: Constraints[] = []
  if (zone !== undefined && constraints.zone === undefined) list.push({ ...constraints, zone: [zone] })
  if (region !== undefined && constraints.region === undefined)
    list.push({ ...constraints, region: [region] })
  return [...list, constraints]
}

export function checkNumber(what: string, value: unknown, min: number, max: number): void {
  if (Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max) return
  throw new SkeinError('invalid_argument', `${what}: a whole number from ${min} to ${max} expected`, {
    details: { field: what, given: String(value) },
  })
}
