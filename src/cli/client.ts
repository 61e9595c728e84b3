/** The CLI's HTTP client: one request, one answer, over kept connections; failures with their exit code. */
import { readFileSync } from 'node:fs'
import {
  Agent as HttpAgent,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestOptions,
  request as requestHttp,
} from 'node:http'
import { Agent as HttpsAgent, request as requestHttps } from 'node:https'
import { errorCodes } from '../core/kernel/error-codes.js'
import { CliFailure, exitCodeOf, exitCodes } from './exit.js'
import { type Named, namedBy, namedIn, namesIn } from './names.js'
import { didYouMean } from './nearest.js'

export interface ClientOptions {
  /** host:port or a URL; several joined by commas: the next when one cannot be reached. */
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
/** For the list of what there is, when something is not there. */
const namesTimeoutMs = 3_000
const namesShownMax = 8
const httpAgent = new HttpAgent({ keepAlive: true })
const httpsAgents = new Map<string, HttpsAgent>()

export function baseUrl(addr: string): string {
  const text = /^https?:\/\//.test(addr) ? addr.replace(/\/+$/, '') : `http://${addr}`
  if (URL.canParse(text)) return text
  throw new CliFailure(exitCodes.usage, `--addr: host:port or a URL expected, got "${addr}"`)
}

/** Of several addresses, the one that answered last: what was begun there is known there. */
const reached = new Map<string, number>()

export function reachedAddr(addr: string): string {
  return addr.split(',')[reached.get(addr) ?? 0] as string
}

/** The answer whatever its status; throws only when there was none. */
export async function exchange(
  options: ClientOptions,
  method: string,
  path: string,
  body?: Body,
  timeoutMs = defaultTimeoutMs,
): Promise<Answer> {
  const list = options.addr.split(',')
  const first = reached.get(options.addr) ?? 0
  for (let tries = 1; ; tries++) {
    const turn = (first + tries - 1) % list.length
    try {
      const answer = await exchangeWith(
        { ...options, addr: list[turn] as string },
        method,
        path,
        body,
        timeoutMs,
      )
      reached.set(options.addr, turn)
      return answer
    } catch (error) {
      if (tries === list.length || !mayAskAnother(error, method)) throw error
    }
  }
}

/** What was perhaps carried out is not sent to another node; a question is. */
function mayAskAnother(error: unknown, method: string): boolean {
  if (!(error instanceof CliFailure)) return false
  if (method === 'GET')
    return error.exitCode === exitCodes.unreachable || error.exitCode === exitCodes.timedOut
  const code = (error.cause as NodeJS.ErrnoException | undefined)?.code ?? ''
  return unsentCodes.has(code)
}

/** Before a connection was there. */
const unsentCodes = new Set(['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN'])

async function exchangeWith(
  options: ClientOptions,
  method: string,
  path: string,
  body: Body | undefined,
  timeoutMs: number,
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
      throw new CliFailure(
        exitCodes.timedOut,
        `${options.addr} did not answer within ${timeoutMs / 1_000} s`,
        {
          code: 'timeout',
        },
      )
    }
    throw unreachable(options.addr, error)
  }
}

/** An answer that goes on, as it comes. Ends with `signal`; throws what a refusal says, or that nobody is there. */
export async function openStream(
  options: ClientOptions,
  path: string,
  accept: string,
  signal: AbortSignal,
): Promise<IncomingMessage> {
  const url = new URL(baseUrl(options.addr) + path)
  const headers: Record<string, string> = { accept }
  if (options.token !== undefined) headers.authorization = `Bearer ${options.token}`
  const isTls = url.protocol === 'https:'
  // A connection of its own: it is taken for as long as the stream lasts.
  const response = await new Promise<IncomingMessage>((done, failed) => {
    const request = isTls
      ? requestHttps(url, { headers, signal, agent: false, ...tlsOptions(options.tls) })
      : requestHttp(url, { headers, signal, agent: false })
    request.once('response', done)
    // It may fail later, too: whoever reads the answer is told by its own end.
    request.on('error', failed)
    request.end()
  }).catch((error: unknown) => {
    throw unreachable(options.addr, error)
  })
  if ((response.statusCode ?? 0) < 400) return response
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += String(chunk)
  throw failureOf({ status: response.statusCode ?? 0, headers: response.headers, body: parse(text) })
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
  const words = `${addr} cannot be reached (${code ?? message}): is a node running there? try --addr`
  return new CliFailure(exitCodes.unreachable, words, {
    code: 'unreachable',
    hint: hintOf(code, message, addr),
    cause: error,
  })
}

function hintOf(code: string | undefined, message: string, addr: string): string | undefined {
  if (code === 'ENOTFOUND' || code === 'EAI_AGAIN') return 'that name has no address here'
  if (/CERT|SELF_SIGNED|UNABLE_TO/.test(code ?? '')) return 'name the authority with --tls-ca'
  if (code === 'ECONNREFUSED')
    return 'skein up starts a local cluster; skein doctor says what would keep a node from working here'
  if (code === 'EPROTO' && addr.startsWith('https:'))
    return 'where no HTTPS is served: the address without https://'
  const isCut = code === 'ECONNRESET' || code === 'EPIPE' || message === 'socket hang up'
  return isCut && !addr.startsWith('https:') ? `where HTTPS is served: --addr https://${addr}` : undefined
}

/** The body of a good answer, an object; a bad one becomes a failure with the server's own words. */
export async function call(
  options: ClientOptions,
  method: string,
  path: string,
  value?: unknown,
  timeoutMs = defaultTimeoutMs,
): Promise<unknown> {
  const body = value === undefined ? undefined : { type: 'application/json', text: JSON.stringify(value) }
  return bodyOf(options, path, await exchange(options, method, path, body, timeoutMs))
}

/** For whoever asked by `exchange` alone: the same judgement on its answer. */
export async function bodyOf(options: ClientOptions, path: string, answer: Answer): Promise<unknown> {
  if (answer.status >= 400) throw await explained(options, path, answer)
  if (typeof answer.body === 'object' && answer.body !== null) return answer.body
  throw new CliFailure(
    exitCodes.failed,
    `${options.addr} answered ${path} with something that is no JSON: is that a node of Skein?`,
    { code: 'no_node' },
  )
}

/** Where a command line has its own words for what the table of codes says. */
const hints: Readonly<Partial<Record<string, string>>> = {
  unauthenticated: 'give --token or SKEIN_TOKEN; skein token create makes one',
  forbidden: 'skein whoami says who this token is, and what it may do',
}

/** What to do about a code, unless that is to read the detail, which is printed anyway. */
function hintAt(code: string): string | undefined {
  const fix = hints[code] ?? (errorCodes as Partial<Record<string, { readonly fix: string }>>)[code]?.fix
  if (fix === undefined || /detail|`Allow`/.test(fix)) return undefined
  const plain = fix.replace(/\[[^\]]+\]\(([^)]+)\)/g, 'docs/$1').replaceAll('`', '')
  return `${plain.charAt(0).toLowerCase()}${plain.slice(1).replace(/\.$/, '')}`
}

export function failureOf(answer: Answer): CliFailure {
  const problem = answer.body as
    | { detail?: string; title?: string; code?: string; error?: unknown }
    | null
    | undefined
  // A service has codes of its own.
  const own = typeof problem?.error === 'string' ? `${problem.error}: ` : ''
  const said = `${own}${problem?.detail ?? problem?.title ?? 'no reason given'}`
  const code = problem?.code ?? `http_${answer.status}`
  const hint = problem?.code === undefined ? 'what answers there is perhaps no node of Skein' : hintAt(code)
  const exitCode = code === 'handler_failed' ? exitCodes.failed : exitCodeOf(answer.status)
  return new CliFailure(exitCode, `${problem?.code ?? `HTTP ${answer.status}`}: ${said}`, {
    code,
    hint,
  })
}

function whatThereIs(names: readonly string[], what: string): string | undefined {
  if (names.length === 0) return `there is no ${what} at all`
  return names.length <= namesShownMax ? `there are: ${names.join(', ')}` : undefined
}

async function explained(options: ClientOptions, path: string, answer: Answer): Promise<CliFailure> {
  const failure = failureOf(answer)
  const named = answer.status === 404 ? (namedIn(answer.body) ?? namedBy(path)) : undefined
  if (named === undefined || failure.hint !== undefined) return failure
  const hint = await hintAtNames(options, named)
  return new CliFailure(failure.exitCode, failure.message, { code: failure.code, hint })
}

/** What is not there is perhaps there under another name. */
export async function hintAtNames(
  options: ClientOptions,
  { list, name }: Named,
): Promise<string | undefined> {
  try {
    const there = await exchange(options, 'GET', list.path, undefined, namesTimeoutMs)
    if (there.status !== 200) return undefined
    const names = namesIn(list, there.body)
    // It is there: what is missing is something of it.
    if (names.includes(name)) return undefined
    return didYouMean(name, names) ?? whatThereIs(names, list.what)
  } catch {
    // The list is a courtesy: what failed stands as it is.
    return undefined
  }
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
