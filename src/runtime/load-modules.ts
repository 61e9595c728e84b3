/** Modules that a node is told to load: what they define, and what they want to do with the node. */
import { isAbsolute, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { SkeinError } from '../core/kernel/error.js'
import { type AgentDefinition, definitionsOf } from './agents/definition.js'
import type { AnyProcessor, SkeinNode } from './node-api.js'
import { processorsOf } from './processing/definition.js'

export interface LoadedModule {
  readonly definitions: readonly AgentDefinition[]
  readonly processors: readonly AnyProcessor[]
  /** Once the node is a member. */
  setup(node: SkeinNode): Promise<void>
}

/** Errors: `bad_config` for what cannot be loaded, or offers nothing. */
export async function loadModules(names: readonly string[]): Promise<LoadedModule[]> {
  return Promise.all(names.map(loadModule))
}

async function loadModule(name: string): Promise<LoadedModule> {
  const url = /^[a-z]+:/.test(name) ? name : pathToFileURL(isAbsolute(name) ? name : resolve(name)).href
  let module: Record<string, unknown>
  try {
    module = (await import(url)) as Record<string, unknown>
  } catch (cause) {
    throw new SkeinError(
      'bad_config',
      `--load ${name}: ${cause instanceof Error ? cause.message : String(cause)}`,
      {
        details: { field: 'load' },
        cause,
      },
    )
  }
  const definitions = definitionsOf(module)
  const processors = processorsOf(module)
  const { setup } = module
  if (definitions.length === 0 && processors.length === 0 && typeof setup !== 'function')
    throw new SkeinError(
      'bad_config',
      `--load ${name}: it exports neither agents (defineAgent) nor processors (defineProcessor) nor a function setup(node)`,
      {
        details: { field: 'load' },
      },
    )
  return {
    definitions,
    processors,
    setup: async (node) => {
      if (typeof setup === 'function') await (setup as (node: SkeinNode) => unknown)(node)
    },
  }
}
