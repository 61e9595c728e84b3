/** Seeded: nodes that put, delete, restart, part and meet again over a network that loses, repeats and reorders. At the end all know the same. */
import { describe, expect, it } from 'vitest'
import { asBootId } from '../../src/core/kernel/brand.js'
import { Random } from '../../src/core/kernel/random.js'
import { type Outgoing, Registry, registryLimits } from '../../src/core/registry/registry.js'

interface Node {
  id: string
  boot: number
  registry: Registry
  /** What it should have. */
  truth: Map<string, unknown>
}

class World {
  readonly random: () => number
  readonly nodes: Node[]
  private wire: { from: string; boot: number; out: Outgoing }[] = []
  private cut = new Set<string>()
  isBad = true

  constructor(seed: number, count: number) {
    const random = new Random(seed)
    this.random = () => random.uint32() / 2 ** 32
    this.nodes = Array.from({ length: count }, (_, i) => this.boot(`n${i + 1}`, 1))
    this.meet()
  }

  private boot(id: string, boot: number): Node {
    return { id, boot, registry: new Registry(id, asBootId(`${id}-${boot}`)), truth: new Map() }
  }

  below(n: number): number {
    return Math.floor(this.random() * n)
  }

  pick(): Node {
    return this.nodes[this.below(this.nodes.length)] as Node
  }

  private apart(a: string, b: string): boolean {
    return this.cut.has(`${a} ${b}`)
  }

  meet(): void {
    for (const node of this.nodes)
      node.registry.peers(
        this.nodes
          .filter((o) => o !== node && !this.apart(node.id, o.id))
          .map((o) => ({ nodeId: o.id, bootId: asBootId(`${o.id}-${o.boot}`) })),
      )
  }

  part(): void {
    this.cut.clear()
    for (const a of this.nodes)
      for (const b of this.nodes) if (a !== b && this.random() < 0.3) this.cut.add(`${a.id} ${b.id}`)
    this.meet()
  }

  heal(): void {
    this.cut.clear()
    this.meet()
  }

  restart(node: Node): void {
    const index = this.nodes.indexOf(node)
    this.nodes[index] = this.boot(node.id, node.boot + 1)
    this.meet()
  }

  change(node: Node): void {
    const key = `k${this.below(30)}`
    const kind = this.random() < 0.5 ? 'name' : 'room'
    if (this.random() < 0.6) {
      const value = this.below(1_000)
      node.registry.put(kind, key, value)
      node.truth.set(`${kind} ${key}`, value)
    } else {
      node.registry.delete(kind, key)
      node.truth.delete(`${kind} ${key}`)
    }
  }

  carry(): void {
    for (const node of this.nodes)
      for (const out of node.registry.take()) this.wire.push({ from: node.id, boot: node.boot, out })
    if (this.isBad) this.wire.sort(() => this.random() - 0.5)
    for (const letter of this.wire.splice(0, this.isBad ? this.below(20) : this.wire.length)) {
      const { from, out } = letter
      if (this.isBad && this.random() < 0.1) this.wire.push(letter)
      const to = this.nodes.find((n) => n.id === out.to)
      if (to === undefined || this.apart(from, out.to) || (this.isBad && this.random() < 0.2)) continue
      to.registry.receive(from, out.message)
    }
  }

  settle(): void {
    this.isBad = false
    this.heal()
    for (let i = 0; i < 12; i++) {
      for (const node of this.nodes) {
        node.registry.flush()
        node.registry.beat()
      }
      for (let k = 0; k < 6; k++) this.carry()
    }
  }
}

function rowsAt(registry: Registry, nodeId: string): Map<string, unknown> {
  const found = new Map<string, unknown>()
  for (const kind of ['name', 'room'])
    for (const key of registry.keys(kind))
      for (const row of registry.rows(kind, key))
        if (row.nodeId === nodeId) found.set(`${kind} ${key}`, row.value)
  return found
}

describe('registry', () => {
  it.each(Array.from({ length: 60 }, (_, i) => i + 1))('converges after anything: seed %i', (seed) => {
    const world = new World(seed, 4)
    for (let step = 0; step < 600; step++) {
      const dice = world.random()
      if (dice < 0.5) world.change(world.pick())
      else if (dice < 0.7) world.pick().registry.flush()
      else if (dice < 0.75) world.pick().registry.beat()
      else if (dice < 0.77) world.part()
      else if (dice < 0.79) world.heal()
      else if (dice < 0.795) world.restart(world.pick())
      else world.carry()
    }
    world.settle()
    for (const seer of world.nodes)
      for (const owner of world.nodes) expect(rowsAt(seer.registry, owner.id)).toEqual(owner.truth)
  })

  it('tells its listeners so that they always know what it holds', () => {
    const world = new World(7, 3)
    const seen = new Map<string, unknown>()
    const [first] = world.nodes as [Node]
    for (const kind of ['name', 'room'])
      first.registry.onChange(kind, (key, nodeId, row) => {
        if (row === undefined) seen.delete(`${nodeId} ${kind} ${key}`)
        else seen.set(`${nodeId} ${kind} ${key}`, row.value)
      })
    for (let step = 0; step < 500; step++) {
      world.change(world.pick())
      if (step % 5 === 0) world.pick().registry.flush()
      if (step % 50 === 0) world.part()
      if (step % 80 === 0) world.heal()
      world.carry()
    }
    world.settle()
    const held = new Map<string, unknown>()
    for (const owner of world.nodes)
      for (const [id, value] of rowsAt(first.registry, owner.id)) held.set(`${owner.id} ${id}`, value)
    expect(seen).toEqual(held)
  })

  it('sends everything in parts to one who missed more deletions than are kept', () => {
    const world = new World(1, 2)
    const [a, b] = world.nodes as [Node, Node]
    world.isBad = false
    a.registry.put('name', 'old', 1)
    world.settle()
    expect(b.registry.rows('name', 'old')).toHaveLength(1)
    a.registry.delete('name', 'old')
    for (let i = 0; i < registryLimits.tombstonesMax * 2; i++) {
      a.registry.put('room', `r${i}`, 1)
      a.registry.delete('room', `r${i}`)
    }
    for (let i = 0; i < registryLimits.changesMax * 2.5; i++) a.registry.put('name', `new${i}`, i)
    a.registry.flush()
    for (const { message } of a.registry.take())
      if (message.type === 'delta')
        expect(message.changes.length).toBeLessThanOrEqual(registryLimits.changesMax)
    world.settle()
    expect(b.registry.rows('name', 'old')).toHaveLength(0)
    expect(b.registry.size('name')).toBe(registryLimits.changesMax * 2.5)
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
