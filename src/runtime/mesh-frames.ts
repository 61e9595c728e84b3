/** The frames of the data plane: types, and their bodies in MessagePack. Bodies are arrays, not maps: they cross the mesh for every event. */
import { Packr } from 'msgpackr'
import { SkeinError } from '../core/kernel/error.js'
import type { EventOutcome, NewEvent } from '../core/routing/events.js'
import type { StoredEvent } from '../ports/journal.js'

export const meshFrames = {
  publish: 1,
  read: 2,
  tailWanted: 3,
  tailEvents: 4,
  sight: 5,
  audit: 6,
  ownership: 7,
} as const

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
  return pack([hlc, events.map((e) => [e.stream, e.key, e.id, e.type, e.payload])])
}

export function unpackPublish(body: Uint8Array): { hlc: string; events: NewEvent[] } {
  const value = unpack(body)
  if (!Array.isArray(value) || typeof value[0] !== 'string' || !Array.isArray(value[1]))
    throw malformed('publish')
  const events = value[1].map((row): NewEvent => {
    if (!Array.isArray(row) || row.length !== 5 || row.some((text) => typeof text !== 'string'))
      throw malformed('publish')
    const [stream, key, id, type, payload] = row as [string, string, string, string, string]
    return { stream, key, id, type, payload }
  })
  return { hlc: value[0], events }
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

function malformed(what: string): SkeinError {
  return new SkeinError('protocol_violation', `a malformed ${what} frame`)
}
