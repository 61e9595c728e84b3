/**
 * Carries what a stopped cluster must not lose from one store and journal to another: events with their ids, epochs, offsets and times, positions of
 * consumers, checkpoints of agents, seals, terms and every key that hangs on no lease. Epochs go on and never repeat.
 *
 * The order is what makes it safe to stop anywhere: a mark in both stores, which keeps nodes out; events, lease by lease; positions and checkpoints; keys; then both
 * sides are read and compared; then, in one transaction, the target's mark gives way to the cluster's record, and at last the source's mark says where
 * the state went. Run again, it makes the same plan and writes what is missing.
 */
import { randomBytes } from 'node:crypto'
import type { LeaseId } from '../../core/kernel/brand.js'
import { asLeaseId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { KeyValue, StoreOp, Transaction, TransactionResult } from '../../core/kernel/store-types.js'
import { jsonDecode, jsonEncode } from '../../core/kernel/text.js'
import type { Journal } from '../../ports/journal.js'
import type { Store } from '../../ports/store.js'
import { recordKey } from '../cluster-record.js'
import {
  copyCheckpoints,
  copyPositions,
  copyStep,
  persistently,
  proveCheckpoints,
  provePositions,
  proveShard,
  type ShardProof,
} from './carry-events.js'
import { type CarryMark, carryKey, markTrouble, originKey, readMark } from './carry-marks.js'
import { type CarriedShard, type CarryStep, planCarry } from './carry-plan.js'
import {
  type CarrySource,
  listCluster,
  liveNodes,
  prefixOf,
  readSource,
  targetKeys,
  targetRecord,
} from './carry-source.js'

export interface CarryEnd {
  readonly store: Store
  readonly journal: Journal
  /** URLs without passwords. */
  readonly storeName: string
  readonly journalName: string
}

export type CarryPhase = 'events' | 'positions' | 'checkpoints' | 'keys' | 'proof'

export interface CarryOptions {
  readonly clusterName: string
  /** Both open. */
  readonly source: CarryEnd
  readonly target: CarryEnd
  /** Looks and counts; writes nothing anywhere. */
  readonly isDryRun: boolean
  readonly signal: AbortSignal
  /** `done` of about `total`: of events (an upper bound: retention leaves gaps), of keys. */
  onProgress(phase: CarryPhase, done: number, total: number): void
}

export interface CarryReport {
  /** Of the carry; empty for a dry run. */
  readonly id: string
  /** `done_before`: the same carry was complete already. */
  readonly outcome: 'carried' | 'done_before' | 'would_carry'
  /** Went on with one that was cut short. */
  readonly resumed: boolean
  /** Of the dry run at most so many; else as many as both journals hold. */
  readonly events: number
  /** Written by this run. */
  readonly copied: number
  readonly positions: number
  /** Of agents. */
  readonly checkpoints: number
  readonly keys: number
  /** Leases of the target that the events lie under. */
  readonly leases: number
  readonly shards: readonly ShardProof[]
}

const keysPerTransaction = 100
const bytesPerTransaction = 1_000_000
const timeoutMs = 15_000

/**
 * Errors: `not_found` (no such cluster in the source), `conflict` (nodes still hold leases; the target is not empty; the source changed; another carry
 * is under way), `store_mismatch` (the source's journal is another), `bad_config` (source and target are the same), `corrupt` (the proof failed),
 * `incompatible`, what the drivers throw, and the signal's reason.
 */
export async function carry(options: CarryOptions): Promise<CarryReport> {
  return await new Carry(options).run()
}

class Carry {
  private readonly options: CarryOptions
  private readonly prefix: string
  private copied = 0

  constructor(options: CarryOptions) {
    this.options = options
    this.prefix = prefixOf(options.clusterName)
  }

  async run(): Promise<CarryReport> {
    const { source, target, isDryRun, clusterName } = this.options
    if (source.store.info.identity === target.store.info.identity)
      throw new SkeinError(
        'bad_config',
        'source and target are one store: give the target another file, or another namespace of the same etcd',
      )
    const here = await listCluster(target.store, clusterName)
    let there = await listCluster(source.store, clusterName)
    this.requireStopped(there, source)
    this.requireStopped(here, target)
    const marks = { source: markIn(there), target: markIn(here) }
    if (marks.source?.role === 'target') throw markTrouble(clusterName, marks.source)
    const done = this.doneBefore(marks.source, here)
    if (done !== undefined) {
      if (!isDryRun) await this.completeSource(done)
      return { ...nothing, id: done.id, outcome: 'done_before' }
    }
    this.requireRoom(marks, here)
    const known = marks.target ?? marks.source
    const id = known?.id ?? randomBytes(6).toString('hex')
    if (!isDryRun) {
      await this.markSource(id)
      there = await listCluster(source.store, clusterName)
      this.requireStopped(there, source)
    }
    const found = await readSource(there, source.journal, clusterName, !isDryRun)
    const isShared = source.journal.info.identity === target.journal.info.identity
    const plan = isShared ? { steps: [], shards: found.shards } : planCarry(id, found.shards)
    if (marks.target !== undefined && marks.target.source_digest !== found.digest)
      throw this.changed(marks.target)
    if (!isShared) await this.requireEmptyJournal(id, plan.steps, marks.target !== undefined)
    const keys = targetKeys(there, found, plan.shards)
    const atMost = found.shards.flatMap((s) => s.segments).reduce((sum, s) => sum + s.last - s.first + 1, 0)
    if (isDryRun) {
      const figures = { events: atMost, keys: keys.size, leases: plan.steps.length }
      return { ...nothing, ...figures, resumed: marks.target !== undefined, outcome: 'would_carry' }
    }

    const mark = await this.markTarget(id, found, marks.target)
    if (!isShared) await this.copy(id, plan.steps, atMost)
    await this.writeKeys(mark, keys)
    const shards = isShared ? [] : await this.prove(found.shards, plan.shards, atMost)
    const { journal: ours } = target
    const { signal } = this.options
    const positions = isShared ? 0 : await provePositions(source.journal, ours, signal)
    const checkpoints = isShared ? 0 : await proveCheckpoints(source.journal, ours, signal)
    await this.proveKeys(keys)
    await this.requireUnchanged(found)
    await this.open(mark, found)
    await this.completeSource({ id })
    return {
      id,
      outcome: 'carried',
      resumed: marks.target !== undefined,
      events: shards.reduce((sum, each) => sum + each.events, 0),
      copied: this.copied,
      positions,
      checkpoints,
      keys: keys.size,
      leases: plan.steps.length,
      shards,
    }
  }

  // --- may it be done -------------------------------------------------------------------------------------------

  private requireStopped(kvs: readonly KeyValue[], { storeName }: CarryEnd): void {
    const live = liveNodes(kvs)
    if (live.length === 0) return
    throw new SkeinError(
      'conflict',
      `${live.length === 1 ? 'a node holds a lease' : `${live.length} nodes hold leases`} in ${storeName}: ${live.slice(0, 10).join(', ')}. Stop all nodes; a lease of one that was killed ends by itself, with the preset lan within 5 s`,
      { details: { nodes: live } },
    )
  }

  /** The carry that is complete but for the last word in the source, or for nothing at all. */
  private doneBefore(mark: CarryMark | undefined, here: readonly KeyValue[]): { id: string } | undefined {
    const value = here.find(({ key }) => key === originKey)?.value
    const origin = value === undefined ? undefined : (jsonDecode(value) as { id?: string })
    return mark !== undefined && origin?.id === mark.id ? { id: mark.id } : undefined
  }

  private requireRoom(
    marks: { readonly source: CarryMark | undefined; readonly target: CarryMark | undefined },
    here: readonly KeyValue[],
  ): void {
    const { clusterName, target } = this.options
    if (marks.source?.is_complete === true) throw markTrouble(clusterName, marks.source)
    if (marks.target === undefined && here.length > 0) {
      const some = here.slice(0, 5).map(({ key }) => key)
      throw new SkeinError(
        'conflict',
        `${target.storeName} holds ${here.length} keys of a cluster "${clusterName}" already (${some.join(', ')}${here.length > 5 ? ', …' : ''}): carry into an empty one, another file or another namespace`,
      )
    }
    if (marks.target?.role === 'source') throw markTrouble(clusterName, marks.target)
    if (marks.source !== undefined && marks.target !== undefined && marks.source.id !== marks.target.id)
      throw new SkeinError(
        'conflict',
        `${target.storeName} holds a part of another carry (${marks.target.id}, from ${marks.target.store}); the source is on its way elsewhere (${marks.source.id}, to ${marks.source.store})`,
      )
  }

  private async requireEmptyJournal(
    id: string,
    steps: readonly CarryStep[],
    isResumed: boolean,
  ): Promise<void> {
    const { target } = this.options
    const ours = new Set(isResumed ? [...steps.map(({ lease }) => lease), leaseWithoutEvents(id)] : [])
    const others = (await target.journal.leaseFiles()).filter(({ lease }) => !ours.has(lease))
    if (others.length === 0) return
    throw new SkeinError(
      'conflict',
      `${target.journalName} holds events already, of ${others.length} leases: carry into an empty journal, another directory or another schema`,
    )
  }

  private changed(mark: CarryMark): SkeinError {
    return new SkeinError(
      'conflict',
      `the source is not what it was when this carry began on ${mark.at}: nodes ran on it since. Empty the target, both ${this.options.target.storeName} and ${this.options.target.journalName}, and carry again`,
    )
  }

  /** A node that began before our mark was there may have come and gone. */
  private async requireUnchanged(before: CarrySource): Promise<void> {
    const { source, clusterName } = this.options
    const kvs = await listCluster(source.store, clusterName)
    this.requireStopped(kvs, source)
    const now = await readSource(kvs, source.journal, clusterName, true)
    if (now.digest !== before.digest)
      throw new SkeinError(
        'conflict',
        'the source changed while it was carried: a node ran. Empty the target and carry again',
      )
  }

  // --- marks ------------------------------------------------------------------------------------------------------

  private async markSource(id: string): Promise<void> {
    const { target } = this.options
    const mark: CarryMark = {
      role: 'source',
      id,
      store: target.storeName,
      journal: target.journalName,
      at: new Date().toISOString(),
      is_complete: false,
      source_digest: '',
    }
    await this.put(this.options.source.store, [
      { type: 'put', key: carryKey, value: jsonEncode({ v: 1, ...mark }) },
    ])
  }

  private async completeSource({ id }: { readonly id: string }): Promise<void> {
    const { source, target, clusterName } = this.options
    const before = markIn(await listCluster(source.store, clusterName))
    if (before?.is_complete === true) return
    const mark: CarryMark = {
      role: 'source',
      id,
      store: target.storeName,
      journal: target.journalName,
      at: new Date().toISOString(),
      is_complete: true,
      source_digest: '',
    }
    await this.put(source.store, [{ type: 'put', key: carryKey, value: jsonEncode({ v: 1, ...mark }) }])
  }

  /** The mark's bytes: what the target's key must be for anything to be written there. */
  private async markTarget(
    id: string,
    { digest }: CarrySource,
    before: CarryMark | undefined,
  ): Promise<Uint8Array> {
    const { source, target, clusterName } = this.options
    const mark: CarryMark = {
      role: 'target',
      id,
      store: source.storeName,
      journal: source.journalName,
      at: before?.at ?? new Date().toISOString(),
      is_complete: false,
      source_digest: digest,
    }
    const value = jsonEncode({ v: 1, ...mark })
    if (before === undefined) {
      const absent = (key: string) => ({ key, target: 'createRev', op: '=', value: 0n }) as const
      const { ok } = await this.txn(target.store, {
        if: [absent(carryKey), absent(recordKey)],
        then: [{ type: 'put', key: carryKey, value }],
      })
      const now = ok ? undefined : markIn(await listCluster(target.store, clusterName))
      if (!ok && now?.id !== id)
        throw new SkeinError('conflict', `somebody else has just begun to use ${target.storeName}`)
      return value
    }
    const { results } = await this.txn(target.store, { then: [{ type: 'get', key: carryKey }] })
    return results[0]?.kv?.value ?? value
  }

  /** From here on the target is the cluster. */
  private async open(mark: Uint8Array, found: CarrySource): Promise<void> {
    const { source, target, clusterName } = this.options
    const { id } = readMark(mark) as CarryMark
    const origin = {
      v: 1,
      id,
      store: source.storeName,
      journal: source.journalName,
      at: new Date().toISOString(),
    }
    const { ok } = await this.txn(target.store, {
      if: [{ key: carryKey, target: 'value', op: '=', value: mark }],
      then: [
        { type: 'put', key: recordKey, value: targetRecord(found, target.journal) },
        { type: 'put', key: originKey, value: jsonEncode(origin) },
        { type: 'delete', key: carryKey },
      ],
    })
    // A try of ours that was thought lost may have done it.
    if (
      ok ||
      this.doneBefore({ id } as CarryMark, await listCluster(target.store, clusterName)) !== undefined
    )
      return
    throw new SkeinError('conflict', `somebody else has changed the mark in ${target.storeName}`)
  }

  // --- the work ---------------------------------------------------------------------------------------------------

  private async copy(id: string, steps: readonly CarryStep[], atMost: number): Promise<void> {
    const { source, target, signal, onProgress } = this.options
    const copying = {
      source: source.journal,
      target: target.journal,
      signal,
      copied: (events: number): void => {
        this.copied += events
        onProgress('events', this.copied, atMost)
      },
    }
    for (const step of steps) await copyStep(copying, step)
    const last = steps.at(-1)?.lease ?? leaseWithoutEvents(id)
    const positions = await copyPositions(copying, last)
    onProgress('positions', positions, positions)
    const checkpoints = await copyCheckpoints(copying, last)
    onProgress('checkpoints', checkpoints, checkpoints)
    await target.journal.closeLease()
  }

  private async writeKeys(mark: Uint8Array, keys: ReadonlyMap<string, Uint8Array>): Promise<void> {
    const { target, onProgress } = this.options
    let ops: StoreOp[] = []
    let bytes = 0
    let written = 0
    const flush = async (): Promise<void> => {
      const { ok } = await this.txn(target.store, {
        if: [{ key: carryKey, target: 'value', op: '=', value: mark }],
        then: ops,
      })
      if (!ok) throw new SkeinError('conflict', `somebody else has changed the mark in ${target.storeName}`)
      written += ops.length
      onProgress('keys', written, keys.size)
      ops = []
      bytes = 0
    }
    for (const [key, value] of keys) {
      if (ops.length === keysPerTransaction || (ops.length > 0 && bytes + value.length > bytesPerTransaction))
        await flush()
      ops.push({ type: 'put', key, value })
      bytes += key.length + value.length
    }
    if (ops.length > 0) await flush()
  }

  private async prove(
    there: readonly CarriedShard[],
    here: readonly CarriedShard[],
    atMost: number,
  ): Promise<ShardProof[]> {
    const { source, target, signal, onProgress } = this.options
    const journals = { source: source.journal, target: target.journal, signal }
    const proofs: ShardProof[] = []
    let read = 0
    for (const [i, shard] of there.entries()) {
      const proof = await proveShard(journals, shard, here[i] as CarriedShard, (events) => {
        read += events
        onProgress('proof', read, atMost)
      })
      proofs.push(proof)
    }
    return proofs
  }

  private async proveKeys(keys: ReadonlyMap<string, Uint8Array>): Promise<void> {
    const { target, clusterName } = this.options
    const found = (await listCluster(target.store, clusterName)).filter(({ key }) => key !== carryKey)
    const wrong = found.find(
      ({ key, value }) => Buffer.compare(value, keys.get(key) ?? Buffer.from('\0')) !== 0,
    )
    if (found.length === keys.size && wrong === undefined) return
    throw new SkeinError(
      'corrupt',
      `${target.storeName} holds ${found.length} keys and not the ${keys.size} that were written${wrong === undefined ? '' : `; ${wrong.key} differs`}: empty the target and carry again`,
    )
  }

  // --- the stores -------------------------------------------------------------------------------------------------

  private async put(store: Store, ops: readonly StoreOp[]): Promise<void> {
    await this.txn(store, { then: ops })
  }

  /** Repeated until it is known to have happened or not: every one of ours may be done twice. */
  private async txn(store: Store, transaction: Transaction): Promise<TransactionResult> {
    const { signal } = this.options
    const full = {
      if: transaction.if?.map((compare) => ({ ...compare, key: this.prefix + compare.key })) ?? [],
      then: transaction.then?.map((op) => ('key' in op ? { ...op, key: this.prefix + op.key } : op)) ?? [],
    }
    return await persistently(
      signal,
      () => 0,
      () => store.txn(full, { timeoutMs }),
    )
  }
}

/** Takes the marks of a carry off the source, so that nodes may use it again. Returns the mark that was there. */
export async function reopen(store: Store, storeName: string, clusterName: string): Promise<CarryMark> {
  const mark = markIn(await listCluster(store, clusterName))
  if (mark === undefined)
    throw new SkeinError(
      'not_found',
      `${storeName} has no mark of a carry for cluster "${clusterName}": nodes may use it`,
    )
  if (mark.role === 'target')
    throw new SkeinError(
      'conflict',
      `${storeName} is the target of a carry that is not complete: finish it, or empty the store; half a state is not to be opened`,
    )
  await store.txn({ then: [{ type: 'delete', key: prefixOf(clusterName) + carryKey }] }, { timeoutMs })
  return mark
}

const nothing = {
  id: '',
  resumed: false,
  events: 0,
  copied: 0,
  positions: 0,
  checkpoints: 0,
  keys: 0,
  leases: 0,
  shards: [],
} as const

/** Where positions are kept when there is no event. */
function leaseWithoutEvents(id: string): LeaseId {
  return asLeaseId(`carried-${id}-none`)
}

function markIn(kvs: readonly KeyValue[]): CarryMark | undefined {
  return readMark(kvs.find(({ key }) => key === carryKey)?.value)
}
