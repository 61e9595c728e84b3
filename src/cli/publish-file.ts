/**
 * Sends lines as events. Each has an id of its own, so a batch that was refused or got no answer is simply sent again, to another
 * node if there is one: nothing is lost and nothing stored twice. One batch is under way at a time, which keeps the order of every key.
 */
import { type Answer, exchange, failureOf, type TlsFiles } from './client.js'
import { CliFailure, exitCodes } from './exit.js'
import { batchesOf, bytesOf, type LineEvent, type LineSource } from './line-batches.js'
import { Progress } from './progress.js'

export interface PublishTarget {
  /** At least one; the next is tried when one does not answer or refuses everything. */
  readonly addresses: readonly string[]
  readonly token?: string | undefined
  readonly tls?: TlsFiles | undefined
  readonly stream: string
  /** Give up when one batch was refused for so long. */
  readonly patienceMs: number
  /** Says nothing while it goes on, but for a bar on a terminal. */
  readonly isQuiet?: boolean
}

export interface PublishSummary {
  lines: number
  accepted: number
  duplicates: number
  /** Had no key. */
  skipped: number
  resent: number
  seconds: number
}

interface Result {
  readonly id: string
  readonly status: 'accepted' | 'duplicate' | 'rejected'
  readonly error?: { readonly code?: string; readonly detail?: string; readonly retryable?: boolean }
}

interface Outcome {
  readonly refused: readonly LineEvent[]
  readonly waitMs: number
  readonly why: string
  /** Nobody is there. */
  readonly isSilent?: boolean
}

const backoffMinMs = 100
const backoffMaxMs = 3_000
const retryAfterMaxMs = 30_000

export async function publishLines(source: LineSource, target: PublishTarget): Promise<PublishSummary> {
  const progress = new Progress(bytesOf(source), { isQuiet: target.isQuiet === true })
  const publisher = new LinePublisher(target)
  const { counts } = publisher
  let bytes = 0
  const text = (): string => {
    const rate = Math.round(counts.lines / Math.max(0.001, progress.elapsedMs / 1_000))
    return `${counts.lines} lines, ${counts.accepted} accepted, ${counts.duplicates} stored before, ${counts.resent} sent again, ${rate}/s`
  }
  publisher.onTry = () => progress.show(bytes, text())
  for await (const batch of batchesOf(source)) {
    await publisher.send(batch.events)
    bytes += batch.bytes
    counts.lines += batch.lines
    counts.skipped += batch.lines - batch.events.length
  }
  progress.show(bytes, text(), true)
  counts.seconds = progress.elapsedMs / 1_000
  return counts
}

class LinePublisher {
  readonly counts: PublishSummary = {
    lines: 0,
    accepted: 0,
    duplicates: 0,
    skipped: 0,
    resent: 0,
    seconds: 0,
  }
  onTry: () => void = () => {}
  private readonly target: PublishTarget
  private turn = 0

  constructor(target: PublishTarget) {
    this.target = target
  }

  /** Until every line is stored; fails when the node will never take one of them, or patience ends. */
  async send(events: readonly LineEvent[]): Promise<void> {
    const { patienceMs } = this.target
    const deadlineMs = Date.now() + patienceMs
    let left = events
    for (let tries = 0; left.length > 0; tries++) {
      if (tries > 0) this.counts.resent += left.length
      const { refused, waitMs, why, isSilent } = await this.sendOnce(left)
      left = refused
      this.onTry()
      if (left.length === 0) return
      const backoffMs =
        Math.min(backoffMaxMs, backoffMinMs * 2 ** Math.min(tries, 6)) * (0.5 + Math.random() / 2)
      const pauseMs = Math.max(waitMs, backoffMs)
      if (Date.now() + pauseMs > deadlineMs) {
        throw new CliFailure(
          isSilent === true ? exitCodes.unreachable : exitCodes.timedOut,
          `gave up after ${patienceMs / 1_000} s: ${why}; run the same command again, what is stored is not stored twice`,
          { code: isSilent === true ? 'unreachable' : 'timeout' },
        )
      }
      await new Promise((done) => setTimeout(done, pauseMs))
    }
  }

  private async sendOnce(events: readonly LineEvent[]): Promise<Outcome> {
    const { addresses, token, tls, stream } = this.target
    const text = events
      .map(({ id, key, line, n }) => JSON.stringify({ stream, key, id, type: 'line', payload: { line, n } }))
      .join('\n')
    const addr = addresses[this.turn % addresses.length] as string
    let answer: Answer
    try {
      answer = await exchange({ addr, token, tls }, 'POST', '/api/events', {
        type: 'application/x-ndjson',
        text,
      })
    } catch (error) {
      if (error instanceof CliFailure && error.exitCode === exitCodes.usage) throw error
      // No answer: perhaps stored, perhaps not. The ids make asking again safe.
      this.turn++
      const isSilent = error instanceof CliFailure && error.exitCode === exitCodes.unreachable
      const why = error instanceof Error ? error.message : String(error)
      return { refused: events, waitMs: 0, why, isSilent }
    }
    const { results } = (answer.body ?? {}) as { results?: readonly Result[] }
    const waitMs = retryAfterMs(answer.headers['retry-after'])
    if (results?.length !== events.length) {
      if (answer.status !== 429 && answer.status < 500) throw failureOf(answer)
      this.turn++
      return { refused: events, waitMs, why: failureOf(answer).message }
    }
    const refused = events.filter((event, i) => this.isRefused(event, results[i] as Result))
    const isAll = refused.length === events.length
    if (isAll) this.turn++
    const why = results.find((r) => r.status === 'rejected')?.error?.detail ?? 'refused'
    return { refused, waitMs: isAll ? waitMs : 0, why }
  }

  private isRefused({ n }: LineEvent, { id, status, error }: Result): boolean {
    if (status === 'accepted') this.counts.accepted++
    else if (status === 'duplicate') this.counts.duplicates++
    else if (error?.retryable === false) {
      const isConflict = error.code === 'event_conflict'
      const advice = isConflict ? '; another file of this name? give --id-prefix' : ''
      throw new CliFailure(
        isConflict ? exitCodes.conflict : exitCodes.failed,
        `line ${n} (id ${id}): ${error.code}: ${error.detail}${advice}`,
      )
    }
    return status === 'rejected'
  }
}

/** Seconds or a date; anything else is no advice. */
function retryAfterMs(text: string | undefined): number {
  if (text === undefined) return 0
  const ms = /^\d+(\.\d+)?$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - Date.now()
  return Number.isFinite(ms) ? Math.min(retryAfterMaxMs, Math.max(0, ms)) : 0
}
