/**
 * Nodes that put, delete, register names, restart, part and meet again, over a network that loses, repeats and reorders. What they are made of is the
 * product's own; at the end all must know the same, and agree on who holds each name.
 */
import { asBootId } from '../../src/core/kernel/brand.js'
import { Random } from '../../src/core/kernel/random.js'
import { type NameRow, nameKind, standing } from '../../src/core/registry/names.js'
import { type Outgoing, Registry } from '../../src/core/registry/registry.js'

export interface WorldNode {
  readonly id: string
  readonly boot: number
  readonly registry: Registry
  /** What it should have. */
  readonly truth: Map<string, unknown>
  /** As its listeners were told. */
  readonly told: Map<string, unknown>
}

const kinds = ['room', nameKind]

export class World {
  readonly nodes: WorldNode[]
  isBad = true
  private readonly random: Random
  private wire: { readonly from: string; readonly out: Outgoing }[] = []
  private readonly cut = new Set<string>()
  private clock = 0

  constructor(seed: number, count: number) {
    this.random = new Random(seed)
    this.nodes = Array.from({ length: count }, (_, i) => this.boot(`n${i + 1}`, 1))
    this.meet()
  }

  share(): number {
    return this.random.uint32() / 2 ** 32
  }

  below(n: number): number {
    return Math.floor(this.share() * n)
  }

  pick(): WorldNode {
    return this.nodes[this.below(this.nodes.length)] as WorldNode
  }

  part(): void {
    this.cut.clear()
    for (const a of this.nodes)
      for (const b of this.nodes) if (a !== b && this.share() < 0.3) this.cut.add(`${a.id} ${b.id}`)
    this.meet()
  }

  heal(): void {
    this.cut.clear()
    this.meet()
  }

  restart(node: WorldNode): void {
    this.nodes[this.nodes.indexOf(node)] = this.boot(node.id, node.boot + 1)
    this.meet()
  }

  change(node: WorldNode): void {
    const kind = this.share() < 0.5 ? 'room' : nameKind
    const key = `k${this.below(30)}`
    if (this.share() < 0.6) {
      const value = kind === nameKind ? this.registration() : this.below(1_000)
      node.registry.put(kind, key, value)
      node.truth.set(`${kind} ${key}`, value)
    } else {
      node.registry.delete(kind, key)
      node.truth.delete(`${kind} ${key}`)
    }
  }

  carry(): void {
    for (const node of this.nodes)
      for (const out of node.registry.take()) this.wire.push({ from: node.id, out })
    if (this.isBad)
      this.wire = this.wire
        .map((letter) => ({ letter, at: this.share() }))
        .sort((a, b) => a.at - b.at)
        .map(({ letter }) => letter)
    for (const letter of this.wire.splice(0, this.isBad ? this.below(20) : this.wire.length)) {
      const { from, out } = letter
      if (this.isBad && this.share() < 0.1) this.wire.push(letter)
      const to = this.nodes.find((n) => n.id === out.to)
      const isLost = this.isBad && this.share() < 0.2
      if (to !== undefined && !isLost && !this.cut.has(`${from} ${out.to}`))
        to.registry.receive(from, out.message)
    }
  }

  /** The network is well again, and what is on its way arrives. */
  settle(): void {
    this.isBad = false
    this.heal()
    for (let round = 0; round < 12; round++) {
      for (const node of this.nodes) {
        node.registry.flush()
        node.registry.beat()
      }
      for (let k = 0; k < 6; k++) this.carry()
    }
  }

  /** What is wrong now, in words. */
  violations(): string[] {
    const found: string[] = []
    const say = (isWrong: boolean, what: string): void => {
      if (isWrong) found.push(what)
    }
    for (const seer of this.nodes) {
      const held = new Map<string, unknown>()
      for (const owner of this.nodes) {
        const rows = rowsOf(seer.registry, owner.id)
        for (const [row, value] of rows) held.set(`${owner.id} ${row}`, value)
        say(!isSame(rows, owner.truth), `${seer.id} does not know what ${owner.id} has`)
      }
      say(!isSame(held, seer.told), `${seer.id} was not told of all that changed`)
    }
    const names = new Set(this.nodes.flatMap((n) => [...n.registry.keys(nameKind)]))
    for (const name of names) {
      const holders = new Set(
        this.nodes.map((n) =>
          standing(n.registry.rows(nameKind, name))
            .map((r) => r.nodeId)
            .join(' '),
        ),
      )
      say(holders.size !== 1, `nodes do not agree on who holds ${name}: ${[...holders].join(' or ')}`)
      const earliest = this.earliest(name)
      const [holder] = standing(this.nodes[0]?.registry.rows(nameKind, name) ?? [])
      say(holder?.registeredAt !== earliest, `${name} is not held by the earliest registration`)
    }
    return found
  }

  private earliest(name: string): string | undefined {
    const found = this.nodes.flatMap((n) => {
      const row = n.truth.get(`${nameKind} ${name}`) as NameRow | undefined
      return row === undefined ? [] : [row[2]]
    })
    return found.sort()[0]
  }

  private registration(): NameRow {
    return ['well_known', 1, `t${String(++this.clock).padStart(6, '0')}`, [], 0]
  }

  private boot(id: string, boot: number): WorldNode {
    const registry = new Registry(id, asBootId(`${id}-${boot}`))
    const told = new Map<string, unknown>()
    for (const kind of kinds)
      registry.onChange(kind, (key, nodeId, row) => {
        if (row === undefined) told.delete(`${nodeId} ${kind} ${key}`)
        else told.set(`${nodeId} ${kind} ${key}`, row.value)
      })
    return { id, boot, registry, truth: new Map(), told }
  }

  private meet(): void {
    for (const node of this.nodes)
      node.registry.peers(
        this.nodes
          .filter((o) => o !== node && !this.cut.has(`${node.id} ${o.id}`))
          .map((o) => ({ nodeId: o.id, bootId: asBootId(`${o.id}-${o.boot}`) })),
      )
  }
}

/** A run of many faults, and what was wrong when they were over. */
export function violationsOf(seed: number): string[] {
  const world = new World(seed, 4)
  for (let step = 0; step < 600; step++) {
    const dice = world.share()
    if (dice < 0.5) world.change(world.pick())
    else if (dice < 0.7) world.pick().registry.flush()
    else if (dice < 0.75) world.pick().registry.beat()
    else if (dice < 0.77) world.part()
    else if (dice < 0.79) world.heal()
    else if (dice < 0.795) world.restart(world.pick())
    else world.carry()
  }
  world.settle()
  return world.violations()
}

function rowsOf(registry: Registry, nodeId: string): Map<string, unknown> {
  const found = new Map<string, unknown>()
  for (const kind of kinds)
    for (const key of registry.keys(kind))
      for (const row of registry.rows(kind, key))
        if (row.nodeId === nodeId) found.set(`${kind} ${key}`, row.value)
  return found
}

function isSame(a: ReadonlyMap<string, unknown>, b: ReadonlyMap<string, unknown>): boolean {
  return a.size === b.size && [...a].every(([key, value]) => b.get(key) === value)
}
