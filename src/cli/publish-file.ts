/**
 * Sends a file line by line. Every line has an id made of a prefix and its number, so a batch that was refused or got no answer is simply sent again,
 * to another node if need be: nothing is lost and nothing is stored twice. One batch is under way at a time, which keeps the order of every key.
 */
import { createReadStream } from 'node:fs'
import { basename } from 'node:path'
import { createInterface } from 'node:readline'
import { type Answer, exchange, failureOf } from './client.js'
import { CliFailure, exitCodes } from './exit.js'
import { print } from './output.js'

export interface PublishOptions {
  readonly addr: string
  readonly token?: string
  readonly json?: boolean
  readonly stream: string
  readonly keyRegex: string
  readonly keyDefault?: string
  readonly idPrefix?: string
  readonly batch: string
  readonly repeat: string
  readonly fallback?: readonly string[]
  readonly patience: string
}

interface Line {
  readonly id: string
  readonly key: string
  readonly text: string
}

interface Result {
  readonly id: string
  readonly status: 'accepted' | 'duplicate' | 'rejected'
  readonly error?: { readonly code?: string; readonly detail?: string; readonly retryable?: boolean }
}

const retryMinMs = 100
const retryMaxMs = 3_000

export async function publishFile(file: string, options: PublishOptions): Promise<void> {
  await new FilePublisher(file, options).run()
}

class FilePublisher {
  private readonly file: string
  private readonly options: PublishOptions
  private readonly expression: RegExp
  private readonly batchLines: number
  private readonly repeat: number
  private readonly patienceMs: number
  private readonly addresses: readonly string[]
  private address = 0
  private readonly counts = { lines: 0, accepted: 0, duplicates: 0, skipped: 0, resent: 0 }
  private readonly startedMs = Date.now()
  private shownMs = 0

  constructor(file: string, options: PublishOptions) {
    this.file = file
    this.options = options
    this.batchLines = whole('--batch', options.batch, 1, 5_000)
    this.repeat = whole('--repeat', options.repeat, 1, 1_000_000)
    this.patienceMs = whole('--patience', options.patience, 1, 86_400) * 1_000
    this.addresses = [options.addr, ...(options.fallback ?? [])]
    if (file === '-' && this.repeat > 1)
      throw new CliFailure(exitCodes.usage, '--repeat needs a file: standard input can be read once')
    try {
      this.expression = new RegExp(options.keyRegex)
    } catch (error) {
      throw new CliFailure(
        exitCodes.usage,
        `--key-regex: ${error instanceof Error ? error.message : String(error)}`,
      )
    }
  }

  async run(): Promise<void> {
    for (let round = 0; round < this.repeat; round++) await this.sendFile(round)
    this.progress(true)
    const { counts } = this
    const seconds = (Date.now() - this.startedMs) / 1_000
    if (this.options.json === true) print(JSON.stringify({ ...counts, seconds }))
    else {
      print(
        `${counts.lines} lines: ${counts.accepted} accepted, ${counts.duplicates} stored before, ${counts.skipped} without a key left out, ${counts.resent} sent again; ${Math.round(counts.lines / Math.max(0.001, seconds))} lines/s`,
      )
    }
  }

  private async sendFile(round: number): Promise<void> {
    const input = this.file === '-' ? process.stdin : createReadStream(this.file)
    const opened = new Promise<never>((_, failed) => {
      input.once('error', (error: NodeJS.ErrnoException) =>
        failed(new CliFailure(exitCodes.usage, `${this.file}: ${error.code ?? error.message}`)),
      )
    })
    opened.catch(() => {})
    const prefix = this.options.idPrefix ?? basename(this.file)
    const lines = createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })[Symbol.asyncIterator]()
    let batch: Line[] = []
    let number = 0
    for (;;) {
      const { done, value: text } = await Promise.race([lines.next(), opened])
      if (done === true) break
      number++
      this.counts.lines++
      const key = this.keyOf(text)
      if (key === undefined) {
        this.counts.skipped++
        continue
      }
      batch.push({
        id: this.repeat === 1 ? `${prefix}:${number}` : `${prefix}:${round}:${number}`,
        key,
        text,
      })
      if (batch.length < this.batchLines) continue
      await this.send(batch)
      batch = []
    }
    if (batch.length > 0) await this.send(batch)
  }

  private keyOf(text: string): string | undefined {
    const match = this.expression.exec(text)
    return match?.[1] ?? match?.[0] ?? this.options.keyDefault
  }

  /** Until every line of the batch is stored. */
  private async send(lines: readonly Line[]): Promise<void> {
    const deadlineMs = Date.now() + this.patienceMs
    let left = lines
    for (let tries = 0; left.length > 0; tries++) {
      if (tries > 0) this.counts.resent += left.length
      const { refused, waitMs, why } = await this.sendOnce(left)
      left = refused
      this.progress(false)
      if (left.length === 0) return
      if (Date.now() > deadlineMs)
        throw new CliFailure(
          exitCodes.timedOut,
          `gave up after ${this.patienceMs / 1_000} s: ${why}; run the same command again, what is stored is not stored twice`,
        )
      const backoffMs = Math.min(retryMaxMs, retryMinMs * 2 ** Math.min(tries, 6))
      await new Promise((done) => setTimeout(done, Math.max(waitMs, backoffMs * (0.5 + Math.random()))))
    }
  }

  private async sendOnce(
    lines: readonly Line[],
  ): Promise<{ refused: readonly Line[]; waitMs: number; why: string }> {
    const { stream } = this.options
    const text = lines
      .map((line) =>
        JSON.stringify({ stream, key: line.key, id: line.id, type: 'line', payload: { line: line.text } }),
      )
      .join('\n')
    const addr = this.addresses[this.address % this.addresses.length] as string
    let answer: Answer
    try {
      answer = await exchange({ addr, token: this.options.token }, 'POST', '/api/events', {
        type: 'application/x-ndjson',
        text,
      })
    } catch (error) {
      // No answer: perhaps stored, perhaps not. The ids make asking again safe.
      this.address++
      return { refused: lines, waitMs: 0, why: error instanceof Error ? error.message : String(error) }
    }
    const { results } = (answer.body ?? {}) as { results?: readonly Result[] }
    const waitMs = Number(answer.headers.get('retry-after') ?? 0) * 1_000
    if (results === undefined || results.length !== lines.length) {
      if (answer.status === 429 || answer.status >= 500) {
        this.address++
        return { refused: lines, waitMs, why: failureOf(answer).message }
      }
      throw failureOf(answer)
    }
    const refused = lines.filter((line, i) => this.isRefused(line, results[i] as Result))
    return {
      refused,
      waitMs: refused.length === lines.length ? waitMs : 0,
      why: results.find((r) => r.status === 'rejected')?.error?.detail ?? 'refused',
    }
  }

  private isRefused(line: Line, result: Result): boolean {
    if (result.status === 'accepted') this.counts.accepted++
    else if (result.status === 'duplicate') this.counts.duplicates++
    else if (result.error?.retryable === false)
      throw new CliFailure(
        exitCodes.conflict,
        `line ${line.id}: ${result.error.code}: ${result.error.detail}`,
      )
    return result.status === 'rejected'
  }

  private progress(isLast: boolean): void {
    if (process.stderr.isTTY !== true || (!isLast && Date.now() - this.shownMs < 200)) return
    this.shownMs = Date.now()
    const { lines, accepted, duplicates, resent } = this.counts
    const rate = Math.round(lines / Math.max(0.001, (Date.now() - this.startedMs) / 1_000))
    process.stderr.write(
      `\r${lines} lines, ${accepted + duplicates} stored, ${resent} sent again, ${rate}/s  ${isLast ? '\n' : ''}`,
    )
  }
}

function whole(flag: string, text: string, min: number, max: number): number {
  const value = Number(text)
  if (Number.isInteger(value) && value >= min && value <= max) return value
  throw new CliFailure(
    exitCodes.usage,
    `${flag}: a whole number from ${min} to ${max} expected, got "${text}"`,
  )
}
