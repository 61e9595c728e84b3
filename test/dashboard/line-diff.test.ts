/** The diff of the dashboard against a plain search for the longest common lines. */
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type DiffLine, diffLines } from '../../dashboard/src/line-diff.js'

const text = fc.array(fc.constantFrom('a', 'b', 'c', ''), { maxLength: 14 }).map((lines) => lines.join('\n'))

describe('the lines that differ', () => {
  it('give both texts back, and are as few as can be', () => {
    fc.assert(
      fc.property(text, text, (before, after) => {
        const lines = diffLines(before, after)
        expect(side(lines, '-')).toBe(before)
        expect(side(lines, '+')).toBe(after)
        const kept = lines.filter(({ sign }) => sign === ' ').length
        expect(kept).toBe(longestCommon(before.split('\n'), after.split('\n')))
      }),
      { numRuns: 2_000 },
    )
  })

  it('are still right where there are too many to look for the fewest', () => {
    const before = Array.from({ length: 3_000 }, (_, i) => `old ${i}`).join('\n')
    const after = Array.from({ length: 3_000 }, (_, i) => `new ${i}`).join('\n')
    const lines = diffLines(`same\n${before}\nend`, `same\n${after}\nend`)
    expect(side(lines, '-')).toBe(`same\n${before}\nend`)
    expect(side(lines, '+')).toBe(`same\n${after}\nend`)
    expect(lines.filter(({ sign }) => sign === ' ').length).toBe(2)
  })
})

function side(lines: readonly DiffLine[], sign: '-' | '+'): string {
  return lines
    .filter((line) => line.sign === ' ' || line.sign === sign)
    .map((line) => line.text)
    .join('\n')
}

function longestCommon(a: readonly string[], b: readonly string[]): number {
  const lengths = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0))
  const at = (i: number, j: number): number => lengths[i]?.[j] ?? 0
  for (let i = 1; i <= a.length; i++)
    for (let j = 1; j <= b.length; j++)
      (lengths[i] as number[])[j] =
        a[i - 1] === b[j - 1] ? at(i - 1, j - 1) + 1 : Math.max(at(i - 1, j), at(i, j - 1))
  return at(a.length, b.length)
}
