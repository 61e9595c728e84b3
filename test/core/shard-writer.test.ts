import { describe, expect, it } from 'vitest'
import { asEpoch, asLeaseId, type Epoch } from '../../src/core/kernel/brand.js'
import type { CommitGroup, CommitOutcome, EventOutcome, NewEvent } from '../../src/core/routing/events.js'
import { ShardWriter, type WriterOptions, writerDefaults } from '../../src/core/routing/shard-writer.js'

const lease = asLeaseId('l1')
const dedupe = { windowMs: 1_000, idsMin: 10, idsMax: 100 }
const event = (id: string, over: Partial<NewEvent> = {}): NewEvent => ({
  stream: 's',
  key: 'k',
  id,
  type: 't',
  payload: '1',
  ...over,
})

/** A writer whose journal answers when the test says so; shards 0 and 1 are open under epoch 3. */
class Bench {
  readonly epochs: Epoch[] = [asEpoch(3), asEpoch(3)]
  readonly commits: { groups: readonly CommitGroup[]; done: (outcome: CommitOutcome) => void }[] = []
  readonly reopened: string[] = []
  readonly writer: ShardWriter
  private stamps = 0

  constructor(over: Partial<WriterOptions> = {}) {
    this.writer = new ShardWriter(
      {
        wallMs: () => 1_000,
        nowMs: () => 1_000,
        allowedEpoch: (shard) => this.epochs[shard] ?? asEpoch(0),
        stamp: () => `hlc-${++this.stamps}`,
        digest: (text) => text,
        commit: (_lease, groups, done) => this.commits.push({ groups, done }),
        reopen: (shard, epoch) => this.reopened.push(`${shard}@${epoch}`),
      },
      { ...writerDefaults, dedupe, ...over },
    )
    for (const shard of [0, 1]) this.writer.open(shard, asEpoch(3), lease, 10, [])
  }

  /** Outcomes as they come. */
  accept(shard: number, ...events: NewEvent[]): (EventOutcome | undefined)[] {
    const outcomes = new Array<EventOutcome | undefined>(events.length).fill(undefined)
    this.writer.accept(shard, events, (i, outcome) => {
      expect(outcomes[i], 'settled twice').toBeUndefined()
      outcomes[i] = outcome
    })
    return outcomes
  }

  /** Answers the oldest commit under way. */
  finish(outcome: CommitOutcome = { kind: 'durable' }): void {
    this.commits.shift()?.done(outcome)
  }

  /** Shard, first offset and ids of each group of the commit under way. */
  get underWay(): string[] {
    return (this.commits[0]?.groups ?? []).map(
      (g) => `${g.shard}: ${g.firstOffset} ${g.events.map((e) => e.id).join(' ')}`,
    )
  }
}

describe('shard writer', () => {
  it('acknowledges after the commit, with consecutive offsets from the end of the log', () => {
    const bench = new Bench()
    const outcomes = bench.accept(0, event('a'), event('b'))
    expect(outcomes).toEqual([undefined, undefined])
    bench.finish()
    expect(outcomes).toEqual([
      { status: 'accepted', shard: 0, offset: 11 },
      { status: 'accepted', shard: 0, offset: 12 },
    ])
    expect(bench.writer.confirmed(0)).toEqual({ epoch: 3, lease, offset: 12 })
  })

  it('has one commit under way, and puts all that came meanwhile into the next one', () => {
    const bench = new Bench()
    bench.accept(0, event('a'))
    bench.accept(0, event('b'), event('c'))
    bench.accept(1, event('d'))
    bench.accept(0, event('e'))
    expect(bench.commits).toHaveLength(1)
    expect(bench.underWay).toEqual(['0: 11 a'])
    bench.finish()
    expect(bench.underWay).toEqual(['0: 12 b c e', '1: 11 d'])
  })

  it('never divides a request over two commits', () => {
    const bench = new Bench({ commitEventsMax: 3 })
    bench.accept(0, event('first'))
    bench.accept(0, event('a'), event('b'))
    bench.accept(0, event('c'), event('d'))
    bench.finish()
    expect(bench.underWay).toEqual(['0: 12 a b'])
    bench.finish()
    expect(bench.underWay).toEqual(['0: 14 c d'])
    bench.finish()
    // One request alone may be larger than a commit.
    bench.accept(1, ...['p', 'q', 'r', 's'].map((id) => event(id)))
    expect(bench.underWay).toEqual(['1: 11 p q r s'])
  })

  it('answers a stored event again with its first offset', () => {
    const bench = new Bench()
    bench.accept(0, event('a'))
    bench.finish()
    expect(bench.accept(0, event('a'))).toEqual([{ status: 'duplicate', shard: 0, offset: 11 }])
    expect(bench.commits).toHaveLength(0)
  })

  it('stores an event once that comes twice before its commit, in one request or two', () => {
    const bench = new Bench()
    const first = bench.accept(0, event('a'), event('a'))
    const second = bench.accept(0, event('a'))
    bench.finish()
    expect(first).toEqual([
      { status: 'accepted', shard: 0, offset: 11 },
      { status: 'duplicate', shard: 0, offset: 11 },
    ])
    expect(second).toEqual([{ status: 'duplicate', shard: 0, offset: 11 }])
    expect(bench.commits).toHaveLength(0)
  })

  it('remembers what its predecessor stored', () => {
    const bench = new Bench()
    bench.writer.open(0, asEpoch(3), lease, 20, [{ event: event('a'), offset: 17, atMs: 900 }])
    expect(bench.accept(0, event('a'))).toEqual([{ status: 'duplicate', shard: 0, offset: 17 }])
  })

  it('rejects the same id with another payload or type as a conflict, stored or under way', () => {
    const bench = new Bench()
    bench.accept(0, event('a'))
    const conflict = { status: 'rejected', code: 'event_conflict', retryable: false }
    expect(bench.accept(0, event('a', { payload: '2' }))[0]).toMatchObject(conflict)
    bench.finish()
    expect(bench.accept(0, event('a', { payload: '2' }))[0]).toMatchObject(conflict)
    expect(bench.accept(0, event('a', { type: 'u' }))[0]).toMatchObject(conflict)
  })

  it('takes the same id under another key or stream for another event', () => {
    const bench = new Bench()
    bench.accept(0, event('a'), event('a', { key: 'other' }), event('a', { stream: 'other' }))
    expect(bench.commits[0]?.groups[0]?.events).toHaveLength(3)
    // Where one field ends and the next begins is part of the identity.
    const split = bench.accept(1, event('bc', { key: 'a' }), event('c', { key: 'ab' }))
    bench.finish()
    bench.finish()
    expect(split.map((o) => o?.status)).toEqual(['accepted', 'accepted'])
  })

  it('acknowledges nothing when the epoch was cleared while the commit was under way', () => {
    const bench = new Bench()
    const [lost, kept] = [bench.accept(0, event('a')), bench.accept(1, event('b'))]
    bench.finish()
    expect(lost[0]?.status).toBe('accepted')
    const after = bench.accept(0, event('c'))
    bench.epochs[0] = asEpoch(0)
    bench.finish()
    expect(kept[0]?.status).toBe('accepted')
    bench.finish()
    expect(after[0]).toMatchObject({ status: 'retry', unknown: true })
    expect(bench.writer.confirmed(0)).toBeUndefined()
  })

  it('acknowledges nothing when the shard has come back under a later epoch meanwhile', () => {
    const bench = new Bench()
    const outcomes = bench.accept(0, event('a'))
    bench.epochs[0] = asEpoch(5)
    bench.writer.open(0, asEpoch(5), lease, 10, [])
    bench.finish()
    expect(outcomes[0]).toMatchObject({ status: 'retry', unknown: true })
    expect(bench.writer.confirmed(0)).toMatchObject({ epoch: 5, offset: 10 })
  })

  it('sends events elsewhere that come while it does not own the shard: nothing was stored', () => {
    const bench = new Bench()
    bench.epochs[0] = asEpoch(0)
    expect(bench.accept(0, event('a'))[0]).toMatchObject({ status: 'retry', unknown: false })
    expect(bench.accept(9, event('a'))[0]).toMatchObject({ status: 'retry', unknown: false })
    expect(bench.commits).toHaveLength(0)
  })

  it('leaves no gap after a refused commit, and takes the same event again', () => {
    const bench = new Bench()
    const refused = bench.accept(0, event('a'), event('b'))
    bench.finish({ kind: 'refused', code: 'disk_full', detail: 'no space' })
    expect(refused[0]).toEqual({
      status: 'rejected',
      shard: 0,
      code: 'disk_full',
      detail: 'no space',
      retryable: true,
    })
    const again = bench.accept(0, event('b'))
    bench.finish()
    expect(again).toEqual([{ status: 'accepted', shard: 0, offset: 11 }])
  })

  it('reopens its shards after a commit with unknown outcome, and takes nothing until then', () => {
    const bench = new Bench()
    const outcomes = bench.accept(0, event('a'))
    const queued = bench.accept(0, event('b'))
    bench.finish({ kind: 'unknown', detail: 'EIO' })
    expect(bench.reopened).toEqual(['0@3'])
    expect(outcomes[0]).toEqual({ status: 'retry', shard: 0, unknown: true, detail: 'EIO' })
    expect(queued[0]?.status).toBe('retry')
    expect(bench.accept(0, event('c'))[0]).toMatchObject({ status: 'retry', unknown: false })
    bench.writer.open(0, asEpoch(3), lease, 11, [{ event: event('a'), offset: 11, atMs: 1_000 }])
    expect(bench.accept(0, event('a'))).toEqual([{ status: 'duplicate', shard: 0, offset: 11 }])
  })

  it('rejects as overloaded what exceeds the queue in events or bytes, and recovers', () => {
    const byCount = new Bench({ queueEventsMax: 2 })
    byCount.accept(0, event('under way'))
    byCount.accept(0, event('a'))
    byCount.accept(0, event('b'))
    expect(byCount.accept(0, event('c'))[0]).toMatchObject({
      status: 'rejected',
      code: 'overloaded',
      retryable: true,
    })
    expect(byCount.writer.unconfirmedEvents).toBe(3)
    byCount.finish()
    expect(byCount.accept(0, event('c'))).toEqual([undefined])
    const byBytes = new Bench({ queueBytesMax: 1_000 })
    byBytes.accept(0, event('under way'))
    byBytes.accept(0, event('a', { payload: `"${'x'.repeat(1_000)}"` }))
    expect(byBytes.accept(0, event('b'))[0]).toMatchObject({ status: 'rejected', code: 'overloaded' })
  })

  it('closes when everything under way is answered, and takes no more meanwhile', () => {
    const bench = new Bench()
    const outcomes = bench.accept(0, event('a'))
    let closed = 0
    bench.writer.close(0, asEpoch(3), () => closed++)
    expect(bench.accept(0, event('b'))[0]?.status).toBe('retry')
    expect(closed).toBe(0)
    bench.finish()
    expect(outcomes[0]?.status).toBe('accepted')
    expect(closed).toBe(1)
    bench.writer.close(1, asEpoch(2), () => closed++)
    expect(closed, 'another epoch is not open here').toBe(2)
    expect(bench.writer.confirmed(1)).toBeDefined()
  })

  it('answers everything when the lease is gone, and acknowledges nothing of it later', () => {
    const bench = new Bench()
    const outcomes = [bench.accept(0, event('a')), bench.accept(1, event('b'))]
    let closed = 0
    bench.writer.close(0, asEpoch(3), () => closed++)
    bench.writer.abandonAll('lease lost')
    expect(outcomes.flat().map((o) => o?.status)).toEqual(['retry', 'retry'])
    expect(closed).toBe(1)
    bench.finish()
    bench.finish()
    expect(bench.writer.unconfirmedEvents).toBe(0)
  })
})
