/** The CLI's HTTP client: one request, one answer, over kept connections; failures with their exit code. */
import { readFileSync } from 'node:fs'
import {
  Agent as HttpAgent,
  type IncomingHttpHeaders,
  type RequestOptions,
  request as requestHttp,
} from 'node:http'
import { Agent as HttpsAgent, request as requestHttps } from 'node:https'
import { CliFailure, exitCodeOf, exitCodes } from './exit.js'

export interface ClientOptions {
  /** host:port or a URL. */
  readonly addr: string
  readonly token?: string | undefined
  readonly tls?: TlsFiles | undefined
}

/** Files in PEM: the authority that is trusted, and a certificate to show. */
export interface TlsFiles {
  readonly tlsCa?: string | undefined
  readonly tlsCert?: string | undefined
  readonly tlsKey?: string | undefined
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: unknown
}

export interface Body {
  readonly type: string
  readonly text: string
  readonly headers?: Readonly<Record<string, string>>
}

const defaultTimeoutMs = 15_000
const httpAgent = new HttpAgent({ keepAlive: true })
const httpsAgents = new Map<string, HttpsAgent>()

export function baseUrl(addr: string): string {
  const text = /^https?:\/\//.test(addr) ? addr.replace(/\/+$/, '') : `http://${addr}`
  if (URL.canParse(text)) return text
  throw new CliFailure(exitCodes.usage, `--addr: host:port or a URL expected, got "${addr}"`)
}

/** The answer whatever its status; throws only when there was none. */
export async function exchange(
  options: ClientOptions,
  method: string,
  path: string,
  body?: Body,
  timeoutMs = defaultTimeoutMs,
): Promise<Answer> {
  const url = new URL(baseUrl(options.addr) + path)
  const signal = AbortSignal.timeout(timeoutMs)
  const headers: Record<string, string | number> = { accept: 'application/json' }
  if (options.token !== undefined) headers.authorization = `Bearer ${options.token}`
  if (body !== undefined) {
    headers['content-type'] = body.type
    headers['content-length'] = Buffer.byteLength(body.text)
    Object.assign(headers, body.headers)
  }
  try {
    return await send(url, { method, headers, signal }, body?.text, options.tls)
  } catch (error) {
    if (error instanceof CliFailure) throw error
    if (signal.aborted) {
      throw new CliFailure(exitCodes.timedOut, `${options.addr} did not answer within ${timeoutMs / 1_000} s`)
    }
    throw unreachable(options.addr, error)
  }
}

/** What TLS is told; the same for requests and for WebSockets. */
export function tlsOptions({ tlsCa, tlsCert, tlsKey }: TlsFiles = {}) {
  return {
    ...(tlsCa === undefined ? {} : { ca: read(tlsCa) }),
    ...(tlsCert === undefined ? {} : { cert: read(tlsCert) }),
    ...(tlsKey === undefined ? {} : { key: read(tlsKey) }),
  }
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw new CliFailure(exitCodes.usage, `${path} cannot be read: ${(error as NodeJS.ErrnoException).code}`)
  }
}

function httpsAgent(files: TlsFiles = {}): HttpsAgent {
  const name = JSON.stringify(files)
  const agent = httpsAgents.get(name) ?? new HttpsAgent({ keepAlive: true, ...tlsOptions(files) })
  httpsAgents.set(name, agent)
  return agent
}

export function unreachable(addr: string, error: unknown): CliFailure {
  const { code, message } = error as NodeJS.ErrnoException
  return new CliFailure(
    exitCodes.unreachable,
    `${addr} cannot be reached (${code ?? message}): is a node running there? try --addr`,
  )
}

/** The body of a good answer; a bad one becomes a failure with the server's own words. */
export async function call(
  options: ClientOptions,
  method: string,
  path: string,
  value?: unknown,
  timeoutMs = defaultTimeoutMs,
): Promise<unknown> {
  const body = value === undefined ? undefined : { type: 'application/json', text: JSON.stringify(value) }
  const answer = await exchange(options, method, path, body, timeoutMs)
  if (answer.status < 400) return answer.body
  throw failureOf(answer)
}

export function failureOf(answer: Answer): CliFailure {
  const problem = answer.body as { detail?: string; title?: string; code?: string } | null | undefined
  const said = problem?.detail ?? problem?.title ?? 'no reason given'
  return new CliFailure(exitCodeOf(answer.status), `${problem?.code ?? `HTTP ${answer.status}`}: ${said}`)
}

function send(
  url: URL,
  options: RequestOptions,
  text: string | undefined,
  tls: TlsFiles | undefined,
): Promise<Answer> {
  const isTls = url.protocol === 'https:'
  return new Promise((done, failed) => {
    const request = isTls
      ? requestHttps(url, { ...options, agent: httpsAgent(tls) })
      : requestHttp(url, { ...options, agent: httpAgent })
    request.once('error', failed)
    request.once('response', (response) => {
      let received = ''
      response.setEncoding('utf8')
      response.on('data', (chunk: string) => {
        received += chunk
      })
      response.once('error', failed)
      response.once('end', () => {
        done({ status: response.statusCode ?? 0, headers: response.headers, body: parse(received) })
      })
    })
    request.end(text)
  })
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Not JSON: a proxy's page, say. Whoever asked sees the text.
    return text
  }
}
