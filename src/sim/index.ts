/** The simulator as a library: run the real machines, and your own handlers, in a cluster in virtual time. */
export type { Random } from '../core/kernel/random.js'
export type { AppNode, AppWorld, SimApp } from './app.js'
export { Checkers, type Violation } from './checkers.js'
export { SimCluster, type SimClusterOptions } from './cluster.js'
export { measureMembership, type ScaleReport } from './membership-scale.js'
export {
  type ClientWorld,
  type SimClient,
  type SimulationOptions,
  type SimulationReport,
  simulate,
} from './simulation.js'
