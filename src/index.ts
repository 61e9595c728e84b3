/** The library: one import, typed end to end. */
export type { HookSpec, ProcessPart, RestartPolicy } from './core/agents/records.js'
export type { Constraints } from './core/balancing/candidate.js'
export type { Epoch, NodeId, ShardId } from './core/kernel/brand.js'
export { type ErrorCode, isSkeinError, SkeinError, type SkeinErrorOptions } from './core/kernel/error.js'
export type { HistogramFigures } from './core/kernel/histogram.js'
export { ServiceError } from './core/kernel/service-error.js'
export type { Coordinate } from './core/membership/coordinates.js'
export type { Evidence, EvidenceKind, Lifecycle, MemberStatus, Role } from './core/membership/member.js'
export {
  type AgentBehaviour,
  type AgentContext,
  type AgentDefinition,
  type AgentProxy,
  type AnyAgentDefinition,
  defineAgent,
  type Handler as AgentHandler,
  type Handlers as AgentHandlers,
  type StopCause,
} from './runtime/agents/definition.js'
export { createNode, version } from './runtime/create-node.js'
export type * from './runtime/node-api.js'
export { defineProcessor } from './runtime/processing/definition.js'
export {
  type Call,
  defineService,
  type Handler as ServiceHandler,
  type Implementation,
  type MethodContract,
  type MethodContracts,
} from './runtime/services/contract.js'
export type { InputOf, OutputOf, StandardIssue, StandardResult } from './runtime/services/schema.js'
