/**
 * A file or standard input as batches of keyed lines. The id of a line is made of a prefix, the round and its number, so the same
 * line has the same id however often it is read.
 */
import { randomBytes } from 'node:crypto'
import { createReadStream, statSync } from 'node:fs'
import { basename } from 'node:path'
import { CliFailure, exitCodes } from './exit.js'

export interface LineEvent {
  readonly id: string
  readonly key: string
  readonly line: string
  /** Counted from 1. */
  readonly n: number
}

export interface Batch {
  readonly events: readonly LineEvent[]
  /** Read since the batch before, lines without a key included. */
  readonly lines: number
  readonly bytes: number
}

export interface LineSource {
  /** `-` is standard input. */
  readonly file: string
  readonly stream: string
  readonly keyOf: (line: string) => string | undefined
  readonly idPrefix?: string | undefined
  readonly batchLines: number
  readonly repeat: number
}

/** Well below the 5 MiB that a node takes in one request. */
const batchBytesMax = 2 * 1_048_576

/** First match of the expression, or its first group; an empty one is none. */
export function keyFinder(
  expression: RegExp,
  otherwise: string | undefined,
): (line: string) => string | undefined {
  return (line) => {
    const match = expression.exec(line)
    const key = match?.[1] ?? match?.[0] ?? ''
    return key === '' ? otherwise : key
  }
}

/** Of all rounds; 0 when unknown. */
export function bytesOf({ file, repeat }: LineSource): number {
  if (file === '-') return 0
  try {
    return statSync(file).size * repeat
  } catch (error) {
    throw unreadable(file, error)
  }
}

export async function* batchesOf(source: LineSource): AsyncGenerator<Batch> {
  const prefix = source.idPrefix ?? `${source.stream}/${nameOf(source.file)}`
  for (let round = 0; round < source.repeat; round++) {
    yield* roundOf(source, source.repeat === 1 ? prefix : `${prefix}#${round + 1}`)
  }
}

async function* roundOf(source: LineSource, prefix: string): AsyncGenerator<Batch> {
  let events: LineEvent[] = []
  let [n, lines, bytes] = [0, 0, 0]
  for await (const line of linesOf(source.file)) {
    n++
    lines++
    bytes += Buffer.byteLength(line) + 1
    const key = source.keyOf(line)
    if (key !== undefined) events.push({ id: `${prefix}:${n}`, key, line, n })
    if (events.length < source.batchLines && bytes < batchBytesMax) continue
    yield { events, lines, bytes }
    events = []
    lines = 0
    bytes = 0
  }
  if (lines > 0) yield { events, lines, bytes }
}

async function* linesOf(file: string): AsyncGenerator<string> {
  const input = file === '-' ? process.stdin : createReadStream(file)
  input.setEncoding('utf8')
  let rest = ''
  try {
    for await (const chunk of input) {
      const lines = (rest + String(chunk)).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) yield line.endsWith('\r') ? line.slice(0, -1) : line
    }
  } catch (error) {
    throw unreadable(file, error)
  }
  if (rest !== '') yield rest
}

/** Standard input has no name: what comes through it now is not what came through it last time. */
function nameOf(file: string): string {
  return file === '-' ? `stdin-${randomBytes(6).toString('hex')}` : basename(file)
}

function unreadable(file: string, error: unknown): CliFailure {
  const { code, message } = error as NodeJS.ErrnoException
  return new CliFailure(exitCodes.usage, `${file} cannot be read: ${code ?? message}`)
}
