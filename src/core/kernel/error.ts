/**
 * Every error that leaves Skein. Expected outcomes are values; an exception of this type says that an operation
 * did not do what was asked, with a stable code, whether the same call may be repeated, and what it concerned.
 */
import type { ErrorCode } from './error-codes.js'

export type { ErrorCode }

export interface SkeinErrorOptions {
  /** May the very same call be repeated? For a write: only when it certainly had no effect, or is idempotent. */
  readonly retryable?: boolean
  readonly details?: Readonly<Record<string, unknown>>
  readonly cause?: unknown
}

export class SkeinError extends Error {
  override readonly name = 'SkeinError'
  readonly code: ErrorCode
  readonly retryable: boolean
  readonly details: Readonly<Record<string, unknown>>

  constructor(code: ErrorCode, message: string, options: SkeinErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retryable = options.retryable ?? false
    this.details = options.details ?? {}
  }
}

/** True for an error of ours, whichever thread or bundle it came from. */
export function isSkeinError(value: unknown): value is SkeinError {
  return value instanceof Error && value.name === 'SkeinError' && 'code' in value
}
