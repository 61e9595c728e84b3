/**
 * How the nodes were doing over the last minutes: what the node remembered when the page came, and what the page saw since, one value per node, figure
 * and moment. Bounded in time and number.
 */
import type { SamplesJson } from '../../src/http/contract.js'
import type { NodeJson } from './http-client.js'

export const figureNames = [
  'cpu_usage',
  'memory_usage',
  'agents',
  'shards_owned',
  'events_per_second',
  'rtt_ms',
  'skew_ms',
  'loop_delay_ms',
] as const
export type FigureName = (typeof figureNames)[number]
export type Curve = (number | null)[]
type Curves = Record<FigureName, Curve>

export const keptMs = 15 * 60_000
/** More than this per curve is thinned out where it comes from. */
const pointsMax = 600
/** Old moments go several at a time: cutting the front off an array moves all of it. */
const slack = 30

export class Samples {
  readonly atMs: number[] = []
  readonly nodes = new Map<string, Curves>()
  /** Rises with every change. */
  revision = 0
  private periodMs = 2_000

  /** Takes the place of all that was known. */
  load({ times, nodes, period_ms }: SamplesJson): void {
    this.revision++
    this.periodMs = Math.max(2_000, period_ms)
    this.atMs.splice(0, this.atMs.length, ...times.map((each) => Date.parse(each)))
    this.nodes.clear()
    for (const { node_id, ...curves } of nodes)
      this.nodes.set(
        node_id,
        Object.fromEntries(figureNames.map((name) => [name, [...curves[name]]])) as Curves,
      )
  }

  /** What was seen at a moment, unless the last one is too near. */
  add(atMs: number, nodes: readonly NodeJson[]): void {
    if (atMs - (this.atMs.at(-1) ?? 0) < this.periodMs) return
    this.revision++
    const count = this.atMs.push(atMs)
    for (const node of nodes) {
      const isUp = node.observed === 'alive' || node.observed === 'suspect'
      const curves = this.curvesOf(node.id, count - 1)
      for (const name of figureNames) curves[name].push(isUp ? node[name] : null)
    }
    for (const curves of this.nodes.values())
      for (const name of figureNames) if (curves[name].length < count) curves[name].push(null)
    this.forget(atMs - keptMs)
  }

  /** The index of the last moment not after this one; -1 when there is none. */
  indexAt(atMs: number): number {
    let low = 0
    let high = this.atMs.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((this.atMs[middle] as number) <= atMs) low = middle + 1
      else high = middle
    }
    return low - 1
  }

  private curvesOf(id: string, length: number): Curves {
    let curves = this.nodes.get(id)
    if (curves === undefined) {
      const empty = figureNames.map((name) => [name, new Array<number | null>(length).fill(null)])
      curves = Object.fromEntries(empty) as Curves
      this.nodes.set(id, curves)
    }
    return curves
  }

  private forget(beforeMs: number): void {
    const old = Math.max(this.indexAt(beforeMs) + 1, this.atMs.length - pointsMax)
    if (old < slack) return
    this.atMs.splice(0, old)
    for (const [id, curves] of this.nodes) {
      for (const name of figureNames) curves[name].splice(0, old)
      if (curves.rtt_ms.every((each) => each === null)) this.nodes.delete(id)
    }
  }
}

/** Over all nodes at each moment. */
export function sumOf({ atMs, nodes }: Samples, name: FigureName): Curve {
  const sums: Curve = new Array<number | null>(atMs.length).fill(null)
  for (const curves of nodes.values())
    curves[name].forEach((each, at) => {
      if (each !== null) sums[at] = (sums[at] ?? 0) + each
    })
  return sums
}

export interface Spread {
  readonly lowest: Curve
  readonly median: Curve
  readonly highest: Curve
}

/** Of those nodes that had a value at each moment. `skip`: a node that says nothing about itself. */
export function spreadOf({ atMs, nodes }: Samples, name: FigureName, skip: string): Spread {
  const spread = { lowest: [] as Curve, median: [] as Curve, highest: [] as Curve }
  const curves = [...nodes].flatMap(([id, each]) => (id === skip ? [] : [each[name]]))
  for (let at = 0; at < atMs.length; at++) {
    const values: number[] = []
    for (const curve of curves) {
      const value = curve[at]
      if (value !== null && value !== undefined) values.push(value)
    }
    values.sort((a, b) => a - b)
    spread.lowest.push(values[0] ?? null)
    spread.median.push(values[values.length >> 1] ?? null)
    spread.highest.push(values.at(-1) ?? null)
  }
  return spread
}
