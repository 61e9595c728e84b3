/** Another cluster reached over its HTTP API: any node of it, or what balances over them. Events go as NDJSON under their own ids. */
import { readFileSync } from 'node:fs'
import { SkeinError } from '../../core/kernel/error.js'
import type { MirrorOutcome, MirrorTarget } from '../../ports/mirror.js'

const timeoutMs = 10_000
const answerBytesMax = 8 * 1_048_576

interface Answer {
  readonly results?: readonly {
    readonly status: string
    readonly error?: { readonly code?: string; readonly detail?: string; readonly retryable?: boolean }
  }[]
}

/** `tokenFile`: read anew with each request, so that a token can be changed. Throws `bad_config`. */
export function httpTarget(url: string, tokenFile: string | undefined): MirrorTarget {
  const base = checkUrl(url)
  return {
    name: base.host,
    send: async (events, signal) => {
      const token = tokenFile === undefined ? undefined : readFileSync(tokenFile, 'utf8').trim()
      const response = await fetch(new URL('api/events', base), {
        method: 'POST',
        headers: {
          'content-type': 'application/x-ndjson',
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
        },
        body: events.map((event) => JSON.stringify(event)).join('\n'),
        redirect: 'error',
        signal: AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)]),
      })
      const text = await response.text()
      if (text.length > answerBytesMax) throw new SkeinError('unavailable', `${base.host} answers too much`)
      const answer = parse(text)
      if (answer?.results === undefined || answer.results.length !== events.length)
        throw new SkeinError('unavailable', `${base.host} answered ${response.status}: ${text.slice(0, 300)}`)
      return answer.results.map(outcomeOf)
    },
  }
}

function checkUrl(url: string): URL {
  const parsed = URL.canParse(url) ? new URL(url) : undefined
  if (
    parsed === undefined ||
    !/^https?:$/.test(parsed.protocol) ||
    parsed.username !== '' ||
    parsed.password !== ''
  )
    throw new SkeinError(
      'bad_config',
      `--mirror: an http:// or https:// address without a user is expected, got "${url.replace(/\/\/.*@/, '//')}"`,
      { details: { field: 'mirror' } },
    )
  if (!parsed.pathname.endsWith('/')) parsed.pathname += '/'
  return parsed
}

function parse(text: string): Answer | undefined {
  try {
    return JSON.parse(text) as Answer
  } catch {
    return undefined
  }
}

function outcomeOf({ status, error }: NonNullable<Answer['results']>[number]): MirrorOutcome {
  if (status === 'accepted') return { status: 'stored' }
  if (status === 'duplicate') return { status: 'duplicate' }
  if (error?.retryable === true) return { status: 'retry' }
  return { status: 'refused', detail: `${error?.code ?? status} ${error?.detail ?? ''}` }
}
