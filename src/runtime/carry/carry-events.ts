/** Events, positions of consumers and checkpoints of agents from one journal to another, and the proof that they are there. One page of each side is in memory at a time. */
import { createHash } from 'node:crypto'
import type { Epoch, LeaseId, ShardId } from '../../core/kernel/brand.js'
import { isSkeinError, SkeinError } from '../../core/kernel/error.js'
import type {
  AppendGroup,
  Checkpoint,
  CheckpointPage,
  Journal,
  JournalEvent,
  PositionPage,
  Segment,
  StoredEvent,
} from '../../ports/journal.js'
import { pause } from '../pause.js'
import type { CarriedShard, CarryStep } from './carry-plan.js'

const pageEvents = 1_000
const pagePositions = 2_000
/** A page ends at about 8 MiB of states as well. */
const pageCheckpoints = 500
/** Appended at a time. */
const batchEventsMax = 2_000
const batchCharsMax = 4 * 1024 * 1024
const triesMax = 6
const pauseMs = 500
/** What may be tried again once it is known what the target holds. */
const passing = new Set(['outcome_unknown', 'unavailable', 'overloaded', 'timeout'])

export interface Copying {
  readonly source: Journal
  readonly target: Journal
  readonly signal: AbortSignal
  /** Events written now; those found there from an earlier try are not told. */
  copied(events: number): void
}

/** Does what `act` does until it succeeds; it must find out by itself how far it came. Gives up after several failures without `progress` between. */
export async function persistently<T>(
  signal: AbortSignal,
  progress: () => number,
  act: () => Promise<T>,
): Promise<T> {
  let failures = 0
  let before = progress()
  for (;;) {
    signal.throwIfAborted()
    try {
      return await act()
    } catch (error) {
      if (!isSkeinError(error) || !passing.has(error.code)) throw error
      if (progress() > before) failures = 0
      before = progress()
      if (++failures === triesMax) throw error
      await pause(pauseMs * failures, signal)
    }
  }
}

/** Copies what the target does not have yet of one step. */
export async function copyStep(copying: Copying, step: CarryStep): Promise<void> {
  let written = 0
  await persistently(
    copying.signal,
    () => written,
    async () => {
      const { target } = copying
      await target.openLease(step.lease, { copies: true })
      const extents = await target.seal(
        step.lease,
        step.parts.map(({ shard, segment }) => ({ shard, epoch: segment.epoch })),
      )
      const there = new Map(extents.map(({ shard, epoch, last }) => [`${shard}/${epoch}`, last]))
      const batch = new Batch(target, step.lease, (events) => {
        written += events
        copying.copied(events)
      })
      for (const { shard, segment } of step.parts) {
        const after = there.get(`${shard}/${segment.epoch}`) ?? segment.first - 1
        for await (const page of pages(copying, shard, [segment], after))
          await batch.add(shard, segment.epoch, page)
      }
      await batch.flush()
    },
  )
}

/** Gathers pages of several shards into one append. Of one shard only one epoch at a time, for a journal registers an epoch before it writes. */
class Batch {
  private readonly target: Journal
  private readonly lease: LeaseId
  private readonly written: (events: number) => void
  private groups: AppendGroup[] = []
  private readonly epochs = new Map<ShardId, Epoch>()
  private events = 0
  private chars = 0

  constructor(target: Journal, lease: LeaseId, written: (events: number) => void) {
    this.target = target
    this.lease = lease
    this.written = written
  }

  async add(shard: ShardId, epoch: Epoch, page: readonly StoredEvent[]): Promise<void> {
    if (page.length === 0) return
    if ((this.epochs.get(shard) ?? epoch) !== epoch) await this.flush()
    this.epochs.set(shard, epoch)
    for (const run of runs(page)) {
      this.groups.push({ shard, epoch, firstOffset: (run[0] as StoredEvent).offset, events: run.map(bare) })
      this.events += run.length
      for (const { payload, key, id } of run) this.chars += payload.length + key.length + id.length
    }
    if (this.events >= batchEventsMax || this.chars >= batchCharsMax) await this.flush()
  }

  async flush(): Promise<void> {
    const { groups, events } = this
    this.groups = []
    this.events = 0
    this.chars = 0
    this.epochs.clear()
    if (groups.length === 0) return
    await this.target.append(this.lease, groups)
    this.written(events)
  }
}

/** Offsets without a gap between. */
function* runs(page: readonly StoredEvent[]): Generator<readonly StoredEvent[]> {
  let from = 0
  for (let i = 1; i <= page.length; i++) {
    if (i < page.length && page[i]?.offset === (page[i - 1] as StoredEvent).offset + 1) continue
    yield page.slice(from, i)
    from = i
  }
}

function bare({ stream, key, id, type, payload, hlc, atMs }: StoredEvent): JournalEvent {
  return { stream, key, id, type, payload, hlc, atMs }
}

async function* pages(
  { source, signal }: Pick<Copying, 'source' | 'signal'>,
  shard: ShardId,
  segments: readonly Segment[],
  from: number,
): AsyncGenerator<readonly StoredEvent[]> {
  let after = from
  for (let end = segments.length === 0; !end; ) {
    signal.throwIfAborted()
    const page = await source.read({ shard, segments, after, limit: pageEvents })
    yield page.events
    after = page.scannedTo
    end = page.end
  }
}

/** Returns how many. Writing them again changes nothing. */
export async function copyPositions({ source, target, signal }: Copying, lease: LeaseId): Promise<number> {
  let count = 0
  for await (const page of positionPages(source, signal)) {
    if (page.length === 0) continue
    await persistently(
      signal,
      () => count,
      async () => {
        await target.openLease(lease, { copies: true })
        await target.commitPositions(lease, page)
      },
    )
    count += page.length
  }
  return count
}

async function* positionPages(
  journal: Journal,
  signal: AbortSignal,
): AsyncGenerator<PositionPage['positions']> {
  let after: string | undefined = ''
  while (after !== undefined) {
    signal.throwIfAborted()
    const page: PositionPage = await journal.listPositions(after, pagePositions)
    yield page.positions
    after = page.next
  }
}

/** Returns how many. Writing them again changes nothing. */
export async function copyCheckpoints({ source, target, signal }: Copying, lease: LeaseId): Promise<number> {
  let count = 0
  for await (const page of checkpointPages(source, signal)) {
    if (page.length === 0) continue
    await persistently(
      signal,
      () => count,
      async () => {
        await target.openLease(lease, { copies: true })
        await target.saveCheckpoints(lease, page)
      },
    )
    count += page.length
  }
  return count
}

async function* checkpointPages(
  journal: Journal,
  signal: AbortSignal,
): AsyncGenerator<readonly Checkpoint[]> {
  let after: string | undefined = ''
  while (after !== undefined) {
    signal.throwIfAborted()
    const page: CheckpointPage = await journal.listCheckpoints(after, pageCheckpoints)
    yield page.checkpoints
    after = page.next
  }
}

export interface ShardProof {
  readonly shard: ShardId
  readonly events: number
  readonly first: number
  readonly last: number
  readonly epoch: Epoch
  /** SHA-256 over all events, as they are in both journals. */
  readonly sha256: string
}

/** Reads both logs of a shard side by side. Errors: `corrupt` with the first difference. */
export async function proveShard(
  journals: Pick<Copying, 'source' | 'target' | 'signal'>,
  there: CarriedShard,
  here: CarriedShard,
  read: (events: number) => void,
): Promise<ShardProof> {
  const { source, target, signal } = journals
  const { shard } = there
  const ours = new Events(pages({ source: target, signal }, shard, here.segments, 0))
  const hash = createHash('sha256')
  let events = 0
  let first = 0
  let last = 0
  for await (const page of pages({ source, signal }, shard, there.segments, 0)) {
    let text = ''
    for (const event of page) {
      const next = ours.next()
      const other = next instanceof Promise ? await next : next
      if (other === undefined || !isSame(event, other)) throw differs(shard, event, other)
      text += canonical(event)
    }
    hash.update(text)
    events += page.length
    if (first === 0) first = page[0]?.offset ?? 0
    last = page.at(-1)?.offset ?? last
    read(page.length)
  }
  const surplus = await ours.next()
  if (surplus !== undefined) throw differs(shard, undefined, surplus)
  return { shard, events, first, last, epoch: there.floor, sha256: hash.digest('hex') }
}

/** One after another out of pages, with a wait per page and not per event. */
class Events {
  private readonly pages: AsyncGenerator<readonly StoredEvent[]>
  private page: readonly StoredEvent[] = []
  private at = 0

  constructor(from: AsyncGenerator<readonly StoredEvent[]>) {
    this.pages = from
  }

  next(): StoredEvent | undefined | Promise<StoredEvent | undefined> {
    return this.at < this.page.length ? this.page[this.at++] : this.turn()
  }

  private async turn(): Promise<StoredEvent | undefined> {
    for (;;) {
      const { value, done } = await this.pages.next()
      if (done === true) return undefined
      this.page = value
      this.at = 0
      if (value.length > 0) return this.page[this.at++]
    }
  }
}

const fields = ['offset', 'epoch', 'id', 'stream', 'key', 'type', 'payload', 'hlc', 'atMs'] as const

function isSame(a: StoredEvent, b: StoredEvent): boolean {
  return fields.every((field) => a[field] === b[field])
}

function canonical(event: StoredEvent): string {
  const { epoch, offset, stream, key, id, type, payload, hlc, atMs } = event
  return `${JSON.stringify([epoch, offset, stream, key, id, type, payload, hlc, atMs])}\n`
}

function differs(shard: ShardId, there: StoredEvent | undefined, here: StoredEvent | undefined): SkeinError {
  const name = (event: StoredEvent | undefined): string =>
    event === undefined
      ? 'nothing'
      : `epoch ${event.epoch}, offset ${event.offset}, id ${JSON.stringify(event.id)}`
  return new SkeinError(
    'corrupt',
    `shard ${shard} differs: the source has ${name(there)}, the target ${name(here)}; the target is not to be used: empty it and carry again`,
    { details: { shard } },
  )
}

/** Errors: `corrupt`. Returns how many there are. */
export async function provePositions(source: Journal, target: Journal, signal: AbortSignal): Promise<number> {
  let count = 0
  for await (const page of positionPages(source, signal)) {
    const groups = new Map<string, (typeof page)[number][]>()
    for (const position of page) groups.set(position.group, [...(groups.get(position.group) ?? []), position])
    for (const [group, positions] of groups) {
      const found = await target.readPositions(
        group,
        positions.map(({ shard }) => shard),
      )
      for (const { shard, offset } of positions) {
        if (found.get(shard) === offset) continue
        throw new SkeinError(
          'corrupt',
          `the position of ${JSON.stringify(group)} in shard ${shard} is ${offset} in the source and ${found.get(shard)} in the target`,
          { details: { group, shard } },
        )
      }
    }
    count += page.length
  }
  return count
}

/** Errors: `corrupt`. Returns how many there are. */
export async function proveCheckpoints(
  source: Journal,
  target: Journal,
  signal: AbortSignal,
): Promise<number> {
  let count = 0
  for await (const page of checkpointPages(source, signal)) {
    for (const { agent, epoch, seq, state } of page) {
      const found = await target.readCheckpoint(agent)
      if (found?.epoch === epoch && found.seq === seq && Buffer.compare(found.state, state) === 0) continue
      throw new SkeinError(
        'corrupt',
        `the checkpoint of agent ${JSON.stringify(agent)} is of epoch ${epoch}, save ${seq}, and the target has ${found === undefined ? 'none' : `one of epoch ${found.epoch}, save ${found.seq}`}`,
        { details: { agent } },
      )
    }
    count += page.length
  }
  return count
}
