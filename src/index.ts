/** The library: one import, typed end to end. */
export { type ErrorCode, isSkeinError, SkeinError } from './core/kernel/error.js'
export { ServiceError } from './core/kernel/service-error.js'
export {
  type AgentContext,
  type AgentDefinition,
  type AgentProxy,
  defineAgent,
} from './runtime/agents/definition.js'
export { createNode, version } from './runtime/create-node.js'
export type * from './runtime/node-api.js'
export { defineProcessor } from './runtime/processing/definition.js'
export { defineService } from './runtime/services/contract.js'
