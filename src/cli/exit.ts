/** Exit codes, and how a failure becomes one (DESIGN §7). */
export const exitCodes = {
  ok: 0,
  failed: 1,
  usage: 2,
  unreachable: 3,
  notFound: 4,
  conflict: 5,
  timedOut: 6,
  degraded: 7,
} as const

/** What each code tells a script, for `--help` and the reference. */
export const exitWords: Readonly<Record<number, string>> = {
  0: 'ok',
  1: 'failed',
  2: 'usage',
  3: 'unreachable',
  4: 'not found',
  5: 'conflict',
  6: 'timed out',
  7: 'degraded',
}

export interface FailureWords {
  /** Stable, for scripts: the node's own code, or one of ours. */
  readonly code?: string | undefined
  /** What to do about it, on a line of its own. */
  readonly hint?: string | undefined
  readonly cause?: unknown
}

/** A failure that has its exit code and its one line for people. */
export class CliFailure extends Error {
  readonly exitCode: number
  readonly code: string | undefined
  readonly hint: string | undefined

  constructor(exitCode: number, message: string, { code, hint, cause }: FailureWords = {}) {
    super(message, cause === undefined ? undefined : { cause })
    this.exitCode = exitCode
    this.code = code
    this.hint = hint
  }
}

export function exitCodeOf(status: number): number {
  if (status === 404) return exitCodes.notFound
  if (status === 409 || status === 412) return exitCodes.conflict
  if (status === 408 || status === 504) return exitCodes.timedOut
  return status === 400 || status === 422 ? exitCodes.usage : exitCodes.failed
}
