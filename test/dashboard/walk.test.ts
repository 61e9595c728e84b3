/** The walk through the dashboard of three real nodes, in short. */
import { describe, expect, it } from 'vitest'
import { prove } from '../prove/run-proof.js'
import { hasBrowser } from './site.js'

describe.skipIf(!hasBrowser)('a walk through the dashboard', () => {
  it('is of no concern to axe, says why a node died, shows the past, and goes on elsewhere when its own node dies', async () => {
    const { code, said } = await prove('dashboard', '--short')
    expect(code, said).toBe(0)
  }, 240_000)
})
