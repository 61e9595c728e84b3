import { expect, it } from 'vitest'
import { NoteLimiter } from '../../src/core/kernel/note-limiter.js'

it('lets through a few notes of each kind a second, and tells how many it held back', () => {
  let nowMs = 0
  const limiter = new NoteLimiter(() => nowMs)
  const seen: unknown[] = []
  const note = (event: string) =>
    limiter.note(event, { n: seen.length }, (fields) => seen.push([event, fields]))
  for (let i = 0; i < 100; i++) note('a')
  note('b')
  expect(seen).toHaveLength(6)
  expect(seen.at(-1)).toEqual(['b', { n: 5 }])
  nowMs = 1_001
  note('a')
  note('a')
  expect(seen.slice(6)).toEqual([
    ['a', { n: 6, held_back: 95 }],
    ['a', { n: 7 }],
  ])
})
