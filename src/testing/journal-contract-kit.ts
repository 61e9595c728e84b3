/**
 * Samples and assertions that the parts of the journal's contract share. The suite itself is in `journal-contract.ts`.
 */
import assert from 'node:assert/strict'
import { asEpoch, asLeaseId, type LeaseId } from '../core/kernel/brand.js'
import { type ErrorCode, isSkeinError } from '../core/kernel/error.js'
import type {
  AppendGroup,
  Journal,
  JournalEvent,
  ReadRequest,
  Segment,
  StoredEvent,
} from '../ports/journal.js'

export interface JournalWorld {
  /**
   * True where the engine itself checks the fence: then a sealed tenure takes no append any more. Otherwise what is
   * written late stays beyond the seal and is never shown.
   */
  readonly sealFences?: boolean
  /** A handle of its own on the journal of this world, not opened yet. */
  handle(limits?: { readonly queueEventsMax: number }): Journal
  /** Closes what is open and removes everything. */
  end(): Promise<void>
}

export type Test = (
  title: string,
  body: (open: (lease?: LeaseId) => Promise<Journal>, world: JournalWorld) => Promise<void>,
) => void

export const l1 = asLeaseId('lease-1')
export const l2 = asLeaseId('lease-2')
export const e1 = asEpoch(1)
export const e2 = asEpoch(2)

/** An event with what matters to the test; the rest is filled in. */
export function sampleEvent(id: string, over: Partial<JournalEvent> = {}): JournalEvent {
  return {
    stream: 's',
    key: 'k',
    id,
    type: 't',
    payload: `{"id":"${id}"}`,
    hlc: `hlc-${id}`,
    atMs: 1000,
    ...over,
  }
}

export function sampleGroup(
  shard: number,
  epoch: number,
  first: number,
  events: readonly JournalEvent[],
): AppendGroup {
  return { shard, epoch: asEpoch(epoch), firstOffset: first, events }
}

export function numbered(from: number, to: number, over: Partial<JournalEvent> = {}): JournalEvent[] {
  return Array.from({ length: to - from + 1 }, (_, i) => sampleEvent(`e${from + i}`, over))
}

export function segment(epoch: number, lease: LeaseId, first: number, last: number): Segment {
  return { epoch: asEpoch(epoch), lease, first, last }
}

export const ids = (events: readonly { readonly id: string }[]) => events.map((event) => event.id)

/** Pages through to the end. Fails where a page makes no progress. */
export async function readAll(
  journal: Journal,
  request: Omit<ReadRequest, 'after' | 'limit'>,
  limit = 1000,
): Promise<StoredEvent[]> {
  const all: StoredEvent[] = []
  let after = 0
  for (;;) {
    const page = await journal.read({ ...request, after, limit })
    assert.ok(page.events.length <= limit)
    all.push(...page.events)
    if (page.end) return all
    assert.ok(page.scannedTo > after, `a page after ${after} got no further`)
    after = page.scannedTo
  }
}

/** An append after the seal: refused where the engine checks the fence, otherwise kept out of sight. */
export async function late(world: JournalWorld, append: Promise<unknown>): Promise<void> {
  await (world.sealFences === true ? refused(append, 'fenced') : append)
}

export async function refused(promise: Promise<unknown>, code: ErrorCode): Promise<void> {
  const error: unknown = await promise.then(
    () => assert.fail(`expected ${code}, but it succeeded`),
    (reason: unknown) => reason,
  )
  assert.ok(isSkeinError(error), `expected ${code}, got ${String(error)}`)
  assert.equal(error.code, code)
}
