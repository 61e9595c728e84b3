/** What nodes say to each other about processors, packed as arrays, and checked when it comes. */
import { SkeinError } from '../../core/kernel/error.js'
import { pack, unpack } from '../mesh-frames.js'
import type { SpawnRef } from './api-types.js'

export const processingFrames = {
  start: 60,
  watch: 61,
  ended: 62,
  kill: 63,
  look: 64,
  link: 65,
  take: 66,
  settle: 67,
  renew: 68,
} as const

/** Instead of arguments: help the owner of some shards with a stream. */
export interface HelpFrame {
  readonly stream: string
  readonly group: string
  readonly concurrency: number
  readonly batchMax: number
  readonly deadlineMs: number
  /** Whoever has that much of its own to do is no help: what the asking side knows of it may be a look old. */
  readonly waitingBelow: number
}

export interface StartFrame {
  readonly id: string
  readonly name: string
  readonly args: Uint8Array
  /** 0 for none. */
  readonly timeoutMs: number
  readonly help: HelpFrame | null
}

export const watchedAtOnceMax = 1_000
const idPattern = /^[0-9a-f]{8,32}@.{1,128}$/

export function packStart({ id, name, args, timeoutMs, help: h }: StartFrame): Uint8Array {
  const help =
    h === null ? null : [h.stream, h.group, h.concurrency, h.batchMax, h.deadlineMs, h.waitingBelow]
  return pack([id, name, args, timeoutMs, help])
}

export function unpackStart(body: Uint8Array): StartFrame {
  const [id, name, args, timeoutMs, help] = rowOf(body, 5)
  if (!isRunId(id) || typeof name !== 'string' || !(args instanceof Uint8Array) || !isCount(timeoutMs))
    throw malformed('start')
  return { id, name, args: Uint8Array.prototype.slice.call(args), timeoutMs, help: helpOf(help) }
}

function helpOf(row: unknown): HelpFrame | null {
  if (row === null) return null
  if (!Array.isArray(row)) throw malformed('start')
  const [stream, group, concurrency, batchMax, deadlineMs, waitingBelow] = row as unknown[]
  if (typeof stream !== 'string' || typeof group !== 'string') throw malformed('start')
  if (
    !isCount(concurrency, 1_000) ||
    !isCount(batchMax, 10_000) ||
    !isCount(deadlineMs) ||
    !isCount(waitingBelow)
  )
    throw malformed('start')
  return { stream, group, concurrency, batchMax, deadlineMs, waitingBelow }
}

/** Ids of runs of one boot, each with whether the result is wanted. */
export interface WatchFrame {
  readonly bootId: string
  readonly runs: readonly (readonly [id: string, wantsResult: boolean])[]
}

export function unpackWatch(body: Uint8Array): WatchFrame {
  const [bootId, runs] = rowOf(body, 2)
  if (typeof bootId !== 'string' || !Array.isArray(runs) || runs.length > watchedAtOnceMax)
    throw malformed('watch')
  for (const run of runs as unknown[])
    if (!Array.isArray(run) || !isRunId(run[0]) || typeof run[1] !== 'boolean') throw malformed('watch')
  return { bootId, runs: runs as WatchFrame['runs'] }
}

export function unpackEnded(body: Uint8Array): { readonly id: string; readonly outcome: unknown } {
  const [id, outcome] = rowOf(body, 2)
  if (!isRunId(id)) throw malformed('ended')
  return { id, outcome }
}

export function unpackKill(body: Uint8Array): { bootId: string; id: string; reason: string } {
  const [bootId, id, reason] = rowOf(body, 3)
  if (typeof bootId !== 'string' || !isRunId(id) || typeof reason !== 'string') throw malformed('kill')
  return { bootId, id, reason }
}

export function unpackLink(body: Uint8Array): { bootId: string; id: string; other: SpawnRef } {
  const [bootId, id, other] = rowOf(body, 3)
  if (typeof bootId !== 'string' || !isRunId(id)) throw malformed('link')
  return { bootId, id, other: unpackRef(other) }
}

export function packRef({ id, name, nodeId, bootId }: SpawnRef): readonly string[] {
  return [id, name, nodeId, bootId]
}

function unpackRef(row: unknown): SpawnRef {
  if (!Array.isArray(row) || row.length !== 4 || row.some((t) => typeof t !== 'string'))
    throw malformed('reference')
  const [id, name, nodeId, bootId] = row as [string, string, string, string]
  return { id, name, nodeId, bootId }
}

/** What names a lent batch, beside the stream's group and the run that has it. */
export type BatchName = readonly [shard: number, epoch: number, batch: number]

export function unpackTake(body: Uint8Array): {
  group: string
  run: string
  eventsMax: number
  waitMs: number
} {
  const [group, run, eventsMax, waitMs] = rowOf(body, 4)
  if (typeof group !== 'string' || !isRunId(run) || !isCount(eventsMax, 10_000) || !isCount(waitMs, 60_000))
    throw malformed('take')
  return { group, run, eventsMax, waitMs }
}

export function unpackSettle(body: Uint8Array): {
  group: string
  run: string
  batch: BatchName
  isDone: boolean
  detail: string
} {
  const [group, run, batch, isDone, detail] = rowOf(body, 5)
  if (typeof group !== 'string' || !isRunId(run) || !isBatchName(batch) || typeof detail !== 'string')
    throw malformed('settle')
  return { group, run, batch, isDone: isDone === true, detail }
}

export function unpackRenew(body: Uint8Array): { group: string; run: string; batches: readonly BatchName[] } {
  const [group, run, batches] = rowOf(body, 3)
  if (typeof group !== 'string' || !isRunId(run) || !Array.isArray(batches) || batches.length > 1_000)
    throw malformed('renew')
  if (!batches.every(isBatchName)) throw malformed('renew')
  return { group, run, batches }
}

/** As a row of a batch: see {@link unpackBatch}. */
export type EventRow = readonly [
  id: string,
  key: string,
  type: string,
  payload: string,
  offset: number,
  hlc: string,
  atMs: number,
  /** Under which it was stored. */
  epoch: number,
]

export interface LentBatch {
  readonly name: BatchName
  readonly leaseMs: number
  /** How long the owner kept the question. */
  readonly keptMs: number
  readonly failures: number
  readonly events: readonly EventRow[]
}

export function packBatch(b: LentBatch): Uint8Array {
  return pack([b.name, b.leaseMs, b.keptMs, b.failures, b.events])
}

/** Null: there was nothing. */
export function unpackBatch(body: Uint8Array): LentBatch | null {
  const row = unpack(body)
  if (row === null) return null
  if (!Array.isArray(row)) throw malformed('batch')
  const [name, leaseMs, keptMs, failures, events] = row as unknown[]
  if (!isBatchName(name) || typeof leaseMs !== 'number' || typeof keptMs !== 'number' || !isCount(failures))
    throw malformed('batch')
  if (!Array.isArray(events) || !events.every(isEventRow)) throw malformed('batch')
  return { name, leaseMs, keptMs, failures, events }
}

function isEventRow(row: unknown): row is EventRow {
  return (
    Array.isArray(row) &&
    row.length === 8 &&
    [0, 1, 2, 3, 5].every((i) => typeof row[i] === 'string') &&
    [4, 6, 7].every((i) => isCount(row[i]))
  )
}

export function isRunId(value: unknown): value is string {
  return typeof value === 'string' && idPattern.test(value)
}

function isBatchName(value: unknown): value is BatchName {
  return Array.isArray(value) && value.length === 3 && value.every((n) => isCount(n))
}

function rowOf(body: Uint8Array, length: number): unknown[] {
  const row = unpack(body)
  if (!Array.isArray(row) || row.length !== length) throw malformed('processor')
  return row
}

function isCount(value: unknown, most = Number.MAX_SAFE_INTEGER): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most
}

function malformed(what: string): SkeinError {
  return new SkeinError('protocol_violation', `a malformed ${what} frame of processors`)
}
