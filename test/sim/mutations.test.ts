import { describe, expect, it } from 'vitest'
import { violationsWith } from './mutate.js'
import { mutations } from './mutations.js'

describe('planted bugs', () => {
  it.each(mutations)(
    '$name: a checker says so',
    async (mutation) => {
      const found = await violationsWith(mutation, { ...mutation, seeds: 8 })
      expect(found.length).toBeGreaterThan(0)
    },
    180_000,
  )
})
