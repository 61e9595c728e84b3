/** Frames of the data plane that another version, a bug or a liar might send: refused whole, before anything is stored or kept. */
import { describe, expect, it } from 'vitest'
import {
  pack,
  packPublish,
  unpackPublish,
  unpackReadAsk,
  unpackReports,
  unpackTail,
} from '../../src/runtime/mesh-frames.js'

const event = { stream: 's', key: 'k', id: 'i', type: 't', payload: '{"n":1}' }
const report = {
  shard: 3,
  epoch: 7,
  nodeId: 'n1',
  lease: '4q-d0',
  openedAtMs: 1,
  closedAtMs: 0,
  acknowledged: 5,
}
const row = ['i', 's', 'k', 't', '{}', 3, 7, 1, 'hlc', 1]
const huge = Number.MAX_SAFE_INTEGER

describe('a frame', () => {
  it('of events is taken as it was packed', () => {
    expect(unpackPublish(packPublish('hlc', [event]))).toEqual({ hlc: 'hlc', events: [event] })
  })

  it.each([
    ['a payload that is not JSON, which would make its stream unreadable', { payload: '{"n":' }],
    ['a payload that is too large', { payload: `"${'x'.repeat(1_048_576)}"` }],
    ['no stream', { stream: '' }],
    ['a stream of other characters', { stream: 'a/b' }],
    ['no key', { key: '' }],
    ['a key that is too long', { key: 'k'.repeat(1_025) }],
    ['no id', { id: '' }],
    ['an id that is too long', { id: 'i'.repeat(257) }],
    ['a type that is too long', { type: 't'.repeat(129) }],
    ['a number for a text', { key: 7 as unknown as string }],
  ])('of events with %s is refused', (_, over) => {
    const body = packPublish('hlc', [event, { ...event, ...over }])
    expect(() => unpackPublish(body)).toThrow(/malformed publish/)
  })

  it.each([
    ['a shard that there is not', { shards: [[32, 0]] }],
    ['a negative offset', { shards: [[1, -1]] }],
    ['more shards than there are', { shards: Array.from({ length: 33 }, () => [1, 0]) }],
    ['no limit to speak of', { limit: huge }],
    ['half a limit', { limit: 0.5 }],
    ['a limit in words', { limit: 'all' }],
    ['no stream', { stream: null }],
    ['a key that is none', { key: {} }],
  ])('that asks for events with %s is refused', (_, over) => {
    const ask = { shards: [[1, 0]], limit: 10, stream: 's', key: null }
    expect(unpackReadAsk(pack(ask), 32)).toEqual(ask)
    expect(() => unpackReadAsk(pack({ ...ask, ...over }), 32)).toThrow(/malformed read/)
  })

  it.each([
    ['of another node', { nodeId: 'n2' }],
    ['of a shard that there is not', { shard: 32 }],
    ['of a shard in words', { shard: '3' }],
    ['under no lease', { lease: 7 }],
    ['under a very long lease', { lease: 'x'.repeat(129) }],
    ['with an offset that is none', { acknowledged: Number.NaN }],
  ])('with a report %s is refused', (_, over) => {
    expect(unpackReports(pack([report]), 'n1', 32)).toEqual([report])
    expect(() => unpackReports(pack([report, { ...report, ...over }]), 'n1', 32)).toThrow(/malformed/)
  })

  it('with more reports than a node sends at once is refused', () => {
    const many = Array.from({ length: 1_001 }, () => report)
    expect(() => unpackReports(pack(many), 'n1', 32)).toThrow(/malformed/)
    expect(() => unpackReports(pack(null), 'n1', 32)).toThrow(/malformed/)
  })

  it.each([
    ['a row that is too short', [0, [row.slice(1)]]],
    ['a text for a number', [0, [row.map((value, i) => (i === 5 ? '3' : value))]]],
    ['no rows', [0]],
    ['a count that is none', [-1, [row]]],
    ['nothing', null],
  ])('of a tail with %s is refused', (_, body) => {
    expect(unpackTail(pack([2, [row]]))).toEqual({ missed: 2, rows: [row] })
    expect(() => unpackTail(pack(body))).toThrow(/malformed tail/)
  })

  it('of bytes that mean nothing is refused', () => {
    for (const read of [unpackPublish, unpackTail, (b: Uint8Array) => unpackReadAsk(b, 32)])
      expect(() => read(Buffer.from('c1ffff', 'hex'))).toThrow(/protocol|malformed|decoded/)
  })
})
