/** The CLI's HTTP client: one request, one answer, failures with their exit code. */
import { CliFailure, exitCodeOf, exitCodes } from './exit.js'

export interface ClientOptions {
  /** host:port or a URL. */
  readonly addr: string
  readonly token?: string | undefined
}

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly body: unknown
}

export function baseUrl(addr: string): string {
  return /^https?:\/\//.test(addr) ? addr.replace(/\/$/, '') : `http://${addr}`
}

/** The answer whatever its status; throws only when there was none. */
export async function exchange(
  options: ClientOptions,
  method: string,
  path: string,
  body?: { readonly type: string; readonly text: string },
  timeoutMs = 15_000,
): Promise<Answer> {
  const headers: Record<string, string> = { accept: 'application/json' }
  if (options.token !== undefined) headers.authorization = `Bearer ${options.token}`
  if (body !== undefined) headers['content-type'] = body.type
  let response: Response
  let text: string
  try {
    response = await fetch(baseUrl(options.addr) + path, {
      method,
      headers,
      ...(body === undefined ? {} : { body: body.text }),
      signal: AbortSignal.timeout(timeoutMs),
    })
    text = await response.text()
  } catch (error) {
    if (error instanceof Error && error.name === 'TimeoutError')
      throw new CliFailure(exitCodes.timedOut, `${options.addr} did not answer within ${timeoutMs / 1_000} s`)
    const cause = (error as { cause?: { code?: string; message?: string } }).cause
    throw new CliFailure(
      exitCodes.unreachable,
      `${options.addr} cannot be reached (${cause?.code ?? cause?.message ?? String(error)}): is a node running there? try --addr`,
    )
  }
  return { status: response.status, headers: response.headers, body: parse(text) }
}

/** The body of a good answer; a bad one becomes a failure with the server's own words. */
export async function call(
  options: ClientOptions,
  method: string,
  path: string,
  value?: unknown,
): Promise<unknown> {
  const answer = await exchange(
    options,
    method,
    path,
    value === undefined ? undefined : { type: 'application/json', text: JSON.stringify(value) },
  )
  if (answer.status < 400) return answer.body
  throw failureOf(answer)
}

export function failureOf(answer: Answer): CliFailure {
  const problem = answer.body as { detail?: string; title?: string; code?: string } | undefined
  const said = problem?.detail ?? problem?.title ?? ''
  return new CliFailure(exitCodeOf(answer.status), `${problem?.code ?? `HTTP ${answer.status}`}: ${said}`)
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return text
  }
}
