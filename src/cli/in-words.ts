/** Errors of ours, of work done on this machine, with their exit code; others are the filesystem's. */
import { isSkeinError } from '../core/kernel/error.js'
import { CliFailure, exitCodes } from './exit.js'

export function inWords<T>(work: () => T): T {
  try {
    return work()
  } catch (error) {
    throw failureInWords(error)
  }
}

export function failureInWords(error: unknown): CliFailure {
  if (error instanceof CliFailure) return error
  const detail = error instanceof Error ? error.message : String(error)
  if (!isSkeinError(error)) return new CliFailure(exitCodes.failed, detail)
  const known: Partial<Record<string, number>> = {
    not_found: exitCodes.notFound,
    conflict: exitCodes.conflict,
  }
  return new CliFailure(known[error.code] ?? exitCodes.usage, `${error.code}: ${detail}`)
}
