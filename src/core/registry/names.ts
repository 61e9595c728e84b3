/**
 * Whose is a name? A rule over the rows of all nodes that needs nothing else, so that nodes with equal rows agree: a registration through the store
 * goes before all others, and of two of those the one that the store has seen last, because it let go of the other; then the earliest, by hybrid
 * logical clock and node id, holds it. Of a well-known name the others stand in line.
 */
import type { NodeId } from '../kernel/brand.js'
import type { Row } from './registry.js'

export const nameKind = 'name'

export const nameKinds = ['unique', 'well_known', 'store', 'node'] as const
export type NameKind = (typeof nameKinds)[number]

/** In the registry, under the name; under `name@node` for names of a node. */
export type NameRow = readonly [
  kind: NameKind,
  slot: number,
  registeredAt: string,
  methods: readonly string[],
  /** Revision of the store at which it was registered there; 0 for others. */
  storeRev: number,
]

export interface Registration {
  readonly nodeId: NodeId
  readonly bootId: string
  readonly kind: NameKind
  readonly slot: number
  readonly registeredAt: string
  readonly methods: readonly string[]
  readonly storeRev: number
}

/** The holder first, then those in line. */
export function standing(rows: readonly Row[]): Registration[] {
  const found: Registration[] = []
  for (const { nodeId, bootId, value } of rows) {
    if (!isNameRow(value)) continue
    const [kind, slot, registeredAt, methods, storeRev] = value
    found.push({ nodeId, bootId, kind, slot, registeredAt, methods, storeRev })
  }
  return found.sort(byPrecedence)
}

function byPrecedence(a: Registration, b: Registration): number {
  if (a.storeRev !== b.storeRev) return b.storeRev - a.storeRev
  if (a.registeredAt !== b.registeredAt) return a.registeredAt < b.registeredAt ? -1 : 1
  return a.nodeId < b.nodeId ? -1 : 1
}

/** Rows come from other nodes, perhaps of another build. */
function isNameRow(value: unknown): value is NameRow {
  if (!Array.isArray(value)) return false
  const [kind, slot, registeredAt, methods, storeRev] = value as unknown[]
  return (
    nameKinds.includes(kind as NameKind) &&
    Number.isSafeInteger(slot) &&
    Number.isSafeInteger(storeRev) &&
    typeof registeredAt === 'string' &&
    Array.isArray(methods) &&
    methods.every((m) => typeof m === 'string')
  )
}
