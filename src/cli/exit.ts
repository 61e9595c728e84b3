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

/** A failure that has its exit code and its one line for people. */
export class CliFailure extends Error {
  readonly exitCode: number

  constructor(exitCode: number, message: string) {
    super(message)
    this.exitCode = exitCode
  }
}

export function exitCodeOf(status: number): number {
  if (status === 404) return exitCodes.notFound
  if (status === 409 || status === 412) return exitCodes.conflict
  if (status === 408 || status === 504) return exitCodes.timedOut
  return status === 400 || status === 422 ? exitCodes.usage : exitCodes.failed
}
