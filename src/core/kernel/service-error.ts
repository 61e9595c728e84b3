/** An error of a service's own vocabulary: thrown by a handler, it reaches the caller with its code and details. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError'
  readonly code: string
  /** The call was not carried out and may be made again, here or elsewhere. */
  readonly retryable: boolean
  /** Whatever MessagePack holds. */
  readonly details: Readonly<Record<string, unknown>>

  constructor(
    code: string,
    message: string,
    options: { readonly retryable?: boolean; readonly details?: Readonly<Record<string, unknown>> } = {},
  ) {
    super(message)
    this.code = code
    this.retryable = options.retryable ?? false
    this.details = options.details ?? {}
  }
}

/** True for one of ours, whichever bundle it came from. */
export function isServiceError(value: unknown): value is ServiceError {
  return value instanceof Error && value.name === 'ServiceError' && 'code' in value
}
