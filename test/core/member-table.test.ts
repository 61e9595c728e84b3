import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { asBootId, asBootNumber, asIncarnation } from '../../src/core/kernel/brand.js'
import { type Claim, compareClaims } from '../../src/core/membership/member.js'
import { bucketCount, isReachable, MemberTable } from '../../src/core/membership/table.js'
import { recordOf } from './claims.js'

/** Few nodes, boots and incarnations, so that claims meet. */
const claims = fc.array(
  fc
    .tuple(
      fc.nat(4),
      fc.integer({ min: 1, max: 3 }),
      fc.nat(3),
      fc.constantFrom('alive' as const, 'suspect' as const, 'failed' as const, 'left' as const),
    )
    .map(([node, boot, incarnation, status]): Claim => {
      const nodeId = `n${node}`
      const record = recordOf(nodeId, {
        boot: asBootNumber(boot),
        bootId: asBootId(`${nodeId}#${boot}`),
        incarnation: asIncarnation(incarnation),
        controlAddress: `${nodeId}-${boot}:1`,
      })
      return { record, status, from: nodeId, missedProbes: 0, verdictAtMs: 0 }
    }),
  { maxLength: 30 },
)

function tableOf(...lists: readonly (readonly Claim[])[]): MemberTable {
  const table = new MemberTable()
  for (const list of lists) for (const claim of list) table.merge(claim, 0)
  return table
}

/** What a table says, without order and without local observations. */
function contentOf(table: MemberTable): unknown {
  return table
    .claims()
    .map((c) => `${c.record.nodeId}/${c.record.boot}/${c.record.incarnation}/${c.status}`)
    .sort()
}

function expectSame(a: MemberTable, b: MemberTable): void {
  expect(contentOf(a)).toEqual(contentOf(b))
  expect(a.digest()).toBe(b.digest())
  expect(a.buckets()).toEqual(b.buckets())
}

describe('member table', () => {
  it('comes to the same content and digest in whatever order claims arrive', () => {
    const shuffled = claims.chain((list) =>
      fc.tuple(
        fc.constant(list),
        fc.shuffledSubarray(list, { minLength: list.length, maxLength: list.length }),
      ),
    )
    fc.assert(fc.property(shuffled, ([list, other]) => expectSame(tableOf(list), tableOf(other))))
  })

  it('merges commutatively: a then b is b then a', () => {
    fc.assert(fc.property(claims, claims, (a, b) => expectSame(tableOf(a, b), tableOf(b, a))))
  })

  it('merges associatively: tables merged pairwise agree with claims merged one by one', () => {
    fc.assert(
      fc.property(claims, claims, claims, (a, b, c) => {
        const left = tableOf(tableOf(a, b).claims(), c)
        const right = tableOf(a, tableOf(b, c).claims())
        expectSame(left, right)
      }),
    )
  })

  it('merges idempotently: what is known already changes nothing', () => {
    fc.assert(
      fc.property(claims, (list) => {
        const table = tableOf(list)
        const digest = table.digest()
        for (const claim of table.claims()) expect(table.merge(claim, 9).kind).toBe('unchanged')
        for (const claim of list) expect(['unchanged', 'older']).toContain(table.merge(claim, 9).kind)
        expect(table.digest()).toBe(digest)
      }),
    )
  })

  it('holds the greatest claim of each member, as a dumb search finds it', () => {
    fc.assert(
      fc.property(claims, (list) => {
        const table = tableOf(list)
        for (const entry of table.entries.values()) {
          const rivals = list.filter((c) => c.record.nodeId === entry.record.nodeId)
          for (const rival of rivals) expect(compareClaims(entry, rival)).toBeGreaterThanOrEqual(0)
        }
        expect(table.entries.size).toBe(new Set(list.map((c) => c.record.nodeId)).size)
      }),
    )
  })

  it('keeps its counts, its suspects and its addresses in step with its entries', () => {
    fc.assert(
      fc.property(claims, fc.nat(4), (list, gone) => {
        const table = tableOf(list)
        table.delete(`n${gone}`)
        const entries = [...table.entries.values()]
        expect(table.reachableCount).toBe(entries.filter((e) => isReachable(e.status)).length)
        expect([...table.suspects].sort()).toEqual(
          entries.flatMap((e) => (e.status === 'suspect' ? [e.record.nodeId] : [])).sort(),
        )
        for (const e of entries) expect(table.byAnyAddress(e.record.controlAddress)).toBe(e)
        for (const c of list) {
          const found = table.byAnyAddress(c.record.controlAddress)
          if (found !== undefined) expect(found.record.controlAddress).toBe(c.record.controlAddress)
        }
      }),
    )
  })

  it('has another digest as soon as boot, incarnation or status of one member differ', () => {
    const base: Claim = {
      record: recordOf('n1'),
      status: 'alive',
      from: 'n1',
      missedProbes: 0,
      verdictAtMs: 0,
    }
    const variants: Claim[] = [
      base,
      { ...base, status: 'suspect' },
      { ...base, status: 'failed' },
      { ...base, record: recordOf('n1', { incarnation: asIncarnation(1) }) },
      { ...base, record: recordOf('n1', { boot: asBootNumber(2) }) },
      { ...base, record: recordOf('n1', { boot: asBootNumber(2 ** 33 + 5) }) },
      { ...base, record: recordOf('n2') },
    ]
    const digests = variants.map((claim) => tableOf([claim]).digest())
    expect(new Set(digests).size).toBe(variants.length)
  })

  it('returns to the empty digest when everybody is deleted', () => {
    fc.assert(
      fc.property(claims, (list) => {
        const table = tableOf(list)
        for (const id of [...table.entries.keys()]) table.delete(id)
        expectSame(table, new MemberTable())
        expect(table.reachableCount).toBe(0)
      }),
    )
  })

  it('finds the members that differ by their buckets', () => {
    const all = new Set(Array.from({ length: bucketCount }, (_, i) => i))
    fc.assert(
      fc.property(claims, claims, (a, b) => {
        const mine = tableOf(a)
        const theirs = tableOf(b)
        const differing = new Set([...all].filter((i) => mine.buckets()[i] !== theirs.buckets()[i]))
        expectSame(tableOf(mine.claims(), theirs.claimsIn(differing)), tableOf(a, b))
      }),
    )
  })
})
