/**
 * What an error of the server or of the connection means to the caller.
 *
 * The idea: of a write, only what the server refused with one of the codes listed here certainly did not happen. All the
 * rest, also an administrator's shutdown or a cancel, may come after the commit, and is `outcome_unknown`.
 *
 * Codes: PostgreSQL documentation, appendix A.
 */
import { type ErrorCode, isSkeinError, SkeinError } from '../../core/kernel/error.js'

export type Phase = 'connect' | 'read' | 'write'

/** The transaction was rolled back, and for this reason. */
const refusals: Readonly<Record<string, ErrorCode>> = {
  '25006': 'unavailable', // read_only_sql_transaction: the primary became something else
  '40001': 'unavailable', // serialization_failure
  '40P01': 'unavailable', // deadlock_detected
  '42501': 'unavailable', // insufficient_privilege
  '53100': 'disk_full',
  '53200': 'unavailable', // out_of_memory
  '53400': 'unavailable', // configuration_limit_exceeded
  '54000': 'invalid_argument', // program_limit_exceeded
  '55P03': 'unavailable', // lock_not_available
  '3F000': 'incompatible', // invalid_schema_name
  '42703': 'incompatible', // undefined_column
  '42P01': 'incompatible', // undefined_table
  '23505': 'unavailable', // unique_violation
}

/** Nothing was applied and the same statement may succeed in a moment. */
export function isTransient(error: unknown): boolean {
  return ['40001', '40P01', '55P03'].includes(sqlStateOf(error) ?? '')
}

export function sqlStateOf(error: unknown): string | undefined {
  const cause = isSkeinError(error) ? error.cause : error
  const code = (cause as { code?: unknown } | undefined)?.code
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined
}

/** `what` begins the message: "appending to postgres://…". */
export function classify(error: unknown, phase: Phase, what: string): SkeinError {
  if (isSkeinError(error)) return error
  const state = sqlStateOf(error)
  const code = phase === 'connect' ? connectCode(error, state) : statementCode(phase, state)
  const reason = error instanceof Error ? error.message : String(error)
  const retryable = code === 'unavailable' || code === 'disk_full'
  return new SkeinError(code, `${what}: ${reason}`, {
    retryable,
    details: state === undefined ? {} : { sqlState: state },
    cause: error,
  })
}

function statementCode(phase: 'read' | 'write', state: string | undefined): ErrorCode {
  if (state === 'XX001' || state === 'XX002') return phase === 'read' ? 'corrupt' : 'outcome_unknown'
  const refusal = state === undefined ? undefined : refusals[state]
  return refusal ?? (phase === 'write' ? 'outcome_unknown' : 'unavailable')
}

/** Problems of certificates have no SQL state; Node gives them codes of OpenSSL's words. */
function connectCode(error: unknown, state: string | undefined): ErrorCode {
  if (state === '28P01' || state === '28000') return 'unauthenticated'
  if (state === '3D000') return 'bad_config'
  if (state !== undefined) return 'unavailable'
  const code = (error as { code?: unknown }).code
  const message = error instanceof Error ? error.message : ''
  const isCertificate =
    typeof code === 'string' && /CERT|SELF_SIGNED|ISSUER|ALTNAME|^ERR_(TLS|SSL)/.test(code)
  if (isCertificate || /does not support SSL/.test(message)) return 'unauthenticated'
  return /SASL|password must be/i.test(message) ? 'unauthenticated' : 'unavailable'
}
