import { describe, expect, it } from 'vitest'
import { violationsWith } from './mutate.js'
import { mutations } from './mutations.js'

describe('planted bugs', () => {
  it.each(mutations)(
    '$name: a checker says so',
    async (mutation) => {
      const { faults, minutes } = mutation
      const found = await violationsWith(mutation, { seeds: 8, minutes, faults })
      expect(found.length).toBeGreaterThan(0)
    },
    180_000,
  )
})
