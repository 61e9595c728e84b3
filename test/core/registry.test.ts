/** The registry: seeded runs that end in equal copies and one holder for each name, its limits, and planted bugs that the seeds must find. */
import { describe, expect, it } from 'vitest'
import { asBootId } from '../../src/core/kernel/brand.js'
import { Registry, registryLimits } from '../../src/core/registry/registry.js'
import { importWith, type PlantedBug } from '../planted.js'
import { violationsOf, World, type WorldNode } from './registry-world.js'

describe('registry', () => {
  it.each(Array.from({ length: 60 }, (_, i) => i + 1))('converges after anything: seed %i', (seed) => {
    expect(violationsOf(seed)).toEqual([])
  })

  it('sends everything in parts to one who missed more deletions than are kept', () => {
    const world = new World(1, 2)
    const [a, b] = world.nodes as [WorldNode, WorldNode]
    a.registry.put('room', 'old', 1)
    world.settle()
    expect(b.registry.rows('room', 'old')).toHaveLength(1)
    a.registry.delete('room', 'old')
    for (let i = 0; i < registryLimits.tombstonesMax * 2; i++) {
      a.registry.put('room', `r${i}`, 1)
      a.registry.delete('room', `r${i}`)
    }
    const many = registryLimits.changesMax * 2.5
    for (let i = 0; i < many; i++) a.registry.put('name', `new${i}`, i)
    a.registry.flush()
    for (const { message } of a.registry.take())
      if (message.type === 'delta')
        expect(message.changes.length).toBeLessThanOrEqual(registryLimits.changesMax)
    world.settle()
    expect(b.registry.rows('room', 'old')).toHaveLength(0)
    expect(b.registry.size('name')).toBe(many)
    expect(b.registry.size('room')).toBe(0)
  })

  it('refuses more rows than a node may have', () => {
    const registry = new Registry('n1', asBootId('b1'))
    for (let i = 0; i < registryLimits.rowsMax; i++) expect(registry.put('name', `n${i}`, 1)).toBe(true)
    expect(registry.put('name', 'one more', 1)).toBe(false)
    expect(registry.put('name', 'n0', 2)).toBe(true)
    registry.delete('name', 'n0')
    expect(registry.put('name', 'one more', 1)).toBe(true)
  })
})

const registry = 'src/core/registry/registry.ts'
const bugs: readonly PlantedBug[] = [
  {
    name: 'changes after a gap are taken as if there were none',
    file: registry,
    find: 'if (!message.reset && message.from > have) {',
    replace: 'if (!message.reset && message.from > have + 1e9) {',
  },
  {
    name: 'an old change overwrites a newer one',
    file: registry,
    find: 'if (version <= copy.version) continue',
    replace: '',
  },
  {
    name: 'deletions are not passed on to who asks',
    file: registry,
    find: '(!reset || value !== undefined)',
    replace: 'value !== undefined',
  },
  {
    name: 'what a former boot had stays',
    file: registry,
    find: 'if (boots.get(nodeId) !== copy.bootId) this.dropCopy(nodeId, copy)',
    replace: 'if (!boots.has(nodeId)) this.dropCopy(nodeId, copy)',
  },
  {
    name: 'a gap that was asked for once is never asked for again',
    file: registry,
    find: 'for (const copy of this.copies.values()) copy.askedFor = -1',
    replace: '',
  },
  {
    name: 'a beat is not compared with what is known',
    file: registry,
    find: 'if (message.version > have) this.ask(from, message.bootId, have)',
    replace: '',
  },
  {
    name: 'rows of a node that is gone stay',
    file: registry,
    find: 'for (const row of copy.rows.values()) this.dropRow(nodeId, row.kind, row.key)',
    replace: '',
  },
  {
    name: 'the last registration holds a name',
    file: 'src/core/registry/names.ts',
    find: 'return a.registeredAt < b.registeredAt ? -1 : 1',
    replace: 'return a.registeredAt < b.registeredAt ? 1 : -1',
  },
]

describe('planted bugs', () => {
  it.each(bugs)('$name: some seed says so', async (bug) => {
    const world = await importWith<{ violationsOf: typeof violationsOf }>(bug, 'test/core/registry-world.ts')
    let found: readonly string[] = []
    for (let seed = 1; seed <= 60 && found.length === 0; seed++) found = world.violationsOf(seed)
    expect(found.length).toBeGreaterThan(0)
  })
})
