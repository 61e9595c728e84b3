/** Error codes for people, from their table, with what HTTP and the command line make of them. */

import { exitCodeOf } from '../../src/cli/exit.js'
import type { ErrorCode } from '../../src/core/kernel/error.js'
import { errorCodes } from '../../src/core/kernel/error-codes.js'
import { statusOf } from '../../src/http/problem.js'

export function errorsPage(): string {
  const rows = Object.entries(errorCodes).map(([code, { meaning, fix }]) => {
    const status = statusOf(code as ErrorCode)
    return `| \`${code}\` | ${status} | ${exitCodeOf(status)} | ${meaning} | ${fix} |`
  })
  return [
    '# Errors',
    '',
    'Made from the table of codes (`src/core/kernel/error-codes.ts`) by `npm run docs:generate`; what is written here by hand is lost.',
    '',
    'Everything that fails does so with a `SkeinError`: a stable `code`, a message that says what, where and what is allowed, `details`, and `retryable`: whether the very same call may be repeated.',
    'Over HTTP it is `application/problem+json` with the same code (RFC 9457); between nodes it keeps code and details. A route may answer with another status where its own page says so. The exit',
    'code is that of a command that gets such an answer; 3 stands for no answer at all, 7 for a cluster that is degraded.',
    '',
    '| code | HTTP | exit code | meaning | what to do |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
  ].join('\n')
}
