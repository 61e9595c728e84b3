/** All metrics of a node. A name that stood in a release stays. */
import { clusterMetrics } from './cluster-metrics.js'
import { engineMetrics } from './engine-metrics.js'
import { eventMetrics } from './event-metrics.js'
import type { MetricSpec } from './metric.js'
import { networkMetrics } from './network-metrics.js'
import { ownershipMetrics } from './ownership-metrics.js'
import { processMetrics } from './process-metrics.js'
import { programMetrics } from './program-metrics.js'
import { roomMetrics } from './room-metrics.js'

const all = [
  ...clusterMetrics,
  ...ownershipMetrics,
  ...networkMetrics,
  ...engineMetrics,
  ...eventMetrics,
  ...programMetrics,
  ...roomMetrics,
  ...processMetrics,
] as const

export type MetricName = (typeof all)[number]['name']

export const metricTable: readonly (MetricSpec & { readonly name: MetricName })[] = all
