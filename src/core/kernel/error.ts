/**
 * Every error that leaves Skein. Expected outcomes are values; an exception of this type says that an operation
 * did not do what was asked, with a stable code, whether the same call may be repeated, and what it concerned.
 */
export type ErrorCode =
  | 'aborted'
  | 'already_running'
  | 'bad_address'
  | 'bad_certificate'
  | 'bad_config'
  | 'bad_cookie'
  | 'clock_skew'
  | 'closed'
  | 'cluster_mismatch'
  | 'compacted'
  | 'conflict'
  | 'corrupt'
  | 'data_dir_unusable'
  | 'disk_full'
  | 'event_conflict'
  | 'fenced'
  | 'forbidden'
  | 'forbidden_origin'
  | 'frame_too_large'
  | 'handler_failed'
  | 'incompatible'
  | 'internal'
  | 'invalid_argument'
  | 'lease_not_found'
  | 'method_not_allowed'
  | 'no_leader'
  | 'no_owner'
  | 'node_down'
  | 'node_id_in_use'
  | 'not_found'
  | 'outcome_unknown'
  | 'overloaded'
  | 'payload_too_large'
  | 'peer_unreachable'
  | 'port_in_use'
  | 'protocol_violation'
  | 'quorum_lost'
  | 'store_mismatch'
  | 'timeout'
  | 'too_deep'
  | 'unauthenticated'
  | 'unavailable'
  | 'unsupported_media_type'

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
