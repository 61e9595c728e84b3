import { describe, expect, it } from 'vitest'
import type { EventOutcome, NewEvent, Route } from '../../src/core/routing/events.js'
import { type ForwardResult, Publisher, publisherDefaults } from '../../src/core/routing/publisher.js'

const event = (id: string, key = '0'): NewEvent => ({ stream: 's', key, id, type: 't', payload: '1' })
const accepted = (shard: number, offset: number): EventOutcome => ({ status: 'accepted', shard, offset })
const retry = (shard: number, unknown = false): EventOutcome => ({
  status: 'retry',
  shard,
  unknown,
  detail: 'moved',
})
const here: Route = { kind: 'self' }
const at = (nodeId: string): Route => ({ kind: 'node', nodeId })
const nowhere: Route = { kind: 'none', reason: 'no owner yet' }

/** A publisher whose shards are named by their keys; what it hands over is answered by the test. */
class Bench {
  nowMs = 1_000
  readonly routes: Route[] = [here, at('n2'), at('n3')]
  readonly accepts: { shard: number; ids: string[]; settle: (i: number, o: EventOutcome) => void }[] = []
  readonly forwards: { to: string; ids: string[]; timeoutMs: number; done: (r: ForwardResult) => void }[] = []
  wakeAtMs = Number.POSITIVE_INFINITY
  readonly publisher: Publisher

  constructor(waitingEventsMax = 100) {
    this.publisher = new Publisher(
      {
        nowMs: () => this.nowMs,
        shardOf: Number,
        route: (shard) => this.routes[shard] ?? nowhere,
        acceptHere: (shard, events, settle) =>
          this.accepts.push({ shard, ids: events.map((e) => e.id), settle }),
        forward: (to, events, timeoutMs, done) =>
          this.forwards.push({ to, ids: events.map((e) => e.id), timeoutMs, done }),
        wakeAt: (atMs) => {
          this.wakeAtMs = Math.min(this.wakeAtMs, atMs)
        },
      },
      { ...publisherDefaults, waitingEventsMax },
    )
  }

  /** The outcomes, once they are there. */
  publish(events: readonly NewEvent[], deadlineMs = 2_000): { outcomes?: readonly EventOutcome[] } {
    const result: { outcomes?: readonly EventOutcome[] } = {}
    this.publisher.publish(events, deadlineMs, (outcomes) => {
      expect(result.outcomes, 'answered twice').toBeUndefined()
      result.outcomes = outcomes
    })
    return result
  }

  /** Lets time pass up to the next wake-up that was asked for. */
  wake(): void {
    expect(this.wakeAtMs).toBeLessThan(Number.POSITIVE_INFINITY)
    this.nowMs = Math.max(this.nowMs, this.wakeAtMs)
    this.wakeAtMs = Number.POSITIVE_INFINITY
    this.publisher.run()
  }
}

describe('publisher', () => {
  it('cuts a request by owner and puts the outcomes together in the order of the events', () => {
    const bench = new Bench()
    const result = bench.publish([
      event('a', '1'),
      event('b', '0'),
      event('c', '2'),
      event('d', '1'),
      event('e', '0'),
    ])
    expect(bench.accepts.map((a) => a.ids)).toEqual([['b', 'e']])
    expect(bench.forwards.map((f) => [f.to, f.ids])).toEqual([
      ['n2', ['a', 'd']],
      ['n3', ['c']],
    ])
    bench.forwards[1]?.done({ ok: true, outcomes: [accepted(2, 30)] })
    bench.accepts[0]?.settle(1, accepted(0, 11))
    bench.accepts[0]?.settle(0, accepted(0, 10))
    expect(result.outcomes).toBeUndefined()
    bench.forwards[0]?.done({ ok: true, outcomes: [accepted(1, 20), accepted(1, 21)] })
    expect(result.outcomes).toEqual([
      accepted(1, 20),
      accepted(0, 10),
      accepted(2, 30),
      accepted(1, 21),
      accepted(0, 11),
    ])
  })

  it('sends the shards of one owner together', () => {
    const bench = new Bench()
    bench.routes[2] = at('n2')
    const result = bench.publish([event('a', '1'), event('b', '2'), event('c', '1')])
    expect(bench.forwards.map((f) => f.ids)).toEqual([['a', 'c', 'b']])
    bench.forwards[0]?.done({ ok: true, outcomes: [accepted(1, 1), accepted(1, 2), accepted(2, 5)] })
    expect(result.outcomes).toEqual([accepted(1, 1), accepted(2, 5), accepted(1, 2)])
  })

  it('answers an empty request at once', () => {
    expect(new Bench().publish([]).outcomes).toEqual([])
  })

  it('tries again what the owner sent back, at the owner of then, and in order', () => {
    const bench = new Bench()
    const result = bench.publish([event('a'), event('b'), event('c')])
    bench.accepts[0]?.settle(0, retry(0))
    bench.accepts[0]?.settle(1, accepted(0, 7))
    bench.accepts[0]?.settle(2, retry(0))
    bench.routes[0] = at('n2')
    bench.wake()
    expect(bench.forwards.map((f) => [f.to, f.ids])).toEqual([['n2', ['a', 'c']]])
    bench.forwards[0]?.done({ ok: true, outcomes: [accepted(0, 8), accepted(0, 9)] })
    expect(result.outcomes).toEqual([accepted(0, 8), accepted(0, 7), accepted(0, 9)])
  })

  it('waits longer from try to try, up to a limit', () => {
    const bench = new Bench()
    bench.routes[0] = nowhere
    bench.publish([event('a')], 100_000)
    const pauses: number[] = []
    for (let i = 0; i < 8; i++) {
      pauses.push(bench.wakeAtMs - bench.nowMs)
      bench.wake()
    }
    expect(pauses).toEqual([5, 10, 20, 40, 80, 160, 200, 200])
  })

  it('goes at once when the routes change', () => {
    const bench = new Bench()
    bench.routes[0] = nowhere
    bench.publish([event('a')])
    expect(bench.publisher.waitingCount).toBe(1)
    bench.routes[0] = here
    bench.publisher.routesChanged()
    expect(bench.accepts.map((a) => a.ids)).toEqual([['a']])
    expect(bench.publisher.waitingCount).toBe(0)
  })

  it('says at the deadline that there was no owner: certainly nothing was stored', () => {
    const bench = new Bench()
    bench.routes[0] = nowhere
    const result = bench.publish([event('a')], 1_050)
    while (result.outcomes === undefined) bench.wake()
    expect(bench.nowMs).toBe(1_050)
    expect(result.outcomes).toMatchObject([{ status: 'rejected', code: 'no_owner', retryable: true }])
  })

  it('says at the deadline that the outcome is unknown once any try may have stored it', () => {
    const bench = new Bench()
    const result = bench.publish([event('a', '1')], 1_050)
    bench.forwards[0]?.done({ ok: false, unknown: true, detail: 'connection lost' })
    bench.routes[1] = nowhere
    while (result.outcomes === undefined) bench.wake()
    expect(result.outcomes).toMatchObject([{ status: 'rejected', code: 'outcome_unknown', retryable: true }])
    const local = new Bench()
    const own = local.publish([event('a')], 1_003)
    local.accepts[0]?.settle(0, retry(0, true))
    local.wake()
    expect(own.outcomes).toMatchObject([{ code: 'outcome_unknown' }])
  })

  it('gives the other node no more time than the request has', () => {
    const bench = new Bench()
    bench.publish([event('a', '1')], 1_300)
    expect(bench.forwards[0]?.timeoutMs).toBe(300)
  })

  it('sends nothing after the deadline', () => {
    const bench = new Bench()
    expect(bench.publish([event('a')], 1_000).outcomes).toMatchObject([{ code: 'no_owner' }])
    expect(bench.accepts).toHaveLength(0)
  })

  it('has one try of an event under way at a time, so that nothing circles', () => {
    const bench = new Bench()
    bench.publish([event('a', '1')])
    bench.routes[1] = at('n3')
    bench.publisher.routesChanged()
    bench.nowMs = 1_900
    bench.publisher.run()
    expect(bench.forwards).toHaveLength(1)
    bench.forwards[0]?.done({ ok: true, outcomes: [retry(1)] })
    expect(bench.forwards, 'an answer does not make it go on by itself').toHaveLength(1)
    bench.wake()
    expect(bench.forwards.map((f) => f.to)).toEqual(['n2', 'n3'])
  })

  it('rejects as overloaded when too many events wait for an owner', () => {
    const bench = new Bench(2)
    bench.routes[0] = nowhere
    const waiting = bench.publish([event('a'), event('b')])
    expect(bench.publish([event('c')]).outcomes).toMatchObject([
      { status: 'rejected', code: 'overloaded', retryable: true },
    ])
    bench.routes[0] = here
    bench.publisher.routesChanged()
    bench.accepts[0]?.settle(0, accepted(0, 1))
    bench.accepts[0]?.settle(1, accepted(0, 2))
    expect(waiting.outcomes).toEqual([accepted(0, 1), accepted(0, 2)])
  })

  it('passes on what the owner decided for good', () => {
    const bench = new Bench()
    const conflict: EventOutcome = {
      status: 'rejected',
      shard: 0,
      code: 'event_conflict',
      detail: '',
      retryable: false,
    }
    const result = bench.publish([event('a')])
    bench.accepts[0]?.settle(0, conflict)
    expect(result.outcomes).toEqual([conflict])
  })
})
