/**
 * Errors as HTTP tells them: `application/problem+json` (RFC 9457) with a stable `code`. This file alone says which
 * code gets which status.
 */
import type { z } from 'zod'
import { type ErrorCode, isSkeinError, SkeinError } from '../core/kernel/error.js'

export const problemType = 'application/problem+json; charset=utf-8'

const statusByCode: Readonly<Record<ErrorCode, number>> = {
  aborted: 503,
  already_running: 409,
  bad_address: 400,
  bad_certificate: 403,
  bad_config: 400,
  bad_cookie: 403,
  clock_skew: 503,
  closed: 503,
  cluster_mismatch: 409,
  compacted: 410,
  conflict: 409,
  corrupt: 500,
  data_dir_unusable: 500,
  disk_full: 507,
  event_conflict: 409,
  fenced: 503,
  forbidden: 403,
  forbidden_origin: 403,
  frame_too_large: 413,
  handler_failed: 500,
  incompatible: 409,
  internal: 500,
  invalid_argument: 400,
  lease_not_found: 503,
  method_not_allowed: 405,
  no_leader: 503,
  no_owner: 503,
  node_down: 504,
  node_id_in_use: 409,
  not_found: 404,
  outcome_unknown: 504,
  overloaded: 429,
  payload_too_large: 413,
  peer_unreachable: 503,
  port_in_use: 409,
  protocol_violation: 400,
  quorum_lost: 503,
  store_mismatch: 409,
  timeout: 504,
  too_deep: 400,
  unauthenticated: 401,
  unavailable: 503,
  unsupported_media_type: 415,
}

export function statusOf(code: ErrorCode): number {
  return statusByCode[code] ?? 500
}

export interface Problem {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly code: ErrorCode
  readonly retryable: boolean
  readonly [member: string]: unknown
}

/** A failed request. `status` is given only where a route departs from the table above. */
export class HttpProblem extends SkeinError {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>

  constructor(
    code: ErrorCode,
    detail: string,
    options: {
      readonly status?: number
      readonly details?: Readonly<Record<string, unknown>>
      readonly headers?: Readonly<Record<string, string>>
      readonly retryable?: boolean
    } = {},
  ) {
    super(code, detail, { details: options.details ?? {}, retryable: options.retryable ?? false })
    this.status = options.status ?? statusOf(code)
    this.headers = options.headers ?? {}
  }
}

/** What every refusal of an argument says: which field, what was given, what is allowed. */
export function invalid(
  field: string,
  given: unknown,
  allowed: string,
  code: ErrorCode = 'invalid_argument',
): HttpProblem {
  return new HttpProblem(code, `${field}: got ${describe(given)}, allowed is ${allowed}`, {
    details: { field, given: describe(given), allowed },
  })
}

export function notFound(what: string): HttpProblem {
  return new HttpProblem('not_found', `${what} does not exist`)
}

/** A short, single-line picture of any value. */
function describe(value: unknown): string {
  if (value === undefined) return 'nothing'
  const text =
    typeof value === 'object' && value !== null ? shape(value) : (JSON.stringify(value) ?? typeof value)
  return text.length > 80 ? `${text.slice(0, 77)}...` : text
}

function shape(value: object): string {
  return Array.isArray(value) ? `an array of ${value.length}` : 'an object'
}

/** The first issue becomes the detail; all of them are listed in `errors`. */
export function zodProblem(error: z.ZodError, value: unknown, where: string): HttpProblem {
  const errors = error.issues.map((issue) => {
    const unknownKey = issue.code === 'unrecognized_keys' ? issue.keys[0] : undefined
    const path = unknownKey === undefined ? issue.path : [...issue.path, unknownKey]
    const field = path.length === 0 ? where : path.map(String).join('.')
    return { field, given: describe(valueAt(value, path)), allowed: allowedOf(issue.message) }
  })
  const first = errors[0] ?? { field: where, given: 'something else', allowed: 'another value' }
  return new HttpProblem(
    'invalid_argument',
    `${first.field}: got ${first.given}, allowed is ${first.allowed}`,
    {
      details: { ...first, errors },
    },
  )
}

/** The schema's sentence, reduced to what it asks for. */
function allowedOf(message: string): string {
  const expected = /(?:expected|must match pattern) (.*?)(?:, received .*)?$/s.exec(message)?.[1] ?? message
  return message.startsWith('Unrecognized key') ? 'no such field' : expected
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  let at = value
  for (const key of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined
    at = (at as Readonly<Record<PropertyKey, unknown>>)[key]
  }
  return at
}

const retryAfterStatuses = new Set([429, 503])

/** Any thrown value as a problem and its headers. What is not ours says nothing of its inside. */
export function problemOf(error: unknown): {
  readonly problem: Problem
  readonly headers: Readonly<Record<string, string>>
} {
  const known = fromFastify(error) ?? error
  if (!isSkeinError(known)) {
    return {
      problem: problem('internal', 'The request failed inside the node; its log says why', 500, false, {}),
      headers: {},
    }
  }
  const status = known instanceof HttpProblem ? known.status : statusOf(known.code)
  const headers: Record<string, string> = { ...(known instanceof HttpProblem ? known.headers : {}) }
  if (retryAfterStatuses.has(status)) headers['retry-after'] ??= '1'
  return { problem: problem(known.code, known.message, status, known.retryable, known.details), headers }
}

function problem(
  code: ErrorCode,
  detail: string,
  status: number,
  retryable: boolean,
  details: Readonly<Record<string, unknown>>,
): Problem {
  return {
    ...details,
    type: `urn:skein:problem:${code}`,
    title: titleOf(code),
    status,
    detail,
    code,
    retryable,
  }
}

function titleOf(code: ErrorCode): string {
  const words = code.replaceAll('_', ' ')
  return words.charAt(0).toUpperCase() + words.slice(1)
}

/** The framework's own refusals, all of which concern the request's outside. */
function fromFastify(error: unknown): HttpProblem | undefined {
  if (!(error instanceof Error) || isSkeinError(error) || !('code' in error) || !('statusCode' in error))
    return undefined
  if (error.code === 'FST_ERR_CTP_BODY_TOO_LARGE') return tooLarge()
  if (error.statusCode === 415) return new HttpProblem('unsupported_media_type', error.message)
  if (error.statusCode === 503) return new HttpProblem('closed', 'The node is stopping', { retryable: true })
  if (typeof error.statusCode === 'number' && error.statusCode < 500) {
    return new HttpProblem('invalid_argument', error.message, { status: error.statusCode })
  }
  return undefined
}

export function tooLarge(bytesMax?: number): HttpProblem {
  const limit = bytesMax === undefined ? 'what this path takes' : `${bytesMax} bytes`
  return new HttpProblem('payload_too_large', `The body is larger than ${limit}`, {
    details: bytesMax === undefined ? {} : { bytes_max: bytesMax },
  })
}
