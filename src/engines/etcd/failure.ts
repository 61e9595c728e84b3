/**
 * What a failed call to etcd means: did it certainly have no effect, where may it be tried again, and which of our error codes
 * says it. The messages are etcd's (api/v3rpc/rpctypes/error.go, 3.4 to 3.6); the server gives no finer code than a gRPC status.
 *
 * A write that etcd had already proposed when it gave up ("request timed out", "server stopped", "leader changed") may still be
 * applied: unknown. What the server refuses before it proposes, or refuses to apply, certainly had no effect.
 */
import { type ErrorCode, SkeinError } from '../../core/kernel/error.js'

/** `elsewhere`: another endpoint, or the same a little later, may do better. `authenticate`: with a new token. */
export type NextTry = 'elsewhere' | 'authenticate' | 'nowhere'

/** One failed attempt at one endpoint. */
export class EtcdFailure extends Error {
  readonly code: ErrorCode
  /** False: the call certainly changed nothing. */
  readonly mayHaveApplied: boolean
  readonly next: NextTry
  /** The server itself spoke: it is alive. */
  readonly isAnswer: boolean

  constructor(
    message: string,
    fields: { code: ErrorCode; mayHaveApplied: boolean; next: NextTry; isAnswer: boolean },
  ) {
    super(message)
    this.code = fields.code
    this.mayHaveApplied = fields.mayHaveApplied
    this.next = fields.next
    this.isAnswer = fields.isAnswer
  }

  toSkeinError(details: Readonly<Record<string, unknown>> = {}): SkeinError {
    return new SkeinError(this.code, this.message, {
      retryable: this.next === 'elsewhere' && !this.mayHaveApplied,
      details: { ...details, etcd: this.message },
    })
  }
}

type Rule = readonly [text: string, code: ErrorCode, effect: 'none' | 'unknown', next: NextTry]

const rules: readonly Rule[] = [
  ['etcdserver: no leader', 'unavailable', 'none', 'elsewhere'],
  ['etcdserver: too many requests', 'unavailable', 'none', 'elsewhere'],
  ['etcdserver: not capable', 'unavailable', 'none', 'elsewhere'],
  ['rpc not supported for learner', 'unavailable', 'none', 'elsewhere'],
  ['raft proposal dropped', 'unavailable', 'none', 'elsewhere'],
  ['etcdserver: unhealthy cluster', 'unavailable', 'none', 'elsewhere'],
  ['etcdserver: too many learner members', 'conflict', 'none', 'nowhere'],
  ['can only promote a learner member which is in sync', 'unavailable', 'none', 'nowhere'],
  ['etcdserver: re-configuration failed', 'unavailable', 'none', 'nowhere'],
  ['etcdserver: server stopped', 'unavailable', 'unknown', 'elsewhere'],
  ['etcdserver: leader changed', 'unavailable', 'unknown', 'elsewhere'],
  ['etcdserver: request timed out', 'timeout', 'unknown', 'elsewhere'],
  ['required revision has been compacted', 'compacted', 'none', 'nowhere'],
  ['required revision is a future revision', 'invalid_argument', 'none', 'nowhere'],
  ['requested lease not found', 'lease_not_found', 'none', 'nowhere'],
  ['etcdserver: lease already exists', 'conflict', 'none', 'nowhere'],
  ['too large lease TTL', 'invalid_argument', 'none', 'nowhere'],
  ['database space exceeded', 'disk_full', 'none', 'nowhere'],
  ['etcdserver: request is too large', 'payload_too_large', 'none', 'nowhere'],
  ['too many operations in txn', 'payload_too_large', 'none', 'nowhere'],
  ['duplicate key given in txn', 'invalid_argument', 'none', 'nowhere'],
  ['invalid auth token', 'unauthenticated', 'none', 'authenticate'],
  ['revision of auth store is old', 'unauthenticated', 'none', 'authenticate'],
  ['etcdserver: user name is empty', 'unauthenticated', 'none', 'nowhere'],
  ['etcdserver: authentication failed', 'unauthenticated', 'none', 'nowhere'],
  ['etcdserver: permission denied', 'unauthenticated', 'none', 'nowhere'],
  ['etcdserver: corrupt cluster', 'corrupt', 'none', 'nowhere'],
]

const hints: Partial<Record<string, string>> = {
  'etcdserver: user name is empty': 'etcd wants a user: etcd://user@host?password-file=FILE',
  'etcdserver: permission denied':
    'the etcd user may not read and write the namespace: grant it a role for that prefix',
  'database space exceeded':
    'etcd has reached its quota: compact, defragment, then end its NOSPACE alarm, or raise --quota-backend-bytes',
}

/** gRPC status numbers. */
const status = {
  cancelled: 1,
  deadlineExceeded: 4,
  resourceExhausted: 8,
  unimplemented: 12,
  unavailable: 14,
  unauthenticated: 16,
} as const

/** `endpoint` is named in the message, so that a reader knows whom to look at. */
export function explainFailure(error: { code: number; details: string }, endpoint: string): EtcdFailure {
  const { code, details } = error
  const rule = rules.find(([text]) => details.includes(text))
  if (rule !== undefined) {
    const [text, skeinCode, effect, next] = rule
    const hint = hints[text]
    return new EtcdFailure(`${endpoint}: ${details}${hint === undefined ? '' : `; ${hint}`}`, {
      code: skeinCode,
      mayHaveApplied: effect === 'unknown',
      next,
      isAnswer: true,
    })
  }
  if (details.startsWith('etcdserver: ')) {
    const fields = { code: 'unavailable', mayHaveApplied: true, next: 'nowhere', isAnswer: true } as const
    return new EtcdFailure(`${endpoint}: ${details}`, fields)
  }
  return explainTransport(code, details, endpoint)
}

function explainTransport(code: number, details: string, endpoint: string): EtcdFailure {
  const failure = (skeinCode: ErrorCode, mayHaveApplied: boolean, next: NextTry, message = details) =>
    new EtcdFailure(`${endpoint}: ${message}`, { code: skeinCode, mayHaveApplied, next, isAnswer: false })
  switch (code) {
    case status.deadlineExceeded:
      return failure('timeout', true, 'elsewhere', 'no answer in time')
    case status.unavailable: {
      // The channel's own words for "never handed to a connection".
      const unsent = /^(No connection established|Name resolution failed)/.test(details)
      if (unsent && isTlsTrouble(details)) return failure('unauthenticated', false, 'elsewhere')
      return failure('unavailable', !unsent, 'elsewhere')
    }
    case status.resourceExhausted: {
      const unsent = /^(Sent|Attempted to send) message larger/.test(details)
      return failure('payload_too_large', !unsent, 'nowhere')
    }
    case status.unauthenticated:
      return failure('unauthenticated', false, 'nowhere')
    case status.unimplemented:
      return failure('incompatible', false, 'nowhere', `not an etcd of version 3.4 or later (${details})`)
    default:
      return failure('unavailable', true, 'elsewhere', `${details} (gRPC status ${code})`)
  }
}

function isTlsTrouble(details: string): boolean {
  return /certificate|self.signed|altname|\bSSL\b|\bTLS\b|wrong version number|unable to (verify|get)/i.test(
    details,
  )
}
