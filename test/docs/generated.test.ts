/** What the documentation takes from the source is what the source says now. */
import { expect, test } from 'vitest'
import { outOfDate } from '../../tools/generate.js'

test('nothing that is made by npm run docs:generate is out of date', async () => {
  expect([...(await outOfDate()).keys()]).toEqual([])
})
