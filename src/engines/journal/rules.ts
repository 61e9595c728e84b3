/**
 * The rules of the journal that hold for every driver: what may be appended after what, which segments make one
 * readable whole, how far back the dedupe window reaches.
 *
 * The idea: a driver keeps bytes; whether a call is right is decided here, once, so that all drivers refuse alike.
 * Must not live here: files, SQL, encodings.
 */
import type { Epoch, LeaseId, ShardId } from '../../core/kernel/brand.js'
import { SkeinError } from '../../core/kernel/error.js'
import type { AppendGroup, JournalEvent, ReadRequest, RetentionPolicy, Segment } from '../../ports/journal.js'

export const journalLimits = {
  /** Events of one read, at most. */
  readEventsMax: 1000,
  /** Payload of one read, about: a read stops early past it, with `end` false. */
  readBytesMax: 8 * 1024 * 1024,
  leaseCharsMax: 120,
  agentCharsMax: 256,
  /** Of one state. */
  checkpointBytesMax: 4 * 1024 * 1024,
  /** Of one call, as are the bytes of its states. */
  checkpointsMax: 4096,
  checkpointsBytesMax: 32 * 1024 * 1024,
  /** How long it is noted at least that an agent was forgotten: longer than a late save can be on its way. */
  forgottenMsMin: 24 * 60 * 60 * 1000,
} as const

/** Where a lease's log of one shard stands. */
export interface Tail {
  readonly epoch: Epoch
  readonly last: number
}

/** Consecutive offsets of one shard under one epoch, both ends included. */
export interface Extent {
  readonly shard: ShardId
  readonly epoch: Epoch
  readonly first: number
  readonly last: number
}

/** Can each group be kept as it is? Says nothing about what it follows. Errors: `invalid_argument`. */
export function requireGroups(groups: readonly AppendGroup[]): void {
  for (const { shard, epoch, firstOffset, events } of groups) {
    requireCount('shard', shard, 0)
    requireCount('epoch', epoch, 1)
    requireCount('firstOffset', firstOffset, 1)
    if (events.length === 0) throw invalid('a group without events', { shard, epoch })
    for (const event of events) requireStorable(event)
  }
}

/**
 * Checks what one append adds against the tails of the file and returns the tails as they are afterwards, only of the
 * shards concerned. Within an epoch offsets go on without a gap; a new epoch may begin anywhere, also below the old
 * one's end: what a lease wrote past its seal does not count. In a copy an epoch's offsets may leave gaps. Errors:
 * `invalid_argument`, `fenced` (an epoch older than one already written).
 */
export function advance(
  tailOf: (shard: ShardId) => Tail | undefined,
  extents: Iterable<Extent>,
  isCopy = false,
): Map<ShardId, Tail> {
  const after = new Map<ShardId, Tail>()
  for (const { shard, epoch, first, last } of extents) {
    const tail = after.get(shard) ?? tailOf(shard)
    if (tail !== undefined && epoch < tail.epoch) {
      throw new SkeinError('fenced', `shard ${shard} was already written under epoch ${tail.epoch}`, {
        details: { shard, epoch, writtenEpoch: tail.epoch },
      })
    }
    const isNext = tail === undefined || epoch > tail.epoch || first === tail.last + 1
    if (!isNext && !(isCopy && first > (tail?.last ?? 0))) {
      throw invalid(
        `shard ${shard} ends at ${tail?.last}; offset ${first} would ${isCopy ? 'repeat' : 'leave a gap or repeat'}`,
        {
          shard,
          epoch,
          firstOffset: first,
          last: tail?.last,
        },
      )
    }
    after.set(shard, { epoch, last })
  }
  return after
}

/** By how much each stream of a file is over its bytes; negative where it is not. */
export function excessOf(
  policy: RetentionPolicy,
  streamBytes: ReadonlyMap<string, number>,
): Map<string, number> {
  const excess = new Map<string, number>()
  for (const [stream, bytes] of streamBytes)
    excess.set(stream, bytes - (policy.streamBytesMaxOf?.get(stream) ?? policy.streamBytesMax))
  return excess
}

export function extentOf(group: AppendGroup): Extent {
  const { shard, epoch, firstOffset: first, events } = group
  return { shard, epoch, first, last: first + events.length - 1 }
}

/** Text is kept as UTF-8: half a surrogate pair would come back as something else. */
function requireStorable(event: JournalEvent): void {
  const { stream, key, id, type, payload, hlc, atMs } = event
  if (!Number.isFinite(atMs)) throw invalid('atMs is not a number', { id })
  for (const text of [stream, key, id, type, payload, hlc]) {
    if (!isWellFormed(text)) throw invalid('text with an unpaired surrogate cannot be stored', { id })
  }
}

export function isWellFormed(text: string): boolean {
  return (text as string & { isWellFormed(): boolean }).isWellFormed()
}

/** Ascending by epoch, each beginning where the one before ended. Errors: `invalid_argument`. */
export function requireSegments(segments: readonly Segment[]): void {
  let before: Segment | undefined
  for (const segment of segments) {
    requireCount('first', segment.first, 1)
    requireCount('last', segment.last, segment.first - 1)
    if (before !== undefined && segment.epoch <= before.epoch) {
      throw invalid(`segments are not ascending by epoch: ${before.epoch}, ${segment.epoch}`, {})
    }
    if (before !== undefined && segment.first !== before.last + 1) {
      throw invalid(
        `segment of epoch ${segment.epoch} begins at ${segment.first}, the one before ends at ${before.last}`,
        {},
      )
    }
    before = segment
  }
}

/** Errors: `invalid_argument`. */
export function requireReadRequest(request: ReadRequest): void {
  requireSegments(request.segments)
  requireCount('shard', request.shard, 0)
  requireCount('after', request.after, 0)
  requireCount('limit', request.limit, 1)
  if (request.limit > journalLimits.readEventsMax) {
    throw invalid(`limit ${request.limit} is above ${journalLimits.readEventsMax}`, {})
  }
}

/** Lease ids become file names and SQL parameters. Errors: `invalid_argument`. */
export function requireLease(lease: LeaseId): void {
  if (lease.length === 0 || lease.length > journalLimits.leaseCharsMax) {
    throw invalid(`a lease id has 1 to ${journalLimits.leaseCharsMax} characters`, { lease })
  }
  if (!isWellFormed(lease)) throw invalid('a lease id with an unpaired surrogate', {})
}

export interface DedupeSpan {
  readonly sinceMs: number
  readonly countMin: number
  readonly countMax: number
}

/** Going from the newest backwards: does the window still want this one, after `count` newer ones? */
export function wantsId(span: DedupeSpan, count: number, atMs: number): boolean {
  return count < span.countMax && (count < span.countMin || atMs >= span.sinceMs)
}

export const positionPageMax = 10_000

/** Errors: `invalid_argument`. */
export function requirePositionPage(limit: number): void {
  requireCount('limit', limit, 1)
  if (limit > positionPageMax) throw invalid(`limit ${limit} is above ${positionPageMax}`, { limit })
}

/** Which of two consumer positions counts: the higher epoch, then the higher offset. */
export function isNewerPosition(
  a: { readonly epoch: number; readonly offset: number },
  b: { readonly epoch: number; readonly offset: number },
): boolean {
  return a.epoch === b.epoch ? a.offset > b.offset : a.epoch > b.epoch
}

export function fenced(lease: LeaseId): SkeinError {
  return new SkeinError('fenced', `the journal is not open for writing under lease ${lease}`, {
    details: { lease },
  })
}

export function journalClosed(): SkeinError {
  return new SkeinError('closed', 'the journal is closed')
}

export function requireCount(name: string, value: number, min: number): void {
  if (!Number.isSafeInteger(value) || value < min) {
    throw invalid(`${name} must be a whole number of at least ${min}, not ${value}`, { [name]: value })
  }
}

export function invalid(message: string, details: Readonly<Record<string, unknown>>): SkeinError {
  return new SkeinError('invalid_argument', message, { details })
}
