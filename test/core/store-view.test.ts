import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { StoreView } from '../../src/core/kernel/store-view.js'

const key = fc.constantFrom(
  'leader',
  'nodes/a',
  'nodes/b',
  'nodes',
  'agents/at/a',
  'agents/at/b',
  'agents/spec/a',
  'a/',
)
const prefix = fc.constantFrom(
  '',
  'n',
  'nodes',
  'nodes/',
  'nodes/a',
  'agents/',
  'agents/at/',
  'agents/x/',
  'a',
  'a/',
  '/',
)
const change = fc.record({ what: fc.constantFrom('put', 'delete', 'reset'), keys: fc.uniqueArray(key) })

describe("a node's copy of the store", () => {
  it('finds under a prefix exactly the keys that begin with it, whatever was put, deleted and read anew', () => {
    fc.assert(
      fc.property(fc.array(change), fc.array(prefix), (changes, prefixes) => {
        const view = new StoreView()
        let known = new Set<string>()
        changes.forEach(({ what, keys }, i) => {
          const rev = BigInt(i + 1)
          const kvs = keys.map((key) => ({
            key,
            value: new Uint8Array(),
            createRev: rev,
            modRev: rev,
            version: 1,
            lease: null,
          }))
          if (what === 'reset') {
            view.reset(kvs, rev)
            known = new Set(keys)
          } else if (what === 'put') {
            view.apply({ rev, events: kvs.map((kv) => ({ type: 'put', kv })) })
            for (const key of keys) known.add(key)
          } else {
            view.apply({ rev, events: keys.map((key) => ({ type: 'delete', key, modRev: rev })) })
            for (const key of keys) known.delete(key)
          }
        })
        for (const p of prefixes)
          expect(view.under(p).sort()).toEqual([...known].filter((key) => key.startsWith(p)).sort())
      }),
    )
  })
})
