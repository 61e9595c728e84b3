/** The frames of the data plane: types, and their bodies in MessagePack. Bodies are arrays, not maps: they cross the mesh for every event. */
import { Packr } from 'msgpackr'
import type { AgentRunReport } from '../core/agents/audit.js'
import { asEpoch, asLeaseId, type NodeId } from '../core/kernel/brand.js'
import { SkeinError } from '../core/kernel/error.js'
import type { AgentFence, EventOutcome, NewEvent } from '../core/routing/events.js'
import type { TenureReport } from '../core/sharding/ownership-audit.js'
import type { StoredEvent } from '../ports/journal.js'
import { troubleOfForwarded } from './event-checks.js'

export const meshFrames = {
  publish: 1,
  read: 2,
  tailWanted: 3,
  tailEvents: 4,
  sight: 5,
  audit: 6,
  ownership: 7,
} as const

/** Of one answer. */
const readLimitMax = 1_000
export const reportsPerFrameMax = 1_000
const agentCharsMax = 256
const leaseCharsMax = 128

/** An event in a frame of a tail. */
export type TailRow = [
  id: string,
  stream: string,
  key: string,
  type: string,
  payload: string,
  shard: number,
  epoch: number,
  offset: number,
  hlc: string,
  atMs: number,
]
const tailColumns = [
  ...(['text', 'text', 'text', 'text', 'text'] as const),
  ...(['count', 'count', 'count', 'text', 'count'] as const),
]

const packr = new Packr({ useRecords: false })

export function pack(value: unknown): Uint8Array {
  return packr.pack(value)
}

/** Throws `protocol_violation`: the sender is one of ours, so this is a bug or another version. */
export function unpack(body: Uint8Array): unknown {
  try {
    return packr.unpack(body)
  } catch (cause) {
    throw new SkeinError('protocol_violation', 'a frame that cannot be decoded', { cause })
  }
}

export function packPublish(hlc: string, events: readonly NewEvent[]): Uint8Array {
  return pack([
    hlc,
    events.map(({ stream, key, id, type, payload, fence }) =>
      fence === undefined
        ? [stream, key, id, type, payload]
        : [stream, key, id, type, payload, fence.agent, fence.epoch],
    ),
  ])
}

export function unpackPublish(body: Uint8Array): { hlc: string; events: NewEvent[] } {
  const value = unpack(body)
  if (!Array.isArray(value) || typeof value[0] !== 'string' || !Array.isArray(value[1]))
    throw malformed('publish')
  const events = value[1].map((row): NewEvent => {
    if (!Array.isArray(row) || (row.length !== 5 && row.length !== 7)) throw malformed('publish')
    if (row.slice(0, 5).some((text) => typeof text !== 'string')) throw malformed('publish')
    const [stream, key, id, type, payload] = row as [string, string, string, string, string]
    const fence = row.length === 7 ? { fence: fenceOf(row[5], row[6]) } : {}
    const event = { stream, key, id, type, payload, ...fence }
    const trouble = troubleOfForwarded(event)
    if (trouble !== undefined) throw malformed('publish', trouble)
    return event
  })
  return { hlc: value[0], events }
}

/** Throws `protocol_violation`. */
export function fenceOf(agent: unknown, epoch: unknown): AgentFence {
  if (typeof agent !== 'string' || agent.length > agentCharsMax || !isCount(epoch)) throw malformed('fence')
  return { agent, epoch }
}

const statuses = ['accepted', 'duplicate', 'rejected', 'retry'] as const

export function packOutcomes(hlc: string, outcomes: readonly EventOutcome[]): Uint8Array {
  return pack([
    hlc,
    outcomes.map((o) => {
      const status = statuses.indexOf(o.status)
      if (o.status === 'rejected') return [status, o.shard, o.code, o.detail, o.retryable]
      if (o.status === 'retry') return [status, o.shard, o.unknown, o.detail]
      return [status, o.shard, o.offset]
    }),
  ])
}

export function unpackOutcomes(body: Uint8Array): { hlc: string; outcomes: EventOutcome[] } {
  const value = unpack(body) as [string, [number, number, never, never, never][]]
  if (!Array.isArray(value) || !Array.isArray(value[1])) throw malformed('outcomes')
  return {
    hlc: value[0],
    outcomes: value[1].map(([code, shard, a, b, c]): EventOutcome => {
      const status = statuses[code]
      if (status === undefined) throw malformed('outcomes')
      if (status === 'rejected') return { status, shard, code: a, detail: b, retryable: c }
      if (status === 'retry') return { status, shard, unknown: a, detail: b }
      return { status, shard, offset: a }
    }),
  }
}

/** One shard's part of a read: from `after` on, at most `limit`. */
export interface ReadAsk {
  readonly shards: readonly (readonly [shard: number, after: number])[]
  readonly limit: number
  readonly stream: string
  readonly key: string | null
}

/** `null`: this node does not own that shard now. */
export interface ReadAnswer {
  readonly parts: readonly (
    | readonly [shard: number, events: readonly StoredEvent[], scannedTo: number, end: boolean]
    | null
  )[]
}

/** Throws `protocol_violation`. `shards`: how many there are. */
export function unpackReadAsk(body: Uint8Array, shards: number): ReadAsk {
  const { shards: wanted, limit, stream, key } = fieldsOf(unpack(body))
  if (!Array.isArray(wanted) || wanted.length > shards) throw malformed('read', 'its shards')
  const isWanted = (part: unknown): boolean =>
    Array.isArray(part) && part.length === 2 && isCount(part[0], shards - 1) && isCount(part[1])
  if (!wanted.every(isWanted)) throw malformed('read', 'its shards')
  if (!isCount(limit, readLimitMax)) throw malformed('read', 'its limit')
  if (typeof stream !== 'string') throw malformed('read', 'its stream')
  if (key !== null && typeof key !== 'string') throw malformed('read', 'its key')
  return { shards: wanted as ReadAsk['shards'], limit, stream, key }
}

/** What a node says of its own tenures; of others it has nothing to say. Throws `protocol_violation`. */
export function unpackReports(
  body: Uint8Array,
  from: NodeId,
  shards: number,
): (TenureReport | AgentRunReport)[] {
  const rows = unpack(body)
  if (!Array.isArray(rows) || rows.length > reportsPerFrameMax) throw malformed('ownership')
  return rows.map((row) => {
    const fields = fieldsOf(row)
    const { epoch, nodeId, lease } = fields
    if (!isCount(epoch) || nodeId !== from) throw malformed('ownership')
    if (typeof lease !== 'string' || lease.length > leaseCharsMax) throw malformed('ownership')
    const who = { epoch: asEpoch(epoch), nodeId: from, lease: asLeaseId(lease) }
    return 'agent' in fields ? { ...who, ...agentRunOf(fields) } : { ...who, ...tenureOf(fields, shards) }
  })
}

function agentRunOf({
  agent,
  startedAtMs,
  actedAtMs,
}: Record<string, unknown>): Pick<AgentRunReport, 'agent' | 'startedAtMs' | 'actedAtMs'> {
  if (typeof agent !== 'string' || agent.length > agentCharsMax) throw malformed('ownership')
  if (!isCount(startedAtMs) || !isCount(actedAtMs)) throw malformed('ownership')
  return { agent, startedAtMs, actedAtMs }
}

function tenureOf(
  { shard, openedAtMs, closedAtMs, acknowledged }: Record<string, unknown>,
  shards: number,
): Omit<TenureReport, 'epoch' | 'nodeId' | 'lease'> {
  if (!isCount(shard, shards - 1)) throw malformed('ownership')
  if (!isCount(openedAtMs) || !isCount(closedAtMs) || !isCount(acknowledged)) throw malformed('ownership')
  return { shard, openedAtMs, closedAtMs, acknowledged }
}

/** Throws `protocol_violation`. */
export function unpackTail(body: Uint8Array): {
  readonly missed: number
  readonly rows: readonly TailRow[]
} {
  const value = unpack(body)
  if (!Array.isArray(value) || !isCount(value[0]) || !Array.isArray(value[1])) throw malformed('tail')
  const rows = value[1] as unknown[]
  const isRow = (row: unknown): boolean =>
    Array.isArray(row) &&
    row.length === tailColumns.length &&
    tailColumns.every((type, i) => (type === 'text' ? typeof row[i] === 'string' : isCount(row[i])))
  if (!rows.every(isRow)) throw malformed('tail')
  return { missed: value[0], rows: rows as TailRow[] }
}

function fieldsOf(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {}
}

function isCount(value: unknown, most = Number.MAX_SAFE_INTEGER): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0 && (value as number) <= most
}

function malformed(what: string, where?: string): SkeinError {
  const detail = where === undefined ? '' : `: ${where}`
  return new SkeinError('protocol_violation', `a malformed ${what} frame${detail}`)
}
