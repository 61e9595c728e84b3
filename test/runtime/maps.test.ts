/** Replicated maps on real nodes in one process: what one writes all read, nodes that come later too; large values; what a bad frame does. */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createNode } from '../../src/runtime/create-node.js'
import type { MapChange, MapConflict, SkeinNode } from '../../src/runtime/node-api.js'
import { until } from './real-node.js'

const directory = mkdtempSync(join(tmpdir(), 'skein-maps-'))
const running: SkeinNode[] = []

async function start(id: string): Promise<SkeinNode> {
  const node = await createNode({
    nodeId: id,
    dataDir: join(directory, id),
    threads: 'inline',
    http: false,
    peerPort: 0,
    preset: 'local',
    shards: 8,
    peers: running.slice(0, 1).map((n) => n.self.peerAddress),
    store: `sqlite:${join(directory, 'store.db')}`,
    journal: `sqlite:${join(directory, 'journal')}`,
    logLevel: 'silent',
  })
  running.push(node)
  return node
}

async function everywhere(what: string, isSo: (node: SkeinNode) => boolean): Promise<void> {
  await until(what, async () => (running.every(isSo) ? true : undefined), 10_000)
}

describe('replicated maps', () => {
  let one: SkeinNode
  let two: SkeinNode
  beforeAll(async () => {
    one = await start('one')
    await one.maps.ready()
    two = await start('two')
    await everywhere('both', (n) => n.members.list().length === 2)
  }, 60_000)
  afterAll(async () => {
    await Promise.all(running.map((n) => n.stop()))
    rmSync(directory, { recursive: true, force: true })
  }, 60_000)

  it('what one node writes the other one reads, and hears of', async () => {
    const heard: MapChange[] = []
    const stop = two.map('presence').watch((change) => heard.push(change))
    const presence = one.map<{ at: string }>('presence')
    presence.set('alice', { at: 'desk' })
    expect(presence.get('alice')).toEqual({ at: 'desk' })
    await everywhere('alice', (n) => n.map('presence').has('alice'))
    expect(two.map('presence').show('alice')).toMatchObject({ kind: 'value', nodeId: 'one', conflicts: [] })
    expect(two.map('presence').delete('alice')).toBe(true)
    expect(two.map('presence').delete('alice')).toBe(false)
    await everywhere('her leave', (n) => !n.map('presence').has('alice'))
    stop()
    expect(heard).toEqual([
      { map: 'presence', key: 'alice', kind: 'value', value: { at: 'desk' }, origin: 'remote' },
      { map: 'presence', key: 'alice', kind: 'deleted', value: undefined, origin: 'local' },
    ])
  })

  it('counters and sets add up', async () => {
    one.map('sums').counter('n').add(2)
    two.map('sums').counter('n').add()
    one.map('sums').elements('s').add({ b: 1, a: 2 }, 'x')
    two.map('sums').elements('s').add({ a: 2, b: 1 })
    await everywhere('the sum', (n) => n.map('sums').counter('n').value === 3)
    await everywhere('the set', (n) => n.map('sums').elements('s').size === 2)
    expect(two.map('sums').get('n')).toBe(3)
    expect(two.map('sums').elements('s').values()).toEqual(['x', { a: 2, b: 1 }])
    two.map('sums').elements('s').remove({ b: 1, a: 2 })
    await everywhere('the rest', (n) => n.map('sums').elements('s').size === 1)
  })

  it('two writes that did not see each other are merged where the map says how, and told of where it does not', async () => {
    const told: MapConflict[] = []
    for (const node of [one, two]) {
      node.map<string[]>('merged', { merge: (a, b) => [...a, ...b] })
      node.map('plain').onConflict((conflict) => told.push(conflict))
    }
    // In the same turn neither has the other's.
    one.map('merged').set('k', ['a'])
    two.map('merged').set('k', ['b'])
    one.map('plain').set('k', 'first')
    two.map('plain').set('k', 'second')
    await everywhere('the merge', (n) => n.map<string[]>('merged').get('k')?.length === 2)
    expect(one.map('merged').get('k')).toEqual(two.map('merged').get('k'))
    await everywhere('the conflict', (n) => n.map('plain').conflicts().length === 1)
    const won = one.map('plain').get('k')
    expect(two.map('plain').get('k')).toBe(won)
    const [lost, nodeId] = won === 'first' ? ['second', 'two'] : ['first', 'one']
    expect(told.length).toBeGreaterThan(0)
    for (const conflict of told) expect(conflict).toMatchObject({ key: 'k', lost, nodeId, value: won })
    expect(() => one.map('merged', { merge: (a) => a })).toThrow(/another merge/)
    one.map('plain').set('k', 'agreed')
    await everywhere(
      'peace',
      (n) => n.map('plain').conflicts().length === 0 && n.map('plain').get('k') === 'agreed',
    )
  })

  it('a large value reaches everybody, and a node that comes later gets it all', async () => {
    const large = 'ü'.repeat(1_500_000)
    one.map('files').set('large', large)
    for (let i = 0; i < 5_000; i++) one.map('many').set(`key ${i}`, i)
    await everywhere('the large one', (n) => n.map('files').get('large') === large)
    const three = await start('three')
    await three.maps.ready()
    await everywhere(
      'all of it',
      (n) => n.map('many').size === 5_000 && n.map('files').get('large') === large,
    )
    expect(three.maps.list().map(({ name, keys }) => [name, keys])).toEqual(
      one.maps.list().map(({ name, keys }) => [name, keys]),
    )
    expect(three.maps.stats().pullCount).toBeGreaterThan(0)
  }, 60_000)

  it('refuses what cannot be kept, and says why', () => {
    const map = one.map('m')
    const refused = (code: string) => expect.objectContaining({ code })
    expect(() => map.set('k', undefined)).toThrow(refused('invalid_argument'))
    expect(() => map.set('k', 1n)).toThrow(refused('invalid_argument'))
    expect(() => map.set('k', Number.NaN)).toThrow(refused('invalid_argument'))
    expect(() => map.set('', 1)).toThrow(refused('invalid_argument'))
    expect(() => one.map('no spaces').set('k', 1)).toThrow(refused('invalid_argument'))
    expect(() => map.set('k', 'x'.repeat(5_000_000))).toThrow(refused('payload_too_large'))
    map.counter('n').add(1)
    expect(() => map.set('n', 1)).toThrow(refused('conflict'))
    expect(() => map.counter('n').add(Number.NaN)).toThrow(refused('invalid_argument'))
  })
})
