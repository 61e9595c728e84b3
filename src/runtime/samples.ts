/**
 * How the nodes were doing over the last minutes, as this node saw them: a few figures of each, taken every two seconds into a ring of packed numbers.
 * A page that is opened in the middle of the night has curves at once, and one that had to go to another node has them again.
 */
import type { NodeId } from '../core/kernel/brand.js'
import { Ring } from '../core/kernel/ring.js'
import type { NodeView, SampleFigure, SamplesView } from './node-api.js'

export const samplePeriodMs = 2_000
/** 15 minutes; 3 MiB with 200 nodes. */
const keptMax = 450
/** Of more, the first by id. */
const nodesMax = 1_000

const figures: Readonly<Record<SampleFigure, (node: NodeView) => number>> = {
  cpuUsage: (node) => node.cpuUsage,
  memoryUsage: (node) => node.memoryUsage,
  agents: (node) => node.agents,
  shardsOwned: (node) => node.shardsOwned,
  eventsPerSecond: (node) => node.eventsPerSecond,
  rttMs: (node) => node.rttMs,
  skewMs: (node) => node.skewMs,
  loopDelayMs: (node) => node.loopDelayMs,
}
const names = Object.keys(figures) as SampleFigure[]

interface Sample {
  readonly atMs: number
  /** Shared by the samples between which nobody came or went. */
  readonly ids: readonly NodeId[]
  /** The figures of the first node, then those of the second, and so on. NaN for a node that was not up. */
  readonly values: Float32Array
}

export class Samples {
  private readonly ring = new Ring<Sample>(keptMax)

  take(atMs: number, nodes: readonly NodeView[]): void {
    const shown = nodes.slice(0, nodesMax)
    const before = this.ring.last()?.ids ?? []
    const isSame = before.length === shown.length && shown.every(({ id }, at) => id === before[at])
    const ids = isSame ? before : shown.map(({ id }) => id)
    const values = new Float32Array(ids.length * names.length)
    shown.forEach((node, at) => {
      const isUp = node.observed === 'alive' || node.observed === 'suspect'
      names.forEach((name, figure) => {
        values[at * names.length + figure] = isUp ? figures[name](node) : Number.NaN
      })
    })
    this.ring.push({ atMs, ids, values })
  }

  /** At most `pointsMax` of the samples, evenly spread, the newest always among them; of one node or of all. */
  read(pointsMax: number, only?: string): SamplesView {
    const all = this.ring.toArray()
    const step = Math.max(1, Math.ceil(all.length / pointsMax))
    const taken = all.filter((_, at) => (all.length - 1 - at) % step === 0)
    const ids = [...new Set(taken.flatMap((sample) => sample.ids))].filter(
      (id) => only === undefined || id === only,
    )
    const nodes = ids.map((nodeId) => {
      const places = taken.map((sample) => sample.ids.indexOf(nodeId))
      const curves = names.map((name, figure) => [
        name,
        taken.map((sample, at) => figureOf(sample, places[at] ?? -1, figure)),
      ])
      return { nodeId, figures: Object.fromEntries(curves) as SamplesView['nodes'][number]['figures'] }
    })
    return { periodMs: samplePeriodMs * step, atMs: taken.map(({ atMs }) => atMs), nodes }
  }
}

function figureOf({ values }: Sample, place: number, figure: number): number | null {
  const value = place === -1 ? undefined : values[place * names.length + figure]
  return value === undefined || Number.isNaN(value) ? null : value
}
