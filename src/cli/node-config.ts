/** From the command line, the environment and the file to the configuration of a node; and what is wrong with it in words. */
import { resolveConfig, type Setting, toNodeConfig } from '../config/resolve.js'
import { isSkeinError } from '../core/kernel/error.js'
import { CliFailure, exitCodes } from './exit.js'
import { flagsOf } from './flags.js'

export interface StartOptions extends Readonly<Record<string, unknown>> {
  readonly config?: string
  readonly printConfig?: boolean
  readonly json?: boolean
}

/** What `start` with these options would run. Throws what to tell the user. */
export function nodeConfigOf(given: StartOptions): ReturnType<typeof toNodeConfig> {
  return toNodeConfig(readSettings(given))
}

export function readSettings(given: StartOptions): readonly Setting[] {
  try {
    return resolveConfig({ flags: flagsOf(given), env: process.env, configFile: given.config })
  } catch (error) {
    throw explain(error)
  }
}

export function explain(error: unknown): Error {
  if (!isSkeinError(error)) return error instanceof Error ? error : new Error(String(error))
  const isUsage = error.code === 'bad_config' || error.code === 'bad_address'
  return new CliFailure(isUsage ? exitCodes.usage : exitCodes.failed, `${error.code}: ${error.message}`)
}
