import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { asEpoch, asLeaseId } from '../../src/core/kernel/brand.js'
import { StoreView } from '../../src/core/kernel/store-view.js'
import { jsonEncode, utf8Encode } from '../../src/core/kernel/text.js'
import {
  encodeSeals,
  encodeShardMap,
  noSeals,
  readRelease,
  readSeals,
  readShardMap,
  releaseKey,
  type ShardAssignment,
  sealKey,
  shardMapKey,
  shardOf,
  unassigned,
} from '../../src/core/sharding/shard-map.js'

function viewOf(key: string, value: Uint8Array): StoreView {
  const view = new StoreView()
  view.reset([{ key, value, createRev: 1n, modRev: 1n, version: 1, lease: null }], 1n)
  return view
}

const epoch = fc.maxSafeNat().map(asEpoch)
const lease = fc.nat(5).map((n) => asLeaseId(`lease-${n}`))
const unsealed = fc.array(fc.record({ epoch, lease }), { maxLength: 3 })
const owned: fc.Arbitrary<ShardAssignment> = fc
  .record({ epoch, lease, target: fc.option(fc.string({ unit: 'grapheme' })), unsealed })
  // A lease belongs to one node.
  .map((a) => ({ ...a, nodeId: `node of ${a.lease}` }))
const free: fc.Arbitrary<ShardAssignment> = fc
  .record({ epoch, unsealed })
  .map((a) => ({ ...a, nodeId: null, lease: null, target: null }))

describe('shard map', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(owned, free, fc.constant(unassigned)), { maxLength: 40 }), (map) => {
        expect(readShardMap(viewOf(shardMapKey, jsonEncode(encodeShardMap(map, 1))))).toEqual(map)
      }),
    )
  })

  it('names each owner once, however many shards it has', () => {
    const a = { ...unassigned, epoch: asEpoch(1), nodeId: 'a-long-node-name', lease: asLeaseId('l1') }
    const text = JSON.stringify(encodeShardMap(new Array(100).fill(a), 1))
    expect(text.split('a-long-node-name').length - 1).toBe(1)
  })

  it('is parsed once per revision', () => {
    const view = viewOf(shardMapKey, jsonEncode(encodeShardMap([unassigned], 1)))
    expect(readShardMap(view)).toBe(readShardMap(view))
  })

  it('is absent where the store has none or something else', () => {
    expect(readShardMap(new StoreView())).toBeUndefined()
    for (const value of ['', 'not json', 'null', '{}', '{"shards":3}', '7']) {
      expect(readShardMap(viewOf(shardMapKey, utf8Encode(value))), value).toBeUndefined()
    }
  })

  it('puts a key into the same shard always, within range', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'grapheme' }), fc.integer({ min: 1, max: 1_024 }), (key, shards) => {
        const shard = shardOf(key, shards)
        expect(shardOf(key, shards)).toBe(shard)
        expect(Number.isInteger(shard) && shard >= 0 && shard < shards).toBe(true)
      }),
    )
    // Written down: another answer would move every stored key.
    expect(['', 'a', 'order-1', 'Größe', '🦊'].map((key) => shardOf(key, 64))).toMatchInlineSnapshot(`
      [
        58,
        31,
        34,
        26,
        57,
      ]
    `)
  })

  it('spreads keys evenly', () => {
    const held = new Array<number>(16).fill(0)
    for (let i = 0; i < 16_000; i++) held[shardOf(`key-${i}`, 16)]!++
    expect(Math.min(...held)).toBeGreaterThan(850)
    expect(Math.max(...held)).toBeLessThan(1_150)
  })
})

describe('seals and releases', () => {
  it('are read as they were written', () => {
    const segment = fc.record({ epoch, lease, first: fc.maxSafeNat(), last: fc.maxSafeNat() })
    fc.assert(
      fc.property(
        fc.record({ through: epoch, segments: fc.array(segment, { maxLength: 10 }), end: fc.maxSafeNat() }),
        (seals) => {
          expect(readSeals(viewOf(sealKey(3), jsonEncode(encodeSeals(seals, 1))), 3)).toEqual(seals)
        },
      ),
    )
    expect(readRelease(viewOf(releaseKey(3), jsonEncode({ epoch: 4, floor: 9 })), 3)).toEqual({
      epoch: 4,
      floor: 9,
    })
    expect(readRelease(viewOf(releaseKey(3), jsonEncode({ epoch: 4 })), 3)).toEqual({ epoch: 4, floor: 0 })
  })

  it('belong to one shard', () => {
    const view = viewOf(sealKey(3), jsonEncode(encodeSeals({ through: asEpoch(2), segments: [], end: 0 }, 1)))
    expect(readSeals(view, 30)).toBe(noSeals)
    expect(readRelease(view, 3)).toBeUndefined()
  })
})
